//! What a picture costs until it leaves the capture thread, for `make bench`: one source at a time.
//!
//! `sources cost CONFIG SECONDS`: runs the `[video]` of a configuration and says, in JSON on one line, what
//! its pictures cost. `sources record CONFIG FRAMES FILE`: keeps them, as Annex B with an access unit
//! delimiter before each, for a camera to be fed with. `sources still CONFIG FILE`: keeps a JPEG.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use farol::config::{Config, When, file};
use farol::io::capture::{self, Capture, CaptureCommand, CaptureEvent, Format};
use farol::io::clock::media_now;

/// An access unit delimiter for any kind of picture (H.264 §7.3.2.4).
const DELIMITER: [u8; 6] = [0, 0, 0, 1, 9, 0xf0];
/// A camera that has not begun by then does not.
const PATIENCE: Duration = Duration::from_secs(20);
/// Left out at the beginning: the encoder's first keyframe, caches, the camera's own start.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["cost", config, seconds] => cost(config, Duration::from_secs(seconds.parse()?)),
        ["record", config, frames, file] => record(config, frames.parse()?, file),
        ["still", config, file] => still(config, file),
        _ => bail!("usage: sources cost CONFIG SECONDS | record CONFIG FRAMES FILE | still CONFIG FILE"),
    }
}

fn cost(config: &str, length: Duration) -> anyhow::Result<()> {
    let (mut capture, format) = begin(config)?;
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        next(&mut capture)?;
    }
    let (used, begun) = (cpu()?, Instant::now());
    let (mut frames, mut bytes, mut ages_us) = (0u32, 0, Vec::new());
    while begun.elapsed() < length {
        if let CaptureEvent::Frame(_, unit) = next(&mut capture)? {
            ages_us.push(media_now().0.saturating_sub(unit.captured.0).as_micros() as u64);
            (frames, bytes) = (frames + 1, bytes + unit.data.len());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let used = cpu()?.saturating_sub(used).as_secs_f64();
    anyhow::ensure!(frames > 0, "no picture within {length:?}");
    ages_us.sort_unstable();
    let age_ms = |share: f64| ages_us[((ages_us.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    let said = serde_json::json!({
        "width": format.width, "height": format.height, "detail": format.detail,
        "fps": f64::from(frames) / seconds,
        "kbps": bytes as f64 * 8.0 / 1000.0 / seconds,
        "cpu_ms": used * 1000.0 / f64::from(frames),
        "age_p50_ms": age_ms(0.5), "age_p99_ms": age_ms(0.99),
    });
    println!("{said}");
    Ok(())
}

fn record(config: &str, frames: usize, file: &str) -> anyhow::Result<()> {
    let (mut capture, _) = begin(config)?;
    let (mut stream, mut recorded) = (Vec::new(), 0);
    while recorded < frames {
        if let CaptureEvent::Frame(_, unit) = next(&mut capture)? {
            stream.extend_from_slice(&DELIMITER);
            stream.extend_from_slice(&unit.data);
            recorded += 1;
        }
    }
    fs::write(file, stream).with_context(|| format!("write {file}"))
}

fn still(config: &str, file: &str) -> anyhow::Result<()> {
    let (mut capture, format) = begin(config)?;
    anyhow::ensure!(format.takes_stills, "{config}: its source takes no stills");
    capture.commands.send(CaptureCommand::Snapshot)?;
    loop {
        if let CaptureEvent::Snapshot(jpeg) = next(&mut capture)? {
            return fs::write(file, jpeg).with_context(|| format!("write {file}"));
        }
    }
}

/// Starts the source and waits until it delivers.
fn begin(path: &str) -> anyhow::Result<(Capture, Format)> {
    let Config { mut video, .. } = file::load(path.as_ref())?;
    video.when = When::Always;
    let mut capture = capture::spawn(&video);
    loop {
        match next(&mut capture)? {
            CaptureEvent::Started(format) => return Ok((capture, format)),
            CaptureEvent::Lost { reason } => bail!("{reason}"),
            _ => {}
        }
    }
}

fn next(capture: &mut Capture) -> anyhow::Result<CaptureEvent> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match capture.events.try_recv() {
            Ok(event) => return Ok(event),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_micros(200)),
            Err(cause) => return Err(cause).context("wait for a picture"),
        }
    }
}

/// CPU time of the capture thread and of those that it started, so far: all threads but this one, which only
/// waits. By ticks of 10 ms (proc(5), `stat`), which every kernel counts; over seconds they are fine enough.
fn cpu() -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if task.file_name() == Some(std::process::id().to_string().as_ref()) {
            continue;
        }
        // It may have ended meanwhile.
        let Ok(text) = fs::read_to_string(task.join("stat")) else { continue };
        // Behind the name, which may hold anything, the fields from the third on; utime is the 14th.
        let (_, fields) = text.rsplit_once(") ").context("stat")?;
        let times: Result<Vec<u64>, _> = fields.split(' ').skip(11).take(2).map(str::parse).collect();
        ticks += times?.iter().sum::<u64>();
    }
    Ok(Duration::from_millis(10 * ticks))
}
