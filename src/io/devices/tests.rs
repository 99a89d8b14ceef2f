use super::*;
use crate::config::ControlValue;
use crate::engine::choice::{Encoders, Mode, Offer, Sizes, Wish, choose};
use crate::engine::control::{CameraControl, ControlKind};
use crate::io::capture::survey::Role;

fn control(name: &str, kind: ControlKind, value: Option<ControlValue>, is_settable: bool) -> CameraControl {
    CameraControl { name: name.to_owned(), label: name.to_owned(), kind, value, is_settable }
}

/// A webcam without H.264, as many are: uncompressed pictures too slow at the size that is wanted.
fn webcam() -> VideoNode {
    let mode = |width, height, fps| Mode { size: (width, height), fps: Some(fps) };
    let offers = vec![
        Offer { fourcc: *b"YUYV", sizes: Sizes::Listed(vec![mode(640, 480, 30), mode(1280, 720, 10)]) },
        Offer { fourcc: *b"MJPG", sizes: Sizes::Listed(vec![mode(640, 480, 30), mode(1280, 720, 30)]) },
    ];
    let wish = Wish {
        input: crate::config::CameraInput::Auto,
        encoder: crate::config::EncoderChoice::Auto,
        size: (1280, 720),
        fps: 30,
    };
    let plan = choose(&offers, &Encoders { hardware: None, software: true }, &wish)
        .map_err(|refusal| refusal.to_string());
    let menu = vec![(0, "Disabled".to_owned()), (1, "50 Hz".to_owned()), (2, "60 Hz".to_owned())];
    VideoNode {
        name: "/dev/v4l/by-id/usb-046d_Webcam_C270-video-index0".into(),
        path: "/dev/video0".into(),
        driver: "uvcvideo".into(),
        card: "Webcam C270".into(),
        bus: "usb-0000:01:00.0-1.3".into(),
        role: Role::Camera { offers, plan },
        controls: vec![
            control(
                "brightness",
                ControlKind::Integer { min: 0, max: 255, step: 1, default: 128 },
                Some(ControlValue::Integer(140)),
                true,
            ),
            control(
                "power_line_frequency",
                ControlKind::Menu { entries: menu, default: 2 },
                Some(ControlValue::Integer(1)),
                true,
            ),
            control(
                "exposure_time_absolute",
                ControlKind::Integer { min: 10, max: 5000, step: 10, default: 150 },
                Some(ControlValue::Integer(150)),
                false,
            ),
            control(
                "auto_exposure",
                ControlKind::Boolean { default: true },
                Some(ControlValue::Boolean(true)),
                true,
            ),
        ],
    }
}

fn board() -> Devices {
    let usb = Ability { rates_hz: (44_100, 44_100), channels: (2, 2), formats: vec!["S16_LE"] };
    let device = |name: &str, direction, ability| SoundDevice {
        name: name.to_owned(),
        direction,
        card: "USB Audio, USB Audio".to_owned(),
        ability,
    };
    Devices {
        video: vec![
            Ok(webcam()),
            Err(Unreadable {
                path: "/dev/video9".into(),
                reason: "Permission denied; give the user the group `video`".to_owned(),
            }),
        ],
        sound: vec![
            device("hw:U0x46d,0", Direction::In, Ok(usb)),
            device(
                "hw:vc4hdmi,0",
                Direction::Out,
                Ok(Ability { rates_hz: (48_000, 48_000), channels: (2, 8), formats: vec![] }),
            ),
            device("hw:Headphones,0", Direction::Out, Err("another program uses it now".to_owned())),
        ],
        chips: vec![Ok(Chip {
            path: "/dev/gpiochip0".into(),
            label: "pinctrl-bcm2711".to_owned(),
            lines: 58,
            named: vec![(2, "SDA1".to_owned()), (17, "GPIO17".to_owned())],
            used: 3,
        })],
    }
}

#[test]
fn a_person_reads_what_there_is_what_is_done_with_it_and_the_lines_that_use_it() {
    insta::assert_snapshot!(board());
}

#[test]
fn a_program_reads_the_same() {
    let json = board().to_json();
    insta::assert_snapshot!(format!("{json:#}"));
    assert_eq!(json["video"][0]["plan"]["fourcc"], "MJPG");
    assert_eq!(json["video"][0]["controls"][1]["entries"][1][1], "50 Hz");
    assert_eq!(json["sound"][2]["error"], "another program uses it now");
}

#[test]
fn a_board_without_anything_says_what_to_do() {
    let nothing = Devices { video: Vec::new(), sound: Vec::new(), chips: Vec::new() };
    assert!(nothing.to_string().contains("docs/cameras.md") && nothing.to_string().contains("farol demo"));
}

#[test]
fn looking_at_this_machine_is_no_error() {
    // Whatever it has, it is listed without a panic.
    assert!(!list().to_string().is_empty());
}

#[test]
#[ignore = "needs the device lab (tests/lab)"]
fn the_lab_s_devices_are_listed_for_what_they_are() {
    let devices = list();
    let node = |path: &str| {
        let nodes = devices.video.iter().flatten();
        nodes
            .clone()
            .find(|node| node.path.as_os_str() == path)
            .unwrap_or_else(|| panic!("{path} is missing"))
    };
    assert_eq!(node("/dev/video0").role, Role::Output, "its producer is not running");
    let Role::Camera { offers, plan } = &node("/dev/video2").role else { panic!("vivid is a camera") };
    assert!(offers.len() > 20 && plan.is_ok(), "{plan:?}");
    assert!(node("/dev/video2").controls.iter().any(|control| control.name == "brightness"));
    let Role::Encoder { takes } = &node("/dev/video11").role else { panic!("vh264enc is an encoder") };
    assert!(!takes.is_empty());
    for direction in [Direction::In, Direction::Out] {
        let loopback = devices
            .sound
            .iter()
            .find(|device| device.name == "hw:Loopback,1" && device.direction == direction);
        let ability = loopback.expect("snd-aloop").ability.as_ref().expect("nobody uses it");
        assert_eq!((ability.rates_hz, ability.best_rate_hz()), ((8_000, 192_000), 48_000));
    }
    let chips: Vec<&Chip> = devices.chips.iter().flatten().collect();
    assert!(
        chips.iter().any(|chip| chip.label == "lab" && chip.lines == 8 && chip.named.len() == 2),
        "{chips:?}"
    );
}
