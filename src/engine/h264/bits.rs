//! How are the fields of a parameter set read (H.264 §7.3.1, §9.1)?

/// Bits of a NAL unit's payload, most significant first, without the emulation prevention bytes.
#[derive(Debug)]
pub(super) struct BitReader {
    payload: Vec<u8>,
    /// Bits that have been read.
    at: usize,
}

impl BitReader {
    /// Of a NAL unit's bytes after its header.
    pub(super) fn new(nal_payload: &[u8]) -> Self {
        let mut payload = Vec::with_capacity(nal_payload.len());
        let mut zeros = 0;
        for &byte in nal_payload {
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            payload.push(byte);
        }
        BitReader { payload, at: 0 }
    }

    /// `u(1)`; `None` at the end.
    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.payload.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `u(n)`, n at most 32.
    pub(super) fn bits(&mut self, n: u32) -> Option<u32> {
        (0..n).try_fold(0u32, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    /// `ue(v)`: an Exp-Golomb code of at most 32 leading zeros. `None` when there are more.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut leading_zeros = 0;
        while !self.flag()? {
            leading_zeros += 1;
        }
        if leading_zeros > 31 {
            return None;
        }
        // At most 2^31 - 1 plus 31 bits: 2^32 - 2.
        Some((1u32 << leading_zeros) - 1 + self.bits(leading_zeros)?)
    }

    /// `se(v)`: the signed form of `ue(v)` (§9.1.1).
    pub(super) fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 0 { -(code / 2) } else { (code + 1) / 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_read_as_in_table_9_2() {
        // 1 | 010 | 011 | 00100 | 00101, then padding.
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([0; 5].map(|_| reader.ue()), [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        let mut signed = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([0; 5].map(|_| signed.se()), [Some(0), Some(1), Some(-1), Some(2), Some(-2)]);
    }

    #[test]
    fn emulation_prevention_bytes_are_not_content() {
        let mut reader = BitReader::new(&[0, 0, 3, 1]);
        assert_eq!(reader.bits(24), Some(1));
        assert_eq!(reader.flag(), None);
    }
}
