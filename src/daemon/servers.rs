//! Which STUN and TURN servers are used now, and when does what the offer says of them go out of date?

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::config::{Ice, IceKind, IceServer, IceUrl, Tls, Transport};
use crate::engine::ice::IceServers;
use crate::engine::station::Input;
use crate::io::port::Port;
use crate::io::{clock, ice_source};

/// What TURN servers know us as.
const OURSELVES: &str = "farol";
/// A NAT that keeps to the rules remembers for 2 minutes (RFC 4787 §4.3), many for no more than 30 s.
const NAT_INTERVAL: Duration = Duration::from_secs(25);
/// A clock that differs by more from what it should show was set.
const CLOCK_WAS_SET: u64 = 30;

/// The servers.
pub(super) struct Servers {
    ice: IceServers,
    wall_clock: Option<(Instant, u64)>,
    fetched: Option<mpsc::Receiver<Vec<IceServer>>>,
    mapping: Option<mpsc::Receiver<()>>,
}

impl Servers {
    /// Begins to ask whoever is to be asked: nobody, unless the configuration names somebody.
    pub(super) fn new(ice: &Ice, port: &Arc<Port>) -> Self {
        let trust = Tls { ca_file: ice.ca_file.clone(), client: None };
        let fetched = ice.source.clone().map(|source| ice_source::spawn(source, trust));
        let stun: Vec<(String, u16)> = ice
            .servers
            .iter()
            .flat_map(|server| &server.urls)
            .filter_map(|url| IceUrl::parse(url))
            .filter(|url| (url.kind, url.transport) == (IceKind::Stun, Transport::Udp))
            .map(|url| (url.host, url.port))
            .collect();
        // With relays alone nobody is told that address.
        let is_seen = !stun.is_empty() && ice.policy.is_all();
        let mapping = is_seen.then(|| port.keep_mapped(stun, NAT_INTERVAL));
        Servers { ice: IceServers::new(ice), wall_clock: None, fetched, mapping }
    }

    /// Those that we use ourselves, with fresh passwords.
    pub(super) fn ours(&self) -> Vec<IceServer> {
        self.ice.told_to(OURSELVES, clock::wall_now().as_secs())
    }

    /// What the station has to know, as it happens.
    pub(super) async fn next(&mut self) -> Input {
        loop {
            tokio::select! {
                servers = next_of(&mut self.fetched) => match servers {
                    Some(servers) => {
                        self.ice.use_fetched(servers.clone());
                        return Input::IceServers(servers);
                    }
                    None => self.fetched = None,
                },
                changed = next_of(&mut self.mapping) => match changed {
                    Some(()) => return Input::NetworkChanged,
                    None => self.mapping = None,
                },
            }
        }
    }

    /// Looks at the wall clock: what the station has to know of it, at the start and when it was set.
    pub(super) fn look_at_clock(&mut self, now: Instant) -> Option<Input> {
        let unix_s = clock::wall_now().as_secs();
        let expected = self.wall_clock.map(|(at, unix_s)| unix_s + now.duration_since(at).as_secs());
        if expected.is_some_and(|expected| expected.abs_diff(unix_s) < CLOCK_WAS_SET) {
            return None;
        }
        self.wall_clock = Some((now, unix_s));
        Some(Input::WallClock { unix_s })
    }
}

async fn next_of<T>(receiver: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match receiver {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}
