//! I420 pictures to H.264, in software: OpenH264 set up for one live viewer after another.

use std::time::Duration;

use bytes::Bytes;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, Profile, RateControlMode,
    UsageType, VuiConfig,
};
use openh264::formats::YUVSlices;
use openh264::{OpenH264API, Timestamp};

use super::canvas::Canvas;
use crate::engine::h264::{AccessUnit, ParameterSets};
use crate::io::capture::Loss;
use crate::units::{Bitrate, MediaTime};

/// The shortest time between two changes of bitrate: each costs a keyframe.
const BITRATE_SETTLES: Duration = Duration::from_secs(1);

/// A live encoder: constrained baseline, one slice and one thread, no B-frames.
pub(super) struct SoftwareEncoder {
    encoder: Encoder,
    fps: u32,
    keyframe_interval: u32,
    bitrate: Bitrate,
    wanted_bitrate: Bitrate,
    bitrate_set: MediaTime,
    parameter_sets: ParameterSets,
    has_begun: bool,
    is_keyframe_forced: bool,
}

impl SoftwareEncoder {
    pub(super) fn new(fps: u32, bitrate: Bitrate, keyframe_interval: u32) -> Result<Self, Loss> {
        Ok(SoftwareEncoder {
            encoder: open(fps, bitrate, keyframe_interval)?,
            fps,
            keyframe_interval,
            bitrate,
            wanted_bitrate: bitrate,
            bitrate_set: MediaTime::default(),
            parameter_sets: ParameterSets::new(),
            has_begun: false,
            is_keyframe_forced: false,
        })
    }

    pub(super) fn bitrate(&self) -> Bitrate {
        self.bitrate
    }

    /// Takes effect with the next picture, at most once a second.
    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) {
        self.wanted_bitrate = bitrate;
    }

    pub(super) fn force_keyframe(&mut self) {
        self.is_keyframe_forced = true;
    }

    /// Encodes one picture. `None` when the encoder left it out.
    pub(super) fn encode(
        &mut self,
        canvas: &Canvas,
        captured: MediaTime,
    ) -> Result<Option<AccessUnit>, Loss> {
        self.apply_bitrate(captured)?;
        // The encoder's first picture is a keyframe anyway, and it may not be told so before it.
        if std::mem::take(&mut self.is_keyframe_forced) && self.has_begun {
            self.encoder.force_intra_frame();
        }
        let (width, height) = (canvas.width, canvas.height);
        let planes =
            YUVSlices::new((&canvas.y, &canvas.u, &canvas.v), (width, height), (width, width / 2, width / 2));
        let at = Timestamp::from_millis(captured.0.as_millis() as u64);
        let coded =
            self.encoder.encode_at(&planes, at).map_err(|cause| failed("encode a picture", &cause))?;
        self.has_begun = true;
        Ok(self.parameter_sets.access_unit(Bytes::from(coded.to_vec()), captured))
    }

    /// The crate sets a bitrate only when an encoder is made, so a new one is made; it begins with a
    /// keyframe. Hence the pause between two changes.
    fn apply_bitrate(&mut self, now: MediaTime) -> Result<(), Loss> {
        let has_settled = now.0.saturating_sub(self.bitrate_set.0) >= BITRATE_SETTLES;
        if self.wanted_bitrate == self.bitrate || !has_settled {
            return Ok(());
        }
        self.encoder = open(self.fps, self.wanted_bitrate, self.keyframe_interval)?;
        (self.bitrate, self.bitrate_set, self.has_begun) = (self.wanted_bitrate, now, false);
        log::debug!(kbps = self.bitrate.kbps(); "software encoder set to a new bitrate");
        Ok(())
    }
}

fn open(fps: u32, bitrate: Bitrate, keyframe_interval: u32) -> Result<Encoder, Loss> {
    let config = EncoderConfig::new()
        .usage_type(UsageType::CameraVideoRealTime)
        .profile(Profile::Baseline)
        .rate_control_mode(RateControlMode::Bitrate)
        .bitrate(BitRate::from_bps(bitrate.bps()))
        .max_frame_rate(FrameRate::from_hz(fps as f32))
        .intra_frame_period(IntraFramePeriod::from_num_frames(keyframe_interval))
        // Without it OpenH264 does not keep to the bitrate, and says so on standard error. It skips only
        // when the rate is far too low for the picture.
        .skip_frames(true)
        // A keyframe that nobody asked for is a burst; the beam's sweep is no change of scene.
        .scene_change_detect(false)
        // Both take the sky for background that needs no bits, and leave stains where the beam was.
        .background_detection(false)
        .adaptive_quantization(false)
        .complexity(Complexity::Low)
        .vui(VuiConfig::bt709())
        .num_threads(1);
    let encoder = Encoder::with_api_config(OpenH264API::from_source(), config);
    encoder.map_err(|cause| failed("open the encoder", &cause))
}

fn failed(operation: &str, cause: &openh264::Error) -> Loss {
    Loss::Encoder(format!("OpenH264 could not {operation}: {cause}; lower video.size or video.fps"))
}
