//! May the service open a device, and may who asks?
//!
//! The service runs as a user that systemd makes up (`DynamicUser=`), so a device lets it in by its group or
//! not at all. Who runs `farol demo` or `farol run` by hand comes as themselves.

use std::path::{Path, PathBuf};

use super::{Finding, command};

/// The groups that the unit gives the service.
pub const UNIT_GROUPS: [&str; 3] = ["video", "audio", "gpio"];

/// A device's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where.
    pub path: PathBuf,
    /// The permission bits.
    pub mode: u32,
    /// Whose it is.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Somebody who wants to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Somebody {
    /// The name, for people.
    pub name: String,
    /// The user id; `None`: one that owns nothing.
    pub uid: Option<u32>,
    /// All groups.
    pub gids: Vec<u32>,
}

/// The system's groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Vec<(String, u32)>);

impl Groups {
    /// From `/etc/group` (group(5)).
    pub fn of(file: &str) -> Groups {
        let group = |line: &str| {
            let mut fields = line.split(':');
            Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
        };
        Groups(file.lines().filter_map(group).collect())
    }

    /// Its number.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, gid)| *gid)
    }

    /// Its name, else its number.
    pub fn name(&self, gid: u32) -> String {
        let named = self.0.iter().find(|(_, other)| *other == gid);
        named.map_or_else(|| gid.to_string(), |(name, _)| name.clone())
    }

    /// The service, in these groups.
    pub fn service(&self, groups: &[String]) -> Somebody {
        let gids = groups.iter().filter_map(|name| self.gid(name)).collect();
        Somebody { name: "the service".to_owned(), uid: None, gids }
    }
}

impl Node {
    /// Whether somebody may read and write it, by the classic rule: the owner's bits for the owner, else the
    /// group's for its members, else the others'.
    pub fn lets_in(&self, who: &Somebody) -> bool {
        let shift = match who {
            Somebody { uid: Some(0), .. } => return true,
            Somebody { uid: Some(uid), .. } if *uid == self.uid => 6,
            Somebody { gids, .. } if gids.contains(&self.gid) => 3,
            _ => 0,
        };
        self.mode >> shift & 0o6 == 0o6
    }
}

/// Who is meant to open devices on this board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// The unit is installed.
    Unit,
    /// It is not: who asks runs farol by hand.
    Hand,
}

/// The finding of a device that does not let in who is meant to open it; `None`: it does.
pub fn refused(
    check: &'static str,
    node: &Node,
    groups: &Groups,
    (service, asker): (&Somebody, &Somebody),
    runner: Runner,
    wanted: &str,
) -> Option<Finding> {
    let who = match runner {
        Runner::Unit => service,
        Runner::Hand => asker,
    };
    if node.lets_in(who) {
        return None;
    }
    let Node { path, mode, gid, .. } = node;
    let group = groups.name(*gid);
    let what = format!(
        "{} belongs to the group {group} with mode {:04o}: {} may not open it",
        path.display(),
        mode & 0o7777,
        who.name
    );
    let fault =
        Finding::fault(check, what).because("what cannot be opened gives no picture, no sound and no light");
    let is_group_enough = mode & 0o060 == 0o060 && group == wanted;
    Some(match (runner, is_group_enough) {
        (Runner::Hand, true) => fault
            .mend(command(&["sudo", "usermod", "-aG", wanted, &asker.name]))
            .mend("# then log out and in again"),
        (Runner::Unit, true) => fault
            .mend("# the unit lacks the group: `sudo systemctl edit farol`, and write")
            .mend(format!("[Service]\nSupplementaryGroups={wanted}"))
            .mend("sudo systemctl restart farol"),
        (_, false) => fault
            .mend(format!("# a udev rule gives it to the group {wanted}:"))
            .mend(rule(path, wanted))
            .mend("sudo udevadm control --reload && sudo udevadm trigger"),
    })
}

fn rule(path: &Path, group: &str) -> String {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let any = format!("{}*", name.trim_end_matches(|c: char| c.is_ascii_digit()));
    format!(
        "echo 'KERNEL==\"{any}\", GROUP=\"{group}\", MODE=\"0660\"' | sudo tee /etc/udev/rules.d/70-farol-{group}.rules"
    )
}

/// A group of the unit that does not exist keeps the service from starting at all.
pub fn missing_groups(groups: &Groups, wanted: &[String]) -> Option<Finding> {
    let missing: Vec<&str> =
        wanted.iter().map(String::as_str).filter(|name| groups.gid(name).is_none()).collect();
    (!missing.is_empty()).then(|| {
        Finding::fault(
            "groups",
            format!("there is no group {}, which the unit names", missing.join(" and no ")),
        )
        .because("systemd does not start a service whose group is missing (status=216/GROUP)")
        .mends(missing.iter().map(|name| command(&["sudo", "groupadd", "--system", name])))
        .mend("sudo systemctl restart farol")
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const GROUP_FILE: &str = "root:x:0:\naudio:x:29:pi\nvideo:x:44:pi\npi:x:1000:\ngpio:x:997:pi\nbroken\n";

    fn node(mode: u32, gid: u32) -> Node {
        Node { path: "/dev/video0".into(), mode: 0o020_000 | mode, uid: 0, gid }
    }

    fn pi(gids: &[u32]) -> Somebody {
        Somebody { name: "pi".into(), uid: Some(1000), gids: gids.to_vec() }
    }

    #[test]
    fn a_device_lets_in_by_owner_group_or_everybody() {
        for (node, who, is_in) in [
            (node(0o660, 44), pi(&[1000, 44]), true),
            (node(0o660, 44), pi(&[1000]), false),
            (node(0o600, 44), pi(&[44]), false),
            (node(0o666, 0), pi(&[]), true),
            (node(0o640, 44), pi(&[44]), false),
            (Node { uid: 1000, ..node(0o600, 0) }, pi(&[]), true),
            // The owner's own bits count for the owner, even where the others have more.
            (Node { uid: 1000, ..node(0o466, 0) }, pi(&[]), false),
            (node(0o000, 0), Somebody { uid: Some(0), ..pi(&[]) }, true),
        ] {
            assert_eq!(node.lets_in(&who), is_in, "{node:?} {who:?}");
        }
    }

    #[test]
    fn who_may_not_open_a_device_is_told_how_to() {
        let groups = Groups::of(GROUP_FILE);
        let unit: Vec<String> = UNIT_GROUPS.map(str::to_owned).into();
        let (service, outsider) = (groups.service(&unit), pi(&[1000]));
        assert_eq!(service.gids, [44, 29, 997]);
        let ask =
            |node: &Node, runner| refused("camera", node, &groups, (&service, &outsider), runner, "video");
        assert_eq!(ask(&node(0o660, 44), Runner::Unit), None);
        let by_hand = ask(&node(0o660, 44), Runner::Hand).expect("pi is not in video");
        assert_eq!(by_hand.mend[0], "sudo usermod -aG video pi");
        let rooted = ask(&node(0o600, 0), Runner::Unit).expect("it is root's alone");
        assert_eq!(rooted.level, Level::Fault);
        assert!(rooted.what.contains("group root with mode 0600"), "{}", rooted.what);
        assert!(rooted.mend[1].contains("KERNEL==\"video*\", GROUP=\"video\""), "{:?}", rooted.mend);
    }

    #[test]
    fn a_group_of_the_unit_that_is_missing_is_a_fault() {
        let wanted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(missing_groups(&Groups::of(GROUP_FILE), &wanted(&UNIT_GROUPS)), None);
        let plain = Groups::of("video:x:44:\naudio:x:29:\n");
        let fault = missing_groups(&plain, &wanted(&UNIT_GROUPS)).expect("gpio is missing");
        assert_eq!(fault.mend[0], "sudo groupadd --system gpio");
    }
}
