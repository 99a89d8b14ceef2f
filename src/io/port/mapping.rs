//! Under which address does a NAT show the one port, and does it stay?
//!
//! A server-reflexive candidate in an offer that waits is an address that a NAT has opened for us and closes
//! again when nothing leaves by it for a while. So each STUN server is asked every 25 s from each of the
//! board's addresses, by the port itself; when an answer is another, or none, or comes again, the offer that
//! waits is out of date. Connections that stand keep their ways open by themselves (RFC 7675).
//!
//! [`Mappings`] is pure: it is handed randomness and what came.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use webrtc::runtime::Transmit;

use super::stun::{self, Transaction};
use super::{Port, lock};

/// A question is repeated after so long, doubled each time (RFC 8489 §6.2.1).
const FIRST_TIMEOUT: Duration = Duration::from_millis(500);
/// How often it is asked in all: within 7.5 s.
const ATTEMPTS: u32 = 4;

/// What is known of the port's addresses outside.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    /// By the board's address and the server's.
    entries: BTreeMap<(IpAddr, SocketAddr), Entry>,
    servers: Vec<SocketAddr>,
    /// Something has changed since it was last asked.
    has_changed: bool,
}

#[derive(Debug, Default)]
struct Entry {
    asked: Option<Transaction>,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    NotYet,
    As(SocketAddr),
    NotAtAll,
}

impl Mappings {
    /// Begins a round: from each of these addresses each server of its family is asked.
    pub(super) fn begin(
        &mut self,
        locals: &[IpAddr],
        servers: &[SocketAddr],
        mut draw: impl FnMut() -> Option<Transaction>,
    ) {
        self.servers = servers.to_vec();
        let pairs = || locals.iter().flat_map(|&local| servers.iter().map(move |&server| (local, server)));
        let has_way = |(local, server): &(IpAddr, SocketAddr)| local.is_ipv4() == server.is_ipv4();
        self.entries.retain(|pair, _| pairs().any(|other| other == *pair));
        for pair in pairs().filter(has_way) {
            self.entries.entry(pair).or_default().asked = draw();
        }
    }

    /// What is unanswered.
    pub(super) fn questions(&self) -> Vec<(IpAddr, SocketAddr, Vec<u8>)> {
        let open = self.entries.iter().filter_map(|(pair, entry)| Some((pair, entry.asked?)));
        open.map(|(&(local, server), asked)| (local, server, stun::binding_request(asked))).collect()
    }

    /// Takes an answer. Whether it answers a question of ours: then it is nobody else's. What a peer connection
    /// is told while it gathers counts as well, since that stands in its offer.
    pub(super) fn received(&mut self, local: IpAddr, from: SocketAddr, bytes: &[u8]) -> bool {
        // Without STUN servers every answer is to a connectivity check.
        let Some(address) = (!self.servers.is_empty()).then(|| stun::mapped_address(bytes)).flatten() else {
            return false;
        };
        let transaction = stun::transaction(bytes);
        let asked = |entry: &&mut Entry| entry.asked.is_some() && entry.asked == transaction;
        match self.entries.values_mut().find(asked) {
            Some(entry) => {
                entry.asked = None;
                self.has_changed |= entry.is_seen_as(address);
                true
            }
            None if self.servers.contains(&from) => {
                self.has_changed |= self.entries.entry((local, from)).or_default().is_seen_as(address);
                false
            }
            None => false,
        }
    }

    /// Ends a round: what is unanswered stays so. Whether anything has changed since the last one.
    pub(super) fn end(&mut self) -> bool {
        for entry in self.entries.values_mut() {
            if entry.asked.take().is_none() {
                continue;
            }
            let before = std::mem::replace(&mut entry.seen, Seen::NotAtAll);
            self.has_changed |= matches!(before, Seen::As(_));
        }
        std::mem::take(&mut self.has_changed)
    }
}

impl Entry {
    /// Notes an address; whether it is another than before.
    fn is_seen_as(&mut self, address: SocketAddr) -> bool {
        let before = std::mem::replace(&mut self.seen, Seen::As(address));
        before != Seen::NotYet && before != Seen::As(address)
    }
}

/// Asks until the port is gone; says when an offer that waits is out of date. When `changed` is full, that is
/// known already.
pub(super) async fn keep(
    port: Weak<Port>,
    servers: Vec<(String, u16)>,
    interval: Duration,
    changed: mpsc::Sender<()>,
) {
    loop {
        let next = Instant::now() + interval;
        // Each time: a server's name may lead elsewhere tomorrow, and the system remembers it meanwhile.
        let found = resolve(&servers).await;
        {
            let Some(port) = port.upgrade() else { return };
            let locals = port.locals();
            lock(&port.mappings).begin(&locals, &found, draw);
        }
        for attempt in 0..ATTEMPTS {
            let Some(port) = port.upgrade() else { return };
            let questions = lock(&port.mappings).questions();
            if questions.is_empty() {
                break;
            }
            for (local, server, question) in questions {
                // An address without a way to that server is no fault.
                if let Err(cause) = port.send_from(local, server, &question) {
                    log::trace!(local:%, server:%, cause:%; "a STUN server is not reached");
                }
            }
            drop(port);
            sleep(FIRST_TIMEOUT * 2u32.pow(attempt)).await;
        }
        {
            let Some(port) = port.upgrade() else { return };
            if lock(&port.mappings).end() {
                log::info!("the address under which the board is seen outside has changed");
                if let Err(mpsc::error::TrySendError::Closed(())) = changed.try_send(()) {
                    return;
                }
            }
        }
        sleep_until(next).await;
    }
}

async fn resolve(servers: &[(String, u16)]) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for (host, port) in servers {
        match tokio::net::lookup_host((host.as_str(), *port)).await {
            // One of each family, as the library does.
            Ok(addresses) => {
                let addresses: Vec<SocketAddr> = addresses.collect();
                found.extend(addresses.iter().find(|address| address.is_ipv4()));
                found.extend(addresses.iter().find(|address| address.is_ipv6()));
            }
            Err(cause) => log::debug!(host = host.as_str(), cause:%; "a STUN server's name is not resolved"),
        }
    }
    found
}

fn draw() -> Option<Transaction> {
    let mut transaction = Transaction::default();
    // Without randomness nothing is asked: an answer could be anybody's.
    getrandom::fill(&mut transaction).ok().map(|()| transaction)
}

impl Port {
    /// The board's addresses by which somebody sends.
    fn locals(&self) -> Vec<IpAddr> {
        let inside = lock(&self.inside);
        let views = inside.views.values().flatten();
        let mut locals: Vec<IpAddr> =
            views.filter(|(_, view)| view.strong_count() > 0).map(|(local, _)| *local).collect();
        locals.sort_unstable();
        locals.dedup();
        locals
    }

    fn send_from(&self, local: IpAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let socket = self.sockets.iter().find(|socket| socket.serves(local));
        let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let (ecn, segment_size, src_ip) = (None, None, Some(local));
        socket.try_send(&Transmit { destination: to, ecn, contents: bytes, segment_size, src_ip })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::io::port::{Relay, Relays};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// A round that is answered as a test says; whether it shows a change.
    fn round(mappings: &mut Mappings, seen_as: Option<&str>) -> bool {
        let mut n = 0;
        mappings.begin(&[HERE], &[at("198.51.100.1:3478"), at("[2001:db8::1]:3478")], || {
            n += 1;
            Some([n; 12])
        });
        let questions = mappings.questions();
        assert_eq!(questions.len(), 1, "the other server is of another family");
        if let Some(seen_as) = seen_as {
            let transaction = stun::transaction(&questions[0].2).expect("a question");
            let server = at("198.51.100.1:3478");
            let mut answered = |from, transaction| {
                mappings.received(HERE, from, &stun::tests::success(transaction, at(seen_as)))
            };
            assert!(!answered(at("198.51.100.2:3478"), [9; 12]), "nobody asked that");
            assert!(answered(server, transaction));
            assert!(!answered(server, transaction), "answered already");
        }
        mappings.end()
    }

    #[test]
    fn an_address_that_stays_is_no_change_and_another_is() {
        let mut mappings = Mappings::default();
        assert!(!round(&mut mappings, Some("203.0.113.5:4000")), "the offer has it by itself");
        assert!(!round(&mut mappings, Some("203.0.113.5:4000")));
        assert!(round(&mut mappings, Some("203.0.113.5:4001")));
        assert!(!round(&mut mappings, Some("203.0.113.5:4001")));
    }

    /// Answers everybody with the address that it is told, as a NAT would have it.
    async fn stun_server(mut seen_as: tokio::sync::watch::Receiver<SocketAddr>) -> u16 {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a loopback port");
        let port = socket.local_addr().expect("it is bound").port();
        tokio::spawn(async move {
            let mut bytes = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                let transaction = stun::transaction(&bytes[..length]).expect("a question");
                let answer = stun::tests::success(transaction, *seen_as.borrow_and_update());
                socket.send_to(&answer, from).await.expect("it can answer");
            }
        });
        port
    }

    #[tokio::test]
    async fn the_port_keeps_asking_and_tells_when_a_nat_has_moved_it() {
        let port = Port::open(&[[127, 0, 0, 1].into()], 0..=0).expect("a free port");
        let place = port.owner();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
        let believed = socket.local_addr().expect("it is bound");
        let relay: Arc<Relay> = Relay::new(socket, Relays::default()).expect("a relay");
        let _view = place.view(believed, relay).expect("a view");
        let (nat, seen_as) = tokio::sync::watch::channel(at("203.0.113.5:4000"));
        let server = stun_server(seen_as).await;
        let servers = vec![("127.0.0.1".to_string(), server)];
        let mut changes = port.keep_mapped(servers, Duration::from_millis(20));
        // Some rounds without a change.
        while lock(&port.mappings).entries.values().all(|entry| entry.seen == Seen::NotYet) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(changes.try_recv().is_err());
        nat.send_replace(at("203.0.113.5:4001"));
        let told = tokio::time::timeout(Duration::from_secs(20), changes.recv()).await;
        assert_eq!(told, Ok(Some(())));
    }

    #[test]
    fn an_address_that_is_lost_is_a_change_once_and_so_is_its_return() {
        let mut mappings = Mappings::default();
        assert!(!round(&mut mappings, Some("203.0.113.5:4000")));
        assert!(round(&mut mappings, None));
        assert!(!round(&mut mappings, None));
        assert!(round(&mut mappings, Some("203.0.113.5:4000")));
    }

    #[test]
    fn a_network_that_opens_up_later_is_a_change() {
        let mut mappings = Mappings::default();
        assert!(!round(&mut mappings, None));
        assert!(round(&mut mappings, Some("203.0.113.5:4000")));
    }

    #[test]
    fn what_an_offer_was_told_while_it_gathered_is_compared_with_what_comes_later() {
        let mut mappings = Mappings::default();
        let server = at("198.51.100.1:3478");
        mappings.begin(&[], &[server], || Some([1; 12]));
        let gathered = stun::tests::success([8; 12], at("203.0.113.5:4000"));
        assert!(!mappings.received(HERE, server, &gathered), "it is the offer's");
        assert!(!mappings.end());
        assert!(round(&mut mappings, Some("203.0.113.5:4001")));
    }

    #[test]
    fn an_address_that_the_board_has_no_more_is_forgotten() {
        let mut mappings = Mappings::default();
        round(&mut mappings, Some("203.0.113.5:4000"));
        mappings.begin(&[], &[at("198.51.100.1:3478")], || Some([1; 12]));
        assert!(mappings.questions().is_empty() && !mappings.end());
    }
}
