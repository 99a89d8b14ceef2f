//! How a peer connection of the library is set up: its settings, its tracks and its description.

use std::sync::Arc;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, RTCConfiguration, RTCConfigurationBuilder, RTCIceServer,
    RTCIceTransportPolicy, SettingEngine, SettingEngineBuilder,
};
use webrtc::rtp_transceiver::RtpSender;
use webrtc::runtime::default_runtime;

use super::clock::CaptureClock;
use super::ear::Listening;
use super::feedback::{Ears, FeedbackTap, Listener, Shortcut};
use super::keys::{self, Overheard};
use super::local::LocalAddresses;
use super::outgoing::{Outgoing, Stream};
use super::outlet::{LocalStream, Streams};
use super::socket::Gated;
use super::watch::{Observed, Observer};
use super::{Ear, PeerError, PeerEvent, PeerSettings, channel, codecs, library, sdp};
use crate::config::{IcePolicy, IceServer};
use crate::io::port::Relays;
use crate::units::PeerId;

/// Silence of a viewer until [`PeerEvent::Disconnected`].
const DISCONNECTED_AFTER: Duration = Duration::from_secs(5);
/// Further silence until [`PeerEvent::Failed`]: together the 30 s of RFC 7675 §5.1.
const FAILED_AFTER: Duration = Duration::from_secs(25);
/// Between two consent checks, which RFC 7675 §5.1 has every 4 to 6 s. More often, so that two of them are lost
/// before a viewer who is sent nothing is taken for silent (`loss::SILENT_AFTER`).
const CONSENT_INTERVAL: Duration = Duration::from_millis(700);
/// Between two connectivity checks. The library's 200 ms are what most of its connect time is.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Checks of a pair until it counts as failed: 30 s at that interval. The library's 7 would give up on
/// a pair 140 ms after the answer, before a viewer behind a slow broker has read its candidates.
const CHECKS: u16 = 1500;
/// How long a relay waits for a direct way. In a local network one takes 10 ms or so, but a relay that is nearer still
/// would win the race, and the first pair stays.
const RELAY_WAIT: Duration = Duration::from_millis(100);
/// A NAT may forget an address from which nothing came for 30 s (RFC 4787 §4.3 forbids less than 120 s, and is
/// not heard everywhere): so often a waiting TURN allocation is refreshed.
const NAT_INTERVAL: Duration = Duration::from_secs(25);
/// How long a description waits for candidates that come at once: those of the host, and with luck
/// the STUN server's.
const FIRST_CANDIDATES: Duration = Duration::from_millis(20);
/// Observations from the driver task that wait to be sent on. It must not block: should this ever be
/// full, observations are lost, with a warning.
const OBSERVED_CAPACITY: usize = 256;

/// A peer connection that has its tracks and no description yet.
pub struct Opened {
    /// The library's handle.
    pub connection: Arc<dyn PeerConnection>,
    /// What is sent.
    pub streams: Streams,
    /// What its driver task observes.
    pub observed: mpsc::Receiver<Observed>,
    /// How often gathering has completed.
    pub gathered: watch::Receiver<u32>,
    /// Its sockets.
    pub sockets: Arc<Gated>,
    /// Says where the viewer's sound goes.
    pub ear: watch::Sender<Ear>,
    /// What the viewer tells of our packets.
    pub ears: Ears,
    /// Sends them.
    pub outgoing: Outgoing,
}

/// The random numbers of RFC 3550 §5.1.
#[derive(Clone, Copy)]
struct Numbers {
    video_ssrc: u32,
    rtx_ssrc: u32,
    audio_ssrc: u32,
    video_offset: u32,
    audio_offset: u32,
}

impl Numbers {
    fn random() -> Result<Numbers, PeerError> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(library("asking the system for random numbers"))?;
        let word = |n: usize| u32::from_le_bytes([bytes[n], bytes[n + 1], bytes[n + 2], bytes[n + 3]]);
        // Neighbours of one random number cannot collide with each other.
        let ssrc = word(0) & 0x7fff_fffc | 4;
        Ok(Numbers {
            video_ssrc: ssrc,
            rtx_ssrc: ssrc + 1,
            audio_ssrc: ssrc + 2,
            video_offset: word(4),
            audio_offset: word(8),
        })
    }
}

/// Opens a peer connection with its tracks.
pub async fn open(
    id: PeerId,
    settings: &PeerSettings,
    clock: CaptureClock,
    events: &mpsc::Sender<(PeerId, PeerEvent)>,
) -> Result<Opened, PeerError> {
    let numbers = Numbers::random()?;
    // Full: see OBSERVED_CAPACITY.
    let (observer, observed) = mpsc::channel(OBSERVED_CAPACITY);
    let (gathered_sender, gathered) = watch::channel(0);
    let gathered_sender = Arc::new(gathered_sender);
    let (ear, listener) = watch::channel(None);
    let listening = Listening { peer: id, ear: listener };
    let ears = Ears::default();
    let listener = Listener::new(id, events.clone(), ears.clone());
    let build_with = async |mdns| {
        let tap = FeedbackTap::new(listener.clone());
        let handler = Observer::new(observer.clone(), gathered_sender.clone(), listening.clone());
        build(settings, mdns, handler, tap).await
    };
    // The mDNS socket cannot be made where multicast is missing, as in some containers. Without it
    // `.local` candidates stay unresolved, and such a viewer is found by its own checks of ours.
    let (connection, sockets, overheard) = match build_with(MulticastDnsMode::QueryOnly).await {
        Ok(built) => built,
        Err(error) => {
            log::debug!(peer:% = id, error:%; "trying without mDNS");
            build_with(MulticastDnsMode::Disabled).await?
        }
    };
    sockets.shorten(Shortcut::new(overheard.clone(), listener));
    let streams = add_streams(&connection, settings, numbers).await?;
    let video = Stream::new(numbers.video_ssrc, numbers.video_offset);
    // What is sent again keeps the picture's timestamp.
    let repair = Stream::new(numbers.rtx_ssrc, numbers.video_offset);
    let audio = Stream::new(numbers.audio_ssrc, numbers.audio_offset);
    let outgoing = Outgoing::new(overheard, sockets.routes(), clock, [video, repair, audio]);
    Ok(Opened { connection, streams, observed, gathered, sockets, ear, ears, outgoing })
}

async fn build(
    settings: &PeerSettings,
    mdns: MulticastDnsMode,
    handler: Observer,
    tap: FeedbackTap,
) -> Result<(Arc<dyn PeerConnection>, Arc<Gated>, Arc<Overheard>), PeerError> {
    let operation = "opening a peer connection";
    let runtime = default_runtime().ok_or_else(|| library(operation)("it was built without a runtime"))?;
    let relays = Relays { trust: settings.turn_trust.clone(), ..Relays::default() };
    let mut engine = codecs::media_engine().map_err(library(operation))?;
    let path = codecs::packet_path(&mut engine, settings.talkback, tap).map_err(library(operation))?;
    let overheard = Overheard::new().map_err(library(operation))?;
    let (place, cookie) = (settings.port.owner(), overheard.cookie());
    let sockets = Gated::new(runtime, place, relays, settings.ice_policy, cookie);
    let configuration = configuration(settings.ice_policy, &settings.ice_servers, &sockets);
    let connection = PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_media_engine(engine)
        .with_interceptor_registry(path)
        .with_setting_engine(setting_engine(settings, mdns, overheard.clone()))
        .with_data_channel_send_buffer_limit(channel::SEND_BUFFER_BYTES)
        .with_runtime(sockets.clone())
        .with_handler(Arc::new(handler))
        .with_udp_addrs(vec![LocalAddresses::new(settings.addresses.clone(), settings.port.clone())])
        .build()
        .await
        .map_err(library(operation))?;
    Ok((Arc::new(connection), sockets, overheard))
}

fn setting_engine(
    settings: &PeerSettings,
    mdns: MulticastDnsMode,
    overheard: Arc<Overheard>,
) -> SettingEngine {
    let now = Some(Duration::ZERO);
    SettingEngineBuilder::new()
        .with_crypto_provider(overheard)
        .with_srtp_protection_profiles(keys::profiles())
        .with_include_loopback_candidate(settings.addresses.iter().any(|address| address.is_loopback()))
        .with_multicast_dns_mode(mdns)
        // An ICE restart opens its sockets anew, on the addresses that the board has by then.
        .with_discard_local_candidates_during_ice_restart(true)
        .with_ice_timeouts(Some(DISCONNECTED_AFTER), Some(FAILED_AFTER), Some(CONSENT_INTERVAL))
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS))
        .with_host_acceptance_min_wait(now)
        .with_srflx_acceptance_min_wait(now)
        .with_prflx_acceptance_min_wait(now)
        // A relay that alone may be used has nothing to wait for.
        .with_relay_acceptance_min_wait(if settings.ice_policy.is_all() { Some(RELAY_WAIT) } else { now })
        .with_turn_allocation_refresh_interval_cap(NAT_INTERVAL)
        .with_sctp_max_receive_buffer_size(channel::RECEIVE_BUFFER_BYTES)
        .build()
}

/// With which servers paths are looked for, and which paths count.
pub fn configuration(policy: IcePolicy, servers: &[IceServer], sockets: &Gated) -> RTCConfiguration {
    let policy = match policy {
        IcePolicy::All => RTCIceTransportPolicy::All,
        IcePolicy::Relay => RTCIceTransportPolicy::Relay,
    };
    let servers = sockets.servers(servers).iter().map(ice_server).collect();
    RTCConfigurationBuilder::new().with_ice_servers(servers).with_ice_transport_policy(policy).build()
}

fn ice_server(server: &IceServer) -> RTCIceServer {
    RTCIceServer {
        urls: server.urls.clone(),
        username: server.username.clone().unwrap_or_default(),
        credential: server.credential.clone().unwrap_or_default(),
    }
}

/// Sound first: the first section carries the transport for all, and every answerer has Opus, while
/// some reject H.264.
async fn add_streams(
    connection: &Arc<dyn PeerConnection>,
    settings: &PeerSettings,
    numbers: Numbers,
) -> Result<Streams, PeerError> {
    let Numbers { video_ssrc, rtx_ssrc, audio_ssrc, .. } = numbers;
    let mut audio = None;
    if settings.audio {
        let direction = match settings.talkback {
            true => RTCRtpTransceiverDirection::Sendrecv,
            false => RTCRtpTransceiverDirection::Sendonly,
        };
        let track = codecs::track(RtpCodecKind::Audio, codecs::audio_codec(), audio_ssrc, None);
        let track = Arc::new(TrackLocalStaticRTP::new(track));
        let sender = add_track(connection, &track, direction).await?;
        audio = Some(LocalStream { track, sender });
    } else if settings.talkback {
        let direction = RTCRtpTransceiverDirection::Recvonly;
        let init = RTCRtpTransceiverInit { direction, ..Default::default() };
        let added = connection.add_transceiver_from_kind(RtpCodecKind::Audio, Some(init)).await;
        added.map_err(library("adding a section for the viewer's microphone"))?;
    }
    let track = codecs::track(RtpCodecKind::Video, codecs::video_codec(), video_ssrc, Some(rtx_ssrc));
    let track = Arc::new(TrackLocalStaticRTP::new(track));
    let sender = add_track(connection, &track, RTCRtpTransceiverDirection::Sendonly).await?;
    Ok(Streams { video: LocalStream { track, sender }, audio })
}

async fn add_track(
    connection: &Arc<dyn PeerConnection>,
    track: &Arc<TrackLocalStaticRTP>,
    direction: RTCRtpTransceiverDirection,
) -> Result<Arc<dyn RtpSender>, PeerError> {
    let operation = "adding a track";
    let init = RTCRtpTransceiverInit { direction, ..Default::default() };
    let transceiver = connection
        .add_transceiver_from_track(track.clone() as Arc<dyn TrackLocal>, Some(init))
        .await
        .map_err(library(operation))?;
    let sender = transceiver.sender().await.map_err(library(operation))?;
    sender.ok_or_else(|| library(operation)("the transceiver has no sender"))
}

/// Makes an offer, sets it as the local description, and returns its text for viewers with the
/// candidates that come at once. With `restarts_ice` it has new ICE credentials, sockets and candidates.
pub async fn describe(
    connection: &Arc<dyn PeerConnection>,
    sockets: &Gated,
    gathered: &mut watch::Receiver<u32>,
    restarts_ice: bool,
) -> Result<String, PeerError> {
    let operation = "making an offer";
    gathered.mark_unchanged();
    // Not by `restart_ice`, which gathers before there is a description to gather for.
    let options = restarts_ice.then_some(RTCOfferOptions { ice_restart: true });
    let offer = connection.create_offer(options).await.map_err(library(operation))?;
    connection.set_local_description(offer).await.map_err(library(operation))?;
    // Either outcome is fine: a STUN server's answer comes as an event.
    let _ = tokio::time::timeout(FIRST_CANDIDATES, gathered.changed()).await;
    local_sdp(connection, sockets).await.ok_or_else(|| library(operation)("there is no local description"))
}

/// The local description as viewers get it.
pub async fn local_sdp(connection: &Arc<dyn PeerConnection>, sockets: &Gated) -> Option<String> {
    let description = connection.local_description().await?;
    if let Some(ufrag) = sdp::ufrag(&description.sdp) {
        // Before anybody reads it: a check may come as soon as somebody does.
        sockets.named(ufrag);
    }
    Some(sockets.as_seen(&sdp::mend_offer(&description.sdp)))
}
