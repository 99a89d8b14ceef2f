//! Do browsers get the page and the broker, and only browsers that may?
#![cfg(all(feature = "daemon", feature = "broker"))]

#[path = "common/mosquitto.rs"]
mod mosquitto;

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use farol::io::broker::{EmbeddedBroker, Viewers};
use farol::io::http::{self, HttpError, Site};
use farol::io::mqtt::{Mqtt, MqttEvent, Publication};
use farol::units::DeviceId;
use futures_util::{SinkExt, StreamExt};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const DEVICE: DeviceId = DeviceId(0xd);
/// Where the page is told its device and its broker.
const HOST_TAG: &str = r#"<meta name="farol-host" content=""#;
const PATIENCE: Duration = Duration::from_secs(20);

/// A running site on a loopback port, of an open device.
async fn site(bridge: Option<SocketAddr>) -> SocketAddr {
    site_of(Some("/mqtt".into()), Ipv4Addr::LOCALHOST, bridge).await
}

/// A running site whose port is called farol.example.org as well; reached by loopback.
async fn site_of(broker: Option<String>, listen: Ipv4Addr, bridge: Option<SocketAddr>) -> SocketAddr {
    let listener = http::bind(SocketAddr::from((listen, 0))).await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let bridge = bridge.map(|broker| (broker.ip().to_string(), broker.port()));
    let site = Site { device: DEVICE, broker, names: vec!["farol.example.org".into()], bridge };
    tokio::spawn(http::serve(listener, site, std::future::pending()));
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Head and body of the answer to a GET.
async fn get(address: SocketAddr, path: &str, host: &str) -> (String, Vec<u8>) {
    get_with(address, path, host, "").await
}

/// The same with more header lines, each with its end.
async fn get_with(address: SocketAddr, path: &str, host: &str, lines: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
}

#[track_caller]
fn has(head: &str, lines: &[&str]) {
    for line in lines {
        assert!(head.contains(line), "{line:?} is missing in\n{head}");
    }
}

#[tokio::test]
async fn the_page_comes_with_its_policy_and_is_asked_for_anew() {
    let address = site(None).await;
    let (head, body) = get(address, "/", "localhost").await;
    has(&head, &["http/1.1 200", "content-type: text/html; charset=utf-8", "cache-control: no-cache"]);
    has(
        &head,
        &[
            "content-security-policy: default-src 'none'",
            "connect-src 'self' ws: wss:",
            "frame-ancestors 'none'",
        ],
    );
    has(&head, &["x-content-type-options: nosniff", "referrer-policy: no-referrer", "x-frame-options: deny"]);
    let built = std::fs::read_to_string("viewer/dist/index.html").expect("the built page");
    assert_eq!(without_host(&String::from_utf8_lossy(&body)), built);
}

/// The page as it was built: its `farol-host` is empty.
fn without_host(page: &str) -> String {
    let (before, rest) = page.split_once(HOST_TAG).expect("a place for the device and its broker");
    let (_, after) = rest.split_once('"').expect("its end");
    format!("{before}{HOST_TAG}{}{after}", '"')
}

#[tokio::test]
async fn the_page_says_itself_what_farol_json_does() {
    // What could end the attribute, in an address that somebody may have.
    let broker = r#"wss://b.example/mqtt?a="1"&b=<2>"#;
    let address = site_of(Some(broker.into()), Ipv4Addr::LOCALHOST, None).await;
    let (_, page) = get(address, "/", "localhost").await;
    let page = String::from_utf8(page).expect("UTF-8");
    let (_, rest) = page.split_once(HOST_TAG).expect("its place");
    let (content, _) = rest.split_once('"').expect("its end");
    let text = content.replace("&lt;", "<").replace("&quot;", "\"").replace("&amp;", "&");
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told, serde_json::json!({ "device": DEVICE.to_string(), "broker": broker }));
    assert_eq!(get(address, "/farol.json", "localhost").await.1, text.as_bytes());
    assert_eq!(get(address, "/index.html", "localhost").await.1, page.as_bytes());
}

#[tokio::test]
async fn a_browser_that_takes_gzip_gets_the_page_and_the_element_compressed() {
    let address = site_of(None, Ipv4Addr::LOCALHOST, None).await;
    for (path, file, kind) in
        [("/", "index.html", "text/html"), ("/farol-camera.js", "farol-camera.js", "text/javascript")]
    {
        let on_disk = |end: &str| std::fs::read(format!("viewer/dist/{file}{end}")).expect("the built page");
        for takes in ["gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8", "GZIP"] {
            let (head, body) =
                get_with(address, path, "localhost", &format!("Accept-Encoding: {takes}\r\n")).await;
            has(&head, &["content-encoding: gzip", "vary: accept-encoding", kind, "cache-control: no-cache"]);
            assert_eq!(body, on_disk(".gz"), "{takes}");
            assert_eq!(body[..2], [0x1f, 0x8b], "gzip's own mark (RFC 1952 §2.3.1)");
            assert!(body.len() * 2 < on_disk("").len(), "{} bytes", body.len());
        }
        for refuses in ["", "Accept-Encoding: br\r\n", "Accept-Encoding: gzip;q=0, identity\r\n"] {
            let (head, body) = get_with(address, path, "localhost", refuses).await;
            has(&head, &["vary: accept-encoding", kind]);
            assert!(!head.contains("content-encoding"), "{head}");
            assert_eq!(body, on_disk(""), "{refuses}");
        }
    }
}

#[tokio::test]
async fn a_page_that_the_browser_has_is_not_sent_again() {
    let address = site_of(None, Ipv4Addr::LOCALHOST, None).await;
    let (head, body) = get(address, "/", "localhost").await;
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: w/")).expect("a weak tag");
    for known in [format!("W/{tag}"), format!("\"other\", W/{tag}"), tag.to_owned(), "*".to_owned()] {
        let asked = format!("If-None-Match: {known}\r\n");
        let (head, rest) = get_with(address, "/", "localhost", &asked).await;
        has(&head, &["http/1.1 304", tag, "content-security-policy"]);
        assert!(rest.is_empty(), "{known}: {} bytes", rest.len());
    }
    let (head, whole) = get_with(address, "/", "localhost", "If-None-Match: W/\"other\"\r\n").await;
    has(&head, &["http/1.1 200"]);
    assert_eq!(whole, body);
}

#[tokio::test]
async fn no_script_runs_in_the_page_but_its_own() {
    let (head, page) = get(site(None).await, "/", "localhost").await;
    let page = String::from_utf8(page).expect("UTF-8");
    let scripts: Vec<_> = page.split("<script>").skip(1).collect();
    let [script] = scripts[..] else { panic!("{} scripts", scripts.len()) };
    let (script, _) = script.split_once("</script>").expect("its end");
    let hash = BASE64_STANDARD.encode(Sha256::digest(script));
    let line = head.lines().find(|line| line.starts_with("content-security-policy")).expect("a policy");
    assert!(line.contains(&format!("script-src 'sha256-{}';", hash.to_lowercase())), "{line}");
    assert!(page.contains(&format!("script-src 'sha256-{hash}';")), "the page has another hash than {hash}");
}

#[tokio::test]
async fn other_files_have_their_type_and_what_is_not_there_is_none() {
    let address = site(None).await;
    let (head, _) = get(address, "/favicon.svg", "localhost").await;
    has(
        &head,
        &["content-type: image/svg+xml", "cache-control: no-cache", "x-content-type-options: nosniff"],
    );
    has(&get(address, "/favicon.ico", "localhost").await.0, &["http/1.1 204"]);
    for missing in ["/nothing", "/assets/../../Cargo.toml", "/..%2f..%2fCargo.toml", "//etc/passwd"] {
        has(&get(address, missing, "localhost").await.0, &["http/1.1 404", "content-security-policy"]);
    }
}

#[tokio::test]
async fn farol_json_names_the_device_and_its_broker() {
    let (head, body) = get(site(None).await, "/farol.json", "localhost").await;
    has(&head, &["content-type: application/json", "cache-control: no-store"]);
    let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(json, serde_json::json!({ "device": DEVICE.to_string(), "broker": "/mqtt" }));
}

#[tokio::test]
async fn farol_json_of_a_sealed_device_is_none() {
    let (head, body) = get(site_of(None, Ipv4Addr::LOCALHOST, None).await, "/farol.json", "localhost").await;
    has(&head, &["http/1.1 404"]);
    assert!(!String::from_utf8_lossy(&body).contains(&DEVICE.to_string()));
}

#[tokio::test]
async fn on_every_address_only_names_of_home_and_the_link_s_are_answered() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let address = site_of(Some("/mqtt".into()), Ipv4Addr::UNSPECIFIED, Some(broker.address())).await;
    for own in
        ["127.0.0.1:8080", "192.168.1.7", "board:8080", "board.local", "farol.example.org", "[fd00::7]"]
    {
        has(&get(address, "/farol.json", own).await.0, &["http/1.1 200"]);
    }
    for path in ["/", "/farol.json", "/mqtt"] {
        has(&get(address, path, "evil.example:8080").await.0, &["http/1.1 421", "content-security-policy"]);
    }
    // Its page has our address under its own name, and so is of one origin with us.
    let mut rebound = format!("ws://localhost:{}/mqtt", address.port()).into_client_request().expect("a URL");
    let headers = rebound.headers_mut();
    headers.insert("Host", "evil.example".parse().expect("a value"));
    headers.insert("Origin", "http://evil.example".parse().expect("a value"));
    match connect_async(rebound).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 421),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn on_loopback_a_foreign_host_name_is_refused() {
    let address = site(None).await;
    has(&get(address, "/", "127.0.0.1:1").await.0, &["http/1.1 200"]);
    has(&get(address, "/farol.json", "evil.example").await.0, &["http/1.1 421"]);
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_number() {
    let address = site(None).await;
    let error = http::bind(address).await.expect_err("it is taken");
    assert!(matches!(error, HttpError::Taken { .. }));
    assert!(error.to_string().starts_with(&format!("port {} is taken: ", address.port())), "{error}");
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens `/mqtt` as the page of `origin` would.
async fn open(address: SocketAddr, origin: Option<&str>) -> Result<Socket, u16> {
    let mut request = format!("ws://localhost:{}/mqtt", address.port()).into_client_request().expect("a URL");
    request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().expect("a value"));
    if let Some(origin) = origin {
        request.headers_mut().insert("Origin", origin.parse().expect("a value"));
    }
    match connect_async(request).await {
        Ok((socket, answer)) => {
            assert_eq!(answer.headers()["sec-websocket-protocol"], "mqtt");
            Ok(socket)
        }
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn send(socket: &mut Socket, bytes: &[u8]) {
    socket.send(Message::Binary(Bytes::copy_from_slice(bytes))).await.expect("sent");
}

/// Receives until there are at least `wanted` bytes, or the broker closes.
async fn receive(socket: &mut Socket, wanted: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < wanted {
        match timeout(PATIENCE, socket.next()).await.expect("in time") {
            Some(Ok(Message::Binary(bytes))) => received.extend_from_slice(&bytes),
            Some(Ok(Message::Close(_)) | Err(_)) | None => break,
            Some(Ok(_)) => {}
        }
    }
    received
}

/// CONNECT, clean start, keep alive 60 s, client id "v" (MQTT 5 §3.1).
const CONNECT: [u8; 16] = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b'v'];

#[tokio::test]
async fn the_bridge_carries_the_standing_offer_whole() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let topic = format!("farol/1/{DEVICE}/offer/open");
    let payload = Bytes::from(vec![b'o'; 40_000]);
    let offer = Publication { topic: topic.clone(), payload, retain: true, expiry: None };
    let will =
        Publication { topic: format!("farol/1/{DEVICE}/status"), payload: Bytes::new(), ..offer.clone() };
    let mut daemon = Mqtt::spawn(broker.for_the_daemon(), "daemon".into(), Vec::new(), will);
    assert_eq!(daemon.events.recv().await, Some(MqttEvent::Connected));
    daemon.publish(offer);
    daemon.close().await;

    let address = site(Some(broker.address())).await;
    let own = format!("http://localhost:{}", address.port());
    let mut socket = open(address, Some(&own)).await.expect("our own page may");
    // One packet over two frames: the stream is what counts (MQTT 5 §6).
    send(&mut socket, &CONNECT[..5]).await;
    send(&mut socket, &CONNECT[5..]).await;
    let connack = receive(&mut socket, 5).await;
    assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:?}");
    let length = u8::try_from(2 + 1 + 2 + topic.len() + 1).expect("one byte");
    let mut subscribe = vec![0x82, length, 0, 1, 0, 0, topic.len() as u8];
    subscribe.extend_from_slice(topic.as_bytes());
    subscribe.push(0);
    send(&mut socket, &subscribe).await;
    let received = receive(&mut socket, 6 + 40_000).await;
    assert_eq!(received[0], 0x90);
    assert!(received.ends_with(&[b'o'; 40_000]));
}

#[tokio::test]
async fn another_sites_page_may_not_open_the_bridge() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let address = site(Some(broker.address())).await;
    for foreign in ["http://evil.example", "http://localhost:1", "null"] {
        assert_eq!(open(address, Some(foreign)).await.err(), Some(403), "{foreign}");
    }
    assert!(open(address, None).await.is_ok(), "a program that is no browser");
}

fn text(text: &str) -> Vec<u8> {
    [&[0, text.len() as u8], text.as_bytes()].concat()
}

/// PUBLISH with QoS 0 (MQTT 5 §3.3).
fn publish(topic: &str, payload: &str) -> Vec<u8> {
    let body = [text(topic), vec![0], payload.into()].concat();
    [vec![0x30, body.len() as u8], body].concat()
}

/// SUBSCRIBE to one filter (MQTT 5 §3.8).
fn subscribe(filter: &str) -> Vec<u8> {
    let body = [vec![0, 1, 0], text(filter), vec![0]].concat();
    [vec![0x82, body.len() as u8], body].concat()
}

#[tokio::test]
async fn behind_the_bridge_a_broker_without_rules_hears_and_tells_only_what_is_viewers() {
    let mosquitto = mosquitto::Mosquitto::open();
    let watched = SocketAddr::from((Ipv4Addr::LOCALHOST, mosquitto.port));
    let address = site(Some(watched)).await;
    let session = format!("{:032x}", 5);
    let own = format!("farol/1/{DEVICE}/in/open/{session}");
    // The house's other things, on the broker itself.
    let mut house = TcpStream::connect(watched).await.expect("it listens");
    let other_id = [&CONNECT[..15], b"h"].concat();
    house.write_all(&[other_id, subscribe("#")].concat()).await.expect("sent");
    let mut heard = vec![0; 64];
    timeout(PATIENCE, house.read(&mut heard)).await.expect("in time").expect("CONNACK");

    for foreign in [
        subscribe("#"),
        subscribe("farol/1/+/offer/+"),
        publish("home/door", "open"),
        publish(&format!("farol/1/{DEVICE}/status"), "{}"),
        // A will would be published later.
        vec![0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 6, 0, 60, 0, 0, 1, b'v'],
    ] {
        let mut socket = open(address, None).await.expect("open");
        if foreign[0] != 0x10 {
            send(&mut socket, &CONNECT).await;
            assert_eq!(receive(&mut socket, 5).await[0], 0x20);
        }
        send(&mut socket, &foreign).await;
        assert_eq!(receive(&mut socket, 1).await, Vec::<u8>::new(), "it is cut off");
    }
    let mut socket = open(address, None).await.expect("open");
    send(&mut socket, &CONNECT).await;
    assert_eq!(receive(&mut socket, 5).await[0], 0x20);
    send(&mut socket, &subscribe("farol/1/+/status")).await;
    assert_eq!(receive(&mut socket, 5).await[0], 0x90, "this one is granted");
    send(&mut socket, &publish(&own, "answer")).await;
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("answer") {
        let mut more = [0; 1024];
        let count = timeout(PATIENCE, house.read(&mut more)).await.expect("in time").expect("it is there");
        assert!(count > 0, "the broker has closed");
        heard.extend_from_slice(&more[..count]);
    }
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.contains(&own) && !heard.contains("home/door") && !heard.contains("status"), "{heard}");
}

#[tokio::test]
async fn without_an_embedded_broker_there_is_no_bridge() {
    assert_eq!(open(site(None).await, None).await.err(), Some(404));
}

#[tokio::test]
async fn an_oversized_frame_ends_its_connection_only() {
    let broker = EmbeddedBroker::start(DEVICE, Viewers::Open).await.expect("it starts");
    let address = site(Some(broker.address())).await;
    let mut flood = open(address, None).await.expect("open");
    // It may be cut off while it still sends.
    let _ = flood.send(Message::Binary(Bytes::from(vec![0; 100_000]))).await;
    assert_eq!(receive(&mut flood, 1).await, Vec::<u8>::new());
    let mut other = open(address, None).await.expect("open");
    send(&mut other, &CONNECT).await;
    assert_eq!(receive(&mut other, 5).await[0], 0x20);
}
