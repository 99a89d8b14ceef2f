//! What is wrong with this board, why does it matter, and what exactly mends it?
//!
//! `farol doctor` reads the board (`io::doctor`) and asks here what each reading means. Nothing here opens
//! anything, so that every judgement is tested from readings as real boards give them.
//!
//! | file | question |
//! |---|---|
//! | `finding` | what is a finding, and what does a trouble have to say |
//! | `board` | can the board itself be relied on: memory, disk, clock |
//! | `power` | is it slowed down, by its power supply or by its heat |
//! | `access` | may the service open a device, and may who asks |
//! | `sandbox` | does the service reach what who asks can reach |
//! | `camera` | does a picture come from what is configured |
//! | `sound` | are microphone and speaker there and free |
//! | `pins` | are the lines there and free |
//! | `broker` | does the broker take what the device does there |
//! | `network` | is there a way to viewers: addresses, names, STUN, TURN, NAT, ports |
//! | `service` | does the unit run, and the daemon, and may anybody watch |

pub mod access;
pub mod board;
pub mod broker;
pub mod camera;
mod finding;
pub mod network;
pub mod pins;
pub mod power;
pub mod sandbox;
pub mod service;
pub mod sound;

use serde::Serialize;

pub use finding::{Finding, Level, Unexplained, Unmended};

/// Everything that was found, in the order in which it reads best.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The worst of it.
    pub level: Level,
    /// Whether the configuration itself is at fault, so that what depends on it was left out.
    pub is_unconfigured: bool,
    /// One for each thing that was looked at.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Of these findings.
    pub fn of(findings: Vec<Finding>) -> Diagnosis {
        let level = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        let is_config = |finding: &Finding| finding.check == "configuration" && finding.level == Level::Fault;
        Diagnosis { level, is_unconfigured: findings.iter().any(is_config), findings }
    }

    /// How many there are of a level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// A command line in which the words with blanks or the shell's own characters are quoted.
pub fn command(words: &[&str]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    let quoted = words.iter().map(|word| match !word.is_empty() && word.chars().all(is_plain) {
        true => (*word).to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_level_of_the_whole() {
        assert_eq!(Diagnosis::of(Vec::new()).level, Level::Ok);
        let found = Diagnosis::of(vec![
            Finding::ok("clock", ""),
            Finding::warning("power", "").because("").mend(""),
            Finding::note("stun", ""),
        ]);
        assert_eq!((found.level, found.count(Level::Note)), (Level::Warning, 1));
        assert!(!found.is_unconfigured);
        assert!(
            Diagnosis::of(vec![Finding::fault("configuration", "").because("").mend("")]).is_unconfigured
        );
    }

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        assert_eq!(command(&["sudo", "usermod", "-aG", "video", "pi"]), "sudo usermod -aG video pi");
        assert_eq!(command(&["chmod", "o+r", "/a b/it's"]), r"chmod o+r '/a b/it'\''s'");
    }
}
