//! How long may the library sleep while it has nothing to do?
//!
//! Its ICE agent looks around five times a second, whatever interval of consent checks it was given, and each look
//! goes through all of its layers: with what the checks led to, that was a sixth of what a viewer cost. While the
//! viewer's reports come straight to the port they show that it is there, so the library may sleep on for a while.
//!
//! ```text
//! Stirred ──nothing but checks for 3 s, and reports come──▶ Calm ──DTLS, a relay, a restart; or no report──▶ Stirred
//! ```
//!
//! Its other timers (SCTP, DTLS, TURN) begin with a datagram of another kind than a check, and are kept. Pure: it is
//! told the time.

use std::time::{Duration, Instant};

use crate::io::port::stun::Kind;

/// The agent's longest sleep. What is longer is not its own.
pub const LOOK: Duration = Duration::from_millis(200);
/// A shorter one is for something that is to come at once.
const LEAST: Duration = Duration::from_millis(5);
/// Between two moments at which a sleeper wakes up; the same for all viewers, so that they wake together. The consent
/// checks' own interval: a viewer that goes silent is asked twice before it is taken for gone (`loss::SILENT_AFTER`).
pub const NAP: Duration = Duration::from_millis(700);
/// Naps in a row. Two seconds: the library itself gives a viewer five for an answer.
pub const MAX_NAPS: u32 = 3;
/// Reports are told apart by so much: with transport-wide feedback 50 to 250 ms.
const FRESH: Duration = Duration::from_millis(300);
/// A timeout of SCTP is a second, and longer only after others.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// What a datagram leads to has been done by then.
const DIGESTED_AFTER: Duration = Duration::from_secs(1);

/// What one peer connection was busy with.
#[derive(Debug, Default)]
pub struct Rest {
    /// ICE has a pair.
    is_up: bool,
    reported_at: Option<Instant>,
    stirred_at: Option<Instant>,
}

impl Rest {
    /// A report of the viewer's came straight to the port.
    pub fn reported(&mut self, now: Instant) {
        self.reported_at = Some(now);
    }

    /// The library has sent something of this kind.
    pub fn sent(&mut self, now: Instant, kind: Kind) {
        if matches!(kind, Kind::Dtls | Kind::Turn) {
            self.stirred_at = Some(now);
        }
    }

    /// The library was given something of this kind, by a socket whose pair is found or not yet.
    pub fn given(&mut self, now: Instant, kind: Kind, is_up: bool) {
        self.is_up = is_up;
        if !matches!(kind, Kind::Request | Kind::Success | Kind::Failure) {
            self.stirred_at = Some(now);
        }
    }

    /// ICE begins anew.
    pub fn restarted(&mut self, now: Instant) {
        (self.is_up, self.stirred_at) = (false, Some(now));
    }

    /// Whether what the viewer said may still change something.
    pub fn is_digesting(&self, now: Instant) -> bool {
        self.stirred_at.is_some_and(|at| now.saturating_duration_since(at) < DIGESTED_AFTER)
    }

    /// Whether the library may sleep on.
    pub fn is_calm(&self, now: Instant) -> bool {
        let is_within = |at: Option<Instant>, time| {
            at.is_some_and(|at: Instant| now.saturating_duration_since(at) < time)
        };
        self.is_up && is_within(self.reported_at, FRESH) && !is_within(self.stirred_at, SETTLED_AFTER)
    }

    /// The same for a sleep of this length.
    pub fn may_prolong(&self, now: Instant, sleep: Duration) -> bool {
        (LEAST..=LOOK).contains(&sleep) && self.is_calm(now)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;

    /// One that has been up for a while, with a report just now.
    fn calm(start: Instant) -> (Rest, Instant) {
        let (mut rest, now) = (Rest::default(), start + Duration::from_secs(10));
        rest.given(start, Kind::Dtls, true);
        rest.given(now, Kind::Success, true);
        rest.reported(now);
        (rest, now)
    }

    #[test]
    fn while_only_checks_and_reports_come_it_may_sleep_on() {
        let (mut rest, now) = calm(Instant::now());
        assert!(rest.is_calm(now) && rest.may_prolong(now, LOOK));
        rest.sent(now, Kind::Request);
        rest.sent(now, Kind::Rtcp);
        rest.given(now, Kind::Request, true);
        assert!(rest.is_calm(now));
        assert!(!rest.may_prolong(now, Duration::from_millis(1)), "it waits for what is due at once");
        assert!(!rest.may_prolong(now, Duration::from_secs(1)), "that is not the agent's");
    }

    #[test]
    fn a_viewer_that_sends_no_reports_is_asked_as_before() {
        let (rest, now) = calm(Instant::now());
        assert!(rest.is_calm(now + Duration::from_millis(299)));
        assert!(!rest.is_calm(now + FRESH));
        let mut silent = Rest::default();
        silent.given(now, Kind::Success, true);
        assert!(!silent.is_calm(now));
    }

    #[test]
    fn what_has_timers_keeps_them() {
        let start = Instant::now();
        for stir in [
            (|rest: &mut Rest, now| rest.given(now, Kind::Dtls, true)) as fn(&mut Rest, Instant),
            |rest, now| rest.given(now, Kind::Rtp { is_last: true }, true),
            |rest, now| rest.sent(now, Kind::Dtls),
            |rest, now| rest.sent(now, Kind::Turn),
        ] {
            let (mut rest, now) = calm(start);
            stir(&mut rest, now);
            let later = now + SETTLED_AFTER;
            rest.reported(later);
            assert!(!rest.is_calm(now) && rest.is_digesting(now));
            assert!(!rest.is_calm(later - Duration::from_millis(1)) && rest.is_calm(later));
        }
    }

    #[test]
    fn a_restart_is_not_slept_through() {
        let (mut rest, now) = calm(Instant::now());
        rest.restarted(now);
        let later = now + SETTLED_AFTER * 3;
        rest.reported(later);
        assert!(!rest.is_calm(later), "no pair is found yet");
        rest.given(later, Kind::Request, false);
        assert!(!rest.is_calm(later));
        rest.given(later, Kind::Success, true);
        assert!(rest.is_calm(later));
    }
}
