//! How does Prometheus get at what is counted?
//!
//! At `/metrics`, on an address of its own and never on the page's: it says who watches. Plain HTTP without a
//! password, so it belongs on loopback or a network of one's own.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Asked, Form, put};
use crate::io::web;

/// Connections at once.
const CONNECTIONS: usize = 32;

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
/// The listener is none.
pub async fn serve(listener: TcpListener, questions: mpsc::Sender<Asked>) -> io::Result<()> {
    let is_local = listener.local_addr()?.ip().is_loopback();
    let routes = Router::new()
        .route("/metrics", get(page))
        .layer(middleware::from_fn_with_state(is_local, guard))
        .with_state(questions);
    web::serve(listener, routes, CONNECTIONS).await;
    Ok(())
}

/// A page in a browser on this machine must not read this by giving its own name our address (DNS
/// rebinding): on loopback we are called by an address or `localhost`.
async fn guard(State(is_local): State<bool>, request: Request, next: Next) -> Response {
    let is_called_locally = web::called(request.headers()).is_some_and(|name| web::is_loopback(&name));
    if is_local && !is_called_locally {
        return (StatusCode::MISDIRECTED_REQUEST, "metrics are for localhost only\n").into_response();
    }
    next.run(request).await
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
