//! What is in the test picture: night sky, sea, a lighthouse whose beam goes round, clock and strips.
//!
//! What stands still is drawn once and copied; what moves is drawn over it.

use std::f32::consts::PI;
use std::time::Duration;

use super::canvas::{Canvas, Colour};
use super::font;
use crate::units::MediaTime;

/// The lamp turns once in this time and has two beams, so one passes the viewer every 2 s.
const TURN: Duration = Duration::from_secs(4);
/// How long the square is white at the start of each second.
const FLASH: Duration = Duration::from_millis(100);
/// What the encoder can do (OpenH264 takes up to 3840 by 2160), and the least that holds the strips.
const SIZES: (usize, usize, usize) = (64, 3840, 2160);

const SEA_BEGINS: f32 = 0.70;
const TOWER: f32 = 0.72;
const LAMP_HEIGHT: f32 = 0.335;
const WARM: Colour = Colour::new(225, 112, 138);
const ROCK: Colour = Colour::new(24, 129, 127);

/// The picture, drawn anew for each frame.
pub(super) struct Scene {
    still: Canvas,
    canvas: Canvas,
}

impl Scene {
    /// Width and height are brought into what the encoder takes, and made even.
    pub(super) fn new(size: (u32, u32)) -> Scene {
        let (least, widest, highest) = SIZES;
        let width = (size.0 as usize).clamp(least, widest);
        let height = (size.1 as usize).clamp(least, highest);
        let mut still = Canvas::new(width, height);
        draw_sky_and_sea(&mut still);
        draw_rock_and_tower(&mut still);
        Scene { canvas: still.clone(), still }
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.canvas.width as u32, self.canvas.height as u32)
    }

    pub(super) fn canvas(&self) -> &Canvas {
        &self.canvas
    }

    pub(super) fn draw(&mut self, media: MediaTime, wall: Duration, frame: u32) {
        self.canvas.copy_from(&self.still);
        draw_glints(&mut self.canvas, media);
        draw_beams(&mut self.canvas, media);
        draw_flash(&mut self.canvas, media);
        draw_text(&mut self.canvas, wall, frame);
        let height = strip_height(self.canvas.height);
        draw_strip(&mut self.canvas, 0, height, wall.as_millis() as u32);
        draw_strip(&mut self.canvas, height, height, frame);
    }
}

/// The height of one machine-readable strip in pixels.
pub(super) fn strip_height(height: usize) -> i32 {
    (height / 45).max(8) as i32
}

fn draw_strip(canvas: &mut Canvas, top: i32, height: i32, value: u32) {
    let (width, cell) = (canvas.width as i32, canvas.width as i32 / 32);
    canvas.rectangle(0, top, width, height, Colour::BLACK);
    for bit in (0..32).filter(|bit| value >> (31 - bit) & 1 == 1) {
        canvas.rectangle(bit * cell, top, cell, height, Colour::WHITE);
    }
}

fn sky(height: usize, row: i32) -> Colour {
    let down = row as f32 / (height as f32 * SEA_BEGINS);
    Colour::new((22.0 + 34.0 * down.clamp(0.0, 1.0)) as u8, 146, 117)
}

fn draw_sky_and_sea(canvas: &mut Canvas) {
    let (width, height) = (canvas.width as i32, canvas.height as i32);
    let shore = (height as f32 * SEA_BEGINS) as i32;
    for row in 0..height {
        let depth = (row - shore) as f32 / (height - shore) as f32;
        let sea = Colour::new((44.0 - 22.0 * depth) as u8, 142, 116);
        canvas.run(row, 0, width, if row < shore { sky(height as usize, row) } else { sea });
    }
    let dot = (height / 360).max(1);
    let mut random = 1;
    for _ in 0..140 {
        let (x, y) = (next_random(&mut random) % width as u32, next_random(&mut random) % shore as u32);
        let luma = 90 + (next_random(&mut random) % 110) as u8;
        canvas.rectangle(x as i32, y as i32, dot, dot, Colour { y: luma, ..sky(height as usize, y as i32) });
    }
}

fn draw_rock_and_tower(canvas: &mut Canvas) {
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    let (middle, top, foot) = (width * TOWER, height * 0.37, height * 0.68);
    canvas.disc((middle, height * 0.73), height * 0.26, 0.32, ROCK);
    canvas.disc((middle + height * 0.16, height * 0.745), height * 0.17, 0.3, ROCK);
    let half = |y: f32| height * (0.036 + 0.022 * (y - top) / (foot - top));
    const BANDS: u8 = 6;
    for band in 0..BANDS {
        let from = top + (foot - top) * f32::from(band) / f32::from(BANDS);
        let to = top + (foot - top) * f32::from(band + 1) / f32::from(BANDS);
        let colour = if band % 2 == 0 { Colour::new(175, 126, 129) } else { Colour::new(74, 112, 186) };
        let shade = Colour { y: colour.y - colour.y / 4, ..colour };
        let side = |x: f32, y: f32| (middle + x * half(y), y);
        canvas.polygon(&[side(-1.0, from), side(1.0, from), side(1.0, to), side(-1.0, to)], |_| colour);
        canvas.polygon(&[side(0.3, from), side(1.0, from), side(1.0, to), side(0.3, to)], |_| shade);
    }
    let unit = height / 100.0;
    let bar = |canvas: &mut Canvas, half: f32, top: f32, tall: f32, colour: Colour| {
        let (left, wide) = ((middle - half * unit) as i32, (2.0 * half * unit) as i32);
        canvas.rectangle(left, (top * unit) as i32, wide, (tall * unit) as i32, colour);
    };
    bar(canvas, 4.6, 36.4, 1.4, Colour::grey(40));
    bar(canvas, 2.6, 31.0, 5.4, Colour::new(110, 118, 134));
    let roof =
        [(middle - 3.4 * unit, 31.0 * unit), (middle + 3.4 * unit, 31.0 * unit), (middle, 26.5 * unit)];
    canvas.polygon(&roof, |_| Colour::new(70, 114, 180));
}

/// Light on the water: short lines that come and go.
fn draw_glints(canvas: &mut Canvas, media: MediaTime) {
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    let seconds = media.0.as_secs_f64() % 3600.0;
    let mut random = 7;
    for _ in 0..48 {
        let x = (next_random(&mut random) % 1000) as f32 / 1000.0;
        let depth = (next_random(&mut random) % 1000) as f32 / 1000.0;
        let phase = f64::from(next_random(&mut random) % 628) / 100.0;
        let swell = (seconds * 1.3 + phase).sin() as f32;
        let row = height * (SEA_BEGINS + 0.10 + (1.0 - SEA_BEGINS - 0.12) * depth);
        let half = width * 0.02 * (0.4 + depth) * swell.max(0.0);
        let middle = width * x + swell * width * 0.01;
        let colour = Colour::new(58 + (40.0 * swell.max(0.0)) as u8, 136, 120);
        canvas.rectangle(
            (middle - half) as i32,
            row as i32,
            (2.0 * half) as i32,
            (height / 240.0) as i32,
            colour,
        );
    }
}

fn draw_beams(canvas: &mut Canvas, media: MediaTime) {
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    let lamp = (width * TOWER, height * LAMP_HEIGHT);
    let turn_nanos = (media.0.as_nanos() % TURN.as_nanos()) as f32;
    let angle = 2.0 * PI * turn_nanos / TURN.as_nanos() as f32;
    let mut towards = 0.0f32;
    for angle in [angle, angle + PI] {
        draw_beam(canvas, lamp, angle);
        towards = towards.max(angle.sin());
    }
    // Looking into the beam for a moment.
    let glare = towards.powi(60);
    canvas.disc(lamp, height * (0.020 + 0.055 * glare), 1.0, Colour { y: 190, ..WARM });
    canvas.disc(lamp, height * (0.013 + 0.045 * glare), 1.0, WARM);
}

/// A beam seen from the side: to the right at 0, towards the viewer at a quarter turn, where it is
/// short, wide and falls a little. It fades with its distance from the lamp.
fn draw_beam(canvas: &mut Canvas, lamp: (f32, f32), angle: f32) {
    let (width, height) = (canvas.width as f32, canvas.height);
    let reach = width * 0.8 * angle.cos();
    let fall = height as f32 * 0.09 * angle.sin();
    let spread = height as f32 * (0.055 + 0.03 * angle.sin());
    const PIECES: u8 = 20;
    for (share, strength) in [(1.0, 0.5), (0.55, 1.0)] {
        for piece in 0..PIECES {
            let (from, to) = (f32::from(piece) / f32::from(PIECES), f32::from(piece + 1) / f32::from(PIECES));
            let edge = |along: f32, side: f32| {
                let half = share * (height as f32 * 0.008 + spread * along);
                (lamp.0 + reach * along, lamp.1 + fall * along + side * half)
            };
            let light = 130.0 * strength * (1.0 - from).powf(1.5);
            let warmth = (30.0 * (1.0 - from) * strength) as u8;
            canvas.polygon(&[edge(from, -1.0), edge(to, -1.0), edge(to, 1.0), edge(from, 1.0)], |row| {
                let behind = sky(height, row);
                Colour::new(behind.y + light as u8, behind.u - warmth, behind.v + warmth / 2)
            });
        }
    }
}

fn draw_flash(canvas: &mut Canvas, media: MediaTime) {
    let (width, height) = (canvas.width as i32, canvas.height as i32);
    let (side, margin, rim) = (height / 8, height / 24, (height / 240).max(1));
    let (left, top) = (width - margin - side, height - margin - side);
    let is_lit = Duration::from_nanos(u64::from(media.0.subsec_nanos())) < FLASH;
    canvas.rectangle(left, top, side, side, Colour::grey(90));
    let inside = if is_lit { Colour::WHITE } else { Colour::grey(20) };
    let inset = if is_lit { 0 } else { rim };
    canvas.rectangle(left + inset, top + inset, side - 2 * inset, side - 2 * inset, inside);
}

fn draw_text(canvas: &mut Canvas, wall: Duration, frame: u32) {
    let height = canvas.height as i32;
    let (dot, margin) = ((height / 120).max(1), height / 24);
    let of_day = wall.as_secs() % 86_400;
    let (hours, minutes, seconds) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let clock = format!("{hours:02}:{minutes:02}:{seconds:02}.{:03} UTC", wall.subsec_millis());
    let small = (dot / 2).max(1);
    font::write(canvas, &clock, (margin, height - margin - 7 * dot), dot, Colour::grey(225));
    let counter = format!("FRAME {frame}");
    font::write(canvas, &counter, (margin, height - margin - 10 * dot - 7 * small), small, Colour::grey(160));
    let below_strips = 2 * strip_height(canvas.height) + margin;
    font::write(canvas, "FAROL", (margin, below_strips), dot, Colour::grey(150));
}

/// A linear congruential generator (Numerical Recipes, ch. 7): the same stars at every start.
fn next_random(state: &mut u32) -> u32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *state >> 8
}
