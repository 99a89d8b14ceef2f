//! The loop that joins core and shell.

use crate::config::Config;
use crate::config::demo::DemoOptions;

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// Always, until the parts are joined.
pub fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the daemon is not linked in yet")
}

/// Runs the demo until it is told to stop.
///
/// # Errors
///
/// Always, until the parts are joined.
pub fn demo(_options: DemoOptions) -> anyhow::Result<()> {
    anyhow::bail!("the demo is not linked in yet")
}
