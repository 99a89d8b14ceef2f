//! The sound side: one thread that turns an [`Audio`] source into Opus packets, and one for the other way
//! ([`speaker`]).
//!
//! It opens its source, loses it and opens it again as the camera side does. Sound never waits for the
//! network: a packet that finds the channel full is dropped, and the receiver hears a gap of 20 ms.

use std::io;
use std::sync::mpsc::{self as std_mpsc, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::config::{Audio, When};
use crate::engine::pcm::{Channels, OpusPacket, PcmFrame};
use crate::io::clock::media_now;
use crate::units::Bitrate;

mod alsa;
mod duck;
mod opus;
pub mod speaker;
mod tone;
mod voice;

pub use duck::DuckGain;

/// Half a second of packets: a receiver that is later than this has stopped. When it is full, the
/// newest packet is dropped.
const EVENTS_HELD: usize = 25;
/// The longest time between two looks at the commands.
const TICK: Duration = Duration::from_millis(100);
/// The wait before the first attempt to open a lost source again, and before each further one.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(1));

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

/// Starts the thread `farol-microphone`, or nothing when there is to be no sound. It runs at once when
/// the source is always on, and otherwise waits for [`AudioCommand::Run`]. It cannot fail: what is
/// wrong comes as [`AudioEvent::Lost`]. Others set its `gain`, as while a viewer speaks.
pub fn spawn(audio: &Audio, when: When, gain: DuckGain) -> Option<Microphone> {
    let bitrate = match *audio {
        Audio::None => return None,
        Audio::Tone { bitrate } | Audio::Alsa { bitrate, .. } => bitrate,
    };
    let (events_in, events) = mpsc::channel(EVENTS_HELD);
    // Commands are few and small, and their sender must never wait for a sound card: no bound is needed.
    let (commands, commands_out) = std_mpsc::channel();
    let worker = Worker {
        audio: audio.clone(),
        bitrate,
        gain,
        commands: commands_out,
        events: events_in.clone(),
        unsent: None,
        is_running: when == When::Always,
        is_orphaned: false,
    };
    let thread = thread::Builder::new().name("farol-microphone".into()).spawn(move || worker.run());
    if let Err(cause) = thread {
        let reason =
            format!("the sound thread could not be started: {cause}; free memory or raise TasksMax=");
        // The channel is new and empty, so it takes the first event.
        let _ = events_in.try_send(AudioEvent::Lost { reason });
    }
    Some(Microphone { events, commands })
}

/// Why a source does not deliver. Each says what failed, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    /// A call to a sound card failed.
    #[error("{operation} on {device}: {cause}; {remedy}")]
    Device {
        /// What was tried.
        operation: &'static str,
        /// The PCM's name.
        device: String,
        /// What ALSA said.
        cause: io::Error,
        /// What a person can do.
        remedy: &'static str,
    },
    /// The encoder refused.
    #[error("{operation} the Opus encoder: {cause}; set audio.bitrate_kbps between 6 and 510")]
    Encoder {
        /// What was tried.
        operation: &'static str,
        /// What libopus said.
        cause: &'static str,
    },
    /// A decoder for a viewer's voice could not be made.
    #[error("open an Opus decoder: {cause}; free memory")]
    Decoder {
        /// What libopus said.
        cause: &'static str,
    },
}

/// An open source.
enum Source {
    Tone(tone::Tone),
    Alsa(Box<alsa::SoundCard>),
}

impl Source {
    fn open(audio: &Audio) -> Result<Option<Source>, Loss> {
        Ok(match audio {
            Audio::None => None,
            Audio::Tone { .. } => Some(Source::Tone(tone::Tone::starting(media_now()))),
            Audio::Alsa { device, rate_hz, channels, .. } => {
                Some(Source::Alsa(Box::new(alsa::SoundCard::open(device, *rate_hz, *channels)?)))
            }
        })
    }

    fn channels(&self) -> Channels {
        match self {
            Source::Tone(_) => Channels::Mono,
            Source::Alsa(card) => card.channels(),
        }
    }

    fn detail(&self) -> String {
        match self {
            Source::Tone(_) => "test tone, 440 Hz".to_owned(),
            Source::Alsa(card) => card.detail().to_owned(),
        }
    }

    /// How long the caller should wait for commands before it asks for sound. A device waits itself.
    fn wait(&self) -> Duration {
        match self {
            Source::Tone(tone) => tone.due().0.saturating_sub(media_now().0).min(TICK),
            Source::Alsa(_) => Duration::ZERO,
        }
    }

    /// The next frame, when there is one. A device is waited for, `TICK` at most.
    fn frame(&mut self) -> Result<Option<PcmFrame>, Loss> {
        match self {
            Source::Tone(tone) => Ok(tone.frame(media_now())),
            Source::Alsa(card) => card.frame(TICK),
        }
    }
}

/// The thread's own state.
struct Worker {
    audio: Audio,
    bitrate: Bitrate,
    gain: DuckGain,
    commands: std_mpsc::Receiver<AudioCommand>,
    events: mpsc::Sender<AudioEvent>,
    /// A change of state that found the channel full. A later one takes its place: it is the truth.
    unsent: Option<AudioEvent>,
    is_running: bool,
    /// The [`Microphone`] is gone: nobody can hear or command us.
    is_orphaned: bool,
}

impl Worker {
    fn run(mut self) {
        while !self.is_orphaned {
            if self.is_running {
                self.capture();
                if !self.is_orphaned {
                    self.state(AudioEvent::Paused);
                }
            } else {
                self.obey_within(TICK);
            }
        }
    }

    /// Opens the source, again and again when it fails, until a pause or the end.
    fn capture(&mut self) {
        let mut retry = RETRY.0;
        let mut is_loss_said = false;
        while self.may_run() {
            let mut has_started = false;
            let Err(loss) = self.stream(&mut has_started) else { return };
            if has_started {
                (retry, is_loss_said) = (RETRY.0, false);
            }
            if is_loss_said {
                log::debug!(reason:% = loss; "sound source still lost");
            } else {
                self.state(AudioEvent::Lost { reason: loss.to_string() });
                is_loss_said = true;
            }
            let until = media_now().0 + retry;
            retry = RETRY.1;
            while self.may_run() && media_now().0 < until {
                self.obey_within(until.saturating_sub(media_now().0).min(TICK));
            }
        }
    }

    /// Delivers packets until a pause or the end, or until the source fails.
    fn stream(&mut self, has_started: &mut bool) -> Result<(), Loss> {
        let Some(mut source) = Source::open(&self.audio)? else { return Ok(()) };
        let mut encoder = opus::OpusEncoder::new(source.channels(), self.bitrate)?;
        let mut ducked = duck::Ducked::new(self.gain.clone());
        loop {
            self.obey_within(source.wait());
            if !self.may_run() {
                return Ok(());
            }
            let Some(mut frame) = source.frame()? else { continue };
            ducked.apply(&mut frame, source.channels());
            if !*has_started {
                self.state(AudioEvent::Started { detail: source.detail() });
                *has_started = true;
            }
            self.packet(encoder.encode(&frame)?);
        }
    }

    fn may_run(&self) -> bool {
        self.is_running && !self.is_orphaned
    }

    /// Waits for a command, no longer than `wait`, and obeys it and all that came with it.
    fn obey_within(&mut self, wait: Duration) {
        self.flush();
        let mut next = self.commands.recv_timeout(wait);
        loop {
            match next {
                Ok(AudioCommand::Run) => self.is_running = true,
                Ok(AudioCommand::Pause) => self.is_running = false,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    self.is_orphaned = true;
                    break;
                }
            }
            next = self.commands.recv_timeout(Duration::ZERO);
        }
        // A receiver that is dropped while a clone of the command sender lives is an end as well.
        self.is_orphaned |= self.events.is_closed();
    }

    fn state(&mut self, event: AudioEvent) {
        self.unsent = Some(event);
        self.flush();
    }

    fn flush(&mut self) {
        if let Some(event) = self.unsent.take()
            && let Err(TrySendError::Full(event)) = self.events.try_send(event)
        {
            self.unsent = Some(event);
        }
    }

    fn packet(&mut self, packet: OpusPacket) {
        self.flush();
        if self.unsent.is_none() && self.events.try_send(AudioEvent::Packet(packet)).is_err() {
            log::trace!("sound packet dropped: its receiver is behind");
        }
    }
}

#[cfg(test)]
mod tests;
