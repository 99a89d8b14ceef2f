//! The viewers' voices, out of the board's speaker: one thread that decodes, mixes and plays them.
//!
//! ```text
//! packets ─► Voice (each viewer) ─► Floor: who is heard ─► Mixer ─► ALSA
//!                                                            └─► Ducker ─► gain ─► microphone's thread
//! ```
//!
//! The device is open only while somebody speaks: a board that is silent keeps its sound card free and
//! its amplifier off. A device that is lost is tried again by itself. Nothing waits for this thread:
//! packets that it does not fetch are dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::alsa::Speaker;
use super::duck::DuckGain;
use super::voice::Voice;
use super::{Loss, RETRY, TICK};
use crate::config::Talkback;
use crate::engine::jitter::Spoken;
use crate::engine::pcm::{FRAME, FRAME_SAMPLES};
use crate::engine::talk::{self, Ducker, Floor, Mixer, Turn};
use crate::io::clock::media_now;
use crate::units::{MediaTime, PeerId};

/// Packets on their way to the thread: a second of five talkers. When it is full, the newest is dropped.
const PACKETS_HELD: usize = 256;
/// Changes on their way to the daemon. When it is full, they wait here; a board's talkers make few.
const EVENTS_HELD: usize = 32;
/// The device is closed when no packet has come for so long: longer than a pause in a conversation.
const CLOSED_AFTER: Duration = Duration::from_secs(5);
/// A viewer that sends nothing for so long gives its decoder back.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);
/// Talkers that are decoded at most; the configuration lets in as many viewers.
const MAX_VOICES: usize = 64;
/// So far ahead of the clock, a device is fed no more. One that plays by a clock of its own is never so
/// far; `null` and `file` have none and would take everything at once.
const AHEAD: Duration = Duration::from_millis(100);
/// So far behind it, the thread or the device stood still, and what is past is not played faster.
const BEHIND: Duration = Duration::from_millis(200);

/// A running speaker. Dropping it stops the thread.
#[derive(Debug)]
pub struct Loudspeaker {
    /// What it says, in order.
    pub events: mpsc::Receiver<SpeakerEvent>,
    /// Where viewers' packets go.
    pub packets: SyncSender<Spoken>,
}

/// What a speaker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpeakerEvent {
    /// The device plays from now on.
    Started {
        /// Device and format, for the log.
        detail: String,
    },
    /// It was closed, since nobody speaks.
    Rests,
    /// It is missing or failed, and is tried again by itself. Said once for each loss.
    Lost {
        /// What happened, to what, and what to do.
        reason: String,
    },
    /// Somebody is heard from now on, or no more.
    Turn(Turn),
}

/// Starts the thread `farol-speaker`. It cannot fail: what is wrong comes as [`SpeakerEvent::Lost`].
/// `gain` is the microphone's while somebody is heard.
pub fn spawn(talkback: &Talkback, gain: DuckGain) -> Loudspeaker {
    let (packets, packets_out) = sync_channel(PACKETS_HELD);
    let (events_in, events) = mpsc::channel(EVENTS_HELD);
    let worker = Worker {
        talkback: talkback.clone(),
        packets: packets_out,
        events: events_in.clone(),
        unsent: VecDeque::new(),
        voices: BTreeMap::new(),
        floor: Floor::new(talkback.talkers),
        gain,
        is_lost: false,
        is_orphaned: false,
    };
    let thread = thread::Builder::new().name("farol-speaker".into()).spawn(move || worker.run());
    if let Err(cause) = thread {
        let reason =
            format!("the speaker's thread could not be started: {cause}; free memory or raise TasksMax=");
        // The channel is new and empty, so it takes the first event.
        let _ = events_in.try_send(SpeakerEvent::Lost { reason });
    }
    Loudspeaker { events, packets }
}

/// The thread's own state.
struct Worker {
    talkback: Talkback,
    packets: Receiver<Spoken>,
    events: mpsc::Sender<SpeakerEvent>,
    /// Events that found the channel full.
    unsent: VecDeque<SpeakerEvent>,
    voices: BTreeMap<PeerId, Voice>,
    floor: Floor,
    gain: DuckGain,
    is_lost: bool,
    /// The [`Loudspeaker`] is gone: nobody can be heard any more.
    is_orphaned: bool,
}

impl Worker {
    fn run(mut self) {
        let mut retry_at = None;
        while !self.is_orphaned {
            let is_spoken_to = self.receive(TICK);
            let is_due = retry_at.is_none_or(|at| media_now() >= at);
            if self.is_orphaned || !is_due || !(is_spoken_to || self.is_lost) {
                continue;
            }
            let outcome = self.play();
            self.be_silent();
            retry_at = outcome.err().map(|loss| self.lose(&loss));
        }
    }

    /// Says that the device is lost, unless it was before; returns when it is tried again.
    fn lose(&mut self, loss: &Loss) -> MediaTime {
        let wait = if self.is_lost { RETRY.1 } else { RETRY.0 };
        if self.is_lost {
            log::debug!(reason:% = loss; "speaker still lost");
        } else {
            self.say(SpeakerEvent::Lost { reason: loss.to_string() });
            self.is_lost = true;
        }
        MediaTime(media_now().0 + wait)
    }

    /// Opens the device and plays until nobody has spoken for a while.
    fn play(&mut self) -> Result<(), Loss> {
        let mut speaker = Speaker::open(&self.talkback)?;
        self.is_lost = false;
        self.say(SpeakerEvent::Started { detail: speaker.detail().to_owned() });
        let (mut mixer, mut ducker) = (Mixer::default(), Ducker::new(self.talkback.duck_db));
        let mut heard_at = media_now();
        let mut played_until = heard_at;
        while !self.is_orphaned && media_now().0.saturating_sub(heard_at.0) < CLOSED_AFTER {
            let ahead = played_until.0.saturating_sub(media_now().0);
            // A device with a clock of its own is waited for, any other by the clock.
            let wait = ahead.saturating_sub(AHEAD).min(TICK);
            if self.receive(wait) {
                heard_at = media_now();
            }
            if !wait.is_zero() || !speaker.wait(FRAME)? {
                continue;
            }
            let now = media_now();
            let frame = self.mix(now, &mut mixer);
            // A device cannot hold more than a second; a driver that says so is not believed.
            let delay = speaker.delay().min(Duration::from_secs(1));
            self.gain.set(ducker.gain(now, talk::loudness(&frame), delay));
            speaker.play(&frame)?;
            played_until = MediaTime(played_until.0.max(now.0.saturating_sub(BEHIND)) + FRAME);
        }
        log::debug!(off_ppm = speaker.off_ppm().round(); "nobody has spoken for a while");
        self.say(SpeakerEvent::Rests);
        Ok(())
    }

    /// Takes what viewers said meanwhile, and waits for it if need be; whether there was anything.
    fn receive(&mut self, wait: Duration) -> bool {
        self.flush();
        // A receiver that is dropped while a peer connection still has the sender is an end as well.
        self.is_orphaned |= self.events.is_closed();
        let mut is_spoken_to = false;
        let mut next = self.packets.recv_timeout(wait);
        // No more than the channel holds: a flood is to be dropped there, and the device waits.
        for _ in 0..PACKETS_HELD {
            match next {
                Ok(spoken) => is_spoken_to |= self.take(spoken),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    self.is_orphaned = true;
                    break;
                }
            }
            next = self.packets.recv_timeout(Duration::ZERO);
        }
        is_spoken_to
    }

    fn take(&mut self, Spoken { peer, packet }: Spoken) -> bool {
        if !self.voices.contains_key(&peer) {
            if self.voices.len() >= MAX_VOICES {
                return false;
            }
            match Voice::new(packet.arrived) {
                Ok(voice) => self.voices.insert(peer, voice),
                Err(cause) => {
                    log::debug!(cause:%, peer:%; "a voice cannot be decoded");
                    return false;
                }
            };
        }
        if let Some(voice) = self.voices.get_mut(&peer) {
            voice.push(packet);
        }
        true
    }

    /// The next 20 ms of all who are heard.
    fn mix(&mut self, now: MediaTime, mixer: &mut Mixer) -> [f32; FRAME_SAMPLES] {
        let mut turns = Vec::new();
        for (&peer, voice) in &mut self.voices {
            voice.advance(now, self.floor.is_open_to(peer));
            turns.extend(self.floor.hear(now, peer, voice.loudness()));
        }
        turns.extend(self.floor.settle(now));
        let mut sum = [0.0; FRAME_SAMPLES];
        for (&peer, voice) in &mut self.voices {
            let target = if self.floor.is_heard(peer) { 1.0 } else { 0.0 };
            let frame = *voice.frame();
            Mixer::add(&mut sum, &frame, &mut voice.ramp, target);
        }
        mixer.limit(&mut sum);
        self.voices.retain(|_, voice| now.0.saturating_sub(voice.heard_at.0) < FORGOTTEN_AFTER);
        for turn in turns {
            self.say(SpeakerEvent::Turn(turn));
        }
        sum
    }

    /// Nobody is heard any more, and the microphone is as loud as ever.
    fn be_silent(&mut self) {
        self.gain.set(1.0);
        self.voices.clear();
        for turn in self.floor.clear() {
            self.say(SpeakerEvent::Turn(turn));
        }
    }

    fn say(&mut self, event: SpeakerEvent) {
        self.unsent.push_back(event);
        // The daemon has not listened for a minute: the oldest is of no use any more.
        if self.unsent.len() > 2 * EVENTS_HELD {
            self.unsent.pop_front();
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(event) = self.unsent.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.unsent.push_front(event);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
