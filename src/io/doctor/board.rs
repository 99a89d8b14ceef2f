//! What do the kernel and the firmware say of the board: model, power, heat, memory, disk, clock?

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::child::said;
use crate::config::Config;
use crate::engine::doctor::board::{Clock, ClockKeeper, Disk, Memory, Model};
use crate::engine::doctor::{Finding, power};
use crate::io::clock::wall_now;

/// For programs of the board's own.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which board this is.
pub(super) fn model() -> Model {
    Model::of(text("/proc/device-tree/model").as_deref())
}

/// Everything about it; `config` where there is one.
pub(super) fn findings(config: Option<&Config>) -> Vec<Finding> {
    let model = model();
    let memory = Memory::of(&text("/proc/meminfo").unwrap_or_default());
    let throttled = throttled(&model);
    let mut findings = vec![model.finding(std::env::consts::ARCH, memory.total_kb)];
    findings.extend(power::power(throttled, volt_alarm()));
    findings.extend(power::temperature(hottest(), throttled));
    findings.extend(memory.finding());
    if let Some(config) = config {
        findings.extend(disk(&config.state_dir).map(|disk| disk.finding()));
    }
    findings.push(clock(config).finding());
    findings
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The firmware's word: by the kernel's file, whose place differs between models, else by its own program.
fn throttled(model: &Model) -> Option<u32> {
    let of_kernel = || {
        let platform = below("/sys/devices/platform", "soc");
        let firmware = platform.iter().flat_map(|soc| below(soc, "soc"));
        firmware.into_iter().find_map(|firmware| text(firmware.join("get_throttled")))
    };
    let asked = || said("vcgencmd", &["get_throttled"], PATIENCE).filter(|_| model.is_pi());
    power::throttled(&of_kernel().or_else(asked)?)
}

/// What of a directory begins so.
fn below(directory: impl AsRef<Path>, start: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect()
}

/// The alarm of the kernel's driver `raspberrypi-hwmon`.
fn volt_alarm() -> Option<bool> {
    let is_it =
        |hwmon: &std::path::PathBuf| text(hwmon.join("name")).is_some_and(|name| name.trim() == "rpi_volt");
    let hwmon = below("/sys/class/hwmon", "hwmon").into_iter().find(is_it)?;
    Some(text(hwmon.join("in0_lcrit_alarm"))?.trim() == "1")
}

fn hottest() -> Option<i32> {
    let zones = below("/sys/class/thermal", "thermal_zone").into_iter();
    zones.filter_map(|zone| text(zone.join("temp"))?.trim().parse().ok()).max()
}

/// The file system of a directory, or of the nearest above it that is there.
fn disk(path: &Path) -> Option<Disk> {
    let there = path.ancestors().find(|above| above.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(Disk {
        path: path.to_owned(),
        exists: there == path,
        is_read_only: stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        // btrfs and others have no table of files, and say 0 of 0.
        free_files: (stat.f_files > 0).then_some(stat.f_favail),
    })
}

fn clock(config: Option<&Config>) -> Clock {
    let answer = said("timedatectl", &["show", "--property=NTPSynchronized", "--value"], PATIENCE);
    let is_synchronised = match answer.as_deref().map(str::trim) {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        _ => None,
    };
    let goes_by_it = |config: &Config| {
        let urls = config.ice.servers.iter().flat_map(|server| &server.urls);
        config.broker.tls.is_some()
            || !config.ice.shared.is_empty()
            || config.ice.source.is_some()
            || config.whip.iter().any(|whip| whip.url.scheme() == "https")
            || urls.into_iter().any(|url| url.starts_with("turns:"))
    };
    let matters = config.is_some_and(goes_by_it);
    Clock { unix_s: wall_now().as_secs(), is_synchronised, matters, keeper: clock_keeper() }
}

/// Debian's programs for it exclude each other.
fn clock_keeper() -> ClockKeeper {
    let programs = [
        ("/usr/sbin/chronyd", ClockKeeper::Chrony),
        ("/usr/sbin/ntpd", ClockKeeper::Ntpd),
        ("/usr/lib/systemd/systemd-timesyncd", ClockKeeper::Timesyncd),
    ];
    let there = programs.into_iter().find(|(program, _)| Path::new(program).exists());
    there.map_or(ClockKeeper::Nobody, |(_, keeper)| keeper)
}
