//! Plays a 440 Hz tone into an ALSA device, until it is killed: `tone PCM`.
//!
//! The device lab's sound card hands out at `hw:Loopback,1` what is played into `hw:Loopback,0`.

use alsa::pcm::{Access, Format, HwParams, PCM};
use alsa::{Direction, ValueOr};
use anyhow::Context;

const RATE_HZ: u32 = 48_000;
/// 20 ms, and with it nearly nine periods of the tone: the phase is carried on, or it would click.
const PERIOD: usize = 960;

fn main() -> anyhow::Result<()> {
    let name = std::env::args().nth(1).context("usage: tone PCM")?;
    let pcm = PCM::new(&name, Direction::Playback, false).with_context(|| format!("open {name}"))?;
    {
        let hw = HwParams::any(&pcm)?;
        hw.set_access(Access::RWInterleaved)?;
        hw.set_format(Format::s16())?;
        hw.set_channels(2)?;
        hw.set_rate(RATE_HZ, ValueOr::Nearest)?;
        hw.set_period_size_near(PERIOD as i64, ValueOr::Nearest)?;
        hw.set_buffer_size_near(4 * PERIOD as i64)?;
        pcm.hw_params(&hw).with_context(|| format!("set {name} to {RATE_HZ} Hz"))?;
    }
    let io = pcm.io_i16()?;
    let step = std::f32::consts::TAU * 440.0 / RATE_HZ as f32;
    let mut phase = 0.0_f32;
    loop {
        let mut period = Vec::with_capacity(2 * PERIOD);
        for _ in 0..PERIOD {
            let sample = (phase.sin() * 8_000.0) as i16;
            period.extend([sample, sample]);
            phase = (phase + step) % std::f32::consts::TAU;
        }
        if let Err(fault) = io.writei(&period) {
            // The kernel answers EIO when the card took nothing for 1.1 buffers, as while its other end is
            // opened on a machine out of breath. It still runs then, and is stopped before it is prepared.
            pcm.try_recover(fault, true)
                .or_else(|_| pcm.drop().and_then(|()| pcm.prepare()))
                .with_context(|| format!("play to {name}"))?;
        }
    }
}
