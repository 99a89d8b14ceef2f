//! A second MQTT client for a test: it sees everything that the broker hands out, with its properties.

#![allow(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::time::Duration;

use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, Publish, PublishNoticeError, PublishOptions, QoS};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Long enough for a loaded machine; only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connected client.
pub struct Observer {
    client: AsyncClient,
    messages: mpsc::Receiver<Publish>,
    task: tokio::task::JoinHandle<()>,
}

impl Observer {
    /// Connects to 127.0.0.1 without a user name and subscribes; ready when the broker has granted it.
    pub async fn subscribed(port: u16, filter: &str) -> Observer {
        let options = MqttOptions::new(format!("observer-{filter}"), ("127.0.0.1", port));
        Observer::with(options, filter).await
    }

    /// The same, with options of the test's choice.
    pub async fn with(mut options: MqttOptions, filter: &str) -> Observer {
        options.set_max_packet_size(Some(1024 * 1024));
        let (client, mut eventloop) = AsyncClient::builder(options).capacity(64).build();
        client.subscribe(filter, QoS::AtLeastOnce).await.expect("there is room for one request");
        let (sender, messages) = mpsc::channel(1024);
        let (ready, granted) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut ready = Some(ready);
            while let Ok(event) = eventloop.poll().await {
                match event {
                    Event::Incoming(Incoming::SubAck(_)) => {
                        let _ = ready.take().map(|ready| ready.send(()));
                    }
                    Event::Incoming(Incoming::Publish(publish)) => {
                        let _ = sender.send(publish).await;
                    }
                    _ => {}
                }
            }
        });
        timeout(PATIENCE, granted).await.expect("a SUBACK in time").expect("a connection");
        Observer { client, messages, task }
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
        let notice = self.client.publish_tracked(topic, payload.into(), options).await.expect("a good topic");
        timeout(PATIENCE, notice.wait_completion_async()).await.expect("a PUBACK in time").expect("taken");
    }

    /// Whether the broker answers a publication with an error.
    pub async fn publish_is_refused(&self, topic: &str) -> bool {
        let options = PublishOptions::new(QoS::AtLeastOnce);
        let notice = self.client.publish_tracked(topic, "x", options).await.expect("a good topic");
        let answer = timeout(PATIENCE, notice.wait_completion_async()).await.expect("a PUBACK in time");
        matches!(answer, Err(PublishNoticeError::V5PubAck(_)))
    }

    /// The next message.
    pub async fn next(&mut self) -> Publish {
        timeout(PATIENCE, self.messages.recv()).await.expect("a message in time").expect("a connection")
    }

    /// The next message as text: topic and payload.
    pub async fn next_text(&mut self) -> (String, String) {
        let publish = self.next().await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&publish.topic), text(&publish.payload))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
