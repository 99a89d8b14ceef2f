//! A broker that is away for a while, and others who write to it.

use super::super::*;
use super::scene::*;
use crate::engine::message::Offer;
use bytes::Bytes;

fn put_backs(scene: &Scene) -> usize {
    let back = |order: &&Command| matches!(order, Command::Tell(Story::PutBack { .. }));
    scene.orders.iter().filter(back).count()
}

fn restarts(scene: &Scene) -> usize {
    scene.orders.iter().filter(|order| matches!(order, Command::RestartIce(_))).count()
}

#[test]
fn silence_while_the_broker_is_away_gives_up_no_path_that_may_come_back() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let peer = scene.peer_of(&ana);
    scene.put(Input::BrokerLost);
    scene.put(Input::PathSilent(peer));
    scene.wait(5_000);
    scene.put(Input::PathSilent(peer));
    assert_eq!(restarts(&scene), 0, "the viewer would not hear of it");
    scene.put(Input::BrokerConnected);
    scene.wait(5_000);
    assert_eq!(restarts(&scene), 0, "it was heard again meanwhile");
    scene.put(Input::PathSilent(peer));
    assert_eq!(restarts(&scene), 1);
    let _: Offer = ana.hear(&scene, "reoffer");
}

#[test]
fn an_address_that_goes_while_the_broker_is_away_has_no_path_to_lose() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let peer = scene.peer_of(&ana);
    scene.put(Input::BrokerLost);
    scene.put(Input::PathLost(peer));
    assert_eq!(restarts(&scene), 1);
    scene.put(Input::BrokerConnected);
    let _: Offer = ana.hear(&scene, "reoffer");
}

#[test]
fn a_copy_of_our_own_message_that_the_broker_does_not_keep_hides_no_change() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let topic = Topic::Status.name(DEVICE);
    let ours = scene.retained[&topic].clone();
    let message = |payload: &str, retained| {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Input::Message { topic: topic.clone(), payload, retained }
    };
    scene.retained.insert(topic.clone(), "junk".into());
    scene.put(message("junk", true));
    scene.put(message(&ours, false));
    scene.wait(5_000);
    assert_eq!((scene.retained[&topic].as_str(), put_backs(&scene)), (ours.as_str(), 1));
    scene.put(message(&ours, true));
    scene.wait(20_000);
    assert_eq!(put_backs(&scene), 1, "an echo is no change");
    scene.put(message("junk", true));
    scene.put(message(&ours, true));
    scene.wait(20_000);
    assert_eq!(put_backs(&scene), 1, "what the broker keeps is ours again");
}

#[test]
fn at_a_broker_that_tells_nothing_of_what_it_keeps_putting_back_ends() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let topic = Topic::Status.name(DEVICE);
    let payload = Bytes::from("junk");
    scene.put(Input::Message { topic: topic.clone(), payload, retained: false });
    for _ in 0..60 {
        let echo = Bytes::from(scene.retained[&topic].clone());
        scene.put(Input::Message { topic: topic.clone(), payload: echo, retained: false });
        scene.wait(1_000);
    }
    assert_eq!(put_backs(&scene), 1);
}

#[test]
fn a_broker_that_is_back_is_told_the_status_once_and_nothing_of_who_was_revoked() {
    let mut scene = Scene::new(Security::Sealed, 4);
    scene.put(Input::Keys((2..=4).map(viewer).collect()));
    scene.wait(200);
    assert_eq!(scene.retained(Topic::Offer(Slot::Kid(Kid(1)))), "");
    scene.put(Input::BrokerLost);
    scene.put(Input::CameraLost(true));
    scene.put(Input::Keys((3..=4).map(viewer).collect()));
    let orders = scene.orders.len();
    scene.put(Input::BrokerConnected);
    let published = |order: &Command| match order {
        Command::Publish { topic, .. } => Some(topic.clone()),
        _ => None,
    };
    let told: Vec<_> = scene.orders[orders..].iter().filter_map(published).collect();
    let of = |kid| Topic::Offer(Slot::Kid(Kid(kid))).name(DEVICE);
    assert!(told.iter().all(|topic| *topic != of(1) && *topic != of(2)), "{told:?}");
    assert_eq!(told.iter().filter(|topic| **topic == Topic::Status.name(DEVICE)).count(), 1);
    assert!(scene.retained(Topic::Status).contains("lost"));
    // What the broker kept of somebody who is revoked comes with the subscription.
    scene.put(Input::Message { topic: of(2), payload: Bytes::from("old"), retained: true });
    assert_eq!(scene.retained[&of(2)], "");
}
