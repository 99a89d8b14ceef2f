//! How do browsers get the page, and from there to the broker?
//!
//! | path | what |
//! |---|---|
//! | `/`, `/assets/...` and the page's other files | the viewer page, built into this program |
//! | `/farol.json` | `{"device", "broker"}`: which device the page is to show and where its broker is; the page has it too |
//! | `/mqtt` | a WebSocket to the broker, see `bridge`; only when it is to be carried here |
//!
//! Plain HTTP: in front of anything but a home network belongs a proxy that speaks TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::units::DeviceId;

mod bridge;
mod host;
mod page;

/// WebSocket connections at once; further ones get 503. Below the embedded broker's own limit.
const MAX_BRIDGES: usize = 250;

/// What is served.
#[derive(Clone, Debug)]
pub struct Site {
    /// The device that the page shows when its link names none.
    pub device: DeviceId,
    /// Where the page finds the broker: a path on this host such as `/mqtt`, or a `ws:` or `wss:` URL.
    pub broker: String,
    /// The broker's host and TCP port, which `/mqtt` leads to.
    pub bridge: Option<(String, u16)>,
}

/// Why the page is not served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Another program has the port.
    #[error("port {port} is taken: another program listens at {address}; stop it or choose another port")]
    Taken {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// Its port.
        port: u16,
    },
    /// The port is not ours to take.
    #[error(
        "no right to listen at {address}: ports below 1024 need CAP_NET_BIND_SERVICE; choose 1024 or above"
    )]
    Forbidden {
        /// Where we wanted to listen.
        address: SocketAddr,
    },
    /// The address is not one of this machine's, or something rarer.
    #[error("cannot listen at {address}: {source}; is it an address of this machine?")]
    Listen {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Serving ended.
    #[error("the web server ended: {0}")]
    Serve(io::Error),
}

/// Takes the address; with port 0 the kernel chooses, see [`TcpListener::local_addr`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::Taken { address, port: address.port() },
        io::ErrorKind::PermissionDenied => HttpError::Forbidden { address },
        _ => HttpError::Listen { address, source },
    })
}

/// Serves until `stop` is ready; connections that are open then end with the runtime.
pub async fn serve(
    listener: TcpListener,
    site: Site,
    stop: impl Future<Output = ()>,
) -> Result<(), HttpError> {
    let loopback = listener.local_addr().map_err(HttpError::Serve)?.ip().is_loopback();
    let state = Served { site: Arc::new(site), bridges: Arc::new(Semaphore::new(MAX_BRIDGES)), loopback };
    let routes = Router::new()
        .route("/farol.json", get(farol_json))
        .route("/mqtt", any(bridge::upgrade))
        .fallback(page::file)
        .layer(middleware::from_fn_with_state(state.clone(), guard))
        .with_state(state);
    // A WebSocket's small frames follow each other: without this the second waits until the browser acknowledges the
    // first, which it does after 40 ms (Nagle's algorithm, RFC 896). Failing only costs that time.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::select! {
        served = async { axum::serve(listener, routes).await } => served.map_err(HttpError::Serve),
        () = stop => Ok(()),
    }
}

#[derive(Clone)]
struct Served {
    site: Arc<Site>,
    bridges: Arc<Semaphore>,
    /// Whether we listen on loopback alone.
    loopback: bool,
}

/// Around every request: who asks under a foreign name is refused, and every answer is marked.
async fn guard(State(served): State<Served>, request: Request, next: Next) -> Response {
    let mut response = match served.loopback && !host::is_loopback(request.headers()) {
        true => (StatusCode::MISDIRECTED_REQUEST, "farol answers to localhost only").into_response(),
        false => next.run(request).await,
    };
    response.headers_mut().extend(security_headers());
    response
}

/// What the page may do and load; `connect-src` is open since the broker may be on another host.
fn security_headers() -> [(HeaderName, HeaderValue); 6] {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
                  img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                  require-trusted-types-for 'script'";
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(self)"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}

async fn farol_json(State(served): State<Served>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, host_json(&served.site)).into_response()
}

/// Which device the page is to show where its link names none, and where its broker is.
fn host_json(site: &Site) -> String {
    serde_json::json!({ "device": site.device, "broker": site.broker }).to_string()
}
