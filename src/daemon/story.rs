//! How what happened is told in the log: the station's stories, and what it refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::engine::station::{Refusal, Story};
use crate::engine::tally::{Left, News, Trouble};
use crate::units::Bitrate;

/// Refused messages are told together, at most this often, so that a flood is one line and not a flood.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(10);

/// Tells one story; of a viewer that leaves, with what was counted.
pub(super) fn tell(story: &Story, left: Option<&Left>) {
    match story {
        Story::OfferLit { offer, rev: 1 } => log::info!(offer:%; "offer lit"),
        Story::OfferLit { offer, rev } => log::debug!(offer:%, rev; "offer revised"),
        Story::OfferFailed { reason } => {
            log::warn!(reason = reason.as_str(); "no offer could be made; it is tried again");
        }
        Story::ViewerJoined { viewer, slot, rights, watching, .. } => {
            log::info!(viewer = viewer.as_str(), slot:%, rights:%, watching; "viewer joined");
        }
        Story::ViewerLeft { viewer, slot, reason, watched, watching, .. } => {
            let (watched_s, reason) = (watched.as_secs(), reason.as_str());
            let left = left.cloned().unwrap_or_default();
            let path = left
                .path
                .map_or("unknown".to_owned(), |path| format!("{} {}", path.kind().name(), path.remote));
            let counts = left.latest.counts;
            // A tenth of a megabyte is as exact as anybody wants it.
            let megabytes = (counts.bytes as f64 / 100_000.0).round() / 10.0;
            let round_trip_ms =
                left.latest.round_trip.map_or("unknown".to_owned(), |time| time.as_millis().to_string());
            log::info!(
                viewer = viewer.as_str(), slot:%, reason, watched_s, path = path.as_str(), megabytes,
                frames = counts.frames_sent, left_out = counts.frames_dropped, lost = counts.lost,
                repaired = counts.repaired, round_trip_ms = round_trip_ms.as_str(), watching;
                "viewer left"
            );
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

/// Tells that a viewer's network is in trouble, or not any more.
pub(super) fn tell_trouble(news: &News) {
    let (viewer, peer, reading) = (news.viewer.as_str(), news.peer, &news.reading);
    let counts = &reading.counts;
    let estimate_kbps = reading.estimate.map_or(0, Bitrate::kbps);
    let (left_out, lost) = (counts.frames_dropped, counts.lost);
    match (news.trouble, news.lasted.map(|lasted| lasted.as_secs())) {
        (Trouble::Silent, None) => {
            log::warn!(viewer, peer:%; "viewer is not heard any more; it is waited for");
        }
        (Trouble::Silent, Some(lasted_s)) => log::info!(viewer, peer:%, lasted_s; "viewer is heard again"),
        (Trouble::Thinned, None) => {
            log::warn!(viewer, peer:%, estimate_kbps, left_out; "viewer's network is too slow: pictures are left out for it alone");
        }
        (Trouble::Thinned, Some(lasted_s)) => {
            log::info!(viewer, peer:%, lasted_s, estimate_kbps, left_out; "viewer gets every picture again");
        }
        (Trouble::Lossy, None) => {
            log::warn!(viewer, peer:%, lost, packets = counts.packets; "viewer's network loses packets");
        }
        (Trouble::Lossy, Some(lasted_s)) => {
            log::info!(viewer, peer:%, lasted_s, lost; "viewer's network has stopped losing packets");
        }
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
