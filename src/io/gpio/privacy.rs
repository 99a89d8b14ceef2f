//! What does the privacy switch or button say?
//!
//! A switch says where it stands. While that cannot be read it counts as privacy: a cable that was pulled
//! must not turn a camera on. A button toggles, and what it has set stands in a file, so that neither a crash
//! nor a power cut ends privacy.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::config::board::{Privacy as Configured, PrivacyKind};

use super::port::Port;

/// The privacy line and what it has set.
#[derive(Debug)]
pub(super) struct Privacy {
    pub(super) port: Port,
    kind: PrivacyKind,
    is_private: bool,
}

impl Privacy {
    /// Privacy holds until [`Privacy::read`] knows better.
    pub(super) fn new(chip: &Path, configured: &Configured) -> Privacy {
        let purpose = match configured.kind {
            PrivacyKind::Switch => "privacy switch",
            PrivacyKind::Button { .. } => "privacy button",
        };
        Privacy {
            port: Port::input(chip, &configured.input, configured.debounce, purpose),
            kind: configured.kind.clone(),
            is_private: true,
        }
    }

    /// Whether it is privacy now. A button that cannot be had leaves it as it was.
    pub(super) fn read(&mut self) -> bool {
        let edges = self.port.edges();
        let level = self.port.is_active();
        match &self.kind {
            PrivacyKind::Switch => self.is_private = level.unwrap_or(true),
            PrivacyKind::Button { file } => {
                for _ in edges.into_iter().filter(|is_press| *is_press) {
                    self.is_private = !self.is_private;
                    keep(file, self.is_private);
                }
            }
        }
        self.is_private
    }

    /// What holds at the start.
    pub(super) fn recall(&mut self) -> bool {
        match &self.kind {
            PrivacyKind::Switch => self.read(),
            PrivacyKind::Button { file } => {
                // A file that cannot be looked for may well be there.
                self.is_private = file.try_exists().unwrap_or(true);
                self.is_private
            }
        }
    }
}

/// Writes down what a button has set, down to the disk.
fn keep(file: &Path, is_private: bool) {
    let kept = match is_private {
        true => File::create(file).and_then(|file| file.sync_all()),
        false => match std::fs::remove_file(file) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        },
    };
    // The file's place in its directory is written as well.
    let kept = kept.and_then(|()| file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()));
    if let Err(cause) = kept {
        log::error!(
            file:% = file.display(), cause:%, is_private;
            "what the privacy button has set cannot be kept; it holds until farol ends"
        );
    }
}
