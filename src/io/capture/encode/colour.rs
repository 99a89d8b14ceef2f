//! Which colours do a picture's numbers stand for?
//!
//! What goes into an encoder is always in the limited range of video (luma 16 to 235), since not every
//! viewer reads in the stream that it is not; a camera's full range is squeezed. The matrix stays the
//! camera's own and is written into the stream, since a change of it costs as much as the encoder.

/// How far luma and chroma reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io::capture) enum Range {
    /// Luma 16 to 235, chroma 16 to 240.
    Limited,
    /// 0 to 255, as JPEG has it.
    Full,
}

/// How colours were made of red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io::capture) enum Matrix {
    /// ITU-R BT.601: webcams and JPEG.
    Bt601,
    /// ITU-R BT.709: HDTV.
    Bt709,
}

/// Range and matrix of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io::capture) struct Colour {
    pub(in crate::io::capture) range: Range,
    pub(in crate::io::capture) matrix: Matrix,
}

impl Colour {
    /// What JPEG always is (JFIF 1.02).
    pub(in crate::io::capture) const JPEG: Colour = Colour { range: Range::Full, matrix: Matrix::Bt601 };
}

/// Full range to limited: `16 + y * 219 / 255`.
pub(super) fn squeeze_luma(line: &mut [u8]) {
    for y in line {
        // 255 * 56 284 + 32 768 + (16 << 16) = 15 433 764, and 219 / 255 is 56 284 / 65 536.
        *y = ((u32::from(*y) * 56_284 + 32_768 + (16 << 16)) >> 16) as u8;
    }
}

/// Full range to limited: `128 + (c - 128) * 224 / 255`.
pub(super) fn squeeze_chroma(line: &mut [u8]) {
    for c in line {
        // 224 / 255 is 57 569 / 65 536; from 128 * (1 - 224 / 255) = 15.56 at 0 up to 239.56 at 255.
        *c = ((u32::from(*c) * 57_569 + 32_768 + 1_019_776) >> 16) as u8;
    }
}

/// What makes limited-range luma and chroma of red, green and blue, in 65 536ths.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    y: [i32; 3],
    u: [i32; 3],
    v: [i32; 3],
}

impl Weights {
    pub(super) fn of(matrix: Matrix) -> Weights {
        match matrix {
            // From Kr = 0.299, Kb = 0.114 (BT.601-7 §2.5): 219 / 255 for luma, 224 / 255 for chroma.
            Matrix::Bt601 => Weights {
                y: [16_829, 33_039, 6_416],
                u: [-9_714, -19_070, 28_784],
                v: [28_784, -24_103, -4_681],
            },
            // From Kr = 0.2126, Kb = 0.0722 (BT.709-6 §3).
            Matrix::Bt709 => Weights {
                y: [11_966, 40_254, 4_064],
                u: [-6_596, -22_189, 28_785],
                v: [28_784, -26_145, -2_639],
            },
        }
    }

    pub(super) fn luma(&self, rgb: [i32; 3]) -> u8 {
        // The weights add up to 56 284: at most 219 before the 16 are added.
        ((dot(self.y, rgb) + 32_768 + (16 << 16)) >> 16) as u8
    }

    /// Of the sum of four pixels, so that nothing is lost in between.
    pub(super) fn chroma(&self, sum: [i32; 3]) -> (u8, u8) {
        // At most 28 785 * 1020 = 29.4 million either way, around 128 << 18 = 33.6 million.
        let sample = |weights| ((dot(weights, sum) + (1 << 17) + (128 << 18)) >> 18) as u8;
        (sample(self.u), sample(self.v))
    }
}

fn dot(weights: [i32; 3], rgb: [i32; 3]) -> i32 {
    weights[0] * rgb[0] + weights[1] * rgb[1] + weights[2] * rgb[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_range_ends_where_the_limited_one_ends() {
        let mut luma = [0, 128, 255];
        squeeze_luma(&mut luma);
        assert_eq!(luma, [16, 126, 235]);
        let mut chroma = [0, 1, 128, 254, 255];
        squeeze_chroma(&mut chroma);
        assert_eq!(chroma, [16, 16, 128, 239, 240]);
    }

    #[test]
    fn colour_bars_have_the_numbers_of_the_standards() {
        let bars = |matrix, rgb: [i32; 3]| {
            let weights = Weights::of(matrix);
            let (u, v) = weights.chroma(rgb.map(|part| part * 4));
            (weights.luma(rgb), u, v)
        };
        // BT.601 and BT.709 at 100%, as any table of colour bars has them.
        for (rgb, bt601, bt709) in [
            ([255, 255, 255], (235, 128, 128), (235, 128, 128)),
            ([255, 255, 0], (210, 16, 146), (219, 16, 138)),
            ([0, 255, 255], (170, 166, 16), (188, 154, 16)),
            ([0, 255, 0], (145, 54, 34), (173, 42, 26)),
            ([255, 0, 255], (106, 202, 222), (78, 214, 230)),
            ([255, 0, 0], (81, 90, 240), (63, 102, 240)),
            ([0, 0, 255], (41, 240, 110), (32, 240, 118)),
            ([0, 0, 0], (16, 128, 128), (16, 128, 128)),
        ] {
            assert_eq!(bars(Matrix::Bt601, rgb), bt601, "{rgb:?} by BT.601");
            assert_eq!(bars(Matrix::Bt709, rgb), bt709, "{rgb:?} by BT.709");
        }
    }
}
