//! How is a picture made smaller for an encoder that cannot keep up?
//!
//! Each plane by itself, each new pixel from the four nearest old ones by their distance. That is enough
//! down to a half, where it is the mean of exactly four.

use crate::engine::picture::{Layout, Plane};

/// Weights are in 256ths.
const ONE: u32 = 256;

/// Makes a picture of `from_size` one of `to_size`; both lie in I420.
pub(super) fn scale(
    from: (&[u8], &Layout, (usize, usize)),
    to: (&mut [u8], &Layout, (usize, usize)),
) -> Option<()> {
    let (data, layout, size) = from;
    let (out, out_layout, out_size) = to;
    for (index, (plane, out_plane)) in layout.planes().iter().zip(out_layout.planes()).enumerate() {
        let part = |size: (usize, usize)| if index == 0 { size } else { (size.0 / 2, size.1 / 2) };
        scale_plane((data, plane, part(size)), (out, &out_plane, part(out_size)))?;
    }
    Some(())
}

fn scale_plane(
    (data, plane, size): (&[u8], &Plane, (usize, usize)),
    (out, out_plane, out_size): (&mut [u8], &Plane, (usize, usize)),
) -> Option<()> {
    let line = |line: usize| {
        let start = plane.offset + line * plane.stride;
        data.get(start..start + size.0)
    };
    let columns: Vec<Position> = (0..out_size.0).map(|at| Position::of(at, size.0, out_size.0)).collect();
    for at in 0..out_size.1 {
        let row = Position::of(at, size.1, out_size.1);
        let (upper, lower) = (line(row.first)?, line(row.second)?);
        let start = out_plane.offset + at * out_plane.stride;
        for (out, column) in out.get_mut(start..start + out_size.0)?.iter_mut().zip(&columns) {
            let between = |line: &[u8]| {
                u32::from(line[column.first]) * (ONE - column.weight)
                    + u32::from(line[column.second]) * column.weight
            };
            // At most 255 * 256 * 256 = 16.7 million.
            let sum = between(upper) * (ONE - row.weight) + between(lower) * row.weight;
            *out = ((sum + ONE * ONE / 2) / (ONE * ONE)) as u8;
        }
    }
    Some(())
}

/// Between which two old pixels a new one lies, and how near to the second.
#[derive(Clone, Copy)]
struct Position {
    first: usize,
    second: usize,
    weight: u32,
}

impl Position {
    /// Of the new pixel `at`, of `new` that stand in the place of `old`: their middles are matched.
    fn of(at: usize, old: usize, new: usize) -> Position {
        let scaled = ((2 * at + 1) * old * ONE as usize / (2 * new.max(1))).saturating_sub(ONE as usize / 2);
        let last = old.saturating_sub(1);
        let first = (scaled / ONE as usize).min(last);
        Position { first, second: (first + 1).min(last), weight: scaled as u32 % ONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::picture::PixelFormat;

    fn scaled(from: &[u8], size: (usize, usize), to: (usize, usize)) -> Vec<u8> {
        let layout = Layout::packed(PixelFormat::Yuv420, size.0, size.1);
        let out_layout = Layout::packed(PixelFormat::Yuv420, to.0, to.1);
        let mut out = vec![0; out_layout.size_bytes];
        scale((from, &layout, size), (&mut out, &out_layout, to)).expect("it fits");
        out
    }

    #[test]
    fn half_the_size_is_the_mean_of_four() {
        let mut from = vec![0, 10, 100, 100, 20, 30, 100, 104, 1, 1, 9, 9, 1, 1, 9, 9];
        from.extend([50, 60, 70, 80, 1, 2, 3, 4]);
        assert_eq!(scaled(&from, (4, 4), (2, 2)), [15, 101, 1, 9, 65, 3]);
    }

    #[test]
    fn a_slope_stays_a_slope_and_a_plain_stays_plain() {
        let mut from: Vec<u8> = (0..64).map(|at| (at % 8) * 32).collect();
        from.extend([90; 32]);
        let out = scaled(&from, (8, 8), (6, 6));
        assert!(out[..6].windows(2).all(|two| (41..=44).contains(&(two[1] - two[0]))), "{:?}", &out[..6]);
        assert!(out[36..].iter().all(|colour| *colour == 90));
    }

    #[test]
    fn a_picture_that_is_too_short_is_refused() {
        let layout = Layout::packed(PixelFormat::Yuv420, 8, 8);
        let mut out = vec![0; 100];
        let to = Layout::packed(PixelFormat::Yuv420, 6, 6);
        assert_eq!(scale((&[0; 50], &layout, (8, 8)), (&mut out, &to, (6, 6))), None);
    }
}
