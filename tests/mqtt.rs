//! Does the connection to a real Mosquitto do what the daemon relies on?
#![cfg(feature = "daemon")]

#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/observer.rs"]
mod observer;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use farol::config::{Broker, Login, Secret, Tls};
use farol::io::mqtt::{Mqtt, MqttEvent, Publication, Subscription};
use mosquitto::{Mosquitto, free_port};
use observer::{Observer, PATIENCE};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

fn broker(port: u16) -> Broker {
    Broker { host: "127.0.0.1".into(), port, tls: None, login: None, keep_alive: Duration::from_secs(30) }
}

fn publication(topic: &str, payload: &str) -> Publication {
    Publication { topic: topic.into(), payload: Bytes::from(payload.to_owned()), retain: false, expiry: None }
}

fn wants(filter: &str) -> Subscription {
    Subscription { filter: filter.into(), skip_retained: false }
}

fn device(broker: Broker) -> Mqtt {
    Mqtt::spawn(broker, "device".into(), vec![wants("to/device/#")], publication("will", "offline"))
}

async fn next(mqtt: &mut Mqtt) -> MqttEvent {
    timeout(PATIENCE, mqtt.events.recv()).await.expect("an event in time").expect("the task lives")
}

async fn connected(mqtt: &mut Mqtt) {
    assert_eq!(next(mqtt).await, MqttEvent::Connected);
}

async fn reason_for_no_connection(mqtt: &mut Mqtt) -> String {
    match next(mqtt).await {
        MqttEvent::Disconnected { reason } => reason,
        event => panic!("{event:?} instead of Disconnected"),
    }
}

async fn message(mqtt: &mut Mqtt) -> (String, String, bool) {
    match next(mqtt).await {
        MqttEvent::Message { topic, payload, retained } => {
            (topic, String::from_utf8_lossy(&payload).into_owned(), retained)
        }
        event => panic!("{event:?} instead of a message"),
    }
}

#[track_caller]
fn says(reason: &str, parts: &[&str]) {
    for part in parts {
        assert!(reason.contains(part), "{reason:?} does not say {part:?}");
    }
}

#[tokio::test]
async fn comes_up_when_the_broker_starts_later() {
    let port = free_port();
    let mut mqtt = device(broker(port));
    let reason = reason_for_no_connection(&mut mqtt).await;
    says(&reason, &[&format!("nothing listens at 127.0.0.1:{port}"), "is the broker running"]);
    let _mosquitto = Mosquitto::start_on(port, "allow_anonymous true");
    connected(&mut mqtt).await;
}

#[tokio::test]
async fn a_repeating_fault_is_told_once() {
    let mut mqtt = device(broker(free_port()));
    reason_for_no_connection(&mut mqtt).await;
    // Three attempts fall into this time at the least: the waits before them are at most 1 s and 2 s.
    let more = timeout(Duration::from_secs(4), mqtt.events.recv()).await;
    assert!(more.is_err(), "told again: {more:?}");
}

#[tokio::test]
async fn a_restarted_broker_is_subscribed_to_again() {
    let mut mosquitto = Mosquitto::open();
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    mosquitto.kill();
    reason_for_no_connection(&mut mqtt).await;
    mosquitto.restart();
    loop {
        match next(&mut mqtt).await {
            MqttEvent::Connected => break,
            MqttEvent::Disconnected { .. } => {}
            event => panic!("{event:?}"),
        }
    }
    let other = Observer::subscribed(mosquitto.port, "nothing").await;
    other.publish("to/device/x", "hello", false).await;
    assert_eq!(message(&mut mqtt).await, ("to/device/x".into(), "hello".into(), false));
}

#[tokio::test]
async fn what_is_published_without_a_connection_is_dropped() {
    let port = free_port();
    let mut mqtt = device(broker(port));
    reason_for_no_connection(&mut mqtt).await;
    mqtt.publish(publication("from/device", "old"));
    let mosquitto = Mosquitto::start_on(port, "allow_anonymous true");
    let mut observer = Observer::subscribed(mosquitto.port, "from/device").await;
    connected(&mut mqtt).await;
    mqtt.publish(publication("from/device", "new"));
    assert_eq!(observer.next_text().await.1, "new");
}

#[tokio::test]
async fn a_killed_device_leaves_its_will() {
    let mosquitto = Mosquitto::open();
    let mut observer = Observer::subscribed(mosquitto.port, "will").await;
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    drop(mqtt);
    assert_eq!(observer.next_text().await, ("will".into(), "offline".into()));
}

#[tokio::test]
async fn close_flushes_everything_and_leaves_no_will() {
    let mosquitto = Mosquitto::open();
    let mut observer = Observer::subscribed(mosquitto.port, "#").await;
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    // More than the twenty that Mosquitto has in flight at once.
    for number in 0..100 {
        mqtt.publish(publication("from/device", &number.to_string()));
    }
    mqtt.close().await;
    for number in 0..100 {
        assert_eq!(observer.next_text().await, ("from/device".into(), number.to_string()));
    }
    // A will would come before this, from a client that connects later.
    let last = Observer::subscribed(mosquitto.port, "nothing").await;
    last.publish("end", "", false).await;
    assert_eq!(observer.next_text().await.0, "end");
}

#[tokio::test]
async fn close_ends_soon_without_a_broker() {
    let mut mqtt = device(broker(free_port()));
    reason_for_no_connection(&mut mqtt).await;
    timeout(Duration::from_millis(500), mqtt.close()).await.expect("nothing to wait for");
}

#[tokio::test]
async fn a_new_will_counts_from_the_next_connection_on() {
    let mut mosquitto = Mosquitto::open();
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    mqtt.set_will(publication("will", "new will"));
    mosquitto.kill();
    reason_for_no_connection(&mut mqtt).await;
    mosquitto.restart();
    while next(&mut mqtt).await != MqttEvent::Connected {}
    let mut observer = Observer::subscribed(mosquitto.port, "will").await;
    drop(mqtt);
    assert_eq!(observer.next_text().await.1, "new will");
}

#[tokio::test]
async fn expiry_and_retain_arrive_with_the_publication() {
    let mosquitto = Mosquitto::open();
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    let expiry = Some(Duration::from_millis(29_500));
    mqtt.publish(Publication { retain: true, expiry, ..publication("kept", "offer") });
    mqtt.close().await;
    let mut observer = Observer::subscribed(mosquitto.port, "kept").await;
    let kept = observer.next().await;
    assert!(kept.retain);
    let seconds = kept.properties.and_then(|properties| properties.message_expiry_interval);
    assert!(matches!(seconds, Some(25..=30)), "{seconds:?}");
}

#[tokio::test]
async fn retained_messages_are_skipped_where_they_are_not_wanted() {
    let mosquitto = Mosquitto::open();
    let other = Observer::subscribed(mosquitto.port, "nothing").await;
    other.publish("in/x", "old", true).await;
    other.publish("status/x", "old", true).await;
    let subscriptions = vec![Subscription { filter: "in/+".into(), skip_retained: true }, wants("status/+")];
    let will = publication("will", "");
    let mut mqtt = Mqtt::spawn(broker(mosquitto.port), "device".into(), subscriptions, will);
    connected(&mut mqtt).await;
    assert_eq!(message(&mut mqtt).await, ("status/x".into(), "old".into(), true));
    other.publish("in/x", "new", false).await;
    assert_eq!(message(&mut mqtt).await, ("in/x".into(), "new".into(), false));
}

#[tokio::test]
async fn what_the_broker_is_to_keep_is_told_apart_also_when_we_said_it() {
    let mosquitto = Mosquitto::open();
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    mqtt.publish(Publication { retain: true, ..publication("to/device/x", "ours") });
    assert_eq!(message(&mut mqtt).await, ("to/device/x".into(), "ours".into(), true));
    let other = Observer::subscribed(mosquitto.port, "nothing").await;
    other.publish("to/device/x", "ours", false).await;
    assert_eq!(message(&mut mqtt).await, ("to/device/x".into(), "ours".into(), false));
}

#[tokio::test]
async fn an_oversized_message_does_not_end_the_connection() {
    let mosquitto = Mosquitto::open();
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    let other = Observer::subscribed(mosquitto.port, "nothing").await;
    other.publish("to/device/large", vec![b'x'; 40_000], false).await;
    other.publish("to/device/oversized", vec![b'x'; 300_000], false).await;
    other.publish("to/device/small", "y", false).await;
    let (topic, payload, _) = message(&mut mqtt).await;
    assert_eq!((topic.as_str(), payload.len()), ("to/device/large", 40_000));
    assert_eq!(message(&mut mqtt).await.0, "to/device/small");
}

#[tokio::test]
async fn a_slow_daemon_loses_nothing() {
    let mosquitto = Mosquitto::start("allow_anonymous true\nmax_queued_messages 0");
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    let other = Observer::subscribed(mosquitto.port, "nothing").await;
    // More than the event queue holds, before anything is read.
    for number in 0..600 {
        other.publish("to/device/x", number.to_string(), false).await;
    }
    for number in 0..600 {
        assert_eq!(message(&mut mqtt).await.1, number.to_string());
    }
}

#[tokio::test]
async fn a_broker_that_takes_nothing_is_given_up_rather_than_waited_for() {
    let mosquitto = Mosquitto::open();
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    mosquitto.freeze();
    for number in 0..1000 {
        mqtt.publish(publication("from/device", &number.to_string()));
        tokio::task::yield_now().await;
    }
    says(&reason_for_no_connection(&mut mqtt).await, &["too slowly", "256 wait"]);
    let closing = mqtt.close();
    timeout(Duration::from_millis(500), closing).await.expect("nothing to wait for");
}

#[tokio::test]
async fn ipv6_literals_are_hosts() {
    let port = free_port();
    let _mosquitto = Mosquitto::start(&format!("listener {port} ::1\nallow_anonymous true"));
    let mut mqtt = device(Broker { host: "::1".into(), ..broker(port) });
    connected(&mut mqtt).await;
    let port = free_port();
    let mut lost = device(Broker { host: "::1".into(), ..broker(port) });
    says(&reason_for_no_connection(&mut lost).await, &[&format!("[::1]:{port}")]);
}

#[tokio::test]
async fn an_unknown_name_is_told_as_such() {
    let mut mqtt = device(Broker { host: "broker.invalid".into(), ..broker(1883) });
    let reason = reason_for_no_connection(&mut mqtt).await;
    says(&reason, &["broker.invalid", "cannot be resolved", "DNS"]);
}

#[tokio::test]
async fn a_second_client_with_the_same_id_is_told() {
    let mosquitto = Mosquitto::open();
    let mut first = device(broker(mosquitto.port));
    connected(&mut first).await;
    let mut second = device(broker(mosquitto.port));
    connected(&mut second).await;
    // Mosquitto 2.0 closes without a DISCONNECT.
    says(&reason_for_no_connection(&mut first).await, &["a second client has our client id"]);
}

/// Other brokers say so (MQTT 5 §3.1.4): these bytes are one of them.
#[tokio::test]
async fn a_brokers_reason_for_the_end_is_told() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    let end = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut packet = [0; 1024];
        assert!(stream.read(&mut packet).await.expect("CONNECT") > 0);
        // CONNACK with success, then DISCONNECT with Session taken over (MQTT 5 §3.14.2.1).
        stream.write_all(&[0x20, 3, 0, 0, 0, 0xe0, 2, 0x8e, 0]).await.expect("taken");
        stream
    };
    let mut mqtt = Mqtt::spawn(broker(port), "device".into(), Vec::new(), publication("will", ""));
    let ((), _stream) = tokio::join!(connected(&mut mqtt), end);
    says(&reason_for_no_connection(&mut mqtt).await, &["another connection with our client id took over"]);
}

/// Mosquitto's ACL file refuses no subscription, other brokers do: these bytes are one of them.
#[tokio::test]
async fn a_refused_subscription_is_no_connection_and_names_the_missing_line() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    let refuse = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut packet = [0; 1024];
        assert!(stream.read(&mut packet).await.expect("CONNECT") > 0);
        // CONNACK: no session, success, no properties (MQTT 5 §3.2).
        stream.write_all(&[0x20, 3, 0, 0, 0]).await.expect("taken");
        assert!(stream.read(&mut packet).await.expect("SUBSCRIBE") > 0);
        // SUBACK for the same packet id: the first granted, the second not authorized (MQTT 5 §3.9).
        stream.write_all(&[0x90, 5, packet[2], packet[3], 0, 1, 0x87]).await.expect("taken");
        stream
    };
    let subscriptions = vec![wants("farol/1/x/status"), wants("farol/1/x/in/+/+")];
    let mut mqtt = Mqtt::spawn(broker(port), "device".into(), subscriptions, publication("will", ""));
    let (reason, _stream) = tokio::join!(reason_for_no_connection(&mut mqtt), refuse);
    says(&reason, &["refuses", "not authorized", "topic read farol/1/x/in/+/+"]);
}

/// What this test program logs.
static LOG: OnceLock<watch::Sender<String>> = OnceLock::new();

struct Remembered;

impl log::Log for Remembered {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.target().starts_with("farol")
    }
    fn log(&self, record: &log::Record) {
        if let Some(log) = LOG.get().filter(|_| self.enabled(record.metadata())) {
            log.send_modify(|text| text.push_str(&format!("{} {}\n", record.level(), record.args())));
        }
    }
    fn flush(&self) {}
}

#[tokio::test]
async fn a_refused_publication_is_logged_once_with_the_missing_line() {
    let log = LOG.get_or_init(|| watch::Sender::new(String::new()));
    log::set_logger(&Remembered).expect("the only logger of this program");
    log::set_max_level(log::LevelFilter::Warn);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let acl = directory.path().join("acl");
    std::fs::write(&acl, "topic read #\ntopic write allowed\n").expect("a writable directory");
    let mosquitto = Mosquitto::start(&format!("allow_anonymous true\nacl_file {}", acl.display()));
    let mut observer = Observer::subscribed(mosquitto.port, "allowed").await;
    let mut mqtt = device(broker(mosquitto.port));
    connected(&mut mqtt).await;
    for topic in ["denied/1", "denied/2", "allowed"] {
        mqtt.publish(publication(topic, "x"));
    }
    assert_eq!(observer.next_text().await.0, "allowed");
    let missing = "WARN the broker refuses a publication by an anonymous connection";
    let mut log = log.subscribe();
    let text = timeout(PATIENCE, log.wait_for(|text| text.contains(missing))).await.expect("in time");
    let text = text.expect("it is static").clone();
    says(&text, &["not authorized", "topic write denied/1"]);
    assert!(!text.contains("denied/2"), "{text}");
}

fn with_password(directory: &Path) -> Mosquitto {
    let passwords = directory.join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c", &passwords.display().to_string(), "farol", "right"])
        .status()
        .expect("mosquitto_passwd comes with mosquitto");
    assert!(made.success());
    Mosquitto::start(&format!("allow_anonymous false\npassword_file {}", passwords.display()))
}

#[tokio::test]
async fn the_password_is_read_at_each_connection_and_never_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mosquitto = with_password(directory.path());
    let file = directory.path().join("secret");
    std::fs::write(&file, "wrong\n").expect("a writable directory");
    let login = Login { username: "farol".into(), password: Some(Secret::File(file.clone())) };
    let mut mqtt = device(Broker { login: Some(login), ..broker(mosquitto.port) });
    let reason = reason_for_no_connection(&mut mqtt).await;
    says(&reason, &["user farol", &file.display().to_string(), &format!("127.0.0.1:{}", mosquitto.port)]);
    assert!(!reason.contains("wrong\n") && !reason.contains("with the password wrong"), "{reason}");
    std::fs::write(&file, "right\n").expect("a writable directory");
    connected(&mut mqtt).await;
}

#[tokio::test]
async fn a_broker_that_wants_a_user_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mosquitto = with_password(directory.path());
    let mut mqtt = device(broker(mosquitto.port));
    says(&reason_for_no_connection(&mut mqtt).await, &["anonymous", "no user name is configured"]);
    let missing = directory.path().join("missing");
    let login = Login { username: "farol".into(), password: Some(Secret::File(missing.clone())) };
    let mut mqtt = device(Broker { login: Some(login), ..broker(mosquitto.port) });
    says(&reason_for_no_connection(&mut mqtt).await, &["cannot read", &missing.display().to_string()]);
}

/// An authority, and certificates issued by it, as PEM files in a directory.
struct Authority {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn named(name: &str) -> Authority {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("a writable directory");
        Authority { directory, issuer: Issuer::new(params, key) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The files of a certificate for `name` and its key.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem()).expect("a writable directory");
        std::fs::write(&files.1, key.serialize_pem()).expect("a writable directory");
        files
    }

    fn mosquitto(&self, name: &str, more: &str) -> Mosquitto {
        let (certificate, key) = self.issue(name);
        Mosquitto::start(&format!(
            "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\n{more}",
            self.file("ca.pem").display(),
            certificate.display(),
            key.display()
        ))
    }
}

fn trusting(authority: &Authority, port: u16, client: Option<(PathBuf, PathBuf)>) -> Broker {
    let tls = Tls { ca_file: Some(authority.file("ca.pem")), client };
    Broker { tls: Some(tls), ..broker(port) }
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own_connects() {
    let authority = Authority::named("ours");
    let mosquitto = authority.mosquitto("127.0.0.1", "");
    let mut mqtt = device(trusting(&authority, mosquitto.port, None));
    connected(&mut mqtt).await;
}

#[tokio::test]
async fn a_certificate_of_a_strange_authority_is_refused_in_words() {
    let mosquitto = Authority::named("ours").mosquitto("127.0.0.1", "");
    // One with another name, and one that was made anew under the same name.
    for other in [Authority::named("other"), Authority::named("ours")] {
        let mut mqtt = device(trusting(&other, mosquitto.port, None));
        let reason = reason_for_no_connection(&mut mqtt).await;
        says(&reason, &["was not issued by", &other.file("ca.pem").display().to_string(), "set ca_file"]);
    }
    let system = Broker { tls: Some(Tls::default()), ..broker(mosquitto.port) };
    says(&reason_for_no_connection(&mut device(system)).await, &["system's authorities"]);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_in_words() {
    let authority = Authority::named("ours");
    let mosquitto = authority.mosquitto("elsewhere.example", "");
    let mut mqtt = device(trusting(&authority, mosquitto.port, None));
    says(&reason_for_no_connection(&mut mqtt).await, &["is not for 127.0.0.1", "elsewhere.example"]);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let authority = Authority::named("ours");
    let mosquitto = authority.mosquitto("127.0.0.1", "require_certificate true");
    let mut without = device(trusting(&authority, mosquitto.port, None));
    says(&reason_for_no_connection(&mut without).await, &["client certificate"]);
    let client = authority.issue("device");
    let mut with = device(trusting(&authority, mosquitto.port, Some(client)));
    connected(&mut with).await;
}

#[tokio::test]
async fn unusable_certificate_files_are_named() {
    let authority = Authority::named("ours");
    let (certificate, key) = authority.issue("device");
    let missing = Tls { ca_file: Some(authority.file("missing.pem")), client: None };
    let swapped = Tls { ca_file: Some(key.clone()), client: None };
    let keyless =
        Tls { ca_file: Some(authority.file("ca.pem")), client: Some((certificate.clone(), certificate)) };
    for (tls, words) in
        [(missing, "missing.pem"), (swapped, "device.key holds no"), (keyless, "device.pem holds no")]
    {
        let mut mqtt = device(Broker { tls: Some(tls), ..broker(free_port()) });
        says(&reason_for_no_connection(&mut mqtt).await, &[words]);
    }
}

#[tokio::test]
async fn tls_on_one_side_only_is_told_from_both() {
    let authority = Authority::named("ours");
    let tls = authority.mosquitto("127.0.0.1", "");
    says(&reason_for_no_connection(&mut device(broker(tls.port))).await, &["is it a TLS port"]);
    let plain = Mosquitto::open();
    let reason = reason_for_no_connection(&mut device(trusting(&authority, plain.port, None))).await;
    says(&reason, &["TLS", &plain.port.to_string()]);
}
