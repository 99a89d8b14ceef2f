//! Does each source file import only from lower floors, as `ARCHITECTURE.md` draws them?
//!
//! Reads the sources as tokens, not as text, so that a comment or a string is no import. It does not follow
//! re-exports or macros that build paths; nobody here writes either.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/tokens.rs"]
mod tokens;

/// From the ground up. A module sees those of the floors below its own, and itself with its sub-modules.
const FLOORS: &[&[&str]] = &[
    &["units", "version"],
    &["config"],
    &["engine::drift", "engine::resample"],
    &[
        "engine::bucket",
        "engine::h264",
        "engine::ice",
        "engine::jpeg",
        "engine::motion",
        "engine::night",
        "engine::pcm",
        "engine::picture",
        "engine::queue",
        "engine::rate",
        "engine::rights",
        "engine::servo",
        "engine::thinning",
        "engine::topic",
    ],
    &["engine::choice", "engine::jitter", "engine::message", "engine::shed", "engine::talk", "engine::tally"],
    &["engine::control", "engine::doctor", "engine::sdp", "engine::seal"],
    &["engine::bandwidth", "engine::keyframe", "engine::rendition", "engine::session", "engine::whip"],
    &["engine::roster"],
    &["engine::station"],
    &["io::clock", "io::tls"],
    &["io::fetch", "io::port", "io::web"],
    &["io::*"],
    // The first writes packets into what `peer` opened, the second shows what `capture` would do.
    &["io::fanout", "io::devices"],
    // Looks at everything that the others work with.
    &["io::doctor"],
    &["daemon"],
    &["cli"],
    &["main"],
];

/// What joins the modules below it and has no code of its own.
const CONTAINERS: &[&str] = &["", "engine", "io"];

/// Why an import is not allowed; `None` when it is.
fn objection(from: &str, to: &str) -> Option<String> {
    let (from, to) = (unit(from), unit(to));
    if from == to || CONTAINERS.contains(&from.as_str()) {
        return None;
    }
    let Some(above) = floor(&from) else {
        return Some(format!("{from} has no floor: give it one in FLOORS"));
    };
    let Some(below) = floor(&to) else { return Some(format!("{from} imports {to}, which has no floor")) };
    if from.starts_with("io::") && to == "engine::station" {
        return Some(format!("{from} knows the station: only the daemon does"));
    }
    if from == "io::fanout" && to.starts_with("io::") && !["io::peer", "io::clock"].contains(&to.as_str()) {
        return Some(format!("{from} imports {to}: of the shell it knows peer alone"));
    }
    (below >= above).then(|| format!("{from} imports {to}, which is not below it"))
}

/// The module that a path belongs to: `engine::h264::split` and `engine::h264` are one.
fn unit(path: &str) -> String {
    let depth = if path.starts_with("engine::") || path.starts_with("io::") { 2 } else { 1 };
    path.split("::").take(depth).collect::<Vec<_>>().join("::")
}

fn floor(unit: &str) -> Option<usize> {
    let is_in = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    is_in(unit).or_else(|| unit.starts_with("io::").then(|| is_in("io::*")).flatten())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `src`, with its module path.
fn sources() -> Vec<(PathBuf, String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is there") {
            let path = entry.expect("src can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let inside =
                    path.strip_prefix(root().join("src")).expect("it was found there").with_extension("");
                let module = inside.to_string_lossy().replace('/', "::");
                let module = module.strip_suffix("::mod").unwrap_or(&module).to_string();
                files.push((path, if module == "lib" { String::new() } else { module }, text));
            }
        }
    }
    files
}

#[test]
fn files_import_only_from_lower_floors() {
    let files = sources();
    assert!(files.len() > 5, "the sources were not found");
    let faults: Vec<String> = files
        .iter()
        .flat_map(|(path, module, text)| {
            tokens::imports(module, text).into_iter().filter_map(move |(line, to)| {
                objection(module, &to).map(|why| format!("{}:{line}: {why}", path.display()))
            })
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn unsafe_code_is_in_files_named_sys() {
    let faults: Vec<String> = sources()
        .iter()
        .filter(|(path, ..)| !path.ends_with("sys.rs"))
        .filter(|(_, _, text)| tokens::words(text).any(|word| word == "unsafe"))
        .map(|(path, ..)| path.display().to_string())
        .collect();
    assert!(faults.is_empty(), "unsafe outside of sys.rs: {}", faults.join(", "));
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let faults: Vec<String> = sources()
        .iter()
        // A file that holds the tests of its parent is explained there.
        .filter(|(path, _, text)| !path.ends_with("tests.rs") && !text.starts_with("//! "))
        .map(|(path, ..)| path.display().to_string())
        .collect();
    assert!(faults.is_empty(), "no module documentation on the first line: {}", faults.join(", "));
}

#[test]
fn every_dependency_has_its_reason_in_the_architecture() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("a manifest that cargo reads");
    let used: BTreeSet<String> = ["dependencies", "dev-dependencies"]
        .iter()
        .flat_map(|section| manifest[*section].as_table().expect("a table").keys().cloned())
        .collect();
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let table = text.split("\n## Dependencies").nth(1).expect("its section Dependencies");
    let table = table.split("\n## ").next().unwrap_or(table);
    // A row is `| job | `crate`, `crate` | reason |`.
    let named: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.split('|').nth(2))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_string).collect::<Vec<_>>())
        .collect();
    assert_eq!(used, named, "left: Cargo.toml; right: the table in ARCHITECTURE.md");
}

#[test]
fn an_import_from_above_or_beside_is_found() {
    let to = |from: &str, text: &str| -> Vec<String> {
        tokens::imports(from, text).iter().filter_map(|(_, to)| objection(from, to)).collect()
    };
    for (from, text) in [
        ("units", "use crate::config::Config;"),
        ("config::file", "use crate::engine::h264::AccessUnit;"),
        ("engine::h264::split", "fn f() { crate::engine::pcm::g() }"),
        ("engine::session", "use crate::{units::Kid, engine::{topic, roster::Roster}};"),
        ("io::mqtt", "use super::peer::Peer;"),
        ("io::mqtt::tls", "use super::super::http;"),
        ("io::http", "use crate::engine::station::Station;"),
        ("io::fanout", "use crate::io::mqtt::Mqtt;"),
        ("io::peer", "use crate::io::fanout::Fanout;"),
        ("io::peer", "use crate::io;"),
        ("io::peer", "mod tests { use super::super::mqtt::Mqtt; }"),
        ("engine::surprise", "use crate::units::Kid;"),
        ("engine::rate", r##"const A: &str = r#"""#; const B: char = '"'; use crate::daemon::run;"##),
    ] {
        assert_eq!(to(from, text).len(), 1, "{from}: {text}: {:?}", tokens::imports(from, text));
    }
}

#[test]
fn an_import_from_below_is_no_fault() {
    for (from, text) in [
        ("config", "use crate::units::Bitrate; mod file; pub use file::load;"),
        ("config::file::tests", "use super::super::url; use crate::config::Config;"),
        ("engine::roster", "use crate::engine::{session::Session, message::{Offer, Answer}};"),
        ("io::fanout", "use super::peer::Peer;"),
        ("io::capture::replay", "use super::CaptureEvent; use crate::io::clock::now;"),
        (
            "io::http",
            "/// [`Station`](crate::engine::station::Station)\n/* crate::daemon */ fn f<'a>(x: &'a str) {}",
        ),
        ("io::http", r#"const A: &str = "crate::daemon::run";"#),
        ("daemon", "use crate::engine::station::Station; use crate::io::{mqtt, peer};"),
        ("io::peer", "pub(in super::super) fn f() {} mod tests { use super::*; }"),
    ] {
        let faults: Vec<_> =
            tokens::imports(from, text).iter().filter_map(|(_, to)| objection(from, to)).collect();
        assert!(faults.is_empty(), "{from}: {text}: {faults:?}");
    }
}
