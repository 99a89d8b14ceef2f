//! Are the ports free that the daemon will listen at, or its own already?

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::holders::{self, Sockets};
use crate::config::Config;
use crate::engine::doctor::Finding;
use crate::engine::doctor::network::Port;

/// Every port that the configuration names. While a daemon runs, one that is taken by nobody we can see is
/// taken for its own.
pub(super) fn findings(config: &Config, is_running: bool) -> Vec<Finding> {
    let tcp = [("http.listen", config.http), ("metrics.listen", config.metrics)];
    let tcp = tcp.into_iter().filter_map(|(key, at)| Some(listener(key, at?)));
    let all: Vec<Port> = tcp.chain(media(config)).collect();
    let is_ours = |port: &Port| is_running && port.taken.is_some() && port.holders.is_empty();
    all.iter().filter(|port| !is_ours(port)).map(Port::finding).collect()
}

fn listener(key: &'static str, at: SocketAddr) -> Port {
    let taken = TcpListener::bind(at).err();
    let holders = match taken {
        Some(_) => holders::of_port(at.port(), Sockets::Tcp),
        None => Vec::new(),
    };
    Port { key, at: at.to_string(), taken: taken.map(|cause| why(&cause)), holders }
}

/// The first port of the range that is free counts; without a range any does.
fn media(config: &Config) -> Option<Port> {
    let range = config.ice.udp_ports.clone();
    if range == (0..=0) {
        return None;
    }
    let at = match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    };
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let address = config.ice.addresses.first().copied().unwrap_or(any);
    let mut taken = None;
    for port in range.clone() {
        match UdpSocket::bind(SocketAddr::new(address, port)) {
            Ok(_) => return Some(Port { key: "ice.udp_port", at, taken: None, holders: Vec::new() }),
            Err(cause) => taken = Some(why(&cause)),
        }
    }
    let holders = range.flat_map(|port| holders::of_port(port, Sockets::Udp)).collect();
    Some(Port { key: "ice.udp_port", at, taken, holders })
}

fn why(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "it is in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "the board has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "ports below 1024 are root's".to_owned(),
        _ => cause.to_string(),
    }
}
