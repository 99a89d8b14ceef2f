//! How does an uncompressed picture lie in memory?
//!
//! The formats are V4L2's (kernel documentation, "Image Formats"), named as the kernel names them, by
//! their four characters on the wire to a driver. Nothing here converts: it says where each plane begins
//! and how long its lines are, for those who do.

/// How the pixels of a picture are written down. Byte orders are those in memory, lowest address first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 4:2:0; a plane of Y, then one of Cb and Cr in turn.
    Nv12,
    /// As [`PixelFormat::Nv12`] with Cr before Cb.
    Nv21,
    /// 4:2:0; planes of Y, Cb, Cr (I420).
    Yuv420,
    /// 4:2:0; planes of Y, Cr, Cb (YV12).
    Yvu420,
    /// 4:2:2; a plane of Y, then one of Cb and Cr in turn.
    Nv16,
    /// As [`PixelFormat::Nv16`] with Cr before Cb.
    Nv61,
    /// 4:2:2; planes of Y, Cb, Cr.
    Yuv422p,
    /// 4:2:2 in one plane: Y Cb Y Cr.
    Yuyv,
    /// 4:2:2 in one plane: Cb Y Cr Y.
    Uyvy,
    /// 4:2:2 in one plane: Y Cr Y Cb.
    Yvyu,
    /// 4:2:2 in one plane: Cr Y Cb Y.
    Vyuy,
    /// R G B.
    Rgb24,
    /// B G R.
    Bgr24,
    /// B G R and a byte of no meaning (the kernel's XBGR32).
    Bgrx32,
    /// B G R A (the kernel's ABGR32).
    Bgra32,
    /// R G B and a byte of no meaning (the kernel's RGBX32).
    Rgbx32,
    /// R G B A (the kernel's RGBA32).
    Rgba32,
    /// A byte of no meaning, then R G B (the kernel's XRGB32).
    Xrgb32,
    /// A R G B (the kernel's ARGB32).
    Argb32,
    /// A byte of no meaning, then B G R (the kernel's BGRX32).
    Xbgr32,
    /// A B G R (the kernel's BGRA32).
    Abgr32,
    /// The older name of `?RGB`, whose first byte drivers disagree on (the kernel's RGB32).
    Rgb32,
    /// The older name of `BGR?`, whose last byte drivers disagree on (the kernel's BGR32).
    Bgr32,
    /// Y alone, 8 bits.
    Grey,
    /// A JPEG picture without Huffman tables, as USB cameras send it.
    Mjpeg,
    /// A whole JPEG picture.
    Jpeg,
}

/// Each format with its four characters.
const FOURCCS: [(PixelFormat, [u8; 4]); 26] = [
    (PixelFormat::Nv12, *b"NV12"),
    (PixelFormat::Nv21, *b"NV21"),
    (PixelFormat::Yuv420, *b"YU12"),
    (PixelFormat::Yvu420, *b"YV12"),
    (PixelFormat::Nv16, *b"NV16"),
    (PixelFormat::Nv61, *b"NV61"),
    (PixelFormat::Yuv422p, *b"422P"),
    (PixelFormat::Yuyv, *b"YUYV"),
    (PixelFormat::Uyvy, *b"UYVY"),
    (PixelFormat::Yvyu, *b"YVYU"),
    (PixelFormat::Vyuy, *b"VYUY"),
    (PixelFormat::Rgb24, *b"RGB3"),
    (PixelFormat::Bgr24, *b"BGR3"),
    (PixelFormat::Bgrx32, *b"XR24"),
    (PixelFormat::Bgra32, *b"AR24"),
    (PixelFormat::Rgbx32, *b"XB24"),
    (PixelFormat::Rgba32, *b"AB24"),
    (PixelFormat::Xrgb32, *b"BX24"),
    (PixelFormat::Argb32, *b"BA24"),
    (PixelFormat::Xbgr32, *b"RX24"),
    (PixelFormat::Abgr32, *b"RA24"),
    (PixelFormat::Rgb32, *b"RGB4"),
    (PixelFormat::Bgr32, *b"BGR4"),
    (PixelFormat::Grey, *b"GREY"),
    (PixelFormat::Mjpeg, *b"MJPG"),
    (PixelFormat::Jpeg, *b"JPEG"),
];

impl PixelFormat {
    /// Every format that is known here.
    pub fn all() -> impl Iterator<Item = PixelFormat> {
        FOURCCS.iter().map(|(format, _)| *format)
    }

    /// The four characters that stand for it in V4L2.
    pub fn fourcc(self) -> [u8; 4] {
        FOURCCS.iter().find(|(format, _)| *format == self).map_or(*b"    ", |(_, fourcc)| *fourcc)
    }

    /// The format that four characters stand for, if it is known here.
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<PixelFormat> {
        FOURCCS.iter().find(|(_, known)| *known == fourcc).map(|(format, _)| *format)
    }

    /// Whether a picture is a JPEG file, of no size that could be told beforehand.
    pub fn is_compressed(self) -> bool {
        matches!(self, PixelFormat::Mjpeg | PixelFormat::Jpeg)
    }

    /// The planes: of each, the bytes that one line has for `8` bytes of the first plane's line, and how
    /// many lines of the picture share one of its lines.
    fn shape(self) -> &'static [(usize, usize)] {
        match self {
            PixelFormat::Nv12 | PixelFormat::Nv21 => &[(8, 1), (8, 2)],
            PixelFormat::Yuv420 | PixelFormat::Yvu420 => &[(8, 1), (4, 2), (4, 2)],
            PixelFormat::Nv16 | PixelFormat::Nv61 => &[(8, 1), (8, 1)],
            PixelFormat::Yuv422p => &[(8, 1), (4, 1), (4, 1)],
            _ if self.is_compressed() => &[],
            _ => &[(8, 1)],
        }
    }

    /// Bytes from one pixel to the next in the first plane; 0 for a compressed one.
    fn pixel_bytes(self) -> usize {
        match self {
            PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Yvyu | PixelFormat::Vyuy => 2,
            PixelFormat::Rgb24 | PixelFormat::Bgr24 => 3,
            PixelFormat::Bgrx32
            | PixelFormat::Bgra32
            | PixelFormat::Rgbx32
            | PixelFormat::Rgba32
            | PixelFormat::Xrgb32
            | PixelFormat::Argb32
            | PixelFormat::Xbgr32
            | PixelFormat::Abgr32
            | PixelFormat::Rgb32
            | PixelFormat::Bgr32 => 4,
            PixelFormat::Mjpeg | PixelFormat::Jpeg => 0,
            _ => 1,
        }
    }
}

impl std::fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.fourcc()).unwrap_or("????"))
    }
}

/// A picture's place in a buffer. The planes follow each other without gaps, as V4L2 has it for all
/// formats that are not of several buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How its pixels are written down.
    pub format: PixelFormat,
    /// Pixels in a line that is looked at or padded to; what is seen may be less.
    pub width: usize,
    /// Lines in the buffer, padding included; what is seen may be less.
    pub height: usize,
    /// Bytes from one line to the next, in the first plane.
    pub stride: usize,
    /// Bytes of the whole buffer; at least what the planes need.
    pub size_bytes: usize,
}

/// One plane of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Where it begins, in bytes from the buffer's start.
    pub offset: usize,
    /// Bytes from one line to the next.
    pub stride: usize,
    /// How many lines it has.
    pub lines: usize,
}

impl Plane {
    /// Bytes, the last line's padding included.
    pub fn size_bytes(&self) -> usize {
        self.stride.saturating_mul(self.lines)
    }
}

impl Layout {
    /// The layout without any padding.
    pub fn packed(format: PixelFormat, width: usize, height: usize) -> Layout {
        // The chroma of a 4:2:0 or 4:2:2 picture of odd width has a column of its own for the last pixel.
        let is_paired = format.shape().len() > 1 || format.pixel_bytes() == 2;
        let pixels = if is_paired { width.saturating_add(width % 2) } else { width };
        let stride = pixels.saturating_mul(format.pixel_bytes());
        let layout = Layout { format, width, height, stride, size_bytes: 0 };
        Layout { size_bytes: layout.planes_bytes(), ..layout }
    }

    /// Its planes in the order in which they lie; none when it is compressed.
    pub fn planes(&self) -> Vec<Plane> {
        let mut offset = 0_usize;
        let place = |&(eighths, shared): &(usize, usize)| {
            let stride = self.stride.saturating_mul(eighths) / 8;
            let plane = Plane { offset, stride, lines: self.height.div_ceil(shared) };
            offset = offset.saturating_add(plane.size_bytes());
            plane
        };
        self.format.shape().iter().map(place).collect()
    }

    /// What the planes need, in bytes; 0 when it is compressed.
    pub fn planes_bytes(&self) -> usize {
        self.planes().iter().fold(0, |sum, plane| sum.saturating_add(plane.size_bytes()))
    }

    /// Whether its lines hold their pixels and the buffer its planes. What a driver says is to be asked
    /// this before it is believed.
    pub fn is_sound(&self) -> bool {
        let is_wide_enough = self.stride >= self.width.saturating_mul(self.format.pixel_bytes());
        is_wide_enough && self.size_bytes >= self.planes_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_found_by_its_four_characters() {
        for format in PixelFormat::all() {
            assert_eq!(PixelFormat::from_fourcc(format.fourcc()), Some(format));
            assert_eq!(format.to_string().len(), 4);
        }
        assert_eq!(PixelFormat::from_fourcc(*b"H264"), None);
    }

    #[test]
    fn planes_follow_each_other() {
        // What bcm2835-codec wants for 1080 lines: 1088 of them.
        let layout = Layout {
            format: PixelFormat::Yuv420,
            width: 1920,
            height: 1088,
            stride: 1920,
            size_bytes: 3_133_440,
        };
        let planes = layout.planes();
        assert_eq!(planes[0], Plane { offset: 0, stride: 1920, lines: 1088 });
        assert_eq!(planes[1], Plane { offset: 2_088_960, stride: 960, lines: 544 });
        assert_eq!(planes[2], Plane { offset: 2_611_200, stride: 960, lines: 544 });
        assert_eq!(layout.planes_bytes(), layout.size_bytes);
        assert!(layout.is_sound());
        assert!(!Layout { size_bytes: 3_133_439, ..layout }.is_sound());
        assert!(!Layout { stride: 1919, ..layout }.is_sound());
    }

    #[test]
    fn packed_pictures_have_the_size_that_the_kernel_gives_them() {
        for (format, bytes) in [
            (PixelFormat::Nv12, 460_800),
            (PixelFormat::Nv16, 614_400),
            (PixelFormat::Yuv422p, 614_400),
            (PixelFormat::Yuyv, 614_400),
            (PixelFormat::Rgb24, 921_600),
            (PixelFormat::Bgrx32, 1_228_800),
            (PixelFormat::Grey, 307_200),
            (PixelFormat::Mjpeg, 0),
        ] {
            assert_eq!(Layout::packed(format, 640, 480).size_bytes, bytes, "{format}");
        }
        assert_eq!(Layout::packed(PixelFormat::Nv12, 5, 3).size_bytes, 6 * 3 + 6 * 2);
    }

    #[test]
    fn a_senseless_size_does_not_overflow() {
        let layout = Layout {
            format: PixelFormat::Nv12,
            width: usize::MAX,
            height: usize::MAX,
            stride: usize::MAX,
            size_bytes: 0,
        };
        assert!(!layout.is_sound());
    }
}
