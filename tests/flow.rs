//! Does a viewer who comes at any time get the picture? The real daemon, a real Mosquitto, real peers.
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/recorder.rs"]
mod recorder;
#[path = "common/stun.rs"]
mod stun;
#[path = "common/viewer.rs"]
mod viewer;

use std::time::{Duration, Instant};

use answerer::Answerer;
use bytes::Bytes;
use daemon::{Home, Setup};
use farol::engine::message::{RejectCode, Status, ToViewer};
use farol::engine::rights::Right;
use farol::engine::seal;
use farol::engine::topic::Topic;
use mosquitto::{Mosquitto, free_port};
use recorder::{Recorder, Seen};
use stun::{SEEN_AT, Stun};
use viewer::{Link, Viewer, watch};

fn lines<'s>(sdp: &'s str, start: &str) -> Vec<&'s str> {
    sdp.lines().filter(|line| line.starts_with(start)).collect()
}

fn is_status(payload: &[u8], condition: impl Fn(&Status) -> bool) -> bool {
    serde_json::from_slice(payload).is_ok_and(|status| condition(&status))
}

fn on<'s>(seen: &'s [Seen], topic: &str) -> Option<&'s Seen> {
    seen.iter().find(|message| message.topic == topic && !message.payload.is_empty())
}

/// The steps of the flow as `ARCHITECTURE.md` numbers them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_flow_from_an_offer_that_waits_to_media_both_ways() {
    let (port, stun) = (free_port(), Stun::holding_back().await);
    let alsa = Some("pcm.farol_test { type null }".to_owned());
    let talkback = "device = \"farol_test\"".to_owned();
    let setup = Setup { password: Some("farol"), stun: Some(stun.port), alsa, talkback, ..Setup::on(port) };
    let home = Home::new(&setup);
    let (ana, rui) = (home.pair("Ana"), home.pair("Rui"));
    let users = [&ana, &rui].map(|link| (link.kid.to_string(), link.password()));
    let _mosquitto = Mosquitto::with_viewers(port, &users);
    let admin = Recorder::as_user(port, "admin", "admin").await;
    let daemon = home.start();

    // 2: it makes a peer connection with STUN servers.
    stun.asked().await;
    // 1, 3-7: its media, its offer, and the first candidates are there.
    let offer_topic = ana.topic(&Topic::Offer(ana.slot()));
    let first = admin.last("an offer", &offer_topic, |payload| !payload.is_empty()).await;
    daemon.says(&["offer lit"]).await;
    // 8-9: the broker keeps it for whoever comes later, and nobody has come yet.
    let stored = recorder::stored(port, Some(("admin", "admin"))).await;
    let kept = on(&stored, &offer_topic).expect("the offer is in the broker's store");
    assert_eq!(kept.payload, first);
    let status = on(&stored, &ana.topic(&Topic::Status)).expect("so is the status");
    assert!(admin.seen().iter().all(|message| !message.topic.contains("/in/")));

    // 10-11: the viewer comes and is handed the offer at once; it authenticates, and its boot is the status'.
    let mut viewer = Viewer::connect(&ana).await;
    assert!(viewer.has_offer().await, "the stored offer did not come with the subscription");
    let offer = viewer.standing().await;
    assert!(is_status(&status.payload, |status| status.boot == offer.boot && status.security == "sealed"));
    assert_eq!((offer.rev, offer.name.as_str()), (1, daemon::NAME));
    assert!(
        offer.rights.has(Right::View) && offer.rights.has(Right::Talk) && !offer.rights.has(Right::Control)
    );
    assert_eq!(offer.ice_servers[0].urls, [format!("stun:127.0.0.1:{}", stun.port)]);
    assert_eq!(lines(&offer.sdp, "m=").len(), 3, "{}", offer.sdp);
    assert_eq!(lines(&offer.sdp, "a=sendrecv").len(), 2, "sound and the control channel go both ways");
    assert_eq!(lines(&offer.sdp, "a=sendonly").len(), 1, "the picture goes one way");
    let host = lines(&offer.sdp, "a=candidate:");
    assert!(host.iter().all(|candidate| candidate.contains("127.0.0.1") && candidate.contains("typ host")));
    assert!(!host.is_empty());
    // Its link opens nothing that is meant for somebody else, and the broker's ACL keeps it out too.
    let others =
        admin.last("Rui's offer", &ana.topic(&Topic::Offer(rui.slot())), |now| !now.is_empty()).await;
    assert!(ana.open_standing(&others).is_none() && rui.open_standing(&others).is_some());
    assert!(!viewer.publish(&ana.topic(&Topic::In(rui.slot(), viewer.session)), "x").await);
    assert!(!viewer.publish(&offer_topic, "x").await);
    assert!(!viewer.publish(&ana.topic(&Topic::Status), "x").await);

    // 12-17: it adds its microphone, sets the remote offer, answers, and gathers.
    let (screen, answer, candidates) = Answerer::answer_trickling(&offer.sdp).await;
    assert!(lines(&answer, "a=candidate:").is_empty() && !candidates.is_empty());
    assert_eq!(lines(&answer, "a=sendrecv").len(), 2, "{answer}");
    // 18-19, 21-22: the answer, bound to the offer by its digest, reaches the device and is applied there.
    assert_eq!(viewer::answer_to(&offer, &answer).digest, seal::sdp_digest(&offer.sdp));
    viewer.answer(&offer, &answer).await;
    // 20: its candidates follow by themselves.
    viewer.candidates(offer.offer, candidates).await;
    let accept = viewer.accepted(&screen).await;
    assert_eq!((accept.offer, accept.rights), (offer.offer, offer.rights));

    // 23: media flows to the viewer,
    daemon.says(&["viewer joined", "viewer=Ana"]).await;
    let played = screen.until("picture and sound", |r| r.pictures.len() > 5 && r.sound.len() > 5).await;
    assert!(played.pictures[0].is_keyframe);
    // and from it.
    for number in 0..25 {
        screen.send_sound(number, Bytes::from_static(&[0xf8, 0xff, 0xfe])).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon.says(&["viewer sends sound"]).await;

    // 6-7, 20: a candidate that the device learns late still comes to who has the offer already.
    stun.answer();
    let late = match viewer.hear("a late candidate").await {
        ToViewer::Candidates(late) => late,
        other => panic!("{other:?} instead of candidates"),
    };
    assert_eq!(late.offer, offer.offer);
    assert!(
        late.list
            .iter()
            .any(|one| one.candidate.contains("srflx") && one.candidate.contains(&SEEN_AT.ip().to_string()))
    );
    // And the next offer, which was lit at once, gets it as a revision.
    let revised = admin
        .until("a revised offer", |seen| {
            let offers = seen.iter().filter(|message| message.topic == offer_topic);
            offers.filter_map(|message| ana.open_standing(&message.payload)).find(|next| next.rev > 1)
        })
        .await;
    assert_ne!(revised.offer, offer.offer);
    assert!(revised.sdp.contains(&SEEN_AT.ip().to_string()), "{}", revised.sdp);
}

/// A daemon on a broker that lets anybody in, and links for it.
struct Scene {
    mosquitto: Mosquitto,
    _home: Home,
    daemon: daemon::Daemon,
}

impl Scene {
    fn start(setup: impl FnOnce(&mut Setup)) -> (Scene, Link, Link) {
        let mosquitto = Mosquitto::open();
        let mut settings = Setup::on(mosquitto.port);
        setup(&mut settings);
        let home = Home::new(&settings);
        let (ana, rui) = (home.pair("Ana"), home.pair("Rui"));
        let daemon = home.start();
        (Scene { mosquitto, _home: home, daemon }, ana, rui)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_answer_the_same_offer_both_watch() {
    let (scene, ana, rui) = Scene::start(|_| {});
    let (mut first, mut second) = (Viewer::connect(&ana).await, Viewer::connect(&rui).await);
    let (for_first, for_second) = (first.standing().await, second.standing().await);
    assert_eq!(for_first.offer, for_second.offer);

    let (screen, sdp) = Answerer::answer(&for_first.sdp).await;
    let (_losing_screen, losing_sdp) = Answerer::answer(&for_second.sdp).await;
    first.answer(&for_first, &sdp).await;
    second.answer(&for_second, &losing_sdp).await;
    first.accepted(&screen).await;
    let reject = second.rejected().await;
    assert_eq!(reject.code, RejectCode::Taken);
    let own = reject.offer.expect("a loser is given an offer of its own");
    assert_ne!(own.offer, for_second.offer);
    let second = second.take(own).await;

    screen.until("the winner's picture", |received| received.pictures.len() > 5).await;
    second.sees_more(5).await;
    scene.daemon.says(&["viewer joined", "watching=2"]).await;
    // Whoever comes next finds another offer.
    let third = watch(&rui).await;
    third.sees_more(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_offer_says_hello_and_watches() {
    let (scene, ana, _) = Scene::start(|_| {});
    scene.daemon.says(&["offer lit"]).await;
    let admin = Recorder::on(scene.mosquitto.port).await;
    let topic = ana.topic(&Topic::Offer(ana.slot()));
    admin.last("an offer", &topic, |payload| !payload.is_empty()).await;
    admin.publish(&topic, "", true).await;
    let mut viewer = Viewer::connect(&ana).await;
    if viewer.has_offer().await {
        // The machine was so slow that the device has put it back meanwhile: `hello` works all the same.
        eprintln!("the offer was back before the viewer came");
    }
    viewer.hello().await;
    let own = viewer.offered().await;
    viewer.take(own).await.sees_more(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_device_refuses_and_has_a_place_again_however_its_viewer_goes() {
    let (scene, ana, rui) = Scene::start(|setup| setup.max_viewers = 1);
    let admin = Recorder::on(scene.mosquitto.port).await;
    let (status, offer) = (ana.topic(&Topic::Status), ana.topic(&Topic::Offer(ana.slot())));
    let full = |is_full| move |payload: &[u8]| is_status(payload, |status| status.full == is_full);

    for (way, reason) in [("bye", "reason=bye"), ("close", "reason=closed"), ("silence", "reason=silent")] {
        let mut inside = watch(&ana).await;
        admin.last("a full device", &status, full(true)).await;
        admin.last("no offer", &offer, <[u8]>::is_empty).await;
        let mut outside = Viewer::connect(&rui).await;
        outside.hello().await;
        let reject = outside.rejected().await;
        assert_eq!(reject.code, RejectCode::Full);
        assert!(reject.retry_ms.is_some_and(|ms| ms >= 1000), "{reject:?}");
        inside.sees_more(2).await;

        let gone = Instant::now();
        match way {
            "bye" => inside.viewer.bye().await,
            "close" => inside.screen.close().await,
            _ => {
                inside.screen.fall_silent();
                // Longer than any other wait: ICE consent is lost after 30 s (RFC 7675 §5.1).
                tokio::time::sleep(Duration::from_secs(25)).await;
            }
        }
        admin.last("a place again", &status, full(false)).await;
        admin.last("an offer again", &offer, |payload| !payload.is_empty()).await;
        eprintln!("{way}: a place again after {:.1} s", gone.elapsed().as_secs_f64());
        // The log comes by a way of its own, which may be the slower one.
        scene.daemon.says(&["viewer left", reason]).await;
    }
    assert_eq!(scene.daemon.said(&["viewer left"]), 3);
    watch(&rui).await.sees_more(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_loses_its_broker_keeps_its_picture() {
    let (scene, ana, _) = Scene::start(|_| {});
    let mut watching = watch(&ana).await;
    watching.viewer.lose_broker();
    watching.sees_more(45).await;
    assert_eq!(scene.daemon.said(&["viewer left"]), 0);
    // And it is the same session when it finds the broker again.
    watching.viewer.find_broker().await;
    watching.viewer.bye().await;
    scene.daemon.says(&["viewer left", "reason=bye"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_may_have_ice_restarted_and_the_device_stays_the_offerer() {
    let (scene, ana, _) = Scene::start(|_| {});
    let mut watching = watch(&ana).await;
    let reoffer = watching.restart().await;
    assert_ne!(reoffer.offer, watching.accept.offer);
    watching.sees_more(15).await;
    assert_eq!(scene.daemon.said(&["viewer left"]), 0);
}
