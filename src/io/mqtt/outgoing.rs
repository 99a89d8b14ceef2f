//! How do publications go out, and what becomes of those that the broker refuses?

use rumqttc::{
    AsyncClient, PubAckReason, PublishNotice, PublishNoticeError, PublishOptions, PublishProperties, QoS,
};
use tokio::select;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::Unwanted;
use super::options::whole_seconds;
use super::waiting::Waiting;
use super::{FLUSH, Order, Publication, login};
use crate::config::Broker;

/// Sends what is ordered. Once told to close it flushes, asks for the DISCONNECT and leaves the end to the
/// receiving side.
pub(super) async fn send(client: &AsyncClient, waiting: &Waiting, broker: &Broker) -> Unwanted {
    let mut acks: JoinSet<Option<Refusal>> = JoinSet::new();
    let mut refused = 0u64;
    loop {
        let order = select! {
            order = waiting.next() => order,
            Some(Ok(refusal)) = acks.join_next(), if !acks.is_empty() => {
                if let Some(refusal) = refusal {
                    refusal.tell(broker, refused);
                    refused += 1;
                }
                continue;
            }
        };
        match order {
            Order::Publish(publication) => publish(client, publication, &mut acks).await,
            Order::Close => break,
        }
    }
    let flushed = async { while acks.join_next().await.is_some() {} };
    if timeout(FLUSH, flushed).await.is_err() {
        log::warn!(unacknowledged = acks.len(); "the broker did not acknowledge our last publications");
    }
    let _ = client.disconnect_now().await;
    std::future::pending().await
}

async fn publish(client: &AsyncClient, publication: Publication, acks: &mut JoinSet<Option<Refusal>>) {
    let Publication { topic, payload, retain, expiry } = publication;
    let mut options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
    if let Some(expiry) = expiry {
        let message_expiry_interval = Some(whole_seconds(expiry));
        options = options.properties(PublishProperties { message_expiry_interval, ..Default::default() });
    }
    match client.publish_tracked(topic.as_str(), payload, options).await {
        Ok(notice) => {
            acks.spawn(refusal(topic, notice));
        }
        // Only a topic with wildcards; the connection's end shows on the receiving side.
        Err(error) => log::error!(topic = topic.as_str(); "cannot be published: {error}"),
    }
}

/// A publication that the broker answered with an error (MQTT 5 §3.4.2.1).
struct Refusal {
    topic: String,
    reason: PubAckReason,
}

impl Refusal {
    /// A missing line in the broker's ACL refuses every message of a kind: the first is a warning.
    fn tell(&self, broker: &Broker, earlier: u64) {
        let level = if earlier == 0 { log::Level::Warn } else { log::Level::Debug };
        let (topic, who) = (self.topic.as_str(), login::Named(broker.login.as_ref()));
        match self.reason {
            PubAckReason::NotAuthorized => log::log!(
                level, topic, earlier;
                "the broker refuses a publication by {who}: not authorized; allow it in the broker's ACL, \
                 in Mosquitto's acl_file: topic write {topic}"
            ),
            reason => {
                log::log!(level, topic, earlier; "the broker refuses a publication by {who}: {reason:?}")
            }
        }
    }
}

async fn refusal(topic: String, notice: PublishNotice) -> Option<Refusal> {
    match notice.wait_completion_async().await {
        Err(PublishNoticeError::V5PubAck(reason)) => Some(Refusal { topic, reason }),
        _ => None,
    }
}
