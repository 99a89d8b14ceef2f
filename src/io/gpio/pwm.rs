//! How are servos and a dimmed lamp driven? By the Pi's own PWM, through `rppal`.
//!
//! Hardware PWM is what makes a servo stand still: pulses from a thread tremble by what the scheduler adds.
//! `rppal` writes to `/sys/class/pwm` and picks the chip by the Pi's model, so this works on a Pi alone, with
//! `dtoverlay=pwm-2chan`. Without the feature `rppal` a channel can be configured nowhere; were it asked
//! for all the same, it says so here.

use std::time::Duration;

use crate::config::board;
use crate::engine::servo::{PERIOD, Servo};

/// A PWM channel that is configured, had or not.
#[derive(Debug)]
pub(super) struct Pwm {
    channel: u8,
    period: Duration,
    /// What it is to be, also once it is had again.
    pulse: Duration,
    purpose: &'static str,
    open: Option<Channel>,
    fault: Option<String>,
}

#[cfg(feature = "rppal")]
type Channel = rppal::pwm::Pwm;
/// No channel can be opened.
#[cfg(not(feature = "rppal"))]
type Channel = std::convert::Infallible;

impl Pwm {
    pub(super) fn new(channel: u8, period: Duration, pulse: Duration, purpose: &'static str) -> Pwm {
        Pwm { channel, period, pulse, purpose, open: None, fault: None }
    }

    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// Asks for the channel unless it is had.
    pub(super) fn open(&mut self) {
        if self.open.is_none() {
            match self.request() {
                Ok(channel) => {
                    self.open = Some(channel);
                    self.fault = None;
                }
                Err(cause) => self.fault = Some(self.words("ask for", &cause)),
            }
        }
    }

    /// Why it is not had.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Lets each pulse be so long; a channel that is not had takes it when it is.
    pub(super) fn set_pulse(&mut self, pulse: Duration) {
        self.pulse = pulse.min(self.period);
        if let Some(channel) = &self.open
            && let Err(cause) = set_pulse(channel, self.pulse)
        {
            self.open = None;
            self.fault = Some(self.words("drive", &cause));
        }
    }

    #[cfg(feature = "rppal")]
    fn request(&self) -> Result<Channel, String> {
        use rppal::pwm::{Channel as Number, Polarity, Pwm};
        let number = Number::try_from(self.channel).map_err(|cause| cause.to_string())?;
        Pwm::with_period(number, self.period, self.pulse, Polarity::Normal, true)
            .map_err(|cause| cause.to_string())
    }

    #[cfg(not(feature = "rppal"))]
    fn request(&self) -> Result<Channel, String> {
        Err("this farol was built without the feature `rppal`".to_owned())
    }

    fn words(&self, operation: &str, cause: &str) -> String {
        let (channel, purpose) = (self.channel, self.purpose);
        format!(
            "{operation} PWM channel {channel} for the {purpose}: {cause}; it takes a Raspberry Pi with \
             dtoverlay=pwm-2chan and a farol that may write to /sys/class/pwm, see docs/gpio.md"
        )
    }
}

#[cfg(feature = "rppal")]
fn set_pulse(channel: &Channel, pulse: Duration) -> Result<(), String> {
    channel.set_pulse_width(pulse).map_err(|cause| cause.to_string())
}

#[cfg(not(feature = "rppal"))]
fn set_pulse(channel: &Channel, _pulse: Duration) -> Result<(), String> {
    match *channel {}
}

/// A servo on its channel.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) servo: Servo,
    pub(super) pwm: Pwm,
}

impl Axis {
    pub(super) fn new(servo: &board::Servo, purpose: &'static str) -> Axis {
        let channel = servo.pwm;
        let servo = Servo::new(servo);
        let pwm = Pwm::new(channel, PERIOD, servo.pulse(), purpose);
        Axis { servo, pwm }
    }

    /// Goes on for so long, if it is moving.
    pub(super) fn advance(&mut self, elapsed: Duration) {
        if self.servo.is_moving() {
            self.servo.advance(elapsed);
            self.pwm.set_pulse(self.servo.pulse());
        }
    }
}
