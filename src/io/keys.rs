//! The state directory: who this device is, and which viewers it knows.
//!
//! | file | mode | what |
//! |---|---|---|
//! | `device` | 0600 | the device's id, made once |
//! | `viewers.toml` | 0600 | one `[[viewer]]` for each key that `farol pair` made |
//! | `lock` | 0600 | held while one of the others is changed |
//!
//! Files are replaced, never changed in place: a reader needs no lock and finds the old state or the
//! new one, also after a power cut. A damaged file is an error and stays as it is, since what it
//! holds cannot be made again. New files get the directory's owner, so that what root's `farol pair`
//! writes can be read by the service's user.
#![expect(clippy::disallowed_methods, reason = "the day of a pairing is written down for people to read")]

mod table;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::engine::rights::{Rights, ViewerKey};
use crate::units::{DeviceId, Kid};

/// So many viewers can be paired: an offer is lit for each of them, again and again.
pub const MAX_VIEWERS: usize = 1000;

/// The state directory, opened.
#[derive(Clone, Debug)]
pub struct State {
    dir: PathBuf,
}

/// A viewer as the device's file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// What the engine needs to know.
    pub key: ViewerKey,
    /// The day of the pairing (UTC), as `2026-07-28`.
    pub paired_on: String,
}

/// Which version of the viewers' file is there. Two are equal when the file was not replaced between;
/// taking one costs a single `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp(Option<(u64, u64, i64, i64, u64)>);

/// Why the state cannot be read or changed. Each text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The system refused.
    #[error("cannot {operation} {}: {cause}{}", path.display(), hint(cause))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file does not hold what we once wrote.
    #[error("{} is damaged: {what}. It was left as it is: {mend}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong and where; nothing of a key.
        what: String,
        /// What to do.
        mend: &'static str,
    },
    /// The name cannot be a viewer's.
    #[error("`{0}` cannot be a viewer's name: use 1 to 64 characters that are not a key's id")]
    BadName(String),
    /// There is such a viewer already.
    #[error("a viewer named `{name}` is paired already: choose another name, or `farol revoke` it first")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Each viewer costs an offer whenever one is lit.
    #[error(
        "{MAX_VIEWERS} viewers are paired, and no more can be: `farol revoke` those that are not in use any more \
         (`farol viewers` lists them), or give one link to several people"
    )]
    TooMany,
    /// A viewer without rights could do nothing.
    #[error("a viewer needs at least one right: view, listen, talk or control")]
    NoRights,
    /// Nobody has this name or key id.
    #[error("no viewer is named `{0}` and no key has this id: `farol viewers` lists them")]
    NoSuchViewer(String),
    /// The system gave no random bytes.
    #[error("the system has no random bytes to make a key of: {0}")]
    NoRandomness(getrandom::Error),
}

impl State {
    /// Opens the state directory, and makes it when it is missing.
    ///
    /// # Errors
    ///
    /// It is missing and cannot be made.
    pub fn open(dir: &Path) -> Result<State, KeysError> {
        if !dir.is_dir() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|cause| io_error("make the directory", dir, cause))?;
        }
        Ok(State { dir: dir.to_path_buf() })
    }

    /// The device's id. The first call makes it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or made, or is damaged.
    pub fn device(&self) -> Result<DeviceId, KeysError> {
        if let Some(device) = self.known_device()? {
            return Ok(device);
        }
        let _lock = self.lock()?;
        // Another process may have made it while we waited for the lock.
        if let Some(device) = self.known_device()? {
            return Ok(device);
        }
        let device = DeviceId(u128::from_be_bytes(random()?));
        self.replace(&self.device_path(), &format!("{device}\n"))?;
        Ok(device)
    }

    /// All viewers, in the order in which they were paired.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is damaged. A missing one means that nobody is paired.
    pub fn viewers(&self) -> Result<Vec<Viewer>, KeysError> {
        let path = self.viewers_path();
        match read(&path)? {
            None => Ok(Vec::new()),
            Some(text) => table::parse(&text).map_err(|what| KeysError::Damaged {
                path,
                what,
                mend: "restore it from a copy, or move it away and pair all viewers again",
            }),
        }
    }

    /// Which version of the viewers' file is there now. Take it before [`State::viewers`]: then a
    /// change that comes between is seen by the next look.
    pub fn stamp(&self) -> Stamp {
        let stamp =
            |file: fs::Metadata| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size());
        Stamp(fs::metadata(self.viewers_path()).ok().map(stamp))
    }

    /// Makes a key for a new viewer.
    ///
    /// # Errors
    ///
    /// The name is empty, too long or taken, no right is given, there are [`MAX_VIEWERS`], or the file cannot be
    /// changed.
    pub fn add(&self, name: &str, rights: Rights) -> Result<Viewer, KeysError> {
        let is_name = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        // `farol revoke` takes names and key ids: no text may be both.
        if !is_name || name.trim() != name || name.parse::<Kid>().is_ok() {
            return Err(KeysError::BadName(shown(name)));
        }
        if rights.is_empty() {
            return Err(KeysError::NoRights);
        }
        let _lock = self.lock()?;
        let mut viewers = self.viewers()?;
        if viewers.iter().any(|viewer| viewer.key.name == name) {
            return Err(KeysError::NameTaken { name: name.to_string() });
        }
        if viewers.len() >= MAX_VIEWERS {
            return Err(KeysError::TooMany);
        }
        let kid = loop {
            let kid = Kid(u64::from_be_bytes(random()?));
            if viewers.iter().all(|viewer| viewer.key.kid != kid) {
                break kid;
            }
        };
        let key = ViewerKey::new(kid, random()?, name.to_string(), rights);
        let viewer = Viewer { key, paired_on: table::day(SystemTime::now()) };
        viewers.push(viewer.clone());
        self.replace(&self.viewers_path(), &table::write(&viewers))?;
        Ok(viewer)
    }

    /// Forgets the key of the viewer with this name or key id, and returns it.
    ///
    /// # Errors
    ///
    /// There is no such viewer, or the file cannot be changed.
    pub fn revoke(&self, name_or_kid: &str) -> Result<Viewer, KeysError> {
        let _lock = self.lock()?;
        let mut viewers = self.viewers()?;
        let kid = name_or_kid.parse::<Kid>().ok();
        let is_meant = |viewer: &Viewer| Some(viewer.key.kid) == kid || viewer.key.name == name_or_kid;
        let Some(at) = viewers.iter().position(is_meant) else {
            return Err(KeysError::NoSuchViewer(shown(name_or_kid)));
        };
        let revoked = viewers.remove(at);
        self.replace(&self.viewers_path(), &table::write(&viewers))?;
        Ok(revoked)
    }

    fn device_path(&self) -> PathBuf {
        self.dir.join("device")
    }

    fn viewers_path(&self) -> PathBuf {
        self.dir.join("viewers.toml")
    }

    fn known_device(&self) -> Result<Option<DeviceId>, KeysError> {
        let path = self.device_path();
        let Some(text) = read(&path)? else { return Ok(None) };
        let device = text.strip_suffix('\n').unwrap_or(&text).parse::<DeviceId>();
        device.map(Some).map_err(|bad| KeysError::Damaged {
            path,
            what: bad.to_string(),
            mend: "restore it from a copy (the id is in every viewer's link, behind `#1.`), \
                   or move it away to get a new id and pair all viewers again",
        })
    }

    /// Waits until no other process changes the state. The lock ends with the file that is returned.
    ///
    /// The directory belongs to the service's user and root locks here too, so root must not be led
    /// elsewhere by a link: only a file that was just made is given away, and links are not followed.
    fn lock(&self) -> Result<File, KeysError> {
        let path = self.dir.join("lock");
        let open = || {
            let mut options = OpenOptions::new();
            options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            let file = match options.clone().create_new(true).open(&path) {
                Ok(file) => {
                    self.give_to_owner(&file)?;
                    file
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(&path)?,
                Err(error) => return Err(error),
            };
            file.lock()?;
            Ok(file)
        };
        open().map_err(|cause| io_error("lock", &path, cause))
    }

    /// Puts a new file in the place of an old one, so that a power cut leaves one of the two, whole.
    /// Whoever calls holds the lock, so the new file's first name is ours alone.
    fn replace(&self, path: &Path, text: &str) -> Result<(), KeysError> {
        let new = path.with_extension("new");
        let write = || {
            // A leftover of a run that was cut short may have any mode.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            self.give_to_owner(&file)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|cause| io_error("write", path, cause))
    }

    fn give_to_owner(&self, file: &File) -> io::Result<()> {
        let (dir, own) = (fs::metadata(&self.dir)?, file.metadata()?);
        if (dir.uid(), dir.gid()) == (own.uid(), own.gid()) || own.uid() != 0 {
            // Only root may give files away; anybody else writes into a directory of their own.
            return Ok(());
        }
        fchown(file, Some(dir.uid()), Some(dir.gid()))
    }
}

fn read(path: &Path) -> Result<Option<String>, KeysError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io_error("read", path, cause)),
    }
}

fn random<const N: usize>() -> Result<[u8; N], KeysError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(KeysError::NoRandomness)?;
    Ok(bytes)
}

fn io_error(operation: &'static str, path: &Path, cause: io::Error) -> KeysError {
    KeysError::Io { operation, path: path.to_path_buf(), cause }
}

/// The start of what a person wrote, with nothing in it that a terminal would obey.
fn shown(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => " (run it as root, with sudo)",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
