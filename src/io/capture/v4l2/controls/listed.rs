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

    fn set(controls: &mut Controls, name: &str, value: ControlValue) -> Result<Taken, String> {
        controls.set_named(name, &value).map_err(|refusal| refusal.to_string())
    }

    #[test]
    #[ignore = "needs the device lab (tests/lab)"]
    fn everything_that_the_driver_lists_is_listed() {
        let list = vivid().list();
        let said = std::process::Command::new("v4l2-ctl").args(["-d", "/dev/video2", "-l"]).output();
        let said = String::from_utf8(said.expect("v4l2-ctl").stdout).expect("it speaks UTF-8");
        let shown = ["(int)", "(int64)", "(bool)", "(menu)", "(intmenu)", "(button)", "(bitmask)"];
        let wanted: Vec<&str> = said
            .lines()
            .filter(|line| shown.iter().any(|kind| line.contains(kind)))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert!(wanted.len() > 40, "{said}");
        let names: Vec<&str> = list.iter().map(|control| control.name.as_str()).collect();
        assert_eq!(names, wanted);

        let brightness = find(&list, "brightness");
        assert_eq!(brightness.kind, ControlKind::Integer { min: 0, max: 255, step: 1, default: 128 });
        let ControlKind::Menu { entries, default: 3 } = find(&list, "menu").kind else { panic!("a menu") };
        let entry = |number: i64| (number, format!("Menu Item {number}"));
        assert_eq!(entries, [entry(1), entry(3), entry(4)], "the second is left out by the driver");
        let ControlKind::Menu { entries, .. } = find(&list, "integer_menu").kind else { panic!("a menu") };
        assert_eq!(entries.last(), Some(&(8, "42".to_owned())));
        assert_eq!(find(&list, "boolean").kind, ControlKind::Boolean { default: true });
        let button = find(&list, "button");
        assert_eq!((button.kind, button.value), (ControlKind::Button, None));
        assert!(!find(&list, "read_only_integer_32_bits").is_settable);
    }

    #[test]
    #[ignore = "needs the device lab (tests/lab)"]
    fn what_is_set_is_read_back_and_what_cannot_be_says_why() {
        use ControlValue::{Boolean, Entry, Integer};
        let mut controls = vivid();
        let taken = |value| Ok(Taken::Value(value));
        assert_eq!(set(&mut controls, "brightness", Integer(77)), taken(Integer(77)));
        assert_eq!(set(&mut controls, "hue", Integer(-100)), taken(Integer(-100)));
        assert_eq!(set(&mut controls, "horizontal_flip", Boolean(true)), taken(Boolean(true)));
        assert_eq!(set(&mut controls, "menu", Entry("menu item 4".into())), taken(Integer(4)));
        assert_eq!(set(&mut controls, "integer_menu", Integer(8)), taken(Integer(8)));
        assert_eq!(set(&mut controls, "integer_64_bits", Integer(1 << 40)), taken(Integer(1 << 40)));
        assert_eq!(set(&mut controls, "bitmask", Integer(0x10)), taken(Integer(0x10)));
        assert_eq!(set(&mut controls, "button", Boolean(true)), Ok(Taken::Pressed));
        let refused = |outcome: Result<Taken, String>, words: &str| {
            let refusal = outcome.expect_err(words);
            assert!(refusal.contains(words), "{refusal}");
        };
        refused(set(&mut controls, "brightness", Integer(256)), "takes a whole number from 0 to 255");
        refused(set(&mut controls, "menu", Integer(2)), "\"Menu Item 1\" (1), \"Menu Item 3\" (3)");
        refused(set(&mut controls, "read_only_integer_32_bits", Integer(1)), "only tells");
        refused(set(&mut controls, "string", Integer(1)), "no control `string`");
        let again = vivid().list();
        assert_eq!(find(&again, "brightness").value, Some(Integer(77)), "the driver has it");
        assert_eq!(find(&again, "horizontal_flip").value, Some(Boolean(true)));
    }

    #[test]
    #[ignore = "needs the device lab (tests/lab)"]
    fn an_automatic_that_is_switched_off_frees_what_it_overruled() {
        use ControlValue::{Boolean, Integer};
        let mut controls = vivid();
        set(&mut controls, "gain_automatic", Boolean(true)).expect("it is settable");
        assert!(!find(&controls.list(), "gain").is_settable);
        let refusal = set(&mut controls, "gain", Integer(9)).expect_err("it is overruled");
        assert!(refusal.contains("overrules"), "{refusal}");
        set(&mut controls, "gain_automatic", Boolean(false)).expect("it is settable");
        assert_eq!(set(&mut controls, "gain", Integer(9)), Ok(Taken::Value(Integer(9))));
        assert!(find(&controls.list(), "gain").is_settable);
    }

    #[test]
    #[ignore = "needs the device lab (tests/lab)"]
    fn the_configuration_is_applied_in_its_order_and_its_faults_stop_nothing() {
        use ControlValue::{Boolean, Entry, Integer};
        let mut controls = vivid();
        let settings = [
            ("nonsense", Integer(1)),
            ("contrast", Boolean(true)),
            ("saturation", Integer(1000)),
            ("gain_automatic", Boolean(false)),
            ("gain", Integer(33)),
            ("osd_text_mode", Entry("None".into())),
        ];
        controls.configure(&settings.map(|(name, value)| (name.to_owned(), value)));
        let list = controls.list();
        assert_eq!(find(&list, "gain").value, Some(Integer(33)));
        assert_eq!(find(&list, "osd_text_mode").value, Some(Integer(2)));
        assert_ne!(find(&list, "saturation").value, Some(Integer(1000)));
    }
}
