//! Which build of farol is this?

/// As in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that a release was built from, marked `-dirty` when its sources were not all of that commit. `None`:
/// a debug build, or one whose sources came without git.
pub const COMMIT: Option<&str> = option_env!("FAROL_BUILT_FROM");

/// The day of that commit. Not the day of the build: two builds of one commit are the same, byte for byte.
pub const COMMIT_DATE: Option<&str> = option_env!("FAROL_BUILT_FROM_DATE");

/// What may be left out of a build, and is in this one.
pub fn features() -> Vec<&'static str> {
    [
        (cfg!(feature = "openh264"), "openh264"),
        (cfg!(feature = "broker"), "broker"),
        (cfg!(feature = "rppal"), "rppal"),
    ]
    .into_iter()
    .filter_map(|(is_in, name)| is_in.then_some(name))
    .collect()
}

/// For `farol --version`: `0.1.0 (abc1234ef 2026-11-23, openh264 broker)`.
pub fn long() -> String {
    let commit = match (COMMIT, COMMIT_DATE) {
        (Some(commit), Some(date)) => format!("{commit} {date}"),
        _ if cfg!(debug_assertions) => "debug build".to_owned(),
        _ => "commit unknown".to_owned(),
    };
    let features = features();
    let features = if features.is_empty() { "no features".to_owned() } else { features.join(" ") };
    format!("{VERSION} ({commit}, {features})")
}
