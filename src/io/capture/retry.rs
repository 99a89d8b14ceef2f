//! How long is a lost source left alone before it is tried again?

use std::time::Duration;

use crate::config::VideoSource;

/// A device or a file: an attempt is a few system calls; a camera that is back is to be seen within 2 s,
/// of which one that makes keyframes only each second takes half.
const DEVICE: Duration = Duration::from_millis(250);
/// A program: starting it may cost a second of a small board's processor, and it has often a reason to
/// end that stays for a while.
const PROGRAM: Duration = Duration::from_millis(500);
/// What the wait for a program grows to, twice as long each time.
const PROGRAM_LONGEST: Duration = Duration::from_secs(10);
/// A program that ran for so long had started well.
const RAN_WELL: Duration = Duration::from_secs(10);

/// The waits before the attempts at one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Always the same.
    Device,
    /// Longer after each attempt that soon failed.
    Program {
        /// The next wait.
        wait: Duration,
    },
}

impl Retry {
    pub(super) fn of(source: &VideoSource) -> Retry {
        match source {
            VideoSource::Command { .. } => Retry::Program { wait: PROGRAM },
            VideoSource::V4l2 { .. } | VideoSource::Replay { .. } | VideoSource::Pattern => Retry::Device,
        }
    }

    /// How long to wait after an attempt that went well for `ran`, until it failed.
    pub(super) fn wait_after(&mut self, ran: Duration) -> Duration {
        match self {
            Retry::Device => DEVICE,
            Retry::Program { wait } => {
                let now = if ran >= RAN_WELL { PROGRAM } else { *wait };
                *wait = (now * 2).min(PROGRAM_LONGEST);
                now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_keeps_dying_is_started_ever_more_seldom_until_it_runs_for_a_while() {
        let mut retry = Retry::of(&VideoSource::Command { argv: vec!["rpicam-vid".to_owned()] });
        let mut waits_ms = |ran_s: u64| retry.wait_after(Duration::from_secs(ran_s)).as_millis();
        let waits: Vec<_> = [0, 0, 1, 9, 0, 0, 0].map(&mut waits_ms).into();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!([10, 0].map(&mut waits_ms), [500, 1_000]);
    }

    #[test]
    fn a_device_is_looked_for_four_times_a_second() {
        let mut retry = Retry::of(&VideoSource::Pattern);
        assert_eq!([0, 0, 0].map(|ran_s| retry.wait_after(Duration::from_secs(ran_s)).as_millis()), [250; 3]);
    }
}
