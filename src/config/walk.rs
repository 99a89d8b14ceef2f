//! A walk over the TOML of a configuration: each key is asked for once, and what is wrong is noted.
//!
//! Nothing here stops at a fault: whoever asks gets nothing, goes on with a default, and the whole is
//! thrown away at the end, with all its faults. A key that nobody asked for is unknown; so the code
//! that reads a key is also the list of the keys that exist.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Position, Problem, nearest};

/// A value with its place in the text.
pub(super) type Placed<'t> = Spanned<DeValue<'t>>;

/// The walk so far.
pub(super) struct Walk<'t> {
    text: &'t str,
    faults: Vec<Fault>,
    sections: Vec<Section<'t>>,
    asked: Vec<String>,
    /// What each key may be, as faults say it: for the reference of all keys (`reference`).
    #[cfg(test)]
    told: Vec<(String, String)>,
}

/// A table of the text, which may be missing.
#[derive(Clone)]
pub(super) struct Section<'t> {
    /// As a person finds it: `ice.servers[0]`; empty for the top.
    path: String,
    /// As the list of keys has it: `ice.servers[]`.
    pattern: String,
    table: Option<&'t DeTable<'t>>,
}

impl<'t> Walk<'t> {
    /// Starts at the top of a text.
    pub fn new(text: &'t str, root: &'t DeTable<'t>) -> (Walk<'t>, Section<'t>) {
        let top = Section { path: String::new(), pattern: String::new(), table: Some(root) };
        let walk = Walk {
            text,
            faults: Vec::new(),
            sections: vec![top.clone()],
            asked: Vec::new(),
            #[cfg(test)]
            told: Vec::new(),
        };
        (walk, top)
    }

    /// The section `name`.
    pub fn section(&mut self, within: &Section<'t>, name: &str) -> Section<'t> {
        let table = self.ask(within, name).and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.wrong(within, name, value, &format!("a section, [{name}]"));
                None
            }
        });
        let section = Section { path: within.path_to(name), pattern: within.pattern_to(name), table };
        self.sections.push(section.clone());
        section
    }

    /// The tables of the list `name`; `allowed` says what each may be.
    pub fn tables(&mut self, within: &Section<'t>, name: &str, allowed: &str) -> Vec<Section<'t>> {
        let mut tables = Vec::new();
        for (at, value) in self.list(within, name, &format!("a list, each {allowed}")).iter().enumerate() {
            let path = format!("{}[{at}]", within.path_to(name));
            match value.get_ref() {
                DeValue::Table(table) => {
                    let pattern = format!("{}[]", within.pattern_to(name));
                    tables.push(Section { path, pattern, table: Some(table) });
                }
                _ => self.wrong_at(path, value, allowed),
            }
        }
        self.sections.extend(tables.iter().cloned());
        tables
    }

    /// The text of `key`. An empty text counts as missing.
    pub fn text(&mut self, section: &Section<'t>, key: &str, allowed: &str) -> Option<&'t str> {
        self.parsed(section, key, allowed, Some)
    }

    /// The text of `key` as `read` understands it.
    pub fn parsed<T>(
        &mut self,
        section: &Section<'t>,
        key: &str,
        allowed: &str,
        read: impl FnOnce(&'t str) -> Option<T>,
    ) -> Option<T> {
        self.tell(section, key, allowed);
        let value = self.ask(section, key)?;
        let text = value.get_ref().as_str();
        if text == Some("") {
            return None;
        }
        let read = text.and_then(read);
        if read.is_none() {
            self.wrong(section, key, value, allowed);
        }
        read
    }

    /// One of a few words.
    pub fn word<T: Clone>(&mut self, section: &Section<'t>, key: &str, words: &[(&str, T)]) -> Option<T> {
        let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.parsed(section, key, &one_of(&quoted), |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone())
        })
    }

    /// The value of `key` as `read` understands it. An empty text counts as missing.
    pub fn value<T>(
        &mut self,
        section: &Section<'t>,
        key: &str,
        allowed: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        self.tell(section, key, allowed);
        let value = self.ask(section, key)?;
        if value.get_ref().as_str() == Some("") {
            return None;
        }
        let read = read(value.get_ref());
        if read.is_none() {
            self.wrong(section, key, value, allowed);
        }
        read
    }

    /// Yes or no.
    pub fn flag(&mut self, section: &Section<'t>, key: &str) -> Option<bool> {
        self.value(section, key, "true or false", DeValue::as_bool)
    }

    /// A whole number within `range`; `unit` says of what.
    pub fn number(
        &mut self,
        section: &Section<'t>,
        key: &str,
        range: RangeInclusive<u32>,
        unit: &str,
    ) -> Option<u32> {
        let allowed = format!("a whole number from {} to {}{unit}", range.start(), range.end());
        self.tell(section, key, &allowed);
        let value = self.ask(section, key)?;
        let number = whole(value.get_ref()).filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(section, key, value, &allowed);
        }
        number
    }

    /// The values of a list; none when it is missing.
    pub fn list(&mut self, section: &Section<'t>, key: &str, allowed: &str) -> &'t [Placed<'t>] {
        self.tell(section, key, allowed);
        match self.ask(section, key) {
            None => &[],
            Some(value) => match value.get_ref() {
                DeValue::Array(list) => list,
                _ => {
                    self.wrong(section, key, value, allowed);
                    &[]
                }
            },
        }
    }

    /// The texts of a list as `read` understands them.
    pub fn texts<T>(
        &mut self,
        section: &Section<'t>,
        key: &str,
        allowed: &str,
        read: impl Fn(&'t str) -> Option<T>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for (at, value) in self.list(section, key, &format!("a list, each {allowed}")).iter().enumerate() {
            match value.get_ref().as_str().and_then(&read) {
                Some(read) => all.push(read),
                None => self.wrong_at(format!("{}[{at}]", section.path_to(key)), value, allowed),
            }
        }
        all
    }

    /// Every key of a section whose keys we do not know beforehand, with its value as `read` understands
    /// it, in the order of the text.
    pub fn each<T>(
        &mut self,
        section: &Section<'t>,
        allowed: &str,
        read: impl Fn(&'t DeValue<'t>) -> Option<T>,
    ) -> Vec<(String, T)> {
        self.tell(section, "NAME", allowed);
        let mut entries: Vec<_> = section.table.into_iter().flat_map(|table| table.iter()).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut all = Vec::new();
        for (key, value) in entries {
            self.ask(section, key.get_ref());
            match read(value.get_ref()) {
                Some(read) => all.push((key.get_ref().to_string(), read)),
                None => self.wrong(section, key.get_ref(), value, allowed),
            }
        }
        all
    }

    /// Notes that the value of `key` cannot be.
    pub fn wrong(&mut self, section: &Section<'t>, key: &str, value: &Placed<'t>, allowed: &str) {
        self.wrong_at(section.path_to(key), value, allowed);
    }

    /// Notes that a key, there or missing, does not go with the rest. `what` goes on after its name.
    pub fn conflict(&mut self, section: &Section<'t>, key: &str, what: impl Display) {
        let at = section.entry(key).map(|value| Position::of(value.span().start, self.text));
        self.faults.push(Fault {
            at,
            key: section.path_to(key),
            problem: Problem::Conflict(what.to_string()),
        });
    }

    /// All faults in the order of the text, the unknown keys among them; missing keys come last.
    pub fn faults(mut self) -> Vec<Fault> {
        for section in std::mem::take(&mut self.sections) {
            for (key, _) in section.table.into_iter().flat_map(|table| table.iter()) {
                if self.asked.contains(&section.pattern_to(key.get_ref())) {
                    continue;
                }
                let pattern = section.pattern_to(key.get_ref());
                let nearest = nearest(&pattern, self.asked.iter().map(String::as_str)).map(str::to_string);
                let at = Some(Position::of(key.span().start, self.text));
                let key = shorten(&section.path_to(key.get_ref()));
                self.faults.push(Fault { at, key, problem: Problem::Unknown { nearest } });
            }
        }
        self.faults.sort_by_key(|fault| (fault.at.is_none(), fault.at));
        self.faults
    }

    /// The keys that were asked for, as `video.fps` and `ice.servers[].urls`.
    #[cfg(test)]
    pub fn known(&self) -> &[String] {
        &self.asked
    }

    /// What each key may be, in the order in which the keys were asked for.
    #[cfg(test)]
    pub fn told(&self) -> &[(String, String)] {
        &self.told
    }

    /// Remembers what a key may be.
    #[cfg(test)]
    fn tell(&mut self, section: &Section<'t>, key: &str, allowed: &str) {
        if !self.told.iter().any(|(known, _)| *known == section.pattern_to(key)) {
            self.told.push((section.pattern_to(key), allowed.to_string()));
        }
    }

    /// Nobody asks for it outside the tests.
    #[cfg(not(test))]
    fn tell(&mut self, _: &Section<'t>, _: &str, _: &str) {}

    fn ask(&mut self, section: &Section<'t>, key: &str) -> Option<&'t Placed<'t>> {
        let pattern = section.pattern_to(key);
        if !self.asked.contains(&pattern) {
            self.asked.push(pattern);
        }
        section.entry(key)
    }

    fn wrong_at(&mut self, key: String, value: &Placed<'t>, allowed: &str) {
        let at = Some(Position::of(value.span().start, self.text));
        let given = shown(&key, self.text.get(value.span()).unwrap_or_default());
        self.faults.push(Fault { at, key, problem: Problem::Value { given, allowed: allowed.to_string() } });
    }
}

impl<'t> Section<'t> {
    /// The value of a key, without asking for it.
    fn entry(&self, key: &str) -> Option<&'t Placed<'t>> {
        self.table?.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Whether a key has a value, be it right or wrong. An empty text or list is none.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|value| match value.get_ref() {
            DeValue::String(text) => !text.is_empty(),
            DeValue::Array(list) => !list.is_empty(),
            _ => true,
        })
    }

    /// Whether the text has this section.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// A key's path, as faults name it.
    pub fn path_to(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    fn pattern_to(&self, key: &str) -> String {
        if self.pattern.is_empty() { key.to_string() } else { format!("{}.{key}", self.pattern) }
    }
}

/// A whole number; TOML writes them in four bases.
fn whole(value: &DeValue<'_>) -> Option<u32> {
    let number = value.as_integer()?;
    u32::from_str_radix(number.as_str(), number.radix()).ok()
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A value as a fault shows it: the start of what was written. A password is never shown, neither as a
/// key's value nor inside a URL; the URL of a WHIP endpoint is often one itself.
fn shown(key: &str, written: &str) -> String {
    if key.ends_with("credential") || key.starts_with("whip[") && key.ends_with(".url") {
        return "a value that is not shown here".to_string();
    }
    if written.contains('@') {
        return "a value that is not shown here, since it may hold a password".to_string();
    }
    shorten(written)
}

/// The first 48 characters of the first line, with everything escaped that could disturb a terminal.
fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let start: String = line.chars().take(48).flat_map(plain).collect();
    if line.chars().nth(48).is_some() || text.lines().nth(1).is_some() { start + "..." } else { start }
}

/// A character, its control characters escaped.
fn plain(c: char) -> impl Iterator<Item = char> {
    let (as_it_is, escaped) = if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    as_it_is.into_iter().chain(escaped.into_iter().flatten())
}
