//! How does a picture become an access unit on the board's own processor?
//!
//! It is converted into a buffer of ours, made smaller when the board sheds, and encoded by OpenH264.

#[cfg(feature = "openh264")]
pub(super) use live::Own;
#[cfg(not(feature = "openh264"))]
pub(super) use missing::Own;

#[cfg(feature = "openh264")]
mod live {
    use super::super::colour::Matrix;
    use super::super::convert::{Picture, planes_of};
    use super::super::i420::I420;
    use super::super::scale::scale;
    use crate::config;
    use crate::engine::h264::AccessUnit;
    use crate::engine::picture::{Layout, PixelFormat};
    use crate::engine::shed::{Scale, Step};
    use crate::io::capture::Loss;
    use crate::io::capture::software::{Settings, SoftwareEncoder};
    use crate::units::{Bitrate, MediaTime};

    /// The software encoder with the buffers before it.
    pub(in super::super) struct Own {
        encoder: SoftwareEncoder,
        whole: Buffer,
        /// Where the picture is made smaller, while the board sheds so much.
        smaller: Option<Buffer>,
    }

    struct Buffer {
        layout: Layout,
        data: Vec<u8>,
    }

    impl Buffer {
        fn new(size: (usize, usize)) -> Buffer {
            let layout = Layout::packed(PixelFormat::Yuv420, size.0, size.1);
            Buffer { layout, data: vec![0; layout.size_bytes] }
        }
        fn size(&self) -> (usize, usize) {
            (self.layout.width, self.layout.height)
        }
    }

    impl Own {
        pub(in super::super) fn open(
            size: (usize, usize),
            matrix: Matrix,
            fps: u32,
            video: &config::Video,
        ) -> Result<Own, Loss> {
            let encoder = SoftwareEncoder::new(Settings {
                fps,
                bitrate: video.bitrate,
                keyframe_interval: video.keyframe_interval,
                profile: video.profile,
                matrix,
            })?;
            Ok(Own { encoder, whole: Buffer::new(size), smaller: None })
        }

        pub(in super::super) fn encode(
            &mut self,
            picture: &Picture,
            captured: MediaTime,
        ) -> Result<Option<AccessUnit>, Loss> {
            let too_short = || Loss::Encoder("a picture is shorter than its size says".to_owned());
            let whole = &mut self.whole;
            let (layout, size) = (whole.layout, whole.size());
            if picture.write(size, planes_of(&mut whole.data, &layout), &layout).is_err() {
                // The driver's buffer is shorter than the format that it set; the next one may be whole.
                return Ok(None);
            }
            let buffer = match &mut self.smaller {
                None => whole,
                Some(smaller) => {
                    let (to_layout, to_size) = (smaller.layout, smaller.size());
                    scale((&whole.data, &layout, size), (&mut smaller.data, &to_layout, to_size))
                        .ok_or_else(too_short)?;
                    smaller
                }
            };
            let picture =
                I420::of_buffer(&buffer.data, &buffer.layout, buffer.size()).ok_or_else(too_short)?;
            self.encoder.encode(&picture, captured)
        }

        /// The picture that was encoded last, in its whole size.
        pub(in super::super) fn whole(&self) -> Option<I420<'_>> {
            I420::of_buffer(&self.whole.data, &self.whole.layout, self.whole.size())
        }

        /// What is encoded from now on, of pictures of `size`.
        pub(in super::super) fn enter(&mut self, step: Step, size: (usize, usize)) {
            self.encoder.set_fps(step.fps);
            let (width, height) = step.scale.of((size.0 as u32, size.1 as u32));
            self.smaller =
                (step.scale != Scale::Whole).then(|| Buffer::new((width as usize, height as usize)));
        }

        pub(in super::super) fn force_keyframe(&mut self) {
            self.encoder.force_keyframe();
        }

        pub(in super::super) fn set_bitrate(&mut self, bitrate: Bitrate) {
            self.encoder.set_bitrate(bitrate);
        }

        pub(in super::super) fn detail(&self) -> String {
            format!("OpenH264 at {} kbit/s", self.encoder.bitrate().kbps())
        }
    }
}

#[cfg(not(feature = "openh264"))]
mod missing {
    use super::super::colour::Matrix;
    use super::super::convert::Picture;
    use super::super::i420::I420;
    use crate::config;
    use crate::engine::h264::AccessUnit;
    use crate::engine::shed::Step;
    use crate::io::capture::Loss;
    use crate::units::{Bitrate, MediaTime};

    /// What stands in for the software encoder where it was not built: it cannot exist.
    pub(in super::super) enum Own {}

    impl Own {
        pub(in super::super) fn open(
            _: (usize, usize),
            _: Matrix,
            _: u32,
            _: &config::Video,
        ) -> Result<Own, Loss> {
            Err(Loss::Encoder(
                "this farol was built without it; build it with `--features openh264`".to_owned(),
            ))
        }
        pub(in super::super) fn encode(
            &mut self,
            _: &Picture,
            _: MediaTime,
        ) -> Result<Option<AccessUnit>, Loss> {
            match *self {}
        }
        pub(in super::super) fn whole(&self) -> Option<I420<'_>> {
            match *self {}
        }
        pub(in super::super) fn enter(&mut self, _: Step, _: (usize, usize)) {
            match *self {}
        }
        pub(in super::super) fn force_keyframe(&mut self) {
            match *self {}
        }
        pub(in super::super) fn set_bitrate(&mut self, _: Bitrate) {
            match *self {}
        }
        pub(in super::super) fn detail(&self) -> String {
            match *self {}
        }
    }
}
