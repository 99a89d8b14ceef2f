//! Which card is meant by a name such as `hw:1`, also after it was unplugged and came back elsewhere?
//!
//! A card's number is its place in the order of plugging in; its id stays. A name that has the number
//! is taken at its word at the first opening. From then on it means the card that was found there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use alsa::Ctl;
use alsa::pcm::PCM;

/// Card ids by the name in the configuration, for as long as the process lives: as many as there are
/// sound devices in the configuration. Capture and playback have a thread each.
static SEEN: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// The name to open now: the configured one, or with the id of the card that it meant before.
pub(super) fn name_now(configured: &str) -> String {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    match (seen.get(configured), Numbered::parse(configured)) {
        (Some(id), Some(numbered)) => numbered.with(id),
        _ => configured.to_owned(),
    }
}

/// Remembers the card that a name with a number means, at its first opening; says its id then.
pub(super) fn remember(configured: &str, pcm: &PCM) -> Option<String> {
    Numbered::parse(configured)?;
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.contains_key(configured) {
        return None;
    }
    let card = pcm.info().ok()?.get_card();
    let control = Ctl::from_card(&alsa::Card::new(card), true).ok()?;
    let id = control.card_info().ok()?.get_id().ok()?.to_owned();
    seen.insert(configured.to_owned(), id.clone());
    Some(id)
}

/// A PCM's name in which the card stands as a number: `hw:1`, `plughw:1,0`, `dsnoop:CARD=1,DEV=0`.
#[derive(Debug, PartialEq, Eq)]
struct Numbered<'a> {
    /// Up to the number.
    before: &'a str,
    /// What follows it.
    after: &'a str,
}

impl<'a> Numbered<'a> {
    fn parse(name: &'a str) -> Option<Numbered<'a>> {
        let (plugin, arguments) = name.split_once(':')?;
        let first = arguments.strip_prefix("CARD=").unwrap_or(arguments);
        let digits = first.len() - first.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (before, after) = name.split_at(name.len() - first.len());
        let after = &after[digits..];
        let is_plain = plugin.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_number = digits > 0 && (after.is_empty() || after.starts_with(','));
        (is_plain && is_number).then_some(Numbered { before, after })
    }

    fn with(&self, id: &str) -> String {
        format!("{}{id}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_from_an_id() {
        for (name, expected) in [
            ("hw:1", Some("hw:Mic")),
            ("hw:1,0", Some("hw:Mic,0")),
            ("plughw:10,0,3", Some("plughw:Mic,0,3")),
            ("dsnoop:CARD=2,DEV=1", Some("dsnoop:CARD=Mic,DEV=1")),
            ("hw:Device", None),
            ("hw:CARD=Device,DEV=0", None),
            ("hw:1st", None),
            ("hw:", None),
            ("default", None),
            ("plug:'hw:1'", None),
        ] {
            assert_eq!(Numbered::parse(name).map(|n| n.with("Mic")).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_name_is_opened_as_it_stands_until_its_card_was_seen() {
        assert_eq!(name_now("hw:31,7"), "hw:31,7");
        SEEN.lock().expect("no test panicked in here").insert("hw:31,7".to_owned(), "Webcam".to_owned());
        assert_eq!(name_now("hw:31,7"), "hw:Webcam,7");
    }
}
