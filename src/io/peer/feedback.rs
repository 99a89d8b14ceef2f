//! What does a viewer tell of our packets? Read from its RTCP, on the way into the library or past it.
//!
//! A viewer sends some ten packets of it a second. Each would wake the library, which reads it through all of its
//! layers and has no use for it: that was a third of what a viewer costs. So it is taken off at the port
//! ([`Shortcut`]), decrypted under the keys that were overheard. What came through a TURN server, and the reports
//! of who speaks, on which the library reports in its turn, go the long way, where [`FeedbackTap`] listens.
//!
//! Nothing of this may block: what does not fit into a channel is left out, and is asked for or told again soon.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, SymbolTypeTcc, TransportLayerCc,
};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use tokio::sync::mpsc;

use super::PeerEvent;
use super::keys::Overheard;
use super::srtp::Opener;
use crate::engine::bucket::Bucket;
use crate::units::PeerId;

/// Feedback that waits for the task which sends. A browser has some 30 messages a second.
const MAX_WAITING: usize = 128;
/// The unit of a reference time in transport-wide feedback
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
const REFERENCE_MS: u64 = 64;

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
    keyframes: Arc<Mutex<Bucket>>,
}

impl Listener {
    /// Requests for keyframes also become events. Full channel: the request is left out; a viewer that still
    /// lacks a picture repeats it.
    pub fn new(id: PeerId, events: mpsc::Sender<(PeerId, PeerEvent)>, ears: Ears) -> Listener {
        let keyframes = Arc::new(Mutex::new(Bucket::new(KEYFRAMES_PER_SECOND, KEYFRAMES_AT_ONCE)));
        Listener { id, events, ears, keyframes }
    }

    fn look_at(&self, now: Instant, packet: &dyn rtc::rtcp::Packet) {
        let packet = packet.as_any();
        if let Some(transport) = packet.downcast_ref::<TransportLayerCc>() {
            self.ears.tell(Feedback::Arrivals(arrivals(transport)));
        } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
            self.reports(now, &report.reports);
        } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
            self.reports(now, &report.reports);
        } else if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
            let sequences = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
            self.ears.tell(Feedback::Missing { ssrc: nack.media_ssrc, sequences });
        } else if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
            // RFC 4585 §6.3.1, RFC 5104 §4.3.1.
            if self.keyframes.lock().unwrap_or_else(PoisonError::into_inner).take(now) {
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
        match rtc::rtcp::packet::unmarshal(&mut &packet[..]) {
            Ok(parts) => parts.iter().for_each(|part| listener.look_at(now, part.as_ref())),
            Err(error) => log::debug!(error:%; "a viewer's report cannot be read"),
        }
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

/// What transport-wide feedback says of each packet
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
fn arrivals(feedback: &TransportLayerCc) -> Vec<(u16, Option<Duration>)> {
    let symbols = feedback.packet_chunks.iter().flat_map(|chunk| match chunk {
        PacketStatusChunk::RunLengthChunk(run) => {
            vec![run.packet_status_symbol; usize::from(run.run_length)]
        }
        PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.clone(),
    });
    let mut deltas = feedback.recv_deltas.iter();
    // 24 bits of 64 ms: far from the end of 64 bits of microseconds.
    let mut clock_us = (u64::from(feedback.reference_time) * REFERENCE_MS * 1000) as i64;
    let mut told = Vec::with_capacity(usize::from(feedback.packet_status_count));
    for (n, symbol) in symbols.take(usize::from(feedback.packet_status_count)).enumerate() {
        // The count has 16 bits.
        let sequence = feedback.base_sequence_number.wrapping_add(n as u16);
        let arrived = match symbol {
            SymbolTypeTcc::PacketReceivedSmallDelta | SymbolTypeTcc::PacketReceivedLargeDelta => {
                // A message that is cut off says nothing of the rest.
                let Some(delta) = deltas.next() else { break };
                clock_us = clock_us.saturating_add(delta.delta);
                Some(Duration::from_micros(clock_us.max(0).unsigned_abs()))
            }
            SymbolTypeTcc::PacketNotReceived => None,
            SymbolTypeTcc::PacketReceivedWithoutDelta => continue,
        };
        told.push((sequence, arrived));
    }
    told
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
        if let Packet::Rtcp(compound) = &packet.message.packet {
            for part in compound {
                self.listener.look_at(packet.now, part.as_ref());
            }
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
    use super::*;
    use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
        RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
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

    #[test]
    fn arrivals_are_read_from_runs_and_vectors_over_the_wrap_of_the_numbers() {
        use SymbolTypeTcc::{PacketNotReceived as Lost, PacketReceivedSmallDelta as Small};
        let delta = |delta| RecvDelta { type_tcc_packet: Small, delta };
        let feedback = TransportLayerCc {
            base_sequence_number: 65_534,
            packet_status_count: 5,
            reference_time: 2,
            packet_chunks: vec![
                PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                    type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                    packet_status_symbol: Small,
                    run_length: 2,
                }),
                PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                    type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                    symbol_size: SymbolSizeTypeTcc::TwoBit,
                    // Seven symbols, of which the count takes three.
                    symbol_list: vec![
                        Lost,
                        Small,
                        SymbolTypeTcc::PacketReceivedLargeDelta,
                        Lost,
                        Lost,
                        Lost,
                        Lost,
                    ],
                }),
            ],
            recv_deltas: vec![delta(250), delta(500), delta(1_000), delta(-750)],
            ..Default::default()
        };
        let at = |us: u64| Some(Duration::from_micros(128_000 + us));
        let expected = [(65_534, at(250)), (65_535, at(750)), (0, None), (1, at(1_750)), (2, at(1_000))];
        assert_eq!(arrivals(&feedback), expected);
        let cut_off = TransportLayerCc { recv_deltas: vec![delta(250)], ..feedback };
        assert_eq!(arrivals(&cut_off), expected[..1]);
    }
}
