//! The command line: what can be asked, and which function does it.
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | it could not be done; the text says why and what to do |
//! | 2 | the command line is wrong |
//! | 78 | the configuration is wrong or lacks something (`EX_CONFIG`): a restart would not help |

mod check;
mod doctor;
mod link;
mod pair;
mod qr;
mod status;
mod viewers;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use farol::config::demo::{DEMO_PORT, DemoOptions, DemoSound};
use farol::config::{Config, ConfigError, file};
use farol::engine::doctor::{Diagnosis, Level};
use farol::engine::rights::Rights;
use log::LevelFilter;

/// A camera daemon: hardware H.264 and sound to browsers over WebRTC, its offer waiting on an MQTT
/// broker.
#[derive(Debug, Parser)]
#[command(version, long_version = farol::version::LONG, arg_required_else_help = true)]
pub struct Arguments {
    /// What is logged: error, warn, info, debug or trace [default: $FAROL_LOG, else info]
    #[arg(long, value_name = "LEVEL", global = true, value_parser = level)]
    log: Option<LevelFilter>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(ConfigFile),
    /// Show a test picture in the browser: no camera, no broker, no configuration
    Demo(Demo),
    /// Tell every fault of the configuration
    Check(ConfigFile),
    /// Find out what is wrong on this board, and what mends it
    Doctor {
        /// For programs: JSON, as docs/doctor.md describes it
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show how the daemon on this board is, and who watches
    Status {
        #[command(flatten)]
        looks: status::Looks,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List cameras, sound cards and pins, and what farol would do with them
    Devices {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Make a link that lets one person watch
    Pair {
        /// Whose link it is, such as "Ana's phone"
        name: String,
        /// What the link allows: some of view, listen, talk, control
        #[arg(long, default_value = "view,listen", value_parser = rights)]
        rights: Rights,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List who may watch
    Viewers(ConfigFile),
    /// Take a link's rights away
    Revoke {
        /// The name that was paired, or the key's id
        #[arg(value_name = "NAME|KID")]
        viewer: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long = "config", value_name = "PATH", default_value = "/etc/farol/farol.toml")]
    path: PathBuf,
}

#[derive(Debug, Args)]
struct Demo {
    /// Show this V4L2 camera instead of the test picture
    #[arg(long, value_name = "DEVICE")]
    camera: Option<PathBuf>,
    /// Let everybody in the local network watch
    #[arg(long, conflicts_with = "listen")]
    lan: bool,
    /// Where the page is served [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Leave the beeping tone out
    #[arg(long)]
    no_sound: bool,
}

impl Arguments {
    /// Does what was asked, and says with which exit status the program ends.
    ///
    /// # Errors
    ///
    /// It could not be done. [`exit_code`] tells the kinds apart.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        farol::io::log::start(self.log.unwrap_or(level_of_environment()?)).context("cannot start logging")?;
        match self.command {
            Command::Doctor { json, config } => return doctor::run(&config.path, json),
            Command::Run(config) => farol::daemon::run(config.load()?, &config.path),
            Command::Demo(demo) => farol::daemon::demo(demo.into()),
            Command::Check(config) => {
                check::report(&config.path, &config.load()?);
                Ok(())
            }
            Command::Status { looks, config } => status::show(&config.load()?, looks),
            Command::Devices { json } => devices(json),
            Command::Pair { name, rights, config } => {
                pair::pair(&config.path, &config.load()?, &name, rights)
            }
            Command::Viewers(config) => viewers::list(&config.load()?),
            Command::Revoke { viewer, config } => viewers::revoke(&config.load()?, &viewer),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ConfigFile {
    fn load(&self) -> Result<Config, ConfigError> {
        file::load(&self.path)
    }
}

impl From<Demo> for DemoOptions {
    fn from(demo: Demo) -> Self {
        let default = DemoOptions::default();
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEMO_PORT));
        DemoOptions {
            camera: demo.camera,
            listen: if demo.lan { everywhere } else { demo.listen.unwrap_or(default.listen) },
            sound: if demo.no_sound { DemoSound::None } else { default.sound },
        }
    }
}

/// The configuration is good but lacks what a command needs; the text says which file and what to add.
#[derive(Debug)]
struct Lacking(String);

impl Lacking {
    fn new(path: &Path, what: &str) -> Lacking {
        Lacking(format!("{} lacks what this command needs:\n{what}", path.display()))
    }
}

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lacking {}

/// The configuration is at fault (sysexits.h).
const EX_CONFIG: u8 = 78;

/// The exit status that a diagnosis means.
fn exit_code_of(diagnosis: &Diagnosis) -> ExitCode {
    match diagnosis.level {
        _ if diagnosis.is_unconfigured => ExitCode::from(EX_CONFIG),
        Level::Ok | Level::Note => ExitCode::SUCCESS,
        Level::Warning | Level::Fault => ExitCode::FAILURE,
    }
}

/// The exit status that an error means.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<ConfigError>() || error.is::<Lacking>() {
        ExitCode::from(EX_CONFIG)
    } else {
        ExitCode::FAILURE
    }
}

/// Tells a person what went wrong.
pub fn complain(error: &anyhow::Error) {
    // The journal reads a line's priority from its start (sd-daemon(3)); 3 is an error.
    let priority = if systemd_journal_logger::connected_to_journal() { "<3>" } else { "" };
    for line in format!("farol: {error:#}").lines() {
        eprintln!("{priority}{line}");
    }
}

/// What there is, each with the lines for the configuration.
fn devices(json: bool) -> anyhow::Result<()> {
    let devices = farol::io::devices::list();
    let text = if json { format!("{:#}\n", devices.to_json()) } else { devices.to_string() };
    match std::io::stdout().write_all(text.as_bytes()) {
        // It is long, and whoever reads it through `head` has seen enough.
        Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot print"),
    }
}

fn rights(text: &str) -> Result<Rights, String> {
    let rights: Rights = text.parse().map_err(|unknown| format!("{unknown}"))?;
    if rights.is_empty() {
        return Err("use some of view, listen, talk, control".to_string());
    }
    Ok(rights)
}

fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "use error, warn, info, debug or trace".to_string())
}

fn level_of_environment() -> anyhow::Result<LevelFilter> {
    match std::env::var("FAROL_LOG") {
        Ok(text) if !text.is_empty() => {
            level(&text).map_err(|allowed| anyhow::anyhow!("FAROL_LOG is `{text}`: {allowed}"))
        }
        _ => Ok(LevelFilter::Info),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    fn demo(arguments: &[&str]) -> DemoOptions {
        let all = ["farol", "demo"].iter().chain(arguments);
        match Arguments::try_parse_from(all).expect("the command line is good").command {
            Command::Demo(demo) => demo.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_demo_is_seen_on_this_machine_unless_it_is_asked_for_more() {
        assert_eq!(demo(&[]), DemoOptions::default());
        assert!(demo(&[]).listen.ip().is_loopback());
        assert_eq!(demo(&["--lan"]).listen.to_string(), "0.0.0.0:8080");
        assert_eq!(demo(&["--listen", "[::1]:9000"]).listen.to_string(), "[::1]:9000");
        assert_eq!(demo(&["--no-sound"]).sound, DemoSound::None);
        assert_eq!(demo(&["--camera", "/dev/video2"]).camera, Some("/dev/video2".into()));
    }
}
