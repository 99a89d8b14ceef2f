//! Whose is a datagram that came in on the one port?
//!
//! ```text
//! STUN request   the ufrag before the colon of its USERNAME says whose offer it answers
//! STUN answer    its transaction says who asked
//! anything else  its address, once a check between it and that peer connection has succeeded
//! ```
//!
//! So nobody gets past STUN who has not passed a connectivity check, for which he needs the offer's password. Who has
//! it may still check from an address that he only pretends to have: what comes from there is then handed to all who
//! have checked it, and DTLS and SRTP throw away what is not theirs.
//! Pure: it is told the time.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::stun::{self, Kind, Transaction};

/// One peer connection's place at the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u64);

/// A peer connection on one of the board's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    /// Whose.
    pub owner: Owner,
    /// The board's address.
    pub local: IpAddr,
}

/// A question that is unanswered for so long stays so: the library repeats it under the same id for 8 s.
const ASKED_FOR: Duration = Duration::from_secs(10);
/// Questions of one peer connection that are remembered; the oldest is forgotten first. The library itself knows those
/// of the last 4 s, and asks at most some 500 in one.
const MAX_ASKED: usize = 2048;
/// Peer connections that may have checked one address; the oldest gives way. Two browsers never share one, so it is
/// one, and another while an ICE restart or a viewer's new session takes over.
const MAX_OWNERS: usize = 4;

/// Who is where. Everything in it ends with its owner.
#[derive(Debug, Default)]
pub struct Demux {
    ufrags: HashMap<Vec<u8>, Owner>,
    asked: HashMap<Transaction, Way>,
    /// The same in the order of time, to forget them by.
    asked_at: HashMap<Owner, VecDeque<(Instant, Transaction)>>,
    /// The newest first.
    checked: HashMap<SocketAddr, Vec<Way>>,
}

impl Demux {
    /// Checks with this ufrag before the colon are for `owner` from now on.
    pub fn named(&mut self, owner: Owner, ufrag: &str) {
        self.ufrags.insert(ufrag.as_bytes().to_vec(), owner);
    }

    /// Forgets everything of a peer connection.
    pub fn gone(&mut self, owner: Owner) {
        self.ufrags.retain(|_, other| *other != owner);
        self.asked.retain(|_, way| way.owner != owner);
        self.asked_at.remove(&owner);
        self.checked.retain(|_, ways| {
            ways.retain(|way| way.owner != owner);
            !ways.is_empty()
        });
    }

    /// A datagram of `way` leaves.
    pub fn sent(&mut self, now: Instant, way: Way, to: SocketAddr, bytes: &[u8]) {
        let Some(transaction) = stun::transaction(bytes) else { return };
        match stun::kind(bytes) {
            Kind::Request => {
                let asked_at = self.asked_at.entry(way.owner).or_default();
                while let Some((at, oldest)) = asked_at.front()
                    && (now.saturating_duration_since(*at) > ASKED_FOR || asked_at.len() >= MAX_ASKED)
                {
                    self.asked.remove(oldest);
                    asked_at.pop_front();
                }
                if self.asked.insert(transaction, way).is_none() {
                    asked_at.push_back((now, transaction));
                }
            }
            // The library has found the check good.
            Kind::Success => {
                let ways = self.checked.entry(to).or_default();
                ways.retain(|other| other.owner != way.owner);
                ways.insert(0, way);
                ways.truncate(MAX_OWNERS);
            }
            _ => {}
        }
    }

    /// Whose a datagram is that came to the board's address `local`; of several, who has checked last comes first.
    pub fn received(&mut self, local: IpAddr, from: SocketAddr, bytes: &[u8]) -> Vec<Way> {
        match stun::kind(bytes) {
            Kind::Request => self.named_by(bytes).map(|owner| Way { owner, local }).into_iter().collect(),
            kind @ (Kind::Success | Kind::Failure) => {
                let asked = stun::transaction(bytes).and_then(|id| self.asked.remove(&id));
                // A STUN server's address gets in here too; what else it may send is of no use to anybody.
                if let (Some(way), Kind::Success) = (asked, kind) {
                    let ways = self.checked.entry(from).or_default();
                    if ways.len() < MAX_OWNERS && ways.iter().all(|other| other.owner != way.owner) {
                        ways.push(way);
                    }
                }
                asked.into_iter().collect()
            }
            _ => self.checked.get(&from).cloned().unwrap_or_default(),
        }
    }

    fn named_by(&self, check: &[u8]) -> Option<Owner> {
        let ufrag = stun::username(check)?.split(|byte| *byte == b':').next()?;
        self.ufrags.get(ufrag).copied()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;
    use proptest::prelude::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));
    const ANA: Way = Way { owner: Owner(1), local: HERE };
    const RUI: Way = Way { owner: Owner(2), local: HERE };
    const HELLO: [u8; 3] = [22, 254, 253];

    fn whose(demux: &mut Demux, from: SocketAddr, bytes: &[u8]) -> Vec<Way> {
        demux.received(HERE, from, bytes)
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, 1], port))
    }

    fn message(class: [u8; 2], id: u8, username: &str) -> Vec<u8> {
        let mut bytes = vec![class[0], class[1], 0, 0, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend([id; 12]);
        if !username.is_empty() {
            bytes.extend([0, 6, 0, username.len() as u8]);
            bytes.extend(username.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    const REQUEST: [u8; 2] = [0, 1];
    const SUCCESS: [u8; 2] = [1, 1];

    #[test]
    fn check_finds_its_offer_by_the_ufrag() {
        let mut demux = Demux::default();
        demux.named(Owner(1), "ana");
        assert_eq!(demux.received(HERE, at(1), &message(REQUEST, 1, "ana:browser")), [ANA]);
        for stranger in ["bob:browser", "an:browser", "anabel:browser", ":ana", ""] {
            assert_eq!(demux.received(HERE, at(1), &message(REQUEST, 1, stranger)), [], "{stranger}");
        }
    }

    #[test]
    fn nothing_but_checks_passes_before_a_check_has_succeeded() {
        let (mut demux, now) = (Demux::default(), Instant::now());
        demux.named(Owner(1), "ana");
        demux.received(HERE, at(1), &message(REQUEST, 1, "ana:browser"));
        assert_eq!(demux.received(HERE, at(1), &HELLO), [], "it may have sent a wrong password");
        demux.sent(now, ANA, at(1), &message(SUCCESS, 1, ""));
        assert_eq!(demux.received(HERE, at(1), &HELLO), [ANA]);
        assert_eq!(demux.received(HERE, at(2), &HELLO), []);
    }

    #[test]
    fn answer_finds_who_asked_and_lets_its_sender_in() {
        let (mut demux, now) = (Demux::default(), Instant::now());
        demux.sent(now, ANA, at(1), &message(REQUEST, 7, "browser:ana"));
        assert_eq!(demux.received(HERE, at(1), &message(SUCCESS, 8, "")), [], "nobody asked that");
        assert_eq!(demux.received(HERE, at(1), &message(SUCCESS, 7, "")), [ANA]);
        assert_eq!(demux.received(HERE, at(1), &HELLO), [ANA]);
        assert_eq!(demux.received(HERE, at(1), &message(SUCCESS, 7, "")), [], "it is answered once");
    }

    #[test]
    fn nothing_of_a_peer_connection_outlives_it() {
        let (mut demux, now) = (Demux::default(), Instant::now());
        demux.named(Owner(1), "ana");
        demux.sent(now, ANA, at(1), &message(REQUEST, 7, "browser:ana"));
        demux.sent(now, ANA, at(1), &message(SUCCESS, 1, ""));
        demux.gone(Owner(1));
        assert_eq!(demux.received(HERE, at(1), &message(REQUEST, 1, "ana:browser")), []);
        assert_eq!(demux.received(HERE, at(1), &message(SUCCESS, 7, "")), []);
        assert_eq!(demux.received(HERE, at(1), &HELLO), []);
    }

    #[test]
    fn who_asks_much_makes_nobody_else_s_questions_be_forgotten() {
        let (mut demux, now) = (Demux::default(), Instant::now());
        demux.sent(now, RUI, at(2), &message(REQUEST, 7, "browser:rui"));
        for n in 0..20 * MAX_ASKED as u32 {
            let mut request = message(REQUEST, 0, "browser:ana");
            request[8..12].copy_from_slice(&n.to_be_bytes());
            demux.sent(now, ANA, at(1), &request);
        }
        assert_eq!(whose(&mut demux, at(2), &message(SUCCESS, 7, "")), [RUI]);
    }

    #[test]
    fn address_that_several_have_checked_is_each_of_theirs() {
        let (mut demux, now) = (Demux::default(), Instant::now());
        demux.sent(now, ANA, at(1), &message(SUCCESS, 1, ""));
        // A check that was spoofed in Ana's name, say: it takes nothing away from her.
        demux.sent(now, RUI, at(1), &message(SUCCESS, 2, ""));
        assert_eq!(whose(&mut demux, at(1), &HELLO), [RUI, ANA], "the newest first");
        demux.sent(now, ANA, at(1), &message(SUCCESS, 3, ""));
        assert_eq!(whose(&mut demux, at(1), &HELLO), [ANA, RUI]);
        demux.gone(ANA.owner);
        assert_eq!(whose(&mut demux, at(1), &HELLO), [RUI]);
        demux.gone(RUI.owner);
        assert_eq!(whose(&mut demux, at(1), &HELLO), []);
        assert!(demux.checked.is_empty());
    }

    #[test]
    fn addresses_with_ever_more_owners_keep_the_newest() {
        let (mut demux, now) = (Demux::default(), Instant::now());
        for owner in 0..9 {
            demux.sent(now, Way { owner: Owner(owner), local: HERE }, at(1), &message(SUCCESS, 1, ""));
        }
        let owners = whose(&mut demux, at(1), &HELLO).into_iter().map(|way| way.owner.0);
        assert_eq!(owners.collect::<Vec<_>>(), [8, 7, 6, 5]);
    }

    #[test]
    fn what_is_never_answered_is_forgotten() {
        let (mut demux, now) = (Demux::default(), Instant::now());
        for n in 0..3 * MAX_ASKED as u32 {
            let mut request = message(REQUEST, 0, "browser:ana");
            request[8..12].copy_from_slice(&n.to_be_bytes());
            demux.sent(now, ANA, at(1), &request);
        }
        assert!(demux.asked.len() <= MAX_ASKED && demux.asked_at[&ANA.owner].len() <= MAX_ASKED);
        demux.sent(now + ASKED_FOR * 2, ANA, at(1), &message(REQUEST, 9, "browser:ana"));
        assert_eq!((demux.asked.len(), demux.asked_at[&ANA.owner].len()), (1, 1));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_it(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let (mut demux, now) = (Demux::default(), Instant::now());
            demux.named(Owner(1), "");
            for bytes in datagrams {
                demux.received(HERE, at(1), &bytes);
                demux.sent(now, ANA, at(1), &bytes);
            }
        }
    }
}
