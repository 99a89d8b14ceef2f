//! Who may speak out of the board's speaker, and who does?
//!
//! The right is enforced here, where the session's rights are known, and not by what a viewer sends:
//! without it a viewer's packets end where they arrive.

use std::collections::BTreeSet;

use crate::config::{Talkback, Talkers};
use crate::engine::control;
use crate::engine::rights::{Right, Rights};
use crate::engine::talk::Turn;
use crate::io::audio::DuckGain;
use crate::io::audio::speaker::{self, Loudspeaker, SpeakerEvent};
use crate::units::PeerId;

use super::Daemon;

/// The speaker, when there is one, and what is known of it.
pub(super) struct Talk {
    speaker: Option<(Loudspeaker, Talkers)>,
    speaking: BTreeSet<PeerId>,
    is_lost: bool,
}

impl Talk {
    /// Starts the speaker's thread, if there is to be one.
    pub(super) fn spawn(talkback: Option<&Talkback>, duck: DuckGain) -> Talk {
        let speaker = talkback.map(|talkback| (speaker::spawn(talkback, duck), talkback.talkers));
        Talk { speaker, speaking: BTreeSet::new(), is_lost: false }
    }

    /// What the speaker says next. Without one it says nothing.
    pub(super) async fn next(&mut self) -> Option<SpeakerEvent> {
        match &mut self.speaker {
            Some((speaker, _)) => speaker.events.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Notes and tells what the speaker said.
    pub(super) fn take(&mut self, event: SpeakerEvent) {
        match event {
            SpeakerEvent::Turn(Turn::Began(peer)) => {
                log::info!(peer:%; "viewer speaks");
                self.speaking.insert(peer);
            }
            SpeakerEvent::Turn(Turn::Ended(peer)) => {
                log::info!(peer:%; "viewer stopped speaking");
                self.speaking.remove(&peer);
            }
            SpeakerEvent::Started { detail } => {
                log::info!(detail = detail.as_str(); "speaker plays");
                self.is_lost = false;
            }
            SpeakerEvent::Rests => log::debug!("speaker rests"),
            SpeakerEvent::Lost { reason } => {
                log::warn!(reason = reason.as_str(); "speaker lost; it is tried again");
                self.is_lost = true;
            }
        }
    }

    /// Whether this viewer is heard now.
    pub(super) fn is_heard(&self, peer: PeerId) -> bool {
        self.speaking.contains(&peer)
    }

    /// Who has the speaker, for the control channel.
    pub(super) fn told(&self) -> control::Talk {
        match (&self.speaker, self.speaking.first()) {
            (None, _) => control::Talk::None,
            (Some(_), _) if self.is_lost => control::Talk::None,
            (Some(_), None) => control::Talk::Free,
            (Some((_, Talkers::One)), Some(holder)) => control::Talk::Held(*holder),
            (Some((_, Talkers::Mixed)), Some(_)) => control::Talk::Shared(self.speaking.clone()),
        }
    }
}

impl Daemon {
    /// Passes what this viewer says on to the speaker if it has the right, and else to nobody.
    pub(super) fn let_speak(&self, peer: PeerId, rights: Rights) {
        let Some(connection) = self.peers.get(peer) else { return };
        let speaker = self.talk.speaker.as_ref().filter(|_| rights.has(Right::Talk));
        connection.hear(speaker.map(|(speaker, _)| speaker.packets.clone()));
    }
}
