//! Which file of the viewer page does a path name, and how long may a browser keep it?
//!
//! The page's build has compressed its scripts already (`viewer/vite.config.ts`): they are 29 kB instead of 79 on the
//! way to the first picture, and no board compresses anything while it serves.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};
use std::borrow::Cow;

use super::{Served, Site, host_json};

/// The built page; `make viewer` builds it.
#[derive(Embed)]
#[folder = "viewer/dist"]
struct Dist;

/// Under this folder the name holds the content's hash, so that a file never changes.
const HASHED: &str = "assets/";

const INDEX: &str = "index.html";

/// Where the page is told what `/farol.json` says, so that without a link it need not ask first (`viewer/index.html`).
const HOST_TAG: &str = r#"<meta name="farol-host" content="" />"#;

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
    let Some(file) = Dist::get(path) else {
        return (StatusCode::NOT_FOUND, "there is no such page\n").into_response();
    };
    if path == INDEX {
        return found(path, addressed(file, &served.site));
    }
    let Some(packed) = Dist::get(&format!("{path}.gz")) else { return found(path, file) };
    let mut response = match takes_gzip(&headers) {
        true => {
            let mut response = found(path, packed);
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        false => found(path, file),
    };
    // A cache on the way must not hand the one to a browser that asked for the other.
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
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

/// The page with its device and broker in it, if everybody may know them.
fn addressed(file: EmbeddedFile, site: &Site) -> EmbeddedFile {
    let Some(host) = host_json(site) else { return file };
    let content = host.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let tag = HOST_TAG.replace(r#"content="""#, &format!(r#"content="{content}""#));
    let page = String::from_utf8_lossy(&file.data).replacen(HOST_TAG, &tag, 1);
    EmbeddedFile { data: Cow::Owned(page.into_bytes()), ..file }
}

fn found(path: &str, file: EmbeddedFile) -> Response {
    let kept = match path.starts_with(HASHED) {
        true => "public, max-age=31536000, immutable",
        // Asked for anew each time, so that page and daemon are of one version.
        false => "no-cache",
    };
    let body = match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let headers = [(header::CONTENT_TYPE, content_type(path)), (header::CACHE_CONTROL, kept.to_owned())];
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
