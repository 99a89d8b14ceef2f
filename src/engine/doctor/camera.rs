//! Does a picture come from what is configured: is the camera there, free, and of use, and what encodes it?

mod rpicam;

use std::path::{Path, PathBuf};

use super::board::ModelKind;
use super::{Finding, command};
use crate::engine::choice::{Encoder, Encoding, Plan, name};

/// What receives a CSI camera's raw pictures on Raspberry Pis, up to the 4 and on the 5.
const RAW_RECEIVERS: [&str; 2] = ["unicam", "rp1-cfe"];
/// Programs that open every camera to see what it is, and let it go until somebody wants it.
const ONLOOKERS: [&str; 3] = ["wireplumber", "pipewire", "pipewire-media-"];

/// A video node, as it says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoNode {
    /// Its node.
    pub path: PathBuf,
    /// The name to be configured, which stays.
    pub name: PathBuf,
    /// Kernel driver.
    pub driver: String,
    /// What it calls itself.
    pub card: String,
    /// What it is good for.
    pub role: Role,
}

/// What a node is good for.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// It captures.
    Camera {
        /// The formats, by their four characters.
        fourccs: Vec<[u8; 4]>,
        /// What is taken with this configuration; else why nothing can be.
        plan: Result<Plan, String>,
    },
    /// It encodes H.264.
    Encoder,
    /// Something without pictures for us.
    Other,
    /// It could not be looked into.
    Unreadable(String),
}

/// A process that has a device open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its name, of which the kernel keeps 15 characters.
    pub name: String,
}

impl Holder {
    /// Whether it is a farol.
    pub fn is_farol(&self) -> bool {
        self.name == "farol"
    }

    /// Whether it only looks at devices as they come.
    fn is_onlooker(&self) -> bool {
        ONLOOKERS.contains(&self.name.as_str())
    }
}

/// The board around a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surroundings<'a> {
    /// All video nodes.
    pub nodes: &'a [VideoNode],
    /// Which board.
    pub model: ModelKind,
    /// Whether `rpicam-vid` is installed.
    pub has_rpicam: bool,
    /// The sensors of its Camera Modules, as the kernel names them: `imx708_wide`.
    pub sensors: &'a [String],
}

impl Surroundings<'_> {
    /// The encoder that is taken for the pictures of a camera, where it is a device.
    pub fn encoder_of(&self, camera: &Path) -> Option<&Path> {
        match &self.nodes.iter().find(|node| node.path == camera)?.role {
            Role::Camera { plan: Ok(plan), .. } => match &plan.encoding {
                Encoding::Encoded { by: Encoder::Hardware(path), .. } => Some(path),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Whether a picture comes from a V4L2 camera. `node` is where the configured name leads; `holders` have it open.
pub fn v4l2(
    device: &Path,
    node: Option<&Path>,
    holders: &[Holder],
    around: &Surroundings<'_>,
) -> Vec<Finding> {
    let known = node.and_then(|node| around.nodes.iter().find(|known| known.path == node));
    let Some(known) = known else { return vec![missing(device, around)] };
    if is_raw_receiver(known) {
        let camera = around.sensors.iter().find_map(|sensor| rpicam::module(sensor)).unwrap_or("CSI camera");
        let what = format!(
            "{} ({}) is the raw end of a {camera}: it gives Bayer data, which is no picture yet",
            known.path.display(),
            known.driver
        );
        return vec![raw_receiver(what, around)];
    }
    let mut findings = vec![match &known.role {
        Role::Camera { plan, .. } => usable(known, plan, around),
        Role::Unreadable(why) => {
            Finding::fault("camera", format!("{} cannot be opened: {why}", device.display()))
                .because("no picture comes from it")
                .mend(
                    "# What the kernel says of it, and whether pulling it out and putting it in again helps:",
                )
                .mend("sudo dmesg | grep -iE 'usb|video' | tail")
        }
        Role::Encoder | Role::Other => no_camera(device, known, around),
    }];
    findings.extend(held(device, holders));
    findings
}

/// A camera that stands behind a raw receiver has an image processor before it, which only libcamera can drive.
fn is_raw_receiver(node: &VideoNode) -> bool {
    let is_bayer_alone = match &node.role {
        Role::Camera { fourccs, .. } => !fourccs.is_empty() && fourccs.iter().all(is_bayer),
        _ => false,
    };
    is_bayer_alone || RAW_RECEIVERS.contains(&node.driver.as_str())
}

/// Whether four characters are one of the kernel's Bayer formats ("Raw Bayer Formats" in its V4L2 documentation).
fn is_bayer(fourcc: &[u8; 4]) -> bool {
    match fourcc {
        // Packed: pBAA, pgCC, PC1R; with their alaws and DPCMs.
        [b'p' | b'a' | b'b', b'B' | b'G' | b'g' | b'R', _, _] | [b'P', b'C', b'1', _] => true,
        b"BA81" | b"GBRG" | b"GRBG" | b"RGGB" | b"BYR2" | b"BA10" | b"BA12" => true,
        [b'B' | b'G' | b'R', b'G' | b'B' | b'R', b'1', b'0' | b'2' | b'4' | b'6'] => true,
        _ => false,
    }
}

fn raw_receiver(what: String, around: &Surroundings<'_>) -> Finding {
    let fault = Finding::fault("camera", what).because(
        "the image processor behind it is driven by libcamera alone, as for every Camera Module on current \
         Raspberry Pi OS: rpicam-vid gives the finished H.264",
    );
    let recipe = rpicam::recipe(around.model, around.sensors);
    let fault = match around.has_rpicam {
        // A Pi 5 may have the lite package, which does not do there.
        true if around.model != ModelKind::PiWithoutEncoder => fault.mend(recipe),
        _ => fault.mend(rpicam::install(around.model)).mend(recipe),
    };
    fault.mends(rpicam::focus_hint(around.sensors)).mend("sudo systemctl restart farol")
}

fn missing(device: &Path, around: &Surroundings<'_>) -> Finding {
    let what = format!("there is no camera at {}", device.display());
    if around.nodes.iter().any(is_raw_receiver) {
        return raw_receiver(what, around);
    }
    let others = cameras(around);
    let fault = Finding::fault("camera", what)
        .because("no picture comes until it is there; farol takes it as soon as it is");
    match (others.first(), around.model) {
        (Some(other), _) => fault
            .mend(format!("# {} is there:", other.card))
            .mend(format!("[video]\nsource = \"v4l2\"\ndevice = {:?}", other.name.display().to_string())),
        (None, ModelKind::Other) => fault
            .mend("# Plug it in, and see what the kernel says of it:")
            .mend("sudo dmesg | grep -iE 'usb|video' | tail"),
        (None, _) => fault
            .mend("# A USB camera: plug it in, and see what the kernel says of it:")
            .mend("sudo dmesg | grep -iE 'usb|video' | tail")
            .mend("# A Camera Module: is its ribbon cable in the right way round? This lists it:")
            .mends((!around.has_rpicam).then(|| rpicam::install(around.model)))
            .mend("rpicam-hello --list-cameras")
            .mend("# and farol reads it so:")
            .mend(rpicam::recipe(around.model, around.sensors))
            .mends(rpicam::focus_hint(around.sensors)),
    }
}

fn cameras<'a>(around: &Surroundings<'a>) -> Vec<&'a VideoNode> {
    let is_usable = |node: &&VideoNode| matches!(&node.role, Role::Camera { plan: Ok(_), .. });
    around.nodes.iter().filter(is_usable).collect()
}

fn no_camera(device: &Path, node: &VideoNode, around: &Surroundings<'_>) -> Finding {
    let role = match node.role {
        Role::Encoder => "an H.264 encoder",
        _ => "no camera",
    };
    let fault = Finding::fault("camera", format!("{} ({}) is {role}", device.display(), node.card))
        .because("a camera has several nodes, and only one of them gives pictures");
    match cameras(around).first() {
        Some(other) => fault.mend(format!("[video]\ndevice = {:?}", other.name.display().to_string())),
        None => fault.mend("farol devices"),
    }
}

fn usable(node: &VideoNode, plan: &Result<Plan, String>, around: &Surroundings<'_>) -> Finding {
    let at = format!("{}, {}", node.path.display(), node.card);
    let plan = match plan {
        Ok(plan) => plan,
        Err(obstacle) => {
            return Finding::fault("camera", format!("{at}: {obstacle}"))
                .because("no picture comes from it with this configuration")
                .mend("# what it can do, and what to write:")
                .mend("farol devices");
        }
    };
    let ((width, height), fps, format) = (plan.size, plan.fps, name(plan.fourcc));
    let encoded = match &plan.encoding {
        Encoding::Passed => "passed on as it is".to_owned(),
        Encoding::Encoded { by: Encoder::Hardware(path), .. } => format!("encoded by {}", path.display()),
        Encoding::Encoded { by: Encoder::Software, .. } => "encoded in software".to_owned(),
    };
    let what = format!("{at}: {format} {width}x{height}, {fps} frames per second, {encoded}");
    let is_software = matches!(plan.encoding, Encoding::Encoded { by: Encoder::Software, .. });
    match around.model {
        ModelKind::PiWithEncoder if is_software => Finding::warning("camera", what)
            .because(
                "this Pi has an H.264 encoder, which is not to be seen: software encoding takes most of its \
                 processor",
            )
            .mend("sudo modprobe bcm2835-codec")
            .mend("ls -l /dev/video11")
            .mend("[video]\nencoder = \"auto\""),
        ModelKind::PiWithoutEncoder if is_software => {
            Finding::ok("camera", format!("{what} (a Pi 5 has no encoder)"))
        }
        _ => Finding::ok("camera", what),
    }
}

/// Who else has the camera open.
fn held(device: &Path, holders: &[Holder]) -> Vec<Finding> {
    let others = holders.iter().filter(|holder| !holder.is_farol());
    let told = others.map(|holder| {
        let Holder { pid, name } = holder;
        let what = format!("{} is held by {name}, process {pid}", device.display());
        if holder.is_onlooker() {
            return Finding::note("camera", what).because("it looks at cameras as they come; it gives way");
        }
        Finding::fault("camera", what)
            .because(
                "a camera streams to one program at a time: farol gets EBUSY and waits until it is let go",
            )
            .mend("# what it is, and which service it belongs to:")
            .mend(format!("ps -o pid,user,args -p {pid}; systemctl status {pid}"))
            .mend(format!("sudo kill {pid}"))
    });
    told.collect()
}

/// Who else uses the encoder. It serves several at a time (the kernel's "Memory-to-Memory Stateful Video Encoder
/// Interface": each open file is a stream of its own), which share what it can do.
pub fn encoder_shared(encoder: &Path, holders: &[Holder]) -> Option<Finding> {
    let others = holders.iter().filter(|holder| !holder.is_farol() && !holder.is_onlooker());
    let (names, pids): (Vec<String>, Vec<String>) =
        others.map(|Holder { pid, name }| (format!("{name}, process {pid}"), pid.to_string())).unzip();
    (!pids.is_empty()).then(|| {
        let pids = pids.join(",");
        let what = format!("the encoder {} is open in {} as well", encoder.display(), names.join(" and "));
        Finding::note("camera", what)
            .because(
                "all who use it share what it can do: a Pi's encodes 1080p at 30 frames per second, in all",
            )
            .mend("# if pictures stall, see what it is, and stop it:")
            .mend(format!("ps -o pid,user,args -p {pids}"))
    })
}

/// What is known of the program of the source `command`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// As it is configured.
    pub argv: Vec<String>,
    /// Where it was found; `None`: nowhere.
    pub found: Option<PathBuf>,
    /// What it prints when it is asked for its cameras, where it can be asked.
    pub cameras: Option<String>,
    /// What it prints when it is asked for its version, where it can be asked.
    pub version: Option<String>,
    /// Which board it runs on.
    pub model: ModelKind,
}

impl Program {
    /// Whether it is one of Raspberry Pi's, which can be asked for cameras.
    pub fn is_rpicam(argv: &[String]) -> bool {
        let name = argv.first().and_then(|program| Path::new(program).file_name()).unwrap_or_default();
        let name = name.to_string_lossy();
        name.starts_with("rpicam-") || name.starts_with("libcamera-")
    }

    /// Whether a picture can come from it.
    pub fn finding(&self) -> Finding {
        let program = self.argv.first().map_or("", String::as_str);
        let why = "it writes the picture to farol; without it there is none";
        let Some(found) = &self.found else {
            let fault =
                Finding::fault("camera", format!("the program {program} of video.command is not there"))
                    .because(why);
            return match Program::is_rpicam(&self.argv) {
                true => fault.mend(rpicam::install(self.model)),
                false => fault
                    .mend(command(&["command", "-v", program]))
                    .mend("[video]\ncommand = [\"/the/whole/path\"]"),
            };
        };
        let at = found.display();
        match &self.cameras {
            Some(list) if list.contains("No cameras available") => {
                Finding::fault("camera", format!("{at} sees no camera"))
                    .because(why)
                    .mend("# Switch the board off, and look whether both ends of the ribbon cable sit straight and the")
                    .mend("# right way round. A camera of another maker needs its overlay in /boot/firmware/config.txt,")
                    .mend("# such as dtoverlay=imx708 or dtoverlay=ov5647 in place of camera_auto_detect=1. Then:")
                    .mend("sudo reboot")
                    .mend("rpicam-hello --list-cameras")
            }
            list => {
                let unfit = rpicam::unfit(self.model, self.version.as_deref(), &self.argv);
                unfit.unwrap_or_else(|| Finding::ok("camera", self.seen(list.as_deref())))
            }
        }
    }

    /// What it can do, for people.
    fn seen(&self, list: Option<&str>) -> String {
        let at = self.found.as_deref().unwrap_or_else(|| Path::new("")).display();
        let Some(list) = list else { return format!("{at} is installed") };
        let shown = |(sensor, size): &(String, String)| match rpicam::module(sensor) {
            Some(module) => format!("{sensor}, a {module} ({size})"),
            None => format!("{sensor} ({size})"),
        };
        match rpicam::cameras(list).as_slice() {
            [] => format!("{at} is installed; it does not list its cameras"),
            cameras => {
                format!("{at} sees {}", cameras.iter().map(shown).collect::<Vec<_>>().join(" and "))
            }
        }
    }
}

/// The line of the configuration for a program.
pub(super) fn line(argv: &[String]) -> String {
    // A text is written in TOML as in JSON (TOML 1.0, "Basic strings").
    format!("[video]\ncommand = {}", serde_json::json!(argv))
}

#[cfg(test)]
mod tests;
