//! What does a media server's response mean, and what is to be done about it?
//!
//! A response that is no good is a [`Fault`]: what to tell people, and how long to stay away. What may pass by
//! itself is tried again soon; what a person must mend, slowly, since nobody will tell us that it was mended.

use std::time::Duration;

use url::Url;

use crate::config::IceServer;

use super::headers;
use super::sdp::{self, Fragment};

/// A response, as far as this protocol reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Who answered, after redirects.
    pub url: Url,
    /// The headers that are text, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// What is to be told, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happened and what to do, for people.
    pub reason: String,
    /// How long to stay away.
    pub again: Again,
}

/// How long to stay away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It may pass by itself: seconds, more with each time, up to one minute.
    Soon,
    /// Somebody must mend it: half a minute, more with each time, up to five.
    Slowly,
    /// As long as the server asks.
    After(Duration),
}

/// A session that a server has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The answer.
    pub answer: String,
    /// Where the session is; `None`: the server did not say, so it cannot be deleted.
    pub session: Option<Url>,
    /// Names the ICE session; `None`: the server restarts none.
    pub etag: Option<String>,
    /// What the server offers for finding a path.
    pub servers: Vec<IceServer>,
}

/// What became of a posted offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The server has made a session.
    Taken(Created),
    /// It has not, or none that is of use; then that is to be deleted.
    Refused(Fault, Option<Url>),
}

/// What became of a PATCH with candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trickled {
    /// The server has them, or will not have these.
    Taken,
    /// The server takes none.
    Unsupported,
    /// The server does not know the session.
    Gone,
}

/// What became of a PATCH that restarts ICE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restarted {
    /// The server's new credentials, and the new name of the ICE session.
    Taken(Fragment, Option<String>),
    /// It did not do it.
    Refused(Fault),
    /// The server does not know the session.
    Gone,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What the response to a posted offer means (RFC 9725 §4.2).
    pub fn to_offer(&self) -> Offered {
        if self.status != 201 {
            return Offered::Refused(self.refusal(), None);
        }
        // Relative to who answered (RFC 9110 §10.2.2); only the web's own schemes can be asked.
        let session = self.header("location").and_then(|location| self.url.join(location).ok());
        let session = session.filter(|url| is_as_safe(url, &self.url));
        let slowly = |reason: &str| Fault { reason: reason.to_owned(), again: Again::Slowly };
        let wrong_type =
            self.header("content-type").filter(|found| !headers::is_type(found, "application/sdp"));
        if let Some(found) = wrong_type {
            let found: String = found.chars().filter(|c| !c.is_control()).take(60).collect();
            return Offered::Refused(
                slowly(&format!("the server answers with {found} instead of application/sdp")),
                session,
            );
        }
        if !self.body.starts_with("v=0") {
            return Offered::Refused(slowly("the server says 201 without an SDP answer"), session);
        }
        let links = self.headers.iter().filter(|(name, _)| name == "link");
        Offered::Taken(Created {
            answer: self.body.clone(),
            session,
            etag: self.header("etag").map(str::to_owned),
            servers: headers::ice_servers(links.map(|(_, value)| value.as_str())),
        })
    }

    /// What the response to trickled candidates means (RFC 9725 §4.3.2).
    pub fn to_candidates(&self) -> Trickled {
        match self.status {
            404 | 410 => Trickled::Gone,
            // Too late for this ICE session, or too often: these are lost, others may pass.
            200..=299 | 412 | 429 | 500.. => Trickled::Taken,
            // 405 and 422 say that it is not supported, 428 that it would need a name that we were not told.
            _ => Trickled::Unsupported,
        }
    }

    /// What the response to an ICE restart means (RFC 9725 §4.3.3).
    pub fn to_restart(&self) -> Restarted {
        match self.status {
            404 | 410 => Restarted::Gone,
            200 => match sdp::read_fragment(&self.body) {
                Some(fragment) => Restarted::Taken(fragment, self.header("etag").map(str::to_owned)),
                None => Restarted::Refused(Fault {
                    reason: "the server restarts ICE without saying its new credentials".to_owned(),
                    again: Again::Soon,
                }),
            },
            status => {
                let reason =
                    format!("the server does not restart ICE (status {status}); it gets a new offer");
                let again = self.wait().map_or(Again::Soon, Again::After);
                Restarted::Refused(Fault { reason, again })
            }
        }
    }

    fn wait(&self) -> Option<Duration> {
        headers::retry_after(self.header("retry-after")?, self.header("date"))
    }

    /// Why an offer was not taken.
    fn refusal(&self) -> Fault {
        let (what, again) = match self.status {
            400 | 406 | 413 | 415 | 422 => ("it cannot use our offer; see its log", Again::Slowly),
            401 => ("it wants a token: set token_file, or renew what is in it", Again::Slowly),
            403 => ("the token may not publish here", Again::Slowly),
            404 | 410 => ("there is no such endpoint: compare the url with the server's", Again::Slowly),
            405 | 501 => ("the url is no WHIP endpoint", Again::Slowly),
            409 => ("somebody else publishes here, or our last session has not ended there yet", Again::Soon),
            429 => ("we come too often", Again::Soon),
            503 => ("it is overloaded or in maintenance", Again::Soon),
            // RFC 9725 §4.5: only 307 and 308 keep the method, and those were followed.
            300..=399 => ("it sends us elsewhere: set the url to where it really is", Again::Slowly),
            200..=299 => ("WHIP answers an offer with 201: the url is no WHIP endpoint", Again::Slowly),
            500.. => ("it failed; see its log", Again::Soon),
            _ => ("that is no answer to an offer", Again::Slowly),
        };
        let again = match (self.status, self.wait()) {
            (429 | 503, Some(wait)) => Again::After(wait),
            _ => again,
        };
        Fault { reason: format!("the server says {}: {what}", self.status), again }
    }
}

/// Whether the token may go there as well: `https`, or no less than before.
fn is_as_safe(url: &Url, before: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && before.scheme() == "http"
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\ns=-\r\n";

    fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let url = "https://media.test/whip/room?x=1".parse().expect("a URL");
        Reply { status, url, headers, body: body.to_owned() }
    }

    fn taken(reply: &Reply) -> Created {
        match reply.to_offer() {
            Offered::Taken(created) => created,
            refused => panic!("{refused:?}"),
        }
    }

    fn refused(reply: &Reply) -> (Fault, Option<Url>) {
        match reply.to_offer() {
            Offered::Refused(fault, session) => (fault, session),
            taken => panic!("{taken:?}"),
        }
    }

    fn created(location: &str) -> Reply {
        reply(201, &[("content-type", "application/sdp"), ("location", location), ("etag", "\"a\"")], ANSWER)
    }

    #[test]
    fn session_is_where_location_says_seen_from_who_answered() {
        for (location, session) in [
            ("/session/1", Some("https://media.test/session/1")),
            ("session/1", Some("https://media.test/whip/session/1")),
            ("https://edge.test/s", Some("https://edge.test/s")),
            ("//edge.test/s", Some("https://edge.test/s")),
            ("http://media.test/s", None),
            ("ftp://media.test/s", None),
            ("https://", None),
        ] {
            let found = taken(&created(location)).session;
            assert_eq!(found.as_ref().map(Url::as_str), session, "{location}");
        }
        let without = reply(201, &[("content-type", "application/sdp")], ANSWER);
        assert_eq!(taken(&without).session, None);
    }

    #[test]
    fn wrong_type_or_no_answer_still_says_what_to_delete() {
        for (content_type, body) in
            [("text/html", ANSWER), ("application/sdp", "<html>"), ("application/sdp", "")]
        {
            let reply = reply(201, &[("content-type", content_type), ("location", "/s")], body);
            let (fault, session) = refused(&reply);
            assert_eq!(fault.again, Again::Slowly);
            assert_eq!(session.expect("a session").path(), "/s");
        }
    }

    #[test]
    fn every_status_says_what_to_do_and_when_it_is_tried_again() {
        let mut table = String::new();
        for status in [
            200, 204, 301, 302, 303, 304, 400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415,
            422, 428, 429, 451, 500, 501, 502, 503, 504, 599,
        ] {
            let (fault, session) = refused(&reply(status, &[], ""));
            assert_eq!(session, None);
            table += &format!("{:?}: {}\n", fault.again, fault.reason);
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn busy_server_is_left_alone_for_as_long_as_it_asks() {
        for status in [429, 503] {
            let (fault, _) = refused(&reply(status, &[("retry-after", "17")], ""));
            assert_eq!(fault.again, Again::After(Duration::from_secs(17)));
        }
        let (fault, _) = refused(&reply(500, &[("retry-after", "17")], ""));
        assert_eq!(fault.again, Again::Soon);
    }

    #[test]
    fn candidates_are_taken_refused_once_or_for_good() {
        for (status, outcome) in [
            (204, Trickled::Taken),
            (200, Trickled::Taken),
            (412, Trickled::Taken),
            (429, Trickled::Taken),
            (502, Trickled::Taken),
            (404, Trickled::Gone),
            (410, Trickled::Gone),
            (400, Trickled::Unsupported),
            (405, Trickled::Unsupported),
            (415, Trickled::Unsupported),
            (422, Trickled::Unsupported),
            (428, Trickled::Unsupported),
        ] {
            assert_eq!(reply(status, &[], "").to_candidates(), outcome, "{status}");
        }
    }

    #[test]
    fn restart_brings_new_credentials_or_an_end() {
        let body = "a=ice-ufrag:new\r\na=ice-pwd:newer\r\n";
        let taken = reply(200, &[("etag", "\"b\"")], body).to_restart();
        assert!(
            matches!(&taken, Restarted::Taken(fragment, Some(etag)) if fragment.ufrag == "new" && etag == "\"b\"")
        );
        assert_eq!(reply(404, &[], "").to_restart(), Restarted::Gone);
        for (status, body) in [(200, ""), (204, ""), (405, ""), (412, ""), (422, body), (428, ""), (500, "")]
        {
            assert!(matches!(reply(status, &[], body).to_restart(), Restarted::Refused(_)), "{status}");
        }
    }
}
