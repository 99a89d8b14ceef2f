//! What does the device say of itself when it connects?

use std::time::Duration;

use rumqttc::{
    ConnectProperties, LastWill, LastWillProperties, MqttOptions, NetworkOptions, QoS, TlsConfiguration,
    Transport,
};

use super::fault::Fault;
use super::{MAX_PACKET_BYTES, Publication, login};
use crate::config::Broker;
use crate::io::tls;

/// For the name, TCP, TLS and CONNACK together; a Pi Zero takes seconds for a TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Publications that the broker has not acknowledged yet; the next waits. Without a limit the library
/// makes room for 65,535 of them, which is 14 MB for nothing.
const UNACKNOWLEDGED: u16 = 64;

/// Everything for one connection, with the password and the certificates as they are now.
pub(super) async fn options(
    broker: &Broker,
    client_id: &str,
    will: Option<Publication>,
) -> Result<MqttOptions, Fault> {
    let mut options = MqttOptions::new(client_id, (broker.host.clone(), broker.port));
    options.set_clean_start(true);
    options.set_connect_timeout(CONNECT_TIMEOUT);
    options.set_keep_alive(u16::try_from(broker.keep_alive.as_secs()).unwrap_or(u16::MAX));
    options.set_connect_properties(ConnectProperties::new());
    options.set_max_packet_size(Some(MAX_PACKET_BYTES));
    options.set_outgoing_inflight_upper_limit(UNACKNOWLEDGED);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some(login) = &broker.login {
        match login::password(login).await.map_err(Fault::Login)? {
            Some(password) => options.set_credentials(login.username.as_str(), password),
            None => options.set_username(login.username.as_str()),
        };
    }
    if let Some(tls) = broker.tls.clone() {
        let config = tokio::task::spawn_blocking(move || tls::client(&tls)).await;
        let config = config.map_err(|_| Fault::Stopping)?.map_err(Fault::Tls)?;
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config)));
    }
    if let Some(will) = will {
        options.set_last_will(last_will(will));
    }
    Ok(options)
}

fn last_will(will: Publication) -> LastWill {
    let properties = will.expiry.map(|expiry| LastWillProperties {
        delay_interval: None,
        payload_format_indicator: None,
        message_expiry_interval: Some(whole_seconds(expiry)),
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    });
    LastWill::new(will.topic, will.payload.to_vec(), QoS::AtLeastOnce, will.retain, properties)
}

/// Rounded up: a message must not expire before its time.
pub(super) fn whole_seconds(expiry: Duration) -> u32 {
    let seconds = expiry.as_secs().saturating_add(u64::from(expiry.subsec_nanos() > 0));
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_expires_before_its_time() {
        assert_eq!(whole_seconds(Duration::from_millis(29_001)), 30);
        assert_eq!(whole_seconds(Duration::from_secs(30)), 30);
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }
}
