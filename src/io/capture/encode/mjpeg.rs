//! How does Motion JPEG become planes of luma and colours?
//!
//! A camera's JPEG is luma and colours already, so it is not decoded into red, green and blue. Damaged
//! pictures are an everyday thing (a full USB bus cuts them off): they are an outcome, and the caller
//! counts them. Missing Huffman tables are known to the decoder.

use turbojpeg::{Decompressor, Subsamp, YuvImage, yuv_pixels_len};

use super::colour::Colour;
use super::convert::{Lines, Picture, Samples};
use crate::engine::jpeg::outline;
use crate::io::capture::Loss;

/// A JPEG may be larger than the camera says by its own padding to blocks, no more.
const PADDING: usize = 64;
/// A camera sends one scan; a picture that wants hundreds wants to keep the decoder busy.
const MOST_SCANS: u32 = 16;

/// Decodes one camera's pictures.
pub(super) struct Decoder {
    decompressor: Decompressor,
    /// The planes of the last picture, kept so that memory is asked for once.
    pixels: Vec<u8>,
}

impl Decoder {
    pub(super) fn new() -> Result<Decoder, Loss> {
        let failed =
            |cause| Loss::Encoder(format!("the JPEG decoder cannot be opened: {cause}; free memory"));
        let mut decompressor = Decompressor::new().map_err(failed)?;
        decompressor.set_scan_limit(MOST_SCANS).map_err(failed)?;
        Ok(Decoder { decompressor, pixels: Vec::new() })
    }

    /// The picture, at least of `size`. The error says what is wrong with it.
    pub(super) fn decode(&mut self, data: &[u8], size: (usize, usize)) -> Result<Picture<'_>, String> {
        let outline = outline(data).ok_or("it is cut off")?;
        let data = &data[..outline.end];
        let header = self.decompressor.read_header(data).map_err(|cause| cause.to_string())?;
        let fits = |have: usize, want: usize| (want..=want + PADDING).contains(&have);
        if !fits(header.width, size.0) || !fits(header.height, size.1) {
            return Err(format!("it is {}x{}", header.width, header.height));
        }
        let samples = samples(header.subsamp).ok_or("its colours are divided in an unusual way")?;
        let image = YuvImage {
            pixels: (),
            width: header.width,
            align: 1,
            height: header.height,
            subsamp: header.subsamp,
        };
        let length = yuv_pixels_len(image.width, image.align, image.height, image.subsamp);
        self.pixels.resize(length.map_err(|cause| cause.to_string())?, 0);
        let (luma, colours) = (image.y_size(), image.uv_size());
        let YuvImage { width, align, height, subsamp, .. } = image;
        let into = YuvImage { pixels: &mut self.pixels[..], width, align, height, subsamp };
        match self.decompressor.decompress_to_yuv(data, into) {
            Ok(()) => {}
            Err(cause) if is_harmless(&cause.to_string()) => {}
            Err(cause) => return Err(cause.to_string()),
        }
        let luma_end = luma.0 * luma.1;
        let plane =
            |start: usize, stride| Lines { bytes: self.pixels.get(start..).unwrap_or_default(), stride };
        let planes = [
            plane(0, luma.0),
            plane(luma_end, colours.0),
            plane(luma_end + colours.0 * colours.1, colours.0),
        ];
        Ok(Picture::planar(planes, samples, Colour::JPEG))
    }
}

/// Padding before the end marker, which some cameras write. The decoder has the whole picture then.
fn is_harmless(complaint: &str) -> bool {
    complaint.contains("extraneous bytes before marker 0xd9")
}

fn samples(subsamp: Subsamp) -> Option<Samples> {
    let planar = |across, down| Samples::Planar { across, down };
    match subsamp {
        Subsamp::None => Some(planar(1, 1)),
        Subsamp::Sub2x1 => Some(planar(2, 1)),
        Subsamp::Sub2x2 => Some(planar(2, 2)),
        Subsamp::Sub1x2 => Some(planar(1, 2)),
        Subsamp::Sub4x1 => Some(planar(4, 1)),
        Subsamp::Gray => Some(Samples::Grey),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
