//! Under which name did a browser ask, and may a page of that origin talk to us?

use axum::http::{HeaderMap, Uri, header};

/// Whether the request names this machine as itself. A page elsewhere can have its own name resolve
/// to 127.0.0.1 (DNS rebinding) and would be same-origin with us; its `Host` gives it away.
pub(super) fn is_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = text(headers, header::HOST) else { return false };
    matches!(without_port(host), "localhost" | "127.0.0.1" | "[::1]")
}

/// Whether a WebSocket may be opened: browsers let any page try, and say in `Origin` which one it is
/// (RFC 6455 §10.2). Programs send no `Origin`; they could reach the broker without us.
pub(super) fn is_own_page(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return !headers.contains_key(header::ORIGIN);
    };
    let Some(origin) = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok()) else {
        return false;
    };
    match (origin.authority(), text(headers, header::HOST)) {
        (Some(authority), Some(host)) => authority.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// The header's text, when there is exactly one.
fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        let value = |text: &'static str| header::HeaderValue::from_static(text);
        let mut headers = HeaderMap::new();
        for (name, text) in pairs {
            headers.append(name, value(text));
        }
        headers
    }

    #[test]
    fn only_loopback_names_count_as_this_machine() {
        for own in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]"] {
            assert!(is_loopback(&headers(&[(header::HOST, own)])), "{own}");
        }
        for foreign in
            ["evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", "", "::1", "localhost:x"]
        {
            assert!(!is_loopback(&headers(&[(header::HOST, foreign)])), "{foreign}");
        }
        assert!(!is_loopback(&HeaderMap::new()));
        let twice = [(header::HOST, "localhost"), (header::HOST, "evil.example")];
        assert!(!is_loopback(&headers(&twice)));
    }

    #[test]
    fn a_page_of_another_origin_is_foreign() {
        let from = |origin| headers(&[(header::HOST, "localhost:8080"), (header::ORIGIN, origin)]);
        assert!(is_own_page(&from("http://localhost:8080")));
        assert!(is_own_page(&from("https://localhost:8080")), "behind a proxy that speaks TLS");
        for foreign in
            ["http://evil.example", "http://localhost:8081", "http://localhost", "null", "file://", ""]
        {
            assert!(!is_own_page(&from(foreign)), "{foreign}");
        }
        let twice = [
            (header::HOST, "localhost:8080"),
            (header::ORIGIN, "http://localhost:8080"),
            (header::ORIGIN, "http://evil.example"),
        ];
        assert!(!is_own_page(&headers(&twice)));
        assert!(is_own_page(&headers(&[(header::HOST, "localhost:8080")])), "no browser");
    }
}
