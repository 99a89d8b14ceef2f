//! Against the kernel's own test camera (vivid) and encoder, in the device lab.

use super::*;
use crate::config::VideoSource;
use crate::engine::picture::{Layout, PixelFormat};
use crate::io::capture::encode::convert::{Picture, planes_of};
use std::process::Command;

#[cfg(feature = "openh264")]
mod loopback;

const VIVID: &str = "/dev/video2";
const ENCODER: &str = "/dev/video11";
const SIZE: (u32, u32) = (640, 360);
/// The eight bars of vivid's test picture at 75%: luma, Cb and Cr by BT.601.
const BARS: [(u8, u8, u8); 8] = [
    (180, 128, 128),
    (162, 44, 142),
    (131, 156, 44),
    (112, 72, 58),
    (84, 184, 198),
    (65, 100, 212),
    (35, 212, 114),
    (16, 128, 128),
];
/// The same bars' luma by BT.709.
const LUMA_709: [u8; 8] = [180, 168, 145, 133, 63, 51, 28, 16];

fn set(control: &str) {
    let outcome =
        Command::new("v4l2-ctl").args(["-d", VIVID, "-c", control]).output().expect("v4l2-ctl runs");
    assert!(outcome.status.success(), "{control}: {}", String::from_utf8_lossy(&outcome.stderr));
}

/// The bars alone, and nothing that a test before this has set.
fn plain_bars() {
    for control in [
        "brightness=128",
        "contrast=128",
        "saturation=128",
        "hue=0",
        "horizontal_flip=0",
        "vertical_flip=0",
        "test_pattern=0",
        "osd_text_mode=2",
        "percentage_of_dropped_buffers=0",
        "colorspace=0",
    ] {
        set(control);
    }
}

fn video(encoder: EncoderChoice) -> config::Video {
    let source = VideoSource::V4l2 { device: VIVID.into(), input: CameraInput::Raw, encoder };
    // Slow enough for an unoptimised build on a busy machine: none of these tests is to shed.
    config::Video {
        source,
        size: SIZE,
        fps: 5,
        stalled_after: Duration::from_secs(10),
        ..config::Video::default()
    }
}

fn open(encoder: EncoderChoice) -> Camera {
    let video = video(encoder.clone());
    Camera::open(VIVID.as_ref(), CameraInput::Raw, &encoder, &video).expect("vivid opens")
}

/// The next access unit, within 5 s.
fn next(camera: &mut Camera) -> AccessUnit {
    let until = media_now().0 + Duration::from_secs(5);
    while media_now().0 < until {
        if let Some(unit) = camera.picture(Duration::from_millis(100)).expect("no loss") {
            return unit;
        }
    }
    panic!("no picture within 5 s");
}

/// The mean of a square of 8 pixels in the middle of a bar, of one plane.
fn mean(plane: &[u8], stride: usize, (x, y): (usize, usize)) -> u8 {
    let lines = (y - 4..y + 4).map(|line| &plane[line * stride + x - 4..line * stride + x + 4]);
    (lines.flatten().map(|sample| u32::from(*sample)).sum::<u32>() / 64) as u8
}

/// What is seen of the bars in I420.
fn bars(y: &[u8], u: &[u8], v: &[u8], strides: (usize, usize)) -> [(u8, u8, u8); 8] {
    let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
    std::array::from_fn(|bar| {
        let x = width * (2 * bar + 1) / 16;
        let colour = |plane| mean(plane, strides.1, (x / 2, height / 4));
        (mean(y, strides.0, (x, height / 2)), colour(u), colour(v))
    })
}

fn assert_near(seen: [(u8, u8, u8); 8], wanted: [(u8, u8, u8); 8], tolerance: u8, what: &str) {
    let off = |(one, other): (&(u8, u8, u8), &(u8, u8, u8))| {
        one.0.abs_diff(other.0).max(one.1.abs_diff(other.1)).max(one.2.abs_diff(other.2))
    };
    assert!(seen.iter().zip(&wanted).map(off).all(|off| off <= tolerance), "{what}: {seen:?}");
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn every_format_of_a_camera_shows_the_same_picture() {
    plain_bars();
    let path = Path::new(VIVID);
    let device = Device::with_path(path).expect("vivid opens");
    let offers = open::offers(&device, path).expect("it lists formats");
    let mut seen = Vec::new();
    for format in offers.iter().filter_map(|offer| PixelFormat::from_fourcc(offer.fourcc)) {
        let set = open::set_format(&device, path, format.fourcc(), SIZE).expect("it takes the format");
        let layout = open::layout(&set, format, path).expect("its layout is sound");
        let colour = open::colour(&set, format);
        let mut stream = Stream::start(&device, path).expect("it streams");
        let filled = loop {
            assert!(!stream.wait(Duration::from_secs(2), None).expect("it delivers"));
            if let Some(filled) = stream.next(None).expect("it delivers") {
                break filled;
            }
        };
        let picture = Picture::new(stream.data(&filled), &layout, colour).expect("it is whole");
        let target = Layout::packed(PixelFormat::Yuv420, layout.width, layout.height);
        let mut out = vec![0; target.size_bytes];
        let size = (layout.width, layout.height);
        picture.write(size, planes_of(&mut out, &target), &target).expect("it fits");
        let planes = target.planes();
        let plane = |index: usize| &out[planes[index].offset..];
        let bars = bars(plane(0), plane(1), plane(2), (planes[0].stride, planes[1].stride));
        // Grey does not say with which weights it was made; vivid takes either, by what was set before.
        let grey = if bars[1].0 > 164 { LUMA_709 } else { BARS.map(|(luma, ..)| luma) };
        let wanted = if format == PixelFormat::Grey { grey.map(|luma| (luma, 128, 128)) } else { BARS };
        assert_near(bars, wanted, 4, &format!("{format}, {colour:?}"));
        seen.push(format.to_string());
    }
    eprintln!("seen: {}", seen.join(" "));
    assert!(seen.len() >= 20, "{seen:?}");
}

#[cfg(feature = "openh264")]
#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn a_raw_camera_is_encoded_in_software_with_its_own_colours() {
    use openh264::formats::YUVSource as _;
    plain_bars();
    let mut camera = open(EncoderChoice::Software);
    let mut decoder = openh264::decoder::Decoder::new().expect("a decoder");
    let mut last = MediaTime::default();
    for picture in 0..20 {
        let unit = next(&mut camera);
        assert_eq!(unit.is_keyframe, picture == 0, "picture {picture}");
        assert!(unit.captured > last, "picture {picture}");
        last = unit.captured;
        let decoded = decoder.decode(&unit.data).expect("it decodes").expect("a picture");
        assert_eq!(decoded.dimensions(), (640, 360));
        if picture == 19 {
            let (stride, colour_stride, _) = decoded.strides();
            let bars = bars(decoded.y(), decoded.u(), decoded.v(), (stride, colour_stride));
            assert_near(bars, BARS, 6, "decoded");
        }
    }
    camera.force_keyframe();
    assert!(next(&mut camera).is_keyframe || next(&mut camera).is_keyframe);
    let format = camera.format();
    eprintln!("{}", format.detail);
    assert_eq!((format.width, format.height, format.fps), (640, 360, 5));
    assert!(format.forces_keyframes && format.takes_stills);
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn a_raw_camera_is_encoded_in_hardware_in_the_order_of_its_pictures() {
    plain_bars();
    let mut camera = open(EncoderChoice::Device(ENCODER.into()));
    eprintln!("{}", camera.format().detail);
    let units: Vec<AccessUnit> = (0..30).map(|_| next(&mut camera)).collect();
    assert!(units[0].is_keyframe);
    assert!(units.windows(2).all(|two| two[0].captured < two[1].captured));
    let age = media_now().0 - units[29].captured.0;
    assert!(age < Duration::from_secs(2), "{age:?} old");
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn a_still_is_made_of_the_next_picture() {
    plain_bars();
    for encoder in [EncoderChoice::Software, EncoderChoice::Device(ENCODER.into())] {
        let mut camera = open(encoder);
        next(&mut camera);
        assert_eq!(camera.take_still(), None);
        camera.want_still();
        next(&mut camera);
        next(&mut camera);
        let still = camera.take_still().expect("a still");
        let image = turbojpeg::decompress(&still, turbojpeg::PixelFormat::RGB).expect("a JPEG");
        assert_eq!((image.width, image.height), (640, 360));
        // The second bar is yellow at 75%.
        let pixel = &image.pixels[180 * image.pitch + 120 * 3..][..3];
        assert!(pixel[0].abs_diff(191) < 8 && pixel[1].abs_diff(191) < 8 && pixel[2] < 12, "{pixel:?}");
        assert_eq!(camera.take_still(), None);
    }
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn damaged_and_missing_pictures_are_left_out_and_the_stream_goes_on() {
    plain_bars();
    for encoder in [EncoderChoice::Software, EncoderChoice::Device(ENCODER.into())] {
        let mut camera = open(encoder);
        next(&mut camera);
        for _ in 0..3 {
            set("inject_v4l2_buf_flag_error=1");
            next(&mut camera);
            next(&mut camera);
        }
        set("percentage_of_dropped_buffers=60");
        (0..10).for_each(|_| drop(next(&mut camera)));
        set("percentage_of_dropped_buffers=0");
    }
}

/// Runs until the camera is lost, then opens it again and sees a picture; what was lost.
fn lost_and_back(camera: Camera, encoder: &EncoderChoice) -> String {
    let mut camera = camera;
    let until = media_now().0 + Duration::from_secs(5);
    let loss = loop {
        match camera.picture(Duration::from_millis(100)) {
            Ok(_) => assert!(media_now().0 < until, "it was not lost"),
            Err(loss) => break loss.to_string(),
        }
    };
    drop(camera);
    let video = video(encoder.clone());
    for _ in 0..3 {
        if let Ok(mut camera) = Camera::open(VIVID.as_ref(), CameraInput::Raw, encoder, &video) {
            next(&mut camera);
            return loss;
        }
    }
    panic!("it did not come back after: {loss}");
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn a_camera_that_fails_in_any_way_comes_back() {
    plain_bars();
    for encoder in [EncoderChoice::Software, EncoderChoice::Device(ENCODER.into())] {
        for injected in ["inject_vidioc_qbuf_error=1", "inject_fatal_streaming_error=1", "disconnect=1"] {
            let mut camera = open(encoder.clone());
            next(&mut camera);
            set(injected);
            let loss = lost_and_back(camera, &encoder);
            assert!(!injected.starts_with("disconnect") || loss.contains("plug the camera in"), "{loss}");
            eprintln!("{injected}: {loss}");
        }
        for injected in ["inject_vidioc_streamon_error=1", "inject_vidioc_reqbufs_error=1"] {
            set(injected);
            let video = video(encoder.clone());
            let refused = Camera::open(VIVID.as_ref(), CameraInput::Raw, &encoder, &video).err();
            eprintln!("{injected}: {}", refused.expect("it is refused"));
            next(&mut open(encoder.clone()));
        }
    }
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn a_camera_that_gives_nothing_is_lost_after_the_configured_time() {
    plain_bars();
    set("percentage_of_dropped_buffers=100");
    let encoder = EncoderChoice::Software;
    let video = config::Video { stalled_after: Duration::from_millis(700), ..video(encoder.clone()) };
    let mut camera = Camera::open(VIVID.as_ref(), CameraInput::Raw, &encoder, &video).expect("vivid opens");
    let begun = media_now().0;
    let loss = loop {
        if let Err(loss) = camera.picture(Duration::from_millis(100)) {
            break loss.to_string();
        }
    };
    let took = media_now().0 - begun;
    set("percentage_of_dropped_buffers=0");
    assert!(loss.contains("wait for a picture"), "{loss}");
    assert!(took >= Duration::from_millis(500), "{took:?}");
}
