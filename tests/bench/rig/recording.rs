//! What are the packets of a recording? Cut as farol cuts them, so that all send the same.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use farol::engine::h264::{AccessUnitSplitter, ParameterSets};
use farol::units::MediaTime;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::packetizer::Payloader as _;

use crate::wall_now;

/// farol's, so that its packets and these are of one size.
const MAX_PAYLOAD_BYTES: usize = 1200 - 12 - 28 - 16;
/// What `sources record` is told to record.
pub const PICTURES_PER_S: u32 = 30;

/// A picture in RTP payloads.
pub struct Picture {
    pub payloads: Vec<Bytes>,
    pub is_keyframe: bool,
}

/// A recording that is played in a loop.
pub struct Recording {
    pictures: Vec<Picture>,
    position: usize,
}

impl Recording {
    /// Reads an Annex B file.
    pub fn open(file: &str) -> anyhow::Result<Recording> {
        let bytes = std::fs::read(file).with_context(|| format!("read {file}"))?;
        let mut splitter = AccessUnitSplitter::new();
        splitter.push(&bytes);
        let mut units: Vec<Bytes> = std::iter::from_fn(|| splitter.next_unit()).collect();
        units.extend(splitter.finish());
        let mut sets = ParameterSets::new();
        let mut payloader = H264Payloader::default();
        let mut pictures = Vec::new();
        for unit in units {
            let Some(unit) = sets.access_unit(unit, MediaTime::default()) else { continue };
            let payloads = payloader.payload(MAX_PAYLOAD_BYTES, &unit.data)?;
            pictures.push(Picture { payloads, is_keyframe: unit.is_keyframe });
        }
        ensure!(
            pictures.first().is_some_and(|first| first.is_keyframe),
            "{file} does not begin with a keyframe"
        );
        Ok(Recording { pictures, position: 0 })
    }

    /// The next picture.
    pub fn next(&mut self) -> &Picture {
        let picture = &self.pictures[self.position];
        self.position = (self.position + 1) % self.pictures.len();
        picture
    }

    /// Goes to the next keyframe, as farol's own player does when it is asked for one.
    pub fn skip_to_keyframe(&mut self) {
        let ahead = (self.position..self.pictures.len()).chain(0..self.position);
        self.position = ahead.into_iter().find(|&n| self.pictures[n].is_keyframe).unwrap_or(0);
    }
}

/// The number of the newest picture that is due at a moment since 1970, counted from there.
pub fn last_due(now: Duration) -> u64 {
    now.as_micros() as u64 * u64::from(PICTURES_PER_S) / 1_000_000
}

/// When a picture is due, since 1970.
pub fn due(number: u64) -> Duration {
    // Rounded up, so that it is the last due at that moment.
    Duration::from_micros((number * 1_000_000).div_ceil(u64::from(PICTURES_PER_S)))
}

/// Waits until the next picture is due; its number.
pub fn next_due() -> u64 {
    let number = last_due(wall_now()) + 1;
    std::thread::sleep(due(number).saturating_sub(wall_now()));
    number
}
