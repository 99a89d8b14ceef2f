//! Does the unit run, and the daemon, and may anybody watch?

use super::Finding;
use super::access::UNIT_GROUPS;
use super::sandbox::Sandbox;
use crate::config::Security;
use crate::engine::tally::{BoardReport, Source};

/// The properties that are asked for with `systemctl show`.
pub const PROPERTIES: [&str; 12] = [
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "Result",
    "ExecMainStatus",
    "NRestarts",
    "SupplementaryGroups",
    "ProtectHome",
    "PrivateTmp",
    "IPAddressDeny",
    "IPAddressAllow",
];

/// The unit, as systemd tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// `loaded`, `not-found`, `masked`.
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`.
    pub active: String,
    /// `enabled`, `disabled`.
    pub file: String,
    /// `success`, `exit-code`, `watchdog`, `signal`.
    pub result: String,
    /// The exit status of its main process.
    pub status: u32,
    /// How often systemd has started it again by itself.
    pub restarts: u32,
    /// Its groups.
    pub groups: Vec<String>,
    /// What it keeps from the service; nothing where no unit is installed.
    pub sandbox: Sandbox,
}

impl Unit {
    /// From what `systemctl show --property=...` prints: lines `Name=value`.
    pub fn of(text: &str) -> Unit {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim().to_owned()
        };
        let is_installed = value("LoadState") == "loaded";
        Unit {
            sandbox: if is_installed { Sandbox::of(value) } else { Sandbox::default() },
            load: value("LoadState"),
            active: value("ActiveState"),
            file: value("UnitFileState"),
            result: value("Result"),
            status: value("ExecMainStatus").parse().unwrap_or(0),
            restarts: value("NRestarts").parse().unwrap_or(0),
            groups: value("SupplementaryGroups").split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// Whether there is such a unit.
    pub fn is_installed(&self) -> bool {
        self.load == "loaded"
    }

    /// The groups of the service: the unit's, or those that our own unit has.
    pub fn service_groups(&self) -> Vec<String> {
        match self.groups.as_slice() {
            [] => UNIT_GROUPS.map(str::to_owned).into(),
            groups => groups.to_vec(),
        }
    }

    /// Whether it runs; `is_running`: a daemon answers here, whoever started it.
    pub fn finding(&self, is_running: bool) -> Finding {
        let log = "journalctl -u farol -n 30 --no-pager";
        match (self.load.as_str(), self.active.as_str()) {
            ("masked", _) => Finding::fault("service", "the unit farol.service is masked")
                .because("it cannot be started")
                .mend("sudo systemctl unmask farol")
                .mend("sudo systemctl enable --now farol"),
            ("loaded", "failed") => self.failed().mend(log),
            ("loaded", "activating") if self.restarts > 0 => self.failed().mend(log),
            ("loaded", "active" | "activating" | "reloading") => self.running(log),
            ("loaded", _) if is_running => {
                Finding::note("service", "farol.service is stopped, and a farol that somebody started runs")
            }
            ("loaded", _) => Finding::fault("service", "farol.service does not run")
                .because("nothing is offered to viewers")
                .mend("sudo systemctl enable --now farol"),
            _ if is_running => {
                Finding::note("service", "no unit farol.service; a farol that somebody started runs")
            }
            _ => Finding::note("service", "no unit farol.service is installed")
                .because("farol runs only while somebody runs it: `farol run`, or `farol demo`"),
        }
    }

    fn running(&self, log: &str) -> Finding {
        if self.restarts > 0 {
            let times =
                if self.restarts == 1 { "once".to_owned() } else { format!("{} times", self.restarts) };
            return Finding::warning(
                "service",
                format!("farol.service runs, but had to be started again {times}"),
            )
            .because("viewers were cut off each time; its log says why it ended")
            .mend(log)
            .mend("# and to count anew afterwards:")
            .mend("sudo systemctl reset-failed farol");
        }
        if self.file == "disabled" {
            return Finding::warning("service", "farol.service runs, but does not start with the board")
                .because("after a power cut nothing is offered")
                .mend("sudo systemctl enable farol");
        }
        Finding::ok("service", "farol.service runs, and starts with the board")
    }

    /// The exit statuses are systemd.exec(5)'s, "Process Exit Codes", and ours.
    fn failed(&self) -> Finding {
        let fault = |what: &str| Finding::fault("service", format!("farol.service failed: {what}"));
        let restart = "sudo systemctl restart farol";
        match (self.result.as_str(), self.status) {
            (_, 78) => fault("its configuration is wrong (78)")
                .because("a restart would not help, so systemd waits")
                .mend("farol check")
                .mend(restart),
            (_, 216) => fault("one of its groups does not exist (216/GROUP)")
                .because("the unit names the groups video, audio and gpio")
                .mend("sudo systemd-sysusers; sudo groupadd --system --force gpio")
                .mend(restart),
            (_, 217) => fault("its user cannot be made (217/USER)")
                .because("DynamicUser= needs a user of that name not to exist, or to be a system user")
                .mend("getent passwd farol"),
            (_, 243) => fault("a credential cannot be read (243/CREDENTIALS)")
                .because("LoadCredential= in a drop-in names a file that is not there")
                .mend("systemctl cat farol | grep -i credential"),
            (_, 203) => fault("its program is not there (203/EXEC)")
                .because("ExecStart= names /usr/bin/farol")
                .mend("# the package again; it is in no archive, so from the file that it came in:")
                .mend("sudo apt install --reinstall ./farol_*.deb"),
            ("watchdog", _) => fault("it hung, and the watchdog ended it")
                .because("its loop stood still for 10 s")
                .mend(restart),
            ("oom-kill", _) => fault("the kernel ended it for want of memory")
                .because("a smaller picture, or less beside it on this board, helps")
                .mend("[video]\nwidth = 640\nheight = 480"),
            (result, status) => fault(&format!("{result}, exit status {status}"))
                .because("nothing is offered to viewers")
                .mend("# its last lines say why; when that is mended:")
                .mend(restart),
        }
    }
}

/// What the daemon says of itself; `Err`: why it does not.
pub fn daemon(report: Result<&BoardReport, &str>, own_version: &str) -> Vec<Finding> {
    let report = match report {
        Ok(report) => report,
        Err(why) => return vec![Finding::note("daemon", why.to_owned())],
    };
    let mut findings = Vec::new();
    if report.version != own_version && !report.version.is_empty() {
        let what = format!("version {} runs, and {own_version} is installed", report.version);
        findings.push(
            Finding::warning("daemon", what)
                .because("what was mended since is not in use yet")
                .mend("sudo systemctl restart farol"),
        );
    }
    if report.camera.state == Source::Lost {
        let reason = report.camera.reason.as_deref().unwrap_or("it does not say why");
        findings.push(
            Finding::fault("daemon", format!("the daemon has no picture: {reason}"))
                .because("viewers who connect see nothing")
                .mend("# what stands above of the camera comes first; then what the daemon says of it:")
                .mend("journalctl -u farol -n 30 --no-pager"),
        );
    }
    if let Some(sound) = report.sound.as_ref().filter(|sound| sound.state == Source::Lost) {
        let reason = sound.reason.as_deref().unwrap_or("it does not say why");
        findings.push(
            Finding::fault("daemon", format!("the daemon has no sound: {reason}"))
                .because("viewers see the picture, and hear nothing")
                .mend("# what stands above of the microphone comes first; then what there is to record from:")
                .mend("arecord -l"),
        );
    }
    if !report.broker.connected {
        let s = report.broker.since_s;
        findings.push(
            Finding::fault("daemon", format!("the daemon has been without its broker for {s} s"))
                .because("nobody new can connect; who watches goes on")
                .mend("# what stands above of the broker comes first; then what the daemon says of it:")
                .mend("journalctl -u farol -n 30 --no-pager"),
        );
    }
    if report.private {
        findings.push(Finding::note(
            "daemon",
            "privacy is on: camera and microphone are switched off at the board",
        ));
    }
    if report.watching >= report.max_viewers && report.max_viewers > 0 {
        let what = format!("all {} places are taken", report.max_viewers);
        findings.push(
            Finding::note("daemon", what)
                .because("who comes now is refused")
                .mend("farol status")
                .mend(format!("[signalling]\nmax_viewers = {}", (report.max_viewers * 2).min(64))),
        );
    }
    if findings.is_empty() {
        let viewers = match report.watching {
            0 => "nobody watches".to_owned(),
            1 => "1 viewer".to_owned(),
            n => format!("{n} viewers"),
        };
        findings.push(Finding::ok("daemon", format!("runs since {}, {viewers}", since(report.uptime_s))));
    }
    findings
}

fn since(uptime_s: u64) -> String {
    match uptime_s {
        0..120 => format!("{uptime_s} s"),
        120..7200 => format!("{} min", uptime_s / 60),
        7200..172_800 => format!("{} h", uptime_s / 3600),
        _ => format!("{} days", uptime_s / 86_400),
    }
}

/// Whether anybody may watch: how many are paired, or why that is not known.
pub fn viewers(security: Security, paired: Result<usize, &str>, can_pair: bool) -> Finding {
    match (security, paired) {
        (Security::Open, _) => Finding::note("viewers", "signalling is open: whoever reaches the broker can watch")
            .because("pairing gives each viewer a key, and the broker need not be trusted")
            .mend("[signalling]\nsecurity = \"sealed\""),
        (_, Err(why)) => Finding::note("viewers", why.to_owned()),
        (_, Ok(0)) if can_pair => Finding::warning("viewers", "nobody is paired: nobody can watch")
            .because("each viewer has a link with a key of its own")
            .mend("sudo farol pair \"My phone\""),
        (_, Ok(0)) => Finding::warning("viewers", "nobody is paired, and links cannot be made yet")
            .because("a link names the page and the broker as a browser reaches them")
            .mend("[links]\npage = \"http://this-board:8080/\"\nbroker = \"ws://this-board:8080/mqtt\"\n[http]\nlisten = \"0.0.0.0:8080\"\nbridge = true")
            .mend("sudo farol pair \"My phone\""),
        (_, Ok(1)) => Finding::ok("viewers", "1 is paired"),
        (_, Ok(count)) => Finding::ok("viewers", format!("{count} are paired")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn unit(load: &str, active: &str, result: &str, status: u32, restarts: u32) -> Unit {
        Unit::of(&format!(
            "LoadState={load}\nActiveState={active}\nSubState=x\nUnitFileState=enabled\nResult={result}\n\
             ExecMainStatus={status}\nNRestarts={restarts}\nSupplementaryGroups=video audio gpio\n"
        ))
    }

    #[test]
    fn how_a_unit_ended_says_what_to_do() {
        for (unit, level, mend) in [
            (unit("loaded", "active", "success", 0, 0), Level::Ok, ""),
            (unit("loaded", "active", "success", 0, 3), Level::Warning, "journalctl -u farol"),
            (unit("loaded", "inactive", "success", 0, 0), Level::Fault, "systemctl enable --now farol"),
            (unit("loaded", "failed", "exit-code", 78, 0), Level::Fault, "farol check"),
            (unit("loaded", "failed", "exit-code", 203, 0), Level::Fault, "--reinstall ./farol_*.deb"),
            (unit("loaded", "failed", "exit-code", 216, 0), Level::Fault, "groupadd"),
            (unit("loaded", "failed", "exit-code", 243, 0), Level::Fault, "grep -i credential"),
            (unit("loaded", "failed", "watchdog", 6, 0), Level::Fault, "journalctl"),
            (unit("loaded", "activating", "exit-code", 1, 7), Level::Fault, "journalctl"),
            (unit("masked", "inactive", "success", 0, 0), Level::Fault, "unmask"),
            (unit("not-found", "inactive", "success", 0, 0), Level::Note, ""),
            (Unit::of(""), Level::Note, ""),
        ] {
            let found = unit.finding(false);
            assert_eq!(found.level, level, "{unit:?}: {found:?}");
            assert!(found.mend.join("\n").contains(mend), "{unit:?}: {found:?}");
        }
        let stopped = unit("loaded", "inactive", "success", 0, 0);
        assert_eq!(stopped.finding(true).level, Level::Note, "somebody runs one by hand");
        assert_eq!(stopped.groups, UNIT_GROUPS);
    }

    #[test]
    fn what_the_daemon_lacks_is_told() {
        let well = BoardReport { version: "1.0".into(), max_viewers: 8, ..BoardReport::default() };
        let mut report = BoardReport { uptime_s: 7300, ..well.clone() };
        report.broker.connected = true;
        let found = daemon(Ok(&report), "1.0");
        assert_eq!(found, [Finding::ok("daemon", "runs since 2 h, nobody watches")]);
        report.camera.state = Source::Lost;
        report.camera.reason = Some("open /dev/video0: ENOENT".into());
        report.broker.connected = false;
        let levels: Vec<Level> = daemon(Ok(&report), "1.1").into_iter().map(|found| found.level).collect();
        assert_eq!(levels, [Level::Warning, Level::Fault, Level::Fault]);
        assert_eq!(daemon(Err("no farol runs here"), "1.0")[0].level, Level::Note);
    }

    #[test]
    fn a_device_that_nobody_may_watch_says_how_to_pair() {
        assert_eq!(viewers(Security::Sealed, Ok(2), true).level, Level::Ok);
        assert_eq!(viewers(Security::Sealed, Ok(0), true).mend, ["sudo farol pair \"My phone\""]);
        assert!(viewers(Security::Sealed, Ok(0), false).mend[0].contains("[links]"));
        assert_eq!(viewers(Security::Open, Ok(0), true).level, Level::Note);
    }
}
