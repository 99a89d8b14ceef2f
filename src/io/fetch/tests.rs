use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A web server on this machine that reads one request for each connection and says what it is told.
struct Server {
    url: Url,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start(says: Vec<u8>) -> Server {
        Server::serve(says, None).await
    }

    async fn serve(says: Vec<u8>, tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (seen, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => talk(stream, &says, &seen).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            talk(stream, &says, &seen).await;
                        }
                    }
                }
            }
        });
        let url = format!("{scheme}://localhost:{port}/whip?room=1").parse().expect("a URL");
        Server { url, requests }
    }

    fn request(&mut self) -> String {
        self.requests.try_recv().expect("the server has read a request")
    }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    says: &[u8],
    seen: &mpsc::UnboundedSender<String>,
) {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains("\r\n\r\n") || text.contains("content-length: 5") && !text.ends_with("v=0\r\n") {
        match stream.read(&mut piece).await {
            Ok(length @ 1..) => text.push_str(&String::from_utf8_lossy(&piece[..length])),
            _ => return,
        }
    }
    let _ = seen.send(text);
    let _ = stream.write_all(says).await;
    if says.is_empty() {
        // A server that hangs: it waits until we give up.
        let _ = stream.read(&mut piece).await;
    }
    let _ = stream.shutdown().await;
}

fn post(url: &Url) -> Request {
    let mut request = Request::new(Method::POST, url.clone())
        .with(header::CONTENT_TYPE, HeaderValue::from_static("application/sdp"))
        .with_bearer("secret")
        .expect("a token");
    request.body = Bytes::from_static(b"v=0\r\n");
    request
}

/// An authority of our own, its certificate in a file, and a server's for `localhost`.
fn authority(directory: &Path) -> (Tls, TlsAcceptor) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&key).expect("a certificate");
    let ca_file = directory.join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).expect("the directory is ours");
    let issuer = rcgen::Issuer::new(parameters, key);
    let own = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = parameters.signed_by(&own, &issuer).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let server = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a chain and its key");
    (Tls { ca_file: Some(ca_file), client: None }, TlsAcceptor::from(Arc::new(server)))
}

#[tokio::test]
async fn request_carries_its_method_target_headers_and_body() {
    let mut server =
        Server::start(b"HTTP/1.1 201 Created\r\nLocation: /s/1\r\nContent-Length: 2\r\n\r\nok".to_vec())
            .await;
    let response = post(&server.url).send(&Tls::default()).await.expect("a response");
    assert_eq!((response.status, response.body.as_ref()), (StatusCode::CREATED, b"ok".as_slice()));
    assert_eq!(response.headers[header::LOCATION], "/s/1");
    let seen = server.request();
    assert!(seen.starts_with("POST /whip?room=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nv=0\r\n"), "{seen}");
    let host = format!("host: localhost:{}\r\n", server.url.port().expect("a port"));
    for line in [host.as_str(), "authorization: Bearer secret\r\n", "content-type: application/sdp\r\n"] {
        assert!(seen.contains(line), "{line} is not in {seen}");
    }
}

#[test]
fn token_is_not_printed_and_one_with_a_line_end_is_refused() {
    let request = Request::new(Method::GET, "http://localhost/".parse().expect("a URL"));
    let with = request.clone().with_bearer("swordfish").expect("a token");
    assert!(!format!("{with:?}").contains("swordfish"));
    assert!(matches!(request.with_bearer("sword\r\nfish"), Err(FetchFault::BadToken)));
}

#[tokio::test]
async fn server_is_trusted_by_the_authority_in_the_file_and_by_no_other() {
    let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let ((trust, acceptor), (stranger, _)) = (authority(one.path()), authority(other.path()));
    let server = Server::serve(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), Some(acceptor)).await;
    let response = post(&server.url).send(&trust).await.expect("a response");
    assert_eq!(response.status, StatusCode::NO_CONTENT);
    let fault = post(&server.url).send(&stranger).await.expect_err("a stranger's authority");
    assert!(fault.to_string().contains("was not issued by the authorities in"), "{fault}");
}

#[tokio::test]
async fn plain_server_under_https_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url: Url =
        format!("https://{}/", listener.local_addr().expect("it is bound")).parse().expect("a URL");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 4096]).await;
    });
    let directory = tempfile::tempdir().expect("a directory");
    let (trust, _) = authority(directory.path());
    let fault = post(&url).send(&trust).await.expect_err("it speaks no TLS");
    assert!(fault.to_string().contains("does not speak TLS"), "{fault}");
}

#[tokio::test]
async fn temporary_redirect_of_a_post_is_followed_with_its_body() {
    let mut target = Server::start(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    for (redirects, carries_token) in
        [(Redirects::KeepAuthorization, true), (Redirects::DropAuthorization, false)]
    {
        let says = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\n\r\n", target.url);
        let server = Server::start(says.into_bytes()).await;
        let mut request = post(&server.url);
        request.redirects = redirects;
        let response = request.send(&Tls::default()).await.expect("a response");
        assert_eq!((response.status, &response.url), (StatusCode::CREATED, &target.url));
        let seen = target.request();
        assert!(seen.starts_with("POST ") && seen.ends_with("v=0\r\n"), "{seen}");
        assert_eq!(seen.contains("Bearer secret"), carries_token, "{redirects:?}");
    }
}

#[tokio::test]
async fn redirect_that_would_lose_the_body_or_is_not_wanted_is_the_response() {
    let server = Server::start(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n".to_vec()).await;
    let mut request = post(&server.url);
    request.redirects = Redirects::KeepAuthorization;
    assert_eq!(request.send(&Tls::default()).await.expect("a response").status, StatusCode::FOUND);
    let server = Server::start(b"HTTP/1.1 308 Permanent Redirect\r\nLocation: /x\r\n\r\n".to_vec()).await;
    let status = post(&server.url).send(&Tls::default()).await.expect("a response").status;
    assert_eq!(status, StatusCode::PERMANENT_REDIRECT);
}

#[tokio::test]
async fn redirects_end_somewhere_and_never_leave_tls() {
    let server = Server::start(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /again\r\n\r\n".to_vec()).await;
    let mut request = post(&server.url);
    request.redirects = Redirects::KeepAuthorization;
    let fault = request.send(&Tls::default()).await.expect_err("round and round");
    assert!(matches!(fault, FetchFault::Redirects { .. }), "{fault}");

    let directory = tempfile::tempdir().expect("a directory");
    let (trust, acceptor) = authority(directory.path());
    let says = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://localhost/\r\n\r\n".to_vec();
    let server = Server::serve(says, Some(acceptor)).await;
    let mut request = post(&server.url);
    request.redirects = Redirects::KeepAuthorization;
    let fault = request.send(&trust).await.expect_err("it would be less safe");
    assert!(matches!(fault, FetchFault::BadRedirect { .. }), "{fault}");
}

#[tokio::test]
async fn body_over_the_limit_is_refused_with_and_without_its_length() {
    let long = "x".repeat(3000);
    let counted = format!("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n{long}");
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n{long}\r\n0\r\n\r\n");
    for says in [counted, chunked] {
        let server = Server::start(says.into_bytes()).await;
        let mut request = post(&server.url);
        request.most_body_bytes = 2999;
        let fault = request.clone().send(&Tls::default()).await.expect_err("too much");
        assert!(matches!(fault, FetchFault::TooLarge { most: 2999, .. }), "{fault}");
        request.most_body_bytes = 3000;
        assert_eq!(request.send(&Tls::default()).await.expect("it fits").body.len(), 3000);
    }
}

#[tokio::test]
async fn server_that_hangs_talks_nonsense_or_is_not_there_is_a_fault_with_its_address() {
    let hanging = Server::start(Vec::new()).await;
    let mut request = post(&hanging.url);
    request.timeout = Duration::from_millis(200);
    let fault = request.send(&Tls::default()).await.expect_err("it never answers");
    assert!(matches!(fault, FetchFault::Timeout { .. }), "{fault}");

    for nonsense in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"] {
        let server = Server::start(nonsense.into()).await;
        let fault = post(&server.url).send(&Tls::default()).await.expect_err("it is no HTTP");
        assert!(matches!(fault, FetchFault::Broken { .. }), "{fault}");
        assert!(fault.to_string().contains("localhost:"), "{fault}");
    }

    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    let url: Url = format!("http://{closed}/").parse().expect("a URL");
    let fault = post(&url).send(&Tls::default()).await.expect_err("nobody listens");
    assert!(matches!(fault, FetchFault::Unreachable { .. }), "{fault}");
    let url: Url = "ftp://localhost/".parse().expect("a URL");
    assert!(matches!(post(&url).send(&Tls::default()).await, Err(FetchFault::BadUrl)));
}
