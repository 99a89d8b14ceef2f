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
        self.allows(who, 0o6)
    }

    /// Whether somebody has these of the three permissions: 4 to read, 2 to write, 1 to execute.
    fn allows(&self, who: &Somebody, wanted: u32) -> bool {
        let shift = match who {
            Somebody { uid: Some(0), .. } => return true,
            Somebody { uid: Some(uid), .. } if *uid == self.uid => 6,
            Somebody { gids, .. } if gids.contains(&self.gid) => 3,
            _ => 0,
        };
        self.mode >> shift & wanted == wanted
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

/// The finding of a device that the unit's service may open, and who asks may not: nothing is wrong.
pub fn unseen(
    check: &'static str,
    node: &Node,
    (service, asker): (&Somebody, &Somebody),
    runner: Runner,
) -> Option<Finding> {
    let is_unseen = runner == Runner::Unit && node.lets_in(service) && !node.lets_in(asker);
    is_unseen.then(|| {
        let path = node.path.display();
        Finding::note(check, format!("{path} is there and open to the service; you may not look into it"))
            .mend("sudo farol doctor")
    })
}

/// A file that the configuration names, and the directories above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The file.
    pub node: Node,
    /// The directories on the way to it.
    pub above: Vec<Node>,
    /// The key that names it.
    pub key: &'static str,
    /// Under which name the unit could be given it as a credential; `None`: it is no secret.
    pub credential: Option<&'static str>,
    /// What of the unit hides it from the service.
    pub hidden: Option<&'static str>,
}

impl NamedFile {
    /// The finding of a file that the service may not read; `None`: it may.
    pub fn finding(&self, groups: &Groups, service: &Somebody) -> Option<Finding> {
        let path = self.node.path.display().to_string();
        let closed = self.above.iter().find(|directory| !directory.allows(service, 0o1));
        let (closer, mode) = match (closed, self.node.allows(service, 0o4)) {
            (None, true) if self.hidden.is_none() => return None,
            (Some(directory), _) => (&directory.path, directory.mode),
            (None, _) => (&self.node.path, self.node.mode),
        };
        let group = groups.name(closed.map_or(self.node.gid, |directory| directory.gid));
        let cause = match self.hidden {
            Some(by) => format!("its unit hides it ({by})"),
            None => format!("{} has mode {:04o}, group {group}", closer.display(), mode & 0o7777),
        };
        let what = format!("the service may not read {path}, which {} names: {cause}", self.key);
        let fault = Finding::fault("files", what).because(match self.hidden {
            Some(_) => "you can open it and the service cannot: for it, nothing is there",
            None => "the service runs as a user of its own (DynamicUser=), so root's files are closed to it",
        });
        Some(match (self.credential, closed) {
            (Some(name), _) => fault
                .mend("# hand it over as a credential: `sudo systemctl edit farol`, and write")
                .mend(format!("[Service]\nLoadCredential={name}:{path}"))
                .mends(
                    self.key
                        .strip_suffix("_file")
                        .and_then(|key| key.split_once('.'))
                        .map(|(section, key)| format!("[{section}]\n{key}_credential = {name:?}")),
                )
                .mend("sudo systemctl restart farol"),
            (None, _) if self.hidden.is_some() => {
                let to = self
                    .node
                    .path
                    .file_name()
                    .map_or_else(PathBuf::new, |name| Path::new("/etc/farol").join(name));
                let to = to.to_string_lossy().into_owned();
                let line =
                    self.key.split_once('.').map(|(section, key)| format!("[{section}]\n{key} = {to:?}"));
                fault
                    .mend("# where the service sees it:")
                    .mend(command(&["sudo", "install", "-D", "-m", "0644", &path, &to]))
                    .mends(line)
                    .mend("sudo systemctl restart farol")
            }
            (None, Some(directory)) => {
                fault.mend(command(&["sudo", "chmod", "o+x", &directory.path.to_string_lossy()]))
            }
            (None, None) => fault.mend(command(&["sudo", "chmod", "o+r", &path])),
        })
    }
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
    let (first, others) = missing.split_first()?;
    let made = |name: &&str| command(&["sudo", "groupadd", "--system", name]);
    let fault = Finding::fault(
        "groups",
        format!("there is no group {}, which the unit names", missing.join(" and no ")),
    )
    .because("systemd does not start a service whose group is missing (status=216/GROUP)")
    .mend(made(first));
    Some(fault.mends(others.iter().map(made)).mend("sudo systemctl restart farol"))
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
    fn what_only_the_asker_may_not_open_is_no_fault() {
        let groups = Groups::of(GROUP_FILE);
        let (service, outsider) = (groups.service(&UNIT_GROUPS.map(str::to_owned)), pi(&[1000]));
        let ask = |node: &Node, runner| unseen("camera", node, (&service, &outsider), runner);
        assert_eq!(ask(&node(0o660, 44), Runner::Unit).map(|found| found.level), Some(Level::Note));
        assert_eq!(ask(&node(0o660, 44), Runner::Hand), None, "then it matters");
        assert_eq!(ask(&node(0o600, 0), Runner::Unit), None, "then nobody may");
    }

    #[test]
    fn a_file_that_the_service_may_not_read_is_told_with_the_credential_for_it() {
        let groups = Groups::of(GROUP_FILE);
        let service = groups.service(&UNIT_GROUPS.map(str::to_owned));
        let file = |mode, above: u32, credential| NamedFile {
            node: Node { path: "/etc/farol/mqtt-password".into(), mode, uid: 0, gid: 0 },
            above: vec![Node { path: "/etc/farol".into(), mode: above, uid: 0, gid: 0 }],
            key: "broker.password_file",
            credential,
            hidden: None,
        };
        assert_eq!(file(0o644, 0o755, None).finding(&groups, &service), None);
        let secret =
            file(0o600, 0o755, Some("mqtt-password")).finding(&groups, &service).expect("it is closed");
        assert_eq!(secret.mend[1], "[Service]\nLoadCredential=mqtt-password:/etc/farol/mqtt-password");
        assert_eq!(secret.mend[2], "[broker]\npassword_credential = \"mqtt-password\"");
        let plain = file(0o640, 0o755, None).finding(&groups, &service).expect("it is closed");
        assert_eq!(plain.mend, ["sudo chmod o+r /etc/farol/mqtt-password"]);
        let hidden = file(0o644, 0o700, None).finding(&groups, &service).expect("its directory is closed");
        assert!(hidden.what.contains("/etc/farol has mode 0700"), "{}", hidden.what);
        assert_eq!(hidden.mend, ["sudo chmod o+x /etc/farol"]);
        let at_home =
            NamedFile { hidden: Some("ProtectHome="), key: "broker.ca_file", ..file(0o644, 0o755, None) };
        let at_home = at_home.finding(&groups, &service).expect("it is hidden");
        assert!(at_home.what.ends_with("its unit hides it (ProtectHome=)"), "{}", at_home.what);
        assert_eq!(at_home.mend[2], "[broker]\nca_file = \"/etc/farol/mqtt-password\"");
        // systemd reads a credential outside of the sandbox.
        let secret = NamedFile { hidden: Some("ProtectHome="), ..file(0o600, 0o755, Some("mqtt-password")) };
        let secret = secret.finding(&groups, &service).expect("it is hidden");
        assert!(secret.mend[1].contains("LoadCredential="), "{secret:?}");
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
