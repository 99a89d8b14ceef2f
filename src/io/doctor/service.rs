//! What do systemd, the running daemon and the state directory say?

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{getegid, geteuid, getgroups};

use super::child::said;
use super::devices::People;
use crate::config::{Config, Security};
use crate::engine::doctor::access::{Groups, Runner, Somebody};
use crate::engine::doctor::service::{self, PROPERTIES, Unit};
use crate::engine::doctor::{Finding, board};
use crate::engine::tally::Report;
use crate::io::keys::{KeysError, State};
use crate::io::status::{self, AskError};
use crate::units::DeviceId;

/// For systemd, which answers at once unless the board is about to fail.
const PATIENCE: Duration = Duration::from_millis(1400);

/// The unit; all empty where there is no systemd.
pub(super) fn unit() -> Unit {
    let wanted = format!("--property={}", PROPERTIES.join(","));
    Unit::of(&said("systemctl", &["show", "farol.service", &wanted], PATIENCE).unwrap_or_default())
}

/// What is known of the daemon that runs here.
#[derive(Clone, Debug)]
pub(super) enum Running {
    /// It has answered.
    Answers(Box<Report>),
    /// It runs, and does not tell us; why.
    Untold(String),
    /// There is none.
    Not(String),
}

impl Running {
    /// Asks it.
    pub(super) fn now(config: &Config) -> Running {
        let runtime_dir = std::env::var("RUNTIME_DIRECTORY").ok();
        let is_default = config.state_dir == Config::default().state_dir;
        match status::ask(runtime_dir.as_deref(), &config.state_dir, is_default) {
            Ok(answer) => match serde_json::from_str(&answer) {
                Ok(report) => Running::Answers(Box::new(report)),
                Err(_) => Running::Untold(
                    "a daemon of another version runs; its answer is not understood".to_owned(),
                ),
            },
            Err(AskError::NotRunning(_)) => Running::Not("no farol runs here".to_owned()),
            Err(other) => Running::Untold(other.to_string()),
        }
    }

    /// Whether one runs.
    pub(super) fn is_so(&self) -> bool {
        !matches!(self, Running::Not(_))
    }

    /// Whether it says that it is connected to its broker.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self, Running::Answers(report) if report.board.broker.connected)
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let report = match self {
            Running::Answers(report) => Ok(&report.board),
            Running::Untold(why) | Running::Not(why) => Err(why.as_str()),
        };
        service::daemon(report, env!("CARGO_PKG_VERSION"))
    }
}

/// Who opens devices on this board.
pub(super) fn people(unit: &Unit) -> People {
    let groups = Groups::of(&fs::read_to_string("/etc/group").unwrap_or_default());
    let uid = geteuid().as_raw();
    let own = getgroups().unwrap_or_default().into_iter().chain([getegid()]);
    let asker = Somebody { name: user(uid), uid: Some(uid), gids: own.map(|gid| gid.as_raw()).collect() };
    let runner = if unit.is_installed() { Runner::Unit } else { Runner::Hand };
    let (service, sandbox) = (groups.service(&unit.service_groups()), unit.sandbox.clone());
    People { service, groups, asker, runner, sandbox }
}

fn user(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

/// The device's id and how many viewers are paired, without making anything.
pub(super) struct Kept {
    pub(super) device: Option<DeviceId>,
    pub(super) paired: Result<usize, String>,
}

/// Looks into the state directory.
pub(super) fn kept(config: &Config) -> Kept {
    let dir = &config.state_dir;
    // A link to a directory that is not ours cannot be followed, and counts as there.
    if fs::symlink_metadata(dir).is_err_and(|cause| cause.kind() == std::io::ErrorKind::NotFound) {
        return Kept { device: None, paired: Ok(0) };
    }
    if fs::read_dir(dir).is_err() {
        let why = format!(
            "{} is not yours to read: run it as root, with sudo, to see who is paired",
            dir.display()
        );
        return Kept { device: None, paired: Err(why) };
    }
    // What is there is read; nothing is made, which `State::device` would do.
    let device = fs::read_to_string(dir.join("device")).ok().and_then(|text| text.trim_end().parse().ok());
    let viewers = State::open(dir).and_then(|state| state.viewers());
    let paired = viewers.map(|viewers| viewers.len()).map_err(|cause: KeysError| cause.to_string());
    Kept { device, paired }
}

/// Whether anybody may watch.
pub(super) fn viewers(config: &Config, kept: &Kept) -> Finding {
    let has_page = config.links.page.is_some() || config.http.is_some();
    let has_broker = config.links.broker.is_some() || config.bridge;
    let security: Security = config.security;
    service::viewers(
        security,
        kept.paired.as_ref().map(|count| *count).map_err(String::as_str),
        has_page && has_broker,
    )
}

/// Whether the state directory can be used by who runs farol by hand.
pub(super) fn writable(config: &Config, runner: Runner) -> Option<Finding> {
    let dir: &Path = &config.state_dir;
    let there = dir.ancestors().find(|above| above.exists())?;
    let is_writable =
        rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
    (runner == Runner::Hand && !is_writable).then(|| board::unwritable(dir))
}

/// What only root sees.
pub(super) fn rights() -> Option<Finding> {
    (!geteuid().is_root()).then(|| {
        Finding::note(
            "rights",
            "you are not root: what other users' programs hold, and who is paired, is not seen",
        )
        .mend("sudo farol doctor")
    })
}
