//! How does Prometheus get at what is counted?
//!
//! At `/metrics`, on an address of its own and never on the page's: it says who watches. Plain HTTP without a
//! password, so it belongs on loopback or a network of one's own.

use std::io;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Asked, Form, put};

/// The form's name (OpenMetrics 1.0, "Content Type").
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the metrics are not served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address cannot be listened on.
    #[error(
        "cannot serve metrics at {address}: {cause}; change metrics.listen, or stop who has it (`ss -ltnp`)"
    )]
    Listen {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the kernel said.
        cause: io::Error,
    },
}

/// Takes the address.
///
/// # Errors
///
/// It is taken, not ours, or not one of this machine's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, MetricsError> {
    TcpListener::bind(address).await.map_err(|cause| MetricsError::Listen { address, cause })
}

/// Serves until the runtime ends.
///
/// # Errors
///
/// The listener has failed for good.
pub async fn serve(listener: TcpListener, questions: mpsc::Sender<Asked>) -> io::Result<()> {
    let is_local = listener.local_addr()?.ip().is_loopback();
    let routes = Router::new()
        .route("/metrics", get(page))
        .layer(middleware::from_fn_with_state(is_local, guard))
        .with_state(questions);
    axum::serve(listener, routes).await
}

/// A page in a browser on this machine must not read this by giving its own name our address (DNS
/// rebinding): on loopback we are called by an address or `localhost`.
async fn guard(State(is_local): State<bool>, request: Request, next: Next) -> Response {
    if is_local && !is_called_locally(request.headers()) {
        return (StatusCode::MISDIRECTED_REQUEST, "metrics are for localhost only\n").into_response();
    }
    next.run(request).await
}

fn is_called_locally(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(uri) = host.and_then(|host| format!("http://{host}/").parse::<Uri>().ok()) else { return false };
    let name = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn page(State(questions): State<mpsc::Sender<Asked>>) -> Response {
    match put(&questions, Form::Metrics).await {
        Some(text) => {
            let headers = [(header::CONTENT_TYPE, OPENMETRICS), (header::CACHE_CONTROL, "no-store")];
            (headers, text).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the daemon is busy\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_only_local_names_are_answered() {
        let called = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header's value"));
            is_called_locally(&headers)
        };
        for good in ["localhost:9100", "LOCALHOST", "127.0.0.1:9100", "[::1]:9100"] {
            assert!(called(good), "{good}");
        }
        for bad in
            ["evil.example:9100", "localhost.evil.example", "192.0.2.1:9100", "", "127.0.0.1@evil.example"]
        {
            assert!(!called(bad), "{bad}");
        }
        assert!(!is_called_locally(&HeaderMap::new()));
    }
}
