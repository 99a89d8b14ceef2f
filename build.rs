//! Is the viewer page there to be put into the daemon?

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_DAEMON").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed=viewer/dist");
    if !Path::new("viewer/dist/index.html").is_file() {
        println!("cargo::error=viewer/dist is missing: run `make viewer`");
    }
}
