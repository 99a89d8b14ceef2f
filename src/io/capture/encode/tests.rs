#![cfg(feature = "openh264")]

use super::colour::Matrix;
use super::*;
use crate::engine::h264::Sps;
use crate::engine::h264::annex_b::nal_units;
use openh264::formats::YUVSource as _;
use std::time::Duration;

const SIZE: (usize, usize) = (320, 240);
/// Luma, Cb and Cr of a plain picture: an orange.
const PLAIN: (u8, u8, u8) = (150, 60, 180);

fn pipeline(layout: Layout, colour: Colour, fps: u32) -> Pipeline {
    let video = config::Video { fps, ..config::Video::default() };
    let input = Input { layout, colour, fps, exports: false };
    Pipeline::open(input, (PixelFormat::Yuv420, &Chosen::Software), &video).expect("the encoder opens")
}

fn yuyv(fps: u32) -> (Pipeline, Vec<u8>) {
    let layout = Layout::packed(PixelFormat::Yuyv, SIZE.0, SIZE.1);
    let (y, cb, cr) = PLAIN;
    let data = [y, cb, y, cr].repeat(layout.size_bytes / 4);
    (pipeline(layout, Colour { range: Range::Limited, matrix: Matrix::Bt601 }, fps), data)
}

fn jpeg_file() -> Vec<u8> {
    let layout = Layout::packed(PixelFormat::Yuv420, SIZE.0, SIZE.1);
    let mut data = vec![PLAIN.0; layout.size_bytes];
    data[SIZE.0 * SIZE.1..][..SIZE.0 * SIZE.1 / 4].fill(PLAIN.1);
    data[SIZE.0 * SIZE.1 * 5 / 4..].fill(PLAIN.2);
    let picture = I420::of_buffer(&data, &layout, SIZE).expect("a picture");
    stills::still(&picture, Matrix::Bt601).expect("a file").to_vec()
}

fn mjpeg() -> Pipeline {
    pipeline(Layout::packed(PixelFormat::Mjpeg, SIZE.0, SIZE.1), Colour::JPEG, 30)
}

fn at(frame: u32) -> MediaTime {
    MediaTime(Duration::from_secs(1000) + Duration::from_secs(1) * frame / 30)
}

fn encode(pipeline: &mut Pipeline, data: &[u8], captured: MediaTime) -> Fate {
    pipeline.encode(&Buffer { data, captured, exported: None }).expect("no loss")
}

fn unit(pipeline: &mut Pipeline, data: &[u8], captured: MediaTime) -> AccessUnit {
    match encode(pipeline, data, captured) {
        Fate::Unit(unit) => unit,
        Fate::Nothing | Fate::Held => panic!("nothing came out"),
        Fate::Damaged => panic!("it is damaged"),
    }
}

/// What a viewer sees of a unit: the size, and the middle's luma and colours.
fn seen(decoder: &mut openh264::decoder::Decoder, unit: &AccessUnit) -> ((usize, usize), (u8, u8, u8)) {
    let picture = decoder.decode(&unit.data).expect("it decodes").expect("a picture");
    let (width, height) = picture.dimensions();
    let strides = picture.strides();
    let colour = height / 4 * strides.1 + width / 4;
    let y = picture.y()[height / 2 * strides.0 + width / 2];
    ((width, height), (y, picture.u()[colour], picture.v()[colour]))
}

fn assert_plain((y, u, v): (u8, u8, u8)) {
    let off = [y.abs_diff(PLAIN.0), u.abs_diff(PLAIN.1), v.abs_diff(PLAIN.2)];
    assert!(off.into_iter().all(|off| off <= 3), "{:?}, not {PLAIN:?}", (y, u, v));
}

#[test]
fn raw_pictures_and_motion_jpeg_come_out_in_their_colours() {
    let mut decoder = openh264::decoder::Decoder::new().expect("a decoder");
    let (mut raw, data) = yuyv(30);
    let (size, colours) = seen(&mut decoder, &unit(&mut raw, &data, at(0)));
    assert_eq!(size, SIZE);
    assert_plain(colours);
    let mut decoder = openh264::decoder::Decoder::new().expect("a decoder");
    let (size, colours) = seen(&mut decoder, &unit(&mut mjpeg(), &jpeg_file(), at(0)));
    assert_eq!(size, SIZE);
    assert_plain(colours);
}

#[test]
fn a_damaged_picture_is_left_out_and_the_next_one_needs_no_keyframe() {
    let (mut pipeline, file) = (mjpeg(), jpeg_file());
    assert!(unit(&mut pipeline, &file, at(0)).is_keyframe);
    for (frame, damaged) in
        [&file[..file.len() / 2], b"", b"no picture at all", &[0xff, 0xd8, 0xff]].iter().enumerate()
    {
        assert!(matches!(encode(&mut pipeline, damaged, at(frame as u32 + 1)), Fate::Damaged));
    }
    assert_eq!(pipeline.damaged.count, 4);
    assert!(!unit(&mut pipeline, &file, at(9)).is_keyframe);
    let (mut raw, data) = yuyv(30);
    assert!(matches!(encode(&mut raw, &data[..data.len() - 1], at(0)), Fate::Damaged));
    assert!(unit(&mut raw, &data, at(1)).is_keyframe);
}

#[test]
fn a_still_is_the_cameras_own_jpeg_or_made_of_its_picture() {
    let (mut pipeline, file) = (mjpeg(), jpeg_file());
    pipeline.want_still();
    encode(&mut pipeline, &file[..file.len() / 2], at(0));
    assert_eq!(pipeline.take_still(), None, "a damaged picture is none");
    encode(&mut pipeline, &file, at(1));
    assert_eq!(pipeline.take_still().as_deref(), Some(&file[..]));
    encode(&mut pipeline, &file, at(2));
    assert_eq!(pipeline.take_still(), None, "one was asked for");
    let (mut raw, data) = yuyv(30);
    raw.want_still();
    encode(&mut raw, &data, at(0));
    let still = raw.take_still().expect("a still");
    let image = turbojpeg::decompress(&still, turbojpeg::PixelFormat::RGB).expect("a JPEG file");
    assert_eq!((image.width, image.height), SIZE);
}

#[test]
fn a_board_that_cannot_keep_up_sheds_until_it_can() {
    // Half a millisecond for each picture, which no encoder keeps up with.
    let (mut pipeline, data) = yuyv(2_000);
    // Enough bits for so many pictures.
    pipeline.set_bitrate(Bitrate::from_kbps(20_000));
    assert!(!pipeline.detail().contains("shed"));
    let until = media_now().0 + Duration::from_secs(20);
    while !pipeline.take_change() {
        encode(&mut pipeline, &data, media_now());
        assert!(media_now().0 < until, "it does not shed");
    }
    let (size, fps) = pipeline.sent();
    assert!(fps <= 20, "{fps} frames per second");
    assert!(
        pipeline.detail().contains(&format!("shed to {}x{} at {fps}", size.0, size.1)),
        "{}",
        pipeline.detail()
    );
    // The camera goes on at its own rate, of which no more is taken.
    let begin = media_now().0 + Duration::from_secs(100);
    let taken = (0..2_000).filter(|frame| {
        let captured = MediaTime(begin + Duration::from_micros(500) * *frame);
        matches!(encode(&mut pipeline, &data, captured), Fate::Unit(_))
    });
    assert!(taken.count() <= 21);
}

#[test]
fn a_low_bitrate_makes_the_picture_smaller_and_a_high_one_whole_again() {
    let (mut pipeline, data) = yuyv(30);
    let mut decoder = openh264::decoder::Decoder::new().expect("a decoder");
    assert_eq!(seen(&mut decoder, &unit(&mut pipeline, &data, at(0))).0, SIZE);
    pipeline.set_bitrate(Bitrate::from_kbps(20));
    let smaller = unit(&mut pipeline, &data, at(30));
    assert!(smaller.is_keyframe && pipeline.take_change());
    assert_eq!(seen(&mut decoder, &smaller), ((240, 180), PLAIN));
    assert_eq!(pipeline.sent(), ((240, 180), 20));
    pipeline.set_bitrate(Bitrate::from_kbps(2_500));
    let units = (60..120).filter_map(|frame| match encode(&mut pipeline, &data, at(frame)) {
        Fate::Unit(unit) => Some(seen(&mut decoder, &unit).0),
        _ => None,
    });
    assert_eq!(units.last(), Some(SIZE));
}

#[test]
fn a_smaller_picture_begins_with_a_keyframe_and_shows_the_same() {
    let (mut pipeline, data) = yuyv(30);
    let mut decoder = openh264::decoder::Decoder::new().expect("a decoder");
    seen(&mut decoder, &unit(&mut pipeline, &data, at(0)));
    for (frame, scale, size) in
        [(10, Scale::ThreeQuarters, (240, 180)), (20, Scale::Half, (160, 120)), (30, Scale::Whole, SIZE)]
    {
        pipeline.enter(Step { fps: 10, scale });
        let first = unit(&mut pipeline, &data, at(frame));
        assert!(first.is_keyframe);
        let sps = nal_units(&first.data).find_map(|nal| Sps::parse(&nal)).expect("an SPS");
        assert_eq!((sps.width as usize, sps.height as usize), size);
        let (shown, colours) = seen(&mut decoder, &first);
        assert_eq!(shown, size);
        assert_plain(colours);
        let second = unit(&mut pipeline, &data, at(frame + 4));
        assert!(!second.is_keyframe);
        assert_plain(seen(&mut decoder, &second).1);
    }
}

#[test]
fn odd_sizes_lose_their_last_line_and_column() {
    let layout = Layout::packed(PixelFormat::Grey, 65, 49);
    let mut pipeline = pipeline(layout, Colour { range: Range::Limited, matrix: Matrix::Bt601 }, 30);
    let first = unit(&mut pipeline, &vec![100; layout.size_bytes], at(0));
    let sps = nal_units(&first.data).find_map(|nal| Sps::parse(&nal)).expect("an SPS");
    assert_eq!((sps.width, sps.height), (64, 48));
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn an_encoder_that_cannot_read_the_cameras_memory_gets_copies() {
    let layout = Layout::packed(PixelFormat::Yuyv, 640, 360);
    let colour = Colour { range: Range::Limited, matrix: Matrix::Bt601 };
    let video = config::Video { fps: 10, ..config::Video::default() };
    let input = Input { layout, colour, fps: 10, exports: true };
    let by = Chosen::Hardware("/dev/video11".into());
    let mut pipeline = Pipeline::open(input, (PixelFormat::Yuyv, &by), &video).expect("the encoder opens");
    assert!(pipeline.imports() && pipeline.detail().ends_with("dma-buf"), "{}", pipeline.detail());
    let data = vec![100; layout.size_bytes];
    // Not memory at all.
    let null = std::fs::File::open("/dev/null").expect("it is there");
    let mut units = Vec::new();
    for frame in 0..20 {
        let exported = Some((frame as usize % 4, std::os::fd::AsFd::as_fd(&null)));
        let buffer = Buffer { data: &data, captured: at(frame * 3), exported };
        assert!(matches!(pipeline.encode(&buffer).expect("no loss"), Fate::Nothing), "picture {frame}");
        let until = media_now().0 + Duration::from_secs(2);
        while units.len() < frame as usize && media_now().0 < until {
            units.extend(pipeline.finished().expect("no loss"));
        }
    }
    assert!(units.len() >= 15 && units[0].is_keyframe, "{} units", units.len());
    assert!(pipeline.take_change());
    assert!(pipeline.detail().ends_with("one copy"), "{}", pipeline.detail());
}
