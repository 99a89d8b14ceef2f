//! What is the least that it costs to send a recording to so many? AES-128-GCM and a system call, nothing else.
//!
//! Whoever measures it looks at this process alone: who takes the packets is a child of it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use bytes::Bytes;
use rtc::crypto::{AeadAlgorithm, AeadCipher, default_provider};
use webrtc::runtime::{Transmit, UdpSockRef, UdpSocketState};

use crate::recording::{Recording, next_due};

/// RTP header with one extension of a word, as transport-wide sequence numbers need it (RFC 8285 §4.2).
const HEADER_BYTES: usize = 12 + 4 + 4;
const TAG_BYTES: usize = 16;
/// What one system call sends at most: the kernel's limits (UDP_MAX_SEGMENTS, and an IP packet's length).
const MAX_SEGMENTS: usize = 40;

/// How packets leave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A system call for each.
    OneByOne,
    /// A system call for a picture's packets of one size (UDP GSO).
    Together,
}

struct Receiver {
    address: SocketAddr,
    cipher: Box<dyn AeadCipher>,
    sequence: u16,
}

/// Plays until standard input ends.
pub fn send(file: &str, count: usize, way: Way) -> anyhow::Result<()> {
    let mut recording = Recording::open(file)?;
    let mut sink = Command::new(std::env::current_exe()?)
        .args(["sink", &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let ports = BufReader::new(sink.stdout.take().context("it was piped")?).lines().next();
    let ports = ports.context("the sink has ended")??;
    let mut receivers = ports.split(' ').map(receiver).collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::Builder::new().name("floor".into()).spawn(move || -> anyhow::Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        loop {
            let number = next_due();
            let payloads = &recording.next().payloads;
            for receiver in &mut receivers {
                let picture = receiver.sealed(payloads, number as u32)?;
                deliver(&socket, &state, receiver.address, &picture, payloads, way)?;
            }
        }
    })?;
    println!("ready");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn receiver(port: &str) -> anyhow::Result<Receiver> {
    let provider = default_provider()?;
    let mut key = [0; 16];
    provider.random().fill(&mut key)?;
    let cipher = provider.crypto().new_aead(AeadAlgorithm::Aes128Gcm, &key)?;
    Ok(Receiver { address: SocketAddr::from(([127, 0, 0, 1], port.parse()?)), cipher, sequence: 0 })
}

impl Receiver {
    /// A picture's packets, one behind the other.
    fn sealed(&mut self, payloads: &[Bytes], timestamp: u32) -> anyhow::Result<Vec<u8>> {
        let length = payloads.iter().map(|payload| payload.len() + HEADER_BYTES + TAG_BYTES).sum();
        let mut picture = Vec::with_capacity(length);
        for payload in payloads {
            let mut header = [0; HEADER_BYTES];
            header[..2].copy_from_slice(&[0x90, 96]);
            header[2..4].copy_from_slice(&self.sequence.to_be_bytes());
            header[4..8].copy_from_slice(&timestamp.to_be_bytes());
            let mut nonce = [0; 12];
            nonce[..4].copy_from_slice(&timestamp.to_be_bytes());
            nonce[4..6].copy_from_slice(&self.sequence.to_be_bytes());
            self.sequence = self.sequence.wrapping_add(1);
            picture.extend_from_slice(&header);
            let from = picture.len();
            picture.extend_from_slice(payload);
            let mut tag = [0; TAG_BYTES];
            self.cipher.seal_in_place(&nonce, &header, &mut picture[from..], &mut tag)?;
            picture.extend_from_slice(&tag);
        }
        Ok(picture)
    }
}

fn deliver(
    socket: &UdpSocket,
    state: &UdpSocketState,
    destination: SocketAddr,
    picture: &[u8],
    payloads: &[Bytes],
    way: Way,
) -> anyhow::Result<()> {
    let sizes: Vec<usize> = payloads.iter().map(|one| one.len() + HEADER_BYTES + TAG_BYTES).collect();
    let (mut from, mut at) = (0, 0);
    while from < sizes.len() {
        let size = sizes[from];
        // A run of packets of one size, and a smaller one that may end it.
        let mut count = 1;
        while way == Way::Together && from + count < sizes.len() && count < MAX_SEGMENTS {
            if sizes[from + count - 1] != size || sizes[from + count] > size {
                break;
            }
            count += 1;
        }
        let length: usize = sizes[from..from + count].iter().sum();
        let contents = &picture[at..at + length];
        let transmit = Transmit { destination, ecn: None, contents, segment_size: Some(size), src_ip: None };
        loop {
            match if count == 1 {
                socket.send_to(contents, destination).map(drop)
            } else {
                state.try_send(UdpSockRef::from(socket), &transmit)
            } {
                Err(full) if full.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
                sent => break sent?,
            }
        }
        (from, at) = (from + count, at + length);
    }
    Ok(())
}

/// Takes what comes to so many sockets, on one thread as the viewers do, and forgets it; says their ports first.
pub fn sink(count: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut ports = Vec::new();
    for _ in 0..count {
        let socket = runtime.block_on(tokio::net::UdpSocket::bind("127.0.0.1:0"))?;
        ports.push(socket.local_addr()?.port().to_string());
        runtime.spawn(async move {
            let mut memory = vec![0; 2048];
            while socket.recv(&mut memory).await.is_ok() {}
        });
    }
    println!("{}", ports.join(" "));
    // Until its parent has ended.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
