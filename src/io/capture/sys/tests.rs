use super::*;
use std::io::Read as _;
use std::process::Stdio;

#[cfg(feature = "openh264")]
#[test]
fn a_running_software_encoder_follows_its_bitrate_up_and_down_without_a_keyframe() {
    use openh264::encoder::{BitRate, Encoder, EncoderConfig, FrameRate, RateControlMode};
    use openh264::formats::YUVBuffer;
    let config = EncoderConfig::new()
        .rate_control_mode(RateControlMode::Bitrate)
        .bitrate(BitRate::from_bps(200_000))
        .max_frame_rate(FrameRate::from_hz(25.0))
        .scene_change_detect(false)
        .skip_frames(false);
    let mut encoder =
        Encoder::with_api_config(openh264::OpenH264API::from_source(), config).expect("an encoder");
    assert_eq!(set_openh264_bitrate(&mut encoder, 300_000, 25.0), Err(4), "before the first picture");
    let mut seed = 1_u32;
    let mut keyframes = 0;
    let mut two_seconds = |encoder: &mut Encoder| {
        let mut bytes = 0;
        for _ in 0..50 {
            let noise = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 26) as u8 + 96
            });
            let picture = YUVBuffer::from_vec(noise.take(160 * 128 * 3 / 2).collect(), 160, 128);
            let coded = encoder.encode(&picture).expect("a picture");
            keyframes += u32::from(coded.frame_type() == openh264::encoder::FrameType::IDR);
            bytes += coded.to_vec().len();
        }
        bytes
    };
    // The first two seconds of each rate hold what the encoder needs to settle.
    let mut settled = |encoder: &mut Encoder| {
        two_seconds(encoder);
        two_seconds(encoder)
    };
    let slow = settled(&mut encoder);
    set_openh264_bitrate(&mut encoder, 900_000, 25.0).expect("taken");
    let fast = settled(&mut encoder);
    set_openh264_bitrate(&mut encoder, 200_000, 25.0).expect("taken");
    let slow_again = settled(&mut encoder);
    assert!(fast > 2 * slow && fast > 2 * slow_again, "{slow}, {fast}, {slow_again} bytes");
    assert_eq!(keyframes, 1, "the first picture alone");
    assert_eq!(set_openh264_bitrate(&mut encoder, u32::MAX, 25.0), Err(1));
}

#[test]
fn a_program_leads_its_own_group_and_dies_with_the_thread_that_started_it() {
    let starter = std::thread::Builder::new().name("starter".into()).spawn(|| {
        let mut command = Command::new("sleep");
        command.arg("60").stdout(Stdio::piped());
        die_with_parent(&mut command);
        let child = command.spawn().expect("sleep starts");
        let id = i32::try_from(child.id()).expect("a process id");
        let group = rustix::process::getpgid(rustix::process::Pid::from_raw(id)).expect("it runs");
        assert_eq!(group.as_raw_nonzero().get(), id);
        child
    });
    let mut child = starter.expect("a thread").join().expect("it ran");
    let mut output = child.stdout.take().expect("piped");
    // Its end closes the pipe; a program that went on would hold us for a minute.
    assert_eq!(output.read_to_end(&mut Vec::new()).expect("read"), 0);
    let status = child.wait().expect("its end");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
}

#[test]
fn requests_have_the_numbers_of_the_kernels_header() {
    use v4l::v4l2::vidioc;
    for (ours, theirs) in [
        (QUERYCAP.number, vidioc::VIDIOC_QUERYCAP),
        (ENUM_FMT.number, vidioc::VIDIOC_ENUM_FMT),
        (G_FMT.number, vidioc::VIDIOC_G_FMT),
        (S_FMT.number, vidioc::VIDIOC_S_FMT),
        (REQBUFS.number, vidioc::VIDIOC_REQBUFS),
        (QUERYBUF.number, vidioc::VIDIOC_QUERYBUF),
        (QBUF.number, vidioc::VIDIOC_QBUF),
        (EXPBUF.number, vidioc::VIDIOC_EXPBUF),
        (DQBUF.number, vidioc::VIDIOC_DQBUF),
        (STREAMON.number, vidioc::VIDIOC_STREAMON),
        (STREAMOFF.number, vidioc::VIDIOC_STREAMOFF),
        (S_PARM.number, vidioc::VIDIOC_S_PARM),
        (QUERYMENU.number, vidioc::VIDIOC_QUERYMENU),
        (G_EXT_CTRLS.number, vidioc::VIDIOC_G_EXT_CTRLS),
        (S_EXT_CTRLS.number, vidioc::VIDIOC_S_EXT_CTRLS),
        (ENUM_FRAMESIZES.number, vidioc::VIDIOC_ENUM_FRAMESIZES),
        (ENCODER_CMD.number, vidioc::VIDIOC_ENCODER_CMD),
        // The crate lacks these; the numbers are what a C compiler makes of the header. The first has
        // a time in it, and so another size on 32 bits.
        #[cfg(target_pointer_width = "64")]
        (DQEVENT.number, 0x8088_5659),
        (SUBSCRIBE_EVENT.number, 0x4020_565a),
        (S_SELECTION.number, 0xc040_565f),
        (QUERY_EXT_CTRL.number, vidioc::VIDIOC_QUERY_EXT_CTRL),
    ] {
        assert_eq!(ours, theirs as libc::Ioctl, "{ours:#x}, {theirs:#x}");
    }
}

#[test]
#[ignore = "needs the device lab"]
fn memory_that_is_the_drivers_is_not_lent() {
    let node = Node::open("/dev/video2".as_ref()).expect("vivid");
    let mut buffers = node.buffers(Queue::Capture, Memory::Mmap, 2).expect("buffers");
    let second = node.buffers(Queue::Capture, Memory::Mmap, 2).expect_err("a queue has its buffers once");
    assert_eq!(second.raw_os_error(), Some(libc::EBUSY));
    assert_eq!((buffers.free(), buffers.bytes(0).is_some(), buffers.planes_mut(0).len()), (Some(0), true, 1));
    buffers.queue(0, &[], Duration::ZERO).expect("queued");
    assert_eq!(
        (buffers.free(), buffers.bytes(0).is_some(), buffers.planes_mut(0).len()),
        (Some(1), false, 0)
    );
    assert!(buffers.queue(0, &[], Duration::ZERO).is_err(), "it is the driver's");
    assert!(buffers.queue(7, &[], Duration::ZERO).is_err(), "there is none");
    assert_eq!(buffers.dequeue().ok().flatten(), None);
    buffers.stop().expect("stopped");
    assert!(buffers.bytes(0).is_some(), "it came back");
    drop(buffers);
    assert!(node.buffers(Queue::Capture, Memory::Mmap, 2).is_ok());
}
