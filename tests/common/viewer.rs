//! A viewer without a browser: reads a link, speaks `farol/1` over a real broker, and watches.
//!
//! It follows the protocol by itself ([`watch`]) or one message at a time, so that a test can stand
//! between two of them, or say something that an honest viewer would not.

#![allow(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, PublishOptions, QoS};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use farol::engine::message::{self, Accept, Answer, Body, Bye, Candidate, Candidates, Hello, Offer};
use farol::engine::message::{Reject, Status, ToViewer, Wire};
use farol::engine::rights::Rights;
use farol::engine::seal::{self, Binding, Context, Direction};
use farol::engine::topic::{Slot, Topic};
use farol::units::{BootId, DeviceId, Kid, OfferId, SessionId};

use crate::answerer::Answerer;

/// Long enough for a loaded machine; only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What `farol pair` hands out.
#[derive(Clone, Debug)]
pub struct Link {
    /// Which camera.
    pub device: DeviceId,
    /// Which key.
    pub kid: Kid,
    /// The key.
    pub key: [u8; 32],
    /// The broker, as a browser reaches it.
    pub broker: String,
}

impl Link {
    /// Reads a link: after `#` the first four dots divide it, and the rest is the broker's URL.
    pub fn parse(link: &str) -> Link {
        let (_, fragment) = link.split_once('#').expect("a link has a fragment");
        let parts: Vec<&str> = fragment.splitn(5, '.').collect();
        let [version, device, kid, key, broker] = parts[..] else { panic!("{link} has not five parts") };
        assert_eq!(version, "1");
        let key = URL_SAFE_NO_PAD.decode(key).expect("base64url").try_into().expect("32 bytes");
        let (device, kid) = (device.parse().expect("a device id"), kid.parse().expect("a key id"));
        Link { device, kid, key, broker: broker.to_owned() }
    }

    /// The broker's port. These tests reach it by TCP, since only browsers need a WebSocket.
    pub fn port(&self) -> u16 {
        let authority = self.broker.strip_prefix("ws://127.0.0.1:").expect("the tests' own broker");
        authority.split('/').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// The user's password at the broker.
    pub fn password(&self) -> String {
        seal::mqtt_password(&self.key, self.device, self.kid)
    }

    /// The slot of the link's key.
    pub fn slot(&self) -> Slot {
        Slot::Kid(self.kid)
    }

    /// The full name of one of the device's topics.
    pub fn topic(&self, topic: &Topic) -> String {
        topic.name(self.device)
    }

    /// Seals as this link's holder.
    pub fn seal(&self, boot: BootId, session: SessionId, kind: &str, n: u64, payload: &str) -> String {
        let mut iv = [0; 12];
        getrandom::fill(&mut iv).expect("the system has random bytes");
        let binding = self.binding(Direction::ViewerToDevice, Context::Session(boot, session), kind, n);
        message::write_sealed(kind, n, &seal::seal(&self.key, &binding, iv, payload), None)
    }

    /// Opens a retained offer; `None` when it is not authentic.
    pub fn open_standing(&self, payload: &[u8]) -> Option<Offer> {
        let outside: serde_json::Value = serde_json::from_slice(payload).ok()?;
        let id: OfferId = outside["offer"].as_str()?.parse().ok()?;
        let wire = Wire::read(payload).ok()?;
        let Body::Sealed(ct) = wire.body else { return None };
        let binding = self.binding(Direction::DeviceToViewer, Context::Offer(id), &wire.kind, wire.n);
        let offer: Offer = serde_json::from_str(&seal::open(&self.key, &binding, &ct).ok()?).ok()?;
        assert_eq!((wire.kind.as_str(), offer.offer, offer.rev), ("offer", id, wire.n));
        Some(offer)
    }

    fn binding<'a>(&self, direction: Direction, context: Context, kind: &'a str, n: u64) -> Binding<'a> {
        Binding { direction, device: self.device, kid: self.kid, context, kind, n }
    }
}

/// One session of a viewer, and its connection to the broker.
pub struct Viewer {
    /// Whose it is.
    pub link: Link,
    /// Its id.
    pub session: SessionId,
    /// The device's boot, once an offer or a status told it.
    pub boot: Option<BootId>,
    /// Every plaintext that it sent or received.
    pub plaintexts: Vec<String>,
    broker: Connection,
    sent_n: u64,
    heard_n: u64,
    status: Option<Status>,
    offer: Option<Offer>,
    heard: VecDeque<ToViewer>,
}

/// Its place at the broker; when it is dropped the connection breaks without a word.
struct Connection {
    client: AsyncClient,
    messages: mpsc::Receiver<(String, Vec<u8>)>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A viewer that watches.
pub struct Watching {
    /// Its signalling.
    pub viewer: Viewer,
    /// Its peer connection.
    pub screen: Answerer,
    /// What it was granted.
    pub accept: Accept,
}

impl Watching {
    /// Waits until so many more pictures have come than now.
    pub async fn sees_more(&self, pictures: usize) {
        let before = self.screen.received().pictures.len();
        self.screen.until("more pictures", |received| received.pictures.len() >= before + pictures).await;
    }

    /// Has ICE restarted; returns the device's new offer, which it has answered.
    pub async fn restart(&mut self) -> Offer {
        self.viewer.say("restart", &serde_json::json!({})).await;
        self.take_reoffer().await
    }

    /// Answers the device's next offer to this session; returns it.
    pub async fn take_reoffer(&mut self) -> Offer {
        let reoffer = loop {
            match self.viewer.hear("reoffer").await {
                ToViewer::Reoffer(reoffer) => break reoffer,
                ToViewer::Candidates(_) => {}
                other => panic!("{other:?} instead of reoffer"),
            }
        };
        let answer = self.screen.answer_again(&reoffer.sdp).await;
        self.viewer.answer(&reoffer, &answer).await;
        let accept = self.viewer.accepted(&self.screen).await;
        assert_eq!(accept.offer, reoffer.offer);
        reoffer
    }
}

/// Comes in as a page does: answers the standing offer, or the one that it is given in its place.
pub async fn watch(link: &Link) -> Watching {
    let mut viewer = Viewer::connect(link).await;
    let offer = viewer.standing().await;
    viewer.take(offer).await
}

impl Viewer {
    /// Connects under a new session id; returns when the broker has granted the subscriptions.
    pub async fn connect(link: &Link) -> Viewer {
        let session = SessionId(random());
        Viewer {
            broker: Connection::open(link, session).await,
            link: link.clone(),
            session,
            boot: None,
            plaintexts: Vec::new(),
            sent_n: 0,
            heard_n: 0,
            status: None,
            offer: None,
            heard: VecDeque::new(),
        }
    }

    /// Breaks the connection to the broker and nothing else.
    pub fn lose_broker(&mut self) {
        self.broker.task.abort();
    }

    /// Connects to the broker again, as the same session.
    pub async fn find_broker(&mut self) {
        self.broker = Connection::open(&self.link, self.session).await;
    }

    /// The standing offer, as soon as there is one that may be answered: it authenticates, and its boot
    /// is that of the status.
    pub async fn standing(&mut self) -> Offer {
        loop {
            let (status, offer) = (&self.status, &self.offer);
            if let (Some(status), Some(offer)) = (status, offer)
                && status.state == "online"
                && status.boot == offer.boot
            {
                self.boot = Some(offer.boot);
                return offer.clone();
            }
            self.read("a standing offer").await;
        }
    }

    /// The standing offer, as soon as it fulfils a condition.
    pub async fn standing_until(&mut self, condition: impl Fn(&Offer) -> bool) -> Offer {
        loop {
            let offer = self.standing().await;
            if condition(&offer) {
                return offer;
            }
            self.read("another standing offer").await;
        }
    }

    /// The standing offer, as soon as its SDP has this in it.
    pub async fn standing_with(&mut self, part: &str) -> Offer {
        self.standing_until(|offer| offer.sdp.contains(part)).await
    }

    /// Whether an offer was retained within the 300 ms after SUBACK that a page waits for it.
    pub async fn has_offer(&mut self) -> bool {
        let wait = async {
            while self.offer.is_none() {
                self.read("an offer").await;
            }
        };
        timeout(Duration::from_millis(300), wait).await.is_ok()
    }

    /// The status, as soon as it fulfils a condition.
    pub async fn status(&mut self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        loop {
            if let Some(status) = self.status.as_ref().filter(|status| condition(status)) {
                self.boot.get_or_insert(status.boot);
                return status.clone();
            }
            self.read(what).await;
        }
    }

    /// Says `hello`.
    pub async fn hello(&mut self) {
        self.status("a boot", |_| true).await;
        let boot = self.boot.expect("the status told it");
        self.say("hello", &Hello { boot, wants: ALL }).await;
    }

    /// Answers an offer.
    pub async fn answer(&mut self, offer: &Offer, sdp: &str) {
        self.boot = Some(offer.boot);
        self.say("answer", &answer_to(offer, sdp)).await;
    }

    /// Sends candidates.
    pub async fn candidates(&mut self, offer: OfferId, list: Vec<Candidate>) {
        self.say("candidates", &Candidates { offer, list, end: true }).await;
    }

    /// Says `bye`.
    pub async fn bye(&mut self) {
        self.say("bye", &Bye { reason: "closed".into() }).await;
    }

    /// Seals the next message; returns its topic and what stands on the wire.
    pub fn wire<T: Serialize>(&mut self, kind: &str, payload: &T) -> (String, String) {
        self.sent_n += 1;
        let boot = self.boot.expect("a boot is known");
        let payload = message::json(payload);
        let wire = self.link.seal(boot, self.session, kind, self.sent_n, &payload);
        self.plaintexts.push(payload);
        (self.topic(), wire)
    }

    /// Where it speaks.
    pub fn topic(&self) -> String {
        self.link.topic(&Topic::In(self.link.slot(), self.session))
    }

    /// Seals and sends; returns when the broker has it.
    pub async fn say<T: Serialize>(&mut self, kind: &str, payload: &T) {
        let (topic, wire) = self.wire(kind, payload);
        assert!(self.publish(&topic, wire).await, "the broker refuses a viewer's own {topic}");
    }

    /// Publishes as this viewer; whether the broker takes it.
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) -> bool {
        let options = PublishOptions::new(QoS::AtLeastOnce);
        let notice = self.broker.client.publish_tracked(topic, payload.into(), options).await;
        let answer = notice.expect("a good topic").wait_completion_async();
        timeout(PATIENCE, answer).await.expect("a PUBACK in time").is_ok()
    }

    /// The next message to this session.
    pub async fn hear(&mut self, what: &str) -> ToViewer {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return message;
            }
            self.read(what).await;
        }
    }

    /// The next message, which must be `accept`; candidates before it go to the screen.
    pub async fn accepted(&mut self, screen: &Answerer) -> Accept {
        loop {
            match self.hear("accept").await {
                ToViewer::Accept(accept) => return accept,
                ToViewer::Candidates(late) => {
                    for candidate in &late.list {
                        screen.add_candidate(candidate).await;
                    }
                }
                other => panic!("{other:?} instead of accept"),
            }
        }
    }

    /// The next message, which must be `reject`.
    pub async fn rejected(&mut self) -> Reject {
        match self.hear("reject").await {
            ToViewer::Reject(reject) => reject,
            other => panic!("{other:?} instead of reject"),
        }
    }

    /// The next `bye`, and its reason; candidates before it are of no use any more.
    pub async fn dismissed(&mut self) -> String {
        loop {
            match self.hear("bye").await {
                ToViewer::Bye(bye) => return bye.reason,
                ToViewer::Candidates(_) => {}
                other => panic!("{other:?} instead of bye"),
            }
        }
    }

    /// The next message, which must be a dedicated offer.
    pub async fn offered(&mut self) -> Offer {
        match self.hear("offer").await {
            ToViewer::Offer(offer) => offer,
            other => panic!("{other:?} instead of an offer"),
        }
    }

    /// Answers an offer, or the one that it is given in its place, until it watches.
    pub async fn take(mut self, mut offer: Offer) -> Watching {
        loop {
            let (screen, sdp) = Answerer::answer(&offer.sdp).await;
            self.answer(&offer, &sdp).await;
            let accept = loop {
                match self.hear("accept").await {
                    ToViewer::Accept(accept) => break accept,
                    ToViewer::Reject(Reject { offer: Some(own), .. }) => {
                        offer = own;
                        break Accept { offer: OfferId(0), rights: Rights::NONE };
                    }
                    ToViewer::Candidates(late) => {
                        for candidate in &late.list {
                            screen.add_candidate(candidate).await;
                        }
                    }
                    other => panic!("{other:?} instead of accept"),
                }
            };
            if !accept.rights.is_empty() {
                assert_eq!(accept.offer, offer.offer);
                screen.until("the first picture", |received| !received.pictures.is_empty()).await;
                return Watching { viewer: self, screen, accept };
            }
        }
    }

    /// Waits for one message from the broker and takes it in.
    async fn read(&mut self, what: &str) {
        let (topic, payload) = timeout(PATIENCE, self.broker.messages.recv())
            .await
            .unwrap_or_else(|_| panic!("waited in vain for {what}; status: {:?}", self.status))
            .expect("a connection to the broker");
        match Topic::parse(self.link.device, &topic) {
            Some(Topic::Status) => self.status = serde_json::from_slice(&payload).ok(),
            Some(Topic::Offer(_)) => self.offer = self.link.open_standing(&payload),
            Some(Topic::Out(..)) => self.hear_wire(&payload),
            other => panic!("{other:?} was not subscribed to"),
        }
        if let Some(offer) = &self.offer {
            self.plaintexts.push(offer.sdp.clone());
        }
    }

    fn hear_wire(&mut self, payload: &[u8]) {
        let wire = Wire::read(payload).expect("the device sends envelopes");
        let Body::Sealed(ct) = wire.body else { panic!("the device sends an open message") };
        let context = Context::Session(self.boot.expect("a boot is known"), self.session);
        let binding = self.link.binding(Direction::DeviceToViewer, context, &wire.kind, wire.n);
        let text = seal::open(&self.link.key, &binding, &ct).expect("it is sealed for this session");
        assert!(wire.n > self.heard_n, "{} after {}", wire.n, self.heard_n);
        self.heard_n = wire.n;
        self.heard.push_back(match wire.kind.as_str() {
            "offer" => ToViewer::Offer(parse(&text)),
            "reoffer" => ToViewer::Reoffer(parse(&text)),
            "accept" => ToViewer::Accept(parse(&text)),
            "candidates" => ToViewer::Candidates(parse(&text)),
            "reject" => ToViewer::Reject(parse(&text)),
            "bye" => ToViewer::Bye(parse(&text)),
            other => panic!("{other} is not in the protocol"),
        });
        self.plaintexts.push(text);
    }
}

/// What a viewer asks for: its link limits it.
pub const ALL: Rights = Rights::ALL;

/// An answer that fits its offer.
pub fn answer_to(offer: &Offer, sdp: &str) -> Answer {
    let digest = seal::sdp_digest(&offer.sdp);
    Answer { boot: offer.boot, offer: offer.offer, rev: offer.rev, digest, wants: ALL, sdp: sdp.to_owned() }
}

impl Connection {
    async fn open(link: &Link, session: SessionId) -> Connection {
        let id = format!("viewer-{:032x}", random());
        let mut options = MqttOptions::new(id, ("127.0.0.1", link.port()));
        options.set_credentials(link.kid.to_string(), link.password());
        options.set_max_packet_size(Some(1024 * 1024));
        let (client, mut eventloop) = AsyncClient::builder(options).capacity(64).build();
        let slot = link.slot();
        for topic in [Topic::Status, Topic::Offer(slot), Topic::Out(slot, session)] {
            client.subscribe(link.topic(&topic), QoS::AtLeastOnce).await.expect("there is room");
        }
        // When it is full the test has lost interest, and the connection waits.
        let (sender, messages) = mpsc::channel(1024);
        let (ready, granted) = oneshot::channel();
        let task = tokio::spawn(async move {
            let (mut ready, mut subacks) = (Some(ready), 0);
            while let Ok(event) = eventloop.poll().await {
                match event {
                    Event::Incoming(Incoming::SubAck(_)) => {
                        subacks += 1;
                        if subacks == 3 {
                            let _ = ready.take().map(|ready| ready.send(()));
                        }
                    }
                    Event::Incoming(Incoming::Publish(publish)) => {
                        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                        let _ = sender.send((topic, publish.payload.to_vec())).await;
                    }
                    _ => {}
                }
            }
        });
        timeout(PATIENCE, granted).await.expect("a SUBACK in time").expect("a connection to the broker");
        Connection { client, messages, task }
    }
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    u128::from_be_bytes(bytes)
}

fn parse<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("the type's fields")
}
