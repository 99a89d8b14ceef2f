//! Do the ways to build for another architecture agree with each other, and with the Rust that is promised?
//!
//! Whether what they build runs on the board is for `make cross-test`, and `make msrv` builds with that Rust.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use toml::{Table, Value};

fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn table(name: &str) -> Table {
    source(name).parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn at<'a>(table: &'a Table, path: &[&str]) -> &'a Value {
    let (first, rest) = path.split_first().expect("a path");
    rest.iter().fold(&table[*first], |value, key| &value[*key])
}

/// The words of a text that name a Debian package for building, whatever stands around them.
fn packages(text: &str) -> BTreeSet<&str> {
    let is_package = |word: &&str| {
        word.strip_suffix(":arm64")
            .unwrap_or(word)
            .strip_prefix("lib")
            .is_some_and(|name| name.ends_with("-dev"))
            || ["cmake", "pkg-config", "make"].contains(word)
    };
    text.split(|c: char| c.is_whitespace() || ",\"".contains(c)).filter(is_package).collect()
}

#[test]
fn cross_is_told_the_same_by_its_file_and_by_the_manifest() {
    let (file, manifest) = (table("cross.toml"), table("Cargo.toml"));
    let told = at(&manifest, &["package", "metadata", "cross"]);
    assert_eq!(told, &Value::Table(file), "Cargo.toml's [package.metadata.cross] and cross.toml");
}

#[test]
fn the_image_is_the_boards_debian_and_links_for_its_target() {
    let file = table("cross.toml");
    for (target, settings) in at(&file, &["target"]).as_table().expect("targets") {
        let image = source(settings["dockerfile"].as_str().expect("a file's name"));
        assert!(
            image.lines().any(|line| line == "FROM debian:bookworm"),
            "not Debian 12: glibc would be too new"
        );
        let variable = target.replace('-', "_");
        let linker = format!("CARGO_TARGET_{}_LINKER=", variable.to_uppercase());
        for name in [
            linker,
            format!("CC_{variable}="),
            format!("CXX_{variable}="),
            format!("PKG_CONFIG_LIBDIR_{variable}="),
        ] {
            assert!(image.contains(&name), "{target}: {name} is missing from the image");
        }
    }
}

#[test]
fn the_image_and_the_chroot_have_the_same_libraries() {
    let (image, chroot) = (source("cross.Dockerfile"), source("scripts/chroot"));
    // The chroot serves several architectures: `$suffix` is `:arm64` there.
    let chroot = chroot.replace("$suffix", ":arm64").replace("libstd-rust-web-dev:$arch", "");
    let list: String =
        chroot.lines().filter(|line| line.trim_start().starts_with("echo \"")).collect::<Vec<_>>().join(" ");
    assert_eq!(packages(&image), packages(&list));
}

/// What `scripts/linked` says of a small C program, linked with a shared library of that name or with none.
fn linked(arguments: &[&str], library: Option<&str>) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let compile = |words: &[&str]| {
        let told = Command::new("cc").args(words).current_dir(&folder).output().expect("cc");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    };
    write("program.c", "int answer(void); int main(void) { return answer(); }");
    write("answer.c", "int answer(void) { return 0; }");
    match library {
        None => compile(&["program.c", "answer.c", "-o", "program"]),
        Some(name) => {
            compile(&["-shared", "answer.c", "-o", &format!("lib{name}.so")]);
            compile(&["program.c", "-L.", &format!("-l{name}"), "-o", "program"]);
        }
    }
    let told = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/linked"))
        .args(arguments)
        .arg(folder.path().join("program"))
        .output()
        .expect("scripts/linked");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if told.status.success() { Ok(text(&told.stdout)) } else { Err(text(&told.stderr)) }
}

#[test]
fn a_binary_for_a_newer_glibc_than_debian_12s_is_told() {
    let told = linked(&["--glibc", "99"], None).expect("no glibc is as new as that");
    let needed =
        told.split_once("needs glibc ").and_then(|(_, rest)| rest.split(' ').next()).expect("a version");
    assert!(needed.starts_with("2."), "{told}");
    linked(&["--glibc", needed], None).expect("the very one that it needs is not too old");
    let refusal = linked(&["--glibc", "2.2"], None).expect_err("it does not run there");
    assert!(refusal.contains(&format!("needs glibc {needed}, newer than 2.2")), "{refusal}");
}

#[test]
fn a_binary_with_a_library_that_the_package_does_not_depend_on_is_told() {
    let refusal = linked(&["--glibc", "99"], Some("foreign")).expect_err("who installs it lacks the library");
    assert!(refusal.contains("libforeign.so which the package does not depend on"), "{refusal}");
}

#[test]
fn no_dependency_needs_a_newer_rust_than_is_stated() {
    let platform =
        if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };
    let told = Command::new("cargo")
        .args(["metadata", "--locked", "--offline", "--format-version=1", "--filter-platform", platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo is here, since it built this");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let graph: serde_json::Value = serde_json::from_slice(&told.stdout).expect("cargo speaks JSON");
    let packages = graph["packages"].as_array().expect("a list of packages");
    let needs = |package: &serde_json::Value| package["rust_version"].as_str().map(version);
    let farol = packages.iter().find(|package| package["name"] == "farol").expect("farol is one of them");
    let stated = needs(farol).expect("Cargo.toml states a rust-version");
    assert!(packages.len() > 100, "only {} packages: these are not all", packages.len());
    let newer = packages.iter().find(|package| needs(package).is_some_and(|least| least > stated));
    if let Some(package) = newer {
        panic!("{} {} needs Rust {}", package["name"], package["version"], package["rust_version"]);
    }
}

/// `1.91` and `1.91.0` are the same.
fn version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().expect("a number"));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}
