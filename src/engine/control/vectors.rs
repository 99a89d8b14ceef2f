//! The test vectors of the channel protocol, which the page's tests read as well.
#![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::request::Envelope;
use super::*;
use crate::engine::night::NightMode;
use crate::engine::rights::{Right, Rights};
use crate::engine::tally::{
    BoardReport, CandidateKind, End, PathReport, Report, Trouble, ViewerReport, ViewerState, as_many_as_fit,
};
use crate::units::PeerId;

const PEER: PeerId = PeerId(1);

#[derive(Deserialize)]
struct Fixture {
    limits: Value,
    requests: Vec<Asking>,
    accepted: Vec<Accepted>,
    refused: Vec<Refused>,
    from_device: Vec<FromDevice>,
    stills: Vec<Still>,
}

#[derive(Deserialize)]
struct Asking {
    name: String,
    needs: Option<String>,
    message: Value,
}

#[derive(Deserialize)]
struct Accepted {
    name: String,
    text: String,
    padded_to: Option<usize>,
    same_as: String,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    rights: Rights,
    text: String,
    padded_to: Option<usize>,
    reply: Value,
}

#[derive(Deserialize)]
struct FromDevice {
    name: String,
    message: Value,
}

#[derive(Deserialize)]
struct Still {
    bytes: usize,
    messages: Vec<usize>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../../tests/fixtures/signal/control.json"))
        .expect("the fixture is JSON")
}

fn padded(text: &str, to: Option<usize>) -> String {
    format!("{text}{}", " ".repeat(to.map_or(0, |to| to - text.len())))
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("what is written is JSON")
}

/// As a viewer writes it.
fn written(id: u64, request: &Request) -> Value {
    let (kind, more) = match request {
        Request::Status => ("status", json!({})),
        Request::Statistics { of_all: false } => ("stats", json!({})),
        Request::Statistics { of_all: true } => ("stats", json!({ "of": "all" })),
        Request::Controls => ("controls", json!({})),
        Request::Snapshot => ("snapshot", json!({})),
        Request::Set { control, value } => {
            let value = match value {
                ControlValue::Integer(number) => json!(number),
                ControlValue::Boolean(on) => json!(on),
                ControlValue::Entry(name) => json!(name),
            };
            ("set", json!({ "control": control, "value": value }))
        }
        Request::Move(aim) => ("move", aimed(aim)),
        Request::Night(mode) => ("night", json!({ "mode": super::request::mode_name(*mode) })),
        Request::Lamp(level) => ("lamp", json!({ "level": level })),
    };
    let mut message = json!({ "v": 1, "id": id, "t": kind });
    for (name, field) in more.as_object().expect("an object") {
        message[name] = field.clone();
    }
    message
}

fn aimed(aim: &Aim) -> Value {
    let mut fields = json!({});
    for (name, turn) in [("pan", aim.pan), ("tilt", aim.tilt)] {
        match turn {
            Some(Turn::To(at)) => fields[name] = json!(at),
            Some(Turn::By(by)) => fields[format!("{name}_by")] = json!(by),
            None => {}
        }
    }
    fields
}

/// Numbers are compared as numbers: 30 and 30.0 are the same.
fn numbers_alike(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(list) => list.iter().map(numbers_alike).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(name, field)| (name.clone(), numbers_alike(field))).collect())
        }
        other => other.clone(),
    }
}

fn read(text: &str, rights: Rights) -> Result<(u64, Request), Reply> {
    let envelope = Envelope::read(text.as_bytes())?;
    envelope.request(rights).map(|request| (envelope.id, request))
}

#[test]
fn every_request_of_a_viewer_is_read_and_needs_its_right() {
    let fixture = fixture();
    assert!(fixture.requests.len() >= 15);
    for asking in fixture.requests {
        let text = asking.message.to_string();
        let needed: Option<Right> = asking.needs.map(|right| right.parse().expect("a right"));
        let enough = Rights::NONE.with(needed.unwrap_or(Right::Listen));
        let (id, request) = read(&text, enough).expect(&asking.name);
        let back = written(id, &request);
        assert_eq!(numbers_alike(&back), numbers_alike(&asking.message), "{}", asking.name);
        let lacking: Rights = Rights::ALL.iter().filter(|right| Some(*right) != needed).collect();
        assert_eq!(read(&text, lacking).is_ok(), needed.is_none(), "{}", asking.name);
    }
}

#[test]
fn what_may_be_said_differently_is_read_alike() {
    let fixture = fixture();
    for accepted in fixture.accepted {
        let like = fixture.requests.iter().find(|asking| asking.name == accepted.same_as);
        let like = like.expect("it names a request").message.to_string();
        let (_, wanted) = read(&like, Rights::ALL).expect("it is good");
        let (_, request) =
            read(&padded(&accepted.text, accepted.padded_to), Rights::ALL).expect(&accepted.name);
        assert_eq!(request, wanted, "{}", accepted.name);
    }
}

#[test]
fn what_is_wrong_is_answered_with_its_code() {
    for refused in fixture().refused {
        let text = padded(&refused.text, refused.padded_to);
        let reply = read(&text, refused.rights).expect_err(&refused.name);
        let mut reply = value(&reply.into_text());
        let words = reply.as_object_mut().and_then(|reply| reply.remove("text"));
        assert!(words.is_some_and(|words| words.as_str().is_some_and(|words| words.len() > 10)));
        assert_eq!(reply, refused.reply, "{}", refused.name);
    }
}

fn everything(now: Instant) -> State {
    State {
        camera: CameraState::Lost,
        microphone: MicrophoneState::Ready,
        talk: Talk::Shared([PEER, PeerId(2)].into()),
        watching: 3,
        has_controls: true,
        night: Some(Night { mode: NightMode::Auto, is_night: true }),
        motion: Some(Motion { is_active: false, last: now.checked_sub(Duration::from_millis(42_900)) }),
        lamp: Some(60),
        pan: Some(Axis { min: -90.0, max: 90.0, at: -12.5 }),
        tilt: Some(Axis { min: -30.0, max: 60.0, at: 0.0 }),
    }
}

fn private() -> State {
    State {
        camera: CameraState::Private,
        microphone: MicrophoneState::Private,
        talk: Talk::Held(PeerId(2)),
        night: Some(Night { mode: NightMode::Day, is_night: false }),
        motion: Some(Motion { is_active: true, last: None }),
        lamp: Some(0),
        ..State::default()
    }
}

fn resting() -> State {
    State {
        microphone: MicrophoneState::Lost,
        talk: Talk::Free,
        watching: 1,
        motion: Some(Motion { is_active: false, last: None }),
        ..State::default()
    }
}

fn controls() -> Vec<CameraControl> {
    let control = |label: &str, kind, value, is_settable| CameraControl {
        name: control_name(label),
        label: label.to_owned(),
        kind,
        value,
        is_settable,
    };
    let far = (1 << 53) - 1;
    let entries = vec![(0, "Disabled".to_owned()), (1, "50 Hz".to_owned()), (3, "Auto".to_owned())];
    let integer = |min, max, step, default| ControlKind::Integer { min, max, step, default };
    let number = |number| Some(ControlValue::Integer(number));
    vec![
        control("Brightness", integer(0, 255, 1, 128), number(128), true),
        control(
            "Horizontal Flip",
            ControlKind::Boolean { default: false },
            Some(ControlValue::Boolean(true)),
            true,
        ),
        control("Power Line Frequency", ControlKind::Menu { entries, default: 1 }, number(3), true),
        control("Exposure Time, Absolute", integer(-far, far, 5, 0), None, false),
        control("Restart focus", ControlKind::Button, None, true),
    ]
}

/// A viewer's own statistics, as full as they can be.
fn statistics() -> ViewerReport {
    let end = |kind, address: &str| End { kind, address: address.to_owned() };
    ViewerReport {
        name: "Ana".to_owned(),
        slot: "00112233445566aa".to_owned(),
        state: ViewerState::Streaming,
        since_s: 90,
        rights: Rights::NONE.with(Right::View).with(Right::Control),
        path: Some(PathReport {
            kind: CandidateKind::Relay,
            local: end(CandidateKind::Relay, "192.0.2.1:50000"),
            remote: end(CandidateKind::Prflx, "198.51.100.7:61234"),
            relay: Some("203.0.113.9:49152".to_owned()),
        }),
        estimate_bps: Some(6_000_000),
        sent_bps: 1_900_000,
        frames_per_s: 29.9,
        round_trip_ms: Some(12.3),
        delay_ms: 0.9,
        frames_sent: 2_690,
        frames_dropped: 10,
        sound_packets: 4_500,
        packets: 21_000,
        bytes: 21_400_000,
        padding_bytes: 12_000,
        lost: 42,
        lost_percent: 0.2,
        repaired: 41,
        keyframes_asked: 2,
        talks: true,
        troubles: [Trouble::Thinned].into(),
    }
}

#[test]
fn what_the_device_says_is_as_the_page_expects_it() {
    let now = Instant::now() + Duration::from_secs(3600);
    let ready = State { camera: CameraState::Ready, watching: 1, has_controls: true, ..State::default() };
    let seen = |state: &State, rights| state.seen_by(PEER, rights, now);
    let number = ControlValue::Integer;
    let range = ControlRefusal::Range {
        name: "brightness".to_owned(),
        allowed: "a whole number from 0 to 255".to_owned(),
    };
    let says = |name: &str| match name {
        "status" => Reply::state(1, seen(&ready, Rights::ALL)).into_text(),
        "controls" => Reply::controls(2, &controls()).into_text(),
        "set a number" => Reply::value(3, &number(-64)).into_text(),
        "set a switch" => Reply::value(4, &ControlValue::Boolean(true)).into_text(),
        "set a menu" => Reply::value(5, &number(1)).into_text(),
        "set a button" => Reply::value(6, &ControlValue::Boolean(true)).into_text(),
        "snapshot" => Reply::still(7, 40_000).into_text(),
        "move" => Reply::moved(8, Some(-12.5), Some(30.0)).into_text(),
        "move one axis" => Reply::moved(9, None, Some(0.0)).into_text(),
        "night or lamp" => Reply::ok(10).into_text(),
        "statistics of oneself" => Reply::statistics(12, &statistics(), None).into_text(),
        "statistics of all" => {
            let report = Report { board: BoardReport::default(), viewers: vec![statistics()] };
            as_many_as_fit(&report, LIMIT_TEXT_BYTES, |board, viewers, more| {
                Reply::statistics(13, &statistics(), Some((board, viewers, more))).into_text()
            })
        }
        "an error" => Reply::refusal(11, &range).into_text(),
        "an error without an id" => Reply::error(None, Code::Invalid, "this is not JSON").into_text(),
        "a state" => state_news(seen(&ready, Rights::ALL)),
        "a state with everything" => state_news(seen(&everything(now), Rights::ALL)),
        "a private state" => state_news(seen(&private(), Rights::NONE.with(Right::Listen))),
        "a resting state" => state_news(seen(&resting(), Rights::NONE.with(Right::Talk))),
        "controls pushed" => controls_news(&controls()),
        "no controls" => controls_news(&[]),
        other => panic!("nobody says {other}"),
    };
    let fixture = fixture();
    assert!(fixture.from_device.len() >= 15);
    for said in fixture.from_device {
        assert_eq!(numbers_alike(&value(&says(&said.name))), numbers_alike(&said.message), "{}", said.name);
    }
}

#[test]
fn stills_and_limits_are_those_of_the_page() {
    let fixture = fixture();
    for still in fixture.stills {
        let jpeg = vec![0; still.bytes];
        let messages: Vec<usize> = jpeg.chunks(STILL_CHUNK_BYTES).map(<[u8]>::len).collect();
        assert_eq!(messages, still.messages);
    }
    let limits = json!({
        "label": LABEL, "text_bytes": LIMIT_TEXT_BYTES, "nesting": LIMIT_NESTING,
        "chunk_bytes": STILL_CHUNK_BYTES, "per_second": 20, "burst": 40, "pushes_per_second": 5,
    });
    assert_eq!(fixture.limits, limits);
}

#[test]
fn a_list_of_controls_fits_into_a_message() {
    let many: Vec<CameraControl> = std::iter::repeat_n(controls(), 100).flatten().collect();
    for text in [Reply::controls(1, &many).into_text(), controls_news(&many)] {
        assert!((15_000..=LIMIT_TEXT_BYTES).contains(&text.len()), "{} bytes", text.len());
        assert!(value(&text)["controls"].as_array().is_some_and(|list| list.len() > 50));
    }
}

fn asking(id: u64) -> String {
    format!(r#"{{"v":1,"id":{id},"t":"status"}}"#)
}

#[test]
fn a_flood_is_told_that_it_is_one_and_ends_by_itself() {
    let start = Instant::now();
    let mut desk = Desk::new(PEER, Rights::ALL, 0);
    let mut heard = |at, id| desk.hear(at, asking(id).as_bytes());
    for id in 1..=40 {
        assert_eq!(heard(start, id), Heard::Asked(id, Request::Status));
    }
    let Heard::Answered(reply) = heard(start, 41) else { panic!("the 41st at once is too much") };
    let reply = value(&reply.into_text());
    assert_eq!((&reply["code"], &reply["id"]), (&json!("busy"), &json!(41)));
    let later = start + Duration::from_secs(1);
    for id in 50..70 {
        assert_eq!(heard(later, id), Heard::Asked(id, Request::Status));
    }
    assert!(matches!(heard(later, 70), Heard::Answered(_)));
}

#[test]
fn a_second_still_waits_until_the_first_is_there() {
    let now = Instant::now();
    let mut desk = Desk::new(PEER, Rights::ALL, 0);
    let ask = |id: u64| format!(r#"{{"v":1,"id":{id},"t":"snapshot"}}"#);
    assert_eq!(desk.hear(now, ask(1).as_bytes()), Heard::Asked(1, Request::Snapshot));
    let Heard::Answered(reply) = desk.hear(now, ask(2).as_bytes()) else { panic!("one at a time") };
    assert_eq!(value(&reply.into_text())["code"], "busy");
    assert_eq!(desk.take_still(), Some(1));
    assert_eq!(desk.hear(now, ask(3).as_bytes()), Heard::Asked(3, Request::Snapshot));
}

#[test]
fn news_comes_at_most_five_times_a_second_and_the_last_wins() {
    let start = Instant::now();
    let mut desk = Desk::new(PEER, Rights::ALL, 0);
    let state = |watching| State { watching, ..State::default() };
    assert!(desk.state_news(start, &state(1)).is_some(), "the first is told at once");
    assert!(desk.state_news(start, &state(1)).is_none(), "nothing has changed");
    assert_eq!(desk.due(&state(1), 0), None);
    for (n, ms) in (2..10).zip([1, 20, 50, 90, 120, 150, 180, 199]) {
        assert_eq!(desk.state_news(start + Duration::from_millis(ms), &state(n)), None);
    }
    let due = desk.due(&state(9), 0).expect("it is to be told");
    assert_eq!(due, start + Duration::from_millis(200));
    let news = value(&desk.state_news(due, &state(9)).expect("it is time"));
    assert_eq!(news["state"]["watching"], 9);
    assert_eq!(desk.due(&state(9), 0), None);
    assert!(desk.state_news(due + Duration::from_secs(5), &state(3)).is_some());
}

#[test]
fn controls_are_news_to_those_who_may_set_them() {
    let start = Instant::now();
    let mut may = Desk::new(PEER, Rights::ALL, 7);
    let mut may_not = Desk::new(PEER, Rights::NONE.with(Right::View), 7);
    assert!(!may.wants_controls(start, 7), "they are asked for");
    assert!(may.wants_controls(start, 8));
    assert!(!may.wants_controls(start, 9), "not so soon");
    let state = State::default();
    may.state_news(start, &state);
    may_not.state_news(start, &state);
    assert_eq!(may.due(&state, 9), Some(start + Duration::from_millis(200)));
    assert!(!may_not.wants_controls(start, 8));
    assert_eq!(may_not.due(&state, 8), None);
}

/// JSON that may be a request, and may be anything.
fn somehow_like_a_request() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,8}".prop_map(Value::from),
        Just(json!("auto")),
        (0..200).prop_map(Value::from),
    ];
    let inner =
        leaf.prop_recursive(9, 24, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from));
    let name = prop::sample::select(vec![
        "control", "value", "pan", "tilt", "pan_by", "tilt_by", "mode", "level", "of", "v", "id", "t", "x",
    ]);
    let kinds = ["status", "controls", "set", "snapshot", "move", "night", "lamp", "stats", "dance"];
    let kind = prop::sample::select(kinds.to_vec());
    let object =
        (0..5u64, kind, prop::collection::vec((name, inner), 0..5)).prop_map(|(id, kind, fields)| {
            let mut message = json!({ "v": 1, "id": id, "t": kind });
            for (name, field) in fields {
                message[name] = field;
            }
            message.to_string().into_bytes()
        });
    prop_oneof![4 => object, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn whatever_comes_with_an_id_gets_that_id_back_once(
        messages in prop::collection::vec((somehow_like_a_request(), 0..16u8, 0..3000u64), 1..60),
    ) {
        let mut now = Instant::now();
        let mut desk = Desk::new(PEER, Rights::ALL, 0);
        for (message, rights, passed_ms) in messages {
            now += Duration::from_millis(passed_ms);
            desk.set_rights(Rights::ALL.iter().enumerate().filter(|(n, _)| rights & 1 << n != 0).map(|(_, r)| r).collect());
            let id = serde_json::from_slice::<Value>(&message).ok()
                .and_then(|message| message.get("id")?.as_u64())
                .filter(|id| (1..1 << 53).contains(id));
            let is_shallow = std::str::from_utf8(&message)
                .is_ok_and(|text| crate::engine::message::nests_within(text, LIMIT_NESTING));
            match desk.hear(now, &message) {
                Heard::Asked(asked, _) => prop_assert_eq!(Some(asked), id),
                Heard::Answered(reply) => {
                    let text = reply.into_text();
                    prop_assert!(text.len() <= LIMIT_TEXT_BYTES);
                    let reply: Value = serde_json::from_str(&text).expect("JSON");
                    prop_assert_eq!(reply["t"].as_str(), Some("error"));
                    prop_assert_eq!(reply["id"].as_u64(), id.filter(|_| is_shallow));
                }
            }
        }
    }
}
