//! How is one still made for all who asked for one?
//!
//! ```text
//!          ask                      keyframe               decoded
//!   idle ───────> wanted (5 s) ──────────────> decoding ─────────────> idle
//!                    └──── Snapshot, of a source that takes stills ────^
//! ```
//!
//! A source that has its pictures before they are encoded makes the still itself. Of the others the next
//! keyframe is decoded, on a thread of its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::engine::h264::AccessUnit;
use crate::io::still::{self, StillFault};

/// A camera that cannot make keyframes when it is asked makes one every few seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A still, or why there is none, for people.
pub(super) type Made = Result<Bytes, String>;

/// The one still that is being made, if any.
#[derive(Debug, Default)]
pub(super) struct Stills {
    /// Until when it is waited for.
    wanted_until: Option<Instant>,
    decoding: Option<JoinHandle<Result<Bytes, StillFault>>>,
    source_takes_stills: bool,
}

/// What a wish for a still needs of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// The source makes it.
    Snapshot,
    /// A keyframe to decode.
    Keyframe,
    /// One is under way.
    Nothing,
}

impl Stills {
    /// The source delivers, and is of this kind.
    pub(super) fn started(&mut self, source_takes_stills: bool) {
        self.source_takes_stills = source_takes_stills;
    }

    /// Somebody wants one.
    pub(super) fn ask(&mut self, now: Instant) -> Needs {
        if self.wanted_until.replace(self.wanted_until.unwrap_or(now + PATIENCE)).is_some() {
            return Needs::Nothing;
        }
        match (self.source_takes_stills, &self.decoding) {
            (true, _) => Needs::Snapshot,
            (false, None) => Needs::Keyframe,
            // One that took longer than it was waited for.
            (false, Some(_)) => Needs::Nothing,
        }
    }

    /// A picture comes by.
    pub(super) fn frame(&mut self, unit: &AccessUnit) {
        let is_due = self.wanted_until.is_some() && self.decoding.is_none() && !self.source_takes_stills;
        if is_due && unit.is_keyframe {
            let unit = unit.clone();
            self.decoding = Some(tokio::task::spawn_blocking(move || still::jpeg(&unit)));
        }
    }

    /// What was decoded, once it is.
    pub(super) async fn next(&mut self) -> Made {
        let Some(decoding) = &mut self.decoding else { return std::future::pending().await };
        let made = decoding.await;
        self.decoding = None;
        match made {
            Ok(made) => made.map_err(|fault| fault.to_string()),
            Err(_) => Err("the camera's picture broke the decoder".to_owned()),
        }
    }

    /// When patience ends.
    pub(super) fn due(&self) -> Option<Instant> {
        self.wanted_until
    }

    /// Nobody waits any more: there is one, or there will be none.
    pub(super) fn done(&mut self) {
        self.wanted_until = None;
    }
}
