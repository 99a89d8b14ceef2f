//! What becomes of a configuration that was changed while the daemon runs?
//!
//! `systemctl reload farol` (SIGHUP) has keys and configuration read again. Keys are taken over at once, as they are
//! without it. One configuration is never half taken over: where it says what it said, nothing happens; where it has
//! faults, they are told and the one that runs goes on; else this process ends its sessions in good order and runs
//! its program anew. It stays the same service with the same process id, and viewers' pages are back in seconds.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::config::{Config, ConfigError, file};

use super::Daemon;

/// How the loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was told to stop.
    Stop,
    /// It is to run anew, with another configuration.
    Anew,
}

/// The configuration that runs, and where another one would be.
pub(super) struct Running {
    config: Config,
    path: PathBuf,
}

impl Running {
    pub(super) fn new(config: &Config, path: &Path) -> Running {
        Running { config: config.clone(), path: path.to_path_buf() }
    }

    /// Whether the file has another configuration than the one that runs.
    fn has_changed(&self) -> Result<bool, ConfigError> {
        Ok(file::load(&self.path)? != self.config)
    }
}

impl Daemon {
    /// Looks at the configuration's file. Only a good one that says something else ends the loop.
    pub(super) fn reload(&mut self) -> Option<Ending> {
        let running = self.running.as_ref()?;
        self.manager.reloading();
        let ending = match running.has_changed() {
            Ok(true) => {
                log::info!("the configuration has changed: sessions end, and farol starts anew with it");
                return Some(Ending::Anew);
            }
            Ok(false) => {
                log::info!("reloaded; the configuration says what it said");
                None
            }
            Err(refused) => {
                tell(&refused);
                None
            }
        };
        self.manager.ready(&self.status());
        ending
    }
}

/// Each fault is a record of its own, as each is a line of `farol check`.
fn tell(refused: &ConfigError) {
    match refused {
        ConfigError::Unreadable { path, cause } => {
            log::error!(path:% = path.display(), cause:%; "the configuration cannot be read; the one that runs goes on");
        }
        ConfigError::Faulty { path, faults } => {
            log::error!(path:% = path.display(), faults = faults.len(); "the configuration has faults and is not taken over; the one that runs goes on");
            for fault in faults {
                log::error!("{fault}");
            }
        }
    }
}

/// The program of this process with its arguments, to be run anew in its place.
pub(super) struct Program(Command);

impl Program {
    /// Asked at the start: after an upgrade its name means the new one, which is then run.
    pub(super) fn of_this_process() -> anyhow::Result<Program> {
        let program = std::env::current_exe().context("the system does not say which program this is")?;
        let mut arguments = std::env::args_os();
        let mut command = Command::new(&program);
        command.arg0(arguments.next().unwrap_or_else(|| program.into())).args(arguments);
        Ok(Program(command))
    }

    /// Runs it in this process, which keeps its id and its environment, and nothing else: threads end, and files and
    /// sockets, which are all opened to be closed on exec, are closed.
    ///
    /// # Errors
    ///
    /// Always, when it returns: the system did not run it.
    pub(super) fn run_anew(mut self) -> anyhow::Result<()> {
        Err(self.0.exec()).context("farol could not be run anew")
    }
}
