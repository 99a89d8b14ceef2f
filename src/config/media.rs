//! The sections of the configuration that say what is seen and heard: `[video]`, `[audio]`, `[talkback]`.

use std::time::Duration;

use toml::de::DeValue;

use super::walk::{Section, Walk};
use super::{
    Audio, CameraInput, ControlValue, EncoderChoice, Profile, RatePolicy, Talkback, Talkers, Video,
    VideoSource, When,
};
use crate::units::Bitrate;

/// Opus at this rate carries speech and room sound without an audible flaw.
pub(super) const AUDIO_KBPS: u32 = 48;

pub(super) fn video<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> Video {
    let default = Video::default();
    let profiles = [
        ("constrained_baseline", Profile::ConstrainedBaseline),
        ("main", Profile::Main),
        ("high", Profile::High),
    ];
    let source = video_source(walk, section).unwrap_or(default.source);
    let size = (side(walk, section, "width", default.size.0), side(walk, section, "height", default.size.1));
    let bitrate = walk.number(section, "bitrate_kbps", 50..=50_000, " kbit/s").map(Bitrate::from_kbps);
    let bitrate = bitrate.unwrap_or(default.bitrate);
    let policies =
        [("slowest", RatePolicy::Slowest), ("majority", RatePolicy::Majority), ("fixed", RatePolicy::Fixed)];
    Video {
        source,
        size,
        fps: walk.number(section, "fps", 1..=120, " frames per second").unwrap_or(default.fps),
        bitrate,
        rate_policy: walk.word(section, "rate_policy", &policies).unwrap_or(default.rate_policy),
        min_bitrate: walk
            .number(section, "min_bitrate_kbps", 50..=50_000, " kbit/s")
            .map_or(default.min_bitrate, Bitrate::from_kbps)
            .min(bitrate),
        keyframe_interval: walk
            .number(section, "keyframe_interval_frames", 1..=3600, " frames")
            .unwrap_or(default.keyframe_interval),
        profile: walk.word(section, "profile", &profiles).unwrap_or(default.profile),
        stalled_after: walk
            .number(section, "stalled_after_ms", 500..=60_000, " milliseconds")
            .map_or(default.stalled_after, |ms| Duration::from_millis(ms.into())),
        playout_delay: walk
            .number(section, "playout_delay_ms", 0..=1000, " milliseconds")
            .map_or(default.playout_delay, |ms| Duration::from_millis(ms.into())),
        controls: controls(walk, section),
        when: walk
            .word(section, "capture", &[("watched", When::Watched), ("always", When::Always)])
            .unwrap_or(default.when),
    }
}

/// The source that is named; `None` when it is the default one, or lacks what it needs.
fn video_source<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> Option<VideoSource> {
    #[derive(Clone, Copy)]
    enum Kind {
        V4l2,
        Command,
        Replay,
        Pattern,
    }
    let words = [
        ("v4l2", Kind::V4l2),
        ("command", Kind::Command),
        ("replay", Kind::Replay),
        ("pattern", Kind::Pattern),
    ];
    let kind = walk.word(section, "source", &words).unwrap_or(Kind::V4l2);
    let device = walk
        .text(section, "device", "the path of a V4L2 device, such as \"/dev/video0\"")
        .unwrap_or("/dev/video0");
    let inputs = [
        ("auto", CameraInput::Auto),
        ("h264", CameraInput::H264),
        ("mjpeg", CameraInput::Mjpeg),
        ("raw", CameraInput::Raw),
    ];
    let input = walk.word(section, "input", &inputs).unwrap_or(CameraInput::Auto);
    let encoder = encoder(walk, section);
    let argv = walk.texts(section, "command", "a text: the program, then its arguments", |text| {
        (!text.contains('\0')).then(|| text.to_string())
    });
    let file = walk.text(section, "file", "the path of an Annex B H.264 file");
    match kind {
        Kind::V4l2 => Some(VideoSource::V4l2 { device: device.into(), input, encoder }),
        Kind::Command => {
            if argv.first().is_none_or(String::is_empty) {
                walk.conflict(
                    section,
                    "command",
                    "is missing: video.source = \"command\" starts it, such as [\"rpicam-vid\", \"-o\", \"-\"]",
                );
            }
            Some(VideoSource::Command { argv })
        }
        Kind::Replay => {
            if !section.has("file") {
                walk.conflict(section, "file", "is missing: video.source = \"replay\" plays it");
            }
            file.map(|file| VideoSource::Replay { file: file.into() })
        }
        Kind::Pattern => Some(VideoSource::Pattern),
    }
}

fn encoder<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> EncoderChoice {
    let allowed = "\"auto\", \"software\" or the path of a V4L2 encoder, such as \"/dev/video11\"";
    let choice = walk.parsed(section, "encoder", allowed, |text| match text {
        "auto" => Some(EncoderChoice::Auto),
        "software" => Some(EncoderChoice::Software),
        path if path.starts_with('/') => Some(EncoderChoice::Device(path.into())),
        _ => None,
    });
    choice.unwrap_or(EncoderChoice::Auto)
}

/// Whatever the driver has; only it knows the names and ranges, so they are checked when it is opened.
fn controls<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> Vec<(String, ControlValue)> {
    let section = walk.section(section, "controls");
    let allowed = "a whole number, true, false, or the name of a menu's entry";
    walk.each(&section, allowed, |value| match value {
        DeValue::String(entry) => Some(ControlValue::Entry(entry.to_string())),
        DeValue::Boolean(on) => Some(ControlValue::Boolean(*on)),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(ControlValue::Integer)
        }
        _ => None,
    })
}

/// A picture's width or height. 4096 is where H.264's level 5.2 and every encoder of such a board end.
fn side<'t>(walk: &mut Walk<'t>, section: &Section<'t>, key: &str, default: u32) -> u32 {
    let pixels = walk.number(section, key, 64..=4096, " pixels").unwrap_or(default);
    if !pixels.is_multiple_of(2) {
        walk.conflict(
            section,
            key,
            format_args!("is {pixels}, it must be even: the colours have half the size"),
        );
    }
    pixels
}

pub(super) fn audio<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> Audio {
    #[derive(Clone, Copy)]
    enum Kind {
        None,
        Tone,
        Alsa,
    }
    let kind =
        walk.word(section, "source", &[("none", Kind::None), ("tone", Kind::Tone), ("alsa", Kind::Alsa)]);
    let device = walk.text(section, "device", "the name of an ALSA device, such as \"default\" or \"hw:1\"");
    let rate_hz = walk.number(section, "rate_hz", 8_000..=192_000, " samples per second").unwrap_or(48_000);
    let channels = walk.number(section, "channels", 1..=8, " channels").unwrap_or(1);
    // What Opus can be set to (RFC 6716 §2.1.1).
    let kbps = walk.number(section, "bitrate_kbps", 6..=510, " kbit/s").unwrap_or(AUDIO_KBPS);
    let bitrate = Bitrate::from_kbps(kbps);
    match kind.unwrap_or(Kind::None) {
        Kind::None => Audio::None,
        Kind::Tone => Audio::Tone { bitrate },
        Kind::Alsa => Audio::Alsa {
            device: device.unwrap_or("default").to_string(),
            rate_hz,
            channels: channels as u16,
            bitrate,
        },
    }
}

impl std::fmt::Display for VideoSource {
    /// As a person would name it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            VideoSource::V4l2 { device, .. } => write!(f, "{}", device.display()),
            VideoSource::Command { argv } => {
                write!(f, "output of {}", argv.first().map_or("", String::as_str))
            }
            VideoSource::Replay { file } => write!(f, "replay of {}", file.display()),
            VideoSource::Pattern => f.write_str("test pattern"),
        }
    }
}

/// The speaker; `None` when no device is named.
pub(super) fn talkback<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> Option<Talkback> {
    let device = walk.text(section, "device", "the name of an ALSA device, such as \"default\" or \"hw:0\"");
    let rate_hz = walk.number(section, "rate_hz", 8_000..=192_000, " samples per second").unwrap_or(48_000);
    let channels = walk.number(section, "channels", 1..=8, " channels").unwrap_or(1);
    let talkers = walk
        .word(section, "talkers", &[("one", Talkers::One), ("mixed", Talkers::Mixed)])
        .unwrap_or(Talkers::One);
    let duck_db = walk.number(section, "duck_db", 0..=60, " decibels").unwrap_or(24);
    let device = device?.to_string();
    Some(Talkback { device, rate_hz, channels: channels as u16, talkers, duck_db })
}
