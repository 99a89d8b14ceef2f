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
//!  holds checks          holds DTLS (`hello`); repeats the viewer's last                 passes everything
//!                        check when one of ours succeeded, since that is
//!                        when we nominate
//! ```
//!
//! Once it is up, checks still have to name both sides: who lost the offer to another knows its password. And they
//! come from a viewer that follows: we lead, since we offer (RFC 8445 §6.1.1), and the library would let itself be
//! talked out of that before it has looked at the password.
//! Pure: it is told the time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::hello::Hello;
use crate::io::port::stun::{Kind, kind, leads, nominates, relayed, transaction, username};

/// Checks that are held for the answer. Chromium with several addresses sends a dozen.
const MAX_CHECKS: usize = 32;
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
    /// From where the viewer's checks came.
    sources: Vec<SocketAddr>,
    /// The viewer's latest check.
    last_check: Option<Datagram>,
    /// Our checks that nominate: their transaction ids, and when they left.
    nominations: Vec<([u8; 12], Instant)>,
    /// Of the nomination that succeeded.
    round_trip: Option<Duration>,
    /// What is to be said to the viewer.
    reply: Option<Datagram>,
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
    pub fn sent(&mut self, now: Instant, bytes: &[u8]) {
        if self.state == State::Up || kind(bytes) != Kind::Request || !nominates(bytes) {
            return;
        }
        if let Some(id) = transaction(bytes) {
            self.nominations.push((id, now));
        }
    }

    /// What we have to say to the viewer ourselves.
    pub fn reply(&mut self) -> Option<Datagram> {
        self.reply.take()
    }

    /// How long the viewer took to answer our nomination; told once.
    pub fn found(&mut self) -> Option<Duration> {
        self.round_trip.take()
    }

    /// A datagram came. Returns what the library is to be given now, in order. `hello` is the same for all sockets of
    /// a peer connection.
    pub fn received(&mut self, now: Instant, datagram: Datagram, hello: &mut Hello) -> Vec<Datagram> {
        if kind(&datagram.bytes) == Kind::Turn {
            return turned(datagram, hello);
        }
        if let State::Checking { since } = self.state
            && now.saturating_duration_since(since) > PATIENCE
        {
            self.state = State::Up;
        }
        match (kind(&datagram.bytes), self.state) {
            (Kind::Request, State::Up) if !self.admits(&datagram) => Vec::new(),
            (Kind::Dtls, State::Up) => after_hello(datagram, hello),
            // Another socket has the path.
            (Kind::Dtls, _) if hello.is_open() && self.sources.contains(&datagram.from) => {
                after_hello(datagram, hello)
            }
            (_, State::Up) => vec![datagram],
            (Kind::Request, State::Waiting) => {
                hold(&mut self.checks, MAX_CHECKS, now, datagram);
                Vec::new()
            }
            (Kind::Request, _) => self.check(datagram),
            (Kind::Success, State::Checking { .. }) => self.success(now, datagram, hello),
            (Kind::Dtls, _) => {
                // Whoever has not passed a check has no business here.
                if self.sources.contains(&datagram.from)
                    && let Some(bytes) = hello.keep(&datagram.bytes)
                {
                    self.reply = Some(Datagram { from: datagram.from, bytes });
                }
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

    fn success(&mut self, now: Instant, datagram: Datagram, hello: &mut Hello) -> Vec<Datagram> {
        let from = datagram.from;
        let id = transaction(&datagram.bytes);
        let nominated = self.nominations.iter().find(|(nomination, _)| Some(*nomination) == id);
        let mut ready = vec![datagram];
        if let Some((_, sent_at)) = nominated {
            self.round_trip = Some(now.saturating_duration_since(*sent_at));
            self.state = State::Up;
            hello.has_path(true);
            ready.extend(hello.give().into_iter().map(|bytes| Datagram { from, bytes }));
        } else {
            // The library nominates when the next check comes in.
            ready.extend(self.last_check.clone().filter(|check| check.from == from));
        }
        ready
    }
}

/// What a TURN server passes on is its own affair, since it does so for addresses that we have named to it; but for
/// checks of who would lead.
fn turned(datagram: Datagram, hello: &mut Hello) -> Vec<Datagram> {
    match relayed(&datagram.bytes).map(|(_, inner)| (kind(inner), leads(inner))) {
        Some((Kind::Request, true)) => Vec::new(),
        Some((Kind::Dtls, _)) => after_hello(datagram, hello),
        _ => vec![datagram],
    }
}

/// The library asks by no means where DTLS comes from.
fn after_hello(datagram: Datagram, hello: &mut Hello) -> Vec<Datagram> {
    let from = datagram.from;
    let kept = hello.give().into_iter().map(|bytes| Datagram { from, bytes });
    kept.chain([datagram]).collect()
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
    use crate::io::peer::hello::tests::client_hello;
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

    fn scene() -> (Gate, Hello, Instant) {
        (Gate::default(), Hello::default(), Instant::now())
    }

    #[test]
    fn an_early_check_waits_for_its_answer_and_a_losers_is_thrown_away() {
        let (mut gate, mut hello, now) = scene();
        let (winner, loser) =
            (from(1, stun(0, 1, Some("us:win"), false)), from(2, stun(0, 2, Some("us:lose"), false)));
        assert!(
            gate.received(now, winner.clone(), &mut hello).is_empty()
                && gate.received(now, loser.clone(), &mut hello).is_empty()
        );
        assert_eq!(gate.answered(now, "us", "win"), [winner]);
        assert!(gate.received(now, loser, &mut hello).is_empty());
    }

    #[test]
    fn a_check_that_waited_too_long_has_been_repeated_meanwhile() {
        let (mut gate, mut hello, now) = scene();
        gate.received(now, from(1, stun(0, 1, Some("us:win"), false)), &mut hello);
        assert!(gate.answered(now + Duration::from_millis(1100), "us", "win").is_empty());
    }

    #[test]
    fn our_first_success_repeats_the_viewers_check_and_the_nomination_lets_dtls_in() {
        let (mut gate, mut hello, now) = scene();
        gate.answered(now, "us", "win");
        let check = from(1, stun(0, 1, Some("us:win"), false));
        assert_eq!(gate.received(now, check.clone(), &mut hello), std::slice::from_ref(&check));
        gate.sent(now, &stun(0, 7, Some("win:us"), false));
        let first = from(1, client_hello(0, 0));
        assert!(gate.received(now, from(9, client_hello(0, 0)), &mut hello).is_empty());
        assert_eq!(gate.reply(), None, "a stranger is asked for nothing");
        assert!(gate.received(now, first.clone(), &mut hello).is_empty());
        assert_eq!(gate.reply().map(|reply| reply.from), Some(first.from));
        let success = from(1, stun(1, 7, None, false));
        assert_eq!(gate.received(now, success.clone(), &mut hello), [success, check.clone()]);
        gate.sent(now, &stun(0, 8, Some("win:us"), true));
        assert_eq!(gate.found(), None);
        let (nominated, later) = (from(1, stun(1, 8, None, false)), now + Duration::from_millis(9));
        assert_eq!(
            gate.received(later, nominated.clone(), &mut hello),
            [nominated, first],
            "but not a stranger's"
        );
        assert_eq!(
            (gate.state, gate.found(), gate.found()),
            (State::Up, Some(Duration::from_millis(9)), None)
        );
        assert!(
            gate.received(now, from(2, stun(0, 2, Some("us:lose"), false)), &mut hello).is_empty(),
            "nor a loser's"
        );
        assert_eq!(gate.received(now, check.clone(), &mut hello), [check]);
    }

    #[test]
    fn a_nomination_that_passes_unseen_holds_nothing_up_for_long() {
        let (mut gate, mut hello, now) = scene();
        gate.answered(now, "us", "win");
        gate.received(now, from(1, stun(0, 1, Some("us:win"), false)), &mut hello);
        let said = |message| from(1, client_hello(message, 0));
        assert!(gate.received(now, said(0), &mut hello).is_empty());
        let later = now + Duration::from_millis(2100);
        assert_eq!(gate.received(later, said(1), &mut hello), [said(0), said(1)]);
    }

    #[test]
    fn what_came_by_one_path_is_heard_when_another_is_found_or_a_relay() {
        let (mut gate, mut hello, now) = scene();
        let mut other = Gate::default();
        let said = |message| from(1, client_hello(message, 0));
        gate.answered(now, "us", "win");
        other.answered(now, "us", "win");
        gate.received(now, from(1, stun(0, 1, Some("us:win"), false)), &mut hello);
        assert!(gate.received(now, said(0), &mut hello).is_empty());
        let mut by_channel = vec![0x40, 1, 0, client_hello(1, 0).len() as u8];
        by_channel.extend(client_hello(1, 0));
        let by_channel = from(3478, by_channel);
        let heard = other.received(now, by_channel.clone(), &mut hello);
        assert_eq!(
            heard.iter().map(|heard| &heard.bytes).collect::<Vec<_>>(),
            [&said(0).bytes, &by_channel.bytes]
        );
        other.sent(now, &stun(0, 8, Some("win:us"), true));
        let nominated = from(2, stun(1, 8, None, false));
        let heard = other.received(now, nominated.clone(), &mut hello);
        assert_eq!(
            heard.iter().map(|heard| &heard.bytes).collect::<Vec<_>>(),
            [&nominated.bytes, &said(0).bytes]
        );
        assert!(hello.answered(&[22]));
        assert_eq!(gate.received(now, said(1), &mut hello), [said(1)], "the library hears any");
    }

    #[test]
    fn stun_servers_answers_and_relayed_data_always_pass() {
        let (mut gate, mut hello, now) = scene();
        for bytes in [stun(1, 1, None, false), vec![0x40, 0, 0, 0], vec![0, 0x17], vec![]] {
            let datagram = from(3478, bytes);
            assert_eq!(gate.received(now, datagram.clone(), &mut hello), [datagram]);
        }
    }

    #[test]
    fn a_stranger_cannot_make_it_hold_without_end() {
        let (mut gate, mut hello, now) = scene();
        for id in 0..200u8 {
            gate.received(now, from(u16::from(id), stun(0, id, Some("us:win"), false)), &mut hello);
            gate.received(now, from(u16::from(id), client_hello(0, 0)), &mut hello);
        }
        assert_eq!((gate.checks.len(), hello.give().len()), (MAX_CHECKS, 0));
    }

    #[test]
    fn a_check_of_who_would_lead_is_thrown_away() {
        let (mut gate, mut hello, now) = scene();
        let leads = |port| {
            let mut check = stun(0, 1, Some("us:win"), false);
            check.extend([0x80, 0x2a, 0, 8, 255, 255, 255, 255, 255, 255, 255, 255]);
            from(port, check)
        };
        assert!(gate.received(now, leads(1), &mut hello).is_empty());
        assert!(gate.answered(now, "us", "win").is_empty());
        assert!(gate.received(now, leads(1), &mut hello).is_empty());
        gate.state = State::Up;
        assert!(gate.received(now, leads(1), &mut hello).is_empty());
        let mut by_channel = vec![0x40, 1, 0, leads(1).bytes.len() as u8];
        by_channel.extend(leads(1).bytes);
        assert!(gate.received(now, from(1, by_channel), &mut hello).is_empty(), "nor by a TURN server");
        let mut follows = stun(0, 1, Some("us:win"), false);
        follows.extend([0x80, 0x29, 0, 8, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(gate.received(now, from(1, follows.clone()), &mut hello), [from(1, follows)]);
    }

    #[test]
    fn checks_from_ever_other_addresses_are_thrown_away() {
        let (mut gate, mut hello, now) = scene();
        gate.answered(now, "us", "win");
        let check = |port| from(port, stun(0, 1, Some("us:win"), false));
        let passed = (0..500).filter(|&port| !gate.received(now, check(port), &mut hello).is_empty());
        assert_eq!(passed.count(), MAX_SOURCES);
        gate.state = State::Up;
        assert!(gate.received(now, check(499), &mut hello).is_empty());
        assert!(!gate.received(now, check(0), &mut hello).is_empty(), "a known one still counts");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_it(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..30)) {
            let (mut gate, mut hello, now) = scene();
            for (at, bytes) in datagrams.into_iter().enumerate() {
                gate.sent(now, &bytes);
                gate.received(now, from(1, bytes), &mut hello);
                if at == 10 {
                    gate.answered(now, "us", "win");
                }
            }
        }
    }
}
