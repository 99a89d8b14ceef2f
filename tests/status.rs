//! Is told what is counted to those who may know, and to nobody else? The real daemon, a real Mosquitto, real
//! peers.
#![cfg(all(feature = "daemon", feature = "openh264"))]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/openmetrics.rs"]
mod openmetrics;
#[path = "common/recorder.rs"]
mod recorder;
#[path = "common/viewer.rs"]
mod viewer;

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::time::Duration;

use daemon::{Daemon, Home, Setup};
use mosquitto::{Mosquitto, free_port};
use openmetrics::Metrics;
use recorder::Recorder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use viewer::{Watching, watch};

struct Scene {
    mosquitto: Mosquitto,
    home: Home,
    daemon: Daemon,
    metrics: u16,
}

fn scene() -> Scene {
    scene_with(|setup| setup)
}

fn scene_with(change: impl FnOnce(Setup) -> Setup) -> Scene {
    let (mosquitto, metrics) = (Mosquitto::open(), free_port());
    let home = Home::new(&change(Setup { metrics: Some(metrics), ..Setup::on(mosquitto.port) }));
    let daemon = home.start();
    Scene { mosquitto, home, daemon, metrics }
}

impl Scene {
    /// Asks again until the report is as it should be.
    async fn report(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..100 {
            let report = serde_json::from_str(&self.home.farol(&["status", "--json"])).expect("JSON");
            if condition(&report) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("waited in vain for {what}: {}", self.home.farol(&["status", "--json"]));
    }

    async fn get(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("UTF-8");
        let status = response.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (status, response)
    }

    async fn metrics(&self) -> (Metrics, String) {
        let (status, response) = self.get("/metrics", "localhost").await;
        assert_eq!(status, 200, "{response}");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
        (Metrics::read(body), body.to_owned())
    }
}

/// Asks on the control channel.
async fn ask(watching: &Watching, id: u64, fields: Value) -> Value {
    let screen = &watching.screen;
    screen.until("its channel", |received| received.channel.is_some()).await;
    let mut request = json!({ "v": 1, "id": id, "t": "stats" });
    for (name, value) in fields.as_object().expect("an object") {
        request[name] = value.clone();
    }
    screen.say(&request.to_string()).await;
    let is_it =
        |text: &String| serde_json::from_str::<Value>(text).ok().filter(|message| message["id"] == id);
    let received = screen.until("a reply", |now| now.texts.iter().any(|text| is_it(text).is_some())).await;
    received.texts.iter().find_map(is_it).expect("it was there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_on_the_board_sees_who_watches_and_how() {
    let scene = scene();
    scene.daemon.says(&["connected to the broker"]).await;
    let nobody = scene.home.farol(&["status"]);
    for part in
        [daemon::NAME, "0 of 8 watching", "camera", "rests", "connected to mqtt://127.0.0.1", "Nobody"]
    {
        assert!(nobody.contains(part), "{part}: {nobody}");
    }
    let watching = watch(&scene.home.pair("Ana's phone")).await;
    watching.sees_more(20).await;
    let report = scene.report("counts", |report| report["viewers"][0]["sent_bps"].as_u64() > Some(0)).await;
    let ana = &report["viewers"][0];
    assert_eq!((ana["name"].as_str(), ana["state"].as_str()), (Some("Ana's phone"), Some("streaming")));
    assert_eq!(ana["rights"], json!(["view", "listen", "talk"]));
    assert_eq!(ana["path"]["local"]["kind"], "host");
    for end in ["local", "remote"] {
        let address = ana["path"][end]["address"].as_str().expect("an address");
        assert!(address.starts_with("127.0.0.1:"), "{address}");
    }
    let port = scene.daemon.says(&["viewers' media goes by this UDP port"]).await;
    let port = port.rsplit_once("port=").expect("a port").1.to_owned();
    assert_eq!(ana["path"]["local"]["address"], format!("127.0.0.1:{port}"), "the one that viewers see");
    for counter in ["frames_sent", "packets", "bytes", "sound_packets", "estimate_bps"] {
        assert!(ana[counter].as_u64() > Some(0), "{counter}: {ana}");
    }
    assert_eq!((&report["watching"], &report["camera"]["state"]), (&json!(1), &json!("running")));
    assert_eq!(
        (&report["camera"]["width"], &report["camera"]["ceiling_bps"]),
        (&json!(160), &json!(200_000))
    );
    assert!(report["process"]["memory_bytes"].as_u64() > Some(1_000_000), "{report}");
    assert!(report["process"]["cpu_s"].as_f64() > Some(0.0), "{report}");
    assert_eq!(report["sound"]["state"], "running");

    let table = scene.home.farol(&["status"]);
    eprintln!("{table}");
    for part in ["1 of 8 watching", "Ana's phone  streaming", "127.0.0.1:", "160x120", "test picture"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_for_the_group_alone_and_goes_with_the_daemon() {
    let mut scene = scene_with(|setup| Setup { metrics: None, ..setup });
    scene.daemon.says(&["connected to the broker"]).await;
    let path = scene.home.file("state/status.sock");
    let socket = std::fs::metadata(&path).expect("it is there");
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);
    // Who says nothing, or nonsense, or too much, holds nobody up and does no harm.
    let silent = UnixStream::connect(&path).await.expect("it listens");
    for nonsense in [&b"dance\n"[..], &[0xff; 4096], b""] {
        let mut stream = UnixStream::connect(&path).await.expect("it listens");
        // It may have hung up already.
        let _ = stream.write_all(nonsense).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("viewers"));
    }
    assert!(scene.home.farol(&["status"]).contains("Nobody is watching"));
    drop(silent);
    // Another daemon of the same home does not take it away, and one that was killed leaves no obstacle.
    let second = scene.home.start();
    second.says(&["`farol status` has nobody to ask here", "another farol answers at"]).await;
    drop(second);
    assert!(scene.home.farol(&["status"]).contains("Nobody is watching"));
    scene.daemon.kill();
    assert!(path.exists());
    scene.daemon = scene.home.start();
    scene.daemon.says(&["connected to the broker"]).await;
    assert!(scene.home.farol(&["status"]).contains("Nobody is watching"));
    scene.daemon.terminate();
    assert!(scene.daemon.ends().await.success());
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_reads_it_and_counters_survive_their_viewer() {
    let scene = scene();
    scene.daemon.says(&["metrics served", &scene.metrics.to_string()]).await;
    let ana = scene.home.pair("Ana \"\\ phone");
    let mut watching = watch(&ana).await;
    watching.sees_more(20).await;
    scene.report("counts", |report| report["viewers"][0]["frames_sent"].as_u64() > Some(10)).await;
    let (metrics, text) = scene.metrics().await;
    let name = Some(("viewer", "Ana \"\\ phone"));
    assert_eq!(metrics.value("farol_viewer_sessions", name), Some(1.0));
    assert_eq!(metrics.value("farol_broker_connected", None), Some(1.0));
    assert_eq!(metrics.labels().into_iter().collect::<Vec<_>>(), ["commit", "features", "version", "viewer"]);
    for secret in ["127.0.0.1", &ana.kid.to_string(), &ana.device.to_string()] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let sent = metrics.value("farol_viewer_sent_packets_total", name).expect("a counter");
    assert!(sent > 10.0);
    watching.viewer.bye().await;
    scene.daemon.says(&["viewer left"]).await;
    let (metrics, _) = scene.metrics().await;
    assert!(metrics.value("farol_viewer_sent_packets_total", name) >= Some(sent));
    assert_eq!(metrics.value("farol_viewer_sessions", name), None);
    // A page in a browser here that calls itself by our address reads nothing.
    let (status, body) = scene.get("/metrics", "evil.example").await;
    assert!(status == 421 && !body.contains("Ana"), "{body}");
    assert_eq!(scene.get("/", "localhost").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_leaves_is_told_of_with_what_it_had() {
    let scene = scene();
    let mut watching = watch(&scene.home.pair("Ana")).await;
    watching.sees_more(20).await;
    watching.viewer.bye().await;
    let line = scene.daemon.says(&["viewer left", "viewer=Ana", "reason=bye"]).await;
    let field = |name: &str| {
        let rest = line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("{name}: {line}")).1;
        rest.split(' ').next().expect("a value").to_owned()
    };
    let frames: u64 = field("frames").parse().expect("a number");
    assert!(frames >= 20, "{line}");
    assert_eq!((field("lost").as_str(), field("left_out").parse::<u64>().is_ok()), ("0", true));
    assert!(line.contains("path=\"host 127.0.0.1:") || line.contains("path=\"prflx 127.0.0.1:"), "{line}");
    for name in ["watched_s", "megabytes", "repaired", "round_trip_ms"] {
        field(name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_is_told_of_itself_and_with_the_right_of_all_and_the_broker_of_nothing() {
    let scene = scene();
    let broker = Recorder::on(scene.mosquitto.port).await;
    let rui = watch(&scene.home.pair_with("Rui", "view")).await;
    let ana = watch(&scene.home.pair_with("Ana", "view,control")).await;
    rui.sees_more(10).await;
    scene.report("both", |report| report["viewers"].as_array().is_some_and(|all| all.len() == 2)).await;
    let messages = broker.count();

    let own = ask(&rui, 1, json!({})).await;
    assert_eq!((own["t"].as_str(), own["me"]["name"].as_str()), (Some("ok"), Some("Rui")));
    assert!(own["me"]["frames_sent"].as_u64() > Some(0), "{own}");
    assert!(own["me"]["path"]["remote"]["address"].is_string() && own.get("viewers").is_none(), "{own}");
    assert_eq!(ask(&rui, 2, json!({ "of": "all" })).await["code"], "denied");
    assert_eq!(ask(&rui, 3, json!({ "of": 7 })).await["code"], "invalid");

    let all = ask(&ana, 1, json!({ "of": "all" })).await;
    let viewers = all["viewers"].as_array().expect("a list");
    let names: Vec<&str> = viewers.iter().filter_map(|viewer| viewer["name"].as_str()).collect();
    assert_eq!(
        (names, &all["more"], all["me"]["name"].as_str()),
        (vec!["Rui", "Ana"], &json!(0), Some("Ana"))
    );
    assert_eq!(all["board"]["watching"], 2);
    let of_others = format!("{} {}", all["viewers"], all["board"]);
    assert!(!of_others.contains("127.0.0.1") && !of_others.contains(&rui.viewer.link.kid.to_string()));

    let answer = scene.home.farol(&["status", "--json"]);
    assert!(answer.contains("frames_sent"));
    scene.metrics().await;
    // None of that went by the broker: no message passed meanwhile, and those before are sealed or say
    // nothing of it.
    assert_eq!(broker.count(), messages, "{:?}", &broker.seen()[messages..]);
    let open = broker.seen().into_iter().map(|seen| {
        let mut message: Value = serde_json::from_slice(&seen.payload).unwrap_or_default();
        message.as_object_mut().map(|fields| fields.remove("ct"));
        message.to_string()
    });
    let sealed = [&rui, &ana].into_iter().flat_map(|watching| watching.viewer.plaintexts.clone());
    for text in open.chain(sealed) {
        for word in ["frames_", "_bps", "\"lost\"", "\"repaired\"", "round_trip", "Rui", "Ana"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}
