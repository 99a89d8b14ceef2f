//! How does a program read what this board has? Names stay as they are; new ones may come.

use serde_json::{Value, json};

use super::{Chip, Devices, Direction, SoundDevice};
use crate::engine::choice::{Encoder, Encoding, Mode, Offer, Plan, Sizes, name};
use crate::engine::control::{CameraControl, control_json};
use crate::io::capture::survey::{Role, Unreadable, VideoNode};

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
    let mut shown = json!({
        "name": node.name, "path": node.path, "driver": node.driver, "card": node.card, "bus": node.bus,
    });
    let (role, more) = match &node.role {
        Role::Camera { offers, plan } => ("camera", camera(offers, plan, &node.controls)),
        Role::Encoder { takes } => {
            let takes = takes.iter().map(|format| name(format.fourcc()));
            ("encoder", json!({ "takes": Vec::from_iter(takes) }))
        }
        Role::MemoryToMemory => ("memory_to_memory", json!({})),
        Role::Output => ("output", json!({})),
        Role::Other => ("other", json!({})),
    };
    shown["role"] = json!(role);
    joined(shown, more)
}

fn camera(offers: &[Offer], plan: &Result<Plan, String>, controls: &[CameraControl]) -> Value {
    let formats =
        offers.iter().map(|offer| json!({ "fourcc": name(offer.fourcc), "sizes": sizes(&offer.sizes) }));
    let (plan, obstacle) = match plan {
        Ok(plan) => {
            let (width, height) = plan.size;
            let (fourcc, fps, reason) = (name(plan.fourcc), plan.fps, &plan.reason);
            let encoder = match &plan.encoding {
                Encoding::Passed => Value::Null,
                Encoding::Encoded { by: Encoder::Hardware(path), .. } => json!(path),
                Encoding::Encoded { by: Encoder::Software, .. } => json!("software"),
            };
            let plan = json!({
                "fourcc": fourcc, "width": width, "height": height, "fps": fps, "encoder": encoder, "reason": reason,
            });
            (plan, Value::Null)
        }
        Err(obstacle) => (Value::Null, json!(obstacle)),
    };
    json!({
        "formats": Vec::from_iter(formats), "plan": plan, "obstacle": obstacle,
        "controls": Vec::from_iter(controls.iter().map(control_json)),
    })
}

/// One object for each size or range; none where the driver does not say.
fn sizes(sizes: &Sizes) -> Vec<Value> {
    match sizes {
        Sizes::Listed(modes) => {
            let mode = |mode: &Mode| json!({ "width": mode.size.0, "height": mode.size.1, "fps": mode.fps });
            modes.iter().map(mode).collect()
        }
        Sizes::Range { min, max, step, fps } => vec![json!({
            "width": max.0, "height": max.1, "min_width": min.0, "min_height": min.1,
            "step_width": step.0, "step_height": step.1, "fps": fps,
        })],
        Sizes::Unknown => Vec::new(),
    }
}

fn sound(device: &SoundDevice) -> Value {
    let direction = match device.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    let shown = json!({ "name": device.name, "direction": direction, "card": device.card });
    let ability = match &device.ability {
        Ok(ability) => json!({
            "rates_hz": [ability.rates_hz.0, ability.rates_hz.1],
            "channels": [ability.channels.0, ability.channels.1],
            "formats": ability.formats,
        }),
        Err(why) => json!({ "error": why }),
    };
    joined(shown, ability)
}

fn joined(mut shown: Value, more: Value) -> Value {
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    shown
}

fn pins(chip: &Chip) -> Value {
    json!({
        "path": chip.path, "label": chip.label, "lines": chip.lines, "used": chip.used,
        "named": Vec::from_iter(chip.named.iter().map(|(line, name)| json!({ "line": line, "name": name }))),
    })
}
