//! What every offer says of media: codecs, their feedback, header extensions and tracks.

use rtc::interceptor::{ReceiverReportBuilder, Registry, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::{
    configure_simulcast_extension_headers, configure_twcc_receiver_only,
};
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MediaEngine};
use rtc::rtcp::Packet;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use rtc::rtp_transceiver::RTCRtpTransceiverDirection;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::shared::error::Result;

use super::feedback::FeedbackTap;

/// `playout-delay`: bounds of how long a viewer may hold a picture back.
pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// `abs-capture-time`: when the camera took it, for `requestVideoFrameCallback().captureTime`.
pub const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/// Numbers over all streams, for [`super::feedback::Feedback::Arrivals`].
pub const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// What packets that are sent again are called (RFC 4588 §8.6).
pub const MIME_TYPE_RTX: &str = "video/rtx";

/// RTP clock of H.264 (RFC 6184 §8.2.1).
pub const VIDEO_HZ: u32 = 90_000;
/// RTP clock of Opus (RFC 7587 §4.1).
pub const AUDIO_HZ: u32 = 48_000;

/// Constrained Baseline 3.1 is what every browser takes: Chromium rejects a section that offers High
/// alone, and decodes High when it is sent under this.
const H264_FORMAT: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
const VIDEO_PAYLOAD_TYPE: u8 = 102;
const RTX_PAYLOAD_TYPE: u8 = 103;
const AUDIO_PAYLOAD_TYPE: u8 = 111;

/// What both streams are parts of, and under which name their sources belong together (RFC 3550 §6.5.1): the one that
/// the offer says.
const STREAM: &str = "farol";

/// H.264 as it is offered.
pub fn video_codec() -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.into(), parameter: parameter.into() };
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.to_owned(),
        clock_rate: VIDEO_HZ,
        channels: 0,
        sdp_fmtp_line: H264_FORMAT.to_owned(),
        rtcp_feedback: vec![
            feedback("goog-remb", ""),
            feedback("ccm", "fir"),
            feedback("nack", ""),
            feedback("nack", "pli"),
        ],
    }
}

/// Opus as it is offered.
pub fn audio_codec() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: AUDIO_HZ,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![],
    }
}

/// The codecs and extensions on offer. The library's defaults would offer VP8 and VP9 as well, and
/// leave out RTX, without which no lost packet is ever repaired.
pub fn media_engine() -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    let mut register = |rtp_codec, payload_type, kind| {
        engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, kind)
    };
    register(video_codec(), VIDEO_PAYLOAD_TYPE, RtpCodecKind::Video)?;
    let rtx = RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: VIDEO_HZ,
        channels: 0,
        sdp_fmtp_line: format!("apt={VIDEO_PAYLOAD_TYPE}"),
        rtcp_feedback: vec![],
    };
    register(rtx, RTX_PAYLOAD_TYPE, RtpCodecKind::Video)?;
    register(audio_codec(), AUDIO_PAYLOAD_TYPE, RtpCodecKind::Audio)?;
    let mut extend = |uri: &str, kind, direction| {
        engine.register_header_extension(
            RTCRtpHeaderExtensionCapability { uri: uri.to_owned() },
            kind,
            direction,
        )
    };
    extend(PLAYOUT_DELAY, RtpCodecKind::Video, Some(RTCRtpTransceiverDirection::Sendonly))?;
    extend(ABS_CAPTURE_TIME, RtpCodecKind::Video, Some(RTCRtpTransceiverDirection::Sendonly))?;
    extend(ABS_CAPTURE_TIME, RtpCodecKind::Audio, None)?;
    Ok(engine)
}

/// What the library does with packets: it reports on a viewer's sound, and lets us listen to RTCP.
///
/// Our own packets do not go through it (`fanout` writes them under the viewer's keys), so its sender reports,
/// its retransmission, its pacer and its congestion control are left out.
///
/// Where no sound is taken there is nothing to report on either, and nothing wakes the connection for it.
pub fn packet_path(engine: &mut MediaEngine, takes_sound: bool, tap: FeedbackTap) -> Result<Registry> {
    configure_simulcast_extension_headers(engine)?;
    // Feedback and the header extension are offered by this too, which is for our own packets.
    let reporting = configure_twcc_receiver_only(Registry::new(), engine)?;
    let registry = match takes_sound {
        true => reporting.with(Slot::ReceiverReport, ReceiverReportBuilder::new().build()),
        false => Registry::new(),
    };
    Ok(registry.with(Slot::from(14_000), tap))
}

/// A track of the one stream `farol`, so that a viewer gets sound and picture together.
pub fn track(kind: RtpCodecKind, codec: RTCRtpCodec, ssrc: u32, rtx_ssrc: Option<u32>) -> MediaStreamTrack {
    let coding = RTCRtpCodingParameters {
        ssrc: Some(ssrc),
        rtx: rtx_ssrc.map(|ssrc| RTCRtpRtxParameters { ssrc }),
        ..Default::default()
    };
    let encoding = RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..Default::default() };
    let name = kind.to_string();
    MediaStreamTrack::new(STREAM.to_owned(), name.clone(), name, kind, vec![encoding])
}

/// Reports as they are sent: each compound packet has the name of its sources (RFC 3550 §6.1).
pub fn compound(reports: Vec<SenderReport>) -> Vec<Box<dyn Packet>> {
    let name = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: STREAM.into() };
    let chunk =
        |report: &SenderReport| SourceDescriptionChunk { source: report.ssrc, items: vec![name.clone()] };
    let names = SourceDescription { chunks: reports.iter().map(chunk).collect() };
    let reports = reports.into_iter().map(|report| Box::new(report) as Box<dyn Packet>);
    reports.chain([Box::new(names) as Box<dyn Packet>]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_name_their_sources() {
        let reports = [7, 8].map(|ssrc| SenderReport { ssrc, ..Default::default() });
        let bytes = rtc::rtcp::packet::marshal(&compound(reports.to_vec())).expect("it fits");
        let parts = rtc::rtcp::packet::unmarshal(&mut &bytes[..]).expect("it is well-formed");
        let names = parts[2].as_any().downcast_ref::<SourceDescription>().expect("the names");
        let named = |chunk: &SourceDescriptionChunk| (chunk.source, chunk.items[0].text.clone());
        assert_eq!(
            names.chunks.iter().map(named).collect::<Vec<_>>(),
            [7, 8].map(|ssrc| (ssrc, STREAM.into()))
        );
    }
}
