//! Does the broker let the device in, and take and give what the device does there?

use std::net::IpAddr;

use super::sandbox::{self, Sandbox};
use super::{Finding, Unexplained, Unmended, command};

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The name cannot be resolved.
    NoSuchName,
    /// Nothing listens there.
    NothingListens,
    /// It cannot be reached, or does not answer.
    Unreachable,
    /// Our password or certificates cannot be read.
    OurFiles,
    /// User name or password is wrong.
    Password,
    /// The certificate has expired, or is not valid yet.
    CertificateTime,
    /// Nobody whom we trust has issued the certificate.
    UnknownAuthority,
    /// The certificate is for another name.
    WrongName,
    /// TLS on one side alone, or a client certificate is missing.
    TlsMismatch,
    /// It keeps nothing, or not what we need.
    Unfit,
    /// A subscription is refused.
    Subscription,
    /// Something else.
    Other,
}

/// The broker and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The URL, without the user.
    pub url: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is spoken to by TLS.
    pub is_tls: bool,
    /// The user name, where there is one.
    pub user: Option<String>,
    /// Where its password is, for people; `None`: there is none.
    pub password: Option<String>,
    /// The device's id in topics; `+` where it is not known.
    pub device: String,
}

/// What a connection has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whether the broker says that it keeps retained messages.
    pub keeps_retained: bool,
    /// The largest packet that it takes, where it says so.
    pub max_packet_bytes: Option<u32>,
    /// What was sent and came back.
    pub exchanges: Vec<Exchange>,
}

/// One message that was sent to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// In which role.
    pub role: Role,
    /// Why the broker did not take it.
    pub refused: Option<String>,
    /// Whether it came back; `None`: it could not, since we do not subscribe there.
    pub came_back: Option<bool>,
}

/// What a message stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A standing offer: retained, and read again by the device.
    Offer,
    /// A reply to a viewer.
    Reply,
    /// A viewer's message. A narrow ACL keeps the device from sending one, and that is no fault.
    FromViewer,
}

/// A larger packet is never sent: 8,192 bytes before sealing, 11 KB after.
const LARGEST_MESSAGE: u32 = 12 * 1024;

/// What it amounts to; `said` is why there is no connection, as the daemon's log says it.
pub fn finding(place: &Place, outcome: Result<&Session, (Trouble, &str)>) -> Finding {
    match outcome {
        Ok(session) => connected(place, session),
        // What follows the semicolon is advice, and ours is more exact.
        Err((trouble, said)) => {
            let what = said.split("; ").next().unwrap_or(said);
            mends(Finding::fault("broker", what), place, trouble)
        }
    }
}

/// The finding of a broker from which the unit keeps the service; `None`: from one of its addresses it does not.
pub fn barred(place: &Place, addresses: &[IpAddr], sandbox: &Sandbox) -> Option<Finding> {
    sandbox.bars_all(addresses).then(|| {
        let what = format!("the service may not reach {} ({})", place.url, sandbox::listed(addresses));
        let why = "the offer waits at the broker, and without it no viewer finds this camera";
        sandbox::barred(Finding::fault("broker", what), why, addresses)
    })
}

fn mends(fault: Unexplained, place: &Place, trouble: Trouble) -> Finding {
    let fault = fault.because("the offer waits at the broker: without it no viewer finds this camera");
    let Place { host, port, user, .. } = place;
    let on_this_board = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
    let port = port.to_string();
    let certificate = || {
        format!(
            "openssl s_client -connect {host}:{port} -servername {host} </dev/null | openssl x509 -noout -subject -issuer -dates -ext subjectAltName"
        )
    };
    match trouble {
        Trouble::NoSuchName => fault.mend(command(&["getent", "hosts", host])).mend("[broker]\nurl = \"mqtt://its-right-name\""),
        Trouble::NothingListens if on_this_board => fault
            .mend("sudo apt install mosquitto")
            .mend("sudo systemctl enable --now mosquitto")
            .mend("sudo journalctl -u mosquitto -n 20"),
        Trouble::NothingListens => fault
            .mend("# On the broker: does it run, and does it listen for more than its own machine? Mosquitto needs,")
            .mend("# in /etc/mosquitto/conf.d/farol.conf:")
            .mend(format!("listener {port}"))
            .mend("sudo systemctl restart mosquitto")
            .mend("# Or it is another port:")
            .mend(format!("[broker]\nurl = \"{}\"", place.url)),
        Trouble::Unreachable => fault
            .mend(command(&["ping", "-c", "3", host]))
            .mend(command(&["nc", "-vz", "-w", "3", host, &port]))
            .mend("# If the first works and the second does not, a firewall on the way drops it; on the broker:")
            .mend(format!("sudo ufw allow {port}/tcp")),
        Trouble::OurFiles => fault
            .mend("# Each file that [broker] names must be there. A password is best a credential: typed, then Ctrl-D,")
            .mend("sudo install -m 0600 /dev/stdin /etc/farol/mqtt-password")
            .mend("# then `sudo systemctl edit farol`, and")
            .mend("[Service]\nLoadCredential=mqtt-password:/etc/farol/mqtt-password")
            .mend("[broker]\npassword_credential = \"mqtt-password\"")
            .mend("sudo systemctl restart farol"),
        Trouble::Password => match user {
            None => fault
                .mend("# It wants a user and a password. On the broker, which asks for the password:")
                .mend("sudo mosquitto_passwd /etc/mosquitto/passwd farol")
                .mend("sudo systemctl reload mosquitto")
                .mend("[broker]\nusername = \"farol\"\npassword_file = \"/etc/farol/mqtt-password\""),
            Some(user) => fault
                .mend("# Set it anew on the broker, which asks for it:")
                .mend(command(&["sudo", "mosquitto_passwd", "/etc/mosquitto/passwd", user]))
                .mend("sudo systemctl reload mosquitto")
                .mends(place.password.iter().map(|at| format!("# and write the same into {at}"))),
        },
        Trouble::CertificateTime => fault
            .mend("# Is it this board's clock?")
            .mend("timedatectl")
            .mend("# Or the certificate, which is to be renewed on the broker:")
            .mend(certificate()),
        Trouble::UnknownAuthority => fault
            .mend("# Who has issued it?")
            .mend(certificate())
            .mend("# Copy that authority's certificate here, and name it:")
            .mend("[broker]\nca_file = \"/etc/farol/ca.pem\""),
        Trouble::WrongName => fault
            .mend("# The names that it is for stand behind DNS: and IP Address:")
            .mend(certificate())
            .mend("[broker]\nurl = \"mqtts://one-of-these-names\""),
        Trouble::TlsMismatch if place.is_tls => fault
            .mend("# Is it the TLS port, and is a client certificate wanted?")
            .mend(certificate())
            .mend("[broker]\nclient_cert_file = \"/etc/farol/client.pem\"\nclient_key_file = \"/etc/farol/client-key.pem\""),
        Trouble::TlsMismatch => fault.mend(format!("[broker]\nurl = \"mqtts://{host}:{port}\"")),
        Trouble::Unfit => fault.mend("# In /etc/mosquitto/conf.d/farol.conf, or its like in another broker:").mend("retain_available true\nmax_qos 2"),
        Trouble::Subscription => acl(fault, place),
        Trouble::Other => fault.mend("sudo journalctl -u mosquitto -n 20"),
    }
}

fn connected(place: &Place, session: &Session) -> Finding {
    let Place { url, user, .. } = place;
    let who = user.as_ref().map_or("anybody".to_owned(), |user| format!("user {user}"));
    if !session.keeps_retained {
        return mends(
            Finding::fault("broker", format!("{url} keeps no retained messages")),
            place,
            Trouble::Unfit,
        );
    }
    for exchange in &session.exchanges {
        let (name, topic) = match exchange.role {
            Role::Offer => ("its offer", "offer/+"),
            Role::Reply => ("its replies", "out/+/+"),
            Role::FromViewer => ("viewers' messages", "in/+/+"),
        };
        let topic = format!("farol/1/{}/{topic}", place.device);
        let what = match (&exchange.refused, exchange.came_back, exchange.role) {
            (Some(_), _, Role::FromViewer) => continue,
            (Some(reason), ..) => {
                format!("{url} lets {who} in, but does not take {name} on {topic}: {reason}")
            }
            (None, Some(false), _) => {
                format!("{url} lets {who} in, but does not hand over {name} from {topic}")
            }
            _ => continue,
        };
        let fault = Finding::fault("broker", what)
            .because("the broker's ACL is too narrow: viewers would wait for a camera that cannot be heard");
        return acl(fault, place);
    }
    if let Some(limit) = session.max_packet_bytes.filter(|limit| *limit < LARGEST_MESSAGE) {
        return Finding::warning("broker", format!("{url} takes packets of at most {limit} bytes"))
            .because(format!("an offer with many addresses has up to {LARGEST_MESSAGE}, and would be lost"))
            .mend("# in /etc/mosquitto/conf.d/farol.conf:")
            .mend("max_packet_size 65536");
    }
    let tried = match session.exchanges.is_empty() {
        true => "",
        false => ", offers and replies go through",
    };
    Finding::ok("broker", format!("{url} lets {who} in{tried}"))
}

fn acl(fault: Unmended, place: &Place) -> Finding {
    let user = place.user.as_deref().unwrap_or("farol");
    let device = &place.device;
    fault
        .mend("# in Mosquitto's acl_file, /etc/mosquitto/acl:")
        .mend(format!("user {user}\ntopic readwrite farol/1/{device}/#"))
        .mend("sudo systemctl reload mosquitto")
}

/// What came of a viewer's way to the broker, `links.broker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebSocket {
    /// It speaks MQTT.
    Mqtt,
    /// It speaks MQTT, but its certificate is from an authority that only `broker.ca_file` knows.
    OwnAuthority,
    /// It is a WebSocket of another kind, or none: the HTTP status.
    Status(u16),
    /// No connection; why, for people.
    None(String),
}

/// Whether viewers reach the broker.
pub fn web_socket(url: &str, page: Option<&str>, outcome: &WebSocket) -> Finding {
    let why = "a browser speaks MQTT over WebSocket alone: links lead nowhere";
    if page.is_some_and(|page| page.starts_with("https:")) && url.starts_with("ws:") {
        return Finding::fault("links", format!("the page is on https:// and the broker on ws://: {url}"))
            .because("browsers forbid a secure page to open an unencrypted WebSocket")
            .mend(format!("[links]\nbroker = \"{}\"", url.replacen("ws:", "wss:", 1)));
    }
    match outcome {
        WebSocket::Mqtt => Finding::ok("links", format!("{url} speaks MQTT, as browsers do")),
        WebSocket::OwnAuthority => Finding::warning(
            "links",
            format!("{url} has a certificate that browsers do not trust by themselves"),
        )
        .because("each phone must have the authority of broker.ca_file installed, or the page stays empty")
        .mend("# a certificate that all browsers trust:")
        .mend("sudo apt install certbot && sudo certbot certonly --standalone"),
        WebSocket::Status(status) => {
            let path = url.splitn(4, '/').nth(3).unwrap_or_default();
            Finding::fault(
                "links",
                format!("{url} answers with HTTP {status} instead of a WebSocket for MQTT"),
            )
            .because(why)
            .mend(match path {
                "" => format!("[links]\nbroker = \"{}/mqtt\"", url.trim_end_matches('/')),
                _ => format!("# is /{path} the right path, and does a proxy pass `Upgrade` on?"),
            })
            .mend("# Mosquitto, in /etc/mosquitto/conf.d/farol.conf:")
            .mend("listener 9001\nprotocol websockets")
        }
        WebSocket::None(cause) => Finding::fault("links", format!("{url} cannot be reached: {cause}"))
            .because(why)
            .mend("# Mosquitto, in /etc/mosquitto/conf.d/farol.conf:")
            .mend("listener 9001\nprotocol websockets")
            .mend("sudo systemctl restart mosquitto")
            .mend("# or let farol carry it:")
            .mend("[http]\nlisten = \"0.0.0.0:8080\"\nbridge = true"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::service::Unit;
    use super::*;

    fn place() -> Place {
        Place {
            url: "mqtt://b.example:1883".into(),
            host: "b.example".into(),
            port: 1883,
            is_tls: false,
            user: Some("farol".into()),
            password: Some("/etc/farol/mqtt-password".into()),
            device: "00c0ffee".into(),
        }
    }

    fn session(exchanges: &[(Role, Option<&str>, Option<bool>)]) -> Session {
        let exchange = |&(role, refused, came_back): &(Role, Option<&str>, Option<bool>)| Exchange {
            role,
            refused: refused.map(str::to_owned),
            came_back,
        };
        Session {
            keeps_retained: true,
            max_packet_bytes: None,
            exchanges: exchanges.iter().map(exchange).collect(),
        }
    }

    #[test]
    fn an_acl_that_is_too_narrow_is_told_from_one_that_is_tight() {
        use Role::*;
        let no = Some("not authorized");
        for (exchanges, level, said) in [
            (vec![(Offer, None, Some(true)), (Reply, None, None)], Level::Ok, "offers and replies"),
            // The device need not be able to send what viewers send.
            (vec![(Offer, None, Some(true)), (FromViewer, no, None)], Level::Ok, "lets user farol in"),
            (vec![(Offer, no, None)], Level::Fault, "does not take its offer on farol/1/00c0ffee/offer/+"),
            (vec![(Offer, None, Some(false))], Level::Fault, "does not hand over its offer"),
            (vec![(FromViewer, None, Some(false))], Level::Fault, "hand over viewers' messages"),
            (vec![(Reply, no, None)], Level::Fault, "does not take its replies"),
        ] {
            let found = finding(&place(), Ok(&session(&exchanges)));
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.what.contains(said), "{found:?}");
            let has_line = found.mend.iter().any(|line| line.contains("topic readwrite farol/1/00c0ffee/#"));
            assert_eq!(has_line, level == Level::Fault, "{found:?}");
        }
    }

    #[test]
    fn each_trouble_has_a_mend_and_no_advice_stands_twice() {
        use Trouble::*;
        for trouble in [
            NoSuchName,
            NothingListens,
            Unreachable,
            OurFiles,
            Password,
            CertificateTime,
            UnknownAuthority,
            WrongName,
            TlsMismatch,
            Unfit,
            Subscription,
            Other,
        ] {
            let found = finding(&place(), Err((trouble, "it is so; do this")));
            assert_eq!((found.level, found.what.as_str()), (Level::Fault, "it is so"));
            assert!(!found.mend.is_empty(), "{trouble:?}");
        }
    }

    #[test]
    fn a_broker_outside_is_out_of_reach_with_the_drop_in_for_the_local_network() {
        let unit =
            Unit::of("LoadState=loaded\nIPAddressDeny=0.0.0.0/0 ::/0\nIPAddressAllow=192.168.0.0/16\n");
        let ask = |addresses: &[&str], unit: &Unit| {
            let addresses: Vec<IpAddr> = addresses.iter().filter_map(|text| text.parse().ok()).collect();
            barred(&place(), &addresses, &unit.sandbox)
        };
        let found = ask(&["203.0.113.5"], &unit).expect("it is outside");
        assert_eq!(found.what, "the service may not reach mqtt://b.example:1883 (203.0.113.5)");
        assert_eq!(found.mend[1], "[Service]\nIPAddressAllow=203.0.113.5");
        assert_eq!(ask(&["203.0.113.5", "192.168.1.2"], &unit), None, "one of its addresses will do");
        assert_eq!(ask(&[], &unit), None, "it has none: that is told elsewhere");
        let plain = Unit::of("LoadState=loaded\nIPAddressDeny=\nIPAddressAllow=\n");
        assert_eq!(ask(&["203.0.113.5"], &plain), None);
        let gone = Unit::of("LoadState=not-found\nIPAddressDeny=0.0.0.0/0\n");
        assert_eq!(ask(&["203.0.113.5"], &gone), None, "farol is run by hand");
    }

    #[test]
    fn a_broker_that_keeps_nothing_is_of_no_use() {
        let session = Session { keeps_retained: false, ..session(&[]) };
        assert!(finding(&place(), Ok(&session)).what.contains("no retained messages"));
    }

    #[test]
    fn a_page_on_https_needs_a_broker_on_wss() {
        let found = web_socket("ws://b.example:9001", Some("https://p.example/"), &WebSocket::Mqtt);
        assert_eq!(
            (found.level, found.mend[0].as_str()),
            (Level::Fault, "[links]\nbroker = \"wss://b.example:9001\"")
        );
        let found = web_socket("wss://b.example", None, &WebSocket::Status(404));
        assert_eq!(found.mend[0], "[links]\nbroker = \"wss://b.example/mqtt\"");
        assert_eq!(web_socket("wss://b.example/mqtt", None, &WebSocket::Mqtt).level, Level::Ok);
    }
}
