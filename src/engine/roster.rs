//! All sessions: who is let in, who has to give way, and what is remembered of those that are over.
//!
//! It acts on nothing: `station` asks it and does what follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::engine::message::RejectCode;
use crate::engine::rights::Rights;
use crate::engine::session::State;
use crate::engine::topic::Slot;
use crate::units::{BootId, OfferId, PeerId, SessionId};

/// A viewer key may have this many sessions at once: a phone and a tablet, say. Open mode has no such limit.
pub const SESSIONS_PER_KID: usize = 2;
/// So many session ids are remembered for a slot before the device takes a new boot and forgets them.
pub const REMEMBERED_PER_SLOT: usize = 1024;
/// An offer of a session's own lives so long unanswered, and an answered session has so long to connect.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A session's name: its slot and its id.
pub type Key = (Slot, SessionId);

/// What is known of one session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The boot that its keys are derived from.
    pub boot: BootId,
    /// Where it stands.
    pub state: State,
    /// What it may do, of what it asked for.
    pub granted: Rights,
    /// The highest counter received from it.
    pub received_n: u64,
    /// The last counter sent to it.
    pub sent_n: u64,
    /// Its one peer connection.
    pub peer: Option<PeerId>,
    /// The offer (or reoffer) that it has not answered yet.
    pub pending: Option<Pending>,
    /// The offer that it answered.
    pub answered: Option<OfferId>,
    /// When it entered its state.
    pub since: Instant,
    /// When it first had a place; the oldest gives way first.
    admitted: u64,
}

/// An offer made for one session alone.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its id.
    pub offer: OfferId,
    /// How it is told: a plain `offer` or `reoffer`, or inside a `reject` with this code.
    pub inside: Option<RejectCode>,
    /// The SDP as it was sent, once the peer connection has made it.
    pub sdp: Option<String>,
}

/// Whether a session may have a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Free,
    /// It may when this one is ended first.
    Replacing(Key),
    /// It may not.
    Full,
}

/// The sessions of this device.
#[derive(Debug)]
pub struct Roster {
    max_connected: usize,
    sessions: HashMap<Key, Session>,
    /// Those that hold a place: offering, connecting, streaming.
    live: BTreeSet<Key>,
    remembered: BTreeMap<Slot, usize>,
    admissions: u64,
}

impl Roster {
    /// An empty roster for at most `max_connected` connected sessions.
    pub fn new(max_connected: usize) -> Self {
        Roster {
            max_connected,
            sessions: HashMap::new(),
            live: BTreeSet::new(),
            remembered: BTreeMap::new(),
            admissions: 0,
        }
    }

    /// What is known of a session.
    pub fn session(&self, key: &Key) -> Option<&Session> {
        self.sessions.get(key)
    }

    /// The same, to be changed; its state only through [`enter`](Self::enter).
    pub fn session_mut(&mut self, key: &Key) -> Option<&mut Session> {
        self.sessions.get_mut(key)
    }

    /// Remembers a session that has just shown itself authentic.
    pub fn remember(&mut self, key: Key, boot: BootId, now: Instant) {
        self.sessions.entry(key).or_insert_with(|| {
            *self.remembered.entry(key.0).or_default() += 1;
            Session {
                boot,
                state: State::New,
                granted: Rights::NONE,
                received_n: 0,
                sent_n: 0,
                peer: None,
                pending: None,
                answered: None,
                since: now,
                admitted: 0,
            }
        });
    }

    /// Whether so many sessions of this slot are remembered that it is time for a new boot.
    pub fn is_crowded(&self, slot: Slot) -> bool {
        self.remembered.get(&slot).is_some_and(|count| *count >= REMEMBERED_PER_SLOT)
    }

    /// Forgets every session that is over or never began: their boot is past, so nothing replayed
    /// from them would authenticate.
    pub fn forget_ended(&mut self) {
        self.sessions.retain(|key, _| self.live.contains(key));
        self.remembered.clear();
        for (slot, _) in self.sessions.keys() {
            *self.remembered.entry(*slot).or_default() += 1;
        }
    }

    /// Puts a session into a state.
    pub fn enter(&mut self, key: &Key, state: State, now: Instant) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.state != state {
            session.since = now;
        }
        session.state = state;
        if matches!(state, State::New | State::Ended) {
            self.live.remove(key);
        } else if self.live.insert(*key) {
            self.admissions += 1;
            session.admitted = self.admissions;
        }
    }

    /// Whether a new session of `slot` may have a place: first the key's own limit, then the device's.
    pub fn admit(&self, slot: Slot) -> Admission {
        let of_slot = || self.live_sessions().filter(move |(key, _)| key.0 == slot);
        let oldest_waiting = of_slot()
            .filter(|(_, session)| session.state != State::Streaming)
            .min_by_key(|(_, session)| session.admitted)
            .map(|(key, _)| key);
        let key_is_full = matches!(slot, Slot::Kid(_)) && of_slot().count() >= SESSIONS_PER_KID;
        match (self.is_full(), key_is_full || self.live.len() >= self.max_connected, oldest_waiting) {
            (true, _, _) => Admission::Full,
            (false, true, Some(oldest)) => Admission::Replacing(oldest),
            (false, _, _) if key_is_full => Admission::Full,
            (false, _, _) => Admission::Free,
        }
    }

    /// Whether no more sessions may connect.
    pub fn is_full(&self) -> bool {
        self.connected() >= self.max_connected
    }

    /// How many sessions stream.
    pub fn connected(&self) -> usize {
        self.live_sessions().filter(|(_, session)| session.state == State::Streaming).count()
    }

    /// Whether a session holds a place.
    pub fn is_live(&self, key: &Key) -> bool {
        self.live.contains(key)
    }

    /// The sessions that hold a place.
    pub fn live_sessions(&self) -> impl Iterator<Item = (Key, &Session)> {
        self.live.iter().filter_map(|key| self.sessions.get(key).map(|session| (*key, session)))
    }

    /// Whose peer connection this is.
    pub fn owner(&self, peer: PeerId) -> Option<Key> {
        self.live_sessions().find(|(_, session)| session.peer == Some(peer)).map(|(key, _)| key)
    }

    /// A session whose time in its state is over.
    pub fn expired(&self, now: Instant) -> Option<Key> {
        self.expiries().find(|(_, at)| *at <= now).map(|(key, _)| key)
    }

    /// When the next session's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.expiries().map(|(_, at)| at).min()
    }

    fn expiries(&self) -> impl Iterator<Item = (Key, Instant)> {
        self.live_sessions()
            .filter(|(_, session)| session.state != State::Streaming)
            .map(|(key, session)| (key, session.since + PATIENCE))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;
    use crate::units::Kid;
    use proptest::prelude::*;

    fn enter(roster: &mut Roster, slot: Slot, id: u128, state: State) -> Key {
        let (key, now) = ((slot, SessionId(id)), Instant::now());
        roster.remember(key, BootId(1), now);
        roster.enter(&key, state, now);
        key
    }

    #[test]
    fn the_oldest_waiting_session_of_a_key_gives_way() {
        let mut roster = Roster::new(8);
        let slot = Slot::Kid(Kid(1));
        let first = enter(&mut roster, slot, 9, State::Offering);
        assert_eq!(roster.admit(slot), Admission::Free);
        enter(&mut roster, slot, 1, State::Connecting);
        assert_eq!(roster.admit(slot), Admission::Replacing(first));
        roster.enter(&first, State::Streaming, Instant::now());
        let second = (slot, SessionId(1));
        assert_eq!(roster.admit(slot), Admission::Replacing(second));
        roster.enter(&second, State::Streaming, Instant::now());
        assert_eq!(roster.admit(slot), Admission::Full);
        assert_eq!(roster.admit(Slot::Kid(Kid(2))), Admission::Free);
    }

    #[test]
    fn only_connected_sessions_make_the_device_full() {
        let mut roster = Roster::new(2);
        let waiting = enter(&mut roster, Slot::Kid(Kid(1)), 1, State::Offering);
        enter(&mut roster, Slot::Kid(Kid(2)), 2, State::Offering);
        assert_eq!(roster.admit(Slot::Kid(Kid(3))), Admission::Free);
        assert_eq!(roster.admit(Slot::Kid(Kid(1))), Admission::Replacing(waiting));
        enter(&mut roster, Slot::Kid(Kid(1)), 1, State::Streaming);
        enter(&mut roster, Slot::Kid(Kid(2)), 2, State::Streaming);
        assert_eq!(roster.admit(Slot::Kid(Kid(3))), Admission::Full);
        enter(&mut roster, Slot::Kid(Kid(2)), 2, State::Ended);
        assert_eq!(roster.admit(Slot::Kid(Kid(3))), Admission::Free);
    }

    #[test]
    fn open_mode_waiters_are_bounded_by_the_device() {
        let mut roster = Roster::new(4);
        for id in 0..4 {
            assert_eq!(roster.admit(Slot::Open), Admission::Free);
            enter(&mut roster, Slot::Open, id, State::Offering);
        }
        assert_eq!(roster.admit(Slot::Open), Admission::Replacing((Slot::Open, SessionId(0))));
    }

    #[test]
    fn ended_sessions_are_remembered_until_a_new_boot() {
        let mut roster = Roster::new(4);
        let slot = Slot::Kid(Kid(1));
        let live = enter(&mut roster, slot, 0, State::Streaming);
        for id in 1..REMEMBERED_PER_SLOT as u128 {
            enter(&mut roster, slot, id, State::Ended);
        }
        assert!(roster.is_crowded(slot) && roster.session(&(slot, SessionId(5))).is_some());
        roster.forget_ended();
        assert!(!roster.is_crowded(slot) && roster.session(&(slot, SessionId(5))).is_none());
        assert!(roster.session(&live).is_some());
    }

    proptest! {
        #[test]
        fn any_order_of_operations_keeps_the_counts(ops in proptest::collection::vec((0u8..6, 0u64..4, 0u128..6), 1..200)) {
            let (mut roster, now) = (Roster::new(3), Instant::now());
            for (op, kid, id) in ops {
                let key = (Slot::Kid(Kid(kid)), SessionId(id));
                match op {
                    0 => roster.remember(key, BootId(1), now),
                    1 if !roster.is_live(&key) && roster.admit(key.0) == Admission::Free => {
                        roster.remember(key, BootId(1), now);
                        roster.enter(&key, State::Offering, now);
                    }
                    2 if roster.is_live(&key) => roster.enter(&key, State::Connecting, now),
                    3 if roster.is_live(&key) && !roster.is_full() => roster.enter(&key, State::Streaming, now),
                    4 => roster.enter(&key, State::Ended, now),
                    5 => roster.forget_ended(),
                    _ => {}
                }
                prop_assert!(roster.connected() <= 3);
                let live = roster.live_sessions().count();
                prop_assert_eq!(live, roster.live.len(), "a live session is always remembered");
                for kid in 0..4 {
                    let of_kid = roster.live_sessions().filter(|(key, _)| key.0 == Slot::Kid(Kid(kid))).count();
                    prop_assert!(of_kid <= SESSIONS_PER_KID);
                }
                let remembered: usize = roster.remembered.values().sum();
                prop_assert_eq!(remembered, roster.sessions.len());
            }
        }
    }
}
