//! Do the configured STUN and TURN servers answer, and what do they say of the NAT?
//!
//! All are asked by one socket, so that their answers can be compared; by another each, so that the kernel
//! hands over where nothing listens.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

use super::turn::{self, Credentials};
use super::web;
use crate::config::{Config, IceKind, IcePolicy, IceServer, IceUrl, Tls, Transport};
use crate::engine::doctor::Finding;
use crate::engine::doctor::network::{self, Allocation, Answer, Asked, Turn};
use crate::engine::doctor::sandbox::{self, Sandbox};
use crate::engine::ice::IceServers;
use crate::io::clock::wall_now;
use crate::io::ice_source;
use crate::io::network::Network;
use crate::io::port::stun::{self, Transaction};

/// How long answers are waited for; a question is repeated within.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Between two questions to one server (RFC 8489 §6.2.1).
const REPEAT: Duration = Duration::from_millis(500);
/// For a name, and for the URL that servers are asked for at.
const NAME_PATIENCE: Duration = Duration::from_secs(2);
/// For one TURN server, all of its rounds together.
const TURN_PATIENCE: Duration = Duration::from_millis(4400);
/// OTHER-ADDRESS: where the same server listens as well (RFC 5780 §7.4).
const OTHER_ADDRESS: u16 = 0x802c;
/// TURN passwords are made for this name.
const USER: &str = "doctor";

/// A URL with what it needs.
struct Server {
    text: String,
    url: IceUrl,
    credentials: Option<Credentials>,
    is_shared: bool,
}

/// Everything about STUN, the NAT and TURN.
pub(super) async fn findings(config: &Config, sandbox: &Sandbox) -> Vec<Finding> {
    let trust = Tls { ca_file: config.ice.ca_file.clone(), client: None };
    let (servers, mut findings) = servers(config, &trust, sandbox).await;
    let addresses = addresses(&servers).await;
    let (barred, servers): (Vec<Server>, Vec<Server>) =
        servers.into_iter().partition(|server| is_barred(sandbox, &addresses, server));
    findings.extend(barred_servers(&barred, &addresses));
    let locals: Vec<IpAddr> = Network::now(&config.ice).addresses().iter().copied().collect();
    let (asked, turns) =
        tokio::join!(ask_all(&servers, &addresses), allocate_all(&servers, &addresses, &trust));
    let has_turn = turns.iter().any(Turn::works);
    let mut findings_of_stun = Vec::new();
    let mut is_udp_open = false;
    match asked {
        Ok(asked) => {
            is_udp_open = asked.configured.iter().any(|asked| matches!(asked.answer, Answer::SeenAs(_)));
            // That none is configured is not so, where they are only out of reach.
            if barred.is_empty() || !asked.configured.is_empty() {
                findings_of_stun.push(network::stun(&asked.configured));
            }
            let nat = network::nat(&locals, &asked.all);
            findings_of_stun.extend(nat.map(|nat| nat.finding(&locals, has_turn)));
        }
        Err(cause) => findings_of_stun.push(
            Finding::fault("stun", format!("no UDP socket can be opened: {cause}"))
                .because("media goes by UDP: there is no picture for anybody")
                .mend("# Is it a limit on open files, or has the board no network at all?")
                .mend("ulimit -n; ip -brief address; ss -s"),
        ),
    }
    findings.extend(findings_of_stun);
    findings.extend(turns.iter().map(|turn| turn.finding(is_udp_open)));
    if config.ice.policy == IcePolicy::Relay && !has_turn {
        findings.push(network::no_relay());
    }
    findings
}

/// All servers, and what there is to say of where they are asked for.
async fn servers(config: &Config, trust: &Tls, sandbox: &Sandbox) -> (Vec<Server>, Vec<Finding>) {
    let mut all = IceServers::new(&config.ice);
    let mut findings = Vec::new();
    let barred = match config.ice.source.as_ref().and_then(|source| Url::parse(&source.url).ok()) {
        Some(url) => web::barred(&url, sandbox).await,
        None => None,
    };
    if let (Some(source), Some(addresses)) = (&config.ice.source, barred) {
        let what = format!("the service may not reach {} ({})", source.url, sandbox::listed(&addresses));
        let why = "it names servers there, and the device and its viewers go without them";
        findings.push(sandbox::barred(Finding::fault("turn", what), why, &addresses));
    } else if let Some(source) = &config.ice.source {
        let fetched = timeout(NAME_PATIENCE, ice_source::once(source, trust)).await;
        match fetched.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
            Ok(fetched) => {
                let count = fetched.servers.len();
                findings.push(Finding::ok("turn", format!("{} names {count} servers", source.url)));
                all.use_fetched(fetched.servers);
            }
            Err(why) => findings.push(
                Finding::fault("turn", format!("{} gives no servers: {why}", source.url))
                    .because("the device and its viewers go without them")
                    .mend("[ice]\nservers_url = \"https://the-provider/its-path\"\nservers_token_file = \"/etc/farol/turn-token\""),
            ),
        }
    }
    let shared: Vec<&String> = config.ice.shared.iter().flat_map(|shared| &shared.urls).collect();
    let told = all.told_to(USER, wall_now().as_secs());
    let servers = told.iter().flat_map(|entry: &IceServer| {
        let credentials = entry.username.clone().zip(entry.credential.clone());
        entry.urls.iter().filter_map(move |text| {
            let (username, password) = credentials.clone().unzip();
            let credentials =
                username.zip(password).map(|(username, password)| Credentials { username, password });
            Some((text.clone(), IceUrl::parse(text)?, credentials))
        })
    });
    let servers = servers.map(|(text, url, credentials)| Server {
        is_shared: shared.contains(&&text),
        text,
        url,
        credentials,
    });
    (servers.collect(), findings)
}

/// What is asked from here is no answer for a service that may not ask.
fn is_barred(sandbox: &Sandbox, addresses: &Addresses, server: &Server) -> bool {
    address_of(addresses, &server.url).is_ok_and(|address| sandbox.bars(address.ip()))
}

fn barred_servers(barred: &[Server], addresses: &Addresses) -> Vec<Finding> {
    let of_kind = |kind: IceKind| {
        let servers = barred.iter().filter(move |server| server.url.kind == kind);
        servers
            .filter_map(|server| Some((server.text.clone(), address_of(addresses, &server.url).ok()?.ip())))
            .collect()
    };
    [("stun", IceKind::Stun), ("turn", IceKind::Turn)]
        .into_iter()
        .filter_map(|(check, kind)| network::barred(check, of_kind(kind)))
        .collect()
}

type Addresses = BTreeMap<(String, u16), Result<SocketAddr, String>>;

/// The first address of each name; IPv4 first, which is what most boards have a way by.
async fn addresses(servers: &[Server]) -> Addresses {
    let mut asked = JoinSet::new();
    for Server { url, .. } in servers {
        let (host, port) = (url.host.clone(), url.port);
        asked.spawn(async move {
            let found = timeout(NAME_PATIENCE, lookup_host((host.clone(), port))).await;
            let first = match found {
                Ok(Ok(addresses)) => {
                    let mut addresses: Vec<SocketAddr> = addresses.collect();
                    addresses.sort_by_key(SocketAddr::is_ipv6);
                    addresses.first().copied().ok_or_else(|| "its name has none".to_owned())
                }
                Ok(Err(cause)) => Err(cause.to_string()),
                Err(_) => Err("the name server does not answer".to_owned()),
            };
            ((host, port), first)
        });
    }
    let mut addresses = Addresses::new();
    while let Some(found) = asked.join_next().await {
        addresses.extend(found.ok());
    }
    addresses
}

fn address_of(addresses: &Addresses, url: &IceUrl) -> Result<SocketAddr, String> {
    let key = (url.host.clone(), url.port);
    addresses.get(&key).cloned().unwrap_or_else(|| Err("it was not looked up".to_owned()))
}

/// What was asked by UDP.
struct AskedAll {
    /// The configured servers.
    configured: Vec<Asked>,
    /// And their other addresses, which tell more of the NAT.
    all: Vec<Asked>,
}

async fn ask_all(servers: &[Server], addresses: &Addresses) -> io::Result<AskedAll> {
    let by_udp = servers.iter().filter(|server| server.url.transport == Transport::Udp);
    let mut configured = Vec::new();
    for Server { text, url, .. } in by_udp {
        let (address, answer) = match address_of(addresses, url) {
            Ok(address) => (Some(address), Answer::Silent),
            Err(why) => (None, Answer::NoAddress(why)),
        };
        configured.push(Asked { url: text.clone(), address, answer });
    }
    let targets: Vec<SocketAddr> = configured.iter().filter_map(|asked| asked.address).collect();
    let (seen, refused) = tokio::join!(ask_by_one_socket(&targets), refusing(&targets));
    let seen = seen?;
    for asked in &mut configured {
        let Some(address) = asked.address else { continue };
        if let Some(mapped) = seen.get(&address) {
            asked.answer = Answer::SeenAs(*mapped);
        } else if refused.contains(&address) {
            asked.answer = Answer::Refused;
        }
    }
    let is_other = |address: &&SocketAddr| !targets.contains(address);
    let others = seen.iter().filter(|(address, _)| is_other(address)).map(|(address, mapped)| Asked {
        url: format!("stun:{address}"),
        address: Some(*address),
        answer: Answer::SeenAs(*mapped),
    });
    let all = configured.iter().cloned().chain(others).collect();
    Ok(AskedAll { configured, all })
}

/// Under which address each server sees one and the same socket; a server's other address is asked too, once
/// it has named it.
async fn ask_by_one_socket(targets: &[SocketAddr]) -> io::Result<BTreeMap<SocketAddr, SocketAddr>> {
    let mut seen = BTreeMap::new();
    if targets.is_empty() {
        return Ok(seen);
    }
    let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await.ok();
    let mut open: BTreeMap<Transaction, SocketAddr> = BTreeMap::new();
    for target in targets {
        open.insert(transaction()?, *target);
    }
    let end = Instant::now() + PATIENCE;
    let (mut of_v4, mut of_v6) = ([0; 1500], [0; 1500]);
    while !open.is_empty() && Instant::now() < end {
        for (transaction, target) in &open {
            let socket = if target.is_ipv4() { Some(&v4) } else { v6.as_ref() };
            if let Some(socket) = socket {
                // A way that is not there is as good as silence.
                let _ = socket.send_to(&stun::binding_request(*transaction), target).await;
            }
        }
        let round = end.min(Instant::now() + REPEAT);
        while !open.is_empty() {
            let received = tokio::select! {
                received = v4.recv_from(&mut of_v4) => received.map(|(length, _)| &of_v4[..length]),
                received = receive(v6.as_ref(), &mut of_v6) => received.map(|length| &of_v6[..length]),
                () = sleep_until(round) => break,
            };
            let Ok(bytes) = received else { continue };
            let Some(mapped) = stun::mapped_address(bytes) else { continue };
            let Some(target) = stun::transaction(bytes).and_then(|id| open.remove(&id)) else { continue };
            seen.insert(target, mapped);
            if let Some(other) = other_address(bytes).filter(|other| other.ip() != target.ip())
                && !seen.contains_key(&other)
                && open.values().all(|target| *target != other)
                && targets.contains(&target)
            {
                open.insert(transaction()?, other);
                break;
            }
        }
    }
    Ok(seen)
}

async fn receive(socket: Option<&UdpSocket>, into: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(into).await,
        None => std::future::pending().await,
    }
}

fn transaction() -> io::Result<Transaction> {
    let mut transaction = [0; 12];
    getrandom::fill(&mut transaction).map_err(io::Error::other)?;
    Ok(transaction)
}

/// A plain address: a zero, the family, the port, the address (RFC 8489 §14.1).
fn other_address(bytes: &[u8]) -> Option<SocketAddr> {
    let value = stun::attribute(bytes, OTHER_ADDRESS)?;
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]);
    let ip = match value.len() {
        8 => IpAddr::from(<[u8; 4]>::try_from(&value[4..]).ok()?),
        20 => IpAddr::from(<[u8; 16]>::try_from(&value[4..]).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Where nothing listens, as an ICMP message tells (RFC 1122 §4.1.3.1).
async fn refusing(targets: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut asked = JoinSet::new();
    for &target in targets {
        asked.spawn(async move {
            let answered = async {
                let socket = turn::udp(target).await?;
                socket.send(&stun::binding_request(transaction()?)).await?;
                socket.recv(&mut [0; 1500]).await
            };
            let outcome = timeout(PATIENCE, answered).await;
            let is_refused =
                matches!(outcome, Ok(Err(cause)) if cause.kind() == io::ErrorKind::ConnectionRefused);
            is_refused.then_some(target)
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

async fn allocate_all(servers: &[Server], addresses: &Addresses, trust: &Tls) -> Vec<Turn> {
    let mut asked = JoinSet::new();
    let turns = servers.iter().filter(|server| server.url.kind == IceKind::Turn).enumerate();
    for (number, Server { text, url, credentials, is_shared }) in turns {
        let (text, url, trust, is_shared) = (text.clone(), url.clone(), trust.clone(), *is_shared);
        let credentials =
            credentials.clone().unwrap_or(Credentials { username: String::new(), password: String::new() });
        let address = address_of(addresses, &url);
        asked.spawn(async move {
            let outcome = match &address {
                Ok(address) => {
                    let lent = timeout(TURN_PATIENCE, turn::allocate(&url, *address, &credentials, &trust));
                    lent.await.unwrap_or(Allocation::Silent)
                }
                Err(why) => Allocation::NoAddress(why.clone()),
            };
            (
                number,
                Turn { url: text, address: address.ok(), user: credentials.username, is_shared, outcome },
            )
        });
    }
    let mut turns = asked.join_all().await;
    turns.sort_by_key(|(number, _)| *number);
    turns.into_iter().map(|(_, turn)| turn).collect()
}
