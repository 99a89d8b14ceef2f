//! Which broker does the device use when there is none: one inside this process, for itself and its viewers.
//!
//! It listens on a loopback port of the kernel's choice, which the web server bridges to browsers, and
//! keeps nothing on disk. The daemon shows a password that is made anew at each start; everybody else
//! is a viewer and may do what `rules` grants, no more.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mqtt5::broker::config::{StorageBackend, StorageConfig};
use mqtt5::broker::{
    AuthProvider, AuthResult, BrokerConfig, BrokerEventHandler, BrokerShutdownHandle, ClientPublishEvent,
    MqttBroker, PublishAction,
};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;

use crate::config::{Broker, Login, MadeSecret, Secret};
use crate::units::DeviceId;

mod rules;

pub use rules::Viewers;

/// Connections at once, the daemon's included; further ones are refused.
const MAX_CLIENTS: usize = 256;
/// As much as the daemon itself takes; a signalling message is at most 32 KiB.
const MAX_PACKET_BYTES: usize = 64 * 1024;
/// Status, and an offer for each slot. Viewers' messages are never retained.
const MAX_RETAINED: usize = 1024;
/// The daemon's user name; no slot is called so.
const DAEMON: &str = "daemon";
/// The keep alive that everybody is given: a browser that is gone frees its place in 90 s.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Why there is no embedded broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No socket.
    #[error("the embedded broker cannot listen on a loopback port: {0}")]
    Start(String),
    /// No password.
    #[error("no randomness for the embedded broker's password: {0}")]
    Random(#[from] getrandom::Error),
}

/// A running broker; it stops when this is dropped.
pub struct EmbeddedBroker {
    address: SocketAddr,
    password: String,
    shutdown: BrokerShutdownHandle,
}

impl EmbeddedBroker {
    /// Starts a broker for the one device. Must be called within a tokio runtime.
    pub async fn start(device: DeviceId, viewers: Viewers) -> Result<EmbeddedBroker, BrokerError> {
        let mut random = [0u8; 32];
        getrandom::fill(&mut random)?;
        let password = random.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let guard = Arc::new(Guard { device, viewers, password: password.clone(), daemon: Mutex::default() });
        let config = config(Arc::new(NothingRetained));
        let start = |error: mqtt5::MqttError| BrokerError::Start(error.to_string());
        let mut broker = MqttBroker::with_config(config).await.map_err(start)?.with_auth_provider(guard);
        let address =
            broker.local_addr().ok_or_else(|| BrokerError::Start("it has no address".to_owned()))?;
        let shutdown = broker.shutdown_handle();
        // Ends with the shutdown that the drop of this handle orders.
        tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                log::error!("the embedded broker ended: {error}");
            }
        });
        Ok(EmbeddedBroker { address, password, shutdown })
    }

    /// Where it listens for plain MQTT: a loopback address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the daemon connects with.
    pub fn for_the_daemon(&self) -> Broker {
        let password = Some(Secret::Made(MadeSecret::new(self.password.clone())));
        Broker {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            tls: None,
            login: Some(Login { username: DAEMON.to_owned(), password }),
            keep_alive: KEEP_ALIVE,
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.shutdown.shutdown();
    }
}

fn config(events: Arc<dyn BrokerEventHandler>) -> BrokerConfig {
    let storage = StorageConfig::new()
        .with_backend(StorageBackend::Memory)
        .with_persistence(false)
        .with_max_queued_messages_per_client(256)
        .with_max_queued_bytes_per_client(4 * 1024 * 1024);
    let mut config = BrokerConfig::new()
        .with_bind_addresses(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
        .with_max_clients(MAX_CLIENTS)
        .with_session_expiry(Duration::ZERO)
        .with_max_packet_size(MAX_PACKET_BYTES)
        .with_maximum_qos(1)
        .with_max_subscriptions_per_client(16)
        .with_max_retained_messages(MAX_RETAINED)
        .with_max_retained_message_size(MAX_PACKET_BYTES)
        .with_storage(storage)
        .with_sys_topics_enabled(false)
        .with_event_handler(events);
    config.server_keep_alive = Some(KEEP_ALIVE);
    config.shared_subscription_available = false;
    config.topic_alias_maximum = 0;
    config
}

/// Decides who may connect, and asks [`rules`] for the rest.
struct Guard {
    device: DeviceId,
    viewers: Viewers,
    password: String,
    /// The daemon's client id once it has connected: who connected with the same one would end its
    /// connection (MQTT 5 §3.1.4), so nobody else may.
    daemon: Mutex<Option<String>>,
}

type Answer<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Guard {
    fn admit(&self, connect: &ConnectPacket) -> AuthResult {
        let refused = AuthResult::fail(ReasonCode::BadUsernameOrPassword);
        let password = connect.password.as_deref();
        let mut daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        if connect.username.as_deref() == Some(DAEMON) {
            if !password.is_some_and(|shown| rules::same(shown, self.password.as_bytes())) {
                return refused;
            }
            *daemon = Some(connect.client_id.clone());
            return AuthResult::success_with_user(DAEMON);
        }
        if daemon.as_ref() == Some(&connect.client_id) {
            return AuthResult::fail(ReasonCode::ClientIdentifierNotValid);
        }
        // A viewer has no last will, and a retained one would pass by `NothingRetained`.
        if connect.will.is_some() {
            return AuthResult::fail(ReasonCode::NotAuthorized);
        }
        match self.viewers.slot(connect.username.as_deref(), password) {
            Some(slot) => AuthResult::success_with_user(slot),
            None => refused,
        }
    }
}

impl AuthProvider for Guard {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _client: SocketAddr,
    ) -> Answer<'a, mqtt5::Result<AuthResult>> {
        Box::pin(async move { Ok(self.admit(connect)) })
    }

    fn authorize_publish<'a>(
        &'a self,
        _client_id: &str,
        user: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        let granted = match user {
            Some(DAEMON) => true,
            Some(slot) => rules::may_publish(self.device, slot, topic),
            None => false,
        };
        Box::pin(async move { granted })
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _client_id: &str,
        user: Option<&'a str>,
        filter: &'a str,
    ) -> Answer<'a, bool> {
        let granted = match user {
            Some(DAEMON) => true,
            Some(slot) => rules::may_subscribe(self.device, slot, filter),
            None => false,
        };
        Box::pin(async move { granted })
    }
}

/// Viewers' messages are for the moment: one that asks to be retained is acknowledged and dropped,
/// otherwise viewers could fill the store that keeps the offers.
struct NothingRetained;

impl BrokerEventHandler for NothingRetained {
    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> Answer<'a, PublishAction> {
        let from_viewer = event.user_id.as_deref() != Some(DAEMON);
        let action = match event.retain && from_viewer {
            true => PublishAction::Handled,
            false => PublishAction::Continue,
        };
        Box::pin(async move { action })
    }
}
