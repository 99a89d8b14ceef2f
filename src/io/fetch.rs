//! How is one HTTP request made, and what came back?
//!
//! HTTP/1.1, over TLS where the URL says so, one connection for each request: what farol asks of web
//! servers is a handful of small messages (WHIP, TURN passwords). There is a time limit over everything, a
//! size limit on what comes back, and no state between requests: no cookies, no cache, no proxy.
//!
//! | file | question |
//! |---|---|
//! | `fault` | why is there no response, in words that say what to do? |
//! | `line` | how is the server reached? |

mod fault;
mod line;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, LOCATION, USER_AGENT};
use url::Url;

pub use fault::FetchFault;
pub use hyper::header::HeaderName;
pub use hyper::{HeaderMap, Method, StatusCode, header};

use crate::config::Tls;

/// How many times a server may send us elsewhere for one request.
const MOST_REDIRECTS: usize = 5;
/// What the head of a response may have; hyper reads no more into its buffer.
const MOST_HEAD_BYTES: usize = 64 * 1024;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, POST and so on.
    pub method: Method,
    /// `http://` or `https://`. A user and a password in it are not sent.
    pub url: Url,
    /// Beside `Host`, `User-Agent` and `Content-Length`, which are made.
    pub headers: HeaderMap,
    /// Empty for none.
    pub body: Bytes,
    /// What happens when the server sends us elsewhere.
    pub redirects: Redirects,
    /// For names, connecting, TLS, sending and receiving together.
    pub timeout: Duration,
    /// The most that a response's body may have.
    pub most_body_bytes: usize,
}

/// What happens when the server answers that the request belongs elsewhere (RFC 9110 §15.4).
///
/// Followed are 307 and 308, which keep method and body, and for GET 301, 302 and 303 as well; never from
/// `https` to `http`. Any other is the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// It is the response.
    AreResponses,
    /// It is followed, with `Authorization` only to the same server.
    DropAuthorization,
    /// It is followed with `Authorization`: the server speaks for the one that it names.
    KeepAuthorization,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status, whichever it is.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who answered: the request's URL, or where redirects have led.
    pub url: Url,
}

impl Request {
    /// A request without headers and body, within 10 s and for 64 KiB, that follows no redirect.
    pub fn new(method: Method, url: Url) -> Request {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            redirects: Redirects::AreResponses,
            timeout: Duration::from_secs(10),
            most_body_bytes: 64 * 1024,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.append(name, value);
        self
    }

    /// With `Authorization: Bearer` (RFC 6750 §2.1), which is not shown where the request is printed.
    ///
    /// # Errors
    ///
    /// The token has a character that no header may carry, such as a line end.
    pub fn with_bearer(mut self, token: &str) -> Result<Request, FetchFault> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| FetchFault::BadToken)?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// Makes the request.
    ///
    /// # Errors
    ///
    /// There is no whole response: the server cannot be found, reached or trusted, is too slow or says
    /// too much. A response with an error's status is no error here.
    pub async fn send(self, trust: &Tls) -> Result<Response, FetchFault> {
        let (url, timeout) = (self.url.clone(), self.timeout);
        match tokio::time::timeout(timeout, self.follow(trust)).await {
            Ok(done) => done,
            Err(_) => Err(FetchFault::Timeout { at: line::at(&url), after: timeout }),
        }
    }

    async fn follow(mut self, trust: &Tls) -> Result<Response, FetchFault> {
        for _ in 0..=MOST_REDIRECTS {
            let response = self.once(trust).await?;
            match self.next_url(&response)? {
                Some(next) => {
                    let is_kept = match self.redirects {
                        Redirects::KeepAuthorization => true,
                        _ => next.origin() == self.url.origin(),
                    };
                    if !is_kept {
                        self.headers.remove(AUTHORIZATION);
                    }
                    self.url = next;
                }
                None => return Ok(response),
            }
        }
        Err(FetchFault::Redirects { at: line::at(&self.url) })
    }

    /// Where the response sends us, if it does and we go.
    fn next_url(&self, response: &Response) -> Result<Option<Url>, FetchFault> {
        let is_followed = match response.status {
            _ if self.redirects == Redirects::AreResponses => false,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
                self.method == Method::GET
            }
            _ => false,
        };
        if !is_followed {
            return Ok(None);
        }
        let bad = || FetchFault::BadRedirect { at: line::at(&self.url) };
        let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let next = self.url.join(location.ok_or_else(bad)?).map_err(|_| bad())?;
        let is_safe = next.scheme() == "https" || next.scheme() == "http" && self.url.scheme() == "http";
        if is_safe { Ok(Some(next)) } else { Err(bad()) }
    }

    async fn once(&self, trust: &Tls) -> Result<Response, FetchFault> {
        let line = line::connect(&self.url, trust).await?;
        let broken = |source| FetchFault::Broken { at: line::at(&self.url), source };
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(MOST_HEAD_BYTES).handshake(line).await.map_err(broken)?;
        let exchange = async {
            let response = sender.send_request(self.to_hyper()?).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            let body =
                Limited::new(body, self.most_body_bytes).collect().await.map_err(|cause| match cause
                    .downcast::<hyper::Error>(
                ) {
                    Ok(source) => broken(*source),
                    Err(other) if other.is::<LengthLimitError>() => {
                        FetchFault::TooLarge { at: line::at(&self.url), most: self.most_body_bytes }
                    }
                    Err(_) => FetchFault::BadRequest,
                })?;
            Ok(Response {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
                url: self.url.clone(),
            })
        };
        // Nobody but this exchange drives the connection, so it ends with it, whoever gives up.
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            // All was read, or the exchange learns what broke; a body that was whole before that counts.
            _ = connection => exchange.await,
        }
    }

    fn to_hyper(&self) -> Result<hyper::Request<Full<Bytes>>, FetchFault> {
        let target = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut request = hyper::Request::builder()
            .method(self.method.clone())
            .uri(target)
            .body(Full::new(self.body.clone()))
            .map_err(|_| FetchFault::BadRequest)?;
        *request.headers_mut() = self.headers.clone();
        // With the port only where it is not the scheme's own (RFC 9110 §7.2).
        let host = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        let host = HeaderValue::from_str(host).map_err(|_| FetchFault::BadRequest)?;
        request.headers_mut().insert(HOST, host);
        let agent = HeaderValue::from_static(concat!("farol/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        Ok(request)
    }
}

#[cfg(test)]
mod tests;
