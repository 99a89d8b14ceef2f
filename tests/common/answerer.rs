//! A viewer without a browser: answers an offer, takes the media apart and counts it.
//!
//! It has a thread and a runtime of its own, so that it can fall silent as a viewer does that loses
//! its network: from one moment to the next, without a word.
#![allow(dead_code, reason = "each test uses what it needs of it")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MediaEngine};
use rtc::peer_connection::state::{RTCIceGatheringState, RTCPeerConnectionState};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp::codec::h264::H264Packet;
use rtc::rtp::packetizer::Depacketizer;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability,
    RtpCodecKind,
};
use rtc::sdp::extmap;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfiguration,
    RTCConfigurationBuilder, RTCIceCandidateInit, RTCIceServer, RTCIceTransportPolicy,
    RTCPeerConnectionIceEvent, RTCSessionDescription, Registry, SettingEngineBuilder,
};

use farol::config::IceServer;
use farol::engine::message::Candidate;

/// How long anything may take before a test fails for it.
const PATIENCE: Duration = Duration::from_secs(20);
const CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
const SOUND_SSRC: u32 = 0x0005_0001;

/// A picture as it was received.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Annex B with four-byte start codes.
    pub data: Vec<u8>,
    /// Whether it has an IDR slice.
    pub is_keyframe: bool,
    /// RTP timestamp.
    pub timestamp: u32,
    /// When its last packet came.
    pub arrived: Instant,
    /// From the moment of capture (abs-capture-time) until then, when both clocks are this machine's.
    pub age: Option<Duration>,
}

/// What a viewer has received so far.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// In the order of arrival.
    pub pictures: Vec<Picture>,
    /// RTP timestamp and payload of each sound packet.
    pub sound: Vec<(u32, Bytes)>,
    /// RTP packets of both kinds that were missing when a later one came.
    pub missing: u32,
    /// How many header extensions the first packet of the first picture had.
    pub first_packet_extensions: usize,
    /// Connection states, newest last.
    pub states: Vec<RTCPeerConnectionState>,
    /// Whether the device's data channel is open, and under which name.
    pub channel: Option<String>,
    /// Texts on it.
    pub texts: Vec<String>,
    /// Binary messages on it.
    pub binaries: Vec<Bytes>,
}

/// The viewer.
pub struct Answerer {
    runtime: Option<Runtime>,
    connection: Arc<dyn PeerConnection>,
    sound: Arc<TrackLocalStaticRTP>,
    video: watch::Receiver<Option<Arc<dyn TrackRemote>>>,
    received: watch::Receiver<Received>,
    gathered: watch::Receiver<bool>,
    candidates: Arc<Mutex<Vec<String>>>,
    channel: watch::Receiver<Option<Arc<dyn DataChannel>>>,
}

struct Observer {
    capture_time_id: Option<u8>,
    video: watch::Sender<Option<Arc<dyn TrackRemote>>>,
    channel: Arc<watch::Sender<Option<Arc<dyn DataChannel>>>>,
    received: Arc<watch::Sender<Received>>,
    gathered: watch::Sender<bool>,
    candidates: Arc<Mutex<Vec<String>>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Observer {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
    }
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let init = event.candidate.to_json().expect("the library's candidate");
        self.candidates.lock().expect("no panic under it").push(init.candidate);
    }
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.received.send_modify(|received| received.states.push(state));
    }
    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.channel.send_replace(Some(channel.clone()));
        let received = self.received.clone();
        tokio::spawn(async move {
            let label = channel.label().await.expect("it was just announced");
            while let Some(event) = channel.poll().await {
                received.send_modify(|received| match event {
                    DataChannelEvent::OnOpen => received.channel = Some(label.clone()),
                    DataChannelEvent::OnMessage(message) if message.is_string => {
                        received.texts.push(String::from_utf8(message.data.to_vec()).expect("text"));
                    }
                    DataChannelEvent::OnMessage(message) => received.binaries.push(message.data.freeze()),
                    DataChannelEvent::OnClose => received.channel = None,
                    _ => {}
                });
            }
        });
    }
    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let is_video = track.kind().await == RtpCodecKind::Video;
        if is_video {
            self.video.send_replace(Some(track.clone()));
        }
        let (received, capture_time_id) = (self.received.clone(), self.capture_time_id);
        tokio::spawn(async move {
            let mut intake = Intake::new(is_video, capture_time_id, received);
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    intake.take(&packet);
                }
            }
        });
    }
}

/// Puts one stream's packets together.
struct Intake {
    is_video: bool,
    received: Arc<watch::Sender<Received>>,
    next: Option<u16>,
    depacketizer: H264Packet,
    picture: Vec<u8>,
    /// The header extension id of abs-capture-time, and what it said of the picture: an NTP timestamp.
    capture_time_id: Option<u8>,
    captured_ntp: Option<u64>,
}

impl Intake {
    fn new(is_video: bool, capture_time_id: Option<u8>, received: Arc<watch::Sender<Received>>) -> Intake {
        let (depacketizer, picture) = (H264Packet::default(), Vec::new());
        Intake { is_video, received, next: None, depacketizer, picture, capture_time_id, captured_ntp: None }
    }

    fn take(&mut self, packet: &rtc::rtp::Packet) {
        let number = packet.header.sequence_number;
        let gap = self.next.map_or(0, |next| number.wrapping_sub(next));
        // A repeated packet comes late and is no new gap.
        if gap > 0 && gap < 1 << 15 {
            self.received.send_modify(|received| received.missing += u32::from(gap));
        }
        self.next = Some(number.wrapping_add(1));
        if !self.is_video {
            let sound = (packet.header.timestamp, packet.payload.clone());
            self.received.send_modify(|received| received.sound.push(sound));
            return;
        }
        let part = self.depacketizer.depacketize(&packet.payload).expect("valid H.264 payload");
        self.picture.extend_from_slice(&part);
        let extensions = packet.header.extensions.len();
        self.received.send_if_modified(|received| {
            if received.pictures.is_empty() && received.first_packet_extensions == 0 {
                received.first_packet_extensions = extensions;
            }
            false
        });
        let capture_time = self.capture_time_id.and_then(|id| packet.header.get_extension(id));
        if let Some(ntp) = capture_time.and_then(|value| value.get(..8)?.try_into().ok()) {
            self.captured_ntp = Some(u64::from_be_bytes(ntp));
        }
        if packet.header.marker {
            let age = self.captured_ntp.take().and_then(age);
            let data = std::mem::take(&mut self.picture);
            let is_keyframe = nal_types(&data).contains(&5);
            let timestamp = packet.header.timestamp;
            let picture = Picture { data, is_keyframe, timestamp, arrived: Instant::now(), age };
            self.received.send_modify(|received| received.pictures.push(picture));
        }
    }
}

/// How long ago an NTP timestamp was (32 bits of seconds since 1900, 32 of fraction).
fn age(ntp: u64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let then = Duration::from_secs((ntp >> 32).checked_sub(2_208_988_800)?);
    let fraction = Duration::from_nanos(((ntp & 0xffff_ffff) * 1_000_000_000) >> 32);
    now.checked_sub(then + fraction)
}

/// The types of the NAL units in Annex B text (H.264 §7.4.1).
pub fn nal_types(annex_b: &[u8]) -> Vec<u8> {
    annex_b.windows(4).filter(|window| window[..3] == [0, 0, 1]).map(|window| window[3] & 0x1f).collect()
}

impl Answerer {
    /// Answers an offer; returns the answer with all candidates in it.
    pub async fn answer(offer: &str) -> (Answerer, String) {
        Answerer::answer_with(offer, RTCConfigurationBuilder::new().build()).await
    }

    /// The same by TURN servers alone; the library reaches them by UDP.
    pub async fn answer_relayed(offer: &str, servers: &[IceServer]) -> (Answerer, String) {
        let server = |server: &IceServer| RTCIceServer {
            urls: server.urls.clone(),
            username: server.username.clone().unwrap_or_default(),
            credential: server.credential.clone().unwrap_or_default(),
        };
        let servers = servers.iter().map(server).collect();
        let configuration = RTCConfigurationBuilder::new()
            .with_ice_servers(servers)
            .with_ice_transport_policy(RTCIceTransportPolicy::Relay);
        Answerer::answer_with(offer, configuration.build()).await
    }

    async fn answer_with(offer: &str, configuration: RTCConfiguration) -> (Answerer, String) {
        let (answerer, _) = Answerer::open(offer, configuration).await;
        answerer.wait_gathered().await;
        let description = answerer.connection.local_description().await.expect("it was set");
        (answerer, description.sdp)
    }

    /// Answers an offer; returns the answer without candidates, and these apart, as trickled ones.
    pub async fn answer_trickling(offer: &str) -> (Answerer, String, Vec<Candidate>) {
        let (answerer, sdp) = Answerer::open(offer, RTCConfigurationBuilder::new().build()).await;
        answerer.wait_gathered().await;
        let candidates = answerer.candidates.lock().expect("no panic under it").clone();
        let trickled = |candidate| Candidate {
            candidate,
            sdp_mid: Some("0".to_owned()),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        };
        (answerer, sdp, candidates.into_iter().map(trickled).collect())
    }

    async fn open(offer: &str, configuration: RTCConfiguration) -> (Answerer, String) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("answerer")
            .enable_all()
            .build()
            .expect("a runtime");
        let (video_sender, video) = watch::channel(None);
        let (received_sender, received) = watch::channel(Received::default());
        let (gathered_sender, gathered) = watch::channel(false);
        let (channel_sender, channel) = watch::channel(None);
        let candidates = Arc::new(Mutex::new(Vec::new()));
        let observer = Observer {
            capture_time_id: extension_id(offer, CAPTURE_TIME),
            video: video_sender,
            channel: Arc::new(channel_sender),
            received: Arc::new(received_sender),
            gathered: gathered_sender,
            candidates: candidates.clone(),
        };
        let offer = offer.to_owned();
        let (connection, sound, sdp) =
            runtime.spawn(connect(observer, offer, configuration)).await.expect("the answering task");
        let answerer = Answerer {
            runtime: Some(runtime),
            connection,
            sound,
            video,
            received,
            gathered,
            candidates,
            channel,
        };
        (answerer, sdp)
    }

    async fn wait_gathered(&self) {
        let mut gathered = self.gathered.clone();
        let waited = tokio::time::timeout(PATIENCE, gathered.wait_for(|&done| done)).await;
        waited.expect("gathering took too long").expect("the connection is open");
    }

    /// Answers another offer on the same connection, as after an ICE restart.
    pub async fn answer_again(&self, offer: &str) -> String {
        let (connection, offer) = (self.connection.clone(), offer.to_owned());
        let task = async move {
            let offer = RTCSessionDescription::offer(offer).expect("an offer");
            connection.set_remote_description(offer).await.expect("the offer applies");
            let answer = connection.create_answer(None).await.expect("an answer");
            connection.set_local_description(answer).await.expect("our answer applies");
            connection.local_description().await.expect("it was set").sdp
        };
        self.runtime().spawn(task).await.expect("the answering task")
    }

    /// Takes a trickled candidate.
    pub async fn add_candidate(&self, candidate: &Candidate) {
        let init = RTCIceCandidateInit { candidate: candidate.candidate.clone(), ..Default::default() };
        self.connection.add_ice_candidate(init).await.expect("a candidate");
    }

    /// What was received, as soon as it fulfils a condition.
    pub async fn until(&self, what: &str, condition: impl Fn(&Received) -> bool) -> Received {
        let mut received = self.received.clone();
        let waited = tokio::time::timeout(PATIENCE, received.wait_for(|now| condition(now))).await;
        match waited {
            Ok(now) => now.expect("the connection is open").clone(),
            Err(_) => panic!("waited in vain for {what}: {}", summary(&self.received.borrow())),
        }
    }

    /// Waits until it is connected itself. The library drops media that come in one burst with the end of
    /// the DTLS handshake; browsers do not.
    pub async fn until_connected(&self) {
        self.until("its connection", |now| now.states.contains(&RTCPeerConnectionState::Connected)).await;
    }

    /// What was received so far.
    pub fn received(&self) -> Received {
        self.received.borrow().clone()
    }

    /// Sends 20 ms of sound, `n` counting them.
    pub async fn send_sound(&self, n: u32, opus: Bytes) {
        let header = rtc::rtp::Header {
            version: 2,
            payload_type: 111,
            sequence_number: n as u16,
            timestamp: n.wrapping_mul(960),
            ssrc: SOUND_SSRC,
            ..Default::default()
        };
        self.sound
            .write_rtp(rtc::rtp::Packet { header, payload: opus })
            .await
            .expect("the connection is open");
    }

    /// Sends a text on the device's data channel.
    pub async fn say(&self, text: &str) {
        let channel = self.channel.borrow().clone().expect("the channel is open");
        channel.send_text(text).await.expect("the channel is open");
    }

    /// Opens a data channel of its own.
    pub async fn open_channel(&self, label: &str) -> Arc<dyn DataChannel> {
        self.connection.create_data_channel(label, None).await.expect("a channel")
    }

    /// Asks for a keyframe (PLI).
    pub async fn ask_for_keyframe(&self) {
        let track = self.video.borrow().clone().expect("pictures arrive");
        let media_ssrc = track.ssrcs().await.first().copied().expect("a stream");
        let request = PictureLossIndication { sender_ssrc: SOUND_SSRC, media_ssrc };
        track.write_rtcp(vec![Box::new(request)]).await.expect("the connection is open");
    }

    /// Closes the connection as a browser does that leaves the page.
    pub async fn close(&self) {
        self.connection.close().await.expect("closing");
    }

    /// Stops everything without a word.
    pub fn fall_silent(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it runs until it falls silent or is dropped")
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        // A runtime must not be dropped inside another one, where tests are.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The id that an SDP gives a header extension (`a=extmap:<id> <uri>`, RFC 8285 §5); an answer keeps it.
fn extension_id(sdp: &str, uri: &str) -> Option<u8> {
    sdp.lines().find_map(|line| {
        let (id, rest) = line.strip_prefix("a=extmap:")?.split_once(' ')?;
        (rest.trim() == uri).then(|| id.split('/').next()?.parse().ok()).flatten()
    })
}

fn summary(received: &Received) -> String {
    let Received { pictures, sound, missing, states, .. } = received;
    format!("{} pictures, {} sound, {missing} missing, {states:?}", pictures.len(), sound.len())
}

async fn connect(
    observer: Observer,
    offer: String,
    configuration: RTCConfiguration,
) -> (Arc<dyn PeerConnection>, Arc<TrackLocalStaticRTP>, String) {
    let mut engine = MediaEngine::default();
    engine.register_default_codecs().expect("codecs");
    for (uri, kind) in [
        ("http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", RtpCodecKind::Video),
        (CAPTURE_TIME, RtpCodecKind::Video),
        (CAPTURE_TIME, RtpCodecKind::Audio),
        (extmap::TRANSPORT_CC_URI, RtpCodecKind::Video),
    ] {
        let capability = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
        engine.register_header_extension(capability, kind, None).expect("a header extension");
    }
    let registry = register_default_interceptors(Registry::new(), &mut engine).expect("interceptors");
    let settings = SettingEngineBuilder::new()
        .with_include_loopback_candidate(true)
        .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
        .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(500))
        .with_host_acceptance_min_wait(Some(Duration::ZERO))
        .with_relay_acceptance_min_wait(Some(Duration::ZERO))
        .build();
    let connection = PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings)
        .with_handler(Arc::new(observer))
        .with_udp_addrs(vec![SocketAddr::from(([127, 0, 0, 1], 0))])
        .build()
        .await
        .expect("a peer connection");
    let connection: Arc<dyn PeerConnection> = Arc::new(connection);
    let offer = RTCSessionDescription::offer(offer).expect("an offer");
    connection.set_remote_description(offer).await.expect("the offer applies");
    let sound = Arc::new(TrackLocalStaticRTP::new(sound_track()));
    connection.add_track(sound.clone() as Arc<dyn TrackLocal>).await.expect("a track");
    let answer = connection.create_answer(None).await.expect("an answer");
    connection.set_local_description(answer.clone()).await.expect("our answer applies");
    (connection, sound, answer.sdp)
}

fn sound_track() -> MediaStreamTrack {
    let codec = RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![],
    };
    let coding = RTCRtpCodingParameters { ssrc: Some(SOUND_SSRC), ..Default::default() };
    let encoding = RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..Default::default() };
    let name = || "microphone".to_owned();
    MediaStreamTrack::new(name(), name(), name(), RtpCodecKind::Audio, vec![encoding])
}
