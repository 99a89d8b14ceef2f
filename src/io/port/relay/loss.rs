//! Is a relayed address of ours gone, and did media go by it?
//!
//! An allocation ends with its connection, and with a server that restarts (RFC 8656 §7, §8). The library
//! goes on believing in it: an offer that waits then names an address that leads nowhere.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::io::port::{lock, stun};

/// A server by which nothing was sent for so long carries no media: a path in use is checked every 2 s.
const IN_USE_FOR: Duration = Duration::from_secs(5);

/// What is known about the relayed addresses of one peer connection.
#[derive(Debug, Default)]
pub struct Loss {
    inside: Mutex<Inside>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    /// The server by which something was last sent to a viewer.
    used: Option<(SocketAddr, Instant)>,
    /// Told by nobody yet: whether a relayed address that was lost was in use.
    lost: Option<bool>,
}

impl Loss {
    /// Waits until a relayed address is gone; whether media went by it.
    pub async fn told(&self) -> bool {
        loop {
            // Made before the look, so that what is told in between is not missed.
            let notified = self.notify.notified();
            if let Some(was_used) = lock(&self.inside).lost.take() {
                return was_used;
            }
            notified.await;
        }
    }

    /// The relayed address at this server is gone.
    pub(super) fn tell(&self, server: SocketAddr) {
        {
            let mut inside = lock(&self.inside);
            let was_used = inside.used.is_some_and(|(used, at)| used == server && at.elapsed() < IN_USE_FOR);
            inside.lost = Some(was_used || inside.lost == Some(true));
        }
        self.notify.notify_one();
    }

    /// A message goes to a server.
    #[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
    pub(super) fn sent(&self, server: SocketAddr, message: &[u8]) {
        if stun::is_relayed(message) {
            lock(&self.inside).used = Some((server, Instant::now()));
        }
    }

    /// A message came from a server, which may say that it knows of no allocation.
    pub(super) fn received(&self, server: SocketAddr, message: &[u8]) {
        if stun::is_allocation_unknown(message) {
            log::info!(server:%; "a TURN server has forgotten the address that it lent, as after its restart");
            self.tell(server);
        }
    }
}
