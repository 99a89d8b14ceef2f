//! What happens to a picture when nobody takes it?
//!
//! Pictures that the channel has no room for are dropped, with all that follow them up to the next
//! keyframe, since they could not be decoded. Changes of state are never lost: the latest is kept
//! until there is room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::CaptureEvent;
use crate::engine::h264::AccessUnit;

/// Answers that wait for room; the first ones are lost beyond that, and who asked is told so by its own
/// patience. 64 are three seconds of what one viewer may ask.
const ANSWERS_HELD: usize = 64;

/// The capture thread's end of the channel.
#[derive(Debug)]
pub(super) struct Outlet {
    events: mpsc::Sender<CaptureEvent>,
    /// A change of state that found the channel full. A later one takes its place: it is the truth.
    unsent: Option<CaptureEvent>,
    /// Answers and lists that found the channel full, in order.
    unsent_answers: VecDeque<CaptureEvent>,
    /// A still that found the channel full. A later one takes its place: it is newer.
    unsent_still: Option<Bytes>,
    awaits_keyframe: bool,
    /// Pictures dropped since the last one that went out.
    dropped: u64,
    /// And since the start, for statistics.
    dropped_in_all: Arc<AtomicU64>,
}

/// What became of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in the channel.
    Sent,
    /// It was dropped, and nothing can be sent before the next keyframe.
    Dropped,
    /// As [`Fate::Dropped`], for want of room: the time to ask for that keyframe.
    NoRoom,
}

impl Fate {
    pub(super) fn is_keyframe_wanted(self) -> bool {
        self == Fate::NoRoom
    }
}

impl Outlet {
    pub(super) fn new(events: mpsc::Sender<CaptureEvent>, dropped_in_all: Arc<AtomicU64>) -> Self {
        Outlet {
            events,
            unsent: None,
            unsent_answers: VecDeque::new(),
            unsent_still: None,
            awaits_keyframe: true,
            dropped: 0,
            dropped_in_all,
        }
    }

    /// A source begins anew: nothing before its first keyframe is of use.
    pub(super) fn await_keyframe(&mut self) {
        self.awaits_keyframe = true;
    }

    pub(super) fn frame(&mut self, unit: AccessUnit) -> Fate {
        self.flush();
        if self.awaits_keyframe && !unit.is_keyframe {
            self.count_dropped();
            return Fate::Dropped;
        }
        if self.unsent.is_some() {
            return self.no_room();
        }
        match self.events.try_send(CaptureEvent::Frame(unit)) {
            Ok(()) => {
                if self.dropped > 0 {
                    log::debug!(dropped = self.dropped; "video goes on with a keyframe");
                }
                (self.awaits_keyframe, self.dropped) = (false, 0);
                Fate::Sent
            }
            Err(TrySendError::Full(_)) => self.no_room(),
            Err(TrySendError::Closed(_)) => Fate::Dropped,
        }
    }

    /// An answer to somebody, or a list that takes the place of the one before.
    pub(super) fn answer(&mut self, event: CaptureEvent) {
        if matches!(event, CaptureEvent::Controls(_)) {
            self.unsent_answers.retain(|unsent| !matches!(unsent, CaptureEvent::Controls(_)));
        }
        if self.unsent_answers.len() >= ANSWERS_HELD {
            self.unsent_answers.pop_front();
        }
        self.unsent_answers.push_back(event);
        self.flush();
    }

    pub(super) fn state(&mut self, event: CaptureEvent) {
        self.unsent = Some(event);
        self.flush();
    }

    pub(super) fn still(&mut self, still: Bytes) {
        self.unsent_still = Some(still);
        self.flush();
    }

    /// Tries again to send a change of state and a still that found no room.
    pub(super) fn flush(&mut self) {
        if let Some(event) = self.unsent.take()
            && let Err(TrySendError::Full(event)) = self.events.try_send(event)
        {
            self.unsent = Some(event);
            return;
        }
        while let Some(event) = self.unsent_answers.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                return self.unsent_answers.push_front(event);
            }
        }
        if let Some(still) = self.unsent_still.take()
            && let Err(TrySendError::Full(CaptureEvent::Snapshot(still))) =
                self.events.try_send(CaptureEvent::Snapshot(still))
        {
            self.unsent_still = Some(still);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    fn count_dropped(&mut self) {
        self.dropped += 1;
        self.dropped_in_all.fetch_add(1, Ordering::Relaxed);
    }

    fn no_room(&mut self) -> Fate {
        self.awaits_keyframe = true;
        self.count_dropped();
        Fate::NoRoom
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::control::ControlRefusal;
    use crate::units::MediaTime;
    use bytes::Bytes;

    fn unit(is_keyframe: bool) -> AccessUnit {
        AccessUnit { data: Bytes::from_static(&[0, 0, 1, 0x41]), is_keyframe, captured: MediaTime::default() }
    }

    #[test]
    fn a_full_channel_drops_pictures_up_to_the_next_keyframe() {
        let (sender, mut receiver) = mpsc::channel(2);
        let mut outlet = Outlet::new(sender, Arc::default());
        assert_eq!(outlet.frame(unit(false)), Fate::Dropped, "a decoder cannot start here");
        assert_eq!(outlet.frame(unit(true)), Fate::Sent);
        assert_eq!(outlet.frame(unit(false)), Fate::Sent);
        assert_eq!(outlet.frame(unit(false)), Fate::NoRoom);
        assert!(receiver.try_recv().is_ok());
        assert_eq!(outlet.frame(unit(false)), Fate::Dropped, "there is room, but nothing to decode it from");
        assert_eq!(outlet.frame(unit(true)), Fate::Sent);
    }

    #[test]
    fn answers_wait_for_room_and_keep_their_order() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outlet = Outlet::new(sender, Arc::default());
        outlet.frame(unit(true));
        let answer = |ticket| CaptureEvent::ControlSet { ticket, outcome: Err(ControlRefusal::NoCamera) };
        outlet.answer(CaptureEvent::Controls(vec![]));
        outlet.answer(answer(1));
        outlet.answer(CaptureEvent::Controls(vec![]));
        outlet.answer(answer(2));
        outlet.state(CaptureEvent::Paused);
        assert!(matches!(receiver.try_recv(), Ok(CaptureEvent::Frame(_))));
        for wanted in [CaptureEvent::Paused, answer(1), CaptureEvent::Controls(vec![]), answer(2)] {
            outlet.flush();
            assert_eq!(receiver.try_recv(), Ok(wanted));
        }
    }

    #[test]
    fn a_change_of_state_waits_for_room_and_stays_before_later_pictures() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outlet = Outlet::new(sender, Arc::default());
        outlet.frame(unit(true));
        outlet.state(CaptureEvent::Paused);
        assert_eq!(outlet.frame(unit(true)), Fate::NoRoom);
        assert!(matches!(receiver.try_recv(), Ok(CaptureEvent::Frame(_))));
        outlet.flush();
        assert_eq!(receiver.try_recv(), Ok(CaptureEvent::Paused));
        assert_eq!(outlet.frame(unit(true)), Fate::Sent);
    }
}
