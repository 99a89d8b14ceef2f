//! What is inside a JPEG that a camera sends?
//!
//! Cameras send Motion JPEG as the AVI format has it: with an `AVI1` segment instead of `JFIF`, and often
//! without the Huffman tables, which every decoder of Motion JPEG knows (kernel documentation,
//! "V4L2_PIX_FMT_MJPEG"). A picture that is given away as a file needs them: not every program does.

use std::borrow::Cow;

/// Markers (ITU-T T.81 table B.1).
const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
const HUFFMAN_TABLES: u8 = 0xc4;
const START_OF_SCAN: u8 = 0xda;

/// Where its parts are, as far as its markers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Where the first scan's marker begins.
    scan: usize,
    /// Huffman tables stand before the first scan.
    pub has_huffman_tables: bool,
    /// Where the picture ends, behind its last marker; bytes after it are padding.
    pub end: usize,
}

/// Reads the markers. `None` when it is no JPEG, or ends before its end marker: it is damaged.
pub fn outline(data: &[u8]) -> Option<Outline> {
    if data.get(..2)? != [0xff, START_OF_IMAGE] {
        return None;
    }
    let (mut at, mut has_huffman_tables) = (2, false);
    loop {
        // Any number of 0xff may stand before a marker (T.81 §B.1.1.2).
        while data.get(at) == Some(&0xff) && data.get(at + 1) == Some(&0xff) {
            at += 1;
        }
        let &[0xff, marker] = data.get(at..at + 2)? else { return None };
        match marker {
            START_OF_SCAN => break,
            END_OF_IMAGE => return None,
            HUFFMAN_TABLES => has_huffman_tables = true,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*data.get(at + 2)?, *data.get(at + 3)?]));
        // The length counts itself.
        at += 2 + length.max(2);
    }
    // From the end, since a buffer's padding is short and a picture long; 0xff 0xd9 cannot stand in a scan.
    let end = data.get(at..)?.windows(2).rposition(|two| two == [0xff, END_OF_IMAGE])?;
    Some(Outline { scan: at, has_huffman_tables, end: at + end + 2 })
}

/// A camera's picture as a file: without padding, and with the Huffman tables. `None`: it is damaged.
pub fn to_file(data: &[u8]) -> Option<Cow<'_, [u8]>> {
    let outline = outline(data)?;
    let data = &data[..outline.end];
    if outline.has_huffman_tables {
        return Some(Cow::Borrowed(data));
    }
    let (head, scan) = data.split_at(outline.scan);
    let tables = standard_tables();
    Some(Cow::Owned([head, &tables, scan].concat()))
}

/// The typical tables of ITU-T T.81 §K.3 as one segment: for each its class and id, how many codes of each
/// length there are, and the values.
fn standard_tables() -> Vec<u8> {
    let tables = [
        (0x00, &DC_LUMA_LENGTHS, &DC_VALUES[..]),
        (0x10, &AC_LUMA_LENGTHS, &AC_LUMA_VALUES[..]),
        (0x01, &DC_CHROMA_LENGTHS, &DC_VALUES[..]),
        (0x11, &AC_CHROMA_LENGTHS, &AC_CHROMA_VALUES[..]),
    ];
    let mut segment = vec![0xff, HUFFMAN_TABLES, 0, 0];
    for (id, lengths, values) in tables {
        segment.push(id);
        segment.extend_from_slice(lengths);
        segment.extend_from_slice(values);
    }
    // 2 + 2 * (17 + 12) + 2 * (17 + 162) = 418.
    let length = ((segment.len() - 2) as u16).to_be_bytes();
    segment[2..4].copy_from_slice(&length);
    segment
}

const DC_LUMA_LENGTHS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_CHROMA_LENGTHS: [u8; 16] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
const DC_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const AC_LUMA_LENGTHS: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d];
const AC_CHROMA_LENGTHS: [u8; 16] = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77];
#[rustfmt::skip]
const AC_LUMA_VALUES: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
    0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];
#[rustfmt::skip]
const AC_CHROMA_VALUES: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
    0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Markers with their segments, and a scan of three bytes.
    fn picture(has_tables: bool) -> Vec<u8> {
        let mut data = vec![0xff, 0xd8, 0xff, 0xe0, 0, 6, b'A', b'V', b'I', b'1', 0xff, 0xff, 0xdb, 0, 3, 9];
        if has_tables {
            data.extend([0xff, 0xc4, 0, 2]);
        }
        data.extend([0xff, 0xda, 0, 2, 1, 2, 3, 0xff, 0xd9]);
        data
    }

    #[test]
    fn a_whole_picture_is_given_away_as_it_is_without_its_padding() {
        let whole = picture(true);
        let mut padded = whole.clone();
        padded.extend([0; 100]);
        assert_eq!(to_file(&padded).as_deref(), Some(&whole[..]));
    }

    #[test]
    fn huffman_tables_are_put_before_the_scan_when_they_are_missing() {
        let sent = picture(false);
        let file = to_file(&sent).expect("a picture");
        let outline = outline(&file).expect("a picture");
        assert!(outline.has_huffman_tables);
        assert_eq!(file.len(), picture(false).len() + 420);
        assert_eq!(&file[16..20], [0xff, 0xc4, 0x01, 0xa2]);
        assert_eq!(&file[16 + 420..], &picture(false)[16..]);
    }

    #[test]
    fn every_value_of_the_tables_has_a_code() {
        for (lengths, values) in [
            (&DC_LUMA_LENGTHS, DC_VALUES.len()),
            (&DC_CHROMA_LENGTHS, DC_VALUES.len()),
            (&AC_LUMA_LENGTHS, AC_LUMA_VALUES.len()),
            (&AC_CHROMA_LENGTHS, AC_CHROMA_VALUES.len()),
        ] {
            assert_eq!(lengths.iter().map(|count| usize::from(*count)).sum::<usize>(), values);
        }
    }

    #[test]
    fn a_picture_that_is_cut_off_is_damaged_wherever_the_cut_is() {
        let whole = picture(true);
        for length in 0..whole.len() {
            assert_eq!(outline(&whole[..length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(mut data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = to_file(&data);
            if data.len() > 2 {
                data[..2].copy_from_slice(&[0xff, 0xd8]);
                let _ = to_file(&data);
            }
        }
    }
}
