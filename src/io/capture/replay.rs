//! A recording as a camera: an Annex B file, looped, paced by its own frame rate.
//!
//! Asked for a keyframe, it jumps to the next one in the file. It has no encoder, so it has no bitrate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::{Format, Loss};
use crate::config;
use crate::engine::h264::{AccessUnit, AccessUnitSplitter, ParameterSets, Sps};
use crate::io::clock::media_now;
use crate::units::MediaTime;

/// The longest file that is read: it is kept in memory, and boards have as little as 512 MB.
const LONGEST_FILE: u64 = 128 * 1024 * 1024;

/// A recording that is being played.
pub(super) struct Replay {
    file: PathBuf,
    sps: Sps,
    /// The file's pictures, each keyframe with its parameter sets; the first is a keyframe.
    pictures: Vec<(Bytes, bool)>,
    /// Which one is next.
    position: usize,
    interval: Duration,
    due: MediaTime,
}

impl Replay {
    pub(super) fn open(file: &Path, video: &config::Video) -> Result<Replay, Loss> {
        let unplayable = |what: String| Loss::Recording { file: file.to_owned(), what };
        let bytes = read(file).map_err(unplayable)?;
        let (pictures, sps) = pictures(bytes).map_err(|what| unplayable(what.to_owned()))?;
        let fps = sps.frames_per_second.unwrap_or(f64::from(video.fps.max(1)));
        let interval = Duration::from_secs_f64(1.0 / fps);
        Ok(Replay { file: file.to_owned(), sps, pictures, position: 0, interval, due: media_now() })
    }

    pub(super) fn format(&self) -> Format {
        let keyframes = self.pictures.iter().filter(|(_, is_keyframe)| *is_keyframe).count();
        let (name, count, profile) = (self.file.display(), self.pictures.len(), self.sps.profile_level_id);
        Format {
            width: self.sps.width,
            height: self.sps.height,
            fps: (1.0 / self.interval.as_secs_f64()).round() as u32,
            forces_keyframes: true,
            takes_stills: false,
            encodes_twice: false,
            detail: format!("replay of {name}: {count} pictures, {keyframes} keyframes, profile {profile}"),
        }
    }

    pub(super) fn due(&self) -> MediaTime {
        self.due
    }

    /// The next picture, stamped with the time at which it was due, so that a late thread leaves no
    /// mark on the stream. After a standstill of a second (a suspended board) it begins anew.
    pub(super) fn picture(&mut self, now: MediaTime) -> Option<AccessUnit> {
        if now.0.saturating_sub(self.due.0) > Duration::from_secs(1) {
            self.due = now;
        }
        let captured = self.due;
        self.due = MediaTime(self.due.0 + self.interval);
        let (data, is_keyframe) = self.pictures.get(self.position)?.clone();
        self.position = (self.position + 1) % self.pictures.len();
        Some(AccessUnit { data, is_keyframe, captured })
    }

    pub(super) fn force_keyframe(&mut self) {
        let ahead = (self.position..self.pictures.len()).chain(0..self.position);
        let keyframe = ahead.into_iter().find(|&index| self.pictures[index].1);
        self.position = keyframe.unwrap_or(0);
    }
}

fn read(file: &Path) -> Result<Bytes, String> {
    let advice = "name a readable Annex B H.264 file in video.file";
    let metadata = fs::metadata(file).map_err(|cause| format!("{cause}; {advice}"))?;
    if !metadata.is_file() {
        return Err(format!("it is no regular file; {advice}"));
    }
    if metadata.len() > LONGEST_FILE {
        return Err("it is longer than 128 MiB, which is kept in memory; shorten it".to_owned());
    }
    fs::read(file).map(Bytes::from).map_err(|cause| format!("{cause}; {advice}"))
}

type Pictures = Vec<(Bytes, bool)>;

/// Cuts a recording into its pictures, from the first keyframe on.
fn pictures(bytes: Bytes) -> Result<(Pictures, Sps), &'static str> {
    const CONVERT: &str = "it holds no H.264 picture; convert it with `ffmpeg -i IN -c:v libx264 -bf 0 -bsf:v h264_mp4toannexb OUT.h264`";
    if bytes.is_empty() {
        return Err("it is empty; record it again");
    }
    let mut splitter = AccessUnitSplitter::new();
    let mut units = Vec::new();
    for chunk in bytes.chunks(64 * 1024) {
        splitter.push(chunk);
        units.extend(std::iter::from_fn(|| splitter.next_unit()));
    }
    units.extend(splitter.finish());
    let mut sets = ParameterSets::new();
    let units = units.into_iter().filter_map(|unit| sets.access_unit(unit, MediaTime::default()));
    let all: Pictures = units.map(|unit| (unit.data, unit.is_keyframe)).collect();
    if all.is_empty() {
        return Err(CONVERT);
    }
    let pictures: Pictures = all.into_iter().skip_while(|(_, is_keyframe)| !is_keyframe).collect();
    if pictures.is_empty() {
        return Err(
            "it has no keyframe (an IDR picture with its parameter sets); record it again from its start",
        );
    }
    let sps = sets.sps().ok_or(CONVERT)?;
    Ok((pictures, sps))
}
