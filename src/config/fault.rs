//! What is wrong with a configuration: where, what stands there, what may stand there.

use std::fmt;

/// One fault. Written out, it is one line that names the key and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in the text; `None` for a key that is missing.
    pub at: Option<Position>,
    /// The key's path, such as `video.fps` or `ice.servers[0].urls`; empty for a fault of the syntax.
    pub key: String,
    /// What is the matter.
    pub problem: Problem,
}

/// A place in the text, both counted from 1 as editors do; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// What is the matter with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The text is not TOML.
    Syntax(String),
    /// There is no such key.
    Unknown {
        /// A key that exists and looks much like it.
        nearest: Option<String>,
    },
    /// The value cannot be.
    Value {
        /// What stands there, cut short; nothing of a secret.
        given: String,
        /// What may stand there.
        allowed: String,
    },
    /// The value does not go with the others, or the others need this key; a whole sentence.
    Conflict(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.at {
            match self.problem {
                Problem::Syntax(_) => write!(f, "line {line}, column {column}: ")?,
                _ => write!(f, "line {line}: ")?,
            }
        }
        let key = &self.key;
        match &self.problem {
            Problem::Syntax(what) => write!(f, "not valid TOML: {what}"),
            Problem::Unknown { nearest: Some(nearest) } => {
                write!(f, "unknown key `{key}`: did you mean `{nearest}`?")
            }
            Problem::Unknown { nearest: None } => write!(f, "unknown key `{key}`"),
            Problem::Value { given, allowed } => write!(f, "`{key}` is {given}, it must be {allowed}"),
            Problem::Conflict(what) => write!(f, "`{key}` {what}"),
        }
    }
}

impl Position {
    /// The place of a byte offset, which need not be on a character's boundary or inside the text.
    pub(super) fn of(offset: usize, text: &str) -> Position {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.iter().filter(|b| **b == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
        }
    }
}

/// The known key that a person most likely meant. Two keys are alike when the last word differs by no
/// more than a third of its letters, or when it is the same word in another section.
pub(super) fn nearest<'k>(unknown: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_string();
    let section = |key: &str| key.rsplit_once('.').map_or("", |(section, _)| section).to_string();
    known
        .filter_map(|key| {
            let (ours, theirs) = (last(key), last(unknown));
            // A word cut short is the commonest slip of all: `bitrate` for `bitrate_kbps`.
            let is_start = theirs.len() >= 3 && ours.starts_with(&theirs);
            let distance = if is_start { 0 } else { edits(&ours, &theirs) };
            let is_alike = distance * 3 <= ours.chars().count().max(3);
            // A slip inside the right section is likelier than a key from elsewhere.
            let is_elsewhere = section(key) != section(unknown);
            is_alike.then_some((is_elsewhere, distance, key))
        })
        .min()
        .map(|(_, _, key)| key)
}

/// How many letters must be added, taken away, changed, or swapped with their neighbour to turn one
/// word into the other (optimal string alignment). Both are cut to 64 characters, so that a hostile key
/// costs nothing.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    // `rows[i][j]` turns the first i letters of a into the first j letters of b.
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_counts_letters() {
        for (a, b, distance) in
            [("", "", 0), ("fps", "fps", 0), ("fps", "fsp", 1), ("", "abc", 3), ("bitrat", "bitrate", 1)]
        {
            assert_eq!(edits(a, b), distance, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_key_is_a_slip_in_the_section_or_the_same_word_elsewhere() {
        let known = ["video.fps", "video.bitrate_kbps", "audio.bitrate_kbps", "http.listen"];
        let nearest = |unknown| nearest(unknown, known.into_iter());
        assert_eq!(nearest("video.bitrat_kbps"), Some("video.bitrate_kbps"));
        assert_eq!(nearest("audio.bitrate_kbs"), Some("audio.bitrate_kbps"));
        assert_eq!(nearest("video.listen"), Some("http.listen"));
        assert_eq!(nearest("video.bitrate"), Some("video.bitrate_kbps"));
        assert_eq!(nearest("listen"), Some("http.listen"));
        assert_eq!(nearest("video.zoom"), None);
    }

    #[test]
    fn positions_count_from_one_in_characters() {
        let text = "a\nçé = 1\n";
        assert_eq!(Position::of(0, text), Position { line: 1, column: 1 });
        assert_eq!(Position::of(7, text), Position { line: 2, column: 4 });
        assert_eq!(Position::of(usize::MAX, text), Position { line: 3, column: 1 });
        assert_eq!(Position::of(9, ""), Position { line: 1, column: 1 });
    }
}
