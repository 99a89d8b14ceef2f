//! What we put into the library's packet path: viewers' requests and estimates on their way out of
//! it, and sender reports on the capture clock on their way in.
//!
//! All of this runs inside the library's driver task. It must not block: what does not fit into the
//! event channel is left out, and is asked for or estimated again soon.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rtc::interceptor::{
    AttributedPacket, BandwidthEstimator, Interceptor, Packet, PacketReport, StreamInfo, TaggedPacket,
};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use rtc::shared::error::Error;
use tokio::sync::mpsc;

use super::PeerEvent;
use super::clock::CaptureClock;
use crate::engine::bandwidth::{Bandwidth, Fate};
use crate::units::{Bitrate, PeerId};

/// Estimates closer together than this are one.
const ESTIMATE_INTERVAL: Duration = Duration::from_millis(50);

/// RFC 3550 §6.2 has reports every few seconds; one a second lets a viewer synchronise sound and
/// picture soon after it joins.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Where estimates go: to the event channel, and to whoever paces this peer's packets.
#[derive(Clone, Debug)]
pub struct EstimateOutlet {
    id: PeerId,
    events: mpsc::Sender<(PeerId, PeerEvent)>,
    current_bps: Arc<AtomicU32>,
    last: Option<(Instant, Bitrate)>,
}

impl EstimateOutlet {
    /// `current_bps` always holds the newest estimate.
    pub fn new(
        id: PeerId,
        events: mpsc::Sender<(PeerId, PeerEvent)>,
        current_bps: Arc<AtomicU32>,
    ) -> EstimateOutlet {
        EstimateOutlet { id, events, current_bps, last: None }
    }

    fn publish(&mut self, now: Instant, bps: f64) {
        // Estimates are positive and at most some Gbit/s: the cast saturates.
        let estimate = Bitrate::from_bps(bps as u32);
        self.current_bps.store(estimate.bps(), Ordering::Relaxed);
        if let Some((at, known)) = self.last {
            let is_same = u64::from(estimate.bps().abs_diff(known.bps())) * 50 <= u64::from(known.bps());
            if is_same || now.saturating_duration_since(at) < ESTIMATE_INTERVAL {
                return;
            }
        }
        if self.events.try_send((self.id, PeerEvent::Estimate(estimate))).is_ok() {
            self.last = Some((now, estimate));
        }
    }
}

/// Our estimate in the place of the library's, told after each report.
pub struct Estimator {
    bandwidth: Bandwidth,
    outlet: EstimateOutlet,
    fates: Vec<Fate>,
}

impl Estimator {
    /// Starts at `start` and never leaves `min` to `max`.
    pub fn new(start: Bitrate, min: Bitrate, max: Bitrate, outlet: EstimateOutlet) -> Estimator {
        Estimator { bandwidth: Bandwidth::new(start, min, max), outlet, fates: Vec::new() }
    }
}

impl BandwidthEstimator for Estimator {
    fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        self.fates.clear();
        self.fates.extend(reports.iter().map(|report| Fate {
            departed: report.departure,
            arrived: report.arrival.filter(|_| report.arrived),
            size: report.size,
            is_probe: false,
        }));
        self.bandwidth.reported(now, &self.fates);
        self.outlet.publish(now, self.bandwidth.target_bps());
    }
    fn target_bitrate(&self) -> f64 {
        self.bandwidth.target_bps()
    }
}

/// Tells of the feedback that the library keeps to itself: requests for a keyframe (RFC 4585 §6.3.1,
/// RFC 5104 §4.3.1) and REMB (draft-alvestrand-rmcat-remb-03).
pub struct FeedbackTap {
    id: PeerId,
    events: mpsc::Sender<(PeerId, PeerEvent)>,
    outlet: EstimateOutlet,
    read: VecDeque<TaggedPacket>,
    written: VecDeque<TaggedPacket>,
}

impl FeedbackTap {
    /// Full channel: the request is left out; a viewer that still lacks a picture repeats it.
    pub fn new(id: PeerId, events: mpsc::Sender<(PeerId, PeerEvent)>, outlet: EstimateOutlet) -> FeedbackTap {
        FeedbackTap { id, events, outlet, read: VecDeque::new(), written: VecDeque::new() }
    }

    fn look_at(&mut self, now: Instant, packet: &dyn rtc::rtcp::Packet) {
        let packet = packet.as_any();
        if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
            let _ = self.events.try_send((self.id, PeerEvent::KeyframeRequested));
        } else if let Some(remb) = packet.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
            self.outlet.publish(now, f64::from(remb.bitrate));
        }
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
                self.look_at(packet.now, part.as_ref());
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

/// Sender reports (RFC 3550 §6.4.1) that put both streams on the capture clock.
///
/// The library's own take the moment at which a packet was written for the moment its timestamp
/// means; what sound and picture spend on their different ways from the sensor then shows as lost
/// lip sync. Our timestamps are the capture clock itself plus an offset, so a report needs no packet
/// to go by.
pub struct CaptureReports {
    clock: CaptureClock,
    offsets: HashMap<u32, u32>,
    streams: HashMap<u32, Reported>,
    next: Option<Instant>,
    read: VecDeque<TaggedPacket>,
    written: VecDeque<TaggedPacket>,
}

struct Reported {
    clock_rate: u32,
    offset: u32,
    packets: u32,
    octets: u32,
}

impl CaptureReports {
    /// `offsets`: what is added to each stream's timestamps, by SSRC.
    pub fn new(clock: CaptureClock, offsets: HashMap<u32, u32>) -> CaptureReports {
        let (read, written) = (VecDeque::new(), VecDeque::new());
        CaptureReports { clock, offsets, streams: HashMap::new(), next: None, read, written }
    }

    fn report(&self, now: Instant, ssrc: u32, stream: &Reported) -> SenderReport {
        let at = self.clock.media_time(now);
        SenderReport {
            ssrc,
            ntp_time: self.clock.ntp(at),
            rtp_time: at.rtp(stream.clock_rate).wrapping_add(stream.offset),
            packet_count: stream.packets,
            octet_count: stream.octets,
            ..Default::default()
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for CaptureReports {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.read.push_back(packet);
        Ok(())
    }
    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }
    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(rtp) = &packet.message.packet
            && let Some(stream) = self.streams.get_mut(&rtp.header.ssrc)
        {
            // The first report goes out with the first packets: a viewer can synchronise at once.
            if stream.packets == 0 {
                self.next = Some(packet.now);
            }
            // Both counters wrap (RFC 3550 §6.4.1); a payload is far below 4 GiB.
            stream.packets = stream.packets.wrapping_add(1);
            stream.octets = stream.octets.wrapping_add(rtp.payload.len() as u32);
        }
        self.written.push_back(packet);
        Ok(())
    }
    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.written.pop_front()
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.next.is_none_or(|next| now < next) {
            return Ok(());
        }
        self.next = Some(now + REPORT_INTERVAL);
        for (&ssrc, stream) in self.streams.iter().filter(|(_, stream)| stream.packets > 0) {
            let report = self.report(now, ssrc, stream);
            self.written.push_back(TaggedPacket {
                now,
                transport: TransportContext::default(),
                message: AttributedPacket::new(Packet::Rtcp(vec![Box::new(report)])),
            });
        }
        Ok(())
    }
    fn poll_timeout(&mut self) -> Option<Instant> {
        self.next
    }
}

impl Interceptor for CaptureReports {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        if let Some(&offset) = self.offsets.get(&info.ssrc) {
            let stream = Reported { clock_rate: info.clock_rate, offset, packets: 0, octets: 0 };
            self.streams.insert(info.ssrc, stream);
        }
    }
    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
    }
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlet() -> (EstimateOutlet, mpsc::Receiver<(PeerId, PeerEvent)>) {
        let (events, received) = mpsc::channel(8);
        (EstimateOutlet::new(PeerId(1), events, Arc::new(AtomicU32::new(0))), received)
    }

    #[test]
    fn estimates_are_told_when_they_changed_and_not_too_often() {
        let (mut outlet, mut received) = outlet();
        let start = Instant::now();
        for (after_ms, bps) in [(0, 1_000_000.0), (20, 2_000_000.0), (300, 1_010_000.0), (301, 1_030_000.0)] {
            outlet.publish(start + Duration::from_millis(after_ms), bps);
        }
        let mut told = Vec::new();
        while let Ok((_, PeerEvent::Estimate(rate))) = received.try_recv() {
            told.push(rate.kbps());
        }
        assert_eq!(told, [1000, 1030], "20 ms is too soon, 1% is no change");
        assert_eq!(outlet.current_bps.load(Ordering::Relaxed), 1_030_000);
    }

    #[test]
    fn both_streams_report_the_same_moment() {
        let clock = CaptureClock::new();
        let mut reports = CaptureReports::new(clock, HashMap::from([(7, 100), (8, 200)]));
        for (ssrc, clock_rate) in [(7, 90_000), (8, 48_000)] {
            reports.bind_local_stream(&StreamInfo { ssrc, clock_rate, ..Default::default() });
        }
        let now = Instant::now();
        let at = clock.media_time(now);
        let video = reports.report(now, 7, &reports.streams[&7]);
        let audio = reports.report(now, 8, &reports.streams[&8]);
        assert_eq!(video.ntp_time, audio.ntp_time);
        assert_eq!(video.rtp_time, at.rtp(90_000).wrapping_add(100));
        assert_eq!(audio.rtp_time, at.rtp(48_000).wrapping_add(200));
    }
}
