//! What the board shows, hears by touch and moves: one thread for everything on its pins.
//!
//! The thread `farol-gpio` sleeps in poll(2) until a line has an edge, somebody says something, or time
//! has come for one of its decisions, which are made in [`engine::night`](crate::engine::night),
//! [`engine::motion`](crate::engine::motion) and [`engine::servo`](crate::engine::servo). A line that cannot
//! be had is told in words and tried again each second, beside the others that work.
//!
//! | file | question |
//! |---|---|
//! | `port` | how is one line had, read and switched |
//! | `privacy` | what does the privacy switch or button say |
//! | `light` | what is switched by night: lamp and infrared-cut filter |
//! | `pwm` | how are servos and a dimmed lamp driven |
//! | `worker` | what the thread does, in which order |

mod light;
mod port;
mod privacy;
mod pwm;
mod worker;

use std::io::{PipeWriter, Write as _};
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::board;
use crate::engine::night::NightMode;

use worker::Worker;

/// What fingers and sensors do within seconds. When it is full the thread waits, since privacy must not be
/// lost; the loop that reads it does so before anything else that could keep it.
const EVENTS_HELD: usize = 32;
/// How long the LED may take to be lit. It is one system call of a thread that sleeps; more is a board in
/// trouble, and media does not wait for that.
const LED_PATIENCE: Duration = Duration::from_millis(20);

/// What is on the pins: events out, commands in. Dropping it ends the thread, which leaves everything off.
#[derive(Debug)]
pub struct Board {
    /// What happens, in order.
    pub events: mpsc::Receiver<BoardEvent>,
    /// What is to be done; read at once after [`Board::tell`], and within 100 ms in any case.
    pub commands: std_mpsc::Sender<BoardCommand>,
    /// What there is.
    pub has: BoardParts,
    /// Whether the LED is lit, each time that it was told to be.
    lit: std_mpsc::Receiver<bool>,
    thread: Wake,
}

/// What hangs on the pins, as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BoardParts {
    /// A privacy switch or button.
    pub privacy: bool,
    /// A motion sensor.
    pub motion: bool,
    /// Day and night.
    pub night: bool,
    /// A lamp, dimmed or not.
    pub lamp: bool,
    /// The camera turns to the sides, within these degrees.
    pub pan: Option<(f32, f32)>,
    /// The camera turns up and down, within these degrees.
    pub tilt: Option<(f32, f32)>,
}

/// What happens on the pins.
#[derive(Clone, Debug, PartialEq)]
pub enum BoardEvent {
    /// Privacy begins or is over. Said first of all at the start, where there is a switch or button; a switch
    /// that cannot be read counts as privacy.
    Privacy(bool),
    /// Something moves, or does not any more.
    Motion(bool),
    /// It is day or night. Said at the start too.
    Night {
        /// What viewers asked for last.
        mode: NightMode,
        /// What holds.
        is_night: bool,
    },
    /// The lamp shines at so many percent. Said at the start too.
    Lamp(u8),
    /// The camera has turned, to so many degrees. Said at the start too, and while it turns five times
    /// a second.
    Moved {
        /// To the sides.
        pan: Option<f32>,
        /// Up and down.
        tilt: Option<f32>,
    },
    /// Something configured is missing or failed. It is tried again by itself. Said again when something else
    /// is the matter.
    Lost {
        /// What happened, to what, and what to do.
        reason: String,
    },
    /// Everything is there again.
    Back,
}

/// What can be done on the pins. What there is nothing for is ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BoardCommand {
    /// Light the LED or put it out.
    Led(bool),
    /// Let it be day or night, or let clock and sensor decide.
    Night(NightMode),
    /// Let the lamp shine at so many percent, until night falls or ends.
    Lamp(u8),
    /// Turn the camera, to degrees from the middle; what is beyond its limits is taken as far as they go.
    Move {
        /// To the sides; right is positive.
        pan: Option<f32>,
        /// Up and down; up is positive.
        tilt: Option<f32>,
    },
}

impl Board {
    /// Says it, and wakes the thread for it.
    pub fn tell(&self, command: BoardCommand) {
        // Fails only when the thread has ended, which its receiver hears by itself.
        let _ = self.commands.send(command);
        self.thread.wake();
    }

    /// Switches the LED, and returns once that is done: what leaves the board after this does so under a lit
    /// LED. When the line is lost or the thread late it returns all the same, after 20 ms at most.
    pub fn light(&self, is_on: bool) {
        while self.lit.try_recv().is_ok() {}
        self.tell(BoardCommand::Led(is_on));
        let _ = self.lit.recv_timeout(LED_PATIENCE);
    }
}

/// Starts the thread `farol-gpio`; `None` when nothing is configured, and then no chip is opened. It cannot
/// fail: what is wrong comes as [`BoardEvent::Lost`].
pub fn spawn(board: &board::Board) -> Option<Board> {
    let has = BoardParts {
        privacy: board.privacy.is_some(),
        motion: board.motion.is_some(),
        night: board.night.is_some(),
        lamp: board.lamp.is_some() || board.night.as_ref().is_some_and(|night| night.lamp.is_some()),
        pan: board.pan.as_ref().map(|pan| pan.range_deg),
        tilt: board.tilt.as_ref().map(|tilt| tilt.range_deg),
    };
    if has == BoardParts::default() && board.led.is_none() {
        return None;
    }
    let (events_in, events) = mpsc::channel(EVENTS_HELD);
    // Commands are few and small, and their sender must never wait for a pin: no bound is needed.
    let (commands, commands_out) = std_mpsc::channel();
    // One answer for each order to the LED; those that nobody waited for are thrown away with the next.
    let (lit_in, lit) = std_mpsc::channel();
    let started = std::io::pipe().and_then(|(woken, wake)| {
        let worker = Worker::new(board, commands_out, events_in.clone(), lit_in, woken);
        let thread = thread::Builder::new().name("farol-gpio".into()).spawn(move || worker.run())?;
        Ok(Wake { pipe: Some(wake), thread: Some(thread) })
    });
    let thread = started.unwrap_or_else(|cause| {
        let reason =
            format!("the thread for the pins could not be started: {cause}; free memory or raise TasksMax=");
        // The channel is new and empty, so it takes both. Nothing can be read, so privacy holds.
        let _ = events_in.try_send(BoardEvent::Privacy(has.privacy));
        let _ = events_in.try_send(BoardEvent::Lost { reason });
        Wake { pipe: None, thread: None }
    });
    Some(Board { events, commands, has, lit, thread })
}

/// The thread, and the pipe that it sleeps on: a byte wakes it, the pipe's end ends it.
#[derive(Debug)]
struct Wake {
    pipe: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Wake {
    fn wake(&self) {
        if let Some(mut pipe) = self.pipe.as_ref() {
            // A pipe holds 64 KiB and is emptied at each waking, so this does not wait.
            let _ = pipe.write_all(&[0]);
        }
    }
}

impl Drop for Wake {
    /// Waits until everything is off. By then the events' receiver is gone, so the thread waits for nobody.
    fn drop(&mut self) {
        self.pipe = None;
        if let Some(thread) = self.thread.take() {
            // It fails only when the thread panicked, which the panic itself has told.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
