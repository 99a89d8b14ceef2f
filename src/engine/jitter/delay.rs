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
/// More than 98 of 100 packets needed, since the speaker's thread does not get its turn evenly either:
/// 10 ms. What still comes late is restored from the coarse copy in the next packet.
const MARGIN: i64 = 480;
/// After a packet was lost, so many looks (20 s) ask for 40 ms at least: then the next packet, which
/// carries its copy, is there when it is missed.
const WARY: u32 = 125;
/// A look lowers the target by no more than 0.7 ms, which playing faster keeps up with.
const LOWERED: i64 = 32;
/// A delay this near to its target is left alone: 1 ms.
const NEAR: f64 = 48.0;
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
    /// Looks for which a loss is remembered.
    wary: u32,
    target: i64,
    /// The delay of what is played, smoothed.
    delay: f64,
}

impl Default for DelayMeter {
    fn default() -> Self {
        DelayMeter {
            transits: VecDeque::new(),
            fastest: None,
            until_look: 0,
            wary: 0,
            target: FIRST,
            delay: 0.0,
        }
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
        if let Some(fastest) = self.fastest.filter(|&fastest| transit < fastest) {
            // What is played has waited longer than was thought.
            self.delay += (fastest - transit) as f64;
        }
        self.fastest = Some(self.fastest.map_or(transit, |fastest| fastest.min(transit)));
        match self.until_look.checked_sub(1) {
            Some(less) => self.until_look = less,
            None => self.look(),
        }
    }

    fn look(&mut self) {
        self.until_look = LOOK_EVERY - 1;
        self.wary = self.wary.saturating_sub(1);
        let Some(fastest) = self.transits.iter().copied().min() else { return };
        self.fastest = Some(fastest);
        // Those that not even the longest delay would wait for tell nothing of a better one.
        let in_reach = self.transits.iter().copied().filter(|transit| transit - fastest < MOST);
        let mut sorted: Vec<i64> = in_reach.collect();
        sorted.sort_unstable();
        let slowest = sorted.get(sorted.len() * 98 / 100).copied().unwrap_or(fastest);
        // The first packets tell nothing of jitter.
        let is_wary = self.wary > 0 || self.transits.len() < REMEMBERED / 8;
        let least = if is_wary { FIRST } else { LEAST };
        let wanted = (slowest - fastest + MARGIN).clamp(least, MOST);
        self.target = wanted.max(self.target - LOWERED);
    }

    /// A packet was lost.
    pub(super) fn lose(&mut self) {
        self.wary = WARY;
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
