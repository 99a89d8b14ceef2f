//! `farol pair`: makes a key for one person, and shows the link that holds it.

use std::io::{IsTerminal as _, stdout};
use std::path::Path;

use anyhow::bail;
use farol::config::{Config, Security};
use farol::engine::rights::{Right, Rights};
use farol::engine::seal::mqtt_password;
use farol::io::keys::State;

use super::link::Ends;
use super::qr;

/// Makes a key and shows its link, once.
///
/// # Errors
///
/// The configuration does not say how a browser finds page and broker, signalling is open, or the
/// state directory refuses. Then nothing was made.
pub fn pair(path: &Path, config: &Config, name: &str, rights: Rights) -> anyhow::Result<()> {
    let ends = Ends::of(path, config)?;
    let state = State::open(&config.state_dir)?;
    let device = state.device()?;
    if config.security == Security::Open {
        bail!(
            "nobody was paired: signalling.security is \"open\", so whoever has this link can watch:\n\n  {}\n\n\
             Set it to \"sealed\" to give each viewer a link of its own.",
            ends.open_link(device)
        );
    }
    let viewer = state.add(name, rights)?;
    let link = ends.link(device, &viewer.key);
    println!("{name} may now {} \"{}\" with this link:\n\n  {link}\n", verbs(rights), config.name);
    match qr::terminal(&link, stdout().is_terminal()) {
        Some(code) => println!("{code}"),
        None => println!("(The link is too long for a QR code.)\n"),
    }
    println!("Whoever has the link can do so: hand it to {name} alone, over a channel that you trust.");
    println!("It is shown this once. A running daemon knows it within seconds, without a restart.");
    println!("To take it back: farol revoke {}", viewer.key.kid);
    if !broker_has_own_login(&ends.broker) {
        let password = mqtt_password(viewer.key.key(), device, viewer.key.kid);
        println!(
            "\nThe link's page logs in to the broker as {} with a password made from the key.",
            viewer.key.kid
        );
        println!("A Mosquitto that asks for passwords learns it by:");
        println!("  mosquitto_passwd -b /etc/mosquitto/passwd {} {password}", viewer.key.kid);
    }
    if let Some(remark) = ends.remark {
        println!("\n{remark}");
    }
    Ok(())
}

/// Whether the broker's URL carries user and password, which then serve every viewer.
fn broker_has_own_login(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.split('/').next().is_some_and(|authority| authority.contains('@'))
}

/// The rights as a sentence has them: "view, listen to and control".
fn verbs(rights: Rights) -> String {
    let verb = |right| match right {
        Right::View => "view",
        Right::Listen => "listen to",
        Right::Talk => "talk through",
        Right::Control => "control",
    };
    let verbs: Vec<&str> = rights.iter().map(verb).collect();
    match verbs.as_slice() {
        [] => String::new(),
        [only] => (*only).to_string(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
