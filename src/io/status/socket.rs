//! Where does the daemon listen for `farol status`?
//!
//! On a Unix socket in its runtime directory, else in its state directory. One question, one answer, end.
//! Whoever may write to the socket may ask: its owner, root and the group, by mode 0660.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::{Asked, CONNECTIONS, Form, PATIENCE, QUESTION, put};

/// The socket's name in its directory.
const NAME: &str = "status.sock";
/// A question is short; more is not read.
const MAX_QUESTION_BYTES: u64 = 64;

/// Why there is no socket. The daemon works without it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error(
        "another farol answers at {0} already: give each a device.state_dir or RuntimeDirectory= of its own"
    )]
    Taken(PathBuf),
    /// It cannot be made.
    #[error("make the socket {path}: {cause}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Where the socket of a daemon with this state directory is; `runtime_dir` is `$RUNTIME_DIRECTORY`, which
/// systemd sets and which may name several, with colons between.
pub fn socket_path(runtime_dir: Option<&str>, state_dir: &Path) -> PathBuf {
    let first = runtime_dir.and_then(|all| all.split(':').next()).filter(|dir| !dir.is_empty());
    first.map_or(state_dir, Path::new).join(NAME)
}

/// The socket, which is removed with this.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Makes the socket. One that a daemon left behind when it was killed gives way.
    ///
    /// # Errors
    ///
    /// Another daemon answers there, or the directory is not ours to write.
    pub fn bind(path: PathBuf) -> Result<Listener, SocketError> {
        let bind = || match UnixListener::bind(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
                if BlockingStream::connect(&path).is_ok() {
                    return Ok(None);
                }
                fs::remove_file(&path)?;
                UnixListener::bind(&path).map(Some)
            }
            bound => bound.map(Some),
        };
        let io_error = |cause| SocketError::Io { path: path.clone(), cause };
        let listener = bind().map_err(io_error)?.ok_or_else(|| SocketError::Taken(path.clone()))?;
        // From here on it is removed again, whatever happens. Until now it was as open as the umask lets it,
        // and to connect needs the right to write (unix(7)): with the unit's, and with most, the owner's alone.
        let listener = Listener { listener, path: path.clone() };
        fs::set_permissions(&path, Permissions::from_mode(0o660)).map_err(io_error)?;
        Ok(listener)
    }

    /// Answers until it is dropped.
    pub async fn serve(self, questions: mpsc::Sender<Asked>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(place) = connections.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let questions = questions.clone();
                    tokio::spawn(async move {
                        if let Err(cause) = answer(stream, &questions).await {
                            log::debug!(cause:%; "somebody who asked for the status went before the answer");
                        }
                        drop(place);
                    });
                }
                Err(cause) => {
                    // No descriptor is free: one will be.
                    log::debug!(cause:%; "a question for the status could not be taken");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The directory may be gone before us, as systemd removes it.
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, questions: &mpsc::Sender<Asked>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut question = String::new();
    timeout(PATIENCE, reader.take(MAX_QUESTION_BYTES).read_to_string(&mut question)).await??;
    let text = match question.trim_end() == QUESTION {
        true => put(questions, Form::Report).await.unwrap_or_else(|| error("the daemon is busy; ask again")),
        false => error("this farol does not know that question: is the command of another version?"),
    };
    timeout(PATIENCE, writer.write_all(text.as_bytes())).await??;
    timeout(PATIENCE, writer.shutdown()).await?
}

fn error(text: &str) -> String {
    serde_json::json!({ "error": text }).to_string()
}
