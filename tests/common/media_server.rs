//! A media server with a WHIP endpoint (RFC 9725) for tests: a web server that answers as it is told, and behind
//! each session a real peer that receives the media.
//!
//! Each path under `/whip/` is an endpoint of its own. Which responses it gives stands in its script; when
//! that is through, or where there is none, it takes what is offered.

#![allow(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::answerer::Answerer;
use farol::engine::message::Candidate;

const PATIENCE: Duration = Duration::from_secs(30);

/// A response that an endpoint gives to an offer instead of a session.
#[derive(Clone, Debug)]
pub enum Says {
    /// This status with these headers and this body.
    Reply(u16, Vec<(&'static str, String)>, String),
    /// A session, but with these changes in the response.
    Odd(Oddity),
    /// Nothing, for as long as it is waited for.
    Nothing,
}

/// What is wrong with a response that makes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// There is no `Location`.
    NoLocation,
    /// The answer is declared to be a page.
    WrongType,
    /// The answer has no fingerprint.
    NoFingerprint,
    /// There is no `ETag`.
    NoEtag,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Asked {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Makes another SDP of an answer's.
type Change = Box<dyn Fn(&str) -> String + Send>;

/// What the server's responses are made of.
#[derive(Default)]
struct Inner {
    scripts: BTreeMap<String, VecDeque<Says>>,
    sessions: Vec<Session>,
    /// Changes an answer's SDP on its way out.
    in_the_way: Option<Change>,
    restarts: bool,
}

struct Session {
    offer: String,
    answerer: Arc<Answerer>,
    generation: u32,
}

/// A running server.
pub struct MediaServer {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    inner: Arc<Mutex<Inner>>,
    asked: watch::Receiver<Vec<Asked>>,
}

#[derive(Clone)]
struct Shared {
    inner: Arc<Mutex<Inner>>,
    asked: Arc<watch::Sender<Vec<Asked>>>,
}

impl MediaServer {
    /// Starts one.
    pub async fn start() -> MediaServer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let inner = Arc::new(Mutex::new(Inner { restarts: true, ..Inner::default() }));
        let (sender, asked) = watch::channel(Vec::new());
        let shared = Shared { inner: inner.clone(), asked: Arc::new(sender) };
        let router = Router::new().fallback(serve).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        MediaServer { port, inner, asked }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic under it")
    }

    /// Has an endpoint give these responses first.
    pub fn script(&self, endpoint: &str, says: Vec<Says>) {
        self.inner().scripts.insert(format!("/whip/{endpoint}"), says.into());
    }

    /// Changes each answer's SDP on its way out.
    pub fn stand_in_the_way(&self, change: impl Fn(&str) -> String + Send + 'static) {
        self.inner().in_the_way = Some(Box::new(change));
    }

    /// Lets answers pass as they are.
    pub fn step_aside(&self) {
        self.inner().in_the_way = None;
    }

    /// A section of the configuration for an endpoint.
    pub fn section(&self, endpoint: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "[[whip]]\nname = \"{endpoint}\"\nurl = \"http://127.0.0.1:{port}/whip/{endpoint}\"\n{more}\n"
        )
    }

    /// The peer behind a session, counted in the order of their making.
    pub fn peer(&self, session: usize) -> Arc<Answerer> {
        self.inner().sessions[session].answerer.clone()
    }

    /// All requests so far with this method.
    pub fn asked(&self, method: &Method) -> Vec<Asked> {
        self.asked.borrow().iter().filter(|asked| asked.method == method).cloned().collect()
    }

    /// Waits until there were so many requests with this method, and returns the newest of these.
    pub async fn until_asked(&self, method: Method, count: usize) -> Asked {
        let of = |all: &Vec<Asked>| all.iter().filter(|asked| asked.method == method).count();
        let mut asked = self.asked.clone();
        let wait = timeout(PATIENCE, asked.wait_for(|all| of(all) >= count)).await;
        match wait {
            Ok(all) => {
                let all = all.expect("the server runs");
                all.iter().filter(|asked| asked.method == method).nth(count - 1).expect("it came").clone()
            }
            Err(_) => panic!("waited in vain for {count} times {method}: {:?}", self.asked.borrow()),
        }
    }
}

async fn serve(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or(Bytes::new());
    let asked = Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let response = match asked.method.as_str() {
        "POST" => offered(&shared, &asked).await,
        "PATCH" => patched(&shared, &asked).await,
        "DELETE" => reply(200, &[], String::new()),
        _ => reply(405, &[], String::new()),
    };
    shared.asked.send_modify(|all| all.push(asked));
    response
}

async fn offered(shared: &Shared, asked: &Asked) -> Response<Body> {
    let says = {
        let mut inner = shared.inner.lock().expect("no panic under it");
        inner.scripts.get_mut(&asked.path).and_then(VecDeque::pop_front)
    };
    let oddity = match says {
        Some(Says::Reply(status, headers, body)) => {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, text)| (*name, text.as_str())).collect();
            return reply(status, &headers, body);
        }
        Some(Says::Nothing) => {
            shared.asked.send_modify(|all| all.push(asked.clone()));
            return std::future::pending().await;
        }
        Some(Says::Odd(oddity)) => Some(oddity),
        None => None,
    };
    // Without our candidates the peer finds the device by the checks that come, whichever way they come.
    let bare = without_candidates(&asked.body);
    let (answerer, mut answer) = Answerer::answer(&bare).await;
    let session = {
        let mut inner = shared.inner.lock().expect("no panic under it");
        if let Some(change) = &inner.in_the_way {
            answer = change(&answer);
        }
        inner.sessions.push(Session { offer: bare, answerer: Arc::new(answerer), generation: 0 });
        inner.sessions.len() - 1
    };
    let location = format!("/session/{session}");
    let mut headers =
        vec![("content-type", "application/sdp"), ("location", location.as_str()), ("etag", "\"0\"")];
    match oddity {
        Some(Oddity::NoLocation) => headers.retain(|(name, _)| *name != "location"),
        Some(Oddity::NoEtag) => headers.retain(|(name, _)| *name != "etag"),
        Some(Oddity::WrongType) => headers[0].1 = "text/html",
        Some(Oddity::NoFingerprint) => {
            let kept = answer.lines().filter(|line| !line.starts_with("a=fingerprint"));
            answer = kept.map(|line| format!("{line}\r\n")).collect();
        }
        None => {}
    }
    reply(201, &headers, answer)
}

async fn patched(shared: &Shared, asked: &Asked) -> Response<Body> {
    let number = asked.path.strip_prefix("/session/").and_then(|number| number.parse::<usize>().ok());
    let (offer, answerer, etag) = {
        let inner = shared.inner.lock().expect("no panic under it");
        let Some(session) = number.and_then(|number| inner.sessions.get(number)) else {
            return reply(404, &[], String::new());
        };
        if !inner.restarts && asked.header("if-match") == Some("*") {
            return reply(422, &[], String::new());
        }
        (session.offer.clone(), session.answerer.clone(), format!("\"{}\"", session.generation))
    };
    match asked.header("if-match") {
        None => return reply(428, &[], String::new()),
        Some("*") => {}
        Some(named) if named != etag => return reply(412, &[], String::new()),
        Some(_) => {
            for candidate in lines(&asked.body, "a=candidate:") {
                let candidate = candidate["a=".len()..].to_owned();
                let candidate = Candidate {
                    candidate,
                    sdp_mid: None,
                    sdp_m_line_index: Some(0),
                    username_fragment: None,
                };
                answerer.add_candidate(&candidate).await;
            }
            return reply(204, &[], String::new());
        }
    }
    let offer = with_credentials(&offer, &asked.body);
    let answer = answerer.answer_again(&offer).await;
    let mut inner = shared.inner.lock().expect("no panic under it");
    let session = &mut inner.sessions[number.expect("it was found")];
    session.generation += 1;
    session.offer = offer;
    let etag = format!("\"{}\"", session.generation);
    let mut fragment = String::new();
    for start in ["a=ice-ufrag:", "a=ice-pwd:"] {
        fragment += &format!("{}\r\n", lines(&answer, start).first().expect("an answer has credentials"));
    }
    for candidate in lines(&answer, "a=candidate:") {
        fragment += &format!("{candidate}\r\n");
    }
    reply(200, &[("content-type", "application/trickle-ice-sdpfrag"), ("etag", &etag)], fragment)
}

fn reply(status: u16, headers: &[(&str, &str)], body: String) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body)).expect("a good response")
}

fn lines<'s>(sdp: &'s str, start: &str) -> Vec<&'s str> {
    sdp.lines().filter(|line| line.starts_with(start)).collect()
}

fn without_candidates(sdp: &str) -> String {
    let is_kept = |line: &&str| !line.starts_with("a=candidate:") && !line.starts_with("a=end-of-candidates");
    sdp.lines().filter(is_kept).map(|line| format!("{line}\r\n")).collect()
}

/// The offer with the ICE credentials that a fragment has.
fn with_credentials(offer: &str, fragment: &str) -> String {
    let newest = |start: &str| lines(fragment, start).first().map(|line| line.to_string());
    offer
        .lines()
        .map(|line| {
            let start = ["a=ice-ufrag:", "a=ice-pwd:"].into_iter().find(|start| line.starts_with(start));
            start.and_then(newest).unwrap_or_else(|| line.to_owned()) + "\r\n"
        })
        .collect()
}
