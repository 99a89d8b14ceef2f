//! Plays the camera of the device lab: writes pictures into a v4l2loopback node, one for each write.
//!
//! `camera NODE STREAM WIDTH HEIGHT FPS COUNT`, until it is killed. STREAM is H.264 with delimiters, which it
//! plays again and again, or a JPEG, which it repeats. COUNT is a file that holds how many
//! access units were written and when the first one was, in microseconds of the kernel's monotonic clock:
//! what the journal's `__MONOTONIC_TIMESTAMP` counts too.
#![expect(clippy::disallowed_methods, reason = "a camera keeps the time itself")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use v4l::buffer::Type;
use v4l::io::mmap;
use v4l::io::traits::Stream as _;
use v4l::video::Output;
use v4l::{Device, Format, FourCC};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &'static str| args.next().context(what);
    let (node, stream) = (next("NODE")?, next("STREAM")?);
    let (width, height) = (next("WIDTH")?.parse()?, next("HEIGHT")?.parse()?);
    let fps: f64 = next("FPS")?.parse()?;
    let count = PathBuf::from(next("COUNT")?);

    let stream = fs::read(&stream).with_context(|| format!("read {stream}"))?;
    let is_jpeg = stream.starts_with(&[0xff, 0xd8]);
    let fourcc = FourCC::new(if is_jpeg { b"MJPG" } else { b"H264" });
    let units = if is_jpeg { vec![&stream[..]] } else { access_units(&stream) };
    ensure!(!units.is_empty(), "the stream has no access unit delimiter");

    let mut device = Device::with_path(&node).with_context(|| format!("open {node}"))?;
    // Room for the largest access unit: a coded picture is smaller than a raw one.
    let format = Format { size: width * height * 3 / 2, ..Format::new(width, height, fourcc) };
    let format = Output::set_format(&device, &format).with_context(|| format!("set {fourcc} on {node}"))?;
    ensure!(format.fourcc == fourcc, "{node} took {} instead of {fourcc}", format.fourcc);

    // v4l2loopback 0.12 knows only a streaming writer: after one that merely wrote has gone, it is neither
    // camera nor output until it is loaded again.
    let mut writer = mmap::Stream::with_buffers(&device, Type::VideoOutput, 2).context("ask for buffers")?;
    writer.start().with_context(|| format!("start {node}"))?;

    let start_us = monotonic_us();
    let interval = Duration::from_secs_f64(1.0 / fps);
    let mut due = Instant::now();
    for (written, unit) in units.iter().cycle().enumerate() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        device.write_all(unit).with_context(|| format!("write to {node}"))?;
        tell(&count, written + 1, start_us)?;
        // Whoever was not let run goes on at the camera's rate or little above: a sensor has no burst of
        // pictures that it missed, and the driver would lose most of it.
        due = (due + interval).max(Instant::now() + interval.mul_f64(0.9));
    }
    Ok(())
}

/// Cuts an Annex B stream before each access unit delimiter (H.264 §7.4.1.2.3).
fn access_units(stream: &[u8]) -> Vec<&[u8]> {
    let is_delimiter = |at: usize| stream[at..].starts_with(&[0, 0, 1]) && stream[at + 3] & 0x1f == 9;
    let mut cuts: Vec<usize> = (0..stream.len().saturating_sub(3))
        .filter(|&at| is_delimiter(at))
        // The zero byte of a four-byte start code belongs to it.
        .map(|at| if at > 0 && stream[at - 1] == 0 { at - 1 } else { at })
        .collect();
    cuts.push(stream.len());
    cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect()
}

/// Whoever reads the file sees the old count or the new one, never half of it.
fn tell(count: &PathBuf, written: usize, start_us: u128) -> anyhow::Result<()> {
    let new = count.with_extension("new");
    fs::write(&new, format!("{written} {start_us}\n"))?;
    fs::rename(&new, count).with_context(|| format!("write {}", count.display()))
}

fn monotonic_us() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (Duration::from_secs(now.tv_sec as u64) + Duration::from_nanos(now.tv_nsec as u64)).as_micros()
}
