//! A real TURN server for a test: coturn on free loopback ports, by UDP, TCP and TLS, gone when the test is.

#![allow(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::mosquitto::free_port;

/// How a test's users prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// One user with a password that stays: `ana`, `swordfish`.
    Ana,
    /// Passwords for a time, from the shared secret `north`.
    Shared,
}

/// A running server, ended by its own child handle on drop.
pub struct Coturn {
    /// Where it listens by UDP and TCP, on 127.0.0.1.
    pub port: u16,
    /// Where by TLS.
    pub tls_port: u16,
    users: Users,
    directory: TempDir,
    child: Child,
}

impl Coturn {
    /// Starts one, and returns when it listens.
    pub async fn start(users: Users) -> Coturn {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        std::fs::write(directory.path().join("cert.pem"), certified.cert.pem()).expect("it is writable");
        let key = certified.signing_key.serialize_pem();
        std::fs::write(directory.path().join("key.pem"), key).expect("it is writable");
        let (port, tls_port) = (free_port(), free_port());
        let child = run(&directory, users, port, tls_port).await;
        Coturn { port, tls_port, users, directory, child }
    }

    /// The authority that its certificate is to be checked against.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// Kills it, and with it everything that it knows.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    /// Starts it anew on the same ports.
    pub async fn restart(&mut self) {
        self.child = run(&self.directory, self.users, self.port, self.tls_port).await;
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn run(directory: &TempDir, users: Users, port: u16, tls_port: u16) -> Child {
    let here = directory.path();
    let users: &[&str] = match users {
        Users::Ana => &["--lt-cred-mech", "--user=ana:swordfish"],
        Users::Shared => &["--use-auth-secret", "--static-auth-secret=north"],
    };
    let mut child = Command::new("turnserver")
        .args(["-n", "--no-cli", "--log-file=stdout", "--simple-log", "--verbose", "--realm=farol.test"])
        .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--allow-loopback-peers", "--no-dtls"])
        .args([format!("--listening-port={port}"), format!("--tls-listening-port={tls_port}")])
        .arg(format!("--cert={}", here.join("cert.pem").display()))
        .arg(format!("--pkey={}", here.join("key.pem").display()))
        .arg(format!("--userdb={}", here.join("turndb").display()))
        .arg(format!("--pidfile={}", here.join("pid").display()))
        .args(users)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("coturn is installed (apt install coturn)");
    // It would stop when nobody reads its log. The thread ends with the process.
    let log = BufReader::new(child.stdout.take().expect("it was piped"));
    let (sender, mut lines) = watch::channel(Vec::new());
    std::thread::Builder::new()
        .name("coturn log".into())
        .spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                sender.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        })
        .expect("a thread can be started");
    let listens = async {
        for port in [port, tls_port] {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                lines.changed().await.expect("coturn started, and said why not");
            }
        }
    };
    timeout(Duration::from_secs(20), listens).await.expect("coturn listens in time");
    child
}

/// A way to a server by TCP that a test can cut.
pub struct Cable {
    /// Where it begins, on 127.0.0.1.
    pub port: u16,
    cuts: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Cable {
    /// Leads to that port.
    pub async fn to(port: u16) -> Cable {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
        let begin = listener.local_addr().expect("a bound socket has an address").port();
        let (cuts, mut cut) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((mut near, _)) = listener.accept() => {
                        connections.spawn(async move {
                            let far = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                            if let Ok(mut far) = TcpStream::connect(far).await {
                                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                            }
                        });
                    }
                    Ok(()) = cut.changed() => connections.abort_all(),
                }
            }
        });
        Cable { port: begin, cuts, task }
    }

    /// Ends every connection; new ones get through.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}
