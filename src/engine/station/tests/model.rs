//! Fifty viewers on networks of all kinds: what holds whatever happens?
//!
//! A camera, the fan-out's policy, rate control, sessions and a network for each viewer run in virtual time. What
//! happens is drawn from a seed: who comes and goes and how, whose network narrows, widens, loses, goes
//! away or stalls. After each step every rule is checked. A run that fails prints its seed;
//! `FAROL_MODEL_SEED=n cargo test --lib model` runs that one alone.
//!
//! Past 500 lines, because the world and the rules that it must keep belong side by side.

use std::collections::{BTreeMap, BTreeSet};

use super::network::{Dice, Network, Picture};
use super::scene::{Scene, Viewer};
use crate::config::{RatePolicy, Security};
use crate::engine::bandwidth::Bandwidth;
use crate::engine::keyframe;
use crate::engine::message::{Accept, Bye, Offer, Reject, RejectCode};
use crate::engine::queue::{
    Backlog, Keeps, MAX_BACKLOG_FRAMES, MAX_CATCH_UP_FRAMES, MAX_QUEUED_FRAMES, Progress,
};
use crate::engine::rate::RateControl;
use crate::engine::rendition::Rendition;
use crate::engine::session::State;
use crate::engine::station::{Command, Input};
use crate::engine::topic::{Slot, Topic};
use crate::units::{Bitrate, PeerId};
use std::time::Instant;

const VIEWERS: usize = 50;
const STEP_MS: u64 = 10;
const FRAME_MS: u64 = 30;
const REPORT_MS: u64 = 100;
const FLOOR: Bitrate = Bitrate::from_kbps(300);
const CEILING: Bitrate = Bitrate::from_kbps(2_500);
/// A viewer whose network carries so much, and is left alone for so long, loses no picture.
const WIDE_KBPS: u64 = 6_000;
const SETTLED_MS: u64 = 6_000;
/// Nobody waits for a keyframe longer than this while there is room for it.
const KEYFRAME_WAIT_MS: u64 = 500;

/// What a run is about.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    policy: RatePolicy,
    /// The source makes a keyframe when it is asked for one.
    forces_keyframes: bool,
    seconds: u64,
    /// This viewer stays, on a wide network.
    left_alone: Option<usize>,
    /// And takes nothing from its queue.
    is_stalled: bool,
}

/// The camera with its encoder.
struct Camera {
    runs: bool,
    is_keyframe_forced: bool,
    bitrate: Bitrate,
    number: u64,
    dice: Dice,
}

/// One who watches, as the fan-out and its network see it.
struct Watcher {
    progress: Progress,
    network: Network,
    /// The latest picture in its queue.
    newest: Option<u64>,
    /// When its network last became another.
    disturbed_ms: u64,
    /// Since when it waits for a keyframe, with room for it.
    waits_since: Option<u64>,
    estimate: Bitrate,
    got: Vec<Picture>,
}

/// One of the fifty, here or not.
struct Person {
    session: Option<Viewer>,
    peer: Option<PeerId>,
    connects_at: Option<u64>,
    dice: Dice,
    sessions: u64,
}

struct World {
    plan: Plan,
    scene: Scene,
    start: Instant,
    ms: u64,
    camera: Camera,
    people: Vec<Person>,
    watchers: BTreeMap<PeerId, Watcher>,
    backlog: Backlog<Picture>,
    orders_read: usize,
    keyframe_ordered_ms: Option<u64>,
    /// What each has got, those who have left included, by person.
    got: BTreeMap<usize, Vec<Picture>>,
    seen: Seen,
}

/// That the run was no idle one.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    joined: u32,
    dropped: u32,
    keyframes: u32,
    bitrates: u32,
    lost_races: u32,
}

impl World {
    fn new(plan: Plan) -> World {
        let mut seed = [3; 32];
        seed[..8].copy_from_slice(&plan.seed.to_le_bytes());
        let mut scene = Scene::seeded(Security::Open, VIEWERS, seed);
        scene.station.rate = RateControl::new(plan.policy, FLOOR, CEILING);
        let person = |n| Person {
            session: None,
            peer: None,
            connects_at: None,
            dice: Dice::new(plan.seed, n),
            sessions: 0,
        };
        let camera = Camera {
            runs: false,
            is_keyframe_forced: true,
            bitrate: CEILING,
            number: 0,
            dice: Dice::new(plan.seed, 1_000),
        };
        World {
            plan,
            start: scene.now,
            scene,
            ms: 0,
            camera,
            people: (0..VIEWERS as u64).map(person).collect(),
            watchers: BTreeMap::new(),
            backlog: Backlog::new(if plan.forces_keyframes { Keeps::Few } else { Keeps::All }),
            orders_read: 0,
            keyframe_ordered_ms: None,
            got: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    fn run(plan: Plan) -> World {
        let mut world = World::new(plan);
        while world.ms < plan.seconds * 1000 {
            world.step(true);
        }
        world.everybody_leaves();
        world
    }

    fn step(&mut self, moves: bool) {
        self.ms += STEP_MS;
        self.scene.wait(STEP_MS);
        self.obey();
        for n in 0..VIEWERS {
            if moves {
                self.live(n);
            }
            self.connect(n);
        }
        self.networks();
        if self.ms.is_multiple_of(FRAME_MS) && self.camera.runs {
            self.picture();
        }
        self.obey();
        self.check();
    }

    fn put(&mut self, input: Input) {
        self.scene.put(input);
        self.obey();
    }

    /// Does what the station has ordered, and checks the orders.
    fn obey(&mut self) {
        while let Some(order) = self.scene.orders.get(self.orders_read).cloned() {
            self.orders_read += 1;
            match order {
                Command::StartMedia { peer, .. } => self.start_media(peer),
                Command::ClosePeer(peer) => self.close(peer),
                Command::Watch(runs) => {
                    self.camera.runs = runs;
                    self.camera.is_keyframe_forced = true;
                    self.backlog.clear();
                    self.watchers
                        .values_mut()
                        .for_each(|watcher| watcher.progress = Progress::AwaitsKeyframe);
                }
                Command::ForceKeyframe(_) => {
                    let ms = self.now_ms();
                    let apart = self.keyframe_ordered_ms.map_or(u64::MAX, |before| ms - before);
                    // An order is seen up to a step after it was given.
                    assert!(
                        apart.saturating_add(STEP_MS) >= keyframe::MIN_INTERVAL.as_millis() as u64,
                        "two keyframes are ordered within {apart} ms"
                    );
                    self.keyframe_ordered_ms = Some(ms);
                    self.seen.keyframes += 1;
                    self.camera.is_keyframe_forced |= self.plan.forces_keyframes;
                }
                Command::SetBitrate(bitrate) => {
                    assert!((FLOOR..=CEILING).contains(&bitrate), "{bitrate:?} is ordered");
                    assert_ne!(self.plan.policy, RatePolicy::Fixed, "a fixed bitrate is changed");
                    self.seen.bitrates += 1;
                    self.camera.bitrate = bitrate;
                }
                _ => {}
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.scene.now.duration_since(self.start).as_millis() as u64
    }

    fn start_media(&mut self, peer: PeerId) {
        let Some(n) = self.people.iter().position(|person| person.peer == Some(peer)) else {
            panic!("media is started to nobody's {peer:?}");
        };
        let dice = Dice::new(self.plan.seed, 100 + n as u64 + 1_000 * self.people[n].sessions);
        let start = Bitrate::from_kbps(CEILING.kbps() * 3 / 2);
        let bandwidth = Bandwidth::new(start, Bitrate::from_kbps(100), Bitrate::from_kbps(7_500));
        let kbps = self.people[n].dice.between(400, 20_000);
        let mut watcher = Watcher {
            progress: Progress::joined(self.backlog.frames().len()),
            network: Network::new(self.start, bandwidth, kbps, dice),
            newest: None,
            disturbed_ms: self.ms,
            waits_since: None,
            // As fast as anybody, until its network says otherwise.
            estimate: Bitrate::from_bps((f64::from(CEILING.bps()) / 0.85) as u32),
            got: Vec::new(),
        };
        if self.plan.left_alone == Some(n) {
            (watcher.network.is_stalled, watcher.network.kbps) = (self.plan.is_stalled, 20_000);
        }
        let backlog: Vec<Picture> = self.backlog.frames().to_vec();
        backlog.into_iter().for_each(|picture| watcher.queue(picture));
        let wants_keyframe = watcher.progress.wants_keyframe(watcher.network.queued());
        self.watchers.insert(peer, watcher);
        self.seen.joined += 1;
        if wants_keyframe {
            self.put(Input::KeyframeWanted(Rendition::Main));
        }
    }

    fn close(&mut self, peer: PeerId) {
        let watcher = self.watchers.remove(&peer);
        if let Some(n) = self.people.iter().position(|person| person.peer == Some(peer)) {
            let person = &mut self.people[n];
            (person.session, person.peer, person.connects_at) = (None, None, None);
            let got = self.got.entry(n).or_default();
            if let Some(watcher) = watcher {
                got.extend(watcher.got);
            }
        }
    }

    /// What a person does, and what happens to its network.
    fn live(&mut self, n: usize) {
        let (ms, is_left_alone) = (self.ms, self.plan.left_alone == Some(n));
        let person = &mut self.people[n];
        let Some(peer) = person.peer else {
            if person.session.is_none() && person.dice.once_in(300) {
                self.come(n);
            }
            return;
        };
        let Some(watcher) = self.watchers.get_mut(&peer) else { return };
        if is_left_alone {
            return;
        }
        let network = &mut watcher.network;
        let undisturbed = (network.kbps, network.lost_in_1000, network.is_out, network.is_stalled);
        match person.dice.below(6_000) {
            0..=3 => network.kbps = person.dice.between(150, 20_000),
            4 => network.lost_in_1000 = person.dice.below(100),
            5 => network.lost_in_1000 = 0,
            6..=7 => network.is_stalled = true,
            8..=9 => network.is_out = true,
            10..=59 => (network.is_out, network.is_stalled) = (false, false),
            60..=61 => return self.put(Input::PeerLost { peer, reason: "silent" }),
            62..=64 => return self.say_bye(n),
            _ => {}
        }
        if undisturbed != (network.kbps, network.lost_in_1000, network.is_out, network.is_stalled) {
            watcher.disturbed_ms = ms;
        }
        let is_off = watcher.network.is_out || watcher.network.is_stalled;
        if is_off {
            watcher.disturbed_ms = ms;
        }
    }

    /// Answers the offer that is lit, or asks for one, or answers one that somebody else has just won.
    fn come(&mut self, n: usize) {
        self.people[n].sessions += 1;
        let session = n as u128 * 1_000_000 + u128::from(self.people[n].sessions);
        let mut viewer = Viewer::new(&self.scene, 1, session);
        let lit = !self.scene.retained(Topic::Offer(Slot::Open)).is_empty();
        let way = if lit { self.people[n].dice.below(3) } else { 1 };
        match way {
            0 => {
                let offer = viewer.standing(&self.scene);
                viewer.answer(&mut self.scene, &offer);
            }
            1 => {
                viewer.hello(&mut self.scene);
                let offer: Offer = viewer.hear(&self.scene, "offer");
                viewer.answer(&mut self.scene, &offer);
            }
            _ => {
                let offer = viewer.standing(&self.scene);
                // It is gone before the answer is there.
                self.scene.put(Input::NetworkChanged);
                self.scene.wait(1);
                viewer.answer(&mut self.scene, &offer);
                let reject: Reject = viewer.hear(&self.scene, "reject");
                assert!(matches!(reject.code, RejectCode::Taken | RejectCode::Stale), "{:?}", reject.code);
                self.seen.lost_races += 1;
                viewer.answer(&mut self.scene, &reject.offer.expect("an offer of its own"));
            }
        }
        let peer = self.scene.peer_of(&viewer);
        let person = &mut self.people[n];
        // One in ten never connects.
        let is_lost = person.dice.once_in(10) && self.plan.left_alone != Some(n);
        let takes_ms = if is_lost { 60_000 } else { person.dice.between(20, 2_000) };
        person.connects_at = Some(self.ms + takes_ms);
        (person.session, person.peer) = (Some(viewer), Some(peer));
        self.obey();
    }

    fn connect(&mut self, n: usize) {
        let person = &mut self.people[n];
        let Some(peer) = person.peer.filter(|_| person.connects_at.is_some_and(|at| at <= self.ms)) else {
            return;
        };
        person.connects_at = None;
        self.scene.put(Input::AnswerApplied(peer));
        self.scene.put(Input::PeerConnected(peer));
        self.obey();
        if let Some(viewer) = &mut self.people[n].session {
            let _: Accept = viewer.hear(&self.scene, "accept");
        }
    }

    fn say_bye(&mut self, n: usize) {
        if let Some(mut viewer) = self.people[n].session.take() {
            viewer.say(&mut self.scene, "bye", &Bye { reason: "left".into() });
            self.obey();
        }
    }

    fn networks(&mut self) {
        let (ms, mut inputs) = (self.ms, Vec::new());
        for (&peer, watcher) in &mut self.watchers {
            if watcher.network.pass(ms, STEP_MS) {
                inputs.push(Input::KeyframeWanted(Rendition::Main));
            }
            if ms.is_multiple_of(REPORT_MS)
                && let Some(bitrate) = watcher.network.report(ms)
            {
                watcher.estimate = bitrate;
                inputs.push(Input::Estimate { peer, bitrate });
            }
        }
        inputs.into_iter().for_each(|input| self.put(input));
    }

    /// The next picture, for everybody, as the fan-out does it.
    fn picture(&mut self) {
        let camera = &mut self.camera;
        let is_keyframe = std::mem::take(&mut camera.is_keyframe_forced) || camera.number.is_multiple_of(100);
        let mean = u64::from(camera.bitrate.bps()) / 8 * FRAME_MS / 1000;
        let bytes = camera.dice.between(mean / 2, mean * 3 / 2) * if is_keyframe { 5 } else { 1 };
        camera.number += 1;
        let picture = Picture { number: camera.number, is_keyframe, bytes: bytes as usize };
        self.backlog.push(picture, is_keyframe, picture.bytes);
        let mut is_keyframe_wanted = false;
        for (peer, watcher) in &mut self.watchers {
            if watcher.progress.takes(is_keyframe, watcher.network.queued()) {
                watcher.queue(picture);
            } else {
                let is_undisturbed = self.ms - watcher.disturbed_ms >= SETTLED_MS;
                let is_wide = watcher.network.kbps >= WIDE_KBPS && watcher.network.lost_in_1000 == 0;
                assert!(
                    !(is_undisturbed
                        && is_wide
                        && self.plan.forces_keyframes
                        && self.plan.left_alone.is_none()),
                    "{peer:?} loses a picture on a wide network that was left alone"
                );
                self.seen.dropped += 1;
            }
            is_keyframe_wanted |= watcher.progress.wants_keyframe(watcher.network.queued());
        }
        if is_keyframe_wanted {
            self.put(Input::KeyframeWanted(Rendition::Main));
        }
    }

    fn check(&mut self) {
        self.sessions_agree();
        self.bitrate_follows_the_policy();
        let (ms, plan) = (self.ms, self.plan);
        for (peer, watcher) in &mut self.watchers {
            let queued = watcher.network.queued();
            let longest = match watcher.progress {
                Progress::CatchesUp { limit } => limit,
                // What it caught up with may still be there.
                _ if !plan.forces_keyframes => MAX_BACKLOG_FRAMES + 4 * MAX_QUEUED_FRAMES,
                _ => MAX_QUEUED_FRAMES,
            };
            assert!(
                queued <= longest && longest <= MAX_CATCH_UP_FRAMES,
                "{queued} pictures wait for {peer:?}"
            );
            let waits = self.camera.runs && watcher.progress.wants_keyframe(queued);
            let since = *watcher.waits_since.get_or_insert(ms);
            if !waits {
                watcher.waits_since = None;
            } else if plan.forces_keyframes {
                assert!(
                    ms - since <= KEYFRAME_WAIT_MS,
                    "{peer:?} waits for a keyframe for {} ms",
                    ms - since
                );
            }
        }
    }

    /// Peer connections, sessions and those who are sent media are the same.
    fn sessions_agree(&self) {
        let station = &self.scene.station;
        let sessions: BTreeSet<PeerId> =
            station.roster.live_sessions().filter_map(|(_, session)| session.peer).collect();
        let standing = station.standing.iter().map(|standing| standing.peer);
        let known: BTreeSet<PeerId> = sessions.iter().copied().chain(standing).collect();
        let open: BTreeSet<PeerId> = self.scene.open.iter().copied().collect();
        assert_eq!(open, known, "left: peer connections that are open; right: that somebody owns");
        let streaming: BTreeSet<PeerId> = station
            .roster
            .live_sessions()
            .filter(|(_, session)| session.state == State::Streaming)
            .filter_map(|(_, session)| session.peer)
            .collect();
        let watching: BTreeSet<PeerId> = self.watchers.keys().copied().collect();
        assert_eq!(streaming, watching, "left: sessions that stream; right: who is sent media");
        assert_eq!(station.watching(), watching.len());
        assert!(watching.len() <= VIEWERS);
        assert!(watching.is_empty() || self.camera.runs, "somebody watches and the camera rests");
    }

    /// The encoder never gets more than the policy allows, as of the last estimates, but for the change that is too
    /// small to be one.
    fn bitrate_follows_the_policy(&self) {
        let mut estimates: Vec<Bitrate> = self.watchers.values().map(|watcher| watcher.estimate).collect();
        estimates.sort_unstable();
        let deciding = match self.plan.policy {
            RatePolicy::Fixed => None,
            RatePolicy::Slowest => estimates.first(),
            RatePolicy::Majority => estimates.get(estimates.len() / 2),
        };
        let allowed = deciding.map_or(CEILING.bps(), |estimate| {
            ((f64::from(estimate.bps()) * 0.85) as u32).clamp(FLOOR.bps(), CEILING.bps())
        });
        let encoder = self.camera.bitrate.bps();
        assert!(
            f64::from(encoder) <= f64::from(allowed) / 0.949,
            "{encoder} bit/s are encoded, {:?} allows {allowed}",
            self.plan.policy
        );
    }

    /// Then nothing is left of anybody.
    fn everybody_leaves(&mut self) {
        for n in 0..VIEWERS {
            match (self.people[n].peer, n % 2) {
                (Some(peer), 0) => self.put(Input::PeerLost { peer, reason: "closed" }),
                (Some(_), _) => self.say_bye(n),
                _ => {}
            }
        }
        for _ in 0..700 {
            self.step(false);
        }
        let station = &self.scene.station;
        assert_eq!(station.roster.live_sessions().count(), 0, "sessions are left");
        assert!(self.watchers.is_empty() && self.scene.open.len() == 1, "{:?} are open", self.scene.open);
        assert!(!self.camera.runs, "the camera runs for nobody");
        assert_eq!(station.rate.due(), None, "nobody's network decides, and it waits for something");
        assert_eq!(self.camera.bitrate, CEILING, "who comes next gets the whole picture");
        assert_eq!(station.keyframes.due(), None);
        self.put(Input::Shutdown);
        assert!(self.scene.open.is_empty(), "{:?} are open after the end", self.scene.open);
    }
}

impl Watcher {
    fn queue(&mut self, picture: Picture) {
        assert!(
            picture.is_keyframe || self.newest == Some(picture.number - 1),
            "picture {} is queued behind {:?}, which it does not refer to",
            picture.number,
            self.newest
        );
        self.newest = Some(picture.number);
        self.network.queue.push_back(picture);
        self.got.push(picture);
    }
}

/// Runs it, and says which it was if it fails.
fn run(plan: Plan) -> World {
    let result = std::panic::catch_unwind(|| World::run(plan));
    result.unwrap_or_else(|failure| {
        eprintln!("this was {plan:?}; FAROL_MODEL_SEED={} repeats it", plan.seed);
        std::panic::resume_unwind(failure)
    })
}

fn plan(seed: u64) -> Plan {
    let policies = [RatePolicy::Majority, RatePolicy::Slowest, RatePolicy::Fixed];
    let policy = policies[seed as usize % policies.len()];
    Plan {
        seed,
        policy,
        forces_keyframes: !seed.is_multiple_of(4),
        seconds: 30,
        left_alone: None,
        is_stalled: false,
    }
}

#[test]
fn fifty_viewers_on_all_kinds_of_networks() {
    let seed = std::env::var("FAROL_MODEL_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seed.map_or(1..=4, |seed| seed..=seed) {
        let plan = plan(seed);
        let Seen { joined, dropped, keyframes, bitrates, lost_races } = run(plan).seen;
        let is_followed = bitrates > 0 || plan.policy == RatePolicy::Fixed;
        assert!(
            joined > 50 && dropped > 0 && keyframes > 0 && lost_races > 0 && is_followed,
            "{plan:?} was too calm to show anything"
        );
    }
}

#[test]
fn stalled_viewer_changes_nothing_for_the_others() {
    let plan = |is_stalled| Plan {
        seed: 11,
        policy: RatePolicy::Fixed,
        forces_keyframes: true,
        seconds: 15,
        left_alone: Some(7),
        is_stalled,
    };
    let [mut with, mut without] = [true, false].map(|is_stalled| run(plan(is_stalled)).got);
    let [stalled, served] = [&mut with, &mut without].map(|got| got.remove(&7).map_or(0, |got| got.len()));
    assert!((1..=MAX_QUEUED_FRAMES).contains(&stalled), "{stalled} pictures in the stalled viewer's queue");
    assert!(served > 100, "{served} pictures for the same viewer when it is not stalled");
    assert!(with.len() > 40, "{} viewers to compare", with.len());
    assert!(with == without, "others got other pictures because one viewer has stalled");
}
