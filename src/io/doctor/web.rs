//! May the service reach the web servers that are configured?
//!
//! What the doctor itself is answered there is no answer for a service that may not ask.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;
use url::Url;

use crate::config::Config;
use crate::engine::doctor::Finding;
use crate::engine::doctor::sandbox::{self, Sandbox};

const NAME_PATIENCE: Duration = Duration::from_secs(2);

/// The addresses of a server from all of which the unit keeps the service; `None`: it may reach one of them, or the name
/// has none.
pub(super) async fn barred(url: &Url, sandbox: &Sandbox) -> Option<Vec<IpAddr>> {
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let found = timeout(NAME_PATIENCE, lookup_host((host, url.port_or_known_default()?))).await;
    let addresses: Vec<IpAddr> = found.ok()?.ok()?.map(|address| address.ip()).collect();
    sandbox.bars_all(&addresses).then_some(addresses)
}

/// The servers that are offered to by WHIP.
pub(super) async fn uplinks(config: &Config, sandbox: &Sandbox) -> Vec<Finding> {
    let mut findings = Vec::new();
    for whip in &config.whip {
        if let Some(addresses) = barred(&whip.url, sandbox).await {
            // The path of such an address is often a secret.
            let server = whip.url.origin().ascii_serialization();
            let what = format!("the service may not reach {server} ({})", sandbox::listed(&addresses));
            let why = "nobody sees this camera there";
            findings.push(sandbox::barred(Finding::fault("whip", what), why, &addresses));
        }
    }
    findings
}
