//! Why does a source not deliver?

use std::io;
use std::path::PathBuf;

/// Why a source does not deliver. Each says what failed, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Loss {
    /// A call to a device failed.
    #[error("{operation} on {}: {cause}; {remedy}", device.display())]
    Device {
        /// What was tried.
        operation: &'static str,
        /// Which node.
        device: PathBuf,
        /// What the kernel said.
        cause: io::Error,
        /// What a person can do.
        remedy: &'static str,
    },
    /// A device that cannot do what is asked.
    #[error("{}: {what}", device.display())]
    Unfit {
        /// Which node.
        device: PathBuf,
        /// What it lacks and what to do.
        what: String,
    },
    /// A recording that cannot be played.
    #[error("replay file {}: {what}", file.display())]
    Recording {
        /// Which file.
        file: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// A program that could not be started, ended or does not do what it is for.
    #[error("video command `{program}`: {what}")]
    Command {
        /// Its name.
        program: String,
        /// What happened and what to do.
        what: String,
    },
    /// The software encoder or the JPEG decoder failed or is missing.
    #[error("the software encoder: {0}")]
    Encoder(String),
}
