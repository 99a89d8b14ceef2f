//! What becomes of a running daemon whose configuration is read again? The real daemon, a real Mosquitto, real
//! peers, and a socket in the service manager's place.
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

use std::time::Duration;

use daemon::{Daemon, Home, NAME, Setup};
use mosquitto::Mosquitto;
use tokio::net::UnixDatagram;
use tokio::time::timeout;
use viewer::{Link, watch};

/// Long enough for a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that runs as a service, a link for it, and what its service manager hears.
struct Scene {
    _mosquitto: Mosquitto,
    home: Home,
    daemon: Daemon,
    link: Link,
    manager: UnixDatagram,
}

impl Scene {
    async fn start() -> Scene {
        let mosquitto = Mosquitto::open();
        let home = Home::new(&Setup::on(mosquitto.port));
        let link = home.pair("Ana");
        let manager = UnixDatagram::bind(home.file("notify")).expect("the home is ours");
        let daemon = home.start_for(&home.file("notify"));
        let scene = Scene { _mosquitto: mosquitto, home, daemon, link, manager };
        scene.hears("READY=1").await;
        scene
    }

    /// Waits for a message to the service manager that begins so; returns it.
    async fn hears(&self, beginning: &str) -> String {
        let wait = async {
            let mut buffer = [0; 4096];
            loop {
                let length = self.manager.recv(&mut buffer).await.expect("it is bound");
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.starts_with(beginning) {
                    return text;
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain for {beginning}"))
    }

    /// Replaces a part of the configuration.
    fn edit(&self, old: &str, new: &str) {
        let path = self.home.file("farol.toml");
        let text = std::fs::read_to_string(&path).expect("it was written");
        assert!(text.contains(old), "{text}");
        std::fs::write(&path, text.replace(old, new)).expect("the home is ours");
    }

    fn name(&self) -> String {
        let report = self.home.farol(&["status", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        report["name"].as_str().expect("the camera's name").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_configuration_is_refused_and_those_who_watch_notice_nothing() {
    let mut scene = Scene::start().await;
    let watching = watch(&scene.link).await;
    scene.edit("fps = 15", "fps = 15000");
    scene.daemon.hang_up();
    let reloading = scene.hears("RELOADING=1\n").await;
    // Without it, a unit with Type=notify-reload is killed (sd_notify(3)).
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    scene.hears("READY=1\n").await;
    scene.daemon.says(&["error", "is not taken over", "faults=1"]).await;
    scene.daemon.says(&["error", "video.fps", "15000", "1 to 120"]).await;
    watching.sees_more(5).await;
    assert_eq!(scene.daemon.said(&["viewer left"]), 0);

    scene.edit("fps = 15000", "fps = 15");
    scene.daemon.hang_up();
    scene.hears("RELOADING=1\n").await;
    scene.hears("READY=1\n").await;
    scene.daemon.says(&["the configuration says what it said"]).await;
    watching.sees_more(5).await;
    assert_eq!(scene.daemon.said(&["farol starts"]), 1);
    assert!(scene.daemon.lives());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_configuration_is_taken_over_by_the_same_process() {
    let mut scene = Scene::start().await;
    let mut watching = watch(&scene.link).await;
    let boot = watching.viewer.boot;
    assert_eq!(scene.name(), NAME);
    scene.edit(NAME, "Back door");
    scene.daemon.hang_up();
    assert_eq!(watching.viewer.dismissed().await, "shutdown");
    scene.hears("RELOADING=1\n").await;
    scene.hears("READY=1\n").await;
    assert!(scene.daemon.lives());
    assert_eq!(scene.name(), "Back door");
    let again = watch(&scene.link).await;
    assert_ne!(again.viewer.boot, boot);
    again.sees_more(5).await;
    drop(again);

    // Nothing of the earlier life is left open; a second one in a row shows what each would add.
    let open = scene.daemon.open_files();
    scene.edit("Back door", NAME);
    scene.daemon.hang_up();
    scene.hears("RELOADING=1\n").await;
    scene.hears("READY=1\n").await;
    watch(&scene.link).await.sees_more(5).await;
    let after = scene.daemon.open_files();
    eprintln!("{open} files were open, then {after}");
    assert!(after <= open + 2, "{open} files were open, then {after}");
}
