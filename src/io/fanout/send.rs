//! One viewer's task: takes pictures and sound from its queues and writes them as RTP, at the pace that
//! its network bears.
#![expect(clippy::disallowed_methods, reason = "the shell reads the clock")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::rtp;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use webrtc::media_stream::track_local::TrackLocal;

use super::{Frame, Sound, Traffic};
use crate::io::peer::{CaptureClock, Outlet, Peer, VIDEO_HZ};
use crate::units::MediaTime;

/// How much faster than the estimate packets leave: as in Chromium, so that a keyframe passes in the
/// time of a few pictures, and the estimate can find out that the network takes more.
const PACE_FACTOR: f64 = 2.5;
/// What may leave at once: an ordinary picture, and what a Wi-Fi access point's queue holds easily.
const BURST_BYTES: f64 = 32.0 * 1024.0;
/// RTP, UDP and IP headers and SRTP's tag, roughly.
const OVERHEAD_BYTES: usize = 80;
/// `playout-delay` 0 to 0: two fields of 12 bits, minimum and maximum, in units of 10 ms. Chromium then
/// shows each picture at once, and does not hold it back for sound that takes longer either.
const AT_ONCE: Bytes = Bytes::from_static(&[0, 0, 0]);
/// 0 to 10 s. For pictures with sound, which Chromium plays 50 to 130 ms late beside pictures at once, and
/// 16 to 25 ms with this. It must be said, since the last value stands; up to 500 ms means at once as well.
const WITH_SOUND: Bytes = Bytes::from_static(&[0, 0x03, 0xe8]);

/// What has left, shared with the fan-out.
#[derive(Debug, Default)]
pub(super) struct Counters {
    frames_sent: AtomicU64,
    frames_dropped: AtomicU64,
    sound_sent: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
    latest_delay_us: AtomicU64,
}

impl Counters {
    pub(super) fn dropped(&self) {
        self.frames_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Traffic {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            frames_sent: of(&self.frames_sent),
            frames_dropped: of(&self.frames_dropped),
            sound_sent: of(&self.sound_sent),
            packets: of(&self.packets),
            bytes: of(&self.bytes),
            latest_delay: Duration::from_micros(of(&self.latest_delay_us)),
            ..Traffic::default()
        }
    }
}

/// What one viewer's packets are made with.
pub(super) struct Feed {
    video: Option<Stream>,
    audio: Option<Stream>,
    clock: CaptureClock,
    pace: Pace,
    counters: Arc<Counters>,
    /// What is of another era is thrown away.
    era: Arc<AtomicU64>,
}

impl Feed {
    pub(super) fn new(
        peer: &Peer,
        video: Option<Outlet>,
        audio: Option<Outlet>,
        counters: Arc<Counters>,
        era: Arc<AtomicU64>,
    ) -> Feed {
        Feed {
            video: video.map(|outlet| Stream { outlet }),
            audio: audio.map(|outlet| Stream { outlet }),
            clock: peer.clock(),
            pace: Pace::new(peer.estimate_bps()),
            counters,
            era,
        }
    }

    /// Runs until it is aborted or the peer connection has ended.
    pub(super) fn spawn(
        self,
        frames: mpsc::Receiver<Arc<Frame>>,
        sound: mpsc::Receiver<Sound>,
    ) -> AbortHandle {
        tokio::spawn(self.run(frames, sound)).abort_handle()
    }

    async fn run(mut self, mut frames: mpsc::Receiver<Arc<Frame>>, mut sound: mpsc::Receiver<Sound>) {
        let mut packets: VecDeque<rtp::Packet> = VecDeque::new();
        let (mut captured, mut era) = (MediaTime::default(), 0);
        loop {
            let pause = self.pace.pause(Instant::now());
            let is_written = tokio::select! {
                biased;
                // Sound goes first and is not paced: it is small, and its gaps are heard.
                Some(packet) = sound.recv() => {
                    if self.is_of_now(packet.era) { self.write_sound(&packet).await } else { true }
                }
                () = wait(pause), if !packets.is_empty() => match packets.pop_front() {
                    Some(packet) if self.is_of_now(era) => self.write_picture(packet, captured).await,
                    _ => {
                        packets.clear();
                        true
                    }
                },
                Some(frame) = frames.recv(), if packets.is_empty() => {
                    (captured, era) = (frame.captured, frame.era);
                    packets = self.packets(&frame);
                    true
                }
                else => return,
            };
            if !is_written {
                // The peer connection has ended; its owner is told of that by itself.
                return;
            }
        }
    }

    fn is_of_now(&self, era: u64) -> bool {
        era == self.era.load(Ordering::Relaxed)
    }

    fn packets(&self, frame: &Frame) -> VecDeque<rtp::Packet> {
        let Some(stream) = &self.video else { return VecDeque::new() };
        let playout_delay = if self.audio.is_some() { WITH_SOUND } else { AT_ONCE };
        let last = frame.payloads.len() - 1;
        let timestamp = frame.captured.rtp(VIDEO_HZ);
        let make = |(n, payload): (usize, &Bytes)| {
            let mut packet = stream.packet(payload.clone(), timestamp, n == last);
            // The first packet speaks for the picture: without it there is no picture either.
            if n == 0 {
                stream.tell_capture_time(&mut packet.header, frame.captured, &self.clock);
                stream.tell_playout_delay(&mut packet.header, playout_delay.clone());
            }
            packet
        };
        frame.payloads.iter().enumerate().map(make).collect()
    }

    async fn write_picture(&mut self, mut packet: rtp::Packet, captured: MediaTime) -> bool {
        let Some(stream) = &self.video else { return true };
        let is_last = packet.header.marker;
        packet.header.sequence_number = stream.next_sequence();
        self.count(packet.payload.len());
        self.pace.spend(packet.payload.len());
        let is_written = stream.outlet.track.write_rtp(packet).await.is_ok();
        if is_written && is_last {
            self.counters.frames_sent.fetch_add(1, Ordering::Relaxed);
            let delay = self.clock.media_time(Instant::now()).0.saturating_sub(captured.0);
            // 64 bits of microseconds are 584,000 years.
            self.counters.latest_delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
        }
        is_written
    }

    async fn write_sound(&mut self, sound: &Sound) -> bool {
        let Some(stream) = &self.audio else { return true };
        // The marker begins a talkspurt after silence (RFC 3551 §4.1), which never ends here.
        let mut packet = stream.packet(sound.data.clone(), sound.timestamp, false);
        stream.tell_capture_time(&mut packet.header, sound.captured, &self.clock);
        packet.header.sequence_number = stream.next_sequence();
        let is_written = stream.outlet.track.write_rtp(packet).await.is_ok();
        self.count(sound.data.len());
        self.pace.spend(sound.data.len());
        self.counters.sound_sent.fetch_add(1, Ordering::Relaxed);
        is_written
    }

    fn count(&self, bytes: usize) {
        self.counters.packets.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Zero does not even ask the timer, whose grain is 1 ms.
async fn wait(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

/// One RTP stream to one viewer.
struct Stream {
    outlet: Outlet,
}

impl Stream {
    /// Given when a packet is written, so that what is never written leaves no gap. The count belongs to
    /// the peer connection: SRTP must not see a number twice, even when its viewer is added anew.
    fn next_sequence(&self) -> u16 {
        self.outlet.sequence.fetch_add(1, Ordering::Relaxed)
    }

    fn packet(&self, payload: Bytes, timestamp: u32, marker: bool) -> rtp::Packet {
        let header = rtp::Header {
            version: 2,
            marker,
            payload_type: self.outlet.parameters.payload_type,
            timestamp: timestamp.wrapping_add(self.outlet.offset),
            ssrc: self.outlet.ssrc,
            ..Default::default()
        };
        rtp::Packet { header, payload }
    }

    fn tell_capture_time(&self, header: &mut rtp::Header, captured: MediaTime, clock: &CaptureClock) {
        if let Some(id) = self.outlet.parameters.capture_time_id {
            // Ids are 1 to 14 and values at most 16 bytes: the one-byte form takes them.
            let _ = header.set_extension(id, Bytes::copy_from_slice(&clock.ntp(captured).to_be_bytes()));
        }
    }

    fn tell_playout_delay(&self, header: &mut rtp::Header, delay: Bytes) {
        if let Some(id) = self.outlet.parameters.playout_delay_id {
            let _ = header.set_extension(id, delay);
        }
    }
}

/// A leaky bucket over the newest estimate.
struct Pace {
    estimate_bps: Arc<AtomicU32>,
    budget_bytes: f64,
    refilled: Option<Instant>,
}

impl Pace {
    fn new(estimate_bps: Arc<AtomicU32>) -> Pace {
        Pace { estimate_bps, budget_bytes: BURST_BYTES, refilled: None }
    }

    fn bytes_per_s(&self) -> f64 {
        f64::from(self.estimate_bps.load(Ordering::Relaxed)).max(1.0) * PACE_FACTOR / 8.0
    }

    /// How long the next packet must wait.
    fn pause(&mut self, now: Instant) -> Duration {
        let rate = self.bytes_per_s();
        if let Some(refilled) = self.refilled {
            let elapsed = now.saturating_duration_since(refilled).as_secs_f64();
            self.budget_bytes = (self.budget_bytes + elapsed * rate).min(BURST_BYTES);
        }
        self.refilled = Some(now);
        if self.budget_bytes >= 0.0 {
            return Duration::ZERO;
        }
        // The lowest estimate is 100 kbit/s, and one packet's debt passes then within 42 ms.
        Duration::from_secs_f64((-self.budget_bytes / rate).min(1.0))
    }

    fn spend(&mut self, payload_bytes: usize) {
        self.budget_bytes -= (payload_bytes + OVERHEAD_BYTES) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_picture_leaves_at_once_and_a_large_one_at_the_networks_pace() {
        let start = Instant::now();
        // 2.5 times 800 kbit/s are 250 bytes a millisecond.
        let mut pace = Pace::new(Arc::new(AtomicU32::new(800_000)));
        for _ in 0..25 {
            assert_eq!(pace.pause(start), Duration::ZERO);
            pace.spend(1120);
        }
        for _ in 0..10 {
            pace.spend(1120);
        }
        let pause = pace.pause(start).as_millis();
        assert_eq!(pause, ((35 * 1200 - 32 * 1024) / 250) as u128);
        assert_eq!(pace.pause(start + Duration::from_millis(40)), Duration::ZERO);
    }

    #[test]
    fn the_estimate_is_followed_at_once() {
        let start = Instant::now();
        let estimate = Arc::new(AtomicU32::new(800_000));
        let mut pace = Pace::new(estimate.clone());
        pace.spend(BURST_BYTES as usize + 10_000);
        let slow = pace.pause(start);
        estimate.store(8_000_000, Ordering::Relaxed);
        assert!(pace.pause(start) < slow / 9);
    }
}
