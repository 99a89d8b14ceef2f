//! A viewer that answers an offer as a browser does, takes the media without decoding it, and counts.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::state::RTCIceGatheringState;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpHeaderExtensionCapability, RtpCodecKind};
use rtc::sdp::extmap;
use tokio::sync::watch;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCSessionDescription, Registry,
    SettingEngineBuilder,
};
use webrtc::runtime::default_runtime;

use crate::tally::Tally;
use crate::tap::Tapped;

const CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A viewer; dropping it ends it.
pub struct Viewer {
    /// Keeps the connection open.
    _connection: Arc<dyn PeerConnection>,
    tally: Arc<Mutex<Tally>>,
}

struct Observer {
    gathered: watch::Sender<bool>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Observer {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
    }
    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        // The library wants it taken; what counts was counted at the socket.
        tokio::spawn(async move { while track.poll().await.is_some() {} });
    }
}

impl Viewer {
    /// Answers an offer; returns the answer with all candidates in it. Media goes by `address`.
    pub async fn answer(offer: &str, address: IpAddr) -> anyhow::Result<(Viewer, String)> {
        let payload_type = payload_type(offer).context("the offer has no H.264")?;
        let tally = Arc::new(Mutex::new(Tally::new(payload_type, extension_id(offer, CAPTURE_TIME))));
        let (gathered, mut is_gathered) = watch::channel(false);
        let connection = open(Observer { gathered }, tally.clone(), address).await?;
        connection.set_remote_description(RTCSessionDescription::offer(offer.to_owned())?).await?;
        let answer = connection.create_answer(None).await?;
        connection.set_local_description(answer).await?;
        tokio::time::timeout(PATIENCE, is_gathered.wait_for(|&done| done)).await.context("gathering")??;
        let answer = connection.local_description().await.context("it was set")?.sdp;
        Ok((Viewer { _connection: connection, tally }, answer))
    }

    /// Waits for a picture.
    pub async fn watches(&self) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        while !self.tally.lock().expect("no panic under it").has_picture() {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "no picture came within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Counts anew.
    pub fn mark(&self) {
        self.tally.lock().expect("no panic under it").mark();
    }

    /// See [`Tally::tell`].
    pub fn tell(&self) -> serde_json::Value {
        self.tally.lock().expect("no panic under it").tell()
    }
}

async fn open(
    observer: Observer,
    tally: Arc<Mutex<Tally>>,
    address: IpAddr,
) -> anyhow::Result<Arc<dyn PeerConnection>> {
    let mut engine = MediaEngine::default();
    engine.register_default_codecs()?;
    for (uri, kind) in [
        (PLAYOUT_DELAY, RtpCodecKind::Video),
        (CAPTURE_TIME, RtpCodecKind::Video),
        (CAPTURE_TIME, RtpCodecKind::Audio),
        (extmap::TRANSPORT_CC_URI, RtpCodecKind::Video),
    ] {
        let capability = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
        engine.register_header_extension(capability, kind, None)?;
    }
    let registry = register_default_interceptors(Registry::new(), &mut engine)?;
    let settings = SettingEngineBuilder::new()
        .with_include_loopback_candidate(true)
        .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
        .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(500))
        .with_host_acceptance_min_wait(Some(Duration::ZERO))
        .build();
    let inner = default_runtime().context("the library has no runtime")?;
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings)
        .with_handler(Arc::new(observer))
        .with_runtime(Arc::new(Tapped { inner, tally }))
        .with_udp_addrs(vec![SocketAddr::new(address, 0)])
        .build()
        .await?;
    Ok(Arc::new(connection))
}

/// Of H.264 in an offer (`a=rtpmap:<payload type> H264/90000`, RFC 8866 §6.6).
fn payload_type(sdp: &str) -> Option<u8> {
    let named = sdp.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
    named.filter(|(_, codec)| codec.starts_with("H264/")).find_map(|(number, _)| number.parse().ok())
}

/// The id of a header extension in an offer (`a=extmap:<id> <uri>`, RFC 8285 §5); an answer keeps it.
fn extension_id(sdp: &str, uri: &str) -> Option<u8> {
    sdp.lines().find_map(|line| {
        let (id, rest) = line.strip_prefix("a=extmap:")?.split_once(' ')?;
        (rest.trim() == uri).then(|| id.split('/').next()?.parse().ok()).flatten()
    })
}
