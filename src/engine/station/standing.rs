//! The standing offer: the one offer that is lit for everybody, which the first answer wins.
//!
//! It is a peer connection that has gathered and waits. Its offer goes to each slot's retained topic;
//! when a viewer takes it, the next one is lit at once.

use std::time::{Duration, Instant};

use crate::config::Security;
use crate::engine::message::{self, Candidate, Offer};
use crate::engine::seal::{self, Binding, Context, Direction};
use crate::engine::session::{Event, State};
use crate::engine::topic::{Slot, Topic};
use crate::units::{Kid, OfferId, PeerId};

use rand_chacha::rand_core::RngCore as _;

use super::negotiate::{Facts, fit_payload};
use super::{Command, Station, Story};

/// Candidates that come within this are published together.
const GATHER_PATIENCE: Duration = Duration::from_millis(100);
/// The broker drops the offer after this, should we be gone without a will.
const OFFER_EXPIRY: Duration = Duration::from_secs(11 * 60);
/// An offer is renewed after 8 minutes and up to 2 more.
const RENEW_AFTER_S: u64 = 8 * 60;
const RENEW_SPREAD_S: u64 = 2 * 60;
/// An opening that brings nothing for so long was cut short somewhere, however slow the board is.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
/// Between the loss of a relayed address and the next offer.
const RELAY_REST: Duration = Duration::from_secs(1);
/// More revisions than a network could need; later candidates follow after the answer.
const MAX_REVISIONS: usize = 32;
/// Ids of past offers that are told apart as taken or renewed.
const PAST_OFFERS: usize = 256;

/// What became of an offer that is not lit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// A viewer won it.
    Taken,
    /// It was renewed, or its peer connection failed.
    Renewed,
}

/// The offer that is lit, or about to be.
#[derive(Debug)]
pub(super) struct Standing {
    pub peer: PeerId,
    pub offer: OfferId,
    /// The SDP as the peer connection last had it; `None` until it made one.
    latest: Option<String>,
    /// The SDPs' digests, one for each revision that was published.
    digests: Vec<String>,
    /// The SDP of the last revision, as published.
    published: String,
    /// Every candidate that is not in the revision of that number or an earlier one.
    candidates: Vec<(usize, Candidate)>,
    publish_at: Option<Instant>,
    /// Until something is published, when it is given up.
    renew_at: Instant,
}

impl Standing {
    /// Checks what an answer says that it answers; gives the candidates that its revision did not have.
    pub(super) fn check(&self, rev: u64, digest: &str) -> Result<Vec<Candidate>, &'static str> {
        let index = usize::try_from(rev).ok().and_then(|rev| rev.checked_sub(1)).ok_or("rev")?;
        let known = self.digests.get(index).ok_or("rev")?;
        if known != digest {
            return Err("digest");
        }
        let late = self.candidates.iter().filter(|(since, _)| *since > index);
        Ok(late.map(|(_, candidate)| candidate.clone()).collect())
    }
}

impl Station {
    pub(super) fn standing_deadline(&self) -> Option<Instant> {
        match &self.standing {
            Some(standing) => {
                Some(standing.publish_at.map_or(standing.renew_at, |at| at.min(standing.renew_at)))
            }
            None if self.may_light() => self.open_after,
            None => None,
        }
    }

    /// What is due: opening, publishing, renewing.
    pub(super) fn tend_standing(&mut self, now: Instant) {
        match self.standing.as_ref().filter(|standing| standing.renew_at <= now) {
            Some(opening) if opening.digests.is_empty() => {
                self.standing_failed(now, format!("none was made in {} s", OPEN_PATIENCE.as_secs()));
            }
            Some(_) => self.renew_standing(),
            None => {}
        }
        if self.standing.is_none() && self.may_light() && self.open_after.is_none_or(|at| at <= now) {
            self.open_after = None;
            let (peer, offer) = (self.open_peer(), self.draw_offer_id());
            self.standing = Some(Standing {
                peer,
                offer,
                latest: None,
                digests: Vec::new(),
                published: String::new(),
                candidates: Vec::new(),
                publish_at: None,
                renew_at: now + OPEN_PATIENCE,
            });
        }
        if self.standing.as_ref().is_some_and(|standing| standing.publish_at.is_some_and(|at| at <= now)) {
            self.revise_standing(now);
        }
    }

    /// Whether an offer is to be lit: there is a broker for it, a place, and somebody who may have it.
    fn may_light(&self) -> bool {
        self.is_online && !self.is_ending && !self.roster.is_full() && !self.slots().is_empty()
    }

    pub(super) fn peer_offered(&mut self, now: Instant, peer: PeerId, sdp: String) {
        match self.standing.as_mut().filter(|standing| standing.peer == peer) {
            Some(standing) => {
                self.open_failures = 0;
                standing.latest = Some(sdp);
                standing.publish_at = Some(now + GATHER_PATIENCE);
            }
            None => self.own_offered(peer, sdp),
        }
    }

    pub(super) fn peer_candidate(&mut self, now: Instant, peer: PeerId, candidate: Candidate, sdp: String) {
        let Some(standing) = self.standing.as_mut().filter(|standing| standing.peer == peer) else {
            return self.own_candidate(peer, candidate);
        };
        let published = standing.digests.len();
        standing.candidates.push((published, candidate));
        standing.latest = Some(sdp);
        standing.publish_at.get_or_insert(now + GATHER_PATIENCE);
    }

    pub(super) fn peer_gathered(&mut self, now: Instant, peer: PeerId, sdp: String) {
        if let Some(standing) = self.standing.as_mut().filter(|standing| standing.peer == peer) {
            standing.latest = Some(sdp);
            standing.publish_at = Some(now);
        }
    }

    pub(super) fn peer_offer_failed(&mut self, now: Instant, peer: PeerId, reason: String) {
        if self.standing.as_ref().is_some_and(|standing| standing.peer == peer) {
            self.standing_failed(now, reason);
        } else {
            self.tell(Story::OfferFailed { reason });
            let Some(key) = self.roster.owner(peer) else { return };
            let pending_restart =
                self.roster.session(&key).is_some_and(|session| session.state == State::Streaming);
            if pending_restart {
                if let Some(session) = self.roster.session_mut(&key) {
                    session.pending = None;
                }
            } else {
                self.of_peer(now, peer, Event::OfferFailed, Facts::because("failed"));
            }
        }
    }

    /// The standing offer's peer connection is of no use; another is opened a little later.
    pub(super) fn standing_failed(&mut self, now: Instant, reason: String) {
        self.drop_standing();
        // 0.5 s, doubled each time up to 32 s: a board without a network tries for as long as it takes.
        let wait = Duration::from_millis(500 << self.open_failures.min(6));
        self.open_failures += 1;
        self.open_after = Some(now + wait);
        self.tell(Story::OfferFailed { reason });
    }

    /// Closes the standing offer; the next one is opened when time is next advanced.
    pub(super) fn renew_standing(&mut self) {
        self.open_after = None;
        self.drop_standing();
    }

    /// A relayed address is gone. If the offer that waits names it, the next one asks for another, a moment
    /// later: a server that cannot keep it must not have us renew all the time. If a viewer's media went by
    /// it, only an ICE restart brings that back, and there is no need to wait until it is missed.
    pub(super) fn relay_lost(&mut self, now: Instant, peer: PeerId, was_used: bool) {
        if self.standing.as_ref().is_some_and(|standing| standing.peer == peer) {
            self.drop_standing();
            self.open_after = Some(now + RELAY_REST);
        } else if was_used {
            self.of_peer(now, peer, Event::Restart, Facts::default());
        }
    }

    pub(super) fn drop_standing(&mut self) {
        if let Some(standing) = self.standing.take() {
            self.remember_offer(standing.offer, Past::Renewed);
            self.commands.push_back(Command::ClosePeer(standing.peer));
        }
    }

    /// The standing offer's peer connection has found its viewer.
    pub(super) fn standing_taken(&mut self) -> Option<Standing> {
        let standing = self.standing.take()?;
        self.remember_offer(standing.offer, Past::Taken);
        Some(standing)
    }

    pub(super) fn past(&self, offer: OfferId) -> Option<Past> {
        self.past_offers.iter().rev().find(|(past, _)| *past == offer).map(|(_, what)| *what)
    }

    fn remember_offer(&mut self, offer: OfferId, past: Past) {
        if self.past_offers.len() == PAST_OFFERS {
            self.past_offers.pop_front();
        }
        self.past_offers.push_back((offer, past));
    }

    /// Publishes what the peer connection has now as the next revision, if it is another.
    fn revise_standing(&mut self, now: Instant) {
        let spread_s = self.random.next_u64() % RENEW_SPREAD_S;
        let Some(mut standing) = self.standing.take() else { return };
        standing.publish_at = None;
        let full = standing.digests.len() >= MAX_REVISIONS;
        if let Some(latest) = standing.latest.clone().filter(|_| !full) {
            let mut payload = self.standing_payload(&standing, latest, Slot::Open);
            let moved = fit_payload(&mut payload);
            let digest = seal::sdp_digest(&payload.sdp);
            if standing.digests.last() != Some(&digest) {
                if standing.digests.is_empty() {
                    standing.renew_at = now + Duration::from_secs(RENEW_AFTER_S + spread_s);
                }
                standing.published = payload.sdp;
                standing.digests.push(digest);
                // What did not fit is in no revision, whichever one is answered.
                standing.candidates.retain(|(since, _)| *since != usize::MAX);
                standing.candidates.extend(moved.into_iter().map(|candidate| (usize::MAX, candidate)));
                let (offer, rev) = (standing.offer, standing.digests.len() as u64);
                self.standing = Some(standing);
                self.publish_standing(now);
                return self.tell(Story::OfferLit { offer, rev });
            }
        }
        self.standing = Some(standing);
    }

    /// Puts the current revision on every slot's topic.
    pub(super) fn publish_standing(&mut self, now: Instant) {
        for slot in self.slots() {
            let Some(wire) = self.standing_wire(slot) else { return };
            self.publish_retained(now, &Topic::Offer(slot), wire, Some(OFFER_EXPIRY));
        }
    }

    /// The standing offer as it stands on a slot's topic; `None` while none is lit.
    fn standing_wire(&mut self, slot: Slot) -> Option<String> {
        let iv = self.draw_iv();
        let standing = self.standing.as_ref().filter(|standing| !standing.digests.is_empty())?;
        let payload = message::json(&self.standing_payload(standing, standing.published.clone(), slot));
        let rev = standing.digests.len() as u64;
        match (self.settings.security, slot) {
            (Security::Sealed, Slot::Kid(kid)) => self.seal_standing(kid, standing.offer, rev, iv, &payload),
            (Security::Open, Slot::Open) => Some(message::write_open("offer", rev, &payload)),
            _ => None,
        }
    }

    fn seal_standing(
        &self,
        kid: Kid,
        offer: OfferId,
        rev: u64,
        iv: [u8; 12],
        payload: &str,
    ) -> Option<String> {
        let binding = Binding {
            direction: Direction::DeviceToViewer,
            device: self.settings.device,
            kid,
            context: Context::Offer(offer),
            kind: "offer",
            n: rev,
        };
        let ct = seal::seal(self.keys.get(&kid)?.key(), &binding, iv, payload);
        Some(message::write_sealed("offer", rev, &ct, Some(offer)))
    }

    fn standing_payload(&self, standing: &Standing, sdp: String, slot: Slot) -> Offer {
        Offer {
            offer: standing.offer,
            rev: standing.digests.len().max(1) as u64,
            boot: self.boot,
            name: self.settings.name.clone(),
            sdp,
            ttl_s: OFFER_EXPIRY.as_secs(),
            ice_servers: self.told_servers(slot),
            ice_transport_policy: self.settings.ice.policy(),
            rights: self.rights_of(slot),
        }
    }
}
