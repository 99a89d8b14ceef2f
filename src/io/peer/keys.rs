//! Under which keys do a viewer and we encrypt our packets? Overheard from the library, which does not tell.
//!
//! DTLS-SRTP makes the keys of both directions at the end of its handshake (RFC 5764 §4.2). The library then
//! derives the session keys by the cryptography that it was given, ours before the viewer's. The first block
//! of each derivation is the master salt, encrypted under the master key (RFC 3711 §4.3.1 with label 0 and
//! index 0), and what is made with the result says which profile it is for.
//!
//! The library uses our keys for RTCP alone, since no RTP is written through it: with one key, no packet
//! number may ever come twice (RFC 7714 §8.1). Under the viewer's keys anybody may read who has them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rtc::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher,
    CryptoAlgorithm, CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey,
    RTCCrypto, RTCCryptoProvider, RTCRandom, SecretVec, SignatureScheme, SigningKey, StreamCipher,
    StreamCipherAlgorithm,
};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::srtp::context::Context;
use rtc::srtp::option::{ContextOption, srtcp_replay_protection};
use rtc::srtp::protection_profile::ProtectionProfile;

use super::hello::{self, COOKIE_BYTES, Cookie};
use super::srtp::{KEY_BYTES, Opener, REPLAY_WINDOW, Sealer};

/// Those that we know how to overhear, in the order of preference. Whoever has WebRTC has the second (RFC 8827
/// §6.5), which costs about three times as much.
pub fn profiles() -> Vec<SrtpProtectionProfile> {
    vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80]
}

/// Length of the longer of their salts.
const SALT_BYTES: usize = 14;

/// The library's own cryptography, with an ear at it, and a cookie that is known beforehand. One for each peer
/// connection.
pub struct Overheard {
    inner: Arc<dyn RTCCryptoProvider>,
    cookie: Cookie,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// Ours, then the viewer's.
    masters: Vec<Master>,
    profile: Option<ProtectionProfile>,
}

struct Master {
    key: SecretVec,
    salt: [u8; SALT_BYTES],
}

impl Master {
    /// For GCM, whose salt is the shorter one.
    fn gcm<const SALT: usize>(&self) -> Option<(&[u8], [u8; SALT])> {
        Some((self.key.as_ref(), *self.salt.first_chunk()?))
    }
}

fn usable<T, E: std::fmt::Display>(made: Result<T, E>) -> Option<T> {
    made.inspect_err(|error| log::error!(error:%; "the viewer's keys are unusable")).ok()
}

impl Overheard {
    /// Around the library's own.
    ///
    /// # Errors
    ///
    /// The library was built without cryptography.
    pub fn new() -> Result<Arc<Overheard>, CryptoError> {
        let inner = rtc::crypto::default_provider()?;
        let mut cookie = [0; COOKIE_BYTES];
        inner.random().fill(&mut cookie)?;
        Ok(Arc::new(Overheard { inner, cookie, heard: Mutex::default() }))
    }

    /// What the library will ask the viewer's ClientHello for.
    pub fn cookie(&self) -> Cookie {
        self.cookie
    }

    /// What encrypts packets for the viewer; `None` before the handshake's end. It begins with rollover counter
    /// zero, so it must be asked for once.
    pub fn outgoing(&self) -> Option<Sealer> {
        let heard = self.heard();
        let (master, profile) = (heard.masters.first()?, heard.profile?);
        match profile {
            ProtectionProfile::AeadAes128Gcm => usable(Sealer::gcm(self.inner.crypto(), master.gcm()?)),
            _ => self.context(master, profile, None).map(|context| Sealer::Library(Box::new(context))),
        }
    }

    /// What opens the viewer's RTCP; `None` before the handshake's end. It knows what it has opened before, so it
    /// must be asked for once.
    pub fn incoming(&self) -> Option<Opener> {
        let heard = self.heard();
        let (master, profile) = (heard.masters.get(1)?, heard.profile?);
        match profile {
            ProtectionProfile::AeadAes128Gcm => usable(Opener::gcm(self.inner.crypto(), master.gcm()?)),
            _ => {
                let replays = srtcp_replay_protection(REPLAY_WINDOW as usize);
                let context = self.context(master, profile, Some(replays));
                context.map(|context| Opener::Library(Box::new(context), Vec::new()))
            }
        }
    }

    fn context(
        &self,
        master: &Master,
        profile: ProtectionProfile,
        replays: Option<ContextOption>,
    ) -> Option<Context> {
        let salt = master.salt.get(..profile.salt_len())?;
        usable(Context::new(master.key.as_ref(), salt, profile, None, replays, self.inner.crypto()))
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        // Nothing that could panic runs under this lock.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made_with_the_first_key(&self, profile: ProtectionProfile) {
        let mut heard = self.heard();
        if !heard.masters.is_empty() {
            heard.profile.get_or_insert(profile);
        }
    }
}

impl RTCCryptoProvider for Overheard {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }
    fn random(&self) -> &dyn RTCRandom {
        self
    }
}

impl RTCRandom for Overheard {
    fn fill(&self, output: &mut [u8]) -> Result<(), CryptoError> {
        hello::fill(self.inner.random(), &self.cookie, output)
    }
}

impl RTCCrypto for Overheard {
    fn block_encrypt(
        &self,
        algorithm: BlockCipherAlgorithm,
        key: &[u8],
        block: &mut [u8],
    ) -> Result<(), CryptoError> {
        // DTLS itself encrypts no single blocks.
        if algorithm == BlockCipherAlgorithm::Aes128
            && key.len() == KEY_BYTES
            && let Some(salt) = block.first_chunk::<SALT_BYTES>()
        {
            // Each is used for several blocks in a row, of which the first counts.
            let masters = &mut self.heard().masters;
            if masters.len() < 2 && masters.last().is_none_or(|last| last.key.as_ref() != key) {
                masters.push(Master { key: SecretVec::new(key.to_vec()), salt: *salt });
            }
        }
        self.inner.crypto().block_encrypt(algorithm, key, block)
    }
    fn new_aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadCipher>, CryptoError> {
        self.made_with_the_first_key(ProtectionProfile::AeadAes128Gcm);
        self.inner.crypto().new_aead(algorithm, key)
    }
    fn new_stream_cipher(
        &self,
        algorithm: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.made_with_the_first_key(ProtectionProfile::Aes128CmHmacSha1_80);
        self.inner.crypto().new_stream_cipher(algorithm, key)
    }
    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.inner.crypto().new_hmac(algorithm, key)
    }
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner.crypto().supports(algorithm)
    }
    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.crypto().hash(algorithm, data)
    }
    fn new_cbc(&self, algorithm: CbcAlgorithm, key: &[u8]) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.inner.crypto().new_cbc(algorithm, key)
    }
    fn start_key_exchange(
        &self,
        algorithm: KeyExchangeAlgorithm,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.inner.crypto().start_key_exchange(algorithm)
    }
    fn generate_signing_key(&self, scheme: SignatureScheme) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().generate_signing_key(scheme)
    }
    fn import_signing_key(
        &self,
        scheme: SignatureScheme,
        pkcs8_der: &[u8],
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().import_signing_key(scheme, pkcs8_der)
    }
    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner.crypto().verify_signature(scheme, public_key, message, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Overheard {
        /// After a handshake; and what encrypts for the viewer.
        pub fn shaken(profile: ProtectionProfile) -> (Arc<Overheard>, Context) {
            let overheard = Overheard::new().expect("ring");
            let salt = &[3; SALT_BYTES][..profile.salt_len()];
            let context = |key: &[u8]| Context::new(key, salt, profile, None, None, overheard.crypto());
            context(&[1; KEY_BYTES]).expect("a context");
            let viewer = context(&[2; KEY_BYTES]).expect("a context");
            (overheard, viewer)
        }
    }

    const HEADER_BYTES: usize = 12;

    fn packet(sequence: u16) -> Vec<u8> {
        let mut bytes = vec![0x80, 0];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 7]);
        bytes.extend(b"a picture");
        bytes
    }

    #[test]
    fn keys_of_both_directions_are_overheard() {
        for profile in [ProtectionProfile::AeadAes128Gcm, ProtectionProfile::Aes128CmHmacSha1_80] {
            let overheard = Overheard::new().expect("ring");
            assert!(overheard.outgoing().is_none(), "nothing was said yet");
            let (ours, theirs) = ([1; KEY_BYTES], [2; KEY_BYTES]);
            let salt = &(10..24).collect::<Vec<u8>>()[..profile.salt_len()];
            let context = |key: &[u8]| Context::new(key, salt, profile, None, None, overheard.crypto());
            let mut library = context(&ours).expect("a context");
            let mut viewer = context(&theirs).expect("a context");
            let mut own = overheard.outgoing().expect("it was overheard");
            // Beyond the rollover (RFC 3711 §3.3.1), with one that is sent again.
            for sequence in [32_000, 50_000, 65_000, 65_001, 65_535, 0, 1, 65_001, 2, 40_000, 9] {
                let plain = packet(sequence);
                let expected = library.encrypt_rtp(&plain).expect("a packet");
                let mut made = plain.clone();
                made.resize(plain.len() + own.tag_bytes(), 0);
                own.seal(&mut made, HEADER_BYTES).expect("a packet");
                assert_eq!(made, expected, "{profile:?}, {sequence}");
                assert_ne!(&made[HEADER_BYTES..plain.len()], b"a picture");
            }
            let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
            let said = viewer.encrypt_rtcp(&report).expect("a report").to_vec();
            let mut heard = overheard.incoming().expect("it was overheard");
            let mut opened = said.clone();
            assert_eq!(heard.open(&mut opened), Ok(()));
            assert_eq!(opened, report, "{profile:?}");
            assert!(heard.open(&mut said.clone()).is_err(), "a report that is repeated by somebody");
            for at in [1, 5, 9, said.len() - 1] {
                let mut forged = viewer.encrypt_rtcp(&[report, report].concat()).expect("a report").to_vec();
                forged[at] ^= 1;
                assert!(heard.open(&mut forged).is_err(), "{profile:?}, byte {at}");
            }
            for length in 0..said.len() {
                assert!(heard.open(&mut said[..length].to_vec()).is_err(), "{profile:?}, {length} bytes");
            }
        }
    }
}
