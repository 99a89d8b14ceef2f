//! A viewer's network in virtual time, from the queue before it to what it tells of what arrived.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::engine::bandwidth::{Bandwidth, Fate, Probe};
use crate::units::Bitrate;

const PACKET: usize = 1200;
/// As the shell paces.
const PACE_FACTOR: f64 = 2.5;
const BURST_BYTES: f64 = 32_768.0;
/// The longest that a packet waits in the link's queue.
const LINK_QUEUE_US: u64 = 200_000;
/// What the viewer tells of was on its way for so long.
const WAY_US: u64 = 20_000;

/// Randomness of its own for each part, so that what happens to one changes nothing for another.
#[derive(Clone, Debug)]
pub(super) struct Dice(ChaCha20Rng);

impl Dice {
    pub(super) fn new(seed: u64, part: u64) -> Dice {
        let mut dice = ChaCha20Rng::seed_from_u64(seed);
        dice.set_stream(part);
        Dice(dice)
    }

    /// Below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }

    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A picture of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Counted by the encoder; each but a keyframe refers to the one before.
    pub(super) number: u64,
    pub(super) is_keyframe: bool,
    pub(super) bytes: usize,
}

/// What becomes of it.
pub(super) struct Network {
    start: Instant,
    pub(super) kbps: u64,
    /// Of a thousand packets so many get lost though the link is not full.
    pub(super) lost_in_1000: u64,
    /// Nothing passes, in either direction.
    pub(super) is_out: bool,
    /// The task that takes from the queue does not run.
    pub(super) is_stalled: bool,
    pub(super) bandwidth: Bandwidth,
    /// Pictures that wait.
    pub(super) queue: VecDeque<Picture>,
    /// Of the first of them, what has not left yet.
    rest_bytes: usize,
    budget_bytes: f64,
    busy_until_us: u64,
    unreported: VecDeque<Fate>,
    probe: Option<(Probe, u64, usize)>,
    told_bps: f64,
    dice: Dice,
}

impl Network {
    pub(super) fn new(start: Instant, bandwidth: Bandwidth, kbps: u64, dice: Dice) -> Network {
        Network {
            start,
            kbps,
            lost_in_1000: 0,
            is_out: false,
            is_stalled: false,
            told_bps: bandwidth.target_bps(),
            bandwidth,
            queue: VecDeque::new(),
            rest_bytes: 0,
            budget_bytes: BURST_BYTES,
            busy_until_us: 0,
            unreported: VecDeque::new(),
            probe: None,
            dice,
        }
    }

    /// How many pictures wait, as the fan-out counts: what is being sent has left the queue.
    pub(super) fn queued(&self) -> usize {
        self.queue.len() - usize::from(self.rest_bytes > 0)
    }

    /// Lets `step` pass, up to `ms`. Returns whether the viewer lost something for good and wants a keyframe.
    pub(super) fn pass(&mut self, ms: u64, step_ms: u64) -> bool {
        let rate = self.bandwidth.target_bps() * PACE_FACTOR / 8000.0;
        self.budget_bytes = (self.budget_bytes + rate * step_ms as f64).min(BURST_BYTES);
        if self.is_stalled {
            return false;
        }
        let (mut n, mut lost) = (0, 0);
        while self.budget_bytes >= 0.0 && !self.queue.is_empty() {
            lost += u64::from(self.next_packet(ms * 1000 + n * 20));
            n += 1;
        }
        while let Some((probe, begun, sent)) = self.probe
            && self.queue.is_empty()
            && sent < probe.bytes
            && sent as u64
                <= probe.at_once_bytes as u64 + u64::from(probe.bitrate.bps()) * (ms - begun) / 8000
        {
            self.packet(ms * 1000 + n * 20, PACKET);
            n += 1;
        }
        if self.probe.is_some_and(|(probe, _, sent)| sent >= probe.bytes) {
            self.probe = None;
        }
        // Most of what is lost is repeated in time.
        lost > 0 && self.dice.once_in(5)
    }

    fn next_packet(&mut self, at_us: u64) -> bool {
        let Some(&picture) = self.queue.front() else { return false };
        if self.rest_bytes == 0 {
            self.rest_bytes = picture.bytes;
        }
        let size = self.rest_bytes.min(PACKET);
        self.rest_bytes -= size;
        self.budget_bytes -= size as f64;
        if self.rest_bytes == 0 {
            self.queue.pop_front();
        }
        self.packet(at_us, size)
    }

    /// Whether it is lost.
    fn packet(&mut self, at_us: u64, size: usize) -> bool {
        let begins = self.busy_until_us.max(at_us);
        let is_lost = self.is_out
            || begins - at_us > LINK_QUEUE_US
            || self.lost_in_1000 > 0 && self.dice.below(1000) < self.lost_in_1000;
        if !is_lost {
            self.busy_until_us = begins + size as u64 * 8000 / self.kbps.max(1);
        }
        let is_probe = self.probe.is_some();
        if let Some((_, _, sent)) = &mut self.probe {
            *sent += size;
        }
        let departed = self.start + Duration::from_micros(at_us);
        let arrived = (!is_lost).then(|| Duration::from_micros(self.busy_until_us + WAY_US));
        self.unreported.push_back(Fate { departed, arrived, size, is_probe });
        is_lost
    }

    /// What the viewer tells. Returns the estimate when it is news.
    pub(super) fn report(&mut self, ms: u64) -> Option<Bitrate> {
        if self.is_out {
            return None;
        }
        // In the order of departure: what was lost is known when something after it has arrived.
        let told = Duration::from_micros((ms * 1000).saturating_sub(WAY_US));
        let newest = self.unreported.iter().rposition(|fate| fate.arrived.is_some_and(|at| at <= told))?;
        let fates: Vec<Fate> = self.unreported.drain(..=newest).collect();
        let now = self.start + Duration::from_millis(ms);
        self.bandwidth.reported(now, &fates);
        if let Some(probe) = self.bandwidth.probe(now) {
            self.probe = Some((probe, ms, 0));
        }
        let bps = self.bandwidth.target_bps();
        let is_news = (bps - self.told_bps).abs() > self.told_bps / 50.0;
        is_news.then(|| {
            self.told_bps = bps;
            Bitrate::from_bps(bps as u32)
        })
    }
}
