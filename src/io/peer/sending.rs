//! With what is media sent to one viewer, and how are reports on it written?

use std::sync::Arc;
use std::time::Duration;

use rtc::rtcp::sender_report::SenderReport;
use tokio::sync::mpsc;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

use super::outlet::SendParameters;
use super::{Bitrates, CaptureClock, EstimateOutlet, Feedback, Outgoing, codecs};

/// Everything with which media is sent to one viewer.
pub struct Sending {
    /// How the answer wants the picture's packets, if it takes the picture.
    pub video: Option<SendParameters>,
    /// The same of the sound.
    pub audio: Option<SendParameters>,
    /// Sends packets.
    pub outgoing: Arc<tokio::sync::Mutex<Outgoing>>,
    /// What the viewer tells of them.
    pub feedback: mpsc::Receiver<Feedback>,
    /// Sends reports on them.
    pub reports: Reports,
    /// The clock that the reports go by.
    pub clock: CaptureClock,
    /// Who is told of estimates.
    pub estimates: EstimateOutlet,
    /// Their bounds.
    pub bitrates: Bitrates,
    /// How long the viewer is to hold pictures back at least.
    pub playout_delay: Duration,
}

/// Where sender reports are written: into the library, which sends other RTCP too and numbers all of it.
pub struct Reports {
    video: Arc<TrackLocalStaticRTP>,
}

impl Reports {
    /// By the picture's track.
    pub fn new(video: Arc<TrackLocalStaticRTP>) -> Reports {
        Reports { video }
    }

    /// Sends reports. `false`: the connection has ended.
    pub async fn send(&self, reports: Vec<SenderReport>) -> bool {
        self.video.write_rtcp(codecs::compound(reports)).await.is_ok()
    }
}
