//! A camera of any format: v4l2loopback, fed by this test.

use std::io::Write as _;
use std::sync::mpsc;
use std::thread;

use openh264::formats::YUVSource as _;
use v4l::buffer::Type;
use v4l::io::mmap;
use v4l::io::traits::Stream as _;
use v4l::video::Output;
use v4l::{Format, FourCC};

use super::*;
use crate::io::capture::encode::colour::Matrix;
use crate::io::capture::encode::i420::I420;
use crate::io::capture::encode::stills;

const LOOPBACK: &str = "/dev/video0";
const SMALL: (usize, usize) = (320, 240);
/// Luma, Cb and Cr of what is shown.
const ORANGE: (u8, u8, u8) = (150, 60, 180);

/// Writes pictures in turn, ten a second, until it is dropped.
struct Feeder {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Feeder {
    fn start(fourcc: &'static [u8; 4], pictures: Vec<Vec<u8>>) -> Feeder {
        let (stop, stopped) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let feed = move || {
            let mut device = Device::with_path(LOOPBACK).expect("the loopback opens");
            let (width, height) = (SMALL.0 as u32, SMALL.1 as u32);
            let size = width * height * 2;
            let format = Format { size, ..Format::new(width, height, FourCC::new(fourcc)) };
            Output::set_format(&device, &format).expect("it takes the format");
            let mut writer = mmap::Stream::with_buffers(&device, Type::VideoOutput, 2).expect("buffers");
            writer.start().expect("it starts");
            for (number, picture) in pictures.iter().cycle().enumerate() {
                device.write_all(picture).expect("it takes a picture");
                if number == 0 {
                    ready.send(()).expect("the test waits");
                }
                if stopped.recv_timeout(Duration::from_millis(100)) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("feeder".into()).spawn(feed).expect("a thread");
        is_ready.recv().expect("the first picture is written");
        Feeder { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn jpeg() -> Vec<u8> {
    let layout = Layout::packed(PixelFormat::Yuv420, SMALL.0, SMALL.1);
    let mut data = vec![ORANGE.0; layout.size_bytes];
    data[SMALL.0 * SMALL.1..][..SMALL.0 * SMALL.1 / 4].fill(ORANGE.1);
    data[SMALL.0 * SMALL.1 * 5 / 4..].fill(ORANGE.2);
    let picture = I420::of_buffer(&data, &layout, SMALL).expect("a picture");
    stills::still(&picture, Matrix::Bt601).expect("a file").to_vec()
}

fn watch(encoder: EncoderChoice) -> Camera {
    let size = (SMALL.0 as u32, SMALL.1 as u32);
    let video = config::Video { size, fps: 10, ..config::Video::default() };
    Camera::open(LOOPBACK.as_ref(), CameraInput::Auto, &encoder, &video).expect("the loopback opens")
}

fn assert_orange(camera: &mut Camera) {
    let mut decoder = openh264::decoder::Decoder::new().expect("a decoder");
    for picture in 0..8 {
        let unit = next(camera);
        assert_eq!(unit.is_keyframe, picture == 0, "picture {picture}");
        let decoded = decoder.decode(&unit.data).expect("it decodes").expect("a picture");
        assert_eq!(decoded.dimensions(), SMALL);
        let (strides, colour) = (decoded.strides(), 60 * decoded.strides().1 + 80);
        let seen = (decoded.y()[120 * strides.0 + 160], decoded.u()[colour], decoded.v()[colour]);
        let off = [seen.0.abs_diff(ORANGE.0), seen.1.abs_diff(ORANGE.1), seen.2.abs_diff(ORANGE.2)];
        assert!(off.into_iter().all(|off| off <= 4), "{seen:?}, not {ORANGE:?}");
    }
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn motion_jpeg_with_broken_pictures_in_between_is_a_whole_stream() {
    let whole = jpeg();
    let broken = whole[..whole.len() / 2].to_vec();
    let _feeder = Feeder::start(b"MJPG", vec![whole.clone(), whole.clone(), broken, whole.clone()]);
    let mut camera = watch(EncoderChoice::Software);
    assert_orange(&mut camera);
    camera.want_still();
    next(&mut camera);
    next(&mut camera);
    assert_eq!(camera.take_still().as_deref(), Some(&whole[..]));
    eprintln!("{}", camera.format().detail);
    drop(camera);
    let mut camera = watch(EncoderChoice::Device(ENCODER.into()));
    assert!(next(&mut camera).is_keyframe);
    (0..5).for_each(|_| drop(next(&mut camera)));
    eprintln!("{}", camera.format().detail);
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn uncompressed_pictures_of_a_loopback_are_encoded() {
    let (y, cb, cr) = ORANGE;
    let picture = [y, cb, y, cr].repeat(SMALL.0 * SMALL.1 / 2);
    let _feeder = Feeder::start(b"YUYV", vec![picture]);
    assert_orange(&mut watch(EncoderChoice::Software));
    // It cannot export its memory, so the picture is copied.
    let mut camera = watch(EncoderChoice::Device(ENCODER.into()));
    assert!(next(&mut camera).is_keyframe);
    (0..5).for_each(|_| drop(next(&mut camera)));
    let detail = camera.format().detail;
    eprintln!("{detail}");
    assert!(detail.contains("one copy"), "{detail}");
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn h264_is_passed_on_as_it_is() {
    // The share's copy of what the lab's camera plays.
    let recording = std::fs::read("/lab/labcam.h264").expect("the lab's recording");
    let mut splitter = crate::engine::h264::AccessUnitSplitter::new();
    let mut units = Vec::new();
    for chunk in recording.chunks(4096) {
        splitter.push(chunk);
        units.extend(std::iter::from_fn(|| splitter.next_unit()));
    }
    units.truncate(20);
    let sent: Vec<Vec<u8>> = units.iter().map(|unit| unit.to_vec()).collect();
    let _feeder = Feeder::start(b"H264", sent.clone());
    let mut camera = watch(EncoderChoice::Auto);
    assert!(!camera.format().takes_stills);
    let first = next(&mut camera);
    assert!(first.is_keyframe);
    // v4l2loopback 0.12 calls the picture that was there before the reader as long as its buffer.
    let begun = sent.iter().position(|unit| first.data.starts_with(unit)).expect("it is one of those");
    for number in 1..15 {
        let (unit, wanted) = (next(&mut camera), &sent[(begun + number) % sent.len()]);
        assert!(unit.data.ends_with(wanted) || unit.is_keyframe, "picture {number}");
    }
    eprintln!("{}", camera.format().detail);
}
