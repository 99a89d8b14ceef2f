//! Which STUN and TURN servers is somebody told of, and with which passwords?
//!
//! Some passwords stay, and everybody is told them. Others are made for each user from a secret that is shared
//! with the server (coturn's `use-auth-secret`; draft-uberti-behave-turn-rest-00 §2.2): the user name is a
//! moment and a name, the password its HMAC-SHA1 under the secret, and after that moment neither opens
//! anything. Others still come ready-made from a web server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha1::Sha1;

use crate::config::{Ice, IcePolicy, IceServer, IceUrl, SharedTurn};

/// More servers than anybody needs; what a web server says beyond is left out.
const MAX_FETCHED: usize = 16;

/// The servers as they are configured and as they were fetched.
#[derive(Clone, Debug, Default)]
pub struct IceServers {
    fixed: Vec<IceServer>,
    shared: Vec<SharedTurn>,
    fetched: Vec<IceServer>,
    policy: IcePolicy,
}

impl IceServers {
    /// Those of a configuration.
    pub fn new(ice: &Ice) -> Self {
        let (fixed, shared, policy) = (ice.servers.clone(), ice.shared.clone(), ice.policy);
        IceServers { fixed, shared, fetched: Vec::new(), policy }
    }

    /// Those that a web server has named stand beside them from now on, in place of the ones before.
    pub fn use_fetched(&mut self, servers: Vec<IceServer>) {
        self.fetched = servers;
    }

    /// What `user` is told now, as in RTCConfiguration. The time is the wall clock's, since the server goes
    /// by that too.
    pub fn told_to(&self, user: &str, unix_s: u64) -> Vec<IceServer> {
        let shared = self.shared.iter().map(|shared| with_password(shared, user, unix_s));
        self.fixed.iter().cloned().chain(shared).chain(self.fetched.iter().cloned()).collect()
    }

    /// Which paths count.
    pub fn policy(&self) -> IcePolicy {
        self.policy
    }

    /// Whether something of it depends on the wall clock.
    pub fn has_moments(&self) -> bool {
        !self.shared.is_empty()
    }
}

fn with_password(shared: &SharedTurn, user: &str, unix_s: u64) -> IceServer {
    let username = format!("{}:{user}", unix_s.saturating_add(shared.lifetime.as_secs()));
    // HMAC takes keys of every length (RFC 2104 §2).
    let credential = Hmac::<Sha1>::new_from_slice(shared.secret.as_str().as_bytes())
        .map(|mac| STANDARD.encode(mac.chain_update(&username).finalize().into_bytes()));
    IceServer { urls: shared.urls.clone(), username: Some(username), credential: credential.ok() }
}

/// What a web server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The servers.
    pub servers: Vec<IceServer>,
    /// For how many seconds they are good, if it says.
    pub ttl_s: Option<u64>,
}

/// Reads a web server's answer: RTCConfiguration's `iceServers`, alone or in an object, as one or as many, and
/// with `urls` as one or as many, since each provider has its own way. URLs that are none are left out.
///
/// # Errors
///
/// There is no server in it; says so for people.
pub fn read_fetched(json: &[u8]) -> Result<Fetched, &'static str> {
    let value: Value = serde_json::from_slice(json).map_err(|_| "it is not JSON")?;
    let list = match &value {
        Value::Object(fields) => {
            let named = ["iceServers", "ice_servers"].iter().find_map(|name| fields.get(*name));
            named.or(Some(&value).filter(|_| fields.contains_key("urls")))
        }
        other => Some(other),
    };
    let entries: Vec<&Value> = match list.ok_or("it has no iceServers")? {
        Value::Array(entries) => entries.iter().collect(),
        one => vec![one],
    };
    let servers: Vec<IceServer> = entries.into_iter().filter_map(server).take(MAX_FETCHED).collect();
    if servers.is_empty() {
        return Err("it names no STUN or TURN server");
    }
    let ttl = value.get("ttl").or_else(|| value.get("lifetimeDuration"));
    let digits = |text: &str| text.trim_end_matches('s').parse().ok();
    let ttl_s = ttl.and_then(|ttl| ttl.as_u64().or_else(|| ttl.as_str().and_then(digits)));
    Ok(Fetched { servers, ttl_s })
}

fn server(entry: &Value) -> Option<IceServer> {
    let urls = entry.get("urls").or_else(|| entry.get("url"))?;
    let one = |value: &Value| value.as_str().filter(|url| IceUrl::parse(url).is_some()).map(str::to_string);
    let urls: Vec<String> = match urls {
        Value::Array(urls) => urls.iter().filter_map(one).collect(),
        url => one(url).into_iter().collect(),
    };
    let text = |name| entry.get(name).and_then(Value::as_str).map(str::to_string);
    let server = IceServer { urls, username: text("username"), credential: text("credential") };
    // A browser refuses the whole list when a TURN server lacks either.
    let is_whole = !server.has_turn() || server.username.is_some() && server.credential.is_some();
    (!server.urls.is_empty() && is_whole).then_some(server)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::MadeSecret;
    use proptest::prelude::*;

    fn shared() -> IceServers {
        let shared = SharedTurn {
            urls: vec!["turn:turn.example.org".to_string()],
            secret: MadeSecret::new("north".to_string()),
            lifetime: Duration::from_secs(86_400),
        };
        IceServers::new(&Ice { shared: vec![shared], ..Ice::default() })
    }

    #[test]
    fn each_user_has_a_password_of_its_own_until_its_moment() {
        let told = shared().told_to("ana", 1_700_000_000);
        assert_eq!(told[0].username.as_deref(), Some("1700086400:ana"));
        // printf '1700086400:ana' | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(told[0].credential.as_deref(), Some("5+tJYAICtqQ/KhbNwgVuG4RHIpg="));
        assert_ne!(shared().told_to("rui", 1_700_000_000), told);
        assert_ne!(shared().told_to("ana", 1_700_000_001), told);
    }

    #[test]
    fn fetched_servers_stand_beside_the_others_and_replace_each_other() {
        let mut servers = shared();
        let fetched = |json: &str| read_fetched(json.as_bytes()).expect("servers").servers;
        servers.use_fetched(fetched(r#"[{"urls":"stun:a"}]"#));
        servers.use_fetched(fetched(r#"[{"urls":"stun:b"}]"#));
        let urls: Vec<String> =
            servers.told_to("ana", 0).into_iter().flat_map(|server| server.urls).collect();
        assert_eq!(urls, ["turn:turn.example.org", "stun:b"]);
    }

    #[test]
    fn each_provider_s_way_is_read() {
        let turn = r#"{"urls":["turn:t?transport=tcp","turns:t"],"username":"u","credential":"c"}"#;
        for (json, ttl_s) in [
            (format!("[{turn}]"), None),
            (turn.to_string(), None),
            (format!(r#"{{"iceServers":{turn}}}"#), None),
            (format!(r#"{{"iceServers":[{turn}],"lifetimeDuration":"43200s"}}"#), Some(43_200)),
            (format!(r#"{{"ice_servers":[{turn}],"ttl":"86400","x":1}}"#), Some(86_400)),
            (format!(r#"{{"iceServers":[{turn}, {{"urls":"turn:no-password"}}, 7],"ttl":60}}"#), Some(60)),
        ] {
            let read = read_fetched(json.as_bytes()).expect("servers");
            assert_eq!(read.ttl_s, ttl_s, "{json}");
            assert_eq!(read.servers.len(), 1, "{json}");
            assert_eq!(read.servers[0].urls, ["turn:t?transport=tcp", "turns:t"]);
        }
        for bad in ["", "{}", "[]", "7", r#"{"iceServers":[{"urls":"http://x"}]}"#, "<html>"] {
            assert!(read_fetched(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_web_server_says_is_read_or_refused(json in any::<Vec<u8>>()) {
            let _ = read_fetched(&json);
        }
    }
}
