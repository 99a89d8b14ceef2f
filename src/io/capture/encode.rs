//! How do a camera's pictures become access units when they are not H.264?
//!
//! ```text
//!   camera ─ Motion JPEG: decode ─┐                      ┌─ hardware encoder's own buffer
//!          └ uncompressed ────────┴─ convert, squeeze ───┴─ our buffer ─ make smaller ─ OpenH264
//! ```
//!
//! A damaged picture is dropped and counted: no other depends on it. A board that cannot keep up sheds
//! (`engine::shed`): the camera goes on as it is, fewer of its pictures are encoded, and smaller.

use std::os::fd::BorrowedFd;

use bytes::Bytes;

use super::substream::{By, Substream};
use super::{Loss, m2m};
use crate::config::{self, EncoderChoice};
use crate::engine::choice::{Encoder as Chosen, Encoders};
use crate::engine::h264::AccessUnit;
use crate::engine::jpeg;
use crate::engine::picture::{Layout, PixelFormat};
use crate::engine::shed::{Fit, Scale, Shed, Step};
use crate::io::clock::{media_now, thread_time};
use crate::units::{Bitrate, MediaTime};

use self::colour::{Colour, Range};
use self::convert::{Picture, planes_of};
use self::hardware::Hardware;
use self::i420::I420;
use self::mjpeg::Decoder;
use self::own::Own;

pub(super) mod colour;
pub(super) mod convert;
pub(super) mod halve;
mod hardware;
pub(super) mod i420;
mod mjpeg;
mod own;
#[cfg(feature = "openh264")]
mod scale;
pub(super) mod stills;

/// What a camera delivers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub(super) layout: Layout,
    pub(super) colour: Colour,
    /// What it says that it delivers each second.
    pub(super) fps: u32,
    /// Its buffers can be read by other drivers.
    pub(super) exports: bool,
}

impl Input {
    /// Whether a picture that the encoder would take as it is has a range that it must not see; of what we
    /// cannot write ourselves it gets what there is.
    fn must_be_squeezed(&self, into: PixelFormat) -> bool {
        self.colour.range == Range::Full && matches!(into, PixelFormat::Yuv420 | PixelFormat::Nv12)
    }
}

/// A buffer of the camera.
#[derive(Clone, Copy)]
pub(super) struct Buffer<'a> {
    pub(super) data: &'a [u8],
    pub(super) captured: MediaTime,
    /// Its number, and itself as a DMA buffer, when it is exported.
    pub(super) exported: Option<(usize, BorrowedFd<'a>)>,
}

/// What became of a buffer of the camera.
pub(super) enum Fate {
    /// A picture goes out: this one, or one before it.
    Unit(AccessUnit),
    /// It was taken, and nothing goes out for it, or not yet.
    Nothing,
    /// It was taken, and the encoder reads it where it is: it is to be given back when it is
    /// [`Pipeline::released`].
    Held,
    /// It is damaged.
    Damaged,
}

/// One camera's way from pictures to access units.
pub(super) struct Pipeline {
    input: Input,
    /// What is seen: the camera's size in even numbers.
    size: (usize, usize),
    decoder: Option<Decoder>,
    encoder: Encoder,
    substream: Substream,
    shed: Shed,
    /// Makes pictures fit their bitrate.
    fit: Fit,
    bitrate: Bitrate,
    damaged: Damaged,
    is_still_wanted: bool,
    still: Option<Bytes>,
    /// Something of what is said about it is not true any more, and that was not asked yet.
    has_changed: bool,
}

enum Encoder {
    Own(Box<Own>),
    Hardware(Box<Hardware>),
}

/// What there is to encode with, as far as the choice allows it.
pub(super) fn encoders(choice: &EncoderChoice) -> Encoders {
    let path = match choice {
        EncoderChoice::Auto => m2m::find(),
        EncoderChoice::Device(path) => Some(path.clone()),
        EncoderChoice::Software => None,
    };
    let takes = |path: &std::path::PathBuf| match m2m::raw_formats(path) {
        Ok(formats) => Some(formats),
        Err(loss) => {
            log::debug!(reason:% = loss; "no hardware encoder");
            None
        }
    };
    let hardware = path.and_then(|path| takes(&path).map(|formats| (path, formats)));
    Encoders { hardware, software: cfg!(feature = "openh264") }
}

impl Pipeline {
    /// `by` gets the pictures in the form of `into`.
    pub(super) fn open(
        input: Input,
        (into, by): (PixelFormat, &Chosen),
        video: &config::Video,
    ) -> Result<Pipeline, Loss> {
        let size = (input.layout.width & !1, input.layout.height & !1);
        let decoder = input.layout.format.is_compressed().then(Decoder::new).transpose()?;
        let fps = input.fps.clamp(1, video.fps.max(1));
        let matrix = input.colour.matrix;
        let (encoder, second, smaller) = match by {
            Chosen::Software => {
                let own = Own::open(size, input.colour.matrix, fps, video)?;
                (Encoder::Own(Box::new(own)), By::Software, &[Scale::ThreeQuarters, Scale::Half][..])
            }
            Chosen::Hardware(path) => {
                let hardware = Hardware::open(path, &input, into, (size, fps), video)?;
                // It would have to begin anew for another size, and is hardly what is too slow.
                (Encoder::Hardware(Box::new(hardware)), By::Hardware(path.clone()), &[][..])
            }
        };
        Ok(Pipeline {
            input,
            size,
            decoder,
            encoder,
            substream: Substream::new(second, (size, fps), matrix, video),
            shed: Shed::new(fps, smaller),
            fit: Fit::new((size.0 as u32, size.1 as u32), fps, smaller),
            bitrate: video.bitrate,
            damaged: Damaged::default(),
            is_still_wanted: false,
            still: None,
            has_changed: false,
        })
    }

    /// Takes a picture of the camera.
    pub(super) fn encode(&mut self, buffer: &Buffer) -> Result<Fate, Loss> {
        if self.is_still_wanted {
            self.make_still(buffer.data);
        }
        self.fit_bitrate(buffer.captured);
        if !self.shed.takes(buffer.captured) {
            return Ok(Fate::Nothing);
        }
        let (begun, worked) = (media_now(), thread_time());
        let fate = self.encode_now(buffer)?;
        let ended = media_now();
        let both = ended.0.saturating_sub(begun.0);
        let second = self.substream.take_cost();
        self.substream.passed(both);
        self.substream.spent(thread_time().saturating_sub(worked), ended);
        if let Some(step) = self.shed.spent(both.saturating_sub(second), ended) {
            self.enter(step);
        }
        if self.shed.is_shedding() {
            self.substream.fail("the board has no time to encode every picture even once".to_owned());
        }
        Ok(fate)
    }

    fn encode_now(&mut self, buffer: &Buffer) -> Result<Fate, Loss> {
        let mut is_encoded_twice = false;
        if let Encoder::Hardware(hardware) = &mut self.encoder
            && hardware.imports()
            && let Some(exported) = buffer.exported
        {
            if self.substream.takes()
                && let Ok(picture) = picture(&mut self.decoder, &self.input, buffer.data, self.size)
            {
                self.substream.encode_raw(&picture, buffer.captured);
                is_encoded_twice = true;
            }
            if hardware.import(exported, buffer.data.len(), buffer.captured)? {
                return Ok(Fate::Held);
            }
            self.has_changed = true;
        }
        let picture = match picture(&mut self.decoder, &self.input, buffer.data, self.size) {
            Ok(picture) => picture,
            Err(what) => {
                self.damaged.count(&what);
                return Ok(Fate::Damaged);
            }
        };
        match &mut self.encoder {
            Encoder::Own(own) => {
                let unit = own.encode(&picture, buffer.captured)?;
                if self.substream.takes()
                    && let Some(whole) = own.whole()
                {
                    self.substream.encode(&whole, buffer.captured);
                }
                Ok(unit.map_or(Fate::Nothing, Fate::Unit))
            }
            Encoder::Hardware(hardware) => {
                // First, so that the smaller picture is finished when the larger one is.
                if !is_encoded_twice && self.substream.takes() {
                    self.substream.encode_raw(&picture, buffer.captured);
                }
                hardware.encode((buffer.data, &self.input.layout), &picture, self.size, buffer.captured)
            }
        }
    }

    /// A picture that was finished since the last one was taken.
    pub(super) fn finished(&mut self) -> Result<Option<AccessUnit>, Loss> {
        match &mut self.encoder {
            Encoder::Own(_) => Ok(None),
            Encoder::Hardware(hardware) => hardware.finished(),
        }
    }

    /// What is readable when a picture is finished.
    pub(super) fn readable(&self) -> Option<BorrowedFd<'_>> {
        match &self.encoder {
            Encoder::Own(_) => None,
            Encoder::Hardware(hardware) => Some(hardware.readable()),
        }
    }

    /// The number of a buffer that was [`Fate::Held`] and is not needed any more; ask until there is none.
    pub(super) fn released(&mut self) -> Result<Option<usize>, Loss> {
        match &mut self.encoder {
            Encoder::Own(_) => Ok(None),
            Encoder::Hardware(hardware) => hardware.released(),
        }
    }

    /// Whether it reads pictures in the camera's memory, for which the buffers are to be exported.
    pub(super) fn imports(&self) -> bool {
        matches!(&self.encoder, Encoder::Hardware(hardware) if hardware.imports())
    }

    /// The second encode of the same pictures.
    pub(super) fn substream(&mut self) -> &mut Substream {
        &mut self.substream
    }

    pub(super) fn force_keyframe(&mut self) {
        match &mut self.encoder {
            Encoder::Own(own) => own.force_keyframe(),
            Encoder::Hardware(hardware) => hardware.force_keyframe(),
        }
    }

    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) {
        self.bitrate = bitrate;
        match &mut self.encoder {
            Encoder::Own(own) => own.set_bitrate(bitrate),
            Encoder::Hardware(hardware) => hardware.set_bitrate(bitrate),
        }
    }

    /// Makes a still of the next picture.
    pub(super) fn want_still(&mut self) {
        self.is_still_wanted = true;
    }

    /// The still, once.
    pub(super) fn take_still(&mut self) -> Option<Bytes> {
        self.still.take()
    }

    /// Whether the size, the rate or the detail has changed; says so once.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Takes note of a buffer that the driver itself says is damaged.
    pub(super) fn refuse(&mut self) -> Fate {
        self.damaged.count("the driver says so");
        Fate::Damaged
    }

    /// What is sent now: size and frames per second.
    pub(super) fn sent(&self) -> ((u32, u32), u32) {
        let Step { fps, scale } = self.shed.step();
        (scale.of((self.size.0 as u32, self.size.1 as u32)), fps)
    }

    /// For people: what encodes, and what is given up.
    pub(super) fn detail(&self) -> String {
        let mut detail = match &self.encoder {
            Encoder::Own(own) => own.detail(),
            Encoder::Hardware(hardware) => hardware.detail(),
        };
        if self.shed.is_shedding() {
            let ((width, height), fps) = self.sent();
            detail.push_str(&format!(
                ", shed to {width}x{height} at {fps} frames per second, since the board cannot keep up"
            ));
        }
        detail
    }

    fn fit_bitrate(&mut self, captured: MediaTime) {
        let (size, _) = self.sent();
        let Some(step) = self.shed.limit(self.fit.step(self.bitrate, captured)) else { return };
        if let Encoder::Own(own) = &mut self.encoder {
            own.enter(step, self.size);
        }
        let ((width, height), fps) = self.sent();
        // Another size begins with a keyframe, for which everybody waits who is told of it. Another rate does not.
        self.has_changed |= (width, height) != size;
        let kbps = self.bitrate.kbps();
        log::info!(width, height, fps, kbps; "size and rate of the pictures follow the bitrate");
    }

    fn enter(&mut self, step: Step) {
        self.has_changed = true;
        if let Encoder::Own(own) = &mut self.encoder {
            own.enter(step, self.size);
        }
        let ((width, height), fps) = self.sent();
        if self.shed.is_shedding() {
            log::warn!(
                width, height, fps;
                "the board cannot encode as fast as the camera delivers, and sheds; lower video.width and \
                 video.height, or video.fps, or take a camera with H.264"
            );
        } else {
            log::info!(width, height, fps; "the board keeps up again: everything is encoded");
        }
    }

    /// A picture that gives no still leaves the wish to the next one.
    fn make_still(&mut self, data: &[u8]) {
        let still = if self.input.layout.format.is_compressed() {
            jpeg::to_file(data).map(|file| Bytes::from(file.into_owned())).ok_or("it is damaged".to_owned())
        } else {
            self.still_of_raw(data)
        };
        match still {
            Ok(still) => (self.still, self.is_still_wanted) = (Some(still), false),
            Err(cause) => {
                log::debug!(cause = cause.as_str(); "a picture gave no still; the next one is tried")
            }
        }
    }

    fn still_of_raw(&mut self, data: &[u8]) -> Result<Bytes, String> {
        let picture = picture(&mut self.decoder, &self.input, data, self.size)?;
        let layout = Layout::packed(PixelFormat::Yuv420, self.size.0, self.size.1);
        let mut buffer = vec![0; layout.size_bytes];
        picture
            .write(self.size, planes_of(&mut buffer, &layout), &layout)
            .map_err(|_| "it is too short".to_owned())?;
        let picture = I420::of_buffer(&buffer, &layout, self.size).ok_or("it is too short")?;
        stills::still(&picture, self.input.colour.matrix)
    }
}

/// What is in the camera's buffer; the error says what is wrong with it.
fn picture<'a>(
    decoder: &'a mut Option<Decoder>,
    input: &Input,
    data: &'a [u8],
    size: (usize, usize),
) -> Result<Picture<'a>, String> {
    match decoder {
        Some(decoder) => decoder.decode(data, size),
        None => Picture::new(data, &input.layout, input.colour)
            .ok_or_else(|| format!("it has {} bytes of {}", data.len(), input.layout.planes_bytes())),
    }
}

/// How many pictures were damaged. A camera on a bad cable damages one after another.
#[derive(Default)]
struct Damaged {
    count: u64,
}

impl Damaged {
    /// Says so at the first, the tenth, the hundredth ...
    fn count(&mut self, what: &str) {
        self.count += 1;
        if self.count.checked_ilog10().is_some_and(|power| 10_u64.pow(power) == self.count) {
            log::warn!(
                count = self.count, what;
                "a picture of the camera is damaged and left out; a shorter cable or a port of its own may help"
            );
        } else {
            log::debug!(count = self.count, what; "a picture of the camera is damaged and left out");
        }
    }
}

#[cfg(test)]
mod tests;
