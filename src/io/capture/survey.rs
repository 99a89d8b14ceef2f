//! Which video nodes does this board have, and what would capture do with each?
//!
//! For `farol devices`. Nothing is changed on any device, and one that cannot be looked into is listed
//! with the reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use v4l::Device;
use v4l::capability::Flags as Capability;

use super::encode::encoders;
use super::identity::nodes;
use super::m2m;
use super::v4l2::{self, controls_of, readable};
use crate::config::{self, CameraInput, EncoderChoice};
use crate::engine::choice::{Offer, Plan, Wish, choose};
use crate::engine::control::CameraControl;
use crate::engine::picture::PixelFormat;

/// A `/dev/video*` node.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoNode {
    /// Its name for the configuration: below `/dev/v4l/by-id` when it has one, since that stays the
    /// same when cameras are plugged in another order.
    pub name: PathBuf,
    /// The node itself.
    pub path: PathBuf,
    /// Kernel driver.
    pub driver: String,
    /// What the device calls itself.
    pub card: String,
    /// Where it is connected.
    pub bus: String,
    /// What it is good for.
    pub role: Role,
    /// All that can be set.
    pub controls: Vec<CameraControl>,
}

/// What a node is good for.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// It captures.
    Camera {
        /// Its formats, in the driver's order.
        offers: Vec<Offer>,
        /// What would be taken, as the wish of the survey is; else why nothing can be.
        plan: Result<Plan, String>,
    },
    /// It encodes pictures as H.264.
    Encoder {
        /// What it takes, in its own order.
        takes: Vec<PixelFormat>,
    },
    /// It works on pictures in memory in another way: a decoder, a scaler, another codec's encoder.
    MemoryToMemory,
    /// It shows pictures, or waits for a program that feeds it.
    Output,
    /// Metadata, radio, or something without pictures.
    Other,
}

/// A node that cannot be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The node.
    pub path: PathBuf,
    /// What happened and what to do.
    pub reason: String,
}

/// All video nodes, by number, each camera with what the defaults of the configuration would take from it.
pub fn survey() -> Vec<Result<VideoNode, Unreadable>> {
    let default = config::Video::default();
    let (input, encoder) = (CameraInput::Auto, EncoderChoice::Auto);
    survey_for(&Wish { input, encoder, size: default.size, fps: default.fps })
}

/// The same, with what this wish would take.
pub fn survey_for(wish: &Wish) -> Vec<Result<VideoNode, Unreadable>> {
    let mut paths = nodes();
    let number = |path: &PathBuf| path.to_string_lossy().trim_start_matches("/dev/video").parse::<u32>().ok();
    paths.sort_by_key(number);
    paths.iter().map(|path| look_into(path, wish).map_err(|cause| unreadable(path, &cause))).collect()
}

fn unreadable(path: &Path, cause: &io::Error) -> Unreadable {
    let advice = match cause.kind() {
        io::ErrorKind::PermissionDenied => "; give the user the group `video`",
        io::ErrorKind::NotFound => "; the kernel has it, /dev has not: is udev running?",
        _ => "",
    };
    Unreadable { path: path.to_owned(), reason: format!("{cause}{advice}") }
}

fn look_into(path: &Path, wish: &Wish) -> io::Result<VideoNode> {
    let device = readable(|| Device::with_path(path))?;
    let capabilities = readable(|| device.query_caps())?;
    Ok(VideoNode {
        name: stable_name(path).unwrap_or_else(|| path.to_owned()),
        path: path.to_owned(),
        role: role(&device, path, capabilities.capabilities, wish),
        driver: capabilities.driver,
        card: capabilities.card,
        bus: capabilities.bus,
        controls: controls_of(device, path),
    })
}

fn role(device: &Device, path: &Path, has: Capability, wish: &Wish) -> Role {
    if let Ok(takes) = m2m::raw_formats(path) {
        Role::Encoder { takes }
    } else if has.intersects(Capability::VIDEO_M2M | Capability::VIDEO_M2M_MPLANE) {
        Role::MemoryToMemory
    } else if has.intersects(Capability::VIDEO_CAPTURE | Capability::VIDEO_CAPTURE_MPLANE) {
        camera(device, path, wish)
    } else if has.intersects(Capability::VIDEO_OUTPUT | Capability::VIDEO_OUTPUT_MPLANE) {
        Role::Output
    } else {
        Role::Other
    }
}

fn camera(device: &Device, path: &Path, wish: &Wish) -> Role {
    let offers = v4l2::offers(device, path).unwrap_or_default();
    let plan = choose(&offers, &encoders(&wish.encoder), wish);
    Role::Camera { offers, plan: plan.map_err(|refusal| refusal.to_string()) }
}

fn stable_name(path: &Path) -> Option<PathBuf> {
    let links = fs::read_dir("/dev/v4l/by-id").ok()?.flatten().map(|entry| entry.path());
    let mut ours: Vec<PathBuf> =
        links.filter(|link| fs::canonicalize(link).is_ok_and(|to| to == path)).collect();
    ours.sort();
    ours.into_iter().next()
}
