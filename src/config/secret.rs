//! Where a secret is read when it is needed, and what counts as unset.

use std::io;
use std::path::PathBuf;

use super::Secret;

impl Secret {
    /// The secret's text as it is now, without the line end that editors add. `None`: the file is empty
    /// or holds only `-`, which is how a systemd unit's fallback says that nobody set it.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not UTF-8, or it is a credential and `$CREDENTIALS_DIRECTORY` is
    /// not set, as it is only inside a systemd service.
    pub fn read(&self) -> io::Result<Option<String>> {
        let text = match self {
            Secret::Made(made) => return Ok(Some(made.as_str().to_string())),
            Secret::File(path) => std::fs::read_to_string(path)?,
            Secret::Credential(name) => std::fs::read_to_string(credential(name)?)?,
        };
        let secret = text.strip_suffix('\n').unwrap_or(&text);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        Ok((!secret.is_empty() && secret != "-").then(|| secret.to_string()))
    }
}

/// The file of a systemd credential.
fn credential(name: &str) -> io::Result<PathBuf> {
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) => Ok(PathBuf::from(directory).join(name)),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("the credential `{name}` exists only inside a systemd service"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_file_without_the_line_end() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("password");
        let secret = Secret::File(path.clone());
        for (written, read) in [
            ("swordfish\n", Some("swordfish")),
            (" a b \r\n", Some(" a b ")),
            ("", None),
            ("-\n", None),
            ("-", None),
        ] {
            std::fs::write(&path, written).expect("the directory is ours");
            assert_eq!(secret.read().expect("it was just written").as_deref(), read, "{written:?}");
        }
        std::fs::remove_file(&path).expect("it is there");
        assert!(secret.read().is_err());
    }
}
