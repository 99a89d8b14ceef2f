//! Does `farol doctor` find what is wrong, and name what mends it? The real program, a real Mosquitto, a real
//! coturn; everything on loopback.
#![cfg(feature = "daemon")]

#[path = "common/coturn.rs"]
mod coturn;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/observer.rs"]
mod observer;
#[path = "common/stun.rs"]
mod stun;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use coturn::{Coturn, Users};
use mosquitto::{Mosquitto, free_port};
use observer::Observer;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rumqttc::MqttOptions;
use serde_json::Value;
use stun::Stun;
use tempfile::TempDir;

/// A board's configuration and state; the picture is the test pattern's.
struct Board {
    dir: TempDir,
}

/// What a doctor said.
struct Said {
    status: Option<i32>,
    json: Value,
}

impl Board {
    /// With these sections; `{dir}` in them is the board's own directory.
    fn new(sections: &str) -> Board {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let here = dir.path().display().to_string();
        let text = format!(
            "[device]\nstate_dir = \"{here}/state\"\n[video]\nsource = \"pattern\"\nwidth = 160\nheight = 120\n{}",
            sections.replace("{dir}", &here)
        );
        fs::write(dir.path().join("farol.toml"), text).expect("the directory is ours");
        Board { dir }
    }

    /// A board whose broker is at that port, without and with a login as `farol`.
    fn at_broker(port: u16) -> Board {
        Board::new(&format!("[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n"))
    }

    fn as_farol(port: u16, password: &str) -> Board {
        let board = Board::new(&format!(
            "[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\nusername = \"farol\"\npassword_file = \"{{dir}}/password\"\n"
        ));
        fs::write(board.file("password"), password).expect("the directory is ours");
        board
    }

    /// A board with these `[[ice.servers]]` and no broker.
    fn with_ice(servers: &str) -> Board {
        let broker = free_port();
        Board::new(&format!(
            "[broker]\nurl = \"mqtt://127.0.0.1:{broker}\"\n[ice]\naddresses = [\"127.0.0.1\"]\n{servers}"
        ))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farol"));
        command.args(arguments).arg("--config").arg(self.file("farol.toml"));
        for name in ["FAROL_LOG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"] {
            command.env_remove(name);
        }
        command
    }

    fn pair(&self) {
        let done = self.command(&["pair", "Ana"]).output().expect("farol can be run");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    async fn doctor(&self) -> Said {
        let mut command = self.command(&["doctor", "--json"]);
        let run = tokio::task::spawn_blocking(move || command.output().expect("farol can be run"));
        let done = run.await.expect("it was run");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let json = serde_json::from_str(&text)
            .unwrap_or_else(|cause| panic!("{cause}: {text}{}", String::from_utf8_lossy(&done.stderr)));
        Said { status: done.status.code(), json }
    }
}

impl Said {
    fn all(&self, check: &str) -> Vec<&Value> {
        let findings = self.json["findings"].as_array().expect("there are findings");
        findings.iter().filter(|finding| finding["check"] == check).collect()
    }

    /// The only finding of a check, as its level and everything that it says.
    fn one(&self, check: &str) -> (&str, String) {
        match self.all(check)[..] {
            [finding] => (finding["level"].as_str().expect("a level"), finding.to_string()),
            _ => panic!("{check}: {}", self.json),
        }
    }

    /// That this check has found a fault in which all of this is said.
    fn faults(&self, check: &str, parts: &[&str]) {
        let (level, text) = self.one(check);
        assert_eq!(level, "fault", "{text}");
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("\"why\"") && text.contains("\"mend\""), "{text}");
        let mend = self.all(check)[0]["mend"].as_array().expect("a list");
        let is_comment = |line: &str| line.starts_with('#');
        let mut lines = mend.iter().flat_map(|entry| entry.as_str().expect("a text").lines());
        assert!(lines.any(|line| !is_comment(line)), "something can be copied: {text}");
        assert_eq!(self.status, Some(1), "{text}");
    }
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
    let said = board.doctor().await;
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
    assert!(turns.iter().all(|turn| turn["level"] == "ok"), "{turns:?}");
    // What depends on the machine that runs this test: its clock, its memory, its disk.
    let of_machine = ["model", "power", "temperature", "memory", "disk", "clock", "service", "groups"];
    let is_wrong = |finding: &&Value| {
        let is_of_machine = of_machine.iter().any(|check| finding["check"] == *check);
        !is_of_machine && matches!(finding["level"].as_str(), Some("warning" | "fault"))
    };
    let wrong: Vec<&Value> =
        said.json["findings"].as_array().expect("a list").iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let is_well = !matches!(said.json["level"].as_str(), Some("warning" | "fault"));
    assert_eq!(said.status == Some(0), is_well);
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
