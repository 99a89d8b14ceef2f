//! How long should a packet wait, so that nearly all are there in time, and how far off is it?
//!
//! The transit time of a packet is its arrival less its timestamp: an unknown constant between two
//! clocks, and the jitter above it. The fastest of the last ten seconds is taken for no jitter at all,
//! which follows a drift of 300 ppm within 3 ms. All quantities are samples at 48 kHz.

use std::collections::VecDeque;

/// Packets that are looked back on: ten seconds of 20 ms packets.
const REMEMBERED: usize = 512;
/// Packets from one look at all of them to the next.
const LOOK_EVERY: u32 = 8;
/// 20 ms: less is not worth its misses, since the speaker takes 20 ms at once.
const LEAST: i64 = 960;
/// 100 ms: with more a conversation becomes difficult, and the slowest packets are better lost.
const MOST: i64 = 4_800;
/// What is begun with, 40 ms: a Wi-Fi network's common jitter.
const FIRST: i64 = 1_920;
/// More than 97 of 100 packets needed; the coarse copy in the next packet restores the others.
const MARGIN: i64 = 240;
/// A look lowers the target by no more than 0.3 ms: what was needed once is needed again.
const LOWERED: i64 = 16;
/// A delay this near to its target is left alone: 3 ms.
const NEAR: f64 = 144.0;
/// The rest is worked off over five seconds,
const WORKED_OFF: f64 = 240_000.0;
/// and never by more than this share, which nobody hears.
const MOST_SPEED: f64 = 0.005;
/// Of each new delay in the smoothed one: the speaker's thread gets its turn a little early or late.
const SMOOTHING: f64 = 1.0 / 32.0;

/// Measures transit times, and knows the delay.
#[derive(Debug)]
pub(super) struct DelayMeter {
    transits: VecDeque<i64>,
    /// The transit time of the fastest.
    fastest: Option<i64>,
    until_look: u32,
    target: i64,
    /// The delay of what is played, smoothed.
    delay: f64,
}

impl Default for DelayMeter {
    fn default() -> Self {
        DelayMeter { transits: VecDeque::new(), fastest: None, until_look: 0, target: FIRST, delay: 0.0 }
    }
}

impl DelayMeter {
    /// How far this transit time is from the fastest; 0 when it is the first.
    pub(super) fn off(&self, transit: i64) -> i64 {
        self.fastest.map_or(0, |fastest| (transit - fastest).abs())
    }

    /// Takes a packet's transit time in.
    pub(super) fn note(&mut self, transit: i64) {
        if self.transits.len() == REMEMBERED {
            self.transits.pop_front();
        }
        self.transits.push_back(transit);
        self.fastest = Some(self.fastest.map_or(transit, |fastest| fastest.min(transit)));
        match self.until_look.checked_sub(1) {
            Some(less) => self.until_look = less,
            None => self.look(),
        }
    }

    fn look(&mut self) {
        self.until_look = LOOK_EVERY - 1;
        let mut sorted: Vec<i64> = self.transits.iter().copied().collect();
        sorted.sort_unstable();
        let (Some(&fastest), Some(&slowest)) = (sorted.first(), sorted.get(sorted.len() * 97 / 100)) else {
            return;
        };
        self.fastest = Some(fastest);
        // A first packet tells nothing of jitter.
        let least = if self.transits.len() < REMEMBERED / 8 { FIRST } else { LEAST };
        let wanted = (slowest - fastest + MARGIN).clamp(least, MOST);
        self.target = wanted.max(self.target - LOWERED);
    }

    /// How long a packet should wait.
    pub(super) fn target(&self) -> i64 {
        self.target
    }

    /// The delay of what is played so long after its timestamp.
    pub(super) fn of(&self, behind: i64) -> i64 {
        behind - self.fastest.unwrap_or(behind)
    }

    /// A talk spurt begins so long after its timestamp.
    pub(super) fn begin(&mut self, behind: i64) {
        self.delay = self.of(behind) as f64;
    }

    /// The next stretch is played so long after its timestamp.
    pub(super) fn played(&mut self, behind: i64) {
        self.delay += (self.of(behind) as f64 - self.delay) * SMOOTHING;
    }

    /// A stretch was put in, or left out when it is negative.
    pub(super) fn shift(&mut self, samples: i64) {
        self.delay += samples as f64;
    }

    /// The delay above its target.
    pub(super) fn error(&self) -> i64 {
        (self.delay - self.target as f64) as i64
    }

    /// How fast is to be played to mend that.
    pub(super) fn speed(&self) -> f64 {
        let error = self.delay - self.target as f64;
        let beyond = error - error.clamp(-NEAR, NEAR);
        1.0 + (beyond / WORKED_OFF).clamp(-MOST_SPEED, MOST_SPEED)
    }
}
