//! One viewer's task: takes pictures and sound from its queues and sends them as RTP, at the pace that its
//! network bears; repeats what it misses; and finds out from what it tells how much that is.
#![expect(clippy::disallowed_methods, reason = "the shell reads the clock")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtc::rtcp::sender_report::SenderReport;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::counters::Counters;
use super::history::{Departure, Departures, History, Sent};
use super::pace::Pace;
use super::padding::{PADDING, Padding};
use super::{Frame, Sends, Sound};
use crate::engine::bandwidth::{Bandwidth, Fallback, Fate};
use crate::io::clock::until_next;
use crate::io::peer::{
    CaptureClock, Ended, EstimateOutlet, Feedback, Form, Line, Numbers, Outgoing, Peer, Reports, Route,
    SendParameters, Sending, Source, VIDEO_HZ,
};
use crate::units::{Bitrate, MediaTime};

/// The most that a viewer with sound may hold pictures back, in units of 10 ms. With a limit of zero Chromium
/// plays sound 50 to 130 ms late beside pictures at once; with this, 16 to 25 ms.
const MOST: u32 = 1000;
/// So long after a repeated packet a viewer without sound may do so too.
const SMOOTHED_FOR: Duration = Duration::from_secs(10);
/// The lowest estimate: below it even sound and a still picture do not pass.
const MIN_BITRATE: Bitrate = Bitrate::from_kbps(100);
/// RFC 3550 §6.2 has reports every few seconds.
const REPORT_INTERVAL: Duration = Duration::from_secs(4);
/// The first ones come sooner, and of those so many: a viewer that joins can synchronise sound and picture soon.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_REPORTS: u32 = 5;
/// The same while ICE looks for another way, and how long it may.
const SEARCH_INTERVAL: Duration = Duration::from_millis(40);
const SEARCH_TIME: Duration = Duration::from_secs(30);
/// Packets that wait to be repeated; what is asked for beyond that is asked for again.
const MAX_REPEATS: usize = 256;

/// What one viewer is sent by.
pub(super) struct Feed {
    parameters: [Option<SendParameters>; 2],
    outgoing: Arc<tokio::sync::Mutex<Outgoing>>,
    feedback: mpsc::Receiver<Feedback>,
    sender: Sender,
}

/// The same while it works.
struct Sender {
    sends: Sends,
    /// Estimates come from the arrival of packets, and not from what the viewer thinks.
    is_wide: bool,
    clock: CaptureClock,
    reports: Reports,
    reports_sent: u32,
    estimates: EstimateOutlet,
    bandwidth: Bandwidth,
    most: Bitrate,
    /// For a viewer that does not tell when packets arrived.
    fallback: Fallback,
    padding: Padding,
    pace: Pace,
    history: History,
    departures: Departures,
    fates: Vec<Fate>,
    /// What is to be repeated, before anything new.
    repeats: VecDeque<Sent>,
    /// The picture that is being sent, and its next packet.
    current: Option<(Arc<Frame>, usize)>,
    round_trip: Option<Duration>,
    /// From the departure of a packet to the report on it, lately.
    answered_after: Duration,
    /// Since when ICE looks for another way than this.
    sought: Option<(Instant, Option<Arc<Route>>)>,
    /// What is said of that, where there is a limit and where there is none.
    playout_delays: [[u8; 3]; 2],
    /// What is repeated has a stream of its own.
    has_repair: bool,
    /// When a packet was repeated last.
    repeated_at: Option<Instant>,
    counters: Arc<Counters>,
    /// What is of another era is thrown away.
    era: Arc<AtomicU64>,
}

impl Feed {
    /// Sends what the viewer's answer takes of what its rights allow. Before it is spawned, whoever sent to this
    /// viewer before must have been aborted.
    pub(super) fn new(peer: &Peer, rights: Sends, counters: Arc<Counters>, era: Arc<AtomicU64>) -> Feed {
        let Sending { video, audio, outgoing, feedback, reports, clock, estimates, bitrates, playout_delay } =
            peer.sending();
        let sends = Sends { video: video.is_some() && rights.video, audio: audio.is_some() && rights.audio };
        let sender = Sender {
            sends,
            is_wide: video.or(audio).is_some_and(|parameters| parameters.wide_id.is_some()),
            clock,
            reports,
            reports_sent: 0,
            estimates,
            bandwidth: Bandwidth::new(bitrates.start, MIN_BITRATE, bitrates.max),
            most: bitrates.max,
            fallback: Fallback::new(bitrates.start, MIN_BITRATE, bitrates.max),
            padding: Padding::default(),
            pace: Pace::new(bitrates.start.bps().into()),
            history: History::default(),
            departures: Departures::default(),
            fates: Vec::new(),
            repeats: VecDeque::new(),
            current: None,
            round_trip: None,
            answered_after: Duration::ZERO,
            sought: None,
            playout_delays: [false, true].map(|is_open| playout_delay_value(playout_delay, is_open)),
            has_repair: false,
            repeated_at: None,
            counters,
            era,
        };
        Feed { parameters: [video, audio], outgoing, feedback, sender }
    }

    /// What it will send.
    pub(super) fn sends(&self) -> Sends {
        self.sender.sends
    }

    /// Where estimates end.
    pub(super) fn most_bps(&self) -> f64 {
        self.sender.most.bps().into()
    }

    /// Runs until it is aborted or nothing can be sent any more.
    pub(super) fn spawn(
        self,
        frames: mpsc::Receiver<Arc<Frame>>,
        sound: mpsc::Receiver<Sound>,
    ) -> AbortHandle {
        let Feed { parameters, outgoing, feedback, mut sender } = self;
        tokio::spawn(async move {
            // Until whoever sent before has let go of it.
            let mut outgoing = outgoing.lock_owned().await;
            let is_there = Arc::new(());
            let source = Source { withheld: sender.era.clone(), is_there: Arc::downgrade(&is_there) };
            outgoing.negotiated(parameters, source);
            if sender.run(&mut outgoing, frames, sound, feedback).await.is_err() {
                // The peer connection's owner is told of its end by itself.
                log::debug!("nothing more can be sent to a viewer");
            }
        })
        .abort_handle()
    }
}

impl Sender {
    async fn run(
        &mut self,
        outgoing: &mut Outgoing,
        mut frames: mpsc::Receiver<Arc<Frame>>,
        mut sound: mpsc::Receiver<Sound>,
        mut feedback: mpsc::Receiver<Feedback>,
    ) -> Result<(), Ended> {
        self.counters.estimate_bps.store(self.pace.estimate_bps as u32, Ordering::Relaxed);
        outgoing.wait_for_viewer().await;
        // The first report goes out right after the first packets: a viewer can synchronise at once.
        let mut has_reported = false;
        // One timer for all turns of the loop.
        let report = tokio::time::sleep(FIRST_INTERVAL);
        tokio::pin!(report);
        self.has_repair = outgoing.has_repair();
        loop {
            self.pace.is_narrow = self.counters.is_narrow.load(Ordering::Relaxed);
            let pause = self.pace.pause(Instant::now());
            let has_work = self.current.is_some() || !self.repeats.is_empty();
            self.counters.is_sending.store(has_work, Ordering::Relaxed);
            tokio::select! {
                biased;
                Some(told) = feedback.recv() => {
                    if told == Feedback::WayIsSought {
                        report.as_mut().reset(tokio::time::Instant::now());
                    }
                    self.take(outgoing, told);
                }
                // Sound is not paced: it is small, and its gaps are heard.
                Some(packet) = sound.recv() => {
                    self.counters.is_sending.store(true, Ordering::Relaxed);
                    self.write_sound(outgoing, &packet).await?;
                }
                () = &mut report => {
                    report.as_mut().reset(tokio::time::Instant::now() + until_next(self.report_interval(outgoing)));
                    self.report(outgoing.reports(self.now())).await?;
                }
                () = wait(pause), if has_work => {
                    self.write_pictures(outgoing).await?;
                    if !std::mem::replace(&mut has_reported, true) {
                        self.report(outgoing.reports(self.now())).await?;
                    }
                }
                () = wait(self.padding.pause(Instant::now())), if !has_work && self.padding.is_under_way() => {
                    self.write_padding(outgoing).await?;
                }
                Some(frame) = frames.recv(), if self.current.is_none() => {
                    self.counters.is_sending.store(true, Ordering::Relaxed);
                    self.current = Some((frame, 0));
                    // Mostly it can leave at once; but the first one is followed by a report.
                    if has_reported && self.pace.pause(Instant::now()).is_zero() {
                        self.write_pictures(outgoing).await?;
                    }
                }
                else => return Ok(()),
            }
        }
    }

    /// Sends as much of what waits as the network is thought to bear at once.
    async fn write_pictures(&mut self, outgoing: &mut Outgoing) -> Result<(), Ended> {
        let now = Instant::now();
        let mut finished = None;
        while self.pace.may_send() {
            if let Some(sent) = self.repeats.pop_front() {
                self.write_again(outgoing, &sent, now).await?;
                continue;
            }
            let Some((frame, part)) = self.current.take() else { break };
            if !self.is_of_now(frame.era) {
                continue;
            }
            self.write_part(outgoing, &frame, part, now).await?;
            if part + 1 < frame.payloads.len() {
                self.current = Some((frame, part + 1));
            } else {
                finished = Some(frame);
                break;
            }
        }
        outgoing.flush().await;
        if let Some(frame) = finished {
            self.counters.frames_sent.fetch_add(1, Ordering::Relaxed);
            let delay = self.clock.media_time(Instant::now()).0.saturating_sub(frame.captured.0);
            // 64 bits of microseconds are 584,000 years.
            self.counters.latest_delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn write_part(
        &mut self,
        outgoing: &mut Outgoing,
        frame: &Arc<Frame>,
        part: usize,
        now: Instant,
    ) -> Result<(), Ended> {
        let payload = [&frame.payloads[part][..], &[]];
        let written = outgoing.write(Line::Video, self.form(frame, part), payload, None).await?;
        if let Some(written) = written {
            self.history.push(written.numbers, frame.clone(), part, now);
            self.left(written.numbers, written.bytes, now);
        }
        Ok(())
    }

    /// In the stream for that, where the number that it had comes first (RFC 4588 §4); or as the same packet.
    async fn write_again(&mut self, outgoing: &mut Outgoing, sent: &Sent, now: Instant) -> Result<(), Ended> {
        let (frame, part) = (&sent.frame, sent.part);
        if !self.is_of_now(frame.era) {
            return Ok(());
        }
        let payload = &frame.payloads[part][..];
        let written = if outgoing.has_repair() {
            let form = Form { captured: None, playout_delay: None, ..self.form(frame, part) };
            let original = sent.numbers.sequence.to_be_bytes();
            outgoing.write(Line::Repair, form, [&original, payload], None).await?
        } else {
            outgoing.write(Line::Video, self.form(frame, part), [payload, &[]], Some(sent.numbers)).await?
        };
        if let Some(written) = written {
            self.counters.repaired.fetch_add(1, Ordering::Relaxed);
            self.repeated_at = Some(now);
            self.left(written.numbers, written.bytes, now);
        }
        Ok(())
    }

    async fn write_sound(&mut self, outgoing: &mut Outgoing, sound: &Sound) -> Result<(), Ended> {
        if !self.is_of_now(sound.era) {
            return Ok(());
        }
        // The marker begins a talkspurt after silence (RFC 3551 §4.1), which never ends here.
        let form = Form { timestamp: sound.timestamp, captured: Some(sound.captured), ..Form::default() };
        let written = outgoing.write(Line::Audio, form, [&sound.data, &[]], None).await?;
        outgoing.flush().await;
        if let Some(written) = written {
            self.counters.sound_sent.fetch_add(1, Ordering::Relaxed);
            self.left(written.numbers, written.bytes, Instant::now());
        }
        Ok(())
    }

    /// What is missing to the probe's rate, in packets of nothing but padding. They go in the stream of repeated
    /// packets, where a viewer ignores them: in the picture's own they would be gaps to it when they are lost.
    async fn write_padding(&mut self, outgoing: &mut Outgoing) -> Result<(), Ended> {
        let Some(timestamp) = self.history.newest().map(|frame| frame.captured.rtp(VIDEO_HZ)) else {
            return Ok(());
        };
        let now = Instant::now();
        while self.padding.is_owed(now) {
            let form = Form { timestamp, is_padded: true, ..Form::default() };
            let Some(written) = outgoing.write(Line::Repair, form, [PADDING, &[]], None).await? else {
                break;
            };
            self.counters.padding_bytes.fetch_add(written.bytes as u64, Ordering::Relaxed);
            self.departed(written.numbers, written.bytes, now);
        }
        outgoing.flush().await;
        Ok(())
    }

    fn form(&self, frame: &Frame, part: usize) -> Form {
        // What is said of the picture stands in each of its packets, although one would do: packets of one length
        // leave in one system call.
        Form {
            timestamp: frame.captured.rtp(VIDEO_HZ),
            marker: part + 1 == frame.payloads.len(),
            captured: Some(frame.captured),
            playout_delay: Some(self.playout_delay()),
            is_padded: false,
        }
    }

    fn now(&self) -> MediaTime {
        self.clock.media_time(Instant::now())
    }

    /// A viewer that misses packets may hold pictures back: what waited for a repeated packet would be shown all at
    /// once otherwise, which is to say, not.
    fn playout_delay(&self) -> [u8; 3] {
        // Without a stream of its own what is repeated must be the same packet in every bit (RFC 3711 §9.1).
        let is_losing = self.has_repair && self.repeated_at.is_some_and(|at| at.elapsed() < SMOOTHED_FOR);
        self.playout_delays[usize::from(self.sends.audio || is_losing)]
    }

    async fn report(&self, reports: Vec<SenderReport>) -> Result<(), Ended> {
        if reports.is_empty() || self.reports.send(reports).await { Ok(()) } else { Err(Ended) }
    }

    /// Takes what the viewer tells.
    fn take(&mut self, outgoing: &Outgoing, told: Feedback) {
        match told {
            Feedback::Arrivals(arrivals) if self.is_wide => {
                let now = Instant::now();
                self.departures.fates(now, &arrivals, &mut self.fates);
                if let Some(newest) = self.fates.iter().rfind(|fate| fate.arrived.is_some()) {
                    // With what waits in the path now, and at most the time between two reports too long.
                    self.answered_after = now.saturating_duration_since(newest.departed);
                }
                self.bandwidth.reported(now, &self.fates);
                self.estimated(now, self.bandwidth.target_bps());
                // Padding may not come before the picture (RFC 3550 §5.1 has its timestamp), and goes in its
                // second stream only.
                if outgoing.has_repair()
                    && self.history.newest().is_some()
                    && let Some(probe) = self.bandwidth.probe(now)
                {
                    let (kbps, bytes) = (probe.bitrate.kbps(), probe.bytes);
                    log::debug!(kbps, bytes; "asking a viewer's network whether it carries more");
                    self.padding.begin(probe, now);
                }
            }
            Feedback::MaxBitrate(bps) if !self.is_wide => {
                let now = Instant::now();
                let estimate_bps = self.fallback.remb(now, f64::from(bps));
                self.estimated(now, estimate_bps);
            }
            Feedback::Arrivals(_) | Feedback::MaxBitrate(_) => {}
            Feedback::Missing { ssrc, sequences } if ssrc == outgoing.ssrc(Line::Video) => {
                let now = Instant::now();
                let round_trip = self.round_trip.unwrap_or_default().max(self.answered_after);
                for sequence in sequences {
                    if self.repeats.len() < MAX_REPEATS
                        && let Some(sent) = self.history.missed(sequence, round_trip, now)
                    {
                        self.repeats.push_back(sent);
                    }
                }
            }
            Feedback::Missing { .. } => {}
            Feedback::Report { ssrc, lost, lost_share, known, at } => {
                if !self.is_wide
                    && ssrc == outgoing.ssrc(Line::Video)
                    && let Some(estimate_bps) = self.fallback.lost(at, lost_share)
                {
                    self.estimated(at, estimate_bps);
                }
                if let Some(known) = known {
                    self.learn_round_trip(at, known);
                }
                let streams = [outgoing.ssrc(Line::Video), outgoing.ssrc(Line::Audio)];
                if let Some(n) = streams.iter().position(|stream| *stream == ssrc) {
                    self.counters.lost[n].store(lost.into(), Ordering::Relaxed);
                }
            }
            Feedback::KeyframeWanted => {
                self.counters.keyframes_asked.fetch_add(1, Ordering::Relaxed);
            }
            Feedback::WayIsSought => self.sought = Some((Instant::now(), outgoing.route())),
        }
    }

    /// Reports also show the way that ICE has chosen: while it looks for one, there are more of them.
    fn report_interval(&mut self, outgoing: &Outgoing) -> Duration {
        self.reports_sent = self.reports_sent.saturating_add(1);
        let usual = if self.reports_sent < FIRST_REPORTS { FIRST_INTERVAL } else { REPORT_INTERVAL };
        let Some((since, old)) = &self.sought else { return usual };
        let is_found = old.as_ref().map(Arc::as_ptr) != outgoing.route().as_ref().map(Arc::as_ptr);
        if is_found || since.elapsed() > SEARCH_TIME {
            self.sought = None;
            return usual;
        }
        SEARCH_INTERVAL
    }

    /// RFC 3550 §6.4.1: now, less when our report left, less how long the viewer had it.
    fn learn_round_trip(&mut self, at: Instant, (report, delay): (u32, u32)) {
        // The middle of the 64 bits: seconds and their 65,536th parts, of a day at most.
        let now = (self.clock.ntp(self.clock.media_time(at)) >> 16) as u32;
        let units = now.wrapping_sub(report).wrapping_sub(delay);
        // A viewer whose clock is a little fast makes it less than nothing.
        let units = if units > u32::MAX / 2 { 0 } else { units };
        let time = Duration::from_secs_f64(f64::from(units) / 65_536.0);
        self.round_trip = Some(time);
        self.counters.round_trip_us.store((time.as_micros() as u64).max(1), Ordering::Relaxed);
    }

    fn estimated(&mut self, now: Instant, bps: f64) {
        self.pace.estimate_bps = bps;
        self.pace.is_draining = self.is_wide && self.bandwidth.is_draining();
        self.counters.estimate_bps.store(bps as u32, Ordering::Relaxed);
        self.estimates.publish(now, bps);
    }

    fn left(&mut self, numbers: Numbers, bytes: usize, at: Instant) {
        self.pace.spend(bytes);
        self.departed(numbers, bytes, at);
    }

    fn departed(&mut self, numbers: Numbers, bytes: usize, at: Instant) {
        let is_probe = self.padding.left(bytes);
        if let Some(wide) = numbers.wide {
            let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
            self.departures.push(wide, Departure { at, bytes, is_probe });
        }
        self.counters.packets.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn is_of_now(&self, era: u64) -> bool {
        era == self.era.load(Ordering::Relaxed)
    }
}

/// `playout-delay`: two fields of 12 bits, the least and the most that a picture is held back, in units of 10 ms.
/// Zero to zero shows each at once. It must be said also where there is no limit, since the last value stands.
fn playout_delay_value(least: Duration, is_open: bool) -> [u8; 3] {
    // At most a second.
    let least = least.as_millis() as u32 / 10;
    let most = if is_open { MOST } else { least };
    let [_, value @ ..] = (least << 12 | most).to_be_bytes();
    value
}

/// Zero does not even ask the timer, whose grain is 1 ms.
async fn wait(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_held_back_as_configured_and_longer_only_for_sound() {
        let value = |ms, has_sound| playout_delay_value(Duration::from_millis(ms), has_sound);
        assert_eq!(value(0, false), [0, 0, 0]);
        assert_eq!(value(0, true), [0, 0x03, 0xe8]);
        assert_eq!(value(160, false), [0x01, 0x00, 0x10]);
        assert_eq!(value(160, true), [0x01, 0x03, 0xe8]);
    }
}
