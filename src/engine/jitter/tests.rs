use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    /// From 0 to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A talker behind a network.
#[derive(Clone, Copy)]
struct Network {
    /// Share of packets that never come.
    loss: f64,
    /// Each packet is up to so much later than the fastest.
    jitter_ms: f64,
    /// How much faster the talker's clock is than the speaker's.
    drift_ppm: f64,
    /// Share of packets that come twice.
    doubled: f64,
    /// No packet arrives in this stretch; they all come at its end.
    stall_s: Option<(f64, f64)>,
    first_sequence: u16,
    first_timestamp: u32,
}

const CALM: Network = Network {
    loss: 0.0,
    jitter_ms: 0.0,
    drift_ppm: 0.0,
    doubled: 0.0,
    stall_s: None,
    first_sequence: 1_000,
    first_timestamp: 123_456,
};

/// What was played, for one pull.
#[derive(Clone, Debug)]
struct Played {
    at_s: f64,
    /// Which packet, and how long after it was sent.
    packet: Option<(usize, f64)>,
    pull: Pull,
    /// How much waited in the buffer.
    held: usize,
}

fn time(at_s: f64) -> MediaTime {
    // As long after the start of the clock as a board's uptime.
    MediaTime(Duration::from_secs_f64(10_000.0 + at_s))
}

/// The packet that says which one it is: CELT, 20 ms, and its number.
fn packet(network: &Network, n: usize, timestamp_n: usize, arrived_s: f64) -> VoicePacket {
    let mut payload = vec![0xfc];
    payload.extend((n as u32).to_be_bytes());
    VoicePacket {
        ssrc: 7,
        sequence: network.first_sequence.wrapping_add(n as u16),
        timestamp: network.first_timestamp.wrapping_add((timestamp_n * 960) as u32),
        payload: payload.into(),
        arrived: time(arrived_s),
    }
}

fn number(payload: &Bytes) -> usize {
    u32::from_be_bytes([payload[1], payload[2], payload[3], payload[4]]) as usize
}

/// Sends the packets whose slots of 20 ms `speaks` names, and plays them with the speaker's clock.
fn run(network: Network, seconds: f64, is_quiet: bool, speaks: impl Fn(usize) -> bool) -> Vec<Played> {
    run_with(network, seconds, is_quiet, speaks, |slot, _| slot)
}

fn run_with(
    network: Network,
    seconds: f64,
    is_quiet: bool,
    speaks: impl Fn(usize) -> bool,
    timestamp_n: impl Fn(usize, usize) -> usize,
) -> Vec<Played> {
    let mut dice = Dice(42);
    let mut on_their_way = Vec::new();
    let mut sent_at = Vec::new();
    let slot_s = 0.020 / (1.0 + network.drift_ppm * 1e-6);
    for slot in (0..(seconds / slot_s) as usize).filter(|&slot| speaks(slot)) {
        let (n, at_s) = (sent_at.len(), slot as f64 * slot_s);
        sent_at.push(at_s);
        if dice.roll() < network.loss {
            continue;
        }
        let copies = if dice.roll() < network.doubled { 2 } else { 1 };
        for _ in 0..copies {
            let mut arrived_s = at_s + 0.030 + dice.roll() * network.jitter_ms / 1000.0;
            if let Some((from, to)) = network.stall_s.filter(|(from, to)| (*from..*to).contains(&arrived_s)) {
                arrived_s = to + (arrived_s - from) * 0.01;
            }
            on_their_way.push(packet(&network, n, timestamp_n(slot, n), arrived_s));
        }
    }
    on_their_way.sort_by_key(|packet| packet.arrived);
    let mut arriving = on_their_way.into_iter().peekable();
    let (mut buffer, mut played, mut owed) = (JitterBuffer::new(), Vec::new(), 0.0);
    for frame in 0..(seconds / 0.020) as usize {
        // The thread gets its turn up to 8 ms late.
        let at_s = frame as f64 * 0.020 + dice.roll() * 0.008;
        while let Some(packet) = arriving.next_if(|packet| packet.arrived <= time(at_s)) {
            buffer.push(packet);
        }
        owed += 960.0 * buffer.speed();
        while owed > 0.0 {
            let held = buffer.len();
            let pull = buffer.pull(time(at_s), is_quiet);
            owed -= pull.samples() as f64;
            let packet = match &pull {
                Pull::Packet { payload, .. } => Some(number(payload)),
                _ => None,
            };
            let packet = packet.map(|n| (n, at_s - sent_at[n]));
            played.push(Played { at_s, packet, pull, held });
        }
    }
    played
}

fn packets(played: &[Played]) -> Vec<(usize, f64)> {
    played.iter().filter_map(|one| one.packet).collect()
}

fn count(played: &[Played], is: impl Fn(&Pull) -> bool) -> usize {
    played.iter().filter(|one| is(&one.pull)).count()
}

fn is_fec(pull: &Pull) -> bool {
    matches!(pull, Pull::Fec { .. })
}

fn is_conceal(pull: &Pull) -> bool {
    matches!(pull, Pull::Conceal { .. })
}

/// What was played between two moments.
fn between(played: &[Played], from_s: f64, to_s: f64) -> Vec<Played> {
    played.iter().filter(|one| (from_s..to_s).contains(&one.at_s)).cloned().collect()
}

#[track_caller]
fn assert_in_order(played: &[Played]) {
    assert!(packets(played).windows(2).all(|pair| pair[0].0 < pair[1].0), "out of order or twice");
}

fn middle_delay_ms(played: &[Played]) -> f64 {
    let mut delays: Vec<f64> = packets(played).iter().map(|(_, delay)| delay * 1000.0).collect();
    delays.sort_by(f64::total_cmp);
    delays[delays.len() / 2]
}

#[test]
fn on_a_calm_network_every_packet_is_played_once_and_soon() {
    let played = run(CALM, 60.0, false, |_| true);
    assert_in_order(&played);
    assert!(packets(&played).len() >= 2_990);
    assert_eq!(count(&played, |pull| is_fec(pull) || is_conceal(pull)), 0);
    // 30 ms of network and at most 40 of the buffer.
    assert!(middle_delay_ms(&between(&played, 10.0, 60.0)) < 70.0);
}

#[test]
fn each_lost_packet_is_restored_from_the_next_or_concealed() {
    let played = run(Network { loss: 0.1, ..CALM }, 60.0, false, |_| true);
    assert_in_order(&played);
    let (there, restored) = (packets(&played), count(&played, is_fec));
    let lost = there.last().expect("some").0 + 1 - there.len();
    assert!((200..400).contains(&lost), "{lost}");
    // A loss after a loss has no neighbour that carries it.
    let concealed = count(&played, is_conceal);
    assert_eq!(restored + concealed, lost, "{restored} restored, {concealed} concealed");
    assert!(restored > lost * 8 / 10);
}

#[test]
fn jitter_of_60_ms_and_a_loss_of_10_percent_leave_little_to_conceal() {
    let network = Network { loss: 0.1, jitter_ms: 60.0, doubled: 0.05, ..CALM };
    let played = run(network, 120.0, false, |_| true);
    assert_in_order(&played);
    let later = between(&played, 20.0, 120.0);
    let (heard, all) = (packets(&later).len() as f64, later.len() as f64);
    // 90% were not lost; few of those come later than is waited for.
    assert!(heard / all > 0.87, "{heard} of {all}");
    let delay = middle_delay_ms(&later);
    assert!((80.0..=30.0 + 100.0).contains(&delay), "{delay} ms");
    assert!(played.iter().all(|one| one.held <= 8));
}

#[test]
fn half_an_hour_of_drift_leaves_the_delay_and_the_sound_as_they_were() {
    for drift_ppm in [-300.0, 300.0] {
        let network = Network { jitter_ms: 20.0, drift_ppm, ..CALM };
        let played = run(network, 1_800.0, false, |_| true);
        assert_in_order(&played);
        let early = middle_delay_ms(&between(&played, 120.0, 180.0));
        // 30 ms of network, 20 of jitter, and half a pull of 20 ms with its margin.
        assert!(early < 80.0, "{early} ms");
        for minute in 3..30 {
            let later =
                middle_delay_ms(&between(&played, f64::from(minute) * 60.0, f64::from(minute) * 60.0 + 60.0));
            assert!(
                (early - later).abs() < 10.0,
                "{drift_ppm} ppm: {early} ms, after {minute} min {later} ms"
            );
        }
        // Packets that were skipped or could not be waited for: 97% are there by design.
        let sent = packets(&played).last().expect("some").0;
        let missed = sent + 1 - packets(&played).len();
        assert!(missed * 100 < sent, "{drift_ppm} ppm: {missed} of {sent} packets were not played");
        assert!(count(&played, is_conceal) * 100 < played.len());
    }
}

#[test]
fn when_the_network_calms_down_the_delay_falls_again() {
    let mut dice = Dice(1);
    let mut buffer = JitterBuffer::new();
    let mut delays = Vec::new();
    let mut coming: Vec<VoicePacket> = (0..6_000)
        .map(|n| {
            let jitter_ms = if n < 1_500 { 80.0 } else { 2.0 };
            packet(&CALM, n, n, n as f64 * 0.020 + dice.roll() * jitter_ms / 1000.0)
        })
        .collect();
    coming.sort_by_key(|packet| packet.arrived);
    let (mut coming, mut owed) = (coming.into_iter().peekable(), 0.0);
    for frame in 0..6_000 {
        let at_s = f64::from(frame) * 0.020;
        while let Some(packet) = coming.next_if(|packet| packet.arrived <= time(at_s)) {
            buffer.push(packet);
        }
        owed += 960.0 * buffer.speed();
        while owed > 0.0 {
            let pull = buffer.pull(time(at_s), false);
            owed -= pull.samples() as f64;
            if let Pull::Packet { payload, .. } = &pull {
                delays.push((at_s, at_s - number(payload) as f64 * 0.020));
            }
        }
    }
    let mean = |from: f64, to: f64| {
        let some: Vec<f64> = delays
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(_, delay)| delay * 1000.0)
            .collect();
        some.iter().sum::<f64>() / some.len() as f64
    };
    let (rough, calm) = (mean(20.0, 30.0), mean(100.0, 120.0));
    assert!(rough > 60.0 && calm < 40.0, "{rough} ms, then {calm} ms");
}

#[test]
fn numbers_that_wrap_are_no_break() {
    let network =
        Network { first_sequence: 65_500, first_timestamp: u32::MAX - 50 * 960, jitter_ms: 30.0, ..CALM };
    let played = run(network, 20.0, false, |_| true);
    assert_in_order(&played);
    assert!(packets(&played).len() > 980);
    assert!(count(&played, is_conceal) < 10);
}

#[test]
fn pauses_of_discontinuous_transmission_are_silence_and_no_loss() {
    // Half a second of speech, then packets each 400 ms only.
    let played =
        run(Network { jitter_ms: 10.0, ..CALM }, 60.0, false, |slot| slot % 65 < 25 || slot % 65 == 45);
    assert_in_order(&played);
    assert_eq!(count(&played, is_fec), 0);
    // The end of a stretch of speech cannot be told from packets that come late, for 120 ms.
    let pauses = 60.0 / 0.02 / 65.0 * 2.0;
    assert!(count(&played, is_conceal) as f64 <= pauses * 6.5);
    let delays = packets(&between(&played, 5.0, 60.0));
    assert!(delays.iter().all(|(_, delay)| (0.02..0.12).contains(delay)), "{delays:?}");
}

#[test]
fn a_talker_whose_timestamps_stood_still_while_it_paused_is_heard_at_once() {
    let speaks = |slot: usize| slot % 300 < 100;
    let played = run_with(CALM, 60.0, false, speaks, |_, n| n);
    assert_in_order(&played);
    assert_eq!(packets(&played).len(), 1_000);
    assert!(packets(&played).iter().all(|(_, delay)| *delay < 0.03 + 0.04 + 0.03));
}

#[test]
fn half_a_minute_after_a_stall_the_delay_is_what_it_was() {
    let network = Network { stall_s: Some((20.0, 20.4)), jitter_ms: 5.0, ..CALM };
    let played = run(network, 60.0, false, |_| true);
    assert_in_order(&played);
    let (before, after) = (between(&played, 10.0, 20.0), between(&played, 50.0, 60.0));
    let (before, after) = (middle_delay_ms(&before), middle_delay_ms(&after));
    assert!((before - after).abs() < 25.0, "{before} ms, then {after} ms");
    assert!(packets(&between(&played, 20.6, 60.0)).iter().all(|(_, delay)| *delay < 0.2));
}

#[test]
fn in_a_quiet_stretch_the_delay_is_mended_at_once() {
    let network = Network { stall_s: Some((20.0, 20.15)), ..CALM };
    let quiet = run(network, 30.0, true, |_| true);
    let delay = middle_delay_ms(&between(&quiet, 21.0, 22.0));
    assert!(delay < 90.0, "{delay} ms");
}

#[test]
fn longer_and_shorter_packets_follow_each_other_without_a_gap() {
    let mut buffer = JitterBuffer::new();
    let (mut timestamp, mut sequence) = (0, 0);
    let mut played = 0;
    for frame in 0..200u16 {
        let at_s = f64::from(frame) * 0.060;
        // 60 ms as one packet of 60, as three of 20, or as six of 10.
        let (toc, samples) = [(0x18, 2_880), (0xf8, 960), (0xf0, 480)][usize::from(frame) % 3];
        for _ in 0..2_880 / samples {
            buffer.push(VoicePacket {
                ssrc: 1,
                sequence,
                timestamp,
                payload: vec![toc, 1, 2].into(),
                arrived: time(at_s),
            });
            (sequence, timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(samples));
        }
        let mut left: i64 = 2_880;
        while left > 0 {
            let pull = buffer.pull(time(at_s + 0.060 - left as f64 / 48_000.0), false);
            left -= pull.samples() as i64;
            played += usize::from(matches!(pull, Pull::Packet { .. })) * pull.samples();
        }
    }
    assert!(played as u32 > timestamp - 48_000 / 5, "{played} of {timestamp}");
}

#[test]
fn another_stream_of_the_same_viewer_begins_anew() {
    let mut buffer = JitterBuffer::new();
    for n in 0..50 {
        buffer.push(packet(&CALM, n, n, n as f64 * 0.02));
        buffer.pull(time(n as f64 * 0.02), false);
    }
    let heard = (0..20).any(|n| {
        let at_s = 1.0 + n as f64 * 0.02;
        buffer.push(VoicePacket { ssrc: 8, ..packet(&CALM, 500 + n, 90_000 + n, at_s) });
        matches!(buffer.pull(time(at_s), false), Pull::Packet { payload, .. } if number(&payload) == 500)
    });
    assert!(heard);
}

#[test]
fn what_is_not_fetched_is_forgotten_but_for_half_a_second() {
    let mut buffer = JitterBuffer::new();
    for n in 0..10_000 {
        buffer.push(packet(&CALM, n, n, n as f64 * 0.02));
        assert!(buffer.len() <= 25);
    }
    assert_eq!(buffer.len(), 25);
}

proptest! {
    #[test]
    fn whatever_comes_nothing_grows_and_every_pull_can_be_played(
        events in proptest::collection::vec(
            (any::<bool>(), any::<(bool, u16, u32, u8, u8)>(), 0u32..100_000, any::<bool>()), 1..400)
    ) {
        let mut buffer = JitterBuffer::new();
        let (mut now_us, mut last) = (5_000_000_000_u64, (0_u16, 0_u32));
        for (is_push, (is_wild, sequence, timestamp, toc, second), passed_us, flag) in events {
            now_us += u64::from(passed_us);
            let now = MediaTime(Duration::from_micros(now_us));
            if is_push {
                // Half of them anywhere, half of them near the one before.
                last = if is_wild {
                    (sequence, timestamp)
                } else {
                    (last.0.wrapping_add(sequence % 8), last.1.wrapping_add(timestamp % 3_000))
                };
                let payload = vec![toc, second, 3].into();
                let ssrc = u32::from(flag && is_wild);
                buffer.push(VoicePacket { ssrc, sequence: last.0, timestamp: last.1, payload, arrived: now });
            } else {
                let pull = buffer.pull(now, flag);
                prop_assert!((1..=5_760).contains(&pull.samples()), "{pull:?}");
                if let Pull::Fec { samples, .. } | Pull::Conceal { samples } = pull {
                    prop_assert!(samples % 120 == 0 && samples <= 5_760, "{samples}");
                }
            }
            prop_assert!(buffer.len() <= 64);
            prop_assert!((0.99..=1.01).contains(&buffer.speed()));
            prop_assert!((960..=4_800).contains(&buffer.target_samples()));
        }
    }
}
