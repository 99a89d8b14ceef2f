//! Do the vectors that others test their viewers with say what the code does?

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farol::engine::message::{Body, Wire};
use farol::engine::seal::{self, Binding, Context, Direction};
use farol::engine::topic::{Slot, Topic};
use farol::units::{BootId, DeviceId, Kid, SessionId};
use serde::Deserialize;
use serde_json::Value;

use super::{fixture, read};

#[derive(Deserialize)]
struct Keys {
    derivations: Vec<Derivation>,
    passwords: Vec<Password>,
    digests: Vec<Digest>,
}

#[derive(Deserialize)]
struct Derivation {
    k: String,
    device: DeviceId,
    kid: Kid,
    direction: String,
    ctx: String,
    key_hex: String,
    #[serde(rename = "type")]
    kind: String,
    n: u64,
    aad_hex: String,
}

#[derive(Deserialize)]
struct Password {
    k: String,
    device: DeviceId,
    kid: Kid,
    password: String,
}

#[derive(Deserialize)]
struct Digest {
    text: String,
    digest: String,
}

#[derive(Deserialize)]
struct Envelopes {
    good: Vec<Envelope>,
    bad: Vec<Envelope>,
}

#[derive(Deserialize)]
struct Envelope {
    text: String,
    filled_to: Option<usize>,
    why: String,
}

#[derive(Deserialize)]
struct Bad {
    from: String,
    #[serde(rename = "type")]
    kind: String,
    payload: Value,
    why: String,
}

#[derive(Deserialize)]
struct Messages {
    envelopes: Envelopes,
    payloads: Vec<Bad>,
}

#[derive(Deserialize)]
struct Session {
    link: String,
    boot: BootId,
    session: SessionId,
    visit: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    topic: String,
    retained: bool,
    wire: Value,
    ctx: Option<String>,
    iv: Option<String>,
    plaintext: Option<String>,
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    URL_SAFE_NO_PAD.decode(text).expect("base64url").try_into().expect("as many bytes as the field has")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}

fn direction(text: &str) -> Direction {
    match text {
        "d2v" => Direction::DeviceToViewer,
        "v2d" => Direction::ViewerToDevice,
        other => panic!("no direction is called {other}"),
    }
}

fn context(text: &str) -> Context {
    match (text.split_at(1), text.split_once('.')) {
        (("o", offer), None) => Context::Offer(offer.parse().expect("an offer id")),
        (("s", _), Some((boot, session))) => {
            let boot = boot[1..].parse().expect("a boot");
            Context::Session(boot, session.parse().expect("a session"))
        }
        _ => panic!("no context looks like {text}"),
    }
}

/// What the code seals opens with the key and the associated data of the vector, in hands that know nothing else.
#[test]
fn each_step_to_a_key_is_the_code_s() {
    let keys: Keys = fixture("keys.json");
    for vector in keys.derivations {
        let Derivation { device, kid, n, .. } = vector;
        let (direction, context) = (direction(&vector.direction), context(&vector.ctx));
        let binding = Binding { direction, device, kid, context, kind: &vector.kind, n };
        let sealed = seal::seal(&bytes(&vector.k), &binding, [7; 12], "{}");
        let sealed = URL_SAFE_NO_PAD.decode(sealed).expect("base64url");
        let cipher = Aes256Gcm::new_from_slice(&unhex(&vector.key_hex)).expect("32 bytes");
        let payload = Payload { msg: &sealed[12..], aad: &unhex(&vector.aad_hex) };
        let opened = cipher.decrypt(&Nonce::from([7; 12]), payload);
        assert_eq!(opened.map(|text| text.trim_ascii_end().to_vec()), Ok(b"{}".to_vec()), "{}", vector.kind);
    }
    for vector in keys.passwords {
        let password = seal::mqtt_password(&bytes(&vector.k), vector.device, vector.kid);
        assert_eq!(password, vector.password);
    }
    for vector in keys.digests {
        assert_eq!(seal::sdp_digest(&vector.text), vector.digest);
    }
}

#[test]
fn good_envelopes_are_read_and_bad_ones_dropped() {
    let Messages { envelopes, payloads } = fixture("messages.json");
    let wire = |envelope: &Envelope| {
        let length = envelope.filled_to.unwrap_or(envelope.text.len());
        Wire::read(format!("{:length$}", envelope.text).as_bytes())
    };
    for envelope in envelopes.good {
        assert!(wire(&envelope).is_ok(), "{}", envelope.why);
    }
    for envelope in envelopes.bad {
        assert!(wire(&envelope).is_err(), "{}", envelope.why);
    }
    for Bad { from, kind, payload, why } in payloads {
        assert_eq!(read(&from, &kind, &payload), None, "{why}");
    }
}

/// Every message of the visit is on a topic of its own kind, is what sealing its plaintext gives, and has a payload
/// that the code would write as it stands; and numbers rise each way.
#[test]
fn the_visit_is_one_that_the_code_could_make() {
    let Session { link, boot, session, visit } = fixture("session.json");
    let parts: Vec<&str> = link.split_once('#').expect("a fragment").1.splitn(5, '.').collect();
    let device: DeviceId = parts[1].parse().expect("a device");
    let kid: Kid = parts[2].parse().expect("a key's id");
    let (key, slot) = (bytes(parts[3]), Slot::Kid(kid));
    let mut sent = [0; 2];
    for step in visit {
        let topic = Topic::parse(device, &step.topic).expect("a topic of the protocol");
        let (Some(ctx), Some(iv), Some(plaintext)) = (&step.ctx, &step.iv, &step.plaintext) else {
            assert_eq!((topic, step.retained), (Topic::Status, true));
            assert_eq!(read("device", "status", &step.wire), Some(step.wire));
            continue;
        };
        let wire = Wire::read(step.wire.to_string().as_bytes()).expect("an envelope");
        let (way, from) = match &topic {
            Topic::In(..) => (Direction::ViewerToDevice, "viewer"),
            _ => (Direction::DeviceToViewer, "device"),
        };
        let context = context(ctx);
        match context {
            Context::Offer(_) => assert_eq!((topic, step.retained), (Topic::Offer(slot), true)),
            Context::Session(..) => {
                assert_eq!(context, Context::Session(boot, session));
                assert!([Topic::In(slot, session), Topic::Out(slot, session)].contains(&topic));
                let last = &mut sent[usize::from(from == "viewer")];
                assert!(wire.n > *last && !step.retained);
                *last = wire.n;
            }
        }
        let binding = Binding { direction: way, device, kid, context, kind: &wire.kind, n: wire.n };
        let ct = seal::seal(&key, &binding, bytes(iv), plaintext);
        assert_eq!(wire.body, Body::Sealed(ct), "{}", wire.kind);
        let payload: Value = serde_json::from_str(plaintext).expect("JSON");
        assert_eq!(read(from, &wire.kind, &payload).as_ref(), Some(&payload), "{}", wire.kind);
    }
}

#[test]
fn answers_of_the_visit_name_what_they_answer() {
    let Session { visit, .. } = fixture("session.json");
    let payloads: Vec<(String, Value)> = visit
        .iter()
        .filter_map(|step| {
            let kind = step.wire["t"].as_str()?.to_owned();
            Some((kind, serde_json::from_str(step.plaintext.as_ref()?).expect("JSON")))
        })
        .collect();
    let mut offered = Value::Null;
    let mut answers = 0;
    for (kind, payload) in payloads {
        match kind.as_str() {
            "offer" | "reoffer" => offered = payload,
            "reject" => offered = payload["offer"].clone(),
            "answer" => {
                answers += 1;
                let digest = seal::sdp_digest(offered["sdp"].as_str().expect("an SDP"));
                assert_eq!(payload["digest"], Value::String(digest));
                assert_eq!(
                    ["offer", "rev", "boot"].map(|name| &payload[name]),
                    ["offer", "rev", "boot"].map(|name| &offered[name])
                );
            }
            _ => {}
        }
    }
    assert_eq!(answers, 3);
}
