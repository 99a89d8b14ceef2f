//! Whoever reaches the page's port may open connections and say nothing. What does it take from the others?
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use farol::config::IcePolicy;
use farol::io::http::{self, Site};
use farol::io::peer::{Peer, PeerSettings};
use farol::io::port::Port;
use farol::units::{Bitrate, DeviceId, PeerId};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// systemd's default for a service. This process has both ends of each connection.
const DESCRIPTORS: u64 = 1024;
const IDLE: usize = 600;
/// A head is awaited for 10 s, and there are two rounds of them.
const PATIENCE: Duration = Duration::from_secs(40);

fn settings() -> PeerSettings {
    PeerSettings {
        ice_servers: vec![],
        turn_trust: Arc::default(),
        ice_policy: IcePolicy::All,
        addresses: vec![[127, 0, 0, 1].into()],
        port: Port::open(&[[127, 0, 0, 1].into()], 0..=0).expect("a free port"),
        audio: true,
        talkback: false,
        playout_delay: Duration::ZERO,
        start_bitrate: Bitrate::from_kbps(2000),
        max_bitrate: Bitrate::from_kbps(8000),
    }
}

const REQUEST: &[u8] = b"GET /favicon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn hundreds_of_silent_connections_leave_descriptors_to_viewers_and_are_closed() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum })
        .expect("it is less than before");
    let listener = http::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let site = Site { device: DeviceId(0xd), broker: None, names: Vec::new(), bridge: None };
    tokio::spawn(http::serve(listener, site, std::future::pending()));

    // One that has asked once, and then says nothing either.
    let mut asked = TcpStream::connect(address).await.expect("it listens");
    asked.write_all(REQUEST).await.expect("sent");
    assert!(asked.read_u8().await.is_ok(), "it is answered");
    let began = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(address).await.expect("the kernel takes it"));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (events, _taken) = mpsc::channel(64);
    let offered = Peer::offer(PeerId(1), &settings(), events).await;
    assert!(offered.is_ok(), "{:?}", offered.err());

    idle.push(asked);
    for (n, stream) in idle.iter_mut().enumerate() {
        let mut rest = Vec::new();
        let left = PATIENCE.saturating_sub(began.elapsed());
        let closed = timeout(left, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "connection {n} is open after {PATIENCE:?}");
    }
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(REQUEST).await.expect("sent");
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}
