//! How does a picture become a still, a JPEG file?

use bytes::Bytes;
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};
use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix, yuv420_to_rgb};

use super::colour::Matrix;
use super::i420::I420;

/// No artefacts that a person would see, at some 200 kB for 1280x720.
const QUALITY: i32 = 90;

/// A still of a picture in the limited range.
pub(in crate::io::capture) fn still(picture: &I420, matrix: Matrix) -> Result<Bytes, String> {
    let ((y_plane, u_plane, v_plane), (y_stride, colour_stride)) = (picture.planes(), picture.strides());
    let (width, height) = picture.size();
    let planes = YuvPlanarImage {
        y_plane,
        y_stride: y_stride as u32,
        u_plane,
        u_stride: colour_stride as u32,
        v_plane,
        v_stride: colour_stride as u32,
        width: width as u32,
        height: height as u32,
    };
    // By way of red, green and blue, since a JPEG is of the full range and by BT.601 alone.
    let matrix = match matrix {
        Matrix::Bt601 => YuvStandardMatrix::Bt601,
        Matrix::Bt709 => YuvStandardMatrix::Bt709,
    };
    let mut pixels = vec![0; width * height * 3];
    yuv420_to_rgb(&planes, &mut pixels, (width * 3) as u32, YuvRange::Limited, matrix)
        .map_err(|cause| cause.to_string())?;
    let image = Image { pixels: &pixels[..], width, pitch: width * 3, height, format: PixelFormat::RGB };
    let compress = || -> turbojpeg::Result<Vec<u8>> {
        let mut compressor = Compressor::new()?;
        compressor.set_quality(QUALITY)?;
        compressor.set_subsamp(Subsamp::Sub2x2)?;
        compressor.compress_to_vec(image)
    };
    compress().map(Bytes::from).map_err(|cause| cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::picture::{Layout, PixelFormat as Format};

    /// What a program that opens the file sees, at the middle.
    fn seen(luma: u8, colours: (u8, u8), matrix: Matrix) -> [u8; 3] {
        let layout = Layout::packed(Format::Yuv420, 32, 16);
        let mut data = vec![luma; layout.size_bytes];
        data[512..640].fill(colours.0);
        data[640..].fill(colours.1);
        let picture = I420::of_buffer(&data, &layout, (32, 16)).expect("a picture");
        let file = still(&picture, matrix).expect("a still");
        let image = turbojpeg::decompress(&file, PixelFormat::RGB).expect("a JPEG file");
        assert_eq!((image.width, image.height), (32, 16));
        let at = 8 * image.pitch + 16 * 3;
        [image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]]
    }

    #[test]
    fn a_still_has_the_colours_of_its_picture() {
        let is_near = |seen: [u8; 3], wanted: [u8; 3]| {
            seen.iter().zip(wanted).all(|(seen, wanted)| seen.abs_diff(wanted) <= 4)
        };
        for (luma, colours, matrix, wanted) in [
            (235, (128, 128), Matrix::Bt709, [255, 255, 255]),
            (16, (128, 128), Matrix::Bt601, [0, 0, 0]),
            (81, (90, 240), Matrix::Bt601, [255, 0, 0]),
            (63, (102, 240), Matrix::Bt709, [255, 0, 0]),
            (173, (42, 26), Matrix::Bt709, [0, 255, 0]),
        ] {
            let seen = seen(luma, colours, matrix);
            assert!(is_near(seen, wanted), "{seen:?}, not {wanted:?}");
        }
    }
}
