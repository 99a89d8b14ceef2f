//! Which controls does a camera have for people, and what becomes of one that is set?
//!
//! Everything that the driver lists is shown (VIDIOC_QUERY_EXT_CTRL with V4L2_CTRL_FLAG_NEXT_CTRL), except
//! what the stream itself sets and what has no kind here: texts and matrices. A name that is taken already
//! gets a number behind it.

use v4l::Device;
use v4l::control::{Control as Setting, Description, Flags, MenuItem, Type, Value};

use super::super::readable;
use super::{Control, Controls};
use crate::config::ControlValue;
use crate::engine::control::{CameraControl, ControlKind, ControlRefusal, control_name};
use crate::io::capture::Taken;
use crate::io::capture::sys::Node;

/// A control for people, and what the driver calls it.
#[derive(Debug)]
pub(super) struct Listed {
    id: u32,
    flags: Flags,
    control: CameraControl,
}

impl Controls {
    /// Reads all of them again, as they are now.
    pub(in super::super) fn list(&mut self) -> Vec<CameraControl> {
        match Node::open(&self.path).and_then(|node| node.controls()) {
            Ok(described) => self.listed = listed(&self.device, described),
            // Without any control the first question fails.
            Err(cause) => {
                log::debug!(device:% = self.path.display(), cause:%; "the camera lists no controls");
                self.listed.clear();
            }
        }
        self.listed.iter().map(|listed| listed.control.clone()).collect()
    }

    /// Sets what the configuration names, in its order. What is wrong is said, each once, and the rest is set.
    pub(in super::super) fn configure(&mut self, settings: &[(String, ControlValue)]) {
        for (name, value) in settings {
            if let Err(refusal) = self.set_named(name, value) {
                let known: Vec<&str> =
                    self.listed.iter().map(|listed| listed.control.name.as_str()).collect();
                let known = match refusal {
                    ControlRefusal::Unknown { .. } => format!("; it has {}", known.join(", ")),
                    _ => String::new(),
                };
                log::warn!(
                    device:% = self.path.display();
                    "video.controls.{name} is not set: {refusal}{known}"
                );
            }
            // One may switch others on: an automatic that is switched off, for one.
            self.list();
        }
    }

    /// Sets one control by its name.
    ///
    /// # Errors
    /// It does not exist, does not take the value, or cannot be set now.
    pub(in super::super) fn set_named(
        &mut self,
        name: &str,
        value: &ControlValue,
    ) -> Result<Taken, ControlRefusal> {
        if self.listed(name).is_some_and(|listed| why_not(listed.flags).is_some()) {
            // Another control may have switched it on since.
            self.list();
        }
        let unknown = ControlRefusal::Unknown { name: name.to_owned() };
        let listed = self.listed(name).ok_or(unknown)?;
        let unsettable = |why: String| Err(ControlRefusal::Unsettable { name: name.to_owned(), why });
        let number = listed.control.number(value)?;
        if let Some(why) = why_not(listed.flags) {
            return unsettable(why.to_owned());
        }
        let is_button = listed.control.kind == ControlKind::Button;
        let setting = if is_button { Value::None } else { Value::Integer(number) };
        match self.device.set_control(Setting { id: listed.id, value: setting }) {
            Ok(()) if is_button => Ok(Taken::Pressed),
            Ok(()) => {
                let taken = value_of(&self.device, listed.id, &listed.control.kind);
                Ok(Taken::Value(taken.unwrap_or(ControlValue::Integer(number))))
            }
            Err(cause) if cause.raw_os_error() == Some(libc::EBUSY) => {
                unsettable("the driver holds it while the camera runs".to_owned())
            }
            Err(cause) => unsettable(format!("the driver says \"{cause}\"")),
        }
    }

    fn listed(&self, name: &str) -> Option<&Listed> {
        self.listed.iter().find(|listed| listed.control.name == name)
    }
}

/// Why a control with these flags cannot be set now (kernel documentation, "Control Flags").
fn why_not(flags: Flags) -> Option<&'static str> {
    if flags.contains(Flags::READ_ONLY) {
        Some("it only tells how something is")
    } else if flags.contains(Flags::GRABBED) {
        Some("the driver holds it while the camera runs")
    } else if flags.contains(Flags::INACTIVE) {
        Some("another control overrules it, such as an automatic that is on")
    } else {
        None
    }
}

fn listed(device: &Device, described: Vec<Description>) -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    for description in described {
        let is_ours = Control::ALL.iter().any(|control| control.id() == description.id);
        if is_ours || description.flags.contains(Flags::DISABLED) {
            continue;
        }
        let Some(kind) = kind(&description) else { continue };
        let label = description.name;
        let mut name = control_name(&label);
        let same = all.iter().filter(|listed| control_name(&listed.control.label) == name).count();
        if name.is_empty() || same > 0 {
            name = format!("{name}_{}", same + 1);
        }
        let is_readable = kind != ControlKind::Button && !description.flags.contains(Flags::WRITE_ONLY);
        let value = if is_readable { value_of(device, description.id, &kind) } else { None };
        let is_settable = why_not(description.flags).is_none();
        let control = CameraControl { name, label, kind, value, is_settable };
        all.push(Listed { id: description.id, flags: description.flags, control });
    }
    all
}

/// `None` for headings and for what cannot be shown: texts, matrices and other compounds.
fn kind(description: &Description) -> Option<ControlKind> {
    let (min, max, default) = (description.minimum, description.maximum, description.default);
    match description.typ {
        Type::Integer | Type::Integer64 => {
            let step = i64::try_from(description.step).unwrap_or(1).max(1);
            Some(ControlKind::Integer { min, max, step, default })
        }
        // A set of bits; the maximum is the one with all that there are.
        Type::Bitmask => Some(ControlKind::Integer { min: 0, max, step: 1, default }),
        Type::Boolean => Some(ControlKind::Boolean { default: default != 0 }),
        Type::Menu | Type::IntegerMenu => {
            let entries = description.items.iter().flatten().map(|(number, item)| {
                let name = match item {
                    // What stands behind the end of the text is the kernel's memory.
                    MenuItem::Name(name) => name.split('\0').next().unwrap_or_default().to_owned(),
                    MenuItem::Value(value) => value.to_string(),
                };
                (i64::from(*number), name)
            });
            Some(ControlKind::Menu { entries: entries.collect(), default })
        }
        Type::Button => Some(ControlKind::Button),
        _ => None,
    }
}

/// What a control is now; `None` when the crate cannot read its type (sets of bits, menus of numbers).
fn value_of(device: &Device, id: u32, kind: &ControlKind) -> Option<ControlValue> {
    match readable(|| device.control(id)).ok()?.value {
        Value::Integer(number) if matches!(kind, ControlKind::Boolean { .. }) => {
            Some(ControlValue::Boolean(number != 0))
        }
        Value::Integer(number) => Some(ControlValue::Integer(number)),
        Value::Boolean(on) => Some(ControlValue::Boolean(on)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn vivid() -> Controls {
        let path = Path::new("/dev/video2");
        Controls::of(Device::with_path(path).expect("the lab's raw camera"), path)
    }

    fn find(controls: &[CameraControl], name: &str) -> CameraControl {
        controls.iter().find(|control| control.name == name).unwrap_or_else(|| panic!("no {name}")).clone()
    }

    #[test]
    #[ignore = "needs the device lab (tests/lab)"]
    fn everything_that_the_driver_lists_is_listed() {
        let mut controls = vivid();
        let list = controls.list();
        for control in &list {
            println!("{control:?}");
        }
        assert!(list.len() > 30, "{}", list.len());
        let brightness = find(&list, "brightness");
        assert_eq!(brightness.kind, ControlKind::Integer { min: 0, max: 255, step: 1, default: 128 });
        assert!(brightness.is_settable && brightness.value.is_some());
    }
}
