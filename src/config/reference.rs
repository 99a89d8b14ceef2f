//! Does `docs/configuration.md` say what the code reads? It is written from the code, here.
//!
//! What a key may be is what its fault would say (`walk`), what it is for is the comment above it in
//! `config/farol.toml`, and its default is found out: the value shown there is one when the configuration is
//! the same without it, though another value would change it. `make docs-write` renews the page.

use std::fmt::Write as _;

use toml::de::DeTable;

use super::walk::Walk;
use super::{Config, sections};

const DOCUMENTED: &str = include_str!("../../config/farol.toml");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
const INTRODUCTION: &str = include_str!("reference.md");

/// A table of the documented file.
struct Table {
    /// As it stands there: `[video]`, `[[whip]]`.
    header: String,
    /// What the comment above the header says.
    about: String,
    keys: Vec<Key>,
}

/// A key of it.
struct Key {
    name: String,
    /// The value with which it is shown, as TOML.
    shown: String,
    /// It is not behind a `# `, so the value is the default: `file`'s tests compare them.
    is_set: bool,
    about: String,
}

impl Table {
    /// The name without brackets.
    fn name(&self) -> &str {
        self.header.trim_matches(['[', ']'])
    }

    /// How the walk calls a key of it: `ice.servers[].urls`.
    fn pattern_to(&self, key: &str) -> String {
        let list = if self.header.starts_with("[[") { "[]" } else { "" };
        format!("{}{list}.{key}", self.name())
    }

    /// A text with this table, and with sound, since some keys of others count only then.
    fn text<'k>(&self, lines: impl IntoIterator<Item = (&'k str, &'k str)>) -> String {
        let sound = if self.name() == "audio" { "" } else { "[audio]\nsource = \"tone\"\n" };
        let mut text = format!("{sound}{}\n", self.header);
        for (key, value) in lines {
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }
}

/// The tables in the order of the file, those commented out included; one that is shown twice is one table.
fn tables() -> Vec<Table> {
    let (mut tables, mut comment, mut shared): (Vec<Table>, String, String) = Default::default();
    let mut current = None;
    for line in DOCUMENTED.lines() {
        let is_comment = line.starts_with('#');
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split_once(" = ").filter(|(word, _)| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b"0123456789_".contains(&b))
        });
        if bare.starts_with('[') && bare.ends_with(']') {
            let at = tables.iter().position(|table| table.header == bare).unwrap_or_else(|| {
                tables.push(Table { header: bare.to_string(), about: comment.clone(), keys: Vec::new() });
                tables.len() - 1
            });
            (current, comment, shared) = (Some(at), String::new(), String::new());
        } else if let (Some((name, shown)), Some(table)) = (key, current.map(|at| &mut tables[at])) {
            // Keys without a comment of their own belong to the one above.
            shared = if comment.is_empty() { shared } else { std::mem::take(&mut comment) };
            if table.keys.iter().all(|known| known.name != name) {
                let (name, shown) = (name.to_string(), shown.to_string());
                table.keys.push(Key { name, shown, is_set: !is_comment, about: shared.clone() });
            }
        } else if is_comment && bare != "#" {
            comment += if comment.is_empty() { "" } else { " " };
            comment += bare.trim_start_matches("# ");
        } else {
            (comment, shared) = Default::default();
        }
    }
    tables
}

/// What a text means, and its faults.
fn read(text: &str) -> (Config, Vec<String>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    assert!(errors.is_empty(), "{errors:?}\n{text}");
    let (mut walk, top) = Walk::new(text, root.get_ref());
    let secret = |_: &super::Secret| Ok(Some("a secret".to_string()));
    let config = sections::config(&mut walk, &top, None, &secret);
    // Where they stand moves with each line that is added.
    let faults = walk.faults().into_iter().map(|fault| format!("{} {:?}", fault.key, fault.problem));
    (config, faults.collect())
}

/// Every key with what it may be, as the code has it.
fn told() -> Vec<(String, String)> {
    let (root, _) = DeTable::parse_recoverable("[[ice.servers]]\n[[whip]]");
    let (mut walk, top) = Walk::new("", root.get_ref());
    sections::config(&mut walk, &top, None, &|_| Ok(None));
    walk.told().to_vec()
}

/// Values of the same kind as the one shown, which is among them: enough that several are right.
fn values(shown: &str, allowed: &str) -> Vec<String> {
    let mut values = vec![shown.to_string()];
    match (shown, shown.parse::<i64>()) {
        ("true" | "false", _) => values.extend(["true", "false"].map(str::to_string)),
        (_, Ok(number)) => values.extend([2, -2, 1, -1].map(|step| (number + step).to_string())),
        _ if is_word(allowed) => values.extend(words(allowed)),
        // A path or a name with one letter more, a time with another minute.
        _ => {
            values.extend(shown.strip_suffix('"').map(|start| format!("{start}x\"")));
            values.extend(shown.strip_suffix("0\"").map(|start| format!("{start}1\"")));
        }
    }
    values
}

fn is_word(allowed: &str) -> bool {
    allowed.starts_with('"') && !allowed.contains([';', ':', '/'])
}

fn words(allowed: &str) -> impl Iterator<Item = String> {
    allowed.split('"').skip(1).step_by(2).map(|word| format!("\"{word}\""))
}

/// A table with more and more of its keys, in which some key of it may count.
type Surroundings = Vec<Vec<(String, String)>>;

/// The keys that a table needs, and then all others that go with them, once for each value of each word: some
/// keys count only beside others, and some of those only where a word has a certain value.
fn surroundings(table: &Table, told: &[(String, String)]) -> Surroundings {
    let line = |key: &Key| (key.name.clone(), key.shown.clone());
    let needed: Vec<_> = table.keys.iter().filter(|key| is_required(table, key)).map(line).collect();
    let mut all = vec![needed.clone()];
    for word in table.keys.iter().filter(|key| is_word(allowed(table, &key.name, told))) {
        for value in words(allowed(table, &word.name, told)) {
            let mut lines = vec![(word.name.clone(), value)];
            for other in table.keys.iter().filter(|other| other.name != word.name) {
                add(table, &mut lines, line(other));
            }
            all.push(lines);
        }
    }
    // Keys that cannot stand beside each other: once the first ones win, once the last.
    for is_reversed in [false, true] {
        let mut keys: Vec<&Key> = table.keys.iter().filter(|key| !is_required(table, key)).collect();
        if is_reversed {
            keys.reverse();
        }
        let mut lines = needed.clone();
        for other in keys {
            add(table, &mut lines, line(other));
        }
        all.push(lines);
    }
    all
}

/// Adds a line, unless that makes a fault.
fn add(table: &Table, lines: &mut Vec<(String, String)>, line: (String, String)) {
    let before = faults_of(table, lines);
    lines.push(line);
    if faults_of(table, lines) > before {
        lines.pop();
    }
}

fn faults_of(table: &Table, lines: &[(String, String)]) -> usize {
    read(&table.text(lines.iter().map(|(name, value)| (name.as_str(), value.as_str())))).1.len()
}

fn allowed<'a>(table: &Table, key: &str, told: &'a [(String, String)]) -> &'a str {
    let pattern = table.pattern_to(key);
    told.iter().find(|(known, _)| *known == pattern).map_or("", |(_, allowed)| allowed)
}

/// Whether the table cannot be without this key.
fn is_required(table: &Table, key: &Key) -> bool {
    let (_, faults) = read(&table.text([]));
    faults.iter().any(|fault| fault.contains(&format!(".{} ", key.name)) && fault.contains("is missing"))
}

/// What the page says of a key that is left out.
fn default_of(table: &Table, key: &Key, around: &Surroundings, allowed: &str) -> String {
    let shown = key.shown.as_str();
    match shown {
        "\"\"" | "[]" => return "not set".to_string(),
        shown if key.is_set => return format!("`{shown}`"),
        _ if is_required(table, key) => return "required".to_string(),
        _ => {}
    }
    let with = |lines: &[(String, String)], value: Option<&str>| {
        let rest = lines.iter().filter(|(name, _)| *name != key.name);
        let rest = rest.map(|(name, value)| (name.as_str(), value.as_str()));
        read(&table.text(rest.chain(value.map(|value| (key.name.as_str(), value)))))
    };
    for lines in around {
        let without = with(lines, None);
        let tried: Vec<(String, Config)> = values(shown, allowed)
            .into_iter()
            .map(|value| (with(lines, Some(&value)), value))
            .filter(|((_, faults), _)| *faults == without.1)
            .map(|((config, _), value)| (value, config))
            .collect();
        let same = tried.iter().find(|(_, config)| *config == without.0);
        let has_effect = tried.iter().any(|(_, config)| *config != without.0);
        if let (Some((value, _)), true) = (same, has_effect) {
            return format!("`{value}`");
        }
    }
    format!("not set; such as `{shown}`")
}

/// A text of so many characters is said again rather than referred to.
const SHORT: usize = 30;

fn page() -> String {
    let told = told();
    let mut page = INTRODUCTION.trim_end().to_string();
    for table in tables() {
        let _ = write!(page, "\n\n## `{}`\n", table.header);
        if !table.about.is_empty() {
            let _ = write!(page, "\n{}\n", table.about);
        }
        if table.name() == "video.controls" {
            let _ = write!(page, "\n```toml\n[video.controls]\n");
            for key in &table.keys {
                let _ = writeln!(page, "{} = {}", key.name, key.shown);
            }
            page += "```";
            continue;
        }
        page += "\n| key | value | default | |\n|---|---|---|---|\n";
        let around = surroundings(&table, &told);
        let mut above: Option<&Key> = None;
        for key in &table.keys {
            let allowed = allowed(&table, &key.name, &told);
            assert!(!allowed.is_empty(), "{} is shown in config/farol.toml, and nobody reads it", key.name);
            let default = default_of(&table, key, &around, allowed);
            let about = match above.filter(|above| above.about == key.about) {
                Some(above) if above.about.len() > SHORT => format!("see `{}`", above.name),
                _ => plain(&key.about),
            };
            above = above.filter(|above| above.about == key.about).or(Some(key));
            let _ = writeln!(page, "| `{}` | {} | {default} | {about} |", key.name, plain(allowed));
        }
        page.truncate(page.trim_end().len());
    }
    page + "\n"
}

/// A text in which nothing is taken for markup.
fn plain(text: &str) -> String {
    text.replace('<', "&lt;").replace('*', "\\*").replace('|', "\\|")
}

#[test]
fn the_reference_of_the_configuration_is_what_the_code_reads() {
    let page = page();
    if std::env::var_os("FAROL_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, &page).expect("docs/ can be written");
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    let differs =
        page.lines().zip(written.lines().chain(std::iter::repeat(""))).find(|(now, then)| now != then);
    assert_eq!(differs, None, "docs/configuration.md is not what the code says: `make docs-write` renews it");
    assert_eq!(page, written);
}

#[test]
fn every_key_of_the_configuration_is_explained() {
    for table in tables().iter().filter(|table| table.name() != "video.controls") {
        for key in &table.keys {
            assert!(
                !key.about.is_empty(),
                "config/farol.toml says nothing of {}",
                table.pattern_to(&key.name)
            );
        }
    }
}

/// A default that is wrong in the page would be worse than none; some of each kind.
#[test]
fn defaults_are_told_from_examples() {
    let (told, tables) = (told(), tables());
    let default = |name: &str, key: &str| {
        let table = tables.iter().find(|table| table.name() == name).expect("there is such a table");
        let key = table.keys.iter().find(|known| known.name == key).expect("there is such a key");
        default_of(table, key, &surroundings(table, &told), allowed(table, &key.name, &told))
    };
    assert_eq!(default("video", "fps"), "`30`");
    assert_eq!(default("gpio.night", "delay_s"), "`10`", "counts only beside a sensor");
    assert_eq!(default("gpio.night", "sensor_line"), "not set; such as `5`");
    assert_eq!(default("gpio.privacy", "bias"), "`\"none\"`", "which is not the one shown");
    assert_eq!(default("gpio.privacy", "active_low"), "`false`");
    assert_eq!(default("gpio.night", "to"), "`\"06:30\"`");
    assert_eq!(default("whip", "video"), "`true`");
    assert_eq!(default("gpio.privacy", "debounce_ms"), "`30`");
    assert_eq!(default("ice.servers", "lifetime_s"), "`86400`");
    assert_eq!(default("ice.servers", "urls"), "required");
    assert_eq!(default("whip", "url"), "required");
    assert_eq!(default("broker", "username"), "not set; such as `\"farol\"`");
    assert_eq!(default("http", "listen"), "not set");
}
