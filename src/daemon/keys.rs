//! Which of the viewers' keys on disk the station has.

use crate::engine::rights::ViewerKey;
use crate::io::keys::{Stamp, State};

/// The viewers' keys on disk, and which version of them the station has.
pub(super) struct Keys {
    state: State,
    known: Stamp,
    /// A version that could not be read, as was told.
    unreadable: Option<Stamp>,
}

impl Keys {
    /// `known` is the version that the station was begun with.
    pub(super) fn new(state: State, known: Stamp) -> Keys {
        Keys { state, known, unreadable: None }
    }

    /// The keys, when the station has others. What cannot be read is tried again each time, since what was in the way
    /// may go without a trace on the file, and a revocation must not be lost with it.
    pub(super) fn changed(&mut self) -> Option<Vec<ViewerKey>> {
        let stamp = self.state.stamp();
        if stamp == self.known {
            return None;
        }
        match self.state.viewers() {
            Ok(viewers) => {
                (self.known, self.unreadable) = (stamp, None);
                log::info!(viewers = viewers.len(); "the viewers' keys have changed");
                Some(viewers.into_iter().map(|viewer| viewer.key).collect())
            }
            Err(cause) => {
                if self.unreadable.replace(stamp) != Some(stamp) {
                    log::error!(cause:%; "the viewers' keys cannot be read; the ones known stay valid");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{Seek as _, Write as _};
    use std::path::Path;

    use super::*;
    use crate::engine::rights::Rights;

    /// Overwrites the file's first byte in place, which no stamp shows.
    fn begin_with(path: &Path, byte: u8) {
        let modified = fs::metadata(path).and_then(|file| file.modified()).expect("it is there");
        let mut file = File::options().write(true).open(path).expect("it is ours");
        file.rewind().and_then(|()| file.write_all(&[byte])).expect("it is ours");
        file.set_modified(modified).expect("it is ours");
    }

    #[test]
    fn a_revocation_that_could_not_be_read_at_first_counts_as_soon_as_it_can() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (state, path) = (State::open(dir.path()).expect("it is there"), dir.path().join("viewers.toml"));
        let ana = state.add("Ana", Rights::ALL).expect("she is new");
        let rui = state.add("Rui", Rights::ALL).expect("he is new");
        let mut keys = Keys::new(state.clone(), state.stamp());
        assert_eq!(keys.changed(), None);
        state.revoke("Ana").expect("she is known");
        let first = fs::read(&path).expect("it is there")[0];
        begin_with(&path, b'?');
        let unreadable = state.stamp();
        assert_eq!((keys.changed(), keys.changed()), (None, None), "{:?} stays valid", ana.key.kid);
        begin_with(&path, first);
        assert_eq!(state.stamp(), unreadable, "as when its mode was put right");
        assert_eq!(keys.changed(), Some(vec![rui.key]));
        assert_eq!(keys.changed(), None);
    }
}
