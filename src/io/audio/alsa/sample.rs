//! How does a device write one sample, and what is it as a number from -1 to 1?

use alsa::pcm::Format;

/// The sample formats that are spoken, in the byte order of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleFormat {
    /// Unsigned, 8 bits, silence at 128.
    U8,
    /// 16 bits.
    S16,
    /// 24 bits in the lower three of four bytes.
    S24,
    /// 24 bits in three bytes.
    S24Packed,
    /// 32 bits.
    S32,
    /// A number from -1 to 1 already.
    Float,
}

impl SampleFormat {
    /// In the order in which they are asked for: 16 bits are what Opus takes, and cost least; of the
    /// rest those first that need no shifting about.
    pub(super) const ALL: [SampleFormat; 6] = [
        SampleFormat::S16,
        SampleFormat::S32,
        SampleFormat::Float,
        SampleFormat::S24,
        SampleFormat::S24Packed,
        SampleFormat::U8,
    ];

    pub(super) fn alsa(self) -> Format {
        match self {
            SampleFormat::U8 => Format::U8,
            SampleFormat::S16 => Format::s16(),
            SampleFormat::S24 => Format::s24(),
            SampleFormat::S24Packed => Format::s24_3(),
            SampleFormat::S32 => Format::s32(),
            SampleFormat::Float => Format::float(),
        }
    }

    /// Bytes of one sample of one channel.
    pub(super) fn bytes(self) -> usize {
        match self {
            SampleFormat::U8 => 1,
            SampleFormat::S16 => 2,
            SampleFormat::S24Packed => 3,
            SampleFormat::S24 | SampleFormat::S32 | SampleFormat::Float => 4,
        }
    }

    /// Appends what `bytes` says. An incomplete sample at the end is left out, and what is no number
    /// (a float device can say anything) is silence: one such value would stay in a filter for ever.
    pub(super) fn decode(self, bytes: &[u8], samples: &mut Vec<f32>) {
        let whole = bytes.chunks_exact(self.bytes());
        match self {
            SampleFormat::U8 => samples.extend(whole.map(|b| (f32::from(b[0]) - 128.0) / 128.0)),
            SampleFormat::S16 => {
                samples.extend(whole.map(|b| f32::from(i16::from_ne_bytes([b[0], b[1]])) / 32_768.0));
            }
            // The fourth byte is not defined: it is shifted out.
            SampleFormat::S24 => samples.extend(whole.map(|b| from_i32(word(b) << 8))),
            SampleFormat::S24Packed => samples.extend(whole.map(|b| from_i32(packed(b)))),
            SampleFormat::S32 => samples.extend(whole.map(|b| from_i32(word(b)))),
            SampleFormat::Float => samples.extend(whole.map(|b| {
                let sample = f32::from_bits(word(b) as u32);
                if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
            })),
        }
    }

    /// Appends the bytes of one sample; what is louder than full scale is cut off.
    pub(super) fn encode(self, sample: f32, bytes: &mut Vec<u8>) {
        // A cast from a float cuts off at the range of the integer, and makes 0 of what is no number.
        match self {
            SampleFormat::U8 => bytes.push((sample * 128.0 + 128.0).round() as u8),
            SampleFormat::S16 => bytes.extend(((sample * 32_768.0).round() as i16).to_ne_bytes()),
            SampleFormat::S24 => bytes.extend((to_i32(sample) >> 8).to_ne_bytes()),
            SampleFormat::S24Packed if cfg!(target_endian = "little") => {
                bytes.extend(&to_i32(sample).to_le_bytes()[1..]);
            }
            SampleFormat::S24Packed => bytes.extend(&to_i32(sample).to_be_bytes()[..3]),
            SampleFormat::S32 => bytes.extend(to_i32(sample).to_ne_bytes()),
            SampleFormat::Float => bytes.extend(sample.clamp(-1.0, 1.0).to_ne_bytes()),
        }
    }
}

/// Four bytes.
fn word(bytes: &[u8]) -> i32 {
    i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Three bytes, as the upper three of a word.
fn packed(bytes: &[u8]) -> i32 {
    if cfg!(target_endian = "little") {
        i32::from_le_bytes([0, bytes[0], bytes[1], bytes[2]])
    } else {
        i32::from_be_bytes([bytes[0], bytes[1], bytes[2], 0])
    }
}

fn from_i32(sample: i32) -> f32 {
    (f64::from(sample) / 2_147_483_648.0) as f32
}

fn to_i32(sample: f32) -> i32 {
    (f64::from(sample) * 2_147_483_648.0).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_gives_back_what_was_written() {
        for format in SampleFormat::ALL {
            let steps = match format {
                SampleFormat::U8 => 128.0,
                SampleFormat::S16 => 32_768.0,
                // A float has 24 bits: the wider formats can be no finer.
                _ => 8_388_608.0,
            };
            for sample in [0.0, 0.5, -0.5, 0.123_456, -0.987_654, -1.0, 1.0] {
                let mut bytes = Vec::new();
                format.encode(sample, &mut bytes);
                assert_eq!(bytes.len(), format.bytes(), "{format:?}");
                let mut samples = Vec::new();
                format.decode(&bytes, &mut samples);
                assert!(
                    (samples[0] - sample).abs() <= 1.0 / steps,
                    "{sample} became {samples:?} as {format:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_too_loud_is_cut_off_and_what_is_no_number_is_silence() {
        for format in SampleFormat::ALL {
            for (sample, expected) in [(7.0, 1.0), (-7.0, -1.0), (f32::INFINITY, 1.0)] {
                let (mut bytes, mut samples) = (Vec::new(), Vec::new());
                format.encode(sample, &mut bytes);
                format.decode(&bytes, &mut samples);
                assert!((samples[0] - expected).abs() < 0.01, "{sample} became {samples:?} as {format:?}");
            }
        }
        let mut samples = Vec::new();
        SampleFormat::Float.decode(&f32::NAN.to_ne_bytes(), &mut samples);
        assert_eq!(samples, [0.0]);
    }

    #[test]
    fn the_undefined_byte_of_24_bits_in_four_is_not_looked_at() {
        let mut samples = Vec::new();
        let word: i32 = if cfg!(target_endian = "little") { 0x7f40_0000 } else { 0x0040_007f };
        SampleFormat::S24.decode(&word.to_ne_bytes(), &mut samples);
        assert_eq!(samples, [0.5]);
    }
}
