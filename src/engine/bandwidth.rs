//! What does the network to one viewer carry? Found out from when packets left and when they arrived.
//!
//! ```text
//!            packets wait in a queue                     the queue is empty
//!   Free ─────────────────────────────▶ Draining ──────────────────────────────▶ Free
//!   goes up where a burst has shown      sends less than what arrives,            at 0.9 of what
//!   that there is room                   which is what the link carries           arrived meanwhile
//! ```
//!
//! While packets queue, the link is busy all the time, and what arrives is its capacity, whatever we send: so it
//! is measured once and not guessed downwards again and again. While none do, a large picture, which leaves
//! at once, arrives as fast as the link carries it: its packets' spread shows the room that there is. A burst's
//! first part is left out, since many links let some pass at once and only then keep to their rate. A picture
//! that is still has no such bursts: then a probe finds out (`probe`).
//!
//! A wait that sending less does not shorten is no queue of ours (`course`): the path has become longer, or others
//! fill it. What arrives is then only what we send, and says nothing of the link. Such a wait is taken for the path's
//! own, since to give way to it would be to give way for good.
//!
//! The times of arrival are those of transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions).
//! Pure: it is told the time.

mod course;
mod fallback;
mod probe;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::units::Bitrate;
use course::{Course, Waits};
use probe::{ANSWER_HOLDS, Prober};

pub use fallback::Fallback;
pub use probe::Probe;

/// A packet whose fate the viewer has told.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    /// When it left.
    pub departed: Instant,
    /// When it arrived, by the viewer's clock; `None`: it did not.
    pub arrived: Option<Duration>,
    /// On the wire, in bytes.
    pub size: usize,
    /// It left while a [`Probe`] was sent.
    pub is_probe: bool,
}

/// Packets wait this long when they queue; below it is what schedulers and radios do.
const QUEUED: Duration = Duration::from_millis(50);
/// The same behind a probe, which may be too much for the link.
const QUEUED_BY_A_PROBE: Duration = Duration::from_millis(150);
/// The queue is empty again.
const DRAINED: Duration = Duration::from_millis(15);
/// Every packet of so long a stretch has waited: one that came late means nothing.
const SUSTAINED: Duration = Duration::from_millis(80);
/// What arrives is measured over this.
const RATE_WINDOW: Duration = Duration::from_millis(400);
/// So many packets at most, whatever times a viewer tells: 1,200 bytes each are 49 Mbit/s.
const MAX_ARRIVALS: usize = 2048;
/// The shortest delay of this long a time is the path's own. Longer would not notice another path.
const BASE_WINDOW: Duration = Duration::from_secs(20);
/// Two packets of one burst leave within this.
const BURST_GAP: Duration = Duration::from_millis(3);
/// What a link may let pass at once; its rate shows behind that.
const BUCKET_BYTES: usize = 10_000;
/// So much must follow to say something.
const BURST_BYTES: usize = 5_000;
/// What a burst has shown holds for so long.
const EVIDENCE_HOLDS: Duration = Duration::from_secs(6);
/// One step up, and how long it must do well before the next.
const STEP_UP: f64 = 1.4;
const STEP_TIME: Duration = Duration::from_millis(300);
/// At what is sent meanwhile, the longest queue is gone after half of this.
const QUEUE_IS_GONE: Duration = Duration::from_millis(1200);
/// A wait that is the same for so long, though it is no queue's, is looked into: by sending less for a moment.
const ODD_WAIT: Duration = Duration::from_secs(2);
/// Without a burst that shows something, a step is tried after this; and after twice that when it failed.
const BLIND_AFTER: Duration = Duration::from_secs(2);
const BLIND_AT_MOST: Duration = Duration::from_secs(30);
/// A lossy network is left alone up to this share: radios lose packets without being full.
const TOLERATED_LOSS: f64 = 0.12;
/// Losses are judged after this time, and after four times as long where they might be chance.
const LOSS_WINDOW: Duration = Duration::from_millis(500);

/// A viewer that has told nothing for so long is not asked for more.
const SILENT: Duration = Duration::from_secs(1);

/// The estimate for one viewer.
#[derive(Clone, Debug)]
pub struct Bandwidth {
    min_bps: f64,
    max_bps: f64,
    target_bps: f64,
    state: State,
    /// A moment on both clocks, to compare delays by: only differences mean something.
    origin: Option<(Instant, Duration)>,
    /// Delays, when each was found, the shortest of the window first and rising from there.
    base: VecDeque<(Instant, i64)>,
    /// Arrivals of the rate window: when, bytes.
    arrivals: VecDeque<(Duration, usize)>,
    /// The delays of the latest packets: when they departed, microseconds above the base.
    delays: VecDeque<(Instant, i64)>,
    /// The waits of the latest reports.
    waits: Waits,
    /// Lost and all packets since the last look.
    lost: (u32, u32),
    loss_looked_at: Option<Instant>,
    burst: Burst,
    /// When the latest large picture left, how long it took to arrive, and what it has shown.
    large: Option<(Instant, Duration, f64)>,
    /// Bits per second that the burst which goes on has shown so far.
    showing_bps: Option<f64>,
    /// The same of the latest two bursts, and when.
    shown: VecDeque<(Instant, f64)>,
    stepped_at: Option<Instant>,
    blind_after: Duration,
    /// When it went up without evidence.
    blind_at: Option<Instant>,
    /// More than this is of no use.
    wanted_bps: f64,
    prober: Prober,
    reported_at: Option<Instant>,
    /// Of the latest look.
    is_losing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Free,
    Draining {
        since: Instant,
        /// What the link carries, as measured since it is full.
        capacity_bps: f64,
        /// What was sent before.
        before_bps: f64,
        /// How long packets waited at the beginning.
        waited: Duration,
        /// Sending less made the wait shorter.
        is_queue: bool,
    },
}

/// The packets of one picture, as they arrived.
#[derive(Clone, Copy, Debug, Default)]
struct Burst {
    last_departed: Option<Instant>,
    bytes: usize,
    /// The arrival and the bytes so far when the bucket was spent.
    from: Option<(Duration, usize)>,
    to: Duration,
}

impl Bandwidth {
    /// Starts at `start` and never leaves `min` to `max`. As much as at the start is wanted, until
    /// [`want`](Self::want) says otherwise.
    pub fn new(start: Bitrate, min: Bitrate, max: Bitrate) -> Self {
        let (min_bps, max_bps) = (f64::from(min.bps()), f64::from(max.bps().max(min.bps())));
        Bandwidth {
            min_bps,
            max_bps,
            target_bps: f64::from(start.bps()).clamp(min_bps, max_bps),
            state: State::Free,
            origin: None,
            base: VecDeque::new(),
            arrivals: VecDeque::new(),
            delays: VecDeque::new(),
            waits: Waits::default(),
            lost: (0, 0),
            loss_looked_at: None,
            burst: Burst::default(),
            large: None,
            showing_bps: None,
            shown: VecDeque::new(),
            stepped_at: None,
            blind_after: BLIND_AFTER,
            blind_at: None,
            wanted_bps: f64::from(start.bps()).clamp(min_bps, max_bps),
            prober: Prober::default(),
            reported_at: None,
            is_losing: false,
        }
    }

    /// No probe looks for more than this.
    pub fn want(&mut self, wanted: Bitrate) {
        self.wanted_bps = f64::from(wanted.bps()).clamp(self.min_bps, self.max_bps);
    }

    /// The probe to send now; to be asked after each report. Packets that leave while it is sent are to be
    /// reported as such. One that is not sent is forgotten by itself.
    pub fn probe(&mut self, now: Instant) -> Option<Probe> {
        let is_heard = self.reported_at.is_some_and(|at| now.saturating_duration_since(at) < SILENT);
        let is_full = self.state != State::Free || self.waiting() > DRAINED || self.is_losing;
        // A large picture has asked already, and a probe right behind it would find its queue.
        let is_answered = self.shown.back().is_some_and(|(at, shown_bps)| {
            now.saturating_duration_since(*at) < ANSWER_HOLDS && *shown_bps < self.target_bps * STEP_UP
        });
        if !is_heard || is_full || is_answered {
            return None;
        }
        self.prober.next(now, self.target_bps, self.wanted_bps)
    }

    /// Packets queue, and less is to be sent until they no longer do.
    pub fn is_draining(&self) -> bool {
        self.state != State::Free
    }

    /// What may be sent, in bits per second.
    pub fn target_bps(&self) -> f64 {
        self.target_bps
    }

    /// Takes what the viewer has told, in the order of departure.
    pub fn reported(&mut self, now: Instant, fates: &[Fate]) {
        if fates.is_empty() {
            return;
        }
        self.reported_at = Some(now);
        for fate in fates {
            let delay_us = fate.arrived.map(|arrived| self.arrived(now, fate, arrived));
            // What a probe loses was of no use to the viewer, and says no more than that it was too much.
            if !fate.is_probe {
                self.lost.1 += 1;
                self.lost.0 += u32::from(fate.arrived.is_none());
            }
            let shown = self.prober.reported(now, fate, delay_us, self.target_bps);
            if let (Some(shown_bps), State::Free) = (shown, self.state) {
                self.target_bps = self.target_bps.max(shown_bps);
                // Neither is a step tried now that the probe has just shown to be too long.
                (self.stepped_at, self.blind_after) = (Some(now), BLIND_AFTER);
            }
        }
        self.look_at_the_queue(now);
        self.look_at_losses(now);
        self.target_bps = self.target_bps.clamp(self.min_bps, self.max_bps);
    }

    /// Returns by how many microseconds the packet was slower than the fastest.
    fn arrived(&mut self, now: Instant, fate: &Fate, arrived: Duration) -> i64 {
        let (origin, origin_arrived) = *self.origin.get_or_insert((fate.departed, arrived));
        let after = |later: Instant| later.saturating_duration_since(origin).as_micros() as i64;
        // A viewer may tell any time.
        let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let delay = us(arrived).saturating_sub(us(origin_arrived)).saturating_sub(after(fate.departed));
        while self.base.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > BASE_WINDOW) {
            self.base.pop_front();
        }
        while self.base.back().is_some_and(|(_, other)| *other >= delay) {
            self.base.pop_back();
        }
        self.base.push_back((now, delay));
        let base = self.base.front().map_or(delay, |(_, base)| *base);
        let waited = delay.saturating_sub(base);
        self.delays.push_back((fate.departed, waited));
        while self
            .delays
            .front()
            .is_some_and(|(at, _)| fate.departed.saturating_duration_since(*at) > SUSTAINED)
        {
            self.delays.pop_front();
        }
        self.arrivals.push_back((arrived, fate.size));
        // A clock that was set back starts a window of its own.
        let is_of_now = |at: Duration| at <= arrived && arrived - at <= RATE_WINDOW;
        while self.arrivals.front().is_some_and(|(at, _)| !is_of_now(*at))
            || self.arrivals.len() > MAX_ARRIVALS
        {
            self.arrivals.pop_front();
        }
        if !fate.is_probe {
            self.burst_goes_on(now, fate, arrived);
        }
        waited
    }

    fn burst_goes_on(&mut self, now: Instant, fate: &Fate, arrived: Duration) {
        let goes_on = self
            .burst
            .last_departed
            .is_some_and(|last| fate.departed.saturating_duration_since(last) <= BURST_GAP);
        if !goes_on {
            self.burst = Burst::default();
            if let Some(showed_bps) = self.showing_bps.take() {
                self.shown.push_back((now, showed_bps));
                self.shown.drain(..self.shown.len().saturating_sub(2));
            }
        }
        let burst = &mut self.burst;
        burst.last_departed = Some(fate.departed);
        burst.bytes += fate.size;
        if burst.bytes < BUCKET_BYTES {
            return;
        }
        let (from, bytes) = *burst.from.get_or_insert((arrived, burst.bytes));
        burst.to = burst.to.max(arrived);
        let behind = burst.bytes - bytes;
        if behind >= BURST_BYTES {
            // Feedback counts in 250 µs: less than that between all of them is as fast as can be seen.
            let spread = burst.to.saturating_sub(from).max(Duration::from_micros(250));
            let shown_bps = behind as f64 * 8.0 / spread.as_secs_f64();
            // What takes longer is no picture.
            let took = Duration::from_secs_f64((burst.bytes as f64 * 8.0 / shown_bps).min(1.0));
            self.large = Some((fate.departed, took, shown_bps));
            self.showing_bps = Some(shown_bps);
        }
    }

    /// What two bursts agree on: one alone may have been held up somewhere and read at once.
    fn evidence_bps(&self, now: Instant) -> Option<f64> {
        let fresh = self.shown.iter().filter(|(at, _)| now.saturating_duration_since(*at) < EVIDENCE_HOLDS);
        let (count, lowest) = fresh.fold((0, f64::MAX), |(count, low), (_, bps)| (count + 1, low.min(*bps)));
        (count == 2).then_some(lowest)
    }

    /// The shortest wait of the latest packets.
    fn waiting(&self) -> Duration {
        let waiting = self.delays.iter().map(|(_, delay)| *delay).min().unwrap_or(0);
        Duration::from_micros(u64::try_from(waiting).unwrap_or(0))
    }

    fn arriving_bps(&self) -> f64 {
        let (Some(first), Some(last)) = (self.arrivals.front(), self.arrivals.back()) else { return 0.0 };
        let span = last.0.saturating_sub(first.0).max(Duration::from_millis(50));
        let bytes: usize = self.arrivals.iter().skip(1).map(|(_, size)| size).sum();
        bytes as f64 * 8.0 / span.as_secs_f64()
    }

    fn look_at_the_queue(&mut self, now: Instant) {
        let waiting = self.waiting();
        let span = match (self.delays.front(), self.delays.back()) {
            (Some((first, _)), Some((last, _))) => last.saturating_duration_since(*first),
            _ => Duration::ZERO,
        };
        let queued = self.tolerated_wait(now);
        self.waits.look(now, waiting);
        match self.state {
            State::Free if waiting > queued && span * 2 >= SUSTAINED => {
                self.begin_to_drain(now, waiting, self.arriving_bps().min(self.target_bps));
            }
            State::Free if waiting > DRAINED && self.waits.same_for(now) >= ODD_WAIT => {
                self.begin_to_drain(now, waiting, self.target_bps);
            }
            State::Free => self.go_up(now),
            State::Draining { .. } if waiting < DRAINED => self.end_of_the_queue(now),
            State::Draining { since, capacity_bps, before_bps, waited, is_queue } => {
                let (so_long, course) = (now.saturating_duration_since(since), self.waits.course());
                let is_queue = is_queue || course == Course::Shrinks;
                // So little is sent that a queue would be gone, or become shorter at least.
                if so_long > QUEUE_IS_GONE && (waiting * 4 > waited * 3 || course == Course::Stays) {
                    self.path_is_longer(now, if is_queue { capacity_bps } else { before_bps });
                    return;
                }
                let arriving = self.arriving_bps();
                let capacity_bps = match course {
                    // The first window still has arrivals from before the queue.
                    _ if so_long <= RATE_WINDOW => capacity_bps.min(arriving),
                    // What keeps up with what is sent does not show what the link carries, but that it carries this.
                    Course::Stays | Course::Shrinks if arriving < capacity_bps => capacity_bps,
                    _ => capacity_bps * 0.7 + arriving * 0.3,
                };
                self.state = State::Draining { since, capacity_bps, before_bps, waited, is_queue };
                self.target_bps = draining(capacity_bps, waiting);
            }
        }
    }

    /// Or others keep it full.
    fn path_is_longer(&mut self, now: Instant, carries_bps: f64) {
        self.base.clear();
        self.delays.clear();
        self.waits.clear();
        (self.state, self.target_bps, self.stepped_at) = (State::Free, carries_bps * 0.9, Some(now));
    }

    /// How long packets may wait before the link counts as full.
    fn tolerated_wait(&self, now: Instant) -> Duration {
        let behind_a_probe = if self.prober.settles(now) { QUEUED_BY_A_PROBE } else { QUEUED };
        // What queues behind a large picture is no sign of a full link when the picture itself passed as fast
        // as what is sent on average.
        let behind_a_picture = self.large.filter(|(departed, took, shown_bps)| {
            now.saturating_duration_since(*departed) < *took * 2 + Duration::from_millis(200)
                && *shown_bps >= self.target_bps
        });
        behind_a_picture.map_or(behind_a_probe, |(_, took, _)| behind_a_probe.max(QUEUED + took))
    }

    fn begin_to_drain(&mut self, now: Instant, waiting: Duration, capacity_bps: f64) {
        self.state = State::Draining {
            since: now,
            capacity_bps,
            before_bps: self.target_bps,
            waited: waiting,
            is_queue: false,
        };
        self.target_bps = draining(capacity_bps, waiting);
        self.waits.clear();
        self.shown.clear();
        self.showing_bps = None;
        self.prober.rest(now);
        if self.blind_at.take().is_some_and(|at| now.saturating_duration_since(at) < 2 * BLIND_AFTER) {
            self.blind_after = (self.blind_after * 2).min(BLIND_AT_MOST);
        }
    }

    fn end_of_the_queue(&mut self, now: Instant) {
        if let State::Draining { capacity_bps, before_bps, is_queue, .. } = self.state {
            // What vanished all at once was others' and not ours.
            self.target_bps = if is_queue { capacity_bps } else { before_bps } * 0.9;
        }
        self.state = State::Free;
        self.stepped_at = Some(now);
        self.prober.rest(now);
    }

    fn go_up(&mut self, now: Instant) {
        let since = now.saturating_duration_since(*self.stepped_at.get_or_insert(now));
        if self.waiting() > DRAINED || since < STEP_TIME {
            return;
        }
        let room = self.evidence_bps(now);
        let next = match room {
            Some(shown_bps) => (self.target_bps * STEP_UP).min(shown_bps * 0.85),
            None if since >= self.blind_after && self.target_bps < self.wanted_bps => {
                self.blind_at = Some(now);
                // What is not sent cannot prove anything.
                (self.target_bps * STEP_UP).min(self.arriving_bps() * 2.0)
            }
            None => return,
        };
        if next > self.target_bps {
            self.target_bps = next;
            self.stepped_at = Some(now);
            if room.is_some() {
                self.blind_after = BLIND_AFTER;
            }
        }
    }

    fn look_at_losses(&mut self, now: Instant) {
        let looked_at = *self.loss_looked_at.get_or_insert(now);
        let so_long = now.saturating_duration_since(looked_at);
        let packets = f64::from(self.lost.1);
        if so_long < LOSS_WINDOW || packets < 20.0 {
            return;
        }
        let share = f64::from(self.lost.0) / packets;
        // By chance the share of few packets is twice as high now and then: of 40 packets and 10% by 5 points.
        let by_chance = 2.0 * (TOLERATED_LOSS * (1.0 - TOLERATED_LOSS) / packets).sqrt();
        self.is_losing = share > TOLERATED_LOSS + by_chance;
        if !self.is_losing && share > TOLERATED_LOSS && so_long < LOSS_WINDOW * 4 {
            return;
        }
        if self.is_losing {
            self.prober.rest(now);
            self.target_bps *= 1.0 - share / 2.0;
            self.shown.clear();
            self.stepped_at = Some(now);
        }
        (self.lost, self.loss_looked_at) = ((0, 0), Some(now));
    }
}

/// What to send so that a queue is gone after about half a second, and the picture still moves.
fn draining(capacity_bps: f64, waiting: Duration) -> f64 {
    capacity_bps * (1.0 - waiting.as_secs_f64() / 0.4).clamp(0.4, 0.85)
}

#[cfg(test)]
mod tests;
