//! How are packets for a viewer encrypted, and its reports opened?
//!
//! In place, where they lie, under AEAD_AES_128_GCM (RFC 7714), which nearly everybody negotiates: the library's
//! own way copies each packet into new memory. It is kept for the other profile.
//!
//! The nonce is the salt with the stream and the packet's index in it (RFC 7714 §8.1), so no index may come twice
//! under a key with another content; who numbers the packets sees to that.

use rtc::crypto::{AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CryptoError, RTCCrypto, SecretVec};
use rtc::srtp::context::Context;

/// Length of the keys of both profiles (RFC 3711 §8.2, RFC 7714 §12).
pub const KEY_BYTES: usize = 16;
/// Length of GCM's salt (RFC 7714 §12).
const SALT_BYTES: usize = 12;
/// Length of GCM's tag (RFC 7714 §14.2).
const GCM_TAG_BYTES: usize = 16;
/// Length of the other profile's tag (RFC 3711 §4.2).
const HMAC_TAG_BYTES: usize = 10;
/// Of an RTP header without what may follow.
const RTP_HEADER_BYTES: usize = 12;
/// What is in the clear of a report (RFC 7714 §9.2).
const RTCP_HEADER_BYTES: usize = 8;
/// The word at the end of an encrypted report: its index, and that it is encrypted (RFC 7714 §9.2).
const INDEX_BYTES: usize = 4;
/// Packets under one key (RFC 3711 §9.2).
const MAX_INDEX: u64 = (1 << 48) - 1;
/// How far behind the newest report an older one may come (RFC 3711 §3.3.2).
pub const REPLAY_WINDOW: u32 = 64;
/// Streams that one viewer reports as. It has three.
const MAX_REPORTERS: usize = 32;

/// Labels of key derivation (RFC 3711 §4.3.1).
const RTP_KEY: u8 = 0;
const RTP_SALT: u8 = 2;
const RTCP_KEY: u8 = 3;
const RTCP_SALT: u8 = 5;

/// A packet cannot be encrypted, or was not encrypted by the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Which key a packet's is.
pub struct Gcm {
    cipher: Box<dyn AeadCipher>,
    salt: [u8; SALT_BYTES],
}

impl Gcm {
    /// From the master key and salt, by the labels of the key and of the salt.
    fn derive(
        crypto: &dyn RTCCrypto,
        (key, salt): (&[u8], [u8; SALT_BYTES]),
        [key_label, salt_label]: [u8; 2],
    ) -> Result<Gcm, CryptoError> {
        // AES in counter mode, of which one block is enough (RFC 3711 §4.3.3).
        let block = |label: u8| {
            let mut block = [0; KEY_BYTES];
            block[..SALT_BYTES].copy_from_slice(&salt);
            block[7] ^= label;
            crypto.block_encrypt(BlockCipherAlgorithm::Aes128, key, &mut block).map(|()| block)
        };
        let session = SecretVec::new(block(key_label)?.to_vec());
        let cipher = crypto.new_aead(AeadAlgorithm::Aes128Gcm, session.as_ref())?;
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&block(salt_label)?[..SALT_BYTES]);
        Ok(Gcm { cipher, salt })
    }

    /// RFC 7714 §8.1 and §9.1: the stream from the third byte on, the index at the end.
    fn nonce(&self, ssrc: [u8; 4], index: u64) -> [u8; SALT_BYTES] {
        let mut nonce = [0; SALT_BYTES];
        nonce[2..6].copy_from_slice(&ssrc);
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        nonce.iter_mut().zip(self.salt).for_each(|(byte, salt)| *byte ^= salt);
        nonce
    }
}

/// Encrypts packets for the viewer.
pub enum Sealer {
    /// In place.
    Gcm(Gcm, Indexes),
    /// By the library.
    Library(Box<Context>),
}

impl Sealer {
    /// Under this master key and salt.
    ///
    /// # Errors
    ///
    /// The cryptography has no AES-GCM.
    pub fn gcm(crypto: &dyn RTCCrypto, master: (&[u8], [u8; SALT_BYTES])) -> Result<Sealer, CryptoError> {
        Ok(Sealer::Gcm(Gcm::derive(crypto, master, [RTP_KEY, RTP_SALT])?, Indexes::default()))
    }

    /// By how much a packet grows.
    pub fn tag_bytes(&self) -> usize {
        match self {
            Sealer::Gcm(..) => GCM_TAG_BYTES,
            Sealer::Library(_) => HMAC_TAG_BYTES,
        }
    }

    /// Encrypts a packet behind its header; its memory ends in room for the tag.
    ///
    /// # Errors
    ///
    /// The key is used up, or it is no packet. What is in its memory then must not be sent.
    pub fn seal(&mut self, packet: &mut [u8], header_bytes: usize) -> Result<(), Refused> {
        let plain_bytes = packet.len().checked_sub(self.tag_bytes()).ok_or(Refused)?;
        if header_bytes < RTP_HEADER_BYTES || plain_bytes < header_bytes {
            return Err(Refused);
        }
        match self {
            Sealer::Gcm(gcm, indexes) => {
                let ssrc = [packet[8], packet[9], packet[10], packet[11]];
                let index = indexes.of(ssrc, u16::from_be_bytes([packet[2], packet[3]])).ok_or(Refused)?;
                let nonce = gcm.nonce(ssrc, index);
                let (header, rest) = packet.split_at_mut(header_bytes);
                let (payload, tag) = rest.split_at_mut(plain_bytes - header_bytes);
                gcm.cipher.seal_in_place(&nonce, header, payload, tag).map_err(|_| Refused)
            }
            Sealer::Library(context) => {
                let sealed = context.encrypt_rtp(&packet[..plain_bytes]).map_err(|_| Refused)?;
                if sealed.len() != packet.len() {
                    return Err(Refused);
                }
                packet.copy_from_slice(&sealed);
                Ok(())
            }
        }
    }
}

/// The highest index of each of our streams: the sequence number with the rollover counter before it (RFC 3711
/// §3.3.1).
#[derive(Debug, Default)]
pub struct Indexes(Vec<([u8; 4], u64)>);

impl Indexes {
    /// Of the packet with this number, which is less than half of all numbers away from the newest. `None`: there
    /// was one too many.
    fn of(&mut self, ssrc: [u8; 4], sequence: u16) -> Option<u64> {
        let Some((_, newest)) = self.0.iter_mut().find(|(known, _)| *known == ssrc) else {
            self.0.push((ssrc, sequence.into()));
            return Some(sequence.into());
        };
        // The lower 16 bits are the newest number.
        let ahead = sequence.wrapping_sub(*newest as u16).cast_signed();
        let index = newest.checked_add_signed(ahead.into()).filter(|index| *index <= MAX_INDEX)?;
        *newest = (*newest).max(index);
        Some(index)
    }
}

/// Opens a viewer's reports.
pub enum Opener {
    /// In place.
    Gcm(Gcm, Replays),
    /// By the library, which keeps something for each stream that is tried; those that were.
    Library(Box<Context>, Vec<[u8; 4]>),
}

impl Opener {
    /// Under this master key and salt.
    ///
    /// # Errors
    ///
    /// The cryptography has no AES-GCM.
    pub fn gcm(crypto: &dyn RTCCrypto, master: (&[u8], [u8; SALT_BYTES])) -> Result<Opener, CryptoError> {
        Ok(Opener::Gcm(Gcm::derive(crypto, master, [RTCP_KEY, RTCP_SALT])?, Replays::default()))
    }

    /// Makes an encrypted report a plain one.
    ///
    /// # Errors
    ///
    /// The viewer has not sent it, or it came before.
    pub fn open(&mut self, report: &mut Vec<u8>) -> Result<(), Refused> {
        match self {
            Opener::Gcm(gcm, replays) => open_gcm(gcm, replays, report),
            Opener::Library(context, tried) => {
                let ssrc = *report.get(4..).and_then(|rest| rest.first_chunk()).ok_or(Refused)?;
                if !tried.contains(&ssrc) {
                    if tried.len() >= MAX_REPORTERS {
                        return Err(Refused);
                    }
                    tried.push(ssrc);
                }
                let plain = context.decrypt_rtcp(report).map_err(|_| Refused)?;
                report.clear();
                report.extend_from_slice(&plain);
                Ok(())
            }
        }
    }
}

fn open_gcm(gcm: &mut Gcm, replays: &mut Replays, report: &mut Vec<u8>) -> Result<(), Refused> {
    let tag_start = report.len().checked_sub(GCM_TAG_BYTES + INDEX_BYTES).ok_or(Refused)?;
    if tag_start < RTCP_HEADER_BYTES {
        return Err(Refused);
    }
    let word_start = tag_start + GCM_TAG_BYTES;
    // What is authenticated is the header and the word at the end (RFC 7714 §9.2), and all are encrypted here.
    let mut authenticated = [0; RTCP_HEADER_BYTES + INDEX_BYTES];
    authenticated[..RTCP_HEADER_BYTES].copy_from_slice(&report[..RTCP_HEADER_BYTES]);
    authenticated[RTCP_HEADER_BYTES..].copy_from_slice(&report[word_start..]);
    let [.., a, b, c, d] = authenticated;
    let word = u32::from_be_bytes([a, b, c, d]);
    let (is_encrypted, index) = (word >> 31 == 1, word & 0x7fff_ffff);
    let ssrc = [report[4], report[5], report[6], report[7]];
    if !is_encrypted || !replays.is_new(ssrc, index) {
        return Err(Refused);
    }
    let nonce = gcm.nonce(ssrc, index.into());
    let (head, tag) = report[..word_start].split_at_mut(tag_start);
    let sealed = &mut head[RTCP_HEADER_BYTES..];
    gcm.cipher.open_in_place(&nonce, &authenticated, sealed, tag).map_err(|_| Refused)?;
    replays.came(ssrc, index);
    report.truncate(tag_start);
    Ok(())
}

/// Which reports came (RFC 3711 §3.3.2): for each stream the newest, and a bit for each of those before it.
#[derive(Debug, Default)]
pub struct Replays(Vec<([u8; 4], u32, u64)>);

impl Replays {
    fn is_new(&self, ssrc: [u8; 4], index: u32) -> bool {
        let Some((_, newest, seen)) = self.0.iter().find(|(known, ..)| *known == ssrc) else {
            return self.0.len() < MAX_REPORTERS;
        };
        match newest.checked_sub(index) {
            None => true,
            Some(behind) => behind < REPLAY_WINDOW && seen >> behind & 1 == 0,
        }
    }

    fn came(&mut self, ssrc: [u8; 4], index: u32) {
        let Some((_, newest, seen)) = self.0.iter_mut().find(|(known, ..)| *known == ssrc) else {
            return self.0.push((ssrc, index, 1));
        };
        if let Some(ahead) = index.checked_sub(*newest) {
            *seen = seen.checked_shl(ahead).unwrap_or(0) | 1;
            *newest = index;
        } else {
            *seen |= 1 << (*newest - index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 4] = [0, 0, 0, 1];
    const B: [u8; 4] = [0, 0, 0, 2];

    #[test]
    fn numbers_roll_over_and_a_packet_that_is_sent_again_keeps_its_index() {
        let mut indexes = Indexes::default();
        assert_eq!(indexes.of(A, 0x7fff), Some(0x7fff));
        assert_eq!(indexes.of(B, 5), Some(5), "each stream counts for itself");
        for n in 0x8000..0x2_0005u64 {
            assert_eq!(indexes.of(A, n as u16), Some(n));
        }
        assert_eq!(indexes.of(A, 0xfff0), Some(0x1_fff0), "from before the rollover");
        assert_eq!(indexes.of(A, 5), Some(0x2_0005));
        assert_eq!(indexes.of(B, 6), Some(6));
    }

    #[test]
    fn a_key_is_not_used_beyond_its_last_index() {
        let mut indexes = Indexes(vec![(A, MAX_INDEX)]);
        assert_eq!(indexes.of(A, 0xffff), Some(MAX_INDEX), "sent again");
        assert_eq!(indexes.of(A, 0), None);
        assert_eq!(Indexes(vec![(A, 3)]).of(A, 0xfff0), None, "nothing is before the first");
    }

    #[test]
    fn a_report_counts_once_and_an_old_one_not_at_all() {
        let mut replays = Replays::default();
        assert!(replays.is_new(A, 100));
        replays.came(A, 100);
        assert!(!replays.is_new(A, 100) && replays.is_new(A, 99) && replays.is_new(A, 37));
        assert!(!replays.is_new(A, 36), "it is too far behind");
        replays.came(A, 99);
        assert!(!replays.is_new(A, 99) && replays.is_new(A, 98));
        replays.came(A, 163);
        assert!(!replays.is_new(A, 163) && !replays.is_new(A, 100) && replays.is_new(A, 101));
        assert!(!replays.is_new(A, 99));
        replays.came(A, 0x7fff_ffff);
        assert!(replays.is_new(A, 0x7fff_ffc0) && !replays.is_new(A, 163));
        assert!(replays.is_new(B, 100), "another stream");
        for n in 2..=MAX_REPORTERS as u8 {
            replays.came([1, 0, 0, n], 1);
        }
        assert!(!replays.is_new(B, 100), "no viewer has so many");
    }
}
