//! How does `farol status` ask the daemon that runs on this board?

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{PATIENCE, QUESTION, socket_path};

/// Where systemd puts the unit's runtime directory.
const UNIT_RUNTIME_DIR: &str = "/run/farol";
/// No answer is longer: 64 viewers take some 64 KiB.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no farol runs here (nobody answers at {}); start it with `systemctl start farol`, or with `farol run`",
        .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
    )]
    NotRunning(Vec<PathBuf>),
    /// Not for us.
    #[error(
        "no right to ask the daemon at {0}, since the answer says who watches: run it as root, with sudo"
    )]
    Forbidden(PathBuf),
    /// It hangs, or is something else.
    #[error("the daemon at {path} did not answer: {cause}; `journalctl -u farol` may say why")]
    Silent {
        /// Where it listens.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// It answered that it cannot.
    #[error("{0}")]
    Refused(String),
}

/// Asks the daemon with this state directory for its report, and returns the JSON as it came.
///
/// # Errors
///
/// None runs, it is not ours to ask, or it does not answer.
pub fn ask(runtime_dir: Option<&str>, state_dir: &Path, is_default_state: bool) -> Result<String, AskError> {
    let mut tried = vec![socket_path(runtime_dir, state_dir)];
    let in_state = socket_path(None, state_dir);
    // The unit's daemon has the default; with another directory somebody means another daemon.
    let of_unit = is_default_state.then(|| socket_path(Some(UNIT_RUNTIME_DIR), state_dir));
    for path in std::iter::once(in_state).chain(of_unit) {
        if !tried.contains(&path) {
            tried.push(path);
        }
    }
    let mut forbidden = None;
    for path in &tried {
        match UnixStream::connect(path) {
            Ok(stream) => {
                let answer = converse(stream);
                return read(answer.map_err(|cause| AskError::Silent { path: path.clone(), cause })?);
            }
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => forbidden = Some(path.clone()),
            // There is none, or one that nobody listens at any more.
            Err(_) => {}
        }
    }
    Err(forbidden.map_or(AskError::NotRunning(tried), AskError::Forbidden))
}

fn converse(mut stream: UnixStream) -> io::Result<String> {
    // The daemon takes at most that long to read us and that long to make up its mind.
    stream.set_read_timeout(Some(PATIENCE * 3))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{QUESTION}\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    match answer.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
        false => Ok(answer),
    }
}

fn read(answer: String) -> Result<String, AskError> {
    let error = serde_json::from_str::<serde_json::Value>(&answer).ok();
    match error.as_ref().and_then(|value| value.get("error")).and_then(|error| error.as_str()) {
        Some(error) => Err(AskError::Refused(error.to_owned())),
        None => Ok(answer),
    }
}
