//! Both encodes of one source, as a viewer would decode them. Against real drivers: `tests/lab/units substream`.

use super::*;
use crate::config::{CameraInput, EncoderChoice, VideoSource};
use crate::engine::h264::annex_b::nal_units;
use crate::engine::h264::{AccessUnit, Sps};
use crate::engine::rendition::Rendition;
use crate::io::capture::{Capture, CaptureCommand, CaptureEvent, spawn};
use tokio::time::timeout;

const SUB_KBPS: u32 = 400;

fn video(source: VideoSource) -> config::Video {
    config::Video {
        source,
        size: (640, 360),
        bitrate: Bitrate::from_kbps(2_000),
        when: config::When::Always,
        stalled_after: Duration::from_secs(10),
        ..config::Video::default()
    }
}

fn order(capture: &Capture, kbps: Option<u32>) {
    let command = CaptureCommand::SetSubstream(kbps.map(Bitrate::from_kbps));
    capture.commands.send(command).expect("the thread lives");
}

async fn next(capture: &mut Capture) -> CaptureEvent {
    let event = timeout(Duration::from_secs(10), capture.events.recv()).await;
    event.expect("the source says something within 10 s").expect("the thread lives")
}

/// The next pictures of the main encode and those of the substream between them.
async fn pictures(capture: &mut Capture, main: usize) -> (Vec<AccessUnit>, Vec<AccessUnit>) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    while first.len() < main {
        match next(capture).await {
            CaptureEvent::Frame(Rendition::Main, unit) => first.push(unit),
            CaptureEvent::Frame(Rendition::Sub, unit) => second.push(unit),
            CaptureEvent::Started(_) | CaptureEvent::Controls(_) => {}
            other => panic!("no picture but {other:?}"),
        }
    }
    (first, second)
}

fn size(unit: &AccessUnit) -> (u32, u32) {
    let sps = nal_units(&unit.data).find_map(|nal| Sps::parse(&nal)).expect("an SPS");
    (sps.width, sps.height)
}

/// The substream is there when it is ordered and only then, begins with a keyframe, makes one when asked, and has
/// the times of the same pictures.
async fn check(source: VideoSource) -> Vec<AccessUnit> {
    let mut capture = spawn(&video(source));
    let (_, before) = pictures(&mut capture, 3).await;
    assert!(before.is_empty(), "nobody has ordered it");
    order(&capture, Some(SUB_KBPS));
    let (main, mut sub) = pictures(&mut capture, 20).await;
    assert!((3..=20).contains(&sub.len()), "{} of 20", sub.len());
    assert!(sub[0].is_keyframe && !sub[1].is_keyframe);
    assert_eq!(size(&sub[0]), (320, 180));
    let times = |units: &[AccessUnit]| units.iter().map(|unit| unit.captured).collect::<Vec<_>>();
    let all = times(&main);
    assert!(times(&sub).iter().skip(1).rev().skip(1).all(|time| all.contains(time)), "one picture, one time");
    capture.commands.send(CaptureCommand::ForceKeyframe(Rendition::Sub)).expect("the thread lives");
    let (main, more) = pictures(&mut capture, 14).await;
    assert!(more.iter().any(|unit| unit.is_keyframe), "one was asked for");
    assert!(main.iter().all(|unit| !unit.is_keyframe), "and not of the main encode");
    sub.extend(more);
    order(&capture, None);
    pictures(&mut capture, 3).await;
    assert!(pictures(&mut capture, 5).await.1.is_empty(), "it is not wanted any more");
    order(&capture, Some(SUB_KBPS));
    let again = pictures(&mut capture, 10).await.1;
    assert!(again.first().is_some_and(|unit| unit.is_keyframe), "it begins anew");
    capture.stop().await;
    sub
}

#[cfg(feature = "openh264")]
fn assert_decodes(units: &[AccessUnit]) {
    use openh264::formats::YUVSource as _;
    let mut decoder = openh264::decoder::Decoder::new().expect("a decoder");
    for unit in units {
        let picture = decoder.decode(&unit.data).expect("it decodes").expect("a picture");
        assert_eq!(picture.dimensions(), (320, 180));
    }
}

#[cfg(feature = "openh264")]
#[tokio::test]
async fn the_test_picture_has_a_smaller_second_encode_while_that_is_ordered() {
    assert_decodes(&check(VideoSource::Pattern).await);
}

#[tokio::test]
async fn a_recording_has_no_second_encode_and_goes_on() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/camera/headers-once-320x240-25.h264");
    let mut capture = spawn(&video(VideoSource::Replay { file: file.into() }));
    let CaptureEvent::Started(format) = next(&mut capture).await else { panic!("not started") };
    assert!(!format.encodes_twice);
    order(&capture, Some(SUB_KBPS));
    assert!(pictures(&mut capture, 10).await.1.is_empty());
}

fn substream(by: By) -> Substream {
    Substream::new(by, ((64, 64), 30), Matrix::Bt709, &config::Video::default())
}

fn encode(substream: &mut Substream) {
    let data = [128; 64 * 64 * 3 / 2];
    let layout = Layout::packed(PixelFormat::Yuv420, 64, 64);
    let picture = I420::of_buffer(&data, &layout, (64, 64)).expect("a picture");
    substream.encode(&picture, MediaTime::default());
}

#[test]
fn an_encoder_that_cannot_be_opened_twice_ends_the_substream_and_says_why_once() {
    let mut substream = substream(By::Hardware("/dev/null".into()));
    substream.set(Some(Bitrate::from_kbps(SUB_KBPS)));
    assert!(substream.is_on());
    encode(&mut substream);
    assert!(!substream.is_on() && substream.take_unit().is_none());
    let reason = substream.take_failure().expect("it says why");
    assert!(reason.contains("second encoder") && reason.contains("/dev/null"), "{reason}");
    assert_eq!(substream.take_failure(), None);
}

#[test]
fn the_main_encode_is_not_made_late_and_the_second_one_still_moves() {
    let mut substream = substream(By::Software);
    substream.set(Some(Bitrate::from_kbps(SUB_KBPS)));
    // 25 ms for the first encode and 15 for the second, of 33; then 40 for the first alone.
    let mut taken = |main_ms| {
        let take = |_| {
            let takes = substream.takes();
            substream.passed(Duration::from_millis(if takes { main_ms + 15 } else { main_ms }));
            u32::from(takes)
        };
        (0..120).map(take).sum::<u32>()
    };
    assert!((60..=75).contains(&taken(25)));
    assert_eq!(taken(40), 20);
    assert!(taken(10) >= 115);
}

#[cfg(feature = "openh264")]
#[test]
fn a_board_without_time_for_both_gives_the_second_one_up() {
    let mut substream = substream(By::Software);
    substream.set(Some(Bitrate::from_kbps(SUB_KBPS)));
    encode(&mut substream);
    assert!(substream.take_unit().is_some_and(|unit| unit.is_keyframe));
    let mut n = 0;
    let mut spend = |substream: &mut Substream, both_ms, seconds: u32| {
        for _ in 0..seconds * 30 {
            n += 1;
            let now = MediaTime(Duration::from_secs(10) + Duration::from_secs(1) * n / 30);
            substream.spent(Duration::from_millis(both_ms), now);
        }
    };
    spend(&mut substream, 25, 10);
    assert!(substream.is_on(), "33 ms are there for each picture");
    spend(&mut substream, 40, 1);
    assert!(substream.is_on(), "it may be a few difficult pictures");
    spend(&mut substream, 40, 2);
    assert!(!substream.is_on());
    assert!(substream.take_failure().is_some_and(|reason| reason.contains("no time")));
}

#[cfg(feature = "openh264")]
#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_raw_camera_has_a_smaller_second_encode_in_software() {
    assert_decodes(&check(camera(EncoderChoice::Software)).await);
}

/// The lab's encoder has canned output: what it makes says nothing of what went in.
#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_hardware_encoder_has_a_second_context() {
    let video = video(camera(EncoderChoice::Device("/dev/video11".into())));
    let mut capture = spawn(&video);
    let (_, before) = pictures(&mut capture, 3).await;
    assert!(before.is_empty());
    order(&capture, Some(SUB_KBPS));
    let (_, sub) = pictures(&mut capture, 20).await;
    assert!((3..=20).contains(&sub.len()), "{} of 20", sub.len());
    assert!(sub[0].is_keyframe && !sub[1].is_keyframe);
    capture.commands.send(CaptureCommand::ForceKeyframe(Rendition::Sub)).expect("the thread lives");
    assert!(pictures(&mut capture, 14).await.1.iter().any(|unit| unit.is_keyframe));
    order(&capture, None);
    pictures(&mut capture, 3).await;
    assert!(pictures(&mut capture, 5).await.1.is_empty());
    capture.stop().await;
}

fn camera(encoder: EncoderChoice) -> VideoSource {
    VideoSource::V4l2 { device: "/dev/video2".into(), input: CameraInput::Raw, encoder }
}
