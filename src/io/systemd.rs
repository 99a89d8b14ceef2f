//! What the service manager is told: ready, what we are at, still alive, reloading, stopping.
//!
//! All of it does nothing outside systemd. There is no thread that feeds the watchdog: the daemon's
//! loop does, so a loop that hangs is a service that is restarted (sd_notify(3), sd_watchdog_enabled(3)).

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service manager, if there is one.
#[derive(Debug)]
pub struct ServiceManager {
    watchdog: Option<Watchdog>,
    status: String,
    is_reachable: bool,
}

#[derive(Debug)]
struct Watchdog {
    /// Half of what systemd waits for, as it recommends.
    interval: Duration,
    fed: Option<Instant>,
}

impl ServiceManager {
    /// The one that started this process, as `$NOTIFY_SOCKET` and `$WATCHDOG_USEC` say.
    pub fn of_this_process() -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(|usec| Watchdog { interval: usec / 2, fed: None });
        ServiceManager { watchdog, status: String::new(), is_reachable: true }
    }

    /// The start is over, and `status` is what we are at. Units that wait for this one go on.
    pub fn ready(&mut self, status: &str) {
        self.status = status.to_string();
        self.notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// What we are at, in a line for `systemctl status`. Saying the same again costs nothing.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            self.status = status.to_string();
            self.notify(&[NotifyState::Status(&one_line(status))]);
        }
    }

    /// The loop is alive at `now`. To be called at least as often as [`ServiceManager::interval`] says;
    /// more often does no harm, since only what is due is sent.
    pub fn feed(&mut self, now: Instant) {
        let Some(watchdog) = &mut self.watchdog else { return };
        let is_due = watchdog.fed.is_none_or(|fed| now.saturating_duration_since(fed) >= watchdog.interval);
        if is_due {
            watchdog.fed = Some(now);
            self.notify(&[NotifyState::Watchdog]);
        }
    }

    /// How often the loop must come around to feed the watchdog; `None`: there is no watchdog. It is a
    /// quarter of what systemd waits for: a look that comes just before feeding is due must be followed
    /// by another in good time.
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog.as_ref().map(|watchdog| watchdog.interval / 2)
    }

    /// What we were told is read again; [`ServiceManager::ready`] says when that is over. The time lets a unit with
    /// `Type=notify-reload` tell this reload from an earlier one.
    pub fn reloading(&mut self) {
        let mut states = vec![NotifyState::Reloading, NotifyState::Status("reloading")];
        states.extend(NotifyState::monotonic_usec_now().ok());
        self.notify(&states);
    }

    /// We are about to stop, because we were told to.
    pub fn stopping(&mut self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    fn notify(&mut self, states: &[NotifyState<'_>]) {
        match sd_notify::notify(states) {
            Ok(()) => self.is_reachable = true,
            Err(cause) if self.is_reachable => {
                self.is_reachable = false;
                log::warn!(cause:%; "systemd cannot be told how the service is, and may restart it");
            }
            Err(_) => {}
        }
    }
}

/// A line end would begin another assignment of the message.
fn one_line(status: &str) -> String {
    status.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Set in the child that [`what_systemd_hears`] runs, since a process learns of its service manager
    /// from its environment.
    const IS_SERVICE: &str = "FAROL_TEST_IS_SERVICE";

    #[test]
    fn service() {
        if std::env::var_os(IS_SERVICE).is_none() {
            return;
        }
        let mut manager = ServiceManager::of_this_process();
        assert_eq!(manager.interval(), Some(Duration::from_secs(2)));
        manager.ready("waiting\nREADY=0");
        manager.status("1 viewer");
        manager.status("1 viewer");
        #[expect(clippy::disallowed_methods, reason = "an instant cannot be made of nothing")]
        let start = Instant::now();
        for second in 0..10 {
            manager.feed(start + Duration::from_secs(second));
        }
        manager.stopping();
    }

    #[test]
    fn what_systemd_hears() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the directory is ours");
        let output = Command::new(std::env::current_exe().expect("the tests are running"))
            .args(["--exact", "io::systemd::tests::service"])
            .env(IS_SERVICE, "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "8000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .expect("the tests can be run");
        assert!(output.status.success(), "{output:?}");
        socket.set_nonblocking(true).expect("it is a socket");
        let mut heard = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(length) = socket.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        // Ten looks, a second apart, feed a watchdog of 8 s every 4 s.
        let fed = "WATCHDOG=1\n";
        let expected = [
            "READY=1\nSTATUS=waiting READY=0\n",
            "STATUS=1 viewer\n",
            fed,
            fed,
            fed,
            "STOPPING=1\nSTATUS=stopping\n",
        ];
        assert_eq!(heard, expected);
    }

    #[test]
    fn without_systemd_nothing_happens() {
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            return; // The tests themselves run in a service: not to be told lies.
        }
        let mut manager = ServiceManager::of_this_process();
        manager.ready("waiting");
        manager.stopping();
        assert!(manager.is_reachable);
    }
}
