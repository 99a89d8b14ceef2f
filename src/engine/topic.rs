//! The topics of `farol/1`: who may say what where.
//!
//! ```text
//! farol/1/<device>/status                 device -> all     retained, also the last will
//! farol/1/<device>/offer/<slot>           device -> viewer  retained
//! farol/1/<device>/in/<slot>/<session>    viewer -> device
//! farol/1/<device>/out/<slot>/<session>   device -> viewer
//! farol/1/<device>/event/motion           device -> home automation
//! ```

use std::fmt;
use std::str::FromStr;

use crate::units::{DeviceId, Kid, SessionId};

/// Whose messages a topic carries: one viewer key's, or everybody's in open mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Open mode's one slot.
    Open,
    /// A viewer key.
    Kid(Kid),
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Open => f.write_str("open"),
            Slot::Kid(kid) => write!(f, "{kid}"),
        }
    }
}

impl FromStr for Slot {
    type Err = crate::units::BadId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "open" { Ok(Slot::Open) } else { text.parse().map(Slot::Kid) }
    }
}

/// What the device publishes for home automation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Something moves before the camera, or does not any more.
    Motion,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventKind::Motion => f.write_str("motion"),
        }
    }
}

/// A topic of one device, without the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What the device says of itself.
    Status,
    /// The standing offer for one slot.
    Offer(Slot),
    /// An offer topic whose last level is no slot that could exist: somebody else's litter.
    StrayOffer(String),
    /// From a viewer.
    In(Slot, SessionId),
    /// To a viewer.
    Out(Slot, SessionId),
    /// To whoever may read it; viewers may not.
    Event(EventKind),
}

impl Topic {
    /// The topic's full name.
    pub fn name(&self, device: DeviceId) -> String {
        match self {
            Topic::Status => format!("farol/1/{device}/status"),
            Topic::Offer(slot) => format!("farol/1/{device}/offer/{slot}"),
            Topic::StrayOffer(last) => format!("farol/1/{device}/offer/{last}"),
            Topic::In(slot, session) => format!("farol/1/{device}/in/{slot}/{session}"),
            Topic::Out(slot, session) => format!("farol/1/{device}/out/{slot}/{session}"),
            Topic::Event(kind) => format!("farol/1/{device}/event/{kind}"),
        }
    }

    /// Reads a topic name of `device`; `None` for everything that the grammar above does not make.
    pub fn parse(device: DeviceId, name: &str) -> Option<Topic> {
        let rest = name.strip_prefix("farol/1/")?.strip_prefix(&device.to_string())?.strip_prefix('/')?;
        let mut levels = rest.split('/');
        let topic = match levels.next()? {
            "status" => Topic::Status,
            "offer" => {
                let last = levels.next()?;
                last.parse().map_or_else(|_| Topic::StrayOffer(last.to_string()), Topic::Offer)
            }
            "in" => Topic::In(levels.next()?.parse().ok()?, levels.next()?.parse().ok()?),
            "out" => Topic::Out(levels.next()?.parse().ok()?, levels.next()?.parse().ok()?),
            "event" if levels.next()? == "motion" => Topic::Event(EventKind::Motion),
            _ => return None,
        };
        levels.next().is_none().then_some(topic)
    }

    /// What the device subscribes to: viewers' messages, and its own retained topics, to put back
    /// what others change. The first is subscribed to with Retain Handling 2 (MQTT 5 §3.8.3.1).
    pub fn filters(device: DeviceId) -> [String; 3] {
        [
            format!("farol/1/{device}/in/+/+"),
            format!("farol/1/{device}/status"),
            format!("farol/1/{device}/offer/+"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots() -> impl Strategy<Value = Slot> {
        prop_oneof![Just(Slot::Open), any::<u64>().prop_map(|kid| Slot::Kid(Kid(kid)))]
    }

    proptest! {
        #[test]
        fn every_topic_reads_back(device: u128, session: u128, slot in slots()) {
            let (device, session) = (DeviceId(device), SessionId(session));
            let event = Topic::Event(EventKind::Motion);
            for topic in [Topic::Status, Topic::Offer(slot), Topic::In(slot, session), Topic::Out(slot, session), event] {
                prop_assert_eq!(Topic::parse(device, &topic.name(device)), Some(topic));
            }
        }

        #[test]
        fn no_text_is_misread(text in "\\PC*") {
            let device = DeviceId(7);
            if let Some(topic) = Topic::parse(device, &text) {
                prop_assert_eq!(topic.name(device), text);
            }
        }
    }

    #[test]
    fn near_misses_are_no_topics() {
        let device = DeviceId(1);
        let d = device.to_string();
        for bad in [
            format!("farol/1/{d}"),
            format!("farol/2/{d}/status"),
            format!("farol/1/{d}/status/x"),
            format!("farol/1/{d}/in/open"),
            format!("farol/1/{d}/event"),
            format!("farol/1/{d}/event/door"),
            format!("farol/1/{d}/event/motion/x"),
            format!("farol/1/{d}/in/open/ABC"),
            format!("farol/1/{d}/in/OPEN/{d}"),
            format!("farol/1/{d}/in/open/{d}/x"),
            format!("farol/1/{}/status", DeviceId(2)),
            format!("/farol/1/{d}/status"),
        ] {
            assert_eq!(Topic::parse(device, &bad), None, "{bad}");
        }
        let stray = Topic::parse(device, &format!("farol/1/{d}/offer/nobody"));
        assert_eq!(stray, Some(Topic::StrayOffer("nobody".into())));
    }
}
