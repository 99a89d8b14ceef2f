//! A V4L2 memory-to-memory encoder: raw pictures in, H.264 out, in hardware.
//!
//! It follows the kernel's "Memory-to-Memory Stateful Video Encoder Interface"; section names below are
//! that page's. The names of the queues are the application's view, so raw pictures go to OUTPUT and H.264
//! comes from CAPTURE.
//!
//! ```text
//!            slot, submit          OUTPUT queue ──┐
//!   pictures ──────────────────────────────────> encoder
//!            submit_dmabuf                        │
//!   AccessUnit <─── ParameterSets <─ CAPTURE queue┘
//!            next
//!
//!   open ──> streaming ── EIO, EPIPE ──> both queues off and on, a keyframe ──> streaming
//!                      ── again and again, or silent for 2 s, or gone ──> Loss
//! ```
//!
//! It converts nothing, and does not wait for cameras: when every buffer is with the driver, the picture
//! is to be dropped. There are no B-frames, so what goes in comes out in order.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use self::controls::Controls;
use self::session::Session;
use super::Loss;
use super::sys::{Buffers, Node};
use crate::config::Profile;
use crate::engine::h264::ParameterSets;
use crate::engine::picture::{Layout, PixelFormat};
use crate::units::{Bitrate, MediaTime};

pub(super) use find::{find, raw_formats};

mod controls;
mod find;
mod flow;
mod session;
mod setup;

const H264: [u8; 4] = *b"H264";

/// What an encoder is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EncoderSettings {
    /// Pixels that are seen.
    pub size: (u32, u32),
    /// Pictures a second.
    pub fps: u32,
    /// Bits a second.
    pub bitrate: Bitrate,
    /// Pictures from one keyframe to the next.
    pub keyframe_interval: u32,
    /// How the stream is coded.
    pub profile: Profile,
}

/// An open encoder, streaming. Dropping it waits up to 100 ms for what is inside.
pub(super) struct M2mEncoder {
    path: PathBuf,
    name: String,
    node: Node,
    controls: Controls,
    settings: EncoderSettings,
    layout: Layout,
    /// Bytes of each part of a raw buffer.
    parts: Vec<u32>,
    /// Pixels that are encoded.
    seen: (u32, u32),
    raw: Buffers,
    coded: Buffers,
    /// The raw buffer that was lent out and not yet submitted.
    filling: Option<usize>,
    imports: Option<Imports>,
    parameter_sets: ParameterSets,
    /// A picture before this one is missing or damaged.
    awaits_keyframe: bool,
    /// Pictures submitted since the last one came out. Some encoders keep one back until the next.
    unanswered: u32,
    /// When there were first two of them.
    unanswered_since: MediaTime,
    restarts: u32,
}

/// Pictures that stay in the memory of another driver.
struct Imports {
    /// Bytes of each DMA buffer.
    size_bytes: usize,
    /// Whose buffer is in which of ours.
    tokens: Vec<Option<u32>>,
    /// Those that the driver has done with.
    released: VecDeque<u32>,
}

/// A raw buffer to be filled.
pub(super) struct Slot<'a> {
    /// How its planes lie.
    pub layout: Layout,
    /// Each plane of [`Layout::planes`], from its first byte to its last.
    pub planes: Vec<&'a mut [u8]>,
}

impl M2mEncoder {
    /// Opens an encoder for pictures that are written into its [`M2mEncoder::slot`]s.
    pub(super) fn open(
        path: &Path,
        settings: &EncoderSettings,
        format: PixelFormat,
    ) -> Result<M2mEncoder, Loss> {
        Session::agree(path, settings, (format, None))?.start(None)
    }

    /// Opens an encoder for pictures that lie in DMA buffers as `camera` says. Where the driver cannot take
    /// them so, it is opened as by [`M2mEncoder::open`]: ask [`M2mEncoder::imports_dmabuf`].
    pub(super) fn open_importing(
        path: &Path,
        settings: &EncoderSettings,
        camera: &Layout,
    ) -> Result<M2mEncoder, Loss> {
        let session = Session::agree(path, settings, (camera.format, Some(camera.stride)))?;
        let (wanted, parts) = (&session.terms.layout, &session.terms.parts);
        let is_seen = settings.size.0 as usize <= camera.width && settings.size.1 as usize <= camera.height;
        let is_same = wanted.planes() == camera.planes() && wanted.size_bytes <= camera.size_bytes;
        if is_seen && is_same && parts.len() == 1 {
            match session.start(Some(camera.size_bytes)) {
                Ok(encoder) => return Ok(encoder),
                Err(loss) => log::debug!(reason:% = loss; "the encoder takes no DMA buffers"),
            }
        } else {
            log::debug!(
                camera:? = camera, encoder:? = wanted;
                "the encoder wants pictures to lie in another way than the camera writes them"
            );
            drop(session);
        }
        M2mEncoder::open(path, settings, camera.format)
    }

    /// How a picture has to lie: stride and lines with the driver's padding. Who writes one sees it at its slot.
    #[cfg(test)]
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether it takes [`M2mEncoder::submit_dmabuf`] instead of slots.
    pub(super) fn imports_dmabuf(&self) -> bool {
        self.imports.is_some()
    }

    /// Which driver, and what it is set to.
    pub(super) fn detail(&self) -> String {
        let (width, height) = self.seen;
        let how = if self.imports_dmabuf() { " from DMA buffers" } else { "" };
        format!(
            "{} at {}, {width}x{height} {}{how}, {}",
            self.name,
            self.path.display(),
            self.layout.format,
            self.controls.taken()
        )
    }

    /// A buffer to write the next picture into; the same one until it is submitted. `None` when all are
    /// with the driver, or when it imports: the picture is then to be dropped.
    pub(super) fn slot(&mut self) -> Result<Option<Slot<'_>>, Loss> {
        self.reclaim()?;
        self.check_alive()?;
        if self.imports.is_some() {
            return Ok(None);
        }
        let Some(index) = self.filling.or_else(|| self.raw.free()) else { return Ok(None) };
        self.filling = Some(index);
        let layout = self.layout;
        let mut planes = self.raw.planes_mut(index);
        if planes.len() == 1
            && let Some(whole) = planes.pop()
        {
            planes = split(whole, &layout);
        }
        Ok(Some(Slot { layout, planes }))
    }

    /// Hands the slot's picture to the encoder. Does nothing when no slot was lent.
    pub(super) fn submit(&mut self, captured: MediaTime) -> Result<(), Loss> {
        let Some(index) = self.filling.take() else { return Ok(()) };
        match self.raw.queue(index, &self.parts, captured.0) {
            Ok(()) => self.count_submitted(),
            Err(cause) => self.recover("hand over a picture", cause)?,
        }
        Ok(())
    }

    /// Hands a picture to the encoder that lies in a DMA buffer. `token` is the camera's number for it; it
    /// comes back from [`M2mEncoder::released`] when the encoder has read the picture. When all its places
    /// are taken the picture is dropped, and its token is released at once.
    pub(super) fn submit_dmabuf(
        &mut self,
        token: u32,
        picture: BorrowedFd<'_>,
        bytes_used: usize,
        captured: MediaTime,
    ) -> Result<(), Loss> {
        self.reclaim()?;
        self.check_alive()?;
        let needed = self.layout.planes_bytes();
        let unfit = |what| Loss::Unfit { device: self.path.clone(), what };
        let Some(imports) = &mut self.imports else {
            return Err(unfit("it was not opened for DMA buffers; copy the pictures".to_owned()));
        };
        if bytes_used < needed || bytes_used > imports.size_bytes {
            return Err(unfit(format!(
                "a picture has {needed} bytes here, and the camera's has {bytes_used}"
            )));
        }
        // The kernel keeps a DMA buffer mapped while it comes back to the same place.
        let place = Some(token as usize).filter(|&place| self.raw.is_free(place));
        let Some(index) = place.or_else(|| self.raw.free()) else {
            imports.released.push_back(token);
            return Ok(());
        };
        let bytes = (bytes_used as u32, imports.size_bytes as u32);
        match self.raw.queue_import(index, picture, bytes, captured.0) {
            Ok(()) => {
                imports.tokens[index] = Some(token);
                self.count_submitted();
                Ok(())
            }
            Err(cause) if matches!(cause.raw_os_error(), Some(libc::EINVAL | libc::EFAULT)) => {
                Err(unfit(format!("it cannot read the camera's memory ({cause}); copy the pictures")))
            }
            Err(cause) => {
                imports.released.push_back(token);
                self.recover("hand over a picture", cause)
            }
        }
    }

    /// The token of a DMA buffer that the encoder does not need any more; ask until there is none.
    pub(super) fn released(&mut self) -> Result<Option<u32>, Loss> {
        self.reclaim()?;
        Ok(self.imports.as_mut().and_then(|imports| imports.released.pop_front()))
    }

    /// The next picture to be encoded is made a keyframe.
    pub(super) fn force_keyframe(&mut self) {
        self.controls.force_keyframe();
    }

    /// Encodes at this bitrate from the next picture on.
    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) {
        self.settings.bitrate = bitrate;
        self.controls.set_bitrate(bitrate);
    }
}

impl AsFd for M2mEncoder {
    /// Readable when a picture is finished, for those who wait for several devices at once.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.node.as_fd()
    }
}

/// The planes of a buffer that holds all of them, without what the driver has behind them.
fn split<'a>(mut whole: &'a mut [u8], layout: &Layout) -> Vec<&'a mut [u8]> {
    let mut planes = Vec::new();
    for plane in layout.planes() {
        // `setup` has checked that the buffer holds them all.
        let Some((lines, rest)) = whole.split_at_mut_checked(plane.size_bytes()) else { break };
        planes.push(lines);
        whole = rest;
    }
    planes
}

fn lost(operation: &'static str, device: &Path, cause: io::Error) -> Loss {
    let remedy = match cause.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "name one of `farol devices` in video.encoder, or \"software\""
        }
        Some(libc::EACCES | libc::EPERM) => "give the user the group `video`",
        Some(libc::EBUSY) => "another program has it: stop that one (`fuser -v` on it names it)",
        Some(libc::ENOMEM) => {
            "lower video.width and video.height, or give the kernel more contiguous memory (`cma=`)"
        }
        Some(libc::ETIMEDOUT | libc::EIO | libc::EPIPE) => {
            "restart the board if it stays so, or set video.encoder to \"software\"; `dmesg` may say more"
        }
        _ => "set video.encoder to \"software\" if it stays so; `dmesg` may say more",
    };
    Loss::Device { operation, device: device.to_owned(), cause, remedy }
}

#[cfg(test)]
mod tests;
