//! Whatever viewers, network and broker do, in any order: no peer connection is lost or kept.

use proptest::prelude::*;

use super::super::*;
use super::scene::*;
use crate::engine::message::{Answer, Bye, Offer};
use crate::engine::seal;
use crate::engine::topic::Topic;

#[derive(Clone, Debug)]
enum Op {
    Hello(u8),
    AnswerStanding(u8),
    AnswerOwn(u8),
    Bye(u8),
    Connect(u8),
    Lose(u8),
    Fail(u8),
    Restart(u8),
    LosePath(u8),
    Silence(u8),
    Broker(bool),
    Wait(u32),
    Revoke(u64),
    Network,
}

fn ops() -> impl Strategy<Value = Op> {
    let who = 0u8..8;
    prop_oneof![
        4 => who.clone().prop_map(Op::Hello),
        4 => who.clone().prop_map(Op::AnswerStanding),
        4 => who.clone().prop_map(Op::AnswerOwn),
        2 => who.clone().prop_map(Op::Bye),
        6 => who.clone().prop_map(Op::Connect),
        1 => who.clone().prop_map(Op::Lose),
        1 => who.clone().prop_map(Op::Fail),
        1 => who.clone().prop_map(Op::Restart),
        1 => who.clone().prop_map(Op::LosePath),
        1 => who.prop_map(Op::Silence),
        1 => any::<bool>().prop_map(Op::Broker),
        4 => (1u32..40_000).prop_map(Op::Wait),
        1 => (0u64..5).prop_map(Op::Revoke),
        1 => Just(Op::Network),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_order_of_operations_leaks_no_peer_connection(ops in proptest::collection::vec(ops(), 1..120)) {
        let mut scene = Scene::new(Security::Sealed, 3);
        let mut viewers: Vec<Viewer> = (0u8..8).map(|who| Viewer::new(&scene, u64::from(who % 4) + 1, who.into())).collect();
        let mut offers: Vec<Option<Offer>> = vec![None; 8];
        for op in ops {
            let peer = |scene: &Scene, viewer: &Viewer| {
                scene.station.roster.session(&viewer.key()).and_then(|session| session.peer)
            };
            match op {
                Op::Hello(who) => viewers[usize::from(who)].hello(&mut scene),
                Op::AnswerStanding(who) => {
                    let viewer = &mut viewers[usize::from(who)];
                    if !scene.retained(Topic::Offer(viewer.slot)).is_empty() {
                        let offer = viewer.standing(&scene);
                        viewer.answer(&mut scene, &offer);
                        offers[usize::from(who)] = Some(offer);
                    }
                }
                Op::AnswerOwn(who) => {
                    let viewer = &mut viewers[usize::from(who)];
                    let pending = scene.station.roster.session(&viewer.key()).and_then(|session| session.pending.clone());
                    if let Some((offer, sdp)) = pending.and_then(|pending| pending.sdp.map(|sdp| (pending.offer, sdp))) {
                        let digest = seal::sdp_digest(&sdp);
                        let answer = Answer { boot: viewer.boot, offer, rev: 1, digest, wants: VIEW, sdp: "v=0".into() };
                        viewer.say(&mut scene, "answer", &answer);
                    }
                }
                Op::Bye(who) => {
                    viewers[usize::from(who)].say(&mut scene, "bye", &Bye { reason: "done".into() });
                    let kid = u64::from(who % 4) + 1;
                    // The next message of this viewer is a new session's, as the protocol has it.
                    viewers[usize::from(who)] = Viewer::new(&scene, kid, scene.orders.len() as u128 * 8 + u128::from(who));
                }
                Op::Connect(who) => if let Some(peer) = peer(&scene, &viewers[usize::from(who)]) {
                    scene.put(Input::AnswerApplied(peer));
                    scene.put(Input::PeerConnected(peer));
                },
                Op::Lose(who) => if let Some(peer) = peer(&scene, &viewers[usize::from(who)]) {
                    scene.put(Input::PeerLost { peer, reason: "silent" });
                },
                Op::Fail(who) => if let Some(peer) = peer(&scene, &viewers[usize::from(who)]) {
                    scene.put(Input::AnswerFailed { peer, reason: "bad".into() });
                },
                Op::Restart(who) => { viewers[usize::from(who)].say(&mut scene, "restart", &Bye { reason: String::new() }); }
                Op::LosePath(who) => if let Some(peer) = peer(&scene, &viewers[usize::from(who)]) {
                    scene.put(Input::PathLost(peer));
                },
                Op::Silence(who) => if let Some(peer) = peer(&scene, &viewers[usize::from(who)]) {
                    scene.put(Input::PathSilent(peer));
                },
                Op::Broker(true) => scene.put(Input::BrokerConnected),
                Op::Broker(false) => scene.put(Input::BrokerLost),
                Op::Wait(ms) => scene.wait(u64::from(ms)),
                Op::Revoke(kid) => scene.put(Input::Keys((1..=4).filter(|known| *known != kid).map(viewer).collect())),
                Op::Network => scene.put(Input::NetworkChanged),
            }
            let owned = scene.station.roster.live_sessions().filter(|(_, session)| session.peer.is_some()).count();
            let live = scene.station.roster.live_sessions().count();
            prop_assert_eq!(owned, live, "every live session has its one peer connection");
            let standing = usize::from(scene.station.standing.is_some());
            prop_assert_eq!(scene.open.len(), owned + standing, "every open peer connection has an owner");
            prop_assert!(scene.station.watching() <= 3);
        }
        scene.put(Input::Shutdown);
        prop_assert_eq!(scene.open.len(), 0);
    }
}
