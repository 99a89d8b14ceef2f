//! How is HTTP served to whoever comes, and at what cost at most?
//!
//! A connection costs a descriptor, of which cameras, brokers and viewers need theirs too. So there are only so many,
//! in all and from one address, and one that does not ask is closed. Who was led on to a WebSocket keeps his place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// One in so many of all connections may be of one address; further ones are closed.
const SHARE: usize = 3;
/// Within this a request's head is there, on a new connection and on one that waits for the next.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// A connection is asked to end after this, when its answer is out ...
const SERVED_FOR: Duration = Duration::from_secs(60);
/// ... and cut after this: who takes so long to read an answer does not read.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// After a connection could not be taken: no descriptor is free, and one will be.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until the runtime ends, so many connections at once; further ones wait in the kernel.
pub async fn serve(listener: TcpListener, routes: Router, connections: usize) {
    let places = Places::new(connections, connections / SHARE);
    loop {
        let permit = places.free().await;
        match listener.accept().await {
            Ok((stream, from)) => match places.seat(permit, from.ip()) {
                Some(place) => {
                    let routes = routes.clone().layer(Extension(Arc::new(place)));
                    tokio::spawn(connection(stream, routes));
                }
                None => log::debug!(from:%; "too many connections of one address: one is closed"),
            },
            Err(cause) => {
                log::debug!(cause:%; "a connection could not be taken");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, routes: Router) {
    // A WebSocket's small frames follow each other: without this the second waits until the browser acknowledges the
    // first, which it does after 40 ms (Nagle's algorithm, RFC 896). Failing only costs that time.
    let _ = stream.set_nodelay(true);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .with_upgrades();
    tokio::pin!(serving);
    // It ends with an error when the other side vanishes, and here nobody is left to be told.
    if timeout(SERVED_FOR, serving.as_mut()).await.is_err() {
        serving.as_mut().graceful_shutdown();
        let _ = timeout(ENDS_WITHIN, serving).await;
    }
}

/// How many are in, and from where.
#[derive(Clone, Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    of_one: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of them, free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    from: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many, and so many of one address; whoever is on this machine may have all.
    pub fn new(all: usize, of_one: usize) -> Places {
        Places { free: Arc::new(Semaphore::new(all)), of_one, taken: Arc::default() }
    }

    /// A place, if there is one for that address.
    pub fn take(&self, from: IpAddr) -> Option<Place> {
        self.seat(self.free.clone().try_acquire_owned().ok()?, from)
    }

    async fn free(&self) -> OwnedSemaphorePermit {
        self.free.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    fn seat(&self, permit: OwnedSemaphorePermit, from: IpAddr) -> Option<Place> {
        let from = from.to_canonical();
        let mut taken = lock(&self.taken);
        let count = taken.entry(from).or_default();
        if *count >= self.of_one && !from.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Place { from, taken: self.taken.clone(), _permit: permit })
    }
}

impl Place {
    /// Whose it is.
    pub fn from(&self) -> IpAddr {
        self.from
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(count) = taken.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.from);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that could panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a request calls us in its one `Host`, without the port, in lower case.
pub fn called(headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    let host = host.to_str().ok()?.to_ascii_lowercase();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    Some(name.strip_suffix('.').unwrap_or(name).to_owned())
}

/// Whether that is this machine as itself. A page elsewhere can have its own name resolve to 127.0.0.1 (DNS
/// rebinding) and would be same-origin with us; its `Host` gives it away.
pub fn is_loopback(name: &str) -> bool {
    name == "localhost" || address(name).is_some_and(|address| address.is_loopback())
}

/// Whether that is a name which nobody elsewhere can have: an address, a name of one label, or one below a domain that
/// is kept for home networks (RFC 6762 §3, RFC 8375) or never given out.
pub fn is_at_home(name: &str) -> bool {
    const KEPT: [&str; 7] =
        [".local", ".home.arpa", ".lan", ".internal", ".home", ".localdomain", ".localhost"];
    let is_single =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_single || address(name).is_some() || KEPT.iter().any(|domain| name.ends_with(domain))
}

/// An address as it stands in a URL (RFC 3986 §3.2.2).
fn address(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(hosts: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, header::HeaderValue::from_static(host));
        }
        called(&headers)
    }

    #[test]
    fn a_request_calls_us_by_one_name() {
        for (host, name) in [
            ("localhost:8080", "localhost"),
            ("BOARD.local.", "board.local"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("localhost:x", "localhost:x"),
            ("", ""),
        ] {
            assert_eq!(hosts(&[host]).as_deref(), Some(name), "{host}");
        }
        assert_eq!(hosts(&[]), None);
        assert_eq!(hosts(&["localhost", "evil.example"]), None);
    }

    #[test]
    fn only_loopback_names_count_as_this_machine() {
        for own in ["localhost", "127.0.0.1", "127.3.2.1", "[::1]"] {
            assert!(is_loopback(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "192.0.2.1",
            "",
            "::1",
            "localhost:x",
            "127.0.0.1@evil.example",
        ] {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_names_that_nobody_elsewhere_can_have_are_at_home() {
        for own in
            ["192.168.1.7", "[fd00::7]", "board", "board.local", "a.b.home.arpa", "board.lan", "localhost"]
        {
            assert!(is_at_home(own), "{own}");
        }
        for foreign in
            ["evil.example", "local.evil.example", "192.168.1.7.nip.io", "evillan.example", "", "a@b", "::1"]
        {
            assert!(!is_at_home(foreign), "{foreign}");
        }
    }

    #[test]
    fn one_address_gets_only_so_many_places() {
        let places = Places::new(3, 2);
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().expect("an address"));
        let mut first: Vec<Place> = (0..5).filter_map(|_| places.take(here)).collect();
        assert_eq!(first.len(), 2);
        let mapped = "::ffff:192.0.2.1".parse().expect("an address");
        assert!(places.take(mapped).is_none(), "it is the same");
        let second = places.take(there);
        assert!(second.is_some_and(|place| place.from() == there));
        first.pop();
        assert!(places.take(here).is_some());
        drop(first);
        assert!(lock(&places.taken).is_empty());
        let local: Vec<Place> =
            (0..5).filter_map(|_| places.take(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))).collect();
        assert_eq!(local.len(), 3, "as many as there are");
    }
}
