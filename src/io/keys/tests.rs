use std::os::unix::fs::PermissionsExt as _;
use std::sync::Barrier;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::engine::rights::Right;

fn fresh() -> (tempfile::TempDir, State) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let state = State::open(&dir.path().join("state")).expect("it can be made");
    (dir, state)
}

fn view() -> Rights {
    Rights::NONE.with(Right::View)
}

#[test]
fn the_device_id_is_made_once_and_kept() {
    let (_dir, state) = fresh();
    let device = state.device().expect("it is made");
    assert_eq!(state.device().expect("it is read"), device);
    assert_eq!(State::open(&state.dir).expect("it is there").device().expect("it is read"), device);
    let (_dir, other) = fresh();
    assert_ne!(other.device().expect("it is made"), device);
}

#[test]
fn a_damaged_device_id_is_told_and_kept() {
    let (_dir, state) = fresh();
    for damaged in ["", "0011\n", "00112233445566778899AABBCCDDEEFF"] {
        fs::write(state.device_path(), damaged).expect("the directory is ours");
        let told = state.device().expect_err("it is damaged").to_string();
        assert!(told.contains("state/device is damaged"), "{told}");
        assert_eq!(fs::read_to_string(state.device_path()).expect("it is there"), damaged);
    }
}

#[test]
fn viewers_come_back_as_they_were_paired() {
    let (_dir, state) = fresh();
    assert_eq!(state.viewers().expect("nobody is no fault"), []);
    let names = ["Ana", "José \"o farol\" [[viewer]]", "名前"];
    let paired: Vec<Viewer> = names.iter().map(|name| state.add(name, view()).expect("it is new")).collect();
    assert_eq!(state.viewers().expect("they are there"), paired);
    assert_eq!(paired[1].key.name, names[1]);
    assert_ne!(paired[0].key.key(), paired[1].key.key());
    assert_ne!(paired[0].key.kid, paired[1].key.kid);
}

#[test]
fn no_more_viewers_are_paired_than_offers_can_be_lit_for() {
    let (_dir, state) = fresh();
    let viewer = |kid: usize| Viewer {
        key: ViewerKey::new(Kid(kid as u64), [1; 32], format!("viewer {kid}"), view()),
        paired_on: "2026-07-28".into(),
    };
    let paired: Vec<Viewer> = (1..=MAX_VIEWERS).map(viewer).collect();
    fs::write(state.viewers_path(), table::write(&paired)).expect("the directory is ours");
    let told = state.add("Ana", view()).expect_err("one too many").to_string();
    assert!(told.contains("1000 viewers") && told.contains("farol revoke"), "{told}");
    state.revoke("viewer 7").expect("it is paired");
    state.add("Ana", view()).expect("there is a place");
}

#[test]
fn files_are_the_owners_alone() {
    let (_dir, state) = fresh();
    state.device().expect("it is made");
    state.add("Ana", view()).expect("she is new");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&state.dir), 0o700);
    for entry in fs::read_dir(&state.dir).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn what_root_writes_belongs_to_the_directorys_owner() {
    let (_dir, state) = fresh();
    if std::os::unix::fs::chown(&state.dir, Some(12_345), Some(12_346)).is_err() {
        return; // Only root can give a directory away, and only root has this trouble.
    }
    state.device().expect("it is made");
    state.add("Ana", view()).expect("she is new");
    for name in ["device", "viewers.toml", "lock"] {
        let file = fs::metadata(state.dir.join(name)).expect("it is there");
        assert_eq!((file.uid(), file.gid()), (12_345, 12_346), "{name}");
    }
}

#[test]
fn links_in_the_directory_lead_nobody_elsewhere() {
    let (dir, state) = fresh();
    let other = dir.path().join("other");
    fs::write(&other, "somebody else's").expect("the directory is ours");
    let link = |name: &str| std::os::unix::fs::symlink(&other, state.dir.join(name)).expect("it is new");
    link("viewers.new");
    state.add("Ana", view()).expect("she is new");
    fs::remove_file(state.dir.join("lock")).expect("it is there");
    link("lock");
    assert!(matches!(state.add("Rui", view()), Err(KeysError::Io { operation: "lock", .. })));
    assert_eq!(fs::read_to_string(&other).expect("it is there"), "somebody else's");
}

#[test]
fn a_change_never_touches_the_file_that_a_reader_holds() {
    let (_dir, state) = fresh();
    state.add("Ana", view()).expect("she is new");
    let held = File::open(state.viewers_path()).expect("it is there");
    let before = fs::read(state.viewers_path()).expect("it is there");
    // What a run that was cut short leaves behind is in nobody's way.
    fs::write(state.viewers_path().with_extension("new"), "half").expect("the directory is ours");
    state.add("Rui", view()).expect("he is new");
    assert_eq!(io::read_to_string(&held).expect("it is open").as_bytes(), before);
    assert_eq!(state.viewers().expect("they are there").len(), 2);
    assert!(!state.viewers_path().with_extension("new").exists());
}

#[test]
fn a_viewer_is_revoked_by_name_or_by_key_id() {
    let (_dir, state) = fresh();
    let ana = state.add("Ana", view()).expect("she is new");
    let rui = state.add("Rui", view()).expect("he is new");
    assert_eq!(state.revoke("Ana").expect("she is there"), ana);
    assert_eq!(state.viewers().expect("it is there"), std::slice::from_ref(&rui));
    assert_eq!(state.revoke(&rui.key.kid.to_string()).expect("he is there"), rui);
    assert_eq!(state.viewers().expect("it is there"), []);
    assert!(matches!(state.revoke("Ana"), Err(KeysError::NoSuchViewer(_))));
}

#[test]
fn a_name_is_one_viewers_and_never_a_key_id() {
    let (_dir, state) = fresh();
    state.add("Ana", view()).expect("she is new");
    assert!(matches!(state.add("Ana", view()), Err(KeysError::NameTaken { .. })));
    for bad in ["", " Ana", "a\nb", "0123456789abcdef", &"x".repeat(65)] {
        assert!(matches!(state.add(bad, view()), Err(KeysError::BadName(_))), "{bad:?} was taken");
    }
    assert!(matches!(state.add("Rui", Rights::NONE), Err(KeysError::NoRights)));
    assert_eq!(state.viewers().expect("it is there").len(), 1);
}

#[test]
fn a_damaged_viewers_file_is_told_without_its_keys_and_kept() {
    let (_dir, state) = fresh();
    state.add("Ana", view()).expect("she is new");
    let good = fs::read_to_string(state.viewers_path()).expect("it is there");
    let key =
        good.lines().find_map(|line| line.strip_prefix("key = ")).expect("she has one").trim_matches('"');
    let second = good.split_once("[[viewer]]").expect("it has one").1;
    for (damaged, told_as) in [
        (good.replace("kid = ", "kid "), "line 7 "),
        (good.replace(key, &key[1..]), "is not 32 bytes"),
        (good.replace("key = \"", "key = \"'\" \""), "line 11 "),
        (good.replace("view\"", "watch\""), "line 9 "),
        (good.clone() + "extra = 1\n", "line 12 "),
        (format!("{good}\n[[viewer]]{second}"), "says that it has 1 viewers and has 2"),
        (format!("{good}\n[[viewer]]{second}").replace("count = 1", "count = 2"), "twice"),
        (good.replace("\"Ana\"", "\"\\u001b[2J\""), "control characters"),
        (String::new(), "is damaged"),
        (good[..good.len() / 2].to_string(), "is damaged"),
    ] {
        fs::write(state.viewers_path(), &damaged).expect("the directory is ours");
        for error in [
            state.viewers().expect_err("it is damaged"),
            state.add("Rui", view()).expect_err("it is damaged"),
            state.revoke("Ana").expect_err("it is damaged"),
        ] {
            let told = error.to_string();
            assert!(told.contains("viewers.toml") && told.contains(told_as), "{told}\n{damaged}");
            assert!(!told.contains(&key[..8]) && !format!("{error:?}").contains(&key[..8]), "{told}");
        }
        assert_eq!(fs::read_to_string(state.viewers_path()).expect("it is there"), damaged);
    }
}

#[test]
fn a_change_is_seen_by_the_stamp_and_quiet_is_quiet() {
    let (_dir, state) = fresh();
    let nobody = state.stamp();
    assert_eq!(state.stamp(), nobody);
    state.add("Ana", view()).expect("she is new");
    let one = state.stamp();
    assert_ne!(one, nobody);
    assert_eq!(state.stamp(), one);
    state.revoke("Ana").expect("she is there");
    assert_ne!(state.stamp(), one);
}

#[test]
fn pairings_at_the_same_moment_all_count() {
    let (_dir, state) = fresh();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (state, start) = (&state, &start);
            scope.spawn(move || {
                start.wait();
                state.device().expect("it is made");
                state.add(&format!("viewer {number}"), view()).expect("it is new");
            });
        }
    });
    assert_eq!(state.viewers().expect("they are there").len(), 8);
}

#[test]
fn days_are_the_calendars() {
    for (seconds, day) in [
        (0, "1970-01-01"),
        (951_782_399, "2000-02-28"),
        (951_782_400, "2000-02-29"),
        (4_107_542_400, "2100-03-01"),
    ] {
        assert_eq!(table::day(UNIX_EPOCH + Duration::from_secs(seconds)), day);
    }
}
