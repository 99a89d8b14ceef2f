//! What is an uplink told, and what does it order? The whole traffic between it and the shell.

use std::time::Duration;

use url::Url;

use crate::config::IceServer;

use super::reply::Reply;
use super::sdp::FRAGMENT;

/// What happens to an uplink.
#[derive(Clone, Debug)]
pub enum Input {
    /// Whether it is to be connected.
    Wanted(bool),
    /// The peer connection has made this offer, for the first time or after [`Command::RestartIce`].
    Offered(String),
    /// It could make none; why, for people.
    OfferFailed(String),
    /// A local candidate, `candidate:` included, and the offer with all so far.
    Candidate(String, String),
    /// The offer with all candidates.
    Gathered(String),
    /// [`Command::ApplyAnswer`] worked.
    AnswerApplied,
    /// It did not; why, for people.
    AnswerFailed(String),
    /// DTLS is up, or ICE has a pair again.
    Connected,
    /// The server has not been heard for some seconds.
    Silent,
    /// The peer connection is closed or broken; why, in a word.
    Lost(&'static str),
    /// The board's addresses have changed.
    NetworkChanged,
    /// The response to the request with this ticket, or why there is none, for people.
    Replied(u64, Result<Reply, String>),
    /// Time has passed.
    Tick,
}

/// What an uplink wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a peer connection, with these ICE servers beside the configured ones, and make an offer.
    OpenPeer(Vec<IceServer>),
    /// Send a request; its response is awaited unless it deletes.
    Send(Request),
    /// Set the remote description.
    ApplyAnswer(String),
    /// Let media flow.
    StartMedia,
    /// Make an offer with new ICE credentials.
    RestartIce,
    /// Close the peer connection.
    ClosePeer,
    /// Something to tell people.
    Tell(Story),
}

/// A request to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back with the response.
    pub ticket: u64,
    /// What it does.
    pub method: Method,
    /// Where; `None`: the endpoint that is configured.
    pub url: Option<Url>,
    /// The ICE session that it is about (RFC 9110 §13.1.1).
    pub if_match: Option<String>,
    /// The body.
    pub body: String,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Brings an offer.
    Post,
    /// Brings candidates or new credentials.
    Patch,
    /// Ends the session.
    Delete,
}

impl Method {
    /// The media type of the body.
    pub fn content_type(self) -> Option<&'static str> {
        match self {
            Method::Post => Some("application/sdp"),
            Method::Patch => Some(FRAGMENT),
            Method::Delete => None,
        }
    }
}

/// The story that a person would tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Story {
    /// Media flows.
    Live,
    /// Another path is sought; why, in a word.
    Restarting(&'static str),
    /// Media flows again on another path.
    Resumed,
    /// It failed, and is tried again.
    Failed {
        /// Why, for people.
        reason: String,
        /// When.
        again: Duration,
        /// How many failures in a row this makes.
        failures: u32,
    },
    /// Something odd that does not stop it.
    Odd(&'static str),
    /// It ended because it is not wanted any more.
    Ended,
}
