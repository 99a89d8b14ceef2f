//! Which STUN and TURN servers does a web server name now, and with which passwords?
//!
//! One task asks it at the start and again before what it said runs out. A web server that cannot be reached
//! is tried again; what it said last is used meanwhile.

use std::time::Duration;

use tokio::sync::mpsc;
use url::{Host, Url};

use super::fetch::{FetchFault, Method, Redirects, Request};
use crate::config::{IceServer, Tls, TurnSource};
use crate::engine::ice::{self, Fetched};

/// Between two attempts, doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// However short-lived its passwords are, nobody is asked more often.
const SHORTEST_WAIT: Duration = Duration::from_secs(30);

/// Begins to ask. Each answer that names servers comes out; one that the daemon has not taken yet holds the
/// next one up.
pub fn spawn(source: TurnSource, trust: Tls) -> mpsc::Receiver<Vec<IceServer>> {
    let (sender, answers) = mpsc::channel(1);
    tokio::spawn(ask(source, trust, sender));
    answers
}

async fn ask(source: TurnSource, trust: Tls, answers: mpsc::Sender<Vec<IceServer>>) {
    if is_overheard(&source.url) {
        log::warn!(url = source.url.as_str(); "TURN passwords come over plain HTTP, for everybody on the way to read: make ice.servers_url start with https://");
    }
    let mut failures: u32 = 0;
    loop {
        let wait = match once(&source, &trust).await {
            Ok(fetched) => {
                let servers = fetched.servers.len();
                match failures {
                    0 => log::debug!(url = source.url.as_str(), servers; "ICE servers were fetched"),
                    _ => log::info!(url = source.url.as_str(), servers; "ICE servers are fetched again"),
                }
                failures = 0;
                if answers.send(fetched.servers).await.is_err() {
                    return;
                }
                // Half of their time is left to whoever gets them last.
                let half = |ttl_s: u64| Duration::from_secs(ttl_s / 2).max(SHORTEST_WAIT);
                fetched.ttl_s.map_or(source.refresh, |ttl_s| half(ttl_s).min(source.refresh))
            }
            Err(reason) => {
                if failures == 0 {
                    log::warn!(url = source.url.as_str(), reason = reason.as_str(); "ice.servers_url gives no servers; it is asked again");
                }
                failures = failures.saturating_add(1);
                FIRST_WAIT.saturating_mul(1 << (failures - 1).min(8)).min(LONGEST_WAIT)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = answers.closed() => return,
        }
    }
}

/// Asks once.
///
/// # Errors
///
/// There is no answer, or none that names servers: why, for people.
pub async fn once(source: &TurnSource, trust: &Tls) -> Result<Fetched, String> {
    let url = Url::parse(&source.url).map_err(|cause| cause.to_string())?;
    let mut request = Request::new(Method::GET, url);
    request.redirects = Redirects::DropAuthorization;
    // Read anew, so that it can be changed.
    if let Some(token) = &source.token {
        let token = token.read().map_err(|cause| format!("ice.servers_token_file: {cause}"))?;
        let token = token.ok_or("ice.servers_token_file is empty")?;
        request = request.with_bearer(token.trim()).map_err(said)?;
    }
    let response = request.send(trust).await.map_err(said)?;
    if !response.status.is_success() {
        return Err(format!("it answers {}", response.status));
    }
    ice::read_fetched(&response.body).map_err(str::to_string)
}

/// Whether others can read along: plain HTTP to another machine.
fn is_overheard(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !is_here
}

fn said(fault: FetchFault) -> String {
    fault.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for overheard in ["http://turn.example.org/x", "http://192.0.2.1/", "http://[2001:db8::1]/"] {
            assert!(is_overheard(overheard), "{overheard}");
        }
        for fine in
            ["https://turn.example.org/x", "http://localhost:80/", "http://127.0.0.2/", "http://[::1]/"]
        {
            assert!(!is_overheard(fine), "{fine}");
        }
    }
}
