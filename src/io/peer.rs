//! One WebRTC peer connection: we offer, a viewer answers. Only this module names the `webrtc` crate, with `port`
//! below it, which is the library's sockets, and `fanout` above it, which writes packets into what this one opened.
//!
//! ```text
//! offer ──► waiting ──answer──► Connected ◄──► Disconnected ──30 s of silence──► Failed
//!             │ ▲                   └──────── the viewer closes DTLS ──────────► Closed
//!             └─┘ Candidate, GatheringComplete
//! ```
//!
//! It negotiates and says what it observes; it decides nothing. Sound that a viewer sends goes where
//! [`Peer::hear`] says, and nowhere before that. Where the SDP of the library or of a viewer must be mended, `sdp` does it.
#![expect(clippy::disallowed_methods, reason = "the shell reads the clock")]

mod address;
mod arrivals;
mod candidates;
mod channel;
mod clock;
mod codecs;
mod compound;
mod connection;
mod ear;
mod early;
mod estimate;
mod feedback;
mod hello;
mod keys;
mod local;
mod loss;
mod mdns;
mod outgoing;
mod outlet;
mod pace;
mod path;
mod rest;
mod sdp;
mod sending;
mod socket;
mod srtp;
mod viewer_clock;
mod watch;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use webrtc::peer_connection::{PeerConnection, RTCIceCandidateInit, RTCSessionDescription};

use crate::config::{IcePolicy, IceServer};
use crate::engine::jitter::Spoken;
use crate::engine::message::Candidate;
use crate::engine::tally::Pair;
use crate::io::port::{Port, Trust};
pub(super) use crate::io::port::{Route, Source};
use crate::units::{Bitrate, PeerId};
use candidates::Candidates;
use channel::Channel;
pub use channel::Say;
pub(super) use clock::CaptureClock;
pub(super) use codecs::{AUDIO_HZ, VIDEO_HZ};
pub(super) use estimate::EstimateOutlet;
use feedback::Ears;
pub(super) use feedback::Feedback;
use local::LocalAddresses;
pub use loss::Loss;
use loss::Path;
pub(super) use outgoing::{Ended, Form, Line, Numbers, Outgoing};
pub(super) use outlet::SendParameters;
use outlet::Streams;
pub use sdp::AnswerFault;
pub(super) use sending::{Reports, Sending};
use socket::Gated;
use watch::Watch;

/// What a peer connection is made with.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// How the certificates of TURN servers are checked that are reached by TLS.
    pub turn_trust: Arc<Trust>,
    /// Which paths count.
    pub ice_policy: IcePolicy,
    /// Local addresses to offer; empty: those of all interfaces but loopback.
    pub addresses: Vec<IpAddr>,
    /// The UDP port that all viewers share.
    pub port: Arc<Port>,
    /// Whether sound is sent.
    pub audio: bool,
    /// Whether a viewer's microphone is taken. With neither, the offer has no audio section.
    pub talkback: bool,
    /// How long the viewer is to hold pictures back at least.
    pub playout_delay: Duration,
    /// What the bandwidth estimate starts at.
    pub start_bitrate: Bitrate,
    /// What it never exceeds.
    pub max_bitrate: Bitrate,
}

/// What a peer connection observes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// A local candidate that the offer did not yet have.
    Candidate {
        /// The candidate, for a viewer that has the offer already.
        candidate: Candidate,
        /// The offer with all candidates so far, for one that has not.
        sdp: String,
    },
    /// There will be no more candidates.
    GatheringComplete {
        /// The whole offer.
        sdp: String,
    },
    /// ICE has found a path, and DTLS begins. Not told of every path: a TURN server hides when that is.
    PathFound {
        /// Of a connectivity check.
        round_trip: Duration,
    },
    /// Media can flow: ICE has a pair and DTLS is done.
    Connected,
    /// The path to the viewer is gone; told again while that lasts. It may come back by itself, or by a
    /// [restart](Peer::restart).
    PathLost(Loss),
    /// The library says the same, after 5 s of silence.
    Disconnected,
    /// It has not been heard for 30 s (RFC 7675 §5.1), never connected, or the connection broke.
    Failed,
    /// The viewer closed the connection.
    Closed,
    /// A relayed address that the offer names is gone, or a TURN server can be had that it does not name.
    RelayLost {
        /// Whether media went by it: then only an ICE restart brings it back.
        was_used: bool,
    },
    /// The viewer cannot decode until it gets a keyframe (PLI or FIR).
    KeyframeRequested,
    /// What the network to this viewer carries; at most every 50 ms, and when it changed by over 2%.
    Estimate(Bitrate),
    /// The first packet of the viewer's microphone.
    SoundArrived,
    /// The control channel is open, and [`Peer::admit_control`] was called.
    ControlOpened,
    /// A message on the control channel, after [`PeerEvent::ControlOpened`].
    Control {
        /// Whether it was sent as text.
        is_text: bool,
        /// What was sent.
        data: Bytes,
    },
    /// The control channel is closed; the rest of the connection goes on.
    ControlClosed,
}

/// Why an operation on a peer connection failed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The answer cannot be used, and nothing of it was: another one still can.
    #[error("the answer cannot be used: {0}")]
    Answer(#[from] AnswerFault),
    /// The library refused what looked right. The peer connection may have taken half of it: close it.
    #[error("{operation}: {cause}")]
    Library {
        /// What was being done.
        operation: &'static str,
        /// In the library's words.
        cause: String,
    },
    /// The library panicked. Only this peer connection is lost.
    #[error("{operation}: the WebRTC library failed on it")]
    Panicked {
        /// What was being done.
        operation: &'static str,
    },
}

/// How long closing may take; it normally takes some milliseconds.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A peer connection. Dropping it closes it in the background.
pub struct Peer {
    id: PeerId,
    connection: Arc<dyn PeerConnection>,
    sockets: Arc<Gated>,
    sections: Vec<sdp::Section>,
    streams: Streams,
    negotiated: Mutex<Negotiated>,
    clock: CaptureClock,
    estimates: EstimateOutlet,
    bitrates: Bitrates,
    playout_delay: Duration,
    ears: Ears,
    outgoing: Arc<tokio::sync::Mutex<Outgoing>>,
    gathered: tokio::sync::watch::Receiver<u32>,
    /// Where the viewer's sound goes.
    ear: tokio::sync::watch::Sender<Ear>,
    watch: AbortHandle,
    is_silent: Arc<AtomicBool>,
    channel: Channel,
    /// Answers and restarts take turns: an answer belongs to the offer before it.
    turns: Semaphore,
    /// The library listens for mDNS, and would fail at a restart that cannot.
    joins_multicast: bool,
}

/// Where a viewer's packets of sound go; `None`: nowhere.
type Ear = Option<SyncSender<Spoken>>;

/// Where an estimate starts and what it never exceeds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bitrates {
    /// Until something is known.
    pub start: Bitrate,
    /// At most.
    pub max: Bitrate,
}

/// What the answers so far have settled.
#[derive(Debug, Default)]
struct Negotiated {
    /// Our ICE user name fragment in the last offer.
    ufrag: String,
    is_answered: bool,
    video: Option<SendParameters>,
    audio: Option<SendParameters>,
    candidates: Candidates,
}

impl Peer {
    /// Opens a peer connection and makes its offer, which holds the candidates that were there within
    /// 20 ms. Later ones come as events. When `events` is full, requests for keyframes and estimates are
    /// left out, since both repeat, and everything else waits.
    pub async fn offer(
        id: PeerId,
        settings: &PeerSettings,
        events: mpsc::Sender<(PeerId, PeerEvent)>,
    ) -> Result<(Peer, String), PeerError> {
        let (clock, joins_multicast) = (CaptureClock::new(), local::joins_multicast());
        let current_bps = Arc::new(AtomicU32::new(settings.start_bitrate.bps()));
        let estimates = EstimateOutlet::new(id, events.clone(), current_bps);
        let bitrates = Bitrates { start: settings.start_bitrate, max: settings.max_bitrate };
        let opened = connection::open(id, settings, clock, &events).await?;
        let (connection, sockets, mut gathered) = (opened.connection, opened.sockets, opened.gathered);
        let channel = Channel::create(&connection).await?;
        let sdp = connection::describe(&connection, &sockets, &mut gathered, false).await?;
        let channel = Channel::new(id, channel, events.clone());
        let is_silent = Arc::<AtomicBool>::default();
        let watch = Watch {
            id,
            connection: Arc::downgrade(&connection),
            sockets: sockets.clone(),
            sender: opened.streams.video.sender.clone(),
            track: opened.streams.video.track.clone(),
            observed: opened.observed,
            events,
            ufrag: sdp::ufrag(&sdp).unwrap_or_default().to_string(),
            told: sdp::unique_candidates(&sdp),
            gathered_sdp: None,
            local: LocalAddresses::new(settings.addresses.clone(), settings.port.clone()),
            path: Path::default(),
            is_silent: is_silent.clone(),
        };
        let watch = tokio::spawn(watch.run()).abort_handle();
        let (sections, streams) = (sdp::sections(&sdp), opened.streams);
        let ufrag = sdp::ufrag(&sdp).unwrap_or_default().to_string();
        let negotiated = Mutex::new(Negotiated { ufrag, ..Negotiated::default() });
        let peer = Peer {
            id,
            connection,
            sockets,
            sections,
            streams,
            negotiated,
            clock,
            estimates,
            bitrates,
            playout_delay: settings.playout_delay,
            ears: opened.ears,
            outgoing: Arc::new(tokio::sync::Mutex::new(opened.outgoing)),
            gathered,
            ear: opened.ear,
            watch,
            is_silent,
            channel,
            turns: Semaphore::new(1),
            joins_multicast,
        };
        Ok((peer, sdp))
    }

    /// Which peer connection this is.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Applies an answer to the last offer.
    ///
    /// A fault that is found before the library sees the answer ([`PeerError::Answer`]) leaves the offer
    /// standing; after any other error the peer connection is to be closed.
    pub async fn answer(&self, sdp: &str) -> Result<(), PeerError> {
        let answer = sdp::read_answer(&self.sections, sdp)?;
        // It is never closed, so that there is always a turn to come.
        let _turn = self.turns.acquire().await;
        let operation = "applying the answer";
        let theirs = sdp::ufrag(&answer.sdp).unwrap_or_default().to_string();
        let description = RTCSessionDescription::answer(answer.sdp).map_err(library(operation))?;
        // In a task of its own, so that a panic of the library's parser ends this call and nothing else.
        let connection = self.connection.clone();
        tokio::spawn(async move { connection.set_remote_description(description).await })
            .await
            .map_err(|_| PeerError::Panicked { operation })?
            .map_err(library(operation))?;
        let ours = self.negotiated().ufrag.clone();
        self.sockets.answered(Instant::now(), &ours, &theirs);
        let (mut video, mut audio) = (None, None);
        for (section, _) in self.sections.iter().zip(answer.accepted).filter(|(_, accepted)| *accepted) {
            match (section.kind.as_str(), &self.streams.audio) {
                ("video", _) => video = Some(self.streams.video.parameters().await?),
                ("audio", Some(stream)) => audio = Some(stream.parameters().await?),
                _ => {}
            }
        }
        let early = {
            let mut negotiated = self.negotiated();
            negotiated.is_answered = true;
            (negotiated.video, negotiated.audio) = (video, audio);
            negotiated.candidates.kept()
        };
        for candidate in answer.candidates.into_iter().chain(early) {
            if let Err(error) = self.apply_candidate(candidate).await {
                log::debug!(peer:% = self.id, error:%; "left a candidate of the answer out");
            }
        }
        Ok(())
    }

    /// Adds a candidate of the viewer's. One that comes before the answer is kept for it; the end of
    /// candidates, kinds that are of no use here (TCP, the RTCP component), and more than a browser has are
    /// taken and ignored.
    pub async fn add_candidate(&self, candidate: &Candidate) -> Result<(), PeerError> {
        if !sdp::is_usable_candidate(&candidate.candidate) {
            return Ok(());
        }
        {
            let mut negotiated = self.negotiated();
            if !negotiated.is_answered {
                negotiated.candidates.keep(&candidate.candidate);
                return Ok(());
            }
        }
        self.apply_candidate(candidate.candidate.clone()).await
    }

    async fn apply_candidate(&self, candidate: String) -> Result<(), PeerError> {
        if !self.negotiated().candidates.admit(&candidate) {
            return Ok(());
        }
        // Bundled, so that every candidate belongs to the one transport, whichever section it is tagged with.
        let candidate = RTCIceCandidateInit { candidate, ..Default::default() };
        let operation = "adding a candidate";
        let connection = self.connection.clone();
        tokio::spawn(async move { connection.add_ice_candidate(candidate).await })
            .await
            .map_err(|_| PeerError::Panicked { operation })?
            .map_err(library(operation))
    }

    /// From the next ICE restart on, other servers are used, or others' credentials.
    ///
    /// # Errors
    ///
    /// The library refuses them, or the connection is closed; the old ones stay.
    pub async fn use_servers(&self, servers: &[IceServer]) -> Result<(), PeerError> {
        let configuration = connection::configuration(self.sockets.policy(), servers, &self.sockets);
        let operation = "taking other ICE servers";
        self.connection.set_configuration(configuration).await.map_err(library(operation))
    }

    /// Restarts ICE on the addresses that the board has now: returns the whole new offer, whose answer
    /// [`Peer::answer`] takes. The path so far is given up, so it is only for one that has failed already.
    pub async fn restart(&self) -> Result<String, PeerError> {
        let _turn = self.turns.acquire().await;
        self.sockets.restarted(Instant::now());
        if self.joins_multicast {
            local::multicast_is_back().await;
        }
        self.ears.tell(Feedback::WayIsSought);
        let mut gathered = self.gathered.clone();
        let sdp = connection::describe(&self.connection, &self.sockets, &mut gathered, true).await?;
        let mut negotiated = self.negotiated();
        negotiated.ufrag = sdp::ufrag(&sdp).unwrap_or_default().to_string();
        negotiated.candidates = Candidates::default();
        Ok(sdp)
    }

    /// The pair of candidates that carries media. `None` also when the library is busy this moment: then what
    /// was said last holds, and it is asked again soon.
    pub fn path(&self) -> Option<Pair> {
        path::selected(&self.connection, &self.sockets).now_or_never().flatten()
    }

    /// Whether an answer came that does not take the picture, as from a browser without H.264.
    pub fn video_rejected(&self) -> bool {
        let negotiated = self.negotiated();
        negotiated.is_answered && negotiated.video.is_none()
    }

    /// Whether an answer came that does not take the sound that was offered.
    pub fn sound_rejected(&self) -> bool {
        let negotiated = self.negotiated();
        negotiated.is_answered && self.streams.audio.is_some() && negotiated.audio.is_none()
    }

    /// Lets the viewer be heard on the control channel, once its rights are known.
    pub fn admit_control(&self) {
        self.channel.admit();
    }

    /// Says something on the control channel. It never waits: a viewer for whom too much waits already gets
    /// the channel closed, and before it is open nothing is kept for it but a few messages.
    pub fn say(&self, what: Say) {
        self.channel.say(what);
    }

    /// From now on the viewer's sound goes there, or nowhere. When that is full, packets are dropped.
    pub fn hear(&self, packets: Option<SyncSender<Spoken>>) {
        self.ear.send_replace(packets);
    }

    /// Closes the connection; the viewer is told by DTLS. Takes some milliseconds, a second at most.
    pub async fn close(self) {
        self.watch.abort();
        match tokio::time::timeout(CLOSE_TIMEOUT, self.connection.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::debug!(peer:% = self.id, error:%; "closing failed"),
            Err(_) => {
                log::warn!(peer:% = self.id; "closing took over a second and goes on in the background")
            }
        }
    }

    /// What `fanout` sends to this viewer by. Whoever had it before must have ended.
    pub(super) fn sending(&self) -> Sending {
        let negotiated = self.negotiated();
        Sending {
            video: negotiated.video,
            audio: negotiated.audio.filter(|_| self.streams.audio.is_some()),
            outgoing: self.outgoing.clone(),
            feedback: self.ears.listen(),
            reports: Reports::new(self.streams.video.track.clone()),
            clock: self.clock,
            estimates: self.estimates.clone(),
            bitrates: self.bitrates,
            playout_delay: self.playout_delay,
        }
    }

    /// Whether nothing was heard of the viewer lately: until it is heard again, it is to be sent no media.
    pub(super) fn is_silent(&self) -> Arc<AtomicBool> {
        self.is_silent.clone()
    }

    fn negotiated(&self) -> MutexGuard<'_, Negotiated> {
        // No code that could panic runs under this lock.
        self.negotiated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.watch.abort();
        // The library's driver task outlives its handle unless it is closed; closing twice is harmless.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let connection = self.connection.clone();
            runtime.spawn(async move { connection.close().await });
        }
    }
}

/// Makes an error of the library's ours.
fn library<E: std::fmt::Display>(operation: &'static str) -> impl Fn(E) -> PeerError {
    move |cause| PeerError::Library { operation, cause: cause.to_string() }
}
