//! The loop that joins core and shell: what happens goes into `Station`, what it orders is done.
//!
//! Frames go down, from capture through the fan-out to every viewer, and never through `Station`;
//! commands go up. Only this loop owns `Station`. It runs on one thread; work on peer connections that
//! takes time is done in tasks whose results come back here. Past 500 lines, since the loop and what each of its
//! events leads to are read together.
//!
//! | file | question |
//! |---|---|
//! | `start` | what is opened before the loop begins, for `run` and for `demo` |
//! | `servers` | which STUN and TURN servers are used now |
//! | `peers` | which peer connections there are, and what is being done with them |
//! | `keys` | which of the viewers' keys on disk the station has |
//! | `reload` | what becomes of a configuration that was changed |
//! | `control` | what viewers are told and what they ask for on their control channels |
//! | `remote` | what viewers see of the board's pins, and how they move what hangs on them |
//! | `stills` | how one still is made for all who asked for one |
//! | `board` | what becomes of what happens on the pins: privacy, motion, the LED |
//! | `statistics` | what is counted while the loop runs, and who is told |
//! | `story` | how what happened is told in the log |
//! | `talk` | who may speak, and who does |
//! | `whip` | how media servers are sent the stream |

#![expect(clippy::disallowed_methods, reason = "the shell reads the clock")]

mod board;
mod control;
mod keys;
mod peers;
mod reload;
mod remote;
mod servers;
mod start;
mod statistics;
mod stills;
mod story;
mod talk;
mod whip;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::When;
use crate::engine::control::MicrophoneState;
use crate::engine::h264::AccessUnit;
use crate::engine::pcm::OpusPacket;
use crate::engine::rendition::Rendition;
use crate::engine::rights::Right;
use crate::engine::station::{Command, Input, Station};
use crate::io::audio::speaker::SpeakerEvent;
use crate::io::audio::{AudioCommand, AudioEvent, Microphone};
use crate::io::capture::{Capture, CaptureCommand, CaptureEvent};
use crate::io::fanout::{Fanout, Sends};
use crate::io::gpio::BoardEvent;
use crate::io::mqtt::{Mqtt, MqttEvent, Publication};
use crate::io::network::Network;
use crate::io::peer::{Loss, PeerEvent};
use crate::io::port::Port;
use crate::io::status::Asked;
use crate::io::systemd::ServiceManager;
use crate::units::{Bitrate, PeerId};

use board::Pins;
use control::Control;
use keys::Keys;
use peers::{Done, News, Peers};
use reload::{Ending, Running};
use servers::Servers;
use statistics::Statistics;
use stills::Made;
use talk::Talk;
use whip::{Replied, Uplinks};

pub use start::{demo, run};

/// How often the loop comes round when nothing happens: to look for changed keys and to tell systemd.
const ROUND: Duration = Duration::from_secs(1);
/// How long the last words may take: closing peer connections and the broker's acknowledgements.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Everything that the loop works with.
struct Daemon {
    station: Station,
    mqtt: Mqtt,
    peers: Peers,
    uplinks: Uplinks,
    fanout: Fanout,
    capture: Capture,
    microphone: Option<Microphone>,
    /// The microphone delivers.
    is_heard: bool,
    pins: Pins,
    talk: Talk,
    when: When,
    keys: Option<Keys>,
    /// `None`: no file says what is run, as in the demo.
    running: Option<Running>,
    manager: ServiceManager,
    control: Control,
    refusals: story::Refusals,
    statistics: Statistics,
    camera: Camera,
    network: Network,
    port: Arc<Port>,
    servers: Servers,
    is_online: bool,
}

/// What is known of the camera, for the status line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Camera {
    Resting,
    Running,
    Lost(String),
}

/// What ended the waiting.
enum Happened {
    Stop(&'static str),
    Reload,
    Round,
    NetworkStirred,
    Due,
    ControlDue,
    UplinkDue,
    Uplink(Replied),
    Still(Made),
    Peer(News),
    Servers(Input),
    Pins(BoardEvent),
    Capture(CaptureEvent),
    Audio(AudioEvent),
    Speaker(SpeakerEvent),
    Mqtt(MqttEvent),
    Asked(Asked),
    /// A thread or task that should live as long as we do has ended.
    Broken(&'static str),
}

impl Daemon {
    /// Works until it is told to stop or is to run anew, or until something without which it cannot work is gone.
    async fn work(mut self) -> anyhow::Result<Ending> {
        let mut signals = Signals::listen()?;
        let round = self.manager.interval().map_or(ROUND, |watchdog| watchdog.min(ROUND));
        let mut rounds = interval(round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.look_at_clock(Instant::now());
        self.tend_uplinks(Instant::now());
        self.carry_out(Instant::now());
        self.manager.ready(&self.status());
        let mut dues = self.dues();
        loop {
            let happened = self.next(&mut signals, &mut rounds, dues).await;
            let now = Instant::now();
            match happened {
                // They are most of what happens, and change nothing of what is looked at below.
                Happened::Capture(CaptureEvent::Frame(rendition, unit)) => {
                    let is_keyframe_wanted = self.picture(rendition, &unit);
                    if unit.is_keyframe {
                        self.station.handle(now, Input::KeyframeLeft(rendition));
                    }
                    if is_keyframe_wanted {
                        self.station.handle(now, Input::KeyframeWanted(rendition));
                    } else if !unit.is_keyframe {
                        continue;
                    }
                }
                Happened::Audio(AudioEvent::Packet(packet)) => {
                    self.sound(&packet);
                    continue;
                }
                Happened::Stop(why) => {
                    log::info!(why; "stopping");
                    return self.stop(now, Ending::Stop).await;
                }
                Happened::Broken(what) => anyhow::bail!("the {what} has ended, which is a bug in farol"),
                Happened::Reload => {
                    self.look_at_keys(now);
                    if let Some(ending) = self.reload() {
                        return self.stop(now, ending).await;
                    }
                }
                Happened::Round => {
                    self.look_at_keys(now);
                    self.look_at_network(now);
                    self.look_at_clock(now);
                    self.refusals.tell(now, self.station.refusals());
                    self.count(now);
                }
                Happened::NetworkStirred => self.look_at_network(now),
                Happened::Servers(input) => self.station.handle(now, input),
                Happened::Due => self.station.handle(now, Input::Tick),
                // What is due is done below, whatever happened.
                Happened::ControlDue | Happened::UplinkDue => {}
                Happened::Uplink(replied) => self.uplink_replied(now, replied),
                Happened::Still(made) => self.still_made(made),
                Happened::Peer(News::Done(done)) => self.peer_work_done(now, done),
                Happened::Peer(News::Said(peer, event)) => self.peer_said(now, peer, event),
                Happened::Pins(event) => self.pins_said(now, event),
                Happened::Capture(event) => self.captured(now, event),
                Happened::Audio(event) => self.heard(now, event),
                Happened::Speaker(event) => self.talk.take(event),
                Happened::Mqtt(event) => self.broker_said(now, event),
                Happened::Asked(asked) => self.answer(now, asked),
            }
            self.tend_uplinks(now);
            self.carry_out(now);
            self.show_whether_media_leaves();
            self.tend_control(now);
            self.manager.status(&self.status());
            self.manager.feed(now);
            dues = self.dues();
        }
    }

    /// When the station, the control channels and the uplinks want to be called, if nothing happens before.
    fn dues(&self) -> [Option<Instant>; 3] {
        [self.station.deadline(), self.control.due(), self.uplinks.deadline()]
    }

    /// Waits for whatever happens first. The order matters: what is done on a peer connection is heard
    /// before what it says, privacy before media, and media before messages, so that a flood of those cannot
    /// hold it up.
    async fn next(
        &mut self,
        signals: &mut Signals,
        rounds: &mut Interval,
        [due, control_due, uplink_due]: [Option<Instant>; 3],
    ) -> Happened {
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => Happened::Stop("SIGTERM"),
            _ = signals.interrupt.recv() => Happened::Stop("SIGINT"),
            _ = signals.hangup.recv() => Happened::Reload,
            _ = rounds.tick() => Happened::Round,
            () = self.network.stirred() => Happened::NetworkStirred,
            news = self.peers.next() => Happened::Peer(news),
            event = self.pins.next() => event.map_or(Happened::Broken("pins' thread"), Happened::Pins),
            event = self.capture.events.recv() => {
                event.map_or(Happened::Broken("capture thread"), Happened::Capture)
            }
            event = next_sound(&mut self.microphone) => {
                event.map_or(Happened::Broken("microphone thread"), Happened::Audio)
            }
            event = self.talk.next() => event.map_or(Happened::Broken("speaker thread"), Happened::Speaker),
            input = self.servers.next() => Happened::Servers(input),
            () = sleep_until(due) => Happened::Due,
            () = sleep_until(control_due) => Happened::ControlDue,
            () = sleep_until(uplink_due) => Happened::UplinkDue,
            replied = self.uplinks.next() => Happened::Uplink(replied),
            made = self.control.stills.next() => Happened::Still(made),
            event = self.mqtt.events.recv() => event.map_or(Happened::Broken("MQTT task"), Happened::Mqtt),
            // Last: whoever asks for figures can wait.
            Some(asked) = self.statistics.next() => Happened::Asked(asked),
        }
    }

    /// Does what the station has ordered.
    fn carry_out(&mut self, now: Instant) {
        while let Some(command) = self.station.next_command() {
            match command {
                Command::Publish { topic, payload, retain, expiry } => {
                    self.mqtt.publish(Publication { topic, payload: payload.into(), retain, expiry });
                }
                Command::SetWill { topic, payload } => {
                    let payload = payload.into();
                    self.mqtt.set_will(Publication { topic, payload, retain: true, expiry: None });
                }
                Command::OpenPeer(peer) => self.peers.open(peer, self.servers.ours()),
                Command::ApplyAnswer { peer, sdp } => self.peers.answer(peer, sdp),
                Command::AddCandidate { peer, candidate } => self.peers.add_candidate(peer, candidate),
                Command::RestartIce(peer) => self.peers.restart(peer, self.servers.ours()),
                Command::ClosePeer(peer) => {
                    self.count_viewer(now, peer);
                    self.fanout.remove(peer);
                    self.control.remove(peer);
                    self.peers.close(peer);
                }
                Command::StartMedia { peer, rights } => {
                    self.let_speak(peer, rights);
                    let sends = Sends { video: rights.has(Right::View), audio: rights.has(Right::Listen) };
                    self.control.admit(peer, rights);
                    let wants_keyframe = self.peers.get(peer).is_some_and(|peer| {
                        peer.admit_control();
                        self.fanout.add(peer, sends)
                    });
                    if wants_keyframe {
                        self.station.handle(now, Input::KeyframeWanted(Rendition::Main));
                    }
                }
                Command::Watch(watched) => self.watch(watched),
                Command::SetBitrate(bitrate) => {
                    log::debug!(kbps = bitrate.kbps(); "encoder follows the viewers' networks");
                    self.statistics.target(bitrate);
                    self.tell_capture(CaptureCommand::SetBitrate(bitrate));
                }
                Command::SetSubstream(bitrate) => {
                    log::debug!(kbps = bitrate.map_or(0, Bitrate::kbps); "substream follows its viewers' networks");
                    self.tell_capture(CaptureCommand::SetSubstream(bitrate));
                }
                Command::Serve { peer, rendition } => {
                    log::info!(peer:%, rendition:?; "viewer gets another encode, since its network has changed");
                    if self.fanout.serve(peer, rendition) {
                        self.station.handle(now, Input::KeyframeWanted(rendition));
                    }
                }
                Command::ForceKeyframe(rendition) => {
                    self.tell_capture(CaptureCommand::ForceKeyframe(rendition));
                }
                Command::Tell(story) => self.tell(now, &story),
            }
        }
    }

    fn watch(&mut self, watched: bool) {
        let runs = watched || self.when == When::Always && !self.pins.is_private();
        let (video, audio) = match runs {
            true => (CaptureCommand::Run, AudioCommand::Run),
            false => (CaptureCommand::Pause, AudioCommand::Pause),
        };
        self.tell_capture(video);
        if let Some(microphone) = &self.microphone {
            // Fails only when the thread has ended, which the loop hears by itself.
            let _ = microphone.commands.send(audio);
        }
    }

    fn tell_capture(&self, command: CaptureCommand) {
        // Fails only when the thread has ended, which the loop hears by itself.
        let _ = self.capture.commands.send(command);
    }

    /// Whether somebody cannot go on without a keyframe of this encode.
    fn picture(&mut self, rendition: Rendition, unit: &AccessUnit) -> bool {
        // What was under way when privacy began.
        if self.pins.is_private() {
            return false;
        }
        if rendition == Rendition::Main {
            self.control.stills.frame(unit);
            self.statistics.picture(unit);
        }
        self.fanout.video(rendition, unit)
    }

    fn sound(&mut self, packet: &OpusPacket) {
        if !self.pins.is_private() {
            self.statistics.sound_packet(packet.data.len());
            self.fanout.audio(packet);
        }
    }

    fn captured(&mut self, now: Instant, event: CaptureEvent) {
        match event {
            // Taken by the loop itself.
            CaptureEvent::Frame(..) => {}
            CaptureEvent::Started(format) => {
                let (width, height, fps) = (format.width, format.height, format.fps);
                log::info!(width, height, fps, detail = format.detail.as_str(); "camera delivers");
                self.fanout.started(format.forces_keyframes);
                self.statistics.camera_started(now, &format);
                self.control.stills.started(format.takes_stills);
                self.camera = Camera::Running;
                // No keyframe is asked for: a stream begins with one, and an order now would hold up the
                // one that the viewer for whom the camera starts needs moments later.
                self.station.handle(now, Input::CameraStarted { encodes_twice: format.encodes_twice });
            }
            CaptureEvent::Controls(controls) => self.control.take_controls(controls),
            CaptureEvent::ControlSet { ticket, outcome } => self.control_set(ticket, outcome),
            CaptureEvent::Snapshot(jpeg) => self.still_made(Ok(jpeg)),
            CaptureEvent::SubstreamFailed { reason } => {
                log::warn!(reason = reason.as_str(); "no second encode: slow viewers get fewer pictures instead");
                self.station.handle(now, Input::SubstreamFailed);
            }
            CaptureEvent::Paused => {
                log::debug!("camera rests");
                self.camera = Camera::Resting;
            }
            CaptureEvent::Lost { reason } => {
                log::warn!(reason = reason.as_str(); "camera lost; it is tried again");
                self.camera = Camera::Lost(reason);
                self.station.handle(now, Input::CameraLost(true));
            }
        }
    }

    fn heard(&mut self, now: Instant, event: AudioEvent) {
        match &event {
            AudioEvent::Started { .. } => self.is_heard = true,
            AudioEvent::Paused | AudioEvent::Lost { .. } => self.is_heard = false,
            AudioEvent::Packet(_) => {}
        }
        match event {
            // Taken by the loop itself.
            AudioEvent::Packet(_) => {}
            AudioEvent::Started { detail } => {
                log::info!(detail = detail.as_str(); "microphone delivers");
                self.statistics.sound(now, Ok(&detail));
                self.control.microphone = MicrophoneState::Ready;
            }
            AudioEvent::Paused => log::debug!("microphone rests"),
            AudioEvent::Lost { reason } => {
                log::warn!(reason = reason.as_str(); "microphone lost; it is tried again");
                self.statistics.sound(now, Err(&reason));
                self.control.microphone = MicrophoneState::Lost;
            }
        }
    }

    fn broker_said(&mut self, now: Instant, event: MqttEvent) {
        match event {
            MqttEvent::Connected => {
                self.is_online = true;
                self.statistics.broker(now, true);
                self.station.handle(now, Input::BrokerConnected);
            }
            MqttEvent::Disconnected { .. } => {
                self.is_online = false;
                self.statistics.broker(now, false);
                self.station.handle(now, Input::BrokerLost);
            }
            MqttEvent::Message { topic, payload, retained } => {
                self.station.handle(now, Input::Message { topic, payload, retained });
            }
        }
    }

    fn peer_work_done(&mut self, now: Instant, done: Done) {
        for input in self.peers.take_done(done) {
            if !self.uplink_took(now, &input) {
                self.station.handle(now, input);
            }
        }
    }

    fn peer_said(&mut self, now: Instant, peer: PeerId, event: PeerEvent) {
        if self.uplink_heard(now, peer, &event) {
            return;
        }
        let input = match event {
            PeerEvent::Candidate { candidate, sdp } => Input::PeerCandidate { peer, candidate, sdp },
            PeerEvent::GatheringComplete { sdp } => Input::PeerGathered { peer, sdp },
            PeerEvent::Connected if !self.peers.may_tell_connected(peer) => return,
            PeerEvent::Connected => {
                self.statistics.heard(now, peer, true);
                Input::PeerConnected(peer)
            }
            PeerEvent::PathFound { .. }
                if self.camera != Camera::Running || !self.fanout.lacks_a_beginning() =>
            {
                return;
            }
            PeerEvent::PathFound { round_trip } => {
                log::debug!(peer:%, ms = round_trip.as_millis(); "who is about to watch will need a keyframe");
                Input::JoinForeseen { round_trip }
            }
            PeerEvent::Failed => Input::PeerLost { peer, reason: "silent" },
            PeerEvent::Closed => Input::PeerLost { peer, reason: "closed" },
            PeerEvent::KeyframeRequested => Input::KeyframeWanted(self.fanout.rendition(peer)),
            PeerEvent::ControlOpened => return self.control.open(peer),
            PeerEvent::ControlClosed => return self.control.shut(peer),
            PeerEvent::Control { is_text, data } => return self.control_heard(now, peer, is_text, &data),
            PeerEvent::PathLost(loss) => {
                let (input, why) = match loss {
                    Loss::AddressGone => (Input::PathLost(peer), "the board's address is gone"),
                    Loss::Silent => (Input::PathSilent(peer), "nothing comes from the viewer"),
                };
                log::info!(peer:%, why, broker = self.is_online; "the path to a viewer is lost");
                input
            }
            PeerEvent::RelayLost { was_used } => Input::RelayLost { peer, was_used },
            PeerEvent::Disconnected => return self.statistics.heard(now, peer, false),
            PeerEvent::SoundArrived => return log::debug!(peer:%; "viewer sends sound"),
            PeerEvent::Estimate(bitrate) => {
                log::trace!(peer:%, kbps = bitrate.kbps(); "bandwidth estimate");
                Input::Estimate { peer, bitrate }
            }
        };
        if !self.uplink_took(now, &input) {
            self.station.handle(now, input);
        }
    }

    /// Takes changed keys over: `farol pair` and `farol revoke` write the file and need not tell us.
    fn look_at_keys(&mut self, now: Instant) {
        if let Some(viewers) = self.keys.as_mut().and_then(Keys::changed) {
            self.station.handle(now, Input::Keys(viewers));
        }
    }

    /// A lit offer names addresses; when the board has others, it is of no use any more. Those who watch by an
    /// address that is gone are told of by their peer connections, which ask the port where media may go.
    fn look_at_network(&mut self, now: Instant) {
        if !self.network.has_changed() {
            return;
        }
        log::info!(addresses = self.network.to_string().as_str(); "the board's addresses have changed");
        self.port.offer(self.network.addresses());
        self.mqtt.network_changed();
        // A board without a network has nothing better to offer, and nobody to tell.
        if !self.network.addresses().is_empty() {
            self.station.handle(now, Input::NetworkChanged);
            self.uplinks_moved(now);
        }
    }

    /// Passwords for a time are made by the wall clock.
    fn look_at_clock(&mut self, now: Instant) {
        if let Some(input) = self.servers.look_at_clock(now) {
            self.station.handle(now, input);
        }
    }

    /// One line for `systemctl status`.
    fn status(&self) -> String {
        let camera = match &self.camera {
            _ if self.pins.is_private() => "privacy".to_string(),
            Camera::Resting => "camera rests".to_string(),
            Camera::Running => "camera runs".to_string(),
            Camera::Lost(reason) => format!("camera lost: {reason}"),
        };
        let broker = if self.is_online { "offer lit" } else { "no broker" };
        let watching = self.station.watching();
        let uplinks = match self.uplinks.live() {
            0 => String::new(),
            1 => ", 1 uplink".to_string(),
            live => format!(", {live} uplinks"),
        };
        format!("{broker}, {watching} watching{uplinks}, {camera}")
    }

    async fn stop(mut self, now: Instant, ending: Ending) -> anyhow::Result<Ending> {
        if ending == Ending::Stop {
            self.manager.stopping();
        }
        self.station.handle(now, Input::Shutdown);
        self.end_uplinks(now);
        self.carry_out(now);
        let goodbyes = async {
            // The viewers' `bye` leaves before their connections close.
            self.mqtt.close().await;
            self.peers.close_all().await;
        };
        // A program that films for us ends before we do, with all that it has started.
        let last_words = async { tokio::join!(goodbyes, self.uplinks.finish(now), self.capture.stop()) };
        if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
            log::warn!("stopped without waiting longer for the broker, the viewers and the media servers");
            if ending == Ending::Anew {
                // What does not end would be in the way of its successor; the service manager clears it away.
                anyhow::bail!(
                    "the new configuration could not be taken over in place, since something did not end in {} s",
                    LAST_WORDS.as_secs()
                );
            }
        }
        Ok(ending)
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn next_sound(microphone: &mut Option<Microphone>) -> Option<AudioEvent> {
    match microphone {
        Some(microphone) => microphone.events.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
