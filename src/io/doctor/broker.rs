//! What does the broker do with what the device does there, and do browsers reach it?
//!
//! While a daemon runs here, nothing is sent to a topic that it reads: it would have to clear it away. What it
//! says of its own connection stands in for that.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::config::{Broker, Config, Secret, Tls};
use crate::engine::doctor::Finding;
use crate::engine::doctor::broker::{self, Exchange, Place, Role, Session, Trouble, WebSocket};
use crate::engine::doctor::sandbox::Sandbox;
use crate::engine::topic::{Slot, Topic};
use crate::io::mqtt::{Echo, Publication, Subscription, probe};
use crate::io::tls;
use crate::units::{DeviceId, Kid, SessionId};

/// For the whole of it.
const PATIENCE: Duration = Duration::from_secs(7);
/// For its name.
const NAME_PATIENCE: Duration = Duration::from_secs(2);
/// For a connection of a browser's kind.
const WEB_PATIENCE: Duration = Duration::from_secs(4);
/// What a test leaves at the broker if it is cut off; it goes by itself.
const EXPIRY: Duration = Duration::from_secs(30);
/// Where systemd puts the credentials of the running unit (systemd.exec(5), "Credentials").
const UNIT_CREDENTIALS: &str = "/run/credentials/farol.service";

/// Whether the broker lets us in and passes on what it must. `device` is who we are, where that is known.
pub(super) async fn finding(
    config: &Config,
    device: Option<DeviceId>,
    is_connected: bool,
    sandbox: &Sandbox,
) -> Finding {
    let (broker, is_lacking) = with_credentials(&config.broker);
    let mut place = place(&broker);
    if !is_connected && let Some(barred) = barred(&place, sandbox).await {
        return barred;
    }
    if is_lacking {
        return lacking(&place, is_connected);
    }
    place.device = device.map_or("+".to_owned(), |device| device.to_string());
    let (Ok(unknown), Ok(kid), Ok(session), Ok(client)) =
        (random().map(DeviceId), random().map(|n| Kid(n as u64)), random().map(SessionId), random())
    else {
        return Finding::fault("broker", "the system has no random bytes")
            .because("without them no connection is safe, and the daemon makes none")
            .mend("# The kernel gives them as soon as it has gathered enough; what does it say?")
            .mend("sudo dmesg | grep -iE 'random|crng|hwrng'");
    };
    let device = device.unwrap_or(unknown);
    let roles = exchanges(device, Slot::Kid(kid), session, is_connected);
    let echoes: Vec<Echo> = roles.iter().map(|(_, echo)| echo.clone()).collect();
    let [from_viewers, status, offers] = Topic::filters(device);
    let mut subscriptions = vec![Subscription { filter: from_viewers, skip_retained: true }];
    subscriptions.extend([status, offers].map(|filter| Subscription { filter, skip_retained: false }));
    let client_id = format!("farol-doctor-{client:032x}");
    let probed = timeout(PATIENCE, probe(&broker, &client_id, &subscriptions, &echoes)).await;
    let probed = probed.unwrap_or_else(|_| {
        Err((
            Trouble::Unreachable,
            format!("the broker {broker} does not answer within {} s", PATIENCE.as_secs()),
        ))
    });
    match probed {
        Ok(probed) => {
            let exchange = |((role, echo), sent): (&(Role, Echo), crate::io::mqtt::Sent)| Exchange {
                role: *role,
                refused: sent.refused,
                came_back: echo.is_awaited.then_some(sent.came_back),
            };
            let session = Session {
                keeps_retained: probed.keeps_retained,
                max_packet_bytes: probed.max_packet_bytes,
                exchanges: roles.iter().zip(probed.sent).map(exchange).collect(),
            };
            broker::finding(&place, Ok(&session))
        }
        Err((trouble, said)) => broker::finding(&place, Err((trouble, &said))),
    }
}

/// Whether the unit keeps the service from the broker, whichever of its addresses it takes.
async fn barred(place: &Place, sandbox: &Sandbox) -> Option<Finding> {
    let host = place.host.trim_matches(['[', ']']);
    let found = timeout(NAME_PATIENCE, lookup_host((host, place.port))).await;
    let addresses: Vec<IpAddr> = found.ok()?.ok()?.map(|address| address.ip()).collect();
    broker::barred(place, &addresses, sandbox)
}

/// What is sent: to a viewer that does not exist, since nobody reads there.
fn exchanges(device: DeviceId, slot: Slot, session: SessionId, is_connected: bool) -> Vec<(Role, Echo)> {
    let echo = |topic: Topic, retain, is_awaited| Echo {
        publication: Publication {
            topic: topic.name(device),
            payload: Bytes::from_static(b"{\"v\":1,\"t\":\"doctor\"}"),
            retain,
            expiry: Some(EXPIRY),
        },
        is_awaited,
    };
    let reply = (Role::Reply, echo(Topic::Out(slot, session), false, false));
    if is_connected {
        return vec![reply];
    }
    let offer = (Role::Offer, echo(Topic::Offer(slot), true, true));
    let from_viewer = (Role::FromViewer, echo(Topic::In(slot, session), false, true));
    vec![offer, reply, from_viewer]
}

fn random() -> Result<u128, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

fn place(broker: &Broker) -> Place {
    let login = broker.login.as_ref();
    let password = login.and_then(|login| match login.password.as_ref()? {
        Secret::File(path) => Some(path.display().to_string()),
        Secret::Credential(name) => {
            Some(format!("the file that LoadCredential={name}: names (systemctl cat farol)"))
        }
        Secret::Made(_) => None,
    });
    Place {
        url: broker.to_string(),
        host: broker.host.clone(),
        port: broker.port,
        is_tls: broker.tls.is_some(),
        user: login.map(|login| login.username.clone()),
        password,
        device: "+".to_owned(),
    }
}

/// The broker as it can be tried from here: a credential of the unit is there while the unit runs, for root.
/// Also whether the password is out of reach.
fn with_credentials(broker: &Broker) -> (Broker, bool) {
    let mut broker = broker.clone();
    let Some(login) = &mut broker.login else { return (broker, false) };
    if let Some(Secret::Credential(name)) = &login.password
        && std::env::var_os("CREDENTIALS_DIRECTORY").is_none()
    {
        let file = Path::new(UNIT_CREDENTIALS).join(name);
        let is_readable = std::fs::File::open(&file).is_ok();
        login.password = Some(Secret::File(file));
        return (broker, !is_readable);
    }
    (broker, false)
}

fn lacking(place: &Place, is_connected: bool) -> Finding {
    if is_connected {
        return Finding::ok("broker", format!("the daemon is connected to {}", place.url));
    }
    Finding::note("broker", format!("{} was not tried: the password is a credential of the unit", place.url))
        .because("it can be read by root alone, and only while the unit runs")
        .mend("sudo systemctl start farol; sudo farol doctor")
}

/// Whether browsers reach the broker; `None`: `links.broker` is not set.
pub(super) async fn links(config: &Config, is_running: bool) -> Option<Finding> {
    let url = config.links.broker.as_ref()?;
    let port = Url::parse(url).ok().and_then(|url| url.port_or_known_default());
    if config.bridge && !is_running && port == config.http.map(|at| at.port()) {
        return Some(Finding::note(
            "links",
            format!("{url} is farol's own port, which opens when the daemon runs"),
        ));
    }
    let own = config.broker.tls.as_ref().and_then(|tls| tls.ca_file.clone());
    let system = Tls::default();
    let outcome = match web_socket(url, &system).await {
        Err(Failed { is_tls: true, .. }) if own.is_some() => {
            let trust = Tls { ca_file: own, client: None };
            web_socket(url, &trust).await.map(|found| match found {
                WebSocket::Mqtt => WebSocket::OwnAuthority,
                other => other,
            })
        }
        outcome => outcome,
    };
    let outcome = outcome.unwrap_or_else(|failed| WebSocket::None(failed.cause));
    // A user and a password may stand in it.
    let shown = Url::parse(url).map_or_else(
        |_| url.clone(),
        |mut url| {
            // They are absent from the kinds of URL that cannot have them.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        },
    );
    Some(broker::web_socket(shown.trim_end_matches('/'), config.links.page.as_deref(), &outcome))
}

struct Failed {
    cause: String,
    is_tls: bool,
}

async fn web_socket(url: &str, trust: &Tls) -> Result<WebSocket, Failed> {
    let other = |cause: String| Failed { cause, is_tls: false };
    let url = Url::parse(url).map_err(|cause| other(cause.to_string()))?;
    let asked = async {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let stream =
            TcpStream::connect((host.as_str(), port)).await.map_err(|cause| other(cause.to_string()))?;
        if url.scheme() != "wss" {
            return shake_hands(stream, &url).await.map_err(|cause| other(cause.to_string()));
        }
        let fault = |cause: &dyn std::fmt::Display| Failed { cause: cause.to_string(), is_tls: true };
        let name = ServerName::try_from(host).map_err(|cause| fault(&cause))?;
        let client = tls::client(trust).map_err(|cause| fault(&cause))?;
        let connector = TlsConnector::from(Arc::clone(&client));
        let stream = connector.connect(name, stream).await.map_err(|cause| fault(&cause))?;
        shake_hands(stream, &url).await.map_err(|cause| other(cause.to_string()))
    };
    let in_time = timeout(WEB_PATIENCE, asked).await;
    in_time.unwrap_or_else(|_| Err(other("it does not answer".to_owned())))
}

/// The opening handshake of a browser (RFC 6455 §4.1) with the subprotocol that MQTT 5 §6 asks for.
async fn shake_hands(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    url: &Url,
) -> std::io::Result<WebSocket> {
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: ZmFyb2wgZG9jdG9yISEhIQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16 * 1024 {
        match stream.read(&mut chunk).await? {
            0 => break,
            length => head.extend(&chunk[..length]),
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
    let is_mqtt = head
        .lines()
        .any(|line| line.strip_prefix("sec-websocket-protocol:").is_some_and(|is| is.trim() == "mqtt"));
    Ok(match status {
        Some(101) if is_mqtt => WebSocket::Mqtt,
        Some(status) => WebSocket::Status(status),
        None => WebSocket::None("what answers does not speak HTTP".to_owned()),
    })
}
