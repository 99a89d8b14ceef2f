//! What a viewer may do, and the key that proves who it is.
//!
//! Rights are given once, by `farol pair`, and enforced on what is sent and accepted on tracks and
//! channels; a viewer may ask for less than it has, never for more.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::Kid;

/// One thing that a viewer may or may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// See the picture.
    View,
    /// Hear the board's microphone.
    Listen,
    /// Speak through the board's speaker.
    Talk,
    /// Move, light or set what the board controls.
    Control,
}

impl Right {
    /// All of them, in the order in which they are written.
    pub const ALL: [Right; 4] = [Right::View, Right::Listen, Right::Talk, Right::Control];

    /// The word on the wire, in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Right::View => "view",
            Right::Listen => "listen",
            Right::Talk => "talk",
            Right::Control => "control",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Right::View => 1,
            Right::Listen => 2,
            Right::Talk => 4,
            Right::Control => 8,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Right {
    type Err = UnknownRight;

    fn from_str(text: &str) -> Result<Self, UnknownRight> {
        Right::ALL
            .into_iter()
            .find(|right| right.name() == text)
            .ok_or_else(|| UnknownRight(text.chars().take(32).collect()))
    }
}

/// A word that names no right, cut to 32 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a right: use some of view, listen, talk, control")]
pub struct UnknownRight(String);

/// A set of rights. As text it is `view,listen`; in JSON and TOML a list of words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rights(u8);

impl Rights {
    /// Nothing at all.
    pub const NONE: Rights = Rights(0);
    /// Everything.
    pub const ALL: Rights = Rights(0b1111);

    /// Whether the set holds this right.
    pub const fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// The set with this right in it.
    #[must_use]
    pub const fn with(self, right: Right) -> Rights {
        Rights(self.0 | right.bit())
    }

    /// What is in both: what was asked for, within what may be had.
    #[must_use]
    pub const fn intersection(self, other: Rights) -> Rights {
        Rights(self.0 & other.0)
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The rights in the set, in the order of [`Right::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        rights.into_iter().fold(Rights::NONE, Rights::with)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, right) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{right}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

impl FromStr for Rights {
    type Err = UnknownRight;

    /// Words between commas, spaces around them ignored; an empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, UnknownRight> {
        text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Right::from_str).collect()
    }
}

impl Serialize for Rights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.iter().count()))?;
        for right in self.iter() {
            list.serialize_element(right.name())?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Rights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        words.iter().map(|word| word.parse().map_err(D::Error::custom)).collect()
    }
}

/// A viewer that the device knows: the key shared with it, and what it may do.
#[derive(Clone, PartialEq, Eq)]
pub struct ViewerKey {
    /// The key's id: the viewer's slot and MQTT user name.
    pub kid: Kid,
    key: Key,
    /// Whose it is, as the person who paired it wrote.
    pub name: String,
    /// What this viewer may do.
    pub rights: Rights,
}

impl ViewerKey {
    /// A viewer with `key`, 32 random bytes that nobody else has.
    pub fn new(kid: Kid, key: [u8; 32], name: String, rights: Rights) -> Self {
        ViewerKey { kid, key: Key(key), name, rights }
    }

    /// The secret `K`. It belongs in the viewer's link, in the device's own file, and nowhere else.
    pub fn key(&self) -> &[u8; 32] {
        &self.key.0
    }
}

impl fmt::Debug for ViewerKey {
    /// Says who, and nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ViewerKey { kid, key: _, name, rights } = self;
        f.debug_struct("ViewerKey")
            .field("kid", kid)
            .field("name", name)
            .field("rights", rights)
            .finish_non_exhaustive()
    }
}

/// The bytes of a viewer's key, wiped when they are let go of, so that a core dump or a reused page
/// holds fewer copies. It is best effort: moves may leave others behind.
#[derive(Clone, PartialEq, Eq)]
struct Key([u8; 32]);

impl Drop for Key {
    fn drop(&mut self) {
        self.0 = [0; 32];
        // The compiler must suppose that somebody looks, so the wiping is not optimised away.
        std::hint::black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_read_back_as_they_are_written() {
        for bits in 0..16 {
            let rights = Rights(bits);
            assert_eq!(rights.to_string().parse(), Ok(rights));
            let json = serde_json::to_string(&rights).expect("a list of words is JSON");
            assert_eq!(serde_json::from_str::<Rights>(&json).expect("it was just written"), rights);
        }
        assert_eq!(Rights::ALL.to_string(), "view,listen,talk,control");
        assert_eq!(" talk , view".parse::<Rights>().map(|r| r.to_string()), Ok("view,talk".to_string()));
    }

    #[test]
    fn a_word_that_is_no_right_is_named_in_the_fault() {
        let fault = "view,watch".parse::<Rights>().expect_err("watch is not a right");
        assert!(fault.to_string().contains("`watch`"), "{fault}");
        assert!(serde_json::from_str::<Rights>(r#"["View"]"#).is_err());
    }

    #[test]
    fn a_viewer_gets_what_it_asks_for_within_its_rights() {
        let has = Rights::NONE.with(Right::View).with(Right::Listen);
        let wants = Rights::NONE.with(Right::View).with(Right::Talk);
        assert_eq!(wants.intersection(has), Rights::NONE.with(Right::View));
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        let viewer = ViewerKey::new(Kid(7), [0xa5; 32], "Ana".into(), Rights::ALL);
        let shown = format!("{viewer:?} {viewer:#?}");
        assert!(shown.contains("Ana") && shown.contains("0000000000000007"));
        assert!(!shown.contains("165") && !shown.to_lowercase().contains("a5"), "{shown}");
    }
}
