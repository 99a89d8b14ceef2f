//! What has the program written, and where did its writes end?
//!
//! Its standard output is a pipe in packet mode (pipe(2), `O_DIRECT`): what one write(2) wrote is not
//! joined to what the next one wrote. A write of more than a page is several packets, all but the last a
//! page long, so a packet that is no multiple of 4096 bytes ends a write; one that is may end anywhere.
//! Buffered writers flush in multiples of 4096 but for the last, on pages of 16 KiB as well.
//!
//! A program that opens its output anew, as /dev/stdout, or splices into it, gets out of packet mode. It is
//! seen by a read of more than a page; from then on nothing is known of its writes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::param::page_size;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::engine::h264::live::ChunkEnd;

/// No less than the largest page there is, 64 KiB: what of a packet does not fit is thrown away.
const BUFFER: usize = 64 * 1024;
/// Room for a large keyframe, so that the program need not wait for us; the most that anybody is given
/// (/proc/sys/fs/pipe-max-size).
const CAPACITY: usize = 1024 * 1024;
/// What programs and the C library flush in multiples of.
const FLUSH_UNIT: usize = 4096;
/// Longer lines are cut here.
const LONGEST_LINE: usize = 500;

/// Our end of the program's standard output.
#[derive(Debug)]
pub(super) struct Output {
    pipe: File,
    buffer: Vec<u8>,
    is_packets: bool,
}

/// Our end of its standard error.
#[derive(Debug)]
pub(super) struct Messages {
    pipe: File,
    /// The line that has not ended yet.
    line: Vec<u8>,
}

/// What a look into a pipe found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// Something.
    Some(T),
    /// Nothing yet.
    Nothing,
    /// Everybody who could write has closed it.
    End,
}

impl Output {
    /// The pipe; the second is the program's end.
    pub(super) fn new() -> io::Result<(Output, OwnedFd)> {
        let (is_packets, (ours, theirs)) = match pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT) {
            Ok(pipe) => (true, pipe),
            Err(_) => (false, pipe_with(PipeFlags::CLOEXEC)?),
        };
        ioctl_fionbio(&ours, true)?;
        // A smaller one works as well, with more waiting.
        let _ = fcntl_setpipe_size(&ours, CAPACITY);
        Ok((Output { pipe: ours.into(), buffer: vec![0; BUFFER], is_packets }, theirs))
    }

    /// What has been written and not yet been read, at most one write, and where it ends.
    pub(super) fn read(&mut self) -> io::Result<Found<(&[u8], ChunkEnd)>> {
        let length = match read(&mut self.pipe, &mut self.buffer)? {
            Found::Some(length) => length,
            Found::Nothing => return Ok(Found::Nothing),
            Found::End => return Ok(Found::End),
        };
        self.is_packets &= length <= page_size();
        let end = match self.is_packets && !length.is_multiple_of(FLUSH_UNIT) {
            true => ChunkEnd::OfWrite,
            false => ChunkEnd::Anywhere,
        };
        Ok(Found::Some((&self.buffer[..length], end)))
    }
}

impl Messages {
    /// The pipe; the second is the program's end.
    pub(super) fn new() -> io::Result<(Messages, OwnedFd)> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        ioctl_fionbio(&ours, true)?;
        Ok((Messages { pipe: ours.into(), line: Vec::new() }, theirs))
    }

    /// Hands over each line that has ended, at most 4 KiB of them, so that one who talks without end does
    /// not hold up the picture; at the end, also the last one.
    pub(super) fn read(&mut self, mut line: impl FnMut(&str)) -> io::Result<Found<()>> {
        let mut buffer = [0; 4096];
        let found = read(&mut self.pipe, &mut buffer)?;
        let text = if let Found::Some(length) = found { &buffer[..length] } else { &[] };
        for &byte in text {
            // Progress is shown by returning to the start of the line.
            if matches!(byte, b'\n' | b'\r') {
                self.end_line(&mut line);
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(byte);
            }
        }
        Ok(match found {
            Found::Some(_) => Found::Some(()),
            Found::Nothing => Found::Nothing,
            Found::End => {
                self.end_line(&mut line);
                Found::End
            }
        })
    }

    fn end_line(&mut self, line: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.line);
        if !text.trim().is_empty() {
            line(text.trim());
        }
        self.line.clear();
    }
}

/// Waits until either has something to read or has ended.
pub(super) fn wait(output: &Output, messages: Option<&Messages>, wait: Duration) -> io::Result<()> {
    let mut waited = vec![PollFd::new(&output.pipe, PollFlags::IN)];
    waited.extend(messages.map(|messages| PollFd::new(&messages.pipe, PollFlags::IN)));
    pause(&mut waited, wait)
}

/// Waits for the descriptors, or for the time alone when there are none.
pub(super) fn pause(waited: &mut [PollFd<'_>], wait: Duration) -> io::Result<()> {
    // The waits here are of seconds at most.
    let timeout = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos().into() };
    match poll(waited, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(cause) => Err(cause.into()),
    }
}

fn read(pipe: &mut File, buffer: &mut [u8]) -> io::Result<Found<usize>> {
    match pipe.read(buffer) {
        Ok(0) => Ok(Found::End),
        Ok(length) => Ok(Found::Some(length)),
        Err(cause) if matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(Found::Nothing)
        }
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// What reads give of what was written, by length and end.
    fn reads(writes: &[usize]) -> Vec<(usize, ChunkEnd)> {
        let (mut output, theirs) = Output::new().expect("a pipe");
        let mut theirs = File::from(theirs);
        for length in writes {
            theirs.write_all(&vec![7; *length]).expect("there is room");
        }
        let mut seen = Vec::new();
        while let Found::Some((chunk, end)) = output.read().expect("it can be read") {
            seen.push((chunk.len(), end));
        }
        seen
    }

    #[test]
    fn a_write_is_seen_to_end_unless_it_fills_its_pages() {
        let page = page_size();
        assert_eq!(reads(&[100, 1]), [(100, ChunkEnd::OfWrite), (1, ChunkEnd::OfWrite)]);
        assert_eq!(reads(&[page + 5]), [(page, ChunkEnd::Anywhere), (5, ChunkEnd::OfWrite)]);
        assert_eq!(reads(&[page, page]), [(page, ChunkEnd::Anywhere), (page, ChunkEnd::Anywhere)]);
    }

    #[test]
    fn who_opens_the_pipe_anew_is_found_out() {
        let (mut output, theirs) = Output::new().expect("a pipe");
        let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&theirs));
        let mut again = File::options().write(true).open(again).expect("it can be opened by its name");
        again.write_all(&vec![7; page_size() + 100]).expect("there is room");
        let mut expect_anywhere = |length: usize| {
            let Ok(Found::Some((chunk, end))) = output.read() else { panic!("it can be read") };
            assert_eq!((chunk.len(), end), (length, ChunkEnd::Anywhere));
        };
        expect_anywhere(page_size() + 100);
        again.write_all(&[7; 100]).expect("there is room");
        expect_anywhere(100);
    }

    #[test]
    fn messages_come_line_by_line() {
        let (mut messages, theirs) = Messages::new().expect("a pipe");
        let mut theirs = File::from(theirs);
        let lines = |messages: &mut Messages| {
            let mut lines = Vec::new();
            while messages.read(|line| lines.push(line.to_owned())).expect("it can be read")
                == Found::Some(())
            {}
            lines
        };
        theirs.write_all(b"frame 1\rframe 2\n\n  lost").expect("there is room");
        assert_eq!(lines(&mut messages), ["frame 1", "frame 2"]);
        theirs.write_all(&[b"\xff it\n", &[b'x'; 2 * LONGEST_LINE][..]].concat()).expect("there is room");
        assert_eq!(lines(&mut messages), ["lost\u{fffd} it"]);
        drop(theirs);
        assert_eq!(lines(&mut messages), ["x".repeat(LONGEST_LINE)]);
    }
}
