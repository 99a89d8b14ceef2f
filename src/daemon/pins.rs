//! What do viewers see of the board's pins, and how do they move what hangs on them?
//!
//! An order of a viewer's becomes one of the board's; what the board says becomes what viewers are shown.

use std::sync::mpsc as std_mpsc;
use std::time::Instant;

use crate::engine::control::{Aim, Axis, Code, Motion, Night, Reply, Request, State, Turn};
use crate::engine::night::NightMode;
use crate::io::gpio::{BoardCommand, BoardEvent, BoardParts};

/// The board's end, when there is one, and where its axes turn to.
#[derive(Debug, Default)]
pub(super) struct Pins {
    board: Option<(BoardParts, std_mpsc::Sender<BoardCommand>)>,
    pan: f32,
    tilt: f32,
}

impl Pins {
    /// There is a board. What it has is shown from now on.
    #[cfg_attr(not(test), expect(dead_code, reason = "called where the board is started"))]
    pub(super) fn wire(
        &mut self,
        state: &mut State,
        has: BoardParts,
        commands: std_mpsc::Sender<BoardCommand>,
    ) {
        let axis = |limits: Option<(f32, f32)>| {
            limits.map(|(min, max)| Axis { min, max, at: 0.0_f32.clamp(min, max.max(min)) })
        };
        state.pan = axis(has.pan);
        state.tilt = axis(has.tilt);
        state.lamp = has.lamp.then_some(0);
        state.night = has.night.then_some(Night { mode: NightMode::Auto, is_night: false });
        state.motion = has.motion.then_some(Motion { is_active: false, last: None });
        self.board = Some((has, commands));
    }

    /// Shows what the board said. Privacy is the station's, which stops the camera, too.
    #[cfg_attr(not(test), expect(dead_code, reason = "called where the board's events are read"))]
    pub(super) fn said(&mut self, state: &mut State, now: Instant, event: &BoardEvent) {
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

    /// Passes an order of a viewer's on, if the board has what it is about.
    pub(super) fn execute(&mut self, id: u64, request: &Request) -> Reply {
        let lacks = |text| Reply::error(Some(id), Code::Unavailable, text);
        let has = self.board.as_ref().map(|(has, _)| *has).unwrap_or_default();
        match *request {
            Request::Move(aim) => self.aim(id, has, aim),
            Request::Night(_) if !has.night => lacks("this camera does not tell night from day"),
            Request::Night(mode) => self.order(BoardCommand::Night(mode), Reply::ok(id)),
            Request::Lamp(_) if !has.lamp => lacks("this camera has no lamp"),
            Request::Lamp(level) => self.order(BoardCommand::Lamp(level), Reply::ok(id)),
            _ => lacks("that is not on the board's pins"),
        }
    }

    /// Angles beyond the limits become the limits; an axis that is not there cannot be asked for.
    fn aim(&mut self, id: u64, has: BoardParts, aim: Aim) -> Reply {
        if (aim.pan.is_some() && has.pan.is_none()) || (aim.tilt.is_some() && has.tilt.is_none()) {
            let text = match (has.pan, has.tilt) {
                (None, None) => "this camera does not turn",
                (Some(_), _) => "this camera turns sideways only",
                (None, Some(_)) => "this camera turns upwards and downwards only",
            };
            return Reply::error(Some(id), Code::Unavailable, text);
        }
        let pan = target(&mut self.pan, has.pan, aim.pan);
        let tilt = target(&mut self.tilt, has.tilt, aim.tilt);
        self.order(BoardCommand::Move { pan, tilt }, Reply::moved(id, pan, tilt))
    }

    fn order(&self, command: BoardCommand, reply: Reply) -> Reply {
        if let Some((_, commands)) = &self.board {
            // Fails only when the thread has ended, which the loop hears by itself.
            let _ = commands.send(command);
        }
        reply
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

    fn reply(pins: &mut Pins, request: Request) -> Value {
        serde_json::from_str(&pins.execute(1, &request).into_text()).expect("JSON")
    }

    fn aim(pan: Option<Turn>, tilt: Option<Turn>) -> Request {
        Request::Move(Aim { pan, tilt })
    }

    #[test]
    fn a_board_without_pins_does_nothing_and_says_so() {
        let mut pins = Pins::default();
        for request in [aim(Some(Turn::To(1.0)), None), Request::Night(NightMode::Day), Request::Lamp(10)] {
            assert_eq!(reply(&mut pins, request)["code"], "unavailable");
        }
    }

    #[test]
    fn moves_end_at_the_limits_and_steps_add_up() {
        let (sender, orders) = std_mpsc::channel();
        let (mut pins, mut state) = (Pins::default(), State::default());
        pins.wire(&mut state, BoardParts { pan: Some((-90.0, 90.0)), ..BoardParts::default() }, sender);
        for (turn, at) in [(Turn::To(30.0), 30.0), (Turn::By(-10.0), 20.0), (Turn::By(500.0), 90.0)] {
            assert_eq!(
                reply(&mut pins, aim(Some(turn), None)),
                json!({ "v": 1, "t": "ok", "id": 1, "pan": at })
            );
            assert_eq!(orders.try_recv(), Ok(BoardCommand::Move { pan: Some(at), tilt: None }));
        }
        let refused = reply(&mut pins, aim(Some(Turn::To(0.0)), Some(Turn::To(0.0))));
        assert_eq!(refused["text"], "this camera turns sideways only");
        assert!(orders.try_recv().is_err(), "then it does not turn at all");
    }

    #[test]
    fn what_the_board_says_is_shown() {
        let (sender, orders) = std_mpsc::channel();
        let (mut pins, mut state) = (Pins::default(), State::default());
        let has = BoardParts {
            motion: true,
            night: true,
            lamp: true,
            tilt: Some((-30.0, 60.0)),
            ..BoardParts::default()
        };
        pins.wire(&mut state, has, sender);
        let now = Instant::now();
        for event in [
            BoardEvent::Lamp(40),
            BoardEvent::Night { mode: NightMode::Night, is_night: true },
            BoardEvent::Moved { pan: None, tilt: Some(12.0) },
            BoardEvent::Motion(true),
        ] {
            pins.said(&mut state, now, &event);
        }
        let seen = state.seen_by(PeerId(1), Rights::ALL, now);
        assert_eq!(seen["lamp"], 40);
        assert_eq!(seen["night"], json!({ "mode": "night", "is_night": true }));
        assert_eq!(seen["tilt"], json!({ "min": -30.0, "max": 60.0, "at": 12.0 }));
        assert_eq!(seen["motion"], json!({ "is_active": true, "last_s": 0 }));
        assert_eq!(seen["may"], json!(["snapshot", "move", "night", "lamp"]));
        reply(&mut pins, Request::Lamp(70));
        assert_eq!(orders.try_recv(), Ok(BoardCommand::Lamp(70)));
    }
}
