//! The streams that we send: their tracks, and how an answer wants their packets to look.

use std::sync::Arc;

use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::rtp_transceiver::RtpSender;

use super::{PeerError, codecs, library};

/// What is sent.
pub struct Streams {
    /// The picture.
    pub video: LocalStream,
    /// The sound, when it is offered.
    pub audio: Option<LocalStream>,
}

/// One track that we send.
pub struct LocalStream {
    /// Where its RTCP is written.
    pub track: Arc<TrackLocalStaticRTP>,
    /// Knows what was negotiated.
    pub sender: Arc<dyn RtpSender>,
}

/// How an answer wants one stream's packets to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendParameters {
    /// RTP payload type.
    pub payload_type: u8,
    /// The payload type of packets that are sent again, if the answer takes them (RFC 4588 §8.6).
    pub repair_type: Option<u8>,
    /// Header extension id of the transport-wide number, if the answer takes it.
    pub wide_id: Option<u8>,
    /// Header extension id of the playout delay, if the answer takes it.
    pub playout_delay_id: Option<u8>,
    /// Header extension id of the capture time, if the answer takes it.
    pub capture_time_id: Option<u8>,
}

impl LocalStream {
    /// What the last answer says of this stream.
    pub async fn parameters(&self) -> Result<SendParameters, PeerError> {
        let operation = "reading what the answer takes";
        let parameters = self.sender.get_parameters().await.map_err(library(operation))?.rtp_parameters;
        let codec = parameters.codecs.first().ok_or(PeerError::Library {
            operation,
            cause: "a section was accepted without a codec in common".to_owned(),
        })?;
        let id = |uri: &str| {
            let extension = parameters.header_extensions.iter().find(|extension| extension.uri == uri)?;
            // One-byte header extensions, the only ones in use, end at 14 (RFC 8285 §4.2).
            u8::try_from(extension.id).ok().filter(|id| (1..=14).contains(id))
        };
        let again = format!("apt={}", codec.payload_type);
        let repair = parameters.codecs.iter().find(|codec| {
            codec.rtp_codec.mime_type.eq_ignore_ascii_case(codecs::MIME_TYPE_RTX)
                && codec.rtp_codec.sdp_fmtp_line.split(';').any(|part| part.trim() == again)
        });
        Ok(SendParameters {
            payload_type: codec.payload_type,
            repair_type: repair.map(|codec| codec.payload_type),
            wide_id: id(codecs::TRANSPORT_CC),
            playout_delay_id: id(codecs::PLAYOUT_DELAY),
            capture_time_id: id(codecs::ABS_CAPTURE_TIME),
        })
    }
}
