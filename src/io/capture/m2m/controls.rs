//! What is an encoder set to, and what happens when it refuses?
//!
//! Every driver has its own selection of the codec controls (kernel documentation, "Codec Control
//! Reference"). What a live stream needs and the driver lacks or refuses is said once, and stops nothing:
//! the encoder then does as it likes. What merely helps is set where it is, and not missed.

use std::path::{Path, PathBuf};

use v4l::v4l_sys as cid;

use super::EncoderSettings;
use crate::config::Profile;
use crate::engine::h264::Level;
use crate::io::capture::sys::Node;
use crate::units::Bitrate;

/// `V4L2_MPEG_VIDEO_BITRATE_MODE_VBR` and `..._CBR`.
const VARIABLE: u32 = 0;
const CONSTANT: u32 = 1;
/// `V4L2_MPEG_VIDEO_HEADER_MODE_JOINED_WITH_1ST_FRAME`.
const JOINED: i64 = 1;

/// The controls of one open encoder.
pub(super) struct Controls {
    node: Node,
    path: PathBuf,
    /// Those of which something has been said.
    said: Vec<&'static str>,
    /// For people: what was set and taken.
    taken: Vec<String>,
    /// What the driver made of the bitrate, in bits per second; `None`: its own.
    bitrate: Option<i32>,
    is_variable: bool,
}

impl Controls {
    pub(super) fn of(node: &Node, path: &Path) -> Controls {
        Controls {
            node: node.clone(),
            path: path.to_owned(),
            said: Vec::new(),
            taken: Vec::new(),
            bitrate: None,
            is_variable: false,
        }
    }

    /// All that a live stream needs, before it starts: some drivers fix these with the first picture.
    pub(super) fn set_up(&mut self, settings: &EncoderSettings) {
        self.help(cid::V4L2_CID_MPEG_VIDEO_B_FRAMES, "B-frames", 0);
        self.help(cid::V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE, "rate control", 1);
        self.help(cid::V4L2_CID_MPEG_VIDEO_HEADER_MODE, "header mode", JOINED);
        // Either does; and where neither is, they are kept and put in by `engine::h264::ParameterSets`.
        self.help(cid::V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER, "repeated headers", 1);
        self.help(cid::V4L2_CID_MPEG_VIDEO_PREPEND_SPSPPS_TO_IDR, "headers before keyframes", 1);
        self.set_profile(settings.profile);
        self.set_level(Level::needed(settings.size, settings.fps, settings.bitrate));
        self.set_mode();
        self.set_bitrate(settings.bitrate);
        self.set_interval(settings.keyframe_interval);
        if self.node.control_range(cid::V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME).is_none() {
            self.say(
                "forced keyframe",
                "it has no such control; a viewer that joins waits for the next keyframe",
            );
        }
    }

    /// For people: what it is set to.
    pub(super) fn taken(&self) -> String {
        let bitrate =
            self.bitrate.map_or("its own bitrate".to_owned(), |bps| format!("{} kbit/s", bps / 1000));
        std::iter::once(bitrate).chain(self.taken.iter().cloned()).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn force_keyframe(&mut self) {
        self.help(cid::V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME, "forced keyframe", 1);
    }

    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) {
        let bps = i64::from(bitrate.bps());
        // After a refusal it is what it was.
        self.bitrate = self.set(cid::V4L2_CID_MPEG_VIDEO_BITRATE, "bitrate", bps).or(self.bitrate);
        if self.is_variable {
            // What a keyframe may take for a moment; a viewer's path has little more than the mean.
            self.help(cid::V4L2_CID_MPEG_VIDEO_BITRATE_PEAK, "bitrate's peak", bps + bps / 4);
        }
    }

    fn set_mode(&mut self) {
        let id = cid::V4L2_CID_MPEG_VIDEO_BITRATE_MODE;
        let modes = [(CONSTANT, "CBR"), (VARIABLE, "VBR")];
        let mode = modes.iter().find(|(mode, _)| self.node.has_menu_entry(id, *mode));
        let Some(&(mode, name)) = mode else { return };
        self.is_variable = mode == VARIABLE;
        if self.help(id, "bitrate mode", i64::from(mode)).is_some() {
            self.taken.push(name.to_owned());
        }
    }

    fn set_profile(&mut self, profile: Profile) {
        let id = cid::V4L2_CID_MPEG_VIDEO_H264_PROFILE;
        // A baseline stream of these encoders keeps the constraints: none of them has its rare extras.
        let (entries, name): (&[u32], _) = match profile {
            Profile::ConstrainedBaseline => (&[1, 0], "constrained baseline"),
            Profile::Main => (&[2], "main"),
            Profile::High => (&[4], "high"),
        };
        let Some(&entry) = entries.iter().find(|&&entry| self.node.has_menu_entry(id, entry)) else {
            self.say("profile", "it has no such entry; the driver's own is sent");
            return;
        };
        if self.set(id, "profile", i64::from(entry)).is_some() {
            self.taken.push(name.to_owned());
        }
        let is_cabac = profile != Profile::ConstrainedBaseline;
        self.help(cid::V4L2_CID_MPEG_VIDEO_H264_ENTROPY_MODE, "entropy coding", i64::from(is_cabac));
    }

    fn set_level(&mut self, needed: Level) {
        let id = cid::V4L2_CID_MPEG_VIDEO_H264_LEVEL;
        if self.node.control_range(id).is_none() {
            return;
        }
        let entries = std::iter::once(needed).chain(needed.lower());
        let entries = entries.map(|level| (level, entry_of_level(level)));
        let offered = entries.into_iter().find(|&(_, entry)| self.node.has_menu_entry(id, entry));
        let Some((level, entry)) = offered else {
            self.say("level", "it has none for this size, rate and bitrate");
            return;
        };
        if level < needed {
            self.say("level", "its highest is below what this size, rate and bitrate need");
        }
        if self.help(id, "level", i64::from(entry)).is_some() {
            self.taken.push(format!("level {level}"));
        }
    }

    /// Drivers call it by either name; some have both, and mean IDR by the first and I by the second.
    fn set_interval(&mut self, pictures: u32) {
        let pictures = i64::from(pictures);
        let group = self.help(cid::V4L2_CID_MPEG_VIDEO_GOP_SIZE, "keyframe interval", pictures);
        let period = self.help(cid::V4L2_CID_MPEG_VIDEO_H264_I_PERIOD, "intra period", pictures);
        match group.or(period) {
            Some(taken) => self.taken.push(format!("a keyframe every {taken}")),
            None => self.say("keyframe interval", "it has no such control; the driver's own is kept"),
        }
    }

    /// Sets what a stream needs: its absence is said.
    fn set(&mut self, id: u32, name: &'static str, value: i64) -> Option<i32> {
        if self.node.control_range(id).is_none() {
            self.say(name, "it has no such control; the driver's own is kept");
        }
        self.help(id, name, value)
    }

    /// Sets what is there: a refusal is said, an absence is not. The value that was taken.
    fn help(&mut self, id: u32, name: &'static str, value: i64) -> Option<i32> {
        let range = self.node.control_range(id)?;
        // A range that is empty is a button's, or a driver's mistake.
        let value = if range.min < range.max { value.clamp(range.min, range.max) } else { value };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        match self.node.set_control(id, value) {
            Ok(taken) => Some(taken),
            Err(cause) => {
                self.say(name, &cause.to_string());
                None
            }
        }
    }

    fn say(&mut self, control: &'static str, cause: &str) {
        if !self.said.contains(&control) {
            self.said.push(control);
            log::warn!(device:% = self.path.display(), control, cause; "the encoder cannot be set as wanted");
        }
    }

    /// What was said, for tests.
    #[cfg(test)]
    pub(super) fn said(&self) -> &[&'static str] {
        &self.said
    }
}

/// The menu's entry of a level (`V4L2_MPEG_VIDEO_H264_LEVEL_*`): they are numbered in order, with 1b
/// after 1.0.
fn entry_of_level(level: Level) -> u32 {
    const ENTRIES: [u8; 17] = [10, 9, 11, 12, 13, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52];
    ENTRIES.iter().position(|&idc| idc == level.idc()).map_or(0, |entry| entry as u32)
}
