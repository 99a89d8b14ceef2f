//! Can the board itself be relied on: its model, memory, disk and clock?

use std::path::PathBuf;

use super::{Finding, command};

/// The first moment at which this version could exist: 2025-01-01, seconds since the Unix epoch.
const NO_EARLIER_S: u64 = 1_735_689_600;
/// Below this the kernel begins to throw out the program's own code, and pictures stall.
const LITTLE_MEMORY_KB: u64 = 48 * 1024;
/// Keys and logs are small; below this the system as a whole is about to fail.
const LITTLE_DISK_BYTES: u64 = 32 << 20;

/// Which board it is, as far as it matters to a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name, such as `Raspberry Pi 4 Model B Rev 1.4`; `None`: the board does not say.
    pub name: Option<String>,
    /// What kind it is.
    pub kind: ModelKind,
}

/// Kinds of boards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// A Raspberry Pi up to the fourth generation: it has an H.264 encoder, at `/dev/video11`.
    PiWithEncoder,
    /// A Raspberry Pi 5 or one of its relatives: it has none.
    PiWithoutEncoder,
    /// Something else.
    Other,
}

impl Model {
    /// From `/proc/device-tree/model`, which ends with a zero byte.
    pub fn of(device_tree: Option<&str>) -> Model {
        let name = device_tree.map(|text| text.trim_end_matches('\0').trim()).filter(|text| !text.is_empty());
        let kind = match name.and_then(|name| name.strip_prefix("Raspberry Pi ")) {
            None => ModelKind::Other,
            Some(rest) => {
                let rest = rest.strip_prefix("Compute Module ").unwrap_or(rest);
                // 5, 500, 500+, Compute Module 5 and 5 Lite.
                match rest.starts_with('5') {
                    true => ModelKind::PiWithoutEncoder,
                    false => ModelKind::PiWithEncoder,
                }
            }
        };
        Model { name: name.map(str::to_owned), kind }
    }

    /// Whether it is a Raspberry Pi.
    pub fn is_pi(&self) -> bool {
        self.kind != ModelKind::Other
    }

    /// What it is.
    pub fn finding(&self, architecture: &str, memory_kb: Option<u64>) -> Finding {
        let name = self.name.as_deref().unwrap_or("a board that does not say its name");
        let memory = memory_kb.map_or(String::new(), |kb| format!(", {} MB of memory", kb / 1024));
        let lacks = match self.kind {
            ModelKind::PiWithoutEncoder => ", without an H.264 encoder",
            ModelKind::PiWithEncoder | ModelKind::Other => "",
        };
        Finding::ok("model", format!("{name}, {architecture}{memory}{lacks}"))
    }
}

/// The lines of `/proc/meminfo` that matter, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `MemTotal`.
    pub total_kb: Option<u64>,
    /// `MemAvailable`.
    pub available_kb: Option<u64>,
    /// `CmaTotal`: what hardware encoders take their buffers from.
    pub contiguous_kb: Option<u64>,
    /// `CmaFree`.
    pub contiguous_free_kb: Option<u64>,
}

impl Memory {
    /// From `/proc/meminfo`.
    pub fn of(meminfo: &str) -> Memory {
        let line = |name: &str| {
            let rest = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            rest.trim().trim_end_matches("kB").trim().parse().ok()
        };
        Memory {
            total_kb: line("MemTotal"),
            available_kb: line("MemAvailable"),
            contiguous_kb: line("CmaTotal"),
            contiguous_free_kb: line("CmaFree"),
        }
    }

    /// Whether there is enough.
    pub fn finding(&self) -> Option<Finding> {
        let available = self.available_kb?;
        Some(if available < LITTLE_MEMORY_KB {
            Finding::warning("memory", format!("only {} MB of memory are available", available / 1024))
                .because("the kernel soon ends programs, and farol may be the one")
                .mend("# Stop what needs most of it; this lists it:")
                .mend("ps -eo rss,comm --sort=-rss | head")
        } else {
            Finding::ok("memory", format!("{} MB available", available / 1024))
        })
    }
}

/// The file system below the state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The state directory.
    pub path: PathBuf,
    /// Whether the directory is there; before the first start it is not.
    pub exists: bool,
    /// Whether it is mounted read-only.
    pub is_read_only: bool,
    /// Room for everybody but root.
    pub free_bytes: u64,
    /// Room for further files; `None`: this file system has no such limit.
    pub free_files: Option<u64>,
}

impl Disk {
    /// Whether keys can be kept.
    pub fn finding(&self) -> Finding {
        let path = self.path.display();
        let why = "the device's id and the viewers' keys are kept there: nobody can be paired, and a new id \
                   would make every link useless";
        if self.is_read_only {
            return Finding::fault("disk", format!("{path} is on a file system that is mounted read-only"))
                .because(why)
                .mend("# Did the kernel do so because the card fails?")
                .mend("sudo dmesg | grep -iE 'mmc|ext4|I/O error'")
                .mend("sudo mount -o remount,rw /")
                .mend("# With an overlay file system on purpose: pair first, then turn it on again:")
                .mend("sudo raspi-config nonint disable_overlayfs");
        }
        let free_mb = self.free_bytes >> 20;
        if self.free_bytes < LITTLE_DISK_BYTES || self.free_files.is_some_and(|files| files < 100) {
            return Finding::fault("disk", format!("the disk is full: {free_mb} MB are left at {path}"))
                .because(why)
                .mend("sudo journalctl --vacuum-size=50M")
                .mend("sudo apt clean")
                .mend("sudo du -xh / | sort -h | tail");
        }
        let made = if self.exists { "" } else { "; the directory is made at the first start" };
        Finding::ok("disk", format!("{free_mb} MB free at {path}{made}"))
    }
}

/// Whether the state directory can be written by who asks, when no unit gives it to the service.
pub fn unwritable(path: &std::path::Path) -> Finding {
    let path = path.display().to_string();
    let quoted = command(&[&path]);
    Finding::fault("disk", format!("{path} cannot be written by you, and no unit gives it to the service"))
        .because("the device's id and the viewers' keys are kept there")
        .mend(format!("sudo install -d -m 0700 -o \"$(id -un)\" {quoted}"))
        .mend("# or another one, in the configuration:")
        .mend("[device]\nstate_dir = \"farol-state\"")
}

/// What is known of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Now, seconds since the Unix epoch.
    pub unix_s: u64,
    /// Whether it follows a time server; `None`: nobody says.
    pub is_synchronised: Option<bool>,
    /// Whether something that is configured goes by it: certificates, TURN passwords for a time.
    pub matters: bool,
    /// What sets it on this board.
    pub keeper: ClockKeeper,
}

/// The program that follows time servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockKeeper {
    /// `systemd-timesyncd`, as on Raspberry Pi OS.
    Timesyncd,
    /// chrony.
    Chrony,
    /// ntpsec, or the ntpd that it comes from.
    Ntpd,
    /// None is installed.
    Nobody,
}

impl ClockKeeper {
    /// What lets it set the clock, and what shows whether it does.
    fn mend(self) -> [&'static str; 2] {
        match self {
            ClockKeeper::Timesyncd => ["sudo timedatectl set-ntp true", "timedatectl timesync-status"],
            ClockKeeper::Chrony => {
                ["sudo systemctl enable --now chrony", "chronyc tracking; chronyc sources"]
            }
            ClockKeeper::Ntpd => {
                ["sudo systemctl enable --now ntpsec || sudo systemctl enable --now ntp", "ntpq -p"]
            }
            ClockKeeper::Nobody => ["sudo apt install systemd-timesyncd", "timedatectl timesync-status"],
        }
    }
}

impl Clock {
    /// Whether it can be believed.
    pub fn finding(&self) -> Finding {
        let why = "certificates and TURN passwords are judged by it: TLS connections fail with `not valid yet` \
                   or `expired`";
        let mend = self.keeper.mend();
        let day = day(self.unix_s);
        if self.unix_s < NO_EARLIER_S {
            return Finding::fault("clock", format!("the clock says {day}, which cannot be"))
                .because(why)
                .mends(mend)
                .mend("# without a network, by hand:")
                .mend("sudo date -s '2026-01-31 12:00'");
        }
        match (self.is_synchronised, self.matters) {
            (Some(true), _) => Finding::ok("clock", format!("{day}, synchronised")),
            (Some(false), true) => {
                Finding::warning("clock", format!("the clock ({day}) follows no time server"))
                    .because(why)
                    .mends(mend)
            }
            (Some(false), false) => Finding::note(
                "clock",
                format!("the clock ({day}) follows no time server; nothing here needs it"),
            ),
            (None, _) => Finding::ok("clock", format!("{day}; whether it is synchronised is not known")),
        }
    }
}

/// The date and the time of day in UTC, to the minute.
fn day(unix_s: u64) -> String {
    let moment = i64::try_from(unix_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    moment.map_or("a time beyond all calendars".to_owned(), |moment| {
        moment.strftime("%Y-%m-%d %H:%M UTC").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn the_model_says_whether_there_is_an_encoder() {
        use ModelKind::*;
        for (text, kind) in [
            ("Raspberry Pi 5 Model B Rev 1.0\0", PiWithoutEncoder),
            ("Raspberry Pi 500 Rev 1.0\0", PiWithoutEncoder),
            ("Raspberry Pi Compute Module 5 Rev 1.0\0", PiWithoutEncoder),
            ("Raspberry Pi 4 Model B Rev 1.5\0", PiWithEncoder),
            ("Raspberry Pi 400 Rev 1.0\0", PiWithEncoder),
            ("Raspberry Pi Zero 2 W Rev 1.0\0", PiWithEncoder),
            ("Raspberry Pi Zero W Rev 1.1\0", PiWithEncoder),
            ("Raspberry Pi Compute Module 4 Rev 1.1\0", PiWithEncoder),
            ("Raspberry Pi Model B Plus Rev 1.2\0", PiWithEncoder),
            ("Radxa ROCK 4C+\0", Other),
            ("Orange Pi 5\0", Other),
        ] {
            assert_eq!(Model::of(Some(text)).kind, kind, "{text}");
        }
        assert_eq!(Model::of(None).name, None);
    }

    #[test]
    fn memory_is_read_from_meminfo() {
        let text = "MemTotal:         439196 kB\nMemFree:           20064 kB\nMemAvailable:      31020 kB\n\
                    CmaTotal:         262144 kB\nCmaFree:            1024 kB\n";
        let memory = Memory::of(text);
        assert_eq!((memory.total_kb, memory.contiguous_free_kb), (Some(439_196), Some(1024)));
        assert_eq!(memory.finding().map(|finding| finding.level), Some(Level::Warning));
        assert_eq!(Memory::of("nonsense").finding(), None);
    }

    #[test]
    fn a_disk_that_cannot_keep_keys_is_a_fault() {
        let good = Disk {
            path: "/var/lib/farol".into(),
            exists: true,
            is_read_only: false,
            free_bytes: 1 << 30,
            free_files: Some(100_000),
        };
        assert_eq!(good.finding().level, Level::Ok);
        let read_only = Disk { is_read_only: true, ..good.clone() };
        assert!(read_only.finding().mend.iter().any(|line| line.contains("remount,rw")));
        for bad in
            [read_only, Disk { free_bytes: 0, ..good.clone() }, Disk { free_files: Some(0), ..good.clone() }]
        {
            assert_eq!(bad.finding().level, Level::Fault, "{bad:?}");
        }
    }

    #[test]
    fn a_clock_without_a_battery_is_found_out() {
        let keeper = ClockKeeper::Timesyncd;
        let clock =
            |unix_s, is_synchronised, matters| Clock { unix_s, is_synchronised, matters, keeper }.finding();
        let at_boot = clock(1_200, Some(false), false);
        assert_eq!(at_boot.level, Level::Fault);
        assert!(at_boot.what.contains("1970-01-01 00:20"), "{}", at_boot.what);
        let now = 1_790_000_000;
        for (is_synchronised, matters, level) in [
            (Some(true), true, Level::Ok),
            (Some(false), true, Level::Warning),
            (Some(false), false, Level::Note),
            (None, true, Level::Ok),
        ] {
            assert_eq!(clock(now, is_synchronised, matters).level, level);
        }
        assert_eq!(clock(u64::MAX, None, false).level, Level::Ok, "it is told, and no panic");
    }

    #[test]
    fn a_clock_is_mended_by_the_program_that_sets_it() {
        use ClockKeeper::*;
        for (keeper, command) in [
            (Timesyncd, "timedatectl timesync-status"),
            (Chrony, "chronyc tracking"),
            (Ntpd, "ntpq -p"),
            (Nobody, "apt install systemd-timesyncd"),
        ] {
            let clock = Clock { unix_s: 1_790_000_000, is_synchronised: Some(false), matters: true, keeper };
            let mend = clock.finding().mend.join("\n");
            assert!(mend.contains(command), "{keeper:?}: {mend}");
            assert!(
                keeper != Chrony || !mend.contains("timesync-status"),
                "that asks timesyncd alone: {mend}"
            );
        }
    }
}
