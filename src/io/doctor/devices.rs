//! What do camera, sound and pins say of themselves, and who has them?

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::child::said;
use super::{board, holders};
use crate::config::{Audio, Config, VideoSource};
use crate::engine::choice::Wish;
use crate::engine::doctor::access::{self, Groups, Node, Runner, Somebody};
use crate::engine::doctor::camera::{self, Program, Role, Surroundings, VideoNode};
use crate::engine::doctor::pins::{self, Chip, ChipLine};
use crate::engine::doctor::sandbox::{Mend, Sandbox};
use crate::engine::doctor::sound::{Obstacle, Reading};
use crate::engine::doctor::{Finding, Level};
use crate::io::capture::survey;
use crate::io::devices::{self, Direction};

/// `rpicam-hello --list-cameras` starts the camera's pipeline, which takes a second on a Pi Zero.
const LIST_PATIENCE: Duration = Duration::from_secs(5);
/// For its `--version`.
const VERSION_PATIENCE: Duration = Duration::from_secs(2);

/// Who opens the devices.
#[derive(Clone, Debug)]
pub(super) struct People {
    /// The system's groups.
    pub(super) groups: Groups,
    /// The unit's user, in the unit's groups.
    pub(super) service: Somebody,
    /// Who asks.
    pub(super) asker: Somebody,
    /// Which of the two runs farol here.
    pub(super) runner: Runner,
    /// What is kept from the service.
    pub(super) sandbox: Sandbox,
}

impl People {
    /// Whether a device lets in who is meant to open it.
    fn check(&self, check: &'static str, path: &Path, group: &str) -> Option<Finding> {
        access::refused(check, &device(path)?, &self.groups, (&self.service, &self.asker), self.runner, group)
    }

    /// Whether the service does not see a file that the source of pictures needs.
    fn hidden(&self, key: &str, path: &Path, mend: Mend<'_>) -> Option<Finding> {
        self.sandbox.hidden("camera", key, path, mend)
    }

    /// Whether only who asks may not look into a device.
    fn unseen(&self, check: &'static str, path: &Path) -> Option<Finding> {
        access::unseen(check, &device(path)?, (&self.service, &self.asker), self.runner)
    }
}

/// A device's node; `None`: there is none.
fn device(path: &Path) -> Option<Node> {
    let is_device = fs::metadata(path).is_ok_and(|about| about.file_type().is_char_device());
    node(path).filter(|_| is_device)
}

/// Whose a file is; `None`: it is not there, or out of sight.
pub(super) fn node(path: &Path) -> Option<Node> {
    let about = fs::metadata(path).ok()?;
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Some(Node { path, mode: about.permissions().mode(), uid: about.uid(), gid: about.gid() })
}

/// Whether a picture comes from the configured source.
pub(super) fn video(config: &Config, people: &People) -> Vec<Finding> {
    let video = &config.video;
    match &video.source {
        VideoSource::V4l2 { device, input, encoder } => {
            if let Some(unseen) = people.unseen("camera", device) {
                return vec![unseen];
            }
            let wish = Wish { input: *input, encoder: encoder.clone(), size: video.size, fps: video.fps };
            let nodes: Vec<VideoNode> = survey::survey_for(&wish).into_iter().map(known).collect();
            let node = fs::canonicalize(device).ok();
            let has_rpicam = in_path("rpicam-vid", people.runner).is_some();
            let sensors = sensors();
            let model = board::model().kind;
            let around = Surroundings { nodes: &nodes, model, has_rpicam, sensors: &sensors };
            let holders = node.as_deref().map(holders::of_file).unwrap_or_default();
            let mut findings = camera::v4l2(device, node.as_deref(), &holders, &around);
            findings.extend(people.check("camera", device, "video"));
            if let Some(encoder) = node.as_deref().and_then(|node| around.encoder_of(node)) {
                findings.extend(people.check("camera", encoder, "video"));
                findings.extend(camera::encoder_shared(encoder, &holders::of_file(encoder)));
            }
            findings
        }
        VideoSource::Command { argv } => program(argv, people),
        VideoSource::Replay { file } => vec![match fs::File::open(file) {
            Ok(_) => people
                .hidden("video.file", file, Mend::Recording)
                .unwrap_or_else(|| Finding::ok("camera", format!("the file {}", file.display()))),
            Err(cause) => {
                Finding::fault("camera", format!("the file {} cannot be read: {cause}", file.display()))
                    .because("it is the picture")
                    .mend("[video]\nfile = \"/var/lib/farol/recording.h264\"")
            }
        }],
        VideoSource::Pattern => vec![Finding::note("camera", "none: video.source is the test picture")],
    }
}

fn program(argv: &[String], people: &People) -> Vec<Finding> {
    let found = argv.first().and_then(|program| in_path(program, people.runner));
    // What it is, where it is a script, or what it plays.
    let named = argv.iter().skip(1).map(PathBuf::from).filter(|word| word.is_absolute() && word.exists());
    let mut hidden = found
        .iter()
        .cloned()
        .chain(named)
        .filter_map(|path| people.hidden("video.command", &path, Mend::Command(argv)));
    if let Some(hidden) = hidden.next() {
        return vec![hidden];
    }
    let is_rpicam = Program::is_rpicam(argv);
    let asked = |question, patience| {
        let found = found.as_ref().filter(|_| is_rpicam)?;
        said(&found.to_string_lossy(), &[question], patience)
    };
    let cameras = asked("--list-cameras", LIST_PATIENCE);
    let version = asked("--version", VERSION_PATIENCE);
    let model = board::model().kind;
    let mut findings = vec![Program { argv: argv.to_vec(), found, cameras, version, model }.finding()];
    // libcamera takes its buffers from there.
    if is_rpicam {
        let heaps = ["/dev/dma_heap/vidbuf_cached", "/dev/dma_heap/linux,cma"].map(PathBuf::from);
        findings.extend(heaps.iter().find_map(|heap| people.check("camera", heap, "video")));
    }
    findings
}

/// Where a program is, as execvp(3) looks for it: in the search path that systemd gives services, or in ours.
fn in_path(program: &str, runner: Runner) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|about| about.is_file() && about.mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(is_program);
    }
    let path = match runner {
        // Its own only, or a program would be found that the service does not find.
        Runner::Unit => String::new(),
        Runner::Hand => std::env::var("PATH").unwrap_or_default(),
    };
    let of_services = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let directories = path.split(':').filter(|directory| !directory.is_empty()).chain(of_services);
    directories.map(|directory| Path::new(directory).join(program)).find(is_program)
}

/// The sensors of Camera Modules: the kernel's sub-devices, `imx708_wide 10-001a`.
fn sensors() -> Vec<String> {
    let nodes = fs::read_dir("/sys/class/video4linux").into_iter().flatten().flatten();
    let nodes = nodes.filter(|node| node.file_name().to_string_lossy().starts_with("v4l-subdev"));
    let names = nodes.filter_map(|node| fs::read_to_string(node.path().join("name")).ok());
    names.filter_map(|name| name.split_whitespace().next().map(str::to_owned)).collect()
}

fn known(node: Result<survey::VideoNode, survey::Unreadable>) -> VideoNode {
    match node {
        Ok(survey::VideoNode { name, path, driver, card, role, .. }) => {
            let role = match role {
                survey::Role::Camera { offers, plan } => {
                    Role::Camera { fourccs: offers.iter().map(|offer| offer.fourcc).collect(), plan }
                }
                survey::Role::Encoder { .. } => Role::Encoder,
                _ => Role::Other,
            };
            VideoNode { path, name, driver, card, role }
        }
        Err(survey::Unreadable { path, reason }) => VideoNode {
            name: path.clone(),
            path,
            driver: String::new(),
            card: String::new(),
            role: Role::Unreadable(reason),
        },
    }
}

/// Whether microphone and speaker can be had, where some are configured.
pub(super) fn sound(config: &Config, people: &People) -> Vec<Finding> {
    let microphone = match &config.audio {
        Audio::Alsa { device, .. } => Some(("microphone", device.as_str(), Direction::In)),
        Audio::None | Audio::Tone { .. } => None,
    };
    let speaker =
        config.talkback.as_ref().map(|talkback| ("speaker", talkback.device.as_str(), Direction::Out));
    let read = |(check, device, direction)| {
        let found = reading(check, device, direction, people.runner).finding();
        // Who asks may, which says nothing of the service.
        let refused = nodes_of(device, direction).iter().find_map(|node| people.check(check, node, "audio"));
        match refused.filter(|_| found.level == Level::Ok && people.runner == Runner::Unit) {
            Some(refused) => refused,
            None => found,
        }
    };
    microphone.into_iter().chain(speaker).map(read).collect()
}

/// The nodes that a name of ALSA's leads to: those of the card in `hw:C270,0`, by its number or its id; else any.
fn nodes_of(device: &str, direction: Direction) -> Vec<PathBuf> {
    let card = device.split_once(':').map(|(_, rest)| rest.split(',').next().unwrap_or_default());
    let card = card.map(|card| card.trim_start_matches("CARD=")).filter(|card| !card.is_empty());
    let number = card.and_then(|card| match card.parse::<u32>() {
        Ok(number) => Some(number),
        // A link such as `C270 -> card1` (the kernel's "Proc Files of ALSA Drivers").
        Err(_) => {
            let link = fs::read_link(Path::new("/proc/asound").join(card)).ok()?;
            link.to_string_lossy().strip_prefix("card")?.parse().ok()
        }
    });
    let mut nodes = nodes(direction);
    if let Some(number) = number {
        let begin = format!("pcmC{number}D");
        nodes.retain(|node| node.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin)));
    }
    nodes
}

fn reading(check: &'static str, device: &str, direction: Direction, runner: Runner) -> Reading {
    let ability = devices::ability_of(device, direction).map(|ability| ability.to_string());
    let ability = ability.map_err(|cause| match cause.errno() {
        libc::EBUSY | libc::EAGAIN => Obstacle::Busy,
        libc::EACCES | libc::EPERM => Obstacle::Forbidden,
        _ => Obstacle::Other(std::io::Error::from_raw_os_error(cause.errno()).to_string()),
    });
    let (mut others, mut holders) = (Vec::new(), Vec::new());
    if ability.is_err() {
        let usable = devices::list().sound.into_iter().filter(|other| other.direction == direction);
        others = usable.filter(|other| other.ability.is_ok()).map(|other| other.name).collect();
        holders = nodes(direction).iter().flat_map(|node| holders::of_file(node)).collect();
        holders.dedup();
    }
    Reading { check, device: device.to_owned(), ability, holders, others, runner }
}

/// The kernel's nodes of all devices, one way: `/dev/snd/pcmC0D0c` captures, `p` plays. A name of ALSA's may
/// lead to any of them.
fn nodes(direction: Direction) -> Vec<PathBuf> {
    let end = match direction {
        Direction::In => 'c',
        Direction::Out => 'p',
    };
    let entries = fs::read_dir("/dev/snd").into_iter().flatten().flatten();
    let is_one = |name: &str| name.starts_with("pcm") && name.ends_with(end);
    entries.filter(|entry| is_one(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect()
}

/// Whether the lines of the configuration can be had.
pub(super) fn pins(config: &Config, people: &People) -> Vec<Finding> {
    let wanted = pins::wanted(&config.board);
    if wanted.is_empty() {
        return Vec::new();
    }
    let configured = config.board.chip.as_path();
    if let Some(unseen) = people.unseen("pins", configured) {
        return vec![unseen];
    }
    let chip = chip(configured);
    let paths = gpiocdev::chip::chips().unwrap_or_default();
    let all: Vec<Chip> = paths.iter().filter_map(|path| self::chip(path).ok()).collect();
    let mut findings = pins::findings(configured, chip.as_ref().map_err(String::as_str), &all, &wanted);
    findings.extend(people.check("pins", configured, "gpio"));
    findings
}

fn chip(path: &Path) -> Result<Chip, String> {
    let look = || {
        let chip = gpiocdev::Chip::from_path(path)?;
        let info = chip.info()?;
        let line = |line: gpiocdev::line::Info| ChipLine {
            name: line.name,
            consumer: line.used.then_some(line.consumer),
        };
        let lines = chip.line_info_iter()?.flatten().map(line).collect();
        Ok(Chip { path: path.to_owned(), label: info.label, lines })
    };
    look().map_err(|cause: gpiocdev::Error| cause.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;
    use std::process::Command;

    use super::*;
    use crate::config::board::{Line, Output};
    use crate::config::{CameraInput, EncoderChoice, Video};
    use crate::engine::doctor::service::Unit;
    use crate::units::Bitrate;

    /// As Debian numbers these groups.
    const VIDEO: u32 = 44;
    const AUDIO: u32 = 29;

    fn root() -> People {
        let groups = Groups::of(&format!("root:x:0:\nvideo:x:{VIDEO}:\naudio:x:{AUDIO}:\ngpio:x:997:\n"));
        let asker = Somebody { name: "root".into(), uid: Some(0), gids: vec![0] };
        People {
            service: groups.service(&access::UNIT_GROUPS.map(str::to_owned)),
            groups,
            asker,
            runner: Runner::Hand,
            sandbox: Sandbox::default(),
        }
    }

    fn with_camera(device: &Path) -> Config {
        let source = VideoSource::V4l2 {
            device: device.to_owned(),
            input: CameraInput::Auto,
            encoder: EncoderChoice::Auto,
        };
        Config { video: Video { source, ..Video::default() }, ..Config::default() }
    }

    #[test]
    #[ignore = "needs the device lab"]
    fn a_camera_that_another_process_holds_is_told_with_its_process() {
        let nodes = survey::survey().into_iter().flatten();
        let usable =
            |node: &survey::VideoNode| matches!(&node.role, survey::Role::Camera { plan: Ok(_), .. });
        let node = nodes.into_iter().find(usable).expect("the lab has a camera").path;
        let config = with_camera(&node);
        let free = video(&config, &root());
        assert_eq!((free.len(), free[0].level), (1, Level::Ok), "{free:?}");

        let file = fs::OpenOptions::new().read(true).write(true).open(&node).expect("we are root");
        let mut child = Command::new("sleep").arg("600").stdin(file).spawn().expect("sleep can be run");
        let held = video(&config, &root());
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        let what = format!("{} is held by sleep, process {}", node.display(), child.id());
        assert!(held.iter().any(|found| found.level == Level::Fault && found.what == what), "{held:?}");

        let missing = video(&with_camera(Path::new("/dev/video99")), &root());
        assert_eq!(missing[0].what, "there is no camera at /dev/video99");
        assert!(missing[0].mend.iter().any(|line| line.contains("device = ")), "one is there: {missing:?}");
    }

    #[test]
    #[ignore = "needs the device lab"]
    fn sound_and_pins_of_the_lab_are_looked_at() {
        let card = devices::list()
            .sound
            .into_iter()
            .find(|card| card.direction == Direction::In && card.ability.is_ok());
        let device = card.expect("the lab has a sound card").name;
        let microphone = reading("microphone", &device, Direction::In, Runner::Hand).finding();
        assert_eq!(microphone.level, Level::Ok, "{microphone:?}");
        let missing = reading("microphone", "hw:Nothing,0", Direction::In, Runner::Hand).finding();
        assert_eq!(missing.level, Level::Fault, "{missing:?}");
        assert!(missing.mend[0].contains("device = \"hw:"), "another is named: {missing:?}");

        let mut config = Config::default();
        config.board.chip =
            gpiocdev::chip::chips().expect("/dev can be read").into_iter().next().expect("a chip");
        let mut led = |line| {
            config.board.led = Some(Output { line: Line::Offset(line), active_low: false });
            pins(&config, &root())
        };
        assert_eq!(led(0)[0].level, Level::Ok, "{:?}", led(0));
        assert!(led(4000)[0].what.contains("has no line 4000"), "{:?}", led(4000));
    }

    /// We are root and may open everything, which says nothing of the service.
    #[test]
    #[ignore = "needs the device lab"]
    fn sound_and_an_encoder_that_the_service_may_not_open_are_told() {
        let inside = People { runner: Runner::Unit, ..root() };
        let refused = |findings: &[Finding], path: &Path| {
            let begin = format!("{} belongs to the group", path.display());
            findings.iter().any(|found| found.level == Level::Fault && found.what.starts_with(&begin))
        };
        // As udev's rules give it to a group, and as it is without them.
        let is_told = |node: &Path, group: u32, is_refused: &dyn Fn(&People) -> bool| {
            let about = fs::metadata(node).expect("it is there");
            let set = |mode, group| {
                chown(node, None, Some(group)).expect("we are root");
                fs::set_permissions(node, fs::Permissions::from_mode(mode)).expect("we are root");
            };
            set(0o660, group);
            let of_group = (is_refused(&inside), is_refused(&root()));
            set(0o600, 0);
            let of_root = (is_refused(&inside), is_refused(&root()));
            set(about.mode(), about.gid());
            assert_eq!((of_group, of_root), ((false, false), (true, false)), "{}", node.display());
        };

        let cards = devices::list().sound.into_iter();
        let mut cards = cards.filter(|card| card.direction == Direction::In && card.ability.is_ok());
        let device = cards.next().expect("the lab has a sound card").name;
        let node = nodes_of(&device, Direction::In).remove(0);
        let (rate_hz, channels, bitrate) = (48_000, 1, Bitrate::from_kbps(32));
        let audio = Audio::Alsa { device, rate_hz, channels, bitrate };
        let config = Config { audio, ..Config::default() };
        is_told(&node, AUDIO, &|people| refused(&sound(&config, people), &node));

        let known = survey::survey().into_iter().flatten();
        let (encoders, cameras): (Vec<_>, Vec<_>) =
            known.partition(|node| matches!(node.role, survey::Role::Encoder { .. }));
        let encoder = encoders.into_iter().next().expect("the lab has an encoder").path;
        is_told(&encoder, VIDEO, &|people| {
            cameras.iter().any(|camera| refused(&video(&with_camera(&camera.path), people), &encoder))
        });
    }

    /// A recording and a script that everybody may read, in a place that the unit hides.
    #[test]
    fn what_the_service_does_not_see_is_no_source_of_pictures() {
        let dir = tempfile::tempdir_in("/tmp").expect("a temporary directory");
        let file = dir.path().join("recording.h264");
        fs::write(&file, b"").expect("the directory is ours");
        let replay = |file: &Path| Config {
            video: Video { source: VideoSource::Replay { file: file.to_owned() }, ..Video::default() },
            ..Config::default()
        };
        let argv = vec!["sh".to_owned(), file.display().to_string()];
        let command = Config {
            video: Video { source: VideoSource::Command { argv }, ..Video::default() },
            ..Config::default()
        };
        let unit = Unit::of("LoadState=loaded\nProtectHome=yes\nPrivateTmp=yes\n");
        let inside = People { runner: Runner::Unit, sandbox: unit.sandbox, ..root() };
        for config in [replay(&file), command] {
            let by_hand = video(&config, &root());
            assert_eq!((by_hand.len(), by_hand[0].level), (1, Level::Ok), "{by_hand:?}");
            let found = video(&config, &inside);
            // The temporary directory is one of those that the unit has for itself.
            assert_eq!((found.len(), found[0].level), (1, Level::Fault), "{found:?}");
            assert!(found[0].what.contains("PrivateTmp="), "{found:?}");
        }
    }
}
