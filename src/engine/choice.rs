//! What is taken from a camera, and what encodes it?
//!
//! A camera offers formats, each in some sizes and rates; an encoder takes some formats. The best pair is
//! found by these questions, in this order:
//!
//! 1. Is it H.264 already? Then it is passed on, whatever its size.
//! 2. Does it have colours?
//! 3. How near is it to the size that is asked for?
//! 4. How near to the rate? Uncompressed pictures often miss it where Motion JPEG does not: 1280x720 in YUYV
//!    is 18 Mbit, and USB 2 carries 10 of them a second.
//! 5. What does it cost to bring it into a form that the encoder takes?
//!
//! Nothing here opens a device; the capture thread and `farol devices` ask the same function.

use std::fmt;
use std::path::PathBuf;

use super::picture::PixelFormat;
use crate::config::{CameraInput, EncoderChoice};

/// Cameras' H.264: one access unit in each buffer, in Annex B.
const H264: [u8; 4] = *b"H264";
/// Formats named in a refusal; a test driver has a hundred.
const FORMATS_NAMED: usize = 6;
/// What we can make of any picture, the software encoder's own form first.
const TARGETS: [PixelFormat; 2] = [PixelFormat::Yuv420, PixelFormat::Nv12];

/// One format of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its four characters.
    pub fourcc: [u8; 4],
    /// In which sizes.
    pub sizes: Sizes,
}

/// The sizes of one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// These.
    Listed(Vec<Mode>),
    /// All between two, in steps.
    Range {
        /// Width and height of the smallest.
        min: (u32, u32),
        /// Width and height of the largest.
        max: (u32, u32),
        /// Between two neighbours, each way.
        step: (u32, u32),
        /// The highest rate, where the driver says one.
        fps: Option<u32>,
    },
    /// The driver does not say.
    Unknown,
}

/// One size, and how often a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// The highest rate, rounded, where the driver says one.
    pub fps: Option<u32>,
}

/// What there is to encode with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoders {
    /// The hardware encoder that may be used, and what it takes.
    pub hardware: Option<(PathBuf, Vec<PixelFormat>)>,
    /// Whether the software encoder is built in.
    pub software: bool,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What is to be taken from the camera.
    pub input: CameraInput,
    /// What is to encode it.
    pub encoder: EncoderChoice,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Frames per second.
    pub fps: u32,
}

/// What is taken and how it becomes H.264.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the camera is set to.
    pub fourcc: [u8; 4],
    /// The size that the camera is asked for.
    pub size: (u32, u32),
    /// The rate that the camera is asked for.
    pub fps: u32,
    /// How it becomes H.264.
    pub encoding: Encoding,
    /// Why this and nothing else, for people.
    pub reason: String,
}

/// How a picture becomes H.264.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// It is H.264.
    Passed,
    /// It is encoded.
    Encoded {
        /// The camera's format.
        from: PixelFormat,
        /// What the encoder gets: the same, or what it is converted into.
        into: PixelFormat,
        /// Which encoder.
        by: Encoder,
    },
}

/// What encodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// A V4L2 memory-to-memory encoder.
    Hardware(PathBuf),
    /// OpenH264.
    Software,
}

/// Why nothing can be taken from a camera. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not have what video.input asks for.
    #[error(
        "it offers no {wanted} but {offered}; set video.input = \"auto\", or name a camera that does (see `farol devices`)"
    )]
    Input {
        /// What is asked for.
        wanted: &'static str,
        /// What there is.
        offered: String,
    },
    /// It has nothing that is known here.
    #[error(
        "it offers {offered}, which cannot be encoded here; a camera of the board's own connector is reached with video.source = \"command\""
    )]
    Formats {
        /// What there is.
        offered: String,
    },
    /// video.encoder names something else.
    #[error("{} is no encoder of H.264 that can be used; set video.encoder = \"auto\", or name one of `farol devices`", .0.display())]
    NoSuchEncoder(PathBuf),
    /// There is none at all.
    #[error(
        "it offers {offered}, and nothing here encodes that: this farol was built without the software encoder, and the board has no other; take a camera with H.264, or build with `--features openh264`"
    )]
    NoEncoder {
        /// What there is.
        offered: String,
    },
}

/// The best of what a camera offers.
pub fn choose(offers: &[Offer], encoders: &Encoders, wish: &Wish) -> Result<Plan, Refusal> {
    let may_pass = matches!(wish.input, CameraInput::Auto | CameraInput::H264);
    if may_pass && let Some(offer) = offers.iter().find(|offer| offer.fourcc == H264) {
        let mode = offer.sizes.nearest(wish);
        let reason = "it delivers H.264".to_owned();
        let (size, fps) = (mode.size, rate(mode, wish));
        return Ok(Plan { fourcc: H264, size, fps, encoding: Encoding::Passed, reason });
    }
    let pictures: Vec<Candidate> = offers.iter().filter_map(|offer| Candidate::of(offer, wish)).collect();
    if pictures.is_empty() {
        return Err(no_picture(offers, wish.input));
    }
    let encoder = pick_encoder(encoders, &wish.encoder, offers)?;
    let best = pictures.iter().filter_map(|candidate| Some((candidate, candidate.conversion(&encoder)?)));
    let best = best.min_by_key(|(candidate, conversion)| candidate.rank(conversion, wish));
    let Some((candidate, conversion)) = best else { return Err(no_picture(offers, wish.input)) };
    Ok(Plan {
        fourcc: candidate.format.fourcc(),
        size: candidate.mode.size,
        fps: rate(candidate.mode, wish),
        reason: candidate.reason(&pictures, &conversion, wish),
        encoding: Encoding::Encoded { from: candidate.format, into: conversion.into, by: encoder.which() },
    })
}

impl Plan {
    /// Whether a hardware encoder is part of it.
    pub fn is_by_hardware(&self) -> bool {
        matches!(&self.encoding, Encoding::Encoded { by: Encoder::Hardware(_), .. })
    }
}

/// A format that can be encoded, in the size that is nearest to the wish.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    format: PixelFormat,
    mode: Mode,
}

/// What happens to a picture before the encoder.
#[derive(Clone, Copy, Debug)]
struct Conversion {
    into: PixelFormat,
    cost: Cost,
}

/// In rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    Nothing,
    /// Rows are copied, colours thinned out.
    Planar,
    /// Luma and colours are taken apart.
    Packed,
    /// Colours are computed.
    Rgb,
    /// A picture is decoded.
    Decoding,
}

/// The encoder that is used, and what it takes.
enum Takes<'a> {
    Hardware(&'a PathBuf, &'a [PixelFormat]),
    Software,
}

impl Takes<'_> {
    fn formats(&self) -> &[PixelFormat] {
        match self {
            Takes::Hardware(_, formats) => formats,
            Takes::Software => &TARGETS[..1],
        }
    }
    fn which(&self) -> Encoder {
        match self {
            Takes::Hardware(path, _) => Encoder::Hardware((*path).clone()),
            Takes::Software => Encoder::Software,
        }
    }
}

impl Candidate {
    /// `None` for a format that is unknown here, or that the wish rules out.
    fn of(offer: &Offer, wish: &Wish) -> Option<Candidate> {
        let format = PixelFormat::from_fourcc(offer.fourcc)?;
        let is_wanted = match wish.input {
            CameraInput::Auto => true,
            CameraInput::H264 => false,
            CameraInput::Mjpeg => format.is_compressed(),
            CameraInput::Raw => !format.is_compressed(),
        };
        is_wanted.then(|| Candidate { format, mode: offer.sizes.nearest(wish) })
    }

    fn conversion(&self, encoder: &Takes) -> Option<Conversion> {
        let taken = encoder.formats();
        if taken.contains(&self.format) {
            return Some(Conversion { into: self.format, cost: Cost::Nothing });
        }
        let into = TARGETS.into_iter().find(|target| taken.contains(target))?;
        Some(Conversion { into, cost: cost(self.format) })
    }

    /// The least is the best.
    fn rank(&self, conversion: &Conversion, wish: &Wish) -> (bool, u64, u32, Cost) {
        let area = |size: (u32, u32)| u64::from(size.0) * u64::from(size.1);
        let off = area(self.mode.size).abs_diff(area(wish.size));
        (self.format == PixelFormat::Grey, off, self.shortfall(wish), conversion.cost)
    }

    /// By how many frames per second it misses the wish; a tenth is not worth a conversion.
    fn shortfall(&self, wish: &Wish) -> u32 {
        let fps = rate(self.mode, wish);
        if fps * 10 >= wish.fps * 9 { 0 } else { wish.fps - fps }
    }

    fn reason(&self, all: &[Candidate], conversion: &Conversion, wish: &Wish) -> String {
        let mut reason = String::new();
        let is_raw = |candidate: &&Candidate| !candidate.format.is_compressed();
        let raw = all
            .iter()
            .filter(is_raw)
            .max_by_key(|raw| (raw.mode.size == self.mode.size, rate(raw.mode, wish)));
        match (conversion.cost, raw) {
            (Cost::Nothing, _) => reason.push_str("the encoder takes it as it is"),
            (Cost::Decoding, Some(raw)) if raw.mode.size == self.mode.size => {
                let fps = rate(raw.mode, wish);
                reason = format!("uncompressed it reaches only {fps} of {} frames per second", wish.fps);
            }
            (Cost::Decoding, Some(_)) => reason.push_str("uncompressed it does not have this size"),
            (Cost::Decoding, None) => reason.push_str("it offers nothing else"),
            (Cost::Planar | Cost::Packed | Cost::Rgb, _) => {
                reason = format!("what costs least to convert to {}", name(conversion.into.fourcc()));
            }
        }
        if self.shortfall(wish) > 0 {
            reason.push_str(&format!(
                ", though only {} of {} frames per second",
                rate(self.mode, wish),
                wish.fps
            ));
        }
        reason
    }
}

impl Sizes {
    /// The size that is asked for, or the largest within it, or the smallest there is.
    pub fn nearest(&self, wish: &Wish) -> Mode {
        match self {
            Sizes::Unknown => Mode { size: wish.size, fps: None },
            Sizes::Range { min, max, step, fps } => {
                let side = |wish: u32, min: u32, max: u32, step: u32| {
                    let within = wish.clamp(min, max.max(min));
                    within - (within - min) % step.max(1)
                };
                let width = side(wish.size.0, min.0, max.0, step.0);
                let height = side(wish.size.1, min.1, max.1, step.1);
                Mode { size: (width, height), fps: *fps }
            }
            Sizes::Listed(modes) => nearest_of(modes, wish),
        }
    }
}

fn nearest_of(modes: &[Mode], wish: &Wish) -> Mode {
    let area = |mode: &&Mode| u64::from(mode.size.0) * u64::from(mode.size.1);
    let fits = |mode: &&Mode| mode.size.0 <= wish.size.0 && mode.size.1 <= wish.size.1;
    // Some drivers name a size twice; its higher rate counts.
    let within = modes.iter().filter(fits).max_by_key(|mode| (area(mode), mode.fps));
    let smallest = || modes.iter().min_by_key(|mode| (area(mode), std::cmp::Reverse(mode.fps)));
    within.or_else(smallest).copied().unwrap_or(Mode { size: wish.size, fps: None })
}

/// What the camera will deliver; one that names no rate is taken at its word when it is set.
fn rate(mode: Mode, wish: &Wish) -> u32 {
    mode.fps.map_or(wish.fps, |fps| fps.min(wish.fps)).max(1)
}

fn cost(format: PixelFormat) -> Cost {
    use PixelFormat::{Grey, Nv12, Nv16, Nv21, Uyvy, Vyuy, Yuv420, Yuyv, Yvu420, Yvyu};
    match format {
        Yuv420 | Yvu420 | Nv12 | Nv21 | Nv16 | Grey => Cost::Planar,
        Yuyv | Uyvy | Yvyu | Vyuy => Cost::Packed,
        format if format.is_compressed() => Cost::Decoding,
        _ => Cost::Rgb,
    }
}

fn pick_encoder<'a>(
    encoders: &'a Encoders,
    choice: &EncoderChoice,
    offers: &[Offer],
) -> Result<Takes<'a>, Refusal> {
    let usable = |formats: &[PixelFormat]| TARGETS.iter().any(|target| formats.contains(target));
    let hardware = encoders.hardware.as_ref().filter(|(_, formats)| usable(formats));
    let hardware = hardware.map(|(path, formats)| Takes::Hardware(path, formats));
    let software = encoders.software.then_some(Takes::Software);
    let none = || Refusal::NoEncoder { offered: named(offers) };
    match choice {
        EncoderChoice::Auto => hardware.or(software).ok_or_else(none),
        EncoderChoice::Software => software.ok_or_else(none),
        EncoderChoice::Device(path) => hardware.ok_or_else(|| Refusal::NoSuchEncoder(path.clone())),
    }
}

fn no_picture(offers: &[Offer], input: CameraInput) -> Refusal {
    let offered = named(offers);
    let wanted = match input {
        CameraInput::Auto => return Refusal::Formats { offered },
        CameraInput::H264 => "H.264",
        CameraInput::Mjpeg => "Motion JPEG",
        CameraInput::Raw => "uncompressed pictures",
    };
    Refusal::Input { wanted, offered }
}

/// The first few formats, for a sentence.
fn named(offers: &[Offer]) -> String {
    let names: Vec<String> = offers.iter().map(|offer| name(offer.fourcc)).take(FORMATS_NAMED).collect();
    match offers.len() {
        0 => "nothing".to_owned(),
        count if count > FORMATS_NAMED => format!("{} and {} more", names.join(", "), count - FORMATS_NAMED),
        _ => names.join(", "),
    }
}

/// A format's four characters as people write them; the highest bit marks a big-endian one.
pub fn name(fourcc: [u8; 4]) -> String {
    let is_big_endian = fourcc[3] & 0x80 != 0;
    let letters = fourcc.iter().map(|byte| char::from(byte & 0x7f));
    let name: String = letters.filter(|letter| letter.is_ascii_graphic()).collect();
    if is_big_endian { format!("{name}-BE") } else { name }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = self.size;
        write!(f, "{} {width}x{height} at {} frames per second", name(self.fourcc), self.fps)?;
        match &self.encoding {
            Encoding::Passed => write!(f, ", passed on as it is"),
            Encoding::Encoded { from, into, by } => {
                match (from.is_compressed(), from == into) {
                    (true, _) => write!(f, ", decoded")?,
                    (false, true) => {}
                    (false, false) => write!(f, ", converted to {}", name(into.fourcc()))?,
                }
                match by {
                    Encoder::Hardware(path) => write!(f, ", encoded by {}", path.display()),
                    Encoder::Software => write!(f, ", encoded in software"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
