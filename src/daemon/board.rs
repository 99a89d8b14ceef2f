//! What becomes of what happens on the pins: privacy, motion, and the LED that tells when media leaves.
//!
//! The LED is switched before the first picture or sound leaves, and the loop waits for it: viewers' tasks run
//! on this thread too, so none of them sends meanwhile. Privacy holds from the moment that the loop hears of
//! it, whatever the threads of camera and microphone still deliver.

use std::time::Instant;

use crate::config::board;
use crate::engine::station::Input;
use crate::io::clock::wall_now;
use crate::io::gpio::{self, BoardCommand, BoardEvent, BoardParts};

use super::{Camera, Daemon};

/// What is on the pins, and what is known of it.
pub(super) struct Pins {
    board: Option<gpio::Board>,
    has_led: bool,
    is_lit: bool,
    publishes_motion: bool,
    /// `None` until the switch was read for the first time.
    privacy: Option<bool>,
}

impl Pins {
    /// Starts the pins' thread, if there is anything on them.
    pub(super) fn spawn(configured: &board::Board) -> Pins {
        Pins {
            board: gpio::spawn(configured),
            has_led: configured.led.is_some(),
            is_lit: false,
            publishes_motion: configured.motion.as_ref().is_some_and(|motion| motion.is_published),
            privacy: configured.privacy.is_none().then_some(false),
        }
    }

    /// What there is.
    pub(super) fn has(&self) -> BoardParts {
        self.board.as_ref().map_or_else(BoardParts::default, |board| board.has)
    }

    /// Does what a viewer has ordered.
    pub(super) fn tell(&self, command: BoardCommand) {
        if let Some(board) = &self.board {
            board.tell(command);
        }
    }

    /// Whether camera and microphone are forbidden. They are until the switch was read.
    pub(super) fn is_private(&self) -> bool {
        self.privacy.unwrap_or(true)
    }

    /// What happens next. Where there is nothing on the pins, nothing does.
    pub(super) async fn next(&mut self) -> Option<BoardEvent> {
        match &mut self.board {
            Some(board) => board.events.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Notes whether it is privacy, and tells it where that is news to people.
    fn note_privacy(&mut self, is_private: bool) {
        match (self.privacy.replace(is_private), is_private) {
            (_, true) => log::info!("privacy: camera and microphone are off"),
            (Some(true), false) => log::info!("privacy is over: camera and microphone may run"),
            (_, false) => log::debug!("the privacy switch lets camera and microphone run"),
        }
    }
}

impl Daemon {
    /// Takes what has happened on the pins.
    pub(super) fn pins_said(&mut self, now: Instant, event: BoardEvent) {
        self.control.remote.said(&mut self.control.state, now, &event);
        match event {
            BoardEvent::Privacy(is_private) => {
                self.pins.note_privacy(is_private);
                if is_private {
                    self.fanout.withhold();
                }
                self.station.handle(now, Input::Privacy(is_private));
            }
            BoardEvent::Motion(is_active) => {
                log::info!(is_active; "motion");
                if self.pins.publishes_motion {
                    // The year 584,000,000 is when milliseconds no longer fit.
                    let at_ms = wall_now().as_millis() as u64;
                    self.station.handle(now, Input::Motion { is_active, at_ms });
                }
            }
            BoardEvent::Night { mode, is_night } => log::info!(is_night, mode:?; "day or night"),
            BoardEvent::Lamp(percent) => log::debug!(percent; "lamp"),
            BoardEvent::Moved { pan, tilt } => log::trace!(pan:?, tilt:?; "camera turned"),
            BoardEvent::Lost { reason } => {
                log::warn!(reason = reason.as_str(); "not everything on the pins is there; it is tried again");
            }
            BoardEvent::Back => log::info!("everything on the pins is there"),
        }
    }

    /// Lights the LED before anything leaves the board, and puts it out when nothing does any more.
    pub(super) fn show_whether_media_leaves(&mut self) {
        let sends = self.fanout.sends();
        let is_made = sends.video && self.camera == Camera::Running || sends.audio && self.is_heard;
        let leaves = !self.pins.is_private() && (is_made || self.fanout.has_unsent());
        if self.pins.has_led && leaves != self.pins.is_lit {
            self.pins.is_lit = leaves;
            if let Some(board) = &self.pins.board {
                board.light(leaves);
            }
        }
    }
}
