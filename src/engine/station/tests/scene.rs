//! A station with a broker's store around it, and viewers that seal, answer and misbehave.

#![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

use super::super::*;
use crate::config::{Ice, MadeSecret, SharedTurn};
use crate::engine::message::{self, Answer, Body, Hello, Offer, Wire};
use crate::engine::rights::Right;
use crate::engine::seal::{self, Binding, Context, Direction};
use crate::engine::topic::Topic;
use crate::units::SessionId;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) const DEVICE: DeviceId = DeviceId(0xd0);
pub(super) const VIEW: Rights = Rights::NONE.with(Right::View);

pub(super) fn viewer(kid: u64) -> ViewerKey {
    ViewerKey::new(Kid(kid), [kid as u8; 32], format!("viewer {kid}"), VIEW.with(Right::Listen))
}

/// A station, the broker's store as it fills it, and everything that it ordered.
pub(super) struct Scene {
    pub(super) station: Station,
    pub(super) now: Instant,
    pub(super) retained: BTreeMap<String, String>,
    pub(super) sent: Vec<(String, String)>,
    pub(super) orders: Vec<Command>,
    pub(super) open: Vec<PeerId>,
    /// Whether peer connections make their offers by themselves.
    pub(super) opens: bool,
}

impl Scene {
    pub(super) fn new(security: Security, max_viewers: usize) -> Scene {
        Scene::seeded(security, max_viewers, [7; 32])
    }

    pub(super) fn seeded(security: Security, max_viewers: usize, seed: [u8; 32]) -> Scene {
        let settings = Settings {
            device: DEVICE,
            name: "lamp".into(),
            security,
            max_viewers,
            ice: IceServers::default(),
            rate_policy: RatePolicy::Slowest,
            bitrates: Bitrate::from_kbps(300)..=Bitrate::from_kbps(2_500),
            substream: Some(Bitrate::from_kbps(800)),
        };
        let keys = (1..=4).map(viewer).collect();
        let mut scene = Scene {
            station: Station::new(settings, keys, seed),
            now: Instant::now(),
            retained: BTreeMap::new(),
            sent: vec![],
            orders: vec![],
            open: vec![],
            opens: true,
        };
        scene.put(Input::BrokerConnected);
        scene.wait(200);
        scene
    }

    /// From now on there is a TURN server that shares a secret with us.
    pub(super) fn share_turn(&mut self) {
        let shared = SharedTurn {
            urls: vec!["turn:t".into()],
            secret: MadeSecret::new("north".into()),
            lifetime: Duration::from_secs(7_200),
        };
        self.station.settings.ice = IceServers::new(&Ice { shared: vec![shared], ..Ice::default() });
        self.put(Input::NetworkChanged);
        self.wait(200);
    }

    pub(super) fn put(&mut self, input: Input) {
        self.station.handle(self.now, input);
        while let Some(command) = self.station.next_command() {
            match &command {
                Command::Publish { topic, payload, retain: true, .. } => {
                    self.retained.insert(topic.clone(), payload.clone());
                }
                Command::Publish { topic, payload, .. } => self.sent.push((topic.clone(), payload.clone())),
                Command::OpenPeer(peer) => self.open.push(*peer),
                Command::ClosePeer(peer) => {
                    let at = self.open.iter().position(|open| open == peer);
                    self.open.remove(at.expect("only what is open is closed, and only once"));
                }
                _ => {}
            }
            self.orders.push(command.clone());
            if let (Command::OpenPeer(peer) | Command::RestartIce(peer), true) = (command, self.opens) {
                let sdp = format!("v=0\r\ns=offer of {peer}\r\n");
                self.put(Input::PeerOffered { peer, sdp: sdp.clone() });
                if self.station.standing.as_ref().is_some_and(|standing| standing.peer == peer) {
                    self.put(Input::PeerGathered { peer, sdp });
                }
            }
        }
    }

    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(due) = self.station.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.put(Input::Tick);
        }
        self.now = end;
        self.put(Input::Tick);
    }

    pub(super) fn retained(&self, topic: Topic) -> &str {
        self.retained.get(&topic.name(DEVICE)).map_or("", String::as_str)
    }

    pub(super) fn peer_of(&self, viewer: &Viewer) -> PeerId {
        let session = self.station.roster.session(&viewer.key()).expect("the session is known");
        session.peer.expect("the session has a peer connection")
    }

    pub(super) fn connect(&mut self, viewer: &Viewer) {
        let peer = self.peer_of(viewer);
        self.put(Input::AnswerApplied(peer));
        self.put(Input::PeerConnected(peer));
    }

    pub(super) fn refused(&self, refusal: Refusal) -> u64 {
        self.station.refusals.get(&refusal).copied().unwrap_or(0)
    }
}

/// A viewer that follows the protocol, unless told not to.
pub(super) struct Viewer {
    pub(super) slot: Slot,
    pub(super) session: SessionId,
    pub(super) boot: BootId,
    pub(super) n: u64,
    pub(super) read: usize,
}

impl Viewer {
    pub(super) fn new(scene: &Scene, kid: u64, session: u128) -> Viewer {
        let slot = match scene.station.settings.security {
            Security::Open => Slot::Open,
            Security::Sealed => Slot::Kid(Kid(kid)),
        };
        Viewer { slot, session: SessionId(session), boot: scene.station.boot, n: 0, read: scene.sent.len() }
    }

    pub(super) fn key(&self) -> (Slot, SessionId) {
        (self.slot, self.session)
    }

    pub(super) fn wire<T: Serialize>(&mut self, kind: &str, payload: &T) -> String {
        self.n += 1;
        let payload = message::json(payload);
        let Slot::Kid(kid) = self.slot else { return message::write_open(kind, self.n, &payload) };
        let binding = Binding {
            direction: Direction::ViewerToDevice,
            device: DEVICE,
            kid,
            context: Context::Session(self.boot, self.session),
            kind,
            n: self.n,
        };
        let iv = [self.n as u8; 12];
        message::write_sealed(kind, self.n, &seal::seal(viewer(kid.0).key(), &binding, iv, &payload), None)
    }

    pub(super) fn topic(&self) -> String {
        Topic::In(self.slot, self.session).name(DEVICE)
    }

    pub(super) fn say<T: Serialize>(&mut self, scene: &mut Scene, kind: &str, payload: &T) -> String {
        let wire = self.wire(kind, payload);
        self.say_raw(scene, &wire);
        wire
    }

    pub(super) fn say_raw(&self, scene: &mut Scene, wire: &str) {
        let payload = Bytes::copy_from_slice(wire.as_bytes());
        scene.put(Input::Message { topic: self.topic(), payload, retained: false });
    }

    pub(super) fn hello(&mut self, scene: &mut Scene) {
        let hello = Hello { boot: self.boot, wants: VIEW };
        self.say(scene, "hello", &hello);
    }

    pub(super) fn answer(&mut self, scene: &mut Scene, offer: &Offer) {
        let answer = answer_to(offer);
        self.say(scene, "answer", &answer);
    }

    pub(super) fn standing(&self, scene: &Scene) -> Offer {
        let wire = Wire::read(scene.retained(Topic::Offer(self.slot)).as_bytes()).expect("an offer is lit");
        let text = match (wire.body, self.slot) {
            (Body::Open(text), Slot::Open) => text,
            (Body::Sealed(ct), Slot::Kid(kid)) => {
                let id: serde_json::Value =
                    serde_json::from_str(scene.retained(Topic::Offer(self.slot))).expect("JSON");
                let offer =
                    id["offer"].as_str().and_then(|id| id.parse().ok()).expect("the id stands outside");
                let binding = Binding {
                    direction: Direction::DeviceToViewer,
                    device: DEVICE,
                    kid,
                    context: Context::Offer(offer),
                    kind: "offer",
                    n: wire.n,
                };
                seal::open(viewer(kid.0).key(), &binding, &ct).expect("the offer is sealed for its viewer")
            }
            _ => panic!("the offer's form is not its slot's"),
        };
        serde_json::from_str(&text).expect("an offer")
    }

    /// The next message from the device, which must be of that type.
    pub(super) fn hear<T: DeserializeOwned>(&mut self, scene: &Scene, kind: &str) -> T {
        let topic = Topic::Out(self.slot, self.session).name(DEVICE);
        let mut messages = scene.sent.iter().skip(self.read).filter(|(to, _)| *to == topic);
        let (_, payload) = messages.next().unwrap_or_else(|| panic!("no {kind} came"));
        self.read = 1 + scene
            .sent
            .iter()
            .enumerate()
            .skip(self.read)
            .position(|(_, (to, _))| *to == topic)
            .map(|at| at + self.read)
            .expect("it was just found");
        let wire = Wire::read(payload.as_bytes()).expect("an envelope");
        assert_eq!(wire.kind, kind, "{payload}");
        let text = match (wire.body, self.slot) {
            (Body::Sealed(ct), Slot::Kid(kid)) => {
                let binding = Binding {
                    direction: Direction::DeviceToViewer,
                    device: DEVICE,
                    kid,
                    context: Context::Session(self.boot, self.session),
                    kind,
                    n: wire.n,
                };
                seal::open(viewer(kid.0).key(), &binding, &ct).expect("it is sealed for its viewer")
            }
            (Body::Open(text), _) => text,
            _ => panic!("sealed for the open slot"),
        };
        serde_json::from_str(&text).expect("the type's fields")
    }

    pub(super) fn hears_nothing(&self, scene: &Scene) -> bool {
        let topic = Topic::Out(self.slot, self.session).name(DEVICE);
        !scene.sent.iter().skip(self.read).any(|(to, _)| *to == topic)
    }
}

pub(super) fn answer_to(offer: &Offer) -> Answer {
    Answer {
        boot: offer.boot,
        offer: offer.offer,
        rev: offer.rev,
        digest: seal::sdp_digest(&offer.sdp),
        wants: VIEW,
        sdp: "v=0\r\ns=answer\r\n".into(),
    }
}

/// A viewer that streams.
pub(super) fn streaming(scene: &mut Scene, kid: u64, session: u128) -> Viewer {
    let mut viewer = Viewer::new(scene, kid, session);
    let offer = viewer.standing(scene);
    viewer.answer(scene, &offer);
    scene.connect(&viewer);
    let _: message::Accept = viewer.hear(scene, "accept");
    scene.wait(200);
    viewer
}
