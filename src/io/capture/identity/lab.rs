//! Is a camera found again that comes back under another number? In the device lab, against its drivers.
#![expect(clippy::disallowed_methods, reason = "drivers are loaded and cameras fed in real time")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::Duration;

use tokio::time::timeout;
use v4l::buffer::Type;
use v4l::io::mmap;
use v4l::io::traits::Stream as _;
use v4l::video::Output;
use v4l::{Device, Format, FourCC};

use super::super::{Capture, CaptureEvent, spawn};
use super::*;
use crate::config::{self, CameraInput, EncoderChoice, VideoSource, When};
use crate::engine::h264::AccessUnitSplitter;

/// The lab's drivers, loaded anew; in the end as they were (tests/lab/guest/devlab-devices).
struct Drivers;

impl Drivers {
    fn loopback_at(number: u32) {
        load(
            "v4l2loopback",
            &format!("devices=1 video_nr={number} card_label=labcam exclusive_caps=1 max_buffers=8"),
        );
    }

    fn vivid_at(number: u32) {
        let nodes = "n_devs=1 node_types=0x101 num_inputs=1 input_types=0x00 num_outputs=1 output_types=0x01";
        let numbers = format!("vid_cap_nr={number} vid_out_nr={}", number + 1);
        load("vivid", &format!("{nodes} {numbers} multiplanar=1 allocators=0 no_error_inj=0"));
    }
}

impl Drop for Drivers {
    fn drop(&mut self) {
        // Both are out first: one may be where the other was.
        unload("vivid");
        unload("v4l2loopback");
        Drivers::loopback_at(0);
        Drivers::vivid_at(2);
    }
}

fn unload(module: &str) {
    // Whoever looks for the camera has it open now and then.
    for _ in 0..200 {
        if !Path::new("/sys/module").join(module).exists() {
            return;
        }
        let _ = Command::new("modprobe").args(["-r", module]).output();
        sleep(Duration::from_millis(20));
    }
    panic!("{module} cannot be unloaded");
}

fn load(module: &str, parameters: &str) {
    let done = Command::new("modprobe").arg(module).args(parameters.split(' ')).status();
    assert!(done.expect("modprobe is there").success(), "{module} {parameters}");
}

/// Who feeds a loopback with H.264.
struct Feeder {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    fn of(node: &'static str) -> Feeder {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = is_over.clone();
        let feed = move || {
            let mut splitter = AccessUnitSplitter::new();
            splitter.push(&fs::read("/lab/labcam.h264").expect("the lab's recording"));
            let units: Vec<_> = std::iter::from_fn(|| splitter.next_unit()).collect();
            let mut device = Device::with_path(node).expect("the loopback");
            let format = Format { size: 1_000_000, ..Format::new(640, 360, FourCC::new(b"H264")) };
            Output::set_format(&device, &format).expect("H.264");
            let mut writer = mmap::Stream::with_buffers(&device, Type::VideoOutput, 2).expect("buffers");
            writer.start().expect("started");
            for unit in units.iter().cycle() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                device.write_all(unit).expect("written");
                sleep(Duration::from_millis(33));
            }
        };
        let thread = Builder::new().name("feeder".into()).spawn(feed).expect("a thread");
        Feeder { is_over, thread: Some(thread) }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn until(capture: &mut Capture, mut is_it: impl FnMut(&CaptureEvent) -> bool) -> CaptureEvent {
    let wait = async {
        loop {
            let event = capture.events.recv().await.expect("the thread lives");
            if is_it(&event) {
                return event;
            }
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect("in time")
}

async fn started(capture: &mut Capture) -> String {
    match until(capture, |event| matches!(event, CaptureEvent::Started(_))).await {
        CaptureEvent::Started(format) => format.detail,
        other => panic!("{other:?}"),
    }
}

async fn lost(capture: &mut Capture) -> String {
    match until(capture, |event| matches!(event, CaptureEvent::Lost { .. })).await {
        CaptureEvent::Lost { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
#[ignore = "needs the device lab (tests/lab)"]
async fn a_camera_that_comes_back_under_another_number_streams_on_and_no_other_is_taken_for_it() {
    let _drivers = Drivers;
    let feeder = Feeder::of("/dev/video0");
    sleep(Duration::from_millis(200));
    let mut capture = spawn(&config::Video {
        source: VideoSource::V4l2 {
            device: "/dev/video0".into(),
            input: CameraInput::Auto,
            encoder: EncoderChoice::Auto,
        },
        when: When::Always,
        stalled_after: Duration::from_millis(500),
        ..config::Video::default()
    });
    assert!(started(&mut capture).await.contains("labcam"));
    drop(feeder);
    lost(&mut capture).await;
    unload("v4l2loopback");
    // Another camera takes its number. It could be captured from, but it is not the one.
    unload("vivid");
    Drivers::vivid_at(0);
    // It may say once more that it is lost, for another reason.
    let another = until(&mut capture, |event| matches!(event, CaptureEvent::Started(_)));
    assert!(timeout(Duration::from_secs(2), another).await.is_err(), "it took another");
    Drivers::loopback_at(7);
    let _feeder = Feeder::of("/dev/video7");
    let detail = started(&mut capture).await;
    assert!(detail.contains("labcam") && detail.contains("/dev/video7"), "{detail}");
    until(&mut capture, |event| matches!(event, CaptureEvent::Frame(_, unit) if unit.is_keyframe)).await;
    capture.stop().await;
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn a_driver_that_starts_anew_has_the_same_camera() {
    let _drivers = Drivers;
    let mut remembered = Remembered::default();
    let first = Path::new("/dev/video2");
    assert_eq!(remembered.find(first).expect("nothing is known yet"), first);
    remembered.remember(first, first);
    let before = Identity::of(first).expect("vivid");
    unload("vivid");
    assert_eq!(remembered.find(first).expect("opening it is to say what is missing"), first);
    Drivers::vivid_at(12);
    assert_eq!(remembered.find(first).expect("it is back"), Path::new("/dev/video12"));
    assert_eq!(Identity::of("/dev/video12".as_ref()).expect("vivid"), before);
    // Its old number belongs to another camera, and its own place is empty.
    unload("vivid");
    unload("v4l2loopback");
    Drivers::loopback_at(2);
    let refusal = remembered.find(first).expect_err("another camera").to_string();
    assert!(
        refusal.contains("labcam") && refusal.contains("vivid") && refusal.contains("by-id"),
        "{refusal}"
    );
}
