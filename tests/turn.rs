//! Does a viewer get the picture through a TURN server, whichever way that is reached? The real daemon, a
//! real coturn, a real Mosquitto, real peers; everything on loopback.
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/answerer.rs"]
mod answerer;
#[path = "common/coturn.rs"]
mod coturn;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/viewer.rs"]
mod viewer;

use std::time::{SystemTime, UNIX_EPOCH};

use answerer::Answerer;
use axum::routing::get;
use axum::{Router, http::HeaderMap, http::StatusCode};
use coturn::{Cable, Coturn, Users};
use daemon::{Daemon, Home, Setup};
use farol::config::{IcePolicy, IceServer};
use farol::engine::message::{Offer, ToViewer};
use mosquitto::Mosquitto;
use viewer::{Link, Viewer, Watching};

/// A daemon with its broker, and a link to it.
struct Scene {
    link: Link,
    daemon: Daemon,
    _mosquitto: Mosquitto,
    _home: Home,
}

impl Scene {
    fn with(ice: String) -> Scene {
        let mosquitto = Mosquitto::open();
        let home = Home::new(&Setup { ice, ..Setup::on(mosquitto.port) });
        let link = home.pair("Ana");
        Scene { link, daemon: home.start(), _mosquitto: mosquitto, _home: home }
    }

    /// A viewer, and the standing offer as soon as it has a relayed candidate.
    async fn offer(&self) -> (Viewer, Offer) {
        let mut viewer = Viewer::connect(&self.link).await;
        let offer = viewer.standing_with("typ relay").await;
        (viewer, offer)
    }
}

/// What `[ice]` says of a server.
fn server(coturn: &Coturn, users: Users, url: &str) -> String {
    let who = match users {
        Users::Ana => "username = \"ana\"\ncredential = \"swordfish\"",
        Users::Shared => "secret_file = \"{secret}\"",
    };
    let secret = coturn.ca_file().with_file_name("secret");
    std::fs::write(&secret, "north\n").expect("it is writable");
    let who = who.replace("{secret}", &secret.display().to_string());
    let ca_file = coturn.ca_file();
    format!(
        "policy = \"relay\"\nca_file = \"{}\"\n[[ice.servers]]\nurls = [\"{url}\"]\n{who}",
        ca_file.display()
    )
}

fn candidates(sdp: &str) -> Vec<&str> {
    sdp.lines().filter(|line| line.starts_with("a=candidate:")).collect()
}

/// The passwords that a viewer was told, for the same server by UDP, which its library speaks.
fn by_udp(offer: &Offer, coturn: &Coturn) -> IceServer {
    let urls = vec![format!("turn:127.0.0.1:{}", coturn.port)];
    IceServer { urls, ..offer.ice_servers[0].clone() }
}

/// Watches by a relay alone on this side too.
async fn watch_relayed(mut viewer: Viewer, offer: &Offer, servers: &[IceServer]) -> Watching {
    let (screen, sdp) = Answerer::answer_relayed(&offer.sdp, servers).await;
    assert!(candidates(&sdp).iter().all(|candidate| candidate.contains("typ relay")), "{sdp}");
    viewer.answer(offer, &sdp).await;
    let accept = viewer.accepted(&screen).await;
    Watching { viewer, screen, accept }
}

async fn a_picture_comes_by(users: Users, url: fn(&Coturn) -> String) {
    let coturn = Coturn::start(users).await;
    let url = url(&coturn);
    let scene = Scene::with(server(&coturn, users, &url));
    let (viewer, offer) = scene.offer().await;
    for candidate in candidates(&offer.sdp) {
        assert!(candidate.contains("typ relay"), "{candidate}");
        assert!(candidate.contains("raddr 0.0.0.0 rport 9"), "{candidate} says where we are");
    }
    assert_eq!(offer.ice_transport_policy, IcePolicy::Relay);
    assert_eq!(offer.ice_servers[0].urls, [url], "viewers are handed the real URL");
    if users == Users::Shared {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs();
        let username = offer.ice_servers[0].username.clone().expect("a user");
        let (until, who) = username.split_once(':').expect("a moment and a name");
        assert!((now + 86_000..now + 86_500).contains(&until.parse().expect("a moment")), "{username}");
        assert_eq!(who, scene.link.kid.to_string());
    }
    // With a host's address on the viewer's side, and with relays alone on both.
    let watching = viewer.take(offer).await;
    watching.sees_more(15).await;
    assert_eq!(watching.screen.received().missing, 0);
    let (viewer, offer) = scene.offer().await;
    let servers = [by_udp(&offer, &coturn)];
    let relayed = watch_relayed(viewer, &offer, &servers).await;
    relayed.sees_more(15).await;
    assert_eq!(relayed.screen.received().missing, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_comes_by_relay_alone_over_udp() {
    for users in [Users::Ana, Users::Shared] {
        a_picture_comes_by(users, |coturn| format!("turn:127.0.0.1:{}?transport=udp", coturn.port)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_comes_by_relay_alone_over_tcp() {
    for users in [Users::Ana, Users::Shared] {
        a_picture_comes_by(users, |coturn| format!("turn:127.0.0.1:{}?transport=tcp", coturn.port)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_comes_by_relay_alone_over_tls() {
    for users in [Users::Ana, Users::Shared] {
        a_picture_comes_by(users, |coturn| format!("turns:127.0.0.1:{}?transport=tcp", coturn.tls_port))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_the_relay_that_dies_renews_the_offer_and_the_picture_comes_back() {
    let coturn = Coturn::start(Users::Shared).await;
    let cable = Cable::to(coturn.port).await;
    let url = format!("turn:127.0.0.1:{}?transport=tcp", cable.port);
    let scene = Scene::with(server(&coturn, Users::Shared, &url));
    let (viewer, offer) = scene.offer().await;
    let mut watching = viewer.take(offer).await;
    watching.sees_more(5).await;
    let (_waiting, before) = scene.offer().await;

    cable.cut();
    scene.daemon.says(&["the connection to a TURN server is lost", "by TCP"]).await;
    let mut late = Viewer::connect(&scene.link).await;
    let renewed = late.standing_until(|offer| offer.offer != before.offer && has_relay(offer)).await;
    assert_ne!(candidates(&renewed.sdp), candidates(&before.sdp));

    // The device restarts ICE by itself.
    watching.take_reoffer().await;
    sees_more_with_late_candidates(&mut watching, 10).await;
}

fn has_relay(offer: &Offer) -> bool {
    offer.sdp.contains("typ relay")
}

/// As a page does: it takes what is found later.
async fn sees_more_with_late_candidates(watching: &mut Watching, pictures: usize) {
    let Watching { viewer, screen, .. } = watching;
    let before = screen.received().pictures.len();
    let seen = screen.until("more pictures", |received| received.pictures.len() >= before + pictures);
    let late = async {
        loop {
            if let ToViewer::Candidates(late) = viewer.hear("later candidates").await {
                for candidate in &late.list {
                    screen.add_candidate(candidate).await;
                }
            }
        }
    };
    tokio::select! {
        _ = seen => {}
        () = late => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_has_forgotten_us_renews_the_offer() {
    let mut coturn = Coturn::start(Users::Shared).await;
    let url = format!("turns:127.0.0.1:{}", coturn.tls_port);
    let scene = Scene::with(server(&coturn, Users::Shared, &url));
    let (mut viewer, before) = scene.offer().await;
    coturn.kill();
    scene.daemon.says(&["the connection to a TURN server is lost", "by TLS"]).await;
    coturn.restart().await;
    let renewed = viewer.standing_until(|offer| offer.offer != before.offer && has_relay(offer)).await;
    let watching = viewer.take(renewed).await;
    watching.sees_more(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_passwords_come_from_a_web_server() {
    let coturn = Coturn::start(Users::Ana).await;
    let answer = format!(
        r#"{{"iceServers":{{"urls":["turn:127.0.0.1:{}?transport=tcp"],"username":"ana","credential":"swordfish"}}}}"#,
        coturn.port
    );
    let page = move |headers: HeaderMap| async move {
        match headers.get("authorization").and_then(|value| value.to_str().ok()) {
            Some("Bearer key-7") => Ok(answer),
            _ => Err(StatusCode::UNAUTHORIZED),
        }
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    let router = Router::new().route("/turn", get(page));
    let web = tokio::spawn(async move { axum::serve(listener, router).await });
    let token = coturn.ca_file().with_file_name("token");
    std::fs::write(&token, "key-7\n").expect("it is writable");
    let scene = Scene::with(format!(
        "policy = \"relay\"\nservers_url = \"http://127.0.0.1:{port}/turn\"\nservers_token_file = \"{}\"",
        token.display()
    ));
    let (viewer, offer) = scene.offer().await;
    assert_eq!(offer.ice_servers[0].username.as_deref(), Some("ana"));
    let watching = viewer.take(offer).await;
    watching.sees_more(5).await;
    web.abort();
}
