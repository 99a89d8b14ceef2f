//! What comes in from the broker: is it authentic, and what does it ask for.
//!
//! Authentication comes before everything but the size check and a look-up of the key: until a message
//! has opened, it costs a derivation and a decryption, and nothing that it says is believed.

use std::time::Instant;

use crate::config::Security;
use crate::engine::bucket::Bucket;
use crate::engine::message::{
    self, Answer, BadPayload, Body, Candidates, FromViewer, Hello, RejectCode, Unreadable, Wire,
};
use crate::engine::roster::Key;
use crate::engine::seal::{self, Binding, Context, Direction};
use crate::engine::session::{Event, State};
use crate::engine::topic::{Slot, Topic};
use crate::units::BootId;

use super::negotiate::Facts;
use super::{Station, standing};

/// So many candidates of one message are looked at; a browser with many addresses has about thirty.
const CANDIDATES_PER_MESSAGE: usize = 64;

/// Why a message was refused. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Not a topic of the protocol.
    UnknownTopic,
    /// It was in the broker's store, where nothing to the device belongs.
    Retained,
    /// Over 32 KiB.
    TooLarge,
    /// Nested deeper than 16.
    TooDeep,
    /// Not the envelope, or not the type's fields.
    Malformed,
    /// No viewer has this key id, or the slot is not of this mode.
    UnknownKey,
    /// Open form where messages are sealed, or the other way round.
    WrongForm,
    /// It does not open: changed on the way, replayed from elsewhere, or never authentic.
    NotAuthentic,
    /// Its counter is not above the last one.
    Replayed,
    /// Too many failed to authenticate just now.
    Flood,
    /// Authentic, but its viewer says too much.
    Overrun,
    /// A type that this version does not know.
    UnknownType,
    /// It speaks of another boot.
    WrongBoot,
    /// Candidates for an offer that is not the session's own.
    ForeignOffer,
    /// Nothing that the session could do now.
    OutOfPlace,
}

impl Refusal {
    /// One word, for logs and counters.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::UnknownTopic => "unknown_topic",
            Refusal::Retained => "retained",
            Refusal::TooLarge => "too_large",
            Refusal::TooDeep => "too_deep",
            Refusal::Malformed => "malformed",
            Refusal::UnknownKey => "unknown_key",
            Refusal::WrongForm => "wrong_form",
            Refusal::NotAuthentic => "not_authentic",
            Refusal::Replayed => "replayed",
            Refusal::Flood => "flood",
            Refusal::Overrun => "overrun",
            Refusal::UnknownType => "unknown_type",
            Refusal::WrongBoot => "wrong_boot",
            Refusal::ForeignOffer => "foreign_offer",
            Refusal::OutOfPlace => "out_of_place",
        }
    }
}

/// A message of which it is certain who sent it.
struct Authentic {
    /// The boot that its session belongs to.
    boot: BootId,
    n: u64,
    kind: String,
    payload: String,
}

impl Station {
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        *self.refusals.entry(refusal).or_default() += 1;
    }

    pub(super) fn message(&mut self, now: Instant, topic: &str, payload: &[u8], retained: bool) {
        match Topic::parse(self.settings.device, topic) {
            None => self.refuse(Refusal::UnknownTopic),
            Some(Topic::Out(..) | Topic::Event(_)) => {}
            Some(own @ (Topic::Status | Topic::Offer(_) | Topic::StrayOffer(_))) => {
                self.watch_retained(now, &own, payload, retained);
            }
            // Clearing a retained message sends an empty one to whoever is subscribed.
            Some(Topic::In(..)) if payload.is_empty() => {}
            Some(litter @ Topic::In(..)) if retained => {
                self.refuse(Refusal::Retained);
                self.clear_litter(now, &litter);
            }
            Some(Topic::In(slot, session)) => self.viewer_says(now, (slot, session), payload),
        }
    }

    fn viewer_says(&mut self, now: Instant, key: Key, payload: &[u8]) {
        if payload.len() > message::LIMIT_BYTES {
            return self.refuse(Refusal::TooLarge);
        }
        if !self.knows(key.0) {
            return self.refuse(Refusal::UnknownKey);
        }
        // A flood may silence strangers for as long as it lasts, but never a viewer who is in.
        if !self.roster.is_live(&key) && self.failed.is_empty(now) {
            return self.refuse(Refusal::Flood);
        }
        let Authentic { boot, n, kind, payload } = match self.authenticate(key, payload) {
            Ok(authentic) => authentic,
            Err(refusal) => {
                self.failed.take(now);
                return self.refuse(refusal);
            }
        };
        let (per_second, burst) = match key.0 {
            Slot::Kid(_) => (10, 30),
            // Everybody shares the open slot, so it gets ten viewers' worth.
            Slot::Open => (100, 300),
        };
        if !self.spent.entry(key.0).or_insert(Bucket::new(per_second, burst)).take(now) {
            return self.refuse(Refusal::Overrun);
        }
        // Not before: whoever has a key could fill the memory with sessions faster than its messages are heard.
        self.roster.remember(key, boot, now);
        if let Some(session) = self.roster.session_mut(&key) {
            session.received_n = n;
        }
        match FromViewer::read(&kind, &payload) {
            Ok(FromViewer::Hello(hello)) => self.hello(now, key, &hello),
            Ok(FromViewer::Answer(answer)) => self.answer(now, key, answer),
            Ok(FromViewer::Candidates(candidates)) => self.candidates(now, key, candidates),
            Ok(FromViewer::Restart) => self.advance(now, key, Event::Restart, Facts::default()),
            Ok(FromViewer::Bye(_)) => self.advance(now, key, Event::Bye, Facts::default()),
            Err(BadPayload::UnknownType) => self.refuse(Refusal::UnknownType),
            Err(BadPayload::Malformed) => self.refuse(Refusal::Malformed),
        }
        if self.roster.is_crowded(key.0) {
            self.new_boot(now);
        }
    }

    fn knows(&self, slot: Slot) -> bool {
        match (self.settings.security, slot) {
            (Security::Open, Slot::Open) => true,
            (Security::Sealed, Slot::Kid(kid)) => self.keys.contains_key(&kid),
            _ => false,
        }
    }

    /// What the message says, once it is certain who sent it and that it is new.
    fn authenticate(&self, key: Key, payload: &[u8]) -> Result<Authentic, Refusal> {
        let wire = Wire::read(payload).map_err(|unreadable| match unreadable {
            Unreadable::TooLarge => Refusal::TooLarge,
            Unreadable::TooDeep => Refusal::TooDeep,
            Unreadable::Malformed => Refusal::Malformed,
        })?;
        let known = self.roster.session(&key);
        let boot = known.map_or(self.boot, |session| session.boot);
        let received_n = known.map_or(0, |session| session.received_n);
        let payload = match (wire.body, key.0) {
            (Body::Open(text), Slot::Open) => text,
            (Body::Sealed(ct), Slot::Kid(kid)) => {
                let viewer = self.keys.get(&kid).ok_or(Refusal::UnknownKey)?;
                let binding = Binding {
                    direction: Direction::ViewerToDevice,
                    device: self.settings.device,
                    kid,
                    context: Context::Session(boot, key.1),
                    kind: &wire.kind,
                    n: wire.n,
                };
                seal::open(viewer.key(), &binding, &ct).map_err(|_| Refusal::NotAuthentic)?
            }
            _ => return Err(Refusal::WrongForm),
        };
        if wire.n <= received_n {
            return Err(Refusal::Replayed);
        }
        Ok(Authentic { boot, n: wire.n, kind: wire.kind, payload })
    }

    fn hello(&mut self, now: Instant, key: Key, hello: &Hello) {
        let Some(session) = self.roster.session(&key) else { return };
        if hello.boot != session.boot {
            return self.refuse(Refusal::WrongBoot);
        }
        match session.state {
            State::New => {
                if let Some(refused) = self.cannot_come_in(now, key, hello.wants) {
                    return self.advance(now, key, Event::Refused, refused);
                }
                self.advance(now, key, Event::Hello, Facts::default());
            }
            _ => self.advance(now, key, Event::Hello, Facts::default()),
        }
    }

    fn answer(&mut self, now: Instant, key: Key, answer: Answer) {
        let Some(session) = self.roster.session(&key) else { return };
        if answer.boot != session.boot {
            return self.refuse(Refusal::WrongBoot);
        }
        let own = session.pending.as_ref().filter(|pending| pending.offer == answer.offer);
        let (event, mut facts) = match (session.state, own) {
            (State::New | State::Offering | State::Streaming, Some(pending)) => {
                let digest = pending.sdp.as_deref().map(seal::sdp_digest);
                match (answer.rev, digest.as_ref() == Some(&answer.digest)) {
                    (1, true) => (Event::AnswerOwn, Facts::default()),
                    (1, false) => invalid("digest"),
                    _ => invalid("rev"),
                }
            }
            (State::New | State::Offering, None) => self.answer_to_shared(&answer),
            _ => return self.refuse(Refusal::OutOfPlace),
        };
        let comes_in = session.state == State::New && event != Event::AnswerInvalid;
        if let Some(refused) = comes_in.then(|| self.cannot_come_in(now, key, answer.wants)).flatten() {
            return self.advance(now, key, Event::Refused, refused);
        }
        facts.sdp = Some(answer.sdp);
        facts.offer = Some(answer.offer);
        self.advance(now, key, event, facts);
    }

    /// What an answer to an offer that is not the session's own comes to.
    fn answer_to_shared(&self, answer: &Answer) -> (Event, Facts) {
        if let Some(standing) = self.standing.as_ref().filter(|standing| standing.offer == answer.offer) {
            return match standing.check(answer.rev, &answer.digest) {
                Ok(late) => (Event::AnswerStanding, Facts { late, ..Facts::default() }),
                Err(what) => invalid(what),
            };
        }
        match self.past(answer.offer) {
            Some(standing::Past::Taken) => (Event::AnswerLost, Facts::refusing(RejectCode::Taken, None)),
            Some(standing::Past::Renewed) | None => {
                (Event::AnswerStale, Facts::refusing(RejectCode::Stale, None))
            }
        }
    }

    /// Gives a new session its rights and a place, or says why not.
    fn cannot_come_in(
        &mut self,
        now: Instant,
        key: Key,
        wants: crate::engine::rights::Rights,
    ) -> Option<Facts> {
        let granted = wants.intersection(self.rights_of(key.0));
        if granted.is_empty() {
            return Some(Facts::refusing(RejectCode::Denied, None));
        }
        if !self.make_room(now, key.0) {
            return Some(Facts::refusing(RejectCode::Full, None));
        }
        if let Some(session) = self.roster.session_mut(&key) {
            session.granted = granted;
        }
        None
    }

    fn candidates(&mut self, now: Instant, key: Key, mut candidates: Candidates) {
        let Some(session) = self.roster.session(&key) else { return };
        if session.answered != Some(candidates.offer) {
            return self.refuse(Refusal::ForeignOffer);
        }
        candidates.list.truncate(CANDIDATES_PER_MESSAGE);
        self.advance(now, key, Event::Candidates, Facts { list: candidates.list, ..Facts::default() });
    }
}

fn invalid(what: &'static str) -> (Event, Facts) {
    (Event::AnswerInvalid, Facts::refusing(RejectCode::Invalid, Some(what)))
}
