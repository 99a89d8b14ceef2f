//! A picture in I420 that is drawn in rows: whole runs at a time, since single pixels are slow
//! where the optimiser is off.

/// Luma and chroma in the limited range of video: luma 16 to 235, chroma around 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour {
    pub(super) y: u8,
    pub(super) u: u8,
    pub(super) v: u8,
}

impl Colour {
    pub(super) const BLACK: Colour = Colour::grey(16);
    pub(super) const WHITE: Colour = Colour::grey(235);

    pub(super) const fn grey(y: u8) -> Colour {
        Colour { y, u: 128, v: 128 }
    }
    pub(super) const fn new(y: u8, u: u8, v: u8) -> Colour {
        Colour { y, u, v }
    }
}

/// The three planes; width and height are even, and the chroma planes have half of each.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) y: Vec<u8>,
    pub(super) u: Vec<u8>,
    pub(super) v: Vec<u8>,
}

impl Canvas {
    /// A black one. `width` and `height` are rounded down to even numbers.
    pub(super) fn new(width: usize, height: usize) -> Canvas {
        let (width, height) = (width & !1, height & !1);
        let chroma = width * height / 4;
        Canvas { width, height, y: vec![16; width * height], u: vec![128; chroma], v: vec![128; chroma] }
    }

    /// Takes over all of `other`, which has the same size.
    pub(super) fn copy_from(&mut self, other: &Canvas) {
        self.y.copy_from_slice(&other.y);
        self.u.copy_from_slice(&other.u);
        self.v.copy_from_slice(&other.v);
    }

    /// One row from `left` up to, but not including, `right`; what lies outside is cut off.
    pub(super) fn run(&mut self, row: i32, left: i32, right: i32, colour: Colour) {
        if row < 0 || row as usize >= self.height {
            return;
        }
        let (row, left, right) = (row as usize, self.column(left), self.column(right));
        if left >= right {
            return;
        }
        let start = row * self.width;
        self.y[start + left..start + right].fill(colour.y);
        if row % 2 == 0 {
            let start = row / 2 * (self.width / 2);
            let (left, right) = (left / 2, right.div_ceil(2));
            self.u[start + left..start + right].fill(colour.u);
            self.v[start + left..start + right].fill(colour.v);
        }
    }

    pub(super) fn rectangle(&mut self, left: i32, top: i32, width: i32, height: i32, colour: Colour) {
        for row in top..top + height {
            self.run(row, left, left + width, colour);
        }
    }

    /// A disc, flattened to `squash` of its height.
    pub(super) fn disc(&mut self, centre: (f32, f32), radius: f32, squash: f32, colour: Colour) {
        let half_height = (radius * squash).max(0.5);
        for row in (centre.1 - half_height) as i32..=(centre.1 + half_height) as i32 {
            let across = (row as f32 - centre.1) / half_height;
            let half = radius * (1.0 - across * across).max(0.0).sqrt();
            self.run(row, (centre.0 - half).round() as i32, (centre.0 + half).round() as i32, colour);
        }
    }

    /// A convex polygon; its colour may change from row to row.
    pub(super) fn polygon(&mut self, corners: &[(f32, f32)], colour: impl Fn(i32) -> Colour) {
        let top = corners.iter().fold(f32::MAX, |top, corner| top.min(corner.1));
        let bottom = corners.iter().fold(f32::MIN, |bottom, corner| bottom.max(corner.1));
        for row in (top.floor() as i32).max(0)..=(bottom.ceil() as i32).min(self.height as i32 - 1) {
            let (mut left, mut right) = (f32::MAX, f32::MIN);
            for (index, &(x0, y0)) in corners.iter().enumerate() {
                let (x1, y1) = corners[(index + 1) % corners.len()];
                let along = (row as f32 - y0) / (y1 - y0);
                if y0 != y1 && (0.0..=1.0).contains(&along) {
                    let x = x0 + along * (x1 - x0);
                    (left, right) = (left.min(x), right.max(x));
                }
            }
            self.run(row, left.round() as i32, right.round() as i32, colour(row));
        }
    }

    fn column(&self, x: i32) -> usize {
        (x.max(0) as usize).min(self.width)
    }
}
