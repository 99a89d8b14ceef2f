//! Connections to TURN servers that are a few lines here, over loopback.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::config::IceServer;
use crate::io::port::permit::Source;

const PATIENCE: Duration = Duration::from_secs(20);

/// A relay on loopback, and the address under which it knows the server at that port.
async fn relay_to(port: u16) -> (Arc<Relay>, SocketAddr) {
    let relays = Relays::default();
    let urls = vec![format!("turn:127.0.0.1:{port}?transport=tcp")];
    relays.detours.for_library(&[IceServer { urls, username: None, credential: None }]);
    let found = relays.detours.resolve(&format!("0.turn.invalid:{port}")).await;
    let server = found.expect("it is ours").expect("an address")[0];
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
    (Relay::new(socket, relays).expect("a relay"), server)
}

/// What the library does with a message of its own.
async fn say(relay: &Relay, to: SocketAddr, message: &[u8]) {
    let (ecn, segment_size, src_ip) = (None, None, None);
    let transmit = Transmit { destination: to, ecn, contents: message, segment_size, src_ip };
    std::future::poll_fn(|cx| relay.poll_send(cx, &transmit)).await.expect("it is taken");
}

async fn hear(relay: &Relay) -> (SocketAddr, Vec<u8>) {
    let mut bytes = [0; 2048];
    let mut meta = [RecvMeta::default()];
    let read = std::future::poll_fn(|cx| {
        let mut bufs = [IoSliceMut::new(&mut bytes)];
        relay.poll_recv(cx, &mut bufs, &mut meta)
    });
    assert_eq!(timeout(PATIENCE, read).await.expect("in time").expect("a message"), 1);
    (meta[0].addr, bytes[..meta[0].len].to_vec())
}

fn message(kind: [u8; 2], transaction: u8) -> Vec<u8> {
    let mut message = vec![kind[0], kind[1], 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend([transaction; 12]);
    message
}

/// Who sends, and for how long.
fn source() -> (Arc<()>, Source) {
    let there = Arc::new(());
    let is_there = Arc::downgrade(&there);
    (there, Source { withheld: Arc::default(), is_there })
}

const ALLOCATE: [u8; 2] = [0x00, 0x03];
const ALLOCATED: [u8; 2] = [0x01, 0x03];

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("in time").expect("so much");
    bytes
}

#[tokio::test]
async fn messages_go_over_one_connection_and_repeated_requests_are_left_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let (relay, server) = relay_to(listener.local_addr().expect("it is bound").port()).await;
    for transaction in [1, 1, 2, 1] {
        say(&relay, server, &message(ALLOCATE, transaction)).await;
    }
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let expected = [message(ALLOCATE, 1), message(ALLOCATE, 2)].concat();
    assert_eq!(read(&mut stream, 40).await, expected);
    // ChannelData of 5 bytes is padded to 12, and what comes padded is handed on without.
    let data = [0x40, 0, 0, 5, 1, 2, 3, 4, 5];
    let (_there, source) = source();
    relay.try_send(server, &data, &source.permit()).expect("there is room");
    let padded = [&data[..], &[0, 0, 0]].concat();
    assert_eq!(read(&mut stream, 12).await, padded);
    stream.write_all(&padded).await.expect("it is connected");
    stream.write_all(&message(ALLOCATED, 1)).await.expect("it is connected");
    assert_eq!(hear(&relay).await, (server, data.to_vec()));
    assert_eq!(hear(&relay).await, (server, message(ALLOCATED, 1)));
}

#[tokio::test]
async fn an_address_that_ends_with_its_connection_is_told_and_whether_media_went_by_it() {
    let (_there, source) = source();
    for was_used in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let (relay, server) = relay_to(listener.local_addr().expect("it is bound").port()).await;
        say(&relay, server, &message(ALLOCATE, 1)).await;
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(&message(ALLOCATED, 1)).await.expect("it is connected");
        hear(&relay).await;
        if was_used {
            relay.try_send(server, &[0x40, 0, 0, 0], &source.permit()).expect("there is room");
        }
        drop(stream);
        assert_eq!(timeout(PATIENCE, relay.relays.loss.told()).await, Ok(was_used));
        let refused =
            relay.try_send(server, &[0x40, 0, 0, 0], &source.permit()).expect_err("there is no connection");
        assert_eq!(refused.kind(), io::ErrorKind::NotConnected);
    }
}

#[tokio::test]
async fn media_finds_no_room_at_a_server_that_does_not_read_but_checks_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let (relay, server) = relay_to(listener.local_addr().expect("it is bound").port()).await;
    say(&relay, server, &message(ALLOCATE, 1)).await;
    let (stream, _) = listener.accept().await.expect("a connection");
    let (_there, source) = source();
    fill(&relay, server, &source).await;
    let streams = lock(&relay.streams);
    let check = streams[&server].try_send(Message { bytes: message([0, 0x16], 9), media: None });
    assert!(check.is_ok(), "{check:?}");
    drop((streams, stream));
}

/// Sends media until it has to wait, and says how much was taken: what the kernels of both sides take is bounded.
async fn fill(relay: &Relay, server: SocketAddr, source: &Source) -> usize {
    let mut data = vec![0x40, 0, 4, 0];
    data.resize(1028, 7);
    let full = async {
        let (mut taken, mut refused) = (0, 0);
        // The task that writes has had its turns when nothing was taken for so long.
        while refused < 50 {
            match relay.try_send(server, &data, &source.permit()) {
                Err(cause) => {
                    assert_eq!(cause.kind(), io::ErrorKind::WouldBlock);
                    refused += 1;
                }
                Ok(()) => (taken, refused) = (taken + data.len(), 0),
            }
            tokio::task::yield_now().await;
        }
        taken
    };
    timeout(PATIENCE, full).await.expect("it is full at some time")
}

#[tokio::test]
async fn media_that_waits_is_not_sent_once_it_is_withheld_or_its_sender_has_ended() {
    for ends in ["it is withheld", "the sender ends", "the connection ends"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let (relay, server) = relay_to(listener.local_addr().expect("it is bound").port()).await;
        say(&relay, server, &message(ALLOCATE, 1)).await;
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let (there, source) = source();
        let taken = fill(&relay, server, &source).await;
        let last = message([0, 0x16], 9);
        let there = match ends {
            "it is withheld" => {
                source.withheld.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Some(there)
            }
            "the sender ends" => None,
            _ => Some(there),
        };
        // Checks and the like are sent all the same, and are the last.
        say(&relay, server, &last).await;
        drop(relay);
        let mut bytes = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("in time").expect("its end");
        assert!(bytes.ends_with(&last), "{ends}");
        // What the kernel has, and what was being written, can no longer be taken back.
        assert!(bytes.len() + 90 * 1028 < taken, "{ends}: {} of {taken}", bytes.len());
        drop(there);
    }
}

#[tokio::test]
async fn a_server_that_comes_back_after_the_library_gave_up_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let (relay, server) = relay_to(port).await;
    let work = Work {
        detour: relay.relays.detours.of(server).expect("a detour"),
        known_as: server,
        local: relay.local.ip(),
        inbox: relay.inbox.clone(),
        trust: relay.relays.trust.clone(),
        loss: relay.relays.loss.clone(),
        given_up_after: Duration::ZERO,
    };
    // It is not reached, and tried again after a second.
    let stream = Stream::open(work);
    stream.try_send(Message { bytes: message(ALLOCATE, 1), media: None }).expect("there is room");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the same port");
    let (mut connection, _) =
        timeout(PATIENCE, listener.accept()).await.expect("in time").expect("a connection");
    assert_eq!(read(&mut connection, 20).await, message(ALLOCATE, 1), "the same question");
    connection.write_all(&message([0x01, 0x13], 1)).await.expect("it is connected");
    assert_eq!(timeout(PATIENCE, relay.relays.loss.told()).await, Ok(false));
}

#[tokio::test]
async fn datagrams_of_a_run_come_one_by_one_and_whole() {
    let (relay, _) = relay_to(1).await;
    let server =
        crate::io::port::socket::Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let run: Vec<u8> = (0..3).flat_map(|n| [n; 1_200]).collect();
    let (ecn, segment_size, src_ip) = (None, Some(1_200), None);
    server.writable().await;
    let transmit = Transmit { destination: relay.local, ecn, contents: &run, segment_size, src_ip };
    server.try_send(&transmit).expect("loopback takes it");
    for n in 0..3 {
        assert_eq!(hear(&relay).await.1, [n; 1_200]);
    }
    let here = relay.local;
    let other = UdpSocket::bind("127.0.0.1:0").await.expect("a loopback port");
    let destination = other.local_addr().expect("it is bound");
    let run = Transmit { destination, ..transmit };
    std::future::poll_fn(|cx| relay.poll_send(cx, &run)).await.expect("loopback takes it");
    for n in 0..3 {
        let mut bytes = [0; 2_000];
        let (length, from) =
            timeout(PATIENCE, other.recv_from(&mut bytes)).await.expect("in time").expect("one");
        assert_eq!((&bytes[..length], from), (&[n; 1_200][..], here));
    }
}
