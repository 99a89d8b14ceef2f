//! A real Mosquitto for a test: on a free loopback port, with the configuration that the test wants,
//! gone when the test is.

#![allow(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Who may do what on a shared broker; the patterns are all that viewers need.
const ACL: &str = "\
user admin
topic readwrite #

user farol
topic readwrite farol/1/#

pattern read farol/1/+/status
pattern read farol/1/+/offer/%u
pattern read farol/1/+/out/%u/+
pattern write farol/1/+/in/%u/+
";

/// A running broker, ended by its own child handle on drop.
pub struct Mosquitto {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    config: String,
    directory: TempDir,
    child: Child,
}

impl Mosquitto {
    /// Starts a broker that lets anybody in, and returns when it listens.
    pub fn open() -> Mosquitto {
        Mosquitto::start("allow_anonymous true")
    }

    /// Starts a broker whose listener has the settings of `config`, further `listener` lines included.
    pub fn start(config: &str) -> Mosquitto {
        Mosquitto::start_on(free_port(), config)
    }

    /// The same, on a port that the test knows beforehand.
    pub fn start_on(port: u16, config: &str) -> Mosquitto {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Mosquitto::start_in(directory, port, config)
    }

    fn start_in(directory: TempDir, port: u16, config: &str) -> Mosquitto {
        let config =
            format!("user root\npersistence false\nlog_dest stderr\nlistener {port} 127.0.0.1\n{config}\n");
        let child = run(directory.path(), &config);
        Mosquitto { port, config, directory, child }
    }

    /// Starts a broker that checks users and keeps them to their topics: the four lines that viewers
    /// need, a device `farol` and an `admin` whose passwords are their names.
    pub fn with_viewers(port: u16, viewers: &[(String, String)]) -> Mosquitto {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (passwords, acl) = (directory.path().join("passwords"), directory.path().join("acl"));
        let own = ["farol", "admin"].map(|name| (name.to_owned(), name.to_owned()));
        let lines: String =
            own.iter().chain(viewers).map(|(user, password)| format!("{user}:{password}\n")).collect();
        std::fs::write(&passwords, lines).expect("a writable temporary directory");
        std::fs::write(&acl, ACL).expect("a writable temporary directory");
        // -U hashes a file of plain passwords.
        let hashed = Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status();
        assert!(hashed.expect("mosquitto_passwd comes with mosquitto").success());
        let (passwords, acl) = (passwords.display(), acl.display());
        let config = format!("allow_anonymous false\npassword_file {passwords}\nacl_file {acl}");
        Mosquitto::start_in(directory, port, &config)
    }

    /// Kills it, so that no client hears a DISCONNECT.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    /// Stops its process without ending it: sockets stay open, nothing is read or answered.
    pub fn freeze(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("our own child");
    }

    /// Starts it anew on the same port, without any memory.
    pub fn restart(&mut self) {
        self.child = run(self.directory.path(), &self.config);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that nothing listens on, though another process could take it before we do.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn run(directory: &Path, config: &str) -> Child {
    let file = directory.join("mosquitto.conf");
    std::fs::write(&file, config).expect("a writable temporary directory");
    let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("mosquitto");
    let mut child = Command::new(program)
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .expect("mosquitto is installed (apt install mosquitto)");
    let mut log = BufReader::new(child.stderr.take().expect("it was piped"));
    let mut said = String::new();
    // Its last line before it accepts connections is "mosquitto version ... running".
    while !said.ends_with("running\n") {
        let read = log.read_line(&mut said).expect("its log is text");
        assert_ne!(read, 0, "mosquitto did not start:\n{said}");
    }
    // It would stop when nobody reads its log. The thread ends with the process.
    std::thread::Builder::new()
        .name("mosquitto log".into())
        .spawn(move || for _line in log.lines() {})
        .expect("a thread can be started");
    child
}
