//! A test picture as a camera: a lighthouse at night, with a clock, encoded live.
//!
//! For people there is the sweeping beam, a clock (UTC) and a frame counter. For machines there are
//! two strips at the very top, each a row of 32 cells, read from left to right as a number, most
//! significant bit first; white (luma 235) is 1 and black (luma 16) is 0, without colour:
//!
//! ```text
//! cell width  = width / 32, rounded down: what is left over at the right edge is black
//! cell height = max(8, height / 45)
//! row 0       = wall-clock milliseconds since the Unix epoch, low 32 bits
//! row 1       = frame counter, 32 bits
//! ```
//!
//! During the first 100 ms of each second of `CLOCK_MONOTONIC`, while the tone source beeps, a square
//! at the bottom right is white: its side is height / 8, height / 24 away from both edges.

#[cfg(feature = "openh264")]
mod canvas;
#[cfg(feature = "openh264")]
mod font;
#[cfg(feature = "openh264")]
mod scene;

#[cfg(feature = "openh264")]
pub(super) use live::Pattern;
#[cfg(not(feature = "openh264"))]
pub(super) use missing::Pattern;

#[cfg(feature = "openh264")]
mod live {
    use std::time::Duration;

    use bytes::Bytes;

    use super::canvas::Canvas;
    use super::scene::Scene;
    use crate::config;
    use crate::engine::h264::AccessUnit;
    use crate::io::capture::encode::colour::Matrix;
    use crate::io::capture::encode::i420::I420;
    use crate::io::capture::encode::stills;
    use crate::io::capture::software::{Settings, SoftwareEncoder};
    use crate::io::capture::substream::{By, Substream};
    use crate::io::capture::{Format, Loss};
    use crate::io::clock::{media_now, thread_time, wall_now};
    use crate::units::{Bitrate, MediaTime};

    /// The test picture and its encoder.
    pub(in super::super) struct Pattern {
        scene: Scene,
        encoder: SoftwareEncoder,
        substream: Substream,
        fps: u32,
        frame: u32,
        due: MediaTime,
        is_still_wanted: bool,
        still: Option<Bytes>,
    }

    impl Pattern {
        pub(in super::super) fn open(video: &config::Video) -> Result<Pattern, Loss> {
            let fps = video.fps.max(1);
            let scene = Scene::new(video.size);
            let encoder = SoftwareEncoder::new(Settings {
                fps,
                bitrate: video.bitrate,
                keyframe_interval: video.keyframe_interval,
                profile: video.profile,
                matrix: Matrix::Bt709,
            })?;
            let (width, height) = scene.size();
            let size = (width as usize, height as usize);
            let substream = Substream::new(By::Software, (size, fps), Matrix::Bt709, video);
            let due = media_now();
            Ok(Pattern { scene, encoder, substream, fps, frame: 0, due, is_still_wanted: false, still: None })
        }

        pub(in super::super) fn format(&self) -> Format {
            let (width, height) = self.scene.size();
            let detail = format!("test picture, OpenH264 at {} kbit/s", self.encoder.bitrate().kbps());
            Format {
                width,
                height,
                fps: self.fps,
                forces_keyframes: true,
                takes_stills: true,
                encodes_twice: true,
                detail,
            }
        }

        pub(in super::super) fn due(&self) -> MediaTime {
            self.due
        }

        pub(in super::super) fn picture(&mut self, now: MediaTime) -> Result<Option<AccessUnit>, Loss> {
            let (begun, worked) = (media_now(), thread_time());
            let interval = Duration::from_secs(1) / self.fps;
            // A board too slow for the rate drops frames instead of falling behind the clock.
            self.due = MediaTime((self.due.0 + interval).max(now.0.saturating_sub(interval)));
            self.scene.draw(now, wall_now(), self.frame);
            self.frame = self.frame.wrapping_add(1);
            let Some(picture) = i420(self.scene.canvas()) else { return Ok(None) };
            if std::mem::take(&mut self.is_still_wanted) {
                match stills::still(&picture, Matrix::Bt709) {
                    Ok(still) => self.still = Some(still),
                    Err(cause) => log::warn!(cause = cause.as_str(); "the test picture gave no still"),
                }
            }
            let unit = self.encoder.encode(&picture, now)?;
            if self.substream.takes() {
                self.substream.encode(&picture, now);
            }
            if self.substream.is_on() {
                let ended = media_now();
                self.substream.passed(ended.0.saturating_sub(begun.0));
                self.substream.spent(thread_time().saturating_sub(worked), ended);
            }
            Ok(unit)
        }

        pub(in super::super) fn substream(&mut self) -> &mut Substream {
            &mut self.substream
        }

        pub(in super::super) fn want_still(&mut self) {
            self.is_still_wanted = true;
        }

        pub(in super::super) fn take_still(&mut self) -> Option<Bytes> {
            self.still.take()
        }

        pub(in super::super) fn force_keyframe(&mut self) {
            self.encoder.force_keyframe();
        }

        pub(in super::super) fn set_bitrate(&mut self, bitrate: Bitrate) {
            self.encoder.set_bitrate(bitrate);
        }
    }

    /// `None` never: the canvas has even sides and whole planes.
    fn i420(canvas: &Canvas) -> Option<I420<'_>> {
        I420::of_planes(&canvas.y, &canvas.u, &canvas.v, (canvas.width, canvas.height))
    }
}

#[cfg(not(feature = "openh264"))]
mod missing {
    use crate::config;
    use crate::engine::h264::AccessUnit;
    use crate::io::capture::substream::Substream;
    use crate::io::capture::{Format, Loss};
    use crate::units::{Bitrate, MediaTime};

    /// What stands in for the test picture where it was not built: it cannot exist.
    pub(in super::super) enum Pattern {}

    impl Pattern {
        pub(in super::super) fn open(_: &config::Video) -> Result<Pattern, Loss> {
            let what = "this farol was built without the software encoder; \
                        choose another video.source, or build it with `--features openh264`";
            Err(Loss::Encoder(what.to_owned()))
        }
        pub(in super::super) fn format(&self) -> Format {
            match *self {}
        }
        pub(in super::super) fn due(&self) -> MediaTime {
            match *self {}
        }
        pub(in super::super) fn picture(&mut self, _: MediaTime) -> Result<Option<AccessUnit>, Loss> {
            match *self {}
        }
        pub(in super::super) fn substream(&mut self) -> &mut Substream {
            match *self {}
        }
        pub(in super::super) fn want_still(&mut self) {
            match *self {}
        }
        pub(in super::super) fn take_still(&mut self) -> Option<bytes::Bytes> {
            match *self {}
        }
        pub(in super::super) fn force_keyframe(&mut self) {
            match *self {}
        }
        pub(in super::super) fn set_bitrate(&mut self, _: Bitrate) {
            match *self {}
        }
    }
}

#[cfg(all(test, feature = "openh264"))]
mod tests;
