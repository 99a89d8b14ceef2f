//! `farol viewers` and `farol revoke`: who may watch, and who no longer.

use farol::config::Config;
use farol::io::keys::State;

/// Lists who may watch.
///
/// # Errors
///
/// The state directory cannot be read, or what it holds is damaged.
pub fn list(config: &Config) -> anyhow::Result<()> {
    let viewers = State::open(&config.state_dir)?.viewers()?;
    if viewers.is_empty() {
        println!("Nobody is paired yet. `farol pair NAME` makes a link for somebody.");
        return Ok(());
    }
    let mut rows = vec![["NAME", "KEY ID", "RIGHTS", "PAIRED ON"].map(str::to_string)];
    rows.extend(viewers.into_iter().map(|viewer| {
        let key = viewer.key;
        [key.name.clone(), key.kid.to_string(), key.rights.to_string(), viewer.paired_on]
    }));
    print!("{}", table(&rows));
    Ok(())
}

/// Forgets a viewer's key.
///
/// # Errors
///
/// There is no such viewer, or the state directory cannot be changed.
pub fn revoke(config: &Config, name_or_kid: &str) -> anyhow::Result<()> {
    let viewer = State::open(&config.state_dir)?.revoke(name_or_kid)?;
    let (name, kid) = (&viewer.key.name, viewer.key.kid);
    println!("Revoked {name} ({kid}): the link no longer works.");
    println!("A running daemon ends this viewer's sessions within seconds, without a restart.");
    Ok(())
}

/// Columns of even width, two spaces apart.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}
