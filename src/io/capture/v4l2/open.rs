//! What does a camera offer, and how is it set to what was chosen?
//!
//! Cameras and drivers are taken as they come: what a driver cannot be set to is left alone, and said
//! once.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use v4l::capability::Flags as Capability;
use v4l::format::{Colorspace, Quantization};
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture as _;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC, Fraction};

use super::lost;
use crate::engine::choice::{Mode, Offer, Sizes, name};
use crate::engine::picture::{Layout, PixelFormat};
use crate::io::capture::Loss;
use crate::io::capture::encode::colour::{Colour, Matrix, Range};

/// What v4l2loopback calls itself.
const LOOPBACK_DRIVER: &str = "v4l2 loopback";
/// Above so many lines, colours that are made here are made by BT.709, as in high-definition television.
const STANDARD_DEFINITION_LINES: u32 = 576;

/// The card's name, when the node captures at all.
pub(super) fn check_capabilities(device: &Device, path: &Path) -> Result<String, Loss> {
    let capabilities = readable(|| device.query_caps()).map_err(|cause| lost("query", path, cause))?;
    let has = capabilities.capabilities;
    if has.contains(Capability::VIDEO_CAPTURE) && has.contains(Capability::STREAMING) {
        return Ok(format!("{} ({})", capabilities.card, capabilities.driver));
    }
    let what = if has.intersects(Capability::VIDEO_M2M | Capability::VIDEO_M2M_MPLANE) {
        "it is an encoder or decoder and takes no pictures itself; name a camera from `farol devices`"
    } else if capabilities.driver == LOOPBACK_DRIVER && !has.intersects(Capability::VIDEO_OUTPUT) {
        // v4l2loopback 0.12.7 (Debian 12) forgets to be an output again when the last one to leave is
        // not a producer that used STREAMON: its `ready_for_output` stays 0 after write(2).
        "the loopback is stuck after its producer left; reload it with `modprobe -r v4l2loopback` and \
         `modprobe v4l2loopback`, or set its control keep_format"
    } else if has.intersects(Capability::VIDEO_OUTPUT) {
        "it captures nothing now: a v4l2loopback device without its producer; start that program"
    } else {
        "it does not capture video in a way that is known here; name a camera from `farol devices`"
    };
    Err(Loss::Unfit { device: path.to_owned(), what: what.to_owned() })
}

/// The camera's formats; of those that are known here with their sizes and rates.
pub(in super::super) fn offers(device: &Device, path: &Path) -> Result<Vec<Offer>, Loss> {
    let formats = readable(|| device.enum_formats()).map_err(|cause| lost("list formats", path, cause))?;
    let offer = |fourcc: FourCC| {
        let is_known = fourcc.repr == *b"H264" || PixelFormat::from_fourcc(fourcc.repr).is_some();
        let sizes = if is_known { sizes(device, fourcc) } else { Sizes::Unknown };
        Offer { fourcc: fourcc.repr, sizes }
    };
    Ok(formats.into_iter().map(|format| offer(format.fourcc)).collect())
}

fn sizes(device: &Device, fourcc: FourCC) -> Sizes {
    let sizes = readable(|| device.enum_framesizes(fourcc)).unwrap_or_default();
    let mut modes = Vec::new();
    for size in sizes {
        match size.size {
            FrameSizeEnum::Discrete(size) => {
                let size = (size.width, size.height);
                modes.push(Mode { size, fps: highest_rate(device, fourcc, size) });
            }
            FrameSizeEnum::Stepwise(range) => {
                let max = (range.max_width, range.max_height);
                return Sizes::Range {
                    min: (range.min_width, range.min_height),
                    max,
                    step: (range.step_width, range.step_height),
                    fps: highest_rate(device, fourcc, max),
                };
            }
        }
    }
    if modes.is_empty() { Sizes::Unknown } else { Sizes::Listed(modes) }
}

/// Frames per second, rounded.
fn highest_rate(device: &Device, fourcc: FourCC, size: (u32, u32)) -> Option<u32> {
    let intervals = readable(|| device.enum_frameintervals(fourcc, size.0, size.1)).ok()?;
    let shortest = intervals.into_iter().map(|interval| match interval.interval {
        FrameIntervalEnum::Discrete(interval) => interval,
        FrameIntervalEnum::Stepwise(interval) => interval.min,
    });
    shortest.filter_map(rate).max()
}

/// The rate of an interval, rounded.
fn rate(interval: Fraction) -> Option<u32> {
    let is_sensible = interval.numerator > 0 && interval.denominator >= interval.numerator;
    is_sensible.then(|| interval.denominator.saturating_add(interval.numerator / 2) / interval.numerator)
}

/// Sets format and size, and returns what the camera made of it.
pub(super) fn set_format(
    device: &Device,
    path: &Path,
    fourcc: [u8; 4],
    size: (u32, u32),
) -> Result<Format, Loss> {
    let wanted = Format::new(size.0, size.1, FourCC::new(&fourcc));
    let got = readable(|| device.set_format(&wanted)).map_err(|cause| lost("set the format", path, cause))?;
    if got.fourcc.repr != fourcc {
        let what = format!(
            "it was set to {} and gives {}; set video.input to another format",
            name(fourcc),
            name(got.fourcc.repr)
        );
        return Err(Loss::Unfit { device: path.to_owned(), what });
    }
    if (got.width, got.height) != size {
        log::debug!(
            device:% = path.display(), width = got.width, height = got.height;
            "the camera has another size than asked"
        );
    }
    Ok(got)
}

/// Asks for a frame rate and returns the one that the camera has, or what was asked if it says none.
pub(super) fn set_rate(device: &Device, path: &Path, fps: u32) -> u32 {
    if let Err(cause) = readable(|| device.set_params(&Parameters::with_fps(fps))) {
        log::debug!(device:% = path.display(), cause:% = cause; "the camera's frame rate cannot be set");
    }
    readable(|| device.params()).ok().and_then(|parameters| rate(parameters.interval)).unwrap_or(fps)
}

/// How the camera's pictures lie in their buffers.
pub(super) fn layout(format: &Format, pixels: PixelFormat, path: &Path) -> Result<Layout, Loss> {
    let packed = Layout::packed(pixels, format.width as usize, format.height as usize);
    if pixels.is_compressed() {
        return Ok(packed);
    }
    // A driver that leaves the stride at 0 means no padding.
    let stride = if format.stride == 0 { packed.stride } else { format.stride as usize };
    let layout = Layout { stride, size_bytes: format.size as usize, ..packed };
    if layout.is_sound() {
        return Ok(layout);
    }
    let what = format!(
        "its driver says that a picture of {}x{} in {pixels} has lines of {} and in all {} bytes, which is \
         too little; set video.input or video.width and height to something else",
        format.width, format.height, format.stride, format.size
    );
    Err(Loss::Unfit { device: path.to_owned(), what })
}

/// Which colours the camera's numbers stand for, by the kernel's rules for what a driver leaves at its
/// default (`V4L2_MAP_QUANTIZATION_DEFAULT`, `V4L2_MAP_YCBCR_ENC_DEFAULT`).
pub(super) fn colour(format: &Format, pixels: PixelFormat) -> Colour {
    if pixels.is_compressed() {
        return Colour::JPEG;
    }
    if is_rgb(pixels) {
        // Luma is made here, and so that viewers who do not read the stream's own word for it guess right.
        let is_high = format.height > STANDARD_DEFINITION_LINES;
        let matrix = if is_high { Matrix::Bt709 } else { Matrix::Bt601 };
        return Colour { range: Range::Full, matrix };
    }
    let range = match (format.quantization, format.colorspace) {
        (Quantization::FullRange, _) | (Quantization::Default, Colorspace::JPEG) => Range::Full,
        // The rules have no word on it; vivid and cameras alike use all of its 256 steps.
        (Quantization::Default, _) if pixels == PixelFormat::Grey => Range::Full,
        _ => Range::Limited,
    };
    let matrix = match format.colorspace {
        Colorspace::Rec709 | Colorspace::DCIP3 => Matrix::Bt709,
        _ => Matrix::Bt601,
    };
    Colour { range, matrix }
}

fn is_rgb(format: PixelFormat) -> bool {
    use PixelFormat as F;
    matches!(
        format,
        F::Rgb24
            | F::Bgr24
            | F::Bgrx32
            | F::Bgra32
            | F::Rgbx32
            | F::Rgba32
            | F::Xrgb32
            | F::Argb32
            | F::Xbgr32
            | F::Abgr32
            | F::Rgb32
            | F::Bgr32
    )
}

/// The crate panics at names and numbers that it does not know; from a driver they are just an error.
pub(in super::super) fn readable<T>(query: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(query));
    outcome.unwrap_or_else(|_| Err(io::Error::other("the driver's answer cannot be read")))
}
