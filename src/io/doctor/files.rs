//! May the service read the files that the configuration names?
//!
//! Only those that are read while it runs, or at each connection: what is missing at the start is a fault of
//! the configuration, and told as such.

use std::path::Path;

use super::devices::{People, node};
use crate::config::{Config, Secret, Tls};
use crate::engine::doctor::Finding;
use crate::engine::doctor::access::{NamedFile, Runner};

/// Each that it may not; nothing where no unit runs farol.
pub(super) fn findings(path: &Path, config: &Config, people: &People) -> Vec<Finding> {
    if people.runner == Runner::Hand {
        return Vec::new();
    }
    let mut named = vec![("--config", path, None)];
    named.extend(config.ice.ca_file.as_deref().map(|file| ("ice.ca_file", file, None)));
    if let Some(Secret::File(file)) = config.broker.login.as_ref().and_then(|login| login.password.as_ref()) {
        named.push(("broker.password_file", file, Some("mqtt-password")));
    }
    if let Some(Secret::File(file)) = config.ice.source.as_ref().and_then(|source| source.token.as_ref()) {
        named.push(("ice.servers_token_file", file, None));
    }
    if let Some(Tls { ca_file, client }) = &config.broker.tls {
        named.extend(ca_file.as_deref().map(|file| ("broker.ca_file", file, None)));
        if let Some((certificate, key)) = client {
            named.push(("broker.client_cert_file", certificate, None));
            named.push(("broker.client_key_file", key, None));
        }
    }
    for whip in &config.whip {
        if let Some(Secret::File(file)) = &whip.token {
            named.push(("whip.token_file", file, Some("whip-token")));
        }
    }
    let file = |(key, file, credential): (&'static str, &Path, Option<&'static str>)| {
        let above = file.ancestors().skip(1).filter_map(node).collect();
        // The unit names its configuration by itself, and need not see one that is tried here.
        let hidden = people.sandbox.hides(file).filter(|_| key != "--config");
        NamedFile { node: node(file)?, above, key, credential, hidden }
            .finding(&people.groups, &people.service)
    };
    named.into_iter().filter_map(file).collect()
}
