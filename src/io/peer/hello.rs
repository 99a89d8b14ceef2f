//! What a viewer says in DTLS before there is a path, kept until the library hears it; and the exchange of DTLS's
//! cookie meanwhile, which saves a round trip before the picture.
//!
//! ```text
//! viewer                         we                         library
//!   ClientHello ────────────────▶ kept
//!   ◀──────── HelloVerifyRequest
//!   ClientHello with the cookie ▶ kept
//!                                 a path: both ────────────▶ HelloVerifyRequest, which ends here
//!   ◀─────────────────────────────────────────────────────── ServerHello ...
//! ```
//!
//! A server lets a client repeat its ClientHello with a cookie, to see that it is where it seems to be (RFC 6347
//! §4.2.1). Who is heard here has passed a connectivity check from there, but the library asks all the same, and not
//! before a path is nominated. Its cookie is of random numbers that we give it, so we can ask in its place. Neither
//! the first ClientHello nor the request counts for the handshake's hash.
//!
//! A viewer has one handshake, whatever paths its datagrams come by, and the library needs the first ClientHello, which
//! the viewer does not repeat once it has the cookie. So all that was kept is given to the library, and again until it
//! has answered. Pure.

use rtc::crypto::{CryptoError, RTCRandom};

/// As long as the library makes it, which asks for no other random number of this length.
pub const COOKIE_BYTES: usize = 20;

/// Datagrams that are kept: a ClientHello is two, and it is repeated.
const MAX_KEPT: usize = 16;

/// One peer connection's.
pub type Cookie = [u8; COOKIE_BYTES];

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// DTLS 1.2, as the library writes it in both places.
const VERSION: [u8; 2] = [254, 253];
/// Of a record, and of a handshake message in it.
const RECORD_HEADER_BYTES: usize = 13;
const MESSAGE_HEADER_BYTES: usize = 12;

/// Where a record's epoch is, and in the message the number and the offset of the fragment.
const EPOCH: std::ops::Range<usize> = 3..5;
const MESSAGE_NUMBER: std::ops::Range<usize> = 17..19;
const FRAGMENT_OFFSET: std::ops::Range<usize> = 19..22;

/// One viewer's beginning.
#[derive(Debug, Default)]
pub struct Hello {
    cookie: Cookie,
    kept: Vec<Vec<u8>>,
    /// We have asked for the cookie, and the library has not; the viewer has repeated its ClientHello with it.
    has_asked: bool,
    has_cookie: bool,
    /// The library has answered.
    is_heard: bool,
    /// There is a path, and the library hears what comes by any.
    has_path: bool,
}

impl Hello {
    /// To a library that will ask for this cookie.
    pub fn new(cookie: Cookie) -> Hello {
        Hello { cookie, ..Hello::default() }
    }

    /// Keeps what came from where the viewer is, before there is a path. Returns what is to be said to it.
    pub fn keep(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        if self.kept.len() < MAX_KEPT {
            self.kept.push(datagram.to_vec());
        }
        let asks = !self.is_heard && !self.has_asked && is_hello(0, datagram);
        self.has_asked |= asks;
        self.has_cookie |= self.has_asked && is_hello(1, datagram);
        asks.then(|| request(&self.cookie))
    }

    /// A path is nominated, or ICE begins anew.
    pub fn has_path(&mut self, has_path: bool) {
        self.has_path = has_path;
    }

    /// Whether the library hears what comes.
    pub fn is_open(&self) -> bool {
        self.has_path
    }

    /// What the library is to be given before anything that comes by a path.
    pub fn give(&mut self) -> Vec<Vec<u8>> {
        match self.is_heard {
            true => std::mem::take(&mut self.kept),
            false => self.kept.clone(),
        }
    }

    /// The library says something in DTLS. Returns whether that is to leave.
    #[must_use = "what the viewer was told already must not leave"]
    pub fn answered(&mut self, datagram: &[u8]) -> bool {
        self.kept.clear();
        self.is_heard = true;
        // The library asks for each fragment. Should the viewer not have heard us, it repeats its ClientHello, and then
        // the library its request.
        let has_asked = std::mem::take(&mut self.has_asked) || self.has_cookie;
        !(has_asked && asks_for(&self.cookie, datagram))
    }
}

/// Fills with random numbers, or with the cookie if that is what is asked for.
pub fn fill(inner: &dyn RTCRandom, cookie: &Cookie, output: &mut [u8]) -> Result<(), CryptoError> {
    match output.len() {
        COOKIE_BYTES => {
            output.copy_from_slice(cookie);
            Ok(())
        }
        _ => inner.fill(output),
    }
}

/// Whether a datagram begins with a client's first ClientHello (0) or its second (1), of which the rest may follow in
/// another.
fn is_hello(number: u8, datagram: &[u8]) -> bool {
    is_message(datagram, CLIENT_HELLO)
        && datagram[MESSAGE_NUMBER] == [0, number]
        && datagram[FRAGMENT_OFFSET] == [0; 3]
}

/// Whether a datagram asks for this cookie.
fn asks_for(cookie: &Cookie, datagram: &[u8]) -> bool {
    is_message(datagram, HELLO_VERIFY_REQUEST) && datagram.ends_with(cookie)
}

fn is_message(datagram: &[u8], kind: u8) -> bool {
    datagram.len() > RECORD_HEADER_BYTES + MESSAGE_HEADER_BYTES
        && datagram[0] == HANDSHAKE
        && datagram[EPOCH] == [0, 0]
        && datagram[RECORD_HEADER_BYTES] == kind
}

/// What asks for it (RFC 6347 §4.2.1): the first message in the first record, as the library's would be.
fn request(cookie: &Cookie) -> Vec<u8> {
    const BODY_BYTES: u8 = 2 + 1 + COOKIE_BYTES as u8;
    let mut bytes = vec![HANDSHAKE];
    bytes.extend(VERSION);
    // Epoch and record number.
    bytes.extend([0; 8]);
    bytes.extend([0, MESSAGE_HEADER_BYTES as u8 + BODY_BYTES]);
    bytes.extend([HELLO_VERIFY_REQUEST, 0, 0, BODY_BYTES]);
    // Message number and fragment offset.
    bytes.extend([0; 5]);
    bytes.extend([0, 0, BODY_BYTES]);
    bytes.extend(VERSION);
    bytes.push(COOKIE_BYTES as u8);
    bytes.extend(cookie);
    bytes
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    const COOKIE: Cookie = [7; COOKIE_BYTES];

    /// A fragment of a ClientHello: of which of the two, and where in it.
    pub fn client_hello(message: u8, offset: u8) -> Vec<u8> {
        let mut bytes = vec![HANDSHAKE, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14];
        bytes.extend([CLIENT_HELLO, 0, 0, 9, 0, message, 0, 0, offset, 0, 0, 2, 254, 253]);
        bytes
    }

    #[test]
    fn the_first_client_hello_is_asked_for_its_cookie_once_and_the_library_asks_no_more() {
        let mut hello = Hello::new(COOKIE);
        let asked = hello.keep(&client_hello(0, 0)).expect("a request");
        assert!(asks_for(&COOKIE, &asked) && !asks_for(&[8; COOKIE_BYTES], &asked));
        assert_eq!(hello.keep(&client_hello(0, 2)), None);
        assert_eq!(hello.keep(&client_hello(0, 0)), None, "its repetition");
        assert_eq!(hello.keep(&client_hello(1, 0)), None);
        let kept = hello.give();
        assert_eq!(kept, [client_hello(0, 0), client_hello(0, 2), client_hello(0, 0), client_hello(1, 0)]);
        assert_eq!(hello.give(), kept, "the library has not answered, so it may not have had a path");
        assert!(!hello.answered(&asked) && !hello.answered(&asked), "once for each fragment");
        assert!(hello.give().is_empty());
        assert!(hello.answered(&[HANDSHAKE]));
    }

    #[test]
    fn a_request_of_ours_that_was_lost_is_repeated_by_the_library() {
        let mut hello = Hello::new(COOKIE);
        assert!(hello.keep(&client_hello(0, 0)).is_some());
        assert!(!hello.answered(&request(&COOKIE)), "it may still be on its way");
        assert!(hello.answered(&request(&COOKIE)));
    }

    #[test]
    fn what_else_the_library_says_leaves_and_who_was_not_asked_is_asked_by_the_library() {
        let mut hello = Hello::new(COOKIE);
        assert_eq!(hello.keep(&client_hello(0, 2)), None, "the first fragment was lost");
        assert!(hello.answered(&request(&COOKIE)));
        let mut hello = Hello::new(COOKIE);
        assert!(hello.keep(&client_hello(0, 0)).is_some());
        assert!(hello.answered(&[21, 254, 253, 0]), "an alert");
    }

    #[test]
    fn what_comes_during_a_restart_is_kept_and_given_once() {
        let mut hello = Hello::new(COOKIE);
        assert!(hello.answered(&[HANDSHAKE]));
        assert_eq!(hello.keep(&[23, 1, 2]), None);
        assert_eq!(hello.give(), [[23, 1, 2]]);
        assert!(hello.give().is_empty());
        (0..200).for_each(|_| drop(hello.keep(&[23])));
        assert_eq!(hello.give().len(), MAX_KEPT);
    }

    #[test]
    fn cookie_is_drawn_where_the_library_draws_one() {
        let random = rtc::crypto::default_provider().expect("ring");
        let drawn = |length: usize| {
            let mut output = vec![7; length];
            fill(random.random(), &COOKIE, &mut output).expect("random numbers");
            output == vec![7; length]
        };
        assert!(drawn(COOKIE_BYTES));
        assert!([8, 16, 28, 64].into_iter().all(|length| !drawn(length)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_it(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut hello = Hello::new(COOKIE);
            let _ = hello.keep(&bytes);
            let _ = hello.answered(&bytes);
        }
    }
}
