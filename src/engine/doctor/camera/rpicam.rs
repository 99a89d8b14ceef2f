//! What does a Camera Module need on this board: which package, and what is `rpicam-vid` to be told?
//!
//! The recipes are those of `docs/cameras.md`, which explains each word; a test compares them.

use crate::engine::doctor::Finding;
use crate::engine::doctor::board::ModelKind;

/// The sensor of the Camera Module 3, whose lens moves. The kernel and libcamera call its variants
/// `imx708_wide`, `imx708_noir` and so on.
const WITH_LENS: &str = "imx708";
/// The names of `rpicam-vid`, the second before Bookworm.
const NAMES: [&str; 2] = ["rpicam-vid", "libcamera-vid"];

/// Whether a command is `rpicam-vid`.
fn is_rpicam_vid(argv: &[String]) -> bool {
    let name = argv.first().map(|program| program.rsplit('/').next().unwrap_or_default());
    name.is_some_and(|name| NAMES.contains(&name))
}

/// The package that brings it. The lite one is built without libav, which is the encoder of a board that has none.
pub fn install(model: ModelKind) -> &'static str {
    match model {
        ModelKind::PiWithoutEncoder => "sudo apt install rpicam-apps",
        ModelKind::PiWithEncoder | ModelKind::Other => "sudo apt install rpicam-apps-lite",
    }
}

/// The lines of the configuration for this board, with those of its sensors that are known.
pub fn recipe(model: ModelKind, sensors: &[String]) -> String {
    let codec = match model {
        ModelKind::PiWithoutEncoder => {
            "  \"--codec\", \"h264\", \"--libav-format\", \"h264\", \"--low-latency\",\n  \
             \"--profile\", \"baseline\", \"--bitrate\", \"2500000\",\n  \
             \"--inline\", \"--intra\", \"30\", \"--flush\",\n"
        }
        ModelKind::PiWithEncoder | ModelKind::Other => {
            "  \"--codec\", \"h264\", \"--profile\", \"baseline\", \"--bitrate\", \"2500000\",\n  \
             \"--inline\", \"--intra\", \"30\", \"--flush\",\n  \
             \"--denoise\", \"cdn_off\",\n"
        }
    };
    let focus = match has_lens(sensors) {
        true => "  \"--autofocus-mode\", \"continuous\",\n",
        false => "",
    };
    format!(
        "[video]\nsource = \"command\"\ncommand = [\n  \"rpicam-vid\", \"--timeout\", \"0\", \"--nopreview\",\n  \
         \"--width\", \"1280\", \"--height\", \"720\", \"--framerate\", \"30\",\n{codec}{focus}  \
         \"--output\", \"-\",\n]"
    )
}

/// What to add where the sensor is not known.
pub fn focus_hint(sensors: &[String]) -> Option<&'static str> {
    let hint = "# (for a Camera Module 3, also \"--autofocus-mode\", \"continuous\")";
    sensors.is_empty().then_some(hint)
}

fn has_lens(sensors: &[String]) -> bool {
    sensors.iter().any(|sensor| sensor.starts_with(WITH_LENS))
}

/// What people call a sensor.
pub fn module(sensor: &str) -> Option<&'static str> {
    let modules = [
        (WITH_LENS, "Camera Module 3"),
        ("imx219", "Camera Module 2"),
        ("ov5647", "Camera Module 1"),
        ("imx477", "HQ Camera"),
        ("imx296", "Global Shutter Camera"),
        ("imx500", "AI Camera"),
    ];
    modules.iter().find(|(name, _)| sensor.starts_with(name)).map(|(_, module)| *module)
}

/// What `rpicam-vid` lacks on a board without an encoder. `version` is what its `--version` prints, which names
/// `libav:0` or `libav:1` among its capabilities since 1.6; `argv` is how it is called.
pub fn unfit(model: ModelKind, version: Option<&str>, argv: &[String]) -> Option<Finding> {
    if model != ModelKind::PiWithoutEncoder || !is_rpicam_vid(argv) || !gives_h264(argv) {
        return None;
    }
    let why =
        "this Pi has no H.264 encoder: rpicam-vid encodes with libav, and only where it is told for what";
    if version.is_some_and(|version| version.contains("libav:0")) {
        let what = format!("{} is built without libav, and gives no H.264 on a Pi 5", argv[0]);
        return Some(
            Finding::fault("camera", what)
                .because(why)
                .mend(install(model))
                .mend("sudo systemctl restart farol"),
        );
    }
    if !has(argv, "--libav-format") {
        return Some(
            Finding::fault("camera", "video.command lacks \"--libav-format\", \"h264\", which a Pi 5 needs")
                .because(why)
                .mend(completed(argv))
                .mend("sudo systemctl restart farol"),
        );
    }
    let is_prompt = has(argv, "--low-latency") || argv.iter().any(|word| word.contains("zerolatency"));
    (!is_prompt).then(|| {
        Finding::warning("camera", "video.command lacks \"--low-latency\", which a Pi 5 needs")
            .because("its encoder keeps several pictures back, and browsers stumble over B-frames")
            .mend(completed(argv))
            .mend("sudo systemctl restart farol")
    })
}

/// H.264 is what it gives when it is not told otherwise.
fn gives_h264(argv: &[String]) -> bool {
    let told = argv.iter().position(|word| word == "--codec").and_then(|at| argv.get(at + 1));
    told.is_none_or(|codec| codec == "h264" || codec == "libav")
}

fn has(argv: &[String], option: &str) -> bool {
    let is_end = |rest: &str| rest.is_empty() || rest.starts_with('=');
    let is_it = |word: &String| word.strip_prefix(option).is_some_and(is_end);
    argv.iter().any(is_it)
}

/// The command with what it lacks on a Pi 5, behind the program's name.
fn completed(argv: &[String]) -> String {
    let options =
        [("--libav-format", &["--libav-format", "h264"][..]), ("--low-latency", &["--low-latency"])];
    let missing = options.iter().filter(|(option, _)| !has(argv, option)).flat_map(|(_, words)| *words);
    let missing = missing.map(|word| (*word).to_owned());
    let words = argv.iter().take(1).cloned().chain(missing).chain(argv.iter().skip(1).cloned());
    super::line(&words.collect::<Vec<_>>())
}

/// The cameras that `rpicam-hello --list-cameras` prints, each its sensor and its size:
/// `0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/...)`.
pub fn cameras(list: &str) -> Vec<(String, String)> {
    let camera = |line: &str| {
        let (number, rest) = line.split_once(" : ")?;
        number.trim().parse::<u32>().ok()?;
        let (name, rest) = rest.split_once(" [")?;
        let size = rest.split([' ', ']']).next()?;
        Some((name.to_owned(), size.to_owned()))
    };
    list.lines().filter_map(camera).collect()
}
