//! Under which address does the WebRTC library know a TURN server that it cannot reach itself?
//!
//! The library speaks TURN over UDP alone. A server that is reached by TCP or TLS is handed to it as one on
//! UDP, under a made-up name that only [`Detours::resolve`] knows, which gives it made-up addresses that are
//! nobody's: 240.0.0.0/4 (RFC 1112 §4) and 100::/64 (RFC 6666 §4). What is sent to such an address takes its
//! [`Detour`]. Nobody else ever sees name or address: viewers are handed the real URL.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;

use crate::config::{IceKind, IceServer, IceUrl, Transport};
use crate::io::port::lock;

/// Of names that can exist nowhere (RFC 6761 §6.4).
const DOMAIN: &str = ".turn.invalid";

/// The TURN servers of one peer connection that are reached by a stream.
#[derive(Debug, Default)]
pub struct Detours {
    known: Mutex<Vec<Detour>>,
}

/// How one server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Detour {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_tls: bool,
    /// What its name has been resolved to.
    pub(super) addresses: Vec<SocketAddr>,
}

impl Detours {
    /// The servers as the library takes them. What neither it nor we can reach is left out.
    pub fn for_library(&self, servers: &[IceServer]) -> Vec<IceServer> {
        let adapted = servers.iter().map(|server| IceServer {
            urls: server.urls.iter().filter_map(|url| self.url(url)).collect(),
            ..server.clone()
        });
        adapted.filter(|server| !server.urls.is_empty()).collect()
    }

    fn url(&self, text: &str) -> Option<String> {
        let url = IceUrl::parse(text)?;
        let is_tls = match (url.kind, url.transport) {
            (_, Transport::Udp) => return Some(text.to_string()),
            (IceKind::Turn, Transport::Tcp) => false,
            (IceKind::Turn, Transport::Tls) => true,
            // Viewers may have better use for it.
            (IceKind::Turn, Transport::Dtls) | (IceKind::Stun, _) => {
                log::debug!(url:% = text; "a server is for viewers alone: it cannot be reached that way from here");
                return None;
            }
        };
        let mut known = lock(&self.known);
        let at = known.iter().position(|detour| {
            (detour.host.as_str(), detour.port, detour.is_tls) == (url.host.as_str(), url.port, is_tls)
        });
        let at = at.unwrap_or_else(|| {
            known.push(Detour { host: url.host, port: url.port, is_tls, addresses: Vec::new() });
            known.len() - 1
        });
        Some(format!("turn:{at}{DOMAIN}:{}?transport=udp", url.port))
    }

    /// The addresses of a name that [`Detours::for_library`] made up, as `name:port`; `None`: it is another.
    /// One of each family in which the server can be reached.
    ///
    /// # Errors
    ///
    /// The real name cannot be resolved.
    pub async fn resolve(&self, host_and_port: &str) -> Option<io::Result<Vec<SocketAddr>>> {
        let (name, _) = host_and_port.rsplit_once(':')?;
        let at: u16 = name.strip_suffix(DOMAIN)?.parse().ok()?;
        let detour = lock(&self.known).get(usize::from(at)).cloned()?;
        let found: Vec<SocketAddr> = match tokio::net::lookup_host((detour.host.as_str(), detour.port)).await
        {
            Ok(found) => found.collect(),
            Err(cause) => {
                log::warn!(host = detour.host.as_str(), cause:%; "a TURN server's name is not resolved: check ice.servers and the board's DNS");
                return Some(Err(cause));
            }
        };
        let has = |is_ipv4: bool| found.iter().any(|address| address.is_ipv4() == is_ipv4);
        let made_up = [made_up(at, true, detour.port), made_up(at, false, detour.port)]
            .into_iter()
            .filter(|address| has(address.is_ipv4()))
            .collect();
        if let Some(known) = lock(&self.known).get_mut(usize::from(at)) {
            known.addresses = found;
        }
        Some(Ok(made_up))
    }

    /// The detour of what is sent to an address; `None`: it goes there by UDP.
    pub(super) fn of(&self, to: SocketAddr) -> Option<Detour> {
        let at = match to.ip() {
            IpAddr::V4(ip) => match ip.octets() {
                [240, 0, high, low] => u16::from_be_bytes([high, low]),
                _ => return None,
            },
            IpAddr::V6(ip) => match ip.segments() {
                [0x100, 0, 0, 0, 0, 0, 0, at] => at,
                _ => return None,
            },
        };
        let known = lock(&self.known);
        let mut detour = known.get(usize::from(at))?.clone();
        detour.addresses.retain(|address| address.is_ipv4() == to.is_ipv4());
        Some(detour)
    }
}

fn made_up(at: u16, is_ipv4: bool, port: u16) -> SocketAddr {
    let [high, low] = at.to_be_bytes();
    let ip = match is_ipv4 {
        true => IpAddr::V4(Ipv4Addr::new(240, 0, high, low)),
        false => IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, at)),
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn server(urls: &[&str]) -> IceServer {
        IceServer {
            urls: urls.iter().map(|url| url.to_string()).collect(),
            username: Some("ana".to_string()),
            credential: Some("secret".to_string()),
        }
    }

    #[tokio::test]
    async fn a_server_behind_a_stream_is_known_by_an_address_that_is_nobodys() {
        let detours = Detours::default();
        let servers = detours.for_library(&[
            server(&["stun:192.0.2.1", "turn:192.0.2.1?transport=udp"]),
            server(&["turn:127.0.0.1:443?transport=tcp", "turns:[::1]:5350"]),
            server(&["turns:192.0.2.1?transport=udp", "stuns:192.0.2.1"]),
        ]);
        assert_eq!(servers.len(), 2, "{servers:?}");
        assert_eq!(servers[0].urls, ["stun:192.0.2.1", "turn:192.0.2.1?transport=udp"]);
        let names = ["turn:0.turn.invalid:443?transport=udp", "turn:1.turn.invalid:5350?transport=udp"];
        assert_eq!(servers[1].urls, names);
        assert_eq!(servers[1].username.as_deref(), Some("ana"));
        let first = detours.resolve("0.turn.invalid:443").await.expect("ours").expect("an address");
        let second = detours.resolve("1.turn.invalid:5350").await.expect("ours").expect("an address");
        assert_eq!(first, [at("240.0.0.0:443")]);
        assert_eq!(second, [at("[100::1]:5350")]);
        let detour = detours.of(second[0]).expect("a detour");
        assert!(detour.is_tls && detour.addresses == [at("[::1]:5350")]);
        assert_eq!(detours.of(at("192.0.2.1:3478")), None);
    }

    #[tokio::test]
    async fn the_same_server_has_one_address_and_other_names_are_not_ours() {
        let detours = Detours::default();
        let tcp = [server(&["turn:127.0.0.1?transport=tcp"])];
        assert_eq!(detours.for_library(&tcp), detours.for_library(&tcp));
        for name in ["turn.example.org:3478", "1.turn.invalid:3478", "x.turn.invalid:1", ""] {
            assert!(detours.resolve(name).await.is_none(), "{name}");
        }
    }
}
