//! On chips that the kernel simulates (gpio-sim): pulled from outside as fingers and sensors would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::config::board::{
    Bias, Input, IrCut, Line, Motion, Night, NightSwitch, Output, Privacy, PrivacyKind,
};

/// Longer than anything that a test waits for takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A simulated chip of eight lines, gone with the test.
struct Sim {
    config: PathBuf,
}

impl Sim {
    fn new() -> Sim {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let sim =
            Sim { config: format!("/sys/kernel/config/gpio-sim/farol-{}-{count}", process::id()).into() };
        fs::create_dir_all(sim.config.join("bank0")).expect("gpio-sim is there");
        fs::write(sim.config.join("bank0/num_lines"), "8").expect("a bank");
        sim.plug(true);
        sim
    }

    /// Plugs the chip in or pulls it out.
    fn plug(&self, is_in: bool) {
        fs::write(self.config.join("live"), if is_in { "1" } else { "0" }).expect("it goes live");
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.config.join(file)).expect("it says so").trim().to_owned()
    }

    fn chip(&self) -> PathBuf {
        Path::new("/dev").join(self.read("bank0/chip_name"))
    }

    fn sysfs(&self, line: u32, file: &str) -> PathBuf {
        let (device, chip) = (self.read("dev_name"), self.read("bank0/chip_name"));
        format!("/sys/devices/platform/{device}/{chip}/sim_gpio{line}/{file}").into()
    }

    fn pull(&self, line: u32, is_up: bool) {
        let to = if is_up { "pull-up" } else { "pull-down" };
        fs::write(self.sysfs(line, "pull"), to).expect("the line is there");
    }

    fn is_high(&self, line: u32) -> bool {
        fs::read_to_string(self.sysfs(line, "value")).expect("the line is there").trim() == "1"
    }

    /// Waits until the lines are so.
    async fn until(&self, lines: &[(u32, bool)]) {
        let seen = tokio::time::timeout(PATIENCE, async {
            while lines.iter().any(|(line, is_high)| self.is_high(*line) != *is_high) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        seen.await.unwrap_or_else(|_| panic!("lines never were {lines:?}"));
    }

    fn board(&self) -> board::Board {
        board::Board { chip: self.chip(), ..board::Board::default() }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = fs::write(self.config.join("live"), "0");
        let _ = fs::remove_dir(self.config.join("bank0"));
        let _ = fs::remove_dir(&self.config);
    }
}

impl Board {
    async fn next(&mut self) -> BoardEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("something happens").expect("the thread lives")
    }

    /// What happens before this does.
    async fn until(&mut self, awaited: &BoardEvent) -> Vec<BoardEvent> {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                event if event == *awaited => return before,
                event => before.push(event),
            }
        }
    }
}

fn input(line: u32, active_low: bool) -> Input {
    Input { line: Line::Offset(line), active_low, bias: Bias::None }
}

fn output(line: u32, active_low: bool) -> Output {
    Output { line: Line::Offset(line), active_low }
}

fn privacy(line: u32, kind: PrivacyKind, debounce_ms: u64) -> Option<Privacy> {
    Some(Privacy { input: input(line, false), kind, debounce: Duration::from_millis(debounce_ms) })
}

fn reason(event: BoardEvent) -> String {
    match event {
        BoardEvent::Lost { reason } => reason,
        other => panic!("not lost but {other:?}"),
    }
}

#[test]
fn nothing_is_started_for_a_board_with_nothing_on_its_pins() {
    assert!(spawn(&board::Board::default()).is_none());
}

#[tokio::test]
async fn a_switch_on_a_chip_that_is_not_there_counts_as_privacy_and_is_told() {
    let chip = PathBuf::from("/dev/gpiochip-that-nobody-has");
    let configured = board::Board {
        chip,
        privacy: privacy(3, PrivacyKind::Switch, 30),
        led: Some(output(4, false)),
        ..board::Board::default()
    };
    let mut board = spawn(&configured).expect("something is configured");
    assert_eq!(board.has, BoardParts { privacy: true, ..BoardParts::default() });
    assert_eq!(board.next().await, BoardEvent::Privacy(true));
    let reason = reason(board.next().await);
    assert!(
        reason.starts_with("/dev/gpiochip-that-nobody-has for the privacy switch: No such file"),
        "{reason}"
    );
    assert!(reason.contains("gpio.chip"), "{reason}");
    board.light(true);
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn the_led_is_lit_when_light_returns_and_out_when_the_board_is_dropped() {
    for active_low in [false, true] {
        let sim = Sim::new();
        let board = spawn(&board::Board { led: Some(output(1, active_low)), ..sim.board() }).expect("an LED");
        sim.until(&[(1, active_low)]).await;
        board.light(true);
        assert_eq!(sim.is_high(1), !active_low);
        board.light(false);
        assert_eq!(sim.is_high(1), active_low);
        board.light(true);
        drop(board);
        assert!(!sim.is_high(1), "the line is given back to its pull");
    }
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_switch_says_where_it_stands_at_the_start_and_when_it_is_moved() {
    let sim = Sim::new();
    sim.pull(2, true);
    let configured = board::Board { privacy: privacy(2, PrivacyKind::Switch, 30), ..sim.board() };
    let mut board = spawn(&configured).expect("a switch");
    assert_eq!(board.next().await, BoardEvent::Privacy(true));
    for is_private in [false, true, false] {
        sim.pull(2, is_private);
        assert_eq!(board.next().await, BoardEvent::Privacy(is_private));
    }
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_low_line_with_a_pull_up_is_privacy_where_that_is_configured() {
    let sim = Sim::new();
    let mut switch = privacy(2, PrivacyKind::Switch, 0);
    switch.as_mut().expect("a switch").input =
        Input { line: Line::Offset(2), active_low: true, bias: Bias::PullUp };
    let mut board = spawn(&board::Board { privacy: switch, ..sim.board() }).expect("a switch");
    assert_eq!(board.next().await, BoardEvent::Privacy(false), "the chip's own resistor holds it up");
    sim.pull(2, false);
    assert_eq!(board.next().await, BoardEvent::Privacy(true));
}

/// A contact that closes or opens twice. The pauses let the simulated chip tell each edge for itself.
async fn chatter(sim: &Sim, line: u32, to: bool) {
    for is_high in [to, !to, to] {
        sim.pull(line, is_high);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_button_that_chatters_toggles_once_a_press() {
    let sim = Sim::new();
    let folder = tempfile::tempdir().expect("a place");
    let kind = PrivacyKind::Button { file: folder.path().join("privacy") };
    let mut board = spawn(&board::Board { privacy: privacy(2, kind, 500), ..sim.board() }).expect("a button");
    assert_eq!(board.next().await, BoardEvent::Privacy(false));
    for is_private in [true, false, true] {
        chatter(&sim, 2, true).await;
        assert_eq!(board.next().await, BoardEvent::Privacy(is_private));
        chatter(&sim, 2, false).await;
        // Its end must have been seen before the next press counts.
        tokio::time::sleep(Duration::from_millis(1000)).await;
    }
    assert!(board.events.try_recv().is_err(), "nothing else was taken for a press");
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn what_a_button_has_set_outlives_the_daemon() {
    let sim = Sim::new();
    let folder = tempfile::tempdir().expect("a place");
    let file = folder.path().join("privacy");
    let configured =
        board::Board { privacy: privacy(2, PrivacyKind::Button { file: file.clone() }, 20), ..sim.board() };
    for is_private in [true, false] {
        let mut board = spawn(&configured).expect("a button");
        assert_eq!(board.next().await, BoardEvent::Privacy(!is_private));
        sim.pull(2, true);
        assert_eq!(board.next().await, BoardEvent::Privacy(is_private));
        assert_eq!(file.exists(), is_private, "it is written before it is said");
        sim.pull(2, false);
        drop(board);
        let mut again = spawn(&configured).expect("a button");
        assert_eq!(again.next().await, BoardEvent::Privacy(is_private));
    }
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn motion_begins_with_a_pulse_and_ends_after_the_hold() {
    let sim = Sim::new();
    let motion = Motion { input: input(3, false), hold: Duration::from_secs(1), is_published: false };
    let mut board = spawn(&board::Board { motion: Some(motion), ..sim.board() }).expect("a sensor");
    sim.until(&[(3, false)]).await;
    for _ in 0..2 {
        sim.pull(3, true);
        assert_eq!(board.next().await, BoardEvent::Motion(true));
        sim.pull(3, false);
        assert_eq!(board.next().await, BoardEvent::Motion(false));
    }
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_line_in_use_names_its_user_and_costs_the_others_nothing() {
    let sim = Sim::new();
    let somebody = gpiocdev::Request::builder()
        .on_chip(sim.chip())
        .with_consumer("doorbell")
        .with_line(1)
        .request()
        .expect("the line is free");
    let configured = board::Board {
        led: Some(output(1, false)),
        privacy: privacy(2, PrivacyKind::Switch, 30),
        ..sim.board()
    };
    let mut board = spawn(&configured).expect("an LED");
    assert_eq!(board.next().await, BoardEvent::Privacy(false));
    let reason = reason(board.next().await);
    assert!(reason.contains("line 1") && reason.contains("LED is in use by `doorbell`"), "{reason}");
    board.light(true);
    drop(somebody);
    assert_eq!(board.next().await, BoardEvent::Back);
    assert!(sim.is_high(1), "it has what it was told meanwhile");
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_line_that_the_chip_lacks_is_told_by_name() {
    let sim = Sim::new();
    let led = Output { line: Line::Name("GPIO17".into()), active_low: false };
    let mut board = spawn(&board::Board { led: Some(led), ..sim.board() }).expect("an LED");
    let reason = reason(board.next().await);
    assert!(reason.contains("has no line \"GPIO17\" for the LED"), "{reason}");
    let led = Output { line: Line::Offset(8), active_low: false };
    let mut board = spawn(&board::Board { led: Some(led), ..sim.board() }).expect("an LED");
    let reason = self::reason(board.next().await);
    assert!(reason.contains("has no line 8 for the LED"), "{reason}");
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_chip_that_is_pulled_out_is_privacy_until_it_is_back() {
    let sim = Sim::new();
    // As udev would name it, since the kernel gives it another number when it comes back.
    let folder = tempfile::tempdir().expect("a place");
    let chip = folder.path().join("expander");
    std::os::unix::fs::symlink(sim.chip(), &chip).expect("a name");
    let motion = Motion { input: input(3, false), hold: Duration::from_secs(1), is_published: false };
    let configured = board::Board {
        chip: chip.clone(),
        privacy: privacy(2, PrivacyKind::Switch, 30),
        motion: Some(motion),
        ..board::Board::default()
    };
    let mut board = spawn(&configured).expect("a switch");
    assert_eq!(board.next().await, BoardEvent::Privacy(false));
    sim.plug(false);
    let lost = board.until(&BoardEvent::Privacy(true)).await;
    // Each line finds out by itself, so either may be told first.
    let lost = lost.into_iter().chain([board.next().await]).map(reason).collect::<Vec<_>>().join("; ");
    assert!(lost.contains(&chip.display().to_string()), "{lost}");
    sim.plug(true);
    fs::remove_file(&chip).expect("the name is there");
    std::os::unix::fs::symlink(sim.chip(), &chip).expect("a name");
    board.until(&BoardEvent::Privacy(false)).await;
    board.until(&BoardEvent::Back).await;
    sim.pull(2, true);
    assert_eq!(board.next().await, BoardEvent::Privacy(true));
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn lamp_and_filter_follow_the_light_sensor_and_viewers_overrule_it() {
    let sim = Sim::new();
    let night = Night {
        switch: NightSwitch::Sensor { input: input(3, false), delay: Duration::ZERO },
        lamp: Some(output(4, false)),
        ir_cut: Some(IrCut::Level(output(5, true))),
    };
    let mut board = spawn(&board::Board { night: Some(night), ..sim.board() }).expect("a night");
    let day = BoardEvent::Night { mode: NightMode::Auto, is_night: false };
    assert_eq!([board.next().await, board.next().await], [day, BoardEvent::Lamp(0)]);
    // The filter is in the light's way by day, and its line is active while it is low.
    sim.until(&[(4, false), (5, false)]).await;
    sim.pull(3, true);
    let night = BoardEvent::Night { mode: NightMode::Auto, is_night: true };
    assert_eq!([board.next().await, board.next().await], [night, BoardEvent::Lamp(100)]);
    sim.until(&[(4, true), (5, true)]).await;
    board.tell(BoardCommand::Lamp(0));
    assert_eq!(board.next().await, BoardEvent::Lamp(0));
    sim.until(&[(4, false), (5, true)]).await;
    board.tell(BoardCommand::Night(NightMode::Day));
    assert_eq!(board.next().await, BoardEvent::Night { mode: NightMode::Day, is_night: false });
    sim.until(&[(4, false), (5, false)]).await;
    // Without a wake, as by whoever holds the commands alone.
    board.commands.send(BoardCommand::Night(NightMode::Night)).expect("the thread lives");
    assert_eq!(board.next().await, BoardEvent::Night { mode: NightMode::Night, is_night: true });
    assert_eq!(board.next().await, BoardEvent::Lamp(100));
}

#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_filter_with_two_coils_gets_a_pulse_on_one_of_them_at_a_time() {
    let sim = Sim::new();
    let night = Night {
        switch: NightSwitch::Command,
        lamp: None,
        ir_cut: Some(IrCut::Pulses { into: output(5, false), out: output(6, false) }),
    };
    let mut board = spawn(&board::Board { night: Some(night), ..sim.board() }).expect("a night");
    assert_eq!(board.next().await, BoardEvent::Night { mode: NightMode::Auto, is_night: false });
    for (mode, coil) in [(NightMode::Night, 6), (NightMode::Day, 5)] {
        sim.until(&[(5, false), (6, false)]).await;
        board.tell(BoardCommand::Night(mode));
        sim.until(&[(coil, true), (11 - coil, false)]).await;
        sim.until(&[(5, false), (6, false)]).await;
    }
}

/// Files where a Pi's kernel has its PWM, since no kernel driver simulates one: what `rppal` writes is seen, what
/// a chip would make of it is not.
#[cfg(feature = "rppal")]
struct Pi;

#[cfg(feature = "rppal")]
impl Pi {
    fn new() -> Pi {
        let pi = Pi;
        pi.run("mount -t tmpfs tmpfs /sys/class");
        pi.run("mkdir -p /sys/class/pwm/pwmchip0/pwm0 /sys/class/pwm/pwmchip0/pwm1");
        // A Pi 4 by its revision (raspberrypi.com, "Raspberry Pi revision codes").
        pi.run("printf 'Revision\\t: c03111\\n' >/sys/class/cpuinfo");
        pi.run("mount --bind /sys/class/cpuinfo /proc/cpuinfo");
        pi
    }

    fn run(&self, script: &str) {
        let status = process::Command::new("sh").args(["-c", script]).status().expect("there is a shell");
        assert!(status.success(), "{script}");
    }

    /// Period and pulse in microseconds, and whether the channel is on.
    fn channel(&self, channel: u8) -> (u64, u64, bool) {
        let read = |file: &str| {
            let text = fs::read_to_string(format!("/sys/class/pwm/pwmchip0/pwm{channel}/{file}"));
            // A file that is being written is empty for a moment.
            text.unwrap_or_default().trim().parse::<u64>().unwrap_or_default()
        };
        (read("period") / 1000, read("duty_cycle") / 1000, read("enable") == 1)
    }

    async fn until(&self, channel: u8, expected: (u64, u64, bool)) {
        let seen = tokio::time::timeout(PATIENCE, async {
            while self.channel(channel) != expected {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        seen.await.unwrap_or_else(|_| panic!("{:?} never was {expected:?}", self.channel(channel)));
    }
}

#[cfg(feature = "rppal")]
impl Drop for Pi {
    fn drop(&mut self) {
        let _ = process::Command::new("sh").args(["-c", "umount /proc/cpuinfo /sys/class"]).status();
    }
}

#[cfg(feature = "rppal")]
#[tokio::test]
#[ignore = "needs the device lab"]
async fn a_servo_is_led_to_its_limit_and_a_lamp_is_dimmed() {
    use crate::config::board::{Lamp, Servo};
    let pi = Pi::new();
    let pan =
        Servo { pwm: 0, pulse_us: (1000, 2000), range_deg: (-45.0, 45.0), speed_deg_s: 90.0, start_deg: 0.0 };
    let configured =
        board::Board { pan: Some(pan), lamp: Some(Lamp { pwm: 1, hz: 1000 }), ..board::Board::default() };
    let mut board = spawn(&configured).expect("a servo");
    assert_eq!(board.has.pan, Some((-45.0, 45.0)));
    assert_eq!(board.next().await, BoardEvent::Moved { pan: Some(0.0), tilt: None });
    assert_eq!(board.next().await, BoardEvent::Lamp(0));
    pi.until(0, (20_000, 1500, true)).await;
    pi.until(1, (1000, 0, true)).await;
    board.tell(BoardCommand::Move { pan: Some(300.0), tilt: Some(10.0) });
    let end = BoardEvent::Moved { pan: Some(45.0), tilt: None };
    let way = board.until(&end).await;
    let degrees: Vec<f32> = way
        .into_iter()
        .map(|event| match event {
            BoardEvent::Moved { pan: Some(pan), tilt: None } => pan,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(degrees.len() >= 2 && degrees.is_sorted(), "it turns, and does not leap: {degrees:?}");
    assert_eq!(pi.channel(0), (20_000, 2000, true));
    board.tell(BoardCommand::Lamp(50));
    pi.until(1, (1000, 250, true)).await;
    drop(board);
    assert!(!pi.channel(0).2 && !pi.channel(1).2, "nothing pulls or shines any more");
}
