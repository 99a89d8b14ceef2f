//! Which of the packets that one viewer was sent can be sent to it again, and when did each leave?
//!
//! Payloads are not kept here: they are shared by everyone who was sent the picture.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Frame;
use crate::engine::bandwidth::Fate;
use crate::io::peer::Numbers;

/// Packets of the picture that can be repeated: a second and a half of 7 Mbit/s. What is asked for later is of no use any
/// more, and pictures are kept for it.
const MAX_PICTURE_PACKETS: usize = 1024;
const REPEATABLE: Duration = Duration::from_millis(1500);
/// Packets whose arrival is awaited: a report covers at most this many (its count has 16 bits, a second at 20
/// Mbit/s is 2,000).
const MAX_DEPARTURES: usize = 2048;
/// Of so many at least; of more than that, for as long as the longest queues make a packet wait and a report takes.
const FEW_DEPARTURES: usize = 512;
const AWAITED: Duration = Duration::from_secs(2);
/// A packet that is missing for so long is lost. Longer than between two reports, and than packets overtake each
/// other.
const OVERTAKEN: Duration = Duration::from_millis(120);
/// A packet is not repeated sooner than this after it has left.
const MIN_PATIENCE: Duration = Duration::from_millis(10);

/// One packet of a picture.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// What it was called.
    pub numbers: Numbers,
    /// The picture.
    pub frame: Arc<Frame>,
    /// Which of its payloads.
    pub part: usize,
    /// When it last left.
    at: Instant,
    /// It was sent more than once.
    is_repeated: bool,
}

/// The newest packets of the picture, by their sequence numbers, which have no gaps.
#[derive(Debug, Default)]
pub(super) struct History {
    sent: VecDeque<Sent>,
}

impl History {
    pub(super) fn push(&mut self, numbers: Numbers, frame: Arc<Frame>, part: usize, at: Instant) {
        while self.sent.len() >= MAX_PICTURE_PACKETS
            || self.sent.front().is_some_and(|sent| at.saturating_duration_since(sent.at) > REPEATABLE)
        {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { numbers, frame, part, at, is_repeated: false });
    }

    /// The picture that was begun last.
    pub(super) fn newest(&self) -> Option<&Frame> {
        self.sent.back().map(|sent| &*sent.frame)
    }

    /// The packet that the viewer misses, unless it is on its way once more. That a packet is missed the viewer
    /// knows only by what came after it; but of what was sent again it knows nothing for a `round_trip`.
    pub(super) fn missed(&mut self, sequence: u16, round_trip: Duration, now: Instant) -> Option<Sent> {
        let first = self.sent.front()?.numbers.sequence;
        let sent = self.sent.get_mut(usize::from(sequence.wrapping_sub(first)))?;
        let patience = if sent.is_repeated { round_trip.max(MIN_PATIENCE) } else { MIN_PATIENCE };
        if now.saturating_duration_since(sent.at) < patience {
            return None;
        }
        (sent.at, sent.is_repeated) = (now, true);
        Some(sent.clone())
    }
}

/// How a packet left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    /// When.
    pub at: Instant,
    /// On the wire; a datagram's length has 16 bits.
    pub bytes: u16,
    /// While a probe was sent.
    pub is_probe: bool,
}

/// When packets left, by their transport-wide numbers.
#[derive(Debug, Default)]
pub(super) struct Departures {
    first: u16,
    left: VecDeque<Option<Departure>>,
    /// What has not arrived until a report, and when that came.
    missing: VecDeque<(u16, Instant)>,
}

impl Departures {
    pub(super) fn push(&mut self, wide: u16, departure: Departure) {
        // One that nobody told of, since its report was lost, is awaited as long as there is room.
        while self.left.len() >= MAX_DEPARTURES
            || self.left.len() > FEW_DEPARTURES
                && self.left.front().is_some_and(|left| {
                    left.is_none_or(|left| departure.at.saturating_duration_since(left.at) > AWAITED)
                })
        {
            self.left.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        if self.left.is_empty() {
            self.first = wide;
        }
        let (index, next) = (usize::from(wide.wrapping_sub(self.first)), self.left.len());
        match self.left.get_mut(index) {
            // Sent again, for a viewer that takes no stream of its own for that.
            Some(left) => *left = Some(departure),
            None if index == next => self.left.push_back(Some(departure)),
            // The same, of a packet whose fate was told long ago.
            None => {}
        }
    }

    /// What became of packets, of those that are not known yet: each is told once. One that is missing may only have
    /// been overtaken, and counts as lost when the next reports do not know of it either.
    pub(super) fn fates(
        &mut self,
        now: Instant,
        arrivals: &[(u16, Option<Duration>)],
        fates: &mut Vec<Fate>,
    ) {
        fates.clear();
        while let Some(&(wide, since)) = self.missing.front()
            && now.saturating_duration_since(since) >= OVERTAKEN
        {
            self.missing.pop_front();
            self.tell(wide, None, fates);
        }
        for &(wide, arrived) in arrivals {
            if arrived.is_some() {
                self.tell(wide, arrived, fates);
            } else if self.missing.len() < MAX_DEPARTURES {
                self.missing.push_back((wide, now));
            }
        }
        while let Some(None) = self.left.front() {
            self.left.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    fn tell(&mut self, wide: u16, arrived: Option<Duration>, fates: &mut Vec<Fate>) {
        let index = usize::from(wide.wrapping_sub(self.first));
        if let Some(left) = self.left.get_mut(index).and_then(Option::take) {
            let Departure { at: departed, bytes, is_probe } = left;
            fates.push(Fate { departed, arrived, size: bytes.into(), is_probe });
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;
    use crate::engine::rendition::Rendition;
    use crate::engine::thinning::Importance;
    use crate::units::MediaTime;

    fn frame() -> Arc<Frame> {
        Arc::new(Frame {
            payloads: Vec::new(),
            captured: MediaTime::default(),
            importance: Importance::Reference,
            rendition: Rendition::Main,
            era: 0,
        })
    }

    #[test]
    fn what_was_missed_is_found_over_the_wrap_and_not_asked_for_twice_in_a_round_trip() {
        let (mut history, start) = (History::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        for n in 0..2000u16 {
            let sequence = 64_600u16.wrapping_add(n);
            history.push(Numbers { sequence, wide: None }, frame(), usize::from(n), start);
        }
        assert_eq!(history.sent.capacity(), MAX_PICTURE_PACKETS);
        let mut part = |sequence, ms| {
            let round_trip = Duration::from_millis(40);
            history.missed(sequence, round_trip, at(ms)).map(|sent| sent.part)
        };
        // Part 1063 of 2000.
        assert_eq!(part(127, 9), None, "it can hardly have arrived");
        assert_eq!(part(127, 30), Some(1063));
        assert_eq!(part(127, 69), None, "it is on its way again");
        assert_eq!(part(127, 70), Some(1063));
        assert_eq!(part(64_600, 100), None, "too long ago");
        assert_eq!(part(64_600u16.wrapping_add(2000), 100), None, "not sent yet");
    }

    #[test]
    fn pictures_are_kept_no_longer_than_they_are_of_use() {
        let (mut history, start, picture) = (History::default(), Instant::now(), frame());
        for n in 0..100u16 {
            let at = start + Duration::from_millis(u64::from(n) * 100);
            history.push(Numbers { sequence: n, wide: None }, picture.clone(), 0, at);
        }
        assert_eq!(Arc::strong_count(&picture), 1 + 16, "a second and a half");
        let at = start + Duration::from_secs(60);
        history.push(Numbers { sequence: 100, wide: None }, picture.clone(), 0, at);
        assert_eq!(Arc::strong_count(&picture), 2);
        assert!(history.newest().is_some() && history.missed(99, Duration::ZERO, at).is_none());
    }

    #[test]
    fn packet_that_is_sent_again_late_takes_no_other_ones_number() {
        let (mut departures, now, mut fates) = (Departures::default(), Instant::now(), Vec::new());
        let departure = |bytes| Departure { at: now, bytes, is_probe: false };
        let arrived = Some(Duration::from_secs(1));
        (0..10).for_each(|n| departures.push(n, departure(n)));
        departures.fates(now, &[0, 1, 2, 3].map(|n| (n, arrived)), &mut fates);
        departures.push(2, departure(2));
        departures.push(10, departure(10));
        departures.fates(now, &[9, 10].map(|n| (n, arrived)), &mut fates);
        assert_eq!(fates.iter().map(|fate| fate.size).collect::<Vec<_>>(), [9, 10]);
    }

    #[test]
    fn departures_that_nobody_tells_of_are_not_awaited_for_good() {
        assert!(size_of::<Option<Departure>>() <= 24);
        let (mut departures, start) = (Departures::default(), Instant::now());
        let mut fates = Vec::new();
        for n in 0..20_000u16 {
            // 300 packets a second, each told of after 100 ms, but for the first.
            let at = start + Duration::from_micros(u64::from(n) * 3_333);
            departures.push(n, Departure { at, bytes: 1000, is_probe: false });
            if n > 30 {
                let arrived = (n - 30, Some(Duration::from_millis(u64::from(n))));
                departures.fates(at, &[arrived], &mut fates);
                assert_eq!(fates.len(), 1, "{n}");
            }
        }
        assert!(departures.left.len() <= 601 && departures.left.capacity() <= 1024);
        for n in 20_000..60_000u16 {
            // A flood, and silence.
            let departure = Departure { at: start + Duration::from_secs(100), bytes: 1000, is_probe: false };
            departures.push(n, departure);
        }
        assert!(departures.left.len() <= MAX_DEPARTURES && departures.left.capacity() <= MAX_DEPARTURES);
    }

    #[test]
    fn every_fate_is_told_once() {
        let (mut departures, start, mut fates) = (Departures::default(), Instant::now(), Vec::new());
        for n in 0..5000u16 {
            let at = start + Duration::from_millis(n.into());
            departures.push(65_000u16.wrapping_add(n), Departure { at, bytes: 1000, is_probe: false });
        }
        let newest = 65_000u16.wrapping_add(4999);
        let arrived = Some(Duration::from_secs(1));
        let at = |ms: u64| start + Duration::from_millis(5000 + ms);
        let mut told = |ms: u64, arrivals: &[(u16, Option<Duration>)]| {
            departures.fates(at(ms), arrivals, &mut fates);
            let told = |fate: &Fate| ((fate.departed - start).as_millis(), fate.arrived.is_some());
            fates.iter().map(told).collect::<Vec<_>>()
        };
        let before = |n: u16| newest.wrapping_sub(n);
        let report = [(newest, arrived), (before(1), None), (before(2), None), (65_000, arrived)];
        assert_eq!(
            told(0, &report),
            [(4999, true)],
            "what is missing may still come, and 65000 is forgotten"
        );
        assert_eq!(told(50, &[(before(2), arrived), (newest, arrived)]), [(4997, true)]);
        assert_eq!(told(119, &[(before(1), None)]), []);
        assert_eq!(told(120, &[(before(3), arrived)]), [(4998, false), (4996, true)]);
        assert_eq!(told(500, &[(before(1), arrived), (newest.wrapping_add(1), arrived)]), []);
    }
}
