//! farol: a camera daemon that is always the WebRTC offerer.
//!
//! It keeps one offer lit on an MQTT broker, as a lighthouse keeps its lamp, and whichever viewer
//! answers gets the stream. The modules, in reading order, each importing only from those above it:
//!
//! | module | job |
//! |---|---|
//! | [`version`] | which build this is |
//! | [`units`] | quantities and identifiers that cannot be confused |
//! | [`config`] | a validated configuration that cannot hold a bad value |
//! | [`engine`] | the pure core: told the time, handed randomness, does no IO |
//! | `io` | the shell: cameras, sound, peer connections, broker, web, systemd |
//! | `daemon` | the one loop that joins them: IO in, `Station`, commands out |
//!
//! The core alone: `cargo check --no-default-features --lib`.

pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod engine;
#[cfg(feature = "daemon")]
pub mod io;
pub mod units;
pub mod version;
