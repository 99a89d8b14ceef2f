use super::super::file::{Surroundings, parse};
use super::*;

fn read(text: &str) -> Result<Board, Vec<String>> {
    let around = Surroundings { state_dir: Some("/state".into()), read_secret: &|_| Ok(None) };
    parse(text, &around)
        .map(|config| config.board)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn output(line: u32, active_low: bool) -> Output {
    Output { line: Line::Offset(line), active_low }
}

#[test]
fn every_key_of_the_lines_is_understood() {
    let text = r#"
[gpio]
chip = "/dev/gpiochip4"
[gpio.led]
line = 0x11
active_low = true
[gpio.privacy]
line = "GPIO27"
active_low = true
kind = "button"
bias = "pull_up"
debounce_ms = 50
[gpio.motion]
line = 22
bias = "pull_down"
hold_s = 60
publish = true
[gpio.night]
switch = "sensor"
sensor_line = 5
sensor_active_low = true
delay_s = 3
lamp_line = 23
lamp_active_low = true
ir_cut_line = 24
ir_cut_active_low = true
ir_cut_out_line = 25
"#;
    let expected = Board {
        chip: "/dev/gpiochip4".into(),
        led: Some(output(17, true)),
        privacy: Some(Privacy {
            input: Input { line: Line::Name("GPIO27".into()), active_low: true, bias: Bias::PullUp },
            kind: PrivacyKind::Button { file: "/state/privacy".into() },
            debounce: Duration::from_millis(50),
        }),
        motion: Some(Motion {
            input: Input { line: Line::Offset(22), active_low: false, bias: Bias::PullDown },
            hold: Duration::from_secs(60),
            is_published: true,
        }),
        night: Some(Night {
            switch: NightSwitch::Sensor {
                input: Input { line: Line::Offset(5), active_low: true, bias: Bias::None },
                delay: Duration::from_secs(3),
            },
            lamp: Some(output(23, true)),
            ir_cut: Some(IrCut::Pulses { into: output(24, true), out: output(25, true) }),
        }),
        ..Board::default()
    };
    assert_eq!(read(text), Ok(expected));
}

#[test]
fn a_night_by_the_clock_may_span_midnight_or_not() {
    let times = |text: &str| {
        let night = read(&format!("[gpio.night]\n{text}")).expect("it is right").night.expect("it is there");
        match night.switch {
            NightSwitch::Time { from, to } => (from.to_string(), to.to_string()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(times(""), ("20:00:00".into(), "06:30:00".into()));
    assert_eq!(times("from = \"01:05\"\nto = \"02:00\""), ("01:05:00".into(), "02:00:00".into()));
}

#[test]
fn what_lacks_its_pin_or_has_somebody_elses_is_told() {
    let text = r#"
[gpio.led]
active_low = true
[gpio.privacy]
line = 17
kind = "lever"
[gpio.motion]
line = 17
publish = 1
[gpio.night]
switch = "sensor"
from = "8:00"
to = "24:00"
ir_cut_out_line = true
[servo.pan]
min_deg = -181
[servo.tilt]
min_us = 1500
max_us = 1500
min_deg = 10
max_deg = 10
start_deg = 50
"#;
    insta::assert_snapshot!(read(text).expect_err("there are faults").join("\n"));
}

const SERVOS: &str = r#"
[servo.pan]
pwm = 1
min_us = 2400
max_us = 600
min_deg = -90
max_deg = 60
speed_deg_s = 30
start_deg = -10
[lamp]
pwm = 0
hz = 400
"#;

#[cfg(feature = "rppal")]
#[test]
fn servos_and_a_dimmed_lamp_are_understood() {
    let pan = Servo {
        pwm: 1,
        pulse_us: (2400, 600),
        range_deg: (-90.0, 60.0),
        speed_deg_s: 30.0,
        start_deg: -10.0,
    };
    let lamp = Lamp { pwm: 0, hz: 400 };
    assert_eq!(read(SERVOS), Ok(Board { pan: Some(pan), lamp: Some(lamp), ..Board::default() }));
    let faults = read("[servo.pan]\npwm = 0\n[lamp]\npwm = 0").expect_err("one channel for two");
    assert_eq!(faults, ["line 4: `lamp.pwm` is channel 0, which servo.pan.pwm has already"]);
}

#[cfg(not(feature = "rppal"))]
#[test]
fn servos_are_a_fault_of_a_build_that_cannot_drive_them() {
    let faults = read(SERVOS).expect_err("this build cannot");
    let expected =
        "needs the Pi's own PWM, and this farol was built without it: build with `--features rppal`";
    assert_eq!(
        faults,
        [format!("line 3: `servo.pan.pwm` {expected}"), format!("line 11: `lamp.pwm` {expected}")]
    );
}
