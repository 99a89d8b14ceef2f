//! Does `docs/protocol.md` say what the code does?
//!
//! Others write viewers by that page and its test vectors. Here its tables are compared with the types that are on
//! the wire, its numbers with the constants, and (in `vectors`) each vector with the code that seals and reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use farol::engine::message::{
    self, Accept, Answer, Bye, Candidates, FromViewer, Hello, Offer, Reject, RejectCode, Status,
};
use farol::engine::rights::Right;
use farol::engine::{roster, seal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[path = "protocol/times.rs"]
mod times;
#[path = "protocol/vectors.rs"]
mod vectors;

const PAGE: &str = include_str!("../docs/protocol.md");

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signal")
}

/// Reads a file of vectors.
fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(folder().join(name)).expect("the fixture is there");
    serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

/// `messages.json`, as far as it has payloads that are good.
#[derive(Deserialize)]
struct Messages {
    from_viewer: Vec<Sample>,
    from_device: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    #[serde(rename = "type")]
    kind: String,
    everything: Value,
    least: Value,
}

/// The page's part below a heading of the third level.
fn section(heading: &str) -> &'static str {
    let start = format!("\n### {heading}\n");
    let (_, rest) = PAGE.split_once(&start).unwrap_or_else(|| panic!("the page has no heading {heading}"));
    rest.split("\n##").next().expect("there is at least one part")
}

/// The cells of the table rows that begin with a word in code.
fn rows(part: &'static str) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| line.trim_matches('|').split(" | ").map(str::trim).collect();
    part.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

/// The fields that a table describes: all of them, and those that are there `always`.
fn fields(heading: &str) -> [BTreeSet<String>; 2] {
    let rows = rows(section(heading));
    let with = |words: &[&str]| {
        let of_these = rows.iter().filter(|row| words.contains(&row[1]));
        of_these.map(|row| row[0].trim_matches('`').to_owned()).collect()
    };
    [with(&["always", "maybe"]), with(&["always"])]
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().expect("an object").keys().cloned().collect()
}

/// Whether the code reads such a payload, and what it would write for it.
fn read(from: &str, kind: &str, payload: &Value) -> Option<Value> {
    fn typed<T: DeserializeOwned + Serialize>(payload: &Value) -> Option<Value> {
        let read = serde_json::from_value::<T>(payload.clone()).ok()?;
        Some(serde_json::to_value(read).expect("what was read can be written"))
    }
    if from == "viewer" {
        FromViewer::read(kind, &payload.to_string()).ok()?;
    }
    match (from, kind) {
        ("viewer", "hello") => typed::<Hello>(payload),
        ("viewer", "answer") => typed::<Answer>(payload),
        ("viewer", "restart") => Some(payload.clone()),
        ("device", "status") => typed::<Status>(payload),
        ("device", "offer" | "reoffer") => typed::<Offer>(payload),
        ("device", "accept") => typed::<Accept>(payload),
        ("device", "reject") => typed::<Reject>(payload),
        (_, "candidates") => typed::<Candidates>(payload),
        (_, "bye") => typed::<Bye>(payload),
        _ => None,
    }
}

#[test]
fn each_file_of_vectors_is_described_and_there() {
    let words = PAGE.split('`').filter(|word| word.ends_with(".json") && !word.contains('/'));
    let described: BTreeSet<String> = words.map(str::to_owned).collect();
    let files = std::fs::read_dir(folder()).expect("the fixtures are there");
    let names = files.map(|file| file.expect("readable").file_name().into_string().expect("UTF-8"));
    let there: BTreeSet<String> = names.filter(|name| name.ends_with(".json")).collect();
    assert_eq!(described, there);
}

#[test]
fn the_tables_of_payloads_have_the_fields_of_the_types() {
    let messages: Messages = fixture("messages.json");
    for (from, samples) in [("viewer", messages.from_viewer), ("device", messages.from_device)] {
        for Sample { kind, everything, least } in samples {
            let heading = match kind.as_str() {
                "offer" | "reoffer" => "`offer` and `reoffer`".to_owned(),
                kind => format!("`{kind}`"),
            };
            let [all, always] = fields(&heading);
            assert_eq!((names(&everything), names(&least)), (all.clone(), always.clone()), "{kind}");
            assert_eq!(read(from, &kind, &everything).as_ref(), Some(&everything), "{kind}");
            assert!(read(from, &kind, &least).is_some(), "{kind}");
            for name in all {
                let mut without = everything.clone();
                without.as_object_mut().expect("an object").remove(&name);
                let is_read = read(from, &kind, &without).is_some();
                assert_eq!(is_read, !always.contains(&name), "{kind} without {name}");
            }
        }
    }
}

#[test]
fn the_tables_of_what_is_inside_have_the_fields_of_the_types() {
    let messages: Messages = fixture("messages.json");
    for (samples, kind, list, heading) in [
        (messages.from_viewer, "candidates", "list", "`candidate`"),
        (messages.from_device, "offer", "ice_servers", "`ice_servers`"),
    ] {
        let sample = samples.iter().find(|sample| sample.kind == kind).expect("a sample");
        let mut sizes: Vec<BTreeSet<String>> =
            sample.everything[list].as_array().expect("a list").iter().map(names).collect();
        sizes.sort_by_key(BTreeSet::len);
        let [all, always] = fields(heading);
        assert_eq!((sizes.last(), sizes.first()), (Some(&all), Some(&always)), "{heading}");
    }
}

#[test]
fn every_type_of_message_is_described() {
    let messages: Messages = fixture("messages.json");
    let kinds =
        |samples: &[Sample]| samples.iter().map(|sample| sample.kind.clone()).collect::<BTreeSet<_>>();
    let row = |way: &str| {
        let start = format!("| `farol/1/<device>/{way}/<slot>/<session>` |");
        let line = PAGE.lines().find(|line| line.starts_with(&start)).expect("a row of the topics");
        let last = line.trim_matches('|').rsplit(" | ").next().expect("a last cell");
        last.split(", ").map(|word| word.trim().trim_matches('`').to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(kinds(&messages.from_viewer), row("in"));
    let mut from_device = kinds(&messages.from_device);
    assert!(from_device.remove("status"));
    assert_eq!(from_device, row("out"));
}

#[test]
fn the_page_has_the_numbers_of_the_code() {
    let written = |number: usize| match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    };
    let patience_s = roster::PATIENCE.as_secs();
    for sentence in [
        format!("at most 32 KiB ({} bytes)", written(message::LIMIT_BYTES)),
        format!("nested at most {} deep", message::LIMIT_NESTING),
        format!("a plaintext of at most {} bytes after padding", written(seal::PLAINTEXT_LIMIT_BYTES)),
        format!("up to the next multiple of {} bytes", written(seal::PADDING_BYTES)),
        format!("| sessions of one key at a time | {};", roster::SESSIONS_PER_KID),
        format!("| sessions remembered of one key in a boot | {} |", written(roster::REMEMBERED_PER_SLOT)),
        format!("| a dedicated offer, unanswered | {patience_s} s,"),
        format!("| from the answer until it is connected | {patience_s} s,"),
        Right::ALL.map(|right| format!("`{right}`")).join(", "),
    ] {
        assert!(PAGE.contains(&sentence), "the page does not say: {sentence}");
    }
    assert_eq!(message::LIMIT_COUNTER, (1 << 53) - 1);
}

#[test]
fn the_page_has_the_access_rules_that_the_tests_use() {
    let words = |text: &str| -> BTreeSet<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let patterns =
        |text| words(text).into_iter().filter(|line| line.starts_with("pattern ")).collect::<Vec<_>>();
    assert_eq!(patterns(PAGE), patterns(include_str!("lab/mosquitto.acl")));
}

#[test]
fn the_page_has_the_codes_of_the_code() {
    use RejectCode::{Denied, Full, Invalid, Stale, Taken};
    // With a code more this does not compile.
    let name = |code| match code {
        Taken | Stale | Full | Denied | Invalid => message::json(&code).trim_matches('"').to_owned(),
    };
    let rows = rows(section("`reject`"));
    let codes = rows.iter().filter(|row| !["always", "maybe"].contains(&row[1]));
    let described: Vec<String> = codes.map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(described, [Taken, Stale, Full, Denied, Invalid].map(name));
}

#[test]
fn the_page_has_the_reasons_with_which_the_code_says_goodbye() {
    let source = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
        std::fs::read_to_string(path).expect("a source file")
    };
    let files =
        ["daemon.rs", "engine/station.rs", "engine/station/negotiate.rs", "engine/station/standing.rs"];
    let sources: String = files.iter().map(|name| source(name)).collect();
    let quoted = |start: &str| {
        let after = sources.split(start).skip(1);
        after.filter_map(|rest| rest.split('"').next()).map(|word| format!("`{word}`")).collect::<Vec<_>>()
    };
    let reasons = [quoted("Facts::because(\""), quoted("Input::PeerLost { peer, reason: \"")].concat();
    assert!(reasons.len() >= 7, "{reasons:?}");
    for reason in reasons {
        assert!(section("`bye`").contains(&reason), "the page does not name {reason}");
    }
}
