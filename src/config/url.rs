//! The addresses that people write into the configuration, taken apart or refused.

use std::net::Ipv6Addr;

/// A broker's address as its URL says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokerUrl {
    pub host: String,
    pub port: u16,
    pub is_tls: bool,
}

/// Reads `mqtt://host[:port]` or `mqtts://host[:port]`. There is no room for a user: a password in the
/// configuration would be readable by everybody who can read the configuration.
pub(super) fn broker(text: &str) -> Option<BrokerUrl> {
    let (is_tls, rest) = match text.split_once("://")? {
        ("mqtt", rest) => (false, rest),
        ("mqtts", rest) => (true, rest),
        _ => return None,
    };
    let (host, port) = host_and_port(rest.strip_suffix('/').unwrap_or(rest))?;
    let port = port.unwrap_or(if is_tls { 8883 } else { 1883 });
    Some(BrokerUrl { host: host.to_string(), port, is_tls })
}

/// Whether a text can stand in a link as the address of one of these schemes: a host after `://`, and
/// nothing that a link's own fragment or a terminal would trip over.
pub(super) fn is_web(text: &str, schemes: [&str; 2]) -> bool {
    let Some((scheme, host)) = scheme_and_host(text) else { return false };
    schemes.contains(&scheme)
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&b))
        && host_and_port(host).is_some()
}

/// The host of such a URL in lower case, an IPv6 address in brackets.
pub(super) fn web_host(url: &str) -> Option<String> {
    let (_, host) = scheme_and_host(url)?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    Some(name.to_ascii_lowercase())
}

/// The scheme, and the host with its port if it has one.
fn scheme_and_host(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    Some((scheme, authority.rsplit_once('@').map_or(authority, |(_, host)| host)))
}

/// A STUN or TURN server's URL, taken apart (RFC 7064 §3.1, RFC 7065 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceUrl {
    /// What kind of server it is.
    pub kind: IceKind,
    /// Host name or address, without brackets.
    pub host: String,
    /// The URL's port, or the scheme's: 3478, and 5349 with TLS.
    pub port: u16,
    /// How it is reached.
    pub transport: Transport,
}

/// What kind of server a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceKind {
    /// It says under which address we are seen.
    Stun,
    /// It lends an address of its own.
    Turn,
}

/// How a STUN or TURN server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `stun:`, `turn:`.
    Udp,
    /// `turn:` with `transport=tcp`.
    Tcp,
    /// `turns:`, `stuns:`.
    Tls,
    /// `turns:` with `transport=udp`.
    Dtls,
}

impl IceUrl {
    /// Reads `stun:host[:port]` or `turn:host[:port][?transport=udp|tcp]` and their `s` forms.
    pub fn parse(text: &str) -> Option<IceUrl> {
        let (scheme, rest) = text.split_once(':')?;
        let (kind, is_secure) = match scheme {
            "stun" => (IceKind::Stun, false),
            "stuns" => (IceKind::Stun, true),
            "turn" => (IceKind::Turn, false),
            "turns" => (IceKind::Turn, true),
            _ => return None,
        };
        let (address, transport) = match (kind, rest.split_once('?'), is_secure) {
            (_, None, false) => (rest, Transport::Udp),
            (_, None, true) => (rest, Transport::Tls),
            (IceKind::Turn, Some((address, "transport=udp")), false) => (address, Transport::Udp),
            (IceKind::Turn, Some((address, "transport=udp")), true) => (address, Transport::Dtls),
            (IceKind::Turn, Some((address, "transport=tcp")), false) => (address, Transport::Tcp),
            (IceKind::Turn, Some((address, "transport=tcp")), true) => (address, Transport::Tls),
            _ => return None,
        };
        let (host, port) = host_and_port(address)?;
        let port = port.unwrap_or(if is_secure { 5349 } else { 3478 });
        Some(IceUrl { kind, host: host.to_string(), port, transport })
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`; the host comes without brackets.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if host.is_empty() || host.len() > 253 || !host.bytes().all(is_host) {
                return None;
            }
            (host, port)
        }
    };
    match port {
        None => Some((host, None)),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse::<u16>().ok().filter(|port| *port != 0).map(|port| (host, Some(port)))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_url_s_host_is_found_behind_its_login() {
        let of = |url| web_host(url).expect("a URL");
        assert_eq!(of("https://Farol.example.org/door/"), "farol.example.org");
        assert_eq!(of("wss://user:p%40ss@broker.example.org:8884/mqtt?x=a:1"), "broker.example.org");
        assert_eq!(of("http://[fd00::1]:8080/"), "[fd00::1]");
    }

    #[test]
    fn a_broker_url_names_host_port_and_whether_tls_is_used() {
        let read = |text| broker(text).map(|url| (url.host, url.port, url.is_tls));
        assert_eq!(read("mqtt://localhost"), Some(("localhost".into(), 1883, false)));
        assert_eq!(read("mqtts://broker.example.org/"), Some(("broker.example.org".into(), 8883, true)));
        assert_eq!(read("mqtt://[fd00::1]:1884"), Some(("fd00::1".into(), 1884, false)));
        for bad in [
            "",
            "localhost",
            "localhost:1883",
            "http://localhost",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://a:0",
            "mqtt://a:65536",
            "mqtt://a:+1",
            "mqtt://a:",
            "mqtt://user:secret@a",
            "mqtt://a/path",
            "mqtt://[::1",
            "mqtt://[nonsense]",
            "mqtt://a b",
            "MQTT://a",
        ] {
            assert_eq!(broker(bad), None, "{bad:?} was taken");
        }
    }

    #[test]
    fn a_link_takes_only_what_survives_in_a_link() {
        for good in
            ["https://farol.example", "https://a.b/cam/?x=1", "http://192.0.2.1:8080/", "http://[::1]:80/"]
        {
            assert!(is_web(good, ["http", "https"]), "{good:?} was refused");
        }
        assert!(is_web("wss://ana:pw@broker.example:8084/mqtt", ["ws", "wss"]));
        for bad in
            ["", "https://", "https:///x", "https://a/#b", "https://a b", "https://a\u{1b}[2J", "ftp://a"]
        {
            assert!(!is_web(bad, ["http", "https"]), "{bad:?} was taken");
        }
    }

    #[test]
    fn ice_urls_follow_their_rfcs() {
        use {IceKind::*, Transport::*};
        for (text, kind, host, port, transport) in [
            ("stun:stun.example.org", Stun, "stun.example.org", 3478, Udp),
            ("turn:192.0.2.1:3479?transport=udp", Turn, "192.0.2.1", 3479, Udp),
            ("turn:turn.example.org?transport=tcp", Turn, "turn.example.org", 3478, Tcp),
            ("turns:[2001:db8::1]:443?transport=tcp", Turn, "2001:db8::1", 443, Tls),
            ("turns:turn.example.org", Turn, "turn.example.org", 5349, Tls),
            ("turns:turn.example.org?transport=udp", Turn, "turn.example.org", 5349, Dtls),
        ] {
            let expected = IceUrl { kind, host: host.to_string(), port, transport };
            assert_eq!(IceUrl::parse(text), Some(expected), "{text}");
        }
        for bad in
            ["stun://stun.example.org", "stun:", "stun:a?transport=udp", "turn:a?transport=sctp", "http:a"]
        {
            assert_eq!(IceUrl::parse(bad), None, "{bad:?} was taken");
        }
    }
}
