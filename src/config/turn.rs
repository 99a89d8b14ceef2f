//! The TURN keys of the configuration: servers, passwords that stay, passwords for a time.

use std::io;
use std::time::Duration;

use super::sections::A_PATH;
use super::url::{self, IceKind, IceUrl};
use super::walk::{Section, Walk};
use super::{IceServer, MadeSecret, Secret, SharedTurn, TurnSource};

/// How long a password is good for unless the file says so: long enough for a viewer that stays for a day.
const LIFETIME: Duration = Duration::from_secs(86_400);
/// How often a source of servers is asked unless the file says so, or the source.
const REFRESH: Duration = Duration::from_secs(3600);

type ReadSecret<'r> = &'r dyn Fn(&Secret) -> io::Result<Option<String>>;

/// An entry of `ice.servers`.
pub(super) enum Entry {
    /// With a user and a password that stay, if it has them.
    Fixed(IceServer),
    /// With a secret from which they are made.
    Shared(SharedTurn),
}

/// Reads an entry; `None`: it has a fault that leaves nothing of it.
pub(super) fn entry<'t>(
    walk: &mut Walk<'t>,
    entry: &Section<'t>,
    read_secret: ReadSecret<'_>,
) -> Option<Entry> {
    let allowed = "a URL such as \"stun:host:3478\" or \"turn:host:3478?transport=udp\"";
    let urls = walk
        .texts(entry, "urls", allowed, |text| IceUrl::parse(text).map(|url| (text.to_string(), url.kind)));
    if !entry.has("urls") {
        walk.conflict(entry, "urls", "is missing: a server needs at least one URL");
    }
    let username = walk.text(entry, "username", "the TURN user's name").map(str::to_string);
    let written = walk.text(entry, "credential", "the TURN user's password").map(str::to_string);
    let file = walk.text(entry, "credential_file", A_PATH);
    let secret_file = walk.text(entry, "secret_file", A_PATH);
    // Longer than a standing offer waits in the broker, 11 minutes.
    let lifetime = walk.number(entry, "lifetime_s", 1200..=2_592_000, " seconds");
    let (urls, kinds): (Vec<String>, Vec<IceKind>) = urls.into_iter().unzip();
    if let Some(path) = secret_file {
        for key in ["username", "credential", "credential_file"].into_iter().filter(|key| entry.has(key)) {
            walk.conflict(entry, key, "stands beside secret_file, which makes users and passwords: keep one");
        }
        let secret = MadeSecret::new(secret(walk, entry, "secret_file", path, read_secret)?);
        let lifetime = lifetime.map_or(LIFETIME, |s| Duration::from_secs(s.into()));
        return Some(Entry::Shared(SharedTurn { urls, secret, lifetime }));
    }
    if lifetime.is_some() {
        walk.conflict(entry, "lifetime_s", "has no effect without secret_file");
    }
    if entry.has("credential") && entry.has("credential_file") {
        walk.conflict(entry, "credential_file", "stands beside credential: keep one of them");
    }
    let from_file = file.and_then(|path| secret(walk, entry, "credential_file", path, read_secret));
    // A browser refuses the whole list when one TURN server lacks either (WebRTC §4.4.1.1, "set a
    // configuration").
    if kinds.contains(&IceKind::Turn) {
        if !entry.has("username") {
            walk.conflict(entry, "username", "is missing: a TURN server needs a user");
        }
        if !entry.has("credential") && !entry.has("credential_file") {
            walk.conflict(entry, "credential", "is missing: a TURN server needs a password");
        }
    }
    Some(Entry::Fixed(IceServer { urls, username, credential: written.or(from_file) }))
}

/// Where servers are asked for.
pub(super) fn source<'t>(walk: &mut Walk<'t>, section: &Section<'t>) -> Option<TurnSource> {
    let allowed = "a URL that starts with https:// or http://, without #";
    let url = walk.parsed(section, "servers_url", allowed, |text| {
        url::is_web(text, ["https", "http"]).then(|| text.to_string())
    });
    let token = walk.text(section, "servers_token_file", A_PATH).map(|path| Secret::File(path.into()));
    let refresh = walk.number(section, "servers_refresh_s", 60..=86_400, " seconds");
    if token.is_some() && url.is_none() {
        walk.conflict(section, "servers_token_file", "has no effect without ice.servers_url");
    }
    let refresh = refresh.map_or(REFRESH, |s| Duration::from_secs(s.into()));
    url.map(|url| TurnSource { url, token, refresh })
}

/// What a file holds, or a fault.
fn secret<'t>(
    walk: &mut Walk<'t>,
    entry: &Section<'t>,
    key: &'static str,
    path: &str,
    read_secret: ReadSecret<'_>,
) -> Option<String> {
    match read_secret(&Secret::File(path.into())) {
        Ok(Some(secret)) => Some(secret),
        Ok(None) => {
            walk.conflict(entry, key, format_args!("names an empty file: {path}"));
            None
        }
        Err(error) => {
            walk.conflict(entry, key, format_args!("names a file that cannot be read: {path}: {error}"));
            None
        }
    }
}

impl IceServer {
    /// Whether one of its URLs is a TURN server's.
    pub fn has_turn(&self) -> bool {
        let kinds = self.urls.iter().filter_map(|url| IceUrl::parse(url));
        kinds.into_iter().any(|url| url.kind == IceKind::Turn)
    }
}
