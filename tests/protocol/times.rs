//! Are the times and rates in the page those that a device keeps? A station tells, in virtual time.

#![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

use std::time::{Duration, Instant};

use farol::config::{RatePolicy, Security};
use farol::engine::ice::IceServers;
use farol::engine::message::{self, Answer, Bye, Hello, Offer, Reject};
use farol::engine::rights::Rights;
use farol::engine::seal::sdp_digest;
use farol::engine::station::{Command, Input, Refusal, Settings, Station};
use farol::engine::topic::{Slot, Topic};
use farol::units::{Bitrate, DeviceId, PeerId, SessionId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::PAGE;

const DEVICE: DeviceId = DeviceId(0xd0);

/// What was published: where, as what, and for how many seconds the broker keeps it.
struct Published {
    topic: Topic,
    payload: String,
    expiry_s: Option<u64>,
}

impl Published {
    fn read<T: DeserializeOwned>(&self) -> T {
        let wire: Value = serde_json::from_str(&self.payload).expect("JSON");
        serde_json::from_value(wire["p"].clone()).expect("the type's fields")
    }
}

/// A device with open signalling and one place, and what it does.
struct Device {
    station: Station,
    now: Instant,
    published: Vec<Published>,
    opened: Vec<PeerId>,
    n: u64,
}

impl Device {
    fn new() -> Device {
        let settings = Settings {
            device: DEVICE,
            name: "lamp".into(),
            security: Security::Open,
            max_viewers: 1,
            ice: IceServers::default(),
            rate_policy: RatePolicy::Slowest,
            bitrates: Bitrate::from_kbps(300)..=Bitrate::from_kbps(2_500),
            substream: None,
        };
        let station = Station::new(settings, vec![], [7; 32]);
        let mut device = Device { station, now: Instant::now(), published: vec![], opened: vec![], n: 0 };
        device.put(Input::BrokerConnected);
        device
    }

    fn put(&mut self, input: Input) {
        self.station.handle(self.now, input);
        while let Some(command) = self.station.next_command() {
            match command {
                Command::OpenPeer(peer) => self.opened.push(peer),
                Command::Publish { topic, payload, expiry, .. } => {
                    let topic = Topic::parse(DEVICE, &topic).expect("a topic of the protocol");
                    let expiry_s = expiry.map(|expiry| expiry.as_secs());
                    self.published.push(Published { topic, payload, expiry_s });
                }
                _ => {}
            }
        }
        // Peer connections make their offers at once.
        while let Some(peer) = self.opened.pop() {
            let sdp = format!("v=0\r\ns={peer}\r\n");
            self.put(Input::PeerOffered { peer, sdp: sdp.clone() });
            self.put(Input::PeerGathered { peer, sdp });
        }
    }

    fn says<T: Serialize>(&mut self, session: u128, kind: &str, payload: &T) {
        self.n += 1;
        let topic = Topic::In(Slot::Open, SessionId(session)).name(DEVICE);
        let payload = message::write_open(kind, self.n, &message::json(payload)).into();
        self.put(Input::Message { topic, payload, retained: false });
    }

    fn hello(&mut self, session: u128) {
        let boot = self.station.boot();
        self.says(session, "hello", &Hello { boot, wants: Rights::ALL });
    }

    fn last(&self, topic: &Topic) -> &Published {
        self.published.iter().rev().find(|published| published.topic == *topic).expect("it was published")
    }
}

#[track_caller]
fn page_says(sentence: &str) {
    assert!(PAGE.contains(sentence), "the page does not say: {sentence}");
}

#[test]
fn what_is_kept_and_for_how_long() {
    let mut device = Device::new();
    assert_eq!(device.last(&Topic::Status).expiry_s, None);
    page_says("| `farol/1/<device>/status` | device to all | yes, and its last will | none |");

    let standing = device.last(&Topic::Offer(Slot::Open));
    let offer: Offer = standing.read();
    assert_eq!(standing.expiry_s, Some(offer.ttl_s));
    let seconds = offer.ttl_s;
    page_says(&format!("| `farol/1/<device>/offer/<slot>` | device to one key | yes | {seconds} s |"));
    page_says(&format!("the broker forgets it {} minutes after", seconds / 60));
    let renewed = device.station.deadline().expect("it is renewed").duration_since(device.now);
    assert!((8 * 60..=10 * 60).contains(&renewed.as_secs()), "{renewed:?}");
    page_says("| the standing offer | renewed after 8 to 10 minutes |");

    device.hello(1);
    let dedicated = device.last(&Topic::Out(Slot::Open, SessionId(1)));
    let seconds = dedicated.expiry_s.expect("it expires");
    page_says(&format!("| `farol/1/<device>/out/<slot>/<session>` | device to viewer | no | {seconds} s |"));
    let seconds = dedicated.read::<Offer>().ttl_s;
    page_says(&format!("can be answered: {seconds} for a dedicated one"));
}

#[test]
fn what_is_said_when_time_is_up_or_no_place_is_left() {
    let mut device = Device::new();
    let out = |session| Topic::Out(Slot::Open, SessionId(session));
    device.hello(1);
    device.now += Duration::from_secs(30);
    device.put(Input::Tick);
    assert_eq!(device.last(&out(1)).read::<Bye>().reason, "timeout");

    device.hello(2);
    let offer: Offer = device.last(&out(2)).read();
    let Offer { offer, rev, boot, sdp, .. } = offer;
    let answer =
        Answer { boot, offer, rev, digest: sdp_digest(&sdp), wants: Rights::ALL, sdp: "v=0\r\n".into() };
    device.says(2, "answer", &answer);
    let peer = device.station.visits().next().expect("it connects").peer;
    device.put(Input::PeerConnected(peer));
    assert_eq!(device.last(&Topic::Offer(Slot::Open)).payload, "", "the standing offer is cleared");
    device.hello(3);
    let retry_ms = device.last(&out(3)).read::<Reject>().retry_ms.expect("it says when");
    page_says(&format!("| `retry_ms` of `full` | {},{:03} |", retry_ms / 1000, retry_ms % 1000));
}

#[test]
fn how_much_a_viewer_may_say() {
    let mut device = Device::new();
    let heard = |device: &mut Device| {
        let overrun = |device: &Device| device.station.refusals().get(&Refusal::Overrun).copied();
        let before = overrun(device).unwrap_or(0);
        for _ in 0..1000 {
            device.says(1, "restart", &serde_json::json!({}));
        }
        1000 - (overrun(device).unwrap_or(0) - before)
    };
    let at_once = heard(&mut device);
    device.now += Duration::from_secs(1);
    let a_second = heard(&mut device);
    // This is the open slot, which everybody shares.
    let (a_second, at_once) = (a_second / 10, at_once / 10);
    page_says(&format!(
        "| messages of one key | {a_second} a second, {at_once} at once; the slot `open` ten times that."
    ));
}
