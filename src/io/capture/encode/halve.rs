//! How is a picture made half as wide and half as high? Each new pixel is the mean of four old ones.
//!
//! `scale` comes to the same at a half, for any other factor too, and takes several times as long.

use super::i420::I420;
use crate::engine::picture::{Layout, PixelFormat};

/// A picture of half the size, which is written again and again.
pub(in crate::io::capture) struct Halved {
    layout: Layout,
    data: Vec<u8>,
}

impl Halved {
    /// Of pictures of `size`, in even numbers.
    pub(in crate::io::capture) fn new(size: (usize, usize)) -> Halved {
        let layout = Layout::packed(PixelFormat::Yuv420, (size.0 / 2) & !1, (size.1 / 2) & !1);
        Halved { layout, data: vec![0; layout.size_bytes] }
    }

    /// Pixels.
    pub(in crate::io::capture) fn size(&self) -> (usize, usize) {
        (self.layout.width, self.layout.height)
    }

    /// Halves a picture; `None` when it is smaller than those that it was made for.
    pub(in crate::io::capture) fn of(&mut self, picture: &I420) -> Option<I420<'_>> {
        let (size, planes, strides) = (self.size(), picture.planes(), picture.strides());
        if picture.size().0 / 2 < size.0 || picture.size().1 / 2 < size.1 {
            return None;
        }
        let halves = (size.0 / 2, size.1 / 2);
        let from =
            [(planes.0, strides.0, size), (planes.1, strides.1, halves), (planes.2, strides.1, halves)];
        for (to, (from, stride, size)) in self.layout.planes().iter().zip(from) {
            let to = self.data.get_mut(to.offset..to.offset + to.stride * size.1)?;
            for (to, two) in to.chunks_exact_mut(size.0).zip(from.chunks(stride * 2)) {
                let (upper, lower) = two.split_at_checked(stride)?;
                halve_lines(upper, lower, to);
            }
        }
        I420::of_buffer(&self.data, &self.layout, self.size())
    }
}

fn halve_lines(upper: &[u8], lower: &[u8], to: &mut [u8]) {
    let fours = upper.chunks_exact(2).zip(lower.chunks_exact(2));
    for (to, (upper, lower)) in to.iter_mut().zip(fours) {
        let sum = u16::from(upper[0]) + u16::from(upper[1]) + u16::from(lower[0]) + u16::from(lower[1]);
        // At most (4 * 255 + 2) / 4 = 255.
        *to = ((sum + 2) / 4) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halved(from: &[u8], size: (usize, usize)) -> Option<(Vec<u8>, (usize, usize))> {
        let layout = Layout::packed(PixelFormat::Yuv420, size.0, size.1);
        let picture = I420::of_buffer(from, &layout, size).expect("a picture");
        let mut halved = Halved::new(size);
        let size = halved.of(&picture)?.size();
        Some((halved.data.clone(), size))
    }

    #[test]
    fn each_pixel_is_the_mean_of_four() {
        let mut from = vec![0, 10, 100, 100, 20, 30, 100, 104, 1, 1, 9, 9, 1, 1, 9, 9];
        from.extend([50, 60, 70, 80, 1, 2, 3, 4]);
        assert_eq!(halved(&from, (4, 4)), Some((vec![15, 101, 1, 9, 65, 3], (2, 2))));
    }

    #[test]
    fn what_does_not_halve_evenly_loses_its_edge() {
        let from = [vec![80; 6 * 6], vec![90; 9], vec![100; 9]].concat();
        assert_eq!(halved(&from, (6, 6)), Some((vec![80, 80, 80, 80, 90, 100], (2, 2))));
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        let layout = Layout::packed(PixelFormat::Yuv420, 4, 4);
        let data = vec![0; layout.size_bytes];
        let picture = I420::of_buffer(&data, &layout, (4, 4)).expect("a picture");
        assert!(Halved::new((8, 8)).of(&picture).is_none());
    }
}
