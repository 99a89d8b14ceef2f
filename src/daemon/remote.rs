//! What do viewers see of the board's pins, and how do they move what hangs on them?
//!
//! An order of a viewer's becomes one of the board's; what the board says becomes what viewers are shown.

use std::time::Instant;

use crate::engine::control::{Aim, Axis, Code, Motion, Night, Reply, Request, State, Turn};
use crate::engine::night::NightMode;
use crate::io::gpio::{BoardCommand, BoardEvent, BoardParts};

/// What the board has for viewers, and where its axes turn to.
#[derive(Debug)]
pub(super) struct Remote {
    has: BoardParts,
    pan: f32,
    tilt: f32,
}

impl Remote {
    /// For a board that has this, which is shown from now on.
    pub(super) fn new(state: &mut State, has: BoardParts) -> Remote {
        let middle = |(min, max): (f32, f32)| 0.0_f32.clamp(min, max.max(min));
        let axis = |(min, max)| Axis { min, max, at: middle((min, max)) };
        (state.pan, state.tilt) = (has.pan.map(axis), has.tilt.map(axis));
        state.lamp = has.lamp.then_some(0);
        state.night = has.night.then_some(Night { mode: NightMode::Auto, is_night: false });
        state.motion = has.motion.then_some(Motion { is_active: false, last: None });
        Remote { has, pan: has.pan.map_or(0.0, middle), tilt: has.tilt.map_or(0.0, middle) }
    }

    /// Shows what the board said. Privacy is the station's, which stops the camera, too.
    pub(super) fn said(&self, state: &mut State, now: Instant, event: &BoardEvent) {
        match event {
            BoardEvent::Motion(is_active) => {
                state.motion = Some(Motion { is_active: *is_active, last: Some(now) });
            }
            BoardEvent::Night { mode, is_night } => {
                state.night = Some(Night { mode: *mode, is_night: *is_night });
            }
            BoardEvent::Lamp(level) => state.lamp = Some(*level),
            BoardEvent::Moved { pan, tilt } => {
                for (axis, at) in [(&mut state.pan, pan), (&mut state.tilt, tilt)] {
                    if let (Some(axis), Some(at)) = (axis, at) {
                        axis.at = *at;
                    }
                }
            }
            BoardEvent::Privacy(_) | BoardEvent::Lost { .. } | BoardEvent::Back => {}
        }
    }

    /// What a viewer's order is to the board, if it has what it is about, and what the viewer is told.
    pub(super) fn order(&mut self, id: u64, request: &Request) -> (Option<BoardCommand>, Reply) {
        let lacks = |text| (None, Reply::error(Some(id), Code::Unavailable, text));
        match *request {
            Request::Move(aim) => self.aim(id, aim),
            Request::Night(_) if !self.has.night => lacks("this camera does not tell night from day"),
            Request::Night(mode) => (Some(BoardCommand::Night(mode)), Reply::ok(id)),
            Request::Lamp(_) if !self.has.lamp => lacks("this camera has no lamp"),
            Request::Lamp(level) => (Some(BoardCommand::Lamp(level)), Reply::ok(id)),
            _ => lacks("that is not on the board's pins"),
        }
    }

    /// Angles beyond the limits become the limits; an axis that is not there cannot be asked for.
    fn aim(&mut self, id: u64, aim: Aim) -> (Option<BoardCommand>, Reply) {
        let has = self.has;
        if (aim.pan.is_some() && has.pan.is_none()) || (aim.tilt.is_some() && has.tilt.is_none()) {
            let text = match (has.pan, has.tilt) {
                (None, None) => "this camera does not turn",
                (Some(_), _) => "this camera turns sideways only",
                (None, Some(_)) => "this camera turns upwards and downwards only",
            };
            return (None, Reply::error(Some(id), Code::Unavailable, text));
        }
        let pan = target(&mut self.pan, has.pan, aim.pan);
        let tilt = target(&mut self.tilt, has.tilt, aim.tilt);
        (Some(BoardCommand::Move { pan, tilt }), Reply::moved(id, pan, tilt))
    }
}

/// Where an axis turns to. Steps count from the last target, so that they add up while it turns.
fn target(at: &mut f32, limits: Option<(f32, f32)>, turn: Option<Turn>) -> Option<f32> {
    let (min, max) = limits?;
    *at = match turn? {
        Turn::To(angle) => angle,
        Turn::By(step) => *at + step,
    }
    .clamp(min, max.max(min));
    Some(*at)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "what is shown is of a moment")]

    use serde_json::{Value, json};

    use super::*;
    use crate::engine::rights::Rights;
    use crate::units::PeerId;

    fn order(remote: &mut Remote, request: Request) -> (Option<BoardCommand>, Value) {
        let (command, reply) = remote.order(1, &request);
        (command, serde_json::from_str(&reply.into_text()).expect("JSON"))
    }

    fn aim(pan: Option<Turn>, tilt: Option<Turn>) -> Request {
        Request::Move(Aim { pan, tilt })
    }

    #[test]
    fn a_board_without_pins_does_nothing_and_says_so() {
        let mut remote = Remote::new(&mut State::default(), BoardParts::default());
        for request in [aim(Some(Turn::To(1.0)), None), Request::Night(NightMode::Day), Request::Lamp(10)] {
            let (command, reply) = order(&mut remote, request);
            assert_eq!((command, &reply["code"]), (None, &json!("unavailable")));
        }
    }

    #[test]
    fn moves_end_at_the_limits_and_steps_add_up() {
        let has = BoardParts { pan: Some((-90.0, 90.0)), ..BoardParts::default() };
        let mut remote = Remote::new(&mut State::default(), has);
        for (turn, at) in [(Turn::To(30.0), 30.0), (Turn::By(-10.0), 20.0), (Turn::By(500.0), 90.0)] {
            let (command, reply) = order(&mut remote, aim(Some(turn), None));
            assert_eq!(reply, json!({ "v": 1, "t": "ok", "id": 1, "pan": at }));
            assert_eq!(command, Some(BoardCommand::Move { pan: Some(at), tilt: None }));
        }
        let (command, reply) = order(&mut remote, aim(Some(Turn::To(0.0)), Some(Turn::To(0.0))));
        assert_eq!(reply["text"], "this camera turns sideways only");
        assert_eq!(command, None, "then it does not turn at all");
    }

    #[test]
    fn what_the_board_says_is_shown() {
        let mut state = State::default();
        let tilt = Some((-30.0, 60.0));
        let has = BoardParts { motion: true, night: true, lamp: true, tilt, ..BoardParts::default() };
        let mut remote = Remote::new(&mut state, has);
        let now = Instant::now();
        for event in [
            BoardEvent::Lamp(40),
            BoardEvent::Night { mode: NightMode::Night, is_night: true },
            BoardEvent::Moved { pan: None, tilt: Some(12.0) },
            BoardEvent::Motion(true),
        ] {
            remote.said(&mut state, now, &event);
        }
        let seen = state.seen_by(PeerId(1), Rights::ALL, now);
        assert_eq!(seen["lamp"], 40);
        assert_eq!(seen["night"], json!({ "mode": "night", "is_night": true }));
        assert_eq!(seen["tilt"], json!({ "min": -30.0, "max": 60.0, "at": 12.0 }));
        assert_eq!(seen["motion"], json!({ "is_active": true, "last_s": 0 }));
        assert_eq!(seen["may"], json!(["snapshot", "move", "night", "lamp"]));
        assert_eq!(order(&mut remote, Request::Lamp(70)).0, Some(BoardCommand::Lamp(70)));
    }
}
