//! One viewer's RTP: numbered, encrypted under its keys, and sent by the way that ICE has found.
//!
//! Everything that is counted lives here, for as long as the connection does: under one SRTP key no number may
//! come twice with another content (RFC 3711 §9.1), whoever sends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rtc::rtcp::sender_report::SenderReport;
use tokio::time::timeout;

use super::clock::CaptureClock;
use super::codecs::{AUDIO_HZ, VIDEO_HZ};
use super::keys::Overheard;
use super::outlet::SendParameters;
use super::srtp::Sealer;
use crate::io::port::{Route, Routes, Run, Source};
use crate::units::MediaTime;

/// The longest that a viewer is waited for at the start.
const SHAKEN_HANDS: Duration = Duration::from_millis(30);

/// How long packets wait for room in the socket that all viewers share. What fills it for longer is not a network that
/// is slow, since that loses packets instead.
const FULL: Duration = Duration::from_millis(20);

/// One of the streams to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Line {
    /// The picture.
    Video,
    /// The picture's packets once more, and padding (RFC 4588).
    Repair,
    /// The sound.
    Audio,
}

/// What a packet says beside its payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form {
    /// The capture clock in the stream's own rate.
    pub timestamp: u32,
    /// See RFC 6184 §5.1 and RFC 3551 §4.1.
    pub marker: bool,
    /// `abs-capture-time`.
    pub captured: Option<MediaTime>,
    /// `playout-delay`.
    pub playout_delay: Option<[u8; 3]>,
    /// The payload ends in padding (RFC 3550 §5.1).
    pub is_padded: bool,
}

/// The numbers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// In its stream.
    pub sequence: u16,
    /// Over all streams, where the answer takes that.
    pub wide: Option<u16>,
}

/// A packet that is on its way.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// What it is called.
    pub numbers: Numbers,
    /// Its length on the wire, without UDP's and IP's headers.
    pub bytes: usize,
}

/// Nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

/// A stream's own numbers.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Synchronization source.
    pub ssrc: u32,
    /// Added to the timestamps (RFC 3550 §5.1).
    pub offset: u32,
    sequence: u16,
    packets: u32,
    octets: u32,
}

impl Stream {
    /// Numbered from a random start.
    pub fn new(ssrc: u32, offset: u32) -> Stream {
        // Starts at random (RFC 3550 §5.1); the offset is, and is not guessed from this half of it. The start is in
        // the lower half, so that the rollover counter is not guessed wrongly by who loses the first packets.
        Stream { ssrc, offset, sequence: (offset >> 16) as u16 & 0x7fff, packets: 0, octets: 0 }
    }
}

/// See the module's text.
pub struct Outgoing {
    overheard: Arc<Overheard>,
    sealer: Option<Sealer>,
    routes: Arc<Routes>,
    clock: CaptureClock,
    run: Run,
    /// How many packets it may have.
    max_run: usize,
    wide: u16,
    video: Stream,
    repair: Stream,
    audio: Stream,
    parameters: [Option<SendParameters>; 2],
    /// The last `abs-capture-time`: all packets of a picture have the same.
    captured: (MediaTime, [u8; 8]),
    /// Who sends now.
    source: Source,
}

/// An RTP header (RFC 3550 §5.1) with one-byte extensions (RFC 8285 §4.2).
struct Head {
    bytes: [u8; Head::MAX_BYTES],
    length: usize,
}

impl Head {
    const FIXED_BYTES: usize = 12;
    /// The number over all streams, the capture time and the playout delay, each with the byte before it.
    const MAX_BYTES: usize = Head::FIXED_BYTES + 4 + (1 + 2) + (1 + 8) + (1 + 3);

    fn new(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32, form: &Form) -> Head {
        let mut bytes = [0; Head::MAX_BYTES];
        bytes[0] = 2 << 6 | u8::from(form.is_padded) << 5;
        bytes[1] = u8::from(form.marker) << 7 | payload_type;
        bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
        Head { bytes, length: Head::FIXED_BYTES }
    }

    /// Says something in an extension, if it has an id and there is a value. At most the three that there is room for.
    fn say<const N: usize>(&mut self, id: Option<u8>, value: Option<[u8; N]>) {
        let (Some(id), Some(value)) = (id, value) else { return };
        if self.length == Head::FIXED_BYTES {
            self.bytes[0] |= 1 << 4;
            self.bytes[12..14].copy_from_slice(&[0xbe, 0xde]);
            self.length += 4;
        }
        // Ids are 1 to 14, and values at most 16 bytes.
        self.bytes[self.length] = id << 4 | (N - 1) as u8;
        self.bytes[self.length + 1..][..N].copy_from_slice(&value);
        self.length += 1 + N;
    }

    /// The whole, padded to words of four bytes, whose number is at the beginning.
    fn finish(&mut self) -> &[u8] {
        if self.length > Head::FIXED_BYTES {
            self.length = self.length.next_multiple_of(4);
            // At most four.
            self.bytes[15] = ((self.length - Head::FIXED_BYTES - 4) / 4) as u8;
        }
        &self.bytes[..self.length]
    }
}

impl Outgoing {
    /// For a connection that has not been made yet.
    pub fn new(
        overheard: Arc<Overheard>,
        routes: Arc<Routes>,
        clock: CaptureClock,
        [video, repair, audio]: [Stream; 3],
    ) -> Outgoing {
        let (run, wide, parameters, source) = Default::default();
        let captured = (MediaTime::default(), clock.ntp(MediaTime::default()).to_be_bytes());
        Outgoing {
            overheard,
            sealer: None,
            routes,
            clock,
            run,
            max_run: 1,
            wide,
            video,
            repair,
            audio,
            parameters,
            captured,
            source,
        }
    }

    /// How the answer wants packets of the picture and of the sound to look, and who sends them now. What another one
    /// has left is not sent.
    pub fn negotiated(&mut self, [video, audio]: [Option<SendParameters>; 2], source: Source) {
        self.run.clear();
        self.source = source;
        self.parameters = [video, audio];
    }

    /// Whether lost packets are sent again in a stream of their own.
    pub fn has_repair(&self) -> bool {
        self.parameters[0].is_some_and(|video| video.repair_type.is_some())
    }

    /// The synchronization source of a stream.
    pub fn ssrc(&self, line: Line) -> u32 {
        self.stream(line).ssrc
    }

    /// By which way packets leave now.
    pub fn route(&self) -> Option<Arc<Route>> {
        self.routes.current()
    }

    /// Waits until the viewer has shown that its side of DTLS is done, or a moment.
    ///
    /// Its keys are there once it has read our last message, right behind which media would come. Some read both at
    /// once and throw away what they have no keys for yet (the webrtc crate), and that is a keyframe. A viewer begins
    /// with the control channel at once, which is on every offer, so over a LAN this takes a millisecond.
    pub async fn wait_for_viewer(&mut self) {
        let _ = timeout(SHAKEN_HANDS, self.routes.heard()).await;
    }

    /// Numbers and encrypts a packet, and sends it with those before, at the latest by [`Outgoing::flush`].
    /// `None`: the answer does not take the stream. With `again` it is one that was sent before and must have the
    /// same content.
    ///
    /// # Errors
    ///
    /// There are no keys, or they are used up.
    pub async fn write(
        &mut self,
        line: Line,
        form: Form,
        payload: [&[u8]; 2],
        again: Option<Numbers>,
    ) -> Result<Option<Written>, Ended> {
        let Some((numbers, mut head)) = self.head(line, &form, again) else { return Ok(None) };
        let head = head.finish();
        let tag_bytes = match &self.sealer {
            Some(sealer) => sealer.tag_bytes(),
            None => self.sealer.insert(self.overheard.outgoing().ok_or(Ended)?).tag_bytes(),
        };
        let octets = payload.iter().map(|part| part.len()).sum::<usize>();
        let bytes = head.len() + octets + tag_bytes;
        let mut may_leave = true;
        if !self.run.takes(bytes, self.max_run) {
            let permit = self.source.permit();
            self.flush().await;
            may_leave = permit.holds();
        }
        if self.run.is_empty() {
            self.max_run = self.routes.current().map_or(1, |route| route.max_run());
        }
        let packet = self.run.add(bytes);
        let mut rest = &mut packet[..];
        for part in [head, payload[0], payload[1]] {
            let (here, behind) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = behind;
        }
        if self.sealer.as_mut().is_none_or(|sealer| sealer.seal(packet, head.len()).is_err()) {
            // What is not encrypted does not leave.
            self.run.clear();
            return Err(Ended);
        }
        if !may_leave {
            // What was withheld meanwhile has its number all the same, and is lost on its way.
            self.run.clear();
        }
        if again.is_none() {
            self.count(line, octets);
        }
        Ok(Some(Written { numbers, bytes }))
    }

    /// Sends what was gathered. Waits while there is no room on the way to a relay, and a moment where all viewers share
    /// the room. What is withheld meanwhile does not leave.
    pub async fn flush(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let permit = self.source.permit();
        // Without a way it is lost, as it would be on a network that leads nowhere.
        while let Some(route) = self.routes.current() {
            match route.try_send(&self.run, &permit) {
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                _ => break,
            }
            let is_shared = route.relayed.is_none();
            if is_shared && timeout(FULL, route.writable()).await.is_err() {
                log::trace!(route:?; "there is no room for a viewer's packets");
                break;
            }
            if !is_shared {
                route.writable().await;
            }
            if !permit.holds() {
                break;
            }
        }
        self.run.clear();
    }

    /// Sender reports (RFC 3550 §6.4.1) on the streams that have begun, which put them on the capture clock.
    ///
    /// Our timestamps are the capture clock itself plus an offset, so a report needs no packet to go by. Those of
    /// libraries take the moment at which a packet was written for the moment that its timestamp means; what sound
    /// and picture spend on their different ways from the sensor then shows as lost lip sync.
    pub fn reports(&self, at: MediaTime) -> Vec<SenderReport> {
        let streams = [(&self.video, VIDEO_HZ), (&self.audio, AUDIO_HZ)];
        let report = |(stream, hz): &(&Stream, u32)| SenderReport {
            ssrc: stream.ssrc,
            ntp_time: self.clock.ntp(at),
            rtp_time: at.rtp(*hz).wrapping_add(stream.offset),
            packet_count: stream.packets,
            octet_count: stream.octets,
            ..Default::default()
        };
        streams.iter().filter(|(stream, _)| stream.packets > 0).map(report).collect()
    }

    /// The next packet's numbers and header; `None`: the answer does not take the stream.
    fn head(&mut self, line: Line, form: &Form, again: Option<Numbers>) -> Option<(Numbers, Head)> {
        let parameters = match line {
            Line::Audio => self.parameters[1]?,
            Line::Video | Line::Repair => self.parameters[0]?,
        };
        let payload_type = match line {
            Line::Repair => parameters.repair_type?,
            Line::Video | Line::Audio => parameters.payload_type,
        };
        let numbers = again.unwrap_or_else(|| self.next(line, parameters.wide_id.is_some()));
        let captured = form.captured.map(|at| self.capture_time(at));
        let stream = self.stream(line);
        // The picture's own, also where it is sent again.
        let timestamp = form.timestamp.wrapping_add(stream.offset);
        let mut head = Head::new(payload_type, numbers.sequence, timestamp, stream.ssrc, form);
        head.say(parameters.wide_id, numbers.wide.map(u16::to_be_bytes));
        head.say(parameters.capture_time_id, captured);
        head.say(parameters.playout_delay_id, form.playout_delay);
        Some((numbers, head))
    }

    fn capture_time(&mut self, at: MediaTime) -> [u8; 8] {
        if self.captured.0 != at {
            self.captured = (at, self.clock.ntp(at).to_be_bytes());
        }
        self.captured.1
    }

    fn next(&mut self, line: Line, is_wide: bool) -> Numbers {
        let wide = is_wide.then_some(self.wide);
        self.wide = self.wide.wrapping_add(u16::from(is_wide));
        let stream = self.stream_mut(line);
        let sequence = stream.sequence;
        stream.sequence = sequence.wrapping_add(1);
        Numbers { sequence, wide }
    }

    /// Both counters wrap (RFC 3550 §6.4.1); a payload is far below 4 GiB.
    fn count(&mut self, line: Line, octets: usize) {
        let stream = self.stream_mut(line);
        stream.packets = stream.packets.wrapping_add(1);
        stream.octets = stream.octets.wrapping_add(octets as u32);
    }

    fn stream(&self, line: Line) -> &Stream {
        match line {
            Line::Video => &self.video,
            Line::Repair => &self.repair,
            Line::Audio => &self.audio,
        }
    }

    fn stream_mut(&mut self, line: Line) -> &mut Stream {
        match line {
            Line::Video => &mut self.video,
            Line::Repair => &mut self.repair,
            Line::Audio => &mut self.audio,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::rtp::Header;
    use rtc::shared::marshal::Unmarshal;

    #[test]
    fn a_header_says_what_the_answer_takes_and_nothing_else() {
        let (time, delay) = ([1, 2, 3, 4, 5, 6, 7, 8], [0, 0x03, 0xe8]);
        for taken in 0..8 {
            let id = |n: u8| (taken & 1 << n != 0).then_some(n + 3);
            let form = Form { marker: taken == 2, is_padded: taken == 3, ..Form::default() };
            let mut head = Head::new(102, 4_711, 90_000, 7, &form);
            head.say(id(0), Some([9, 8]));
            head.say(id(1), Some(time));
            head.say(id(2), Some(delay));
            head.say(Some(14), None::<[u8; 4]>);
            let mut bytes = head.finish();
            assert!(bytes.len().is_multiple_of(4) && bytes.len() <= 32, "{taken}");
            let read = Header::unmarshal(&mut bytes).expect("a header");
            assert!(bytes.is_empty(), "{taken}");
            assert_eq!((read.version, read.marker, read.padding), (2, taken == 2, taken == 3));
            assert_eq!((read.payload_type, read.sequence_number), (102, 4_711));
            assert_eq!((read.timestamp, read.ssrc), (90_000, 7));
            assert_eq!(read.extension, taken > 0);
            assert_eq!(read.get_extension(3).as_deref(), id(0).map(|_| &[9, 8][..]));
            assert_eq!(read.get_extension(4).as_deref(), id(1).map(|_| &time[..]));
            assert_eq!(read.get_extension(5).as_deref(), id(2).map(|_| &delay[..]));
            assert_eq!(read.get_extension_ids().len(), (taken as u32).count_ones() as usize);
        }
    }

    #[test]
    fn both_streams_report_the_same_moment_once_they_have_begun() {
        let clock = CaptureClock::new();
        let streams = [Stream::new(7, 100), Stream::new(9, 100), Stream::new(8, 200)];
        let overheard = Overheard::new().expect("ring");
        let mut outgoing = Outgoing::new(overheard, Arc::default(), clock, streams);
        let at = MediaTime(std::time::Duration::from_millis(12_345));
        assert_eq!(outgoing.reports(at), []);
        outgoing.count(Line::Video, 1000);
        outgoing.count(Line::Video, 500);
        outgoing.count(Line::Audio, 80);
        let [video, audio] = &outgoing.reports(at)[..] else { panic!("two streams") };
        assert_eq!((video.ssrc, video.packet_count, video.octet_count), (7, 2, 1500));
        assert_eq!((audio.ssrc, audio.packet_count, audio.octet_count), (8, 1, 80));
        assert_eq!(video.ntp_time, audio.ntp_time);
        assert_eq!(video.rtp_time, at.rtp(90_000).wrapping_add(100));
        assert_eq!(audio.rtp_time, at.rtp(48_000).wrapping_add(200));
    }
}
