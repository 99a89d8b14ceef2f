//! What does the thread `farol-gpio` do, in which order?
//!
//! ```text
//!   ┌─► lines that are missing ─► decisions that are due ─► poll(2): edges, a byte, the time ─┐
//!   └── lines read, privacy first ◄─ commands obeyed ◄────────────────────────────────────────┘
//! ```
#![expect(clippy::disallowed_methods, reason = "the shell reads the clock")]

use std::io::{PipeReader, Read as _};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use jiff::Zoned;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use crate::config::board::{self, NightSwitch};
use crate::engine::motion::Motion;
use crate::engine::night::{Night, NightMode};
use crate::engine::servo;

use super::light::{Filter, Lamp};
use super::port::Port;
use super::privacy::Privacy;
use super::pwm::{Axis, Pwm};
use super::{BoardCommand, BoardEvent};

/// The longest time between two looks at the commands: somebody may have said one without waking us.
const TICK: Duration = Duration::from_millis(100);
/// Between two attempts to have what is missing.
const RETRY: Duration = Duration::from_secs(1);
/// The same for PWM channels: `rppal` waits for up to a second there for files that it may write, and
/// privacy would wait with it.
const PWM_RETRY: Duration = Duration::from_secs(30);
/// Where a turning camera is, is told this often.
const MOVED_INTERVAL: Duration = Duration::from_millis(200);
/// A motion sensor is debounced for so long: it may chatter when its relay closes.
const MOTION_DEBOUNCE: Duration = Duration::from_millis(10);
/// A light sensor has a delay of its own; this only spares us the edges of its comparator.
const SENSOR_DEBOUNCE: Duration = Duration::from_millis(50);

/// A motion sensor on its line.
struct MotionLine {
    port: Port,
    motion: Motion,
}

/// Day and night, and the sensor where one decides.
struct NightLine {
    night: Night,
    sensor: Option<Port>,
    look_at: Option<Instant>,
    told: Option<(NightMode, bool)>,
}

/// Everything on the pins, and both directions to the daemon.
pub(super) struct Worker {
    led: Option<Port>,
    privacy: Option<Privacy>,
    motion: Option<MotionLine>,
    night: Option<NightLine>,
    lamp: Option<Lamp>,
    filter: Option<Filter>,
    pan: Option<Axis>,
    tilt: Option<Axis>,
    commands: std_mpsc::Receiver<BoardCommand>,
    events: mpsc::Sender<BoardEvent>,
    lit: std_mpsc::Sender<bool>,
    woken: PipeReader,
    /// What was told last; `None` before the start.
    private_told: Option<bool>,
    lamp_told: Option<u8>,
    lost_told: Option<String>,
    open_at: Instant,
    open_pwm_at: Instant,
    stepped_at: Instant,
    moved_at: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        board: &board::Board,
        commands: std_mpsc::Receiver<BoardCommand>,
        events: mpsc::Sender<BoardEvent>,
        lit: std_mpsc::Sender<bool>,
        woken: PipeReader,
    ) -> Worker {
        let now = Instant::now();
        let chip = &board.chip;
        let motion = board.motion.as_ref().map(|configured| MotionLine {
            port: Port::input(chip, &configured.input, MOTION_DEBOUNCE, "motion sensor"),
            motion: Motion::new(configured.hold),
        });
        let night = board.night.as_ref().map(|configured| NightLine {
            night: Night::new(&configured.switch),
            sensor: match &configured.switch {
                NightSwitch::Sensor { input, .. } => {
                    Some(Port::input(chip, input, SENSOR_DEBOUNCE, "light sensor"))
                }
                NightSwitch::Time { .. } | NightSwitch::Command => None,
            },
            look_at: Some(now),
            told: None,
        });
        Worker {
            led: board.led.as_ref().map(|led| Port::output(chip, led, "LED")),
            privacy: board.privacy.as_ref().map(|privacy| Privacy::new(chip, privacy)),
            motion,
            night,
            lamp: Lamp::new(board),
            filter: Filter::new(board),
            pan: board.pan.as_ref().map(|servo| Axis::new(servo, "servo that pans")),
            tilt: board.tilt.as_ref().map(|servo| Axis::new(servo, "servo that tilts")),
            commands,
            events,
            lit,
            woken,
            private_told: None,
            lamp_told: None,
            lost_told: None,
            open_at: now,
            open_pwm_at: now,
            stepped_at: now,
            moved_at: None,
        }
    }

    /// Works until the pipe is closed, and leaves everything off.
    pub(super) fn run(mut self) {
        self.begin();
        loop {
            let now = Instant::now();
            self.open_missing(now);
            self.decide(now);
            if !self.wait(now) {
                break;
            }
            self.read_lines(Instant::now());
            self.obey();
        }
        self.end();
    }

    /// Says first whether it is privacy, before anything else takes time.
    fn begin(&mut self) {
        if let Some(privacy) = &mut self.privacy {
            privacy.port.open();
            let is_private = privacy.recall();
            self.tell_privacy(is_private);
        }
        self.tell_moved();
    }

    /// Tries to have what is missing, when it is time for that, and tells what is the matter.
    fn open_missing(&mut self, now: Instant) {
        if self.open_at <= now {
            let mut had_anew = false;
            self.ports().for_each(|port| had_anew |= port.open());
            if had_anew {
                self.read_lines(now);
                self.move_filter(now);
            }
            self.open_at = now + RETRY;
        }
        if self.open_pwm_at <= now {
            self.channels().for_each(Pwm::open);
            self.open_pwm_at = Instant::now() + PWM_RETRY;
        }
        self.tell_lost();
    }

    /// Everything that time decides.
    fn decide(&mut self, now: Instant) {
        if let Some(news) = self.motion.as_mut().and_then(|line| line.motion.poll(now)) {
            self.tell(BoardEvent::Motion(news));
        }
        self.look_for_night(now);
        if let Some(filter) = &mut self.filter {
            filter.poll(now);
        }
        self.turn(now);
        self.tell_lamp();
    }

    fn look_for_night(&mut self, now: Instant) {
        let Some(line) = &mut self.night else { return };
        if line.look_at.is_none_or(|at| at > now) {
            return;
        }
        line.look_at = line.night.look(now, &Zoned::now());
        let (mode, is_night) = (line.night.mode(), line.night.is_night());
        let told = line.told.replace((mode, is_night));
        if told.map(|(_, was_night)| was_night) != Some(is_night) {
            if let Some(lamp) = &mut self.lamp {
                lamp.follow(is_night);
            }
            self.move_filter(now);
        }
        if told != Some((mode, is_night)) {
            self.tell(BoardEvent::Night { mode, is_night });
        }
    }

    /// Puts the filter where it is to be, once that is known: a coil whose line was lost has missed its pulse.
    fn move_filter(&mut self, now: Instant) {
        let is_night = self.night.as_ref().and_then(|line| line.told).map(|(_, is_night)| is_night);
        if let (Some(filter), Some(is_night)) = (&mut self.filter, is_night) {
            filter.follow(now, is_night);
        }
    }

    /// Lets the servos go on.
    fn turn(&mut self, now: Instant) {
        if !self.is_turning() {
            self.stepped_at = now;
            return;
        }
        let elapsed = now.duration_since(self.stepped_at);
        if elapsed < servo::PERIOD {
            return;
        }
        self.stepped_at = now;
        // A thread that was late for long does not make up for it with a leap.
        let elapsed = elapsed.min(2 * servo::PERIOD);
        self.axes().for_each(|axis| axis.advance(elapsed));
        let is_told = self.moved_at.is_some_and(|at| now < at + MOVED_INTERVAL);
        if !is_told || !self.is_turning() {
            self.moved_at = Some(now);
            self.tell_moved();
        }
    }

    /// Sleeps until there is something to do; `false` when that is to end.
    fn wait(&mut self, now: Instant) -> bool {
        let timeout = self.due(now).saturating_duration_since(now).min(TICK);
        let inputs = [
            self.privacy.as_ref().map(|privacy| &privacy.port),
            self.motion.as_ref().map(|line| &line.port),
            self.night.as_ref().and_then(|line| line.sensor.as_ref()),
        ];
        let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
        let edges = inputs.iter().flatten().filter_map(|port| port.edges_fd());
        fds.extend(edges.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        // An interrupted call has slept less: everything is looked at anew in any case.
        let _ = poll(&mut fds, Some(&timeout));
        let wake = fds[0].revents();
        if wake.contains(PollFlags::IN) {
            // What was said is among the commands; the bytes themselves mean nothing.
            let _ = self.woken.read(&mut [0; 256]);
            return true;
        }
        !wake.intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// When something is due, if nothing happens before.
    fn due(&self, now: Instant) -> Instant {
        let step = self.is_turning().then(|| self.stepped_at + servo::PERIOD);
        let motion = self.motion.as_ref().and_then(|line| line.motion.deadline());
        let night = self.night.as_ref().and_then(|line| line.look_at);
        let filter = self.filter.as_ref().and_then(Filter::deadline);
        [step, motion, night, filter].into_iter().flatten().min().unwrap_or(now + TICK)
    }

    /// Reads what the lines have said, privacy first.
    fn read_lines(&mut self, now: Instant) {
        if let Some(is_private) = self.privacy.as_mut().map(Privacy::read) {
            self.tell_privacy(is_private);
        }
        let mut news = Vec::new();
        if let Some(MotionLine { port, motion }) = &mut self.motion {
            // Each edge for itself: a pulse may be over before it is read.
            news.extend(port.said().into_iter().filter_map(|is_pulse| motion.line(now, is_pulse)));
        }
        news.into_iter().for_each(|is_active| self.tell(BoardEvent::Motion(is_active)));
        if let Some(NightLine { night, sensor: Some(sensor), look_at, .. }) = &mut self.night
            && let Some(is_dark) = sensor.said().last()
            && night.sense(now, *is_dark)
        {
            *look_at = Some(now);
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                BoardCommand::Led(is_on) => {
                    let is_lit = self.led.as_mut().is_some_and(|led| {
                        led.switch(is_on);
                        led.is_on()
                    });
                    // Fails only when the other side has ended.
                    let _ = self.lit.send(is_lit);
                }
                BoardCommand::Night(mode) => {
                    if let Some(line) = &mut self.night {
                        line.night.set_mode(mode);
                        line.look_at = Some(Instant::now());
                    }
                }
                BoardCommand::Lamp(percent) => {
                    if let Some(lamp) = &mut self.lamp {
                        lamp.set(percent);
                    }
                }
                BoardCommand::Move { pan, tilt } => {
                    aim(&mut self.pan, pan);
                    aim(&mut self.tilt, tilt);
                }
            }
        }
    }

    /// Leaves everything off. A filter stays where it is; the requests' end gives the lines back.
    fn end(&mut self) {
        if let Some(led) = &mut self.led {
            led.switch(false);
        }
        if let Some(lamp) = &mut self.lamp {
            lamp.follow(false);
        }
        if let Some(filter) = &mut self.filter {
            filter.rest();
        }
    }

    fn tell_privacy(&mut self, is_private: bool) {
        if self.private_told != Some(is_private) {
            self.private_told = Some(is_private);
            self.tell(BoardEvent::Privacy(is_private));
        }
    }

    fn tell_lamp(&mut self) {
        let percent = self.lamp.as_ref().map(Lamp::percent);
        if let Some(percent) = percent.filter(|percent| self.lamp_told != Some(*percent)) {
            self.lamp_told = Some(percent);
            self.tell(BoardEvent::Lamp(percent));
        }
    }

    fn tell_moved(&mut self) {
        let at = |axis: &Option<Axis>| axis.as_ref().map(|axis| axis.servo.at_deg());
        let (pan, tilt) = (at(&self.pan), at(&self.tilt));
        if pan.is_some() || tilt.is_some() {
            self.tell(BoardEvent::Moved { pan, tilt });
        }
    }

    fn tell_lost(&mut self) {
        let mut faults: Vec<String> =
            self.ports().filter_map(|port| port.fault().map(ToString::to_string)).collect();
        faults.extend(self.channels().filter_map(|pwm| pwm.fault().map(str::to_owned)));
        let reason = (!faults.is_empty()).then(|| faults.join("; "));
        if reason != self.lost_told {
            self.lost_told.clone_from(&reason);
            self.tell(reason.map_or(BoardEvent::Back, |reason| BoardEvent::Lost { reason }));
        }
    }

    /// Waits when the channel is full; fails only when the other side has ended, and the pipe says that too.
    fn tell(&self, event: BoardEvent) {
        let _ = self.events.blocking_send(event);
    }

    fn is_turning(&self) -> bool {
        [&self.pan, &self.tilt].into_iter().flatten().any(|axis| axis.servo.is_moving())
    }

    fn axes(&mut self) -> impl Iterator<Item = &mut Axis> {
        [&mut self.pan, &mut self.tilt].into_iter().flatten()
    }

    /// Every line, in the order in which they are asked for.
    fn ports(&mut self) -> impl Iterator<Item = &mut Port> {
        let single = [
            self.privacy.as_mut().map(|privacy| &mut privacy.port),
            self.led.as_mut(),
            self.motion.as_mut().map(|line| &mut line.port),
            self.night.as_mut().and_then(|line| line.sensor.as_mut()),
            self.lamp.as_mut().and_then(|lamp| lamp.port.as_mut()),
        ];
        single.into_iter().flatten().chain(self.filter.iter_mut().flat_map(Filter::ports))
    }

    fn channels(&mut self) -> impl Iterator<Item = &mut Pwm> {
        let lamp = self.lamp.as_mut().and_then(|lamp| lamp.pwm.as_mut());
        let axes = [&mut self.pan, &mut self.tilt].into_iter().flatten().map(|axis| &mut axis.pwm);
        axes.chain(lamp)
    }
}

fn aim(axis: &mut Option<Axis>, deg: Option<f32>) {
    if let (Some(axis), Some(deg)) = (axis, deg) {
        axis.servo.aim(deg);
    }
}
