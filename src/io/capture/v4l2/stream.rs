//! How do a camera's buffers come and go?
//!
//! The memory is the driver's, mapped by us and, where an encoder can read it itself, exported to it. A
//! buffer that was filled is ours until it is given back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use v4l::Device;

use crate::io::capture::sys::{Buffers, Dequeued, Memory, Node, Queue, export_buffer};
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
    node: Node,
    buffers: Buffers,
    /// Each buffer as a DMA buffer, when they are handed on so.
    exported: Vec<OwnedFd>,
    last_sequence: Option<u32>,
}

/// A buffer that the driver has filled. It is ours until [`Stream::give_back`].
pub(super) struct Filled {
    pub(super) index: usize,
    contents: (usize, usize),
    pub(super) captured: MediaTime,
    /// The driver says that its contents are wrong (`V4L2_BUF_FLAG_ERROR`).
    pub(super) is_damaged: bool,
    /// Pictures before this one are missing.
    pub(super) is_gap: bool,
}

impl Stream {
    /// Queues the buffers and starts.
    pub(super) fn start(device: &Device, path: &Path) -> io::Result<Stream> {
        let node = Node::of(device)?;
        let mut buffers = node.buffers(Queue::Capture, Memory::Mmap, BUFFERS)?;
        for index in 0..buffers.count() {
            buffers.queue(index, &[], Duration::ZERO)?;
        }
        buffers.start()?;
        Ok(Stream { device: path.to_owned(), node, buffers, exported: Vec::new(), last_sequence: None })
    }

    /// Makes DMA buffers of its buffers. A driver that cannot answers with an error, and is none the worse.
    pub(super) fn export(&mut self) -> io::Result<()> {
        let export = |index| export_buffer(self.node.as_fd(), Queue::Capture, index as u32, 0);
        self.exported = (0..self.buffers.count()).map(export).collect::<io::Result<_>>()?;
        Ok(())
    }

    /// Closes the DMA buffers, which nobody wants.
    pub(super) fn unexport(&mut self) {
        self.exported.clear();
    }

    /// A buffer as a DMA buffer, once they are exported.
    pub(super) fn exported(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.exported.get(index).map(AsFd::as_fd)
    }

    /// Waits until a buffer is filled, or `other` is readable, no longer than `wait`. Whether the camera is
    /// in error: [`Stream::next`] may know what it is, and if it does not, every wait would be none.
    pub(super) fn wait(&self, wait: Duration, other: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let mut polled = vec![PollFd::new(&self.node, PollFlags::IN)];
        polled.extend(other.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
        // A wait is a fraction of a second, so it fits.
        let wait = Timespec::try_from(wait).unwrap_or_default();
        match poll(&mut polled, Some(&wait)) {
            Ok(_) => Ok(is_error(polled[0].revents())),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }

    /// The next buffer that is filled; `None` when none is, whatever was announced. One that is older than
    /// `stale` is given back unseen when there is a newer one.
    pub(super) fn next(&mut self, stale: Option<Duration>) -> io::Result<Option<Filled>> {
        let mut has_missed = false;
        let mut next = self.dequeue()?;
        while let Some(filled) = &next
            && stale.is_some_and(|stale| media_now().0.saturating_sub(filled.captured.0) > stale)
        {
            let Some(newer) = self.dequeue()? else { break };
            let index = filled.index;
            (next, has_missed) = (Some(newer), true);
            self.give_back(index)?;
        }
        Ok(next.map(|filled| Filled { is_gap: filled.is_gap || has_missed, ..filled }))
    }

    /// What the driver wrote.
    pub(super) fn data(&self, filled: &Filled) -> &[u8] {
        let all = self.buffers.bytes(filled.index).unwrap_or_default();
        all.get(filled.contents.0..filled.contents.1).unwrap_or(all)
    }

    /// Lets the driver fill the buffer again.
    pub(super) fn give_back(&mut self, index: usize) -> io::Result<()> {
        self.buffers.queue(index, &[], Duration::ZERO)
    }

    /// Lets the driver fill all buffers again that nobody reads.
    pub(super) fn give_back_all(&mut self) -> io::Result<()> {
        while let Some(index) = self.buffers.free() {
            self.give_back(index)?;
        }
        Ok(())
    }

    fn dequeue(&mut self) -> io::Result<Option<Filled>> {
        let Some(done) = self.buffers.dequeue()? else { return Ok(None) };
        // Some drivers do not count, and always say the same.
        let is_gap = self.last_sequence.is_some_and(|last| done.sequence > last.wrapping_add(1));
        self.last_sequence = Some(done.sequence);
        let captured = captured(&done, media_now());
        let Dequeued { index, contents, is_damaged, .. } = done;
        Ok(Some(Filled { index, contents, captured, is_damaged, is_gap }))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // One that is gone has stopped.
        if let Err(cause) = self.buffers.stop()
            && cause.raw_os_error() != Some(libc::ENODEV)
        {
            log::warn!(device:% = self.device.display(), cause:% = cause; "the camera does not stop");
        }
    }
}

fn is_error(seen: PollFlags) -> bool {
    seen.intersects(PollFlags::ERR | PollFlags::HUP) && !seen.contains(PollFlags::IN)
}

/// When the picture was taken: by the driver's stamp when that is on our clock
/// (`V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC`, kernel documentation "Buffers"), else now.
fn captured(done: &Dequeued, now: MediaTime) -> MediaTime {
    let stamp = done.timestamp;
    let is_plausible = stamp <= now.0 && now.0 - stamp < PLAUSIBLE_AGE;
    if done.is_monotonic && is_plausible { MediaTime(stamp) } else { now }
}
