//! A STUN server in a few lines: it answers Binding requests when the test lets it, with an address of
//! the test's choice, so that a candidate which only STUN can give is told apart and comes late.

#![allow(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where every client is told to be seen: an address of documentation (RFC 5737).
pub const SEEN_AT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 4242);

/// A running server.
pub struct Stun {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    answers: watch::Sender<bool>,
    requests: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Stun {
    /// Starts one that receives requests and holds its answers back.
    pub async fn holding_back() -> Stun {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        let (answers, may_answer) = watch::channel(false);
        let (counter, requests) = watch::channel(0);
        let task = tokio::spawn(serve(socket, may_answer, counter));
        Stun { port, answers, requests, task }
    }

    /// Answers what was asked, and what will be.
    pub fn answer(&self) {
        self.answers.send_replace(true);
    }

    /// Waits until it was asked.
    pub async fn asked(&self) {
        let mut requests = self.requests.clone();
        let wait =
            tokio::time::timeout(std::time::Duration::from_secs(20), requests.wait_for(|&count| count > 0));
        wait.await.expect("a Binding request in time").expect("the server runs");
    }
}

impl Drop for Stun {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, mut may_answer: watch::Receiver<bool>, counter: watch::Sender<u32>) {
    let mut held: Vec<(Vec<u8>, SocketAddr)> = Vec::new();
    let mut packet = [0; 1500];
    loop {
        tokio::select! {
            Ok((length, from)) = socket.recv_from(&mut packet) => {
                // A Binding request (RFC 8489 §5): type 1, and a header of 20 bytes.
                if length >= 20 && packet[..2] == [0, 1] {
                    counter.send_modify(|count| *count += 1);
                    held.push((success(&packet[8..20]), from));
                }
            }
            Ok(()) = may_answer.changed() => {}
        }
        if *may_answer.borrow() {
            for (answer, to) in held.drain(..) {
                // Whoever asked may be gone.
                let _ = socket.send_to(&answer, to).await;
            }
        }
    }
}

/// A Binding success response with one XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
fn success(transaction: &[u8]) -> Vec<u8> {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let mut answer = vec![0x01, 0x01, 0, 12];
    answer.extend_from_slice(&COOKIE);
    answer.extend_from_slice(transaction);
    answer.extend_from_slice(&[0x00, 0x20, 0, 8, 0, 1]);
    answer.extend(SEEN_AT.port().to_be_bytes().iter().zip(COOKIE).map(|(byte, key)| byte ^ key));
    answer.extend(SEEN_AT.ip().octets().iter().zip(COOKIE).map(|(byte, key)| byte ^ key));
    answer
}
