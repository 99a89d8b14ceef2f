//! Is the viewer page there to be put into the daemon? How is the daemon linked, and of which commit is it?

use std::path::{Path, PathBuf};
use std::process::Command;

/// What may be left out of a build, as `farol --version` names it.
const FEATURES: [&str; 3] = ["openh264", "broker", "rppal"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    tell_the_version();
    if std::env::var_os("CARGO_FEATURE_DAEMON").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed=viewer/dist");
    if !Path::new("viewer/dist/index.html").is_file() {
        println!("cargo::error=viewer/dist is missing: run `make viewer`");
    }
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        link_for_little_memory();
    }
}

/// Hands to `src/version.rs` what it tells. All of it stands in the binary as one text, so that it can be read from
/// one for another machine as well.
fn tell_the_version() {
    let has =
        |feature: &&str| std::env::var_os(format!("CARGO_FEATURE_{}", feature.to_uppercase())).is_some();
    let features: Vec<&str> = FEATURES.into_iter().filter(has).collect();
    let features = if features.is_empty() { "no features".to_owned() } else { features.join(" ") };
    println!("cargo::rustc-env=FAROL_FEATURES={features}");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let origin = match is_release.then(commit) {
        None => "debug build".to_owned(),
        Some(None) => "commit unknown".to_owned(),
        Some(Some(commit)) => {
            println!("cargo::rustc-env=FAROL_BUILT_FROM={}", commit.split(' ').next().unwrap_or_default());
            commit
        }
    };
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=FAROL_LONG_VERSION={version} ({origin}, {features})");
}

/// The commit and its day. Only of a release: a debug build would be made anew by every commit.
fn commit() -> Option<String> {
    println!("cargo::rerun-if-env-changed=FAROL_COMMIT");
    // What is in the binary, since a change of it makes the commit a dirty one.
    for part in ["src", "Cargo.toml", "Cargo.lock", "scripts/commit"] {
        println!("cargo::rerun-if-changed={part}");
    }
    // Git appends to this file whenever HEAD becomes another commit.
    if let Some(log) = answer(Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"]))
        && Path::new(&log).is_file()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    answer(&mut Command::new("scripts/commit"))
}

/// What a program says, if it is there and has something to say.
fn answer(program: &mut Command) -> Option<String> {
    let told = program.output().ok().filter(|told| told.status.success())?;
    let text = String::from_utf8(told.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Keeps out of an idle daemon's memory what is read once, at its start: 16.2 MB become 14.5.
fn link_for_little_memory() {
    // The addresses to be put right where the binary is loaded, packed. It takes glibc 2.36, which is Debian 12's, and
    // a linker that can: for 64-bit ARM that of Debian 12 cannot yet.
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    // Of the C++ library, which OpenH264 alone needs, only that part. Where its archive is first found, the linker
    // takes no shared library of that name.
    if std::env::var_os("CARGO_FEATURE_OPENH264").is_some()
        && let (Some(archive), Some(out)) = (cxx_archive(), std::env::var_os("OUT_DIR").map(PathBuf::from))
    {
        let link = out.join("libstdc++.a");
        let _ = std::fs::remove_file(&link);
        if std::os::unix::fs::symlink(archive, link).is_ok() {
            println!("cargo::rustc-link-search=native={}", out.display());
        }
    }
}

/// Where the target's compiler keeps it, if it does.
fn cxx_archive() -> Option<PathBuf> {
    let target = std::env::var("TARGET").ok()?;
    let is_native = std::env::var("HOST").is_ok_and(|host| host == target);
    let named = std::env::var(format!("CXX_{}", target.replace('-', "_"))).or_else(|_| std::env::var("CXX"));
    let usual = if is_native { "c++".to_owned() } else { format!("{}-g++", target.replace("-unknown", "")) };
    let compiler = named.unwrap_or(usual);
    let told = Command::new(compiler).arg("-print-file-name=libstdc++.a").output().ok()?;
    // A compiler without it repeats the name.
    Some(PathBuf::from(String::from_utf8(told.stdout).ok()?.trim())).filter(|path| path.is_absolute())
}
