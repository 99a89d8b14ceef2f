//! How are uplinks to media servers joined to peer connections, fan-out and station?
//!
//! What is to be done for an uplink is decided in [`engine::whip`](crate::engine::whip). Here its orders are
//! carried out: a peer connection as viewers have them, requests as tasks, the same packets as for everybody.
//! While privacy is on, the uplinks are ended, at the servers too: nothing leaves, and whoever watches there
//! sees an end rather than a still picture.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::config::IceServer;
use crate::config::whip::Whip;
use crate::engine::station;
use crate::engine::whip::reply::Reply;
use crate::engine::whip::step::State;
use crate::engine::whip::{Command, Input, Request, Story, Uplink};
use crate::io::fanout::Sends;
use crate::io::peer::{PeerEvent, PeerSettings};
use crate::io::whip;
use crate::units::PeerId;

use super::Daemon;

/// A fault that goes on is told again after so many failures.
const TOLD_EVERY: u32 = 20;

/// A response, and whose: the uplink's place in the list, and the request's ticket.
pub(super) type Replied = (usize, u64, Result<Reply, String>);

/// The uplinks.
pub(super) struct Uplinks {
    each: Vec<Place>,
    /// What peer connections of uplinks are made with.
    settings: PeerSettings,
    requests: JoinSet<Replied>,
    is_ending: bool,
}

/// One uplink.
struct Place {
    endpoint: Arc<Whip>,
    uplink: Uplink,
    peer: Option<PeerId>,
    /// STUN and TURN servers that the media server has named.
    servers: Vec<IceServer>,
    /// The fault that was told last.
    told: String,
}

impl Uplinks {
    /// All that are configured; they begin when the loop does. `seed` is of the system's randomness.
    pub(super) fn new(endpoints: Vec<Whip>, settings: PeerSettings, seed: [u8; 32]) -> Uplinks {
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.bares_its_token()) {
            let server = endpoint.name.as_str();
            log::warn!(server; "the token goes over http:// and can be read on its way; use https://");
        }
        let places = endpoints.into_iter().enumerate().map(|(index, endpoint)| {
            let mut seed = seed;
            // There are at most eight.
            seed[0] ^= index as u8;
            let mut kinds = Vec::new();
            kinds.extend((endpoint.audio && settings.audio).then_some("audio"));
            kinds.extend(endpoint.video.then_some("video"));
            let uplink = Uplink::new(kinds, seed);
            let (endpoint, servers, told) = (Arc::new(endpoint), Vec::new(), String::new());
            Place { endpoint, uplink, peer: None, servers, told }
        });
        // A server speaks to nobody.
        let each = places.collect();
        let settings = PeerSettings { talkback: false, ..settings };
        Uplinks { each, settings, requests: JoinSet::new(), is_ending: false }
    }

    /// The next response.
    pub(super) async fn next(&mut self) -> Replied {
        loop {
            match self.requests.join_next().await {
                Some(Ok(replied)) => return replied,
                Some(Err(cause)) => log::error!(cause:%; "a request to a media server was cut short"),
                None => std::future::pending().await,
            }
        }
    }

    /// When the next tick is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.each.iter().filter_map(|place| place.uplink.deadline()).min()
    }

    /// How many of them are sent media.
    pub(super) fn live(&self) -> usize {
        self.each.iter().filter(|place| place.uplink.state() == State::Live).count()
    }

    fn owner(&self, peer: PeerId) -> Option<usize> {
        self.each.iter().position(|place| place.peer == Some(peer))
    }

    fn ask(&mut self, index: usize, request: Request) {
        let (endpoint, ticket) = (self.each[index].endpoint.clone(), request.ticket);
        log::debug!(server = endpoint.name.as_str(), method:? = request.method; "media server asked");
        self.requests.spawn(async move {
            let reply = whip::ask(&endpoint, request).await;
            let server = endpoint.name.as_str();
            match &reply {
                Ok(reply) => log::debug!(server, status = reply.status; "media server replied"),
                Err(reason) => log::debug!(server, reason = reason.as_str(); "media server did not reply"),
            }
            (index, ticket, reply)
        });
    }

    /// Waits until the servers have heard of the end. What one of them makes of an offer that is with it now
    /// is deleted as well.
    pub(super) async fn finish(&mut self, now: Instant) {
        while let Some(replied) = self.requests.join_next().await {
            let Ok((index, ticket, reply)) = replied else { continue };
            self.each[index].uplink.handle(now, Input::Replied(ticket, reply));
            while let Some(order) = self.each[index].uplink.next_command() {
                if let Command::Send(request) = order {
                    self.ask(index, request);
                }
            }
        }
    }
}

impl Place {
    /// Tells people what happened; of a fault that goes on, only its change and now and then its count.
    fn tell(&mut self, story: Story) {
        let server = self.endpoint.name.as_str();
        match story {
            Story::Live => {
                self.told.clear();
                log::info!(server; "media server is sent the stream");
            }
            Story::Restarting(why) => log::info!(server, why; "another path to the media server is sought"),
            Story::Resumed => log::info!(server; "media server is sent the stream again"),
            Story::Odd(what) => log::warn!(server, what; "media server is odd"),
            Story::Ended => log::info!(server; "media server is sent nothing"),
            Story::Failed { reason, again, failures } => {
                let again_ms = again.as_millis() as u64;
                let reason_text = reason.as_str();
                if self.told != reason || failures.is_multiple_of(TOLD_EVERY) {
                    log::warn!(server, reason = reason_text, again_ms, failures; "no stream to the media server");
                    self.told = reason;
                } else {
                    log::debug!(server, reason = reason_text, again_ms, failures; "no stream to the media server");
                }
            }
        }
    }
}

impl Daemon {
    /// A response has come.
    pub(super) fn uplink_replied(&mut self, now: Instant, (index, ticket, reply): Replied) {
        self.uplink(now, index, Input::Replied(ticket, reply));
    }

    /// Whether what happened to a peer connection is an uplink's business; then it was taken. What the
    /// station is told of viewers' peer connections is here told to the uplink.
    pub(super) fn uplink_took(&mut self, now: Instant, happened: &station::Input) -> bool {
        use station::Input as Happened;
        let (peer, input) = match happened {
            Happened::PeerOffered { peer, sdp } => (*peer, Input::Offered(sdp.clone())),
            Happened::PeerOfferFailed { peer, reason } => (*peer, Input::OfferFailed(reason.clone())),
            Happened::PeerCandidate { peer, candidate, sdp } => {
                (*peer, Input::Candidate(candidate.candidate.clone(), sdp.clone()))
            }
            Happened::PeerGathered { peer, sdp } => (*peer, Input::Gathered(sdp.clone())),
            Happened::AnswerApplied(peer) => (*peer, Input::AnswerApplied),
            Happened::AnswerFailed { peer, reason } => (*peer, Input::AnswerFailed(reason.clone())),
            Happened::PeerConnected(peer) => (*peer, Input::Connected),
            Happened::PeerLost { peer, reason } => (*peer, Input::Lost(reason)),
            _ => return false,
        };
        let Some(index) = self.uplinks.owner(peer) else { return false };
        self.uplink(now, index, input);
        true
    }

    /// The same of what only uplinks act upon.
    pub(super) fn uplink_heard(&mut self, now: Instant, peer: PeerId, event: &PeerEvent) -> bool {
        let Some(index) = self.uplinks.owner(peer) else { return false };
        match event {
            PeerEvent::Disconnected => self.uplink(now, index, Input::Silent),
            // There is no data channel, and a server's sound goes nowhere.
            PeerEvent::ControlOpened
            | PeerEvent::ControlClosed
            | PeerEvent::Control { .. }
            | PeerEvent::SoundArrived => {}
            _ => return false,
        }
        true
    }

    /// The board's addresses have changed.
    pub(super) fn uplinks_moved(&mut self, now: Instant) {
        for index in 0..self.uplinks.each.len() {
            self.uplink(now, index, Input::NetworkChanged);
        }
    }

    /// Follows the clock and privacy.
    pub(super) fn tend_uplinks(&mut self, now: Instant) {
        let is_wanted = !self.pins.is_private() && !self.uplinks.is_ending;
        for index in 0..self.uplinks.each.len() {
            self.uplink(now, index, Input::Wanted(is_wanted));
        }
    }

    /// Ends them all; what is said to the servers is on its way.
    pub(super) fn end_uplinks(&mut self, now: Instant) {
        self.uplinks.is_ending = true;
        self.tend_uplinks(now);
    }

    fn uplink(&mut self, now: Instant, index: usize, input: Input) {
        let uplink = &mut self.uplinks.each[index].uplink;
        uplink.handle(now, input);
        let mut orders: VecDeque<Command> = std::iter::from_fn(|| uplink.next_command()).collect();
        while let Some(order) = orders.pop_front() {
            self.carry_out_for_uplink(now, index, order);
        }
    }

    fn carry_out_for_uplink(&mut self, now: Instant, index: usize, order: Command) {
        let peer = self.uplinks.each[index].peer;
        match (order, peer) {
            (Command::OpenPeer(servers), _) => self.open_uplink(index, servers),
            (Command::Send(request), _) => self.uplinks.ask(index, request),
            (Command::Tell(story), _) => self.uplinks.each[index].tell(story),
            (Command::ApplyAnswer(sdp), Some(peer)) => {
                // The camera warms up while DTLS shakes hands.
                self.station.handle(now, station::Input::UplinkConnecting(peer));
                self.peers.answer(peer, sdp);
            }
            (Command::StartMedia, Some(peer)) => self.start_uplink(now, index, peer),
            (Command::RestartIce, Some(peer)) => {
                let mut servers = self.servers.ours();
                servers.extend_from_slice(&self.uplinks.each[index].servers);
                self.peers.restart(peer, servers);
            }
            (Command::ClosePeer, Some(peer)) => {
                self.uplinks.each[index].peer = None;
                self.station.handle(now, station::Input::UplinkGone(peer));
                self.fanout.remove(peer);
                self.peers.close(peer);
            }
            (
                Command::ApplyAnswer(_) | Command::StartMedia | Command::RestartIce | Command::ClosePeer,
                None,
            ) => {}
        }
    }

    fn open_uplink(&mut self, index: usize, servers: Vec<IceServer>) {
        let peer = self.station.draw_peer();
        let place = &mut self.uplinks.each[index];
        place.peer = Some(peer);
        let mut settings = self.uplinks.settings.clone();
        settings.audio &= place.endpoint.audio;
        settings.ice_servers = self.servers.ours();
        settings.ice_servers.extend_from_slice(&servers);
        place.servers = servers;
        self.peers.open_with(peer, Arc::new(settings));
    }

    fn start_uplink(&mut self, now: Instant, index: usize, peer: PeerId) {
        let endpoint = &self.uplinks.each[index].endpoint;
        let sends = Sends { video: endpoint.video, audio: endpoint.audio };
        if sends.video {
            self.station.handle(now, station::Input::UplinkStarted(peer));
        }
        let wants_keyframe = self.peers.get(peer).is_some_and(|peer| {
            if peer.video_rejected() && sends.video {
                log::warn!(server = endpoint.name.as_str(); "media server takes no H.264 picture");
            }
            self.fanout.add(peer, sends)
        });
        if wants_keyframe {
            self.station.handle(now, station::Input::KeyframeWanted);
        }
    }
}
