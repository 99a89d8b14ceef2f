//! Which of a viewer's candidates are checked, and when?
//!
//! One for each address, the first of them as they come. Each costs checks with each of the board's addresses, which
//! go wherever the viewer says: so not as many as it says.

use std::collections::HashSet;

/// So many are checked for each answer, whether they stand in it or follow. A browser with many addresses has about
/// thirty.
const MAX_CHECKED: usize = 32;

/// The candidates of one ICE generation.
#[derive(Debug, Default)]
pub struct Candidates {
    /// They came before their answer, which MQTT allows.
    early: Vec<String>,
    checked: HashSet<(String, String)>,
}

impl Candidates {
    /// One that its answer is to come for. More than would be checked are not kept.
    pub fn keep(&mut self, candidate: &str) {
        if self.early.len() < MAX_CHECKED {
            self.early.push(candidate.to_owned());
        }
    }

    /// Those that were kept.
    pub fn kept(&mut self) -> Vec<String> {
        std::mem::take(&mut self.early)
    }

    /// Whether this one is to be checked: neither was its address before, nor were enough others.
    pub fn admit(&mut self, candidate: &str) -> bool {
        // RFC 8839 §5.1: foundation, component, transport, priority, address, port.
        let mut fields = candidate.split_ascii_whitespace().skip(4).map(str::to_ascii_lowercase);
        let (Some(address), Some(port)) = (fields.next(), fields.next()) else { return false };
        self.checked.len() < MAX_CHECKED && self.checked.insert((address, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(address: &str, port: u16, kind: &str) -> String {
        format!("candidate:1 1 udp 2122260223 {address} {port} typ {kind}")
    }

    #[test]
    fn each_address_counts_once_and_the_first_ones_are_taken() {
        let mut candidates = Candidates::default();
        assert!(candidates.admit(&candidate("192.0.2.1", 9, "host")));
        assert!(!candidates.admit(&candidate("192.0.2.1", 9, "srflx raddr 10.0.0.1 rport 9")));
        assert!(candidates.admit(&candidate("192.0.2.1", 10, "host")));
        assert!(!candidates.admit("candidate:1 1 udp 1"), "it has no address");
        let more = (0..200).filter(|n| candidates.admit(&candidate(&format!("a{n}.local"), 9, "host")));
        assert_eq!(more.count(), MAX_CHECKED - 2);
    }

    #[test]
    fn those_before_the_answer_are_kept_for_it_up_to_the_limit() {
        let mut candidates = Candidates::default();
        for n in 0..200 {
            candidates.keep(&candidate("192.0.2.1", n, "host"));
        }
        assert_eq!(candidates.kept().len(), MAX_CHECKED);
        assert!(candidates.kept().is_empty());
    }
}
