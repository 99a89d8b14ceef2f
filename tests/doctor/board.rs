//! A board that `farol doctor` is shown, and what it said of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::mosquitto::free_port;

/// A board's configuration and state; the picture is the test pattern's.
pub struct Board {
    pub dir: TempDir,
}

/// What a doctor said.
pub struct Said {
    pub status: Option<i32>,
    pub json: Value,
}

impl Board {
    /// With these sections; `{dir}` in them is the board's own directory.
    pub fn new(sections: &str) -> Board {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let here = dir.path().display().to_string();
        let text = format!(
            "[device]\nstate_dir = \"{here}/state\"\n[video]\nsource = \"pattern\"\nwidth = 160\nheight = 120\n{}",
            sections.replace("{dir}", &here)
        );
        fs::write(dir.path().join("farol.toml"), text).expect("the directory is ours");
        Board { dir }
    }

    /// A board whose broker is at that port, without and with a login as `farol`.
    pub fn at_broker(port: u16) -> Board {
        Board::new(&format!("[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n"))
    }

    pub fn as_farol(port: u16, password: &str) -> Board {
        let board = Board::new(&format!(
            "[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\nusername = \"farol\"\npassword_file = \"{{dir}}/password\"\n"
        ));
        fs::write(board.file("password"), password).expect("the directory is ours");
        board
    }

    /// A board with these `[[ice.servers]]` and no broker.
    pub fn with_ice(servers: &str) -> Board {
        let broker = free_port();
        Board::new(&format!(
            "[broker]\nurl = \"mqtt://127.0.0.1:{broker}\"\n[ice]\naddresses = [\"127.0.0.1\"]\n{servers}"
        ))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farol"));
        command.args(arguments).arg("--config").arg(self.file("farol.toml"));
        for name in ["FAROL_LOG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"] {
            command.env_remove(name);
        }
        command
    }

    pub fn pair(&self) {
        let done = self.command(&["pair", "Ana"]).output().expect("farol can be run");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub async fn doctor(&self) -> Said {
        self.doctor_in(&std::env::var("PATH").expect("there is a search path")).await
    }

    /// With a unit farol.service, of which systemd says this.
    pub async fn doctor_with_unit(&self, properties: &str) -> Said {
        let bin = self.file("bin");
        fs::create_dir(&bin).expect("the directory is ours");
        let script = format!("#!/bin/sh\ncat <<'END'\n{properties}\nEND\n");
        fs::write(bin.join("systemctl"), script).expect("the directory is ours");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bin.join("systemctl"), mode).expect("it is ours");
        let path = std::env::var("PATH").expect("there is a search path");
        self.doctor_in(&format!("{}:{path}", bin.display())).await
    }

    /// With this search path for the programs that are asked.
    pub async fn doctor_in(&self, path: &str) -> Said {
        let mut command = self.command(&["doctor", "--json"]);
        command.env("PATH", path);
        let run = tokio::task::spawn_blocking(move || command.output().expect("farol can be run"));
        let done = run.await.expect("it was run");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let json = serde_json::from_str(&text)
            .unwrap_or_else(|cause| panic!("{cause}: {text}{}", String::from_utf8_lossy(&done.stderr)));
        Said { status: done.status.code(), json }
    }
}

impl Said {
    pub fn all(&self, check: &str) -> Vec<&Value> {
        let findings = self.json["findings"].as_array().expect("there are findings");
        findings.iter().filter(|finding| finding["check"] == check).collect()
    }

    /// The only finding of a check, as its level and everything that it says.
    pub fn one(&self, check: &str) -> (&str, String) {
        match self.all(check)[..] {
            [finding] => (finding["level"].as_str().expect("a level"), finding.to_string()),
            _ => panic!("{check}: {}", self.json),
        }
    }

    /// That this check has found a fault in which all of this is said.
    pub fn faults(&self, check: &str, parts: &[&str]) {
        let (level, text) = self.one(check);
        assert_eq!(level, "fault", "{text}");
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("\"why\"") && text.contains("\"mend\""), "{text}");
        let mend = self.all(check)[0]["mend"].as_array().expect("a list");
        let is_comment = |line: &str| line.starts_with('#');
        let mut lines = mend.iter().flat_map(|entry| entry.as_str().expect("a text").lines());
        assert!(lines.any(|line| !is_comment(line)), "something can be copied: {text}");
        assert_eq!(self.status, Some(1), "{text}");
    }
}
