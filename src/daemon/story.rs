//! How what happened is told in the log: the station's stories, and what it refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::engine::station::{Refusal, Story};

/// Refused messages are told together, at most this often, so that a flood is one line and not a flood.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(10);

/// Tells one story.
pub(super) fn tell(story: &Story) {
    match story {
        Story::OfferLit { offer, rev: 1 } => log::info!(offer:%; "offer lit"),
        Story::OfferLit { offer, rev } => log::debug!(offer:%, rev; "offer revised"),
        Story::OfferFailed { reason } => {
            log::warn!(reason = reason.as_str(); "no offer could be made; it is tried again");
        }
        Story::ViewerJoined { viewer, slot, rights, watching } => {
            log::info!(viewer = viewer.as_str(), slot:%, rights:%, watching; "viewer joined");
        }
        Story::ViewerLeft { viewer, slot, reason, watched, watching } => {
            let watched_s = watched.as_secs();
            let reason = reason.as_str();
            log::info!(viewer = viewer.as_str(), slot:%, reason, watched_s, watching; "viewer left");
        }
        Story::ViewerRefused { viewer, slot, code } => {
            log::info!(viewer = viewer.as_str(), slot:%, code:?; "viewer refused");
        }
        Story::AnswerFailed { viewer, reason } => {
            log::warn!(viewer = viewer.as_str(), reason = reason.as_str(); "a viewer's answer cannot be used");
        }
        Story::PutBack { topic } => {
            log::warn!(topic = topic.as_str(); "somebody changed what is ours on the broker; it is put back");
        }
        Story::Cleared { topic } => {
            log::warn!(topic = topic.as_str(); "cleared a message that nobody should leave on the broker");
        }
        Story::NewBoot => log::info!("so many sessions were seen that a new boot begins"),
    }
}

/// What was refused and already told.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    told: BTreeMap<Refusal, u64>,
    told_at: Option<Instant>,
}

impl Refusals {
    /// Tells what was refused since it last told, unless that was just now.
    pub(super) fn tell(&mut self, now: Instant, counts: &BTreeMap<Refusal, u64>) {
        let recently = self.told_at.is_some_and(|at| now < at + REFUSALS_INTERVAL);
        if recently || *counts == self.told {
            return;
        }
        let news: Vec<String> = counts
            .iter()
            .map(|(refusal, count)| (refusal, count - self.told.get(refusal).copied().unwrap_or(0)))
            .filter(|(_, new)| *new > 0)
            .map(|(refusal, new)| format!("{} {new}", refusal.name()))
            .collect();
        log::warn!(reasons = news.join(", ").as_str(); "refused messages");
        self.told.clone_from(counts);
        self.told_at = Some(now);
    }
}
