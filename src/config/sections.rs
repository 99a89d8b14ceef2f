//! The sections of the configuration: which keys each has, what they may be, and their defaults.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::board::board;
use super::interfaces::InterfacePattern;
use super::media::{audio, talkback, video};
use super::turn;
use super::url;
use super::walk::{Section, Walk};
use super::whip::whip;
use super::{Broker, Config, Ice, IcePolicy, IceServer, Links, Login, Secret, Security, Tls};

pub(super) const A_PATH: &str = "the path of a file";

/// Reads every section. Asks for every key, also for those that the chosen source does not use: a
/// person who tries `pattern` for a moment need not delete `device` first.
pub(super) fn config<'t>(
    walk: &mut Walk<'t>,
    top: &Section<'t>,
    state_dir: Option<PathBuf>,
    read_secret: &dyn Fn(&Secret) -> io::Result<Option<String>>,
) -> Config {
    let default = Config::default();
    let device = walk.section(top, "device");
    let broker_section = walk.section(top, "broker");
    let links_section = walk.section(top, "links");
    let signalling = walk.section(top, "signalling");
    let video_section = walk.section(top, "video");
    let audio_section = walk.section(top, "audio");
    let talkback_section = walk.section(top, "talkback");
    let ice_section = walk.section(top, "ice");
    let http = walk.section(top, "http");
    let metrics = walk.section(top, "metrics");
    let state_dir = walk
        .text(&device, "state_dir", "the path of a directory")
        .map(PathBuf::from)
        .or(state_dir)
        .unwrap_or(default.state_dir);
    let broker = broker(walk, &broker_section);
    let bridge = bridge(walk, &http, &broker);
    let http = walk.parsed(&http, "listen", "an address and a port, such as \"127.0.0.1:8080\"", listen);
    let audio = audio(walk, &audio_section);
    Config {
        name: walk
            .parsed(&device, "name", "at most 64 characters without control characters", name)
            .unwrap_or(default.name),
        board: board(walk, top, &state_dir),
        state_dir,
        bridge,
        broker,
        links: links(walk, &links_section),
        security: walk
            .word(&signalling, "security", &[("sealed", Security::Sealed), ("open", Security::Open)])
            .unwrap_or(default.security),
        max_viewers: walk
            .number(&signalling, "max_viewers", 1..=64, " viewers")
            .map_or(default.max_viewers, |viewers| viewers as usize),
        video: video(walk, &video_section),
        whip: whip(walk, top, &audio),
        audio,
        talkback: talkback(walk, &talkback_section),
        ice: ice(walk, &ice_section, read_secret),
        metrics: metrics_address(walk, &metrics, http),
        http,
    }
}

fn listen(text: &str) -> Option<SocketAddr> {
    text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0)
}

fn metrics_address<'t>(
    walk: &mut Walk<'t>,
    section: &Section<'t>,
    page: Option<SocketAddr>,
) -> Option<SocketAddr> {
    let allowed = "an address and a port, such as \"127.0.0.1:9100\"";
    let address = walk.parsed(section, "listen", allowed, listen);
    if address.is_some() && address == page {
        walk.conflict(
            section,
            "listen",
            "is the page's own address: metrics say who watches, so they need another",
        );
    }
    address
}

fn bridge<'t>(walk: &mut Walk<'t>, http: &Section<'t>, broker: &Broker) -> bool {
    let is_wanted = walk.flag(http, "bridge").unwrap_or(false);
    if is_wanted && !http.has("listen") {
        walk.conflict(http, "listen", "is missing: http.bridge is on that port");
    }
    if is_wanted && broker.tls.is_some() {
        walk.conflict(http, "bridge", "speaks plain MQTT to the broker: use mqtt:// in broker.url, or false");
    }
    is_wanted
}

fn name(text: &str) -> Option<String> {
    let is_good = text.chars().count() <= 64 && !text.chars().any(char::is_control);
    is_good.then(|| text.to_string())
}

fn broker<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> Broker {
    let default = Broker::default();
    let allowed = "\"mqtt://host:port\" or \"mqtts://host:port\"; a user goes into broker.username";
    let url = walk.parsed(section, "url", allowed, url::broker).unwrap_or(url::BrokerUrl {
        host: default.host,
        port: default.port,
        is_tls: false,
    });
    let tls = tls(walk, section, url.is_tls);
    let login = login(walk, section);
    let keep_alive = walk.number(section, "keep_alive_s", 5..=600, " seconds");
    Broker {
        host: url.host,
        port: url.port,
        tls: url.is_tls.then_some(tls),
        login,
        keep_alive: keep_alive.map_or(default.keep_alive, |s| Duration::from_secs(s.into())),
    }
}

fn tls<'t>(walk: &mut Walk<'t>, section: &Section<'t>, is_tls: bool) -> Tls {
    let [ca_file, cert, key] = ["ca_file", "client_cert_file", "client_key_file"].map(|key| {
        let path = walk.text(section, key, A_PATH).map(PathBuf::from);
        if path.is_some() && !is_tls {
            walk.conflict(section, key, "has no effect without TLS: make broker.url start with mqtts://");
        }
        path
    });
    match (section.has("client_cert_file"), section.has("client_key_file")) {
        (true, false) => {
            walk.conflict(section, "client_key_file", "is missing: broker.client_cert_file needs its key");
        }
        (false, true) => {
            walk.conflict(
                section,
                "client_cert_file",
                "is missing: broker.client_key_file needs its certificate",
            );
        }
        _ => {}
    }
    Tls { ca_file, client: cert.zip(key) }
}

fn login<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> Option<Login> {
    let username = walk.text(section, "username", "the MQTT user's name");
    let file = walk.text(section, "password_file", A_PATH).map(|path| Secret::File(path.into()));
    let credential = walk
        .parsed(section, "password_credential", "the name of a systemd credential, without a slash", |name| {
            (!name.contains('/') && name != "." && name != "..").then(|| name.to_string())
        })
        .map(Secret::Credential);
    if section.has("password_file") && section.has("password_credential") {
        walk.conflict(section, "password_credential", "stands beside broker.password_file: keep one of them");
    }
    let password = file.or(credential);
    if password.is_some() && !section.has("username") {
        walk.conflict(section, "username", "is missing: a password needs a user");
    }
    username.map(|username| Login { username: username.to_string(), password })
}

fn links<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> Links {
    let mut web = |key, allowed, schemes| {
        walk.parsed(section, key, allowed, |text| url::is_web(text, schemes).then(|| text.to_string()))
    };
    Links {
        page: web("page", "a URL that starts with https:// or http://, without #", ["https", "http"]),
        broker: web("broker", "a URL that starts with wss:// or ws://, without #", ["wss", "ws"]),
    }
}

fn ice<'t>(
    walk: &mut Walk<'t>,
    section: &Section<'t>,
    read_secret: &dyn Fn(&Secret) -> io::Result<Option<String>>,
) -> Ice {
    let addresses =
        walk.texts(section, "addresses", "an IP address of this board", |text| text.parse::<IpAddr>().ok());
    let allowed = "an interface such as \"eth*\" or a network such as \"10.0.0.0/8\", with \"!\" before what is left out";
    let interfaces = walk.texts(section, "interfaces", allowed, InterfacePattern::parse);
    if !addresses.is_empty() && !interfaces.is_empty() {
        walk.conflict(
            section,
            "interfaces",
            "stands beside addresses, which names what is used: keep one of them",
        );
    }
    let entries = walk.tables(section, "servers", "a table such as { urls = [\"stun:host:port\"] }");
    let (mut servers, mut shared) = (Vec::new(), Vec::new());
    for entry in &entries {
        match turn::entry(walk, entry, read_secret) {
            Some(turn::Entry::Fixed(server)) => servers.push(server),
            Some(turn::Entry::Shared(server)) => shared.push(server),
            None => {}
        }
    }
    let source = turn::source(walk, section);
    let policy = walk.word(section, "policy", &[("all", IcePolicy::All), ("relay", IcePolicy::Relay)]);
    let policy = policy.unwrap_or_default();
    let has_relay = source.is_some() || !shared.is_empty() || servers.iter().any(IceServer::has_turn);
    if policy == IcePolicy::Relay && !has_relay {
        walk.conflict(section, "policy", "lets nobody in: \"relay\" needs a TURN server among ice.servers");
    }
    let ca_file = walk.text(section, "ca_file", A_PATH).map(PathBuf::from);
    let allowed = "a UDP port such as \"50000\", or a range such as \"50000-50010\"";
    let udp_ports = walk.parsed(section, "udp_port", allowed, udp_ports).unwrap_or(0..=0);
    Ice { servers, shared, source, policy, ca_file, addresses, interfaces, udp_ports }
}

fn udp_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|&port| port > 0);
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}
