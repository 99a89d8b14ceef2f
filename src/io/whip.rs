//! How is a media server asked, and what does it say?
//!
//! One task for each request. What is asked and what a response means is decided in
//! [`engine::whip`](crate::engine::whip); here are the token, the connection and the limits.

use std::time::Duration;

use bytes::Bytes;

use crate::config::Secret;
use crate::config::whip::Whip;
use crate::engine::whip::reply::Reply;
use crate::engine::whip::{Method, Request};
use crate::io::fetch::header::{CONTENT_TYPE, HeaderValue, IF_MATCH};
use crate::io::fetch::{self, FetchFault, Redirects};

/// A server may gather candidates of its own before it answers.
const TIMEOUT: Duration = Duration::from_secs(15);
/// When the daemon stops it waits no longer than this for a server to have heard of it.
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);
/// More than any answer has.
const MOST_BODY_BYTES: usize = 64 * 1024;

/// Makes a request; the error is for people, and has neither the token nor the path of the URL.
pub async fn ask(endpoint: &Whip, request: Request) -> Result<Reply, String> {
    let token = read_token(endpoint.token.clone()).await?;
    send(endpoint, request, token).await.map_err(|fault| fault.to_string())
}

async fn send(endpoint: &Whip, request: Request, token: Option<String>) -> Result<Reply, FetchFault> {
    let method = match request.method {
        Method::Post => fetch::Method::POST,
        Method::Patch => fetch::Method::PATCH,
        Method::Delete => fetch::Method::DELETE,
    };
    let url = request.url.unwrap_or_else(|| endpoint.url.clone());
    // RFC 9725 §4.7: the token goes with every request to the endpoint and to the session, which may be on
    // other servers (§4.5); but never out of TLS.
    let is_bare = url.scheme() != "https" && endpoint.url.scheme() == "https";
    let mut fetched = fetch::Request::new(method, url);
    if let Some(content_type) = request.method.content_type() {
        fetched = fetched.with(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(etag) = &request.if_match {
        let value = HeaderValue::from_str(etag).map_err(|_| FetchFault::BadRequest)?;
        fetched = fetched.with(IF_MATCH, value);
    }
    if let Some(token) = token.filter(|_| !is_bare) {
        fetched = fetched.with_bearer(&token)?;
    }
    fetched.body = Bytes::from(request.body);
    fetched.redirects = Redirects::KeepAuthorization;
    fetched.timeout = if request.method == Method::Delete { DELETE_TIMEOUT } else { TIMEOUT };
    fetched.most_body_bytes = MOST_BODY_BYTES;
    let response = fetched.send(&endpoint.tls).await?;
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers = response
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
        .collect();
    Ok(Reply {
        status: response.status.as_u16(),
        url: response.url,
        headers,
        body: String::from_utf8_lossy(&response.body).into_owned(),
    })
}

/// The token as it is now, so that a renewed one counts at the next request.
async fn read_token(secret: Option<Secret>) -> Result<Option<String>, String> {
    let Some(secret) = secret else { return Ok(None) };
    let place = match &secret {
        Secret::File(path) => path.display().to_string(),
        Secret::Credential(name) => format!("the credential {name}"),
        Secret::Made(_) => "memory".to_owned(),
    };
    match tokio::task::spawn_blocking(move || secret.read()).await {
        Ok(Ok(token)) => Ok(token),
        Ok(Err(cause)) => Err(format!("the token cannot be read from {place}: {cause}")),
        Err(_) => Err("the program is stopping".to_owned()),
    }
}
