//! How does a person read what is told of the daemon?
//!
//! A few lines on the board, then a line for each viewer. What is as it should be takes little room.

use super::report::{BoardReport, CameraReport, Report, SoundReport, Source, ViewerReport, ViewerState};

/// The columns of the viewers' table. The right-hand ones are numbers.
const COLUMNS: [&str; 12] = [
    "VIEWER",
    "STATE",
    "FOR",
    "PATH",
    "SENT",
    "NETWORK",
    "RTT",
    "FPS",
    "LEFT OUT",
    "LOST",
    "REPAIRED",
    "KEYFRAMES",
];
/// From here on a column is numbers, which stand at its right.
const NUMBERS_FROM: usize = 4;

/// The whole as text, with a line end at its end.
pub fn table(report: &Report) -> String {
    let mut text = head(&report.board);
    text.push('\n');
    if report.viewers.is_empty() {
        text.push_str("Nobody is watching.\n");
    } else {
        text.push_str(&viewers(&report.viewers));
    }
    text
}

fn head(board: &BoardReport) -> String {
    let process = &board.process;
    let mut lines = vec![(
        shown(&board.name),
        format!(
            "farol {}, up {}, {} of {} watching, {} MB, {:.1}% of a processor",
            shown(&board.version),
            words_for_time(board.uptime_s),
            board.watching,
            board.max_viewers,
            process.memory_bytes / 1_000_000,
            process.cpu_percent,
        ),
    )];
    if board.private {
        lines.push((
            "privacy".to_owned(),
            "on: camera and microphone are switched off at the board".to_owned(),
        ));
    }
    lines.push(("camera".to_owned(), camera(&board.camera)));
    if let Some(sound) = &board.sound {
        lines.push(("sound".to_owned(), sound_line(sound)));
    }
    let broker = &board.broker;
    let since = words_for_time(broker.since_s);
    let url = shown(&broker.url);
    lines.push((
        "broker".to_owned(),
        match (broker.connected, broker.connects) {
            (true, _) => format!("connected to {url} for {since}"),
            (false, 0) => format!("not reached yet: {url}; viewers cannot find this camera"),
            (false, _) => {
                format!("lost for {since}: {url}; nobody new can join, those who watch stay")
            }
        },
    ));
    let width = lines.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
    lines.into_iter().map(|(what, text)| format!("{what:<width$}  {text}\n")).collect()
}

fn camera(camera: &CameraReport) -> String {
    let device = if camera.detail.is_empty() { &camera.source } else { &camera.detail };
    let ceiling = match camera.target_bps < camera.ceiling_bps {
        true => format!(" of {}", bits(camera.ceiling_bps)),
        false => String::new(),
    };
    match camera.state {
        Source::Running => format!(
            "{}x{}, {:.1} of {} frames/s, {} (set to {}{ceiling}), {} frames, {} dropped; {}",
            camera.width,
            camera.height,
            camera.frames_per_s,
            camera.fps,
            bits(camera.bps),
            bits(camera.target_bps),
            camera.frames,
            camera.frames_dropped,
            shown(device),
        ),
        state => stopped(state, camera.reason.as_deref(), device),
    }
}

fn sound_line(sound: &SoundReport) -> String {
    match sound.state {
        Source::Running => format!("{}; {}", bits(sound.bps), shown(&sound.detail)),
        state => stopped(state, sound.reason.as_deref(), &sound.detail),
    }
}

fn stopped(state: Source, reason: Option<&str>, device: &str) -> String {
    match state {
        Source::Lost => format!("lost, and tried again: {}", shown(reason.unwrap_or("no reason is known"))),
        Source::Private => "off, for privacy".to_owned(),
        _ if device.is_empty() => "rests, since nobody needs it".to_owned(),
        _ => format!("rests, since nobody needs it; {}", shown(device)),
    }
}

fn viewers(viewers: &[ViewerReport]) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(viewers.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                NUMBERS_FROM.. => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            })
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn row(viewer: &ViewerReport) -> [String; COLUMNS.len()] {
    let mut state = vec![viewer.state.name()];
    let troubles = viewer.troubles.iter().map(|trouble| trouble.name());
    state.extend(troubles.filter(|word| *word != viewer.state.name()));
    if viewer.talks {
        state.push("talking");
    }
    let path = viewer.path.as_ref().map_or_else(unknown, |path| {
        let through = path.relay.as_ref().map_or(String::new(), |relay| format!(" by {relay}"));
        shown(&format!("{} {}{through}", path.kind.name(), path.remote.address))
    });
    let is_sent = viewer.state != ViewerState::Connecting;
    let number = |text: String| if is_sent { text } else { unknown() };
    [
        shown(&viewer.name),
        state.join(", "),
        words_for_time(viewer.since_s),
        path,
        number(bits(viewer.sent_bps)),
        number(viewer.estimate_bps.map_or_else(unknown, bits)),
        number(viewer.round_trip_ms.map_or_else(unknown, |ms| format!("{ms:.0} ms"))),
        number(format!("{:.1}", viewer.frames_per_s)),
        number(viewer.frames_dropped.to_string()),
        number(format!("{} ({:.1}%)", viewer.lost, viewer.lost_percent)),
        number(viewer.repaired.to_string()),
        number(viewer.keyframes_asked.to_string()),
    ]
}

fn unknown() -> String {
    "-".to_owned()
}

/// Seconds as a person says them: the two largest units.
pub fn words_for_time(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

fn bits(bps: u64) -> String {
    if bps < 1_000_000 {
        format!("{} kbit/s", bps / 1000)
    } else {
        format!("{:.1} Mbit/s", bps as f64 / 1_000_000.0)
    }
}

/// A text in which a terminal finds nothing to obey.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
