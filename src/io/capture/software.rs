//! I420 pictures to H.264, in software: OpenH264 set up for one live viewer after another.
//!
//! One slice and one thread. OpenH264 divides its work by slices, and each slice costs bits, since nothing
//! is predicted across its edge; the other cores of a board are busy with Motion JPEG, with viewers and
//! with sound. A board that is too slow for that gets smaller pictures instead (`engine::shed`).

use bytes::Bytes;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, RateControlMode, UsageType,
    VuiConfig,
};
use openh264::formats::YUVSlices;
use openh264::{OpenH264API, Timestamp};

use super::encode::colour::Matrix;
use super::encode::i420::I420;
use super::{Loss, sys};
use crate::config::Profile;
use crate::engine::h264::{AccessUnit, ParameterSets};
use crate::units::{Bitrate, MediaTime};

/// What an encoder is set up with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) fps: u32,
    pub(super) bitrate: Bitrate,
    pub(super) keyframe_interval: u32,
    /// OpenH264 writes it into the stream, but uses none of the tools that Main and High have more.
    pub(super) profile: Profile,
    /// Of the pictures that it will get, in the limited range.
    pub(super) matrix: Matrix,
}

/// A live encoder, without B-frames.
pub(super) struct SoftwareEncoder {
    encoder: Encoder,
    bitrate: Bitrate,
    fps: u32,
    /// The encoder has been told otherwise, or has begun anew with what it was made with.
    is_rate_stale: bool,
    /// Of the last picture; `None` before the first.
    size: Option<(usize, usize)>,
    parameter_sets: ParameterSets,
    is_keyframe_forced: bool,
}

impl SoftwareEncoder {
    pub(super) fn new(settings: Settings) -> Result<Self, Loss> {
        Ok(SoftwareEncoder {
            encoder: open(settings)?,
            bitrate: settings.bitrate,
            fps: settings.fps,
            is_rate_stale: false,
            size: None,
            parameter_sets: ParameterSets::new(),
            is_keyframe_forced: false,
        })
    }

    pub(super) fn bitrate(&self) -> Bitrate {
        self.bitrate
    }

    /// Takes effect with the next picture.
    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) {
        self.is_rate_stale |= bitrate != self.bitrate;
        self.bitrate = bitrate;
    }

    /// How many pictures will come each second, on which the size of each depends.
    pub(super) fn set_fps(&mut self, fps: u32) {
        self.is_rate_stale |= fps != self.fps;
        self.fps = fps;
    }

    pub(super) fn force_keyframe(&mut self) {
        self.is_keyframe_forced = true;
    }

    /// Encodes one picture; one of another size than the last becomes a keyframe. `None` when the encoder
    /// left it out.
    pub(super) fn encode(&mut self, picture: &I420, captured: MediaTime) -> Result<Option<AccessUnit>, Loss> {
        let has_begun = self.size.is_some();
        if has_begun && self.is_rate_stale {
            self.apply_rate();
        }
        // The encoder's first picture is a keyframe anyway, and it may not be told so before it.
        if std::mem::take(&mut self.is_keyframe_forced) && has_begun {
            self.encoder.force_intra_frame();
        }
        let strides = (picture.strides().0, picture.strides().1, picture.strides().1);
        let planes = YUVSlices::new(picture.planes(), picture.size(), strides);
        let at = Timestamp::from_millis(captured.0.as_millis() as u64);
        let coded =
            self.encoder.encode_at(&planes, at).map_err(|cause| failed("encode a picture", &cause))?;
        if self.size != Some(picture.size()) {
            // The crate begins each size with the configuration that it was made with.
            (self.size, self.is_rate_stale) = (Some(picture.size()), true);
        }
        Ok(self.parameter_sets.access_unit(Bytes::from(coded.to_vec()), captured))
    }

    fn apply_rate(&mut self) {
        self.is_rate_stale = false;
        match sys::set_openh264_bitrate(&mut self.encoder, self.bitrate.bps(), self.fps as f32) {
            Ok(()) => {
                log::debug!(kbps = self.bitrate.kbps(), fps = self.fps; "software encoder set to a new rate")
            }
            Err(code) => {
                log::warn!(kbps = self.bitrate.kbps(), code; "the software encoder does not take a bitrate; it stays as it was");
            }
        }
    }
}

fn open(settings: Settings) -> Result<Encoder, Loss> {
    let profile = match settings.profile {
        Profile::ConstrainedBaseline => openh264::encoder::Profile::Baseline,
        Profile::Main => openh264::encoder::Profile::Main,
        Profile::High => openh264::encoder::Profile::High,
    };
    let vui = match settings.matrix {
        Matrix::Bt601 => VuiConfig::bt601(),
        Matrix::Bt709 => VuiConfig::bt709(),
    };
    let config = EncoderConfig::new()
        .usage_type(UsageType::CameraVideoRealTime)
        .profile(profile)
        .rate_control_mode(RateControlMode::Bitrate)
        .bitrate(BitRate::from_bps(settings.bitrate.bps()))
        .max_frame_rate(FrameRate::from_hz(settings.fps as f32))
        .intra_frame_period(IntraFramePeriod::from_num_frames(settings.keyframe_interval))
        // Without it OpenH264 does not keep to the bitrate, and says so on standard error. It skips only
        // when the rate is far too low for the picture.
        .skip_frames(true)
        // A keyframe that nobody asked for is a burst; the beam's sweep is no change of scene.
        .scene_change_detect(false)
        // Both take the sky for background that needs no bits, and leave stains where the beam was.
        .background_detection(false)
        .adaptive_quantization(false)
        .complexity(Complexity::Low)
        .vui(vui)
        .num_threads(1);
    let encoder = Encoder::with_api_config(OpenH264API::from_source(), config);
    encoder.map_err(|cause| failed("open the encoder", &cause))
}

fn failed(operation: &str, cause: &openh264::Error) -> Loss {
    Loss::Encoder(format!(
        "OpenH264 could not {operation}: {cause}; lower video.width and video.height, or video.fps"
    ))
}
