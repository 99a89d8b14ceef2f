//! Does `farol doctor` find what is wrong, and name what mends it? The real program, a real Mosquitto, a real
//! coturn; everything on loopback.
#![cfg(feature = "daemon")]

#[path = "doctor/board.rs"]
mod board;
#[path = "common/coturn.rs"]
mod coturn;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/observer.rs"]
mod observer;
#[path = "common/stun.rs"]
mod stun;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;

use board::Board;
use coturn::{Coturn, Users};
use mosquitto::{Mosquitto, free_port};
use observer::Observer;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rumqttc::MqttOptions;
use serde_json::Value;
use stun::Stun;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warning_alone_ends_with_1() {
    let mosquitto = Mosquitto::open();
    let said = Board::at_broker(mosquitto.port).doctor_in("/nonexistent").await;
    assert_eq!(said.one("viewers").0, "warning", "nobody is paired: {}", said.json);
    assert_eq!((said.json["faults"].as_u64(), said.status), (Some(0), Some(1)), "{}", said.json);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_on_which_all_is_well_ends_with_0() {
    let (web, coturn) = (free_port(), Coturn::start(Users::Ana).await);
    let mosquitto = Mosquitto::start(&format!("allow_anonymous true\nlistener {web}\nprotocol websockets"));
    let (broker, udp, tls, ca_file) = (mosquitto.port, coturn.port, coturn.tls_port, coturn.ca_file());
    let board = Board::new(&format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{broker}\"\n\
         [links]\npage = \"http://page.test/\"\nbroker = \"ws://127.0.0.1:{web}/\"\n\
         [ice]\naddresses = [\"127.0.0.1\"]\nca_file = \"{}\"\n\
         [[ice.servers]]\nusername = \"ana\"\ncredential = \"swordfish\"\n\
         urls = [\"turn:127.0.0.1:{udp}\", \"turn:127.0.0.1:{udp}?transport=tcp\", \"turns:127.0.0.1:{tls}\"]\n",
        ca_file.display()
    ));
    board.pair();
    // Neither systemd nor a time server is asked, which differ from machine to machine.
    let said = board.doctor_in("/nonexistent").await;
    for (check, part) in [
        ("configuration", "is good"),
        ("broker", "offers and replies go through"),
        ("links", "speaks MQTT"),
        ("stun", "sees this board as 127.0.0.1"),
        ("nat", "none"),
        ("viewers", "1 is paired"),
    ] {
        let (level, text) = said.one(check);
        assert_eq!(level, "ok", "{text}");
        assert!(text.contains(part), "{text}");
    }
    let turns = said.all("turn");
    assert_eq!(turns.len(), 3, "by UDP, TCP and TLS: {turns:?}");
    let passes =
        |turn: &&Value| turn["level"] == "ok" && turn.to_string().contains("pass through them both ways");
    assert!(turns.iter().all(passes), "{turns:?}");
    let is_wrong = |finding: &&Value| matches!(finding["level"].as_str(), Some("warning" | "fault"));
    let findings = said.json["findings"].as_array().expect("a list");
    let wrong: Vec<&Value> = findings.iter().filter(is_wrong).collect();
    // A machine that builds and tests may be hot; nothing else of it is excused.
    let of_machine = ["power", "temperature"];
    let is_of_machine = |finding: &&&Value| of_machine.iter().any(|check| finding["check"] == *check);
    assert_eq!(wrong.iter().filter(is_of_machine).count(), wrong.len(), "{wrong:?}");
    assert_eq!(said.status, Some(if wrong.is_empty() { 0 } else { 1 }), "{wrong:?}");
    assert_eq!(
        said.json["warnings"].as_u64().zip(said.json["faults"].as_u64()),
        Some((wrong.len() as u64, 0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_leaves_nothing_at_the_broker() {
    let mosquitto = Mosquitto::with_viewers(free_port(), &[]);
    let said = Board::as_farol(mosquitto.port, "farol").doctor().await;
    assert_eq!(said.one("broker").0, "ok", "{}", said.json);
    let mut options = MqttOptions::new("observer", ("127.0.0.1", mosquitto.port));
    options.set_credentials("admin", "admin");
    let mut observer = Observer::with(options, "farol/#").await;
    // Whatever is retained comes before what is published now.
    observer.publish("farol/end", "end", false).await;
    assert_eq!(observer.next_text().await, ("farol/end".to_owned(), "end".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_with_the_command_that_sets_it_and_never_shown() {
    let mosquitto = Mosquitto::with_viewers(free_port(), &[]);
    let said = Board::as_farol(mosquitto.port, "barracuda").doctor().await;
    said.faults(
        "broker",
        &["refuses user farol", "mosquitto_passwd /etc/mosquitto/passwd farol", "/password"],
    );
    assert!(!said.json.to_string().contains("barracuda"));
    let nobody = Board::at_broker(mosquitto.port).doctor().await;
    nobody.faults("broker", &["username = "]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acl_that_is_too_narrow_is_found_whichever_way() {
    for (acl, part) in [
        ("topic read #", "does not take its offer"),
        ("topic write #", "does not hand over its offer"),
        ("topic readwrite farol/1/+/offer/+\ntopic readwrite farol/1/+/status", "does not take its replies"),
        ("topic readwrite farol/1/+/offer/+\ntopic write farol/1/#", "does not hand over viewers' messages"),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("acl");
        fs::write(&file, format!("{acl}\n")).expect("the directory is ours");
        let mosquitto = Mosquitto::start(&format!("allow_anonymous true\nacl_file {}", file.display()));
        let said = Board::at_broker(mosquitto.port).doctor().await;
        said.faults("broker", &[part, "topic readwrite farol/1/"]);
    }
    // Just what the device needs.
    let tight = "topic readwrite farol/1/+/offer/+\ntopic readwrite farol/1/+/status\n\
                 topic write farol/1/+/out/+/+\ntopic read farol/1/+/in/+/+\n";
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("acl");
    fs::write(&file, tight).expect("the directory is ours");
    let mosquitto = Mosquitto::start(&format!("allow_anonymous true\nacl_file {}", file.display()));
    let said = Board::at_broker(mosquitto.port).doctor().await;
    assert_eq!(said.one("broker").0, "ok", "{}", said.json);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_and_one_that_is_silent_are_told_apart() {
    let gone = Board::at_broker(free_port()).doctor().await;
    gone.faults("broker", &["nothing listens at 127.0.0.1", "systemctl enable --now mosquitto"]);
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let port = silent.local_addr().expect("it is bound").port();
    let hung = Board::at_broker(port).doctor().await;
    hung.faults("broker", &["does not answer", "nc -vz"]);
}

/// An authority, and a certificate issued by it for `name`, as a Mosquitto's settings.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("the directory is ours");
        Authority { dir, issuer: Issuer::new(params, key) }
    }

    fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn mosquitto(&self, name: &str, last_year: i32) -> Mosquitto {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_after = date_time_ymd(last_year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let (cert_file, key_file) = (self.dir.path().join("cert.pem"), self.dir.path().join("key.pem"));
        fs::write(&cert_file, certificate.pem()).expect("the directory is ours");
        fs::write(&key_file, key.serialize_pem()).expect("the directory is ours");
        Mosquitto::start(&format!(
            "allow_anonymous true\ncertfile {}\nkeyfile {}",
            cert_file.display(),
            key_file.display()
        ))
    }

    fn board(&self, port: u16) -> Board {
        let ca_file = self.ca_file();
        Board::new(&format!(
            "[broker]\nurl = \"mqtts://127.0.0.1:{port}\"\nca_file = \"{}\"\n",
            ca_file.display()
        ))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_tls_are_told_plainly() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = ours.mosquitto("127.0.0.1", 2090);
    let said = ours.board(good.port).doctor().await;
    assert_eq!(said.one("broker").0, "ok", "{}", said.json);
    theirs.board(good.port).doctor().await.faults("broker", &["was not issued by", "ca_file = "]);
    let elsewhere = ours.mosquitto("elsewhere.example", 2090);
    ours.board(elsewhere.port).doctor().await.faults("broker", &["is not for 127.0.0.1", "openssl s_client"]);
    let expired = ours.mosquitto("127.0.0.1", 2020);
    ours.board(expired.port).doctor().await.faults("broker", &["has expired", "timedatectl"]);
    let plain = Board::at_broker(good.port).doctor().await;
    plain.faults("broker", &["url = \\\"mqtts://127.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_server_that_does_not_know_the_password_says_what_to_set() {
    let ana = Coturn::start(Users::Ana).await;
    let server = |urls: String, who: &str| format!("[[ice.servers]]\nurls = [{urls}]\n{who}\n");
    let wrong = "username = \"ana\"\ncredential = \"barracuda\"";
    let urls = format!("\"turn:127.0.0.1:{0}\", \"turn:127.0.0.1:{0}?transport=tcp\"", ana.port);
    let said = Board::with_ice(&server(urls, wrong)).doctor().await;
    let turns = said.all("turn");
    assert_eq!(turns.len(), 2, "{turns:?}");
    for turn in turns {
        assert_eq!(turn["level"], "fault");
        assert!(turn.to_string().contains("does not know user ana"), "{turn}");
        assert!(turn.to_string().contains("turnadmin -a -u ana"), "{turn}");
    }
    assert!(!said.json.to_string().contains("barracuda"));
    // Its certificate is known to nobody but itself.
    let tls = server(format!("\"turns:127.0.0.1:{}\"", ana.tls_port), wrong);
    Board::with_ice(&tls).doctor().await.faults("turn", &["no TLS with turns:127.0.0.1", "ca_file"]);

    let shared = Coturn::start(Users::Shared).await;
    for (secret, level) in [("north", "ok"), ("south", "fault")] {
        let who = "secret_file = \"{dir}/secret\"";
        let board = Board::with_ice(&server(format!("\"turn:127.0.0.1:{}\"", shared.port), who));
        fs::write(board.file("secret"), secret).expect("the directory is ours");
        let said = board.doctor().await;
        let (found, text) = said.one("turn");
        assert_eq!(found, level, "{text}");
        assert_eq!(text.contains("static-auth-secret"), level == "fault", "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_from_which_the_unit_keeps_the_service_is_not_fine() {
    let coturn = Coturn::start(Users::Ana).await;
    let board = Board::with_ice(&format!(
        "[[ice.servers]]\nusername = \"ana\"\ncredential = \"swordfish\"\nurls = [\"turn:127.0.0.1:{0}\"]\n\
         [[ice.servers]]\nurls = [\"stun:127.0.0.1:{0}\"]\n\
         [[whip]]\nurl = \"http://127.0.0.1:9/porch?key=barracuda\"\n",
        coturn.port
    ));
    let said = board.doctor().await;
    assert_eq!(said.one("turn").0, "ok", "without a unit it is reached");
    assert!(said.all("whip").is_empty(), "{}", said.json);
    let unit = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nSupplementaryGroups=video audio\n\
                IPAddressDeny=0.0.0.0/0 ::/0\nIPAddressAllow=192.168.0.0/16";
    let said = board.doctor_with_unit(unit).await;
    for (check, level) in [("stun", "warning"), ("turn", "warning"), ("broker", "fault"), ("whip", "fault")] {
        let (found, text) = said.one(check);
        assert_eq!(found, level, "{text}");
        assert!(text.contains("the service may not reach"), "{text}");
        assert!(text.contains("IPAddressAllow=127.0.0.1"), "{text}");
    }
    assert!(said.all("nat").is_empty(), "whatever was seen from here is no answer: {}", said.json);
    assert!(!said.json.to_string().contains("barracuda"));

    // Nothing listens there for the doctor either, but that is not what is told.
    let source = "servers_url = \"http://127.0.0.1:9/servers\"\n";
    Board::with_ice(source).doctor().await.faults("turn", &["gives no servers"]);
    let said = Board::with_ice(source).doctor_with_unit(unit).await;
    said.faults(
        "turn",
        &["the service may not reach http://127.0.0.1:9/servers", "IPAddressAllow=127.0.0.1"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn udp_that_is_blocked_is_told_from_a_server_that_is_down() {
    // Nobody reads there: what is sent is swallowed, as by a firewall.
    let hole = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let port = hole.local_addr().expect("it is bound").port();
    let blocked = Board::with_ice(&format!("[[ice.servers]]\nurls = [\"stun:127.0.0.1:{port}\"]\n"));
    blocked.doctor().await.faults("stun", &["no server answers by UDP", "block UDP", "turns:"]);
    drop(hole);
    blocked.doctor().await.faults("stun", &["nothing listens at stun:127.0.0.1"]);
    let relay_alone = Board::with_ice(&format!(
        "policy = \"relay\"\n[[ice.servers]]\nurls = [\"turn:127.0.0.1:{port}\"]\nusername = \"a\"\ncredential = \"b\"\n"
    ));
    let said = relay_alone.doctor().await;
    let turns = said.all("turn").iter().map(ToString::to_string).collect::<String>();
    assert!(turns.contains("nothing listens at turn:127.0.0.1") && turns.contains("policy = "), "{turns}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_tell_what_the_nat_does() {
    let (one, other) = (Stun::holding_back().await, Stun::holding_back().await);
    one.answer();
    other.answer();
    let server = |port| format!("[[ice.servers]]\nurls = [\"stun:127.0.0.1:{port}\"]\n");
    let said = Board::with_ice(&server(one.port)).doctor().await;
    let (level, text) = said.one("nat");
    assert!(level == "note" && text.contains("192.0.2.7") && text.contains("not known"), "{text}");
    let said = Board::with_ice(&(server(one.port) + &server(other.port))).doctor().await;
    let (level, text) = said.one("nat");
    assert!(level == "ok" && text.contains("paths lead through"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_somebody_has_is_told_with_who() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let at = taken.local_addr().expect("it is bound");
    let board = Board::new(&format!("[http]\nlisten = \"{at}\"\n"));
    board.doctor().await.faults("ports", &["http.listen", &format!("process {}", std::process::id())]);
    drop(taken);
    assert_eq!(board.doctor().await.one("ports").0, "ok");
}

#[test]
fn a_faulty_configuration_is_78_and_the_board_is_looked_at_all_the_same() {
    let board = Board::new("fps = 500\n");
    let done = board.command(&["doctor"]).output().expect("farol can be run");
    let text = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(78), "{text}");
    for part in ["✗ configuration", "`video.fps` is 500", "sudoedit", "✓ model"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(" broker "), "{text}");
    assert!(!text.contains('\u{1b}'), "a file wants no colours");
}

#[test]
fn a_configuration_that_is_gone_is_copied_from_the_one_that_the_package_brings() {
    let board = Board::new("");
    let path = board.file("farol.toml");
    fs::remove_file(&path).expect("it is ours");
    let done = board.command(&["doctor", "--json"]).output().expect("farol can be run");
    assert_eq!(done.status.code(), Some(78));
    let text = String::from_utf8_lossy(&done.stdout);
    let shipped = "/usr/share/doc/farol/examples/farol.toml";
    let mend = format!("sudo install -D -m 0644 {shipped} {}", path.display());
    assert!(text.contains(&mend), "{text}");
    // Where the package lays it, before it is packed.
    let packing = fs::read_to_string("scripts/deb").expect("tests run in the tree");
    assert!(packing.contains("cp $stage/farol.toml $stage/doc/examples/"));
    assert!(
        fs::read_to_string("Cargo.toml")
            .expect("it is there")
            .contains(r#"["target/deb/doc/**/*", "usr/share/doc/farol/""#)
    );
    assert!(!text.contains("--reinstall farol"), "the package is in no archive: {text}");
}

#[test]
fn a_link_to_farol_s_own_port_waits_for_the_daemon() {
    let port = free_port();
    let board = Board::new(&format!(
        "[http]\nlisten = \"127.0.0.1:{port}\"\nbridge = true\n[links]\nbroker = \"ws://127.0.0.1:{port}/mqtt\"\n"
    ));
    let done = board.command(&["doctor"]).output().expect("farol can be run");
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(text.contains("· links") && text.contains("opens when the daemon runs"), "{text}");
}

/// A way to a TURN server by UDP on which no Data indication gets through, as where its ports for media are closed.
/// It ends with the test's runtime.
async fn without_data(server: u16) -> u16 {
    let near = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let port = near.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        let mut far: HashMap<SocketAddr, Arc<tokio::net::UdpSocket>> = HashMap::new();
        let near = Arc::new(near);
        let mut datagram = [0; 1500];
        while let Ok((length, from)) = near.recv_from(&mut datagram).await {
            if let Entry::Vacant(place) = far.entry(from) {
                let socket =
                    tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
                socket.connect((Ipv4Addr::LOCALHOST, server)).await.expect("loopback is there");
                let (socket, near) = (Arc::new(socket), near.clone());
                place.insert(socket.clone());
                tokio::spawn(async move {
                    let mut datagram = [0; 1500];
                    while let Ok(length) = socket.recv(&mut datagram).await {
                        if !datagram.starts_with(&[0x00, 0x17]) {
                            let _ = near.send_to(&datagram[..length], from).await;
                        }
                    }
                });
            }
            let _ = far[&from].send(&datagram[..length]).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_server_that_passes_nothing_on_is_not_said_to() {
    let coturn = Coturn::start(Users::Ana).await;
    let port = without_data(coturn.port).await;
    let board = Board::with_ice(&format!(
        "[[ice.servers]]\nusername = \"ana\"\ncredential = \"swordfish\"\nurls = [\"turn:127.0.0.1:{port}\"]\n"
    ));
    let said = board.doctor().await;
    // The server is in this board's own network, from which it cannot be judged.
    let (level, text) = said.one("turn");
    assert!(level == "ok" && text.contains("was not to be seen from here"), "{text}");
}

/// `farol run`, ended with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_daemon_is_seen_and_not_disturbed() {
    let (mosquitto, http) = (Mosquitto::open(), free_port());
    let board = Board::new(&format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{}\"\n[links]\npage = \"http://p.test/\"\nbroker = \"ws://127.0.0.1:{http}/mqtt\"\n\
         [http]\nlisten = \"127.0.0.1:{http}\"\nbridge = true\n[ice]\naddresses = [\"127.0.0.1\"]\n",
        mosquitto.port
    ));
    board.pair();
    let mut child =
        board.command(&["run", "--log", "debug"]).stderr(Stdio::piped()).spawn().expect("it can be run");
    let log = BufReader::new(child.stderr.take().expect("it was piped"));
    let daemon = Daemon(child);
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("farol log".into())
        .spawn(move || log.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))))
        .expect("a thread can be started");
    let mut said_so_far = String::new();
    while !said_so_far.contains("connected to the broker") {
        said_so_far.push_str(&lines.recv().await.expect("the daemon runs"));
    }
    let said = board.doctor().await;
    for (check, part) in [
        ("daemon", "runs since"),
        ("broker", "lets anybody in"),
        ("links", "speaks MQTT"),
        ("ports", "is farol's"),
    ] {
        let (level, text) = said.one(check);
        assert_eq!(level, "ok", "{text}");
        assert!(text.contains(part), "{text}");
    }
    let status = board.command(&["status", "--json"]).output().expect("farol can be run");
    let status: Value = serde_json::from_slice(&status.stdout).expect("it answers");
    assert_eq!((&status["refused"], &status["broker"]["connects"]), (&0.into(), &1.into()), "{status}");
    drop(daemon);
    while let Some(line) = lines.recv().await {
        said_so_far.push_str(&line);
    }
    assert!(!said_so_far.contains("WARN"), "{said_so_far}");
}
