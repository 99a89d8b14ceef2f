//! What do the headers of a media server's response say?

use std::time::Duration;

use jiff::fmt::rfc2822;

use crate::config::IceServer;

/// Servers beyond this are left out: each costs a socket and a handshake.
const MOST_SERVERS: usize = 8;
/// However long a server asks us to stay away.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The ICE servers that `Link` headers name (RFC 9725 §4.6): `rel="ice-server"` with a STUN or TURN URL, of
/// TURN only those with user and password. Whatever else stands there is passed over.
pub fn ice_servers<'a>(links: impl Iterator<Item = &'a str>) -> Vec<IceServer> {
    let found = links.flat_map(links_in).filter_map(|link| ice_server(&link));
    found.take(MOST_SERVERS).collect()
}

/// One link: its target, and its parameters by their names in lower case (RFC 8288 §3).
#[derive(Debug, Default, PartialEq, Eq)]
struct Link {
    target: String,
    parameters: Vec<(String, String)>,
}

impl Link {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn ice_server(link: &Link) -> Option<IceServer> {
    let is_meant = link
        .parameter("rel")
        .is_some_and(|relations| relations.split(' ').any(|one| one.eq_ignore_ascii_case("ice-server")));
    let scheme = link.target.split_once(':')?.0.to_ascii_lowercase();
    let is_turn = matches!(scheme.as_str(), "turn" | "turns");
    let is_known = is_turn || matches!(scheme.as_str(), "stun" | "stuns");
    let is_printable = link.target.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_meant || !is_known || !is_printable {
        return None;
    }
    let text = |name| link.parameter(name).map(str::to_owned);
    let (username, credential) = (text("username"), text("credential"));
    if is_turn && (username.is_none() || credential.is_none()) {
        return None;
    }
    Some(IceServer { urls: vec![link.target.clone()], username, credential })
}

/// The links of one header: `<target>; name=value; name="quoted \"value\"", <target> ...`. Reading stops
/// at what is no link.
fn links_in(header: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut rest = header.trim_start();
    while let Some((target, after)) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        let mut link = Link { target: target.trim().to_owned(), parameters: Vec::new() };
        rest = after.trim_start();
        while let Some(after) = rest.strip_prefix(';') {
            let end = after.find(['=', ';', ',']).unwrap_or(after.len());
            let name = after[..end].trim().to_ascii_lowercase();
            rest = &after[end..];
            let mut value = String::new();
            if let Some(after) = rest.strip_prefix('=') {
                (value, rest) = parameter_value(after.trim_start());
            }
            rest = rest.trim_start();
            if !name.is_empty() {
                link.parameters.push((name, value));
            }
        }
        links.push(link);
        let Some(after) = rest.strip_prefix(',') else { break };
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    links
}

/// A token or a quoted string (RFC 9110 §5.6.4), and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, character) in quoted.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => {
                is_escaped = true;
                continue;
            }
            '"' => return (value, &quoted[at + 1..]),
            _ => {}
        }
        value.push(character);
    }
    (value, "")
}

/// How long a server asks us to stay away (RFC 9110 §10.2.3): seconds, or a date, which counts from the
/// response's own `Date`, so that this board's clock does not matter. At most an hour.
pub fn retry_after(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let text = retry_after.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for 64 bits are more than the longest wait as well.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let (until, now) = (moment(text)?, moment(date?)?);
        Duration::from_secs(u64::try_from(until.saturating_sub(now)).unwrap_or(0))
    };
    Some(wait.min(LONGEST_WAIT))
}

/// A date in the form that HTTP writes (RFC 9110 §5.6.7), in seconds.
fn moment(text: &str) -> Option<i64> {
    rfc2822::parse(text).ok().map(|moment| moment.timestamp().as_second())
}

/// Whether a `Content-Type` is this one, whatever its parameters.
pub fn is_type(content_type: &str, wanted: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn servers(header: &str) -> Vec<IceServer> {
        ice_servers(std::iter::once(header))
    }

    #[test]
    fn links_of_the_rfc_are_read() {
        let found = servers(
            "<stun:stun.example.net>; rel=\"ice-server\", \
             <turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"user\"; \
             credential=\"my\\\"Password\"; credential-type=\"password\",\
             <https://example.net/help>; rel=help",
        );
        let stun = IceServer { urls: vec!["stun:stun.example.net".into()], username: None, credential: None };
        let turn = IceServer {
            urls: vec!["turn:turn.example.net?transport=udp".into()],
            username: Some("user".into()),
            credential: Some("my\"Password".into()),
        };
        assert_eq!(found, [stun, turn]);
    }

    #[test]
    fn relation_is_compared_as_links_are() {
        assert_eq!(servers("<stun:a.test>;REL=\"other Ice-Server\"").len(), 1);
        assert_eq!(servers("<stun:a.test> ; rel=ice-server").len(), 1);
        assert_eq!(servers("<stun:a.test>; rel=ice-servers").len(), 0);
        assert_eq!(servers("<stun:a.test>").len(), 0);
    }

    #[test]
    fn turn_without_password_and_what_is_no_ice_server_is_left_out() {
        assert_eq!(servers("<turn:a.test>; rel=ice-server; username=u"), []);
        assert_eq!(servers("<https://a.test>; rel=ice-server"), []);
        assert_eq!(servers("<stun:a\r\nb>; rel=ice-server"), []);
    }

    #[test]
    fn flood_of_servers_is_cut() {
        let many = vec!["<stun:a.test>; rel=ice-server"; 100].join(", ");
        assert_eq!(servers(&many).len(), MOST_SERVERS);
    }

    #[test]
    fn wait_is_seconds_or_a_date_by_the_servers_own_clock() {
        let seconds = |text, date| retry_after(text, date).map(|wait| wait.as_secs());
        assert_eq!(seconds("120", None), Some(120));
        assert_eq!(seconds(" 5 ", None), Some(5));
        assert_eq!(seconds("99999999999999999999999", None), Some(3600));
        let date = Some("Sun, 06 Nov 1994 08:49:00 GMT");
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT", date), Some(37));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:48:37 GMT", date), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT", None), None);
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(seconds(bad, date), None, "{bad:?} was taken");
        }
    }

    #[test]
    fn type_is_compared_without_its_parameters() {
        assert!(is_type("Application/SDP ; charset=utf-8", "application/sdp"));
        assert!(!is_type("application/sdp2", "application/sdp"));
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_reading(text in "[<>;,=\"\\\\ a-z:\\PC]{0,200}", date in "\\PC{0,40}") {
            prop_assert!(servers(&text).len() <= MOST_SERVERS);
            prop_assert!(retry_after(&text, Some(&date)).is_none_or(|wait| wait <= LONGEST_WAIT));
        }
    }
}
