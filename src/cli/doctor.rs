//! `farol doctor`: what is wrong on this board, why it matters, and what mends it.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use farol::config::file;
use farol::engine::doctor::{Diagnosis, Finding, Level};
use farol::io::doctor::examine;
use serde_json::json;

/// The width that text is broken at; a mend is never broken, so that it can be copied.
const WIDTH: usize = 100;
/// What stands below a sign and a check's name.
const INDENT: &str = "                  ";

/// Looks at the board and prints what it found. The exit status: 0 where nothing is wrong, 1 where something
/// is, 78 where it is the configuration itself.
///
/// # Errors
///
/// It cannot be begun, or not be printed.
pub fn run(path: &Path, is_json: bool) -> anyhow::Result<ExitCode> {
    let diagnosis = examine(path, file::load(path)).context("cannot look at the board")?;
    let text = match is_json {
        true => format!("{:#}\n", json(&diagnosis)),
        false => shown(&diagnosis, Paint { is_on: io::stdout().is_terminal() }),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads it through `head` has seen enough.
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {}
        outcome => outcome.context("cannot print")?,
    }
    Ok(super::exit_code_of(&diagnosis))
}

fn json(diagnosis: &Diagnosis) -> serde_json::Value {
    json!({
        "version": 1,
        "farol": env!("CARGO_PKG_VERSION"),
        "level": diagnosis.level,
        "faults": diagnosis.count(Level::Fault),
        "warnings": diagnosis.count(Level::Warning),
        "findings": diagnosis.findings,
    })
}

/// Colours of ECMA-48 (SGR), where a person looks.
#[derive(Clone, Copy)]
struct Paint {
    is_on: bool,
}

impl Paint {
    fn sign(self, level: Level) -> String {
        let (sign, colour) = match level {
            Level::Ok => ("✓", "32"),
            Level::Note => ("·", "36"),
            Level::Warning => ("!", "33"),
            Level::Fault => ("✗", "1;31"),
        };
        self.coloured(sign, colour)
    }

    fn coloured(self, text: &str, colour: &str) -> String {
        if self.is_on { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn shown(diagnosis: &Diagnosis, paint: Paint) -> String {
    let mut text = String::new();
    for finding in &diagnosis.findings {
        text.push_str(&paragraph(finding, paint));
    }
    let (faults, warnings) = (diagnosis.count(Level::Fault), diagnosis.count(Level::Warning));
    let counted = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        more => Some(format!("{more} {what}s")),
    };
    let wrong: Vec<String> =
        [counted(faults, "fault"), counted(warnings, "warning")].into_iter().flatten().collect();
    let last = match wrong.as_slice() {
        [] => "Nothing is wrong.".to_owned(),
        wrong => format!("{}.", wrong.join(", ")),
    };
    if !text.ends_with("\n\n") {
        text.push('\n');
    }
    text.push_str(&format!("{last}\n"));
    text
}

fn paragraph(finding: &Finding, paint: Paint) -> String {
    let Finding { check, level, what, why, mend, .. } = finding;
    // What the world says may hold anything, and a terminal would obey it.
    let what: String = what.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let mut text = format!(" {} {check:<14} {}\n", paint.sign(*level), broken(&what));
    if let Some(why) = why {
        text.push_str(&format!("{INDENT}{}\n", paint.coloured(&broken(&format!("Why: {why}.")), "2")));
    }
    for line in mend.iter().flat_map(|mend| mend.lines()) {
        text.push_str(&format!("{INDENT}    {line}\n"));
    }
    if *level > Level::Note {
        text.push('\n');
    }
    text
}

/// Breaks a text between words, with the indent before each line but the first.
fn broken(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && INDENT.len() + line + 1 + word.chars().count() > WIDTH {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(&format!("\n{INDENT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_why_and_how() {
        let diagnosis = Diagnosis::of(vec![
            Finding::ok("clock", "2026-07-28 12:00 UTC, synchronised"),
            Finding::note("stun", "no server"),
            Finding::fault("camera", "/dev/video0 is held by evil\u{1b}[2J, process 612")
                .because("a camera streams to one program at a time")
                .mend("# what it is:")
                .mend("ps -p 612")
                .mend("[video]\ndevice = \"/dev/video2\""),
        ]);
        let expected = concat!(
            " ✓ clock          2026-07-28 12:00 UTC, synchronised\n",
            " · stun           no server\n",
            " ✗ camera         /dev/video0 is held by evil\u{fffd}[2J, process 612\n",
            "                  Why: a camera streams to one program at a time.\n",
            "                      # what it is:\n",
            "                      ps -p 612\n",
            "                      [video]\n",
            "                      device = \"/dev/video2\"\n",
            "\n1 fault.\n",
        );
        assert_eq!(shown(&diagnosis, Paint { is_on: false }), expected);
        assert!(shown(&diagnosis, Paint { is_on: true }).contains("\x1b[1;31m✗\x1b[0m camera"));
        assert!(shown(&Diagnosis::of(Vec::new()), Paint { is_on: false }).ends_with("Nothing is wrong.\n"));
    }

    #[test]
    fn long_sentences_are_broken_between_words() {
        let text = broken(&"word ".repeat(40));
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }
}
