//! What is out of the service's reach, though who asks can see it?
//!
//! The doctor looks as root, or as who asks, from outside of the unit's sandbox (systemd.exec(5), "Sandboxing";
//! systemd.resource-control(5), `IPAddressAllow=`). What it finds there is of no use to a service that cannot
//! reach it. Whoever runs farol by hand has no sandbox.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{Finding, Unexplained, command};

/// Where the kernel hides what belongs to people: `ProtectHome=`.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Where the service has directories of its own: `PrivateTmp=`.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// The walls around the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Whether it sees no home.
    hides_homes: bool,
    /// Whether it has its own `/tmp`.
    has_own_tmp: bool,
    /// Which addresses it may not reach.
    denied: Vec<Network>,
    /// Which it may all the same.
    allowed: Vec<Network>,
}

impl Sandbox {
    /// From the unit's properties, as `systemctl show` prints them; `value` is one by its name.
    pub fn of(value: impl Fn(&str) -> String) -> Sandbox {
        let networks = |name: &str| value(name).split_whitespace().flat_map(Network::of).collect();
        // `read-only` shows them; on a system without the property there is no value.
        let is_set = |name: &str| !matches!(value(name).as_str(), "" | "no" | "read-only");
        Sandbox {
            hides_homes: is_set("ProtectHome"),
            has_own_tmp: is_set("PrivateTmp"),
            denied: networks("IPAddressDeny"),
            allowed: networks("IPAddressAllow"),
        }
    }

    /// What hides a path from the service; `None`: nothing does.
    pub fn hides(&self, path: &Path) -> Option<&'static str> {
        let is_below = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        if self.hides_homes && is_below(&HOMES) {
            return Some("ProtectHome=");
        }
        (self.has_own_tmp && is_below(&TEMPORARY)).then_some("PrivateTmp=")
    }

    /// Whether it may reach none of a server's addresses, of which there are some.
    pub fn bars_all(&self, addresses: &[IpAddr]) -> bool {
        !addresses.is_empty() && addresses.iter().all(|address| self.bars(*address))
    }

    /// Whether the kernel keeps the service from an address: what is allowed is, and of the rest what is denied
    /// is not.
    pub fn bars(&self, address: IpAddr) -> bool {
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.has(address));
        !is_in(&self.allowed) && is_in(&self.denied)
    }

    /// The finding of name servers that the service may not ask (resolv.conf(5)); `None`: it may ask one of them.
    /// systemd-resolved listens on this board.
    pub fn bars_names(&self, resolv_conf: &str) -> Option<Finding> {
        let server =
            |line: &str| line.trim().strip_prefix("nameserver")?.trim().split('%').next()?.parse().ok();
        let servers: Vec<IpAddr> = resolv_conf.lines().filter_map(server).collect();
        self.bars_all(&servers).then(|| {
            let what = format!("the service may not reach the board's name servers, {}", listed(&servers));
            let why = "it finds nothing that the configuration calls by a name";
            barred(Finding::fault("names", what), why, &servers)
        })
    }

    /// The finding of a file or program that the service does not see; `key` names it. `None`: it does.
    pub fn hidden(&self, check: &'static str, key: &str, path: &Path, mend: Mend<'_>) -> Option<Finding> {
        let by = self.hides(path)?;
        let (from, name) = (path.display(), path.file_name().unwrap_or_default());
        let what = format!("the service does not see {from}, which {key} names: its unit hides it ({by})");
        let to = Path::new(mend.place()).join(name);
        let mode = mend.mode();
        let copy = ["sudo", "install", "-D", "-m", mode, &path.to_string_lossy(), &to.to_string_lossy()];
        Some(
            Finding::fault(check, what)
                .because("you can open it and the service cannot: for it, nothing is there")
                .mend("# where the service sees it:")
                .mend(command(&copy))
                .mend(mend.line(key, path, to))
                .mend("sudo systemctl restart farol"),
        )
    }
}

/// What is to be written into the configuration once it is elsewhere.
#[derive(Clone, Copy, Debug)]
pub enum Mend<'a> {
    /// A key that names a file of the configuration's own.
    File,
    /// A key that names a recording.
    Recording,
    /// This command, of which one word is the path.
    Command(&'a [String]),
}

impl Mend<'_> {
    fn place(self) -> &'static str {
        match self {
            Mend::File => "/etc/farol",
            Mend::Recording => "/usr/local/share/farol",
            Mend::Command(_) => "/usr/local/bin",
        }
    }

    fn mode(self) -> &'static str {
        match self {
            Mend::File | Mend::Recording => "0644",
            Mend::Command(_) => "0755",
        }
    }

    fn line(self, key: &str, from: &Path, to: PathBuf) -> String {
        let to = to.display().to_string();
        match self {
            Mend::File | Mend::Recording => match key.split_once('.') {
                Some((section, key)) => format!("[{section}]\n{key} = {to:?}"),
                None => format!("# and name {to} instead"),
            },
            Mend::Command(argv) => {
                let from = from.display().to_string();
                let argv: Vec<String> = argv.iter().map(|word| word.replace(&from, &to)).collect();
                super::camera::line(&argv)
            }
        }
    }
}

/// The trouble of servers that [`Sandbox::bars`]; `what` names them with their addresses.
pub fn barred(trouble: Unexplained, why: &str, addresses: &[IpAddr]) -> Finding {
    trouble
        .because(format!(
            "{why}; a drop-in with IPAddressDeny=, such as lan-only.conf, keeps the service from it"
        ))
        .mend("# To let it through, `sudo systemctl edit farol`, and write")
        .mend(format!("[Service]\nIPAddressAllow={}", listed(addresses).replace(", ", " ")))
        .mend("sudo systemctl restart farol")
        .mend("# or take the drop-in away; this shows where it is:")
        .mend("systemctl cat farol | grep -E '^# /|IPAddress'")
}

/// Several, for people.
pub fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// From `10.0.0.0/8`, `::1`, or one of systemd's words.
    fn of(text: &str) -> Vec<Network> {
        let names: &[&str] = match text {
            "any" => &["0.0.0.0/0", "::/0"],
            "localhost" => &["127.0.0.0/8", "::1/128"],
            "link-local" => &["169.254.0.0/16", "fe80::/64"],
            "multicast" => &["224.0.0.0/4", "ff00::/8"],
            other => &[other],
        };
        names.iter().filter_map(|name| Network::one(name)).collect()
    }

    fn one(text: &str) -> Option<Network> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let bits = bits.map_or(Some(128), |bits| bits.parse().ok())?;
        Some(Network { address, bits })
    }

    fn has(&self, other: IpAddr) -> bool {
        let differ = |ours: u128, theirs: u128, width: u32| {
            // A shift by the whole width is none: the network has every address.
            (ours ^ theirs).checked_shr(width.saturating_sub(self.bits)).unwrap_or(0) != 0
        };
        match (self.address, other) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                !differ(ours.to_bits().into(), theirs.to_bits().into(), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => !differ(ours.to_bits(), theirs.to_bits(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(properties: &[(&str, &str)]) -> Sandbox {
        Sandbox::of(|name| {
            let found = properties.iter().find(|(other, _)| *other == name);
            found.map_or_else(String::new, |(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_the_unit_hides_is_hidden_from_the_service_alone() {
        let unit = sandbox(&[("ProtectHome", "yes"), ("PrivateTmp", "yes")]);
        for (path, by) in [
            ("/home/pi/cam.sh", Some("ProtectHome=")),
            ("/root/cam", Some("ProtectHome=")),
            ("/run/user/1000/cam", Some("ProtectHome=")),
            ("/tmp/cam", Some("PrivateTmp=")),
            ("/homework/cam", None),
            ("/usr/local/bin/cam", None),
        ] {
            assert_eq!(unit.hides(Path::new(path)), by, "{path}");
        }
        assert_eq!(sandbox(&[("ProtectHome", "read-only")]).hides(Path::new("/root/cam")), None);
        assert_eq!(sandbox(&[("ProtectHome", "tmpfs")]).hides(Path::new("/root/cam")), Some("ProtectHome="));
        assert_eq!(Sandbox::default().hides(Path::new("/root/cam")), None, "there is no unit");
    }

    #[test]
    fn what_is_hidden_is_copied_and_named_anew() {
        let unit = sandbox(&[("ProtectHome", "yes")]);
        let path = Path::new("/home/pi/my cam.py");
        let argv = ["python3", "/home/pi/my cam.py", "-x"].map(str::to_owned);
        let found = unit.hidden("camera", "video.command", path, Mend::Command(&argv)).expect("it is hidden");
        assert_eq!(found.mend[1], "sudo install -D -m 0755 '/home/pi/my cam.py' '/usr/local/bin/my cam.py'");
        assert_eq!(found.mend[2], "[video]\ncommand = [\"python3\",\"/usr/local/bin/my cam.py\",\"-x\"]");
        let found = unit.hidden("camera", "video.file", Path::new("/root/a.h264"), Mend::Recording);
        let line = "[video]\nfile = \"/usr/local/share/farol/a.h264\"";
        assert_eq!(found.expect("it is hidden").mend[2], line);
        let seen = unit.hidden("camera", "video.file", Path::new("/srv/a.h264"), Mend::Recording);
        assert_eq!(seen, None);
    }

    /// The drop-in that is shipped, as systemd 252 shows it.
    #[test]
    fn only_the_local_network_is_reached_with_the_drop_in_for_it() {
        let unit = sandbox(&[
            ("IPAddressDeny", "0.0.0.0/0 ::/0"),
            (
                "IPAddressAllow",
                "127.0.0.0/8 ::1/128 169.254.0.0/16 fe80::/64 224.0.0.0/4 ff00::/8 10.0.0.0/8 172.16.0.0/12 \
                 192.168.0.0/16 fc00::/7",
            ),
        ]);
        let words = sandbox(&[
            ("IPAddressDeny", "any"),
            ("IPAddressAllow", "localhost 192.168.0.0/16 10.0.0.0/8 fc00::/7"),
        ]);
        for (address, is_barred) in [
            ("192.168.1.7", false),
            ("10.200.0.1", false),
            ("127.0.0.1", false),
            ("::1", false),
            ("fd00::2", false),
            ("203.0.113.5", true),
            ("11.0.0.1", true),
            ("2001:db8::1", true),
        ] {
            let ip = address.parse().expect("an address");
            assert_eq!(unit.bars(ip), is_barred, "{address}");
            assert_eq!(words.bars(ip), is_barred, "{address}");
            assert!(!Sandbox::default().bars(ip), "without a drop-in all is open");
        }
        let barred = unit.bars_names("# by hand\nnameserver 203.0.113.1\nnameserver 2001:db8::53\n");
        let mend = &barred.expect("none of them is in this network").mend[1];
        assert_eq!(mend, "[Service]\nIPAddressAllow=203.0.113.1 2001:db8::53");
        assert_eq!(unit.bars_names("nameserver 203.0.113.1\nnameserver 192.168.1.1\n"), None);
        assert_eq!(unit.bars_names("nameserver 127.0.0.53\n"), None, "systemd-resolved");
        let some = sandbox(&[("IPAddressDeny", "203.0.113.0/24 198.51.100.7")]);
        let is_barred = |text: &str| some.bars(text.parse().expect("an address"));
        assert!(is_barred("203.0.113.9") && is_barred("198.51.100.7"));
        assert!(!is_barred("203.0.114.9") && !is_barred("198.51.100.8"));
    }
}
