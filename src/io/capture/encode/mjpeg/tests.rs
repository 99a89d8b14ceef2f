use super::*;
use crate::engine::jpeg;
use crate::engine::picture::{Layout, PixelFormat};
use crate::io::capture::encode::convert::planes_of;
use turbojpeg::{Compressor, Image};

/// Four quarters: red, green, blue, white; as a camera would compress it.
fn file(size: (usize, usize), subsamp: Subsamp) -> Vec<u8> {
    let (width, height) = size;
    let colour = |x: usize, y: usize| match (x < width / 2, y < height / 2) {
        (true, true) => [255, 0, 0],
        (false, true) => [0, 255, 0],
        (true, false) => [0, 0, 255],
        (false, false) => [255, 255, 255],
    };
    let pixels: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| colour(x, y))).collect();
    let image =
        Image { pixels: &pixels[..], width, pitch: width * 3, height, format: turbojpeg::PixelFormat::RGB };
    let mut compressor = Compressor::new().expect("a compressor");
    compressor.set_quality(95).expect("a quality");
    compressor.set_subsamp(subsamp).expect("a subsampling");
    compressor.compress_to_vec(image).expect("a file")
}

/// The tables' segments cut out, and `AVI1` in place of `JFIF`.
fn as_motion_jpeg(file: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (vec![0xff, 0xd8], 2);
    while file[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        match file[at + 1] {
            0xc4 => {}
            0xe0 => out.extend([0xff, 0xe0, 0, 16, b'A', b'V', b'I', b'1', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            _ => out.extend(&file[at..end]),
        }
        at = end;
    }
    out.extend(&file[at..]);
    out
}

fn decoded(decoder: &mut Decoder, data: &[u8], size: (usize, usize)) -> Result<Vec<u8>, String> {
    let picture = decoder.decode(data, size)?;
    let layout = Layout::packed(PixelFormat::Yuv420, size.0, size.1);
    let mut out = vec![0; layout.size_bytes];
    picture.write(size, planes_of(&mut out, &layout), &layout).map_err(|_| "too short".to_owned())?;
    Ok(out)
}

/// Luma and colours in the middle of each quarter, against BT.601's in the limited range.
fn assert_is_the_picture(out: &[u8], (width, height): (usize, usize), has_colours: bool, what: &str) {
    let quarters =
        [(1, 1, (81, 90, 240)), (3, 1, (145, 54, 34)), (1, 3, (41, 240, 110)), (3, 3, (235, 128, 128))];
    for (x, y, (luma, cb, cr)) in quarters {
        let (x, y) = (width * x / 4, height * y / 4);
        let colour = width * height + y / 2 * (width / 2) + x / 2;
        let seen = (out[y * width + x], out[colour], out[colour + width * height / 4]);
        let (cb, cr) = if has_colours { (cb, cr) } else { (128, 128) };
        let off = [(seen.0, luma), (seen.1, cb), (seen.2, cr)]
            .map(|(seen, wanted): (u8, u8)| seen.abs_diff(wanted));
        assert!(off.into_iter().all(|off| off <= 3), "{what}: {seen:?}, not {:?}", (luma, cb, cr));
    }
}

#[test]
fn every_division_of_the_colours_gives_the_same_picture() {
    let size = (96, 64);
    let mut decoder = Decoder::new().expect("a decoder");
    for subsamp in
        [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray]
    {
        let out = decoded(&mut decoder, &file(size, subsamp), size).expect("a picture");
        assert_is_the_picture(&out, size, subsamp != Subsamp::Gray, &format!("{subsamp:?}"));
    }
}

#[test]
fn a_picture_without_huffman_tables_is_decoded_and_its_file_has_them() {
    let size = (64, 48);
    let sent = as_motion_jpeg(&file(size, Subsamp::Sub2x1));
    assert!(!jpeg::outline(&sent).expect("a picture").has_huffman_tables);
    let out = decoded(&mut Decoder::new().expect("a decoder"), &sent, size).expect("a picture");
    assert_is_the_picture(&out, size, true, "Motion JPEG");
    let still = jpeg::to_file(&sent).expect("a file");
    assert!(jpeg::outline(&still).expect("a picture").has_huffman_tables);
    assert!(turbojpeg::decompress(&still, turbojpeg::PixelFormat::RGB).is_ok());
}

#[test]
fn a_picture_that_is_cut_off_or_broken_is_refused_and_the_next_one_is_not() {
    let size = (96, 64);
    let mut decoder = Decoder::new().expect("a decoder");
    let whole = file(size, Subsamp::Sub2x1);
    for length in (0..whole.len()).step_by(7) {
        assert!(decoded(&mut decoder, &whole[..length], size).is_err(), "{length} bytes");
    }
    // The end is there and the middle is not: what a lost packet leaves.
    let mut holed = whole[..whole.len() * 2 / 3].to_vec();
    holed.extend([0xff, 0xd9]);
    assert!(decoded(&mut decoder, &holed, size).is_err());
    let out = decoded(&mut decoder, &whole, size).expect("a picture");
    assert_is_the_picture(&out, size, true, "after the broken ones");
}

#[test]
fn padding_is_harmless() {
    let size = (64, 48);
    let mut decoder = Decoder::new().expect("a decoder");
    let whole = file(size, Subsamp::Sub2x1);
    let mut padded = whole.clone();
    padded.extend([0; 512]);
    assert!(decoded(&mut decoder, &padded, size).is_ok(), "behind the end");
    let mut stuffed = whole[..whole.len() - 2].to_vec();
    stuffed.extend([0, 0, 0, 0, 0xff, 0xd9]);
    assert!(decoded(&mut decoder, &stuffed, size).is_ok(), "before the end");
}

#[test]
fn a_picture_of_another_size_is_refused() {
    let mut decoder = Decoder::new().expect("a decoder");
    let small = file((64, 48), Subsamp::Sub2x1);
    assert!(decoded(&mut decoder, &small, (96, 64)).is_err());
    assert!(decoded(&mut decoder, &file((256, 256), Subsamp::Sub2x1), (96, 64)).is_err());
    // 1080 lines sent as 1088.
    assert!(decoded(&mut decoder, &file((96, 72), Subsamp::Sub2x1), (96, 64)).is_ok());
}
