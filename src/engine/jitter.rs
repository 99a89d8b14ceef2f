//! When is each packet of a viewer's voice played, and what takes the place of one that is missing?
//!
//! Packets come unevenly, out of order, twice or not at all; the speaker wants sound without a break.
//! The buffer plays each packet a steady delay after the fastest of its kind would have come, so that
//! all but the slowest are there in time:
//!
//! ```text
//! packet ─push─► sorted by RTP timestamp ─pull─► Packet | Fec | Conceal | Silence
//!                   ▲ late, doubled: dropped        │ as many samples as the pull says
//!                   └ delay: 20 to 100 ms ──────────┘ the position moves on with the speaker's clock
//! ```
//!
//! The delay follows the measured jitter ([`delay`]). It changes where nobody hears it: a quiet stretch
//! is left out or doubled, a concealed one is made longer, and what remains, such as the drift between
//! the viewer's clock and ours, is worked off by playing up to 0.5% faster or slower ([`speed`]).
//!
//! It keeps 64 packets and half a second at most, whatever is pushed. Positions are RTP timestamps of
//! Opus, 48,000 a second for every stream (RFC 7587 §4.1), extended to 64 bits.
//!
//! [`speed`]: JitterBuffer::speed

mod delay;
mod opus;
mod stretch;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::units::{MediaTime, PeerId};
use delay::DelayMeter;
pub use opus::duration_samples;
pub use stretch::Stretch;

/// Samples of 20 ms, the length of a stretch that has no packet to give it one.
const STRETCH: i64 = 960;
/// Opus conceals in steps of 2.5 ms (RFC 6716 §2.1.4).
const STEP: i64 = 120;
/// Packets that are kept at most. Half a second of 10 ms packets is 50.
const MAX_PACKETS: usize = 64;
/// From the oldest packet to the end of the newest at most: half a second.
const MAX_SPAN: i64 = 24_000;
/// A delay that is off by so much is mended at the next quiet stretch, or while a loss is concealed.
const OFF: i64 = 720;
/// So much above the target, as after a stall, packets are left out at once, heard or not: 60 ms.
const FAR_BEHIND: i64 = 2_880;
/// Missing sound is concealed for so long, 120 ms; Opus has faded it out by then.
const MAX_CONCEALED: i64 = 5_760;
/// After a packet that announces silence (DTX) the comfort noise goes on until the next, which comes
/// within 400 ms: half a second.
const MAX_COMFORT: i64 = 24_000;
/// A transit time that is off by more belongs to another timeline: the sender began anew.
const OTHER_TIMELINE: i64 = 48_000;
/// The same for the first packet after a pause, when nothing is lost by beginning anew: 100 ms.
const OTHER_TIMELINE_AFTER_PAUSE: i64 = 4_800;

/// A packet of a viewer's voice, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoicePacket {
    /// RTP synchronization source: another one is another stream.
    pub ssrc: u32,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// One Opus packet (RFC 7587 §4.2).
    pub payload: Bytes,
    /// When it came.
    pub arrived: MediaTime,
}

/// A packet and who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Whose microphone it is from.
    pub peer: PeerId,
    /// The packet.
    pub packet: VoicePacket,
}

/// What is to be played next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// This packet.
    Packet {
        /// To be decoded.
        payload: Bytes,
        /// How long it is.
        samples: usize,
    },
    /// The lost packet before this one, from the coarse copy that this one carries of it.
    Fec {
        /// The packet after the lost one; it is pulled again as itself.
        next: Bytes,
        /// How much is missing, a multiple of 2.5 ms.
        samples: usize,
    },
    /// What the decoder makes of the sound before.
    Conceal {
        /// How much is missing, a multiple of 2.5 ms.
        samples: usize,
    },
    /// Nothing: nobody speaks.
    Silence {
        /// For how long.
        samples: usize,
    },
}

impl Pull {
    fn silence(samples: i64) -> Pull {
        Pull::Silence { samples: samples.clamp(1, STRETCH) as usize }
    }

    /// How much sound it stands for, at most 120 ms.
    pub fn samples(&self) -> usize {
        match *self {
            Pull::Packet { samples, .. }
            | Pull::Fec { samples, .. }
            | Pull::Conceal { samples }
            | Pull::Silence { samples } => samples,
        }
    }
}

/// A packet that waits.
#[derive(Clone, Debug)]
struct Waiting {
    sequence: i64,
    samples: i64,
    payload: Bytes,
}

/// The newest packet of the stream, from which the next one's numbers are extended to 64 bits.
#[derive(Clone, Copy, Debug)]
struct Newest {
    ssrc: u32,
    sequence: i64,
    timestamp: i64,
}

/// A talk spurt that is being played.
#[derive(Clone, Copy, Debug)]
struct Playing {
    /// The timestamp of what is played next.
    position: i64,
    /// The sequence number of the last packet.
    sequence: i64,
    /// Samples since then that had no packet.
    concealed: i64,
    /// The last packet said that silence follows.
    is_comfort: bool,
}

/// One talker's packets on their way to the speaker.
#[derive(Debug, Default)]
pub struct JitterBuffer {
    waiting: BTreeMap<i64, Waiting>,
    newest: Option<Newest>,
    playing: Option<Playing>,
    delay: DelayMeter,
}

impl JitterBuffer {
    /// An empty one.
    pub fn new() -> JitterBuffer {
        JitterBuffer::default()
    }

    /// Takes a packet. What is no Opus packet, comes too late or for the second time is dropped.
    pub fn push(&mut self, packet: VoicePacket) {
        let Some(samples) = duration_samples(&packet.payload) else { return };
        let arrived = samples_of(packet.arrived);
        if self.newest.is_some_and(|newest| newest.ssrc != packet.ssrc) {
            *self = JitterBuffer::new();
        }
        let (mut sequence, mut timestamp) = self.extend(&packet);
        let off = self.delay.off(arrived - timestamp);
        let is_pause = self.playing.is_none() && self.waiting.is_empty();
        if off > if is_pause { OTHER_TIMELINE_AFTER_PAUSE } else { OTHER_TIMELINE } {
            *self = JitterBuffer::new();
            (sequence, timestamp) = self.extend(&packet);
        }
        self.delay.note(arrived - timestamp);
        if self.newest.is_none_or(|newest| sequence > newest.sequence) {
            self.newest = Some(Newest { ssrc: packet.ssrc, sequence, timestamp });
        }
        let samples = i64::from(samples);
        let is_late = self.playing.is_some_and(|playing| timestamp + samples / 2 <= playing.position);
        if !is_late {
            let packet = Waiting { sequence, samples, payload: packet.payload };
            self.waiting.entry(timestamp).or_insert(packet);
            self.bound();
        }
    }

    /// What to play next. `is_quiet` says that what was played last can hardly be heard, so that a
    /// stretch may be left out or put in.
    pub fn pull(&mut self, now: MediaTime, is_quiet: bool) -> Pull {
        let now = samples_of(now);
        let Some(mut playing) = self.playing.or_else(|| self.begin(now)) else {
            return Pull::silence(STRETCH);
        };
        self.delay.played(now - playing.position);
        let pull = self.next(&mut playing, is_quiet);
        self.playing = pull.is_some().then_some(playing);
        pull.unwrap_or(Pull::silence(STRETCH))
    }

    /// How fast what was pulled is to be played, about 1: what is above or below works off the
    /// difference between the delay and its target, and follows the talker's clock.
    pub fn speed(&self) -> f64 {
        if self.playing.is_some() { self.delay.speed() } else { 1.0 }
    }

    /// How long a packet waits here, as it should be, in samples.
    pub fn target_samples(&self) -> usize {
        self.delay.target() as usize
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A packet's numbers in 64 bits: the nearest to those of the newest (RFC 3550 §A.1).
    fn extend(&self, packet: &VoicePacket) -> (i64, i64) {
        let Some(newest) = self.newest else {
            return (i64::from(packet.sequence), i64::from(packet.timestamp));
        };
        let sequence = packet.sequence.wrapping_sub(newest.sequence as u16) as i16;
        let timestamp = packet.timestamp.wrapping_sub(newest.timestamp as u32) as i32;
        (newest.sequence + i64::from(sequence), newest.timestamp + i64::from(timestamp))
    }

    /// Drops the oldest packets while there is too much.
    fn bound(&mut self) {
        while let (Some((&first, _)), Some((&last, newest))) =
            (self.waiting.first_key_value(), self.waiting.last_key_value())
        {
            if self.waiting.len() <= MAX_PACKETS && last + newest.samples - first <= MAX_SPAN {
                break;
            }
            self.waiting.pop_first();
        }
    }

    /// Begins a talk spurt as soon as its first packet has waited as long as it should.
    fn begin(&mut self, now: i64) -> Option<Playing> {
        let target = self.delay.target();
        loop {
            let (&position, first) = self.waiting.first_key_value()?;
            let delay = self.delay.of(now - position);
            // A pull comes each 20 ms: half of that early is as near as half of it late.
            if delay < target - STRETCH / 2 {
                return None;
            }
            if delay > target + STRETCH && self.waiting.len() > 1 {
                self.waiting.pop_first();
                continue;
            }
            self.delay.begin(now - position);
            return Some(Playing { position, sequence: first.sequence - 1, concealed: 0, is_comfort: false });
        }
    }

    /// What is at the position, or takes its place; `None` at the end of the talk spurt.
    fn next(&mut self, playing: &mut Playing, is_quiet: bool) -> Option<Pull> {
        loop {
            let error = self.delay.error();
            let Some(first) = self.waiting.first_entry() else {
                return conceal(playing, &mut self.delay, STRETCH);
            };
            let (timestamp, packet) = (*first.key(), first.get());
            if timestamp + packet.samples / 2 <= playing.position {
                first.remove();
                continue;
            }
            let gap = timestamp - playing.position;
            if gap >= STEP {
                let is_loss = packet.sequence - playing.sequence > 1;
                return match is_loss {
                    true => restore(playing, &mut self.delay, packet, gap),
                    false => Some(pause(playing, &mut self.delay, gap)),
                };
            }
            if packet.sequence - playing.sequence > 1 {
                self.delay.lose();
            }
            let can_skip = is_quiet && error > OFF.max(packet.samples) || error > FAR_BEHIND;
            if is_quiet && error < -OFF {
                self.delay.shift(STRETCH);
                return Some(Pull::silence(STRETCH));
            }
            let packet = first.remove();
            let end = timestamp + packet.samples;
            if can_skip && !self.waiting.is_empty() {
                self.delay.shift(playing.position - end);
                (playing.position, playing.sequence) = (end, packet.sequence);
                continue;
            }
            *playing = Playing {
                position: end,
                sequence: packet.sequence,
                concealed: 0,
                // A packet of two bytes or less is what Opus sends for silence (RFC 6716 §2.1.9).
                is_comfort: packet.payload.len() <= 2,
            };
            return Some(Pull::Packet { payload: packet.payload, samples: packet.samples as usize });
        }
    }
}

/// Nothing is there: either everything comes late, or the talker has ended.
fn conceal(playing: &mut Playing, delay: &mut DelayMeter, samples: i64) -> Option<Pull> {
    let limit = if playing.is_comfort { MAX_COMFORT } else { MAX_CONCEALED };
    if playing.concealed >= limit {
        return None;
    }
    playing.concealed += samples;
    if delay.error() < -OFF {
        // The position stays: what comes late is still in time, and from now on is so.
        delay.shift(samples);
    } else {
        playing.position += samples;
    }
    Some(Pull::Conceal { samples: samples as usize })
}

/// Something was lost before this packet, `gap` in all.
fn restore(playing: &mut Playing, delay: &mut DelayMeter, next: &Waiting, gap: i64) -> Option<Pull> {
    if delay.error() < -OFF && playing.concealed < MAX_CONCEALED {
        return conceal(playing, delay, STRETCH);
    }
    let whole = gap / STEP * STEP;
    if gap <= next.samples + STEP {
        playing.position += gap;
        playing.concealed += gap;
        let samples = whole.min(next.samples) as usize;
        return Some(Pull::Fec { next: next.payload.clone(), samples });
    }
    let samples = (whole - next.samples).clamp(STEP, STRETCH);
    playing.position += samples;
    playing.concealed += samples;
    Some(match playing.concealed > MAX_CONCEALED {
        true => Pull::silence(samples),
        false => Pull::Conceal { samples: (samples / STEP * STEP) as usize },
    })
}

/// The talker was silent up to the next packet: here the delay becomes what it should be.
fn pause(playing: &mut Playing, delay: &mut DelayMeter, gap: i64) -> Pull {
    let error = delay.error();
    if error < -STEP {
        let longer = (-error).min(STRETCH);
        delay.shift(longer);
        return Pull::silence(longer);
    }
    if error > STEP {
        let shorter = error.min(gap);
        delay.shift(-shorter);
        playing.position += shorter;
    }
    let silent = gap.min(STRETCH);
    playing.position += silent;
    Pull::silence(silent)
}

/// A moment as a position on a 48 kHz clock. A monotonic clock's nanoseconds leave room in 64 bits for
/// 190,000 years at that rate.
fn samples_of(time: MediaTime) -> i64 {
    i64::try_from(time.0.as_nanos() * 48 / 1_000_000).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
