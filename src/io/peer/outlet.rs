//! The streams that we send: their tracks, and how an answer wants their packets to look.

use std::sync::Arc;
use std::sync::atomic::AtomicU16;

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

/// One track that we send, and what identifies its packets.
pub struct LocalStream {
    /// Where packets are written.
    pub track: Arc<TrackLocalStaticRTP>,
    /// Knows what was negotiated.
    pub sender: Arc<dyn RtpSender>,
    /// Synchronization source.
    pub ssrc: u32,
    /// Added to the timestamps.
    pub offset: u32,
    /// The number of the next packet.
    pub sequence: Arc<AtomicU16>,
}

/// How an answer wants one stream's packets to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendParameters {
    /// RTP payload type.
    pub payload_type: u8,
    /// Header extension id of the playout delay, if the answer takes it.
    pub playout_delay_id: Option<u8>,
    /// Header extension id of the capture time, if the answer takes it.
    pub capture_time_id: Option<u8>,
}

/// What `fanout` needs to write one stream's packets to one viewer.
#[derive(Clone)]
pub struct Outlet {
    /// Where they are written.
    pub track: Arc<TrackLocalStaticRTP>,
    /// Synchronization source.
    pub ssrc: u32,
    /// Added to the timestamps (RFC 3550 §5.1).
    pub offset: u32,
    /// The number of the next packet.
    pub sequence: Arc<AtomicU16>,
    /// As answered.
    pub parameters: SendParameters,
}

impl LocalStream {
    /// Numbered from a random start.
    pub fn new(track: Arc<TrackLocalStaticRTP>, sender: Arc<dyn RtpSender>, ssrc: u32, offset: u32) -> Self {
        // Starts at random (RFC 3550 §5.1); the offset is, and is not guessed from this half of it.
        let sequence = Arc::new(AtomicU16::new((offset >> 16) as u16));
        LocalStream { track, sender, ssrc, offset, sequence }
    }

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
        Ok(SendParameters {
            payload_type: codec.payload_type,
            playout_delay_id: id(codecs::PLAYOUT_DELAY),
            capture_time_id: id(codecs::ABS_CAPTURE_TIME),
        })
    }

    /// For writing with these parameters.
    pub fn outlet(&self, parameters: SendParameters) -> Outlet {
        Outlet {
            track: self.track.clone(),
            ssrc: self.ssrc,
            offset: self.offset,
            sequence: self.sequence.clone(),
            parameters,
        }
    }
}
