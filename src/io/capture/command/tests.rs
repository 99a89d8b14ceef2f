use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;
use tokio::time::timeout;

use super::super::{Capture, CaptureCommand, CaptureEvent, spawn};
use crate::config::{self, VideoSource, When};
use crate::engine::h264::annex_b::nal_units;
use crate::engine::h264::{AccessUnit, AccessUnitSplitter};

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/camera/headers-once-320x240-25.h264");
const PICTURES: usize = 50;

/// What the programs of a test are given: the recording, cut into a file for each picture, and room for
/// what they note.
struct Scene {
    directory: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().expect("a directory");
        let mut splitter = AccessUnitSplitter::new();
        splitter.push(&fs::read(RECORDING).expect("the fixture"));
        let mut units: Vec<_> = std::iter::from_fn(|| splitter.next_unit()).collect();
        units.extend(splitter.finish());
        assert_eq!(units.len(), PICTURES);
        for (index, unit) in units.iter().enumerate() {
            fs::write(directory.path().join(format!("picture{index:02}")), unit).expect("written");
        }
        Scene { directory }
    }

    /// Runs a script of which `$D` is this scene's directory. (The shell is the program; we use none.)
    fn run(&self, script: &str) -> Capture {
        let script = script.replace("$D", &self.directory.path().display().to_string());
        run(vec!["sh".to_owned(), "-c".to_owned(), script])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The process whose number the program has written into a file.
    fn process(&self, name: &str) -> Pid {
        let text = fs::read_to_string(self.file(name)).expect("the program has written it");
        Pid::from_raw(text.trim().parse().expect("a number")).expect("a process")
    }
}

/// Each picture in a write of its own, and then whatever follows.
const ALL_PICTURES: &str = "for picture in $D/picture*; do cat $picture; done;";

fn run(argv: Vec<String>) -> Capture {
    spawn(&config::Video {
        source: VideoSource::Command { argv },
        stalled_after: Duration::from_millis(500),
        when: When::Always,
        ..config::Video::default()
    })
}

async fn next(capture: &mut Capture) -> CaptureEvent {
    let event = timeout(Duration::from_secs(20), capture.events.recv()).await;
    event.expect("the source says something").expect("the thread lives")
}

/// The pictures up to the loss, and its reason.
async fn until_lost(capture: &mut Capture) -> (Vec<AccessUnit>, String) {
    let mut units = Vec::new();
    loop {
        match next(capture).await {
            CaptureEvent::Frame(_, unit) => units.push(unit),
            CaptureEvent::Started(_) => {}
            CaptureEvent::Lost { reason } => return (units, reason),
            other => panic!("{other:?}"),
        }
    }
}

async fn frames(capture: &mut Capture, count: usize) -> Vec<AccessUnit> {
    let mut units = Vec::new();
    while units.len() < count {
        match next(capture).await {
            CaptureEvent::Frame(_, unit) => units.push(unit),
            CaptureEvent::Started(format) => {
                assert_eq!((format.width, format.height, format.fps), (320, 240, 25));
                assert!(!format.forces_keyframes && format.detail.contains("output of sh"));
            }
            other => panic!("{other:?} after {} pictures", units.len()),
        }
    }
    units
}

fn is_gone(process: Pid) -> bool {
    test_kill_process(process).is_err()
}

#[tokio::test]
async fn a_programs_pictures_come_with_their_headers_and_its_end_is_a_loss() {
    let scene = Scene::new();
    // What stands before the first start code is passed over.
    let mut capture = scene.run(&format!("echo starting; {ALL_PICTURES} sleep 0.1"));
    let (units, reason) = until_lost(&mut capture).await;
    assert_eq!(units.len(), PICTURES - usize::from(units.len() < PICTURES), "only the last may be missing");
    for (index, unit) in units.iter().enumerate() {
        assert_eq!(unit.is_keyframe, index % 10 == 0, "picture {index}");
        assert_eq!(nal_units(&unit.data).count(), if unit.is_keyframe { 5 } else { 3 }, "picture {index}");
    }
    assert!(units.is_sorted_by_key(|unit| unit.captured));
    assert!(reason.contains("`sh`") && reason.contains("ended by itself"), "{reason}");
}

#[tokio::test]
async fn the_last_picture_of_a_program_that_flushes_is_seen_without_a_next_one() {
    let scene = Scene::new();
    let mut capture = scene.run(&format!("{ALL_PICTURES} exec sleep 1000"));
    assert_eq!(frames(&mut capture, PICTURES).await.len(), PICTURES);
    capture.stop().await;
}

#[tokio::test]
async fn a_program_that_fails_is_told_with_its_status_and_its_last_words() {
    let scene = Scene::new();
    let script = "echo probing >&2; echo 'ERROR: no cameras available' >&2; exit 7";
    let (_, reason) = until_lost(&mut scene.run(script)).await;
    assert!(reason.contains("exit status: 7"), "{reason}");
    assert!(reason.ends_with("it said: probing | ERROR: no cameras available"), "{reason}");
    let (_, reason) = until_lost(&mut scene.run("kill -SEGV $$")).await;
    assert!(reason.contains("signal: 11"), "{reason}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_by_its_name() {
    let (_, reason) = until_lost(&mut run(vec!["/usr/bin/farol-no-such-program".to_owned()])).await;
    assert!(reason.contains("`farol-no-such-program`") && reason.contains("video.command"), "{reason}");
}

#[tokio::test]
async fn a_program_that_falls_silent_or_writes_nonsense_is_lost_and_started_again() {
    let scene = Scene::new();
    for (then, expected) in [("exec sleep 1000", "written nothing"), ("exec yes", "without a whole H.264")] {
        let mut capture = scene.run(&format!("echo $$ >$D/pid; {ALL_PICTURES} {then}"));
        let (units, reason) = until_lost(&mut capture).await;
        assert!(
            units.len() >= PICTURES / 2 && reason.contains(expected),
            "{} pictures, {reason}",
            units.len()
        );
        let first = scene.process("pid");
        assert!(is_gone(first));
        frames(&mut capture, 1).await;
        assert_ne!(scene.process("pid"), first);
        capture.stop().await;
    }
}

#[tokio::test]
async fn a_flood_of_pictures_is_dropped_up_to_keyframes() {
    let scene = Scene::new();
    let mut capture = scene.run("while :; do cat $D/picture*; done");
    // Nobody listens for so long that thousands are written.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let units = frames(&mut capture, 200).await;
    assert!(units[0].is_keyframe);
    capture.stop().await;
}

#[tokio::test]
async fn a_program_ends_with_its_children_when_nobody_watches() {
    let scene = Scene::new();
    // Neither hears a polite word; the second one holds on to nothing of ours.
    let script = "trap '' TERM; echo $$ >$D/pid; sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >$D/child;";
    let mut capture = scene.run(&format!("{script} while :; do {ALL_PICTURES} sleep 0.5; done"));
    frames(&mut capture, 1).await;
    let (program, child) = (scene.process("pid"), scene.process("child"));
    assert!(!is_gone(program) && !is_gone(child));
    capture.commands.send(CaptureCommand::Pause).expect("the thread lives");
    while next(&mut capture).await != CaptureEvent::Paused {}
    assert!(is_gone(program));
    // It is killed, and somebody else's to wait for; a busy machine takes a moment to do it.
    let is_killed = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z ") || stat.contains(") X "))
    };
    for _ in 0..100 {
        if is_killed() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the program's child lives on");
}

#[tokio::test]
async fn a_program_gets_none_of_our_descriptors_and_no_input() {
    let scene = Scene::new();
    let leaked = fs::File::open(RECORDING).expect("the fixture");
    fcntl_setfd(&leaked, FdFlags::empty()).expect("it is ours");
    let script = "ls -l /proc/self/fd >$D/list.new; mv $D/list.new $D/list; exec sleep 1000";
    let capture = scene.run(script);
    while !scene.file("list").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let list = fs::read_to_string(scene.file("list")).expect("it is there");
    assert!(list.contains(" 0 -> /dev/null") && !list.contains("headers-once"), "{list}");
    // `ls` itself has opened its output and the directory that it lists.
    assert_eq!(list.lines().filter(|line| line.contains(" -> ")).count(), 4, "{list}");
    capture.stop().await;
}
