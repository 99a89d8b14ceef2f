//! How is sound played a little faster or slower without a click?
//!
//! It is read between its samples, along a cubic curve through the neighbours. For the 0.5% in question
//! that changes the pitch by a twelfth of a semitone, and speech not at all that anybody could tell.

/// Samples on their way, and where between them the next one is read.
#[derive(Debug)]
pub struct Stretch {
    /// The first one is the neighbour before the position.
    input: Vec<f32>,
    position: f64,
}

impl Default for Stretch {
    fn default() -> Self {
        Stretch { input: vec![0.0], position: 1.0 }
    }
}

impl Stretch {
    /// Takes sound.
    pub fn push(&mut self, samples: &[f32]) {
        self.input.extend_from_slice(samples);
    }

    /// Whether there is enough for so many samples at that speed.
    pub fn has(&self, samples: usize, speed: f64) -> bool {
        // The last one read, and two beyond it that the curve goes through.
        self.position + samples as f64 * speed + 2.0 < self.input.len() as f64
    }

    /// Reads; what is not there is silence.
    pub fn take(&mut self, out: &mut [f32], speed: f64) {
        for sample in out {
            let (index, along) = (self.position as usize, self.position.fract() as f32);
            let at = |ahead: usize| self.input.get(index + ahead - 1).copied().unwrap_or(0.0);
            *sample = hermite([at(0), at(1), at(2), at(3)], along);
            self.position += speed;
        }
        let used = (self.position as usize - 1).min(self.input.len());
        self.input.drain(..used);
        self.position -= used as f64;
    }
}

/// The cubic through the middle two of four points, `along` from 0 to 1 between them (Catmull-Rom).
fn hermite([before, from, to, after]: [f32; 4], along: f32) -> f32 {
    let slope = 0.5 * (to - before);
    let curve = before - 2.5 * from + 2.0 * to - 0.5 * after;
    let twist = 0.5 * (after - before) + 1.5 * (from - to);
    ((twist * along + curve) * along + slope) * along + from
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (n as f32 * std::f32::consts::TAU * 1_000.0 / 48_000.0).sin()).collect()
    }

    #[test]
    fn at_speed_one_nothing_changes() {
        let (mut stretch, tone, mut out) = (Stretch::default(), tone(2_000), [0.0; 960]);
        stretch.push(&tone);
        stretch.take(&mut out, 1.0);
        assert_eq!(out[..], tone[..960]);
        stretch.take(&mut out, 1.0);
        assert_eq!(out[..], tone[960..1920]);
    }

    #[test]
    fn a_change_of_speed_has_no_step_in_it() {
        let (mut stretch, tone) = (Stretch::default(), tone(50_000));
        let (mut played, mut fed, mut out) = (Vec::new(), 0, [0.0; 960]);
        for frame in 0..40 {
            let speed = if frame % 4 < 2 { 1.005 } else { 0.995 };
            while !stretch.has(960, speed) {
                stretch.push(&tone[fed..fed + 960]);
                fed += 960;
            }
            stretch.take(&mut out, speed);
            played.extend(out);
        }
        // The steepest slope of the tone is 0.131 a sample.
        assert!(played.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.133));
        assert!(played.iter().skip(100).any(|&sample| sample > 0.99));
    }
}
