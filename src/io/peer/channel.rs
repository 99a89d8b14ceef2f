//! How do messages go over the control channel without waiting for a viewer that does not read?
//!
//! Two tasks for each connection: one hears the viewer, one speaks. What waits to be said is bounded three
//! times: in messages that wait here, in bytes that the library holds, and in the time that it may take. A
//! viewer beyond any of these gets its channel closed; picture and sound go on.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::PeerConnection;

use super::{PeerError, PeerEvent, library};
use crate::engine::bucket::Bucket;
use crate::engine::control::{LABEL, STILL_CHUNK_BYTES};
use crate::units::PeerId;

/// Messages that wait to be sent: ten seconds of news at five a second, and some replies. When it is full,
/// the channel is closed.
const WAITING: usize = 64;
/// Bytes that the library holds for the viewer: at 100 ms there and back it carries 5 Mbit/s, and a still
/// does not push the picture aside for long.
pub(super) const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of the viewer's that wait to be read; the library's own is 1 MiB.
pub(super) const RECEIVE_BUFFER_BYTES: u32 = 128 * 1024;
/// A viewer that takes not even one message in this time does not read.
const STALLED: Duration = Duration::from_secs(10);
/// Messages that are heard in a second, and at once. It is far beyond what the protocol allows, whose limit
/// each message over it is told of; those beyond this one wait in the viewer.
const HEARD: (u32, u32) = (100, 200);
/// The wait of a viewer beyond that.
const PAUSE: Duration = Duration::from_millis(10);

/// What is said on the control channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// A text.
    Text(String),
    /// A text, and then a still in as many binary messages as it takes.
    Still {
        /// The reply that announces it.
        reply: String,
        /// The file.
        jpeg: Bytes,
    },
}

/// The control channel of one connection.
pub(super) struct Channel {
    id: PeerId,
    channel: Arc<dyn DataChannel>,
    say: mpsc::Sender<Say>,
    admitted: watch::Sender<bool>,
    tasks: [AbortHandle; 2],
}

impl Channel {
    /// Creates the channel. It must be there before the offer, so that the offer has its section.
    pub async fn create(connection: &Arc<dyn PeerConnection>) -> Result<Arc<dyn DataChannel>, PeerError> {
        connection.create_data_channel(LABEL, None).await.map_err(library("creating the control channel"))
    }

    /// Starts its tasks. Nothing is read before [`Channel::admit`].
    pub fn new(
        id: PeerId,
        channel: Arc<dyn DataChannel>,
        events: mpsc::Sender<(PeerId, PeerEvent)>,
    ) -> Channel {
        // Full: see WAITING.
        let (say, to_say) = mpsc::channel(WAITING);
        let (admitted, may_begin) = watch::channel(false);
        let hearing = tokio::spawn(hear(id, channel.clone(), may_begin, events)).abort_handle();
        let speaking = tokio::spawn(speak(id, channel.clone(), to_say)).abort_handle();
        Channel { id, channel, say, admitted, tasks: [hearing, speaking] }
    }

    /// The viewer's rights are known: from now on it is heard.
    pub fn admit(&self) {
        self.admitted.send_replace(true);
    }

    /// Sends, or closes the channel when too much waits already.
    pub fn say(&self, what: Say) {
        match self.say.try_send(what) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                log::info!(peer:% = self.id; "a viewer does not read what it asked for; its control channel is closed");
                self.tasks[1].abort();
                let channel = self.channel.clone();
                tokio::spawn(async move { channel.close().await });
            }
            // It is closed, which the viewer's tasks have said.
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn hear(
    id: PeerId,
    channel: Arc<dyn DataChannel>,
    mut may_begin: watch::Receiver<bool>,
    events: mpsc::Sender<(PeerId, PeerEvent)>,
) {
    let mut heard = Bucket::new(HEARD.0, HEARD.1);
    while let Some(event) = channel.poll().await {
        let event = match event {
            DataChannelEvent::OnOpen => {
                if may_begin.wait_for(|&admitted| admitted).await.is_err() {
                    return;
                }
                PeerEvent::ControlOpened
            }
            DataChannelEvent::OnMessage(message) => {
                while !heard.take(Instant::now().into_std()) {
                    sleep(PAUSE).await;
                }
                PeerEvent::Control { is_text: message.is_string, data: message.data.freeze() }
            }
            DataChannelEvent::OnClose => break,
            _ => continue,
        };
        if events.send((id, event)).await.is_err() {
            return;
        }
    }
    let _ = events.send((id, PeerEvent::ControlClosed)).await;
}

async fn speak(id: PeerId, channel: Arc<dyn DataChannel>, mut to_say: mpsc::Receiver<Say>) {
    if let Err(why) = speak_until_refused(&channel, &mut to_say).await {
        log::info!(peer:% = id, why; "a viewer's control channel is closed");
        let _ = channel.close().await;
    }
}

/// Texts overtake what is left of a still, so that a still on a slow path holds no reply up.
async fn speak_until_refused(
    channel: &Arc<dyn DataChannel>,
    to_say: &mut mpsc::Receiver<Say>,
) -> Result<(), &'static str> {
    let mut still = Bytes::new();
    loop {
        let next = match still.is_empty() {
            true => to_say.recv().await.ok_or(TryRecvError::Disconnected),
            false => to_say.try_recv(),
        };
        match next {
            Ok(Say::Text(text)) => in_time(channel.send_text(&text)).await?,
            Ok(Say::Still { reply, jpeg }) => {
                // Whose chunk it is, is known by their order alone.
                while !still.is_empty() {
                    send_chunk(channel, &mut still).await?;
                }
                in_time(channel.send_text(&reply)).await?;
                still = jpeg;
            }
            Err(TryRecvError::Empty) => send_chunk(channel, &mut still).await?,
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

async fn send_chunk(channel: &Arc<dyn DataChannel>, still: &mut Bytes) -> Result<(), &'static str> {
    let chunk = still.split_to(still.len().min(STILL_CHUNK_BYTES));
    in_time(channel.send(BytesMut::from(chunk))).await
}

async fn in_time<E>(sending: impl Future<Output = Result<(), E>>) -> Result<(), &'static str> {
    match timeout(STALLED, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("it cannot be written to"),
        Err(_) => Err("nothing of it was read for 10 s"),
    }
}
