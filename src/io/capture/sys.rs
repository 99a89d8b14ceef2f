//! What of capture cannot be said in safe Rust? The only unsafe code of farol.
#![expect(unsafe_code, reason = "calls that the crates in use do not wrap; each block says why it is sound")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Makes a program die with the thread that starts it, gives it a process group of its own, and keeps all
/// descriptors but the three standard ones from it.
///
/// The kernel sends it SIGKILL when that *thread* ends (prctl(2), `PR_SET_PDEATHSIG`), also when farol is
/// killed; so it is to be started from the thread that reads from it. What the program starts itself is
/// reached by a signal to its group.
pub(super) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    command.process_group(0);
    let before_exec = move || {
        // SAFETY: both calls take and give plain numbers, and are safe after fork(2) (signal-safety(7):
        // prctl and getppid are bare system calls that take no lock).
        let (armed, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if armed != 0 {
            return Err(io::Error::last_os_error());
        }
        // A library may have opened something without O_CLOEXEC. Before Linux 5.11 this fails, and nothing
        // more can be done here.
        let (first, last) = (3 as libc::c_uint, libc::c_uint::MAX);
        // SAFETY: a bare system call that takes plain numbers; it closes nothing before exec.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
        // Whoever died between fork and prctl sends no signal any more; the child then has another parent.
        if u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: the closure runs in the child between fork and exec. It allocates nothing, takes no lock and
    // cannot panic; what it captured is a number.
    unsafe { command.pre_exec(before_exec) };
}

/// Sets the bitrate and the frame rate of an OpenH264 encoder that runs: no new encoder, no keyframe.
///
/// The error is OpenH264's number (`CM_RETURN`); 4, `cmInitExpected`, comes before the first picture, when
/// the encoder still begins with its configuration. So does one that a picture of another size restarts:
/// set it anew then.
#[cfg(feature = "openh264")]
pub(super) fn set_openh264_bitrate(
    encoder: &mut openh264::encoder::Encoder,
    bps: u32,
    fps: f32,
) -> Result<(), i32> {
    use openh264_sys2::{
        ENCODER_OPTION_BITRATE as TARGET, ENCODER_OPTION_FRAME_RATE, ENCODER_OPTION_MAX_BITRATE as LIMIT,
        SBitrateInfo, SPATIAL_LAYER_0, cmInitParaError,
    };

    let bitrate = std::ffi::c_int::try_from(bps).map_err(|_| cmInitParaError)?;
    let taken = |outcome| if outcome == 0 { Ok(()) } else { Err(outcome) };
    // SAFETY: what is set here the crate neither relies on nor reads back: it keeps its own configuration.
    let api = unsafe { encoder.raw_api() };
    let (mut rate, mut present) = (fps, SBitrateInfo { iLayer: SPATIAL_LAYER_0, iBitrate: 0 });
    // SAFETY: codec_app_def.h has a `float` behind this option's pointer; it is read and not kept.
    taken(unsafe { api.set_option(ENCODER_OPTION_FRAME_RATE, (&raw mut rate).cast()) })?;
    // SAFETY: codec_app_def.h has an `SBitrateInfo` behind this option's pointer; it is filled and not kept.
    taken(unsafe { api.get_option(TARGET, (&raw mut present).cast()) })?;
    // The limit may at no time be below the target. Both are of the one layer: with SPATIAL_LAYER_ALL the
    // limit is written down and has no effect.
    let order = if bitrate > present.iBitrate { [LIMIT, TARGET] } else { [TARGET, LIMIT] };
    for option in order {
        let mut wanted = SBitrateInfo { iLayer: SPATIAL_LAYER_0, iBitrate: bitrate };
        // SAFETY: codec_app_def.h has an `SBitrateInfo` behind both; it is read and not kept.
        taken(unsafe { api.set_option(option, (&raw mut wanted).cast()) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
}
