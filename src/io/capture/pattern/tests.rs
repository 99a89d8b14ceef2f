use super::live::Pattern;
use super::scene::strip_height;
use crate::config::{Video, VideoSource, When};
use crate::engine::h264::annex_b::nal_units;
use crate::engine::h264::nal::NalType;
use crate::engine::h264::{AccessUnit, Sps};
use crate::io::clock::wall_now;
use crate::units::{Bitrate, MediaTime};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use std::time::Duration;

fn video(size: (u32, u32)) -> Video {
    Video {
        source: VideoSource::Pattern,
        size,
        fps: 30,
        bitrate: Bitrate::from_kbps(2_000),
        keyframe_interval: 60,
        when: When::Always,
        ..Video::default()
    }
}

/// The pattern's pictures at 30 frames per second of virtual media time, from 10 s on.
struct Player {
    pattern: Pattern,
    frame: u32,
}

impl Player {
    fn new(size: (u32, u32)) -> Player {
        Player { pattern: Pattern::open(&video(size)).expect("the encoder opens"), frame: 0 }
    }
    fn next(&mut self) -> AccessUnit {
        self.try_next().expect("no picture is left out")
    }
    /// `None` when the encoder leaves the picture out to keep to its bitrate.
    fn try_next(&mut self) -> Option<AccessUnit> {
        let at = MediaTime(Duration::from_secs(10) + Duration::from_secs(1) * self.frame / 30);
        self.frame += 1;
        self.pattern.picture(at).expect("it encodes")
    }
}

fn read_strip(luma: &[u8], stride: usize, size: (usize, usize), row: usize) -> u32 {
    let (cell, height) = (size.0 / 32, strip_height(size.1) as usize);
    let line = (row * height + height / 2) * stride;
    (0..32).fold(0, |value, bit| value << 1 | u32::from(luma[line + bit * cell + cell / 2] > 128))
}

#[test]
fn both_strips_survive_encoding() {
    for size in [(1280, 720), (640, 480), (322, 240)] {
        let mut player = Player::new(size);
        let mut decoder = Decoder::new().expect("the decoder opens");
        for frame in 0..20 {
            let before = wall_now().as_millis() as u32;
            let unit = player.next();
            let after = wall_now().as_millis() as u32;
            let picture = decoder.decode(&unit.data).expect("it decodes").expect("a picture for each unit");
            assert_eq!(picture.dimensions(), (size.0 as usize, size.1 as usize));
            let strip = |row| read_strip(picture.y(), picture.strides().0, picture.dimensions(), row);
            assert!((before..=after).contains(&strip(0)), "clock of frame {frame} at {size:?}");
            assert_eq!(strip(1), frame, "counter at {size:?}");
        }
    }
}

#[test]
fn a_forced_keyframe_is_the_next_picture_and_has_its_parameter_sets() {
    let mut player = Player::new((320, 240));
    assert!(player.next().is_keyframe);
    for _ in 0..5 {
        assert!(!player.next().is_keyframe);
    }
    player.pattern.force_keyframe();
    let unit = player.next();
    assert!(unit.is_keyframe);
    let types: Vec<_> = nal_units(&unit.data).filter_map(|nal| NalType::of(&nal)).collect();
    assert_eq!(types, [NalType::Sps, NalType::Pps, NalType::IdrSlice]);
    assert!(!player.next().is_keyframe);
}

#[test]
fn the_stream_is_constrained_baseline_of_the_configured_size() {
    let unit = Player::new((1280, 720)).next();
    let sps = nal_units(&unit.data).find_map(|nal| Sps::parse(&nal)).expect("an SPS");
    assert_eq!((sps.width, sps.height, sps.may_reorder), (1280, 720, false));
    // constraint_set1_flag (0x40): no arbitrary slice order, no flexible macroblock order (§A.2.1).
    assert_eq!((sps.profile_level_id.0[0], sps.profile_level_id.0[1] & 0x40), (66, 0x40));
}

#[test]
fn keyframes_come_at_the_configured_interval() {
    let mut player = Player::new((320, 240));
    let keyframes: Vec<u32> = (0..125).filter(|_| player.next().is_keyframe).collect();
    assert_eq!(keyframes, [0, 60, 120]);
}

#[test]
fn the_bitrate_follows_what_is_set_while_it_runs_without_a_keyframe() {
    let mut player = Player::new((640, 480));
    let seconds = |player: &mut Player, seconds: usize| -> (usize, usize) {
        let units: Vec<Option<AccessUnit>> = (0..30 * seconds).map(|_| player.try_next()).collect();
        let bytes: usize = units.iter().flatten().map(|unit| unit.data.len()).sum();
        let is_keyframe = |unit: &Option<AccessUnit>| unit.as_ref().is_some_and(|unit| unit.is_keyframe);
        assert_eq!(units.iter().filter(|unit| is_keyframe(unit)).count(), seconds / 2, "one in 60 pictures");
        (bytes * 8 / 1000 / seconds, units.iter().filter(|unit| unit.is_none()).count())
    };
    let (before, _) = seconds(&mut player, 2);
    player.pattern.set_bitrate(Bitrate::from_kbps(300));
    let (after, left_out) = seconds(&mut player, 4);
    assert!(before > 600 && after < 400, "{before} kbit/s, then {after} kbit/s");
    // Half of the pictures for a second: what a sudden fall costs.
    assert!(left_out <= 20, "{left_out} of 120 pictures");
    player.pattern.set_bitrate(Bitrate::from_kbps(2_000));
    let (again, _) = seconds(&mut player, 4);
    assert!(again > after * 3 / 2, "{after} kbit/s, then {again} kbit/s");
}

#[test]
fn the_square_is_white_during_the_first_tenth_of_a_second() {
    let mut player = Player::new((320, 240));
    let mut decoder = Decoder::new().expect("the decoder opens");
    let lit: Vec<bool> = (0..60)
        .map(|_| {
            let unit = player.next();
            let picture = decoder.decode(&unit.data).expect("it decodes").expect("a picture");
            let (x, y) = (320 - 10 - 15, 240 - 10 - 15);
            picture.y()[y * picture.strides().0 + x] > 160
        })
        .collect();
    let expected: Vec<bool> = (0..60).map(|frame| frame % 30 < 3).collect();
    assert_eq!(lit, expected);
}
