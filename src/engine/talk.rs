//! Who is heard at the speaker when several viewers speak, and how is the echo of it kept out?
//!
//! Everything here works on stretches of 20 ms at 48 kHz. [`Floor`] says who is heard, [`Mixer`] adds
//! them up, and [`Ducker`] turns the microphone down while somebody is: the board then speaks or
//! listens, never both, since it cannot tell its own voice from the room's.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Talkers;
use crate::units::{MediaTime, PeerId};

/// Louder than this somebody speaks: −45 dBFS, above what a browser leaves of a room's noise.
const SPEECH: f32 = 0.0056;
/// Softer than this a stretch may be left out or doubled unnoticed: −55 dBFS.
const QUIET: f32 = 0.0018;
/// So long after the last loud stretch somebody still speaks: longer than the pauses in a sentence.
const FLOOR_HELD: Duration = Duration::from_millis(600);
/// So long after the last sound has left the speaker the microphone stays turned down, while the room
/// repeats it.
const DUCK_HELD: Duration = Duration::from_millis(300);
/// From silence to full, and back: 15 ms is no click, and takes no syllable.
const RAMP_SAMPLES: f32 = 720.0;
/// The sum is turned down when it gets above this,
const LIMIT: f32 = 0.9;
/// and up again by so much a stretch: 10 dB in half a second.
const RECOVERY: f32 = 1.045;

/// What has changed at the speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This viewer is heard from now on.
    Began(PeerId),
    /// It has been silent for a while.
    Ended(PeerId),
}

/// The loudness of a stretch: its root mean square, 1 for a full square wave.
pub fn loudness(samples: &[f32]) -> f32 {
    let sum: f32 = samples.iter().map(|sample| sample * sample).sum();
    (sum / samples.len().max(1) as f32).sqrt()
}

/// Whether a stretch of this loudness can hardly be heard.
pub fn is_quiet(loudness: f32) -> bool {
    loudness < QUIET
}

/// Who speaks.
#[derive(Debug)]
pub struct Floor {
    talkers: Talkers,
    /// Those who speak, and when they were last loud.
    speaking: BTreeMap<PeerId, MediaTime>,
}

impl Floor {
    /// Nobody speaks yet.
    pub fn new(talkers: Talkers) -> Floor {
        Floor { talkers, speaking: BTreeMap::new() }
    }

    /// Whether what this viewer says is worth listening to: nobody else has the floor.
    pub fn is_open_to(&self, peer: PeerId) -> bool {
        self.talkers == Talkers::Mixed || self.speaking.is_empty() || self.speaking.contains_key(&peer)
    }

    /// Whether this viewer is heard. Where all are mixed it is at any time; else from when it is loud.
    pub fn is_heard(&self, peer: PeerId) -> bool {
        self.talkers == Talkers::Mixed || self.speaking.contains_key(&peer)
    }

    /// Notes how loud this viewer is. The first one that is loud gets the floor.
    pub fn hear(&mut self, now: MediaTime, peer: PeerId, loudness: f32) -> Option<Turn> {
        if loudness < SPEECH || !self.is_open_to(peer) {
            return None;
        }
        self.speaking.insert(peer, now).is_none().then_some(Turn::Began(peer))
    }

    /// Takes the floor from those who have been silent, or gone, for 600 ms.
    pub fn settle(&mut self, now: MediaTime) -> Vec<Turn> {
        let is_over = |last: MediaTime| now.0.saturating_sub(last.0) >= FLOOR_HELD;
        let over: Vec<PeerId> =
            self.speaking.iter().filter(|(_, last)| is_over(**last)).map(|(&peer, _)| peer).collect();
        self.speaking.retain(|_, last| !is_over(*last));
        over.into_iter().map(Turn::Ended).collect()
    }

    /// Takes the floor from all, as when the speaker is lost.
    pub fn clear(&mut self) -> Vec<Turn> {
        std::mem::take(&mut self.speaking).into_keys().map(Turn::Ended).collect()
    }
}

/// A gain that goes from one value to another without a click.
#[derive(Clone, Copy, Debug)]
pub struct Ramp(f32);

impl Ramp {
    /// Stands at a gain.
    pub const fn at(gain: f32) -> Ramp {
        Ramp(gain)
    }

    /// One sample nearer to `target`, and the gain for that sample.
    pub fn toward(&mut self, target: f32) -> f32 {
        self.0 += (target - self.0).clamp(-1.0 / RAMP_SAMPLES, 1.0 / RAMP_SAMPLES);
        self.0
    }

    /// Whether it stands at this gain.
    pub fn is_at(&self, gain: f32) -> bool {
        self.0 == gain
    }
}

/// Turns a stretch of interleaved 16-bit sound to a gain.
pub fn turn_to(gain: f32, ramp: &mut Ramp, samples: &mut [i16], channels: usize) {
    if gain == 1.0 && ramp.is_at(1.0) {
        return;
    }
    for moment in samples.chunks_mut(channels.max(1)) {
        let gain = ramp.toward(gain);
        for sample in moment {
            // Never above the sample itself, since no gain is above 1.
            *sample = (f32::from(*sample) * gain) as i16;
        }
    }
}

/// Adds voices up and keeps the sum within what a speaker takes.
#[derive(Debug)]
pub struct Mixer {
    gain: f32,
}

impl Default for Mixer {
    fn default() -> Self {
        Mixer { gain: 1.0 }
    }
}

impl Mixer {
    /// Adds a voice, at the gain that `ramp` takes toward `target`.
    pub fn add(sum: &mut [f32], voice: &[f32], ramp: &mut Ramp, target: f32) {
        for (sum, voice) in sum.iter_mut().zip(voice) {
            *sum += voice * ramp.toward(target);
        }
    }

    /// Turns the sum down where it is too loud, along a line through the stretch; what is too loud
    /// before that has an effect is rounded off. Afterwards nothing is beyond ±1.
    pub fn limit(&mut self, sum: &mut [f32]) {
        let peak = sum.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let from = self.gain;
        let up = (from * RECOVERY).min(1.0);
        self.gain = if peak * up > LIMIT { LIMIT / peak } else { up };
        if !self.gain.is_finite() {
            self.gain = 1.0;
        }
        let step = (self.gain - from) / sum.len().max(1) as f32;
        for (n, sample) in sum.iter_mut().enumerate() {
            *sample = round_off(*sample * (from + step * n as f32));
        }
    }
}

/// Leaves alone what is within the limit, and bends the rest so that it ends below 1.
fn round_off(sample: f32) -> f32 {
    let beyond = sample.abs() - LIMIT;
    if sample.is_nan() {
        0.0
    } else if beyond <= 0.0 {
        sample
    } else {
        let room = 1.0 - LIMIT;
        (LIMIT + room * (beyond / room).tanh()).copysign(sample)
    }
}

/// How far the microphone is turned down.
#[derive(Debug)]
pub struct Ducker {
    ducked: f32,
    until: Option<MediaTime>,
}

impl Ducker {
    /// Turns down by so many decibels.
    pub fn new(duck_db: u32) -> Ducker {
        // At most 60 by the configuration: far within what f32 holds.
        Ducker { ducked: 10.0_f32.powf(-(duck_db as f32) / 20.0), until: None }
    }

    /// The microphone's gain, now that a stretch of this loudness goes to a speaker which is so much
    /// behind.
    pub fn gain(&mut self, now: MediaTime, loudness: f32, delay: Duration) -> f32 {
        if loudness >= SPEECH {
            self.until = Some(MediaTime(now.0 + delay + DUCK_HELD));
        }
        if self.until.is_some_and(|until| now < until) { self.ducked } else { 1.0 }
    }
}

#[cfg(test)]
mod tests;
