//! Does a TURN server lend an address with these credentials, and do datagrams pass through it?
//!
//! Allocate twice, as RFC 8656 §7 has it with long-term credentials (RFC 8489 §9.2): the first is refused with
//! the server's realm and nonce, the second carries the proof. What was lent is given back at once.
//!
//! Before that, a second socket stands in for a viewer. It sends to the address that was lent, for which the server
//! has been given permission, and what comes is sent back to it:
//!
//! ```text
//! second socket ──datagram──> relayed address ──Data indication──> us
//! second socket <──datagram── relayed address <──Send indication── us
//! ```

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use md5::{Digest as _, Md5};
use rustls_pki_types::ServerName;
use sha1::Sha1;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{IceUrl, Tls, Transport};
use crate::engine::doctor::network::{Allocation, Passage};
use crate::io::port::stun::{self, Transaction};
use crate::io::tls;

/// For a connection, and for each answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// By UDP a question is repeated after so long (RFC 8489 §6.2.1).
const REPEAT: Duration = Duration::from_millis(500);
/// For a datagram there and back, through the address that was lent.
const PASSAGE_PATIENCE: Duration = Duration::from_millis(1000);
/// A lost one is sent again after so long.
const REPEAT_PASSAGE: Duration = Duration::from_millis(250);
/// A server that keeps renewing its nonce is no server.
const MOST_ROUNDS: usize = 4;

const ALLOCATE: u16 = 0x0003;
const REFRESH: u16 = 0x0004;
const CREATE_PERMISSION: u16 = 0x0008;
const DATA_INDICATION: [u8; 2] = [0x00, 0x17];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const LIFETIME: u16 = 0x000d;
const PEER_ADDRESS: u16 = 0x0012;
const DATA: u16 = 0x0013;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const MAPPED_ADDRESS: u16 = 0x0020;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

/// Asks the server at `address` for an address.
pub(super) async fn allocate(
    url: &IceUrl,
    address: SocketAddr,
    credentials: &Credentials,
    trust: &Tls,
) -> Allocation {
    let mut way = match Way::open(url, address, trust).await {
        Ok(way) => way,
        Err(outcome) => return outcome,
    };
    match converse(&mut way, credentials).await {
        Ok(outcome) => outcome,
        Err(cause) => unreached(&cause),
    }
}

/// The two rounds, and one more for each nonce that is stale (438).
async fn converse(way: &mut Way, credentials: &Credentials) -> io::Result<Allocation> {
    let transport = (REQUESTED_TRANSPORT, vec![17, 0, 0, 0]);
    let mut proof: Option<Proof> = None;
    for _ in 0..MOST_ROUNDS {
        let request = message(ALLOCATE, std::slice::from_ref(&transport), proof.as_ref())?;
        let answer = way.ask(&request).await?;
        if stun::is_allocation(&answer) {
            let Some(lent) = stun::address(&answer, RELAYED_ADDRESS) else { break };
            let seen_as = stun::address(&answer, MAPPED_ADDRESS);
            let passage = passage(way, proof.as_ref(), lent, seen_as).await.unwrap_or(Passage::Untried);
            let give_back = message(REFRESH, &[(LIFETIME, vec![0; 4])], proof.as_ref())?;
            // It would be given back by itself after ten minutes.
            let _ = way.ask(&give_back).await;
            return Ok(Allocation::Lent(lent, passage));
        }
        let (code, words) = refusal(&answer).unwrap_or((0, "an answer that is not understood".to_owned()));
        let asks_for_proof = code == 438 || code == 401 && proof.is_none();
        let texts = [REALM, NONCE].map(|kind| stun::attribute(&answer, kind).map(<[u8]>::to_vec));
        match texts {
            [Some(realm), Some(nonce)] if asks_for_proof => {
                proof = Some(Proof::new(credentials, realm, nonce))
            }
            _ => return Ok(Allocation::Refused(code, words)),
        }
    }
    Ok(Allocation::Refused(0, "it does not come to an end".to_owned()))
}

/// Whether datagrams pass through the address that was lent, both ways. `seen_as` is where the server sees us, and
/// so will it the second socket, which speaks to the same machine.
async fn passage(
    way: &mut Way,
    proof: Option<&Proof>,
    lent: SocketAddr,
    seen_as: Option<SocketAddr>,
) -> io::Result<Passage> {
    let Some(seen_as) = seen_as.filter(|seen_as| seen_as.is_ipv4() == lent.is_ipv4()) else {
        return Ok(Passage::Untried);
    };
    let transaction = random()?;
    let peer = (PEER_ADDRESS, stun::xored(seen_as, transaction));
    let permitted = way.ask(&signed(CREATE_PERMISSION, transaction, &[peer], proof)?).await?;
    if !stun::is_permission(&permitted) {
        return Ok(Passage::Forbidden);
    }
    let stranger = udp(lent).await?;
    let secret = random()?;
    let there_and_back = async {
        loop {
            // Where nothing listens the kernel says so now or then; the time ends it all the same.
            let _ = stranger.send(&secret).await;
            let Ok(arrived) = timeout(REPEAT_PASSAGE, data(way, &secret)).await else { continue };
            way.send(&stun::Relayed::Address(arrived?).wrap(&secret)).await?;
            let mut back = [0; 64];
            let read = timeout(REPEAT_PASSAGE, stranger.recv(&mut back)).await;
            if matches!(read, Ok(Ok(length)) if back[..length] == secret) {
                return Ok(Passage::BothWays);
            }
        }
    };
    timeout(PASSAGE_PATIENCE, there_and_back).await.unwrap_or(Ok(Passage::Lost))
}

/// Waits for a Data indication with this in it, and says whose it is (RFC 8656 §11.3).
async fn data(way: &mut Way, wanted: &[u8]) -> io::Result<SocketAddr> {
    loop {
        let message = way.receive().await?;
        let is_it = message.starts_with(&DATA_INDICATION) && stun::attribute(&message, DATA) == Some(wanted);
        if let Some(peer) = stun::address(&message, PEER_ADDRESS).filter(|_| is_it) {
            return Ok(peer);
        }
    }
}

/// RFC 8489 §14.8.
fn refusal(answer: &[u8]) -> Option<(u16, String)> {
    let value = stun::attribute(answer, ERROR_CODE)?;
    let (&hundreds, &rest) = (value.get(2)?, value.get(3)?);
    let words = String::from_utf8_lossy(value.get(4..)?);
    let words = words.chars().filter(|c| !c.is_control()).take(80).collect();
    Some((u16::from(hundreds & 7) * 100 + u16::from(rest), words))
}

/// What shows that we know the password.
struct Proof {
    attributes: Vec<(u16, Vec<u8>)>,
    key: [u8; 16],
}

impl Proof {
    fn new(credentials: &Credentials, realm: Vec<u8>, nonce: Vec<u8>) -> Proof {
        let Credentials { username, password } = credentials;
        let parts = [username.as_bytes(), b":", &realm, b":", password.as_bytes()];
        let key = parts.iter().fold(Md5::new(), |hash, part| hash.chain_update(part)).finalize().into();
        let username = username.as_bytes().to_vec();
        Proof { attributes: vec![(USERNAME, username), (REALM, realm), (NONCE, nonce)], key }
    }
}

/// A request with a transaction of its own.
fn message(method: u16, attributes: &[(u16, Vec<u8>)], proof: Option<&Proof>) -> io::Result<Vec<u8>> {
    signed(method, random()?, attributes, proof)
}

fn random() -> io::Result<Transaction> {
    let mut transaction = [0; 12];
    getrandom::fill(&mut transaction).map_err(io::Error::other)?;
    Ok(transaction)
}

/// A request of this transaction.
fn signed(
    method: u16,
    transaction: Transaction,
    attributes: &[(u16, Vec<u8>)],
    proof: Option<&Proof>,
) -> io::Result<Vec<u8>> {
    let mut message = stun::binding_request(transaction);
    message[..2].copy_from_slice(&method.to_be_bytes());
    for (kind, value) in attributes.iter().chain(proof.map_or(&[][..], |proof| &proof.attributes)) {
        add(&mut message, *kind, value);
    }
    if let Some(proof) = proof {
        // The length counts the attribute that is yet to come (RFC 8489 §14.5).
        set_length(&mut message, 24);
        let mac = Hmac::<Sha1>::new_from_slice(&proof.key).map_err(io::Error::other)?;
        let mac = mac.chain_update(&message).finalize().into_bytes();
        add(&mut message, MESSAGE_INTEGRITY, &mac);
    }
    set_length(&mut message, 0);
    Ok(message)
}

fn add(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Realm and nonce have at most 763 bytes (RFC 8489 §14.9, §14.10), or came in a datagram.
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() - 20 + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How the server is spoken to.
enum Way {
    Udp(UdpSocket),
    Stream { stream: Box<dyn Stream>, read: Vec<u8> },
}

impl Way {
    async fn open(url: &IceUrl, address: SocketAddr, trust: &Tls) -> Result<Way, Allocation> {
        match url.transport {
            Transport::Udp => udp(address).await.map(Way::Udp).map_err(|cause| unreached(&cause)),
            Transport::Tcp => tcp(address).await.map(|stream| Way::over(Box::new(stream))),
            Transport::Tls => {
                let stream = tcp(address).await?;
                let fault = |cause: &dyn std::fmt::Display| Allocation::Tls(cause.to_string());
                let name = ServerName::try_from(url.host.clone()).map_err(|cause| fault(&cause))?;
                let client = tls::client(trust).map_err(|cause| fault(&cause))?;
                let shaken =
                    timeout(PATIENCE, TlsConnector::from(Arc::clone(&client)).connect(name, stream)).await;
                let stream = shaken.map_err(|_| Allocation::Silent)?.map_err(|cause| fault(&cause))?;
                Ok(Way::over(Box::new(stream)))
            }
            Transport::Dtls => Err(Allocation::Unsupported),
        }
    }

    fn over(stream: Box<dyn Stream>) -> Way {
        Way::Stream { stream, read: Vec::new() }
    }

    /// Sends a request and waits for the answer to it.
    async fn ask(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let wanted = stun::transaction(request);
        let answered = async {
            self.send(request).await?;
            loop {
                match timeout(REPEAT, self.receive()).await {
                    Ok(answer) => {
                        let answer = answer?;
                        if stun::transaction(&answer) == wanted {
                            return Ok(answer);
                        }
                    }
                    Err(_) => self.repeat(request).await?,
                }
            }
        };
        timeout(PATIENCE, answered).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Way::Udp(socket) => socket.send(message).await.map(drop),
            Way::Stream { stream, .. } => {
                stream.write_all(message).await?;
                stream.flush().await
            }
        }
    }

    /// Sends again what may have been lost.
    async fn repeat(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Way::Udp(_) => self.send(message).await,
            // TCP does so by itself.
            Way::Stream { .. } => Ok(()),
        }
    }

    /// The next message. It may be given up at any time, and nothing is lost.
    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Way::Udp(socket) => {
                let mut message = vec![0; 1500];
                let length = socket.recv(&mut message).await?;
                message.truncate(length);
                Ok(message)
            }
            Way::Stream { stream, read } => next(stream, read).await,
        }
    }
}

/// A socket of one's own, so that the kernel hands over that nothing listens there.
pub(super) async fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

async fn tcp(address: SocketAddr) -> Result<TcpStream, Allocation> {
    let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
    connected.map_err(|_| Allocation::Silent)?.map_err(|cause| unreached(&cause))
}

/// Over a stream a message follows the other, each with its length in the header (RFC 8489 §6.2.2). `read` is what
/// came of the next ones.
async fn next(stream: &mut Box<dyn Stream>, read: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    loop {
        if let Some(header) = read.first_chunk::<20>() {
            let length = 20 + usize::from(u16::from_be_bytes([header[2], header[3]]));
            if read.len() >= length {
                return Ok(read.drain(..length).collect());
            }
        }
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn unreached(cause: &io::Error) -> Allocation {
    match cause.kind() {
        io::ErrorKind::ConnectionRefused => Allocation::NothingListens,
        io::ErrorKind::TimedOut => Allocation::Silent,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            Allocation::Refused(0, "it closes the connection".to_owned())
        }
        _ => Allocation::Refused(0, cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.4: a request with long-term credentials, whose key and integrity are given there.
    #[test]
    fn the_proof_is_the_standard_s() {
        let credentials = Credentials {
            username: "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}".into(),
            password: "TheMatrIX".into(),
        };
        let nonce = b"f//499k954d6OL34oL9FSTvy64sA".to_vec();
        let proof = Proof::new(&credentials, b"example.org".to_vec(), nonce);
        let mut message =
            stun::binding_request([0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e]);
        // The vector has the nonce before the realm.
        for at in [0, 2, 1] {
            let (kind, value) = &proof.attributes[at];
            add(&mut message, *kind, value);
        }
        set_length(&mut message, 24);
        let mac = Hmac::<Sha1>::new_from_slice(&proof.key).expect("any length is a key");
        let mac = mac.chain_update(&message).finalize().into_bytes();
        assert_eq!(
            mac[..],
            [
                0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02, 0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9,
                0xa2, 0x8c, 0xa8, 0x96, 0x66
            ]
        );
    }

    #[test]
    fn a_refusal_is_read_and_its_words_are_harmless() {
        let mut answer = stun::binding_request([7; 12]);
        answer[..2].copy_from_slice(&[0x01, 0x13]);
        add(&mut answer, ERROR_CODE, b"\0\0\x04\x56Quota \x1b[2J");
        set_length(&mut answer, 0);
        assert_eq!(refusal(&answer), Some((486, "Quota [2J".to_owned())));
        assert_eq!(refusal(&answer[..22]), None);
    }
}
