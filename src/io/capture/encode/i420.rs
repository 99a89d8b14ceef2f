//! What does the software encoder take, and what is a still made of? Planes of Y, Cb and Cr, 4:2:0.

use crate::engine::picture::Layout;

/// A picture in I420; both sides are even.
#[derive(Clone, Copy, Debug)]
pub(in crate::io::capture) struct I420<'a> {
    planes: (&'a [u8], &'a [u8], &'a [u8]),
    size: (usize, usize),
    strides: (usize, usize),
}

impl<'a> I420<'a> {
    /// Three planes without padding; `None` when they are shorter than the size says, or it is odd.
    #[cfg(feature = "openh264")]
    pub(in crate::io::capture) fn of_planes(
        y: &'a [u8],
        u: &'a [u8],
        v: &'a [u8],
        size: (usize, usize),
    ) -> Option<I420<'a>> {
        I420::new((y, u, v), size, (size.0, size.0 / 2))
    }

    /// The picture of `size` in a buffer that lies as `layout` says.
    pub(in crate::io::capture) fn of_buffer(
        data: &'a [u8],
        layout: &Layout,
        size: (usize, usize),
    ) -> Option<I420<'a>> {
        let planes = layout.planes();
        let [y, u, v] = planes.as_slice() else { return None };
        let from = |offset: usize| data.get(offset..);
        I420::new((from(y.offset)?, from(u.offset)?, from(v.offset)?), size, (y.stride, u.stride))
    }

    fn new(
        (y, u, v): (&'a [u8], &'a [u8], &'a [u8]),
        size: (usize, usize),
        strides: (usize, usize),
    ) -> Option<I420<'a>> {
        let is_even = size.0.is_multiple_of(2) && size.1.is_multiple_of(2);
        if !is_even || strides.0 < size.0 || strides.1 < size.0 / 2 {
            return None;
        }
        // The encoder's crate wants slices of exactly so many lines.
        let colours = size.1 / 2 * strides.1;
        let planes = (y.get(..size.1 * strides.0)?, u.get(..colours)?, v.get(..colours)?);
        Some(I420 { planes, size, strides })
    }

    /// Y, Cb and Cr: of each as many lines as the picture has, with the bytes between them.
    pub(in crate::io::capture) fn planes(&self) -> (&'a [u8], &'a [u8], &'a [u8]) {
        self.planes
    }

    /// Pixels.
    pub(in crate::io::capture) fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Bytes from one line to the next: of luma, and of both colours.
    pub(in crate::io::capture) fn strides(&self) -> (usize, usize) {
        self.strides
    }
}
