//! How is one line had, read and switched?
//!
//! Each line is a request of its own, so that one that somebody else holds does not cost the others.
//! Edges are debounced by the kernel, which does it in software where the chip cannot (kernel
//! documentation, "GPIO Character Device Userspace API", GPIO_V2_LINE_ATTR_ID_DEBOUNCE).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gpiocdev::line::{Bias as LineBias, EdgeDetection, EdgeKind, Offset, Value};
use gpiocdev::request::{Builder, Request};
use gpiocdev::{Chip, Error};

use crate::config::board::{Bias, Input, Line, Output};

/// Under this name `gpioinfo` shows our lines.
const CONSUMER: &str = "farol";

/// Why a line cannot be had. Each says what failed, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineFault {
    /// The chip cannot be opened.
    #[error("{} for the {purpose}: {cause}; {remedy}", chip.display())]
    Chip { chip: PathBuf, purpose: &'static str, cause: String, remedy: &'static str },
    /// The chip has no such line.
    #[error("{} has no {line} for the {purpose}; `gpioinfo` lists the lines", chip.display())]
    NoLine { chip: PathBuf, line: Line, purpose: &'static str },
    /// Somebody else holds it.
    #[error(
        "{line} of {} for the {purpose} is in use by {consumer}: stop that, or name another line",
        chip.display()
    )]
    Busy { chip: PathBuf, line: Line, purpose: &'static str, consumer: String },
    /// Everything else that the kernel refuses.
    #[error("{operation} {line} of {} for the {purpose}: {cause}", chip.display())]
    Refused { operation: &'static str, chip: PathBuf, line: Line, purpose: &'static str, cause: String },
}

/// What a line does.
#[derive(Clone, Debug)]
enum Role {
    Reads {
        bias: Bias,
        debounce: Duration,
    },
    /// And what it is to be, also once it is had again.
    Switches {
        is_on: bool,
    },
}

/// A line that is configured, had or not.
#[derive(Debug)]
pub(super) struct Port {
    chip: PathBuf,
    line: Line,
    active_low: bool,
    purpose: &'static str,
    role: Role,
    open: Option<(Request, Offset)>,
    fault: Option<LineFault>,
}

impl Port {
    /// A line that is read. Edges count once the level has lasted for `debounce`; zero takes all.
    pub(super) fn input(chip: &Path, input: &Input, debounce: Duration, purpose: &'static str) -> Port {
        let role = Role::Reads { bias: input.bias, debounce };
        Port::new(chip, &input.line, input.active_low, purpose, role)
    }

    /// A line that is switched, and off at first.
    pub(super) fn output(chip: &Path, output: &Output, purpose: &'static str) -> Port {
        Port::new(chip, &output.line, output.active_low, purpose, Role::Switches { is_on: false })
    }

    fn new(chip: &Path, line: &Line, active_low: bool, purpose: &'static str, role: Role) -> Port {
        Port {
            chip: chip.to_path_buf(),
            line: line.clone(),
            active_low,
            purpose,
            role,
            open: None,
            fault: None,
        }
    }

    /// Asks for the line unless it is had; returns whether it is had anew.
    pub(super) fn open(&mut self) -> bool {
        if self.open.is_some() {
            return false;
        }
        match self.request() {
            Ok(open) => {
                self.open = Some(open);
                self.fault = None;
                true
            }
            Err(fault) => {
                self.fault = Some(fault);
                false
            }
        }
    }

    /// Why it is not had.
    pub(super) fn fault(&self) -> Option<&LineFault> {
        self.fault.as_ref()
    }

    /// Readable when there are edges; `None` for a line that is not had or not read.
    pub(super) fn edges_fd(&self) -> Option<BorrowedFd<'_>> {
        match (&self.role, &self.open) {
            (Role::Reads { .. }, Some((request, _))) => Some(request.as_fd()),
            _ => None,
        }
    }

    /// Whether the line is active now; `None` when that cannot be known.
    pub(super) fn is_active(&mut self) -> Option<bool> {
        let (request, offset) = self.open.as_ref()?;
        let value = request.value(*offset);
        self.kept("read", value).map(|value| value == Value::Active)
    }

    /// What the line has said since the last call: its edges, each whether it made the line active, and last
    /// its level. That also finds a chip that has gone, and what was lost when the kernel held more edges
    /// than it keeps (16 for a line).
    pub(super) fn said(&mut self) -> Vec<bool> {
        let mut said = self.edges();
        said.extend(self.is_active());
        said
    }

    /// The edges since the last call: whether each one made the line active.
    pub(super) fn edges(&mut self) -> Vec<bool> {
        let mut edges = Vec::new();
        while let Some((request, _)) = &self.open {
            let edge = match request.has_edge_event() {
                Ok(false) => break,
                Ok(true) => request.read_edge_event(),
                Err(error) => Err(error),
            };
            edges.extend(self.kept("read the edges of", edge).map(|edge| edge.kind == EdgeKind::Rising));
        }
        edges
    }

    /// Switches the line; one that is not had takes it when it is.
    pub(super) fn switch(&mut self, on: bool) {
        if let Role::Switches { is_on } = &mut self.role {
            *is_on = on;
        }
        if let Some((request, offset)) = &self.open {
            let done = request.set_value(*offset, value(on));
            self.kept("switch", done);
        }
    }

    /// Whether the line is had, and was switched on.
    pub(super) fn is_on(&self) -> bool {
        self.open.is_some() && matches!(self.role, Role::Switches { is_on: true })
    }

    /// The outcome of a call on the line, which is lost when that failed: the chip has gone.
    fn kept<T>(&mut self, operation: &'static str, outcome: gpiocdev::Result<T>) -> Option<T> {
        match outcome {
            Ok(good) => Some(good),
            Err(error) => {
                self.open = None;
                self.fault = Some(self.refused(operation, &error));
                None
            }
        }
    }

    fn request(&self) -> Result<(Request, Offset), LineFault> {
        let chip = Chip::from_path(&self.chip).map_err(|error| self.chip_fault(&error))?;
        let lines = chip.info().map_err(|error| self.chip_fault(&error))?.num_lines;
        let offset = match &self.line {
            Line::Offset(offset) => Some(*offset).filter(|offset| *offset < lines),
            Line::Name(name) => chip.find_line_info(name).map(|info| info.offset),
        };
        let offset = offset.ok_or_else(|| LineFault::NoLine {
            chip: self.chip.clone(),
            line: self.line.clone(),
            purpose: self.purpose,
        })?;
        let request = self.builder(offset).request();
        request.map(|request| (request, offset)).map_err(|error| self.request_fault(&chip, offset, &error))
    }

    fn builder(&self, offset: Offset) -> Builder {
        let mut builder = Request::builder();
        builder.on_chip(&self.chip).with_consumer(CONSUMER).with_line(offset);
        match &self.role {
            Role::Switches { is_on } => {
                builder.as_output(value(*is_on));
            }
            Role::Reads { bias, debounce } => {
                builder.as_input().with_edge_detection(EdgeDetection::BothEdges).with_bias(match bias {
                    Bias::None => LineBias::Disabled,
                    Bias::PullUp => LineBias::PullUp,
                    Bias::PullDown => LineBias::PullDown,
                });
                if !debounce.is_zero() {
                    builder.with_debounce_period(*debounce);
                }
            }
        }
        if self.active_low {
            builder.as_active_low();
        }
        builder
    }

    fn chip_fault(&self, error: &Error) -> LineFault {
        let remedy = if is_errno(error, libc::EACCES) || is_errno(error, libc::EPERM) {
            "farol's user must be in the group that owns it, most often `gpio`"
        } else {
            "name the board's chip in gpio.chip; `gpiodetect` lists the chips"
        };
        LineFault::Chip { chip: self.chip.clone(), purpose: self.purpose, cause: words(error), remedy }
    }

    fn request_fault(&self, chip: &Chip, offset: Offset, error: &Error) -> LineFault {
        if !is_errno(error, libc::EBUSY) {
            return self.refused("ask for", error);
        }
        let consumer = chip.line_info(offset).map(|info| info.consumer).unwrap_or_default();
        let consumer =
            if consumer.is_empty() { "somebody without a name".to_owned() } else { format!("`{consumer}`") };
        let (chip, line) = (self.chip.clone(), self.line.clone());
        LineFault::Busy { chip, line, purpose: self.purpose, consumer }
    }

    fn refused(&self, operation: &'static str, error: &Error) -> LineFault {
        LineFault::Refused {
            operation,
            chip: self.chip.clone(),
            line: self.line.clone(),
            purpose: self.purpose,
            cause: words(error),
        }
    }
}

fn value(is_on: bool) -> Value {
    if is_on { Value::Active } else { Value::Inactive }
}

/// Whether a call failed with this number. The crate hands some numbers out in a type that cannot be named
/// from here, so it is told by its text, which is the standard library's.
fn is_errno(error: &Error, errno: i32) -> bool {
    words(error) == io::Error::from_raw_os_error(errno).to_string()
}

/// What the system said, without the crate's frame around it.
fn words(error: &Error) -> String {
    match error {
        Error::Uapi(_, cause) => cause.to_string(),
        other => other.to_string(),
    }
}
