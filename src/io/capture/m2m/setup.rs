//! How do we and an encoder come to terms about the pictures?
//!
//! In the order of the kernel's "Memory-to-Memory Stateful Video Encoder Interface", section
//! "Initialization": the coded format, then the raw one, what of it is seen, the time between two pictures.

use std::path::Path;

use super::find::Encoder;
use super::{EncoderSettings, H264, lost};
use crate::engine::picture::{Layout, PixelFormat};
use crate::io::capture::Loss;
use crate::io::capture::sys::{BufferFormat, Node};

/// What was agreed on.
pub(super) struct Terms {
    /// How the driver wants a picture to lie.
    pub layout: Layout,
    /// Bytes of each part of a raw buffer that is memory of its own; one for most drivers.
    pub parts: Vec<u32>,
    /// Pixels of it that are encoded: what was asked for, unless the driver cannot leave out its padding.
    pub seen: (u32, u32),
}

/// Sets both formats. `stride` is the one that pictures come with, when they are not ours to lay out; the
/// driver may say another all the same.
pub(super) fn agree(
    node: &Node,
    path: &Path,
    encoder: &Encoder,
    settings: &EncoderSettings,
    (format, stride): (PixelFormat, Option<usize>),
) -> Result<Terms, Loss> {
    let unfit = |what: String| Loss::Unfit { device: path.to_owned(), what };
    let (width, height) = settings.size;
    let Some(fourcc) = encoder.fourcc_of(format) else {
        return Err(unfit(format!("it encodes no {format} pictures; convert them, or use software")));
    };
    let failed = |operation| move |cause| lost(operation, path, cause);
    // Half a byte for a pixel is twice what a keyframe of the highest rate here needs.
    let coded_bytes = (width.saturating_mul(height) / 2).max(512 * 1024);
    let coded = BufferFormat { fourcc: H264, width, height, planes: vec![(0, coded_bytes)] };
    let coded = node.set_format(encoder.coded, &coded).map_err(failed("set the coded format"))?;
    if coded.fourcc != H264 {
        return Err(unfit("it gives no H.264, though it says so; use software".to_owned()));
    }
    let stride = u32::try_from(stride.unwrap_or(0)).unwrap_or(0);
    let raw = BufferFormat { fourcc, width, height, planes: vec![(stride, 0)] };
    let raw = node.set_format(encoder.raw, &raw).map_err(failed("set the raw format"))?;
    if raw.fourcc != fourcc {
        return Err(unfit(format!("it takes no {format} pictures, though it says so; use software")));
    }
    if raw.width < width || raw.height < height {
        let largest = node.largest_size(fourcc).unwrap_or((raw.width, raw.height));
        return Err(unfit(format!(
            "it encodes pictures of up to {}x{}, not {width}x{height}; lower video.width and video.height",
            largest.0, largest.1
        )));
    }
    let mut terms = terms(format, &raw)
        .ok_or_else(|| unfit(format!("it lays out {format} pictures in an unknown way; use software")))?;
    terms.seen = crop(node, path, (width, height), &raw);
    set_interval(node, path, encoder, settings.fps);
    Ok(terms)
}

/// What a driver's answer means; `None` when it cannot be right.
fn terms(format: PixelFormat, raw: &BufferFormat) -> Option<Terms> {
    let (width, height) = (raw.width as usize, raw.height as usize);
    let parts: Vec<u32> = raw.planes.iter().map(|(_, size)| *size).collect();
    let packed = Layout::packed(format, width, height);
    // Some drivers leave it at 0 where they have no padding.
    let stride = match raw.planes.first()?.0 as usize {
        0 => packed.stride,
        stride => stride,
    };
    let size_bytes = parts.iter().map(|&size| size as usize).sum();
    let layout = Layout { format, width, height, stride, size_bytes };
    let planes = layout.planes();
    let fits = match parts.len() {
        1 => layout.is_sound(),
        count => {
            count == planes.len()
                && planes.iter().zip(&raw.planes).all(|(plane, &(stride, size))| {
                    plane.size_bytes() <= size as usize && plane.stride == stride as usize
                })
        }
    };
    (fits && !planes.is_empty()).then_some(Terms { layout, parts, seen: (raw.width, raw.height) })
}

/// Leaves out what the driver added: bcm2835-codec wants 1088 lines for 1080. The size that is left.
fn crop(node: &Node, path: &Path, wanted: (u32, u32), raw: &BufferFormat) -> (u32, u32) {
    let padded = (raw.width, raw.height);
    let outcome = node.set_crop(wanted.0, wanted.1);
    let left = *outcome.as_ref().unwrap_or(&padded);
    if left != wanted {
        let cause = outcome.err().map_or("it has a smallest size".to_owned(), |cause| cause.to_string());
        log::warn!(
            device:% = path.display(), width = left.0, height = left.1, cause;
            "the encoder cannot leave out its padding: the picture has an edge"
        );
    }
    left
}

/// The rate control counts in pictures a second.
fn set_interval(node: &Node, path: &Path, encoder: &Encoder, fps: u32) {
    match node.set_raw_interval(encoder.raw, (1, fps)) {
        Ok((_, 0) | (0, _)) => {}
        Ok((numerator, denominator)) => {
            log::debug!(device:% = path.display(), numerator, denominator; "the encoder's frame interval");
        }
        // It goes by the pictures' times, or not at all.
        Err(cause) if cause.raw_os_error() == Some(libc::ENOTTY) => {}
        Err(cause) => log::warn!(
            device:% = path.display(), fps, cause:% = cause;
            "the encoder does not take the frame rate; its bitrate will be off"
        ),
    }
}
