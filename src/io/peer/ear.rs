//! What becomes of the sound that a viewer sends?
//!
//! Each track's packets are read by a task, since unread ones would fill the library's channel and then
//! the log. They are passed on while somebody is to hear this viewer, and never waited for: a packet for
//! which there is no room is dropped, as on any network.

use std::sync::Arc;
use std::time::Instant;

use rtc::rtp::Packet;
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::Ear;
use super::watch::Observed;
use crate::engine::bucket::Bucket;
use crate::engine::jitter::{Spoken, VoicePacket};
use crate::io::clock::media_now;
use crate::units::PeerId;

/// The most packets that a viewer is heard with: those of 10 ms, the shortest that is offered, twice over
/// and with a burst, so that one who sends a flood does not take the room of the others.
const PACKETS_PER_S: u32 = 200;
const BURST: u32 = 100;
/// What WebRTC takes a path to carry is 1,200 bytes; a voice at its best needs 200. What is longer is none.
const MAX_PAYLOAD_BYTES: usize = 1_400;

/// Whom to listen to, and for whom.
#[derive(Clone)]
pub struct Listening {
    /// Whose sound it is.
    pub peer: PeerId,
    /// Who hears it.
    pub ear: watch::Receiver<Ear>,
}

impl Listening {
    /// Reads a track until it ends, which it does with its connection.
    pub async fn run(self, track: Arc<dyn TrackRemote>, observed: mpsc::Sender<Observed>) {
        let mut bucket = Bucket::new(PACKETS_PER_S, BURST);
        let mut is_first = true;
        while let Some(event) = track.poll().await {
            let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
            if std::mem::take(&mut is_first) {
                let _ = observed.send(Observed::Sound).await;
            }
            if let Some(packets) = &*self.ear.borrow()
                && packet.payload.len() <= MAX_PAYLOAD_BYTES
                && bucket.take(Instant::now())
                // Full: the speaker's thread stands still, and what is dropped would be late.
                && packets.try_send(self.spoken(packet)).is_err()
            {
                log::trace!(peer:% = self.peer; "a packet of sound was dropped");
            }
        }
    }

    fn spoken(&self, packet: Packet) -> Spoken {
        let packet = VoicePacket {
            ssrc: packet.header.ssrc,
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            payload: packet.payload,
            arrived: media_now(),
        };
        Spoken { peer: self.peer, packet }
    }
}
