//! Which level does a stream need (H.264 §A.3.1, table A-1)?
//!
//! A level caps what a decoder must be able to do. An encoder that is told too low a one lowers the rate
//! or refuses to start; one that is told too high a one makes a stream that a small decoder turns down.

use crate::units::Bitrate;

/// A level, by `level_idc`: ten times its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

/// What a level allows: macroblocks a second, macroblocks a picture, bits a second in thousands (MaxBR at
/// 1 000 bits, which is what baseline and main have; high has a quarter more).
const LEVELS: [(u8, u64, u64, u64); 16] = [
    (10, 1_485, 99, 64),
    (11, 3_000, 396, 192),
    (12, 6_000, 396, 384),
    (13, 11_880, 396, 768),
    (20, 11_880, 396, 2_000),
    (21, 19_800, 792, 4_000),
    (22, 20_250, 1_620, 4_000),
    (30, 40_500, 1_620, 10_000),
    (31, 108_000, 3_600, 14_000),
    (32, 216_000, 5_120, 20_000),
    (40, 245_760, 8_192, 20_000),
    (41, 245_760, 8_192, 50_000),
    (42, 522_240, 8_704, 50_000),
    (50, 589_824, 22_080, 135_000),
    (51, 983_040, 36_864, 240_000),
    (52, 2_073_600, 36_864, 240_000),
];

impl Level {
    /// The lowest that allows pictures of a size, at a rate, in so many bits; 5.2 for more than any allows.
    pub fn needed(size: (u32, u32), fps: u32, bitrate: Bitrate) -> Level {
        let (width, height) = (u64::from(size.0.div_ceil(16)), u64::from(size.1.div_ceil(16)));
        // Below 2^56: sides are below 2^28 macroblocks each.
        let picture = width * height;
        let second = picture.saturating_mul(u64::from(fps));
        let kbps = u64::from(bitrate.bps()).div_ceil(1000);
        let allows = |&&(_, most_second, most_picture, most_kbps): &&(u8, u64, u64, u64)| {
            // Neither side may be longer than the root of eight times the picture's macroblocks.
            let is_shape_allowed = width.max(height).pow(2) <= 8 * most_picture;
            second <= most_second && picture <= most_picture && kbps <= most_kbps && is_shape_allowed
        };
        Level(LEVELS.iter().find(allows).map_or(52, |&(idc, ..)| idc))
    }

    /// Ten times its number: 31 for level 3.1.
    pub fn idc(self) -> u8 {
        self.0
    }

    /// All of them below this one, the highest first.
    pub fn lower(self) -> impl Iterator<Item = Level> {
        LEVELS.iter().rev().map(|&(idc, ..)| Level(idc)).filter(move |level| *level < self)
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_level_that_allows_it_is_taken() {
        for (size, fps, kbps, level) in [
            ((176, 144), 15, 64, "1.0"),
            ((320, 240), 30, 500, "1.3"),
            ((640, 480), 30, 2_500, "3.0"),
            ((1280, 720), 30, 2_500, "3.1"),
            ((1280, 720), 60, 2_500, "3.2"),
            ((1920, 1080), 30, 4_000, "4.0"),
            ((1920, 1080), 30, 25_000, "4.1"),
            ((1920, 1080), 60, 8_000, "4.2"),
            ((3840, 2160), 30, 20_000, "5.1"),
            // Few macroblocks, but 256 rows of them.
            ((64, 4096), 1, 100, "4.0"),
            ((65_535, 65_535), 120, 1, "5.2"),
        ] {
            let needed = Level::needed(size, fps, Bitrate::from_kbps(kbps));
            assert_eq!(needed.to_string(), level, "{size:?} at {fps}, {kbps} kbit/s");
        }
    }

    #[test]
    fn lower_levels_come_from_the_highest_down() {
        let lower: Vec<String> = Level(12).lower().map(|level| level.to_string()).collect();
        assert_eq!(lower, ["1.1", "1.0"]);
    }
}
