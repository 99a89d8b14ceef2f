//! What becomes of the offer and of those who watch when broker, daemon, camera or key go away?
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
use daemon::{Daemon, Home, Setup};
use farol::engine::message::Status;
use farol::engine::topic::Topic;
use mosquitto::{Mosquitto, free_port};
use recorder::Recorder;
use viewer::{Link, Viewer, watch};

/// A daemon that runs, and two links for it.
struct Scene {
    mosquitto: Mosquitto,
    admin: Recorder,
    home: Home,
    daemon: Daemon,
    ana: Link,
    rui: Link,
}

impl Scene {
    async fn start() -> Scene {
        let mosquitto = Mosquitto::open();
        let admin = Recorder::on(mosquitto.port).await;
        let home = Home::new(&Setup::on(mosquitto.port));
        let (ana, rui) = (home.pair("Ana"), home.pair("Rui"));
        let daemon = home.start();
        Scene { mosquitto, admin, home, daemon, ana, rui }
    }

    fn status_topic(&self) -> String {
        self.ana.topic(&Topic::Status)
    }
}

fn offer_topic(link: &Link) -> String {
    link.topic(&Topic::Offer(link.slot()))
}

fn is_lit(payload: &[u8]) -> bool {
    !payload.is_empty()
}

fn has_state(state: &str) -> impl Fn(&[u8]) -> bool {
    move |payload| serde_json::from_slice(payload).is_ok_and(|status: Status| status.state == state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_later_gets_its_offer() {
    let port = free_port();
    let home = Home::new(&Setup::on(port));
    let ana = home.pair("Ana");
    let daemon = home.start();
    daemon.says(&["is the broker running"]).await;
    let mosquitto = Mosquitto::start_on(port, "allow_anonymous true");
    let admin = Recorder::on(mosquitto.port).await;
    admin.last("an offer", &offer_topic(&ana), is_lit).await;
    watch(&ana).await.sees_more(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_takes_no_picture_with_it() {
    let mut scene = Scene::start().await;
    let watching = watch(&scene.ana).await;
    scene.mosquitto.kill();
    // At 15 pictures a second this is three times as long as the broker is given to be missed.
    watching.sees_more(45).await;
    scene.daemon.says(&["closed the connection"]).await;
    scene.mosquitto.restart();
    let admin = Recorder::on(scene.mosquitto.port).await;
    admin.last("an offer", &offer_topic(&scene.rui), is_lit).await;
    admin.last("a status", &scene.status_topic(), has_state("online")).await;
    watching.sees_more(15).await;
    let frames = watching.screen.received();
    let gap = frames.pictures.windows(2).map(|two| two[1].arrived - two[0].arrived).max();
    let gap = gap.expect("there were pictures");
    eprintln!("longest gap {:.2} s in {} pictures", gap.as_secs_f64(), frames.pictures.len());
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    assert_eq!(scene.daemon.said(&["viewer left"]), 0);
    watch(&scene.rui).await.sees_more(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_to_stop_says_goodbye_and_puts_out_the_lamp() {
    let mut scene = Scene::start().await;
    let mut watching = watch(&scene.ana).await;
    scene.daemon.terminate();
    assert_eq!(watching.viewer.dismissed().await, "shutdown");
    assert_eq!(scene.daemon.ends().await.code(), Some(0));
    scene.admin.last("the end", &scene.status_topic(), has_state("offline")).await;
    let stored = recorder::stored(scene.mosquitto.port, None).await;
    let ours: Vec<_> = stored.iter().filter(|message| message.topic.starts_with("farol/")).collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert!(has_state("offline")(&ours[0].payload));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_leaves_its_will_and_starts_anew() {
    let mut scene = Scene::start().await;
    let mut watching = watch(&scene.ana).await;
    let boot = watching.viewer.boot;
    scene.daemon.kill();
    let offline = watching.viewer.status("the will", |status| status.state == "offline").await;
    assert_eq!(Some(offline.boot), boot);
    scene.daemon = scene.home.start();
    scene.admin.last("a new life", &scene.status_topic(), has_state("online")).await;
    let again = watch(&scene.ana).await;
    assert_ne!(again.viewer.boot, boot);
    again.sees_more(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_revoked_is_out_at_once_and_finds_nothing() {
    let scene = Scene::start().await;
    let mut watching = watch(&scene.ana).await;
    let bystander = watch(&scene.rui).await;
    let of_rui = |payload: &[u8]| scene.rui.open_standing(payload).map(|offer| offer.offer);
    let before = of_rui(&scene.admin.last("an offer", &offer_topic(&scene.rui), is_lit).await);
    scene.home.farol(&["revoke", "Ana"]);
    assert_eq!(watching.viewer.dismissed().await, "revoked");
    scene.admin.last("no offer", &offer_topic(&scene.ana), <[u8]>::is_empty).await;
    // She knew the old one's ICE password.
    scene
        .admin
        .last("another offer", &offer_topic(&scene.rui), |now| is_lit(now) && of_rui(now) != before)
        .await;
    scene.daemon.says(&["viewer left", "viewer=Ana", "reason=revoked"]).await;
    let seen = watching.screen.received().pictures.len();
    bystander.sees_more(15).await;
    // What was on its way when the connection closed.
    assert!(watching.screen.received().pictures.len() <= seen + 3);
    let mut again = Viewer::connect(&scene.ana).await;
    assert!(!again.has_offer().await);
    again.hello().await;
    scene.daemon.refuses("unknown_key", 1).await;
    bystander.sees_more(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_appears_is_seen_within_2_s() {
    let mosquitto = Mosquitto::open();
    let admin = Recorder::on(mosquitto.port).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("recording.h264");
    let video = format!("source = \"replay\"\nfile = \"{}\"", file.display());
    let home = Home::new(&Setup { video, ..Setup::on(mosquitto.port) });
    let ana = home.pair("Ana");
    let daemon = home.start();
    // A viewer may come all the same; the status tells it what is missing.
    let mut viewer = Viewer::connect(&ana).await;
    let offer = viewer.standing().await;
    let (screen, sdp) = Answerer::answer(&offer.sdp).await;
    viewer.answer(&offer, &sdp).await;
    viewer.accepted(&screen).await;
    let has_camera = |camera: &'static str| {
        move |payload: &[u8]| {
            serde_json::from_slice(payload).is_ok_and(|status: Status| status.camera == camera)
        }
    };
    let status = ana.topic(&Topic::Status);
    admin.last("a lost camera", &status, has_camera("lost")).await;
    daemon.says(&["camera lost", "recording.h264"]).await;
    screen.until("sound all the same", |received| received.sound.len() > 10).await;
    assert!(screen.received().pictures.is_empty());

    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/guest/labcam.h264");
    std::fs::copy(recording, &file).expect("a writable directory");
    let back = Instant::now();
    let received = screen.until("a picture", |received| !received.pictures.is_empty()).await;
    let took = received.pictures[0].arrived - back;
    eprintln!("a picture after {:.2} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(2 + 2), "{took:?}");
    assert!(received.pictures[0].is_keyframe);
    admin.last("a camera", &status, has_camera("ready")).await;
}
