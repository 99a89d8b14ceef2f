//! Can a viewer ask for what it may, and only for that, on its control channel? The real daemon, a real
//! Mosquitto, real peers.
#![cfg(all(feature = "daemon", feature = "openh264"))]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/viewer.rs"]
mod viewer;

use answerer::Received;
use daemon::{Daemon, Home, Setup};
use mosquitto::Mosquitto;
use serde_json::{Value, json};
use viewer::{Link, Watching, watch};

const EVERYTHING: &str = "view,listen,talk,control";

/// A viewer that watches, and its control channel.
struct Remote {
    watching: Watching,
    next_id: u64,
}

impl Remote {
    async fn of(link: &Link) -> Remote {
        let watching = watch(link).await;
        watching.screen.until("its channel", |received| received.channel.is_some()).await;
        Remote { watching, next_id: 1 }
    }

    /// Asks, and waits for the reply.
    async fn ask(&mut self, kind: &str, fields: Value) -> Value {
        let id = self.send(kind, fields).await;
        self.reply(id).await
    }

    async fn send(&mut self, kind: &str, mut fields: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        for (name, value) in [("v", json!(1)), ("id", json!(id)), ("t", json!(kind))] {
            fields[name] = value;
        }
        self.watching.screen.say(&fields.to_string()).await;
        id
    }

    async fn reply(&self, id: u64) -> Value {
        self.find("a reply", |message| message["id"] == id).await
    }

    async fn state(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let is_it = |message: &Value| message["t"] == "state" && condition(&message["state"]);
        self.find(what, is_it).await["state"].clone()
    }

    async fn find(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let received =
            self.watching.screen.until(what, |now| said(now).any(|message| condition(&message))).await;
        said(&received).find(|message| condition(message)).expect("it was there")
    }

    /// Asks for a still and puts it together.
    async fn still(&mut self) -> (usize, usize) {
        let before = self.watching.screen.received().binaries.len();
        let reply = self.ask("snapshot", json!({})).await;
        assert_eq!(
            (reply["t"].as_str(), reply["type"].as_str()),
            (Some("ok"), Some("image/jpeg")),
            "{reply}"
        );
        let bytes = reply["bytes"].as_u64().expect("a length") as usize;
        let messages = bytes.div_ceil(16_384);
        let whole = |now: &Received| now.binaries.len() >= before + messages;
        let received = self.watching.screen.until("the still", whole).await;
        let jpeg = received.binaries[before..].concat();
        assert_eq!(jpeg.len(), bytes);
        let image = turbojpeg::decompress(&jpeg, turbojpeg::PixelFormat::RGB).expect("a JPEG file");
        let brightest = image.pixels.iter().max().copied().unwrap_or_default();
        assert!(brightest > 100, "it is not black");
        (image.width, image.height)
    }
}

fn said(received: &Received) -> impl Iterator<Item = Value> {
    received.texts.iter().map(|text| serde_json::from_str(text).expect("JSON"))
}

struct Scene {
    _mosquitto: Mosquitto,
    home: Home,
    daemon: Daemon,
}

fn scene(video: Option<&str>) -> Scene {
    let mosquitto = Mosquitto::open();
    let mut setup = Setup::on(mosquitto.port);
    setup.video = video.map_or(setup.video, str::to_owned);
    let home = Home::new(&setup);
    let daemon = home.start();
    Scene { _mosquitto: mosquitto, home, daemon }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_is_told_when_the_channel_opens_and_when_it_changes() {
    let scene = scene(None);
    let mut ana = Remote::of(&scene.home.pair_with("Ana", EVERYTHING)).await;
    let state = ana.state("the camera", |state| state["camera"] == "ready").await;
    assert_eq!(state["watching"], 1);
    assert_eq!(state["microphone"], "ready");
    assert_eq!((&state["lamp"], &state["pan"], &state["night"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(state["may"], json!(["snapshot"]), "this camera has nothing else");
    let rui = Remote::of(&scene.home.pair_with("Rui", "view,listen")).await;
    ana.state("two viewers", |state| state["watching"] == 2).await;
    let seen = rui.state("two viewers", |state| state["watching"] == 2).await;
    assert_eq!(seen["may"], json!(["snapshot"]));
    let reply = ana.ask("status", json!({})).await;
    assert_eq!(reply["state"]["watching"], 2);
    rui.watching.screen.close().await;
    let alone = |message: &Value| message["state"]["watching"] == 1;
    let last_is_alone = |now: &Received| said(now).last().is_some_and(|message| alone(&message));
    ana.watching.screen.until("one viewer again", last_is_alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_decide_what_may_be_asked() {
    let scene = scene(None);
    let mut rui = Remote::of(&scene.home.pair_with("Rui", "view,listen,talk")).await;
    for (kind, fields) in [
        ("controls", json!({})),
        ("set", json!({ "control": "brightness", "value": 1 })),
        ("move", json!({ "pan": 1 })),
        ("night", json!({ "mode": "day" })),
        ("lamp", json!({ "level": 50 })),
    ] {
        assert_eq!(rui.ask(kind, fields).await["code"], "denied", "{kind}");
    }
    assert_eq!(rui.ask("status", json!({})).await["t"], "ok");
    // With the right, it is the board that decides: this one has none of it.
    let mut ana = Remote::of(&scene.home.pair_with("Ana", EVERYTHING)).await;
    assert_eq!(ana.ask("controls", json!({})).await["controls"], json!([]));
    let reply = ana.ask("set", json!({ "control": "brightness", "value": 1 })).await;
    assert_eq!(reply["code"], "unknown");
    assert!(reply["text"].as_str().is_some_and(|text| text.contains("no control `brightness`")), "{reply}");
    for (kind, fields) in
        [("move", json!({ "pan": 1 })), ("night", json!({ "mode": "day" })), ("lamp", json!({ "level": 50 }))]
    {
        assert_eq!(ana.ask(kind, fields).await["code"], "unavailable", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_still_of_the_test_picture_is_a_jpeg_of_its_size() {
    let scene = scene(None);
    let mut ana = Remote::of(&scene.home.pair_with("Ana", EVERYTHING)).await;
    assert_eq!(ana.still().await, (160, 120));
    assert_eq!(ana.still().await, (160, 120), "and another one");
    let mut rui = Remote::of(&scene.home.pair_with("Rui", "view")).await;
    let (both, too) = tokio::join!(ana.still(), rui.still());
    assert_eq!((both, too), ((160, 120), (160, 120)));
    ana.watching.sees_more(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_still_of_a_recording_is_decoded_from_its_next_keyframe() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/guest/labcam.h264");
    let scene = scene(Some(&format!("source = \"replay\"\nfile = \"{file}\"")));
    let mut ana = Remote::of(&scene.home.pair_with("Ana", "view")).await;
    assert_eq!(ana.still().await, (640, 480));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_told_to_wait_and_harms_nobody() {
    let mut scene = scene(None);
    let mut mallory = Remote::of(&scene.home.pair_with("Mallory", EVERYTHING)).await;
    let mut ana = Remote::of(&scene.home.pair_with("Ana", EVERYTHING)).await;
    for n in 0..300 {
        let (kind, fields) = match n % 3 {
            0 => ("set", json!({ "control": "x", "value": n })),
            1 => ("status", json!({})),
            _ => ("nonsense", json!({ "x": "y".repeat(8_000) })),
        };
        mallory.send(kind, fields).await;
    }
    mallory.watching.screen.say("{ no JSON").await;
    assert_eq!(ana.ask("status", json!({})).await["t"], "ok");
    ana.watching.sees_more(10).await;
    // Each gets its one reply, in its time.
    mallory.reply(300).await;
    let replies: Vec<Value> =
        said(&mallory.watching.screen.received()).filter(|message| message["id"].is_u64()).collect();
    let busy = replies.iter().filter(|reply| reply["code"] == "busy").count();
    assert!((200..=260).contains(&busy), "{busy} of 300 were too many");
    let mut ids: Vec<u64> = replies.iter().filter_map(|reply| reply["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=300).collect::<Vec<u64>>());
    assert!(scene.daemon.lives());
}
