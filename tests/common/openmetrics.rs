//! Reads OpenMetrics 1.0 text as strictly as its specification has it, and panics where it is not kept.

#![allow(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

/// What was read: the value of each series, by name and labels as they stand.
#[derive(Debug)]
pub struct Metrics {
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Metrics {
    /// Reads a whole page.
    pub fn read(text: &str) -> Metrics {
        let body = text.strip_suffix("# EOF\n").expect("the last line is # EOF");
        assert!(!body.contains("# EOF") && !body.contains('\r') && !body.contains("\n\n"), "{text}");
        let mut read = Metrics { samples: BTreeMap::new() };
        let (mut family, mut families) = (Family::default(), BTreeSet::new());
        for line in body.lines() {
            match line.strip_prefix("# ") {
                Some(meta) => family.take(meta, &mut families),
                None => read.sample(line, &family),
            }
        }
        read
    }

    /// The value of a series, with at most one label.
    pub fn value(&self, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
        let labels = label.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// All names of labels.
    pub fn labels(&self) -> BTreeSet<&str> {
        self.samples.keys().flat_map(|(_, labels)| labels.keys().map(String::as_str)).collect()
    }

    fn sample(&mut self, line: &str, family: &Family) {
        let end = line.find(['{', ' ']).expect("a name ends");
        let (name, rest) = line.split_at(end);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (BTreeMap::new(), rest),
        };
        let suffix = name.strip_prefix(family.name.as_str());
        let expected = match family.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            "gauge" => "",
            other => panic!("unexpected type {other}"),
        };
        assert_eq!(suffix, Some(expected), "{line} stands below {family:?}");
        let value = value.strip_prefix(' ').expect("a space before the value");
        let number: f64 = value.parse().unwrap_or_else(|_| panic!("{line}: no number"));
        assert!(number.is_finite() && (family.kind == "gauge" || number >= 0.0), "{line}");
        assert!(family.kind != "info" || number == 1.0, "{line}");
        let twice = self.samples.insert((name.to_owned(), labels), number);
        assert_eq!(twice, None, "{line} stands there twice");
    }
}

/// The family whose samples are being read.
#[derive(Debug, Default)]
struct Family {
    name: String,
    kind: String,
    told: BTreeSet<&'static str>,
}

impl Family {
    fn take(&mut self, meta: &str, families: &mut BTreeSet<String>) {
        let parts: Vec<&str> = meta.splitn(3, ' ').collect();
        let [what, name, text] = parts[..] else { panic!("{meta}") };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.starts_with("farol_") && name.chars().all(is_name), "{name}");
        if name != self.name {
            assert!(families.insert(name.to_owned()), "the family {name} stands there twice");
            *self = Family { name: name.to_owned(), kind: "unknown".to_owned(), told: BTreeSet::new() };
        }
        let what = ["TYPE", "UNIT", "HELP"].into_iter().find(|known| *known == what).expect(meta);
        assert!(self.told.insert(what), "{meta} is said twice");
        match what {
            "TYPE" => self.kind = text.to_owned(),
            "UNIT" => {
                assert!(name.ends_with(&format!("_{text}")), "{name} does not end with its unit {text}")
            }
            _ => assert!(text.ends_with('.'), "{text}"),
        }
    }
}

/// What stands in braces, and what behind them.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label has a value");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("a value ends") {
                (at, '"') => break at,
                (_, '\\') => match chars.next().expect("an escape has a second half").1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    c => panic!("unknown escape {c}"),
                },
                (_, c) => value.push(c),
            }
        };
        assert_eq!(labels.insert(name.to_owned(), value), None, "a label stands there twice");
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix('}').expect("labels end with a brace")),
        }
    }
}
