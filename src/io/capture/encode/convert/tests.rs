use super::*;
use crate::io::capture::encode::colour::Matrix;

const LIMITED: Colour = Colour { range: Range::Limited, matrix: Matrix::Bt601 };
const FULL: Colour = Colour { range: Range::Full, matrix: Matrix::Bt601 };
/// Four by four pixels; in 4:2:2 each pair of pixels has colours of its own.
const SIZE: (usize, usize) = (4, 4);
const LUMA: [[u8; 4]; 4] = [[20, 30, 40, 50], [60, 70, 80, 90], [100, 110, 120, 130], [140, 150, 160, 170]];
const CB: [[u8; 2]; 4] = [[100, 110], [102, 112], [50, 60], [51, 61]];
const CR: [[u8; 2]; 4] = [[200, 210], [200, 214], [150, 160], [150, 163]];
/// The means of two lines, halves rounded up.
const CB_420: [u8; 4] = [101, 111, 51, 61];
const CR_420: [u8; 4] = [200, 212, 150, 162];

/// Writes the sample picture in a format, by the kernel's description of it, each line padded by `padding`.
fn sample(format: PixelFormat, padding: usize) -> (Vec<u8>, Layout) {
    let packed = Layout::packed(format, SIZE.0, SIZE.1);
    let mut layout = Layout { stride: packed.stride + padding, ..packed };
    layout.size_bytes = layout.planes_bytes();
    let mut data = vec![0xee; layout.size_bytes];
    let planes = layout.planes();
    let mut put = |plane: usize, line: usize, bytes: &[u8]| {
        let start = planes[plane].offset + line * planes[plane].stride;
        data[start..start + bytes.len()].copy_from_slice(bytes);
    };
    for line in 0..SIZE.1 {
        let (y, cb, cr) = (LUMA[line], CB[line], CR[line]);
        let (cb_420, cr_420) = (&CB_420[line / 2 * 2..], &CR_420[line / 2 * 2..]);
        match format {
            PixelFormat::Yuyv => put(0, line, &[y[0], cb[0], y[1], cr[0], y[2], cb[1], y[3], cr[1]]),
            PixelFormat::Yvyu => put(0, line, &[y[0], cr[0], y[1], cb[0], y[2], cr[1], y[3], cb[1]]),
            PixelFormat::Uyvy => put(0, line, &[cb[0], y[0], cr[0], y[1], cb[1], y[2], cr[1], y[3]]),
            PixelFormat::Vyuy => put(0, line, &[cr[0], y[0], cb[0], y[1], cr[1], y[2], cb[1], y[3]]),
            _ => put(0, line, &y),
        }
        match format {
            PixelFormat::Nv16 => put(1, line, &[cb[0], cr[0], cb[1], cr[1]]),
            PixelFormat::Nv61 => put(1, line, &[cr[0], cb[0], cr[1], cb[1]]),
            PixelFormat::Yuv422p => {
                put(1, line, &cb);
                put(2, line, &cr);
            }
            PixelFormat::Nv12 => put(1, line / 2, &[cb_420[0], cr_420[0], cb_420[1], cr_420[1]]),
            PixelFormat::Nv21 => put(1, line / 2, &[cr_420[0], cb_420[0], cr_420[1], cb_420[1]]),
            PixelFormat::Yuv420 => {
                put(1, line / 2, &cb_420[..2]);
                put(2, line / 2, &cr_420[..2]);
            }
            PixelFormat::Yvu420 => {
                put(1, line / 2, &cr_420[..2]);
                put(2, line / 2, &cb_420[..2]);
            }
            _ => {}
        }
    }
    (data, layout)
}

/// The picture converted into a format: its planes without padding.
fn converted(data: &[u8], layout: &Layout, colour: Colour, into: PixelFormat) -> Vec<u8> {
    let picture = Picture::new(data, layout, colour).expect("it is long enough");
    let target = Layout::packed(into, SIZE.0, SIZE.1);
    let mut out = vec![0xdd; target.size_bytes];
    picture.write(SIZE, planes_of(&mut out, &target), &target).expect("it fits");
    out
}

fn i420() -> Vec<u8> {
    [&LUMA.concat()[..], &CB_420, &CR_420].concat()
}

#[test]
fn every_layout_of_luma_and_colours_gives_the_same_picture_whatever_the_stride() {
    use PixelFormat as F;
    for format in [
        F::Yuyv,
        F::Yvyu,
        F::Uyvy,
        F::Vyuy,
        F::Nv12,
        F::Nv21,
        F::Nv16,
        F::Nv61,
        F::Yuv420,
        F::Yvu420,
        F::Yuv422p,
    ] {
        for padding in [0, 4, 60] {
            let (data, layout) = sample(format, padding);
            assert_eq!(converted(&data, &layout, LIMITED, F::Yuv420), i420(), "{format}, {padding} padded");
        }
    }
}

#[test]
fn nv12_has_both_colours_in_turn() {
    let (data, layout) = sample(PixelFormat::Yuyv, 8);
    let paired: Vec<u8> = CB_420.iter().zip(CR_420).flat_map(|(cb, cr)| [*cb, cr]).collect();
    let expected = [&LUMA.concat()[..], &paired].concat();
    assert_eq!(converted(&data, &layout, LIMITED, PixelFormat::Nv12), expected);
}

#[test]
fn an_encoders_own_stride_and_height_are_kept() {
    let (data, layout) = sample(PixelFormat::Yuyv, 0);
    let picture = Picture::new(&data, &layout, LIMITED).expect("a picture");
    // As bcm2835-codec has it: lines of 32 bytes, 16 of them for 4.
    let mut target = Layout { stride: 32, ..Layout::packed(PixelFormat::Yuv420, 4, 16) };
    target.size_bytes = target.planes_bytes();
    let mut out = vec![7; target.size_bytes];
    picture.write(SIZE, planes_of(&mut out, &target), &target).expect("it fits");
    let planes = target.planes();
    assert_eq!(out[32..36], LUMA[1]);
    assert_eq!(out[36], 7, "padding is left alone");
    assert_eq!(out[planes[1].offset + 16..][..2], CB_420[2..]);
    assert_eq!(out[planes[2].offset..][..2], CR_420[..2]);
}

#[test]
fn a_full_range_is_squeezed() {
    let (mut data, layout) = sample(PixelFormat::Yuv420, 0);
    data[0] = 0;
    data[1] = 255;
    data[16] = 255;
    let out = converted(&data, &layout, FULL, PixelFormat::Yuv420);
    assert_eq!((out[0], out[1], out[16]), (16, 235, 240));
    // 16 + 40 * 219 / 255 = 50.35
    assert_eq!(out[2], 50);
}

#[test]
fn grey_has_no_colours() {
    let (data, layout) = sample(PixelFormat::Grey, 3);
    let out = converted(&data, &layout, LIMITED, PixelFormat::Yuv420);
    assert_eq!(out[..16], LUMA.concat());
    assert!(out[16..].iter().all(|colour| *colour == 128));
}

#[test]
fn every_order_of_red_green_and_blue_gives_the_same_picture() {
    use PixelFormat as F;
    let pixels = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];
    let x = 0x77;
    type Written = fn([u8; 3], u8) -> Vec<u8>;
    let orders: [(F, Written); 12] = [
        (F::Rgb24, |[r, g, b], _| vec![r, g, b]),
        (F::Bgr24, |[r, g, b], _| vec![b, g, r]),
        (F::Rgbx32, |[r, g, b], x| vec![r, g, b, x]),
        (F::Rgba32, |[r, g, b], x| vec![r, g, b, x]),
        (F::Bgrx32, |[r, g, b], x| vec![b, g, r, x]),
        (F::Bgra32, |[r, g, b], x| vec![b, g, r, x]),
        (F::Bgr32, |[r, g, b], x| vec![b, g, r, x]),
        (F::Xrgb32, |[r, g, b], x| vec![x, r, g, b]),
        (F::Argb32, |[r, g, b], x| vec![x, r, g, b]),
        (F::Rgb32, |[r, g, b], x| vec![x, r, g, b]),
        (F::Xbgr32, |[r, g, b], x| vec![x, b, g, r]),
        (F::Abgr32, |[r, g, b], x| vec![x, b, g, r]),
    ];
    for (format, order) in orders {
        // Two lines of red, green, blue and white each, then two of the last pixel alone.
        let line = |pixels: [[u8; 3]; 4]| pixels.map(|pixel| order(pixel, x)).concat();
        let data = [line(pixels), line(pixels), line([[255; 3]; 4]), line([[255; 3]; 4])].concat();
        let layout = Layout::packed(format, 4, 4);
        let out = converted(&data, &layout, FULL, F::Yuv420);
        assert_eq!(out[..4], [81, 145, 41, 235], "{format}");
        // The means of red and green (90, 240; 54, 34) and of blue and white (240, 110; 128, 128).
        for (seen, wanted) in out[16..18].iter().chain(&out[20..22]).zip([72, 184, 137, 119]) {
            assert!(seen.abs_diff(wanted) <= 1, "{format}: {seen}, not {wanted}");
        }
        assert_eq!(out[18..20], [128, 128], "{format}");
    }
}

#[test]
fn what_is_larger_is_cut_off() {
    let layout = Layout::packed(PixelFormat::Grey, 5, 5);
    let data: Vec<u8> = (0..25).collect();
    let out = converted(&data, &layout, LIMITED, PixelFormat::Yuv420);
    assert_eq!(out[..8], [0, 1, 2, 3, 5, 6, 7, 8]);
}

#[test]
fn a_buffer_that_is_too_short_is_refused_and_never_read_past_its_end() {
    for format in PixelFormat::all().filter(|format| !format.is_compressed()) {
        let layout = Layout::packed(format, SIZE.0, SIZE.1);
        let target = Layout::packed(PixelFormat::Nv12, SIZE.0, SIZE.1);
        for length in 0..layout.size_bytes {
            let data = vec![1; length];
            let outcome = Picture::new(&data, &layout, LIMITED).map(|picture| {
                picture.write(SIZE, planes_of(&mut vec![0; target.size_bytes], &target), &target)
            });
            assert!(matches!(outcome, None | Some(Err(TooShort))), "{format} of {length} bytes");
        }
        let data = vec![1; layout.size_bytes];
        let picture = Picture::new(&data, &layout, LIMITED).expect("it is long enough");
        assert_eq!(picture.write(SIZE, planes_of(&mut [0; 23], &target), &target), Err(TooShort), "{format}");
        assert_eq!(picture.write(SIZE, planes_of(&mut [0; 24], &target), &target), Ok(()), "{format}");
    }
}

#[test]
fn lines_are_copied_from_one_stride_to_another() {
    let (data, layout) = sample(PixelFormat::Yuyv, 4);
    let mut to = Layout { stride: 16, ..Layout::packed(PixelFormat::Yuyv, 4, 4) };
    to.size_bytes = to.planes_bytes();
    let mut out = vec![0; to.size_bytes];
    copy(&data, &layout, planes_of(&mut out, &to), &to).expect("it fits");
    assert_eq!(out[..8], data[..8]);
    assert_eq!(out[16..24], data[12..20]);
    assert_eq!(copy(&data[..40], &layout, planes_of(&mut out, &to), &to), Err(TooShort));
}
