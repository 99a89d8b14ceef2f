//! Where does one uplink stand, and what is to be done for it next?
//!
//! An [`Input`] and the time go in through [`Uplink::handle`], [`Command`]s come out of
//! [`Uplink::next_command`], and [`Uplink::deadline`] says when [`Input::Tick`] is due. It has at most one peer
//! connection, and at most one request of which it awaits the response; deletions nobody waits for.
//!
//! ICE servers come with the response to the offer (RFC 9725 §4.6), too late for that offer's candidates. A
//! server that wants to be reached is reachable without them, so the answer is used as it is; only when no path
//! is found within a few seconds, the next offer is made with them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use url::Url;

use crate::config::IceServer;

use super::orders::{Command, Input, Method, Request, Story};
use super::reply::{Again, Created, Fault, Offered, Reply, Restarted, Trickled};
use super::sdp;
use super::step::{Action, Event, State, step};
use super::wait::wait;

/// How long an offer waits for candidates: the response takes longer than a STUN server's, and what comes
/// later must be trickled, which not every server takes.
const GATHERING: Duration = Duration::from_secs(1);
/// From opening a peer connection to its offer.
const OPENING: Duration = Duration::from_secs(10);
/// From the answer to media.
const CONNECTING: Duration = Duration::from_secs(20);
/// The same while there are the server's ICE servers to try next.
const CONNECTING_WITHOUT_HELP: Duration = Duration::from_secs(5);
/// For an ICE restart altogether; then a new session is quicker.
const RESTARTING: Duration = Duration::from_secs(15);
/// A session that lived so long was a good one: what failed before it counts no more.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// What an awaited response is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Offer,
    Candidates,
    Restart,
}

/// What the server has of us.
#[derive(Clone, Debug, Default)]
struct Session {
    url: Option<Url>,
    etag: Option<String>,
    /// As it was applied.
    answer: String,
}

/// One uplink. See the module's text.
pub struct Uplink {
    /// The kinds of sections that are sent there.
    kinds: Vec<&'static str>,
    random: ChaCha20Rng,
    state: State,
    since: Option<Instant>,
    due: Option<Instant>,
    is_wanted: bool,
    /// Our newest offer, whole.
    offer: String,
    /// Candidates that the server has, or that are on their way to it.
    told: Vec<String>,
    is_gathered: bool,
    is_end_told: bool,
    takes_candidates: bool,
    session: Session,
    /// What the server has named for finding a path, and whether the present offer was made with it.
    servers: Vec<IceServer>,
    has_help_left: bool,
    fault: Option<Fault>,
    failures: u32,
    /// Neither the server nor a person is waited for.
    waits_by_itself: bool,
    next_ticket: u64,
    /// The request whose response is awaited, and what it is about.
    awaited: Option<(u64, About)>,
    commands: VecDeque<Command>,
}

impl Uplink {
    /// An uplink that rests, for these kinds of sections; `seed` is of the system's randomness.
    pub fn new(kinds: Vec<&'static str>, seed: [u8; 32]) -> Uplink {
        Uplink {
            kinds,
            random: ChaCha20Rng::from_seed(seed),
            state: State::Resting,
            since: None,
            due: None,
            is_wanted: false,
            offer: String::new(),
            told: Vec::new(),
            is_gathered: false,
            is_end_told: false,
            takes_candidates: true,
            session: Session::default(),
            servers: Vec::new(),
            has_help_left: false,
            fault: None,
            failures: 0,
            waits_by_itself: false,
            next_ticket: 1,
            awaited: None,
            commands: VecDeque::new(),
        }
    }

    /// Takes one input; then drain [`next_command`](Self::next_command).
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Wanted(is_wanted) => self.is_wanted = is_wanted,
            Input::Offered(sdp) => {
                self.offer = sdp;
                self.advance(now, Event::Offered);
            }
            Input::OfferFailed(reason) => self.fail(now, Event::OpenFailed, reason),
            Input::Candidate(_, sdp) => {
                self.offer = sdp;
                self.trickle();
            }
            Input::Gathered(sdp) => {
                (self.offer, self.is_gathered) = (sdp, true);
                if !self.advance(now, Event::Gathered) {
                    self.trickle();
                }
            }
            Input::AnswerApplied => _ = self.advance(now, Event::Applied),
            Input::AnswerFailed(reason) => self.fail(now, Event::NotApplied, reason),
            Input::Connected => _ = self.advance(now, Event::Connected),
            Input::Silent => self.path_in_doubt(now, Event::Silent, "the server is not heard"),
            Input::NetworkChanged => self.network_changed(now),
            Input::Lost(why) => self.fail(now, Event::Lost, format!("the connection is {why}")),
            Input::Replied(ticket, reply) => self.replied(now, ticket, reply),
            Input::Tick => {}
        }
        self.settle(now);
    }

    /// What is to be done, in order.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Follows the clock and what is wanted.
    fn settle(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            let fault = match self.state {
                State::Opening => Some("no offer could be made in time"),
                State::Connecting if self.has_help_left => {
                    Some("no path to the server; the next offer is made with its ICE servers")
                }
                State::Connecting => Some("no path to the server; does a firewall stop UDP?"),
                State::Restarting => Some("no new path to the server was found"),
                _ => None,
            };
            self.fault = fault
                .map(|reason| Fault { reason: reason.to_owned(), again: Again::Soon })
                .or(self.fault.take());
            self.advance(now, Event::Due);
        }
        let event = if self.is_wanted { Event::Wanted } else { Event::Unwanted };
        self.advance(now, event);
    }

    /// An event that means a fault, if it is in place.
    fn fail(&mut self, now: Instant, event: Event, reason: String) {
        if step(self.state, event).is_some() {
            self.fault = Some(Fault { reason, again: Again::Soon });
            self.advance(now, event);
        }
    }

    /// The path is lost, or will be. A server that restarts no ICE gets a new offer.
    fn path_in_doubt(&mut self, now: Instant, event: Event, why: &'static str) {
        if self.state != State::Live {
            return;
        }
        if self.session.url.is_some() && self.session.etag.is_some() {
            self.tell(Story::Restarting(why));
            self.advance(now, event);
        } else {
            self.fail(now, Event::Lost, why.to_owned());
        }
    }

    /// Another path may be better, or the only one. A server that restarts no ICE is left alone until it is
    /// silent: an address that the path does not use may come and go. Who waits tries at once, since the network
    /// may be back.
    fn network_changed(&mut self, now: Instant) {
        match self.state {
            State::Live if self.session.etag.is_some() => {
                self.path_in_doubt(now, Event::Moved, "the board's addresses have changed");
            }
            State::Waiting if self.waits_by_itself => self.due = Some(now),
            _ => {}
        }
    }

    /// Moves on; whether the event was in place.
    fn advance(&mut self, now: Instant, event: Event) -> bool {
        let Some((next, actions)) = step(self.state, event) else { return false };
        let was_good = self.state == State::Live && self.since.is_some_and(|since| now >= since + GOOD_AFTER);
        if was_good {
            self.failures = 0;
        }
        if self.state != next {
            self.since = Some(now);
        }
        self.state = next;
        actions.iter().for_each(|action| self.act(now, *action));
        true
    }

    fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Open => self.open(now),
            Action::Gather => {
                self.due = Some(now + GATHERING);
                if self.is_gathered {
                    self.due = Some(now);
                }
            }
            Action::Post => self.post(),
            Action::Apply => {
                let patience = if self.has_help_left { CONNECTING_WITHOUT_HELP } else { CONNECTING };
                if self.state == State::Connecting {
                    self.due = Some(now + patience);
                }
                self.commands.push_back(Command::ApplyAnswer(self.session.answer.clone()));
            }
            Action::Trickle => self.trickle(),
            Action::Start => {
                (self.due, self.has_help_left) = (None, false);
                self.commands.push_back(Command::StartMedia);
                self.tell(Story::Live);
            }
            Action::Resume => {
                self.due = None;
                self.tell(Story::Resumed);
            }
            Action::Restart => {
                self.due = Some(now + RESTARTING);
                (self.is_gathered, self.is_end_told) = (false, false);
                self.told.clear();
                self.commands.push_back(Command::RestartIce);
            }
            Action::Patch => self.patch_restart(),
            Action::Delete => self.delete(),
            Action::Close => {
                self.due = None;
                // Of what a posted offer made something must be deleted; the rest is of no interest.
                self.awaited = self.awaited.take().filter(|(_, about)| *about == About::Offer);
                self.commands.push_back(Command::ClosePeer);
            }
            Action::Retry => self.retry(now),
            Action::Rest => {
                (self.due, self.failures, self.fault) = (None, 0, None);
                self.tell(Story::Ended);
            }
        }
    }

    fn open(&mut self, now: Instant) {
        self.due = Some(now + OPENING);
        self.offer.clear();
        self.told.clear();
        (self.is_gathered, self.is_end_told, self.takes_candidates) = (false, false, true);
        self.session = Session::default();
        (self.has_help_left, self.awaited) = (false, None);
        self.commands.push_back(Command::OpenPeer(self.servers.clone()));
    }

    fn post(&mut self) {
        self.due = None;
        self.note_told();
        let body = sdp::narrowed(&self.offer, &self.kinds);
        let ticket = self.send(Method::Post, None, None, body);
        self.awaited = Some((ticket, About::Offer));
    }

    /// What the offer says now is with the server.
    fn note_told(&mut self) {
        self.told = sdp::candidates(&self.offer);
        self.is_end_told = self.is_gathered;
    }

    fn send(&mut self, method: Method, url: Option<Url>, if_match: Option<String>, body: String) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.commands.push_back(Command::Send(Request { ticket, method, url, if_match, body }));
        ticket
    }

    /// Sends what the server does not have, one request at a time: what comes meanwhile goes with the next.
    fn trickle(&mut self) {
        let is_time = matches!(self.state, State::Connecting | State::Live | State::Restarting);
        let Some(url) = self.session.url.clone() else { return };
        if !is_time || !self.takes_candidates || self.awaited.is_some() {
            return;
        }
        let all = sdp::candidates(&self.offer);
        let new: Vec<String> = all.into_iter().filter(|one| !self.told.contains(one)).collect();
        // The mere end is worth a request no more once media flows.
        let is_end_news = self.is_gathered && !self.is_end_told && self.state != State::Live;
        if new.is_empty() && !is_end_news {
            return;
        }
        let body = sdp::fragment(&sdp::narrowed(&self.offer, &self.kinds), &new, self.is_gathered);
        self.told.extend(new);
        self.is_end_told = self.is_gathered;
        let ticket = self.send(Method::Patch, Some(url), self.session.etag.clone(), body);
        self.awaited = Some((ticket, About::Candidates));
    }

    fn patch_restart(&mut self) {
        self.note_told();
        let offer = sdp::narrowed(&self.offer, &self.kinds);
        let body = sdp::fragment(&offer, &self.told, self.is_gathered);
        // RFC 9725 §4.3.3: whichever the ICE session is, this replaces it.
        let ticket = self.send(Method::Patch, self.session.url.clone(), Some("*".to_owned()), body);
        self.awaited = Some((ticket, About::Restart));
    }

    fn delete(&mut self) {
        let session = std::mem::take(&mut self.session);
        if session.url.is_some() {
            let _ = self.send(Method::Delete, session.url, None, String::new());
        }
    }

    fn replied(&mut self, now: Instant, ticket: u64, reply: Result<Reply, String>) {
        // A response that came too late is of something that was given up.
        let Some((_, about)) = self.awaited.take_if(|(awaited, _)| *awaited == ticket) else { return };
        match about {
            About::Offer => self.offer_answered(now, reply),
            About::Candidates => self.trickled(now, reply),
            About::Restart => self.restart_answered(now, reply),
        }
    }

    fn offer_answered(&mut self, now: Instant, reply: Result<Reply, String>) {
        let outcome = match reply {
            Ok(reply) => reply.to_offer(),
            Err(reason) => Offered::Refused(Fault { reason, again: Again::Soon }, None),
        };
        match outcome {
            Offered::Taken(Created { answer, session, etag, servers }) => {
                if session.is_none() {
                    self.tell(Story::Odd(
                        "the server does not say where the session is; it cannot be ended there",
                    ));
                }
                let answer = sdp::widened(&answer, &self.offer, &self.kinds);
                self.session = Session { url: session, etag, answer };
                self.has_help_left = !servers.is_empty() && servers != self.servers;
                self.servers = servers;
                self.advance(now, Event::Created);
            }
            Offered::Refused(fault, session) => {
                self.session = Session { url: session, ..Session::default() };
                self.fault = Some(fault);
                self.advance(now, Event::Refused);
            }
        }
    }

    fn trickled(&mut self, now: Instant, reply: Result<Reply, String>) {
        // Without a response the candidates may be lost; then ICE finds what it can without them.
        let Ok(reply) = reply else { return };
        match reply.to_candidates() {
            Trickled::Taken => self.trickle(),
            Trickled::Unsupported => self.takes_candidates = false,
            Trickled::Gone => self.gone(now),
        }
    }

    fn gone(&mut self, now: Instant) {
        self.session = Session::default();
        self.fail(now, Event::Gone, "the server has forgotten our session".to_owned());
    }

    fn restart_answered(&mut self, now: Instant, reply: Result<Reply, String>) {
        let fault = match reply.map(|reply| reply.to_restart()) {
            Ok(Restarted::Taken(fragment, etag)) => {
                self.session.answer = sdp::restarted(&self.session.answer, &fragment);
                self.session.etag = etag.or(self.session.etag.take());
                self.advance(now, Event::Restarted);
                return;
            }
            Ok(Restarted::Gone) => return self.gone(now),
            Ok(Restarted::Refused(fault)) => fault,
            Err(reason) => Fault { reason, again: Again::Soon },
        };
        self.fault = Some(fault);
        self.advance(now, Event::NotRestarted);
    }

    fn retry(&mut self, now: Instant) {
        let unknown = || Fault { reason: "the connection broke".to_owned(), again: Again::Soon };
        let fault = self.fault.take().unwrap_or_else(unknown);
        // With help that was not tried yet, the next attempt is not the same again.
        let again = match fault.again {
            _ if std::mem::take(&mut self.has_help_left) => Duration::ZERO,
            again => wait(again, self.failures, self.random.next_u32()),
        };
        self.waits_by_itself = fault.again == Again::Soon;
        self.failures = self.failures.saturating_add(1);
        self.due = Some(now + again);
        if self.is_wanted {
            self.tell(Story::Failed { reason: fault.reason, again, failures: self.failures });
        }
    }

    fn tell(&mut self, story: Story) {
        self.commands.push_back(Command::Tell(story));
    }
}

#[cfg(test)]
mod tests;
