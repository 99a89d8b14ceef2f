//! How does a program that we started end with us, and its children with it?
//!
//! It leads a process group of its own. To end it, the group is sent SIGTERM; when the program has ended
//! or a second has passed, the group is sent SIGKILL, so nothing is left of it but processes that have
//! left the group. When farol itself is killed, the kernel kills the program, but not what the program has
//! started: that ends when it writes into the pipe, which nobody reads any more, or with the service, whose
//! control group systemd clears.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::super::sys;
use super::pipe::pause;
use crate::io::clock::media_now;

/// How long a program may take to end after SIGTERM, and to be gone after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What of our environment is ours alone: where our secrets and our state are, and how systemd is spoken
/// to. The rest is passed on; libcamera, for one, is tuned by it.
const OURS: [&str; 10] = [
    "CREDENTIALS_DIRECTORY",
    "STATE_DIRECTORY",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "JOURNAL_STREAM",
    "FAROL_LOG",
];

/// A program that runs, or that has ended and has not been asked how.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    is_reaped: bool,
}

impl Program {
    /// Starts it, without a shell, with nothing on its standard input and none of our descriptors.
    pub(super) fn start(argv: &[String], stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Program> {
        let no_program = || io::Error::from(io::ErrorKind::NotFound);
        let (program, arguments) = argv.split_first().ok_or_else(no_program)?;
        let mut command = Command::new(OsStr::new(program));
        command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        for name in OURS {
            command.env_remove(name);
        }
        sys::die_with_parent(&mut command);
        Ok(Program { child: command.spawn()?, is_reaped: false })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself, no longer than `patience`; ends it when it does not. What it has
    /// left behind is killed. `None` when it cannot be ended, which is a driver that hangs.
    pub(super) fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        if !self.has_ended_within(patience) {
            self.signal(Signal::TERM);
            self.has_ended_within(PATIENCE);
        }
        // As long as the program is not waited for, no other group can get its number.
        self.signal(Signal::KILL);
        if !self.has_ended_within(PATIENCE) {
            return None;
        }
        let status = self.child.wait().ok();
        self.is_reaped = true;
        status
    }

    fn signal(&self, signal: Signal) {
        // It fails when there is nobody left in the group, which is what is wanted.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }

    fn has_ended_within(&self, patience: Duration) -> bool {
        let until = media_now().0 + patience;
        loop {
            let id = WaitId::Pid(Pid::from_child(&self.child));
            // NOWAIT leaves it to be waited for, so that its number stays its own.
            match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT) {
                Ok(None) if media_now().0 < until => {}
                Ok(None) => return false,
                Ok(Some(_)) | Err(_) => return true,
            }
            // Whether it was a wait or not, the clock decides when to give up.
            let _ = pause(&mut [], LOOK);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.is_reaped && self.end(Duration::ZERO).is_none() {
            log::warn!(pid = self.id(); "the video command does not even end when it is killed; its camera's driver hangs");
        }
    }
}
