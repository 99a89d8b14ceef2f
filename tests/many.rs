//! Does the device stay with its broker however many viewers it lights offers for?
#![cfg(feature = "daemon")]
#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/recorder.rs"]
mod recorder;

use std::time::{Duration, Instant};

use farol::config::{Broker, RatePolicy, Security};
use farol::engine::ice::IceServers;
use farol::engine::rights::{Rights, ViewerKey};
use farol::engine::station::{Command, Input, Settings, Station, Story};
use farol::engine::topic::{Slot, Topic};
use farol::io::mqtt::{Mqtt, MqttEvent, Publication, Subscription};
use farol::units::{Bitrate, DeviceId, Kid};
use mosquitto::Mosquitto;
use recorder::stored;
use tokio::time::{sleep, timeout};

const DEVICE: DeviceId = DeviceId(0xd0);
const VIEWERS: u64 = 300;

/// What a real offer may have on the wire.
const SDP_BYTES: usize = 6_000;

struct Device {
    station: Station,
    mqtt: Mqtt,
    connections: usize,
    put_back: Vec<String>,
}

impl Device {
    fn at(port: u16) -> Device {
        let settings = Settings {
            device: DEVICE,
            name: "lamp".into(),
            security: Security::Sealed,
            max_viewers: 4,
            ice: IceServers::default(),
            rate_policy: RatePolicy::Slowest,
            bitrates: Bitrate::from_kbps(300)..=Bitrate::from_kbps(2_500),
            substream: None,
        };
        let key = |kid| ViewerKey::new(Kid(kid), [kid as u8; 32], format!("viewer {kid}"), Rights::ALL);
        let mut station = Station::new(settings, (1..=VIEWERS).map(key).collect(), [7; 32]);
        let Some(Command::SetWill { topic, payload }) = station.next_command() else {
            panic!("the will is ordered first")
        };
        let will = Publication { topic, payload: payload.into(), retain: true, expiry: None };
        let keep_alive = Duration::from_secs(30);
        let broker = Broker { host: "127.0.0.1".into(), port, tls: None, login: None, keep_alive };
        let [from_viewers, status, offers] = Topic::filters(DEVICE);
        let own = [status, offers].map(|filter| Subscription { filter, skip_retained: false });
        let mut subscriptions = vec![Subscription { filter: from_viewers, skip_retained: true }];
        subscriptions.extend(own);
        let mqtt = Mqtt::spawn(broker, "device".into(), subscriptions, will);
        Device { station, mqtt, connections: 0, put_back: Vec::new() }
    }

    fn put(&mut self, input: Input) {
        self.station.handle(Instant::now(), input);
        while let Some(command) = self.station.next_command() {
            match command {
                Command::Publish { topic, payload, retain, expiry } => {
                    self.mqtt.publish(Publication { topic, payload: payload.into(), retain, expiry });
                }
                Command::OpenPeer(peer) => {
                    let sdp = format!("v=0\r\ns={}\r\n", "x".repeat(SDP_BYTES));
                    self.put(Input::PeerOffered { peer, sdp: sdp.clone() });
                    self.put(Input::PeerGathered { peer, sdp });
                }
                Command::Tell(Story::PutBack { topic }) => self.put_back.push(topic),
                _ => {}
            }
        }
    }

    /// Works as the daemon's loop does.
    async fn work(&mut self, time: Duration) {
        let _ = timeout(time, async {
            loop {
                let due = self.station.deadline().map(|due| due.saturating_duration_since(Instant::now()));
                tokio::select! {
                    () = sleep(due.unwrap_or(Duration::MAX)) => self.put(Input::Tick),
                    event = self.mqtt.events.recv() => match event.expect("the task lives") {
                        MqttEvent::Connected => {
                            self.connections += 1;
                            self.put(Input::BrokerConnected);
                        }
                        MqttEvent::Disconnected { reason } => panic!("{reason}"),
                        MqttEvent::Message { topic, payload, retained } => {
                            self.put(Input::Message { topic, payload, retained });
                        }
                    },
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_device_with_300_viewers_lights_all_offers_on_one_connection_and_puts_none_back() {
    let mosquitto = Mosquitto::open();
    let mut device = Device::at(mosquitto.port);
    device.work(Duration::from_secs(5)).await;
    // All of them are lit anew, twice in one go.
    device.put(Input::NetworkChanged);
    device.put(Input::NetworkChanged);
    device.work(Duration::from_secs(5)).await;
    assert_eq!((device.connections, device.put_back.as_slice()), (1, [].as_slice()));
    let kept = stored(mosquitto.port, None).await;
    let is_lit = |kid| {
        let topic = Topic::Offer(Slot::Kid(Kid(kid))).name(DEVICE);
        kept.iter().any(|one| one.topic == topic && one.payload.len() > SDP_BYTES)
    };
    assert_eq!((1..=VIEWERS).filter(|kid| is_lit(*kid)).count() as u64, VIEWERS);
}
