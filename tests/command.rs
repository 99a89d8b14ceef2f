//! Does a program that films for the daemon reach the viewers, and end when it should?
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/viewer.rs"]
mod viewer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use daemon::{Home, Setup};
use farol::engine::h264::AccessUnitSplitter;
use mosquitto::{Mosquitto, free_port};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use viewer::watch;

/// A program that films: it writes a recording picture by picture, without end, at some 40 per second. It
/// notes its own number and that of a child which holds on to nothing of ours.
struct Camera {
    directory: TempDir,
}

impl Camera {
    fn new() -> Camera {
        let directory = tempfile::tempdir().expect("a directory");
        let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/guest/labcam.h264");
        let mut splitter = AccessUnitSplitter::new();
        splitter.push(&fs::read(recording).expect("the recording"));
        let units = std::iter::from_fn(|| splitter.next_unit());
        for (index, unit) in units.enumerate() {
            fs::write(directory.path().join(format!("picture{index:04}")), unit).expect("written");
        }
        let script = "sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >$D/child; env >$D/environment; echo $$ >$D/pid; \
                      echo filming >&2; while :; do for picture in $D/picture*; do cat $picture; sleep 0.02; done; done";
        let script = script.replace("$D", &directory.path().display().to_string());
        fs::write(directory.path().join("film.sh"), script).expect("written");
        Camera { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What `[video]` says.
    fn section(&self, capture: &str) -> String {
        let script = self.file("film.sh").display().to_string();
        format!("source = \"command\"\ncommand = [\"sh\", {script:?}]\ncapture = \"{capture}\"")
    }

    /// The process whose number it has noted.
    async fn process(&self, name: &str) -> Pid {
        let path = self.file(name);
        until("it has noted its number", || number_in(&path).is_some()).await;
        Pid::from_raw(number_in(&path).expect("a number")).expect("a process")
    }
}

fn number_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok()
}

fn is_running(process: Pid) -> bool {
    // One that was killed waits for whoever has inherited it.
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    test_kill_process(process).is_ok() && stat.is_ok_and(|stat| !stat.contains(") Z "))
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain until {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_films_while_somebody_watches() {
    let mosquitto = Mosquitto::open();
    let camera = Camera::new();
    let home = Home::new(&Setup { video: camera.section("watched"), ..Setup::on(mosquitto.port) });
    let ana = home.pair("Ana");
    let mut daemon = home.start();
    let watching = watch(&ana).await;
    watching.sees_more(60).await;
    assert!(watching.screen.received().pictures[0].is_keyframe);
    daemon.says(&["camera delivers", "output of sh"]).await;
    daemon.says(&["the video command says", "line=filming"]).await;
    // Each picture is a write of its own.
    daemon.says(&["handed_on=\"as they are written\""]).await;
    let (program, child) = (camera.process("pid").await, camera.process("child").await);
    assert!(is_running(program) && is_running(child));

    // It is started again when it ends by itself, with what it started.
    kill_process(program, Signal::KILL).expect("it is our child's child");
    daemon.says(&["camera lost", "signal: 9"]).await;
    until("another one runs", || number_in(&camera.file("pid")) != Some(program.as_raw_nonzero().get()))
        .await;
    until("the child of the old one is gone", || !is_running(child)).await;
    watching.sees_more(30).await;

    let (program, child) = (camera.process("pid").await, camera.process("child").await);
    daemon.terminate();
    assert_eq!(daemon.ends().await.code(), Some(0));
    assert!(!is_running(program), "it ends before the daemon does");
    until("its child is gone", || !is_running(child)).await;
}

/// `farol run`, as a service manager would start it: with a directory of secrets.
fn service(home: &Path, video: &str) -> Child {
    let config = home.join("farol.toml");
    let (state, port) = (home.display(), free_port());
    let text = format!(
        "[device]\nstate_dir = \"{state}\"\n[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n[video]\n{video}\n"
    );
    fs::write(&config, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_farol"));
    command.arg("run").arg("--config").arg(config);
    command.env("CREDENTIALS_DIRECTORY", home).env("LIBCAMERA_LOG_LEVELS", "WARN");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("farol can be run")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_does_not_outlive_a_daemon_that_is_killed() {
    let camera = Camera::new();
    let home = tempfile::tempdir().expect("a directory");
    let mut daemon = service(home.path(), &camera.section("always"));
    let (program, child) = (camera.process("pid").await, camera.process("child").await);
    assert!(is_running(program));
    daemon.kill().expect("our own child");
    daemon.wait().expect("our own child");
    until("the program is gone", || !is_running(program)).await;
    // What it has started and what reads nothing of ours stays: only a service manager can find it.
    assert!(is_running(child));
    kill_process(child, Signal::KILL).expect("started by this test");

    let environment = fs::read_to_string(camera.file("environment")).expect("it has noted it");
    assert!(!environment.contains("CREDENTIALS_DIRECTORY"), "{environment}");
    assert!(environment.contains("LIBCAMERA_LOG_LEVELS=WARN") && environment.contains("PATH="));
}
