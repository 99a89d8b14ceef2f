//! What is switched by night: the lamp, and the infrared-cut filter.
//!
//! The filter keeps colours true by day and takes the lamp's light away by night. Most modules have one line
//! that says where it is to be; those with a bare coil take a short pulse on one of two lines.

use std::time::{Duration, Instant};

use crate::config::board::{Board, IrCut};

use super::port::Port;
use super::pwm::Pwm;

/// Long enough for the coil of any filter, and short enough not to heat it.
const PULSE: Duration = Duration::from_millis(200);

/// The lamp, on a line of the chip, a PWM channel, or both.
#[derive(Debug)]
pub(super) struct Lamp {
    pub(super) port: Option<Port>,
    pub(super) pwm: Option<Pwm>,
    percent: u8,
    /// How bright it is by night: as bright as it was last asked to be.
    night_percent: u8,
}

impl Lamp {
    /// Dark. `None` where there is none.
    pub(super) fn new(board: &Board) -> Option<Lamp> {
        let line = board.night.as_ref().and_then(|night| night.lamp.as_ref());
        let port = line.map(|line| Port::output(&board.chip, line, "lamp"));
        let pwm = board.lamp.as_ref().map(|lamp| {
            let period = Duration::from_secs(1) / lamp.hz.max(1);
            Pwm::new(lamp.pwm, period, Duration::ZERO, "lamp")
        });
        (port.is_some() || pwm.is_some()).then_some(Lamp { port, pwm, percent: 0, night_percent: 100 })
    }

    pub(super) fn percent(&self) -> u8 {
        self.percent
    }

    /// Night falls or ends.
    pub(super) fn follow(&mut self, is_night: bool) {
        self.shine(if is_night { self.night_percent } else { 0 });
    }

    /// A viewer asks. A lamp that cannot be dimmed is dark at 0 and bright at everything else.
    pub(super) fn set(&mut self, percent: u8) {
        let percent = match self.pwm {
            Some(_) => percent.min(100),
            None if percent == 0 => 0,
            None => 100,
        };
        if percent > 0 {
            self.night_percent = percent;
        }
        self.shine(percent);
    }

    fn shine(&mut self, percent: u8) {
        self.percent = percent;
        if let Some(port) = &mut self.port {
            port.switch(percent > 0);
        }
        if let Some(pwm) = &mut self.pwm {
            pwm.set_pulse(brightness(percent, pwm.period()));
        }
    }
}

/// The pulse that looks so bright: an eye needs about the square of the light to see twice of it.
fn brightness(percent: u8, period: Duration) -> Duration {
    let percent = u32::from(percent.min(100));
    period * (percent * percent) / 10_000
}

/// The infrared-cut filter.
#[derive(Debug)]
pub(super) struct Filter {
    into: Port,
    /// The other of two coils; `None`: there is one line, whose level says where the filter is to be.
    out: Option<Port>,
    /// The end of the pulse that is under way.
    until: Option<Instant>,
}

impl Filter {
    /// `None` where there is none.
    pub(super) fn new(board: &Board) -> Option<Filter> {
        let port = |output| Port::output(&board.chip, output, "infrared-cut filter");
        let (into, out) = match board.night.as_ref()?.ir_cut.as_ref()? {
            IrCut::Level(line) => (port(line), None),
            IrCut::Pulses { into, out } => (port(into), Some(port(out))),
        };
        Some(Filter { into, out, until: None })
    }

    pub(super) fn ports(&mut self) -> impl Iterator<Item = &mut Port> {
        std::iter::once(&mut self.into).chain(self.out.as_mut())
    }

    /// Night falls or ends: by day the filter is in the light's way.
    pub(super) fn follow(&mut self, now: Instant, is_night: bool) {
        let Some(out) = &mut self.out else { return self.into.switch(!is_night) };
        // One at a time: both together are a short circuit in some drivers of such coils.
        let (off, on) = if is_night { (&mut self.into, out) } else { (out, &mut self.into) };
        off.switch(false);
        on.switch(true);
        self.until = Some(now + PULSE);
    }

    /// Ends a pulse that is long enough.
    pub(super) fn poll(&mut self, now: Instant) {
        if self.until.is_some_and(|at| at <= now) {
            self.rest();
        }
    }

    /// When [`Filter::poll`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Leaves no coil under current; a level stays, since the filter is to stay where it is.
    pub(super) fn rest(&mut self) {
        self.until = None;
        if let Some(out) = &mut self.out {
            out.switch(false);
            self.into.switch(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dimmed_lamp_is_dark_at_0_and_whole_at_100() {
        let period = Duration::from_millis(1);
        for (percent, expected_us) in [(0, 0), (1, 0), (10, 10), (50, 250), (100, 1000), (255, 1000)] {
            let us = brightness(percent, period).as_micros();
            assert_eq!(us, expected_us, "{percent}");
        }
        assert!(brightness(1, period) > Duration::ZERO);
    }
}
