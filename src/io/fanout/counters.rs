//! What has one viewer been sent, and what has it told of that?

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::Traffic;

/// What has left, shared with the fan-out.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) frames_sent: AtomicU64,
    pub(super) frames_dropped: AtomicU64,
    pub(super) sound_sent: AtomicU64,
    pub(super) packets: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) latest_delay_us: AtomicU64,
    pub(super) repaired: AtomicU64,
    pub(super) padding_bytes: AtomicU64,
    pub(super) lost: [AtomicU64; 2],
    pub(super) keyframes_asked: AtomicU64,
    pub(super) estimate_bps: AtomicU32,
    /// Zero: not known yet.
    pub(super) round_trip_us: AtomicU64,
    /// The viewer does not get all of the main encode, since its network is too slow for that.
    pub(super) is_narrow: AtomicBool,
    /// Something that was taken from the queues has not left yet, or is to be repeated.
    pub(super) is_sending: AtomicBool,
}

impl Counters {
    pub(super) fn dropped(&self) {
        self.frames_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Zero: not known yet.
    pub(super) fn estimate_bps(&self) -> u32 {
        self.estimate_bps.load(Ordering::Relaxed)
    }

    pub(super) fn read(&self) -> Traffic {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let round_trip_us = of(&self.round_trip_us);
        Traffic {
            frames_sent: of(&self.frames_sent),
            frames_dropped: of(&self.frames_dropped),
            sound_sent: of(&self.sound_sent),
            packets: of(&self.packets),
            bytes: of(&self.bytes),
            latest_delay: Duration::from_micros(of(&self.latest_delay_us)),
            repaired: of(&self.repaired),
            padding_bytes: of(&self.padding_bytes),
            lost: self.lost.iter().map(of).sum(),
            keyframes_asked: of(&self.keyframes_asked),
            estimate_bps: self.estimate_bps.load(Ordering::Relaxed),
            round_trip: (round_trip_us > 0).then(|| Duration::from_micros(round_trip_us)),
        }
    }
}
