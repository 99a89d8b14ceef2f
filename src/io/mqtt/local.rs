//! By which of the board's addresses does the connection go, and is it still there?
//!
//! When the address of a TCP connection goes, nothing is said about it: packets are sent to nowhere until the keep
//! alive is over.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};

use rumqttc::MqttOptions;
use tokio::sync::watch;

/// The address, once there is a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Local(Arc<OnceLock<IpAddr>>);

impl Local {
    /// Has the address written down when the connection is made.
    pub(super) fn learn_from(&self, options: &mut MqttOptions) {
        let local = self.clone();
        options.set_socket_connector(move |host, network| {
            let local = local.clone();
            async move {
                let stream = rumqttc::default_socket_connect(host, network).await?;
                if let Ok(address) = stream.local_addr() {
                    // Each connection has a `Local` of its own, so nobody has written before.
                    let _ = local.0.set(address.ip());
                }
                Ok(stream)
            }
        });
    }

    /// Returns when the board has other addresses and this one is not among them; an attempt without one yet
    /// is begun anew.
    pub(super) async fn is_gone(&self, networks: &mut watch::Receiver<u64>) {
        while networks.changed().await.is_ok() {
            // The kernel binds only what is there.
            if self.0.get().is_none_or(|local| UdpSocket::bind(SocketAddr::new(*local, 0)).is_err()) {
                return;
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn local(address: [u8; 4]) -> Local {
        let local = Local::default();
        local.0.set(address.into()).expect("nobody was there before");
        local
    }

    #[tokio::test]
    async fn only_an_address_that_went_ends_a_connection() {
        let (change, mut networks) = watch::channel(0);
        assert!(local([192, 0, 2, 77]).is_gone(&mut networks).now_or_never().is_none(), "nothing changed");
        for (address, is_gone) in [([127, 0, 0, 1], false), ([192, 0, 2, 77], true)] {
            change.send_modify(|count| *count += 1);
            let seen = local(address).is_gone(&mut networks).now_or_never().is_some();
            assert_eq!(seen, is_gone, "{address:?}");
        }
    }
}
