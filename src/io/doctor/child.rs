//! What does another program say when it is asked, in a time that is bounded?

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// More is not read.
const MOST_BYTES: u64 = 64 * 1024;

/// Both outputs of a program, in this order; `None`: it is not there, or did not end in time and was ended.
pub(super) fn said(program: &str, arguments: &[&str], patience: Duration) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let (out, err) = (child.stdout.take()?, child.stderr.take()?);
    // Room for the one answer.
    let (sender, answer) = mpsc::sync_channel(1);
    let read = move || {
        let mut text = Vec::new();
        let _ = out.take(MOST_BYTES).read_to_end(&mut text);
        let _ = err.take(MOST_BYTES).read_to_end(&mut text);
        // Nobody may wait any more.
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
    };
    let reader = thread::Builder::new().name("doctor child".into()).spawn(read);
    let text = reader.ok().and_then(|_| answer.recv_timeout(patience).ok());
    // It has ended, or has to; either way it is waited for, so that nothing is left of it.
    let _ = child.kill();
    let _ = child.wait();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_heard_or_given_up() {
        assert_eq!(said("echo", &["a", "b"], Duration::from_secs(20)).as_deref(), Some("a b\n"));
        assert_eq!(said("sleep", &["60"], Duration::from_millis(20)), None);
        assert_eq!(said("/nonexistent/program", &[], Duration::from_secs(1)), None);
    }
}
