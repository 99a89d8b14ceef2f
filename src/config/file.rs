//! The TOML as people write it, turned into a [`Config`] or into the list of all its faults.
//!
//! The keys are read in `sections`; `config/farol.toml` in the source tree explains each of them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::fault::{Fault, Position, Problem};
use super::walk::Walk;
use super::{Config, Secret, sections};

pub(super) use super::media::AUDIO_KBPS;

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file has faults.
    Faulty {
        /// The file.
        path: PathBuf,
        /// All of them, in the file's order.
        faults: Vec<Fault>,
    },
}

/// Reads a configuration file. Takes the state directory from `$STATE_DIRECTORY`, which systemd sets,
/// when the file names none, and reads the files that hold TURN passwords.
///
/// # Errors
///
/// The file cannot be read, or it has faults.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ConfigError::Unreadable { path: path.to_path_buf(), cause })?;
    parse(&text, &Surroundings::of_this_process())
        .map_err(|faults| ConfigError::Faulty { path: path.to_path_buf(), faults })
}

/// What a configuration takes from outside its text.
pub struct Surroundings<'s> {
    /// The state directory when the text names none.
    pub state_dir: Option<PathBuf>,
    /// How the files that hold TURN passwords are read.
    pub read_secret: &'s dyn Fn(&Secret) -> io::Result<Option<String>>,
}

impl Surroundings<'_> {
    fn of_this_process() -> Self {
        // systemd puts all of a unit's state directories there, with colons between; ours has one.
        let state_dir = std::env::var("STATE_DIRECTORY")
            .ok()
            .and_then(|all| all.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from));
        Surroundings { state_dir, read_secret: &Secret::read }
    }
}

/// Reads a configuration's text.
///
/// # Errors
///
/// All faults in the order of the text. When the text is not TOML, its values are not looked at.
pub fn parse(text: &str, around: &Surroundings<'_>) -> Result<Config, Vec<Fault>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_faults(&errors, text));
    }
    let (mut walk, top) = Walk::new(text, root.get_ref());
    let config = sections::config(&mut walk, &top, around.state_dir.clone(), around.read_secret);
    let faults = walk.faults();
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

/// The parser's errors, one for each line: what follows the first on a line is mostly its echo.
fn syntax_faults(errors: &[toml::de::Error], text: &str) -> Vec<Fault> {
    let mut faults: Vec<Fault> = errors
        .iter()
        .map(|error| Fault {
            at: error.span().map(|span| Position::of(span.start, text)),
            key: String::new(),
            problem: Problem::Syntax(error.message().to_string()),
        })
        .collect();
    faults.sort_by_key(|fault| fault.at);
    faults.dedup_by_key(|fault| fault.at.map(|at| at.line));
    faults
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, cause } => {
                let path = path.display();
                write!(f, "cannot read the configuration {path}: {cause} (--config names another file)")
            }
            ConfigError::Faulty { path, faults } => {
                let (count, s) = (faults.len(), if faults.len() == 1 { "" } else { "s" });
                write!(f, "{} has {count} fault{s}:", path.display())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

// The cause is part of the message, so there is no `source`: it would be said twice.
impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests;
