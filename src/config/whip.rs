//! The sections `[[whip]]`: the media servers that the stream is offered to.
//!
//! `docs/whip.md` shows how common servers are set up.

use std::path::PathBuf;

use url::Url;

use super::walk::{Section, Walk};
use super::{Audio, Secret, Tls};

/// Each is a second viewer on the board's uplink; more than this no board carries.
const MOST: usize = 8;

/// A media server that the stream is offered to by WHIP (RFC 9725).
#[derive(Clone, PartialEq)]
pub struct Whip {
    /// What the log calls it; the host when nobody named it.
    pub name: String,
    /// The WHIP endpoint. It often holds a key, so it is neither printed nor logged.
    pub url: Url,
    /// Where the bearer token is read at each request.
    pub token: Option<Secret>,
    /// How the server's certificate is checked.
    pub tls: Tls,
    /// Whether it gets the picture.
    pub video: bool,
    /// Whether it gets the sound, if there is any.
    pub audio: bool,
}

impl Whip {
    /// Whether the token would be readable on its way: without TLS, to another machine.
    pub fn bares_its_token(&self) -> bool {
        let is_here = match self.url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        self.token.is_some() && self.url.scheme() == "http" && !is_here
    }
}

impl std::fmt::Debug for Whip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whip")
            .field("name", &self.name)
            .field("server", &self.url.host_str())
            .field("token", &self.token)
            .field("tls", &self.tls)
            .field("video", &self.video)
            .field("audio", &self.audio)
            .finish()
    }
}

/// Reads all of them.
pub(super) fn whip<'t>(walk: &mut Walk<'t>, top: &Section<'t>, sound: &Audio) -> Vec<Whip> {
    let entries = walk.tables(top, "whip", "a section, [[whip]]");
    if let Some(first_too_many) = entries.get(MOST) {
        walk.conflict(first_too_many, "url", format_args!("is of one server too many: there may be {MOST}"));
    }
    entries.iter().filter_map(|entry| endpoint(walk, entry, sound)).collect()
}

fn endpoint<'t>(walk: &mut Walk<'t>, entry: &Section<'t>, sound: &Audio) -> Option<Whip> {
    let allowed = "the server's WHIP endpoint, http:// or https://, without a user or a #";
    let url = walk.parsed(entry, "url", allowed, endpoint_url);
    if !entry.has("url") {
        walk.conflict(entry, "url", "is missing: a media server needs one");
    }
    let name = walk.parsed(entry, "name", "at most 64 characters without control characters", |text| {
        let is_good = text.chars().count() <= 64 && !text.chars().any(char::is_control);
        is_good.then(|| text.to_owned())
    });
    let token = token(walk, entry);
    let ca_file = walk.text(entry, "ca_file", "the path of a file").map(PathBuf::from);
    if ca_file.is_some() && url.as_ref().is_some_and(|url| url.scheme() == "http") {
        walk.conflict(entry, "ca_file", "has no effect without TLS: make the url start with https://");
    }
    let video = walk.flag(entry, "video").unwrap_or(true);
    let audio = walk.flag(entry, "audio").unwrap_or(true);
    if !video && (!audio || *sound == Audio::None) {
        walk.conflict(entry, "video", "is off, and so is sound: nothing would be sent");
    }
    let url = url?;
    let name = name.unwrap_or_else(|| url.host_str().unwrap_or_default().to_owned());
    Some(Whip { name, url, token, tls: Tls { ca_file, client: None }, video, audio })
}

fn token<'t>(walk: &mut Walk<'t>, entry: &Section<'t>) -> Option<Secret> {
    let file = walk.text(entry, "token_file", "the path of a file").map(|path| Secret::File(path.into()));
    let allowed = "the name of a systemd credential, without a slash";
    let credential = walk
        .parsed(entry, "token_credential", allowed, |name| {
            (!name.contains('/') && name != "." && name != "..").then(|| name.to_owned())
        })
        .map(Secret::Credential);
    if entry.has("token_file") && entry.has("token_credential") {
        walk.conflict(entry, "token_credential", "stands beside token_file: keep one of them");
    }
    file.or(credential)
}

fn endpoint_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let is_good = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    is_good.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::file::{Surroundings, parse};

    fn read(text: &str) -> Result<Config, Vec<String>> {
        let around = Surroundings { state_dir: None, read_secret: &|_| Ok(None) };
        parse(text, &around).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn endpoint_is_read_with_its_defaults() {
        let config = read("[[whip]]\nurl = \"https://media.test/whip/key\"\n").expect("a good one");
        let [whip] = config.whip.as_slice() else { panic!("one section") };
        assert_eq!((whip.name.as_str(), whip.video, whip.audio), ("media.test", true, true));
        assert!(!format!("{whip:?}").contains("key"), "the address may be a secret");
    }

    #[test]
    fn faults_are_told_and_addresses_are_not_shown() {
        let faults = |text: &str| read(text).expect_err("a fault").join("\n");
        for (text, part) in [
            ("[[whip]]\nname = \"x\"", "`whip[0].url` is missing"),
            ("[[whip]]\nurl = \"media.test/secret\"", "`whip[0].url` is a value that is not shown here"),
            ("[[whip]]\nurl = \"https://me:pw@media.test/\"", "without a user"),
            ("[[whip]]\nurl = \"http://a.test\"\nca_file = \"ca.pem\"", "has no effect without TLS"),
            ("[[whip]]\nurl = \"https://a.test\"\nvideo = false", "nothing would be sent"),
            ("[[whip]]\nurl = \"https://a.test\"\ntoken_file = \"a\"\ntoken_credential = \"b\"", "keep one"),
            ("[[whip]]\nurl = \"https://a.test\"\ntoken = \"x\"", "did you mean `whip[].token_"),
        ] {
            let told = faults(text);
            assert!(told.contains(part), "{told}");
            assert!(!told.contains("secret") && !told.contains("pw@"), "{told}");
        }
        let many = "[[whip]]\nurl = \"https://a.test\"\n".repeat(MOST + 1);
        assert!(faults(&many).contains("one server too many"));
    }

    #[test]
    fn token_is_bare_only_without_tls_on_the_way_to_another_machine() {
        for (url, is_bare) in [
            ("https://a.test", false),
            ("http://localhost:8889/x", false),
            ("http://[::1]/x", false),
            ("http://127.0.0.1/", false),
            ("http://10.0.0.1/", true),
        ] {
            let config = read(&format!("[[whip]]\nurl = \"{url}\"\ntoken_file = \"t\"")).expect("good");
            assert_eq!(config.whip[0].bares_its_token(), is_bare, "{url}");
        }
    }
}
