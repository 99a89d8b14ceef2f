//! The station in virtual time: every rule of the protocol that one can see from outside.
//!
//! Past 500 lines, because it is one list of short rules: split by subject, each would have to be looked for.

mod broker;
mod model;
mod network;
mod order;
mod scene;

use super::*;
use crate::engine::message::{self, Answer, Bye, Candidate, Candidates, Hello, Offer, Reject, RejectCode};
use crate::engine::rights::Right;
use crate::engine::seal;
use crate::engine::topic::Topic;
use crate::units::SessionId;
use bytes::Bytes;
use scene::*;

#[test]
fn an_offer_is_lit_for_every_viewer_before_any_comes() {
    let scene = Scene::new(Security::Sealed, 4);
    for kid in 1..=4 {
        let offer = Viewer::new(&scene, kid, 1).standing(&scene);
        assert_eq!((offer.boot, offer.rev, offer.name.as_str()), (scene.station.boot, 1, "lamp"));
        assert_eq!(offer.rights, VIEW.with(Right::Listen));
    }
    let status: message::Status = serde_json::from_str(scene.retained(Topic::Status)).expect("a status");
    assert_eq!((status.state.as_str(), status.full, status.security.as_str()), ("online", false, "sealed"));
}

#[test]
fn each_viewer_is_told_passwords_of_its_own_that_are_fresh_when_it_is_told() {
    let mut scene = Scene::new(Security::Sealed, 4);
    scene.put(Input::WallClock { unix_s: 1_000_000 });
    scene.share_turn();
    let (mut ana, rui) = (Viewer::new(&scene, 1, 1), Viewer::new(&scene, 2, 2));
    let user = |offer: &Offer| offer.ice_servers[0].username.clone().expect("a user");
    let first = user(&ana.standing(&scene));
    assert!(first.ends_with(&format!(":{}", ana.slot)), "{first}");
    assert_ne!(user(&rui.standing(&scene)), first);
    scene.wait(3_600_000);
    let until = |user: &str| user.split(':').next().and_then(|moment| moment.parse::<u64>().ok());
    let later = user(&ana.standing(&scene));
    assert!(until(&later) >= until(&first).map(|until| until + 2_900), "{first}, {later}");
    ana.hello(&mut scene);
    let own = user(&ana.hear::<Offer>(&scene, "offer"));
    assert_eq!(until(&own), Some(1_000_000 + 3_600 + 7_200));
}

#[test]
fn a_clock_that_is_set_renews_passwords_that_were_made_by_another_time() {
    let mut scene = Scene::new(Security::Sealed, 4);
    scene.put(Input::WallClock { unix_s: 1_000 });
    let ana = Viewer::new(&scene, 1, 1);
    let before = ana.standing(&scene).offer;
    scene.put(Input::WallClock { unix_s: 2_000 });
    scene.wait(200);
    assert_eq!(ana.standing(&scene).offer, before, "nothing depends on the clock without a shared secret");
    scene.share_turn();
    scene.put(Input::WallClock { unix_s: 1_700_000_000 });
    scene.wait(200);
    let renewed = ana.standing(&scene);
    assert_ne!(renewed.offer, before);
    assert_eq!(renewed.ice_servers[0].username, Some(format!("1700007200:{}", ana.slot)));
}

#[test]
fn servers_that_were_fetched_renew_the_offer() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let ana = Viewer::new(&scene, 1, 1);
    let before = ana.standing(&scene);
    let server = IceServer { urls: vec!["stun:a".into()], username: None, credential: None };
    scene.put(Input::IceServers(vec![server.clone()]));
    scene.wait(200);
    let after = ana.standing(&scene);
    assert_ne!(after.offer, before.offer);
    assert_eq!(after.ice_servers, [server]);
}

#[test]
fn a_relay_that_is_lost_renews_what_used_it_and_nothing_else() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = Viewer::new(&scene, 1, 1);
    let before = ana.standing(&scene);
    ana.answer(&mut scene, &before);
    scene.connect(&ana);
    scene.wait(200);
    let waiting = ana.standing(&scene).offer;
    scene.put(Input::RelayLost { peer: scene.peer_of(&ana), was_used: false });
    scene.wait(2_000);
    assert_eq!(ana.standing(&scene).offer, waiting, "the viewer's connection is another's business");
    let peer = scene.station.standing.as_ref().expect("an offer is lit").peer;
    scene.put(Input::RelayLost { peer, was_used: false });
    assert_eq!(ana.standing(&scene).offer, waiting, "not at once");
    scene.wait(2_000);
    assert_ne!(ana.standing(&scene).offer, waiting);
    let restarts =
        |scene: &Scene| scene.orders.iter().filter(|order| matches!(order, Command::RestartIce(_))).count();
    assert_eq!((scene.station.watching(), restarts(&scene)), (1, 0));
    scene.put(Input::RelayLost { peer: scene.peer_of(&ana), was_used: true });
    let _: message::Accept = ana.hear(&scene, "accept");
    let _: Offer = ana.hear(&scene, "reoffer");
    assert_eq!((scene.station.watching(), restarts(&scene)), (1, 1));
}

#[test]
fn the_first_answer_wins_and_the_next_offer_is_lit() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let (mut ana, mut rui) = (Viewer::new(&scene, 1, 1), Viewer::new(&scene, 2, 2));
    let (for_ana, for_rui) = (ana.standing(&scene), rui.standing(&scene));
    assert_eq!(for_ana.offer, for_rui.offer);
    ana.answer(&mut scene, &for_ana);
    rui.answer(&mut scene, &for_rui);
    scene.connect(&ana);
    let accept: message::Accept = ana.hear(&scene, "accept");
    assert_eq!((accept.offer, accept.rights), (for_ana.offer, VIEW));
    let reject: Reject = rui.hear(&scene, "reject");
    assert_eq!(reject.code, RejectCode::Taken);
    let own = reject.offer.expect("a loser is given an offer of its own");
    rui.answer(&mut scene, &own);
    scene.connect(&rui);
    let _: message::Accept = rui.hear(&scene, "accept");
    scene.wait(200);
    assert_eq!(scene.station.watching(), 2);
    assert_ne!(ana.standing(&scene).offer, for_ana.offer, "another offer is lit");
}

#[test]
fn hello_brings_an_offer_of_its_own_and_repeating_it_brings_the_same() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = Viewer::new(&scene, 1, 1);
    ana.hello(&mut scene);
    let first: Offer = ana.hear(&scene, "offer");
    ana.hello(&mut scene);
    let second: Offer = ana.hear(&scene, "offer");
    assert_eq!(first, second);
    ana.answer(&mut scene, &second);
    scene.connect(&ana);
    let _: message::Accept = ana.hear(&scene, "accept");
}

#[test]
fn an_older_revision_stays_answerable_and_its_late_candidates_follow() {
    let mut scene = Scene::new(Security::Open, 4);
    let mut ana = Viewer::new(&scene, 0, 1);
    let first = ana.standing(&scene);
    let peer = scene.station.standing.as_ref().expect("it is lit").peer;
    let candidate = Candidate {
        candidate: "candidate:1 1 udp 1 192.0.2.9 9 typ srflx".into(),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    };
    let sdp = format!("{}a=more\r\n", first.sdp);
    scene.put(Input::PeerCandidate { peer, candidate: candidate.clone(), sdp });
    scene.wait(200);
    let second = ana.standing(&scene);
    assert_eq!((second.offer, second.rev), (first.offer, 2));
    ana.answer(&mut scene, &first);
    let late: Candidates = ana.hear(&scene, "candidates");
    assert_eq!((late.offer, late.list), (first.offer, vec![candidate]));
}

#[test]
fn an_answer_that_does_not_fit_its_offer_is_invalid_and_the_lamp_stays_lit() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = Viewer::new(&scene, 1, 1);
    let offer = ana.standing(&scene);
    for (what, answer) in [
        ("digest", Answer { digest: seal::sdp_digest("another"), ..answer_to(&offer) }),
        ("rev", Answer { rev: 9, ..answer_to(&offer) }),
        ("rev", Answer { rev: 0, ..answer_to(&offer) }),
    ] {
        ana.say(&mut scene, "answer", &answer);
        let reject: Reject = ana.hear(&scene, "reject");
        assert_eq!((reject.code, reject.what.as_deref()), (RejectCode::Invalid, Some(what)));
    }
    assert_eq!(ana.standing(&scene).offer, offer.offer);
    ana.answer(&mut scene, &offer);
    scene.connect(&ana);
}

#[test]
fn an_sdp_that_fails_to_apply_is_rejected_and_another_offer_is_lit() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = Viewer::new(&scene, 1, 1);
    let offer = ana.standing(&scene);
    ana.answer(&mut scene, &offer);
    let peer = scene.peer_of(&ana);
    scene.put(Input::AnswerFailed { peer, reason: "no fingerprint".into() });
    let reject: Reject = ana.hear(&scene, "reject");
    assert_eq!((reject.code, reject.what.as_deref()), (RejectCode::Invalid, Some("sdp")));
    scene.wait(200);
    assert_ne!(ana.standing(&scene).offer, offer.offer);
    assert_eq!(scene.open.len(), 1, "only the new standing offer's peer connection is open");
}

#[test]
fn a_third_session_of_a_key_is_refused_and_a_waiting_one_gives_way() {
    let mut scene = Scene::new(Security::Sealed, 8);
    let _first = streaming(&mut scene, 1, 1);
    let mut second = Viewer::new(&scene, 1, 2);
    second.hello(&mut scene);
    let _: Offer = second.hear(&scene, "offer");
    let mut third = Viewer::new(&scene, 1, 3);
    third.hello(&mut scene);
    let bye: Bye = second.hear(&scene, "bye");
    assert_eq!(bye.reason, "replaced");
    let offer: Offer = third.hear(&scene, "offer");
    third.answer(&mut scene, &offer);
    scene.connect(&third);
    let mut fourth = Viewer::new(&scene, 1, 4);
    fourth.hello(&mut scene);
    let reject: Reject = fourth.hear(&scene, "reject");
    assert_eq!(reject.code, RejectCode::Full);
    assert_eq!(scene.station.watching(), 2);
}

#[test]
fn a_full_device_clears_its_offer_and_lights_it_again_when_a_place_is_free() {
    let mut scene = Scene::new(Security::Sealed, 1);
    let mut ana = streaming(&mut scene, 1, 1);
    assert_eq!(scene.retained(Topic::Offer(Slot::Kid(Kid(2)))), "");
    assert!(scene.retained(Topic::Status).contains(r#""full":true"#));
    let mut rui = Viewer::new(&scene, 2, 2);
    rui.hello(&mut scene);
    let reject: Reject = rui.hear(&scene, "reject");
    assert!(reject.code == RejectCode::Full && reject.retry_ms.is_some());
    ana.say(&mut scene, "bye", &Bye { reason: "done".into() });
    scene.wait(200);
    assert!(scene.retained(Topic::Status).contains(r#""full":false"#));
    let mut rui = Viewer::new(&scene, 2, 3);
    let offer = rui.standing(&scene);
    rui.answer(&mut scene, &offer);
    scene.connect(&rui);
}

#[test]
fn when_two_race_for_the_last_place_one_has_it() {
    let mut scene = Scene::new(Security::Sealed, 1);
    let (mut ana, mut rui) = (Viewer::new(&scene, 1, 1), Viewer::new(&scene, 2, 2));
    for viewer in [&mut ana, &mut rui] {
        viewer.hello(&mut scene);
        let offer: Offer = viewer.hear(&scene, "offer");
        viewer.answer(&mut scene, &offer);
    }
    scene.connect(&ana);
    scene.connect(&rui);
    let _: message::Accept = rui.hear(&scene, "accept");
    let bye: Bye = rui.hear(&scene, "bye");
    assert_eq!((bye.reason.as_str(), scene.station.watching()), ("full", 1));
}

#[test]
fn unanswered_and_unconnected_sessions_end_after_30_s() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let (mut ana, mut rui) = (Viewer::new(&scene, 1, 1), Viewer::new(&scene, 2, 2));
    ana.hello(&mut scene);
    let _: Offer = ana.hear(&scene, "offer");
    let offer = rui.standing(&scene);
    rui.answer(&mut scene, &offer);
    scene.wait(29_000);
    assert!(ana.hears_nothing(&scene) && rui.hears_nothing(&scene));
    scene.wait(1_000);
    let byes: [Bye; 2] = [ana.hear(&scene, "bye"), rui.hear(&scene, "bye")];
    assert!(byes.iter().all(|bye| bye.reason == "timeout"));
    assert_eq!(scene.open.len(), 1);
}

#[test]
fn a_viewer_without_the_right_is_denied() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = Viewer::new(&scene, 1, 1);
    let wants = Rights::NONE.with(Right::Control);
    let boot = ana.boot;
    ana.say(&mut scene, "hello", &Hello { boot, wants });
    let reject: Reject = ana.hear(&scene, "reject");
    assert_eq!(reject.code, RejectCode::Denied);
}

#[test]
fn nothing_that_is_not_authentic_new_and_in_place_reaches_a_peer_connection() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = Viewer::new(&scene, 1, 1);
    let offer = ana.standing(&scene);
    let orders = scene.orders.len();

    let mut flipped = ana.wire("answer", &answer_to(&offer)).into_bytes();
    let at = flipped.len() - 40;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    ana.say_raw(&mut scene, &String::from_utf8(flipped).expect("ASCII"));
    assert_eq!(scene.refused(Refusal::NotAuthentic), 1);

    let swapped = ana.wire("bye", &answer_to(&offer)).replace(r#""t":"bye""#, r#""t":"answer""#);
    ana.say_raw(&mut scene, &swapped);
    assert_eq!(scene.refused(Refusal::NotAuthentic), 2);

    let stranger = Viewer { slot: Slot::Kid(Kid(99)), ..Viewer::new(&scene, 1, 5) };
    stranger.say_raw(&mut scene, "{}");
    assert_eq!(scene.refused(Refusal::UnknownKey), 1);

    let mut late = Viewer { boot: BootId(1), ..Viewer::new(&scene, 1, 6) };
    late.answer(&mut scene, &offer);
    assert_eq!(scene.refused(Refusal::NotAuthentic), 3);
    let mut liar = Viewer::new(&scene, 1, 7);
    liar.say(&mut scene, "hello", &Hello { boot: BootId(1), wants: VIEW });
    assert_eq!(scene.refused(Refusal::WrongBoot), 1);

    ana.say_raw(&mut scene, &"x".repeat(40 * 1024));
    ana.say_raw(&mut scene, &format!(r#"{{"v":1,"t":"bye","n":9,"p":{}}}"#, "[".repeat(40)));
    ana.say_raw(&mut scene, r#"{"v":1,"t":"bye","n":9,"p":{}}"#);
    let not_utf8 =
        Input::Message { topic: ana.topic(), payload: Bytes::from_static(b"\xff"), retained: false };
    scene.put(not_utf8);
    for (refusal, count) in
        [(Refusal::TooLarge, 1), (Refusal::TooDeep, 1), (Refusal::Malformed, 1), (Refusal::WrongForm, 1)]
    {
        assert_eq!(scene.refused(refusal), count, "{refusal:?}");
    }
    assert_eq!(scene.orders.len(), orders, "nothing was ordered: {:?}", &scene.orders[orders..]);

    let recorded = ana.say(&mut scene, "answer", &answer_to(&offer));
    scene.connect(&ana);
    let after = scene.orders.len();
    ana.say_raw(&mut scene, &recorded);
    assert_eq!(scene.refused(Refusal::Replayed), 1);
    ana.say(&mut scene, "candidates", &Candidates { offer: OfferId(3), list: vec![], end: true });
    assert_eq!(scene.refused(Refusal::ForeignOffer), 1);
    ana.answer(&mut scene, &offer);
    assert_eq!(scene.refused(Refusal::OutOfPlace), 1);
    assert!(scene.orders[after..].iter().all(|order| !matches!(order, Command::ApplyAnswer { .. })));
}

#[test]
fn everything_recorded_before_a_restart_is_worthless_after_it() {
    let mut before = Scene::new(Security::Sealed, 4);
    let mut ana = Viewer::new(&before, 1, 1);
    let offer = ana.standing(&before);
    let recorded = [
        ana.say(&mut before, "answer", &answer_to(&offer)),
        ana.wire("candidates", &Candidates { offer: offer.offer, list: vec![], end: true }),
        ana.wire("hello", &Hello { boot: ana.boot, wants: VIEW }),
    ];
    let mut after = Scene::seeded(Security::Sealed, 4, [8; 32]);
    let orders = after.orders.len();
    for wire in &recorded {
        ana.say_raw(&mut after, wire);
    }
    assert_eq!((after.refused(Refusal::NotAuthentic), after.orders.len()), (3, orders));
}

#[test]
fn a_flood_silences_neither_a_viewer_who_streams_nor_a_new_one_below_the_limit() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let stranger = Viewer { slot: Slot::Kid(Kid(2)), ..Viewer::new(&scene, 2, 77) };
    let junk = r#"{"v":1,"t":"hello","n":1,"ct":"AAAA"}"#;
    // 400 a second on one viewer's own topic: that viewer still gets in.
    for _ in 0..400 {
        stranger.say_raw(&mut scene, junk);
    }
    let mut rui = Viewer::new(&scene, 2, 2);
    rui.hello(&mut scene);
    let _: Offer = rui.hear(&scene, "offer");
    // Far over the limit, strangers are dropped unread; the one who is in is still heard.
    for _ in 0..5000 {
        stranger.say_raw(&mut scene, junk);
    }
    assert!(scene.refused(Refusal::Flood) > 2000);
    Viewer::new(&scene, 3, 3).hello(&mut scene);
    ana.say(&mut scene, "bye", &Bye { reason: "done".into() });
    assert_eq!(scene.station.watching(), 0);
    scene.wait(100);
    let mut eva = Viewer::new(&scene, 3, 4);
    eva.hello(&mut scene);
    let _: Offer = eva.hear(&scene, "offer");
}

#[test]
fn a_viewer_that_says_too_much_is_not_answered() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = Viewer::new(&scene, 1, 1);
    for _ in 0..40 {
        ana.hello(&mut scene);
    }
    assert_eq!(scene.refused(Refusal::Overrun), 10);
}

#[test]
fn a_viewer_that_says_too_much_in_ever_new_sessions_changes_no_boot() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let boot = scene.station.boot;
    for session in 0..5_000 {
        Viewer::new(&scene, 1, session).hello(&mut scene);
    }
    scene.wait(100);
    Viewer::new(&scene, 1, 5_000).hello(&mut scene);
    assert_eq!(scene.station.boot, boot);
    let is_remembered =
        |session: &u128| scene.station.roster.session(&(Slot::Kid(Kid(1)), SessionId(*session))).is_some();
    assert_eq!((0..=5_000).filter(is_remembered).count(), 31);
    assert_eq!(scene.refused(Refusal::Overrun), 5_001 - 31);
    let mut rui = Viewer::new(&scene, 2, 1);
    rui.hello(&mut scene);
    let _: Offer = rui.hear(&scene, "offer");
}

#[test]
fn the_broker_alone_ends_nothing() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    scene.put(Input::BrokerLost);
    scene.wait(3_600_000);
    assert_eq!(scene.station.watching(), 1);
    scene.retained.clear();
    scene.put(Input::BrokerConnected);
    scene.wait(200);
    assert!(scene.retained(Topic::Status).contains("online"));
    let _ = ana.standing(&scene);
    ana.say(&mut scene, "restart", &Bye { reason: "network".into() });
    let missed: Offer = ana.hear(&scene, "reoffer");
    ana.say(&mut scene, "restart", &Bye { reason: "network".into() });
    let reoffer: Offer = ana.hear(&scene, "reoffer");
    assert_eq!(reoffer, missed, "who asks again gets the same one again");
    ana.answer(&mut scene, &reoffer);
    let peer = scene.peer_of(&ana);
    scene.put(Input::AnswerApplied(peer));
    let accept: message::Accept = ana.hear(&scene, "accept");
    assert_eq!(accept.offer, reoffer.offer);
}

#[test]
fn what_others_change_on_the_broker_is_put_back_and_litter_is_cleared() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mine = [Topic::Status, Topic::Offer(Slot::Kid(Kid(1)))].map(|topic| topic.name(DEVICE));
    let before = mine.clone().map(|topic| scene.retained[&topic].clone());
    for (topic, junk) in mine.iter().zip(["", "junk"]) {
        scene.retained.insert(topic.clone(), junk.into());
        scene.put(Input::Message { topic: topic.clone(), payload: Bytes::from(junk), retained: false });
    }
    for stray in [Topic::Offer(Slot::Kid(Kid(50))), Topic::Offer(Slot::Open), Topic::StrayOffer("x".into())] {
        let topic = stray.name(DEVICE);
        scene.retained.insert(topic.clone(), "litter".into());
        scene.put(Input::Message { topic: topic.clone(), payload: Bytes::from("litter"), retained: true });
        assert_eq!(scene.retained[&topic], "");
    }
    scene.wait(5_000);
    assert_eq!(mine.map(|topic| scene.retained[&topic].clone()), before);
}

#[test]
fn putting_back_happens_at_most_once_in_5_s_and_our_own_echo_is_no_change() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let topic = Topic::Status.name(DEVICE);
    let count = |scene: &Scene| {
        let back = |order: &&Command| matches!(order, Command::Tell(Story::PutBack { .. }));
        scene.orders.iter().filter(back).count()
    };
    let echo = Bytes::from(scene.retained[&topic].clone());
    scene.put(Input::Message { topic: topic.clone(), payload: echo, retained: false });
    scene.wait(10_000);
    assert_eq!(count(&scene), 0);
    for _ in 0..100 {
        scene.put(Input::Message { topic: topic.clone(), payload: Bytes::from("junk"), retained: false });
        scene.wait(100);
    }
    assert_eq!(count(&scene), 2, "in 10 s");
}

#[test]
fn a_revoked_viewer_is_out_and_the_offer_that_it_saw_is_gone() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let seen = Viewer::new(&scene, 2, 9).standing(&scene).offer;
    scene.put(Input::Keys((2..=4).map(viewer).collect()));
    let heard = ana.hear::<Bye>(&scene, "bye");
    assert_eq!(heard.reason, "revoked");
    scene.wait(200);
    assert_eq!(scene.retained(Topic::Offer(Slot::Kid(Kid(1)))), "");
    assert_ne!(Viewer::new(&scene, 2, 9).standing(&scene).offer, seen);
    ana.hello(&mut scene);
    assert_eq!(scene.refused(Refusal::UnknownKey), 1);
}

#[test]
fn a_viewer_that_may_do_less_than_before_is_let_go_of_and_comes_back_with_what_it_may() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let (mut ana, rui) = (streaming(&mut scene, 1, 1), streaming(&mut scene, 2, 2));
    let with = |rights: Rights| {
        let mut keys: Vec<ViewerKey> = (1..=4).map(viewer).collect();
        keys[0].rights = rights;
        Input::Keys(keys)
    };
    scene.put(with(VIEW));
    assert!(ana.hears_nothing(&scene) && rui.hears_nothing(&scene), "it was granted no more than that");
    scene.put(with(Rights::NONE.with(Right::Listen)));
    let bye: Bye = ana.hear(&scene, "bye");
    assert_eq!((bye.reason.as_str(), scene.station.watching()), ("revoked", 1));
    assert!(rui.hears_nothing(&scene));
    let mut again = Viewer::new(&scene, 1, 3);
    assert_eq!(again.standing(&scene).rights, Rights::NONE.with(Right::Listen));
    again.hello(&mut scene);
    assert_eq!(again.hear::<Reject>(&scene, "reject").code, RejectCode::Denied, "it wants to see");
}

#[test]
fn the_offer_is_renewed_every_8_to_10_minutes_and_the_old_one_is_stale() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = Viewer::new(&scene, 1, 1);
    let old = ana.standing(&scene);
    scene.wait(8 * 60_000 - 1_000);
    assert_eq!(ana.standing(&scene).offer, old.offer);
    scene.wait(2 * 60_000 + 2_000);
    assert_ne!(ana.standing(&scene).offer, old.offer);
    ana.answer(&mut scene, &old);
    let reject: Reject = ana.hear(&scene, "reject");
    assert!(reject.code == RejectCode::Stale && reject.offer.is_some());
}

#[test]
fn after_1024_sessions_of_a_key_a_new_boot_begins_and_live_sessions_go_on() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let boot = scene.station.boot;
    for session in 0..1024 {
        let mut short = Viewer::new(&scene, 2, 1000 + session);
        short.say(&mut scene, "bye", &Bye { reason: "no".into() });
        scene.wait(200);
    }
    assert_ne!(scene.station.boot, boot);
    assert_eq!(ana.standing(&scene).boot, scene.station.boot);
    assert_eq!(scene.station.watching(), 1);
    ana.say(&mut scene, "bye", &Bye { reason: "done".into() });
    assert_eq!(scene.station.watching(), 0);
}

#[test]
fn the_camera_runs_while_somebody_watches_and_a_moment_longer() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    assert_eq!(watched(&scene), [true]);
    ana.say(&mut scene, "bye", &Bye { reason: "done".into() });
    scene.wait(2_900);
    assert_eq!(watched(&scene), [true]);
    scene.wait(200);
    assert_eq!(watched(&scene), [true, false]);
}

/// Each order to the camera so far.
fn watched(scene: &Scene) -> Vec<bool> {
    let order = |order: &Command| match order {
        Command::Watch(on) => Some(*on),
        _ => None,
    };
    scene.orders.iter().filter_map(order).collect()
}

#[test]
fn an_uplink_is_filmed_for_and_heard_of_its_network_but_is_nobodys_session() {
    let mut scene = Scene::new(Security::Sealed, 1);
    let (uplink, watching) = (scene.station.draw_peer(), scene.station.watching());
    assert!(!scene.open.contains(&uplink), "no viewer's peer connection has its id");
    scene.put(Input::UplinkConnecting(uplink));
    assert_eq!(watched(&scene), [true]);
    scene.put(Input::UplinkStarted(uplink));
    scene.put(Input::Estimate { peer: uplink, bitrate: Bitrate::from_kbps(1_000) });
    assert!(scene.orders.iter().any(|order| matches!(order, Command::SetBitrate(_))));
    assert_eq!(scene.station.watching(), watching);
    scene.put(Input::Privacy(true));
    scene.put(Input::UplinkGone(uplink));
    scene.put(Input::Privacy(false));
    scene.wait(10_000);
    assert_eq!(watched(&scene), [true, false, false], "nobody is there to film for");
    let next = scene.station.draw_peer();
    assert!(next > uplink);
}

fn camera_status(scene: &Scene) -> String {
    let status = &scene.retained[&Topic::Status.name(DEVICE)];
    serde_json::from_str::<message::Status>(status).expect("a status").camera
}

#[test]
fn privacy_stops_the_camera_at_once_and_lets_it_go_on_for_those_who_stayed() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let _ana = streaming(&mut scene, 1, 1);
    assert_eq!((watched(&scene), camera_status(&scene)), (vec![true], "ready".into()));
    scene.put(Input::Privacy(true));
    assert_eq!((watched(&scene), camera_status(&scene)), (vec![true, false], "private".into()));
    assert_eq!(scene.station.watching(), 1, "who watches stays connected");
    scene.put(Input::Privacy(true));
    scene.wait(60_000);
    assert_eq!(watched(&scene).len(), 2, "saying it again changes nothing, nor does time");
    scene.put(Input::Privacy(false));
    assert_eq!((watched(&scene), camera_status(&scene)), (vec![true, false, false, true], "ready".into()));
}

#[test]
fn who_comes_during_privacy_sees_when_it_is_over_and_nothing_before() {
    let mut scene = Scene::new(Security::Sealed, 4);
    scene.put(Input::Privacy(true));
    assert_eq!(watched(&scene), [false], "a camera that is always on stops too");
    let mut ana = streaming(&mut scene, 1, 1);
    assert_eq!(watched(&scene), [false]);
    scene.put(Input::Privacy(false));
    assert_eq!(watched(&scene), [false, false, true]);
    scene.put(Input::Privacy(true));
    ana.say(&mut scene, "bye", &Bye { reason: "done".into() });
    scene.put(Input::Privacy(false));
    scene.wait(10_000);
    assert_eq!(watched(&scene), [false, false, true, false, false], "nobody is there any more");
}

#[test]
fn a_camera_that_is_lost_in_privacy_is_told_as_private_first() {
    let mut scene = Scene::new(Security::Sealed, 4);
    scene.put(Input::Privacy(true));
    scene.put(Input::CameraLost(true));
    assert_eq!(camera_status(&scene), "private");
    scene.put(Input::Privacy(false));
    assert_eq!(camera_status(&scene), "lost");
}

#[test]
fn motion_is_published_once_with_its_count_and_only_while_the_broker_is_there() {
    let mut scene = Scene::new(Security::Sealed, 4);
    scene.put(Input::BrokerLost);
    scene.put(Input::Motion { is_active: true, at_ms: 1 });
    scene.put(Input::BrokerConnected);
    scene.orders.clear();
    scene.put(Input::Motion { is_active: true, at_ms: 1_700_000_000_000 });
    scene.put(Input::Motion { is_active: false, at_ms: 1_700_000_010_000 });
    let topic = "farol/1/000000000000000000000000000000d0/event/motion".to_string();
    let boot = scene.station.boot();
    let event = |n: u64, state: &str, at_ms: u64| Command::Publish {
        topic: topic.clone(),
        payload: format!(r#"{{"v":1,"boot":"{boot}","n":{n},"state":"{state}","at_ms":{at_ms}}}"#),
        retain: false,
        expiry: Some(Duration::from_secs(30)),
    };
    assert_eq!(scene.orders, [event(1, "active", 1_700_000_000_000), event(2, "over", 1_700_000_010_000)]);
}

#[test]
fn the_encoder_follows_the_networks_of_those_who_see_the_picture() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let peer = scene.peer_of(&ana);
    let rates = |scene: &Scene| {
        let rate = |order: &Command| match order {
            Command::SetBitrate(bitrate) => Some(bitrate.kbps()),
            _ => None,
        };
        scene.orders.iter().filter_map(rate).collect::<Vec<_>>()
    };
    assert!(rates(&scene).is_empty(), "nobody has said anything of a network yet");
    let estimate = |peer| Input::Estimate { peer, bitrate: Bitrate::from_kbps(1_000) };
    scene.put(estimate(PeerId(77)));
    assert!(rates(&scene).is_empty(), "that one is sent no picture");
    scene.put(estimate(peer));
    assert_eq!(rates(&scene), [850]);
    ana.say(&mut scene, "bye", &Bye { reason: "done".into() });
    scene.wait(3_000);
    assert_eq!(rates(&scene).last(), Some(&2_500), "who comes next begins with the whole picture");
}

#[test]
fn a_slow_viewer_gets_the_second_encode_where_there_can_be_one_and_the_first_one_stays() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let (floor, ceiling) = (Bitrate::from_kbps(300), Bitrate::from_kbps(2_500));
    scene.station.rate = RateControl::new(RatePolicy::Majority, floor, ceiling);
    let viewers: Vec<Viewer> = (1..=3).map(|kid| streaming(&mut scene, kid, kid.into())).collect();
    let slow = scene.peer_of(&viewers[2]);
    let rendition = |order: &Command| match order {
        Command::SetSubstream(_) | Command::Serve { .. } | Command::SetBitrate(_) => Some(order.clone()),
        _ => None,
    };
    let ordered = |scene: &Scene| scene.orders.iter().filter_map(rendition).collect::<Vec<_>>();
    let estimate = Input::Estimate { peer: slow, bitrate: Bitrate::from_kbps(600) };
    scene.put(Input::CameraStarted { encodes_twice: false });
    scene.put(estimate.clone());
    scene.wait(5_000);
    assert_eq!(ordered(&scene), [], "a camera with H.264 of its own");
    scene.put(Input::CameraStarted { encodes_twice: true });
    let to = |rendition| Command::Serve { peer: slow, rendition };
    let begin = Command::SetSubstream(Some(Bitrate::from_kbps(510)));
    assert_eq!(ordered(&scene), [begin, to(Rendition::Sub)]);
    scene.put(Input::SubstreamFailed);
    assert_eq!(ordered(&scene)[2..], [Command::SetSubstream(None), to(Rendition::Main)]);
}

#[test]
fn another_network_renews_the_offer_and_leaves_those_who_watch_alone() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let ana = streaming(&mut scene, 1, 1);
    let before = ana.standing(&scene).offer;
    let orders = scene.orders.len();
    scene.put(Input::NetworkChanged);
    scene.wait(200);
    assert_ne!(ana.standing(&scene).offer, before);
    assert_eq!(scene.station.watching(), 1);
    assert!(scene.orders[orders..].iter().all(|order| !matches!(order, Command::RestartIce(_))));
}

#[test]
fn a_path_that_is_lost_is_looked_for_anew_in_the_same_session() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let peer = scene.peer_of(&ana);
    let orders = scene.orders.len();
    scene.put(Input::PathLost(peer));
    assert!(scene.orders[orders..].contains(&Command::RestartIce(peer)));
    let reoffer: Offer = ana.hear(&scene, "reoffer");
    ana.answer(&mut scene, &reoffer);
    scene.put(Input::AnswerApplied(peer));
    scene.put(Input::PeerConnected(peer));
    let accept: message::Accept = ana.hear(&scene, "accept");
    assert_eq!((accept.offer, scene.station.watching()), (reoffer.offer, 1));
    let media = |order: &&Command| matches!(order, Command::StartMedia { .. } | Command::ClosePeer(_));
    assert_eq!(scene.orders[orders..].iter().find(media), None, "the media goes on as it was");
}

#[test]
fn a_reoffer_that_was_not_answered_before_the_path_was_lost_again_is_worthless() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let peer = scene.peer_of(&ana);
    scene.put(Input::PathLost(peer));
    let stale: Offer = ana.hear(&scene, "reoffer");
    scene.put(Input::PathLost(peer));
    let fresh: Offer = ana.hear(&scene, "reoffer");
    assert_ne!(stale.offer, fresh.offer);
    let orders = scene.orders.len();
    ana.answer(&mut scene, &stale);
    assert_eq!(scene.refused(Refusal::OutOfPlace), 1);
    ana.answer(&mut scene, &fresh);
    let applied = |order: &&Command| matches!(order, Command::ApplyAnswer { .. });
    assert_eq!(scene.orders[orders..].iter().filter(applied).count(), 1);
}

#[test]
fn a_restart_that_is_being_made_is_not_begun_again() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let peer = scene.peer_of(&ana);
    scene.opens = false;
    scene.put(Input::PathLost(peer));
    scene.put(Input::PathLost(peer));
    ana.say(&mut scene, "restart", &Bye { reason: "network".into() });
    let restarts = scene.orders.iter().filter(|order| **order == Command::RestartIce(peer)).count();
    assert_eq!(restarts, 1);
    scene.put(Input::PeerOfferFailed { peer, reason: "no socket".into() });
    scene.opens = true;
    scene.put(Input::PathLost(peer));
    let _: Offer = ana.hear(&scene, "reoffer");
}

#[test]
fn a_reoffer_that_the_broker_missed_is_said_again_when_it_is_back() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    let peer = scene.peer_of(&ana);
    scene.put(Input::BrokerLost);
    scene.put(Input::PathLost(peer));
    let missed: Offer = ana.hear(&scene, "reoffer");
    scene.put(Input::BrokerConnected);
    let reoffer: Offer = ana.hear(&scene, "reoffer");
    assert_eq!(missed, reoffer);
    ana.answer(&mut scene, &reoffer);
    scene.put(Input::BrokerConnected);
    assert!(ana.hears_nothing(&scene), "answered, it is not said again");
}

#[test]
fn nobody_who_does_not_stream_has_a_path_to_lose() {
    let mut scene = Scene::new(Security::Sealed, 4);
    scene.put(Input::PathLost(PeerId(77)));
    let standing = scene.open[0];
    scene.put(Input::PathLost(standing));
    assert!(scene.orders.iter().all(|order| !matches!(order, Command::RestartIce(_))));
}

#[test]
fn a_lost_peer_frees_its_place_and_the_viewer_is_told() {
    let mut scene = Scene::new(Security::Sealed, 1);
    let mut ana = streaming(&mut scene, 1, 1);
    let peer = scene.peer_of(&ana);
    scene.put(Input::PeerLost { peer, reason: "silent" });
    let bye: Bye = ana.hear(&scene, "bye");
    assert_eq!((bye.reason.as_str(), scene.station.watching()), ("silent", 0));
    scene.wait(200);
    let _ = ana.standing(&scene);
}

#[test]
fn an_offer_that_is_never_made_is_given_up_for_another() {
    let mut scene = Scene::new(Security::Sealed, 1);
    scene.opens = false;
    scene.put(Input::NetworkChanged);
    let (first, orders) = (scene.open[0], scene.orders.len());
    scene.wait(29_000);
    assert_eq!(scene.open, [first], "a slow board may take long");
    scene.opens = true;
    scene.wait(2_000);
    let made = &scene.orders[orders..];
    assert!(made.contains(&Command::ClosePeer(first)));
    assert_eq!(made.iter().filter(|order| matches!(order, Command::OpenPeer(_))).count(), 1);
    let _ = Viewer::new(&scene, 1, 1).standing(&scene);
    let lit = scene.open.clone();
    scene.wait(7 * 60_000);
    assert_eq!(scene.open, lit, "one that is lit has its minutes");
}

#[test]
fn a_board_without_a_network_tries_again_for_as_long_as_it_takes() {
    let mut scene = Scene::new(Security::Sealed, 1);
    scene.opens = false;
    scene.station.renew_standing();
    for _ in 0..20 {
        for _ in 0..40 {
            scene.wait(if scene.open.is_empty() { 1_000 } else { 0 });
        }
        let peer = *scene.open.last().expect("it tries again");
        scene.put(Input::PeerOfferFailed { peer, reason: "no interface".into() });
    }
    scene.opens = true;
    scene.wait(40_000);
    let _ = Viewer::new(&scene, 1, 1).standing(&scene);
}

#[test]
fn shutdown_says_bye_clears_the_offers_and_goes_offline() {
    let mut scene = Scene::new(Security::Sealed, 4);
    let mut ana = streaming(&mut scene, 1, 1);
    scene.put(Input::Shutdown);
    let bye: Bye = ana.hear(&scene, "bye");
    assert_eq!(bye.reason, "shutdown");
    assert!((1..=4).all(|kid| scene.retained(Topic::Offer(Slot::Kid(Kid(kid)))).is_empty()));
    assert!(scene.retained(Topic::Status).contains("offline"));
    assert_eq!(scene.open, []);
}

#[test]
fn an_offer_with_many_candidates_stays_within_8192_bytes_and_loses_none() {
    let mut scene = Scene::new(Security::Open, 4);
    let peer = scene.station.standing.as_ref().expect("it is lit").peer;
    let line =
        |port| format!("candidate:1 1 udp 2130706431 2001:db8:1:2:3:4:5:6 {port} typ host generation 0");
    let lines: String = (0..150).map(|port| format!("a={}\r\n", line(40_000 + port))).collect();
    let sdp = format!("v=0\r\nm=audio 9 X 1\r\na=mid:0\r\n{lines}m=video 9 X 1\r\na=mid:1\r\n{lines}");
    scene.put(Input::PeerGathered { peer, sdp });
    scene.wait(200);
    assert!(scene.retained(Topic::Offer(Slot::Open)).len() <= seal::PLAINTEXT_LIMIT_BYTES);
    let mut ana = Viewer::new(&scene, 0, 1);
    let offer = ana.standing(&scene);
    ana.answer(&mut scene, &offer);
    let mut seen = offer.sdp.matches("typ host").count();
    while seen < 150 {
        let late: Candidates = ana.hear(&scene, "candidates");
        seen += late.list.len();
    }
    assert_eq!(seen, 150);
}
