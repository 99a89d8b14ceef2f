//! The lighthouse keeper: composes the floor's other files into one machine.
//!
//! An [`Input`] and the time go in through [`Station::handle`], [`Command`]s come out of
//! [`Station::next_command`], and [`Station::deadline`] says when [`Input::Tick`] is due. It does no IO.
//!
//! | file | question |
//! |---|---|
//! | `orders` | what a station is told, and what it orders |
//! | `intake` | is a message authentic, and what does it ask for |
//! | `negotiate` | what a session's steps make the device do |
//! | `standing` | the one offer that is lit for everybody |
//! | `retained` | what the broker keeps for us, and putting it back |
//! | `uplinks` | what media servers that are sent the stream change |

mod intake;
mod negotiate;
mod orders;
mod retained;
mod standing;
mod uplinks;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::config::{IceServer, RatePolicy, Security};
use crate::engine::bucket::Bucket;
use crate::engine::ice::IceServers;
use crate::engine::keyframe::KeyframeRequests;
use crate::engine::message::{self, MotionEvent};
use crate::engine::rate::RateControl;
use crate::engine::rendition::{Order, Rendition, Renditions};
use crate::engine::rights::{Rights, ViewerKey};
use crate::engine::roster::Roster;
use crate::engine::session::Event;
use crate::engine::topic::{EventKind, Slot, Topic};
use crate::units::{Bitrate, BootId, DeviceId, Kid, OfferId, PeerId};

use negotiate::Facts;
use retained::Retained;
use standing::Standing;

pub use intake::Refusal;
pub use orders::{Command, Input, Story};

/// Messages that fail to authenticate may cost this much work a second, all together.
const FAILED_PER_SECOND: u32 = 2000;
/// The camera is let go of so long after the last viewer, so that a reload does not restart it.
const LINGER: Duration = Duration::from_secs(3);
/// Motion that is older is no news to a broker's client that was away.
const MOTION_EXPIRY: Duration = Duration::from_secs(30);

/// What a station is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who we are.
    pub device: DeviceId,
    /// The camera's name, for people.
    pub name: String,
    /// Whether messages are sealed.
    pub security: Security,
    /// How many sessions may stream at once.
    pub max_viewers: usize,
    /// Handed to viewers inside each offer.
    pub ice: IceServers,
    /// Which viewer's network decides at which bitrate the encoder works.
    pub rate_policy: RatePolicy,
    /// Between which limits.
    pub bitrates: RangeInclusive<Bitrate>,
    /// The highest bitrate of the second encode, for slow viewers; `None`: there is none.
    pub substream: Option<Bitrate>,
}

/// A viewer that is sent media, or is being connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Its peer connection.
    pub peer: PeerId,
    /// Its name, or `somebody` in open mode.
    pub viewer: String,
    /// Its slot.
    pub slot: Slot,
    /// What it may do, of what it asked for.
    pub rights: Rights,
    /// Media flows; else a path is looked for.
    pub is_streaming: bool,
    /// Since when.
    pub since: Instant,
}

/// The keeper. See the module's text.
pub struct Station {
    settings: Settings,
    keys: BTreeMap<Kid, ViewerKey>,
    /// When the wall clock was last told, and what it showed, in seconds since the Unix epoch.
    wall_clock: Option<(Instant, u64)>,
    unix_s: u64,
    random: ChaCha20Rng,
    boot: BootId,
    is_online: bool,
    is_ending: bool,
    camera_lost: bool,
    is_private: bool,
    motions: u64,
    roster: Roster,
    standing: Option<Standing>,
    /// Offers of this boot that were lit and are not any more, newest last.
    past_offers: VecDeque<(OfferId, standing::Past)>,
    /// After a failure, no peer connection is opened for the standing offer before this.
    open_after: Option<Instant>,
    open_failures: u32,
    retained: BTreeMap<String, Retained>,
    clearing: Bucket,
    failed: Bucket,
    spent: HashMap<Slot, Bucket>,
    refusals: BTreeMap<Refusal, u64>,
    keyframes: KeyframeRequests,
    substream_keyframes: KeyframeRequests,
    renditions: Renditions,
    rate: RateControl,
    /// Peer connections to media servers, from their answer on.
    uplinks: BTreeSet<PeerId>,
    watched: bool,
    pause_at: Option<Instant>,
    next_peer: u64,
    commands: VecDeque<Command>,
}

impl Station {
    /// A station with the viewers that it knows; `seed` is 32 bytes of the system's randomness, from
    /// which ids and IVs are drawn (ChaCha20).
    pub fn new(settings: Settings, viewers: Vec<ViewerKey>, seed: [u8; 32]) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let boot = BootId(draw(&mut random));
        let mut station = Station {
            keys: viewers.into_iter().map(|viewer| (viewer.kid, viewer)).collect(),
            roster: Roster::new(settings.max_viewers),
            rate: RateControl::new(
                settings.rate_policy,
                *settings.bitrates.start(),
                *settings.bitrates.end(),
            ),
            renditions: Renditions::new(*settings.bitrates.start(), settings.substream),
            settings,
            wall_clock: None,
            unix_s: 0,
            random,
            boot,
            is_online: false,
            is_ending: false,
            camera_lost: false,
            is_private: false,
            motions: 0,
            standing: None,
            past_offers: VecDeque::new(),
            open_after: None,
            open_failures: 0,
            retained: BTreeMap::new(),
            clearing: Bucket::new(20, 50),
            failed: Bucket::new(FAILED_PER_SECOND, FAILED_PER_SECOND),
            spent: HashMap::new(),
            refusals: BTreeMap::new(),
            keyframes: KeyframeRequests::default(),
            uplinks: BTreeSet::new(),
            substream_keyframes: KeyframeRequests::default(),
            watched: false,
            pause_at: None,
            next_peer: 1,
            commands: VecDeque::new(),
        };
        station.set_will();
        station
    }

    /// Takes one input; then drain [`next_command`](Self::next_command).
    pub fn handle(&mut self, now: Instant, input: Input) {
        if let Some((at, unix_s)) = self.wall_clock {
            self.unix_s = unix_s.saturating_add(now.saturating_duration_since(at).as_secs());
        }
        match input {
            Input::BrokerConnected => self.broker_connected(now),
            Input::BrokerLost => self.broker_lost(),
            Input::Message { topic, payload, retained } => self.message(now, &topic, &payload, retained),
            Input::PeerOffered { peer, sdp } => self.peer_offered(now, peer, sdp),
            Input::PeerOfferFailed { peer, reason } => self.peer_offer_failed(now, peer, reason),
            Input::PeerCandidate { peer, candidate, sdp } => self.peer_candidate(now, peer, candidate, sdp),
            Input::PeerGathered { peer, sdp } => self.peer_gathered(now, peer, sdp),
            Input::AnswerApplied(peer) => self.of_peer(now, peer, Event::Applied, Facts::default()),
            Input::AnswerFailed { peer, reason } => self.answer_failed(now, peer, reason),
            Input::PeerConnected(peer) => self.peer_connected(now, peer),
            Input::PeerLost { peer, reason } => self.peer_lost(now, peer, reason),
            Input::Estimate { peer, bitrate } => {
                self.rate.estimated(peer, bitrate);
                self.renditions.estimated(peer, bitrate);
            }
            Input::RelayLost { peer, was_used } => self.relay_lost(now, peer, was_used),
            Input::UplinkConnecting(peer) => self.uplink_connecting(peer),
            Input::UplinkStarted(peer) => self.uplink_started(peer),
            Input::UplinkGone(peer) => self.uplink_gone(peer),
            Input::KeyframeWanted(Rendition::Main) => self.keyframes.request(now),
            Input::KeyframeWanted(Rendition::Sub) => self.substream_keyframes.request(now),
            Input::JoinForeseen { round_trip } => self.keyframes.foresee(now, round_trip),
            Input::KeyframeLeft(Rendition::Main) => self.keyframes.left(),
            Input::KeyframeLeft(Rendition::Sub) => self.substream_keyframes.left(),
            Input::CameraStarted { encodes_twice } => {
                self.renditions.source_started(encodes_twice);
                self.camera_lost(now, false);
            }
            Input::SubstreamFailed => self.renditions.failed(now),
            Input::CameraLost(lost) => self.camera_lost(now, lost),
            Input::Privacy(is_private) => self.privacy(is_private),
            Input::Motion { is_active, at_ms } => self.motion(is_active, at_ms),
            Input::Keys(viewers) => self.keys_changed(now, viewers),
            Input::WallClock { unix_s } => self.wall_clock_told(now, unix_s),
            Input::IceServers(servers) => {
                self.settings.ice.use_fetched(servers);
                self.renew_standing();
            }
            // Only the offer that waits: a session whose path still works must not be disturbed, and of one
            // whose path is gone its peer connection tells.
            Input::NetworkChanged => self.renew_standing(),
            // A restart gives the path up, and without a broker no other one is agreed on: it may come back.
            Input::PathSilent(_) if !self.is_online => {}
            Input::PathLost(peer) | Input::PathSilent(peer) => {
                self.of_peer(now, peer, Event::PathLost, Facts::default());
            }
            Input::Shutdown => self.shutdown(now),
            Input::Tick => {}
        }
        self.advance_time(now);
    }

    /// What is to be done, in order.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let standing = self.standing_deadline();
        let retained = self.retained.values().filter_map(|topic| topic.check_at).min();
        let keyframes = self.keyframes.due().into_iter().chain(self.substream_keyframes.due()).min();
        let rate = self.rate.due().into_iter().chain(self.renditions.due()).min();
        [self.roster.deadline(), standing, retained, keyframes, rate, self.pause_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Messages that were refused in this process, by reason.
    pub fn refusals(&self) -> &BTreeMap<Refusal, u64> {
        &self.refusals
    }

    /// How many viewers stream.
    pub fn watching(&self) -> usize {
        self.roster.connected()
    }

    /// Who is sent media, or is being connected.
    pub fn visits(&self) -> impl Iterator<Item = Visit> {
        use crate::engine::session::State;
        self.roster.live_sessions().filter_map(|(key, session)| {
            let is_streaming = match session.state {
                State::Connecting => false,
                State::Streaming => true,
                State::New | State::Offering | State::Ended => return None,
            };
            let (viewer, slot, since) = (self.name_of(key.0), key.0, session.since);
            Some(Visit { peer: session.peer?, viewer, slot, rights: session.granted, is_streaming, since })
        })
    }

    /// This life's id.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    fn advance_time(&mut self, now: Instant) {
        while let Some(key) = self.roster.expired(now) {
            self.advance(now, key, Event::Expired, Facts::because("timeout"));
        }
        self.places_changed(now);
        self.tend_standing(now);
        self.tend_retained(now);
        self.tend_camera(now);
        if let Some(bitrate) = self.rate.poll(now) {
            self.commands.push_back(Command::SetBitrate(bitrate));
        }
        // After the main encode's bitrate, by which a network is slow or not.
        for order in self.renditions.poll(now, self.rate.ordered()) {
            self.commands.push_back(match order {
                Order::SetSubstream(bitrate) => Command::SetSubstream(bitrate),
                Order::Serve { peer, rendition } => Command::Serve { peer, rendition },
            });
        }
        if self.keyframes.poll(now) {
            self.commands.push_back(Command::ForceKeyframe(Rendition::Main));
        }
        if self.substream_keyframes.poll(now) {
            self.commands.push_back(Command::ForceKeyframe(Rendition::Sub));
        }
    }

    fn tend_camera(&mut self, now: Instant) {
        use crate::engine::session::State;
        // Those who are about to connect count: the camera warms up while DTLS shakes hands.
        let is_expected = self
            .roster
            .live_sessions()
            .any(|(_, session)| matches!(session.state, State::Connecting | State::Streaming));
        let wanted = !self.is_private && (is_expected || !self.uplinks.is_empty());
        if wanted {
            self.pause_at = None;
            if !self.watched {
                self.watched = true;
                self.commands.push_back(Command::Watch(true));
            }
        } else if self.watched {
            let pause_at = *self.pause_at.get_or_insert(now + LINGER);
            if pause_at <= now || self.is_ending {
                self.watched = false;
                self.pause_at = None;
                self.commands.push_back(Command::Watch(false));
            }
        }
    }

    /// Stops what captures at once, or lets it go on for those who are there. They stay connected.
    fn privacy(&mut self, is_private: bool) {
        if self.is_private != is_private {
            self.is_private = is_private;
            self.watched = false;
            self.pause_at = None;
            // If somebody is there and may watch, the next order follows at once.
            self.commands.push_back(Command::Watch(false));
        }
    }

    /// Tells home automation; while the broker is absent nobody hears it.
    fn motion(&mut self, is_active: bool, at_ms: u64) {
        if !self.is_online || self.is_ending {
            return;
        }
        self.motions += 1;
        let state = if is_active { "active" } else { "over" }.to_string();
        let event = MotionEvent { v: 1, boot: self.boot, n: self.motions, state, at_ms };
        self.commands.push_back(Command::Publish {
            topic: Topic::Event(EventKind::Motion).name(self.settings.device),
            payload: message::json(&event),
            retain: false,
            expiry: Some(MOTION_EXPIRY),
        });
    }

    fn camera_lost(&mut self, now: Instant, lost: bool) {
        if self.camera_lost != lost {
            self.camera_lost = lost;
            self.publish_status(now);
        }
    }

    fn keys_changed(&mut self, now: Instant, viewers: Vec<ViewerKey>) {
        let new: BTreeMap<Kid, ViewerKey> = viewers.into_iter().map(|viewer| (viewer.kid, viewer)).collect();
        let gone: Vec<Kid> = self
            .keys
            .iter()
            .filter(|(kid, old)| new.get(kid).is_none_or(|viewer| viewer.key() != old.key()))
            .map(|(kid, _)| *kid)
            .collect();
        // Who may do less than it was granted comes back and is granted that.
        let goes = |slot: Slot, granted: Rights| match slot {
            Slot::Open => false,
            Slot::Kid(kid) => {
                gone.contains(&kid)
                    || new.get(&kid).is_some_and(|viewer| granted.intersection(viewer.rights) != granted)
            }
        };
        let live = self.roster.live_sessions();
        let ending: Vec<_> =
            live.filter(|(key, session)| goes(key.0, session.granted)).map(|(key, _)| key).collect();
        for key in ending {
            self.advance(now, key, Event::Dismissed, Facts::because("revoked"));
        }
        for kid in &gone {
            self.give_up_slot(Slot::Kid(*kid));
        }
        let changed = self.keys != new;
        self.keys = new;
        if !gone.is_empty() {
            // Whoever was revoked knows the standing offer's ICE password.
            self.renew_standing();
        } else if changed {
            self.publish_standing(now);
        }
    }

    fn shutdown(&mut self, now: Instant) {
        self.is_ending = true;
        let everybody: Vec<_> = self.roster.live_sessions().map(|(key, _)| key).collect();
        for key in everybody {
            self.advance(now, key, Event::Dismissed, Facts::because("shutdown"));
        }
        self.drop_standing();
        self.clear_offers();
        self.publish_status(now);
    }

    /// Takes a new boot, because so many of the old one's sessions are remembered. Live sessions go on
    /// under the old one.
    fn new_boot(&mut self, now: Instant) {
        self.boot = BootId(draw(&mut self.random));
        self.motions = 0;
        self.roster.forget_ended();
        self.set_will();
        self.publish_status(now);
        self.renew_standing();
        self.tell(Story::NewBoot);
    }

    fn tell(&mut self, story: Story) {
        self.commands.push_back(Command::Tell(story));
    }

    fn open_peer(&mut self) -> PeerId {
        let peer = self.draw_peer();
        self.commands.push_back(Command::OpenPeer(peer));
        peer
    }

    fn draw_offer_id(&mut self) -> OfferId {
        OfferId(draw(&mut self.random))
    }

    fn draw_iv(&mut self) -> [u8; 12] {
        let mut iv = [0; 12];
        self.random.fill_bytes(&mut iv);
        iv
    }

    /// The slots that offers are lit for.
    fn slots(&self) -> Vec<Slot> {
        match self.settings.security {
            Security::Open => vec![Slot::Open],
            Security::Sealed => self.keys.keys().copied().map(Slot::Kid).collect(),
        }
    }

    fn rights_of(&self, slot: Slot) -> Rights {
        match slot {
            Slot::Open => Rights::ALL,
            Slot::Kid(kid) => self.keys.get(&kid).map_or(Rights::NONE, |viewer| viewer.rights),
        }
    }

    /// The STUN and TURN servers as a slot is told of them, with passwords of its own.
    fn told_servers(&self, slot: Slot) -> Vec<IceServer> {
        self.settings.ice.told_to(&slot.to_string(), self.unix_s)
    }

    /// Passwords for a time that were made by another time are of no use.
    fn wall_clock_told(&mut self, now: Instant, unix_s: u64) {
        let was_told = self.wall_clock.replace((now, unix_s)).is_some();
        self.unix_s = unix_s;
        if was_told && self.settings.ice.has_moments() {
            self.renew_standing();
        }
    }

    fn name_of(&self, slot: Slot) -> String {
        match slot {
            Slot::Open => "somebody".to_string(),
            Slot::Kid(kid) => {
                self.keys.get(&kid).map_or_else(|| kid.to_string(), |viewer| viewer.name.clone())
            }
        }
    }
}

fn draw(random: &mut ChaCha20Rng) -> u128 {
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

#[cfg(test)]
mod tests;
