use super::*;
use crate::engine::h264::annex_b::nal_units;
use crate::engine::h264::nal::NalType;
use std::path::Path;
use tokio::time::timeout;

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/camera/headers-once-320x240-25.h264");

fn video(source: VideoSource, when: When) -> config::Video {
    let bitrate = Bitrate::from_kbps(1_000);
    config::Video { source, size: (320, 240), bitrate, when, ..config::Video::default() }
}

fn replay(file: &Path, when: When) -> config::Video {
    video(VideoSource::Replay { file: file.to_owned() }, when)
}

async fn next(capture: &mut Capture) -> CaptureEvent {
    let event = timeout(Duration::from_secs(5), capture.events.recv()).await;
    event.expect("the source says something within 5 s").expect("the thread lives")
}

async fn next_frame(capture: &mut Capture) -> AccessUnit {
    match next(capture).await {
        CaptureEvent::Frame(unit) => unit,
        other => panic!("no frame but {other:?}"),
    }
}

async fn loss(capture: &mut Capture) -> String {
    match next(capture).await {
        CaptureEvent::Lost { reason } => reason,
        other => panic!("not lost but {other:?}"),
    }
}

#[tokio::test]
async fn a_recording_is_looped_at_its_own_rate_with_its_headers_before_each_keyframe() {
    let mut capture = spawn(&replay(RECORDING.as_ref(), When::Always));
    let CaptureEvent::Started(format) = next(&mut capture).await else { panic!("not started") };
    assert_eq!((format.width, format.height, format.fps, format.forces_keyframes), (320, 240, 25, true));
    let mut units = Vec::new();
    for _ in 0..60 {
        units.push(next_frame(&mut capture).await);
    }
    for (index, unit) in units.iter().enumerate() {
        assert_eq!(unit.is_keyframe, index % 10 == 0, "picture {index}");
        let types: Vec<_> = nal_units(&unit.data).filter_map(|nal| NalType::of(&nal)).collect();
        let count = |wanted| types.iter().filter(|&&kind| kind == wanted).count();
        let (keyframe, slices) =
            (usize::from(unit.is_keyframe), count(NalType::Slice) + count(NalType::IdrSlice));
        assert_eq!(
            (count(NalType::Sps), count(NalType::Pps), slices),
            (keyframe, keyframe, 2),
            "picture {index}"
        );
    }
    let gaps = units.windows(2).map(|pair| pair[1].captured.0 - pair[0].captured.0);
    assert!(gaps.into_iter().all(|gap| gap == Duration::from_millis(40)));
}

#[tokio::test]
async fn a_recording_jumps_to_a_keyframe_when_asked() {
    let mut capture = spawn(&replay(RECORDING.as_ref(), When::Always));
    next(&mut capture).await;
    assert!(next_frame(&mut capture).await.is_keyframe);
    assert!(!next_frame(&mut capture).await.is_keyframe);
    capture.commands.send(CaptureCommand::ForceKeyframe).expect("the thread lives");
    // One more picture may have been on its way.
    let (first, second) = (next_frame(&mut capture).await, next_frame(&mut capture).await);
    assert!(first.is_keyframe || second.is_keyframe);
}

#[tokio::test]
async fn a_source_rests_while_nobody_watches_and_lets_go_when_paused() {
    let mut capture = spawn(&replay(RECORDING.as_ref(), When::Watched));
    assert!(timeout(Duration::from_millis(300), capture.events.recv()).await.is_err(), "it ran unasked");
    for _ in 0..2 {
        capture.commands.send(CaptureCommand::Run).expect("the thread lives");
        assert!(matches!(next(&mut capture).await, CaptureEvent::Started(_)));
        assert!(next_frame(&mut capture).await.is_keyframe);
        capture.commands.send(CaptureCommand::Pause).expect("the thread lives");
        loop {
            match next(&mut capture).await {
                CaptureEvent::Frame(_) => {}
                event => {
                    assert_eq!(event, CaptureEvent::Paused);
                    break;
                }
            }
        }
        assert!(timeout(Duration::from_millis(200), capture.events.recv()).await.is_err(), "it went on");
    }
}

#[cfg(feature = "openh264")]
#[tokio::test]
async fn a_receiver_that_stops_gets_a_keyframe_first_when_it_goes_on() {
    // No keyframe but the first comes by itself.
    let mut capture =
        spawn(&config::Video { keyframe_interval: 100_000, ..video(VideoSource::Pattern, When::Always) });
    // The channel holds 30 events; 30 pictures per second fill it within 1 s.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut held = Vec::new();
    while let Ok(event) = capture.events.try_recv() {
        held.push(event);
    }
    assert_eq!(held.len(), EVENTS_HELD);
    assert!(next_frame(&mut capture).await.is_keyframe);
    assert!(!next_frame(&mut capture).await.is_keyframe, "the request outlives its answer");
}

#[tokio::test]
async fn a_missing_file_is_said_once_and_played_within_two_seconds_of_its_return() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("camera.h264");
    let mut capture = spawn(&replay(&file, When::Always));
    let reason = loss(&mut capture).await;
    assert!(reason.contains("camera.h264") && reason.contains("video.file"), "{reason}");
    assert!(timeout(Duration::from_millis(1800), capture.events.recv()).await.is_err(), "said twice");
    std::fs::copy(RECORDING, &file).expect("copied");
    let event = timeout(Duration::from_secs(2), next(&mut capture)).await.expect("in time");
    assert!(matches!(event, CaptureEvent::Started(_)));
}

#[tokio::test]
async fn a_file_that_cannot_be_played_says_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let recording = std::fs::read(RECORDING).expect("the fixture");
    // From behind the first keyframe's slices to before the second keyframe: P pictures alone.
    let units: Vec<_> = nal_units(&recording.into()).collect();
    let is_p = |nal: &&bytes::Bytes| NalType::of(nal) == Some(NalType::Slice);
    let without_keyframe = crate::engine::h264::annex_b::join(units.iter().filter(is_p));
    for (name, bytes, expected) in [
        ("empty", &b""[..], "empty"),
        ("text", &b"this is no recording at all"[..], "no H.264"),
        ("headless", &without_keyframe[..], "no keyframe"),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).expect("written");
        let reason = loss(&mut spawn(&replay(&file, When::Always))).await;
        assert!(reason.contains(expected) && reason.contains(name), "{reason}");
    }
}

#[cfg(feature = "openh264")]
#[tokio::test]
async fn the_pattern_runs_and_obeys() {
    let mut capture = spawn(&video(VideoSource::Pattern, When::Always));
    let CaptureEvent::Started(format) = next(&mut capture).await else { panic!("not started") };
    assert_eq!((format.width, format.height, format.fps), (320, 240, 30));
    assert!(next_frame(&mut capture).await.is_keyframe);
    assert!(!next_frame(&mut capture).await.is_keyframe);
    capture.commands.send(CaptureCommand::ForceKeyframe).expect("the thread lives");
    let (first, second) = (next_frame(&mut capture).await, next_frame(&mut capture).await);
    assert!(first.is_keyframe || second.is_keyframe);
}

#[cfg(feature = "openh264")]
#[tokio::test]
async fn the_pattern_gives_a_still_for_each_time_that_it_is_asked() {
    let mut capture = spawn(&video(VideoSource::Pattern, When::Always));
    let CaptureEvent::Started(format) = next(&mut capture).await else { panic!("not started") };
    assert!(format.takes_stills);
    for _ in 0..2 {
        capture.commands.send(CaptureCommand::Snapshot).expect("the thread lives");
        let still = loop {
            match next(&mut capture).await {
                CaptureEvent::Frame(_) => {}
                CaptureEvent::Snapshot(still) => break still,
                other => panic!("no still but {other:?}"),
            }
        };
        let image = turbojpeg::decompress(&still, turbojpeg::PixelFormat::RGB).expect("a JPEG file");
        assert_eq!((image.width, image.height), (320, 240));
        for _ in 0..5 {
            next_frame(&mut capture).await;
        }
    }
}

#[cfg(not(feature = "openh264"))]
#[tokio::test]
async fn the_pattern_says_that_it_was_not_built() {
    assert!(
        loss(&mut spawn(&video(VideoSource::Pattern, When::Always))).await.contains("--features openh264")
    );
}

#[tokio::test]
async fn the_thread_ends_when_its_handle_is_dropped() {
    let mut capture = spawn(&replay(RECORDING.as_ref(), When::Always));
    next(&mut capture).await;
    let Capture { events, commands, .. } = capture;
    drop(events);
    let is_gone = || commands.send(CaptureCommand::Run).is_err();
    for _ in 0..20 {
        if is_gone() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it lives on");
}
