//! What has one viewer received, by the headers of its packets alone?

use std::time::Duration;

use rtc::rtp::Header;
use rtc::shared::marshal::Unmarshal as _;

use crate::recording::{due, last_due};

const VIDEO_HZ: u32 = 90_000;
/// Seconds from 1900, where NTP begins, to 1970.
const NTP_EPOCH_S: u64 = 2_208_988_800;

/// A picture whose last packet has come.
#[derive(Clone, Copy, Debug)]
struct Picture {
    timestamp: u32,
    /// What the sender says of its capture, since 1970.
    captured: Option<Duration>,
    arrived: Duration,
}

/// What one viewer has received.
#[derive(Debug)]
pub struct Tally {
    payload_type: u8,
    /// The header extension abs-capture-time, where the sender has it.
    capture_time_id: Option<u8>,
    next: Option<u16>,
    captured: Option<Duration>,
    is_broken: bool,
    pictures: Vec<Picture>,
    broken: u32,
    bytes: u64,
}

impl Tally {
    /// Of the video with this payload type.
    pub fn new(payload_type: u8, capture_time_id: Option<u8>) -> Tally {
        let (pictures, next, captured) = (Vec::new(), None, None);
        Tally {
            payload_type,
            capture_time_id,
            next,
            captured,
            is_broken: false,
            pictures,
            broken: 0,
            bytes: 0,
        }
    }

    /// Whether a picture has come.
    pub fn has_picture(&self) -> bool {
        !self.pictures.is_empty()
    }

    /// Counts anew.
    pub fn mark(&mut self) {
        self.pictures.clear();
        (self.broken, self.bytes) = (0, 0);
    }

    /// Takes a datagram. SRTP leaves RTP's header in the clear (RFC 3711 §3.1).
    pub fn take(&mut self, mut datagram: &[u8], arrived: Duration) {
        let length = datagram.len();
        let is_video =
            |bytes: &[u8]| matches!(bytes, [0x80..=0xbf, kind, ..] if kind & 0x7f == self.payload_type);
        if !is_video(datagram) {
            return;
        }
        let Ok(header) = Header::unmarshal(&mut datagram) else { return };
        self.bytes += length as u64;
        let gap = self.next.map_or(0, |next| header.sequence_number.wrapping_sub(next));
        if gap > 1 << 15 {
            // An old one once more.
            return;
        }
        self.is_broken |= gap > 0;
        self.next = Some(header.sequence_number.wrapping_add(1));
        let said = self.capture_time_id.and_then(|id| header.get_extension(id));
        if let Some(ntp) = said.and_then(|value| value.get(..8)?.try_into().ok()) {
            self.captured = since_1970(u64::from_be_bytes(ntp));
        }
        if header.marker && self.pictures.last().map(|last| last.timestamp) != Some(header.timestamp) {
            let picture = Picture { timestamp: header.timestamp, captured: self.captured.take(), arrived };
            if std::mem::take(&mut self.is_broken) {
                self.broken += 1;
            } else {
                self.pictures.push(picture);
            }
        }
    }

    /// `pictures`: when each was captured, in ms since 1970, and how old it was when its last packet came, in
    /// ms; `broken`: pictures that lacked packets; `bytes`: of the video's packets.
    pub fn tell(&self) -> serde_json::Value {
        let captured = if self.pictures.iter().all(|picture| picture.captured.is_some()) {
            self.pictures.iter().filter_map(|picture| picture.captured).collect()
        } else {
            captured_by_the_clock(&self.pictures)
        };
        let pictures: Vec<_> = self
            .pictures
            .iter()
            .zip(captured)
            .map(|(picture, captured)| {
                let age = picture.arrived.as_secs_f64() - captured.as_secs_f64();
                serde_json::json!([captured.as_secs_f64() * 1000.0, age * 1000.0])
            })
            .collect();
        serde_json::json!({ "pictures": pictures, "broken": self.broken, "bytes": self.bytes })
    }
}

fn since_1970(ntp: u64) -> Option<Duration> {
    let seconds = (ntp >> 32).checked_sub(NTP_EPOCH_S)?;
    Some(Duration::from_secs(seconds) + Duration::from_nanos(((ntp & 0xffff_ffff) * 1_000_000_000) >> 32))
}

/// When pictures were due that a [feed](crate::feed) sent, whose timestamps were moved by something constant:
/// at whole thirtieths of a second, so that half of them took less than that.
fn captured_by_the_clock(pictures: &[Picture]) -> Vec<Duration> {
    let Some(first) = pictures.first() else { return Vec::new() };
    let since_first = |picture: &Picture| {
        Duration::from_secs_f64(
            f64::from(picture.timestamp.wrapping_sub(first.timestamp)) / f64::from(VIDEO_HZ),
        )
    };
    let mut starts: Vec<Duration> = pictures.iter().map(|one| one.arrived - since_first(one)).collect();
    starts.sort_unstable();
    let start = starts[starts.len() / 2];
    let start = due(last_due(start));
    pictures.iter().map(|picture| start + since_first(picture)).collect()
}
