//! What are viewers told, and what do they ask for, on their control channels?
//!
//! Who is heard, what a message means and when news is due is decided in
//! [`engine::control`](crate::engine::control); here it is done. Every request gets one reply, if need be
//! that nobody answered in time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::ControlValue;
use crate::engine::control::{
    CameraControl, CameraState, Code, ControlRefusal, Desk, Heard, MicrophoneState, Reply, Request, State,
    controls_news,
};
use crate::engine::rights::Rights;
use crate::engine::station::Input;
use crate::io::capture::CaptureCommand;
use crate::io::gpio::BoardParts;
use crate::io::peer::Say;
use crate::units::PeerId;

use super::remote::Remote;
use super::stills::{Made, Needs, Stills};
use super::{Camera, Daemon};

/// How long the camera may take to answer; its thread looks every 100 ms, a driver may need a second.
const SET_PATIENCE: Duration = Duration::from_secs(5);
/// Settings that the camera has not answered, of all viewers: beyond that it is busy.
const SETTINGS_HELD: usize = 64;

/// What those hear who want a still meanwhile.
const PRIVATE: &str = "camera and microphone are switched off at the board";

/// All control channels, and what is shown on them.
pub(super) struct Control {
    /// What viewers are shown. The camera and the number of viewers are filled in when it is told.
    pub(super) state: State,
    pub(super) stills: Stills,
    pub(super) remote: Remote,
    /// As far as privacy lets it.
    pub(super) microphone: MicrophoneState,
    viewers: BTreeMap<PeerId, Viewer>,
    controls: Vec<CameraControl>,
    /// Rises with each change of the controls.
    controls_version: u64,
    settings: BTreeMap<u64, Setting>,
    next_ticket: u64,
}

/// One viewer's channel; there is a desk while it is open.
struct Viewer {
    rights: Rights,
    desk: Option<Desk>,
}

/// A camera control that is being set.
struct Setting {
    peer: PeerId,
    id: u64,
    until: Instant,
}

impl Control {
    pub(super) fn new(microphone: MicrophoneState, pins: BoardParts) -> Control {
        let mut state = State::default();
        Control {
            remote: Remote::new(&mut state, pins),
            state,
            microphone,
            stills: Stills::default(),
            viewers: BTreeMap::new(),
            controls: Vec::new(),
            controls_version: 0,
            settings: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// A viewer's rights are known, or have changed.
    pub(super) fn admit(&mut self, peer: PeerId, rights: Rights) {
        let viewer = self.viewers.entry(peer).or_insert(Viewer { rights, desk: None });
        viewer.rights = rights;
        if let Some(desk) = &mut viewer.desk {
            desk.set_rights(rights);
        }
    }

    /// Its channel is open.
    pub(super) fn open(&mut self, peer: PeerId) {
        if let Some(viewer) = self.viewers.get_mut(&peer) {
            viewer.desk = Some(Desk::new(peer, viewer.rights, self.controls_version));
        }
    }

    /// Its channel is closed.
    pub(super) fn shut(&mut self, peer: PeerId) {
        if let Some(viewer) = self.viewers.get_mut(&peer) {
            viewer.desk = None;
        }
    }

    /// It is gone.
    pub(super) fn remove(&mut self, peer: PeerId) {
        self.viewers.remove(&peer);
    }

    /// The camera has these controls now.
    pub(super) fn take_controls(&mut self, controls: Vec<CameraControl>) {
        self.state.has_controls = controls.iter().any(|control| control.is_settable);
        self.controls = controls;
        self.controls_version += 1;
    }

    /// When something is to be told, or patience ends.
    pub(super) fn due(&self) -> Option<Instant> {
        let news = self.desks().filter_map(|desk| desk.due(&self.state, self.controls_version));
        // Tickets are handed out in the order of time.
        let setting = self.settings.first_key_value().map(|(_, setting)| setting.until);
        news.chain(setting).chain(self.stills.due()).min()
    }

    fn desks(&self) -> impl Iterator<Item = &Desk> {
        self.viewers.values().filter_map(|viewer| viewer.desk.as_ref())
    }

    fn desk(&mut self, peer: PeerId) -> Option<&mut Desk> {
        self.viewers.get_mut(&peer)?.desk.as_mut()
    }

    /// Those who wait for a still, with their requests; they wait no longer.
    fn take_still_requests(&mut self) -> Vec<(PeerId, u64)> {
        self.stills.done();
        let waiting = self.viewers.iter_mut().filter_map(|(&peer, viewer)| {
            let id = viewer.desk.as_mut()?.take_still()?;
            Some((peer, id))
        });
        waiting.collect()
    }
}

impl Daemon {
    /// A message has come.
    pub(super) fn control_heard(&mut self, now: Instant, peer: PeerId, is_text: bool, data: &[u8]) {
        let Some(desk) = self.control.desk(peer) else { return };
        let heard = if is_text { desk.hear(now, data) } else { Heard::Answered(desk.hear_binary(now)) };
        match heard {
            Heard::Answered(reply) => self.reply(peer, reply),
            Heard::Asked(id, request) => {
                log::debug!(peer:%, request:?; "a viewer asks");
                if let Some(reply) = self.execute(now, peer, id, request) {
                    self.reply(peer, reply);
                }
            }
        }
    }

    /// Does what is asked for; `None` when the reply comes later.
    fn execute(&mut self, now: Instant, peer: PeerId, id: u64, request: Request) -> Option<Reply> {
        match request {
            Request::Status => {
                self.update_state();
                let rights = self.control.desk(peer)?.rights();
                Some(Reply::state(id, self.control.state.seen_by(peer, rights, now)))
            }
            Request::Statistics { of_all } => Some(self.statistics_for(now, peer, id, of_all)),
            Request::Controls => Some(Reply::controls(id, &self.control.controls)),
            Request::Set { control, value } => self.set_control(now, peer, id, control, value),
            Request::Snapshot => self.ask_for_still(now, peer, id),
            request @ (Request::Move(_) | Request::Night(_) | Request::Lamp(_)) => {
                let (command, reply) = self.control.remote.order(id, &request);
                command.into_iter().for_each(|command| self.pins.tell(command));
                Some(reply)
            }
        }
    }

    fn set_control(
        &mut self,
        now: Instant,
        peer: PeerId,
        id: u64,
        name: String,
        value: ControlValue,
    ) -> Option<Reply> {
        if self.control.settings.len() >= SETTINGS_HELD {
            return Some(Reply::error(Some(id), Code::Busy, "the camera has many settings to take already"));
        }
        let ticket = self.control.next_ticket;
        self.control.next_ticket += 1;
        self.control.settings.insert(ticket, Setting { peer, id, until: now + SET_PATIENCE });
        self.tell_capture(CaptureCommand::SetControl { ticket, name, value });
        None
    }

    /// The camera has answered.
    pub(super) fn control_set(&mut self, ticket: u64, outcome: Result<ControlValue, ControlRefusal>) {
        let Some(Setting { peer, id, .. }) = self.control.settings.remove(&ticket) else { return };
        let reply = match outcome {
            Ok(value) => Reply::value(id, &value),
            Err(refusal) => Reply::refusal(id, &refusal),
        };
        self.reply(peer, reply);
    }

    fn ask_for_still(&mut self, now: Instant, peer: PeerId, id: u64) -> Option<Reply> {
        if let Camera::Lost(_) = self.camera {
            self.control.desk(peer)?.take_still();
            return Some(Reply::error(Some(id), Code::Unavailable, "the camera is lost; it is tried again"));
        }
        if self.pins.is_private() {
            self.control.desk(peer)?.take_still();
            return Some(Reply::error(Some(id), Code::Unavailable, PRIVATE));
        }
        match self.control.stills.ask(now) {
            Needs::Snapshot => self.tell_capture(CaptureCommand::Snapshot),
            Needs::Keyframe => self.station.handle(now, Input::KeyframeWanted),
            Needs::Nothing => {}
        }
        None
    }

    /// There is a still, or there will be none.
    pub(super) fn still_made(&mut self, made: Made) {
        // One may have been under way when privacy began.
        let made = if self.pins.is_private() { Err(PRIVATE.to_owned()) } else { made };
        for (peer, id) in self.control.take_still_requests() {
            match &made {
                Ok(jpeg) => {
                    let reply = Reply::still(id, jpeg.len()).into_text();
                    self.say(peer, Say::Still { reply, jpeg: jpeg.clone() });
                }
                Err(why) => self.reply(peer, Reply::error(Some(id), Code::Unavailable, why)),
            }
        }
    }

    /// Tells news, and ends what was waited for long enough.
    pub(super) fn tend_control(&mut self, now: Instant) {
        self.update_state();
        while let Some(entry) = self.control.settings.first_entry()
            && entry.get().until <= now
        {
            let Setting { peer, id, .. } = entry.remove();
            self.reply(peer, Reply::error(Some(id), Code::Unavailable, "the camera has not answered in 5 s"));
        }
        if self.control.stills.due().is_some_and(|until| until <= now) {
            self.still_made(Err("the camera gave no whole picture in 5 s".to_owned()));
        }
        let Control { viewers, state, controls, controls_version, .. } = &mut self.control;
        for (&peer, viewer) in viewers {
            let Some(desk) = &mut viewer.desk else { continue };
            let state = desk.state_news(now, state);
            let controls = desk.wants_controls(now, *controls_version).then(|| controls_news(controls));
            if let Some(connection) = self.peers.get(peer) {
                state.into_iter().chain(controls).for_each(|news| connection.say(Say::Text(news)));
            }
        }
    }

    fn update_state(&mut self) {
        self.control.state.watching = self.station.watching();
        self.control.state.talk = self.talk.told();
        let is_private = self.pins.is_private();
        self.control.state.microphone = match self.control.microphone {
            MicrophoneState::Ready | MicrophoneState::Lost if is_private => MicrophoneState::Private,
            microphone => microphone,
        };
        self.control.state.camera = match self.camera {
            _ if is_private => CameraState::Private,
            Camera::Resting => CameraState::Resting,
            Camera::Running => CameraState::Ready,
            Camera::Lost(_) => CameraState::Lost,
        };
    }

    fn reply(&self, peer: PeerId, reply: Reply) {
        self.say(peer, Say::Text(reply.into_text()));
    }

    fn say(&self, peer: PeerId, what: Say) {
        if let Some(connection) = self.peers.get(peer) {
            connection.say(what);
        }
    }
}
