//! What can somebody do who sees everything on the broker and may publish anything there?
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
#[path = "common/viewer.rs"]
mod viewer;

use std::time::{Duration, Instant};

use answerer::Answerer;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daemon::{Daemon, Home, Setup};
use farol::engine::message::{self, Bye, Candidate, Candidates, Hello, RejectCode, Status};
use farol::engine::topic::{Slot, Topic};
use farol::units::{BootId, Kid, OfferId, SessionId};
use mosquitto::Mosquitto;
use recorder::{Recorder, Seen};
use viewer::{Link, Viewer, Watching, answer_to, watch};

/// A daemon on a broker where everybody may do everything, and somebody who does.
struct Scene {
    home: Home,
    daemon: Daemon,
    stranger: Recorder,
    ana: Link,
    rui: Link,
    _mosquitto: Mosquitto,
}

impl Scene {
    async fn start() -> Scene {
        let mosquitto = Mosquitto::open();
        let stranger = Recorder::on(mosquitto.port).await;
        let home = Home::new(&Setup::on(mosquitto.port));
        let (ana, rui) = (home.pair("Ana"), home.pair("Rui"));
        let daemon = home.start();
        Scene { home, daemon, stranger, ana, rui, _mosquitto: mosquitto }
    }

    /// Publishes to the device as if it came from a session of that slot.
    async fn forge(&self, slot: Slot, session: u128, payload: impl Into<Vec<u8>>) {
        let topic = self.ana.topic(&Topic::In(slot, SessionId(session)));
        self.stranger.publish(&topic, payload, false).await;
    }

    /// How often the device has said anything to a session.
    fn said_to(&self, slot: Slot, session: SessionId) -> usize {
        let topic = self.ana.topic(&Topic::Out(slot, session));
        self.stranger.seen().iter().filter(|message| message.topic == topic).count()
    }
}

/// Where in what passed one of the secrets stands: in a topic, in a payload as it is, or in the bytes of
/// a payload's `ct`.
fn leaks(seen: &[Seen], secrets: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut leaks = Vec::new();
    for message in seen {
        let json: serde_json::Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let ct = json["ct"].as_str().map(|ct| URL_SAFE_NO_PAD.decode(ct).expect("base64url"));
        let ct = ct.unwrap_or_default();
        for (name, secret) in secrets {
            // Random bytes spell any short text now and then. In base64url a `=` stands nowhere.
            assert!(secret.len() >= 6 || secret.contains(&b'='), "{name} would be found anywhere");
            let inside = if secret.len() >= 6 { ct.as_slice() } else { &[] };
            let places = [message.topic.as_bytes(), &message.payload, inside];
            if places.iter().any(|place| place.windows(secret.len()).any(|window| window == secret)) {
                leaks.push(format!("{name} on {}", message.topic));
            }
        }
    }
    leaks
}

/// What must not be seen of a session: all that its descriptions and candidates say, names and keys.
fn secrets(link: &Link, plaintexts: &[String]) -> Vec<(String, Vec<u8>)> {
    let mut secrets: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, secret: &[u8]| secrets.push((name.to_owned(), secret.to_vec()));
    for plain in ["v=0", "m=video", "m=audio", "a=", "127.0.0.1", "candidate:", daemon::NAME] {
        add(plain, plain.as_bytes());
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    add("the key", &link.key);
    add("the key in hex", hex(&link.key).as_bytes());
    add("the key in base64url", URL_SAFE_NO_PAD.encode(link.key).as_bytes());
    add("the password at the broker", link.password().as_bytes());
    let attributes = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:sha-256 ", "a=ssrc:"];
    let mut found = [0; 4];
    for sdp in plaintexts.iter().flat_map(|text| text.split("\\r\\n").flat_map(str::lines)) {
        for (attribute, count) in attributes.iter().zip(&mut found) {
            if let Some(value) = sdp.strip_prefix(attribute) {
                *count += 1;
                add(attribute, value.split(' ').next().unwrap_or_default().as_bytes());
            }
        }
    }
    assert!(found.iter().all(|count| *count > 0), "there was nothing to look for: {found:?}");
    secrets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_learns_nothing_from_a_whole_session() {
    let scene = Scene::start().await;
    let mut viewer = Viewer::connect(&scene.ana).await;
    let offer = viewer.standing().await;
    let (screen, sdp, candidates) = Answerer::answer_trickling(&offer.sdp).await;
    viewer.answer(&offer, &sdp).await;
    viewer.candidates(offer.offer, candidates).await;
    let accept = viewer.accepted(&screen).await;
    screen.until("pictures", |received| received.pictures.len() > 3).await;
    let mut watching = Watching { viewer, screen, accept };
    watching.restart().await;
    let Watching { mut viewer, .. } = watching;
    viewer.bye().await;
    scene.daemon.says(&["viewer left", "reason=bye"]).await;

    let seen = scene.stranger.seen();
    let kinds = |kind: &str| {
        let kind = format!("\"t\":\"{kind}\"");
        seen.iter().filter(|message| String::from_utf8_lossy(&message.payload).contains(&kind)).count()
    };
    for kind in ["offer", "answer", "candidates", "accept", "restart", "reoffer", "bye"] {
        assert!(kinds(kind) > 0, "no {kind} passed");
    }
    let secrets = secrets(&scene.ana, &viewer.plaintexts);
    assert_eq!(leaks(&seen, &secrets), Vec::<String>::new());
    // The search finds what is there: the same session in open messages.
    let open = viewer.plaintexts.iter().map(|text| {
        let payload = if text.starts_with('{') { text.clone() } else { message::json(text) };
        Seen { topic: String::new(), payload: message::write_open("x", 1, &payload).into(), retained: false }
    });
    let found = leaks(&open.collect::<Vec<_>>(), &secrets);
    for needle in
        ["v=0", "m=video", "a=", "127.0.0.1", "a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:sha-256 "]
    {
        assert!(found.iter().any(|leak| leak.starts_with(needle)), "{needle} is not found where it is");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forged_or_senseless_is_refused_and_counted_and_does_nothing() {
    let mut scene = Scene::start().await;
    let (ana, rui) = (scene.ana.clone(), scene.rui.clone());
    // Somebody streams meanwhile, and shall not notice.
    let mut inside = watch(&rui).await;
    let mut honest = Viewer::connect(&ana).await;
    let offer = honest.standing().await;
    let boot = offer.boot;
    let slot = ana.slot();
    let (screen, sdp) = Answerer::answer(&offer.sdp).await;
    let payload = message::json(&answer_to(&offer, &sdp));

    // Made by who has no key, or changed on the way. None of these sessions may ever be heard of.
    let strange = 0x5000;
    let sealed = |session, kind: &str, n| ana.seal(boot, SessionId(session), kind, n, &payload);
    let flipped = {
        let mut wire: serde_json::Value = serde_json::from_str(&sealed(strange, "answer", 1)).expect("JSON");
        let mut bytes = URL_SAFE_NO_PAD.decode(wire["ct"].as_str().expect("text")).expect("base64url");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        wire["ct"] = URL_SAFE_NO_PAD.encode(bytes).into();
        wire.to_string()
    };
    scene.forge(slot, strange, flipped).await;
    scene
        .forge(slot, strange, sealed(strange, "candidates", 1).replace("\"candidates\"", "\"answer\""))
        .await;
    scene.forge(slot, strange, sealed(strange, "answer", 1).replace("\"n\":1", "\"n\":2")).await;
    scene.forge(slot, strange + 1, sealed(strange, "answer", 1)).await;
    scene.forge(rui.slot(), strange, sealed(strange, "answer", 1)).await;
    let earlier = BootId(boot.0 ^ 1);
    let hello = |boot| message::json(&Hello { boot, wants: viewer::ALL });
    scene.forge(slot, strange, ana.seal(earlier, SessionId(strange), "hello", 1, &hello(earlier))).await;
    let before = message::json(&farol::engine::message::Answer { boot: earlier, ..answer_to(&offer, &sdp) });
    scene.forge(slot, strange, ana.seal(earlier, SessionId(strange), "answer", 1, &before)).await;
    let not_authentic = 7;
    scene.forge(Slot::Kid(Kid(ana.kid.0 ^ 1)), strange, sealed(strange, "answer", 1)).await;
    scene.forge(Slot::Open, strange, message::write_open("answer", 1, &payload)).await;
    let unknown_key = 2;
    scene.forge(slot, strange, message::write_open("answer", 1, &payload)).await;
    let wrong_form = 1;
    let noise: Vec<u8> = (0..40_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    scene.forge(slot, strange, noise.clone()).await;
    let too_large = 1;
    scene.forge(slot, strange, format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000))).await;
    scene.forge(slot, strange, format!("{{\"v\":1,\"p\":{}", "{\"a\":".repeat(17))).await;
    let too_deep = 2;
    scene.forge(slot, strange, &noise[..1000]).await;
    scene.forge(slot, strange, [0xff, 0xfe, 0x80].as_slice()).await;
    scene.forge(slot, strange, "{\"v\":1,\"t\":\"bye\",\"n\":0,\"ct\":\"\"}").await;
    scene.forge(slot, strange, "{\"v\":1,\"t\":\"bye\",\"n\":9007199254740992,\"ct\":\"\"}").await;
    let malformed = 4;

    // Authentic, and still senseless: said by a viewer of ours that is broken or bought.
    let odd = |n, kind: &str, payload: &str| ana.seal(boot, SessionId(0x0dd), kind, n, payload);
    scene.forge(slot, 0x0dd, odd(1, "hello", &hello(earlier))).await;
    scene.forge(slot, 0x0dd, odd(2, "answer", &before)).await;
    let wrong_boot = 2;
    scene.forge(slot, 0x0dd, odd(3, "sing", "{}")).await;
    let unknown_type = 1;
    scene
        .forge(slot, 0x0dd, odd(4, "answer", &format!("{{\"a\":{}1{}}}", "[".repeat(16), "]".repeat(16))))
        .await;
    scene.forge(slot, 0x0dd, odd(5, "answer", "{\"offer\":7}")).await;
    let malformed = malformed + 2;
    let poison = Candidate {
        candidate: "candidate:1 1 udp 2130706431 192.0.2.66 9 typ host".into(),
        sdp_mid: None,
        sdp_m_line_index: Some(0),
        username_fragment: None,
    };
    for (n, offer) in [(6, inside.accept.offer), (7, offer.offer), (8, OfferId(1))] {
        let candidates = Candidates { offer, list: vec![poison.clone()], end: false };
        scene.forge(slot, 0x0dd, odd(n, "candidates", &message::json(&candidates))).await;
    }
    let foreign_offer = 3;
    scene.forge(slot, 0x0dd, odd(9, "restart", "{}")).await;
    let out_of_place = 1;
    let candidates = Candidates { offer: offer.offer, list: vec![poison], end: false };
    inside.viewer.say("candidates", &candidates).await;
    let foreign_offer = foreign_offer + 1;

    // Nothing came of it: the offer was not taken, and the honest viewer's answer to it is the first.
    honest.answer(&offer, &sdp).await;
    assert_eq!(honest.accepted(&screen).await.offer, offer.offer);
    screen.until("the honest viewer's picture", |received| received.pictures.len() > 5).await;

    // What it said is of no use to anybody else, nor a second time.
    let recorded = scene.stranger.seen();
    let answers = recorded.iter().filter(|message| message.topic == honest.topic()).cloned();
    let answers: Vec<Seen> = answers.collect();
    assert_eq!(answers.len(), 1);
    for _ in 0..3 {
        scene.stranger.publish(&honest.topic(), answers[0].payload.clone(), false).await;
    }
    let replayed = 3;
    scene.forge(slot, strange + 2, answers[0].payload.clone()).await;
    let not_authentic = not_authentic + 1;
    // An answer to an offer that was used is told so, and takes nothing from who used it.
    let mut late = Viewer::connect(&rui).await;
    late.standing().await;
    late.answer(&offer, &sdp).await;
    assert_eq!(late.rejected().await.code, RejectCode::Taken);
    late.bye().await;

    for (reason, count) in [
        ("not_authentic", not_authentic),
        ("unknown_key", unknown_key),
        ("wrong_form", wrong_form),
        ("too_large", too_large),
        ("too_deep", too_deep),
        ("malformed", malformed),
        ("wrong_boot", wrong_boot),
        ("unknown_type", unknown_type),
        ("foreign_offer", foreign_offer),
        ("out_of_place", out_of_place),
        ("replayed", replayed),
    ] {
        scene.daemon.refuses(reason, count).await;
        assert_eq!(scene.daemon.refused(reason), count, "{reason}");
    }
    for session in [strange, strange + 1, strange + 2, 0x0dd] {
        assert_eq!(scene.said_to(slot, SessionId(session)), 0, "{session:x} was answered");
    }
    assert_eq!(scene.daemon.said(&["viewer joined"]), 2);
    assert_eq!(scene.daemon.said(&["viewer left"]), 0);
    inside.sees_more(5).await;
    assert!(scene.daemon.lives());
    watch(&rui).await.sees_more(2).await;
}

/// Publishes what does not authenticate, at this rate, until `count` are out.
async fn flood(stranger: &Recorder, topic: &str, wire: &str, per_second: u32, count: u32) -> Duration {
    let began = Instant::now();
    for sent in 0..count {
        let due = began + Duration::from_secs(1) * sent / per_second;
        // In small bursts, since timers are no finer than a millisecond.
        if sent % 8 == 0 {
            tokio::time::sleep_until(due.into()).await;
        }
        stranger.throw(topic, wire).await;
    }
    began.elapsed()
}

/// Something that costs a derivation and a decryption to refuse.
fn costly(link: &Link) -> String {
    let other = Link { key: [7; 32], ..link.clone() };
    other.seal(BootId(1), SessionId(2), "answer", 1, &"x".repeat(1500))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_400_a_second_does_not_keep_a_viewer_out() {
    let scene = Scene::start().await;
    let mut viewer = Viewer::connect(&scene.ana).await;
    let topic = viewer.topic();
    let offer = viewer.standing().await;
    let wire = costly(&scene.ana);
    let coming = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        let watching = viewer.take(offer).await;
        eprintln!("in after {:.2} s", began.elapsed().as_secs_f64());
        watching.sees_more(10).await;
        began.elapsed()
    };
    let (took, came) = tokio::join!(flood(&scene.stranger, &topic, &wire, 400, 2000), coming);
    eprintln!("2000 messages in {:.1} s", took.as_secs_f64());
    assert!(came < Duration::from_secs(10), "{came:?}");
    scene.daemon.refuses("not_authentic", 400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_3000_a_second_does_not_silence_who_streams() {
    const HEARD: u64 = 20;
    let scene = Scene::start().await;
    let Watching { mut viewer, screen, .. } = watch(&scene.ana).await;
    let topic = viewer.topic();
    let wire = costly(&scene.ana);
    let speaking = async {
        // By now what the device spends on messages that fail, 2,000 a second, is spent.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let hello = Hello { boot: viewer.boot.expect("it is in"), wants: viewer::ALL };
        // Each of these is out of place, and counted as such when it is heard.
        for _ in 0..HEARD {
            viewer.say("hello", &hello).await;
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
        let before = screen.received().pictures.len();
        screen.until("more pictures", |received| received.pictures.len() > before).await;
        viewer.bye().await;
        scene.daemon.says(&["viewer left", "reason=bye"]).await;
    };
    let (took, ()) = tokio::join!(flood(&scene.stranger, &topic, &wire, 3000, 15_000), speaking);
    eprintln!("15000 messages in {:.1} s", took.as_secs_f64());
    assert_eq!(scene.daemon.said(&["viewer left"]), 1);
    scene.daemon.refuses("out_of_place", HEARD).await;
    assert_eq!(scene.daemon.refused("out_of_place"), HEARD);
    // It was a flood to the device, too, and not only to the broker.
    scene.daemon.refuses("not_authentic", 3000).await;
    // And whoever comes afterwards gets in.
    watch(&scene.rui).await.sees_more(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_leave_or_change_on_the_broker_is_put_right() {
    let mosquitto = Mosquitto::open();
    let stranger = Recorder::on(mosquitto.port).await;
    let home = Home::new(&Setup::on(mosquitto.port));
    let ana = home.pair("Ana");
    let device = ana.device;
    let name = |topic: Topic| topic.name(device);
    // Litter from before the device comes.
    let old_in = name(Topic::In(ana.slot(), SessionId(1)));
    let old_offer = name(Topic::Offer(Slot::Kid(Kid(9))));
    stranger.publish(&old_in, costly(&ana), true).await;
    stranger.publish(&old_offer, "litter", true).await;
    stranger.publish(&name(Topic::Status), "{\"v\":1,\"state\":\"offline\"}", true).await;
    let daemon = home.start();
    stranger.last("the old offer's end", &old_offer, <[u8]>::is_empty).await;
    let mut inside = watch(&ana).await;

    let status = name(Topic::Status);
    let offer = name(Topic::Offer(ana.slot()));
    let online =
        |payload: &[u8]| serde_json::from_slice(payload).is_ok_and(|status: Status| status.state == "online");
    let lit = |payload: &[u8]| ana.open_standing(payload).is_some();
    let clear = <[u8]>::is_empty;
    stranger.last("a status", &status, online).await;
    stranger.last("an offer", &offer, lit).await;
    let lie = message::json(&Status {
        v: 1,
        state: "offline".into(),
        boot: BootId(7),
        security: "open".into(),
        full: true,
        camera: "lost".into(),
    });
    let in_now = name(Topic::In(ana.slot(), SessionId(3)));
    let in_of_nobody = name(Topic::In(Slot::Kid(Kid(9)), SessionId(3)));
    let open_offer = name(Topic::Offer(Slot::Open));
    let stray_offer = name(Topic::StrayOffer("everybody".into()));
    type Right<'r> = &'r dyn Fn(&[u8]) -> bool;
    let rounds: [&[(&str, &[u8], Right<'_>)]; 3] = [
        &[
            (&status, lie.as_bytes(), &online),
            (&offer, b"", &lit),
            (&in_now, b"junk", &clear),
            (&in_of_nobody, b"junk", &clear),
            (&open_offer, b"{}", &clear),
            (&stray_offer, b"{}", &clear),
        ],
        &[(&offer, b"overwritten", &lit), (&status, b"", &online)],
        &[(&offer, &[0xff; 5000], &lit), (&status, b"noise", &online)],
    ];
    for round in rounds {
        for (topic, payload, _) in round {
            stranger.publish(topic, *payload, true).await;
        }
        let began = Instant::now();
        for (topic, _, right) in round {
            stranger.last("what is right", topic, right).await;
            let took = began.elapsed();
            eprintln!("{topic} right after {:.2} s", took.as_secs_f64());
            assert!(took < Duration::from_secs(5 + 3), "{topic}: {took:?}");
        }
    }
    // Nobody in the store but us, and what was there before: it reaches no one, since the device is the
    // only one that reads there and does not ask for what is stored.
    let mut kept: Vec<String> = recorder::stored(mosquitto.port, None)
        .await
        .into_iter()
        .filter(|message| !message.topic.starts_with("$SYS"))
        .map(|message| message.topic)
        .collect();
    kept.sort();
    let mut right = [status.clone(), offer.clone(), old_in.clone()];
    right.sort();
    assert_eq!(kept, right);
    daemon.refuses("retained", 2).await;
    assert_eq!((daemon.refused("retained"), daemon.refused("not_authentic")), (2, 0));
    inside.sees_more(5).await;
    inside.viewer.bye().await;
    watch(&ana).await.sees_more(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_before_a_restart_makes_no_session() {
    let mut scene = Scene::start().await;
    let mut first = watch(&scene.ana).await;
    let mut second = Viewer::connect(&scene.rui).await;
    second.hello().await;
    let own = second.offered().await;
    let second = second.take(own).await;
    first.restart().await;
    first.sees_more(2).await;
    first.viewer.say("bye", &Bye { reason: "closed".into() }).await;
    let recorded = scene.stranger.seen();
    let (status, old_boot) = (scene.ana.topic(&Topic::Status), first.viewer.boot.expect("it was in"));

    scene.daemon.kill();
    scene.stranger.last("the will", &status, |now| String::from_utf8_lossy(now).contains("offline")).await;
    scene.daemon = scene.home.start();
    scene.daemon.says(&["offer lit"]).await;
    let sessions = [(scene.ana.slot(), first.viewer.session), (scene.rui.slot(), second.viewer.session)];
    let before = sessions.map(|(slot, session)| scene.said_to(slot, session));
    let to_device: Vec<&Seen> = recorded.iter().filter(|message| message.topic.contains("/in/")).collect();
    assert!(to_device.len() >= 5, "{}", to_device.len());
    for _ in 0..2 {
        for message in &to_device {
            scene.stranger.publish(&message.topic, message.payload.clone(), false).await;
        }
    }
    // The next honest viewer is in at once, under the new boot.
    let began = Instant::now();
    let mut third = watch(&scene.ana).await;
    eprintln!("in after {:.2} s", began.elapsed().as_secs_f64());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_ne!(third.viewer.boot, Some(old_boot));
    scene.daemon.refuses("not_authentic", 2 * to_device.len() as u64).await;
    assert_eq!(sessions.map(|(slot, session)| scene.said_to(slot, session)), before);
    assert_eq!(scene.daemon.said(&["viewer joined"]), 1);

    // What the device kept there in its former life is no better.
    let kept: Vec<&Seen> = recorded.iter().filter(|message| message.retained).collect();
    assert!(kept.len() >= 3);
    for message in kept {
        scene.stranger.publish(&message.topic, message.payload.clone(), true).await;
    }
    third.viewer.bye().await;
    let is_new = |payload: &[u8]| {
        serde_json::from_slice(payload)
            .is_ok_and(|status: Status| status.state == "online" && status.boot != old_boot)
    };
    scene.stranger.last("the new boot's status", &status, is_new).await;
    let offer = scene.rui.topic(&Topic::Offer(scene.rui.slot()));
    let is_new =
        |payload: &[u8]| scene.rui.open_standing(payload).is_some_and(|offer| offer.boot != old_boot);
    scene.stranger.last("the new boot's offer", &offer, is_new).await;
    watch(&scene.rui).await.sees_more(2).await;
}
