//! A program as a camera: it writes H.264 to its standard output, and we cut it into pictures.
//!
//! For what only a program can reach: cameras behind libcamera, cameras in the network. It is started when
//! somebody watches, ended when nobody does, and started again when it ends by itself. It is told nothing:
//! no keyframe, no bitrate; those are among its arguments. What it says on its standard error is logged at
//! `debug`, and the last of it is part of the reason when it ends.
//!
//! | file | question |
//! |---|---|
//! | `pipe` | what has it written, and where did its writes end |
//! | `child` | how does it end with us |

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Format, Loss};
use crate::config;
use crate::engine::h264::{AccessUnit, LiveSplitter, ParameterSets};
use crate::io::clock::media_now;
use crate::units::MediaTime;

use child::Program;
use pipe::{Found, Messages, Output};

mod child;
mod pipe;

/// How long a program may take to its first picture: a camera stack needs seconds on a small board.
const SLOW_START: Duration = Duration::from_secs(10);
/// How long a program may take to end after it has closed its output.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Lines of its standard error that are repeated when it ends.
const LINES_REPEATED: usize = 3;
/// Reads from one look at the commands to the next: a keyframe of half a megabyte, and a flood too.
const READS_AT_ONCE: usize = 128;

/// A program that runs.
pub(super) struct CommandSource {
    /// Its name, without the directory.
    name: String,
    // Dropped in this order: who writes hears of our end before it is signalled.
    output: Output,
    /// `None` when it has closed its standard error.
    messages: Option<Messages>,
    program: Program,
    last_lines: VecDeque<String>,
    splitter: LiveSplitter,
    parameter_sets: ParameterSets,
    /// A picture before this one is missing.
    awaits_keyframe: bool,
    has_delivered: bool,
    is_prompt: bool,
    /// Bytes since the last picture.
    received: u64,
    last_picture: MediaTime,
    stalled_after: Duration,
    configured_fps: u32,
    configured_size: (u32, u32),
}

impl CommandSource {
    pub(super) fn open(argv: &[String], video: &config::Video) -> Result<CommandSource, Loss> {
        let name = name_of(argv);
        let failed = |cause: io::Error| Loss::Command { program: name.clone(), what: unstartable(&cause) };
        let (output, stdout) = Output::new().map_err(failed)?;
        let (messages, stderr) = Messages::new().map_err(failed)?;
        let program = Program::start(argv, stdout, stderr).map_err(failed)?;
        log::debug!(program = name.as_str(), pid = program.id(); "video command started");
        Ok(CommandSource {
            name,
            output,
            messages: Some(messages),
            program,
            last_lines: VecDeque::new(),
            splitter: LiveSplitter::new(),
            parameter_sets: ParameterSets::new(),
            awaits_keyframe: false,
            has_delivered: false,
            is_prompt: false,
            received: 0,
            last_picture: media_now(),
            stalled_after: video.stalled_after,
            configured_fps: video.fps,
            configured_size: video.size,
        })
    }

    pub(super) fn format(&self) -> Format {
        let sps = self.parameter_sets.sps();
        let (width, height) = sps.map_or(self.configured_size, |sps| (sps.width, sps.height));
        let profile = sps.map_or("unknown".to_owned(), |sps| sps.profile_level_id.to_string());
        let fps = sps.and_then(|sps| sps.frames_per_second);
        Format {
            width,
            height,
            fps: fps.map_or(self.configured_fps, |fps| fps.round() as u32),
            forces_keyframes: false,
            takes_stills: false,
            encodes_twice: false,
            detail: format!("output of {} (process {}), profile {profile}", self.name, self.program.id()),
        }
    }

    /// The next picture; `None` when it did not come within `wait`, or is of no use.
    pub(super) fn picture(&mut self, wait: Duration) -> Result<Option<AccessUnit>, Loss> {
        if let Some(unit) = self.next_unit() {
            return Ok(Some(unit));
        }
        let unreadable = |name: &str, cause: io::Error| Loss::Command {
            program: name.to_owned(),
            what: format!("its output cannot be read: {cause}; it is started again"),
        };
        pipe::wait(&self.output, self.messages.as_ref(), wait)
            .and_then(|()| self.read_messages())
            .map_err(|cause| unreadable(&self.name, cause))?;
        let is_over = self.read_output().map_err(|cause| unreadable(&self.name, cause))?;
        match self.next_unit() {
            Some(unit) => Ok(Some(unit)),
            None if is_over => Err(self.ended()),
            None => self.check_stall().map(|()| None),
        }
    }

    fn next_unit(&mut self) -> Option<AccessUnit> {
        while let Some(unit) = self.splitter.next_unit() {
            let follows_loss = unit.follows_loss;
            let Some(unit) = self.parameter_sets.access_unit(unit.data, unit.arrived) else { continue };
            self.awaits_keyframe |= follows_loss;
            if self.awaits_keyframe && !unit.is_keyframe {
                continue;
            }
            self.awaits_keyframe = false;
            (self.has_delivered, self.received, self.last_picture) = (true, 0, media_now());
            return Some(unit);
        }
        None
    }

    /// Takes what there is, up to a picture. Whether the program has closed its output.
    fn read_output(&mut self) -> io::Result<bool> {
        for _ in 0..READS_AT_ONCE {
            let (chunk, end) = match self.output.read()? {
                Found::Some(found) => found,
                Found::Nothing => return Ok(false),
                Found::End => return Ok(true),
            };
            self.received += chunk.len() as u64;
            self.splitter.push(chunk, end, media_now());
            if self.splitter.has_unit() {
                break;
            }
        }
        let dropped = self.splitter.take_dropped();
        if dropped > 0 {
            log::warn!(program = self.name.as_str(), dropped; "the video command wrote what is no whole picture; it goes on with a keyframe");
        }
        if self.is_prompt != self.splitter.is_prompt() {
            self.is_prompt = !self.is_prompt;
            let handed_on = if self.is_prompt { "as they are written" } else { "when the next one begins" };
            log::debug!(program = self.name.as_str(), handed_on; "pictures of the video command");
        }
        Ok(false)
    }

    fn read_messages(&mut self) -> io::Result<()> {
        let Some(messages) = &mut self.messages else { return Ok(()) };
        let (name, last_lines) = (&self.name, &mut self.last_lines);
        let found = messages.read(|line| {
            log::debug!(program = name.as_str(), line; "the video command says");
            if last_lines.len() == LINES_REPEATED {
                last_lines.pop_front();
            }
            last_lines.push_back(line.to_owned());
        })?;
        if found == Found::End {
            self.messages = None;
        }
        Ok(())
    }

    /// The program has closed its output: asks how it ended, and hears what it said of it.
    fn ended(&mut self) -> Loss {
        let status = self.program.end(LAST_WORDS);
        // It is gone with all its group; what it said is in the pipe, at most its capacity of 64 KiB.
        for _ in 0..32 {
            if self.messages.is_none() || self.read_messages().is_err() {
                break;
            }
        }
        let how = match status {
            Some(status) if status.success() => {
                "it has ended by itself and is started again; it is to write without end".to_owned()
            }
            Some(status) => format!("it has ended ({status}) and is started again"),
            None => "it has closed its output and does not end".to_owned(),
        };
        Loss::Command { program: self.name.clone(), what: how + &self.repeated() }
    }

    fn check_stall(&self) -> Result<(), Loss> {
        let patience = match self.has_delivered {
            true => self.stalled_after,
            false => self.stalled_after.max(SLOW_START),
        };
        if media_now().0.saturating_sub(self.last_picture.0) <= patience {
            return Ok(());
        }
        let seconds = patience.as_secs_f32();
        let what = match self.received {
            0 => format!("it has written nothing for {seconds} s and is started again"),
            bytes => format!(
                "it has written {bytes} bytes in {seconds} s without a whole H.264 picture and is started again; \
                 it is to write Annex B: see docs/cameras.md"
            ),
        };
        Err(Loss::Command { program: self.name.clone(), what: what + &self.repeated() })
    }

    fn repeated(&self) -> String {
        match self.last_lines.is_empty() {
            true => String::new(),
            false => format!("; it said: {}", Vec::from_iter(self.last_lines.iter().cloned()).join(" | ")),
        }
    }
}

fn name_of(argv: &[String]) -> String {
    let program = argv.first().map_or("", String::as_str);
    let name = Path::new(program).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| program.to_owned())
}

fn unstartable(cause: &io::Error) -> String {
    let remedy = match cause.kind() {
        io::ErrorKind::NotFound => "install it, or write its whole path into video.command",
        io::ErrorKind::PermissionDenied => "make it executable for the user that farol runs as",
        _ => "try it in a terminal",
    };
    format!("it cannot be started: {cause}; {remedy}")
}

#[cfg(test)]
mod tests;
