//! What the broker keeps for us, status and offers, and putting it back when somebody else changed it.
//!
//! The device is subscribed to its own retained topics. What it sees there is compared with what it
//! last published; a difference that lasts longer than our own publications need to come round is
//! somebody's doing and is put right, at most once in 5 s for each topic.

use std::time::{Duration, Instant};

use crate::config::Security;
use crate::engine::message::{self, Status};
use crate::engine::topic::{Slot, Topic};

use super::{Command, Station, Story};

/// Our own publications, several at once perhaps, come round within this.
const SETTLE: Duration = Duration::from_secs(1);
/// A topic is put back at most this often.
const PUT_BACK_INTERVAL: Duration = Duration::from_secs(5);

/// One retained topic of ours.
#[derive(Debug, Default)]
pub(super) struct Retained {
    /// What we published last; empty when it is to be clear.
    current: String,
    expiry: Option<Duration>,
    /// When a difference that was seen is to be put right.
    pub check_at: Option<Instant>,
    put_back_at: Option<Instant>,
}

impl Station {
    pub(super) fn broker_connected(&mut self, now: Instant) {
        // Remembered first, then told with everything else.
        self.publish_status(now);
        self.is_online = true;
        // The broker may have forgotten everything, or kept what we have cleared since.
        for (topic, retained) in &self.retained {
            self.commands.push_back(Command::Publish {
                topic: topic.clone(),
                payload: retained.current.clone(),
                retain: true,
                expiry: retained.expiry,
            });
        }
        self.repeat_reoffers();
    }

    pub(super) fn broker_lost(&mut self) {
        self.is_online = false;
        self.retained.values_mut().for_each(|topic| topic.check_at = None);
    }

    /// Follows up on sessions that came or went: when the device is full no offer is lit.
    pub(super) fn places_changed(&mut self, now: Instant) {
        if self.roster.is_full() && self.standing.is_some() {
            self.drop_standing();
            self.clear_offers();
        }
        self.publish_status(now);
    }

    pub(super) fn set_will(&mut self) {
        let topic = Topic::Status.name(self.settings.device);
        let payload = self.status("offline");
        self.commands.push_back(Command::SetWill { topic, payload });
    }

    /// Publishes the status if it is another than before.
    pub(super) fn publish_status(&mut self, now: Instant) {
        let status = self.status(if self.is_ending { "offline" } else { "online" });
        let name = Topic::Status.name(self.settings.device);
        let known = self.retained.get(&name).is_some_and(|topic| topic.current == status);
        if !known {
            self.publish_retained(now, &Topic::Status, status, None);
        }
    }

    fn status(&self, state: &str) -> String {
        let security = match self.settings.security {
            Security::Sealed => "sealed",
            Security::Open => "open",
        };
        message::json(&Status {
            v: 1,
            state: state.to_string(),
            boot: self.boot,
            security: security.to_string(),
            full: self.roster.is_full(),
            camera: match (self.is_private, self.camera_lost) {
                (true, _) => "private",
                (false, true) => "lost",
                (false, false) => "ready",
            }
            .to_string(),
        })
    }

    /// Publishes, and remembers what the topic must hold from now on.
    pub(super) fn publish_retained(
        &mut self,
        now: Instant,
        topic: &Topic,
        payload: String,
        expiry: Option<Duration>,
    ) {
        let name = topic.name(self.settings.device);
        let retained = self.retained.entry(name.clone()).or_default();
        retained.current.clone_from(&payload);
        retained.expiry = expiry;
        // What is on its way to us was published before this.
        retained.check_at = retained.check_at.map(|at| at.max(now + SETTLE));
        if self.is_online {
            self.commands.push_back(Command::Publish { topic: name, payload, retain: true, expiry });
        }
    }

    /// Clears a retained topic of ours and watches that it stays clear.
    pub(super) fn clear_retained(&mut self, topic: Topic) {
        let name = topic.name(self.settings.device);
        if let Some(retained) = self.retained.get_mut(&name) {
            let was_lit = !retained.current.is_empty();
            retained.current.clear();
            if was_lit && self.is_online {
                self.commands.push_back(Command::Publish {
                    topic: name,
                    payload: String::new(),
                    retain: true,
                    expiry: None,
                });
            }
        }
    }

    /// The same of a slot that is nobody's any more. Should the broker not hear of it now, its offer comes with a
    /// later subscription, as litter.
    pub(super) fn give_up_slot(&mut self, slot: Slot) {
        self.clear_retained(Topic::Offer(slot));
        self.retained.remove(&Topic::Offer(slot).name(self.settings.device));
    }

    pub(super) fn clear_offers(&mut self) {
        for slot in self.slots() {
            self.clear_retained(Topic::Offer(slot));
        }
    }

    /// Somebody published on one of our own topics, most often we ourselves.
    ///
    /// Only what the broker keeps says that all is well: a copy of ours that somebody sends without having it kept
    /// must not hide what they had it keep before. To a broker that does not tell the two apart, what differed is
    /// put back once more than it had to be.
    pub(super) fn watch_retained(&mut self, now: Instant, topic: &Topic, payload: &[u8], is_kept: bool) {
        let ours = match topic {
            Topic::Status => true,
            Topic::Offer(slot) => self.slots().contains(slot),
            _ => false,
        };
        if !ours {
            if !payload.is_empty() {
                self.clear_litter(now, topic);
            }
            return;
        }
        let retained = self.retained.entry(topic.name(self.settings.device)).or_default();
        if retained.current.as_bytes() == payload {
            retained.check_at = retained.check_at.filter(|_| !is_kept);
        } else if retained.check_at.is_none() {
            let soonest = retained.put_back_at.map_or(now, |at| at + PUT_BACK_INTERVAL);
            retained.check_at = Some(soonest.max(now + SETTLE));
        }
    }

    /// Clears a retained message that nobody should have left there.
    pub(super) fn clear_litter(&mut self, now: Instant, topic: &Topic) {
        if self.clearing.take(now) {
            let topic = topic.name(self.settings.device);
            self.commands.push_back(Command::Publish {
                topic: topic.clone(),
                payload: String::new(),
                retain: true,
                expiry: None,
            });
            self.tell(Story::Cleared { topic });
        }
    }

    pub(super) fn tend_retained(&mut self, now: Instant) {
        if !self.is_online {
            return;
        }
        for (name, retained) in &mut self.retained {
            if retained.check_at.is_some_and(|at| at <= now) {
                retained.check_at = None;
                retained.put_back_at = Some(now);
                self.commands.push_back(Command::Publish {
                    topic: name.clone(),
                    payload: retained.current.clone(),
                    retain: true,
                    expiry: retained.expiry,
                });
                self.commands.push_back(Command::Tell(Story::PutBack { topic: name.clone() }));
            }
        }
    }
}
