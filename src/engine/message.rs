//! The wire messages of `farol/1`, what may be in them, and how they are read without trusting them.
//!
//! Reading is in two steps, so that nothing is parsed before it is authenticated: [`Wire::read`] takes
//! the envelope apart after checking its size and nesting; the sealed or open payload then goes
//! through [`FromViewer::read`]. Unknown fields are ignored; an unknown type is an outcome that is counted.

use serde::{Deserialize, Serialize};

use crate::config::{IcePolicy, IceServer};
use crate::engine::rights::{Right, Rights};
use crate::units::{BootId, OfferId};

/// The largest message that is looked at, in bytes, sealed or not.
pub const LIMIT_BYTES: usize = 32 * 1024;
/// How deep a message's JSON may nest; `{}` is 1.
pub const LIMIT_NESTING: usize = 16;
/// Counters stay within what a JavaScript number holds exactly, 2^53 - 1.
pub const LIMIT_COUNTER: u64 = (1 << 53) - 1;

/// An ICE candidate as browsers write it (RTCIceCandidateInit).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The `candidate:` attribute's value (RFC 8839 §5.1); empty at the end of candidates.
    pub candidate: String,
    /// Which media section, by `a=mid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// Which media section, by its index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
    /// Which ICE generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

/// Why a message was not even taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Over [`LIMIT_BYTES`].
    TooLarge,
    /// Over [`LIMIT_NESTING`].
    TooDeep,
    /// Not UTF-8, not JSON, or not the envelope.
    Malformed,
}

/// A message as it stands on the wire, its payload still closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The message's type.
    pub kind: String,
    /// Its counter, from 1 to [`LIMIT_COUNTER`].
    pub n: u64,
    /// What is in it.
    pub body: Body,
}

/// What an envelope holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `ct` of the sealed form.
    Sealed(String),
    /// `p` of the open form, as JSON text.
    Open(String),
}

#[derive(Deserialize)]
struct Envelope {
    v: u64,
    t: String,
    n: u64,
    ct: Option<String>,
    p: Option<serde_json::Value>,
}

impl Wire {
    /// Takes a message apart.
    ///
    /// # Errors
    /// Its size and nesting are checked before anything is parsed.
    pub fn read(bytes: &[u8]) -> Result<Wire, Unreadable> {
        if bytes.len() > LIMIT_BYTES {
            return Err(Unreadable::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::Malformed)?;
        check_nesting(text)?;
        let envelope: Envelope = serde_json::from_str(text).map_err(|_| Unreadable::Malformed)?;
        let body = match (envelope.ct, envelope.p) {
            (Some(ct), None) => Body::Sealed(ct),
            (None, Some(p @ serde_json::Value::Object(_))) => Body::Open(p.to_string()),
            _ => return Err(Unreadable::Malformed),
        };
        if envelope.v != 1 || !(1..=LIMIT_COUNTER).contains(&envelope.n) || envelope.t.len() > 32 {
            return Err(Unreadable::Malformed);
        }
        Ok(Wire { kind: envelope.t, n: envelope.n, body })
    }
}

/// Writes the sealed form. A standing offer names its id, since its key is derived from it.
pub fn write_sealed(kind: &str, n: u64, ct: &str, standing: Option<OfferId>) -> String {
    let mut wire = serde_json::json!({ "v": 1, "t": kind, "n": n, "ct": ct });
    if let Some(offer) = standing {
        wire["offer"] = serde_json::Value::String(offer.to_string());
    }
    wire.to_string()
}

/// Writes the open form; `payload` is a JSON object.
pub fn write_open(kind: &str, n: u64, payload: &str) -> String {
    format!(r#"{{"v":1,"t":"{kind}","n":{n},"p":{payload}}}"#)
}

/// Refuses a text that nests deeper than [`LIMIT_NESTING`], without parsing it.
///
/// # Errors
/// [`Unreadable::TooDeep`].
pub fn check_nesting(text: &str) -> Result<(), Unreadable> {
    if nests_within(text, LIMIT_NESTING) { Ok(()) } else { Err(Unreadable::TooDeep) }
}

/// Whether a text's JSON nests no deeper than `limit`, without parsing it; `{}` is 1.
pub fn nests_within(text: &str, limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > limit {
                    return false;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// What a viewer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromViewer {
    /// It wants an offer of its own.
    Hello(Hello),
    /// It answers an offer.
    Answer(Answer),
    /// More ways to reach it.
    Candidates(Candidates),
    /// It wants ICE restarted.
    Restart,
    /// It goes.
    Bye(Bye),
}

/// `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The boot that the viewer believes in.
    pub boot: BootId,
    /// What it wants to do.
    #[serde(deserialize_with = "known_rights")]
    pub wants: Rights,
}

/// `answer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The boot that the offer named.
    pub boot: BootId,
    /// Which offer is answered.
    pub offer: OfferId,
    /// Which revision of it.
    pub rev: u64,
    /// [`sdp_digest`](crate::engine::seal::sdp_digest) of that revision's SDP.
    pub digest: String,
    /// What the viewer wants to do.
    #[serde(deserialize_with = "known_rights")]
    pub wants: Rights,
    /// The answer.
    pub sdp: String,
}

/// `candidates`, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidates {
    /// The offer that they belong to.
    pub offer: OfferId,
    /// The candidates.
    pub list: Vec<Candidate>,
    /// Whether there are no more.
    #[serde(default)]
    pub end: bool,
}

/// `bye`, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
}

/// Why a payload was not taken although its message was authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPayload {
    /// A type of another version, perhaps.
    UnknownType,
    /// The fields are not the type's.
    Malformed,
}

impl FromViewer {
    /// Reads the payload of a message of type `kind`.
    ///
    /// # Errors
    /// The decrypted text's nesting is limited too.
    pub fn read(kind: &str, payload: &str) -> Result<FromViewer, BadPayload> {
        check_nesting(payload).map_err(|_| BadPayload::Malformed)?;
        match kind {
            "hello" => parse(payload).map(FromViewer::Hello),
            "answer" => parse(payload).map(FromViewer::Answer),
            "candidates" => parse(payload).map(FromViewer::Candidates),
            "restart" => parse::<serde::de::IgnoredAny>(payload).map(|_| FromViewer::Restart),
            "bye" => parse(payload).map(FromViewer::Bye),
            _ => Err(BadPayload::UnknownType),
        }
    }
}

/// What the device says to a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToViewer {
    /// A dedicated offer.
    Offer(Offer),
    /// The next description of a session that runs.
    Reoffer(Offer),
    /// An answer was applied.
    Accept(Accept),
    /// More ways to reach the device.
    Candidates(Candidates),
    /// No.
    Reject(Reject),
    /// The session is over.
    Bye(Bye),
}

impl ToViewer {
    /// The type on the wire, and the payload as JSON.
    pub fn write(&self) -> (&'static str, String) {
        match self {
            ToViewer::Offer(offer) => ("offer", json(offer)),
            ToViewer::Reoffer(offer) => ("reoffer", json(offer)),
            ToViewer::Accept(accept) => ("accept", json(accept)),
            ToViewer::Candidates(candidates) => ("candidates", json(candidates)),
            ToViewer::Reject(reject) => ("reject", json(reject)),
            ToViewer::Bye(bye) => ("bye", json(bye)),
        }
    }
}

/// `offer` and `reoffer`; the topic says whether it stands or is dedicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its id, used once, by one session.
    pub offer: OfferId,
    /// Its revision, from 1; a later one has more candidates.
    pub rev: u64,
    /// The device's boot.
    pub boot: BootId,
    /// The camera's name, for people.
    pub name: String,
    /// The offer, with all candidates gathered so far.
    pub sdp: String,
    /// How long it can be answered, from receipt; a hint for a standing offer.
    pub ttl_s: u64,
    /// As in RTCConfiguration.
    pub ice_servers: Vec<IceServer>,
    /// As in RTCConfiguration; left out for `all`.
    #[serde(default, skip_serializing_if = "IcePolicy::is_all")]
    pub ice_transport_policy: IcePolicy,
    /// What this viewer may do.
    pub rights: Rights,
}

/// `accept`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// The offer whose answer was applied.
    pub offer: OfferId,
    /// What the viewer got of what it wanted.
    pub rights: Rights,
}

/// `reject`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Why.
    pub code: RejectCode,
    /// When it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
    /// With `taken` and `stale`: an offer of the session's own, which it cannot lose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
    /// With `invalid`: `digest`, `rev` or `sdp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
}

/// Why a viewer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RejectCode {
    /// Another viewer answered first.
    Taken,
    /// The offer is no longer lit.
    Stale,
    /// No place is free.
    Full,
    /// The viewer's rights do not allow it.
    Denied,
    /// The answer does not fit the offer.
    Invalid,
}

/// `status`: a hint, never trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The protocol's version, 1.
    pub v: u64,
    /// `online` or `offline`.
    pub state: String,
    /// The device's boot.
    pub boot: BootId,
    /// `sealed` or `open`.
    pub security: String,
    /// Whether no place is free.
    pub full: bool,
    /// `ready`, `lost` while the camera is missing, or `private` while the board's switch forbids it.
    pub camera: String,
}

/// `event/motion`: something moves, or does not any more. In plain, for home automation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MotionEvent {
    /// The protocol's version, 1.
    pub v: u64,
    /// The device's boot.
    pub boot: BootId,
    /// Counts them in this boot, from 1.
    pub n: u64,
    /// `active` or `over`.
    pub state: String,
    /// When, on the device's wall clock, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Writes what can always be written: structs of strings, numbers and lists.
pub fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("no map in a message has keys that are not strings")
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, BadPayload> {
    serde_json::from_str(payload).map_err(|_| BadPayload::Malformed)
}

/// Rights that a later viewer may know and we do not are left out, not refused.
fn known_rights<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Rights, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    Ok(words.iter().filter_map(|word| word.parse::<Right>().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_envelope_is_taken_apart_and_unknown_fields_are_ignored() {
        let wire = Wire::read(br#"{"v":1,"t":"bye","n":7,"p":{"reason":"done","later":1},"x":[]}"#);
        let Ok(Wire { kind, n: 7, body: Body::Open(payload) }) = wire else { panic!("{wire:?}") };
        let bye = FromViewer::read(&kind, &payload);
        assert_eq!(bye, Ok(FromViewer::Bye(Bye { reason: "done".into() })));
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let long = format!(r#"{{"v":1,"t":"bye","n":1,"p":{{}},"x":"{}"}}"#, "x".repeat(LIMIT_BYTES));
        assert_eq!(Wire::read(long.as_bytes()), Err(Unreadable::TooLarge));
        let deep = format!(r#"{{"v":1,"t":"bye","n":1,"p":{}{}}}"#, r#"{"a":"#.repeat(16), "1}".repeat(16));
        assert_eq!(Wire::read(deep.as_bytes()), Err(Unreadable::TooDeep));
        for bad in [
            &b"\xff\xfe"[..],
            b"",
            b"[]",
            br#"{"v":2,"t":"bye","n":1,"p":{}}"#,
            br#"{"v":1,"t":"bye","n":0,"p":{}}"#,
            br#"{"v":1,"t":"bye","n":9007199254740992,"p":{}}"#,
            br#"{"v":1,"t":"bye","n":1.5,"p":{}}"#,
            br#"{"v":1,"t":"bye","n":1}"#,
            br#"{"v":1,"t":"bye","n":1,"p":[]}"#,
            br#"{"v":1,"t":"bye","n":1,"p":{},"ct":"AA"}"#,
        ] {
            assert_eq!(Wire::read(bad), Err(Unreadable::Malformed), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn nesting_counts_braces_but_not_those_in_strings() {
        assert_eq!(check_nesting(&"[".repeat(16)), Ok(()));
        assert_eq!(check_nesting(&"[".repeat(17)), Err(Unreadable::TooDeep));
        assert_eq!(check_nesting(&format!(r#"{{"a":"\"{}"}}"#, "{".repeat(40))), Ok(()));
        assert_eq!(check_nesting(&"[]".repeat(100)), Ok(()));
    }

    #[test]
    fn a_right_that_we_do_not_know_is_left_out() {
        let boot = BootId(5);
        let payload = format!(r#"{{"boot":"{boot}","wants":["view","smell"]}}"#);
        let hello = Hello { boot, wants: Rights::NONE.with(Right::View) };
        assert_eq!(FromViewer::read("hello", &payload), Ok(FromViewer::Hello(hello)));
        assert_eq!(FromViewer::read("wave", &payload), Err(BadPayload::UnknownType));
        assert_eq!(FromViewer::read("answer", &payload), Err(BadPayload::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Wire::read(&bytes);
        }

        #[test]
        fn what_is_written_reads_back(kind in "[a-z]{1,10}", n in 1..=LIMIT_COUNTER, reason in "\\PC{0,40}") {
            let payload = json(&Bye { reason });
            let wire = write_open(&kind, n, &payload);
            let read = Wire::read(wire.as_bytes()).expect("it was just written");
            prop_assert_eq!((read.kind, read.n), (kind.clone(), n));
            let Body::Open(inner) = read.body else { return Err(TestCaseError::fail("sealed")) };
            prop_assert_eq!(serde_json::from_str::<Bye>(&inner).ok(), serde_json::from_str::<Bye>(&payload).ok());
            let sealed = Wire::read(write_sealed(&kind, n, "AAAA", Some(OfferId(3))).as_bytes());
            prop_assert_eq!(sealed, Ok(Wire { kind, n, body: Body::Sealed("AAAA".into()) }));
        }
    }
}
