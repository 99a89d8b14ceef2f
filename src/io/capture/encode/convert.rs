//! How does a camera's picture become one that an encoder takes?
//!
//! Two lines at a time, since two lines share one of the colours: luma goes straight to its place, the
//! colours of both lines are averaged, and a full range is squeezed while the lines are still at hand.
//! What is larger than the picture that is wanted is cut off at the right and at the bottom.

use super::colour::{Colour, Range, Weights, squeeze_chroma, squeeze_luma};
use super::i420::I420;
use crate::engine::picture::{Layout, PixelFormat};

/// A picture to be converted.
#[derive(Clone, Copy, Debug)]
pub(in crate::io::capture) struct Picture<'a> {
    planes: [Lines<'a>; 3],
    samples: Samples,
    colour: Colour,
}

/// The lines of one plane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
}

/// Where luma and colours stand in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Samples {
    /// Planes of Y, Cb and Cr, the last two divided by this across and down.
    Planar { across: usize, down: usize },
    /// A plane of Y, and one of both colours divided by 2 across and by this down.
    Paired { down: usize, is_cr_first: bool },
    /// Two pixels in four bytes: where the first Y, Cb and Cr stand.
    Packed { y: usize, cb: usize, cr: usize },
    /// Red, green and blue: bytes for a pixel, and where each stands in them.
    Rgb { bytes: usize, red: usize, green: usize, blue: usize },
    /// Y alone.
    Grey,
}

/// Why a picture could not be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io::capture) struct TooShort;

impl<'a> Picture<'a> {
    /// `None` when the format is compressed or there are fewer bytes than it needs.
    pub(in crate::io::capture) fn new(
        data: &'a [u8],
        layout: &Layout,
        colour: Colour,
    ) -> Option<Picture<'a>> {
        if data.len() < needed(layout) {
            return None;
        }
        let mut planes = [Lines::default(); 3];
        for (lines, plane) in planes.iter_mut().zip(layout.planes()) {
            *lines = Lines { bytes: data.get(plane.offset..)?, stride: plane.stride };
        }
        if layout.format == PixelFormat::Yvu420 {
            planes.swap(1, 2);
        }
        Some(Picture { planes, samples: Samples::of(layout.format)?, colour })
    }

    /// A decoded picture: planes of Y, Cb and Cr, or of Y alone.
    pub(super) fn planar(planes: [Lines<'a>; 3], samples: Samples, colour: Colour) -> Picture<'a> {
        Picture { planes, samples, colour }
    }

    /// A picture that lies in three planes of ours.
    pub(in crate::io::capture) fn of_i420(picture: &I420<'a>, colour: Colour) -> Picture<'a> {
        let ((y, cb, cr), (stride, half)) = (picture.planes(), picture.strides());
        let lines = |bytes, stride| Lines { bytes, stride };
        let planes = [lines(y, stride), lines(cb, half), lines(cr, half)];
        Picture::planar(planes, Samples::Planar { across: 2, down: 2 }, colour)
    }

    /// Writes the picture of `size` into planes that lie as `layout` says: I420 or NV12. The size is even.
    pub(in crate::io::capture) fn write(
        &self,
        size: (usize, usize),
        planes: Vec<&mut [u8]>,
        layout: &Layout,
    ) -> Result<(), TooShort> {
        let mut target = Target::new(planes, layout).ok_or(TooShort)?;
        let mut scratch = (vec![128; size.0 / 2], vec![128; size.0 / 2]);
        for pair in 0..size.1 / 2 {
            self.write_luma(pair * 2, size.0, &mut target)?;
            self.write_luma(pair * 2 + 1, size.0, &mut target)?;
            self.colours(pair, size.0, &mut scratch.0, &mut scratch.1).ok_or(TooShort)?;
            if self.colour.range == Range::Full && !self.samples.is_computed() {
                squeeze_chroma(&mut scratch.0);
                squeeze_chroma(&mut scratch.1);
            }
            target.put_colours(pair, &scratch.0, &scratch.1).ok_or(TooShort)?;
        }
        Ok(())
    }

    fn write_luma(&self, line: usize, width: usize, target: &mut Target) -> Result<(), TooShort> {
        let out = target.luma(line, width).ok_or(TooShort)?;
        self.luma(line, out).ok_or(TooShort)?;
        if self.colour.range == Range::Full && !self.samples.is_computed() {
            squeeze_luma(out);
        }
        Ok(())
    }

    fn luma(&self, line: usize, out: &mut [u8]) -> Option<()> {
        match self.samples {
            Samples::Planar { .. } | Samples::Paired { .. } | Samples::Grey => {
                out.copy_from_slice(self.planes[0].line(line, out.len())?);
            }
            Samples::Packed { y, .. } => pick::<2>(self.planes[0].line(line, out.len() * 2)?, y, out),
            Samples::Rgb { bytes, red, green, blue } => {
                let from = self.planes[0].line(line, out.len() * bytes)?;
                let weights = Weights::of(self.colour.matrix);
                for (y, pixel) in out.iter_mut().zip(from.chunks_exact(bytes)) {
                    *y = weights.luma([red, green, blue].map(|part| i32::from(pixel[part])));
                }
            }
        }
        Some(())
    }

    /// The colours that two lines of `width` pixels share.
    fn colours(&self, pair: usize, width: usize, cb: &mut [u8], cr: &mut [u8]) -> Option<()> {
        match self.samples {
            Samples::Grey => {}
            Samples::Planar { across, down } => {
                planar(&self.planes[1], (across, down), pair, cb)?;
                planar(&self.planes[2], (across, down), pair, cr)?;
            }
            Samples::Paired { down, is_cr_first } => {
                let (upper, lower) = self.planes[1].shared(pair, down, width)?;
                let first = usize::from(is_cr_first);
                average::<2>(upper, lower, first, cb);
                average::<2>(upper, lower, 1 - first, cr);
            }
            Samples::Packed { cb: cb_at, cr: cr_at, .. } => {
                let (upper, lower) = self.planes[0].shared(pair, 1, width * 2)?;
                average::<4>(upper, lower, cb_at, cb);
                average::<4>(upper, lower, cr_at, cr);
            }
            Samples::Rgb { bytes, red, green, blue } => {
                let (upper, lower) = self.planes[0].shared(pair, 1, width * bytes)?;
                let weights = Weights::of(self.colour.matrix);
                let twos = upper.chunks_exact(bytes * 2).zip(lower.chunks_exact(bytes * 2));
                for ((cb, cr), (upper, lower)) in cb.iter_mut().zip(cr).zip(twos) {
                    let sum = |at: usize| {
                        [upper[at], upper[at + bytes], lower[at], lower[at + bytes]]
                            .map(i32::from)
                            .iter()
                            .sum()
                    };
                    (*cb, *cr) = weights.chroma([sum(red), sum(green), sum(blue)]);
                }
            }
        }
        Some(())
    }
}

/// The bytes up to the last pixel: the last line may come without its padding.
fn needed(layout: &Layout) -> usize {
    let padded = layout.planes();
    let packed = Layout::packed(layout.format, layout.width, layout.height).planes();
    let last = padded.last().zip(packed.last());
    last.map_or(0, |(padded, packed)| layout.planes_bytes() - padded.stride.saturating_sub(packed.stride))
}

impl Samples {
    fn of(format: PixelFormat) -> Option<Samples> {
        use PixelFormat as F;
        let rgb = |bytes, red, green, blue| Samples::Rgb { bytes, red, green, blue };
        Some(match format {
            F::Yuv420 | F::Yvu420 => Samples::Planar { across: 2, down: 2 },
            F::Yuv422p => Samples::Planar { across: 2, down: 1 },
            F::Nv12 => Samples::Paired { down: 2, is_cr_first: false },
            F::Nv21 => Samples::Paired { down: 2, is_cr_first: true },
            F::Nv16 => Samples::Paired { down: 1, is_cr_first: false },
            F::Nv61 => Samples::Paired { down: 1, is_cr_first: true },
            F::Yuyv => Samples::Packed { y: 0, cb: 1, cr: 3 },
            F::Yvyu => Samples::Packed { y: 0, cb: 3, cr: 1 },
            F::Uyvy => Samples::Packed { y: 1, cb: 0, cr: 2 },
            F::Vyuy => Samples::Packed { y: 1, cb: 2, cr: 0 },
            F::Rgb24 => rgb(3, 0, 1, 2),
            F::Bgr24 => rgb(3, 2, 1, 0),
            F::Rgbx32 | F::Rgba32 => rgb(4, 0, 1, 2),
            F::Bgrx32 | F::Bgra32 | F::Bgr32 => rgb(4, 2, 1, 0),
            F::Xrgb32 | F::Argb32 | F::Rgb32 => rgb(4, 1, 2, 3),
            F::Xbgr32 | F::Abgr32 => rgb(4, 3, 2, 1),
            F::Grey => Samples::Grey,
            F::Mjpeg | F::Jpeg => return None,
        })
    }

    /// Luma and colours are computed here, in the limited range at once.
    fn is_computed(self) -> bool {
        matches!(self, Samples::Rgb { .. })
    }
}

impl<'a> Lines<'a> {
    fn line(&self, line: usize, bytes: usize) -> Option<&'a [u8]> {
        let start = line.checked_mul(self.stride)?;
        self.bytes.get(start..start.checked_add(bytes)?)
    }

    /// The two lines of a plane that belong to a pair of the picture's, or twice the one that they share.
    fn shared(&self, pair: usize, down: usize, bytes: usize) -> Option<(&'a [u8], &'a [u8])> {
        match down {
            1 => Some((self.line(pair * 2, bytes)?, self.line(pair * 2 + 1, bytes)?)),
            _ => self.line(pair, bytes).map(|line| (line, line)),
        }
    }
}

/// One colour of a planar picture, brought to half of the width.
fn planar(lines: &Lines, (across, down): (usize, usize), pair: usize, out: &mut [u8]) -> Option<()> {
    let needed = (out.len() * 2).div_ceil(across);
    let (upper, lower) = lines.shared(pair, down, needed)?;
    match across {
        1 => {
            for (out, (upper, lower)) in out.iter_mut().zip(upper.chunks_exact(2).zip(lower.chunks_exact(2)))
            {
                let sum: u32 = [upper[0], upper[1], lower[0], lower[1]].map(u32::from).iter().sum();
                *out = ((sum + 2) / 4) as u8;
            }
        }
        2 => average::<1>(upper, lower, 0, out),
        _ => {
            let samples = upper.iter().zip(lower).map(|(upper, lower)| mean(*upper, *lower));
            for (two, sample) in out.chunks_mut(across / 2).zip(samples) {
                two.fill(sample);
            }
        }
    }
    Some(())
}

fn pick<const STEP: usize>(from: &[u8], at: usize, out: &mut [u8]) {
    for (out, samples) in out.iter_mut().zip(from.chunks_exact(STEP)) {
        *out = samples[at];
    }
}

fn average<const STEP: usize>(upper: &[u8], lower: &[u8], at: usize, out: &mut [u8]) {
    let samples = upper.chunks_exact(STEP).zip(lower.chunks_exact(STEP));
    for (out, (upper, lower)) in out.iter_mut().zip(samples) {
        *out = mean(upper[at], lower[at]);
    }
}

fn mean(one: u8, other: u8) -> u8 {
    ((u16::from(one) + u16::from(other)).div_ceil(2)) as u8
}

/// Where a converted picture goes.
struct Target<'a> {
    luma: (&'a mut [u8], usize),
    colours: Colours<'a>,
}

enum Colours<'a> {
    Planar { cb: &'a mut [u8], cr: &'a mut [u8], stride: usize },
    Paired(&'a mut [u8], usize),
}

impl<'a> Target<'a> {
    /// `None` when the format is neither I420 nor NV12, or a plane is missing.
    fn new(planes: Vec<&'a mut [u8]>, layout: &Layout) -> Option<Target<'a>> {
        let stride = layout.planes().get(1)?.stride;
        let mut planes = planes.into_iter();
        let luma = (planes.next()?, layout.stride);
        let colours = match layout.format {
            PixelFormat::Nv12 => Colours::Paired(planes.next()?, stride),
            PixelFormat::Yuv420 => Colours::Planar { cb: planes.next()?, cr: planes.next()?, stride },
            _ => return None,
        };
        Some(Target { luma, colours })
    }

    fn luma(&mut self, line: usize, width: usize) -> Option<&mut [u8]> {
        let start = line * self.luma.1;
        self.luma.0.get_mut(start..start + width)
    }

    fn put_colours(&mut self, line: usize, cb: &[u8], cr: &[u8]) -> Option<()> {
        match &mut self.colours {
            Colours::Planar { cb: to_cb, cr: to_cr, stride } => {
                let start = line * *stride;
                to_cb.get_mut(start..start + cb.len())?.copy_from_slice(cb);
                to_cr.get_mut(start..start + cr.len())?.copy_from_slice(cr);
            }
            Colours::Paired(both, stride) => {
                let start = line * *stride;
                let out = both.get_mut(start..start + cb.len() * 2)?;
                for (out, (cb, cr)) in out.chunks_exact_mut(2).zip(cb.iter().zip(cr)) {
                    out.copy_from_slice(&[*cb, *cr]);
                }
            }
        }
        Some(())
    }
}

/// The planes of a buffer of ours, one behind the other.
pub(in crate::io::capture) fn planes_of<'a>(buffer: &'a mut [u8], layout: &Layout) -> Vec<&'a mut [u8]> {
    let mut rest = buffer;
    let mut planes = Vec::new();
    for plane in layout.planes() {
        let Some((lines, others)) = rest.split_at_mut_checked(plane.size_bytes()) else { break };
        planes.push(lines);
        rest = others;
    }
    planes
}

/// Copies a picture whose encoder takes the camera's own format; only the lines' lengths may differ.
pub(in crate::io::capture) fn copy(
    data: &[u8],
    from: &Layout,
    mut planes: Vec<&mut [u8]>,
    to: &Layout,
) -> Result<(), TooShort> {
    for (index, (from, to)) in from.planes().iter().zip(to.planes()).enumerate() {
        let bytes = from.stride.min(to.stride);
        let into = planes.get_mut(index).ok_or(TooShort)?;
        for line in 0..from.lines.min(to.lines) {
            let (start, end) = (from.offset + line * from.stride, line * to.stride);
            let line = data.get(start..start + bytes).ok_or(TooShort)?;
            into.get_mut(end..end + bytes).ok_or(TooShort)?.copy_from_slice(line);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
