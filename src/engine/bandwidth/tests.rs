#![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

use super::*;
use crate::config::RatePolicy;
use crate::engine::rate::RateControl;
use crate::units::PeerId;
use proptest::prelude::*;

const FPS: u64 = 30;
const PACKET: usize = 1200;
/// The encoder's own ceiling.
const CEILING: Bitrate = Bitrate::from_kbps(2_500);

/// A camera at the encoder's mercy, a link with a queue before it, and a viewer that reports each 100 ms.
struct Link {
    bandwidth: Bandwidth,
    rate: RateControl,
    start: Instant,
    ms: u64,
    kbps: u64,
    /// Bytes that pass at once, refilled at the link's rate.
    bucket: f64,
    /// When the last packet in the queue will have left it, in microseconds.
    busy_until_us: u64,
    encoder: Bitrate,
    unreported: Vec<Fate>,
    /// The longest wait and the packets lost since the last look; bytes that arrived.
    seen: Seen,
    loss: f64,
    noise_us: u64,
    random: u64,
    /// Nothing moves before the camera: its pictures need a fraction of what the encoder may spend.
    is_still: bool,
    /// What passes at once.
    bucket_bytes: f64,
    /// The probe that is being sent, when it was begun and what of it has left.
    probing: Option<(Probe, u64, usize)>,
    /// What the viewer's clock, which has nothing to do with ours, shows at the start.
    clock_us: u64,
    /// How much longer the path is now than at the start.
    longer_us: u64,
    /// What others send over the same link keeps ours waiting for up to so many milliseconds.
    others_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    wait_ms: u64,
    lost: u32,
    bytes: usize,
    /// What was sent only to find out.
    padding: usize,
    probes: u32,
}

impl Link {
    fn new(kbps: u64) -> Link {
        let start = Bitrate::from_kbps(CEILING.kbps() * 3 / 2);
        let mut rate = RateControl::new(RatePolicy::Slowest, Bitrate::from_kbps(300), CEILING);
        rate.joined(PeerId(1));
        Link {
            bandwidth: Bandwidth::new(start, Bitrate::from_kbps(100), Bitrate::from_kbps(7_500)),
            rate,
            start: Instant::now(),
            ms: 0,
            kbps,
            bucket: 0.0,
            busy_until_us: 0,
            encoder: CEILING,
            unreported: Vec::new(),
            seen: Seen::default(),
            loss: 0.0,
            noise_us: 0,
            random: 7,
            is_still: false,
            bucket_bytes: 8_000.0,
            probing: None,
            clock_us: 77_000_000,
            longer_us: 0,
            others_ms: 0,
        }
    }

    /// The queue of others: as with TCP it becomes longer for four seconds, and then falls to a half at once.
    fn queue_of_others_us(&self) -> u64 {
        const PERIOD_MS: u64 = 4_000;
        let (ms, half_us) = (self.ms % PERIOD_MS, self.others_ms * 1000 / 2);
        // No packet overtakes another: it falls as fast as time goes by.
        let falling_us = half_us.saturating_sub(ms * 900);
        half_us + falling_us.max(half_us * ms / PERIOD_MS)
    }

    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    fn at(&self, us: u64) -> Instant {
        self.start + Duration::from_micros(us)
    }

    fn pass(&mut self, ms: u64) -> Seen {
        self.seen = Seen::default();
        for _ in 0..ms {
            self.ms += 1;
            if self.ms.is_multiple_of(1000 / FPS) {
                self.picture();
            }
            self.pad();
            if self.ms.is_multiple_of(100) {
                self.report();
            }
        }
        self.seen
    }

    /// A keyframe each two seconds is eight times as large as the rest, and leaves at once.
    fn picture(&mut self) {
        let mean = self.encoder.bps() as usize / 8 / FPS as usize;
        let is_keyframe = (self.ms / (1000 / FPS)).is_multiple_of(60);
        let size = match is_keyframe {
            _ if self.is_still => 200,
            true => mean * 8,
            false => mean * 52 / 59,
        };
        let packets = size.div_ceil(PACKET).max(1);
        for n in 0..packets {
            let last = size - (packets - 1) * PACKET;
            self.packet(n as u64, if n + 1 == packets { last } else { PACKET });
        }
    }

    /// Fills up to the probe's rate, as the sender's timer lets it: each millisecond.
    fn pad(&mut self) {
        let Some((probe, begun, _)) = self.probing else { return };
        let allowed = probe.at_once_bytes as u64 + u64::from(probe.bitrate.bps()) * (self.ms - begun) / 8_000;
        while let Some((_, _, sent)) = self.probing
            && sent < probe.bytes
            && (sent as u64) < allowed
        {
            self.packet(0, PACKET);
            self.seen.padding += PACKET;
        }
        if self.probing.is_some_and(|(probe, _, sent)| sent >= probe.bytes) {
            self.probing = None;
        }
    }

    fn packet(&mut self, n: u64, size: usize) {
        let departed_us = self.ms * 1000 + n * 20;
        let service_us = size as u64 * 8_000 / self.kbps;
        let idle_us = departed_us.saturating_sub(self.busy_until_us);
        self.bucket = (self.bucket + idle_us as f64 * self.kbps as f64 / 8_000.0).min(self.bucket_bytes);
        let begins = self.busy_until_us.max(departed_us);
        self.busy_until_us = begins;
        let wait = begins - departed_us;
        let departed = self.at(departed_us);
        let is_lost = wait > 200_000 || self.draw() < self.loss;
        if wait > 200_000 {
            self.seen.lost += 1;
        } else if self.bucket >= size as f64 && wait == 0 {
            self.bucket -= size as f64;
        } else {
            self.busy_until_us = begins + service_us;
        }
        let noise = (self.draw() * self.noise_us as f64) as u64;
        let longer_us = self.longer_us + self.queue_of_others_us();
        let arrived_us = self.busy_until_us.max(departed_us) + 10_000 + longer_us + noise;
        if !is_lost {
            self.seen.bytes += size;
            self.seen.wait_ms = self.seen.wait_ms.max(wait / 1000);
        }
        let arrived = (!is_lost).then(|| Duration::from_micros(self.clock_us + arrived_us));
        let is_probe = self.probing.is_some();
        if let Some((_, _, sent)) = &mut self.probing {
            *sent += size;
        }
        self.unreported.push(Fate { departed, arrived, size, is_probe });
    }

    fn report(&mut self) {
        let now = self.at(self.ms * 1000);
        // What is still on its way is told later.
        let told = Duration::from_micros(self.clock_us + self.ms * 1000 - 10_000);
        let (done, rest) =
            self.unreported.drain(..).partition(|fate| fate.arrived.is_none_or(|at| at <= told));
        self.unreported = rest;
        self.bandwidth.reported(now, &done);
        if let Some(probe) = self.bandwidth.probe(now) {
            self.seen.probes += 1;
            self.probing = Some((probe, self.ms, 0));
        }
        self.rate.estimated(PeerId(1), Bitrate::from_bps(self.bandwidth.target_bps() as u32));
        if let Some(order) = self.rate.poll(now) {
            self.encoder = order;
        }
    }
}

fn kbps(seen: Seen, ms: u64) -> u64 {
    seen.bytes as u64 * 8 / ms
}

#[test]
fn wide_link_gets_the_whole_picture_from_the_first_second_on() {
    let mut link = Link::new(20_000);
    link.pass(3_000);
    let seen = link.pass(20_000);
    assert_eq!(link.encoder, CEILING);
    assert_eq!(seen.lost, 0);
}

#[test]
fn narrow_link_is_found_at_once_used_well_and_left_as_soon_as_it_is_wide() {
    let mut link = Link::new(4_000);
    link.pass(5_000);
    assert_eq!(link.encoder, CEILING);
    link.kbps = 1_000;
    let step = link.pass(2_000);
    let narrow = link.pass(15_000);
    assert!(step.lost <= 60, "{step:?}");
    assert!(kbps(narrow, 15_000) >= 700, "0.7 of the link: {} kbit/s", kbps(narrow, 15_000));
    assert!(narrow.lost == 0 && narrow.wait_ms < 200, "{narrow:?}");
    link.kbps = 4_000;
    link.pass(5_000);
    assert_eq!(link.encoder, CEILING, "full quality within 5 s");
}

#[test]
fn narrow_from_the_beginning_is_found_within_seconds() {
    let mut link = Link::new(800);
    link.pass(3_000);
    let seen = link.pass(10_000);
    assert!(kbps(seen, 10_000) >= 500 && seen.wait_ms < 200, "{} kbit/s, {seen:?}", kbps(seen, 10_000));
}

#[test]
fn radio_that_loses_packets_without_being_full_is_no_narrow_link() {
    for loss in [0.02, 0.10] {
        let mut link = Link::new(10_000);
        link.loss = loss;
        link.pass(20_000);
        assert_eq!(link.encoder, CEILING, "{loss}");
    }
}

#[test]
fn jitter_is_no_queue() {
    let mut link = Link::new(10_000);
    link.noise_us = 60_000;
    link.pass(30_000);
    assert_eq!(link.encoder, CEILING);
}

#[test]
fn longer_path_is_no_queue_for_good() {
    let mut link = Link::new(20_000);
    link.pass(5_000);
    // As after a change to a mobile network: 300 ms more from one packet to the next.
    link.start -= Duration::from_millis(300);
    link.pass(20_000);
    assert_eq!(link.encoder, CEILING);
}

#[test]
fn viewers_clock_that_is_set_back_hides_no_queue_and_fills_no_memory() {
    let mut link = Link::new(4_000);
    link.clock_us = 1_000_000_000_000;
    link.pass(5_000);
    link.clock_us = 0;
    link.pass(30_000);
    assert!(link.bandwidth.arrivals.len() < 300, "{}", link.bandwidth.arrivals.len());
    assert_eq!(link.encoder, CEILING);
    link.kbps = 1_000;
    let (step, narrow) = (link.pass(2_000), link.pass(15_000));
    assert!(step.lost <= 60 && narrow.lost <= 3 && narrow.wait_ms < 200, "{step:?} {narrow:?}");
}

#[test]
fn viewer_that_tells_no_true_times_fills_no_memory() {
    let tells: [fn(u64) -> Duration; 4] = [
        |_| Duration::ZERO,
        |n| Duration::from_micros(u64::MAX >> (n % 64)),
        |n| Duration::from_secs(1_000_000 - n),
        |n| if n % 2 == 0 { Duration::MAX } else { Duration::ZERO },
    ];
    for tell in tells {
        let mut link = Link::new(4_000);
        for n in 0..20_000 {
            let departed = link.at(n * 1_000);
            let fate = Fate { departed, arrived: Some(tell(n)), size: PACKET, is_probe: n % 3 == 0 };
            link.bandwidth.reported(departed, &[fate]);
        }
        let Bandwidth { arrivals, delays, base, .. } = &link.bandwidth;
        assert!(arrivals.len() <= MAX_ARRIVALS && delays.len() <= 100 && base.len() <= 20_000);
    }
}

#[test]
fn path_that_becomes_longer_while_a_queue_drains_is_used_well_soon() {
    for longer_us in [20_000, 30_000, 40_000, 100_000] {
        let mut link = Link::new(4_000);
        link.pass(5_000);
        link.kbps = 1_000;
        link.pass(700);
        assert!(link.bandwidth.is_draining());
        link.longer_us = longer_us;
        link.pass(2_500);
        assert!(!link.bandwidth.is_draining(), "{longer_us}");
        let seen = link.pass(6_000);
        assert!(kbps(seen, 6_000) >= 600 && seen.wait_ms < 200, "{longer_us}: {seen:?}");
    }
}

#[test]
fn path_that_is_a_little_longer_keeps_nobody_from_going_up() {
    for is_still in [false, true] {
        let mut link = Link::new(800);
        link.pass(10_000);
        link.is_still = is_still;
        link.pass(2_000);
        (link.kbps, link.longer_us) = (20_000, 25_000);
        link.pass(9_000);
        assert_eq!(link.encoder, CEILING, "is it still: {is_still}");
    }
}

#[test]
fn whoever_shares_a_link_with_tcp_does_not_starve() {
    for (others_ms, noise_us) in [(60, 0), (120, 0), (120, 5_000), (240, 5_000)] {
        let mut link = Link::new(20_000);
        link.pass(5_000);
        (link.others_ms, link.noise_us) = (others_ms, noise_us);
        link.pass(20_000);
        let seen = link.pass(60_000);
        assert!(kbps(seen, 60_000) >= 1_200, "{others_ms} ms: {} kbit/s", kbps(seen, 60_000));
    }
}

#[test]
fn still_picture_hides_no_room() {
    let mut link = Link::new(800);
    link.pass(8_000);
    link.is_still = true;
    link.pass(2_000);
    assert!(link.encoder < Bitrate::from_kbps(900), "{:?}", link.encoder);
    link.kbps = 10_000;
    link.pass(5_000);
    assert_eq!(link.encoder, CEILING, "full quality within 5 s, though hardly anything was sent");
}

#[test]
fn good_link_is_known_within_three_seconds_of_joining_though_nothing_moves() {
    for (noise_us, loss) in [(0, 0.0), (20_000, 0.0), (0, 0.05)] {
        let mut link = Link::new(20_000);
        let wanted = Bitrate::from_kbps(3_750);
        link.bandwidth = Bandwidth::new(Bitrate::from_kbps(300), Bitrate::from_kbps(100), wanted);
        link.bandwidth.want(wanted);
        (link.is_still, link.noise_us, link.loss) = (true, noise_us, loss);
        let seen = link.pass(3_000);
        assert!(
            link.bandwidth.target_bps() >= 3_000_000.0,
            "{noise_us} {loss} {} {seen:?}",
            link.bandwidth.target_bps()
        );
        let later = link.pass(20_000);
        assert!(link.encoder == CEILING && later.probes <= 2, "what is known is not asked: {later:?}");
    }
}

#[test]
fn link_that_stays_narrow_is_asked_seldom_and_gently() {
    for (kbps, bucket_bytes) in [(1_000, 8_000.0), (1_000, 0.0), (500, 0.0), (300, 0.0)] {
        let mut link = Link::new(4_000);
        link.bucket_bytes = bucket_bytes;
        link.pass(3_000);
        link.kbps = kbps;
        link.pass(10_000);
        let moving = link.pass(20_000);
        assert!(moving.probes <= 3, "large pictures say enough: {moving:?}");
        link.is_still = true;
        let seen = link.pass(60_000);
        let share = seen.padding as f64 * 8.0 / 60.0 / (kbps as f64 * 1000.0);
        assert!(seen.probes >= 4 && share < 0.11, "{share}, {seen:?}");
        assert!(seen.lost == 0 && seen.wait_ms < 190, "{kbps} kbit/s: {seen:?}");
        let target_kbps = link.bandwidth.target_bps() as u64 / 1000;
        assert!(target_kbps < kbps * 23 / 20, "{target_kbps}");
    }
}

#[test]
fn nothing_is_asked_of_a_link_that_is_full_or_loses_or_says_nothing() {
    let mut link = Link::new(4_000);
    link.pass(4_000);
    link.kbps = 1_000;
    let seen = link.pass(700);
    assert_eq!(seen.probes, 0, "{seen:?}");
    let mut link = Link::new(1_000);
    link.pass(8_000);
    link.loss = 0.4;
    link.pass(1_200);
    assert_eq!(link.pass(4_000).probes, 0);
    let mut link = Link::new(1_000);
    link.pass(8_000);
    let silent = link.at(link.ms * 1000) + Duration::from_secs(2);
    assert_eq!(link.bandwidth.probe(silent), None);
}

proptest! {
    #[test]
    fn no_report_leads_outside_the_limits(
        fates in prop::collection::vec((0u64..2_000, prop::option::of(0u64..5_000), 0usize..1500), 0..200),
    ) {
        let start = Instant::now();
        let mut bandwidth =
            Bandwidth::new(Bitrate::from_kbps(1_000), Bitrate::from_kbps(100), Bitrate::from_kbps(5_000));
        for (n, chunk) in fates.chunks(7).enumerate() {
            let fates: Vec<Fate> = chunk
                .iter()
                .map(|&(departed, arrived, size)| Fate {
                    departed: start + Duration::from_millis(departed),
                    arrived: arrived.map(Duration::from_millis),
                    size,
                    is_probe: departed % 3 == 0,
                })
                .collect();
            bandwidth.reported(start + Duration::from_millis(n as u64 * 100), &fates);
            prop_assert!((100_000.0..=5_000_000.0).contains(&bandwidth.target_bps()));
            let probe = bandwidth.probe(start + Duration::from_millis(n as u64 * 100));
            prop_assert!(probe.is_none_or(|probe| probe.bytes <= 200_000));
        }
    }
}
