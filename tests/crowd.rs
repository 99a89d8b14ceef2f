//! A viewer may name as many candidates as fit into its messages. What does it make the board do for them?
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use answerer::Answerer;
use farol::config::IcePolicy;
use farol::engine::message::Candidate;
use farol::io::peer::{Peer, PeerEvent, PeerSettings};
use farol::io::port::Port;
use farol::units::{Bitrate, PeerId};
use tokio::sync::mpsc;

const TIME: Duration = Duration::from_secs(3);

fn settings(port: &Arc<Port>) -> PeerSettings {
    PeerSettings {
        ice_servers: vec![],
        turn_trust: Arc::default(),
        ice_policy: IcePolicy::All,
        addresses: vec![[127, 0, 0, 1].into()],
        port: port.clone(),
        audio: true,
        talkback: false,
        playout_delay: Duration::ZERO,
        start_bitrate: Bitrate::from_kbps(2000),
        max_bitrate: Bitrate::from_kbps(8000),
    }
}

/// The n-th of many addresses of this machine, at one port.
fn candidate(n: u8, of: u8, port: u16) -> String {
    format!("candidate:{of}{n} 1 udp 2122260223 127.1.{of}.{n} {port} typ host")
}

fn trickled(candidate: String) -> Candidate {
    Candidate { candidate, sdp_mid: Some("0".to_owned()), sdp_m_line_index: None, username_fragment: None }
}

/// How many checks come in this time, counted beside whatever keeps the device busy.
fn count(socket: UdpSocket, time: Duration) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let (mut buffer, mut count, end) = ([0; 2048], 0, Instant::now() + time);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("it is no zero");
        while Instant::now() < end {
            let length = socket.recv(&mut buffer).unwrap_or(0);
            // A STUN binding request.
            count += usize::from(buffer[..length].starts_with(&[0, 1]));
        }
        count
    })
}

#[tokio::test]
async fn hundreds_of_candidates_cost_no_more_than_a_browser_s() {
    let port = Port::open(&[[127, 0, 0, 1].into()], 0..=0).expect("a free port");
    let (sender, mut events) = mpsc::channel(64);
    let (peer, offer) = Peer::offer(PeerId(1), &settings(&port), sender.clone()).await.expect("an offer");
    // Who answers is not reached: it is gone at once.
    let (_, answer, _) = Answerer::answer_trickling(&offer).await;
    // It has every address of 127.0.0.0/8 at once.
    let crowd = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let to = crowd.local_addr().expect("it is bound").port();
    let inline: String =
        (0..500).map(|n: u16| format!("a={}\r\n", candidate((n % 250) as u8, (n / 250) as u8, to))).collect();
    let (checks, began) = (count(crowd, TIME), Instant::now());
    peer.answer(&format!("{}\r\n{inline}", answer.trim_end())).await.expect("a good answer");
    for n in 0..=255 {
        for of in 2..4 {
            let trickled = trickled(candidate(n, of, to));
            peer.add_candidate(&trickled).await.expect("a candidate");
        }
    }
    let applied = began.elapsed();
    tokio::time::sleep((TIME / 3).saturating_sub(applied)).await;
    let asked = Instant::now();
    let (other, offer) = Peer::offer(PeerId(2), &settings(&port), sender).await.expect("an offer");
    let (_other_viewer, answer) = Answerer::answer(&offer).await;
    other.answer(&answer).await.expect("a good answer");
    while events.recv().await != Some((PeerId(2), PeerEvent::Connected)) {}
    let took = asked.elapsed();
    let checks = checks.join().expect("it only counts");
    println!("applied in {applied:?}, {checks} checks in {TIME:?}, the other viewer is in after {took:?}");
    assert!(applied < Duration::from_secs(1), "its candidates were applied in {applied:?}");
    assert!(checks < 2500, "{checks} checks in {TIME:?}");
    assert!(checks > 100, "its first ones are checked");
    assert!(took < Duration::from_secs(1), "the other viewer waited for {took:?}");
}
