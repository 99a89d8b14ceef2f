//! How many packets of no content does a probe still need, and when?
//!
//! Whatever else leaves meanwhile counts: a probe is a rate, and padding is only what is missing to it. A probe
//! ends when all of it has left, or a second after it was begun.

use std::time::{Duration, Instant};

use crate::engine::bandwidth::Probe;

/// The longest padding there is: the last byte says how long it is (RFC 3550 §5.1).
const LENGTH: usize = 255;
/// A payload that is nothing else.
pub(super) const PADDING: &[u8] = &{
    let mut padding = [0; LENGTH];
    padding[LENGTH - 1] = LENGTH as u8;
    padding
};
/// The timer's grain.
const GRAIN: Duration = Duration::from_millis(1);
/// A probe that a busy board did not send in this time measures the board.
const LONGEST: Duration = Duration::from_secs(1);

/// The probe that is being sent, if any.
#[derive(Debug, Default)]
pub(super) struct Padding {
    under_way: Option<UnderWay>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    probe: Probe,
    begun: Instant,
    sent_bytes: usize,
}

impl Padding {
    /// One that was not finished is forgotten.
    pub(super) fn begin(&mut self, probe: Probe, now: Instant) {
        self.under_way = Some(UnderWay { probe, begun: now, sent_bytes: 0 });
    }

    /// Whether there is something to send.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// How long until the next packet is owed.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let Some(under_way) = self.under_way else { return Duration::ZERO };
        if under_way.owes(now) { Duration::ZERO } else { GRAIN }
    }

    /// Whether one more packet is to leave now. The end of the probe is found out here.
    pub(super) fn is_owed(&mut self, now: Instant) -> bool {
        self.under_way = self.under_way.filter(|probe| now.saturating_duration_since(probe.begun) < LONGEST);
        self.under_way.is_some_and(|under_way| under_way.owes(now))
    }

    /// Takes note of a packet of any kind that leaves, and says whether it belongs to a probe.
    pub(super) fn left(&mut self, bytes: usize) -> bool {
        let Some(under_way) = &mut self.under_way else { return false };
        under_way.sent_bytes += bytes;
        if under_way.sent_bytes >= under_way.probe.bytes {
            self.under_way = None;
        }
        true
    }
}

impl UnderWay {
    fn owes(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.begun).as_secs_f64();
        let paced = f64::from(self.probe.bitrate.bps()) / 8.0 * elapsed;
        self.sent_bytes < self.probe.bytes
            && (self.sent_bytes as f64) < self.probe.at_once_bytes as f64 + paced
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;
    use crate::units::Bitrate;

    #[test]
    fn padding_fills_what_the_picture_leaves_of_the_probes_rate() {
        let (start, mut padding) = (Instant::now(), Padding::default());
        // 100 bytes in a millisecond.
        let probe = Probe { bitrate: Bitrate::from_kbps(800), bytes: 6_000, at_once_bytes: 2_000 };
        padding.begin(probe, start);
        let (mut packets, mut last_ms) = ([0; 60], 0);
        for ms in 0..60 {
            let now = start + Duration::from_millis(ms);
            if ms == 20 {
                assert!(padding.left(1_200), "the picture belongs to it");
            }
            while padding.is_owed(now) {
                assert!(padding.left(300));
                packets[ms as usize] += 1;
                last_ms = ms;
            }
        }
        assert_eq!(packets[0], 7, "2000 bytes at once");
        assert_eq!(packets.iter().sum::<u32>(), 16, "6000 bytes less the picture's");
        assert_eq!(packets[20..28], [0; 8], "the picture was enough for a while: {packets:?}");
        assert!((36..=40).contains(&last_ms), "{last_ms}");
        assert!(!padding.is_under_way() && !padding.left(300));
    }

    #[test]
    fn probe_that_cannot_be_sent_ends() {
        let (start, mut padding) = (Instant::now(), Padding::default());
        padding.begin(Probe { bitrate: Bitrate::from_kbps(800), bytes: 6_000, at_once_bytes: 0 }, start);
        assert!(!padding.is_owed(start + LONGEST) && !padding.is_under_way());
    }
}
