//! Sealing: what makes a broker that nobody trusts good enough to carry offers and answers.
//!
//! Every message is encrypted and authenticated under a key that only the device and one viewer can
//! derive, bound to its direction, device, key id, session (or offer), type and counter. So a broker,
//! or whoever reaches it, can drop messages and nothing else: a message moved, replayed to another
//! session, turned round or renamed does not open. Counters (`n`) are checked by whoever keeps them.
//!
//! HKDF is RFC 5869, AES-GCM is NIST SP 800-38D. This file draws no randomness: the IV is handed in.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};

use crate::units::{BootId, DeviceId, Kid, OfferId, SessionId};

/// Plaintexts are padded with spaces to a multiple of this, so that a length says little.
pub const PADDING_BYTES: usize = 1024;
/// A sender keeps every padded plaintext within this (a stock Mosquitto's WebSocket listener turns
/// slow above about 11 KB on the wire).
pub const PLAINTEXT_LIMIT_BYTES: usize = 8192;
const IV_BYTES: usize = 12;

/// Which way a message goes. It is part of what is authenticated, so nothing can be sent back to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `d2v`.
    DeviceToViewer,
    /// `v2d`.
    ViewerToDevice,
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Direction::DeviceToViewer => "d2v",
            Direction::ViewerToDevice => "v2d",
        }
    }
}

/// What a message belongs to, and so which key it is sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The standing offer of this id.
    Offer(OfferId),
    /// Everything else: one viewer's session in one life of the device.
    Session(BootId, SessionId),
}

impl Context {
    fn name(self) -> String {
        match self {
            Context::Offer(offer) => format!("o{offer}"),
            Context::Session(boot, session) => format!("s{boot}.{session}"),
        }
    }
}

/// Everything that a sealed message is bound to besides its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// Which way it goes.
    pub direction: Direction,
    /// The device that it is from or to.
    pub device: DeviceId,
    /// The viewer's key id.
    pub kid: Kid,
    /// What it belongs to.
    pub context: Context,
    /// The message's type, as on the wire.
    pub kind: &'a str,
    /// Its counter.
    pub n: u64,
}

/// A text that is not what it must be to be opened, or was not sealed with this key for this binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message does not open with this key")]
pub struct DoesNotOpen;

/// Seals `plaintext` (padded here) and returns `ct` as it stands on the wire: base64url of
/// `iv || ciphertext || tag`. An `iv` must never be used twice with one key; it is drawn at random.
pub fn seal(key: &[u8; 32], binding: &Binding<'_>, iv: [u8; IV_BYTES], plaintext: &str) -> String {
    let padded_bytes = plaintext.len().next_multiple_of(PADDING_BYTES);
    let mut padded = Vec::with_capacity(padded_bytes);
    padded.extend_from_slice(plaintext.as_bytes());
    padded.resize(padded_bytes, b' ');
    let payload = Payload { msg: &padded, aad: &aad(binding) };
    let sealed = cipher(key, binding)
        .encrypt(&Nonce::from(iv), payload)
        .expect("AES-GCM takes up to 2^36 bytes, and this is a few thousand");
    let mut bytes = iv.to_vec();
    bytes.extend_from_slice(&sealed);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Opens `ct`; the plaintext still has its padding, which JSON ignores.
///
/// # Errors
/// When it is not base64url, too short, not UTF-8, or was not sealed so. They are one error on
/// purpose: whoever sends garbage learns nothing from it.
pub fn open(key: &[u8; 32], binding: &Binding<'_>, ct: &str) -> Result<String, DoesNotOpen> {
    let bytes = URL_SAFE_NO_PAD.decode(ct).map_err(|_| DoesNotOpen)?;
    let (iv, sealed) = bytes.split_at_checked(IV_BYTES).ok_or(DoesNotOpen)?;
    let iv = <[u8; IV_BYTES]>::try_from(iv).map_err(|_| DoesNotOpen)?;
    let payload = Payload { msg: sealed, aad: &aad(binding) };
    let plain = cipher(key, binding).decrypt(&Nonce::from(iv), payload).map_err(|_| DoesNotOpen)?;
    String::from_utf8(plain).map_err(|_| DoesNotOpen)
}

/// The MQTT password that a viewer derives from its key, so that a link needs only one secret.
pub fn mqtt_password(key: &[u8; 32], device: DeviceId, kid: Kid) -> String {
    let info = length_prefixed(&["farol/1", "mqtt", &device.to_string(), &kid.to_string()]);
    let mut password = [0u8; 24];
    Hkdf::<Sha256>::new(None, key)
        .expand(&info, &mut password)
        .expect("24 bytes are within the 8,160 that HKDF-SHA256 gives");
    URL_SAFE_NO_PAD.encode(password)
}

/// The digest by which an answer names the offer that it answers: SHA-256 of the SDP in UTF-8, base64url.
pub fn sdp_digest(sdp: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(sdp.as_bytes()))
}

fn cipher(key: &[u8; 32], binding: &Binding<'_>) -> Aes256Gcm {
    let info = length_prefixed(&[
        "farol/1",
        binding.direction.name(),
        &binding.device.to_string(),
        &binding.kid.to_string(),
    ]);
    let mut derived = [0u8; 32];
    Hkdf::<Sha256>::new(Some(binding.context.name().as_bytes()), key)
        .expand(&info, &mut derived)
        .expect("32 bytes are within the 8,160 that HKDF-SHA256 gives");
    Aes256Gcm::new(&derived.into())
}

fn aad(binding: &Binding<'_>) -> Vec<u8> {
    let mut aad = length_prefixed(&[
        "farol/1",
        binding.direction.name(),
        &binding.device.to_string(),
        &binding.kid.to_string(),
        &binding.context.name(),
        binding.kind,
    ]);
    let n = binding.n.to_be_bytes();
    aad.extend_from_slice(&[0, 8]); // lp() of eight bytes
    aad.extend_from_slice(&n);
    aad
}

/// `lp`: each text behind its length as two bytes, so that no two lists of texts give the same bytes.
/// A longer text is cut to what the length can say; every caller's texts are under 100 bytes or were
/// read from a message of at most 32 KiB.
fn length_prefixed(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Fixture {
        vectors: Vec<Vector>,
        mqtt: Vec<Mqtt>,
    }

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        k: String,
        device: DeviceId,
        kid: Kid,
        direction: String,
        ctx: String,
        #[serde(rename = "type")]
        kind: String,
        n: u64,
        iv: String,
        plaintext: String,
        wire: Wire,
    }

    #[derive(Deserialize)]
    struct Wire {
        ct: String,
    }

    #[derive(Deserialize)]
    struct Mqtt {
        k: String,
        device: DeviceId,
        kid: Kid,
        password: String,
    }

    fn fixture() -> Fixture {
        serde_json::from_str(include_str!("../../tests/fixtures/signal/seal.json"))
            .expect("the fixture is JSON")
    }

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        URL_SAFE_NO_PAD.decode(text).expect("base64url").try_into().expect("as many bytes as the field has")
    }

    fn context(text: &str) -> Context {
        match text.split_at(1) {
            ("o", offer) => Context::Offer(offer.parse().expect("an offer id")),
            ("s", rest) => {
                let (boot, session) = rest.split_once('.').expect("boot and session");
                Context::Session(boot.parse().expect("a boot id"), session.parse().expect("a session id"))
            }
            other => panic!("no context begins with {other:?}"),
        }
    }

    #[test]
    fn the_vectors_that_the_page_also_reads() {
        let fixture = fixture();
        assert!(fixture.vectors.len() >= 6);
        for vector in fixture.vectors {
            let binding = Binding {
                direction: match vector.direction.as_str() {
                    "d2v" => Direction::DeviceToViewer,
                    _ => Direction::ViewerToDevice,
                },
                device: vector.device,
                kid: vector.kid,
                context: context(&vector.ctx),
                kind: &vector.kind,
                n: vector.n,
            };
            let key = bytes(&vector.k);
            let sealed = seal(&key, &binding, bytes(&vector.iv), &vector.plaintext);
            assert_eq!(sealed, vector.wire.ct, "{}", vector.name);
            let opened = open(&key, &binding, &sealed).expect("it was just sealed");
            assert_eq!(opened.trim_end_matches(' '), vector.plaintext, "{}", vector.name);
        }
        for mqtt in fixture.mqtt {
            assert_eq!(mqtt_password(&bytes(&mqtt.k), mqtt.device, mqtt.kid), mqtt.password);
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_only_as_what_it_was(
            key: [u8; 32], n in 1u64..1 << 53, session: u128, text in "\\PC{0,80}", flip in 0usize..4096, other in 0u8..6,
        ) {
            let binding = Binding {
                direction: Direction::ViewerToDevice,
                device: DeviceId(1),
                kid: Kid(2),
                context: Context::Session(BootId(3), SessionId(session)),
                kind: "answer",
                n,
            };
            let sealed = seal(&key, &binding, [9; IV_BYTES], &text);
            let opened = open(&key, &binding, &sealed).expect("it was just sealed");
            prop_assert_eq!(opened.trim_end_matches(' '), text.trim_end_matches(' '));

            let mut bytes = URL_SAFE_NO_PAD.decode(&sealed).expect("base64url");
            let at = flip % (bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(open(&key, &binding, &URL_SAFE_NO_PAD.encode(bytes)), Err(DoesNotOpen));

            let moved = match other {
                0 => Binding { direction: Direction::DeviceToViewer, ..binding },
                1 => Binding { device: DeviceId(9), ..binding },
                2 => Binding { kid: Kid(9), ..binding },
                3 => Binding { context: Context::Offer(OfferId(session)), ..binding },
                4 => Binding { kind: "hello", ..binding },
                _ => Binding { n: n + 1, ..binding },
            };
            prop_assert_eq!(open(&key, &moved, &sealed), Err(DoesNotOpen));
        }

        #[test]
        fn no_text_panics_the_opener(text in "\\PC{0,200}") {
            let context = Context::Offer(OfferId(0));
            let (device, kid) = (DeviceId(1), Kid(2));
            let binding = Binding { direction: Direction::DeviceToViewer, device, kid, context, kind: "offer", n: 1 };
            prop_assert_eq!(open(&[0; 32], &binding, &text), Err(DoesNotOpen));
        }
    }
}
