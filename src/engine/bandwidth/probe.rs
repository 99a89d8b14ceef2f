//! Does a link carry more than is sent over it? Asked now and then by sending more for a moment.
//!
//! ```text
//!   less than what is wanted, no queue, no heavy loss
//!      │
//!      ▼          arrived as fast as it was sent                      arrived slower
//!   1.5 times ─────────────────────────────▶ 2 times ──▶ 3 times ─────────────────────▶ wait, 1.5 times
//!   the estimate                             at once     at once                        1.5 to 3 s
//! ```
//!
//! A still picture needs a fraction of what the link carries, and its packets say nothing of the rest. So what
//! is missing to the probe's rate is filled with packets of no content. A probe is short: when the link is
//! full after all, what queues behind it is some 100 ms of sending, and all probes together are at most
//! a tenth of what is sent anyway.

use std::time::{Duration, Instant};

use super::Fate;
use crate::units::Bitrate;

/// Sending at this rate, padding included, until so many bytes have left, tells what the link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Of all packets together.
    pub bitrate: Bitrate,
    /// Of all packets together, on the wire.
    pub bytes: usize,
    /// So many of these leave at once, and only what follows at the rate.
    pub at_once_bytes: usize,
}

/// By how much a probe exceeds the estimate: first, after one that passed, and after two in a row.
const FACTORS: [f64; 3] = [1.5, 2.0, 3.0];
/// What a link may let pass at once; its rate shows behind that. Sent at a rate of `r` times the link's, such
/// a bucket would last for `r / (r - 1)` times as much, so it is spent at once.
const BUCKET_BYTES: usize = 10_000;
/// So much follows, or as much as is sent in [`MEASURED`].
const MEASURED_BYTES: usize = 8_000;
const MEASURED: Duration = Duration::from_millis(30);
/// A slow link is not kept busy for longer than this by what leaves at once.
const AT_ONCE: Duration = Duration::from_millis(80);
/// A link that carries no more than the estimate is not kept busy for longer, unless it is very slow.
const LONGEST: Duration = Duration::from_millis(200);
/// Fewer than five packets say nothing.
const LEAST_BYTES: usize = 6_000;
/// The rest after a probe that did not pass, which becomes up to twice as long.
const REST: Duration = Duration::from_millis(1500);
/// What a queue or a large picture has shown is not asked again for so long.
pub(super) const ANSWER_HOLDS: Duration = Duration::from_millis(2500);
/// All probes may take this share of what the link carries.
const SHARE: f64 = 0.1;
/// Feedback comes within this, or not at all.
const FEEDBACK: Duration = Duration::from_secs(1);
/// What a probe that was too much has queued is gone within this.
const SETTLES: Duration = Duration::from_millis(500);
/// With fewer than this the share of a network's losses is taken to be its own.
const HEAVY_LOSS: f64 = 0.2;
/// A probe passed when it took this much longer to arrive than to leave, and what clocks round.
const STRETCH: f64 = 1.1;
const GRAIN: Duration = Duration::from_millis(1);
/// Packets do not queue while one of a few comes through as fast as this, or in a third of the time that it
/// would wait if the link carried no more than the estimate.
const UNQUEUED: Duration = Duration::from_millis(8);
/// What has passed may be used up to here: there is other traffic.
const USABLE: f64 = 0.9;
/// A probe that shows less than so much more has not passed: it would be repeated at once, for nothing.
const WORTH_IT: f64 = 0.05;
/// No probe is made for the last bit of what is wanted.
const ENOUGH: f64 = 0.9;

/// Asks one link.
#[derive(Clone, Debug, Default)]
pub(super) struct Prober {
    under_way: Option<UnderWay>,
    /// No probe before this.
    rests_until: Option<Instant>,
    /// Probes that passed, in a row.
    passed: usize,
    /// Probes that did not, in a row.
    failed: u32,
    settles_until: Option<Instant>,
}

/// A probe, as far as the viewer has told of it.
#[derive(Clone, Debug)]
struct UnderWay {
    probe: Probe,
    asked: Instant,
    /// Of the moment at which it was asked.
    estimate_bps: f64,
    bytes: usize,
    lost_bytes: usize,
    /// Departure and arrival when the bucket was spent, and the bytes until then.
    from: Option<(Instant, Duration, usize)>,
    to: Duration,
    last_departed: Option<Instant>,
    arrived_bytes: usize,
    /// The shortest delays of the first and the last third, in microseconds.
    delays: [Option<i64>; 2],
}

impl Prober {
    /// The link is full, or its path is another: what is known of it is too new to be asked again.
    pub(super) fn rest(&mut self, now: Instant) {
        (self.under_way, self.passed) = (None, 0);
        self.rests_until = Some(now + ANSWER_HOLDS);
    }

    /// Whether what queues may be a probe's own doing.
    pub(super) fn settles(&self, now: Instant) -> bool {
        self.under_way.is_some() || self.settles_until.is_some_and(|until| now < until)
    }

    /// The probe to send now, when less is known to pass than what is `wanted_bps`.
    pub(super) fn next(&mut self, now: Instant, estimate_bps: f64, wanted_bps: f64) -> Option<Probe> {
        self.give_up(now, estimate_bps);
        let is_early = self.rests_until.is_some_and(|until| now < until);
        if self.under_way.is_some() || is_early || estimate_bps >= wanted_bps * ENOUGH {
            return None;
        }
        let factor = FACTORS[self.passed.min(FACTORS.len() - 1)];
        let bps = (estimate_bps * factor).min(wanted_bps / USABLE);
        let bytes_within = |bps: f64, time: Duration| (bps / 8.0 * time.as_secs_f64()) as usize;
        let bytes = (BUCKET_BYTES + MEASURED_BYTES.max(bytes_within(bps, MEASURED)))
            .min(bytes_within(estimate_bps, LONGEST))
            .max(LEAST_BYTES);
        let at_once_bytes = BUCKET_BYTES.min(bytes_within(estimate_bps, AT_ONCE)).min(bytes / 2);
        // Estimates are at most some Gbit/s: the cast saturates.
        let probe = Probe { bitrate: Bitrate::from_bps(bps as u32), bytes, at_once_bytes };
        self.under_way = Some(UnderWay {
            probe,
            asked: now,
            estimate_bps,
            bytes: 0,
            lost_bytes: 0,
            from: None,
            to: Duration::ZERO,
            last_departed: None,
            arrived_bytes: 0,
            delays: [None; 2],
        });
        Some(probe)
    }

    /// Takes what the viewer has told of a packet that came `delay_us` later than the fastest of late. Returns
    /// what the link has shown, in bits per second, once the probe is through.
    pub(super) fn reported(
        &mut self,
        now: Instant,
        fate: &Fate,
        delay_us: Option<i64>,
        estimate_bps: f64,
    ) -> Option<f64> {
        let under_way = self.under_way.as_mut()?;
        if fate.is_probe {
            under_way.add(fate, delay_us);
        }
        under_way.is_through(fate).then(|| self.conclude(now, estimate_bps)).flatten()
    }

    fn give_up(&mut self, now: Instant, estimate_bps: f64) {
        let Some(under_way) = &self.under_way else { return };
        if now.saturating_duration_since(under_way.asked) > LONGEST + FEEDBACK {
            // What it may have shown is too little.
            let probe = under_way.probe;
            self.under_way = None;
            self.wait(now, &probe, estimate_bps);
        }
    }

    fn conclude(&mut self, now: Instant, estimate_bps: f64) -> Option<f64> {
        let under_way = self.under_way.take()?;
        self.settles_until = Some(now + SETTLES);
        let outcome = under_way.outcome();
        let shown = outcome.map(|(bps, has_passed)| (bps * USABLE, has_passed));
        match shown {
            Some((bps, true)) if bps > estimate_bps * (1.0 + WORTH_IT) => {
                self.passed += 1;
                self.failed = 0;
            }
            _ => self.wait(now, &under_way.probe, estimate_bps),
        }
        shown.map(|(bps, _)| bps)
    }

    fn wait(&mut self, now: Instant, probe: &Probe, estimate_bps: f64) {
        self.passed = 0;
        self.failed += 1;
        let affordable = Duration::from_secs_f64(probe.bytes as f64 * 8.0 / (estimate_bps.max(1.0) * SHARE));
        let rest = REST * (self.failed + 1).min(4) / 2;
        self.rests_until = Some(now + rest.max(affordable));
    }
}

impl UnderWay {
    fn add(&mut self, fate: &Fate, delay_us: Option<i64>) {
        self.bytes += fate.size;
        self.last_departed = Some(fate.departed);
        let Some(arrived) = fate.arrived else {
            self.lost_bytes += fate.size;
            return;
        };
        self.arrived_bytes += fate.size;
        let third = match self.bytes * 3 / self.probe.bytes.max(1) {
            0 => Some(0),
            1 => None,
            _ => Some(1),
        };
        if let (Some(third), Some(delay)) = (third, delay_us) {
            let shortest = &mut self.delays[third];
            *shortest = Some(shortest.map_or(delay, |known| known.min(delay)));
        }
        self.to = self.to.max(arrived);
        if self.bytes >= BUCKET_BYTES.min(self.probe.bytes / 2) {
            self.from.get_or_insert((fate.departed, arrived, self.arrived_bytes));
        }
    }

    /// All of it was told of, or what left after it was.
    fn is_through(&self, newest: &Fate) -> bool {
        let is_past = self.last_departed.is_some_and(|last| {
            !newest.is_probe && newest.departed.saturating_duration_since(last) > Duration::from_millis(20)
        });
        self.bytes >= self.probe.bytes || is_past
    }

    /// What arrived in a second, and whether the link would have carried more; `None`: too little arrived.
    fn outcome(&self) -> Option<(f64, bool)> {
        let (departed, arrived, bytes_before) = self.from?;
        let bytes = self.arrived_bytes.saturating_sub(bytes_before);
        let is_lossy = self.lost_bytes as f64 > self.bytes as f64 * HEAVY_LOSS;
        if bytes < LEAST_BYTES / 4 || is_lossy {
            return None;
        }
        let left_in = self.last_departed?.saturating_duration_since(departed);
        let arrived_in = self.to.saturating_sub(arrived);
        // A radio's jitter stretches a probe as a queue does, but now and then a packet comes through.
        let full_wait_s = bytes as f64
            * 8.0
            * (1.0 / self.estimate_bps.max(1.0) - 1.0 / f64::from(self.probe.bitrate.bps().max(1)));
        let unqueued_us = (UNQUEUED.as_micros() as f64).max(full_wait_s * 1e6 / 3.0);
        let [first, last] = self.delays;
        let is_unqueued =
            first.zip(last).is_some_and(|(first, last)| (last - first.min(0)) as f64 <= unqueued_us);
        let has_passed = arrived_in <= left_in.mul_f64(STRETCH) + GRAIN || is_unqueued;
        let took = if has_passed { left_in } else { arrived_in.max(left_in) };
        let bps = bytes as f64 * 8.0 / took.max(GRAIN).as_secs_f64();
        // A large picture may have left faster than the probe asked for: it was not what was measured.
        Some((bps.min(f64::from(self.probe.bitrate.bps())), has_passed))
    }
}
