//! The commands as a person runs them: what they print, what they leave behind, how they end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A configuration and a state directory of one test's own.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new(config: &str) -> Home {
        let home = Home { dir: tempfile::tempdir().expect("a temporary directory") };
        let state = format!("[device]\nstate_dir = \"{}\"\n", home.state().display());
        fs::write(home.config(), state + config).expect("the directory is ours");
        home
    }

    /// One that can pair.
    fn with_links() -> Home {
        Home::new("[links]\npage = \"https://farol.example/\"\nbroker = \"wss://b.example/mqtt?a.b\"\n")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("farol.toml")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn farol(&self, arguments: &[&str]) -> Outcome {
        farol(&[arguments, &["--config", self.config().to_str().expect("a plain path")]].concat())
    }
}

struct Outcome {
    status: Option<i32>,
    out: String,
    err: String,
}

fn farol(arguments: &[&str]) -> Outcome {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_farol"))
        .args(arguments)
        .env_remove("FAROL_LOG")
        .env_remove("STATE_DIRECTORY")
        .env_remove("RUNTIME_DIRECTORY")
        .output()
        .expect("farol can be run");
    let text = |bytes| String::from_utf8(bytes).expect("farol speaks UTF-8");
    Outcome { status: status.code(), out: text(stdout), err: text(stderr) }
}

/// The one line of a pairing that is a link.
fn link(paired: &Outcome) -> &str {
    let mut links = paired.out.lines().filter_map(|line| line.strip_prefix("  https://"));
    let link = links.next().expect("there is a link");
    assert_eq!(links.next(), None);
    link
}

#[test]
fn a_good_configuration_is_told_with_what_it_means() {
    let home = Home::with_links();
    let checked = home.farol(&["check"]);
    assert_eq!((checked.status, checked.err.as_str()), (Some(0), ""));
    for part in ["farol.toml is good", "mqtt://localhost:1883", "sealed", "/dev/video0, 1280x720"] {
        assert!(checked.out.contains(part), "{part}: {}", checked.out);
    }
}

#[test]
fn a_bad_configuration_is_78_for_every_command_that_reads_one() {
    let home = Home::new("[video]\nfps = 500\nbitrat_kbps = 900\n");
    for command in [&["check"][..], &["run"], &["status"], &["pair", "Ana"], &["viewers"], &["revoke", "Ana"]]
    {
        let outcome = home.farol(command);
        assert_eq!(outcome.status, Some(78), "{command:?}: {}", outcome.err);
        assert_eq!(outcome.out, "");
        assert!(outcome.err.contains("farol.toml has 2 faults:"), "{}", outcome.err);
        assert!(outcome.err.contains("line 4: `video.fps` is 500"), "{}", outcome.err);
        assert!(outcome.err.contains("did you mean `video.bitrate_kbps`?"), "{}", outcome.err);
    }
    assert!(!home.state().exists());
}

#[test]
fn a_missing_configuration_is_78_and_says_how_to_name_another() {
    let outcome = farol(&["check", "--config", "/nonexistent/farol.toml"]);
    assert_eq!(outcome.status, Some(78));
    assert!(
        outcome.err.contains("/nonexistent/farol.toml") && outcome.err.contains("--config"),
        "{}",
        outcome.err
    );
}

#[test]
fn a_wrong_command_line_is_2() {
    for wrong in
        [&["frobnicate"][..], &["pair"], &["pair", "Ana", "--rights", "watch"], &["run", "--log", "loud"]]
    {
        let outcome = farol(wrong);
        assert_eq!((outcome.status, outcome.out.as_str()), (Some(2), ""), "{wrong:?}");
    }
    let outcome = farol(&["pair", "Ana", "--rights", "view,watch"]);
    assert!(outcome.err.contains("`watch` is not a right"), "{}", outcome.err);
}

#[test]
fn version_and_help_are_told() {
    let short = farol(&["-V"]);
    assert_eq!((short.status, short.out), (Some(0), format!("farol {}\n", env!("CARGO_PKG_VERSION"))));
    let long = farol(&["--version"]);
    assert_eq!((long.status, long.out), (Some(0), format!("farol {}\n", farol::version::LONG)));
    let help = farol(&["--help"]);
    for command in ["run", "demo", "check", "doctor", "status", "devices", "pair", "viewers", "revoke"] {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command}: {}", help.out);
    }
}

#[test]
fn a_status_without_a_daemon_says_what_to_start() {
    let home = Home::new("");
    let outcome = home.farol(&["status"]);
    assert_eq!((outcome.status, outcome.out.as_str()), (Some(1), ""));
    for part in ["no farol runs here", "systemctl start farol", "farol run", "state/status.sock"] {
        assert!(outcome.err.contains(part), "{part}: {}", outcome.err);
    }
    assert!(!outcome.err.contains("/run/farol"), "another state directory is another daemon");
    assert!(!home.state().exists());
}

#[test]
fn a_paired_link_is_the_one_that_the_device_will_know() {
    let home = Home::with_links();
    let paired = home.farol(&["pair", "Ana", "--rights", "view,talk"]);
    assert_eq!((paired.status, paired.err.as_str()), (Some(0), ""));
    assert!(paired.out.contains("view and talk through") && paired.out.contains("shown this once"));

    let (page, fragment) = link(&paired).split_once('#').expect("a link has a fragment");
    assert_eq!(page, "farol.example/");
    let parts: Vec<&str> = fragment.splitn(5, '.').collect();
    let [version, device, kid, key, broker] = parts[..] else { panic!("{fragment}") };
    assert_eq!((version, broker), ("1", "wss://b.example/mqtt?a.b"));

    let state = farol::io::keys::State::open(&home.state()).expect("it is there");
    let viewers = state.viewers().expect("they are there");
    let [ana] = &viewers[..] else { panic!("{viewers:?}") };
    assert_eq!(device.parse(), Ok(state.device().expect("it is made")));
    assert_eq!(kid.parse(), Ok(ana.key.kid));
    assert_eq!((ana.key.name.as_str(), ana.key.rights.to_string().as_str()), ("Ana", "view,talk"));
    use base64::Engine as _;
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(key).expect("base64url");
    assert_eq!(key, ana.key.key());
}

#[test]
fn a_pairing_shows_a_qr_code_with_a_quiet_zone() {
    let paired = Home::with_links().farol(&["pair", "Ana"]);
    let is_code = |line: &&str| line.chars().all(|c| " █▀▄".contains(c)) && line.contains('█');
    let code: Vec<&str> = paired.out.lines().filter(is_code).collect();
    let width = code.first().expect("there is a code").chars().count();
    // Two modules of the code share a line, and it is a square with four light modules on each side.
    assert_eq!(code.len(), width.div_ceil(2));
    assert!(code[..2].iter().all(|line| line.chars().all(|c| c == '█')), "{}", paired.out);
    assert!(code.iter().all(|line| line.starts_with("████") && line.ends_with("████")), "{}", paired.out);
}

#[test]
fn pairing_without_links_says_what_to_add_and_makes_nothing() {
    let home = Home::new("");
    let outcome = home.farol(&["pair", "Ana"]);
    assert_eq!((outcome.status, outcome.out.as_str()), (Some(78), ""));
    for part in ["farol.toml", "[links]", "page = ", "broker = ", "http.listen"] {
        assert!(outcome.err.contains(part), "{part}: {}", outcome.err);
    }
    assert!(!home.state().exists());
}

#[test]
fn a_device_that_serves_its_page_is_linked_to_itself() {
    let home = Home::new("[links]\nbroker = \"ws://192.0.2.1:9001\"\n[http]\nlisten = \"192.0.2.1:8080\"\n");
    let paired = home.farol(&["pair", "Ana"]);
    assert_eq!(paired.status, Some(0), "{}", paired.err);
    assert!(paired.out.contains("\n  http://192.0.2.1:8080/#1."), "{}", paired.out);
    assert!(paired.out.contains("links.page is not set"), "{}", paired.out);
}

#[test]
fn a_device_that_carries_mqtt_beside_its_page_is_linked_to_itself_for_both() {
    let served = "[http]\nlisten = \"192.0.2.1:8080\"\nbridge = true\n";
    let paired = Home::new(served).farol(&["pair", "Ana"]);
    assert_eq!(paired.status, Some(0), "{}", paired.err);
    let link = paired.out.lines().find(|line| line.contains("#1.")).expect("there is a link");
    assert!(link.starts_with("  http://192.0.2.1:8080/#1.") && link.ends_with(".ws://192.0.2.1:8080/mqtt"), "{link}");

    // From https:// a browser opens no ws://.
    let elsewhere = format!("[links]\npage = \"https://farol.example/\"\n{served}");
    let refused = Home::new(&elsewhere).farol(&["pair", "Ana"]);
    assert_eq!(refused.status, Some(78));
    assert!(refused.err.contains("broker = ") && !refused.err.contains("page = "), "{}", refused.err);
}

#[test]
fn open_signalling_needs_no_pairing_and_says_so() {
    let home = Home::new(
        "[signalling]\nsecurity = \"open\"\n[links]\npage = \"https://p.example/\"\nbroker = \"ws://b.example\"\n",
    );
    let outcome = home.farol(&["pair", "Ana"]);
    assert_eq!(outcome.status, Some(1));
    assert!(
        outcome.err.contains("nobody was paired") && outcome.err.contains(".open..ws://b.example"),
        "{}",
        outcome.err
    );
    assert!(home.farol(&["viewers"]).out.contains("Nobody is paired"));
}

#[test]
fn viewers_are_listed_and_revoked() {
    let home = Home::with_links();
    assert!(home.farol(&["viewers"]).out.contains("`farol pair NAME`"));
    let links: Vec<String> =
        ["Ana", "José Maria"].map(|name| link(&home.farol(&["pair", name])).to_string()).into();
    let listed = home.farol(&["viewers"]);
    let lines: Vec<Vec<&str>> =
        listed.out.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    assert_eq!(lines.len(), 3, "{}", listed.out);
    assert!(lines[2].contains(&"José Maria") && lines[2].contains(&"view,listen"), "{}", listed.out);
    for secret in links.iter().filter_map(|link| link.split('.').nth(4)) {
        assert!(!listed.out.contains(secret));
    }

    let again = home.farol(&["pair", "Ana"]);
    assert_eq!(again.status, Some(1));
    assert!(again.err.contains("a viewer named `Ana` is paired already"), "{}", again.err);

    let revoked = home.farol(&["revoke", "José Maria"]);
    assert_eq!(revoked.status, Some(0), "{}", revoked.err);
    assert!(revoked.out.contains("Revoked José Maria ("), "{}", revoked.out);
    let gone = home.farol(&["revoke", "José Maria"]);
    assert_eq!(gone.status, Some(1));
    assert!(gone.err.contains("no viewer is named `José Maria`") && gone.err.contains("farol viewers"));
    assert_eq!(home.farol(&["viewers"]).out.lines().count(), 2);
}

#[test]
fn a_damaged_key_file_is_told_and_kept() {
    let home = Home::with_links();
    assert_eq!(home.farol(&["pair", "Ana"]).status, Some(0));
    let path: &Path = &home.state().join("viewers.toml");
    fs::write(path, "[[viewer]\n").expect("the directory is ours");
    for command in [&["viewers"][..], &["pair", "Rui"], &["revoke", "Ana"]] {
        let outcome = home.farol(command);
        assert_eq!(outcome.status, Some(1), "{}", outcome.out);
        assert!(outcome.err.contains("viewers.toml is damaged: line 1"), "{}", outcome.err);
        assert_eq!(fs::read_to_string(path).expect("it is there"), "[[viewer]\n");
    }
}
