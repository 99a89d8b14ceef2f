//! What does a viewer tell of our packets? Read from its RTCP, on the way into the library or past it.
//!
//! A viewer sends some ten packets of it a second. Each would wake the library, which reads it through all of its
//! layers and has no use for it: that was a third of what a viewer costs. So it is taken off at the port
//! ([`Shortcut`]), decrypted under the keys that were overheard. What came through a TURN server, and the reports
//! of who speaks, on which the library reports in its turn, go the long way, where [`FeedbackTap`] listens.
//!
//! Nothing of this may block: what does not fit into a channel is left out, and is asked for or told again soon.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::marshal::Marshal;
use tokio::sync::mpsc;

use super::compound::{first_part, told};
use super::keys::Overheard;
use super::srtp::Opener;
use super::viewer_clock::ViewerClock;
use super::{PeerEvent, arrivals};
use crate::engine::bucket::Bucket;
use crate::units::PeerId;

/// Feedback that waits for the task which sends. A browser has some 30 messages a second.
const MAX_WAITING: usize = 128;

/// Packets of RTCP that are read of one viewer, a second and at once: several times what a browser sends that loses
/// half of its packets.
const PACKETS_PER_SECOND: u32 = 200;
const PACKETS_AT_ONCE: u32 = 400;
/// Feedback on more packets than can be on their way, of which some bytes can tell 65,535 times the same.
const MAX_TOLD: u16 = 2048;

/// What a viewer tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Feedback {
    /// These packets of the stream with this SSRC have not arrived (generic NACK, RFC 4585 §6.2.1).
    Missing {
        /// Whose numbers they are.
        ssrc: u32,
        /// Their sequence numbers.
        sequences: Vec<u16>,
    },
    /// When packets arrived by their transport-wide numbers, in order, by the viewer's clock; `None`: it did not
    /// until now.
    Arrivals(Vec<(u16, Option<Duration>)>),
    /// What the viewer thinks its network carries (draft-alvestrand-rmcat-remb-03), in bits per second.
    MaxBitrate(f32),
    /// A report on one of our streams (RFC 3550 §6.4.1).
    Report {
        /// Which.
        ssrc: u32,
        /// Packets that have not arrived since the start.
        lost: u32,
        /// The share of those sent since the last report that have not.
        lost_share: f64,
        /// Which of our sender reports it knows, by the middle of its NTP time, and for how long it had it, in
        /// units of 1/65536 s.
        known: Option<(u32, u32)>,
        /// When it came.
        at: Instant,
    },
    /// It needs a keyframe.
    KeyframeWanted,
    /// Not the viewer but we: ICE looks for another way.
    WayIsSought,
}

/// Hands feedback to whoever sends to this viewer, if anybody does.
#[derive(Clone, Debug, Default)]
pub struct Ears(Arc<Mutex<Option<mpsc::Sender<Feedback>>>>);

impl Ears {
    /// From now on feedback comes out here, and nowhere else.
    pub fn listen(&self) -> mpsc::Receiver<Feedback> {
        // Full: the newest is dropped; see above.
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Says something to whoever listens.
    pub fn tell(&self, feedback: Feedback) {
        // Nothing that could panic runs under this lock.
        if let Some(ear) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = ear.try_send(feedback);
        }
    }
}

/// One viewer's requests may cost so many keyframes. Everybody gets each of them, and one in three pictures
/// would be one if a viewer that loses half of its packets had its way. It repeats what was not answered.
const KEYFRAMES_PER_SECOND: u32 = 1;
/// The first ones are answered at once: one that joins may lose its keyframe.
const KEYFRAMES_AT_ONCE: u32 = 3;

/// Understands RTCP. Those of one peer connection are clones of each other: whichever way a viewer's requests come,
/// they are counted together.
#[derive(Clone)]
pub struct Listener {
    id: PeerId,
    events: mpsc::Sender<(PeerId, PeerEvent)>,
    ears: Ears,
    shared: Arc<Mutex<Shared>>,
}

/// What is known of one viewer, whichever way it says something.
struct Shared {
    /// Its requests for keyframes.
    keyframes: Bucket,
    packets: Bucket,
    clock: ViewerClock,
}

impl Listener {
    /// Requests for keyframes also become events. Full channel: the request is left out; a viewer that still
    /// lacks a picture repeats it.
    pub fn new(id: PeerId, events: mpsc::Sender<(PeerId, PeerEvent)>, ears: Ears) -> Listener {
        let keyframes = Bucket::new(KEYFRAMES_PER_SECOND, KEYFRAMES_AT_ONCE);
        let packets = Bucket::new(PACKETS_PER_SECOND, PACKETS_AT_ONCE);
        let shared = Shared { keyframes, packets, clock: ViewerClock::default() };
        Listener { id, events, ears, shared: Arc::new(Mutex::new(shared)) }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Nothing that could panic runs under this lock.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a packet that has been decrypted: what can be read of it, unless there are too many.
    fn read(&self, now: Instant, mut compound: &[u8]) {
        if !self.shared().packets.take(now) {
            return log::trace!(peer:% = self.id; "a viewer reports too much");
        }
        while let Some((mut part, rest)) = first_part(compound) {
            compound = rest;
            match told(part) {
                Some(count) if count > MAX_TOLD => {
                    log::debug!(peer:% = self.id; "a viewer tells of more packets than it was sent");
                    continue;
                }
                Some(_) => {
                    self.arrived(part);
                    continue;
                }
                None => {}
            }
            match rtc::rtcp::packet::unmarshal(&mut part) {
                Ok(parts) => parts.iter().for_each(|part| self.look_at(now, part.as_ref())),
                Err(error) => {
                    log::debug!(peer:% = self.id, error:%; "a part of a viewer's report cannot be read");
                }
            }
        }
    }

    /// Transport-wide feedback.
    fn arrived(&self, feedback: &[u8]) {
        let arrivals = arrivals::read(feedback, &mut self.shared().clock);
        self.ears.tell(Feedback::Arrivals(arrivals));
    }

    fn look_at(&self, now: Instant, packet: &dyn rtc::rtcp::Packet) {
        let packet = packet.as_any();
        if let Some(transport) = packet.downcast_ref::<TransportLayerCc>() {
            if transport.packet_status_count > MAX_TOLD {
                return;
            }
            // Only what came through a relay was read by the library.
            match transport.marshal() {
                Ok(packet) => self.arrived(&packet),
                Err(error) => log::debug!(error:%; "transport-wide feedback cannot be read"),
            }
        } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
            self.reports(now, &report.reports);
        } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
            self.reports(now, &report.reports);
        } else if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
            let sequences = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
            self.ears.tell(Feedback::Missing { ssrc: nack.media_ssrc, sequences });
        } else if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
            // RFC 4585 §6.3.1, RFC 5104 §4.3.1.
            if self.shared().keyframes.take(now) {
                let _ = self.events.try_send((self.id, PeerEvent::KeyframeRequested));
            }
            self.ears.tell(Feedback::KeyframeWanted);
        } else if let Some(remb) = packet.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
            self.ears.tell(Feedback::MaxBitrate(remb.bitrate));
        }
    }

    fn reports(&self, at: Instant, reports: &[ReceptionReport]) {
        for report in reports {
            let known = (report.last_sender_report != 0).then_some((report.last_sender_report, report.delay));
            let lost_share = f64::from(report.fraction_lost) / 256.0;
            let (ssrc, lost) = (report.ssrc, report.total_lost);
            self.ears.tell(Feedback::Report { ssrc, lost, lost_share, known, at });
        }
    }
}

/// A sender report (RFC 3550 §6.4.1).
const SENDER_REPORT: u8 = 200;

/// Takes a viewer's RTCP where it comes in.
pub struct Shortcut {
    overheard: Arc<Overheard>,
    inside: Mutex<Inside>,
}

struct Inside {
    opener: Option<Opener>,
    listener: Listener,
    /// The packet that is read.
    packet: Vec<u8>,
}

impl Shortcut {
    /// Under the viewer's keys, once they are heard.
    pub fn new(overheard: Arc<Overheard>, listener: Listener) -> Shortcut {
        let inside = Mutex::new(Inside { opener: None, listener, packet: Vec::new() });
        Shortcut { overheard, inside }
    }

    /// Reads a packet, unless it is the library's. What the viewer has not sent is nobody's.
    pub fn take(&self, now: Instant, encrypted: &[u8]) -> Taken {
        // The type is not encrypted (RFC 3711 §3.4).
        if encrypted.get(1) == Some(&SENDER_REPORT) {
            return Taken::LongWay;
        }
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let Inside { opener, listener, packet } = &mut *inside;
        if opener.is_none() {
            *opener = self.overheard.incoming();
        }
        let Some(opener) = opener else { return Taken::LongWay };
        packet.clear();
        packet.extend_from_slice(encrypted);
        if opener.open(packet).is_err() {
            return Taken::Forged;
        }
        listener.read(now, packet);
        Taken::Read
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was the viewer's, and is done.
    Read,
    /// It was not the viewer's, or is repeated.
    Forged,
    /// The library is to have it.
    LongWay,
}

/// Listens to what reaches the library, and changes nothing.
pub struct FeedbackTap {
    listener: Listener,
    read: VecDeque<TaggedPacket>,
    written: VecDeque<TaggedPacket>,
}

impl FeedbackTap {
    /// Around who understands it.
    pub fn new(listener: Listener) -> FeedbackTap {
        FeedbackTap { listener, read: VecDeque::new(), written: VecDeque::new() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for FeedbackTap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(compound) = &packet.message.packet
            && self.listener.shared().packets.take(packet.now)
        {
            compound.iter().for_each(|part| self.listener.look_at(packet.now, part.as_ref()));
        }
        self.read.push_back(packet);
        Ok(())
    }
    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }
    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.written.push_back(packet);
        Ok(())
    }
    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.written.pop_front()
    }
}

impl Interceptor for FeedbackTap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use rtc::srtp::protection_profile::ProtectionProfile;

    use super::*;
    use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
        PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, SymbolTypeTcc,
    };

    #[test]
    #[expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]
    fn viewer_that_asks_all_the_time_costs_few_keyframes_and_each_request_is_counted() {
        let (events, mut received) = mpsc::channel(64);
        let ears = Ears::default();
        let mut heard = ears.listen();
        let (listener, start) = (Listener::new(PeerId(1), events, ears), Instant::now());
        let by_the_long_way = listener.clone();
        for n in 0..40u64 {
            let now = start + Duration::from_millis(n * 250);
            match n % 2 {
                0 => listener.look_at(now, &PictureLossIndication::default()),
                _ => by_the_long_way.look_at(now, &FullIntraRequest::default()),
            }
        }
        let asked = std::iter::from_fn(|| received.try_recv().ok()).count();
        assert_eq!(asked, 3 + 9, "in ten seconds");
        assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), 40);
    }

    /// A listener, what it tells, and the moment that virtual time counts from.
    #[expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]
    fn listener() -> (Listener, mpsc::Receiver<Feedback>, Instant) {
        let (events, _) = mpsc::channel(1);
        let ears = Ears::default();
        let heard = ears.listen();
        (Listener::new(PeerId(1), events, ears), heard, Instant::now())
    }

    /// A receiver report (RFC 3550 §6.4.2) on one source.
    fn report(lost: u8) -> Vec<u8> {
        let mut bytes = vec![0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, lost];
        bytes.resize(32, 0);
        bytes
    }

    /// Transport-wide feedback: so many packets have not arrived.
    fn none_of(count: u16) -> Vec<u8> {
        let mut bytes = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 1];
        bytes.extend(count.to_be_bytes());
        bytes.extend([0, 0, 1, 0]);
        for run in 0..count.div_ceil(0x1fff) {
            bytes.extend((count - run * 0x1fff).min(0x1fff).to_be_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(4) + 4, 0);
        bytes[3] = (bytes.len() / 4 - 1) as u8;
        bytes
    }

    fn all(heard: &mut mpsc::Receiver<Feedback>) -> Vec<Feedback> {
        std::iter::from_fn(|| heard.try_recv().ok()).collect()
    }

    #[test]
    fn what_cannot_be_read_hides_nothing_that_stands_beside_it() {
        let (listener, mut heard, now) = listener();
        // An estimate with the source of the picture, which the draft wants to be zero; and one part that is cut off.
        let estimate =
            [0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7, b'R', b'E', b'M', b'B', 1, 2, 3, 4, 0, 0, 0, 7];
        let cut_off = [0x81, 201, 0, 7, 0, 0, 0, 1];
        listener.read(now, &[&report(1)[..], &estimate, &report(2), &cut_off].concat());
        let lost = |told: &Feedback| if let Feedback::Report { lost, .. } = told { *lost } else { 0 };
        assert_eq!(all(&mut heard).iter().map(lost).collect::<Vec<_>>(), [1, 2]);
        listener.read(now, &[]);
        listener.read(now, &[0x80]);
        assert!(all(&mut heard).is_empty());
    }

    #[test]
    fn few_bytes_do_not_tell_of_more_packets_than_there_can_be() {
        let (listener, mut heard, now) = listener();
        let most = none_of(u16::MAX);
        assert!(most.len() < 60);
        listener.read(now, &most);
        assert!(all(&mut heard).is_empty());
        listener.read(now, &none_of(MAX_TOLD));
        let told = all(&mut heard);
        assert!(matches!(&told[..], [Feedback::Arrivals(all)] if all.len() == usize::from(MAX_TOLD)));
    }

    #[test]
    fn flood_of_reports_is_not_read() {
        let (listener, mut heard, start) = listener();
        let mut read = 0;
        for n in 0..10_000u64 {
            listener.read(start + Duration::from_millis(n), &report(1));
            read += all(&mut heard).len();
        }
        assert!((2_000..2_500).contains(&read), "{read} in ten seconds");
    }

    #[test]
    fn forged_sources_are_tried_a_few_times_and_the_viewers_own_is_heard_all_the_same() {
        for profile in [ProtectionProfile::AeadAes128Gcm, ProtectionProfile::Aes128CmHmacSha1_80] {
            let (listener, mut heard, now) = listener();
            let (overheard, mut viewer) = Overheard::shaken(profile);
            let shortcut = Shortcut::new(overheard, listener);
            let said = viewer.encrypt_rtcp(&report(1)).expect("a report");
            assert_eq!(shortcut.take(now, &said), Taken::Read);
            for source in 0..1_000u32 {
                let mut forged = said.to_vec();
                forged[4..8].copy_from_slice(&(1_000 + source).to_be_bytes());
                assert_eq!(shortcut.take(now, &forged), Taken::Forged);
            }
            let kept = match shortcut.inside.lock().expect("nothing panics").opener.as_ref() {
                Some(Opener::Library(_, tried)) => tried.len(),
                _ => 0,
            };
            assert!(kept <= 32, "{profile:?}: {kept}");
            let said = viewer.encrypt_rtcp(&report(2)).expect("a report");
            assert_eq!(shortcut.take(now, &said), Taken::Read);
            assert_eq!(all(&mut heard).len(), 2);
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]
    fn each_packet_of_a_compound_one_is_heard_whichever_way_it_comes() {
        let (events, _received) = mpsc::channel(64);
        let ears = Ears::default();
        let mut heard = ears.listen();
        let (listener, now) = (Listener::new(PeerId(1), events, ears), Instant::now());
        let feedback = TransportLayerCc {
            base_sequence_number: 7,
            packet_status_count: 1,
            reference_time: 2,
            packet_chunks: vec![PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                packet_status_symbol: SymbolTypeTcc::PacketReceivedSmallDelta,
                run_length: 1,
            })],
            recv_deltas: vec![RecvDelta {
                type_tcc_packet: SymbolTypeTcc::PacketReceivedSmallDelta,
                delta: 250,
            }],
            ..Default::default()
        };
        let report = ReceiverReport { reports: vec![ReceptionReport::default()], ..Default::default() };
        let parts = [report.marshal(), feedback.marshal(), PictureLossIndication::default().marshal()];
        let compound: Vec<u8> = parts.iter().flatten().flat_map(|part| part.to_vec()).collect();
        let mut told = || std::iter::from_fn(|| heard.try_recv().ok()).collect::<Vec<_>>();
        let arrived_at = ViewerClock::default().time(2) + Duration::from_micros(250);
        let arrived = Feedback::Arrivals(vec![(7, Some(arrived_at))]);
        listener.read(now, &compound);
        let all = told();
        assert!(matches!(all[0], Feedback::Report { .. }), "{all:?}");
        assert_eq!(all[1..], [arrived.clone(), Feedback::KeyframeWanted]);
        listener.read(now, &compound[..compound.len() - 1]);
        assert_eq!(told().len(), 2, "the last one is cut off");
        listener.look_at(now, &feedback);
        assert_eq!(told(), [arrived]);
    }
}
