//! Which file of the viewer page does a path name, and what may the page do?
//!
//! The page is one file with its script in it, since each further one would be a further round trip before the first
//! picture. Its build has compressed it already (`viewer/vite.config.ts`): it is 35 kB instead of 100, and no board
//! compresses anything while it serves. Only an open device's page, in which its address is written, goes as it is.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};
use std::borrow::Cow;
use std::sync::LazyLock;

use super::{Served, host_json};

/// The built page; `make viewer` builds it.
#[derive(Embed)]
#[folder = "viewer/dist"]
struct Dist;

const INDEX: &str = "index.html";

/// What browsers ask for before the page has named its icon, which it does after the first picture.
const ASKED_UNTOLD: &str = "favicon.ico";

/// Where the page is told what `/farol.json` says, so that without a link it need not ask first (`viewer/index.html`).
const HOST_TAG: &str = r#"<meta name="farol-host" content="" />"#;

/// What the page may do and load: what it says of itself (`viewer/index.html`), down to the hash of its one script; and
/// that no other page frames it, which can be said by a header only. `connect-src` is open since the broker may be on
/// another host.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let page = Dist::get(INDEX).map(|file| String::from_utf8_lossy(&file.data).into_owned());
    let said = page.as_deref().and_then(said_policy).unwrap_or("default-src 'none'");
    HeaderValue::from_str(&format!("{said}; frame-ancestors 'none'"))
        .unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The page's `Content-Security-Policy`.
fn said_policy(page: &str) -> Option<&str> {
    let (_, tag) = page.split_once(r#"http-equiv="Content-Security-Policy""#)?;
    let (_, content) = tag.split_once(r#"content=""#)?;
    Some(content.split_once('"')?.0)
}

pub(super) fn policy() -> HeaderValue {
    POLICY.clone()
}

pub(super) async fn file(
    State(served): State<Served>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = match uri.path().trim_start_matches('/') {
        "" => INDEX,
        path => path,
    };
    if path == ASKED_UNTOLD {
        return StatusCode::NO_CONTENT.into_response();
    }
    let Some(file) = Dist::get(path) else {
        return (StatusCode::NOT_FOUND, "there is no such page\n").into_response();
    };
    if path == INDEX
        && let Some(host) = host_json(&served.site)
    {
        return found(path, addressed(&file, &host));
    }
    // Quoted, and weak since it is that of both forms (RFC 9110 §8.8.3).
    let hash = file.metadata.sha256_hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let tag = format!("W/\"{hash}\"");
    let mut response = match Dist::get(&format!("{path}.gz")) {
        _ if is_known(&headers, &tag) => StatusCode::NOT_MODIFIED.into_response(),
        Some(packed) if takes_gzip(&headers) => {
            let mut response = found(path, packed.data);
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        _ => found(path, file.data),
    };
    // A cache on the way must not hand the one to a browser that asked for the other.
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Whether the browser has this very file, or asks for none if there is one (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|known| known.trim() == "*" || bare(known) == bare(tag))
}

/// Whether the browser takes gzip (RFC 9110 §12.5.3); `gzip;q=0` says that it does not.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_none_or(|weight: f32| weight > 0.0)
    })
}

/// The page with its device and broker in it, which everybody may know.
fn addressed(file: &EmbeddedFile, host: &str) -> Cow<'static, [u8]> {
    let content = host.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let tag = HOST_TAG.replace(r#"content="""#, &format!(r#"content="{content}""#));
    String::from_utf8_lossy(&file.data).replacen(HOST_TAG, &tag, 1).into_bytes().into()
}

fn found(path: &str, data: Cow<'static, [u8]>) -> Response {
    let body = match data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    // Asked for anew each time, so that page and daemon are of one version.
    let headers =
        [(header::CONTENT_TYPE, content_type(path)), (header::CACHE_CONTROL, "no-cache".to_owned())];
    (headers, Body::from(body)).into_response()
}

/// Text is UTF-8: Vite writes nothing else.
fn content_type(path: &str) -> String {
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    match mime.type_() == mime_guess::mime::TEXT {
        true => format!("{}; charset=utf-8", mime.essence_str()),
        false => mime.essence_str().to_owned(),
    }
}
