//! Quantities and identifiers, each a type of its own so that no two can be confused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(u32);

impl Bitrate {
    /// From bits per second.
    pub const fn from_bps(bps: u32) -> Self {
        Bitrate(bps)
    }
    /// From thousands of bits per second; saturates at `u32::MAX` bits per second.
    pub const fn from_kbps(kbps: u32) -> Self {
        Bitrate(kbps.saturating_mul(1000))
    }
    /// Bits per second.
    pub const fn bps(self) -> u32 {
        self.0
    }
    /// Thousands of bits per second, rounded down.
    pub const fn kbps(self) -> u32 {
        self.0 / 1000
    }
}

/// A moment on the board's `CLOCK_MONOTONIC`, the clock that V4L2 and ALSA stamp with. Audio and
/// video are put on one timeline by it, so lip sync does not depend on when a thread woke up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MediaTime(pub Duration);

impl MediaTime {
    /// The RTP timestamp of this moment on a clock of `hz`, before the random offset
    /// (RFC 3550 §5.1): the low 32 bits, which is what wraps on the wire.
    pub fn rtp(self, hz: u32) -> u32 {
        // 64 bits of nanoseconds times a clock of at most 90 000 Hz fits u128 with room to spare.
        ((self.0.as_nanos() * u128::from(hz)) / 1_000_000_000) as u32
    }
}

/// Samples of a 48 kHz clock, the only one that Opus over RTP has (RFC 7587 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Samples48k(pub u64);

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {digits} lower-case hexadecimal digits")]
pub struct BadId {
    what: &'static str,
    digits: usize,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $int:ty, $digits:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = BadId { what: $what, digits: $digits };
                let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() != $digits || !text.bytes().all(is_hex) {
                    return Err(bad);
                }
                <$int>::from_str_radix(text, 16).map($name).map_err(|_| bad)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// A device: 128 random bits, made once and kept for good.
    DeviceId, u128, 32, "a device id"
);
hex_id!(
    /// One life of a device: 128 random bits, new at each start.
    BootId, u128, 32, "a boot id"
);
hex_id!(
    /// One attempt of one viewer to watch: 128 random bits, chosen by the viewer.
    SessionId, u128, 32, "a session id"
);
hex_id!(
    /// One offer, used once by one session: 128 random bits.
    OfferId, u128, 32, "an offer id"
);
hex_id!(
    /// A viewer key's id: 64 random bits. It is also the viewer's MQTT user name.
    Kid, u64, 16, "a key id"
);

/// One peer connection of this process, numbered in the order in which they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_fixed_width_lower_case_hex() {
        let text = "00112233445566778899aabbccddeeff";
        assert_eq!(text.parse::<DeviceId>().map(|id| id.to_string()), Ok(text.to_string()));
        for bad in ["", "0011", "00112233445566778899AABBCCDDEEFF", "+0112233445566778899aabbccddeeff"] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad:?} was taken");
        }
        assert_eq!(Kid(0xab).to_string(), "00000000000000ab");
    }

    #[test]
    fn media_time_maps_to_both_rtp_clocks() {
        let at = MediaTime(Duration::from_millis(1500));
        assert_eq!(at.rtp(90_000), 135_000);
        assert_eq!(at.rtp(48_000), 72_000);
        // A year of uptime wraps instead of overflowing.
        let year = MediaTime(Duration::from_secs(31_536_000));
        assert_eq!(u64::from(year.rtp(90_000)), (31_536_000u64 * 90_000) & 0xffff_ffff);
    }
}
