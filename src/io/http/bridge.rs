//! How does a browser's WebSocket become a connection to the broker?
//!
//! The payloads of its binary frames are the MQTT stream (MQTT 5 §6), frame limits need not match packet limits. What
//! goes to the broker is looked at ([`Filter`]), what comes from it is carried as it is. The broker's keep alive ends
//! idle connections.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::Served;
use super::filter::Filter;
use crate::io::web::Place;

/// Largest frame and message: the broker's packet limit.
const MAX_FRAME_BYTES: usize = 64 * 1024;
/// What is read from the broker at once. One message of 11 KB is mostly one frame.
const CHUNK_BYTES: usize = 16 * 1024;

pub(super) async fn upgrade(
    State(served): State<Served>,
    Extension(connection): Extension<Arc<Place>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let Some(broker) = served.site.bridge.clone() else {
        return (StatusCode::NOT_FOUND, "MQTT is not carried here: see http.bridge\n").into_response();
    };
    if !is_own_page(&headers) {
        return (StatusCode::FORBIDDEN, "another site's page may not connect here\n").into_response();
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let Some(place) = served.bridges.take(connection.from()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many viewers are connected\n").into_response();
    };
    upgrade
        .protocols(["mqtt"])
        .max_frame_size(MAX_FRAME_BYTES)
        .max_message_size(MAX_FRAME_BYTES)
        .write_buffer_size(CHUNK_BYTES)
        .max_write_buffer_size(4 * CHUNK_BYTES)
        .on_upgrade(move |socket| bridge(socket, broker, (connection, place)))
}

/// Whether a WebSocket may be opened: browsers let any page try, and say in `Origin` which one it is
/// (RFC 6455 §10.2). Programs send no `Origin`; they could reach the broker without us.
fn is_own_page(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return !headers.contains_key(header::ORIGIN);
    };
    let Some(origin) = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok()) else {
        return false;
    };
    // There is one, and it is a name of ours: `guard` has seen to it.
    match (origin.authority(), headers.get(header::HOST).and_then(|host| host.to_str().ok())) {
        (Some(authority), Some(host)) => authority.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}

async fn bridge(socket: WebSocket, (host, port): (String, u16), _places: (Arc<Place>, Place)) {
    let stream = match TcpStream::connect((host.as_str(), port)).await {
        Ok(stream) => stream,
        Err(error) => {
            log::warn!(host = host.as_str(), port; "the broker does not answer a browser: {error}");
            return;
        }
    };
    // Without it small packets wait for an acknowledgement; failing only costs that time.
    let _ = stream.set_nodelay(true);
    let (to_browser, from_browser) = socket.split();
    let (from_broker, to_broker) = stream.into_split();
    // Whichever side ends ends both; each direction waits for its slower side and buffers one chunk.
    tokio::select! {
        () = inwards(from_browser, to_broker) => {}
        () = outwards(from_broker, to_browser) => {}
    }
}

/// Pings are answered by the library; a text frame breaks the protocol (MQTT 5 §6, MQTT-6.0.0-1), and what is not a
/// viewer's ends the connection.
async fn inwards(mut from_browser: SplitStream<WebSocket>, mut to_broker: OwnedWriteHalf) {
    let mut filter = Filter::default();
    while let Some(Ok(message)) = from_browser.next().await {
        let done = match message {
            Message::Binary(bytes) => match filter.take(&bytes) {
                Ok(packets) => to_broker.write_all(&packets).await.is_err(),
                Err(refusal) => {
                    log::debug!(refusal:?; "the bridge carries only what viewers say: a browser is cut off");
                    true
                }
            },
            Message::Ping(_) | Message::Pong(_) => false,
            Message::Text(_) | Message::Close(_) => true,
        };
        if done {
            return;
        }
    }
}

/// What is read is acknowledged at once. A broker that keeps small segments back until the last one is acknowledged, as
/// Mosquitto does (Nagle's algorithm, RFC 896), would otherwise hold the offer back for the 40 ms by which Linux delays
/// acknowledgements. The kernel forgets that it was asked to (tcp(7), TCP_QUICKACK), so it is asked each time.
async fn outwards(mut from_broker: OwnedReadHalf, mut to_browser: SplitSink<WebSocket, Message>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from_broker.read(&mut chunk).await {
        // Failing only costs that time.
        let _ = sockopt::set_tcp_quickack(from_broker.as_ref(), true);
        let bytes = Bytes::copy_from_slice(&chunk[..read]);
        if to_browser.send(Message::Binary(bytes)).await.is_err() {
            return;
        }
    }
    // The broker closed: tell the browser so instead of cutting the line.
    let _ = to_browser.send(Message::Close(None)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_is_foreign() {
        let with = |origins: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, header::HeaderValue::from_static("localhost:8080"));
            for origin in origins {
                headers.append(header::ORIGIN, header::HeaderValue::from_static(origin));
            }
            is_own_page(&headers)
        };
        assert!(with(&["http://localhost:8080"]));
        assert!(with(&["https://localhost:8080"]), "behind a proxy that speaks TLS");
        for foreign in
            ["http://evil.example", "http://localhost:8081", "http://localhost", "null", "file://", ""]
        {
            assert!(!with(&[foreign]), "{foreign}");
        }
        assert!(!with(&["http://localhost:8080", "http://evil.example"]));
        assert!(with(&[]), "no browser");
    }
}
