use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{
    Audio, Broker, Ice, IcePolicy, IceServer, Links, Login, MadeSecret, Security, SharedTurn, Tls,
    TurnSource, Video, VideoSource, When,
};
use crate::units::Bitrate;

use crate::config::whip::Whip;

const DOCUMENTED: &str = include_str!("../../../config/farol.toml");

fn read(text: &str) -> Result<Config, Vec<Fault>> {
    let read_secret = |secret: &Secret| match secret {
        Secret::File(path) if path == Path::new("/etc/farol/turn") => Ok(Some("swordfish".to_string())),
        Secret::File(path) if path == Path::new("/etc/farol/turn-secret") => Ok(Some("north".to_string())),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    parse(text, &Surroundings { state_dir: None, read_secret: &read_secret })
}

fn faults(text: &str) -> Vec<String> {
    read(text).expect_err("there is a fault").iter().map(Fault::to_string).collect()
}

/// The keys that the parser asks for, sections left out.
fn known_keys() -> Vec<String> {
    let (root, errors) = DeTable::parse_recoverable("[[ice.servers]]\n[[whip]]");
    assert!(errors.is_empty());
    let (mut walk, top) = Walk::new("", root.get_ref());
    sections::config(&mut walk, &top, None, &|_| Ok(None));
    let is_section = |key: &&String| walk.known().iter().any(|other| other.starts_with(&format!("{key}.")));
    walk.known().iter().filter(|key| !is_section(key)).cloned().collect()
}

#[test]
fn an_empty_file_is_a_good_configuration() {
    assert_eq!(read(""), Ok(Config::default()));
}

#[test]
fn systemd_names_the_state_directory_and_the_file_overrules_it() {
    let around = Surroundings { state_dir: Some("/run/state".into()), read_secret: &|_| Ok(None) };
    let state_dir = |text| parse(text, &around).map(|config| config.state_dir);
    assert_eq!(state_dir(""), Ok("/run/state".into()));
    assert_eq!(state_dir("[device]\nstate_dir = \"/srv/farol\""), Ok("/srv/farol".into()));
}

#[test]
fn the_documented_file_says_exactly_the_defaults() {
    assert_eq!(read(DOCUMENTED), Ok(Config::default()));
}

/// The lines of the documented file that are keys, those commented out included.
fn documented_key_lines() -> Vec<&'static str> {
    let is_key = |line: &&str| {
        let word = line.split_once(" = ").map_or("", |(word, _)| word);
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    DOCUMENTED.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).filter(is_key).collect()
}

#[test]
fn the_documented_file_shows_every_key_and_no_other() {
    let mut shown: Vec<String> = Vec::new();
    let mut section = String::new();
    for line in DOCUMENTED.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)) {
        if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
            section = format!("{name}[]");
            shown.push(name.to_string());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_string();
        } else if section == "video.controls" {
            // Its keys are the driver's.
            shown.push(section.clone());
        } else if documented_key_lines().contains(&line) {
            let key = line.split(" = ").next().unwrap_or_default();
            // Which controls there are only a camera's driver knows.
            let is_example = section == "video.controls";
            shown.push(if is_example { section.clone() } else { format!("{section}.{key}") });
        }
    }
    let mut known = known_keys();
    known.sort();
    shown.sort();
    shown.dedup();
    assert_eq!(shown, known);
}

#[test]
fn every_commented_line_of_the_documented_file_is_right_when_it_is_uncommented() {
    let mut text = String::new();
    for line in DOCUMENTED.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_header = bare.starts_with('[') && bare.ends_with(']');
        if is_header || documented_key_lines().contains(&bare) {
            text += bare;
            text.push('\n');
        }
    }
    // TLS files go with a TLS broker.
    text = text.replacen("mqtt://", "mqtts://", 1);
    // The alternatives that cannot stand beside each other, and the one secret that is a file.
    for line in ["password_credential", "credential_file", "token_credential"] {
        let start = text.find(&format!("\n{line} = ")).expect("it is shown") + 1;
        let end = start + text[start..].find('\n').expect("lines end");
        text.replace_range(start..end, "");
    }
    // The Pi's PWM has two channels, and a build that can drive them is another one.
    let rest = text.find("\n[servo.pan]").expect("it is shown")..text.find("\n[ice]").expect("it is shown");
    let one_too_many = text.find("\n[lamp]").expect("it is shown")..rest.end;
    text.replace_range(if cfg!(feature = "rppal") { one_too_many } else { rest }, "");
    let config = read(&text).unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"));
    assert!(config.broker.tls.is_some() && config.broker.login.is_some() && !config.ice.servers.is_empty());
}

#[test]
fn every_key_is_understood() {
    let text = r#"
[device]
name = "Nest box"
state_dir = "/srv/farol"
[broker]
url = "mqtts://broker.example.org"
username = "nest"
password_credential = "mqtt-password"
ca_file = "/etc/farol/ca.pem"
client_cert_file = "/etc/farol/cert.pem"
client_key_file = "/etc/farol/key.pem"
keep_alive_s = 60
[links]
page = "https://farol.example.org/"
broker = "wss://broker.example.org/mqtt"
[signalling]
security = "open"
max_viewers = 3
[video]
source = "replay"
file = "/srv/nest.h264"
width = 640
height = 480
fps = 25
bitrate_kbps = 1_000
keyframe_interval_frames = 50
capture = "always"
[audio]
source = "alsa"
device = "hw:1"
rate_hz = 44100
channels = 2
bitrate_kbps = 64
[ice]
addresses = ["192.0.2.7", "fd00::7"]
udp_port = "50000-50010"
policy = "relay"
ca_file = "/etc/farol/turn.pem"
servers_url = "https://turn.example.org/credentials?key=7"
servers_token_file = "/etc/farol/token"
servers_refresh_s = 600
servers = [
  { urls = ["turns:turn.example.org"], secret_file = "/etc/farol/turn-secret", lifetime_s = 7200 },
  { urls = ["stun:stun.example.org"] },
  { urls = ["turn:turn.example.org?transport=udp"], username = "farol", credential_file = "/etc/farol/turn" },
]
[http]
listen = "[::]:8080"
[metrics]
listen = "127.0.0.1:9100"
[[whip]]
url = "https://media.example.org/whip/nest"
name = "studio"
token_credential = "whip-token"
ca_file = "/etc/farol/ca.pem"
video = true
audio = false
"#;
    let server = |url: &str, username: Option<&str>, credential: Option<&str>| IceServer {
        urls: vec![url.to_string()],
        username: username.map(str::to_string),
        credential: credential.map(str::to_string),
    };
    let expected = Config {
        name: "Nest box".to_string(),
        state_dir: "/srv/farol".into(),
        broker: Broker {
            host: "broker.example.org".to_string(),
            port: 8883,
            tls: Some(Tls {
                ca_file: Some("/etc/farol/ca.pem".into()),
                client: Some(("/etc/farol/cert.pem".into(), "/etc/farol/key.pem".into())),
            }),
            login: Some(Login {
                username: "nest".to_string(),
                password: Some(Secret::Credential("mqtt-password".to_string())),
            }),
            keep_alive: Duration::from_secs(60),
        },
        links: Links {
            page: Some("https://farol.example.org/".to_string()),
            broker: Some("wss://broker.example.org/mqtt".to_string()),
        },
        security: Security::Open,
        max_viewers: 3,
        video: Video {
            source: VideoSource::Replay { file: "/srv/nest.h264".into() },
            size: (640, 480),
            fps: 25,
            bitrate: Bitrate::from_kbps(1000),
            keyframe_interval: 50,
            when: When::Always,
            ..Video::default()
        },
        audio: Audio::Alsa {
            device: "hw:1".to_string(),
            rate_hz: 44_100,
            channels: 2,
            bitrate: Bitrate::from_kbps(64),
        },
        talkback: None,
        ice: Ice {
            servers: vec![
                server("stun:stun.example.org", None, None),
                server("turn:turn.example.org?transport=udp", Some("farol"), Some("swordfish")),
            ],
            interfaces: vec![],
            shared: vec![SharedTurn {
                urls: vec!["turns:turn.example.org".to_string()],
                secret: MadeSecret::new("north".to_string()),
                lifetime: Duration::from_secs(7200),
            }],
            source: Some(TurnSource {
                url: "https://turn.example.org/credentials?key=7".to_string(),
                token: Some(Secret::File("/etc/farol/token".into())),
                refresh: Duration::from_secs(600),
            }),
            policy: IcePolicy::Relay,
            ca_file: Some("/etc/farol/turn.pem".into()),
            udp_ports: 50_000..=50_010,
            addresses: vec!["192.0.2.7".parse().expect("an address"), "fd00::7".parse().expect("an address")],
        },
        bridge: false,
        http: Some("[::]:8080".parse().expect("an address")),
        metrics: Some("127.0.0.1:9100".parse().expect("an address")),
        board: crate::config::board::Board::default(),
        whip: vec![Whip {
            name: "studio".to_string(),
            url: "https://media.example.org/whip/nest".parse().expect("a URL"),
            token: Some(Secret::Credential("whip-token".to_string())),
            tls: Tls { ca_file: Some("/etc/farol/ca.pem".into()), client: None },
            video: true,
            audio: false,
        }],
    };
    assert_eq!(read(text), Ok(expected));
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = r#"
sound = true
[vidoe]
[device]
name = "a\nb"
[broker]
url = "http://localhost"
password_file = "/etc/farol/password"
ca_file = 7
keep_alive_s = 1
[links]
page = "farol.example.org"
[signalling]
security = "seeled"
max_viewers = 0
[video]
source = "replay"
width = 1279
fps = 500
bitrat_kbps = 900
keyframe_interval = 10
[audio]
rate_hz = 48000.0
[ice]
addresses = ["eth0"]
interfaces = ["eth0", "192.0.2.7"]
servers = [{ urls = ["stun://a"], user = "x" }, 5, { urls = ["turn:a"], credential_file = "/none" }]
[http]
listen = "8080"
"#;
    insta::assert_snapshot!(faults(text).join("\n"));
}

#[test]
fn keys_that_need_each_other_are_told_apart() {
    insta::assert_snapshot!(
        faults(
            r#"
[broker]
url = "mqtt://localhost"
username = "farol"
password_file = "/a"
password_credential = "b"
ca_file = "/ca.pem"
client_cert_file = "/cert.pem"
[ice]
addresses = ["192.0.2.7"]
interfaces = ["!docker*"]
[[ice.servers]]
urls = []
[[ice.servers]]
username = "x"
credential = "y"
credential_file = "/etc/farol/turn"
[[ice.servers]]
urls = ["turn:a"]
username = "x"
secret_file = "/etc/farol/turn-secret"
[[ice.servers]]
urls = ["stun:a"]
lifetime_s = 3600
"#
        )
        .join("\n")
    );
}

#[test]
fn relays_alone_without_a_relay_let_nobody_in() {
    let of = |servers: &str| read(&format!("[ice]\npolicy = \"relay\"\n{servers}"));
    assert!(of("").is_err() && of("servers = [{ urls = [\"stun:a\"] }]").is_err());
    assert!(of("servers_url = \"https://a\"").is_ok());
    assert!(of("servers = [{ urls = [\"turn:a\"], username = \"x\", credential = \"y\" }]").is_ok());
}

#[test]
fn metrics_are_never_on_the_pages_own_port() {
    let same = "[http]\nlisten = \"127.0.0.1:8080\"\n[metrics]\nlisten = \"127.0.0.1:8080\"\n";
    let told = faults(same);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("metrics.listen") && told[0].contains("who watches"), "{told:?}");
    assert!(read("[metrics]\nlisten = \"127.0.0.1:9100\"").is_ok());
}

#[test]
fn a_text_that_is_not_toml_is_told_with_line_and_column() {
    insta::assert_snapshot!(faults("[video]\nfps = \nwidth = 3 4\n[audio\n").join("\n"));
}

#[test]
fn a_password_is_never_repeated_in_a_fault() {
    let text = r#"
[broker]
url = "mqtt://farol:hunter2@localhost"
[[ice.servers]]
urls = ["turn:ana:hunter2@host"]
username = "x"
credential = ["hunter2"]
"#;
    let faults = faults(text);
    assert_eq!(faults.len(), 3, "{faults:#?}");
    assert!(!faults.join("\n").contains("hunter2"), "{faults:#?}");
}

#[test]
fn what_a_fault_shows_cannot_disturb_a_terminal() {
    for fault in faults("\"\u{9b}31m\" = 1\n[video]\nsource = \"\u{9b}2J\"\n") {
        assert!(!fault.chars().any(char::is_control), "{fault:?}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = read(&text);
    }

    /// Right keys with any values, which the plain text above hardly ever reaches.
    #[test]
    fn no_value_panics(
        values in prop::collection::vec((0..known_keys().len(), "[-0-9a-z_.:/@\\[\\]{}=\", ]{0,24}"), 0..8)
    ) {
        let keys = known_keys();
        let text: String = values.iter().map(|(at, value)| format!("{} = {value}\n", keys[*at])).collect();
        if let Err(faults) = read(&text) {
            prop_assert!(!faults.is_empty());
        }
    }
}
