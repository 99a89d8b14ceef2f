//! The sound side: one thread that turns an [`Audio`](crate::config::Audio) source into Opus packets.

use std::sync::mpsc as std_mpsc;

use tokio::sync::mpsc;

use crate::engine::pcm::OpusPacket;

/// A running sound source. Dropping it stops the thread.
#[derive(Debug)]
pub struct Microphone {
    /// What the source says, in order.
    pub events: mpsc::Receiver<AudioEvent>,
    /// What it is told.
    pub commands: std_mpsc::Sender<AudioCommand>,
}

/// What a sound source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioEvent {
    /// 20 ms of sound.
    Packet(OpusPacket),
    /// The source delivers from now on.
    Started {
        /// Device, rate and channels, for the log.
        detail: String,
    },
    /// It stopped because it was told to.
    Paused,
    /// It is missing or failed, and is tried again by itself. Said once for each loss.
    Lost {
        /// What happened, to what, and what to do.
        reason: String,
    },
}

/// What a sound source can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCommand {
    /// Deliver sound.
    Run,
    /// Stop and let go of the device.
    Pause,
}
