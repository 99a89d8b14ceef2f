//! How is a picture encoded a second time, for viewers whose networks are slow?
//!
//! ```text
//!   raw picture ─┬─ main encode
//!                └─ halved each way ─ OpenH264, or a second context of the hardware encoder
//! ```
//!
//! A quarter of the pixels costs about a quarter of the main encode's time. The encoder is opened when the
//! substream is ordered and closed when it is not any more. A board that has no time for it, or whose encoder has no
//! second context, does without: that is said once, and the slow viewers are thinned instead.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use super::Loss;
use super::encode::colour::{Colour, Matrix, Range};
use super::encode::convert::{Picture, planes_of};
use super::encode::halve::Halved;
use super::encode::i420::I420;
use super::m2m::{EncoderSettings, M2mEncoder, Slot, raw_formats};
#[cfg(feature = "openh264")]
use super::software::{Settings, SoftwareEncoder};
use crate::config;
use crate::engine::h264::AccessUnit;
use crate::engine::picture::{Layout, PixelFormat};
use crate::io::clock::media_now;
use crate::units::{Bitrate, MediaTime};

/// Both encodes may take this share of the processor's time from one picture to the next.
const TOO_DEAR: f64 = 0.95;
/// Too dear for so long: a few difficult pictures are no reason.
const PATIENCE: Duration = Duration::from_secs(2);
/// A picture is left out of the substream when the main encode leaves no time for it, but not more than so many.
const LEFT_OUT_AT_MOST: u32 = 5;
/// The share of the newest picture in the average: some 16 pictures are remembered.
const NEWEST: f64 = 1.0 / 16.0;

/// What encodes the second time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// OpenH264.
    Software,
    /// Another context of a memory-to-memory encoder: each open file is one.
    Hardware(PathBuf),
}

/// The second encode of one source.
pub(super) struct Substream {
    by: By,
    /// Of the main encode.
    size: (usize, usize),
    fps: u32,
    matrix: Matrix,
    video: config::Video,
    state: State,
    units: VecDeque<AccessUnit>,
    failure: Option<String>,
    /// What the last picture took.
    cost: Duration,
    /// Seconds that the pictures so far have left over, in which the second encode has its place.
    spare_s: f64,
    left_out: u32,
}

enum State {
    Off,
    /// It is opened with the next picture, so that who orders it does not wait.
    Ordered(Bitrate),
    On(Box<Running>),
}

struct Running {
    encoder: Encoder,
    halved: Halved,
    /// Where a picture is converted that is not in planes of ours yet.
    whole: Option<(Layout, Vec<u8>)>,
    /// Seconds for both encodes of a picture, averaged.
    both_s: f64,
    /// Since when that has been too dear.
    dear_since: Option<MediaTime>,
}

enum Encoder {
    #[cfg(feature = "openh264")]
    Software(Box<SoftwareEncoder>),
    Hardware(Box<M2mEncoder>),
}

impl Substream {
    /// Off. `size` is that of the pictures of which it makes half, `matrix` how they are coded.
    pub(super) fn new(
        by: By,
        (size, fps): ((usize, usize), u32),
        matrix: Matrix,
        video: &config::Video,
    ) -> Substream {
        Substream {
            by,
            size,
            fps,
            matrix,
            video: video.clone(),
            state: State::Off,
            units: VecDeque::new(),
            failure: None,
            cost: Duration::ZERO,
            spare_s: 0.0,
            left_out: 0,
        }
    }

    /// Encodes at this bitrate from the next picture on, or not at all.
    pub(super) fn set(&mut self, bitrate: Option<Bitrate>) {
        match (&mut self.state, bitrate) {
            (state, None) => {
                *state = State::Off;
                self.units.clear();
            }
            (State::On(running), Some(bitrate)) => running.encoder.set_bitrate(bitrate),
            (state, Some(bitrate)) => *state = State::Ordered(bitrate),
        }
    }

    /// Its next picture is a keyframe. The first one is anyway.
    pub(super) fn force_keyframe(&mut self) {
        if let State::On(running) = &mut self.state {
            running.encoder.force_keyframe();
        }
    }

    /// Whether it is ordered.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self.state, State::Off)
    }

    /// Whether it takes the next picture: not where that would make the main encode late.
    pub(super) fn takes(&mut self) -> bool {
        if self.is_on() && self.spare_s < 0.0 && self.left_out < LEFT_OUT_AT_MOST {
            self.left_out += 1;
            return false;
        }
        self.left_out = 0;
        self.is_on()
    }

    /// Encodes a picture; what fails ends the substream, and nothing else.
    pub(super) fn encode(&mut self, picture: &I420, captured: MediaTime) {
        let begun = media_now();
        if let Err(loss) = self.encode_now(picture, captured) {
            self.fail(format!("the second encoder failed: {loss}"));
        }
        self.cost = media_now().0.saturating_sub(begun.0);
    }

    /// The same for a picture as the camera has it.
    pub(super) fn encode_raw(&mut self, picture: &Picture, captured: MediaTime) {
        let begun = media_now();
        if let Err(loss) = self.encode_raw_now(picture, captured) {
            self.fail(format!("the second encoder failed: {loss}"));
        }
        self.cost = media_now().0.saturating_sub(begun.0);
    }

    fn encode_now(&mut self, picture: &I420, captured: MediaTime) -> Result<(), Loss> {
        self.begin()?;
        let State::On(running) = &mut self.state else { return Ok(()) };
        let Some(small) = running.halved.of(picture) else { return Ok(()) };
        running.encoder.encode(&small, captured, &mut self.units)
    }

    fn encode_raw_now(&mut self, picture: &Picture, captured: MediaTime) -> Result<(), Loss> {
        self.begin()?;
        let (size, State::On(running)) = (self.size, &mut self.state) else { return Ok(()) };
        let (layout, data) = running.whole.get_or_insert_with(|| {
            let layout = Layout::packed(PixelFormat::Yuv420, size.0, size.1);
            (layout, vec![0; layout.size_bytes])
        });
        // A picture that is too short is the main encode's to count.
        if picture.write(size, planes_of(data, layout), layout).is_err() {
            return Ok(());
        }
        let whole = I420::of_buffer(data, layout, size);
        let Some(small) = whole.and_then(|whole| running.halved.of(&whole)) else { return Ok(()) };
        running.encoder.encode(&small, captured, &mut self.units)
    }

    /// Opens the encoder that was ordered.
    fn begin(&mut self) -> Result<(), Loss> {
        if let State::Ordered(bitrate) = self.state {
            let halved = Halved::new(self.size);
            let encoder = self.open(halved.size(), bitrate)?;
            let running = Running { encoder, halved, whole: None, both_s: 0.0, dear_since: None };
            self.state = State::On(Box::new(running));
        }
        Ok(())
    }

    /// What the last picture took, once.
    pub(super) fn take_cost(&mut self) -> Duration {
        std::mem::take(&mut self.cost)
    }

    /// Tells how long a picture took, from the camera's buffer to both encodes.
    pub(super) fn passed(&mut self, both: Duration) {
        let interval_s = 1.0 / f64::from(self.fps.max(1));
        // What was not used is not saved up for long, and what was too much is soon forgotten.
        self.spare_s = (self.spare_s + interval_s - both.as_secs_f64()).clamp(-2.0 * interval_s, interval_s);
    }

    /// Tells how much of the processor's time a picture took, from the camera's buffer to both encodes. When that
    /// is more than there is, the substream ends. What other programs took meanwhile does not count: it is the
    /// main encode's to shed for (`engine::shed`).
    pub(super) fn spent(&mut self, both: Duration, now: MediaTime) {
        let State::On(running) = &mut self.state else { return };
        running.both_s += (both.as_secs_f64() - running.both_s) * NEWEST;
        if running.both_s * f64::from(self.fps) <= TOO_DEAR {
            running.dear_since = None;
            return;
        }
        let since = *running.dear_since.get_or_insert(now);
        if now.0.saturating_sub(since.0) >= PATIENCE {
            self.fail("the board has no time to encode every picture twice".to_owned());
        }
    }

    /// Ends the substream for a reason; it can be ordered again.
    pub(super) fn fail(&mut self, reason: String) {
        if self.is_on() {
            self.set(None);
            self.failure = Some(reason);
        }
    }

    /// A picture that is finished; ask until there is none.
    pub(super) fn take_unit(&mut self) -> Option<AccessUnit> {
        if let State::On(running) = &mut self.state
            && let Err(loss) = running.encoder.collect(&mut self.units)
        {
            self.fail(format!("the second encoder failed: {loss}"));
        }
        self.units.pop_front()
    }

    /// Why it has ended by itself, once.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    fn open(&self, size: (usize, usize), bitrate: Bitrate) -> Result<Encoder, Loss> {
        match &self.by {
            By::Software => open_software(self, bitrate),
            By::Hardware(path) => {
                let settings = EncoderSettings {
                    size: (size.0 as u32, size.1 as u32),
                    fps: self.fps,
                    bitrate,
                    keyframe_interval: self.video.keyframe_interval,
                    profile: self.video.profile,
                };
                let formats = raw_formats(path)?;
                let known = [PixelFormat::Yuv420, PixelFormat::Nv12];
                let into = known.into_iter().find(|format| formats.contains(format));
                let unfit = || Loss::Unfit {
                    device: path.clone(),
                    what: "it takes neither I420 nor NV12, which the halved picture is".to_owned(),
                };
                M2mEncoder::open(path, &settings, into.ok_or_else(unfit)?)
                    .map(|encoder| Encoder::Hardware(Box::new(encoder)))
            }
        }
    }
}

#[cfg(feature = "openh264")]
fn open_software(substream: &Substream, bitrate: Bitrate) -> Result<Encoder, Loss> {
    let settings = Settings {
        fps: substream.fps,
        bitrate,
        keyframe_interval: substream.video.keyframe_interval,
        profile: substream.video.profile,
        matrix: substream.matrix,
    };
    SoftwareEncoder::new(settings).map(|encoder| Encoder::Software(Box::new(encoder)))
}

#[cfg(not(feature = "openh264"))]
fn open_software(_: &Substream, _: Bitrate) -> Result<Encoder, Loss> {
    Err(Loss::Encoder("this farol was built without the software encoder".to_owned()))
}

impl Encoder {
    fn encode(
        &mut self,
        small: &I420,
        captured: MediaTime,
        units: &mut VecDeque<AccessUnit>,
    ) -> Result<(), Loss> {
        match self {
            #[cfg(feature = "openh264")]
            Encoder::Software(encoder) => units.extend(encoder.encode(small, captured)?),
            Encoder::Hardware(encoder) => {
                // Every buffer is with the driver: this picture is left out.
                let Some(Slot { layout, planes }) = encoder.slot()? else { return Ok(()) };
                // It is squeezed already; here it is only laid as the driver wants it.
                let colour = Colour { range: Range::Limited, matrix: Matrix::Bt709 };
                if Picture::of_i420(small, colour).write(small.size(), planes, &layout).is_ok() {
                    encoder.submit(captured)?;
                }
                self.collect(units)?;
            }
        }
        Ok(())
    }

    /// Takes what a hardware encoder has finished meanwhile.
    fn collect(&mut self, units: &mut VecDeque<AccessUnit>) -> Result<(), Loss> {
        match self {
            #[cfg(feature = "openh264")]
            Encoder::Software(_) => {}
            Encoder::Hardware(encoder) => {
                while let Some(unit) = encoder.next(Duration::ZERO)? {
                    units.push_back(unit);
                }
            }
        }
        Ok(())
    }

    fn force_keyframe(&mut self) {
        match self {
            #[cfg(feature = "openh264")]
            Encoder::Software(encoder) => encoder.force_keyframe(),
            Encoder::Hardware(encoder) => encoder.force_keyframe(),
        }
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) {
        match self {
            #[cfg(feature = "openh264")]
            Encoder::Software(encoder) => encoder.set_bitrate(bitrate),
            Encoder::Hardware(encoder) => encoder.set_bitrate(bitrate),
        }
    }
}

#[cfg(test)]
mod tests;
