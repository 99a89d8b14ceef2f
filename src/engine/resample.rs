//! How does sound get from one sample rate to another whose ratio to it changes a little all the time?
//!
//! A band-limited interpolation (a windowed sinc, `rubato`), so that what a device records above half the
//! output's rate is not folded back into what is heard. The ratio moves in ramps: no step, no click.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Adjustable, Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

/// The sinc's length at the lower of the two rates. Of the band that this rate carries, seven eighths pass (21 of 24 kHz); what would be folded back is 90 dB down.
const SINC_LEN: usize = 64;
/// Points of the sinc between two samples; between those the curve is a cubic.
const OVERSAMPLING: usize = 128;
/// By how much the ratio may leave the nominal one: a device's worst clock, and as much to catch up.
const MOST_RELATIVE: f64 = 1.02;
/// Silence before the first sound: with it, 20 ms of input are enough for the first 20 ms of output, and stay
/// so while the ratio moves by little. Else each frame waited for the period after its own.
const HEAD: usize = 8;
/// ALSA's own limits.
const RATES_HZ: (u32, u32) = (4_000, 768_000);

/// Which side comes in pieces of a fixed length, counted in moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Exactly so many go in at once.
    In(usize),
    /// Exactly so many come out at once.
    Out(usize),
}

/// Interleaved sound in at one rate, out at another.
pub struct Resampler {
    inner: Async<f32>,
    channels: usize,
    nominal: f64,
    /// Output moments for each input moment: at the end of the piece before, and of the next one.
    ratio: (f64, f64),
    /// What is not used up yet.
    waiting: Vec<f32>,
    /// Input moments used up since the start.
    used: i64,
    /// Where the latest output moment lies, counted from `used`, in the crate's way: by the first of the
    /// [`len`](Self::len) input moments that it was made of.
    last: f64,
    /// Input moments that one output moment is made of.
    len: f64,
}

impl Resampler {
    /// Between two rates in Hz. A rate that no device has is taken for the nearest that one has.
    pub fn new(from_hz: u32, to_hz: u32, channels: usize, piece: Piece) -> Resampler {
        let rate = |hz: u32| f64::from(hz.clamp(RATES_HZ.0, RATES_HZ.1));
        let nominal = rate(to_hz) / rate(from_hz);
        // The filter's edge is as steep at the lower rate, whichever side that is. The crate works in
        // eights.
        let len = ((SINC_LEN as f64 / nominal.min(1.0)).ceil() as usize).next_multiple_of(8);
        let parameters = SincInterpolationParameters::new(len, WindowFunction::BlackmanHarris)
            .oversampling_factor(OVERSAMPLING)
            .interpolation(SincInterpolationType::Cubic);
        let (size, fixed) = match piece {
            Piece::In(moments) => (moments.max(1), FixedAsync::Input),
            Piece::Out(moments) => (moments.max(1), FixedAsync::Output),
        };
        let channels = channels.max(1);
        let inner = Async::new_sinc(nominal, MOST_RELATIVE, &parameters, size, channels, fixed)
            .expect("the ratio is positive and finite, and a piece is not empty");
        let mut resampler = Resampler {
            inner,
            channels,
            nominal,
            ratio: (nominal, nominal),
            waiting: Vec::new(),
            used: 0,
            last: 0.0,
            len: len as f64,
        };
        resampler.reset();
        resampler
    }

    /// Forgets all sound; the ratio is the nominal one.
    pub fn reset(&mut self) {
        self.inner.reset();
        self.ratio = (self.nominal, self.nominal);
        self.waiting.clear();
        self.waiting.resize(HEAD * self.channels, 0.0);
        self.used = -(HEAD as i64);
        self.last = 1.0 - self.len;
    }

    /// Makes the output longer by a share of the nominal ratio, such as 0.0001 for 100 ppm, from the
    /// next piece's end on; within it the ratio moves there.
    pub fn stretch(&mut self, share: f64) {
        let ratio = self.nominal * (1.0 + share.clamp(1.0 / MOST_RELATIVE - 1.0, MOST_RELATIVE - 1.0));
        if self.inner.set_resample_ratio(ratio, true).is_ok() {
            self.ratio.1 = ratio;
        }
    }

    /// Takes interleaved moments; the last, when incomplete, must not be given.
    pub fn push(&mut self, moments: &[f32]) {
        self.waiting.extend_from_slice(moments);
    }

    /// Appends the next piece to `output`, when there is enough input for it.
    pub fn next_piece(&mut self, output: &mut Vec<f32>) -> bool {
        let (needed, made) = (self.inner.input_frames_next(), self.inner.output_frames_next());
        let waiting = self.waiting.len() / self.channels;
        if waiting < needed {
            return false;
        }
        let begin = output.len();
        output.resize(begin + made * self.channels, 0.0);
        let from = InterleavedSlice::new(&self.waiting[..], self.channels, waiting);
        let to = InterleavedSlice::new_mut(&mut output[begin..], self.channels, made);
        let (Ok(from), Ok(mut to)) = (from, to) else { return false };
        let done = self.inner.process_into_buffer(&from, &mut to, None);
        debug_assert_eq!(done.ok(), Some((needed, made)), "the sizes are those that it asked for");
        self.waiting.drain(..needed * self.channels);
        // The crate's own sum of steps that go evenly from one ratio to the other.
        let (step_before, step_after) = (1.0 / self.ratio.0, 1.0 / self.ratio.1);
        let steps = made as f64 * (step_before + step_after) / 2.0 + (step_after - step_before) / 2.0;
        self.last += steps - needed as f64;
        self.used += needed as i64;
        self.ratio.0 = self.ratio.1;
        true
    }

    /// Where in the input, counted in moments since the start, the next output moment lies: at the
    /// middle of what it is made of. The first ones lie before it, in silence.
    pub fn position(&self) -> f64 {
        let middle = self.len / 2.0 - 1.0 + 1.0 / OVERSAMPLING as f64;
        self.used as f64 + self.last + 1.0 / self.ratio.0 + middle
    }
}

#[cfg(test)]
mod tests;
