//! What does one connection to the broker go through, and what comes after it?

#![expect(clippy::disallowed_methods, reason = "measures how long a connection lived")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::{
    AsyncClient, Event, EventLoop, Incoming, Outgoing, QoS, RetainForwardRule, SubAck, SubscribeFilterInput,
    SubscribeReasonCode,
};
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::fault::{Fault, Phase};
use super::local::Local;
use super::options::options;
use super::outgoing::send;
use super::waiting::Waiting;
use super::{MqttEvent, Order, Publication, Subscription, backoff};
use crate::config::Broker;

/// For the SUBACK after the CONNACK.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Publications inside the MQTT client. When it is full ours fills, see [`super::Mqtt::publish`].
const CLIENT_QUEUE: usize = 16;
/// Messages that a broker sends before its SUBACK are kept up to this number, the rest are dropped.
const EARLY_MESSAGES: usize = 64;

/// The task that keeps a connection.
pub(super) struct Keeper {
    pub(super) broker: Broker,
    pub(super) client_id: String,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) will: watch::Receiver<Publication>,
    pub(super) waiting: Arc<Waiting>,
    pub(super) overflows: watch::Receiver<u64>,
    pub(super) networks: watch::Receiver<u64>,
    pub(super) events: mpsc::Sender<MqttEvent>,
}

/// Nobody wants a connection any more.
pub(super) struct Unwanted;

/// A connection on which every subscription is granted.
struct Up {
    client: AsyncClient,
    eventloop: EventLoop,
    early: Vec<MqttEvent>,
}

impl Keeper {
    /// Connects again and again until it is told to close, or its handle is gone.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        let mut told = Told::default();
        loop {
            let mut up_since = None;
            let Err(fault) = self.connection(&mut up_since, &mut told).await else { return };
            if up_since.is_some_and(|since: Instant| since.elapsed() >= backoff::GOOD_AFTER) {
                failures = 0;
            }
            // Without randomness the waits of many devices are in step, nothing worse.
            let wait = match fault {
                // That says nothing against the broker.
                Fault::AddressGone => Duration::ZERO,
                _ => backoff::wait(failures, getrandom::u32().unwrap_or(u32::MAX / 2)),
            };
            failures += 1;
            if let Some(reason) = told.lost(&self.broker, &fault, wait) {
                let _ = self.events.send(MqttEvent::Disconnected { reason }).await;
            }
            select! {
                () = sleep(wait) => {}
                Ok(()) = self.networks.changed() => failures = 0,
                Unwanted = drop_publications(&self.waiting) => return,
            }
        }
    }

    /// One connection from start to end. `Ok` when nobody wants another.
    async fn connection(&mut self, up_since: &mut Option<Instant>, told: &mut Told) -> Result<(), Fault> {
        self.networks.mark_unchanged();
        let local = Local::default();
        let up = select! {
            up = come_up(&self.broker, &self.client_id, &self.subscriptions, &self.will, &local) => up?,
            () = local.is_gone(&mut self.networks) => return Err(Fault::AddressGone),
            Unwanted = drop_publications(&self.waiting) => return Ok(()),
        };
        *up_since = Some(Instant::now());
        self.overflows.mark_unchanged();
        // Whatever waits now was meant for the connection before.
        self.waiting.clear();
        told.connected(&self.broker);
        let _ = self.events.send(MqttEvent::Connected).await;
        for message in up.early {
            let _ = self.events.send(message).await;
        }
        select! {
            end = receive(up.eventloop, &self.events, &self.broker) => end,
            Unwanted = send(&up.client, &self.waiting, &self.broker) => Ok(()),
            Ok(()) = self.overflows.changed() => Err(Fault::TooSlow),
            () = local.is_gone(&mut self.networks) => Err(Fault::AddressGone),
        }
    }
}

/// What was last said about the connection, so that a repeating fault is said once.
#[derive(Default)]
struct Told {
    reason: Option<String>,
    attempts: u32,
}

impl Told {
    fn connected(&mut self, broker: &Broker) {
        let (host, port) = (broker.host.as_str(), broker.port);
        log::info!(host, port, failed_attempts = self.attempts; "connected to the broker");
        *self = Told::default();
    }

    /// Counts a failure; gives the reason when it is not the one that was given before.
    fn lost(&mut self, broker: &Broker, fault: &Fault, wait: Duration) -> Option<String> {
        self.attempts += 1;
        let (host, port) = (broker.host.as_str(), broker.port);
        let (attempts, wait_ms) = (self.attempts, wait.as_millis() as u64);
        let reason = fault.in_words(broker);
        if self.reason.as_ref() == Some(&reason) {
            log::debug!(host, port, attempts, wait_ms; "still no broker");
            return None;
        }
        log::warn!(host, port, attempts, wait_ms; "{reason}");
        self.reason = Some(reason.clone());
        Some(reason)
    }
}

/// While there is no connection, publications are dropped.
async fn drop_publications(waiting: &Waiting) -> Unwanted {
    while let Order::Publish(_) = waiting.next().await {}
    Unwanted
}

async fn come_up(
    broker: &Broker,
    client_id: &str,
    subscriptions: &[Subscription],
    will: &watch::Receiver<Publication>,
    local: &Local,
) -> Result<Up, Fault> {
    let will = will.borrow().clone();
    let mut options = options(broker, client_id, Some(will)).await?;
    local.learn_from(&mut options);
    let (client, mut eventloop) = AsyncClient::builder(options).capacity(CLIENT_QUEUE).build();
    loop {
        if let Event::Incoming(Incoming::ConnAck(_)) =
            eventloop.poll().await.map_err(|source| Fault::Mqtt { phase: Phase::Connecting, source })?
        {
            break;
        }
    }
    let subscribed = subscribe(&client, &mut eventloop, subscriptions);
    let early = timeout(SUBSCRIBE_TIMEOUT, subscribed).await.map_err(|_| Fault::NoSubAck)??;
    Ok(Up { client, eventloop, early })
}

pub(super) async fn subscribe(
    client: &AsyncClient,
    eventloop: &mut EventLoop,
    subscriptions: &[Subscription],
) -> Result<Vec<MqttEvent>, Fault> {
    let mut early = Vec::new();
    if subscriptions.is_empty() {
        return Ok(early);
    }
    client.try_subscribe_many(subscriptions.iter().map(filter)).map_err(|_| Fault::BadFilter)?;
    loop {
        match eventloop.poll().await.map_err(|source| Fault::Mqtt { phase: Phase::Subscribing, source })? {
            Event::Incoming(Incoming::SubAck(ack)) => return granted(&ack, subscriptions).map(|()| early),
            Event::Incoming(Incoming::Publish(publish)) if early.len() < EARLY_MESSAGES => {
                early.extend(message(publish));
            }
            _ => {}
        }
    }
}

fn filter(subscription: &Subscription) -> SubscribeFilterInput {
    let rule = match subscription.skip_retained {
        true => RetainForwardRule::Never,
        false => RetainForwardRule::OnEverySubscribe,
    };
    SubscribeFilterInput::new(subscription.filter.as_str(), QoS::AtLeastOnce)
        .retain_forward_rule(rule)
        // Without it, what is being stored now looks like a message for us alone.
        .preserve_retain(true)
}

fn granted(ack: &SubAck, subscriptions: &[Subscription]) -> Result<(), Fault> {
    for (code, subscription) in ack.return_codes.iter().zip(subscriptions) {
        if !matches!(code, SubscribeReasonCode::Success(_)) {
            return Err(Fault::Subscription { filter: subscription.filter.clone(), code: *code });
        }
    }
    Ok(())
}

/// Reads the connection until it ends; `Ok` when we ended it. Nothing here waits for the sending side,
/// which could not go on without this one.
async fn receive(
    mut eventloop: EventLoop,
    events: &mpsc::Sender<MqttEvent>,
    broker: &Broker,
) -> Result<(), Fault> {
    loop {
        match eventloop.poll().await {
            Ok(Event::Incoming(Incoming::Publish(publish))) => {
                if let Some(message) = message(publish) {
                    // After `close` nobody reads; the connection is still flushed.
                    let _ = events.send(message).await;
                }
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => {
                log::info!(host = broker.host.as_str(); "disconnected from the broker");
                return Ok(());
            }
            Ok(_) => {}
            Err(source) => return Err(Fault::Mqtt { phase: Phase::Up, source }),
        }
    }
}

/// A topic that is not UTF-8 breaks the protocol (MQTT 5 §1.5.4); such a message is dropped.
pub(super) fn message(publish: rumqttc::Publish) -> Option<MqttEvent> {
    let topic = String::from_utf8(publish.topic.to_vec()).ok()?;
    Some(MqttEvent::Message { topic, payload: publish.payload, retained: publish.retain })
}
