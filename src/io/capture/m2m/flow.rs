//! How do coded pictures come out of an encoder, and what happens when it fails?
//!
//! What ends a session is begun anew in place, with a keyframe: both queues off, which gives back every
//! buffer, and on again (section "Reset" with all settings kept). Only what does not help, or a device that
//! is gone, is a loss.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use v4l::v4l_sys;

use super::{M2mEncoder, lost};
use crate::engine::h264::AccessUnit;
use crate::io::capture::Loss;
use crate::io::capture::sys::Dequeued;
use crate::io::clock::media_now;
use crate::units::MediaTime;

/// An encoder that has been given two pictures and says nothing for so long hangs.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Sessions begun anew without a single picture in between, before it is given up.
const RESTARTS: u32 = 2;
/// An encoder needs some 10 ms for a picture; one that hangs is not waited for.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Some drivers announce the end just before they hand over the last picture.
const AFTER_THE_END: Duration = Duration::from_millis(20);

impl M2mEncoder {
    /// The next picture, with the time that it was submitted with, in whole microseconds. `None` when it
    /// did not come within `wait`.
    pub(in super::super) fn next(&mut self, wait: Duration) -> Result<Option<AccessUnit>, Loss> {
        let until = media_now().0 + wait;
        let mut is_in_error = false;
        loop {
            self.reclaim()?;
            match self.coded.dequeue() {
                Ok(Some(done)) => {
                    if let Some(unit) = self.accept(done)? {
                        return Ok(Some(unit));
                    }
                    continue;
                }
                Ok(None) if is_in_error => {
                    self.recover("wait for a picture", io::Error::from_raw_os_error(libc::EIO))?;
                }
                Ok(None) => self.check_alive()?,
                Err(cause) => self.recover("read a picture", cause)?,
            }
            let left = until.saturating_sub(media_now().0);
            if left.is_zero() {
                return Ok(None);
            }
            let seen = self.poll(PollFlags::IN, left)?;
            is_in_error = is_error(seen);
        }
    }

    /// All pictures that are still inside. It can be used on afterwards, and begins with a keyframe. A camera
    /// that stops throws them away with the encoder; only tests want them.
    #[cfg(test)]
    pub(in super::super) fn drain(&mut self, patience: Duration) -> Result<Vec<AccessUnit>, Loss> {
        let units = self.finish(patience)?;
        // `V4L2_ENC_CMD_START` would do by the book. In Linux 6.1 vicodec then goes on saying EPIPE, since nothing
        // clears the mark that the last buffer has been dequeued; this does everywhere.
        let resume = |encoder: &mut M2mEncoder| {
            encoder.coded.stop()?;
            encoder.begin_coded()
        };
        resume(self).map_err(|cause| lost("start the encoder again", &self.path, cause))?;
        Ok(units)
    }

    /// Stops the encoder behind the last picture, and takes what it still has (section "Drain").
    fn finish(&mut self, patience: Duration) -> Result<Vec<AccessUnit>, Loss> {
        let until = media_now().0 + patience;
        // An end that was announced before is none of this drain's.
        self.node.take_end_of_stream();
        self.node
            .command_encoder(v4l_sys::V4L2_ENC_CMD_STOP)
            .map_err(|cause| lost("stop the encoder", &self.path, cause))?;
        let mut units = Vec::new();
        let mut has_ended = false;
        loop {
            self.reclaim()?;
            match self.coded.dequeue() {
                Ok(Some(done)) => {
                    units.extend(self.accept(done)?);
                    if done.is_last {
                        break;
                    }
                    continue;
                }
                Ok(None) => {}
                // The last one has been taken already.
                Err(cause) if cause.raw_os_error() == Some(libc::EPIPE) => break,
                Err(cause) => return Err(lost("read a picture", &self.path, cause)),
            }
            let left = until.saturating_sub(media_now().0);
            let wait = if has_ended { left.min(AFTER_THE_END) } else { left };
            let wanted = if has_ended { PollFlags::IN } else { PollFlags::IN | PollFlags::PRI };
            let seen = self.poll(wanted, wait)?;
            if seen.is_empty() && has_ended && !left.is_zero() {
                // A driver without the flag on its last picture: nothing more comes.
                break;
            }
            if seen.is_empty() || is_error(seen) {
                let cause = io::Error::from_raw_os_error(libc::ETIMEDOUT);
                return Err(lost("drain the encoder", &self.path, cause));
            }
            has_ended |= seen.contains(PollFlags::PRI) && self.node.take_end_of_stream();
        }
        Ok(units)
    }

    pub(super) fn poll(&self, wanted: PollFlags, wait: Duration) -> Result<PollFlags, Loss> {
        let mut polled = [PollFd::new(&self.node, wanted)];
        // A wait is at most a few seconds, so it fits.
        let wait = Timespec::try_from(wait).unwrap_or_default();
        match poll(&mut polled, Some(&wait)) {
            Ok(_) => Ok(polled[0].revents()),
            Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
            Err(cause) => Err(lost("wait for a picture", &self.path, cause.into())),
        }
    }

    /// Takes back the raw buffers that the encoder has read.
    pub(super) fn reclaim(&mut self) -> Result<(), Loss> {
        loop {
            match self.raw.dequeue() {
                Ok(Some(done)) => self.release(done.index),
                Ok(None) => return Ok(()),
                Err(cause) => return self.recover("take back a picture", cause),
            }
        }
    }

    fn release(&mut self, index: usize) {
        if let Some(imports) = &mut self.imports
            && let Some(token) = imports.tokens.get_mut(index).and_then(Option::take)
        {
            imports.released.push_back(token);
        }
    }

    /// Makes an access unit of a coded buffer and gives it back. Headers alone, the empty buffer at the end
    /// of a stream, and what cannot be decoded make none.
    pub(super) fn accept(&mut self, done: Dequeued) -> Result<Option<AccessUnit>, Loss> {
        let (start, end) = done.contents;
        let contents = self.coded.bytes(done.index).and_then(|bytes| bytes.get(start..end));
        // The one copy of a picture on its way from the encoder to the network.
        let data = Bytes::copy_from_slice(contents.unwrap_or_default());
        if let Err(cause) = self.coded.queue(done.index, &[], Duration::ZERO) {
            self.recover("give back a buffer", cause)?;
        }
        if done.is_damaged {
            if !self.awaits_keyframe {
                log::debug!(device:% = self.path.display(); "the encoder spoiled a picture");
                self.awaits_keyframe = true;
                self.force_keyframe();
            }
            return Ok(None);
        }
        let Some(unit) = self.parameter_sets.access_unit(data, MediaTime(done.timestamp)) else {
            return Ok(None);
        };
        // A damaged picture is no answer: an encoder that makes nothing else is as good as silent.
        (self.unanswered, self.restarts) = (0, 0);
        if self.awaits_keyframe && !unit.is_keyframe {
            return Ok(None);
        }
        self.awaits_keyframe = false;
        Ok(Some(unit))
    }

    pub(super) fn count_submitted(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered == 2 {
            self.unanswered_since = media_now();
        }
    }

    /// A loss when pictures go in and none comes out.
    pub(super) fn check_alive(&self) -> Result<(), Loss> {
        let silence = media_now().0.saturating_sub(self.unanswered_since.0);
        if self.unanswered < 2 || silence < SILENT_AFTER {
            return Ok(());
        }
        Err(lost("wait for a picture", &self.path, io::Error::from_raw_os_error(libc::ETIMEDOUT)))
    }

    /// Begins the session anew after a failure that this can mend; a loss after any other.
    pub(super) fn recover(&mut self, operation: &'static str, cause: io::Error) -> Result<(), Loss> {
        let can_mend = matches!(cause.raw_os_error(), Some(libc::EIO | libc::EPIPE));
        if !can_mend || self.restarts >= RESTARTS {
            return Err(lost(operation, &self.path, cause));
        }
        self.restarts += 1;
        log::warn!(device:% = self.path.display(), operation, cause:% = cause; "the encoder is begun anew");
        self.restart().map_err(|cause| lost("begin the encoder anew", &self.path, cause))
    }

    fn restart(&mut self) -> io::Result<()> {
        self.raw.stop()?;
        self.coded.stop()?;
        for index in 0..self.raw.count() {
            self.release(index);
        }
        (self.filling, self.unanswered, self.awaits_keyframe) = (None, 0, true);
        self.begin()?;
        self.force_keyframe();
        Ok(())
    }

    /// Starts both queues.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.begin_coded()?;
        self.raw.start()
    }

    /// Gives the encoder all coded buffers and starts their queue.
    fn begin_coded(&mut self) -> io::Result<()> {
        for index in 0..self.coded.count() {
            self.coded.queue(index, &[], Duration::ZERO)?;
        }
        self.coded.start()
    }
}

impl Drop for M2mEncoder {
    /// An encoder that is taken the memory of a picture it works on is a driver's rarest path: what is
    /// inside is let out first. One that hangs or is gone costs no more than the wait.
    fn drop(&mut self) {
        if self.raw.queued() > 0 {
            let _ = self.finish(LAST_WORDS);
        }
        let _ = self.raw.stop();
        let _ = self.coded.stop();
    }
}

fn is_error(seen: PollFlags) -> bool {
    seen.intersects(PollFlags::ERR | PollFlags::HUP) && !seen.contains(PollFlags::IN)
}
