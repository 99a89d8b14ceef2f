//! How does a program read what this board has? Names stay as they are; new ones may come.

use serde_json::{Value, json};

use super::{Chip, Devices, Direction, SoundDevice};
use crate::config::ControlValue;
use crate::engine::control::{CameraControl, ControlKind};
use crate::engine::picture::PixelFormat;
use crate::io::capture::survey::{CaptureFormat, Role, Size, Unreadable, VideoNode};

impl Devices {
    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "video": Vec::from_iter(self.video.iter().map(|node| readable(node, video))),
            "sound": Vec::from_iter(self.sound.iter().map(sound)),
            "gpio": Vec::from_iter(self.chips.iter().map(|chip| readable(chip, pins))),
        })
    }
}

fn readable<T>(device: &Result<T, Unreadable>, show: fn(&T) -> Value) -> Value {
    match device {
        Ok(device) => show(device),
        Err(fault) => json!({ "path": fault.path, "error": fault.reason }),
    }
}

fn video(node: &VideoNode) -> Value {
    let (role, formats) = match &node.role {
        Role::Camera { formats } => ("camera", Vec::from_iter(formats.iter().map(format))),
        Role::Encoder { takes } => {
            let takes = takes.iter().map(|format| json!({ "fourcc": fourcc(*format) }));
            ("encoder", takes.collect())
        }
        Role::MemoryToMemory => ("memory_to_memory", Vec::new()),
        Role::Output => ("output", Vec::new()),
        Role::Other => ("other", Vec::new()),
    };
    json!({
        "name": node.name, "path": node.path, "driver": node.driver, "card": node.card, "bus": node.bus,
        "role": role, "formats": formats, "controls": Vec::from_iter(node.controls.iter().map(control)),
    })
}

fn format(format: &CaptureFormat) -> Value {
    let size = |size: &Size| {
        let (width, height) = size.largest;
        let (min_width, min_height) = size.smallest.unwrap_or(size.largest);
        json!({
            "width": width, "height": height, "min_width": min_width, "min_height": min_height,
            "fps": size.rates,
        })
    };
    json!({ "fourcc": format.fourcc, "sizes": Vec::from_iter(format.sizes.iter().map(size)) })
}

fn fourcc(format: PixelFormat) -> String {
    String::from_utf8_lossy(&format.fourcc()).trim_end().to_owned()
}

/// As the channel protocol `farol-control/1` has it.
fn control(control: &CameraControl) -> Value {
    let value = |value: &ControlValue| match value {
        ControlValue::Integer(number) => json!(number),
        ControlValue::Boolean(on) => json!(on),
        ControlValue::Entry(name) => json!(name),
    };
    let mut shown = json!({
        "name": control.name, "label": control.label, "settable": control.is_settable,
        "value": control.value.as_ref().map(value),
    });
    let kind = match &control.kind {
        ControlKind::Integer { min, max, step, default } => {
            json!({ "kind": "integer", "min": min, "max": max, "step": step, "default": default })
        }
        ControlKind::Boolean { default } => json!({ "kind": "boolean", "default": default }),
        ControlKind::Menu { entries, default } => {
            json!({ "kind": "menu", "entries": entries, "default": default })
        }
        ControlKind::Button => json!({ "kind": "button" }),
    };
    if let (Some(shown), Value::Object(kind)) = (shown.as_object_mut(), kind) {
        shown.extend(kind);
    }
    shown
}

fn sound(device: &SoundDevice) -> Value {
    let direction = match device.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    let mut shown = json!({ "name": device.name, "direction": direction, "card": device.card });
    let ability = match &device.ability {
        Ok(ability) => json!({
            "rates_hz": [ability.rates_hz.0, ability.rates_hz.1],
            "channels": [ability.channels.0, ability.channels.1],
            "formats": ability.formats,
        }),
        Err(why) => json!({ "error": why }),
    };
    if let (Some(shown), Value::Object(ability)) = (shown.as_object_mut(), ability) {
        shown.extend(ability);
    }
    shown
}

fn pins(chip: &Chip) -> Value {
    json!({
        "path": chip.path, "label": chip.label, "lines": chip.lines, "used": chip.used,
        "named": Vec::from_iter(chip.named.iter().map(|(line, name)| json!({ "line": line, "name": name }))),
    })
}
