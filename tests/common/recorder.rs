//! The broker's own eyes: a client that sees everything which passes, keeps it, and may publish anything.

#![allow(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::time::Duration;

use rumqttc::{
    AsyncClient, Event, Incoming, MqttOptions, PublishOptions, QoS, RetainForwardRule, SubscribeFilterInput,
};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Long enough for a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// One message as it passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Whether it was published to be kept, or was kept when the recorder came.
    pub retained: bool,
}

/// A client that is subscribed to everything.
pub struct Recorder {
    client: AsyncClient,
    seen: watch::Receiver<Vec<Seen>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Watches a broker that lets anybody in.
    pub async fn on(port: u16) -> Recorder {
        Recorder::with(MqttOptions::new(format!("recorder-{port}"), ("127.0.0.1", port))).await
    }

    /// Watches as a user of the broker who may read and write everything.
    pub async fn as_user(port: u16, user: &str, password: &str) -> Recorder {
        let mut options = MqttOptions::new(format!("recorder-{port}"), ("127.0.0.1", port));
        options.set_credentials(user, password.to_owned());
        Recorder::with(options).await
    }

    async fn with(mut options: MqttOptions) -> Recorder {
        options.set_max_packet_size(Some(1024 * 1024));
        options.set_keep_alive(600);
        let (client, mut eventloop) = AsyncClient::builder(options).capacity(256).build();
        let everything = SubscribeFilterInput::new("#", QoS::AtLeastOnce)
            .retain_forward_rule(RetainForwardRule::OnEverySubscribe)
            .preserve_retain(true);
        client.subscribe_many([everything]).await.expect("there is room for one request");
        let (sender, seen) = watch::channel(Vec::new());
        let (ready, granted) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut ready = Some(ready);
            while let Ok(event) = eventloop.poll().await {
                match event {
                    Event::Incoming(Incoming::SubAck(_)) => {
                        let _ = ready.take().map(|ready| ready.send(()));
                    }
                    Event::Incoming(Incoming::Publish(publish)) => sender.send_modify(|seen| {
                        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                        let (payload, retained) = (publish.payload.to_vec(), publish.retain);
                        seen.push(Seen { topic, payload, retained });
                    }),
                    _ => {}
                }
            }
        });
        timeout(PATIENCE, granted).await.expect("a SUBACK in time").expect("a connection");
        Recorder { client, seen, task }
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
        let notice = self.client.publish_tracked(topic, payload.into(), options).await.expect("a good topic");
        timeout(PATIENCE, notice.wait_completion_async()).await.expect("a PUBACK in time").expect("taken");
    }

    /// Publishes with QoS 0: as fast as the broker reads.
    pub async fn throw(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        let options = PublishOptions::new(QoS::AtMostOnce);
        self.client.publish_tracked(topic, payload.into(), options).await.expect("a good topic");
    }

    /// Everything so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// How many messages so far.
    pub fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Waits until what passed gives something.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&[Seen]) -> Option<T>) -> T {
        let mut seen = self.seen.clone();
        let mut found = None;
        let look = seen.wait_for(|seen| {
            found = look(seen);
            found.is_some()
        });
        match timeout(PATIENCE, look).await {
            Ok(end) => drop(end.expect("a connection")),
            Err(_) => panic!("waited in vain for {what}; topics: {:?}", self.last_topics()),
        }
        found.expect("it was waited for")
    }

    /// Waits until the last message on a topic fulfils a condition; returns it.
    pub async fn last(&self, what: &str, topic: &str, condition: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.until(what, |seen| {
            let last = seen.iter().rev().find(|message| message.topic == topic)?;
            condition(&last.payload).then(|| last.payload.clone())
        })
        .await
    }

    fn last_topics(&self) -> Vec<String> {
        let seen = self.seen.borrow();
        seen.iter()
            .rev()
            .take(8)
            .map(|message| format!("{} {}", message.topic, message.payload.len()))
            .collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a newcomer who subscribes to `filter` is handed out of the broker's store.
pub async fn stored(port: u16, login: Option<(&str, &str)>) -> Vec<Seen> {
    let recorder = match login {
        Some((user, password)) => {
            let mut options = MqttOptions::new("newcomer", ("127.0.0.1", port));
            options.set_credentials(user, password.to_owned());
            Recorder::with(options).await
        }
        None => Recorder::with(MqttOptions::new("newcomer", ("127.0.0.1", port))).await,
    };
    // The broker hands its store out behind the SUBACK and before what is published afterwards.
    recorder.publish("end/of/store", "", false).await;
    recorder
        .until("the end of the store", |seen| seen.iter().position(|one| one.topic == "end/of/store"))
        .await;
    recorder.seen().into_iter().filter(|one| one.retained).collect()
}
