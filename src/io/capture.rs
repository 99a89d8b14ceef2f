//! The camera side: one thread that turns a [`VideoSource`](crate::config::VideoSource) into access units.
//!
//! Capture never waits for the network: when the channel is full the thread drops access units up
//! to the next keyframe, and asks its encoder for one.

use std::sync::mpsc as std_mpsc;

use tokio::sync::mpsc;

use crate::engine::h264::AccessUnit;
use crate::units::Bitrate;

/// A running source: access units and changes of state out, commands in. Dropping it stops the thread.
#[derive(Debug)]
pub struct Capture {
    /// What the source says, in order.
    pub events: mpsc::Receiver<CaptureEvent>,
    /// What the source is told; it is read between two frames and at least every 100 ms.
    pub commands: std_mpsc::Sender<CaptureCommand>,
}

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureEvent {
    /// A picture.
    Frame(AccessUnit),
    /// The source delivers from now on.
    Started(Format),
    /// It stopped because it was told to.
    Paused,
    /// It is missing or failed, and is tried again by itself. Said once for each loss.
    Lost {
        /// What happened, to what, and what to do.
        reason: String,
    },
}

/// What a source delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second, rounded.
    pub fps: u32,
    /// Whether [`CaptureCommand::ForceKeyframe`] has an effect.
    pub forces_keyframes: bool,
    /// Device, driver and what it could be set to, for the log.
    pub detail: String,
}

/// What a source can be told. One that cannot obey ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureCommand {
    /// Deliver frames.
    Run,
    /// Stop delivering and let go of the device.
    Pause,
    /// Make the next frame a keyframe.
    ForceKeyframe,
    /// Encode at this bitrate.
    SetBitrate(Bitrate),
}
