//! How do browsers get the page, and from there to the broker?
//!
//! | path | what |
//! |---|---|
//! | `/` and the page's other files | the viewer page, built into this program |
//! | `/farol.json` | `{"device", "broker"}`: which device the page is to show and where its broker is; of an open one, whose page has it too |
//! | `/mqtt` | a WebSocket to the broker, see `bridge` and `filter`; only when it is to be carried here |
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
use tokio::net::TcpListener;

use super::web::{self, Places};
use crate::config::{Config, Security};
use crate::units::DeviceId;

mod bridge;
mod filter;
mod page;

/// Connections at once. systemd gives a service 1,024 descriptors unless told more, and cameras, brokers and viewers
/// need theirs too.
const CONNECTIONS: usize = 300;
/// WebSocket connections at once; further ones get 503. Below the embedded broker's own limit.
const MAX_BRIDGES: usize = 250;
/// Of those, so many may be of one address.
const MAX_BRIDGES_OF_ONE: usize = 50;

/// What is served.
#[derive(Clone, Debug)]
pub struct Site {
    /// The device that the page shows when its link names none.
    pub device: DeviceId,
    /// Where the page finds the broker of an open device: a path on this host such as `/mqtt`, or a `ws:` or `wss:`
    /// URL, which may have a login. Of a sealed one the link says it, to whom it is given.
    pub broker: Option<String>,
    /// By which names this port is called besides those of home networks: hosts of URLs.
    pub names: Vec<String>,
    /// The broker's host and TCP port, which `/mqtt` leads to.
    pub bridge: Option<(String, u16)>,
}

impl Site {
    /// What a device with this configuration serves.
    pub fn of(config: &Config, device: DeviceId) -> Site {
        let bridge = config.bridge.then(|| (config.broker.host.clone(), config.broker.port));
        let own = bridge.is_some().then(|| "/mqtt".to_owned());
        let broker = match config.security {
            Security::Open => Some(config.links.broker.clone().or(own).unwrap_or_default()),
            Security::Sealed => None,
        };
        Site { device, broker, names: config.links.hosts(), bridge }
    }
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
    let state =
        Served { site: Arc::new(site), bridges: Places::new(MAX_BRIDGES, MAX_BRIDGES_OF_ONE), loopback };
    let routes = Router::new()
        .route("/farol.json", get(farol_json))
        .route("/mqtt", any(bridge::upgrade))
        .fallback(page::file)
        .layer(middleware::from_fn_with_state(state.clone(), guard))
        .with_state(state);
    tokio::select! {
        () = web::serve(listener, routes, CONNECTIONS) => {}
        () = stop => {}
    }
    Ok(())
}

#[derive(Clone)]
struct Served {
    site: Arc<Site>,
    bridges: Places,
    /// Whether we listen on loopback alone.
    loopback: bool,
}

/// Around every request: who asks under a foreign name is refused, and every answer is marked. A page elsewhere can have
/// its own name resolve to our address (DNS rebinding), and would be same-origin with us.
async fn guard(State(served): State<Served>, request: Request, next: Next) -> Response {
    let refused = match web::called(request.headers()) {
        Some(name) if served.site.names.contains(&name) || web::is_loopback(&name) => None,
        _ if served.loopback => Some("farol answers to localhost only\n"),
        Some(name) if web::is_at_home(&name) => None,
        _ => Some("farol does not know this name for itself: put it into links.page\n"),
    };
    let mut response = match refused {
        Some(why) => (StatusCode::MISDIRECTED_REQUEST, why).into_response(),
        None => next.run(request).await,
    };
    response.headers_mut().extend(security_headers());
    response
}

/// What is said with every answer.
fn security_headers() -> [(HeaderName, HeaderValue); 6] {
    [
        (header::CONTENT_SECURITY_POLICY, page::policy()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), geolocation=(), microphone=(self)"),
        ),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ]
}

async fn farol_json(State(served): State<Served>) -> Response {
    let Some(host) = host_json(&served.site) else {
        return (StatusCode::NOT_FOUND, "this device is seen by a link of one's own: see farol pair\n")
            .into_response();
    };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, host).into_response()
}

/// Which device the page is to show where its link names none, and where its broker is; of an open device.
fn host_json(site: &Site) -> Option<String> {
    let broker = site.broker.as_ref()?;
    Some(serde_json::json!({ "device": site.device, "broker": broker }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Links;

    #[test]
    fn only_an_open_device_tells_its_broker_to_everybody() {
        let broker = Some("wss://user:swordfish@broker.example.org:8884/mqtt".to_owned());
        let links = Links { page: Some("https://farol.example.org/".to_owned()), broker: broker.clone() };
        let mut config = Config { links, bridge: true, ..Config::default() };
        let sealed = Site::of(&config, DeviceId(0xd));
        assert_eq!(sealed.broker, None);
        assert_eq!(sealed.names, ["farol.example.org", "broker.example.org"]);
        config.security = Security::Open;
        assert_eq!(Site::of(&config, DeviceId(0xd)).broker, broker);
        config.links = Links::default();
        assert_eq!(Site::of(&config, DeviceId(0xd)).broker.as_deref(), Some("/mqtt"));
    }
}
