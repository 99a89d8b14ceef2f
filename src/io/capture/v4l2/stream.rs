//! How do a camera's buffers come and go? Mapped memory, one buffer with us and the others with the driver.
//!
//! What a driver refuses while it is being unplugged must not end the thread; see [`Stream::drop`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use v4l::Device;
use v4l::buffer::{Flags, Metadata, Type};
use v4l::io::mmap;
use v4l::io::traits::{CaptureStream, Stream as _};

use crate::io::clock::media_now;
use crate::units::MediaTime;

/// One is with us while the others are with the driver: 230 ms of grace at 30 frames per second, which a
/// board with one busy core needs.
const BUFFERS: u32 = 8;
/// A timestamp farther from the present than this is by another clock, whatever its flag says.
const PLAUSIBLE_AGE: Duration = Duration::from_secs(5);

/// A camera that streams.
pub(super) struct Stream {
    device: PathBuf,
    /// `None` only while it is being dropped.
    stream: Option<mmap::Stream<'static>>,
    last_sequence: Option<u32>,
    /// The crate's `next` has handed its buffer to the driver, but has got none back.
    is_buffer_owed: bool,
    /// A buffer went by whose contents are out of reach.
    has_missed: bool,
}

/// What the driver has filled.
pub(super) struct Buffer<'a> {
    pub(super) data: &'a [u8],
    pub(super) captured: MediaTime,
    /// The driver says that its contents are wrong (`V4L2_BUF_FLAG_ERROR`).
    pub(super) is_damaged: bool,
    /// Pictures before this one are missing.
    pub(super) is_gap: bool,
}

impl Stream {
    /// Queues the buffers and starts. The crate's `next` would do it too, but it waits for the first
    /// picture while commands wait for it; it still queues buffer 0 itself.
    pub(super) fn start(device: &Device, path: &Path) -> io::Result<Stream> {
        let mut stream = Stream {
            device: path.to_owned(),
            stream: Some(mmap::Stream::with_buffers(device, Type::VideoCapture, BUFFERS)?),
            last_sequence: None,
            is_buffer_owed: false,
            has_missed: false,
        };
        let inner = stream.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        for index in 1.. {
            match CaptureStream::queue(inner, index) {
                Ok(()) => {}
                // The driver gave fewer or more than asked: this index is past its last.
                Err(_) if index > 1 => break,
                Err(cause) => return Err(cause),
            }
        }
        inner.start()?;
        Ok(stream)
    }

    /// Waits for the next buffer, no longer than `wait`, and shows it. One that is older than `stale` is
    /// given back unseen when a newer one is there.
    pub(super) fn next<R>(
        &mut self,
        wait: Duration,
        stale: Option<Duration>,
        show: impl FnOnce(Buffer) -> R,
    ) -> io::Result<Option<R>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let handle = stream.handle();
        let is_ready = |wait: Duration| match handle.poll(libc::POLLIN, wait.as_millis() as i32) {
            Ok(count) => Ok(count > 0),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(cause) => Err(cause),
        };
        if !is_ready(wait)? {
            return Ok(None);
        }
        if self.is_buffer_owed {
            // The picture in it is out of reach: the crate shows only what `next` fetches.
            stream.dequeue()?;
            (self.is_buffer_owed, self.has_missed) = (false, true);
            return Ok(None);
        }
        // It was announced, so this does not wait; a driver that announced in vain must not hold us.
        stream.set_timeout(wait.max(Duration::from_millis(1)));
        for _ in 0..BUFFERS {
            let (data, metadata) = match stream.next() {
                Ok(next) => next,
                Err(cause) if matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.is_buffer_owed = true;
                    return Ok(None);
                }
                Err(cause) => return Err(cause),
            };
            let now = media_now();
            let captured = captured(metadata, now);
            // Some drivers do not count, and always say the same.
            let is_gap = self.last_sequence.is_some_and(|last| metadata.sequence > last.wrapping_add(1));
            self.last_sequence = Some(metadata.sequence);
            if stale.is_some_and(|stale| now.0.saturating_sub(captured.0) > stale)
                && is_ready(Duration::ZERO)?
            {
                self.has_missed = true;
                continue;
            }
            let is_gap = is_gap | std::mem::take(&mut self.has_missed);
            let is_damaged = metadata.flags.contains(Flags::ERROR);
            let data = data.get(..metadata.bytesused as usize).unwrap_or(data);
            return Ok(Some(show(Buffer { data, captured, is_damaged, is_gap })));
        }
        Ok(None)
    }
}

impl Drop for Stream {
    /// The crate panics when a driver refuses to stop or to take its buffers back. A camera that is
    /// being unplugged does that, and the thread must outlive it.
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        match stream.stop() {
            Err(cause) if cause.raw_os_error() != Some(libc::ENODEV) => {
                log::warn!(
                    device:% = self.device.display(), cause:% = cause;
                    "the camera does not stop; its memory is not given back"
                );
                std::mem::forget(stream);
            }
            _ => {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(stream)));
            }
        }
    }
}

/// When the picture was taken: by the driver's stamp when that is on our clock
/// (`V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC`, kernel documentation "Buffers"), else now.
fn captured(metadata: &Metadata, now: MediaTime) -> MediaTime {
    let (sec, usec) = (metadata.timestamp.sec, metadata.timestamp.usec);
    let is_monotonic = (metadata.flags & Flags::TIMESTAMP_MASK) == Flags::TIMESTAMP_MONOTONIC;
    match (u64::try_from(sec), u32::try_from(usec)) {
        (Ok(sec), Ok(usec @ 0..1_000_000)) if is_monotonic => {
            let stamp = Duration::new(sec, usec * 1000);
            let is_plausible = stamp <= now.0 && now.0 - stamp < PLAUSIBLE_AGE;
            if is_plausible { MediaTime(stamp) } else { now }
        }
        _ => now,
    }
}
