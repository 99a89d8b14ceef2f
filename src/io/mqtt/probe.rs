//! Does the broker let this device in, and take and give what it does there? One connection, for
//! `farol doctor`, which leaves nothing behind and has no will.

use std::time::Duration;

use rumqttc::{
    AsyncClient, Event, EventLoop, Incoming, MqttOptions, PubAckReason, PublishOptions, PublishProperties,
    QoS,
};
use tokio::time::timeout;

use super::connection::{message, subscribe};
use super::fault::{Fault, Phase};
use super::options::{options, whole_seconds};
use super::{MqttEvent, Publication, Subscription};
use crate::config::Broker;
use crate::engine::doctor::broker::Trouble;

/// How long the broker has for each answer, and for handing a message back. Slow ones take a fifth of it.
const ANSWER: Duration = Duration::from_millis(1500);
/// Room inside the MQTT client; one publication at a time is on its way.
const CLIENT_QUEUE: usize = 4;
/// Messages that are kept; of a flood the rest is let go.
const MOST_HEARD: usize = 64;

/// A message to be sent, and whether it should come back by the subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The message. A retained one is cleared afterwards.
    pub publication: Publication,
    /// Whether we subscribe to its topic.
    pub is_awaited: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Why the broker did not take it.
    pub refused: Option<String>,
    /// Whether it came back.
    pub came_back: bool,
}

/// What a connection has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Whether the broker says that it keeps retained messages (MQTT 5 §3.2.2.3.5).
    pub keeps_retained: bool,
    /// The largest packet that it takes, where it says so (MQTT 5 §3.2.2.3.6).
    pub max_packet_bytes: Option<u32>,
    /// One for each message, in their order.
    pub sent: Vec<Sent>,
}

/// Connects, sends, subscribes, waits for what comes back, clears what was retained and disconnects.
///
/// # Errors
///
/// There is no connection, or a subscription is refused: of which kind it is, and in words.
pub async fn probe(
    broker: &Broker,
    client_id: &str,
    subscriptions: &[Subscription],
    echoes: &[Echo],
) -> Result<Probed, (Trouble, String)> {
    let told = |fault: Fault| (fault.trouble(), fault.in_words(broker));
    let options = options(broker, client_id, None).await.map_err(told)?;
    connect_and_ask(options, subscriptions, echoes).await.map_err(told)
}

async fn connect_and_ask(
    options: MqttOptions,
    subscriptions: &[Subscription],
    echoes: &[Echo],
) -> Result<Probed, Fault> {
    let (client, eventloop) = AsyncClient::builder(options).capacity(CLIENT_QUEUE).build();
    let mut line = Line { client, eventloop, heard: Vec::new() };
    let (keeps_retained, max_packet_bytes) = line.connected().await?;
    let mut sent = vec![Sent { refused: None, came_back: false }; echoes.len()];
    // What is retained must be there for who subscribes later.
    for is_early in [true, false] {
        for (echo, sent) in echoes.iter().zip(&mut sent) {
            if echo.publication.retain == is_early {
                sent.refused = line.publish(&echo.publication).await?;
            }
        }
        if is_early {
            let subscribed = subscribe(&line.client, &mut line.eventloop, subscriptions);
            line.heard.extend(timeout(ANSWER, subscribed).await.map_err(|_| Fault::NoSubAck)??);
        }
    }
    let is_missed = |heard: &[MqttEvent]| {
        let mut awaited =
            echoes.iter().zip(&sent).filter(|(echo, sent)| echo.is_awaited && sent.refused.is_none());
        awaited.any(|(echo, _)| !has_come(heard, &echo.publication))
    };
    // It ends with its time: what has not come by then does not come.
    let _ = timeout(ANSWER, line.hear_while(is_missed)).await;
    for (echo, sent) in echoes.iter().zip(&mut sent) {
        sent.came_back = has_come(&line.heard, &echo.publication);
        if echo.publication.retain && sent.refused.is_none() {
            let nothing =
                Publication { payload: Default::default(), expiry: None, ..echo.publication.clone() };
            line.publish(&nothing).await?;
        }
    }
    line.close().await;
    Ok(Probed { keeps_retained, max_packet_bytes, sent })
}

fn has_come(heard: &[MqttEvent], publication: &Publication) -> bool {
    heard.iter().any(|event| {
        matches!(event, MqttEvent::Message { topic, payload, .. }
            if *topic == publication.topic && *payload == publication.payload)
    })
}

struct Line {
    client: AsyncClient,
    eventloop: EventLoop,
    heard: Vec<MqttEvent>,
}

impl Line {
    /// What the CONNACK says of retained messages and of sizes.
    async fn connected(&mut self) -> Result<(bool, Option<u32>), Fault> {
        loop {
            let event = self.eventloop.poll().await;
            if let Event::Incoming(Incoming::ConnAck(ack)) =
                event.map_err(|source| Fault::Mqtt { phase: Phase::Connecting, source })?
            {
                let properties = ack.properties;
                let keeps = properties.as_ref().and_then(|properties| properties.retain_available) != Some(0);
                return Ok((keeps, properties.and_then(|properties| properties.max_packet_size)));
            }
        }
    }

    /// Sends one, and waits for the broker's word on it; `Some`: why it was not taken.
    async fn publish(&mut self, publication: &Publication) -> Result<Option<String>, Fault> {
        let Publication { topic, payload, retain, expiry } = publication;
        let mut options = PublishOptions::new(QoS::AtLeastOnce).retain(*retain);
        if let Some(expiry) = expiry {
            let message_expiry_interval = Some(whole_seconds(*expiry));
            options = options.properties(PublishProperties { message_expiry_interval, ..Default::default() });
        }
        if self.client.try_publish(topic.as_str(), payload.clone(), options).is_err() {
            return Ok(Some("the message cannot be sent".to_owned()));
        }
        let answer = async {
            loop {
                if let Event::Incoming(Incoming::PubAck(ack)) = self.next().await? {
                    return Ok(match ack.reason {
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
                        PubAckReason::NotAuthorized => Some("not authorized".to_owned()),
                        reason => Some(format!("{reason:?}")),
                    });
                }
            }
        };
        timeout(ANSWER, answer).await.unwrap_or(Ok(Some("it does not answer".to_owned())))
    }

    async fn hear_while(&mut self, is_missed: impl Fn(&[MqttEvent]) -> bool) -> Result<(), Fault> {
        while is_missed(&self.heard) {
            self.next().await?;
        }
        Ok(())
    }

    /// The next event; messages are kept.
    async fn next(&mut self) -> Result<Event, Fault> {
        let event = self.eventloop.poll().await.map_err(|source| Fault::Mqtt { phase: Phase::Up, source })?;
        if let Event::Incoming(Incoming::Publish(publish)) = &event
            && self.heard.len() < MOST_HEARD
        {
            self.heard.extend(message(publish.clone()));
        }
        Ok(event)
    }

    async fn close(mut self) {
        let _ = self.client.disconnect_now().await;
        // The connection is broken off when its time is over, which does no harm without a will.
        let _ = timeout(ANSWER, async { while self.eventloop.poll().await.is_ok() {} }).await;
    }
}
