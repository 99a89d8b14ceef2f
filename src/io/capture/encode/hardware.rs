//! How does a picture become an access unit in an encoder of the board's own?
//!
//! The best way that both ends know: the encoder reads the picture where the camera wrote it (`dma-buf`);
//! or it is written into the encoder's own buffer, which is the only copy (`one copy`).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::convert::{Picture, copy};
use super::{Fate, Input};
use crate::config;
use crate::engine::h264::AccessUnit;
use crate::engine::picture::{Layout, PixelFormat};
use crate::io::capture::Loss;
use crate::io::capture::m2m::{EncoderSettings, M2mEncoder, Slot};
use crate::units::{Bitrate, MediaTime};

/// A memory-to-memory encoder and how it gets its pictures.
pub(super) struct Hardware {
    encoder: M2mEncoder,
    path: PathBuf,
    settings: EncoderSettings,
    into: PixelFormat,
    /// Pictures go in as they lie in the camera's buffers.
    is_as_it_is: bool,
    /// Pictures that found every buffer of the encoder taken.
    left_out: u64,
}

impl Hardware {
    /// `into` is what the encoder gets; the camera's format where it takes that as it is.
    pub(super) fn open(
        path: &Path,
        input: &Input,
        into: PixelFormat,
        (size, fps): ((usize, usize), u32),
        video: &config::Video,
    ) -> Result<Hardware, Loss> {
        let settings = EncoderSettings {
            size: (size.0 as u32, size.1 as u32),
            fps,
            bitrate: video.bitrate,
            keyframe_interval: video.keyframe_interval,
            profile: video.profile,
        };
        let is_as_it_is = into == input.layout.format && !input.must_be_squeezed(into);
        let encoder = match input.exports && is_as_it_is {
            true => M2mEncoder::open_importing(path, &settings, &input.layout)?,
            false => M2mEncoder::open(path, &settings, into)?,
        };
        Ok(Hardware { encoder, path: path.to_owned(), settings, into, is_as_it_is, left_out: 0 })
    }

    /// Whether pictures are read from the camera's memory.
    pub(super) fn imports(&self) -> bool {
        self.encoder.imports_dmabuf()
    }

    /// Readable when a picture is finished.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.encoder.as_fd()
    }

    /// A picture that is finished.
    pub(super) fn finished(&mut self) -> Result<Option<AccessUnit>, Loss> {
        self.encoder.next(std::time::Duration::ZERO)
    }

    /// The number of a camera's buffer that the encoder has read.
    pub(super) fn released(&mut self) -> Result<Option<usize>, Loss> {
        Ok(self.encoder.released()?.map(|token| token as usize))
    }

    /// Lets the encoder read the camera's buffer. Whether it can is known only now: a USB camera's memory is
    /// in pieces, which bcm2835-codec takes from nobody. Then it gets copies from here on, and `false` is
    /// the answer.
    pub(super) fn import(
        &mut self,
        (index, picture): (usize, BorrowedFd<'_>),
        bytes_used: usize,
        captured: MediaTime,
    ) -> Result<bool, Loss> {
        match self.encoder.submit_dmabuf(index as u32, picture, bytes_used, captured) {
            Ok(()) => Ok(true),
            Err(loss @ Loss::Unfit { .. }) => {
                log::debug!(reason:% = loss; "the encoder gets copies");
                // Each open file is an encoder of its own, so the old one may close after this.
                self.encoder = M2mEncoder::open(&self.path, &self.settings, self.into)?;
                Ok(false)
            }
            Err(loss) => Err(loss),
        }
    }

    /// Copies or converts the picture into the encoder's buffer.
    pub(super) fn encode(
        &mut self,
        (data, input): (&[u8], &Layout),
        picture: &Picture,
        size: (usize, usize),
        captured: MediaTime,
    ) -> Result<Fate, Loss> {
        let Some(Slot { layout, planes }) = self.encoder.slot()? else {
            self.left_out += 1;
            log::debug!(left_out = self.left_out; "the hardware encoder is busy; a picture is left out");
            return Ok(Fate::Nothing);
        };
        let written = match self.is_as_it_is {
            true => copy(data, input, planes, &layout),
            false => picture.write(size, planes, &layout),
        };
        if written.is_err() {
            return Ok(Fate::Damaged);
        }
        self.encoder.submit(captured)?;
        Ok(Fate::Nothing)
    }

    pub(super) fn force_keyframe(&mut self) {
        self.encoder.force_keyframe();
    }

    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) {
        self.settings.bitrate = bitrate;
        self.encoder.set_bitrate(bitrate);
    }

    pub(super) fn detail(&self) -> String {
        let way = if self.imports() { "dma-buf" } else { "one copy" };
        format!("{}, {way}", self.encoder.detail())
    }
}
