//! What a session's steps make the device do: the actions of `session::step`, carried out.

use std::time::{Duration, Instant};

use crate::config::Security;
use crate::engine::message::{self, Accept, Bye, Candidate, Candidates, Offer, Reject, RejectCode, ToViewer};
use crate::engine::rights::Right;
use crate::engine::roster::{Admission, Key, PATIENCE, Pending};
use crate::engine::sdp;
use crate::engine::seal::{self, Binding, Context, Direction};
use crate::engine::session::{Action, Event, State, step};
use crate::engine::topic::{Slot, Topic};
use crate::units::{OfferId, PeerId};

use super::{Command, Refusal, Station, Story};

/// A message to a viewer waits so long for it in the broker.
const MESSAGE_EXPIRY: Duration = Duration::from_secs(30);
/// When a viewer is told to try again after `full`.
const RETRY_FULL_MS: u64 = 10_000;

/// What an event knows beyond its name; each action takes what it needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The answer.
    pub sdp: Option<String>,
    /// The offer that was answered.
    pub offer: Option<OfferId>,
    /// Why `reject`.
    pub reject: Option<Reject>,
    /// Why `bye`.
    pub reason: &'static str,
    /// Remote candidates.
    pub list: Vec<Candidate>,
    /// Our candidates that the answered revision did not have yet.
    pub late: Vec<Candidate>,
}

impl Facts {
    pub(super) fn because(reason: &'static str) -> Self {
        Facts { reason, ..Facts::default() }
    }

    pub(super) fn refusing(code: RejectCode, what: Option<&str>) -> Self {
        let retry_ms = (code == RejectCode::Full).then_some(RETRY_FULL_MS);
        let reject = Reject { code, retry_ms, offer: None, what: what.map(str::to_string) };
        Facts { reject: Some(reject), ..Facts::default() }
    }
}

impl Station {
    /// Moves a session on; an event that is out of place is counted and changes nothing.
    pub(super) fn advance(&mut self, now: Instant, key: Key, event: Event, facts: Facts) {
        if !self.advance_if_legal(now, key, event, facts) {
            self.refuse(Refusal::OutOfPlace);
        }
    }

    fn advance_if_legal(&mut self, now: Instant, key: Key, event: Event, mut facts: Facts) -> bool {
        let Some(session) = self.roster.session(&key) else { return false };
        let (before, since, peer) = (session.state, session.since, session.peer);
        let Some((next, actions)) = step(before, event) else { return false };
        self.roster.enter(&key, next, now);
        for action in actions {
            self.act(key, *action, &mut facts);
        }
        if before == State::Streaming && next == State::Ended {
            let reason = if facts.reason.is_empty() { "bye" } else { facts.reason }.to_string();
            let (viewer, slot, watching) = (self.name_of(key.0), key.0, self.roster.connected());
            let watched = now.saturating_duration_since(since);
            self.tell(Story::ViewerLeft { peer, viewer, slot, reason, watched, watching });
        }
        true
    }

    /// An event of the session that owns a peer connection; a peer connection that was just closed
    /// may still say something, which is of no interest.
    pub(super) fn of_peer(&mut self, now: Instant, peer: PeerId, event: Event, facts: Facts) {
        if let Some(key) = self.roster.owner(peer) {
            self.advance_if_legal(now, key, event, facts);
        }
    }

    pub(super) fn peer_connected(&mut self, now: Instant, peer: PeerId) {
        let Some(key) = self.roster.owner(peer) else { return };
        let already = self.roster.session(&key).is_some_and(|session| session.state == State::Streaming);
        if self.roster.is_full() && !already {
            // Several may have been let in while one place was left; the first to connect has it.
            self.advance(now, key, Event::Dismissed, Facts::because("full"));
        } else {
            self.advance_if_legal(now, key, Event::Connected, Facts::default());
        }
    }

    pub(super) fn peer_lost(&mut self, now: Instant, peer: PeerId, reason: &'static str) {
        if self.standing.as_ref().is_some_and(|standing| standing.peer == peer) {
            self.standing_failed(now, reason.to_string());
        } else {
            self.of_peer(now, peer, Event::Lost, Facts::because(reason));
        }
    }

    pub(super) fn answer_failed(&mut self, now: Instant, peer: PeerId, reason: String) {
        if let Some(key) = self.roster.owner(peer) {
            self.tell(Story::AnswerFailed { viewer: self.name_of(key.0), reason });
            self.advance_if_legal(
                now,
                key,
                Event::NotApplied,
                Facts::refusing(RejectCode::Invalid, Some("sdp")),
            );
        }
    }

    /// A session's own offer (or reoffer) is made: out it goes, at once.
    pub(super) fn own_offered(&mut self, peer: PeerId, sdp: String) {
        let Some(key) = self.roster.owner(peer) else { return };
        let Some(session) = self.roster.session_mut(&key) else { return };
        let Some(pending) = session.pending.as_mut().filter(|pending| pending.sdp.is_none()) else { return };
        let (offer, inside) = (pending.offer, pending.inside);
        let mut payload = self.offer_payload(key, offer, sdp);
        let moved = fit_payload(&mut payload);
        if let Some(pending) = self.roster.session_mut(&key).and_then(|session| session.pending.as_mut()) {
            pending.sdp = Some(payload.sdp.clone());
        }
        self.send_own(key, payload, inside);
        self.send_candidates(key, offer, moved, false);
    }

    /// A later candidate of a session's peer connection.
    pub(super) fn own_candidate(&mut self, peer: PeerId, candidate: Candidate) {
        let Some(key) = self.roster.owner(peer) else { return };
        let Some(session) = self.roster.session(&key) else { return };
        let offer = match &session.pending {
            // What comes before the SDP stands in it.
            Some(pending) if pending.sdp.is_none() => None,
            Some(pending) => Some(pending.offer),
            None => session.answered,
        };
        if let Some(offer) = offer {
            self.send_candidates(key, offer, vec![candidate], false);
        }
    }

    /// Whether a session may have a place; ends the one that has to give way.
    pub(super) fn make_room(&mut self, now: Instant, slot: Slot) -> bool {
        match self.roster.admit(slot) {
            Admission::Full => false,
            Admission::Free => true,
            Admission::Replacing(oldest) => {
                self.advance(now, oldest, Event::Dismissed, Facts::because("replaced"));
                true
            }
        }
    }

    fn act(&mut self, key: Key, action: Action, facts: &mut Facts) {
        match action {
            Action::OpenOwn => self.open_own(key, facts),
            Action::RepeatOwn => self.repeat_own(key, facts),
            Action::DropOwn | Action::Close => self.close_peer(key),
            Action::TakeStanding => self.take_standing(key),
            Action::Apply => self.apply(key, facts),
            Action::Accept => self.accept(key),
            Action::Reject => self.reject(key, facts),
            Action::AddCandidates => self.add_candidates(key, facts),
            Action::StartMedia => self.start_media(key),
            Action::DropReoffer => self.drop_reoffer(key),
            Action::RestartIce => self.restart_ice(key),
            Action::SayBye => self.send(key, &ToViewer::Bye(Bye { reason: facts.reason.to_string() })),
        }
    }

    fn open_own(&mut self, key: Key, facts: &Facts) {
        let (peer, offer) = (self.open_peer(), self.draw_offer_id());
        if let Some(session) = self.roster.session_mut(&key) {
            session.peer = Some(peer);
            let inside = facts.reject.as_ref().map(|reject| reject.code);
            session.pending = Some(Pending { offer, inside, sdp: None });
        }
    }

    fn repeat_own(&mut self, key: Key, facts: &Facts) {
        let inside = facts.reject.as_ref().map(|reject| reject.code);
        let Some(session) = self.roster.session_mut(&key) else { return };
        let Some(pending) = session.pending.as_mut() else { return };
        match pending.sdp.clone() {
            Some(sdp) => {
                let offer = pending.offer;
                let payload = self.offer_payload(key, offer, sdp);
                self.send_own(key, payload, inside);
            }
            // It goes out by itself when the peer connection has made it.
            None => pending.inside = inside,
        }
    }

    fn close_peer(&mut self, key: Key) {
        if let Some(session) = self.roster.session_mut(&key) {
            session.pending = None;
            if let Some(peer) = session.peer.take() {
                self.rate.gone(peer);
                self.commands.push_back(Command::ClosePeer(peer));
            }
        }
    }

    fn take_standing(&mut self, key: Key) {
        let Some(standing) = self.standing_taken() else { return };
        if let Some(session) = self.roster.session_mut(&key) {
            session.peer = Some(standing.peer);
        }
    }

    fn apply(&mut self, key: Key, facts: &mut Facts) {
        let Some(session) = self.roster.session_mut(&key) else { return };
        let (Some(peer), Some(sdp), Some(offer)) = (session.peer, facts.sdp.take(), facts.offer) else {
            return;
        };
        session.answered = Some(offer);
        session.pending = None;
        self.commands.push_back(Command::ApplyAnswer { peer, sdp });
        let late = std::mem::take(&mut facts.late);
        self.send_candidates(key, offer, late, false);
    }

    fn accept(&mut self, key: Key) {
        let Some(session) = self.roster.session(&key) else { return };
        let (Some(offer), rights) = (session.answered, session.granted) else { return };
        self.send(key, &ToViewer::Accept(Accept { offer, rights }));
    }

    fn reject(&mut self, key: Key, facts: &mut Facts) {
        let Some(reject) = facts.reject.take() else { return };
        self.tell(Story::ViewerRefused { viewer: self.name_of(key.0), slot: key.0, code: reject.code });
        self.send(key, &ToViewer::Reject(reject));
    }

    fn add_candidates(&mut self, key: Key, facts: &mut Facts) {
        let Some(peer) = self.roster.session(&key).and_then(|session| session.peer) else { return };
        for candidate in std::mem::take(&mut facts.list) {
            self.commands.push_back(Command::AddCandidate { peer, candidate });
        }
    }

    fn start_media(&mut self, key: Key) {
        let Some(session) = self.roster.session(&key) else { return };
        let (Some(peer), rights) = (session.peer, session.granted) else { return };
        if rights.has(Right::View) {
            self.rate.joined(peer);
        }
        self.commands.push_back(Command::StartMedia { peer, rights });
        let (viewer, slot, watching) = (self.name_of(key.0), key.0, self.roster.connected());
        self.tell(Story::ViewerJoined { peer, viewer, slot, rights, watching });
    }

    fn restart_ice(&mut self, key: Key) {
        let offer = self.draw_offer_id();
        let Some(session) = self.roster.session_mut(&key) else { return };
        match (session.peer, &session.pending) {
            (Some(peer), None) => {
                session.pending = Some(Pending { offer, inside: None, sdp: None });
                self.commands.push_back(Command::RestartIce(peer));
            }
            // One reoffer at a time: who asks again has missed it.
            (_, Some(_)) => self.repeat_own(key, &Facts::default()),
            (None, None) => {}
        }
    }

    /// One that is still being made stays: it will name the addresses that are there then.
    fn drop_reoffer(&mut self, key: Key) {
        if let Some(session) = self.roster.session_mut(&key) {
            session.pending = session.pending.take().filter(|pending| pending.sdp.is_none());
        }
    }

    /// Says again what was said while the broker was away: nothing that it did not take is kept for it.
    pub(super) fn repeat_reoffers(&mut self) {
        let unanswered: Vec<Key> = self
            .roster
            .live_sessions()
            .filter(|(_, session)| session.state == State::Streaming && session.pending.is_some())
            .map(|(key, _)| key)
            .collect();
        for key in unanswered {
            self.repeat_own(key, &Facts::default());
        }
    }

    fn offer_payload(&self, key: Key, offer: OfferId, sdp: String) -> Offer {
        Offer {
            offer,
            rev: 1,
            boot: self.roster.session(&key).map_or(self.boot, |session| session.boot),
            name: self.settings.name.clone(),
            sdp,
            ttl_s: PATIENCE.as_secs(),
            ice_servers: self.told_servers(key.0),
            ice_transport_policy: self.settings.ice.policy(),
            rights: self.rights_of(key.0),
        }
    }

    fn send_own(&mut self, key: Key, payload: Offer, inside: Option<RejectCode>) {
        let streaming = self.roster.session(&key).is_some_and(|session| session.state == State::Streaming);
        let message = match inside {
            Some(code) => ToViewer::Reject(Reject { code, retry_ms: None, offer: Some(payload), what: None }),
            None if streaming => ToViewer::Reoffer(payload),
            None => ToViewer::Offer(payload),
        };
        self.send(key, &message);
    }

    fn send_candidates(&mut self, key: Key, offer: OfferId, list: Vec<Candidate>, end: bool) {
        for list in list.chunks(16) {
            let list = list.to_vec();
            self.send(key, &ToViewer::Candidates(Candidates { offer, list, end }));
        }
    }

    /// Sends to one session, sealed when messages are sealed.
    fn send(&mut self, key: Key, message: &ToViewer) {
        let (kind, payload) = message.write();
        let Some(session) = self.roster.session_mut(&key) else { return };
        session.sent_n += 1;
        let (n, boot) = (session.sent_n, session.boot);
        let wire = match (self.settings.security, key.0) {
            (Security::Open, Slot::Open) => message::write_open(kind, n, &payload),
            (Security::Sealed, Slot::Kid(kid)) => {
                let iv = self.draw_iv();
                let Some(viewer) = self.keys.get(&kid) else { return };
                let binding = Binding {
                    direction: Direction::DeviceToViewer,
                    device: self.settings.device,
                    kid,
                    context: Context::Session(boot, key.1),
                    kind,
                    n,
                };
                message::write_sealed(kind, n, &seal::seal(viewer.key(), &binding, iv, &payload), None)
            }
            _ => return,
        };
        let topic = Topic::Out(key.0, key.1).name(self.settings.device);
        self.commands.push_back(Command::Publish {
            topic,
            payload: wire,
            retain: false,
            expiry: Some(MESSAGE_EXPIRY),
        });
    }
}

/// Keeps an offer's JSON within what a sender may send; what had to leave its SDP is returned.
pub(super) fn fit_payload(payload: &mut Offer) -> Vec<Candidate> {
    // A `reject` around the offer adds less than 128 bytes.
    let excess = (message::json(payload).len() + 128).saturating_sub(seal::PLAINTEXT_LIMIT_BYTES);
    if excess == 0 {
        return Vec::new();
    }
    let (sdp, moved) = sdp::fit(&payload.sdp, payload.sdp.len().saturating_sub(excess));
    payload.sdp = sdp;
    moved
}
