//! How do viewers join Janus? Over its WebSocket API: each asks to watch mountpoint 1 and answers its offer.

use std::net::IpAddr;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::viewer::Viewer;

/// A session at Janus.
struct Janus {
    socket: WebSocketStream<TcpStream>,
    session: Value,
    transaction: u32,
}

/// Joins them one after the other.
pub async fn join(port: u16, address: IpAddr, count: u16) -> anyhow::Result<Vec<Viewer>> {
    let mut request = format!("ws://127.0.0.1:{port}/").into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", "janus-protocol".parse()?);
    let (socket, _) = client_async(request, TcpStream::connect(("127.0.0.1", port)).await?).await?;
    let mut janus = Janus { socket, session: Value::Null, transaction: 0 };
    let created = janus.ask(json!({ "janus": "create" }), "success").await?;
    janus.session = created["data"]["id"].clone();
    let mut viewers = Vec::new();
    for _ in 0..count {
        let plugin = json!({ "janus": "attach", "plugin": "janus.plugin.streaming" });
        let handle = janus.ask(plugin, "success").await?["data"]["id"].clone();
        let watch =
            json!({ "janus": "message", "handle_id": handle, "body": { "request": "watch", "id": 1 } });
        let offer = janus.ask(watch, "event").await?;
        let offer = offer["jsep"]["sdp"].as_str().with_context(|| format!("no offer: {offer}"))?;
        let (viewer, sdp) = Viewer::answer(offer, address).await?;
        let start = json!({
            "janus": "message", "handle_id": handle, "body": { "request": "start" },
            "jsep": { "type": "answer", "sdp": sdp },
        });
        janus.ask(start, "event").await?;
        viewer.watches().await?;
        viewers.push(viewer);
    }
    // Without its WebSocket Janus ends the session. Nobody reads what it says from now on: it is little.
    tokio::spawn(async move { while janus.socket.next().await.is_some() {} });
    Ok(viewers)
}

impl Janus {
    /// Sends a request; its answer of that kind. What Janus says of itself meanwhile is passed over.
    async fn ask(&mut self, mut request: Value, kind: &str) -> anyhow::Result<Value> {
        self.transaction += 1;
        let transaction = self.transaction.to_string();
        request["transaction"] = transaction.clone().into();
        if !self.session.is_null() {
            request["session_id"] = self.session.clone();
        }
        self.socket.send(Message::text(request.to_string())).await?;
        while let Some(message) = self.socket.next().await {
            let message = message?;
            if !message.is_text() {
                continue;
            }
            let said: Value = serde_json::from_str(message.to_text()?)?;
            if said["janus"] == "error" {
                bail!("Janus refuses {request}: {}", said["error"]);
            }
            if said["janus"] == kind && said["transaction"] == transaction.as_str() {
                return Ok(said);
            }
        }
        bail!("Janus closed the connection after {request}")
    }
}
