//! Everyone who was handed an offer knows its ICE password. What can they do once somebody else has it?
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/viewer.rs"]
mod viewer;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use answerer::Answerer;
use daemon::{Home, Setup};
use farol::engine::message::RejectCode;
use mosquitto::Mosquitto;
use rtc::stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_PRIORITY, ATTR_USERNAME, RawAttribute};
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, Message, TransactionId};
use rtc::stun::textattrs::TextAttribute;
use tokio::net::UdpSocket;
use viewer::Viewer;

/// The beginning of a DTLS ClientHello: what a server must answer something to, were it handed to one.
const CLIENT_HELLO: &[u8] = &[
    22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54, 1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, 254, 253, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 2, 0xc0,
    0x2b, 1, 0,
];

fn attribute<'s>(sdp: &'s str, name: &str) -> &'s str {
    sdp.lines().find_map(|line| line.strip_prefix(name)).expect("the description has it").trim()
}

/// A connectivity check (RFC 8445 §7.2.2) with the offer's password.
fn check(offer: &str, ufrag: &str) -> Vec<u8> {
    let crypto = rtc::crypto::default_provider().expect("ring");
    let username = format!("{}:{ufrag}", attribute(offer, "a=ice-ufrag:"));
    let password = attribute(offer, "a=ice-pwd:").to_owned();
    let raw = |typ, value: &[u8]| RawAttribute { typ, length: value.len() as u16, value: value.to_vec() };
    let mut message = Message::new();
    message
        .build(&[
            Box::new(TransactionId::new()),
            Box::new(BINDING_REQUEST),
            Box::new(TextAttribute::new(ATTR_USERNAME, username)),
            Box::new(raw(ATTR_ICE_CONTROLLED, &7u64.to_be_bytes())),
            Box::new(raw(ATTR_PRIORITY, &1_845_501_695u32.to_be_bytes())),
            Box::new(MessageIntegrity::new_short_term_integrity_with_provider(password, crypto.crypto())),
            Box::new(FINGERPRINT),
        ])
        .expect("a message");
    message.raw
}

/// Where the offer wants its viewers to send.
fn port(offer: &str) -> SocketAddr {
    let candidate = offer.lines().find(|line| line.starts_with("a=candidate:") && line.contains(" typ host"));
    let fields: Vec<&str> = candidate.expect("a host candidate").split(' ').collect();
    format!("{}:{}", fields[4], fields[5]).parse().expect("an IPv4 candidate")
}

/// Sends something again and again; how many datagrams come back in that time.
async fn answers_to(socket: &UdpSocket, to: SocketAddr, datagrams: &[Vec<u8>], times: usize) -> usize {
    let (mut buffer, mut count) = ([0; 2048], 0);
    for _ in 0..times {
        for datagram in datagrams {
            socket.send_to(datagram, to).await.expect("loopback takes it");
        }
        while let Ok(Ok(_)) =
            tokio::time::timeout(Duration::from_millis(20), socket.recv_from(&mut buffer)).await
        {
            count += 1;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loser_s_checks_and_hellos_are_not_answered_while_the_winner_watches_on() {
    let mosquitto = Mosquitto::open();
    let home = Home::new(&Setup::on(mosquitto.port));
    let (ana, rui) = (home.pair("Ana"), home.pair("Rui"));
    let _daemon = home.start();
    let (mut ana, mut rui) = (Viewer::connect(&ana).await, Viewer::connect(&rui).await);
    let (offer, same) = (ana.standing().await, rui.standing().await);
    assert_eq!(offer.sdp, same.sdp, "both were handed the one offer");
    let to = port(&offer.sdp);
    let loser = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
    let early = [check(&same.sdp, "rui1"), CLIENT_HELLO.to_vec()];
    assert_eq!(answers_to(&loser, to, &early, 5).await, 0, "nobody has answered the offer yet");

    let (screen, sdp) = Answerer::answer(&offer.sdp).await;
    ana.answer(&offer, &sdp).await;
    ana.accepted(&screen).await;
    screen.until("pictures", |received| received.pictures.len() > 3).await;
    let (_late, too_late) = Answerer::answer(&same.sdp).await;
    rui.answer(&same, &too_late).await;
    assert_eq!(rui.rejected().await.code, RejectCode::Taken);

    // What he sent with his own name, now and held back from before, and with none; and DTLS after it.
    let theirs = attribute(&too_late, "a=ice-ufrag:");
    let before = screen.received().pictures.len();
    let attempts =
        [check(&same.sdp, theirs), check(&same.sdp, "rui1"), check(&same.sdp, ""), CLIENT_HELLO.to_vec()];
    assert_eq!(answers_to(&loser, to, &attempts, 50).await, 0, "the port says nothing to a loser");
    screen.until("pictures go on", |received| received.pictures.len() > before + 10).await;
    assert_eq!(screen.received().missing, 0, "the winner loses nothing by it");

    // The checks are good ones: under the winner's name, which only the sealed answer said, they are answered.
    let named = [check(&offer.sdp, attribute(&sdp, "a=ice-ufrag:"))];
    assert!(answers_to(&loser, to, &named, 10).await > 0);
}
