//! Where log records go: into the journal with fields, or as readable lines to standard error.
//!
//! A record's values are fields, written `log::info!(viewer:% = name, session:%; "viewer joined")`.
//!
//! - In a systemd service each field is a field of the journal, in upper case behind `FAROL_`:
//!   `journalctl FAROL_VIEWER=Ana` finds all that Ana did. The prefix keeps them apart from the
//!   journal's own, such as `MESSAGE`. The message repeats them as `viewer joined viewer=Ana`, since
//!   plain `journalctl` shows only that.
//! - Anywhere else a record is a line: the time (UTC), the level, the message, the fields.
//!
//! What comes from outside may be in any value, so control characters are escaped: a viewer's name
//! cannot move the cursor of whoever reads the log.
#![expect(clippy::disallowed_methods, reason = "a line on a terminal says when it was written")]

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::JournalLog;

/// Starts logging: our own records from `level` up, those of the libraries only from `warn` up.
///
/// # Errors
///
/// Logging was started before.
pub fn start(level: LevelFilter) -> Result<(), log::SetLoggerError> {
    let journal = systemd_journal_logger::connected_to_journal().then(JournalLog::new);
    let sink = match journal {
        Some(Ok(journal)) => Sink::Journal(journal.with_syslog_identifier("farol".to_string())),
        // No journal to talk to, or one that cannot be reached: then its pipe takes lines as well.
        Some(Err(_)) | None => Sink::Lines { is_coloured: io::stderr().is_terminal() },
    };
    log::set_boxed_logger(Box::new(Logger { level, sink }))?;
    log::set_max_level(level.max(LIBRARIES));
    Ok(())
}

/// From where up the libraries are heard: what they tell at `info` is not the story of a camera.
const LIBRARIES: LevelFilter = LevelFilter::Warn;

/// The WebRTC crates warn of what every browser does (extensions that they do not know, mDNS names);
/// what matters of a peer connection is an event, and told by us.
const WEBRTC: LevelFilter = LevelFilter::Error;

struct Logger {
    level: LevelFilter,
    sink: Sink,
}

enum Sink {
    Journal(JournalLog),
    Lines { is_coloured: bool },
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_ours = target == "farol" || target.starts_with("farol::");
        let from = match is_ours {
            true => self.level,
            false if ["rtc_", "rtc::", "webrtc"].iter().any(|crates| target.starts_with(crates)) => {
                self.level.min(WEBRTC)
            }
            false => self.level.min(LIBRARIES),
        };
        metadata.level() <= from
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let fields = Fields::of(record);
        // A log that cannot be written has nowhere to say so.
        let _ = match &self.sink {
            Sink::Journal(journal) => send(journal, record, &fields),
            Sink::Lines { is_coloured } => {
                let line = line(SystemTime::now(), record, &fields, *is_coloured);
                io::stderr().lock().write_all(line.as_bytes())
            }
        };
    }

    fn flush(&self) {}
}

/// A record's fields as text.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn of(record: &Record<'_>) -> Fields {
        let mut fields = Fields(Vec::new());
        // Our visitor fails on nothing.
        let _ = record.key_values().visit(&mut fields);
        fields
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

fn send(journal: &JournalLog, record: &Record<'_>, fields: &Fields) -> io::Result<()> {
    let message = message(record, fields);
    let prefixed: Vec<(String, &str)> =
        fields.0.iter().map(|(key, value)| (format!("FAROL_{key}"), value.as_str())).collect();
    journal.journal_send(
        &record.to_builder().args(format_args!("{message}")).key_values(&prefixed.as_slice()).build(),
    )
}

/// A line for a person: `12:34:56.789Z info  viewer joined viewer=Ana`.
fn line(now: SystemTime, record: &Record<'_>, fields: &Fields, is_coloured: bool) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs() % 86_400;
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    let (level, colour) = match record.level() {
        Level::Error => ("error", "\x1b[1;31m"),
        Level::Warn => ("warn ", "\x1b[33m"),
        Level::Info => ("info ", "\x1b[32m"),
        Level::Debug => ("debug", "\x1b[36m"),
        Level::Trace => ("trace", "\x1b[2m"),
    };
    let (colour, plain) = if is_coloured { (colour, "\x1b[0m") } else { ("", "") };
    let millis = since.subsec_millis();
    let message = message(record, fields);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z {colour}{level}{plain} {message}\n")
}

/// The message with its fields behind it, on one line.
fn message(record: &Record<'_>, fields: &Fields) -> String {
    let mut message = escape(&record.args().to_string());
    if record.target().split("::").next() != Some("farol") {
        message = format!("{}: {message}", record.target());
    }
    for (key, value) in &fields.0 {
        let is_word = !value.is_empty() && !value.contains([' ', '"', '=']);
        // Writing to a text cannot fail.
        let _ = match is_word {
            true => write!(message, " {key}={}", escape(value)),
            false => write!(message, " {key}=\"{}\"", escape(&value.replace('"', "\\\""))),
        };
    }
    message
}

/// The text without anything that a terminal would obey.
fn escape(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_string();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c.is_control() {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(target: &str, text: &str, fields: &[(&str, &str)], is_coloured: bool) -> String {
        let at = UNIX_EPOCH + Duration::from_millis(86_400_000 * 400 + 45_296_789);
        let mut builder = Record::builder();
        let builder = builder.level(Level::Info).target(target).key_values(&fields);
        let args = format_args!("{text}");
        let record = builder.args(args).build();
        line(at, &record, &Fields::of(&record), is_coloured)
    }

    #[test]
    fn a_line_tells_time_level_message_and_fields() {
        let line =
            written("farol::daemon", "viewer joined", &[("viewer", "Ana Lima"), ("session", "7")], false);
        assert_eq!(line, "12:34:56.789Z info  viewer joined viewer=\"Ana Lima\" session=7\n");
        assert!(written("farol", "lit", &[], true).contains("\x1b[32minfo \x1b[0m lit"));
    }

    #[test]
    fn a_librarys_line_says_whose_it_is() {
        assert_eq!(written("rtc::ice", "odd", &[], false), "12:34:56.789Z info  rtc::ice: odd\n");
    }

    #[test]
    fn nothing_from_outside_reaches_the_terminal_raw() {
        let line = written("farol", "from \x1b[2J", &[("viewer", "a\nb \u{9b}31m\"")], false);
        assert_eq!(line, "12:34:56.789Z info  from \\u{1b}[2J viewer=\"a\\nb \\u{9b}31m\\\"\"\n");
    }

    #[test]
    fn libraries_are_heard_from_warn_up() {
        let logger = Logger { level: LevelFilter::Debug, sink: Sink::Lines { is_coloured: false } };
        let is_heard =
            |target, level| logger.enabled(&Metadata::builder().target(target).level(level).build());
        assert!(is_heard("farol::io::mqtt", Level::Debug) && !is_heard("farol", Level::Trace));
        assert!(is_heard("rumqttc", Level::Warn) && !is_heard("rumqttc", Level::Info));
        assert!(is_heard("rtc::ice", Level::Error) && !is_heard("rtc_dtls::state", Level::Warn));
        assert!(!is_heard("farolito", Level::Info));
    }
}
