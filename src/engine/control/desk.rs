//! Is one viewer heard, and when is it told news?
//!
//! A desk is what the device keeps for one viewer's channel: what it may do, how much it has asked, and
//! what it was shown last. News is told at most five times a second, and then as it is by then.

use std::time::{Duration, Instant};

use super::reply::{Code, Reply, state_news};
use super::request::{Envelope, Request};
use super::state::State;
use crate::engine::bucket::Bucket;
use crate::engine::rights::{Right, Rights};
use crate::units::PeerId;

/// Requests in a second, and how many at once.
const REQUESTS: (u32, u32) = (20, 40);
/// Between two pieces of news of a kind.
const NEWS_INTERVAL: Duration = Duration::from_millis(200);

/// What the device keeps for one viewer's channel.
#[derive(Debug)]
pub struct Desk {
    peer: PeerId,
    rights: Rights,
    requests: Bucket,
    state: News<State>,
    /// Which version of the camera's controls.
    controls: News<u64>,
    /// The request whose still is being made.
    still: Option<u64>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// It asks for this, and is to get one reply with this id.
    Asked(u64, Request),
    /// It is answered with this, and there is nothing to do.
    Answered(Reply),
}

impl Desk {
    /// For a viewer whose channel has just opened, when the camera's controls had this version.
    pub fn new(peer: PeerId, rights: Rights, controls: u64) -> Desk {
        let requests = Bucket::new(REQUESTS.0, REQUESTS.1);
        let controls = News { shown: Some(controls), not_before: None };
        Desk { peer, rights, requests, state: News::default(), controls, still: None }
    }

    /// What the viewer may do now.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// The viewer's rights have changed.
    pub fn set_rights(&mut self, rights: Rights) {
        self.rights = rights;
        self.state.shown = None;
    }

    /// Takes a text message. Everything costs the viewer, also what cannot be read.
    pub fn hear(&mut self, now: Instant, message: &[u8]) -> Heard {
        let may_ask = self.requests.take(now);
        let envelope = match Envelope::read(message) {
            Ok(envelope) if may_ask => envelope,
            Ok(envelope) => return Heard::Answered(busy(Some(envelope.id))),
            Err(_) if !may_ask => return Heard::Answered(busy(None)),
            Err(reply) => return Heard::Answered(reply),
        };
        match envelope.request(self.rights) {
            Ok(Request::Snapshot) if self.still.is_some() => {
                let text = "a still is under way already: wait for it";
                Heard::Answered(Reply::error(Some(envelope.id), Code::Busy, text))
            }
            Ok(request) => {
                if request == Request::Snapshot {
                    self.still = Some(envelope.id);
                }
                Heard::Asked(envelope.id, request)
            }
            Err(reply) => Heard::Answered(reply),
        }
    }

    /// Takes a binary message, which viewers have no use for.
    pub fn hear_binary(&mut self, now: Instant) -> Reply {
        match self.requests.take(now) {
            true => Reply::error(None, Code::Invalid, "requests are text"),
            false => busy(None),
        }
    }

    /// The request that waits for a still, if one does; from here on another one may be asked for.
    pub fn take_still(&mut self) -> Option<u64> {
        self.still.take()
    }

    /// The news of the board's state, when there is some and it is time.
    pub fn state_news(&mut self, now: Instant, state: &State) -> Option<String> {
        let told = self.state.tell(now, state);
        told.then(|| state_news(state.seen_by(self.peer, self.rights, now)))
    }

    /// Whether it is time to tell that the camera's controls have this version now.
    pub fn wants_controls(&mut self, now: Instant, version: u64) -> bool {
        self.rights.has(Right::Control) && self.controls.tell(now, &version)
    }

    /// When news that had to wait may be told.
    pub fn due(&self, state: &State, controls: u64) -> Option<Instant> {
        let controls = self.controls.due(&controls).filter(|_| self.rights.has(Right::Control));
        self.state.due(state).into_iter().chain(controls).min()
    }
}

fn busy(id: Option<u64>) -> Reply {
    Reply::error(id, Code::Busy, "too many requests: 20 a second are taken")
}

/// What was told last, and when the next may be.
#[derive(Debug)]
struct News<T> {
    shown: Option<T>,
    not_before: Option<Instant>,
}

impl<T> Default for News<T> {
    fn default() -> Self {
        News { shown: None, not_before: None }
    }
}

impl<T: PartialEq + Clone> News<T> {
    fn is_news(&self, now_is: &T) -> bool {
        self.shown.as_ref() != Some(now_is)
    }

    /// Whether to tell it now; it then counts as told.
    fn tell(&mut self, now: Instant, now_is: &T) -> bool {
        if !self.is_news(now_is) || self.not_before.is_some_and(|at| now < at) {
            return false;
        }
        self.shown = Some(now_is.clone());
        self.not_before = Some(now + NEWS_INTERVAL);
        true
    }

    fn due(&self, now_is: &T) -> Option<Instant> {
        self.not_before.filter(|_| self.is_news(now_is))
    }
}
