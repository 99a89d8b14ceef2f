//! The camera side: one thread that turns a [`VideoSource`] into access units.
//!
//! ```text
//!            Run              opened, first frame: Started
//!   paused ───────> opening ──────────────────────────────> streaming
//!     ^    Paused    │  ^ after a while (`retry`)              │
//!     └──────────────┴──┴──────────── Pause ── failed: Lost ───┘
//! ```
//!
//! Capture never waits for the network: when the channel is full the thread drops access units up
//! to the next keyframe, and asks its encoder for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self as std_mpsc, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::{self, ControlValue, VideoSource, When};
use crate::engine::control::{CameraControl, ControlRefusal};
use crate::engine::h264::AccessUnit;
use crate::io::clock::media_now;
use crate::units::{Bitrate, MediaTime};

use identity::Remembered;
pub(crate) use loss::Loss;
use outlet::Outlet;
use retry::Retry;

mod command;
mod encode;
mod identity;
mod loss;
mod m2m;
mod outlet;
mod pattern;
mod replay;
mod retry;
#[cfg(feature = "openh264")]
mod software;
pub mod survey;
mod sys;
mod v4l2;

/// A second of pictures at 30 frames per second: a receiver that is later than this has stopped.
/// When it is full, pictures are dropped up to the next keyframe.
const EVENTS_HELD: usize = 30;
/// The longest time between two looks at the commands.
const TICK: Duration = Duration::from_millis(100);
/// After a control was set, all of them are read again, since others may have changed with it: once for
/// those that are set within this time.
const CONTROLS_SETTLE: Duration = Duration::from_millis(200);

/// A running source: access units and changes of state out, commands in. Dropping it stops the thread.
#[derive(Debug)]
pub struct Capture {
    /// What the source says, in order.
    pub events: mpsc::Receiver<CaptureEvent>,
    /// What the source is told; it is read between two frames and at least every 100 ms.
    pub commands: std_mpsc::Sender<CaptureCommand>,
    dropped: Arc<AtomicU64>,
}

impl Capture {
    /// Pictures since the start that were not handed over: before a first keyframe, and when the channel was
    /// full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Stops the thread and waits until it has let go of its device, or has ended its program.
    pub async fn stop(self) {
        let Capture { mut events, commands, .. } = self;
        drop(commands);
        while events.recv().await.is_some() {}
    }
}

/// What a source says.
#[derive(Clone, Debug, PartialEq)]
pub enum CaptureEvent {
    /// A picture.
    Frame(AccessUnit),
    /// The source delivers from now on. Said again when what it delivers has changed.
    Started(Format),
    /// It stopped because it was told to.
    Paused,
    /// It is missing or failed, and is tried again by itself. Said once for each loss.
    Lost {
        /// What happened, to what, and what to do.
        reason: String,
    },
    /// The camera controls that there are, when the camera is opened and whenever one has changed.
    Controls(Vec<CameraControl>),
    /// What became of [`CaptureCommand::SetControl`].
    ControlSet {
        /// Whose request it was, as given with it.
        ticket: u64,
        /// The value that the driver took, or why it took none.
        outcome: Result<ControlValue, ControlRefusal>,
    },
    /// A still, for [`CaptureCommand::Snapshot`]: a JPEG file.
    Snapshot(Bytes),
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
    /// Whether [`CaptureCommand::Snapshot`] is answered; else a still is to be decoded from a keyframe.
    pub takes_stills: bool,
    /// Device, driver and what it could be set to, for the log.
    pub detail: String,
}

/// What a source can be told. One that cannot obey ignores it.
#[derive(Clone, Debug, PartialEq)]
pub enum CaptureCommand {
    /// Deliver frames.
    Run,
    /// Stop delivering and let go of the device.
    Pause,
    /// Make the next frame a keyframe.
    ForceKeyframe,
    /// Encode at this bitrate.
    SetBitrate(Bitrate),
    /// Set a camera control. It is set again when the camera was lost and is back.
    SetControl {
        /// Comes back with the outcome.
        ticket: u64,
        /// As [`CameraControl::name`] has it.
        name: String,
        /// The new value.
        value: ControlValue,
    },
    /// Make a still of the next picture, where [`Format::takes_stills`].
    Snapshot,
}

/// Starts the thread `farol-capture`. It runs at once when the source is always on, and otherwise
/// waits for [`CaptureCommand::Run`]. It cannot fail: what is wrong comes as [`CaptureEvent::Lost`].
pub fn spawn(video: &config::Video) -> Capture {
    let (events_in, events) = mpsc::channel(EVENTS_HELD);
    // Commands are few and small, and their sender must never wait for a camera: no bound is needed.
    let (commands, commands_out) = std_mpsc::channel();
    let dropped = Arc::new(AtomicU64::new(0));
    let worker = Worker {
        video: video.clone(),
        commands: commands_out,
        outlet: Outlet::new(events_in.clone(), dropped.clone()),
        camera: Remembered::default(),
        is_running: video.when == When::Always,
        controls: Vec::new(),
        controls_due: None,
        is_orphaned: false,
    };
    let thread = thread::Builder::new().name("farol-capture".into()).spawn(move || worker.run());
    if let Err(cause) = thread {
        let reason =
            format!("the capture thread could not be started: {cause}; free memory or raise TasksMax=");
        // The channel is new and empty, so it takes the first event.
        let _ = events_in.try_send(CaptureEvent::Lost { reason });
    }
    Capture { events, commands, dropped }
}

/// What became of a control that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It has this value now, which lasts.
    Value(ControlValue),
    /// It was a button.
    Pressed,
}

/// An open source.
enum Source {
    Pattern(Box<pattern::Pattern>),
    Command(Box<command::CommandSource>),
    Replay(replay::Replay),
    V4l2(Box<v4l2::Camera>),
}

impl Source {
    fn open(video: &config::Video, camera: &mut Remembered) -> Result<Source, Loss> {
        match &video.source {
            VideoSource::Pattern => {
                pattern::Pattern::open(video).map(|pattern| Source::Pattern(Box::new(pattern)))
            }
            VideoSource::Command { argv } => {
                command::CommandSource::open(argv, video).map(|source| Source::Command(Box::new(source)))
            }
            VideoSource::Replay { file } => replay::Replay::open(file, video).map(Source::Replay),
            VideoSource::V4l2 { device, input, encoder } => {
                let node = camera.find(device)?;
                let source = v4l2::Camera::open(&node, *input, encoder, video)?;
                camera.remember(device, &node);
                Ok(Source::V4l2(Box::new(source)))
            }
        }
    }

    fn format(&self) -> Format {
        match self {
            Source::Pattern(pattern) => pattern.format(),
            Source::Command(command) => command.format(),
            Source::Replay(replay) => replay.format(),
            Source::V4l2(camera) => camera.format(),
        }
    }

    /// When the next picture is to be made; `None` for a device that has its own clock.
    fn due(&self) -> Option<MediaTime> {
        match self {
            Source::Pattern(pattern) => Some(pattern.due()),
            Source::Replay(replay) => Some(replay.due()),
            Source::V4l2(_) | Source::Command(_) => None,
        }
    }

    /// The picture that is due. A device is waited for, `TICK` at most; then there is none.
    fn picture(&mut self) -> Result<Option<AccessUnit>, Loss> {
        match self {
            Source::Pattern(pattern) => pattern.picture(media_now()),
            Source::Replay(replay) => Ok(replay.picture(media_now())),
            Source::V4l2(camera) => camera.picture(TICK),
            Source::Command(command) => command.picture(TICK),
        }
    }

    fn force_keyframe(&mut self) {
        match self {
            Source::Pattern(pattern) => pattern.force_keyframe(),
            Source::Replay(replay) => replay.force_keyframe(),
            Source::V4l2(camera) => camera.force_keyframe(),
            Source::Command(_) => {}
        }
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) {
        match self {
            Source::Pattern(pattern) => pattern.set_bitrate(bitrate),
            Source::Replay(_) | Source::Command(_) => {}
            Source::V4l2(camera) => camera.set_bitrate(bitrate),
        }
    }

    /// The camera controls as they are now; none where there is no camera.
    fn controls(&mut self) -> Vec<CameraControl> {
        match self {
            Source::V4l2(camera) => camera.controls(),
            _ => Vec::new(),
        }
    }

    fn set_control(&mut self, name: &str, value: &ControlValue) -> Result<Taken, ControlRefusal> {
        match self {
            Source::V4l2(camera) => camera.set_control(name, value),
            _ => Err(ControlRefusal::Unknown { name: name.to_owned() }),
        }
    }

    /// Makes a still of the next picture, where [`Format::takes_stills`].
    fn want_still(&mut self) {
        match self {
            Source::Pattern(pattern) => pattern.want_still(),
            Source::Replay(_) | Source::Command(_) => {}
            Source::V4l2(camera) => camera.want_still(),
        }
    }

    /// A still that was asked for, once it is made.
    fn take_still(&mut self) -> Option<Bytes> {
        match self {
            Source::Pattern(pattern) => pattern.take_still(),
            Source::Replay(_) | Source::Command(_) => None,
            Source::V4l2(camera) => camera.take_still(),
        }
    }

    /// Whether the format has changed since it was last said.
    fn take_change(&mut self) -> bool {
        match self {
            Source::Pattern(_) | Source::Replay(_) | Source::Command(_) => false,
            Source::V4l2(camera) => camera.take_change(),
        }
    }
}

/// The thread's own state.
struct Worker {
    /// As configured, with the latest bitrate and the controls that were set since.
    video: config::Video,
    commands: std_mpsc::Receiver<CaptureCommand>,
    outlet: Outlet,
    /// Which camera it was, to find it again.
    camera: Remembered,
    is_running: bool,
    /// The controls that were told last, and when they are to be read again.
    controls: Vec<CameraControl>,
    controls_due: Option<MediaTime>,
    /// The [`Capture`] is gone: nobody can hear or command us.
    is_orphaned: bool,
}

impl Worker {
    fn run(mut self) {
        while !self.is_orphaned {
            if self.is_running {
                self.capture();
                if !self.is_orphaned {
                    self.outlet.state(CaptureEvent::Paused);
                }
            } else {
                self.obey_within(TICK, None);
            }
        }
    }

    /// Opens the source, again and again when it fails, until a pause or the end.
    fn capture(&mut self) {
        let mut is_loss_said = false;
        let mut retry = Retry::of(&self.video.source);
        while self.may_run() {
            let mut has_started = false;
            let opened = media_now().0;
            let outcome = Source::open(&self.video, &mut self.camera)
                .and_then(|source| self.stream(source, &mut has_started));
            if has_started {
                is_loss_said = false;
            }
            let Err(loss) = outcome else { return };
            if is_loss_said {
                log::debug!(reason:% = loss; "video source still lost");
            } else {
                self.outlet.state(CaptureEvent::Lost { reason: loss.to_string() });
                is_loss_said = true;
            }
            let lost = media_now().0;
            let until = lost + retry.wait_after(lost.saturating_sub(opened));
            while self.may_run() && media_now().0 < until {
                self.obey_within(until.saturating_sub(media_now().0).min(TICK), None);
            }
        }
    }

    /// Delivers pictures until a pause or the end, or until the source fails.
    fn stream(&mut self, mut source: Source, has_started: &mut bool) -> Result<(), Loss> {
        self.outlet.await_keyframe();
        while self.may_run() {
            match source.due() {
                Some(due) => {
                    let wait = due.0.saturating_sub(media_now().0);
                    if !wait.is_zero() {
                        self.obey_within(wait.min(TICK), Some(&mut source));
                        continue;
                    }
                }
                None => self.obey_within(Duration::ZERO, Some(&mut source)),
            }
            let picture = source.picture()?;
            if let Some(still) = source.take_still() {
                self.outlet.still(still);
            }
            let Some(unit) = picture else { continue };
            if !*has_started || source.take_change() {
                self.outlet.state(CaptureEvent::Started(source.format()));
                *has_started = true;
                self.controls_due = Some(media_now());
            }
            self.tell_controls(&mut source);
            if self.outlet.frame(unit).is_keyframe_wanted() {
                source.force_keyframe();
            }
        }
        Ok(())
    }

    /// Tells the controls when they are to be read again and have changed.
    fn tell_controls(&mut self, source: &mut Source) {
        if self.controls_due.is_none_or(|due| media_now() < due) {
            return;
        }
        self.controls_due = None;
        let controls = source.controls();
        if controls != self.controls {
            self.controls.clone_from(&controls);
            self.outlet.answer(CaptureEvent::Controls(controls));
        }
    }

    fn set_control(
        &mut self,
        name: String,
        value: ControlValue,
        source: Option<&mut Source>,
    ) -> Result<ControlValue, ControlRefusal> {
        let taken = source.ok_or(ControlRefusal::NoCamera)?.set_control(&name, &value)?;
        self.controls_due.get_or_insert(MediaTime(media_now().0 + CONTROLS_SETTLE));
        match taken {
            Taken::Pressed => Ok(ControlValue::Boolean(true)),
            Taken::Value(taken) => {
                // In the order of setting: what was set to manual comes before what that allowed.
                self.video.controls.retain(|(known, _)| *known != name);
                self.video.controls.push((name, value));
                Ok(taken)
            }
        }
    }

    fn may_run(&self) -> bool {
        self.is_running && !self.is_orphaned
    }

    /// Waits for a command, no longer than `wait`, and obeys it and all that came with it.
    fn obey_within(&mut self, wait: Duration, mut source: Option<&mut Source>) {
        self.outlet.flush();
        let mut next = self.commands.recv_timeout(wait);
        loop {
            match next {
                Ok(command) => self.obey(command, source.as_deref_mut()),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    self.is_orphaned = true;
                    break;
                }
            }
            next = self.commands.recv_timeout(Duration::ZERO);
        }
        // A receiver that is dropped while a clone of the command sender lives is an end as well.
        self.is_orphaned |= self.outlet.is_closed();
    }

    fn obey(&mut self, command: CaptureCommand, source: Option<&mut Source>) {
        match (command, source) {
            (CaptureCommand::Run, _) => self.is_running = true,
            (CaptureCommand::Pause, _) => self.is_running = false,
            (CaptureCommand::ForceKeyframe, Some(source)) => source.force_keyframe(),
            // A source begins with a keyframe whenever it is opened.
            (CaptureCommand::ForceKeyframe, None) => {}
            (CaptureCommand::SetControl { ticket, name, value }, source) => {
                let outcome = self.set_control(name, value, source);
                self.outlet.answer(CaptureEvent::ControlSet { ticket, outcome });
            }
            (CaptureCommand::Snapshot, Some(source)) => source.want_still(),
            // It is said by the format that there are none.
            (CaptureCommand::Snapshot, None) => {}
            (CaptureCommand::SetBitrate(bitrate), source) => {
                self.video.bitrate = bitrate;
                if let Some(source) = source {
                    source.set_bitrate(bitrate);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
