//! Which build of farol is this?
//!
//! `build.rs` finds it out. It knows the commit of a release alone: a debug build would be made anew by every commit.

/// As in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that a release was built from, marked `-dirty` when its sources were not all of that commit. `None`:
/// a debug build, or sources that came without git.
pub const COMMIT: Option<&str> = option_env!("FAROL_BUILT_FROM");

/// What may be left out of a build and is in this one, with spaces between.
pub const FEATURES: &str = env!("FAROL_FEATURES");

/// For `farol --version`: `0.1.0 (abc1234ef 2026-11-23, openh264 broker)`. The day is the commit's and not the
/// build's: two builds of one commit are the same, byte for byte.
pub const LONG: &str = env!("FAROL_LONG_VERSION");
