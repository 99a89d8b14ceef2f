//! With which port does a viewer see a candidate of ours?
//!
//! The library believes that each of its sockets has a port of its own; what leaves goes by the one port.

use std::net::{IpAddr, SocketAddr};

/// A text with the candidates' port put right: each of `believed`, as an address (RFC 8839 §5.1) or a related
/// address, becomes the same address with `port`. TCP candidates and everything else stay.
pub fn with_port(text: &str, believed: &[SocketAddr], port: u16) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if !line.trim_start_matches("a=").starts_with("candidate:") {
            out.push_str(line);
            continue;
        }
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let is_believed = |ip: &str, port: &str| {
            let (ip, port) = (ip.parse::<IpAddr>().ok(), port.trim_end().parse::<u16>().ok());
            believed.iter().any(|one| Some(one.ip()) == ip && Some(one.port()) == port)
        };
        // `candidate:<foundation> <component> <transport> <priority> <address> <port> typ ...`
        let related = words.iter().position(|word| word == "raddr").map(|at| (at + 1, at + 3));
        for (ip, number) in std::iter::once((4, 5)).chain(related) {
            let (Some(address), Some(old)) = (words.get(ip), words.get(number)) else { continue };
            if words.get(2).is_some_and(|transport| transport.eq_ignore_ascii_case("udp"))
                && is_believed(address, old)
            {
                let end = &old[old.trim_end().len()..];
                words[number] = format!("{port}{end}");
            }
        }
        out.push_str(&words.join(" "));
    }
    out
}

/// A text whose candidates do not say where we are: related addresses are left out as RFC 8839 §5.1 says it
/// is to be done.
pub fn without_related(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let Some((before, after)) = line.split_once(" raddr ") else {
            out.push_str(line);
            continue;
        };
        // `raddr <address> rport <port>`, and what may follow.
        let mut words = after.splitn(4, ' ');
        let unspecified = match words.next() {
            Some(address) if address.contains(':') => "::",
            _ => "0.0.0.0",
        };
        let port = words.nth(1).unwrap_or_default();
        let end = &port[port.trim_end().len()..];
        let rest = words.next().map(|rest| format!(" {rest}")).unwrap_or_default();
        out.push_str(&format!("{before} raddr {unspecified} rport 9{end}{rest}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn related_addresses_can_be_left_out() {
        for (written, expected) in [
            (
                "candidate:3 1 udp 7 203.0.113.5 61000 typ relay raddr 192.0.2.9 rport 40001",
                "0.0.0.0 rport 9",
            ),
            ("a=candidate:3 1 udp 7 ::5 61000 typ relay raddr fd00::9 rport 40001\r\n", ":: rport 9\r\n"),
            (
                "candidate:3 1 udp 7 ::5 61 typ relay raddr fd00::9 rport 4 generation 0",
                ":: rport 9 generation 0",
            ),
        ] {
            let before = written.split(" raddr ").next().expect("a part");
            assert_eq!(without_related(written), format!("{before} raddr {expected}"));
        }
        for other in ["a=mid:0\r\n", "candidate:1 1 udp 7 192.0.2.9 40001 typ host", "x raddr ", ""] {
            assert!(without_related(other).starts_with(other.trim_end()), "{other}");
        }
    }

    fn seen(line: &str) -> String {
        let believed =
            ["192.0.2.9:40001", "[2001:db8::9]:40002"].map(|address| address.parse().expect("an address"));
        with_port(line, &believed, 9600)
    }

    #[test]
    fn host_candidates_and_related_addresses_get_the_port_that_is_open() {
        for (written, expected) in [
            (
                "candidate:1 1 udp 2130706431 192.0.2.9 40001 typ host",
                "candidate:1 1 udp 2130706431 192.0.2.9 9600 typ host",
            ),
            (
                "a=candidate:1 1 UDP 7 2001:db8::9 40002 typ host\r\n",
                "a=candidate:1 1 UDP 7 2001:db8::9 9600 typ host\r\n",
            ),
            (
                "candidate:2 1 udp 7 203.0.113.5 61000 typ srflx raddr 192.0.2.9 rport 40001",
                "candidate:2 1 udp 7 203.0.113.5 61000 typ srflx raddr 192.0.2.9 rport 9600",
            ),
            (
                "a=candidate:2 1 udp 7 203.0.113.5 61000 typ srflx raddr 192.0.2.9 rport 40001\r\n",
                "a=candidate:2 1 udp 7 203.0.113.5 61000 typ srflx raddr 192.0.2.9 rport 9600\r\n",
            ),
        ] {
            assert_eq!(seen(written), expected);
        }
    }

    #[test]
    fn what_is_not_ours_stays() {
        for line in [
            "candidate:1 1 udp 7 192.0.2.9 40002 typ host",
            "candidate:1 1 udp 7 192.0.2.1 40001 typ host",
            "candidate:1 1 tcp 7 192.0.2.9 40001 typ host tcptype passive",
            "a=ssrc:40001 cname:192.0.2.9 40001\r\n",
            "candidate:",
            "candidate:1 1 udp 7 192.0.2.9 40001x typ host raddr",
        ] {
            assert_eq!(seen(line), line);
        }
    }

    #[test]
    fn whole_descriptions_keep_their_line_ends() {
        let sdp = "v=0\r\na=candidate:1 1 udp 7 192.0.2.9 40001 typ host\r\na=mid:0\r\n";
        assert_eq!(seen(sdp), sdp.replace("40001", "9600"));
    }
}
