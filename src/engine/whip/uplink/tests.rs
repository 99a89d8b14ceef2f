#![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

use super::*;
use proptest::prelude::*;

const OFFER: &str = "v=0\r\ns=-\r\na=group:BUNDLE 0 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:0\r\n\
    a=ice-ufrag:ours\r\na=ice-pwd:secret\r\na=candidate:1 1 udp 1 10.0.0.2 5000 typ host\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n";
const ANSWER: &str = "v=0\r\ns=-\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:0\r\n\
    a=ice-ufrag:theirs\r\na=ice-pwd:hidden\r\n";
const LATE: &str = "candidate:2 1 udp 1 192.0.2.1 6000 typ srflx";
const TURN: &str = "<turn:turn.test>; rel=\"ice-server\"; username=\"u\"; credential=\"c\"";

/// An uplink, its clock, and what it ordered.
struct Scene {
    uplink: Uplink,
    now: Instant,
    orders: Vec<Command>,
}

impl Scene {
    /// One that is wanted and has opened its peer connection.
    fn new() -> Scene {
        let uplink = Uplink::new(vec!["audio", "video"], [7; 32]);
        let mut scene = Scene { uplink, now: Instant::now(), orders: vec![] };
        scene.put(Input::Wanted(true));
        scene
    }

    /// One whose offer is with the server, all candidates in it.
    fn posted() -> (Scene, u64) {
        let mut scene = Scene::new();
        scene.put(Input::Offered(OFFER.into()));
        scene.put(Input::Gathered(OFFER.into()));
        let ticket = scene.request(Method::Post).ticket;
        (scene, ticket)
    }

    /// One that is live.
    fn live() -> Scene {
        let (mut scene, ticket) = Scene::posted();
        scene.put(Input::Replied(ticket, Ok(created(&[]))));
        scene.put(Input::AnswerApplied);
        scene.put(Input::Connected);
        assert_eq!(scene.uplink.state(), State::Live);
        scene
    }

    fn put(&mut self, input: Input) {
        self.uplink.handle(self.now, input);
        self.orders.extend(std::iter::from_fn(|| self.uplink.next_command()));
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.uplink.deadline().filter(|due| *due <= until) {
            self.now = due;
            self.put(Input::Tick);
        }
        self.now = until;
    }

    /// The newest request, which must be of this kind.
    fn request(&self, method: Method) -> Request {
        let newest = self.orders.iter().rev().find_map(|order| match order {
            Command::Send(request) => Some(request.clone()),
            _ => None,
        });
        newest.filter(|request| request.method == method).expect("such a request is the newest")
    }

    fn requests(&self, method: Method) -> usize {
        let is_such = |order: &&Command| matches!(order, Command::Send(request) if request.method == method);
        self.orders.iter().filter(is_such).count()
    }

    fn count(&self, order: &Command) -> usize {
        self.orders.iter().filter(|one| *one == order).count()
    }

    /// What was said of the newest fault: why, and the wait.
    fn fault(&self) -> (String, Duration) {
        let newest = self.orders.iter().rev().find_map(|order| match order {
            Command::Tell(Story::Failed { reason, again, .. }) => Some((reason.clone(), *again)),
            _ => None,
        });
        newest.expect("a fault was told")
    }
}

fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Reply { status, url: "https://media.test/whip".parse().expect("a URL"), headers, body: body.into() }
}

fn created(more: &[(&str, &str)]) -> Reply {
    let usual = [("content-type", "application/sdp"), ("location", "/s/1"), ("etag", "\"one\"")];
    reply(201, &[usual.as_slice(), more].concat(), ANSWER)
}

#[test]
fn offer_is_posted_without_what_is_not_sent_and_the_answer_fits_the_whole_offer() {
    let (mut scene, ticket) = Scene::posted();
    assert!(!scene.request(Method::Post).body.contains("m=application"));
    scene.put(Input::Replied(ticket, Ok(created(&[]))));
    let answers = scene.orders.iter().filter_map(|order| match order {
        Command::ApplyAnswer(sdp) => Some(sdp.contains("m=application 0 ")),
        _ => None,
    });
    assert_eq!(answers.collect::<Vec<_>>(), [true]);
    scene.put(Input::AnswerApplied);
    scene.put(Input::Connected);
    assert_eq!(scene.count(&Command::StartMedia), 1);
    assert_eq!(scene.uplink.deadline(), None, "media flows; nothing is to be done");
    assert_eq!(scene.requests(Method::Patch), 0, "the server has all candidates");
}

#[test]
fn offer_waits_a_moment_for_candidates_and_no_longer() {
    let mut scene = Scene::new();
    scene.put(Input::Offered(OFFER.into()));
    scene.wait(GATHERING - Duration::from_millis(1));
    assert_eq!(scene.requests(Method::Post), 0);
    scene.wait(Duration::from_millis(1));
    assert_eq!(scene.requests(Method::Post), 1);
}

#[test]
fn late_candidate_is_trickled_once_under_the_sessions_name() {
    let mut scene = Scene::new();
    scene.put(Input::Offered(OFFER.into()));
    scene.wait(GATHERING);
    let ticket = scene.request(Method::Post).ticket;
    let more = OFFER.replace("m=application", &format!("a={LATE}\r\nm=application"));
    scene.put(Input::Candidate(LATE.into(), more.clone()));
    assert_eq!(scene.requests(Method::Patch), 0, "there is no session yet");
    scene.put(Input::Replied(ticket, Ok(created(&[]))));
    scene.put(Input::AnswerApplied);
    let patch = scene.request(Method::Patch);
    assert_eq!(patch.if_match.as_deref(), Some("\"one\""));
    assert_eq!(patch.url.expect("the session").path(), "/s/1");
    assert!(patch.body.contains(LATE) && !patch.body.contains("10.0.0.2"), "{}", patch.body);
    assert!(!patch.body.contains("end-of-candidates"));
    scene.put(Input::Gathered(more));
    assert_eq!(scene.requests(Method::Patch), 1, "one request at a time");
    scene.put(Input::Replied(patch.ticket, Ok(reply(204, &[], ""))));
    let end = scene.request(Method::Patch);
    assert!(end.body.ends_with("a=end-of-candidates\r\n") && !end.body.contains(LATE), "{}", end.body);
    scene.put(Input::Replied(end.ticket, Ok(reply(204, &[], ""))));
    assert_eq!(scene.requests(Method::Patch), 2);
}

#[test]
fn server_that_takes_no_candidates_is_asked_once() {
    let mut scene = Scene::new();
    scene.put(Input::Offered(OFFER.into()));
    scene.wait(GATHERING);
    let ticket = scene.request(Method::Post).ticket;
    scene.put(Input::Replied(ticket, Ok(created(&[]))));
    let with = |n: u32| OFFER.replace("m=application", &format!("a={LATE} {n}\r\nm=application"));
    scene.put(Input::Candidate(LATE.into(), with(1)));
    let ticket = scene.request(Method::Patch).ticket;
    scene.put(Input::Replied(ticket, Ok(reply(405, &[], ""))));
    scene.put(Input::Candidate(LATE.into(), with(2)));
    scene.put(Input::Gathered(with(3)));
    assert_eq!(scene.requests(Method::Patch), 1);
    assert_eq!(scene.uplink.state(), State::Connecting);
}

#[test]
fn refused_offer_is_posted_again_after_longer_and_longer_waits() {
    let mut waits = vec![];
    let (mut scene, mut ticket) = Scene::posted();
    for _ in 0..9 {
        scene.put(Input::Replied(ticket, Ok(reply(500, &[], ""))));
        let (reason, wait) = scene.fault();
        assert!(reason.contains("500"), "{reason}");
        waits.push(wait);
        scene.wait(wait);
        scene.put(Input::Offered(OFFER.into()));
        scene.put(Input::Gathered(OFFER.into()));
        ticket = scene.request(Method::Post).ticket;
    }
    for (failures, wait) in waits.iter().enumerate() {
        let ceiling = Duration::from_secs(60).min(Duration::from_secs(1 << failures.min(6)));
        assert!(ceiling / 2 <= *wait && *wait <= ceiling, "{waits:?}");
    }
    assert_eq!(scene.count(&Command::ClosePeer), 9);
    assert_eq!(scene.requests(Method::Delete), 0, "nothing was made");
}

#[test]
fn refusal_that_a_person_must_mend_is_not_hammered() {
    for status in [401, 403, 404, 422] {
        let (mut scene, ticket) = Scene::posted();
        scene.put(Input::Replied(ticket, Ok(reply(status, &[], ""))));
        assert!(scene.fault().1 >= Duration::from_secs(15), "{status}: {:?}", scene.fault());
    }
}

#[test]
fn overloaded_server_is_left_alone_for_as_long_as_it_asks() {
    let (mut scene, ticket) = Scene::posted();
    scene.put(Input::Replied(ticket, Ok(reply(503, &[("retry-after", "40")], ""))));
    let wait = scene.fault().1;
    assert!((Duration::from_secs(40)..=Duration::from_secs(44)).contains(&wait), "{wait:?}");
    scene.wait(Duration::from_secs(39));
    assert_eq!(scene.uplink.state(), State::Waiting);
    scene.wait(Duration::from_secs(6));
    assert_eq!(scene.uplink.state(), State::Opening);
}

#[test]
fn answer_of_a_wrong_type_ends_the_session_that_was_made() {
    let (mut scene, ticket) = Scene::posted();
    let html = reply(201, &[("content-type", "text/html"), ("location", "/s/9")], ANSWER);
    scene.put(Input::Replied(ticket, Ok(html)));
    assert_eq!(scene.request(Method::Delete).url.expect("the session").path(), "/s/9");
    assert_eq!(scene.uplink.state(), State::Waiting);
}

#[test]
fn answer_that_does_not_apply_ends_the_session() {
    let (mut scene, ticket) = Scene::posted();
    scene.put(Input::Replied(ticket, Ok(created(&[]))));
    scene.put(Input::AnswerFailed("it lacks a valid a=fingerprint".into()));
    assert!(scene.fault().0.contains("fingerprint"));
    assert_eq!((scene.requests(Method::Delete), scene.count(&Command::ClosePeer)), (1, 1));
}

#[test]
fn session_without_location_works_and_is_told_as_odd() {
    let (mut scene, ticket) = Scene::posted();
    let nowhere = reply(201, &[("content-type", "application/sdp")], ANSWER);
    scene.put(Input::Replied(ticket, Ok(nowhere)));
    assert!(scene.orders.iter().any(|order| matches!(order, Command::Tell(Story::Odd(_)))));
    scene.put(Input::AnswerApplied);
    scene.put(Input::Connected);
    scene.put(Input::Wanted(false));
    assert_eq!(scene.requests(Method::Delete), 0, "there is nothing to name");
    assert_eq!(scene.uplink.state(), State::Resting);
}

#[test]
fn servers_own_ice_servers_are_used_when_there_is_no_path_without_them() {
    let (mut scene, ticket) = Scene::posted();
    scene.put(Input::Replied(ticket, Ok(created(&[("link", TURN)]))));
    scene.put(Input::AnswerApplied);
    scene.wait(CONNECTING_WITHOUT_HELP);
    assert_eq!(scene.requests(Method::Delete), 1);
    let opened: Vec<usize> = scene
        .orders
        .iter()
        .filter_map(|order| match order {
            Command::OpenPeer(servers) => Some(servers.len()),
            _ => None,
        })
        .collect();
    assert_eq!(opened, [0, 1], "at once, and with the help");
    scene.put(Input::Offered(OFFER.into()));
    scene.put(Input::Gathered(OFFER.into()));
    let ticket = scene.request(Method::Post).ticket;
    scene.put(Input::Replied(ticket, Ok(created(&[("link", TURN)]))));
    scene.wait(CONNECTING - Duration::from_millis(1));
    assert_eq!(scene.uplink.state(), State::Connecting, "this time there is nothing else to try");
    scene.wait(Duration::from_millis(1));
    assert!(scene.fault().0.contains("firewall") && scene.fault().1 > Duration::ZERO);
}

#[test]
fn lost_path_is_restarted_within_the_session() {
    let mut scene = Scene::live();
    scene.put(Input::Silent);
    assert_eq!(scene.count(&Command::RestartIce), 1);
    scene.put(Input::Offered(OFFER.replace("ours", "fresh")));
    let patch = scene.request(Method::Patch);
    assert_eq!(patch.if_match.as_deref(), Some("*"));
    assert!(patch.body.contains("a=ice-ufrag:fresh") && patch.body.contains("10.0.0.2"), "{}", patch.body);
    let fragment = "a=ice-ufrag:newer\r\na=ice-pwd:newest\r\n";
    scene.put(Input::Replied(patch.ticket, Ok(reply(200, &[("etag", "\"two\"")], fragment))));
    assert!(scene.orders.iter().any(
        |order| matches!(order, Command::ApplyAnswer(sdp) if sdp.contains("newer") && !sdp.contains("theirs"))
    ));
    scene.put(Input::AnswerApplied);
    scene.put(Input::Connected);
    assert_eq!(scene.uplink.state(), State::Live);
    assert_eq!((scene.count(&Command::StartMedia), scene.count(&Command::ClosePeer)), (1, 0));
    let more = OFFER.replace("m=application", &format!("a={LATE}\r\nm=application"));
    scene.put(Input::Candidate(LATE.into(), more));
    assert_eq!(scene.request(Method::Patch).if_match.as_deref(), Some("\"two\""));
}

#[test]
fn server_that_restarts_no_ice_gets_a_new_offer() {
    for refusal in [Ok(reply(422, &[], "")), Ok(reply(200, &[], "nonsense")), Err("it is down".to_owned())] {
        let mut scene = Scene::live();
        scene.put(Input::NetworkChanged);
        scene.put(Input::Offered(OFFER.into()));
        let ticket = scene.request(Method::Patch).ticket;
        scene.put(Input::Replied(ticket, refusal));
        assert_eq!((scene.uplink.state(), scene.requests(Method::Delete)), (State::Waiting, 1));
        scene.wait(Duration::from_secs(1));
        assert_eq!(scene.uplink.state(), State::Opening);
    }
    let (mut scene, ticket) = Scene::posted();
    let unnamed = reply(201, &[("content-type", "application/sdp"), ("location", "/s")], ANSWER);
    scene.put(Input::Replied(ticket, Ok(unnamed)));
    scene.put(Input::AnswerApplied);
    scene.put(Input::Connected);
    scene.put(Input::NetworkChanged);
    assert_eq!(scene.uplink.state(), State::Live, "the path may be as good as before");
    scene.put(Input::Silent);
    assert_eq!(scene.count(&Command::RestartIce), 0, "no ETag, no restart");
    assert_eq!((scene.uplink.state(), scene.requests(Method::Delete)), (State::Waiting, 1));
}

#[test]
fn network_that_comes_back_is_tried_at_once_unless_the_server_asks_for_time() {
    let (mut cut, ticket) = Scene::posted();
    cut.uplink.failures = 6;
    cut.put(Input::Replied(ticket, Err("it cannot be reached".into())));
    cut.put(Input::NetworkChanged);
    assert_eq!(cut.uplink.state(), State::Opening);

    let (mut busy, ticket) = Scene::posted();
    busy.put(Input::Replied(ticket, Ok(reply(503, &[("retry-after", "40")], ""))));
    busy.put(Input::NetworkChanged);
    assert_eq!(busy.uplink.state(), State::Waiting);
}

#[test]
fn restart_that_finds_no_path_ends_in_a_new_offer() {
    let mut scene = Scene::live();
    scene.put(Input::Silent);
    scene.wait(RESTARTING);
    assert_eq!((scene.uplink.state(), scene.requests(Method::Delete)), (State::Waiting, 1));
}

#[test]
fn session_that_the_server_forgot_is_not_deleted_but_offered_anew() {
    let mut scene = Scene::live();
    let more = OFFER.replace("m=application", &format!("a={LATE}\r\nm=application"));
    scene.put(Input::Candidate(LATE.into(), more));
    let ticket = scene.request(Method::Patch).ticket;
    scene.put(Input::Replied(ticket, Ok(reply(404, &[], ""))));
    assert_eq!((scene.uplink.state(), scene.requests(Method::Delete)), (State::Waiting, 0));
    assert_eq!(scene.count(&Command::ClosePeer), 1);
}

#[test]
fn session_that_is_not_wanted_any_more_is_deleted_wherever_it_stands() {
    let mut live = Scene::live();
    live.put(Input::Wanted(false));
    assert_eq!((live.uplink.state(), live.requests(Method::Delete)), (State::Resting, 1));
    assert_eq!(live.count(&Command::ClosePeer), 1);

    let (mut posted, ticket) = Scene::posted();
    posted.put(Input::Wanted(false));
    assert_eq!(posted.uplink.state(), State::Leaving);
    posted.put(Input::Replied(ticket, Ok(created(&[]))));
    assert_eq!((posted.uplink.state(), posted.requests(Method::Delete)), (State::Resting, 1));

    let (mut refused, ticket) = Scene::posted();
    refused.put(Input::Replied(ticket, Ok(reply(500, &[], ""))));
    refused.put(Input::Wanted(false));
    assert_eq!((refused.uplink.state(), refused.uplink.deadline()), (State::Resting, None));
    refused.put(Input::Wanted(true));
    assert_eq!(refused.uplink.state(), State::Opening, "at once");
}

#[test]
fn session_that_lived_long_starts_its_waits_anew() {
    let (mut scene, ticket) = Scene::posted();
    scene.uplink.failures = 6;
    scene.put(Input::Replied(ticket, Ok(created(&[]))));
    scene.put(Input::AnswerApplied);
    scene.put(Input::Connected);
    scene.wait(GOOD_AFTER);
    scene.put(Input::Lost("closed"));
    assert!(scene.fault().1 <= Duration::from_secs(1), "{:?}", scene.fault());
}

#[test]
fn response_to_what_was_given_up_is_no_news() {
    let mut scene = Scene::live();
    scene.put(Input::Silent);
    scene.put(Input::Offered(OFFER.into()));
    let ticket = scene.request(Method::Patch).ticket;
    scene.put(Input::Lost("broken"));
    scene.put(Input::Replied(ticket, Ok(reply(404, &[], ""))));
    assert_eq!(scene.fault().0, "the connection is broken");
}

proptest! {
    #[test]
    fn whatever_happens_it_never_holds_two_peer_connections(
        steps in prop::collection::vec((0..16usize, 0..12usize, 0..40u64), 1..80),
    ) {
        let mut scene = Scene::new();
        for (kind, status, seconds) in steps {
            let status = [200, 201, 204, 307, 400, 401, 404, 405, 412, 422, 503, 500][status];
            let newest = scene.uplink.next_ticket.saturating_sub(1);
            scene.put(match kind {
                0 => Input::Wanted(status != 404),
                1 | 2 => Input::Offered(OFFER.into()),
                3 => Input::OfferFailed("no".into()),
                4 => Input::Candidate(LATE.into(), OFFER.into()),
                5 => Input::Gathered(OFFER.into()),
                6 | 7 => Input::AnswerApplied,
                8 => Input::AnswerFailed("no".into()),
                9 | 10 => Input::Connected,
                11 => Input::Silent,
                12 => Input::Lost("closed"),
                13 => Input::Replied(newest, Ok(reply(status, &[], "a=ice-ufrag:a\r\na=ice-pwd:b"))),
                14 => Input::Replied(newest, Ok(created(&[("link", TURN)]))),
                _ => Input::NetworkChanged,
            });
            scene.wait(Duration::from_secs(seconds));
            let count = |wanted: fn(&Command) -> bool| scene.orders.iter().filter(|one| wanted(one)).count();
            let opened = count(|order| matches!(order, Command::OpenPeer(_)));
            let closed = count(|order| matches!(order, Command::ClosePeer));
            let holds = !matches!(scene.uplink.state(), State::Resting | State::Waiting | State::Leaving);
            prop_assert_eq!(opened - closed, usize::from(holds));
        }
    }
}
