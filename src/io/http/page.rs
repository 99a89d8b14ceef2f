//! Which file of the viewer page does a path name, and how long may a browser keep it?

use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};
use std::borrow::Cow;

/// The built page; `make viewer` builds it.
#[derive(Embed)]
#[folder = "viewer/dist"]
struct Dist;

/// Under this folder the name holds the content's hash, so that a file never changes.
const HASHED: &str = "assets/";

pub(super) async fn file(method: Method, uri: Uri) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    match Dist::get(path) {
        Some(file) => found(path, file),
        None => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
    }
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
