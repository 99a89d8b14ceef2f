use super::super::Level;
use super::*;
use crate::config::{CameraInput, EncoderChoice};
use crate::engine::choice::{Encoders, Mode, Offer, Sizes, Wish, choose};

fn camera(fourccs: &[&[u8; 4]], driver: &str, encoders: &Encoders) -> VideoNode {
    let mode = Mode { size: (1280, 720), fps: Some(30) };
    let offers: Vec<Offer> =
        fourccs.iter().map(|fourcc| Offer { fourcc: **fourcc, sizes: Sizes::Listed(vec![mode]) }).collect();
    let wish = Wish { input: CameraInput::Auto, encoder: EncoderChoice::Auto, size: (1280, 720), fps: 30 };
    VideoNode {
        path: "/dev/video0".into(),
        name: "/dev/v4l/by-id/usb-046d_Webcam_C270-video-index0".into(),
        driver: driver.into(),
        card: "Webcam C270".into(),
        role: Role::Camera {
            fourccs: fourccs.iter().map(|fourcc| **fourcc).collect(),
            plan: choose(&offers, encoders, &wish).map_err(|refusal| refusal.to_string()),
        },
    }
}

fn software() -> Encoders {
    Encoders { hardware: None, software: true }
}

fn ask(nodes: &[VideoNode], model: ModelKind, holders: &[Holder]) -> Vec<Finding> {
    ask_with(nodes, model, holders, &[])
}

fn ask_with(nodes: &[VideoNode], model: ModelKind, holders: &[Holder], sensors: &[String]) -> Vec<Finding> {
    let node = Path::new("/dev/video0");
    let around = Surroundings { nodes, model, has_rpicam: false, sensors };
    v4l2(node, nodes.iter().any(|known| known.path == node).then_some(node), holders, &around)
}

#[test]
fn a_webcam_is_told_with_what_becomes_of_its_pictures() {
    let webcam = [camera(&[b"MJPG", b"YUYV"], "uvcvideo", &software())];
    for (model, level) in [
        (ModelKind::Other, Level::Ok),
        (ModelKind::PiWithoutEncoder, Level::Ok),
        (ModelKind::PiWithEncoder, Level::Warning),
    ] {
        let findings = ask(&webcam, model, &[]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].level, level, "{model:?}: {findings:?}");
        assert!(findings[0].what.contains("encoded in software"), "{findings:?}");
    }
    let native = ask(&[camera(&[b"H264"], "uvcvideo", &software())], ModelKind::PiWithEncoder, &[]);
    assert_eq!(native[0].level, Level::Ok);
    assert!(native[0].what.contains("passed on"), "{native:?}");
}

#[test]
fn the_raw_end_of_a_csi_camera_leads_to_the_command_source() {
    // The formats of a Camera Module 3 behind unicam (Pi 4) and behind rp1-cfe (Pi 5).
    for (fourccs, driver) in [
        (&[b"pRAA", b"RG10"][..], "unicam"),
        (&[b"pBAA", b"BYR2", b"PC1B"][..], "rp1-cfe"),
        (&[b"RGGB"][..], "other"),
    ] {
        for (model, package) in [
            (ModelKind::PiWithEncoder, "sudo apt install rpicam-apps-lite"),
            (ModelKind::PiWithoutEncoder, "sudo apt install rpicam-apps"),
        ] {
            let findings = ask(&[camera(fourccs, driver, &software())], model, &[]);
            assert_eq!((findings.len(), findings[0].level), (1, Level::Fault), "{findings:?}");
            assert_eq!(findings[0].mend[0], package);
            assert!(findings[0].mend[1].contains("source = \"command\""), "{findings:?}");
        }
    }
    assert!(!is_bayer(b"YUYV") && !is_bayer(b"RGB3") && !is_bayer(b"H264") && !is_bayer(b"BGR3"));
}

#[test]
fn a_camera_that_is_not_there_is_missed_with_what_is() {
    let other = VideoNode { path: "/dev/video2".into(), ..camera(&[b"YUYV"], "uvcvideo", &software()) };
    let findings = ask(&[other], ModelKind::Other, &[]);
    assert!(findings[0].mend[1].contains("by-id/usb-046d_Webcam"), "{findings:?}");
    let findings = ask(&[], ModelKind::PiWithEncoder, &[]);
    assert!(findings[0].mend.iter().any(|line| line == "rpicam-hello --list-cameras"), "{findings:?}");
    let raw = VideoNode { path: "/dev/video4".into(), ..camera(&[b"pRAA"], "unicam", &software()) };
    let findings = ask(&[raw], ModelKind::PiWithEncoder, &[]);
    assert_eq!(findings[0].what, "there is no camera at /dev/video0");
    assert!(findings[0].mend.iter().any(|line| line.contains("rpicam-vid")), "{findings:?}");
}

#[test]
fn who_holds_the_camera_is_named() {
    let webcam = [camera(&[b"H264"], "uvcvideo", &software())];
    let holder = |pid, name: &str| Holder { pid, name: name.into() };
    let findings = ask(&webcam, ModelKind::Other, &[holder(612, "motion"), holder(7, "farol")]);
    assert_eq!(findings.len(), 2, "ourselves are no trouble: {findings:?}");
    assert_eq!(findings[1].level, Level::Fault);
    assert!(findings[1].what.contains("held by motion, process 612"), "{findings:?}");
    assert_eq!(findings[1].mend.last().map(String::as_str), Some("sudo kill 612"));
    assert_eq!(ask(&webcam, ModelKind::Other, &[holder(9, "wireplumber")])[1].level, Level::Note);
}

#[test]
fn a_program_is_asked_for_its_cameras() {
    let program = |found: Option<&str>, cameras: Option<&str>| {
        let argv = vec!["rpicam-vid".to_owned(), "--timeout".to_owned(), "0".to_owned()];
        let (found, cameras) = (found.map(PathBuf::from), cameras.map(str::to_owned));
        Program { argv, found, cameras, version: None, model: ModelKind::PiWithEncoder }.finding()
    };
    assert_eq!(program(None, None).mend, ["sudo apt install rpicam-apps-lite"]);
    let none = program(Some("/usr/bin/rpicam-vid"), Some("No cameras available!\n"));
    assert_eq!(none.level, Level::Fault);
    let list = "Available cameras\n-----------------\n\
                0 : imx708 [4608x2592 10-bit RGGB] (/base/axi/pcie@120000/rp1/i2c@88000/imx708@1a)\n    \
                Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]\n";
    let seen = program(Some("/usr/bin/rpicam-vid"), Some(list));
    assert_eq!(seen, Finding::ok("camera", "/usr/bin/rpicam-vid sees imx708, a Camera Module 3 (4608x2592)"));
}

#[test]
fn the_recipes_are_those_of_the_documentation() {
    let documented = include_str!("../../../../docs/cameras.md");
    for model in [ModelKind::PiWithEncoder, ModelKind::PiWithoutEncoder] {
        let recipe = rpicam::recipe(model, &[]);
        assert!(documented.contains(&recipe), "{recipe}");
    }
}

#[test]
fn a_camera_module_3_is_named_and_told_to_focus() {
    let raw = [camera(&[b"pRAA"], "rp1-cfe", &software())];
    for (sensor, camera, focuses) in
        [("imx708_wide", "Camera Module 3", true), ("imx219", "Camera Module 2", false)]
    {
        let found = ask_with(&raw, ModelKind::PiWithoutEncoder, &[], &[sensor.to_owned()]);
        assert!(found[0].what.contains(camera), "{found:?}");
        let recipe = &found[0].mend[1];
        assert_eq!(recipe.contains("\"--autofocus-mode\", \"continuous\""), focuses, "{recipe}");
        assert!(recipe.contains("\"--libav-format\", \"h264\", \"--low-latency\""), "{recipe}");
    }
    let unknown = ask_with(&raw, ModelKind::PiWithoutEncoder, &[], &[]);
    assert!(unknown[0].mend.join("\n").contains("(for a Camera Module 3, also"), "{unknown:?}");
}

#[test]
fn what_rpicam_lacks_on_a_pi_5_is_told_with_the_whole_command() {
    let ask = |model, version: &str, words: &[&str]| {
        let argv = ["rpicam-vid"].iter().chain(words).map(|word| (*word).to_owned()).collect();
        let found = Some(PathBuf::from("/usr/bin/rpicam-vid"));
        Program { argv, found, cameras: None, version: Some(version.to_owned()), model }.finding()
    };
    let (lite, whole) =
        ("rpicam-apps capabilites: egl:1 libav:0\n", "rpicam-apps capabilites: egl:1 libav:1\n");
    let good = ["--codec", "h264", "--libav-format", "h264", "--low-latency"];
    use ModelKind::{PiWithEncoder, PiWithoutEncoder};
    assert_eq!(ask(PiWithoutEncoder, whole, &good).level, Level::Ok);
    assert_eq!(ask(PiWithEncoder, lite, &["--inline"]).level, Level::Ok, "its own encoder is used");
    assert_eq!(ask(PiWithoutEncoder, lite, &["--codec", "mjpeg"]).level, Level::Ok);
    let found = ask(PiWithoutEncoder, lite, &good);
    assert_eq!((found.level, found.mend[0].as_str()), (Level::Fault, "sudo apt install rpicam-apps"));
    let found = ask(PiWithoutEncoder, whole, &["--codec", "h264"]);
    let line = "[video]\ncommand = [\"rpicam-vid\",\"--libav-format\",\"h264\",\"--low-latency\",\"--codec\",\"h264\"]";
    assert_eq!((found.level, found.mend[0].as_str()), (Level::Fault, line));
    let found = ask(PiWithoutEncoder, whole, &["--libav-format=h264"]);
    let line = "[video]\ncommand = [\"rpicam-vid\",\"--low-latency\",\"--libav-format=h264\"]";
    assert_eq!((found.level, found.mend[0].as_str()), (Level::Warning, line));
}

#[test]
fn who_shares_the_encoder_is_told_and_no_fault() {
    let hardware = Encoders {
        hardware: Some(("/dev/video11".into(), vec![crate::engine::picture::PixelFormat::Yuv420])),
        software: true,
    };
    let nodes = [camera(&[b"YUYV"], "uvcvideo", &hardware)];
    let around =
        Surroundings { nodes: &nodes, model: ModelKind::PiWithEncoder, has_rpicam: false, sensors: &[] };
    let encoder = around.encoder_of(Path::new("/dev/video0")).expect("it is taken");
    assert_eq!(encoder, Path::new("/dev/video11"));
    let holder = |pid, name: &str| Holder { pid, name: name.into() };
    let found =
        encoder_shared(encoder, &[holder(7, "farol"), holder(612, "ffmpeg"), holder(8, "wireplumber")]);
    let found = found.expect("ffmpeg has it too");
    assert_eq!(
        (found.level, found.what.as_str()),
        (Level::Note, "the encoder /dev/video11 is open in ffmpeg, process 612 as well")
    );
    assert_eq!(encoder_shared(encoder, &[holder(7, "farol")]), None);
    let native = [camera(&[b"H264"], "uvcvideo", &hardware)];
    let around = Surroundings { nodes: &native, ..around };
    assert_eq!(around.encoder_of(Path::new("/dev/video0")), None, "its own H.264 is passed on");
}
