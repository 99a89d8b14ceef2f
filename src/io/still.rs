//! How does one picture of an H.264 stream become a JPEG file?
//!
//! For sources that have no picture before it is encoded: cameras and programs that deliver H.264, and
//! recordings. It takes tens of milliseconds of a core, so it is called on a thread of its own.

use bytes::Bytes;

/// Why there is no still.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StillFault {
    /// The program lacks the decoder.
    #[error(
        "this farol was built without the decoder that stills of this camera need; build it with `--features openh264`"
    )]
    NoDecoder,
    /// OpenH264 takes baseline, main and high profile without interlacing.
    #[error("the camera's picture could not be decoded: {0}")]
    Decoder(String),
    /// libjpeg-turbo.
    #[error("the still could not be compressed: {0}")]
    Compressor(String),
}

/// Decodes a keyframe, which has its parameter sets with it, and compresses the picture.
///
/// # Errors
/// The access unit is no whole keyframe, or of a kind that the decoder does not know.
#[cfg(not(feature = "openh264"))]
pub fn jpeg(_: &crate::engine::h264::AccessUnit) -> Result<Bytes, StillFault> {
    Err(StillFault::NoDecoder)
}

#[cfg(feature = "openh264")]
pub use live::jpeg;

#[cfg(feature = "openh264")]
mod live {
    use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
    use openh264::formats::YUVSource as _;
    use openh264::{OpenH264API, decoder::DecodeOptions};
    use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};
    use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix, yuv420_to_rgb};

    use super::{Bytes, StillFault};
    use crate::engine::h264::{AccessUnit, ParameterSets, Sps};

    /// No artefacts that a person would see, at some 200 kB for 1280x720.
    const QUALITY: i32 = 90;
    /// Without a word of the stream's, players take pictures from this height on for BT.709.
    const HIGH_DEFINITION: usize = 720;

    /// Decodes a keyframe, which has its parameter sets with it, and compresses the picture.
    ///
    /// # Errors
    /// The access unit is no whole keyframe, or of a kind that the decoder does not know.
    pub fn jpeg(unit: &AccessUnit) -> Result<Bytes, StillFault> {
        let failed = |cause: openh264::Error| StillFault::Decoder(cause.to_string());
        let mut sets = ParameterSets::new();
        sets.access_unit(unit.data.clone(), unit.captured);
        let mut decoder =
            Decoder::with_api_config(OpenH264API::from_source(), DecoderConfig::new()).map_err(failed)?;
        let whole = DecodeOptions::new().flush_after_decode(Flush::Flush);
        match decoder.decode_with_options(&unit.data, whole).map_err(failed)? {
            Some(picture) => compress(&picture, sets.sps()),
            None => Err(StillFault::Decoder("it is no whole picture".to_owned())),
        }
    }

    /// By way of red, green and blue, since a JPEG is of the full range and by BT.601 alone (JFIF 1.02).
    fn compress(picture: &DecodedYUV<'_>, sps: Option<Sps>) -> Result<Bytes, StillFault> {
        let ((width, height), (y, u, v)) = (picture.dimensions(), picture.strides());
        let planes = YuvPlanarImage {
            y_plane: picture.y(),
            y_stride: y as u32,
            u_plane: picture.u(),
            u_stride: u as u32,
            v_plane: picture.v(),
            v_stride: v as u32,
            width: width as u32,
            height: height as u32,
        };
        let range = match sps.is_some_and(|sps| sps.is_full_range) {
            true => YuvRange::Full,
            false => YuvRange::Limited,
        };
        let mut pixels = vec![0; width * height * 3];
        yuv420_to_rgb(&planes, &mut pixels, (width * 3) as u32, range, matrix(sps, height))
            .map_err(|cause| StillFault::Decoder(cause.to_string()))?;
        let image = Image { pixels: &pixels[..], width, pitch: width * 3, height, format: PixelFormat::RGB };
        let compress = || -> turbojpeg::Result<Vec<u8>> {
            let mut compressor = Compressor::new()?;
            compressor.set_quality(QUALITY)?;
            compressor.set_subsamp(Subsamp::Sub2x2)?;
            compressor.compress_to_vec(image)
        };
        compress().map(Bytes::from).map_err(|cause| StillFault::Compressor(cause.to_string()))
    }

    /// Table E-5 of H.264: 1 is BT.709, 5 and 6 are BT.601.
    fn matrix(sps: Option<Sps>, height: usize) -> YuvStandardMatrix {
        match sps.and_then(|sps| sps.matrix_coefficients) {
            Some(1) => YuvStandardMatrix::Bt709,
            Some(5 | 6) => YuvStandardMatrix::Bt601,
            _ if height >= HIGH_DEFINITION => YuvStandardMatrix::Bt709,
            _ => YuvStandardMatrix::Bt601,
        }
    }
}

#[cfg(all(test, feature = "openh264"))]
mod tests {
    use openh264::OpenH264API;
    use openh264::encoder::{Encoder, EncoderConfig, VuiConfig};
    use openh264::formats::YUVBuffer;

    use super::*;
    use crate::engine::h264::AccessUnit;
    use crate::units::MediaTime;

    fn unit(data: Vec<u8>) -> AccessUnit {
        AccessUnit { data: data.into(), is_keyframe: true, captured: MediaTime::default() }
    }

    /// A keyframe of one colour, given in limited-range BT.709 as (luma, blue, red).
    fn keyframe((width, height): (usize, usize), (y, u, v): (u8, u8, u8)) -> AccessUnit {
        let mut planes = vec![y; width * height];
        planes.extend(vec![u; width * height / 4]);
        planes.extend(vec![v; width * height / 4]);
        let config = EncoderConfig::new().vui(VuiConfig::bt709());
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).expect("an encoder");
        unit(encoder.encode(&YUVBuffer::from_vec(planes, width, height)).expect("a picture").to_vec())
    }

    #[test]
    fn a_keyframe_becomes_a_jpeg_of_its_size_and_colours() {
        // Pure red, white and black in limited-range BT.709.
        for (colour, wanted) in
            [((63, 102, 240), [255, 0, 0]), ((235, 128, 128), [255; 3]), ((16, 128, 128), [0; 3])]
        {
            let still = jpeg(&keyframe((320, 180), colour)).expect("a still");
            let image = turbojpeg::decompress(&still, turbojpeg::PixelFormat::RGB).expect("a JPEG");
            assert_eq!((image.width, image.height), (320, 180));
            let middle = &image.pixels[(90 * image.pitch + 160 * 3)..][..3];
            let far = middle.iter().zip(wanted).any(|(is, wanted)| is.abs_diff(wanted) > 6);
            assert!(!far, "{middle:?} instead of {wanted:?}");
        }
    }

    #[test]
    fn a_high_profile_keyframe_of_a_camera_is_decoded() {
        let clip = include_bytes!("../../tests/lab/guest/labcam.h264");
        let is_delimiter = |window: &[u8]| window[..4] == [0, 0, 0, 1] && window[4] & 0x1f == 9;
        let end = (5..clip.len() - 5).find(|&at| is_delimiter(&clip[at..at + 5])).expect("several pictures");
        let still = jpeg(&unit(clip[..end].to_vec())).expect("a still");
        assert!(turbojpeg::decompress(&still, turbojpeg::PixelFormat::RGB).is_ok());
    }

    #[test]
    fn what_is_no_keyframe_is_a_fault_and_nothing_worse() {
        let whole = keyframe((320, 180), (100, 100, 100)).data;
        for cut in [0, 1, 5, 12, whole.len() / 2] {
            let _ = jpeg(&unit(whole[..cut].to_vec()));
        }
        assert!(matches!(jpeg(&unit(vec![])), Err(StillFault::Decoder(_))));
        assert!(matches!(jpeg(&unit(vec![0; 4000])), Err(StillFault::Decoder(_))));
        let mut noise = whole.to_vec();
        for (n, byte) in noise.iter_mut().enumerate().skip(40) {
            *byte = (n * 31) as u8;
        }
        let _ = jpeg(&unit(noise));
    }
}
