//! `farol status`: how the daemon on this board is, and who watches.
#![expect(
    clippy::disallowed_methods,
    reason = "who watches a terminal waits for time to pass, and for Ctrl-C"
)]

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use farol::config::Config;
use farol::engine::tally::{Report, table};
use farol::io::status;

/// Between two looks with `--watch`; the daemon counts about once a second.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// To the top left, and away with all that stands below (ECMA-48, CUP and ED): nothing flickers.
const FROM_THE_TOP: &str = "\x1b[H\x1b[J";

/// How it is shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct Looks {
    /// For programs: one line of JSON, as docs/statistics.md describes it
    #[arg(long)]
    json: bool,
    /// Look again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Asks the daemon and prints what it says.
///
/// # Errors
///
/// None runs, it is not ours to ask, or it does not answer.
pub fn show(config: &Config, looks: Looks) -> anyhow::Result<()> {
    let runtime_dir = std::env::var("RUNTIME_DIRECTORY").ok();
    let is_default_state = config.state_dir == Config::default().state_dir;
    let in_place = looks.watch && !looks.json && io::stdout().is_terminal();
    loop {
        let answer = status::ask(runtime_dir.as_deref(), &config.state_dir, is_default_state)?;
        let text = if looks.json { format!("{answer}\n") } else { read(&answer)? };
        let start = if in_place { FROM_THE_TOP } else { "" };
        let end = if looks.watch && !looks.json && !in_place { "\n" } else { "" };
        match io::stdout().write_all(format!("{start}{text}{end}").as_bytes()) {
            // Whoever reads it through `head` has seen enough.
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            outcome => outcome.context("cannot print")?,
        }
        if !looks.watch {
            return Ok(());
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn read(answer: &str) -> anyhow::Result<String> {
    let report: Report = serde_json::from_str(answer)
        .context("the daemon's answer is not understood: is it of another version? Restart it")?;
    Ok(table(&report))
}
