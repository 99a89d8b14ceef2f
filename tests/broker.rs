//! Does the embedded broker carry the exchange, and keep viewers to their topics?
#![cfg(all(feature = "daemon", feature = "broker"))]

#[path = "common/observer.rs"]
mod observer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farol::io::broker::{EmbeddedBroker, Viewers};
use farol::io::mqtt::{Mqtt, MqttEvent, Publication, Subscription};
use farol::units::{DeviceId, Kid, SessionId};
use observer::{Observer, PATIENCE};
use rumqttc::{AsyncClient, ConnectionError, Event, Incoming, LastWill, MqttOptions, PublishOptions, QoS};
use tokio::time::timeout;

const DEVICE: DeviceId = DeviceId(0xd);
const KID: Kid = Kid(0xaa);

fn topic(rest: &str) -> String {
    format!("farol/1/{DEVICE}/{rest}")
}

fn status(state: &str) -> Publication {
    let payload = Bytes::from(state.to_owned());
    Publication { topic: topic("status"), payload, retain: true, expiry: None }
}

async fn daemon(broker: &EmbeddedBroker) -> Mqtt {
    let filter = topic("in/+/+");
    let subscriptions = vec![Subscription { filter, skip_retained: true }];
    let mut mqtt = Mqtt::spawn(broker.for_the_daemon(), "daemon-id".into(), subscriptions, status("offline"));
    assert_eq!(next(&mut mqtt).await, MqttEvent::Connected);
    mqtt
}

async fn next(mqtt: &mut Mqtt) -> MqttEvent {
    timeout(PATIENCE, mqtt.events.recv()).await.expect("an event in time").expect("the task lives")
}

fn options(broker: &EmbeddedBroker, client_id: &str) -> MqttOptions {
    MqttOptions::new(client_id, ("127.0.0.1", broker.address().port()))
}

/// What the broker answers to CONNECT.
async fn refusal(options: MqttOptions) -> String {
    let (_client, mut eventloop) = AsyncClient::builder(options).build();
    match timeout(PATIENCE, eventloop.poll()).await.expect("an answer in time") {
        Err(ConnectionError::ConnectionRefused(code)) => format!("{code:?}"),
        other => panic!("{other:?} instead of a refusal"),
    }
}

#[tokio::test]
async fn a_late_viewer_is_handed_the_retained_offer_and_its_answer_arrives() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let mut daemon = daemon(&broker).await;
    let expiry = Some(Duration::from_secs(660));
    let payload = Bytes::from(vec![b'o'; 11_000]);
    daemon.publish(Publication { topic: topic("offer/open"), payload, retain: true, expiry });
    let mut viewer = Observer::with(options(&broker, "viewer"), &topic("offer/open")).await;
    let offer = viewer.next().await;
    assert_eq!((offer.payload.len(), offer.retain), (11_000, true));
    let properties = offer.properties.expect("an expiry");
    assert!(matches!(properties.message_expiry_interval, Some(600..=660)), "{properties:?}");
    let answer = topic(&format!("in/open/{}", SessionId(1)));
    viewer.publish(&answer, "answer", false).await;
    let payload = Bytes::from_static(b"answer");
    assert_eq!(next(&mut daemon).await, MqttEvent::Message { topic: answer, payload, retained: false });
}

#[tokio::test]
async fn a_lost_daemon_is_shown_offline() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let lost = daemon(&broker).await;
    lost.publish(status("online"));
    let mut viewer = Observer::with(options(&broker, "viewer"), "farol/1/+/status").await;
    assert_eq!(viewer.next_text().await.1, "online");
    drop(lost);
    assert_eq!(viewer.next_text().await.1, "offline");
    let mut late = Observer::with(options(&broker, "late"), &topic("status")).await;
    assert_eq!(late.next_text().await.1, "offline");
}

#[tokio::test]
async fn a_closed_daemon_leaves_no_will() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let closing = daemon(&broker).await;
    closing.publish(status("goodbye"));
    closing.close().await;
    let mut viewer = Observer::with(options(&broker, "viewer"), &topic("status")).await;
    assert_eq!(viewer.next_text().await.1, "goodbye");
}

#[tokio::test]
async fn a_viewer_is_refused_what_is_not_its_own() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let mut daemon = daemon(&broker).await;
    let viewer = Observer::with(options(&broker, "viewer"), &topic("status")).await;
    for refused in [topic("status"), topic("offer/open"), topic("in/open/x"), topic("in/other/y")] {
        assert!(viewer.publish_is_refused(&refused).await, "{refused} was taken");
    }
    let mine = topic(&format!("in/open/{}", SessionId(1)));
    viewer.publish(&mine, "mine", false).await;
    assert!(matches!(next(&mut daemon).await, MqttEvent::Message { topic, .. } if topic == mine));
}

#[tokio::test]
async fn viewers_cannot_take_the_daemon_over() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let mut daemon = daemon(&broker).await;
    assert_eq!(refusal(options(&broker, "daemon-id")).await, "ClientIdentifierNotValid");
    let mut impostor = options(&broker, "impostor");
    impostor.set_credentials("daemon", "guessed");
    assert_eq!(refusal(impostor).await, "BadUserNamePassword");
    let mut late_will = options(&broker, "late-will");
    let session = topic(&format!("in/open/{}", SessionId(1)));
    late_will.set_last_will(LastWill::new(session.clone(), "will", QoS::AtLeastOnce, true, None));
    assert_eq!(refusal(late_will).await, "NotAuthorized");
    let viewer = Observer::with(options(&broker, "viewer"), &topic("status")).await;
    viewer.publish(&session, "still there?", false).await;
    assert!(matches!(next(&mut daemon).await, MqttEvent::Message { .. }));
}

#[tokio::test]
async fn the_daemons_next_connection_takes_over_from_its_last() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let mut first = daemon(&broker).await;
    let _second = daemon(&broker).await;
    assert!(matches!(next(&mut first).await, MqttEvent::Disconnected { .. }));
}

#[tokio::test]
async fn viewers_messages_are_never_retained() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let viewer = Observer::with(options(&broker, "viewer"), &topic("status")).await;
    viewer.publish(&topic(&format!("in/open/{}", SessionId(1))), "kept?", true).await;
    let all = Subscription { filter: topic("in/+/+"), skip_retained: false };
    let mut daemon = Mqtt::spawn(broker.for_the_daemon(), "daemon-id".into(), vec![all], status("offline"));
    assert_eq!(next(&mut daemon).await, MqttEvent::Connected);
    viewer.publish(&topic(&format!("in/open/{}", SessionId(2))), "passing", false).await;
    let payload = Bytes::from_static(b"passing");
    let passing = topic(&format!("in/open/{}", SessionId(2)));
    assert_eq!(next(&mut daemon).await, MqttEvent::Message { topic: passing, payload, retained: false });
}

#[tokio::test]
async fn sealed_viewers_show_their_key_id_and_password() {
    let password_of = |kid| (kid == KID).then(|| "right".to_owned());
    let broker =
        EmbeddedBroker::start(DEVICE, Viewers::Sealed(Arc::new(password_of))).await.expect("it starts");
    let daemon = daemon(&broker).await;
    let offer = topic(&format!("offer/{KID}"));
    daemon.publish(Publication { topic: offer.clone(), ..status("sealed offer") });
    assert_eq!(refusal(options(&broker, "anonymous")).await, "BadUserNamePassword");
    let mut wrong = options(&broker, "wrong");
    wrong.set_credentials(KID.to_string(), "wrong");
    assert_eq!(refusal(wrong).await, "BadUserNamePassword");
    let mut right = options(&broker, "right");
    right.set_credentials(KID.to_string(), "right");
    assert_eq!(Observer::with(right, &offer).await.next_text().await.1, "sealed offer");
}

#[tokio::test]
async fn an_oversized_message_costs_its_sender_the_connection_and_nobody_else() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let mut daemon = daemon(&broker).await;
    let session = topic(&format!("in/open/{}", SessionId(1)));
    let (client, mut eventloop) = AsyncClient::builder(options(&broker, "flood")).capacity(4).build();
    let at_least_once = PublishOptions::new(QoS::AtLeastOnce);
    client.publish(session.as_str(), vec![b'x'; 100_000], at_least_once).await.expect("queued");
    let ended = async {
        loop {
            match eventloop.poll().await {
                Ok(Event::Incoming(Incoming::PubAck(_))) => panic!("it was taken"),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    };
    timeout(PATIENCE, ended).await.expect("an end in time");
    let viewer = Observer::with(options(&broker, "viewer"), &topic("status")).await;
    viewer.publish(&session, "small", false).await;
    let payload = Bytes::from_static(b"small");
    assert_eq!(next(&mut daemon).await, MqttEvent::Message { topic: session, payload, retained: false });
}
