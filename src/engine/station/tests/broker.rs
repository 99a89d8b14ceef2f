//! A broker that is away for a while, and others who write to it.

use super::super::*;
use super::scene::*;
use crate::engine::message::Offer;

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
