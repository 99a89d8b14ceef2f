//! Does a media server get the stream by WHIP, whatever it says? The real daemon, real HTTP, real peers.
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/media_server.rs"]
mod media_server;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/recorder.rs"]
mod recorder;
#[path = "common/stun.rs"]
mod stun;
#[path = "common/viewer.rs"]
mod viewer;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use answerer::Received;
use axum::http::Method;
use daemon::{Home, Setup};
use media_server::{MediaServer, Oddity, Says};
use mosquitto::free_port;
use stun::{SEEN_AT, Stun};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A daemon's home without a broker: what goes to media servers needs none.
fn home(sections: &str) -> Home {
    Home::new(&Setup { more: sections.to_owned(), ..Setup::on(free_port()) })
}

fn has_both(received: &Received) -> bool {
    received.pictures.len() > 10 && received.sound.len() > 10
}

fn reply(status: u16) -> Says {
    Says::Reply(status, vec![], String::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_server_gets_picture_and_sound_and_hears_of_the_end() {
    let server = MediaServer::start().await;
    let home = home(&server.section("studio", "token_file = \"{home}/token\""));
    std::fs::write(home.file("token"), "swordfish\n").expect("the home is ours");
    let mut daemon = home.start();

    let offer = server.until_asked(Method::POST, 1).await;
    assert_eq!(offer.path, "/whip/studio");
    assert_eq!(offer.header("content-type"), Some("application/sdp"));
    assert_eq!(offer.header("authorization"), Some("Bearer swordfish"));
    assert!(!offer.body.contains("m=application") && !offer.body.contains("a=sendrecv"), "{}", offer.body);
    assert_eq!(offer.body.matches("a=sendonly").count(), 2, "{}", offer.body);
    let received = server.peer(0).until("picture and sound", has_both).await;
    assert!(received.pictures[0].is_keyframe);
    daemon.says(&["media server is sent the stream", "studio"]).await;

    daemon.terminate();
    assert!(daemon.ends().await.success());
    let end = server.until_asked(Method::DELETE, 1).await;
    assert_eq!(end.path, "/session/0");
    assert_eq!(end.header("authorization"), Some("Bearer swordfish"));
    assert_eq!(server.asked(&Method::POST).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_alone_is_offered_alone() {
    let server = MediaServer::start().await;
    let home = home(&server.section("radio", "video = false"));
    let _daemon = home.start();
    let offer = server.until_asked(Method::POST, 1).await;
    assert!(!offer.body.contains("m=video"), "{}", offer.body);
    let received = server.peer(0).until("sound", |received| received.sound.len() > 10).await;
    assert!(received.pictures.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidate_that_comes_late_is_trickled() {
    let (server, stun) = (MediaServer::start().await, Stun::holding_back().await);
    let more = server.section("studio", "");
    let home = Home::new(&Setup { more, stun: Some(stun.port), ..Setup::on(free_port()) });
    let _daemon = home.start();
    let offer = server.until_asked(Method::POST, 1).await;
    let late = SEEN_AT.ip().to_string();
    assert!(!offer.body.contains(&late), "{}", offer.body);
    stun.answer();
    let patch = server.until_asked(Method::PATCH, 1).await;
    assert_eq!((patch.path.as_str(), patch.header("if-match")), ("/session/0", Some("\"0\"")));
    assert_eq!(patch.header("content-type"), Some("application/trickle-ice-sdpfrag"));
    assert!(patch.body.contains(&late) && patch.body.contains("a=ice-ufrag:"), "{}", patch.body);
    server.peer(0).until("picture and sound", has_both).await;
}

/// Seven servers say no, each in its way; the eighth, which sends us elsewhere, gets the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_refuses_is_told_of_and_disturbs_no_other() {
    let server = MediaServer::start().await;
    let elsewhere = format!("http://127.0.0.1:{}/whip/target", server.port);
    server.script("moved", vec![Says::Reply(307, vec![("location", elsewhere)], String::new())]);
    let refusals = [
        ("malformed", reply(400), "it cannot use our offer"),
        ("stranger", reply(401), "it wants a token"),
        ("forbidden", reply(403), "may not publish"),
        ("nowhere", reply(404), "no such endpoint"),
        ("page", Says::Reply(200, vec![], "<html>".into()), "the url is no WHIP endpoint"),
        ("found", Says::Reply(302, vec![("location", "/whip/x".into())], String::new()), "elsewhere"),
        ("flood", Says::Reply(201, vec![], "x".repeat(100_000)), "more than"),
    ];
    let mut sections = server.section("moved", "token_file = \"{home}/token\"");
    for (endpoint, says, _) in &refusals {
        server.script(endpoint, vec![says.clone()]);
        sections += &server.section(endpoint, "");
    }
    let home = home(&sections);
    std::fs::write(home.file("token"), "swordfish").expect("the home is ours");
    let daemon = home.start();
    for (endpoint, _, part) in &refusals {
        daemon.says(&["no stream to the media server", &format!("server={endpoint}"), part]).await;
    }
    daemon.says(&["media server is sent the stream", "server=moved"]).await;
    server.peer(0).until("picture and sound", has_both).await;
    let followed = server.asked(&Method::POST).into_iter().find(|asked| asked.path == "/whip/target");
    assert_eq!(followed.expect("it was followed").header("authorization"), Some("Bearer swordfish"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_answers_are_used_or_ended_at_the_server() {
    let server = MediaServer::start().await;
    server.script("nameless", vec![Says::Odd(Oddity::NoLocation)]);
    server.script("page", vec![Says::Odd(Oddity::WrongType)]);
    server.script("bare", vec![Says::Odd(Oddity::NoFingerprint)]);
    server.script("busy", vec![Says::Reply(503, vec![("retry-after", "1".into())], String::new())]);
    server.script("taken", vec![reply(409), reply(500), reply(429)]);
    let sections: String =
        ["nameless", "page", "bare", "busy", "taken"].map(|name| server.section(name, "")).concat();
    let home = home(&sections);
    let daemon = home.start();
    daemon.says(&["media server is odd", "server=nameless"]).await;
    daemon.says(&["server=page", "text/html instead of application/sdp"]).await;
    daemon.says(&["server=bare", "a=fingerprint"]).await;
    daemon.says(&["server=busy", "503"]).await;
    // What was made and is of no use is ended.
    server.until_asked(Method::DELETE, 2).await;
    for name in ["nameless", "bare", "busy", "taken"] {
        daemon.says(&["media server is sent the stream", &format!("server={name}")]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemon_that_stops_while_a_server_hangs_ends_all_the_same() {
    let server = MediaServer::start().await;
    server.script("hanging", vec![Says::Nothing]);
    let home = home(&server.section("hanging", ""));
    let mut daemon = home.start();
    server.until_asked(Method::POST, 1).await;
    daemon.terminate();
    assert!(daemon.ends().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_ends_the_session_gets_a_new_offer() {
    let server = MediaServer::start().await;
    let home = home(&server.section("studio", ""));
    let daemon = home.start();
    server.until_asked(Method::POST, 1).await;
    server.peer(0).until("picture and sound", has_both).await;
    server.peer(0).close().await;
    daemon.says(&["no stream to the media server", "the connection is closed"]).await;
    server.until_asked(Method::POST, 2).await;
    server.peer(1).until("picture and sound", has_both).await;
}

/// A switch that cannot be read is on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_offered_while_privacy_is_on() {
    let server = MediaServer::start().await;
    let pins = "[gpio]\nchip = \"/dev/gpiochip-that-is-not-there\"\n[gpio.privacy]\nline = 3\n";
    let home = home(&format!("{pins}{}", server.section("studio", "")));
    let mut daemon = home.start();
    daemon.says(&["not everything on the pins is there"]).await;
    daemon.terminate();
    assert!(daemon.ends().await.success());
    assert_eq!(server.asked(&Method::POST).len(), 0);
}

/// A server that shares no code with us: aiohttp and aiortc, Debian's `python3-aiortc`. It ends with the test.
struct Aiortc {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Aiortc {
    fn start() -> Aiortc {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/whip/aiortc-server.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 with aiortc: scripts/needs whip");
        let out = BufReader::new(child.stdout.take().expect("it was piped"));
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("aiortc".into())
            .spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)))
            .expect("a thread can be started");
        Aiortc { child, lines }
    }

    /// Waits for a line that starts so.
    async fn says(&mut self, start: &str) -> String {
        let wait = async {
            loop {
                let line = self.lines.recv().await.expect("it runs; what it needs: scripts/needs whip");
                if line.starts_with(start) {
                    return line;
                }
            }
        };
        timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("waited in vain for {start}"))
    }
}

impl Drop for Aiortc {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiortc_decodes_picture_and_sound() {
    let mut server = Aiortc::start();
    let port = server.says("port ").await;
    let port = port.strip_prefix("port ").expect("it starts so");
    let home =
        home(&format!("[[whip]]\nurl = \"http://127.0.0.1:{port}/whip\"\ntoken_file = \"{{home}}/token\""));
    std::fs::write(home.file("token"), "swordfish").expect("the home is ours");
    let mut daemon = home.start();
    assert!(server.says("picture 30 ").await.ends_with(" 160x120"));
    assert!(server.says("sound ").await.ends_with(" 48000"));
    daemon.terminate();
    server.says("deleted").await;
    assert!(daemon.ends().await.success());
}

/// What stands between the device and a media server, until it is cut.
async fn path_between(peer: SocketAddr, is_cut: Arc<AtomicBool>) -> u16 {
    let device_side = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let peer_side = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let port = device_side.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        let (mut device, mut one, mut other) = (None, [0; 2000], [0; 2000]);
        loop {
            tokio::select! {
                Ok((length, from)) = device_side.recv_from(&mut one) => {
                    device = Some(from);
                    if !is_cut.load(Ordering::Relaxed) {
                        let _ = peer_side.send_to(&one[..length], peer).await;
                    }
                }
                Ok((length, _)) = peer_side.recv_from(&mut other) => {
                    if let Some(device) = device.filter(|_| !is_cut.load(Ordering::Relaxed)) {
                        let _ = device_side.send_to(&other[..length], device).await;
                    }
                }
            }
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn path_that_is_cut_is_replaced_within_the_session() {
    let server = MediaServer::start().await;
    let is_cut = Arc::new(AtomicBool::new(false));
    let (way, runtime) = (is_cut.clone(), tokio::runtime::Handle::current());
    server.stand_in_the_way(move |answer| {
        let candidate = answer.lines().find(|line| line.contains(" 127.0.0.1 ")).expect("a candidate");
        let port = candidate.split(' ').nth(5).expect("its port");
        let peer = format!("127.0.0.1:{port}").parse().expect("an address");
        let way = way.clone();
        let between = tokio::task::block_in_place(|| runtime.block_on(path_between(peer, way)));
        answer.replace(&format!(" 127.0.0.1 {port} "), &format!(" 127.0.0.1 {between} "))
    });
    let home = home(&server.section("studio", ""));
    let daemon = home.start();
    server.until_asked(Method::POST, 1).await;
    let before = server.peer(0).until("picture and sound", has_both).await;
    is_cut.store(true, Ordering::Relaxed);
    daemon.says(&["another path to the media server is sought"]).await;
    let patch = server.until_asked(Method::PATCH, 1).await;
    assert_eq!(patch.header("if-match"), Some("*"));
    daemon.says(&["media server is sent the stream again"]).await;
    let more = before.pictures.len() + 30;
    server.peer(0).until("pictures on the new path", |received| received.pictures.len() > more).await;
    assert_eq!(server.asked(&Method::POST).len(), 1, "the session went on");
    assert_eq!(server.asked(&Method::DELETE).len(), 0);
}
