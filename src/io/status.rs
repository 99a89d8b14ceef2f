//! How do people and programs on this board ask how the daemon is?
//!
//! ```text
//! farol status ─► Unix socket ─┐ bounded
//!                              ├────────► the daemon's loop: a text, which goes back the same way
//! Prometheus ─► /metrics ──────┘
//! ```
//!
//! What is told and how it reads is decided in [`engine::tally`](crate::engine::tally). Both doors are for
//! those who may know who watches: the socket for root and the service's group, the other for whom the
//! configuration lets in. Neither is open unless somebody asked for it or runs on this board.

mod client;
mod metrics;
mod process;
mod socket;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use client::{AskError, ask};
pub use metrics::{MetricsError, bind as bind_metrics, serve as serve_metrics};
pub use process::{Usage, usage};
pub use socket::{Listener, SocketError, socket_path};

/// Questions that wait for the loop, of all who ask. When it is full, who asks is told to come back.
const ASKED_HELD: usize = 16;
/// Connections at once at the socket. Further ones wait in the kernel's queue.
const CONNECTIONS: usize = 8;
/// How long a question or its answer may take, either way.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is asked at the socket, with a line's end.
const QUESTION: &str = "report";

/// In which form the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `engine::tally::Report` as JSON.
    Report,
    /// OpenMetrics text.
    Metrics,
}

/// A question.
#[derive(Debug)]
pub struct Asked {
    /// What for.
    pub form: Form,
    /// Who is answered. It may have gone meanwhile.
    pub answer: oneshot::Sender<String>,
}

/// A way to the loop and its other end.
pub fn questions() -> (mpsc::Sender<Asked>, mpsc::Receiver<Asked>) {
    mpsc::channel(ASKED_HELD)
}

/// Asks the loop. `None`: it has too much to do, or is ending.
async fn put(questions: &mpsc::Sender<Asked>, form: Form) -> Option<String> {
    let (answer, answered) = oneshot::channel();
    questions.try_send(Asked { form, answer }).ok()?;
    tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
}
