//! Against real drivers: `tests/lab/units m2m`. The lab's encoder at `/dev/video11` is vicodec with canned
//! output: its queues, formats, controls and events are the kernel's own, and a keyframe is every 30th
//! picture and each that is forced, whatever goes in.

use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use v4l::v4l_sys as cid;

use super::*;
use crate::engine::h264::AccessUnit;
use crate::io::capture::sys::{BufferFormat, Memory, Queue, export_buffer};

const ENCODER: &str = "/dev/video11";
const CAMERA: &str = "/dev/video2";
/// Far longer than the lab needs for a picture.
const PATIENCE: Duration = Duration::from_secs(5);
const KEYFRAMES_EVERY: usize = 30;

fn settings(size: (u32, u32)) -> EncoderSettings {
    EncoderSettings {
        size,
        fps: 25,
        bitrate: Bitrate::from_kbps(1_500),
        keyframe_interval: 50,
        profile: Profile::ConstrainedBaseline,
    }
}

fn open() -> M2mEncoder {
    M2mEncoder::open(ENCODER.as_ref(), &settings((640, 480)), PixelFormat::Nv12).expect("the lab's encoder")
}

fn at(index: u64) -> MediaTime {
    MediaTime(Duration::from_secs(100) + Duration::from_millis(40) * index as u32)
}

/// Submits a picture; whether there was a buffer for it.
fn submit(encoder: &mut M2mEncoder, captured: MediaTime) -> bool {
    let Some(mut slot) = encoder.slot().expect("no loss") else { return false };
    for plane in &mut slot.planes {
        plane.fill(128);
    }
    encoder.submit(captured).expect("no loss");
    true
}

fn encode(encoder: &mut M2mEncoder, captured: MediaTime) -> AccessUnit {
    assert!(submit(encoder, captured), "no buffer is free");
    encoder.next(PATIENCE).expect("no loss").expect("a picture in time")
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("it starts");
    assert!(status.success(), "{program} {arguments:?}");
}

/// The lab's encoder with other options, until it is dropped.
struct Reloaded;

impl Reloaded {
    fn with(option: &str) -> Reloaded {
        run("modprobe", &["-r", "vh264enc"]);
        run("modprobe", &["vh264enc", option]);
        Reloaded
    }
}

impl Drop for Reloaded {
    fn drop(&mut self) {
        run("modprobe", &["-r", "vh264enc"]);
        run("modprobe", &["vh264enc"]);
    }
}

/// What holds for every encoder, whichever API its queues have.
fn check_stream(encoder: &mut M2mEncoder) {
    let mut units = Vec::new();
    for index in 0..70 {
        units.push(encode(encoder, at(index)));
    }
    for (index, unit) in units.iter().enumerate() {
        assert_eq!(unit.captured, at(index as u64), "picture {index}");
        assert_eq!(unit.is_keyframe, index % KEYFRAMES_EVERY == 0, "picture {index}");
    }
}

#[test]
#[ignore = "needs the device lab"]
fn an_encoder_is_found_by_what_it_can_do() {
    assert_eq!(find(), Some(PathBuf::from(ENCODER)));
    let formats = raw_formats(ENCODER.as_ref()).expect("an encoder");
    for format in [PixelFormat::Nv12, PixelFormat::Yuv420, PixelFormat::Yuyv, PixelFormat::Bgrx32] {
        assert!(formats.contains(&format), "{format} in {formats:?}");
    }
    let camera = raw_formats(CAMERA.as_ref()).expect_err("no encoder").to_string();
    assert!(camera.contains("/dev/video2") && camera.contains("no H.264 encoder"), "{camera}");
    let file = raw_formats("/dev/null".as_ref()).expect_err("no encoder").to_string();
    assert!(file.contains("no H.264 encoder"), "{file}");
    let nothing = raw_formats("/dev/video99".as_ref()).expect_err("nothing").to_string();
    assert!(nothing.contains("video.encoder"), "{nothing}");
}

#[test]
#[ignore = "needs the device lab"]
fn pictures_come_out_in_order_with_their_times() {
    let mut encoder = open();
    let expected = Layout { size_bytes: 460_800, ..Layout::packed(PixelFormat::Nv12, 640, 480) };
    assert_eq!(encoder.layout(), expected);
    assert!(!encoder.imports_dmabuf());
    check_stream(&mut encoder);
    let detail = encoder.detail();
    assert!(
        detail.contains("640x480 NV12") && detail.contains("1500 kbit/s, constrained baseline"),
        "{detail}"
    );
}

#[test]
#[ignore = "needs the device lab"]
fn an_encoder_of_the_multi_planar_api_does_the_same() {
    let _reloaded = Reloaded::with("multiplanar=1");
    assert_eq!(find(), Some(PathBuf::from(ENCODER)));
    let mut encoder = open();
    check_stream(&mut encoder);
    for index in 70..73 {
        assert!(submit(&mut encoder, at(index)));
    }
    assert_eq!(encoder.drain(PATIENCE).expect("drained").len(), 3);
    check_import();
}

#[test]
#[ignore = "needs the device lab"]
fn what_is_asked_for_is_read_back_from_the_driver() {
    let mut encoder = open();
    let node = encoder.node.clone();
    let read = |id| node.control(id).expect("the driver has it");
    assert_eq!(read(cid::V4L2_CID_MPEG_VIDEO_BITRATE), 1_500_000);
    assert_eq!(read(cid::V4L2_CID_MPEG_VIDEO_BITRATE_MODE), 1, "constant");
    assert_eq!(read(cid::V4L2_CID_MPEG_VIDEO_H264_I_PERIOD), 50);
    // The driver's highest is 16.
    assert_eq!(read(cid::V4L2_CID_MPEG_VIDEO_GOP_SIZE), 16);
    assert_eq!(read(cid::V4L2_CID_MPEG_VIDEO_H264_PROFILE), 1, "constrained baseline");
    assert_eq!(read(cid::V4L2_CID_MPEG_VIDEO_H264_LEVEL), 8, "3.0");
    assert_eq!(read(cid::V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER), 1);
    assert_eq!(encoder.controls.said(), [] as [&str; 0]);

    encode(&mut encoder, at(0));
    encoder.set_bitrate(Bitrate::from_kbps(700));
    assert_eq!(read(cid::V4L2_CID_MPEG_VIDEO_BITRATE), 700_000, "while it runs");
    encoder.set_bitrate(Bitrate::from_kbps(4));
    assert_eq!(read(cid::V4L2_CID_MPEG_VIDEO_BITRATE), 25_000, "its lowest");
    assert!(encoder.detail().contains(" 25 kbit/s"), "{}", encoder.detail());
    assert_eq!(encoder.controls.said(), [] as [&str; 0]);
}

#[test]
#[ignore = "needs the device lab"]
fn a_level_that_the_driver_lacks_is_said_once_and_stops_nothing() {
    let wanted = EncoderSettings { fps: 120, ..settings((1920, 1080)) };
    let mut encoder =
        M2mEncoder::open(ENCODER.as_ref(), &wanted, PixelFormat::Yuv420).expect("it opens all the same");
    assert_eq!(encoder.controls.said(), ["level"]);
    assert_eq!(encoder.node.control(cid::V4L2_CID_MPEG_VIDEO_H264_LEVEL).expect("read"), 11, "4.0");
    assert!(encode(&mut encoder, at(0)).is_keyframe);
}

#[test]
#[ignore = "needs the device lab"]
fn a_forced_keyframe_is_the_next_picture() {
    let mut encoder = open();
    for index in 0..7 {
        assert_eq!(encode(&mut encoder, at(index)).is_keyframe, index == 0);
    }
    encoder.force_keyframe();
    assert!(encode(&mut encoder, at(7)).is_keyframe);
    assert!(!encode(&mut encoder, at(8)).is_keyframe);
}

#[test]
#[ignore = "needs the device lab"]
fn draining_gives_every_picture_and_the_encoder_goes_on() {
    let mut encoder = open();
    for round in 0..3 {
        let times: Vec<MediaTime> = (0..4).map(|index| at(round * 10 + index)).collect();
        for &time in &times {
            assert!(submit(&mut encoder, time));
        }
        let units = encoder.drain(PATIENCE).expect("drained");
        assert_eq!(units.iter().map(|unit| unit.captured).collect::<Vec<_>>(), times);
        assert_eq!(encoder.drain(PATIENCE).expect("drained"), [], "nothing is inside");
    }
    assert_eq!(encode(&mut encoder, at(50)).captured, at(50));
    assert_eq!(encoder.restarts, 0);
}

#[test]
#[ignore = "needs the device lab"]
fn a_picture_is_dropped_when_all_buffers_are_with_a_driver_that_hangs_and_then_it_is_a_loss() {
    let mut encoder = open();
    // Without the coded queue the driver can finish nothing.
    encoder.coded.stop().expect("stopped");
    let mut taken = 0;
    while submit(&mut encoder, at(taken)) {
        taken += 1;
    }
    assert_eq!(taken as usize, encoder.raw.count());
    assert!(encoder.slot().expect("not lost yet").is_none());
    encoder.unanswered_since = MediaTime(encoder.unanswered_since.0 - Duration::from_secs(2));
    let loss = encoder.slot().err().expect("lost").to_string();
    assert!(loss.contains("wait for a picture on /dev/video11"), "{loss}");
    // Dropping it with all its pictures inside is over soon; the next one finds it as new.
    drop(encoder);
    assert!(encode(&mut open(), at(0)).is_keyframe);
}

#[test]
#[ignore = "needs the device lab"]
fn a_session_that_the_driver_ends_is_begun_anew_with_a_keyframe() {
    let mut encoder = open();
    for index in 0..5 {
        encode(&mut encoder, at(index));
    }
    // The driver now ends the stream by itself: after the last picture it answers EPIPE.
    encoder.node.command_encoder(cid::V4L2_ENC_CMD_STOP).expect("stopped");
    assert_eq!(encoder.next(Duration::from_millis(100)).expect("mended"), None);
    assert_eq!(encoder.restarts, 1);
    let unit = encode(&mut encoder, at(10));
    assert!(unit.is_keyframe && unit.captured == at(10));
    assert_eq!(encoder.restarts, 0, "a picture is out");
}

#[test]
#[ignore = "needs the device lab"]
fn queues_switched_off_in_mid_flight_give_their_buffers_back() {
    let mut encoder = open();
    for index in 0..100 {
        assert!(submit(&mut encoder, at(index)));
        assert!(submit(&mut encoder, at(index)));
        encoder.restarts = 0;
        encoder.recover("test", io::Error::from_raw_os_error(libc::EIO)).expect("mended");
        assert_eq!((encoder.raw.queued(), encoder.coded.queued()), (0, encoder.coded.count()));
    }
    let unit = encode(&mut encoder, at(200));
    assert!(unit.is_keyframe && unit.captured == at(200), "nothing is left of what was dropped");
    let failing = || io::Error::from_raw_os_error(libc::EIO);
    encoder.recover("test", failing()).and_then(|()| encoder.recover("test", failing())).expect("mended");
    encoder.recover("test", failing()).expect_err("again and again");
}

#[test]
#[ignore = "needs the device lab"]
fn a_damaged_picture_is_left_out_and_all_up_to_the_next_keyframe() {
    let mut encoder = open();
    encode(&mut encoder, at(0));
    for index in 1..4 {
        assert!(submit(&mut encoder, at(index)));
    }
    // The lab's driver damages no picture but empty ones, so the flag is set here. The keyframe is asked for
    // when the next two are encoded already.
    encoder.poll(PollFlags::IN, PATIENCE).expect("polled");
    let mut done = encoder.coded.dequeue().expect("no error").expect("a picture");
    done.is_damaged = true;
    while encoder.raw.queued() > 0 {
        encoder.reclaim().expect("no loss");
    }
    assert_eq!(encoder.accept(done).expect("no loss"), None);
    assert_eq!(encoder.next(Duration::ZERO).expect("no loss"), None, "what depends on it");
    let next = encode(&mut encoder, at(4));
    assert!(next.is_keyframe && next.captured == at(4));
    assert!(!encode(&mut encoder, at(5)).is_keyframe);
}

#[test]
#[ignore = "needs the device lab"]
fn an_encoder_that_spoils_every_picture_is_lost() {
    // Without its canned stream the driver marks each picture as damaged.
    let _reloaded = Reloaded::with("stream=missing.h264");
    let mut encoder = open();
    for index in 0..2 {
        assert!(submit(&mut encoder, at(index)));
        assert_eq!(encoder.next(Duration::from_millis(50)).expect("not lost yet"), None);
    }
    encoder.unanswered_since = MediaTime(encoder.unanswered_since.0 - Duration::from_secs(2));
    encoder.next(Duration::ZERO).expect_err("lost");
}

#[test]
#[ignore = "needs the device lab"]
fn opening_again_and_again_with_pictures_inside_leaves_nothing_behind() {
    for round in 0..30 {
        let mut encoder = open();
        assert!(submit(&mut encoder, at(round)));
        if round % 2 == 0 {
            assert!(submit(&mut encoder, at(round)));
        }
    }
    // The same process, the same descriptors: none has leaked.
    let open_files = std::fs::read_dir("/proc/self/fd").expect("readable").count();
    assert!(open_files < 30, "{open_files}");
    check_stream(&mut open());
}

#[test]
#[ignore = "needs the device lab"]
fn an_encoder_that_is_taken_away_is_a_loss_and_found_again() {
    let mut encoder = open();
    encode(&mut encoder, at(0));
    let driver = PathBuf::from("/sys/bus/platform/drivers/vh264enc");
    let device = "vh264enc.0";
    std::fs::write(driver.join("unbind"), device).expect("unbound");
    let loss = encoder.next(PATIENCE).expect_err("gone").to_string();
    assert!(loss.contains("/dev/video11") && loss.contains("video.encoder"), "{loss}");
    encoder.slot().err().expect("gone");
    drop(encoder);
    assert_eq!(find(), None);
    drop(Reloaded);
    assert_eq!(find(), Some(PathBuf::from(ENCODER)));
    assert!(encode(&mut open(), at(1)).is_keyframe);
}

#[test]
#[ignore = "needs the device lab"]
fn a_picture_that_it_cannot_take_is_refused_with_what_to_do() {
    let open = |size, format| {
        let outcome = M2mEncoder::open(ENCODER.as_ref(), &settings(size), format);
        outcome.err().expect("refused").to_string()
    };
    let reason = open((5000, 3000), PixelFormat::Nv12);
    assert!(
        reason.contains("up to 4096x2160, not 5000x3000; lower video.width and video.height"),
        "{reason}"
    );
    let reason = open((640, 480), PixelFormat::Mjpeg);
    assert!(reason.contains("encodes no MJPG pictures"), "{reason}");

    let camera = Layout::packed(PixelFormat::Nv12, 640, 480);
    let mut encoder =
        M2mEncoder::open_importing(ENCODER.as_ref(), &settings((640, 480)), &camera).expect("it imports");
    assert!(encoder.imports_dmabuf());
    let null = std::fs::File::open("/dev/null").expect("there");
    let short = encoder.submit_dmabuf(0, null.as_fd(), 100, at(0)).expect_err("refused").to_string();
    assert!(short.contains("460800 bytes here, and the camera's has 100"), "{short}");
    let alien = encoder.submit_dmabuf(0, null.as_fd(), 460_800, at(0)).expect_err("refused").to_string();
    assert!(alien.contains("cannot read the camera's memory"), "{alien}");
}

#[test]
#[ignore = "needs the device lab"]
fn a_camera_whose_lines_lie_otherwise_is_copied_from() {
    let camera = Layout { stride: 768, ..Layout::packed(PixelFormat::Nv12, 640, 480) };
    let camera = Layout { size_bytes: camera.planes_bytes(), ..camera };
    let mut encoder =
        M2mEncoder::open_importing(ENCODER.as_ref(), &settings((640, 480)), &camera).expect("it opens");
    assert!(!encoder.imports_dmabuf());
    assert!(encode(&mut encoder, at(0)).is_keyframe);
}

#[test]
#[ignore = "needs the device lab"]
fn a_size_that_the_driver_pads_is_laid_out_as_it_wants_and_cropped() {
    let wanted = settings((1920, 1080));
    let mut encoder =
        M2mEncoder::open(ENCODER.as_ref(), &wanted, PixelFormat::Yuv420).expect("the lab's encoder");
    let layout = encoder.layout();
    assert_eq!((layout.width, layout.height, layout.stride), (1920, 1088, 1920));
    let slot = encoder.slot().expect("no loss").expect("a buffer");
    assert_eq!(slot.layout, layout);
    let lengths: Vec<usize> = slot.planes.iter().map(|plane| plane.len()).collect();
    assert_eq!(lengths, [1920 * 1088, 960 * 544, 960 * 544]);
    assert!(encode(&mut encoder, at(0)).is_keyframe);
    assert!(encoder.detail().contains(" 1920x1080 YU12"), "the padding is cropped: {}", encoder.detail());
    // Its smallest picture is 640x360, and it cannot crop to less.
    let small = M2mEncoder::open(ENCODER.as_ref(), &settings((320, 240)), PixelFormat::Nv12).expect("opens");
    assert!(small.detail().contains(" 640x360 NV12"), "{}", small.detail());
    // A camera writes 1080 lines, and its colours begin where the encoder looks for more lines.
    let camera = Layout::packed(PixelFormat::Yuv420, 1920, 1080);
    let encoder = M2mEncoder::open_importing(ENCODER.as_ref(), &wanted, &camera).expect("it opens");
    assert!(!encoder.imports_dmabuf());
}

/// vivid as a camera whose buffers are DMA buffers.
struct Camera {
    node: Node,
    buffers: Buffers,
    exported: Vec<OwnedFd>,
    layout: Layout,
}

impl Camera {
    fn open() -> Camera {
        let node = Node::open(CAMERA.as_ref()).expect("vivid");
        let wanted = BufferFormat { fourcc: *b"NV12", width: 640, height: 480, planes: vec![(0, 0)] };
        let format = node.set_format(Queue::Capture, &wanted).expect("set");
        assert_eq!((format.fourcc, format.width, format.height), (*b"NV12", 640, 480));
        assert_eq!(node.format(Queue::Capture).expect("read"), format);
        let (stride, size) = format.planes[0];
        let layout = Layout {
            stride: stride as usize,
            size_bytes: size as usize,
            ..Layout::packed(PixelFormat::Nv12, 640, 480)
        };
        let mut buffers = node.buffers(Queue::Capture, Memory::Mmap, 4).expect("buffers");
        let export = |index| export_buffer(node.as_fd(), Queue::Capture, index as u32, 0).expect("exported");
        let exported = (0..buffers.count()).map(export).collect();
        for index in 0..buffers.count() {
            buffers.queue(index, &[], Duration::ZERO).expect("queued");
        }
        buffers.start().expect("started");
        Camera { node, buffers, exported, layout }
    }

    /// The next picture's buffer, its bytes, and its time.
    fn picture(&mut self) -> (u32, usize, MediaTime) {
        let wait = Timespec::try_from(PATIENCE).expect("it fits");
        poll(&mut [PollFd::new(&self.node, PollFlags::IN)], Some(&wait)).expect("polled");
        let done = self.buffers.dequeue().expect("no error").expect("a picture in time");
        let bytes = self.buffers.bytes(done.index).expect("it is ours");
        assert!(bytes.iter().any(|&byte| byte != bytes[0]), "a picture, not an empty buffer");
        (done.index as u32, done.contents.1, MediaTime(done.timestamp))
    }
}

fn check_import() {
    let mut camera = Camera::open();
    let mut encoder = M2mEncoder::open_importing(ENCODER.as_ref(), &settings((640, 480)), &camera.layout)
        .expect("it opens");
    assert!(encoder.imports_dmabuf(), "{}", encoder.detail());
    assert!(encoder.slot().expect("no loss").is_none(), "there is nothing to copy into");
    for index in 0..40 {
        let (token, used, captured) = camera.picture();
        let fd = camera.exported[token as usize].as_fd();
        encoder.submit_dmabuf(token, fd, used, captured).expect("taken");
        let unit = encoder.next(PATIENCE).expect("no loss").expect("a picture in time");
        assert_eq!(unit.captured, captured, "picture {index}");
        assert_eq!(encoder.released().expect("no loss"), Some(token), "picture {index}");
        assert_eq!(encoder.released().expect("no loss"), None);
        camera.buffers.queue(token as usize, &[], Duration::ZERO).expect("queued again");
    }
    // What is inside when the session is begun anew comes back as well.
    let (token, used, captured) = camera.picture();
    let fd = camera.exported[token as usize].as_fd();
    encoder.coded.stop().expect("nothing can be finished");
    encoder.submit_dmabuf(token, fd, used, captured).expect("taken");
    assert_eq!(encoder.released().expect("no loss"), None, "the encoder has it");
    encoder.recover("test", io::Error::from_raw_os_error(libc::EIO)).expect("mended");
    assert_eq!(encoder.released().expect("no loss"), Some(token));
}

#[test]
#[ignore = "needs the device lab"]
fn a_picture_goes_from_camera_to_encoder_without_a_copy() {
    check_import();
}
