//! Which camera is this, and where has it gone?
//!
//! A node's number is only the order in which cameras were found: one that is pulled out and put back, or
//! whose driver starts anew, may come back under another. So the first opening remembers which camera it
//! was, and a later one takes the node that has it now:
//!
//! - A name below `/dev/v4l` is a statement by itself (this camera, or this port), and udev keeps it true:
//!   it is followed at each opening.
//! - A plain node is held to the camera that it was. Where that is not to be found, it is lost; no other
//!   camera is ever taken for it.
//!
//! The same camera is one of the same name that has the same serial number, or is at the same place (port,
//! or bus of the board). A serial number that several have, as cheap cameras do, counts only with the place.
//! The memory lasts until the daemon ends: after that the configuration alone says which camera is meant.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Loss;
use super::v4l2::readable;

/// Where the kernel tells of its video nodes.
const NODES: &str = "/sys/class/video4linux";

/// What a camera is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// What it calls itself.
    card: String,
    /// Where it is, as the driver says: a USB port, a platform device.
    place: String,
    /// Which of the camera's nodes; a USB camera has one for pictures and one for metadata.
    index: String,
    /// USB vendor, product and serial number, where it has one.
    serial: Option<String>,
}

/// The camera that a plain node was at its first opening.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    identity: Option<Identity>,
    /// Where it was last.
    node: PathBuf,
}

impl Identity {
    /// Of the camera that a node has now.
    pub(super) fn of(node: &Path) -> io::Result<Identity> {
        let node = fs::canonicalize(node)?;
        let capabilities = readable(|| v4l::Device::with_path(&node)?.query_caps())?;
        let about = Path::new(NODES).join(node.file_name().unwrap_or_default());
        Ok(Identity {
            card: capabilities.card,
            place: capabilities.bus,
            index: line(&about.join("index")).unwrap_or_default(),
            serial: usb_serial(&about),
        })
    }

    /// Whether it is surely the same one.
    fn is_same_place(&self, other: &Identity) -> bool {
        self == other
    }

    /// Whether it may be the same one at another place.
    fn has_same_serial(&self, other: &Identity) -> bool {
        self.serial.is_some()
            && (&self.serial, &self.card, &self.index) == (&other.serial, &other.card, &other.index)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.card, self.place)
    }
}

impl Remembered {
    /// The node to open for `device`, as it is configured.
    pub(super) fn find(&mut self, device: &Path) -> Result<PathBuf, Loss> {
        let Some(known) = self.identity.as_ref().filter(|_| is_plain(device)) else {
            return Ok(device.to_owned());
        };
        let present = Identity::of(device);
        if present.as_ref().is_ok_and(|present| known.is_same_place(present)) {
            return Ok(self.moved_to(device));
        }
        let others: Vec<(PathBuf, Identity)> =
            nodes().into_iter().filter_map(|node| Some((node.clone(), Identity::of(&node).ok()?))).collect();
        match pick(known, &others) {
            Some(node) => Ok(self.moved_to(node)),
            // Nothing is there at all: opening it says so best.
            None if present.is_err() => Ok(device.to_owned()),
            None => {
                Err(Loss::Unfit { device: device.to_owned(), what: replaced(known, present.ok().as_ref()) })
            }
        }
    }

    /// The camera that `device` led to works.
    pub(super) fn remember(&mut self, device: &Path, node: &Path) {
        let Ok(identity) = Identity::of(node) else { return };
        match &self.identity {
            Some(known) if *known == identity => {}
            Some(known) => log::info!(
                device:% = device.display(), was:% = known, is:% = identity;
                "the camera's name leads to another camera or place now"
            ),
            None => log::debug!(device:% = device.display(), camera:% = identity; "camera remembered"),
        }
        self.identity = Some(identity);
        self.node = node.to_owned();
    }

    fn moved_to(&mut self, node: &Path) -> PathBuf {
        if self.node != node {
            log::info!(
                was:% = self.node.display(), is:% = node.display();
                "the camera is found again under another node"
            );
            self.node = node.to_owned();
        }
        node.to_owned()
    }
}

/// Whether it is a node's own name, which says nothing about the camera.
fn is_plain(device: &Path) -> bool {
    !fs::symlink_metadata(device).is_ok_and(|metadata| metadata.is_symlink())
        && !device.starts_with("/dev/v4l")
}

/// The node that has the camera now: where it was, or, with its own serial number, elsewhere.
fn pick<'a>(known: &Identity, nodes: &'a [(PathBuf, Identity)]) -> Option<&'a Path> {
    if let Some((node, _)) = nodes.iter().find(|(_, identity)| known.is_same_place(identity)) {
        return Some(node);
    }
    let mut twins = nodes.iter().filter(|(_, identity)| known.has_same_serial(identity));
    match (twins.next(), twins.next()) {
        (Some((node, _)), None) => Some(node),
        _ => None,
    }
}

fn replaced(known: &Identity, present: Option<&Identity>) -> String {
    let present = present.map_or("something else".to_owned(), Identity::to_string);
    format!(
        "it is {present} now, and {known}, which it was, is not here: plug that one in, or name the one that is \
         meant by its name below /dev/v4l/by-id, and start farol again"
    )
}

/// Every node for video.
pub(super) fn nodes() -> Vec<PathBuf> {
    let entries = fs::read_dir(NODES).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let mut nodes: Vec<PathBuf> = names
        .filter(|name| name.to_string_lossy().starts_with("video"))
        .map(|name| Path::new("/dev").join(name))
        .collect();
    nodes.sort();
    nodes
}

/// The serial number of the USB device that a node belongs to, with vendor and product.
fn usb_serial(about: &Path) -> Option<String> {
    // `device` is the USB interface; the device itself is above it.
    let interface = fs::canonicalize(about.join("device")).ok()?;
    let device = interface.ancestors().find(|above| above.join("idVendor").exists())?;
    let of = |name: &str| line(&device.join(name));
    Some(format!("{}:{}:{}", of("idVendor")?, of("idProduct")?, of("serial")?))
}

fn line(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod lab;

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(card: &str, place: &str, serial: Option<&str>) -> Identity {
        let index = "0".to_owned();
        Identity { card: card.to_owned(), place: place.to_owned(), index, serial: serial.map(str::to_owned) }
    }

    fn picked(known: &Identity, there: &[(&str, Identity)]) -> Option<PathBuf> {
        let nodes: Vec<_> = there.iter().map(|(node, identity)| (node.into(), identity.clone())).collect();
        pick(known, &nodes).map(Path::to_owned)
    }

    #[test]
    fn a_camera_is_found_at_its_place_whatever_its_number() {
        let (front, back) = (camera("Cam", "usb-1.1", None), camera("Cam", "usb-1.2", None));
        let there = [("/dev/video4", back.clone()), ("/dev/video7", front.clone())];
        assert_eq!(picked(&front, &there), Some("/dev/video7".into()));
        assert_eq!(picked(&front, &there[..1]), None, "its twin at another port is another camera");
        let metadata = Identity { index: "1".to_owned(), ..front.clone() };
        assert_eq!(picked(&front, &[("/dev/video1", metadata)]), None);
    }

    #[test]
    fn a_camera_with_a_serial_number_of_its_own_is_found_at_any_port() {
        let at = |place: &str| camera("Cam", place, Some("046d:082d:A1B2"));
        assert_eq!(picked(&at("usb-1.1"), &[("/dev/video2", at("usb-1.4"))]), Some("/dev/video2".into()));
        let other = camera("Cam", "usb-1.4", Some("046d:082d:FFFF"));
        assert_eq!(picked(&at("usb-1.1"), &[("/dev/video2", other)]), None);
    }

    #[test]
    fn of_two_with_the_same_serial_number_none_is_guessed() {
        let at = |place: &str| camera("Cam", place, Some("1bcf:2281:SN0001"));
        let there = [("/dev/video2", at("usb-1.2")), ("/dev/video4", at("usb-1.4"))];
        assert_eq!(picked(&at("usb-1.1"), &there), None);
        assert_eq!(picked(&at("usb-1.4"), &there), Some("/dev/video4".into()));
    }

    #[test]
    fn a_usb_cameras_serial_number_is_read_with_its_make() {
        let sys = tempfile::tempdir().expect("a directory");
        let device = sys.path().join("usb1/1-1");
        let interface = device.join("1-1:1.0");
        fs::create_dir_all(interface.join("video4linux/video0")).expect("made");
        for (name, text) in [("idVendor", "046d\n"), ("idProduct", "082d\n"), ("serial", "A1B2\n")] {
            fs::write(device.join(name), text).expect("written");
        }
        let node = interface.join("video4linux/video0");
        std::os::unix::fs::symlink(&interface, node.join("device")).expect("linked");
        assert_eq!(usb_serial(&node), Some("046d:082d:A1B2".to_owned()));
        fs::remove_file(device.join("serial")).expect("removed");
        assert_eq!(usb_serial(&node), None);
    }
}
