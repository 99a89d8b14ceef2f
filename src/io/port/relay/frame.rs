//! Where does one message to or from a TURN server end and the next begin, when they come as a stream?
//!
//! Over TCP and TLS the messages stand back to back and say their own length: STUN in its header (RFC 8489
//! §5), ChannelData in its four bytes, and there padded to a multiple of 4, which the length leaves out
//! (RFC 8656 §12.5). Pure.

/// The header of a STUN message.
const STUN_HEADER_BYTES: usize = 20;
/// The header of ChannelData: channel and length.
const CHANNEL_HEADER_BYTES: usize = 4;

/// Adds a message to what is written to a stream.
pub(super) fn append(stream: &mut Vec<u8>, message: &[u8]) {
    stream.extend_from_slice(message);
    // STUN messages have such a length anyway.
    stream.resize(stream.len() + message.len().next_multiple_of(4) - message.len(), 0);
}

/// What was read from a stream and is no whole message yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// How much of it was taken already.
    taken: usize,
}

/// What came is neither STUN nor ChannelData, so that nothing after it can be found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfStep;

impl Frames {
    /// Adds what was read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, without padding. A message has at most 65,555 bytes, and so much is kept.
    ///
    /// # Errors
    ///
    /// The stream is out of step, for good.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, OutOfStep> {
        let rest = &self.bytes[self.taken..];
        let [first, _, high, low, ..] = *rest else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (length, padded) = match first {
            0..=3 => (STUN_HEADER_BYTES + length, STUN_HEADER_BYTES + length),
            64..=79 => (CHANNEL_HEADER_BYTES + length, CHANNEL_HEADER_BYTES + length.next_multiple_of(4)),
            _ => return Err(OutOfStep),
        };
        if rest.len() < padded {
            return Ok(None);
        }
        let start = self.taken;
        self.taken += padded;
        Ok(Some(&self.bytes[start..start + length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stun(attributes: usize) -> Vec<u8> {
        let mut message = vec![1, 3, 0, 0];
        message[2..4].copy_from_slice(&(attributes as u16).to_be_bytes());
        message.resize(STUN_HEADER_BYTES + attributes, 7);
        message
    }

    fn channel_data(length: usize) -> Vec<u8> {
        let mut message = vec![0x40, 1, 0, 0];
        message[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        message.resize(CHANNEL_HEADER_BYTES + length, 9);
        message
    }

    fn all(frames: &mut Frames) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| frames.next().expect("in step").map(<[u8]>::to_vec)).collect()
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_the_stream_is_cut(
            messages in prop::collection::vec(
                prop_oneof![(0usize..300).prop_map(|words| stun(words * 4)), (0usize..1500).prop_map(channel_data)],
                0..12,
            ),
            cut in 1usize..2000,
        ) {
            let mut stream = Vec::new();
            messages.iter().for_each(|message| append(&mut stream, message));
            prop_assert_eq!(stream.len() % 4, 0);
            let (mut frames, mut out) = (Frames::default(), Vec::new());
            for piece in stream.chunks(cut) {
                frames.read(piece);
                out.extend(all(&mut frames));
            }
            prop_assert_eq!(out, messages);
        }

        #[test]
        fn hostile_bytes_end_the_stream_or_wait_but_never_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut frames = Frames::default();
            for piece in pieces {
                frames.read(&piece);
                while let Ok(Some(_)) = frames.next() {}
            }
        }
    }

    #[test]
    fn what_is_no_turn_message_is_told() {
        let mut frames = Frames::default();
        frames.read(b"SSH-2.0-OpenSSH\r\n");
        assert_eq!(frames.next(), Err(OutOfStep));
    }
}
