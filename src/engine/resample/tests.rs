use super::*;
use std::f64::consts::TAU;

/// A sine in pieces of 10 ms; each output moment with the place in the input that it is said to lie at.
fn resampled(resampler: &mut Resampler, from_hz: u32, hz: f64, seconds: usize) -> Vec<(f64, f32)> {
    let (mut heard, mut moments) = (Vec::new(), 0u64);
    for _ in 0..seconds * 100 {
        let period: Vec<f32> = (0..u64::from(from_hz) / 100)
            .map(|index| (TAU * hz * (moments + index) as f64 / f64::from(from_hz)).sin() as f32 * 0.5)
            .collect();
        moments += period.len() as u64;
        resampler.push(&period);
        let mut piece = Vec::new();
        loop {
            let (position, step) = (resampler.position(), 1.0 / resampler.ratio.1);
            if !resampler.next_piece(&mut piece) {
                break;
            }
            heard.extend(
                piece.drain(..).enumerate().map(|(index, sample)| (position + index as f64 * step, sample)),
            );
        }
    }
    heard
}

/// The amplitude of a sine, without the start, where it begins out of silence.
fn amplitude(heard: &[(f64, f32)]) -> f32 {
    let settled = &heard[heard.len() / 4..];
    (settled.iter().map(|(_, sample)| 2.0 * sample * sample).sum::<f32>() / settled.len() as f32).sqrt()
}

#[test]
fn the_position_says_where_in_the_input_a_sample_lies() {
    for from_hz in [8_000, 44_100, 48_000, 96_000, 192_000] {
        for piece in [Piece::Out(960), Piece::In(480)] {
            let mut resampler = Resampler::new(from_hz, 48_000, 1, piece);
            for (position, sample) in resampled(&mut resampler, from_hz, 300.0, 1).into_iter().skip(2_000) {
                let expected = (TAU * 300.0 * position / f64::from(from_hz)).sin() as f32 * 0.5;
                // A thousandth: a fifteenth of a sample of 48 kHz at the steepest place.
                assert!(
                    (sample - expected).abs() < 0.001,
                    "{sample} for {expected} at {from_hz} Hz, {piece:?}"
                );
            }
        }
    }
}

#[test]
fn speech_and_music_pass_and_what_cannot_be_heard_is_gone() {
    for (from_hz, hz) in [(48_000, 16_000.0), (44_100, 14_000.0), (8_000, 2_800.0), (192_000, 16_000.0)] {
        let heard = resampled(&mut Resampler::new(from_hz, 48_000, 1, Piece::Out(960)), from_hz, hz, 1);
        assert!((0.45..0.55).contains(&amplitude(&heard)), "{} of {hz} Hz at {from_hz}", amplitude(&heard));
    }
    // These would be folded back to 18, 8 and 1 kHz.
    for (from_hz, hz) in [(96_000, 30_000.0), (96_000, 40_000.0), (192_000, 95_000.0)] {
        let heard = resampled(&mut Resampler::new(from_hz, 48_000, 1, Piece::Out(960)), from_hz, hz, 1);
        assert!(amplitude(&heard) < 0.001, "{} of {hz} Hz at {from_hz}", amplitude(&heard));
    }
}

#[test]
fn a_ratio_that_moves_makes_no_click() {
    let mut resampler = Resampler::new(48_000, 48_000, 1, Piece::Out(960));
    let mut last: Option<f32> = None;
    for share in [0.0, 0.005, -0.005, 0.01, 0.0] {
        resampler.stretch(share);
        // The same sine again from its beginning, a whole number of periods each time.
        let begin = if last.is_none() { 200 } else { 0 };
        for (_, sample) in resampled(&mut resampler, 48_000, 1_000.0, 1).split_off(begin) {
            // The steepest slope of the sine is 0.0654 a sample.
            assert!(last.is_none_or(|last| (sample - last).abs() < 0.068), "{last:?} to {sample} at {share}");
            last = Some(sample);
        }
    }
}

#[test]
fn what_is_stretched_is_longer_by_that_share() {
    let made = |share: f64| {
        let mut resampler = Resampler::new(48_000, 48_000, 2, Piece::In(480));
        resampler.stretch(share);
        let mut output = Vec::new();
        for _ in 0..1_000 {
            resampler.push(&[0.1; 960]);
            while resampler.next_piece(&mut output) {}
        }
        output.len() as f64 / 2.0
    };
    assert!((made(0.001) - made(0.0) - 480.0).abs() < 3.0);
    assert!((made(0.0) - made(-0.001) - 480.0).abs() < 3.0);
}

#[test]
fn a_ratio_beyond_any_clock_is_cut_off() {
    let mut resampler = Resampler::new(48_000, 16_000, 1, Piece::In(960));
    let mut output = Vec::new();
    for share in [f64::MAX, -1.0, f64::NAN, f64::NEG_INFINITY] {
        resampler.stretch(share);
        resampler.push(&[0.0; 960]);
        assert!(resampler.next_piece(&mut output));
    }
}

#[test]
fn any_rates_make_a_resampler() {
    for (from_hz, to_hz) in [(0, 48_000), (48_000, 0), (u32::MAX, 48_000), (48_000, u32::MAX), (0, 0)] {
        let mut resampler = Resampler::new(from_hz, to_hz, 0, Piece::Out(0));
        resampler.push(&[0.0; 10_000]);
        assert!(resampler.next_piece(&mut Vec::new()), "{from_hz} to {to_hz}");
    }
}
