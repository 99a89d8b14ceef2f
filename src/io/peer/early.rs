//! What to do with datagrams that come before the WebRTC library can use them.
//!
//! A browser sends its first connectivity check together with its answer, and its DTLS ClientHello some
//! two milliseconds after its first successful check. Both overtake the answer's way over the broker or
//! the library's own pace, and the library throws them away; the browser repeats them only after 50 ms
//! and more. Here they are held until they are of use. Measured in Chromium on a busy machine, answer to
//! connected: 63 to 222 ms without, 11 to 50 ms with, turn about in the same run.
//!
//! ```text
//! Waiting ──answered──▶ Checking ──our nomination succeeded, or 2 s have passed──▶ Up
//!  holds checks          holds DTLS; repeats the viewer's last check when                passes everything
//!  and DTLS              one of ours succeeded, since that is when we nominate
//! ```
//!
//! Once it is up, checks still have to name both sides: who lost the offer to another knows its password. And they
//! come from a viewer that follows: we lead, since we offer (RFC 8445 §6.1.1), and the library would let itself be
//! talked out of that before it has looked at the password.
//! Pure: it is told the time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::io::port::stun::{Kind, kind, leads, nominates, relayed, transaction, username};

/// Checks that are held for the answer. Chromium with several addresses sends a dozen.
const MAX_CHECKS: usize = 32;
/// DTLS datagrams that are held: a ClientHello is two, and it is repeated.
const MAX_DTLS: usize = 16;
/// Addresses from which a viewer may check. The library pairs each with all of its own, for good. A browser has about
/// thirty, and shows most of them only as candidates.
const MAX_SOURCES: usize = 32;
/// What is held longer than this has been repeated meanwhile.
const HOLD: Duration = Duration::from_secs(1);
/// Should the nomination pass unseen (through a TURN server it does), nothing is held longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// A datagram and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Its sender.
    pub from: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// One socket's gate before one peer connection.
#[derive(Debug, Default)]
pub struct Gate {
    state: State,
    checks: Vec<(Instant, Datagram)>,
    dtls: Vec<(Instant, Datagram)>,
    /// From where the viewer's checks came.
    sources: Vec<SocketAddr>,
    /// The viewer's latest check.
    last_check: Option<Datagram>,
    /// Transaction ids of our checks that nominate.
    nominations: Vec<[u8; 12]>,
    /// What a check's USERNAME is: `<ours>:<the answer's>` (RFC 8445 §7.2.2). After an ICE restart there is
    /// another socket, with a gate of its own.
    username: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Waiting,
    Checking {
        since: Instant,
    },
    Up,
}

impl Gate {
    fn open(&mut self) -> Vec<Datagram> {
        self.state = State::Up;
        let held = self.checks.drain(..).chain(self.dtls.drain(..));
        held.map(|(_, datagram)| datagram).collect()
    }

    /// Whether it passes everything.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// The answer is applied. Returns the checks that were waiting for it; those of others who were
    /// handed the same offer are thrown away.
    pub fn answered(&mut self, now: Instant, ours: &str, theirs: &str) -> Vec<Datagram> {
        self.username = Some(format!("{ours}:{theirs}"));
        if self.state != State::Waiting {
            return Vec::new();
        }
        self.state = State::Checking { since: now };
        let held = std::mem::take(&mut self.checks);
        let fresh = held.into_iter().filter(|(at, _)| now.saturating_duration_since(*at) <= HOLD);
        let ready: Vec<Datagram> = fresh.map(|(_, check)| check).filter(|check| self.admits(check)).collect();
        self.last_check = ready.last().cloned();
        ready
    }

    /// One of our own datagrams leaves.
    pub fn sent(&mut self, bytes: &[u8]) {
        if self.state == State::Up || kind(bytes) != Kind::Request || !nominates(bytes) {
            return;
        }
        if let Some(id) = transaction(bytes) {
            self.nominations.push(id);
        }
    }

    /// A datagram came. Returns what the library is to be given now, in order.
    pub fn received(&mut self, now: Instant, datagram: Datagram) -> Vec<Datagram> {
        // What a TURN server passes on is otherwise its own affair: it does so for addresses that we have named to it.
        let is_turn = kind(&datagram.bytes) == Kind::Turn;
        if is_turn
            && relayed(&datagram.bytes).is_some_and(|(_, inner)| kind(inner) == Kind::Request && leads(inner))
        {
            return Vec::new();
        }
        match self.state {
            State::Up => {
                let is_foreign = kind(&datagram.bytes) == Kind::Request && !self.admits(&datagram);
                return if is_foreign { Vec::new() } else { vec![datagram] };
            }
            State::Checking { since } if now.saturating_duration_since(since) > PATIENCE => {
                let mut ready = self.open();
                ready.push(datagram);
                return ready;
            }
            State::Waiting | State::Checking { .. } => {}
        }
        match (kind(&datagram.bytes), self.state) {
            (Kind::Request, State::Waiting) => {
                hold(&mut self.checks, MAX_CHECKS, now, datagram);
                Vec::new()
            }
            (Kind::Request, _) => self.check(datagram),
            (Kind::Success, State::Checking { .. }) => self.success(now, datagram),
            (Kind::Dtls, _) => {
                hold(&mut self.dtls, MAX_DTLS, now, datagram);
                Vec::new()
            }
            _ => vec![datagram],
        }
    }

    fn check(&mut self, datagram: Datagram) -> Vec<Datagram> {
        if !self.admits(&datagram) {
            return Vec::new();
        }
        self.last_check = Some(datagram.clone());
        vec![datagram]
    }

    fn admits(&mut self, check: &Datagram) -> bool {
        let ours = self.username.as_ref().map(String::as_bytes);
        if ours.is_none() || username(&check.bytes) != ours || leads(&check.bytes) {
            return false;
        }
        let is_known = self.sources.contains(&check.from);
        if !is_known && self.sources.len() < MAX_SOURCES {
            self.sources.push(check.from);
        }
        is_known || self.sources.last() == Some(&check.from)
    }

    fn success(&mut self, now: Instant, datagram: Datagram) -> Vec<Datagram> {
        let from = datagram.from;
        let nominated = transaction(&datagram.bytes).is_some_and(|id| self.nominations.contains(&id));
        let mut ready = vec![datagram];
        if nominated {
            self.state = State::Up;
            let held = self.dtls.drain(..);
            // Whoever has not passed a check has no business here.
            let fresh =
                held.filter(|(at, dtls)| dtls.from == from && now.saturating_duration_since(*at) <= HOLD);
            ready.extend(fresh.map(|(_, dtls)| dtls));
        } else {
            // The library nominates when the next check comes in.
            ready.extend(self.last_check.clone().filter(|check| check.from == from));
        }
        ready
    }
}

fn hold(held: &mut Vec<(Instant, Datagram)>, most: usize, now: Instant, datagram: Datagram) {
    held.retain(|(at, _)| now.saturating_duration_since(*at) <= HOLD);
    if held.len() < most {
        held.push((now, datagram));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stun(kind: u8, id: u8, username: Option<&str>, nominates: bool) -> Vec<u8> {
        let mut bytes = vec![kind, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend([id; 12]);
        if let Some(name) = username {
            bytes.extend([0, 6, 0, name.len() as u8]);
            bytes.extend(name.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        if nominates {
            bytes.extend([0, 0x25, 0, 0]);
        }
        bytes
    }

    fn from(port: u16, bytes: Vec<u8>) -> Datagram {
        Datagram { from: SocketAddr::from(([192, 0, 2, 1], port)), bytes }
    }

    const HELLO: [u8; 3] = [22, 254, 253];

    #[test]
    fn an_early_check_waits_for_its_answer_and_a_losers_is_thrown_away() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let (winner, loser) =
            (from(1, stun(0, 1, Some("us:win"), false)), from(2, stun(0, 2, Some("us:lose"), false)));
        assert!(
            gate.received(now, winner.clone()).is_empty() && gate.received(now, loser.clone()).is_empty()
        );
        assert_eq!(gate.answered(now, "us", "win"), [winner]);
        assert!(gate.received(now, loser).is_empty());
    }

    #[test]
    fn a_check_that_waited_too_long_has_been_repeated_meanwhile() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.received(now, from(1, stun(0, 1, Some("us:win"), false)));
        assert!(gate.answered(now + Duration::from_millis(1100), "us", "win").is_empty());
    }

    #[test]
    fn our_first_success_repeats_the_viewers_check_and_the_nomination_lets_dtls_in() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.answered(now, "us", "win");
        let check = from(1, stun(0, 1, Some("us:win"), false));
        assert_eq!(gate.received(now, check.clone()), std::slice::from_ref(&check));
        gate.sent(&stun(0, 7, Some("win:us"), false));
        let hello = from(1, HELLO.to_vec());
        assert!(gate.received(now, hello.clone()).is_empty());
        assert!(gate.received(now, from(9, HELLO.to_vec())).is_empty());
        let success = from(1, stun(1, 7, None, false));
        assert_eq!(gate.received(now, success.clone()), [success, check.clone()]);
        gate.sent(&stun(0, 8, Some("win:us"), true));
        let nominated = from(1, stun(1, 8, None, false));
        assert_eq!(gate.received(now, nominated.clone()), [nominated, hello], "but not a stranger's");
        assert_eq!(gate.state, State::Up);
        assert!(gate.received(now, from(2, stun(0, 2, Some("us:lose"), false))).is_empty(), "nor a loser's");
        assert_eq!(gate.received(now, check.clone()), [check]);
    }

    #[test]
    fn a_nomination_that_passes_unseen_holds_nothing_up_for_long() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.answered(now, "us", "win");
        let hello = from(1, HELLO.to_vec());
        assert!(gate.received(now, hello.clone()).is_empty());
        let later = now + Duration::from_millis(2100);
        assert_eq!(gate.received(later, hello.clone()), [hello.clone(), hello]);
    }

    #[test]
    fn stun_servers_answers_and_relayed_data_always_pass() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for bytes in [stun(1, 1, None, false), vec![0x40, 0, 0, 0], vec![0, 0x17], vec![]] {
            let datagram = from(3478, bytes);
            assert_eq!(gate.received(now, datagram.clone()), [datagram]);
        }
    }

    #[test]
    fn a_stranger_cannot_make_it_hold_without_end() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for id in 0..200u8 {
            gate.received(now, from(u16::from(id), stun(0, id, Some("us:win"), false)));
            gate.received(now, from(u16::from(id), HELLO.to_vec()));
        }
        assert_eq!((gate.checks.len(), gate.dtls.len()), (MAX_CHECKS, MAX_DTLS));
    }

    #[test]
    fn a_check_of_who_would_lead_is_thrown_away() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let leads = |port| {
            let mut check = stun(0, 1, Some("us:win"), false);
            check.extend([0x80, 0x2a, 0, 8, 255, 255, 255, 255, 255, 255, 255, 255]);
            from(port, check)
        };
        assert!(gate.received(now, leads(1)).is_empty());
        assert!(gate.answered(now, "us", "win").is_empty());
        assert!(gate.received(now, leads(1)).is_empty());
        gate.state = State::Up;
        assert!(gate.received(now, leads(1)).is_empty());
        let mut by_channel = vec![0x40, 1, 0, leads(1).bytes.len() as u8];
        by_channel.extend(leads(1).bytes);
        assert!(gate.received(now, from(1, by_channel)).is_empty(), "nor by a TURN server");
        let mut follows = stun(0, 1, Some("us:win"), false);
        follows.extend([0x80, 0x29, 0, 8, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(gate.received(now, from(1, follows.clone())), [from(1, follows)]);
    }

    #[test]
    fn checks_from_ever_other_addresses_are_thrown_away() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.answered(now, "us", "win");
        let check = |port| from(port, stun(0, 1, Some("us:win"), false));
        let passed = (0..500).filter(|&port| !gate.received(now, check(port)).is_empty());
        assert_eq!(passed.count(), MAX_SOURCES);
        gate.state = State::Up;
        assert!(gate.received(now, check(499)).is_empty());
        assert!(!gate.received(now, check(0)).is_empty(), "a known one still counts");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_it(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..30)) {
            let (mut gate, now) = (Gate::default(), Instant::now());
            for (at, bytes) in datagrams.into_iter().enumerate() {
                gate.sent(&bytes);
                gate.received(now, from(1, bytes));
                if at == 10 {
                    gate.answered(now, "us", "win");
                }
            }
        }
    }
}
