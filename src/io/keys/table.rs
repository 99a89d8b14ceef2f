//! The text of `viewers.toml`.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Viewer;
use crate::engine::rights::{Rights, ViewerKey};
use crate::units::Kid;

const HEAD: &str = "\
# The viewers that this camera knows, written by `farol pair` and `farol revoke`.
# Each key opens the camera to whoever holds it: keep this file to yourself.
";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// How many viewers follow. A file that was cut off, even down to nothing, does not pass for a
    /// shorter one.
    count: usize,
    #[serde(default)]
    viewer: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kid: Kid,
    name: String,
    rights: Rights,
    paired_on: String,
    key: String,
}

/// The viewers of a file's text, or what is wrong with it. The fault shows nothing of the text itself,
/// since any part of it may be a key.
pub(super) fn parse(text: &str) -> Result<Vec<Viewer>, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not what farol wrote there")
    })?;
    if file.count != file.viewer.len() {
        return Err(format!("it says that it has {} viewers and has {}", file.count, file.viewer.len()));
    }
    let mut kids = BTreeSet::new();
    file.viewer
        .into_iter()
        .map(|entry| {
            let Entry { kid, name, rights, paired_on, key } = entry;
            if !kids.insert(kid) {
                return Err(format!("the key id {kid} stands in it twice"));
            }
            // The service's user can write this file, and root prints it.
            if name.chars().chain(paired_on.chars()).any(char::is_control) {
                return Err(format!("the name or day of {kid} has control characters"));
            }
            let bytes = URL_SAFE_NO_PAD.decode(&key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let bytes = bytes.ok_or_else(|| format!("the key of {kid} is not 32 bytes in base64url"))?;
            Ok(Viewer { key: ViewerKey::new(kid, bytes, name, rights), paired_on })
        })
        .collect()
}

/// The text of a file that holds these viewers.
pub(super) fn write(viewers: &[Viewer]) -> String {
    let entry = |viewer: &Viewer| Entry {
        kid: viewer.key.kid,
        name: viewer.key.name.clone(),
        rights: viewer.key.rights,
        paired_on: viewer.paired_on.clone(),
        key: URL_SAFE_NO_PAD.encode(viewer.key.key()),
    };
    let file = File { count: viewers.len(), viewer: viewers.iter().map(entry).collect() };
    let tables = toml::to_string(&file).expect("texts and lists of texts are TOML");
    format!("{HEAD}\n{tables}")
}

/// A moment's day in the Gregorian calendar (UTC), as `2026-07-28`.
///
/// Years are counted from March, so that the leap day is the last of its year; then the days before
/// a month follow from a straight line, (153 m + 2) / 5.
pub(super) fn day(now: SystemTime) -> String {
    let days = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    // 719 468 days lie between 0000-03-01 and 1970-01-01; 146 097 days make 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
