//! The real program for a test: `farol run` as a child process with a home of its own, gone when the
//! test is, and its log at hand.

#![allow(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::viewer::Link;

/// Long enough for a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The camera's name in every test's configuration.
pub const NAME: &str = "Doorstep";

/// What a test sets of the configuration.
pub struct Setup {
    /// The broker's port.
    pub broker: u16,
    /// The device's password at the broker, as the user `farol`.
    pub password: Option<&'static str>,
    /// How many may watch.
    pub max_viewers: u32,
    /// What `[video]` says.
    pub video: String,
    /// The port of a STUN server.
    pub stun: Option<u16>,
    /// What else `[ice]` says, with its servers; `{home}` in it is the home.
    pub ice: String,
    /// The source of `[audio]`.
    pub audio: &'static str,
    /// What `[talkback]` says.
    pub talkback: String,
    /// The port of `/metrics`.
    pub metrics: Option<u16>,
    /// An ALSA configuration in place of the system's, in which `{home}` is the home.
    pub alsa: Option<String>,
    /// Further sections, in which `{home}` is the home.
    pub more: String,
}

impl Setup {
    /// A small test picture with a tone, for the broker on that port.
    pub fn on(broker: u16) -> Setup {
        let video =
            "source = \"pattern\"\nwidth = 160\nheight = 120\nfps = 15\nbitrate_kbps = 200".to_owned();
        Setup {
            broker,
            password: None,
            max_viewers: 8,
            video,
            stun: None,
            ice: String::new(),
            audio: "tone",
            talkback: String::new(),
            metrics: None,
            alsa: None,
            more: String::new(),
        }
    }

    fn toml(&self, directory: &TempDir) -> String {
        let here = directory.path().display();
        let Setup { broker, password, max_viewers, video, stun, ice, audio, talkback, metrics, alsa, more } =
            self;
        let ice = ice.replace("{home}", &here.to_string());
        if let Some(alsa) = alsa {
            let text = alsa.replace("{home}", &here.to_string());
            std::fs::write(directory.path().join("asound.conf"), text).expect("a writable directory");
        }
        let more = more.replace("{home}", &here.to_string());
        let login = password.map_or(String::new(), |password| {
            std::fs::write(directory.path().join("password"), password).expect("a writable directory");
            format!("username = \"farol\"\npassword_file = \"{here}/password\"")
        });
        let servers =
            stun.map_or(String::new(), |port| format!("[[ice.servers]]\nurls = [\"stun:127.0.0.1:{port}\"]"));
        let metrics =
            metrics.map_or(String::new(), |port| format!("[metrics]\nlisten = \"127.0.0.1:{port}\""));
        format!(
            "[device]\nname = \"{NAME}\"\nstate_dir = \"{here}/state\"\n\
             [broker]\nurl = \"mqtt://127.0.0.1:{broker}\"\n{login}\n\
             [links]\npage = \"http://page.test/\"\nbroker = \"ws://127.0.0.1:{broker}/mqtt\"\n\
             [signalling]\nmax_viewers = {max_viewers}\n\
             [video]\n{video}\n\
             [audio]\nsource = \"{audio}\"\n\
             [talkback]\n{talkback}\n\
             [ice]\naddresses = [\"127.0.0.1\"]\n{ice}\n{servers}\n{metrics}\n{more}\n"
        )
    }
}

/// A configuration and a state directory.
pub struct Home {
    directory: TempDir,
}

impl Home {
    /// Writes the configuration.
    pub fn new(setup: &Setup) -> Home {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("farol.toml"), setup.toml(&directory)).expect("it is writable");
        Home { directory }
    }

    /// A file in this home.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `farol pair` and reads the link from what it prints.
    pub fn pair(&self, name: &str) -> Link {
        self.pair_with(name, "view,listen,talk")
    }

    /// The same with other rights.
    pub fn pair_with(&self, name: &str, rights: &str) -> Link {
        let said = self.farol(&["pair", name, "--rights", rights]);
        let link = said.lines().find_map(|line| line.trim().strip_prefix("http://page.test/"));
        Link::parse(link.expect("a link is printed"))
    }

    /// Runs a command to its end; returns what it says.
    pub fn farol(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().expect("farol can be run");
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "farol {arguments:?}: {err}");
        String::from_utf8(done.stdout).expect("farol speaks UTF-8")
    }

    /// Starts the daemon.
    pub fn start(&self) -> Daemon {
        Home::spawn(self.command(&["run", "--log", "debug"]))
    }

    /// Starts it as a service manager does that listens at this socket.
    pub fn start_for(&self, manager: &Path) -> Daemon {
        let mut command = self.command(&["run", "--log", "debug"]);
        command.env("NOTIFY_SOCKET", manager);
        Home::spawn(command)
    }

    fn spawn(mut command: Command) -> Daemon {
        let mut child = command.spawn().expect("farol can be run");
        let stderr = BufReader::new(child.stderr.take().expect("it was piped"));
        let (sender, log) = watch::channel(Vec::new());
        std::thread::Builder::new()
            .name("farol log".into())
            .spawn(move || {
                for line in stderr.lines().map_while(Result::ok) {
                    sender.send_modify(|lines| lines.push(line));
                }
            })
            .expect("a thread can be started");
        Daemon { child, log }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farol"));
        command.args(arguments).arg("--config").arg(self.file("farol.toml"));
        for surrounding in
            ["FAROL_LOG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "JOURNAL_STREAM"]
        {
            command.env_remove(surrounding);
        }
        if self.file("asound.conf").exists() {
            command.env("ALSA_CONFIG_PATH", self.file("asound.conf"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A running daemon, ended by its own child handle on drop.
pub struct Daemon {
    child: Child,
    log: watch::Receiver<Vec<String>>,
}

impl Daemon {
    /// Waits for a line of the log that has all these parts.
    pub async fn says(&self, parts: &[&str]) -> String {
        let has_all = |line: &&String| parts.iter().all(|part| line.contains(part));
        let mut log = self.log.clone();
        let wait = timeout(PATIENCE, log.wait_for(|lines| lines.iter().any(|line| has_all(&line)))).await;
        match wait {
            Ok(lines) => lines.expect("the daemon runs").iter().find(has_all).expect("it was there").clone(),
            Err(_) => panic!("waited in vain for {parts:?}"),
        }
    }

    /// How many lines of the log have all these parts.
    pub fn said(&self, parts: &[&str]) -> usize {
        self.log.borrow().iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// How many messages it told to have refused for this reason.
    pub fn refused(&self, reason: &str) -> u64 {
        self.log.borrow().iter().map(|line| refused_in(line, reason)).sum()
    }

    /// Waits until it told to have refused so many messages for this reason.
    pub async fn refuses(&self, reason: &str, count: u64) {
        let sum = |lines: &Vec<String>| lines.iter().map(|line| refused_in(line, reason)).sum::<u64>();
        let mut log = self.log.clone();
        if timeout(PATIENCE, log.wait_for(|lines| sum(lines) >= count)).await.is_err() {
            panic!("{} messages instead of {count} were refused as {reason}", self.refused(reason));
        }
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("our own child");
    }

    /// Asks it to read its configuration again.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).expect("our own child");
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("our own child").count()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    /// Waits for its end.
    pub async fn ends(&mut self) -> ExitStatus {
        let end = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("our own child") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, end).await.expect("it ends in time")
    }

    /// Whether it runs.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }
}

/// What a line such as `refused messages reasons="not_authentic 2, replayed 1"` says of one reason.
fn refused_in(line: &str, reason: &str) -> u64 {
    let Some((_, reasons)) = line.split_once("refused messages reasons=") else { return 0 };
    let mut counts = reasons.trim_matches('"').split(", ").filter_map(|part| part.split_once(' '));
    counts.find(|(name, _)| *name == reason).map_or(0, |(_, count)| count.parse().expect("a count"))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log.borrow().join("\n"));
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
