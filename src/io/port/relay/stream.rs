//! How does one connection to a TURN server live and end?
//!
//! ```text
//! first message ─► connecting ──► carrying ──closed by the server──► over, and told: the address is gone
//!                   ▲  │  fails      │
//!                   └──┘ 1 to 30 s   └ the peer connection is gone ─► what waits is sent, over
//! ```
//!
//! Media that waits when it is withheld, or when the peer connection ends, is not sent.
//!
//! The library asks for an address for 8 s. A server that comes back later is asked the same question once
//! more, and its answer is told as a loss: what the peer connection has said of its relays is out of date.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;

use super::Inbox;
use super::detours::Detour;
use super::frame::{self, Frames};
use super::line::{Line, Trust};
use super::loss::Loss;
use crate::io::port::permit::Permit;
use crate::io::port::stun;

/// Messages that wait to be written. When it is full, the newest is dropped or refused: a quarter of a
/// second of a 4 Mbit/s stream, and whatever is behind it would only come later still.
const QUEUE: usize = 128;
/// Room that media leaves to everything else.
const KEPT: usize = 32;
/// Messages written with one system call, and with TLS in one record.
const BATCH: usize = 12;
/// Between two attempts to connect, doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The library has given up asking for an address: 200 ms, doubled up to 1600 ms, seven times.
pub(super) const GIVEN_UP_AFTER: Duration = Duration::from_millis(7800);
/// How long a server may take to answer one question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last messages may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Requests that are remembered, so that their repetitions are left out: over a stream none is lost (RFC
/// 8489 §6.2.2).
const MAX_ASKED: usize = 16;

/// A connection. Dropping it sends what waits but for media, and closes.
pub(super) struct Stream {
    queue: mpsc::Sender<Message>,
}

/// What is to be said to a server.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// It is media, of which there may be any amount: it leaves room to everything else, since checks and reports must
    /// get through, and leaves only as long as it may.
    pub(super) media: Option<Permit>,
}

/// What a connection works with.
pub(super) struct Work {
    pub(super) detour: Detour,
    /// Under which address the library knows the server.
    pub(super) known_as: SocketAddr,
    pub(super) local: IpAddr,
    pub(super) inbox: Arc<Inbox>,
    pub(super) trust: Arc<Trust>,
    pub(super) loss: Arc<Loss>,
    /// When the library has given up asking for an address.
    pub(super) given_up_after: Duration,
}

impl Stream {
    /// Begins to connect.
    pub(super) fn open(work: Work) -> Stream {
        // Full: see QUEUE.
        let (queue, messages) = mpsc::channel(QUEUE);
        tokio::spawn(work.run(messages));
        Stream { queue }
    }

    /// Takes a message, or says that there is no room or no connection any more.
    pub(super) fn try_send(&self, message: Message) -> io::Result<()> {
        if message.media.is_some() && self.queue.capacity() <= KEPT && !self.queue.is_closed() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.queue.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TrySendError::Closed(_)) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Waits until there is room for media, or no connection any more.
    pub(super) fn room(&self) -> impl Future<Output = ()> + Send + use<> {
        let queue = self.queue.downgrade();
        async move {
            // Room is all that is wanted; it is given back at once.
            if let Some(queue) = queue.upgrade() {
                let _ = queue.reserve_many(KEPT + 1).await;
            }
        }
    }
}

/// What has become of a connection.
enum Ended {
    /// The peer connection is gone.
    Dropped,
    /// The server has closed it, or the way there is lost.
    Lost(io::Error),
}

impl Work {
    async fn run(self, mut messages: mpsc::Receiver<Message>) {
        let Some(Message { bytes: question, .. }) = messages.recv().await else { return };
        let mut waiting = VecDeque::from([question.clone()]);
        let (begun, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            let Some(line) = self.connect(&mut waiting, &mut messages).await else { return };
            let cause = match line {
                Ok(line) if begun.elapsed() > self.given_up_after => match ask_again(line, &question).await {
                    Ok(()) => {
                        log::info!(server = self.server().as_str(); "a TURN server answers again");
                        return self.loss.tell(self.known_as);
                    }
                    Err(cause) => cause,
                },
                Ok(line) => {
                    let has_allocation = AtomicBool::new(false);
                    match self.converse(line, &mut waiting, &mut messages, &has_allocation).await {
                        Ended::Dropped => return,
                        Ended::Lost(cause) if has_allocation.into_inner() => {
                            log::warn!(server = self.server().as_str(), cause:%; "the connection to a TURN server is lost, and with it the address that it lent");
                            return self.loss.tell(self.known_as);
                        }
                        Ended::Lost(cause) => cause,
                    }
                }
                Err(cause) => cause,
            };
            // Once; the next peer connection says it again.
            match wait {
                FIRST_WAIT => {
                    log::warn!(server = self.server().as_str(), cause:%; "a TURN server is not reached; it is tried again");
                }
                _ => {
                    log::debug!(server = self.server().as_str(), cause:%; "a TURN server is still not reached")
                }
            }
            if self.rest(wait, &mut waiting, &mut messages).await.is_none() {
                return;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// The server, for people.
    fn server(&self) -> String {
        let (host, port) = (&self.detour.host, self.detour.port);
        format!("{host}:{port} by {}", if self.detour.is_tls { "TLS" } else { "TCP" })
    }

    /// Connects while it takes what is to be said then. `None`: the peer connection is gone.
    async fn connect(
        &self,
        waiting: &mut VecDeque<Vec<u8>>,
        messages: &mut mpsc::Receiver<Message>,
    ) -> Option<io::Result<Line>> {
        let opening = Line::open(&self.detour, self.local, &self.trust);
        meanwhile(opening, waiting, messages).await
    }

    async fn rest(
        &self,
        wait: Duration,
        waiting: &mut VecDeque<Vec<u8>>,
        messages: &mut mpsc::Receiver<Message>,
    ) -> Option<()> {
        meanwhile(tokio::time::sleep(wait), waiting, messages).await
    }

    async fn converse(
        &self,
        line: Line,
        waiting: &mut VecDeque<Vec<u8>>,
        messages: &mut mpsc::Receiver<Message>,
        has_allocation: &AtomicBool,
    ) -> Ended {
        log::debug!(server = self.server().as_str(); "connected to a TURN server");
        let (reader, writer) = tokio::io::split(line);
        tokio::select! {
            cause = self.read(reader, has_allocation) => Ended::Lost(cause),
            ended = write(writer, waiting, messages) => ended,
        }
    }

    /// Hands the library what comes, until nothing comes any more.
    async fn read(&self, mut reader: ReadHalf<Line>, has_allocation: &AtomicBool) -> io::Error {
        let mut frames = Frames::default();
        let mut bytes = vec![0; 16 * 1024];
        loop {
            match reader.read(&mut bytes).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(length) => frames.read(&bytes[..length]),
                Err(cause) => return cause,
            }
            loop {
                match frames.next() {
                    Ok(Some(message)) => {
                        if stun::is_allocation(message) {
                            has_allocation.store(true, Ordering::Relaxed);
                        }
                        self.loss.received(self.known_as, message);
                        self.inbox.deliver(self.known_as, message);
                    }
                    Ok(None) => break,
                    Err(frame::OutOfStep) => {
                        return io::Error::new(io::ErrorKind::InvalidData, "it does not speak TURN");
                    }
                }
            }
        }
    }
}

/// Does something and takes messages all the while. `None`: the peer connection is gone.
async fn meanwhile<T>(
    work: impl Future<Output = T>,
    waiting: &mut VecDeque<Vec<u8>>,
    messages: &mut mpsc::Receiver<Message>,
) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            message = messages.recv() => {
                let Message { bytes: message, media } = message?;
                if media.is_some() {
                    continue;
                }
                // A question is repeated until it is answered; it need not wait twice, and other things
                // are not said before there is an answer.
                if !waiting.contains(&message) && waiting.len() < MAX_ASKED {
                    waiting.push_back(message);
                }
            }
        }
    }
}

/// Writes what is to be sent, until the peer connection is gone.
async fn write(
    mut writer: WriteHalf<Line>,
    waiting: &mut VecDeque<Vec<u8>>,
    messages: &mut mpsc::Receiver<Message>,
) -> Ended {
    let mut asked = VecDeque::with_capacity(MAX_ASKED);
    let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), Vec::new());
    batch.extend(waiting.drain(..).map(|bytes| Message { bytes, media: None }));
    loop {
        let is_over = messages.is_closed();
        for Message { bytes: message, media } in batch.drain(..) {
            let may_leave = media.is_none_or(|permit| permit.holds() && !is_over);
            if may_leave && is_news(&mut asked, &message) {
                frame::append(&mut bytes, &message);
            }
        }
        if let Err(cause) = flush(&mut writer, &bytes).await {
            return Ended::Lost(cause);
        }
        bytes.clear();
        if messages.recv_many(&mut batch, BATCH).await == 0 {
            let _ = tokio::time::timeout(LAST_WORDS, writer.shutdown()).await;
            return Ended::Dropped;
        }
    }
}

async fn flush(writer: &mut WriteHalf<Line>, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Whether a message is to be written: all but a request that was written before.
fn is_news(asked: &mut VecDeque<stun::Transaction>, message: &[u8]) -> bool {
    let Some(transaction) = stun::request(message) else { return true };
    if asked.contains(&transaction) {
        return false;
    }
    if asked.len() == MAX_ASKED {
        asked.pop_front();
    }
    asked.push_back(transaction);
    true
}

/// Asks a question that nobody waits for any more, and waits for whatever answer.
async fn ask_again(mut line: Line, question: &[u8]) -> io::Result<()> {
    let asking = async {
        line.write_all(question).await?;
        line.flush().await?;
        let (mut frames, mut bytes) = (Frames::default(), [0; 2048]);
        loop {
            let length = line.read(&mut bytes).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            frames.read(&bytes[..length]);
            match frames.next() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(frame::OutOfStep) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, asking).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}
