//! A real socket, and the kernel's own ideas of what leaves by it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;

const RUN: [u8; 4_800] = [0; 4_800];

/// Four packets.
fn run(to: SocketAddr, from: IpAddr) -> Transmit<'static> {
    Transmit { destination: to, ecn: None, contents: &RUN, segment_size: Some(1_200), src_ip: Some(from) }
}

#[tokio::test]
async fn address_that_the_board_no_longer_has_ends_nobodys_runs() {
    let homes = [
        (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from([192, 0, 2, 1])),
        (IpAddr::from(Ipv6Addr::LOCALHOST), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])),
    ];
    for (home, gone) in homes {
        let there = std::net::UdpSocket::bind((home, 0)).expect("a loopback port");
        let to = there.local_addr().expect("it is bound");
        let any = if home.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let here = Socket::bind(SocketAddr::new(any, 0)).expect("a port");
        assert!(here.max_segments() > 1, "Linux has it since 4.18");
        here.writable().await;
        here.try_send(&run(to, gone)).expect_err("it is not ours");
        here.try_send(&Transmit { segment_size: None, ..run(to, gone) }).expect_err("it is not ours");
        here.try_send(&run(to, home)).expect("loopback takes it");
        assert!(here.max_segments() > 1, "{home}");
        for _ in 0..4 {
            assert_eq!(there.recv(&mut [0; 2_000]).expect("a packet"), 1_200);
        }
    }
}

#[tokio::test]
async fn reading_goes_on_after_a_datagram_that_nobody_can_take() {
    let here = Socket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, here.port().expect("it is bound")));
    let (taken, mut good) = tokio::sync::mpsc::channel(1);
    let read = tokio::spawn(async move {
        let take = |_, _, bytes: &[u8]| {
            assert_ne!(bytes, b"bad");
            let _ = taken.try_send(bytes.to_vec());
        };
        here.keep_reading(take).await;
    });
    let there = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a loopback port");
    let say = async {
        for said in [b"bad", b"ok!"].iter().cycle() {
            there.send_to(*said, to).await.expect("loopback takes it");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        said = good.recv() => assert_eq!(said.as_deref(), Some(&b"ok!"[..])),
        () = tokio::time::timeout(Duration::from_secs(20), say).map(drop) => panic!("nobody reads any more"),
    }
    read.abort();
}

/// In a network of its own: an interface behind which nobody answers.
const LONELY: &str = "ip link set lo up && ip link add cable type veth peer name end && ip link set end up \\
    && ip link set cable up && ip addr add 10.99.0.1/24 dev cable && exec \"$@\"";

/// Run by the test below, in its network.
const INSIDE: &str = "io::port::socket::tests::inside_a_lonely_network";

#[test]
fn viewers_that_have_vanished_from_the_local_network_hold_nobody_up() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("networks of their own need root");
    }
    let own = std::env::current_exe().expect("a test runs");
    let mut inside = Command::new("unshare");
    inside.args(["--net", "sh", "-c", LONELY, "sh"]).arg(own);
    inside.args(["--exact", INSIDE, "--ignored", "--nocapture"]);
    let said = inside.output().expect("unshare and ip are there");
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.contains("1 passed"), "{text}");
}

/// Viewers of 2.5 Mbit/s by one socket, of whom all but one have gone without a word.
#[tokio::test]
#[ignore = "it needs a network of its own, which the test before makes"]
#[expect(clippy::disallowed_methods, reason = "it takes its time")]
async fn inside_a_lonely_network() {
    let there = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let to = there.local_addr().expect("it is bound");
    let here = Socket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).expect("a port");
    here.writable().await;
    let vanished = [77, 78].map(|host| SocketAddr::from(([10, 99, 0, host], 5_000)));
    let (begun, mut refused) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(4) {
        for _ in 0..2 {
            for vanished in vanished {
                let _ = here.try_send(&run(vanished, IpAddr::from([10, 99, 0, 1])));
            }
            refused += u32::from(here.try_send(&run(to, to.ip())).is_err());
        }
        tokio::time::sleep(Duration::from_millis(33)).await;
    }
    assert_eq!(refused, 0, "runs of the other viewer for which there was no room");
}
