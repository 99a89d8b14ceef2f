//! How does the device speak to its broker, which may be absent for hours?
//!
//! One task keeps one MQTT 5 connection: it connects, subscribes, hands over what arrives and sends
//! what it is given; when the connection ends it backs off and begins anew. Nothing is carried from
//! one connection to the next (clean start, no session expiry, no repeated publications): whoever
//! uses this rebuilds everything when it hears [`MqttEvent::Connected`].
//!
//! ```text
//! read the password and certificates -> connect -> subscribe -> up: messages in, publications out
//!        ^                                 |            |        |
//!        +-- wait, 0.5 s doubling to 60 s -+------------+--------+   (a connection of 60 s resets it,
//!                                                                     and so do other addresses)
//! ```
//!
//! The task logs what becomes of the connection, a repeating fault once; events carry it too, for a
//! status line. It knows nothing of topics and payloads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config;

mod backoff;
mod connection;
mod fault;
mod local;
mod login;
mod options;
mod outgoing;
mod probe;
mod waiting;

use waiting::{Full, Waiting};

pub use probe::{Echo, Probed, Sent, probe};

/// Largest packet that is taken, declared to the broker as Maximum Packet Size (MQTT 5 §3.1.2.11.4),
/// which then keeps larger ones back. A signalling message is at most 32 KiB.
pub const MAX_PACKET_BYTES: u32 = 64 * 1024;
/// How long [`Mqtt::close`] waits for the broker to acknowledge what was published.
pub const FLUSH: Duration = Duration::from_secs(2);

/// Room for messages that the daemon has not read yet. When it is full the connection is not read
/// until there is room again; after one and a half keep alive intervals the broker would give us up.
const EVENTS: usize = 256;

/// A message for the broker; always QoS 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The whole topic.
    pub topic: String,
    /// The message; empty and retained clears what was retained.
    pub payload: Bytes,
    /// Whether the broker keeps it for those who subscribe later.
    pub retain: bool,
    /// How long the broker keeps it, in whole seconds, rounded up; `None`: without end.
    pub expiry: Option<Duration>,
}

/// What is subscribed to at each connection, with QoS 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The topic filter.
    pub filter: String,
    /// Messages that were retained before are not wanted: Retain Handling 2 (MQTT 5 §3.8.3.1).
    pub skip_retained: bool,
}

/// What happened on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttEvent {
    /// The broker is there and has granted every subscription. What was published before is lost.
    Connected,
    /// There is no connection: sent when one ended, and when the reason why there is none changes.
    Disconnected {
        /// In words: what happened, to which broker, and what to do.
        reason: String,
    },
    /// A message on a subscribed topic.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Bytes,
        /// Whether the broker had it in store, or puts it there now (Retain As Published, MQTT 5 §3.8.3.1).
        retained: bool,
    },
}

/// The connection's handle. Dropping it breaks the connection off, so that the broker sends the will.
#[derive(Debug)]
pub struct Mqtt {
    /// What happened, in order.
    pub events: mpsc::Receiver<MqttEvent>,
    waiting: Arc<Waiting>,
    overflows: watch::Sender<u64>,
    networks: watch::Sender<u64>,
    will: watch::Sender<Publication>,
    task: Task,
}

/// What the connection's task is told, in order.
#[derive(Debug)]
enum Order {
    Publish(Publication),
    Close,
}

/// The task dies with its owner at once, even while it waits for a broker that takes nothing.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Mqtt {
    /// Starts connecting and returns at once. Must be called within a tokio runtime.
    pub fn spawn(
        broker: config::Broker,
        client_id: String,
        subscriptions: Vec<Subscription>,
        will: Publication,
    ) -> Mqtt {
        let (event_sender, events) = mpsc::channel(EVENTS);
        let waiting = Arc::new(Waiting::default());
        let (overflows, overflow_receiver) = watch::channel(0);
        let (networks, network_receiver) = watch::channel(0);
        let (will, will_receiver) = watch::channel(will);
        let keeper = connection::Keeper {
            broker,
            client_id,
            subscriptions,
            will: will_receiver,
            waiting: waiting.clone(),
            overflows: overflow_receiver,
            networks: network_receiver,
            events: event_sender,
        };
        let task = Task(tokio::spawn(keeper.run()));
        Mqtt { events, waiting, overflows, networks, will, task }
    }

    /// Hands a publication over and never waits. While there is no connection it is dropped. One that the broker
    /// keeps takes the place of an older one on its topic that still waits. When the broker takes messages so
    /// slowly that 256 others wait, the connection is given up: a state that is rebuilt on
    /// [`MqttEvent::Connected`] is better than one with a hole in it.
    pub fn publish(&self, publication: Publication) {
        if let Err(Full) = self.waiting.push(publication) {
            self.overflows.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// The board has other addresses: a connection by one that is gone is given up at once, and one that is
    /// waited for is tried again now.
    pub fn network_changed(&self) {
        self.networks.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The last will, from the next connection on.
    pub fn set_will(&self, will: Publication) {
        self.will.send_replace(will);
    }

    /// Sends what was published, waits at most [`FLUSH`] for the broker to acknowledge it, then
    /// disconnects in order, so that the broker drops the will.
    pub async fn close(mut self) {
        // Nobody reads any more: what still arrives must not hold the connection up.
        self.events.close();
        self.waiting.close();
        let ended = &mut self.task.0;
        // Beyond the flush: one round trip for the DISCONNECT.
        if timeout(FLUSH + Duration::from_secs(1), ended).await.is_err() {
            log::warn!("the broker did not let us disconnect in order; it will send our will");
        }
    }
}
