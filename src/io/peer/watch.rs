//! What the library observes, turned into [`PeerEvent`]s by one task for each peer connection.
//!
//! The library's callbacks run on its driver task, which also answers connectivity checks: they only
//! put a note into a channel. This task waits in their place when the daemon is busy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rtc::peer_connection::state::{RTCIceGatheringState, RTCPeerConnectionState};
use rtc::peer_connection::transport::RTCDtlsTransportState;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{PeerConnection, PeerConnectionEventHandler, RTCPeerConnectionIceEvent};
use webrtc::rtp_transceiver::RtpSender;

use super::ear::Listening;
use super::local::LocalAddresses;
use super::loss::Path;
use super::socket::Gated;
use super::{PeerEvent, connection, sdp};
use crate::engine::message::Candidate;
use crate::io::clock::until_next;
use crate::units::PeerId;

/// How often DTLS is asked whether the viewer has closed it, which the library does not tell, and the path is looked
/// at.
const LOOK: Duration = Duration::from_millis(200);

/// A viewer that was not heard for so long is sent no media: what nobody takes fills the board's queues, and hinders the
/// others.
const HUSHED_AFTER: Duration = Duration::from_millis(2500);
/// The library gives a viewer up after 30 s (RFC 7675 §5.1), unless its task has ended without a word.
const GONE_AFTER: Duration = Duration::from_secs(35);

/// How long ICE and DTLS together may take. The library never gives DTLS up: a viewer whose certificate is
/// not the one of its answer would stay "connecting" for good.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A note from the driver task.
#[derive(Debug)]
pub enum Observed {
    /// A local candidate, `candidate:` included.
    Candidate(String),
    /// Gathering is complete.
    Gathered,
    /// The connection's state changed.
    State(RTCPeerConnectionState),
    /// The viewer's microphone.
    Sound,
}

/// The library's callbacks.
pub struct Observer {
    observed: mpsc::Sender<Observed>,
    gathered: Arc<watch::Sender<u32>>,
    listening: Listening,
}

impl Observer {
    /// Notes go to `observed`; `gathered` counts how often gathering was completed; `listening` says
    /// where the viewer's sound goes.
    pub fn new(
        observed: mpsc::Sender<Observed>,
        gathered: Arc<watch::Sender<u32>>,
        listening: Listening,
    ) -> Observer {
        Observer { observed, gathered, listening }
    }

    fn note(&self, observed: Observed) {
        if let Err(mpsc::error::TrySendError::Full(observed)) = self.observed.try_send(observed) {
            log::warn!(observed:?; "an observation was lost: the daemon does not take its events");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Observer {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            self.note(Observed::Candidate(init.candidate));
        }
    }
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_modify(|count| *count += 1);
            self.note(Observed::Gathered);
        }
    }
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.note(Observed::State(state));
    }
    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        // The one that is ours is no news here. Nobody reads another.
        tokio::spawn(async move { channel.close().await });
    }
    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        tokio::spawn(self.listening.clone().run(track, self.observed.clone()));
    }
}

/// The task's belongings.
pub struct Watch {
    /// Whose events these are.
    pub id: PeerId,
    /// For the description with a new candidate.
    pub connection: Weak<dyn PeerConnection>,
    /// For the port that viewers are to send to.
    pub sockets: Arc<Gated>,
    /// For the state of DTLS.
    pub sender: Arc<dyn RtpSender>,
    /// Ends when the driver task does.
    pub track: Arc<TrackLocalStaticRTP>,
    /// From the driver task.
    pub observed: mpsc::Receiver<Observed>,
    /// To the daemon.
    pub events: mpsc::Sender<(PeerId, PeerEvent)>,
    /// Our ICE user name fragment in the last description: after a restart all candidates are news.
    pub ufrag: String,
    /// Candidates that the daemon knows.
    pub told: Vec<String>,
    /// The last description that was told to be whole.
    pub gathered_sdp: Option<String>,
    /// Where media may go.
    pub local: LocalAddresses,
    /// What was judged of the path.
    pub path: Path,
    /// Whether the viewer is to be sent no media until it is heard again.
    pub is_silent: Arc<AtomicBool>,
}

impl Watch {
    /// Runs until the connection has ended or nobody listens.
    pub async fn run(mut self) {
        let mut looks = tokio::time::interval_at(Instant::now() + until_next(LOOK), LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut deadline, mut was_up) = (None, false);
        let mut paths = self.sockets.paths();
        loop {
            let event = tokio::select! {
                Some(observed) = self.observed.recv() => {
                    match observed {
                        Observed::State(RTCPeerConnectionState::Connecting) => {
                            deadline.get_or_insert_with(|| Instant::now() + CONNECT_TIMEOUT);
                        }
                        Observed::State(RTCPeerConnectionState::Connected) => (deadline, was_up) = (None, true),
                        _ => {}
                    }
                    self.event(observed).await
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    Some(PeerEvent::Failed)
                }
                Ok(()) = paths.changed(), if !was_up => {
                    let round_trip = *paths.borrow_and_update();
                    round_trip.map(|round_trip| PeerEvent::PathFound { round_trip })
                }
                _ = looks.tick() => match self.is_closed_by_viewer().await {
                    true => Some(PeerEvent::Closed),
                    false => self.look().filter(|_| was_up),
                },
                was_used = self.sockets.relay_lost() => Some(PeerEvent::RelayLost { was_used }),
                // Feedback was seen on its way here; the end of it means that the driver has stopped.
                feedback = self.track.poll() => feedback.is_none().then_some(PeerEvent::Failed),
            };
            let Some(event) = event else { continue };
            let is_end = matches!(event, PeerEvent::Closed | PeerEvent::Failed);
            if self.events.send((self.id, event)).await.is_err() || is_end {
                return;
            }
        }
    }

    async fn event(&mut self, observed: Observed) -> Option<PeerEvent> {
        match observed {
            Observed::Candidate(candidate) => {
                let candidate = self.sockets.as_seen(&candidate);
                let sdp = self.local_sdp().await?;
                if sdp::ufrag(&sdp).is_some_and(|ufrag| ufrag != self.ufrag) {
                    self.ufrag = sdp::ufrag(&sdp).unwrap_or_default().to_string();
                    self.told.clear();
                }
                if !sdp::is_usable_candidate(&candidate) || self.told.contains(&candidate) {
                    return None;
                }
                self.told.push(candidate.clone());
                Some(PeerEvent::Candidate { candidate: self.trickled(candidate), sdp })
            }
            Observed::Gathered => {
                let sdp = self.local_sdp().await?;
                let is_news = self.gathered_sdp.as_ref() != Some(&sdp);
                self.gathered_sdp = Some(sdp.clone());
                is_news.then_some(PeerEvent::GatheringComplete { sdp })
            }
            Observed::Sound => Some(PeerEvent::SoundArrived),
            Observed::State(RTCPeerConnectionState::Connected) => Some(PeerEvent::Connected),
            Observed::State(RTCPeerConnectionState::Disconnected) => Some(PeerEvent::Disconnected),
            Observed::State(RTCPeerConnectionState::Failed) => Some(PeerEvent::Failed),
            Observed::State(RTCPeerConnectionState::Closed) => Some(PeerEvent::Closed),
            Observed::State(_) => None,
        }
    }

    /// Looks at the path to a viewer, if it was ever heard.
    fn look(&mut self) -> Option<PeerEvent> {
        let (now, heard) = (Instant::now().into_std(), self.sockets.heard()?);
        let unheard = now.saturating_duration_since(heard.at);
        self.is_silent.store(unheard >= HUSHED_AFTER, Ordering::Relaxed);
        if unheard >= GONE_AFTER {
            return Some(PeerEvent::Failed);
        }
        let loss = self.path.look(now, heard, self.local.offered(), self.sockets.restarted_at());
        loss.map(PeerEvent::PathLost)
    }

    async fn local_sdp(&self) -> Option<String> {
        connection::local_sdp(&self.connection.upgrade()?, &self.sockets).await
    }

    fn trickled(&self, candidate: String) -> Candidate {
        Candidate { candidate, sdp_mid: None, sdp_m_line_index: Some(0), username_fragment: None }
    }

    async fn is_closed_by_viewer(&self) -> bool {
        if !self.sockets.is_digesting(Instant::now().into_std()) {
            return false;
        }
        let Ok(Some(transport)) = self.sender.transport().await else { return false };
        matches!(transport.state().await, Ok(RTCDtlsTransportState::Closed))
    }
}
