//! Which user name and password does the device show, as they are at this moment?

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::config::{Login, Secret};

/// Why there is no password to show. Names where it was looked for, never what was found.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginError {
    #[error("cannot read the MQTT password from {file}: {source}", file = .file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error(
        "the systemd credential {name} is not there: $CREDENTIALS_DIRECTORY is unset; \
         start the daemon through its unit, or name a password_file"
    )]
    NoCredentials { name: String },
}

/// Reads the password anew, so that a changed file counts at the next connection. `None`: it is unset.
pub(super) async fn password(login: &Login) -> Result<Option<Bytes>, LoginError> {
    let file = match &login.password {
        None => return Ok(None),
        Some(Secret::Made(made)) => return Ok(Some(Bytes::copy_from_slice(made.as_str().as_bytes()))),
        Some(Secret::File(file)) => file.clone(),
        Some(Secret::Credential(name)) => match env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => Path::new(&directory).join(name),
            None => return Err(LoginError::NoCredentials { name: name.clone() }),
        },
    };
    match tokio::fs::read(&file).await {
        Ok(content) => Ok(as_written(&content)),
        Err(source) => Err(LoginError::Unreadable { file, source }),
    }
}

/// The password that a file holds: without the line end that editors add, and none when there is
/// nothing but `-`, which is what `SetCredential=mqtt-password:-` leaves where no credential was given.
fn as_written(content: &[u8]) -> Option<Bytes> {
    let text = content.strip_suffix(b"\n").unwrap_or(content);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    match text {
        b"" | b"-" => None,
        password => Some(Bytes::copy_from_slice(password)),
    }
}

/// The login as an error may name it: the user, and where its password came from.
pub(super) struct Named<'a>(pub(super) Option<&'a Login>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(login) = self.0 else {
            return f.write_str("an anonymous connection (no user name is configured)");
        };
        write!(f, "user {}", login.username)?;
        match &login.password {
            None => f.write_str(" without a password"),
            Some(Secret::Made(_)) => f.write_str(" with the password made at the start"),
            Some(Secret::File(file)) => write!(f, " with the password in {}", file.display()),
            Some(Secret::Credential(name)) => write!(f, " with the password in systemd credential {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_not_part_of_the_password() {
        assert_eq!(as_written(b"secret\n"), Some(Bytes::from_static(b"secret")));
        assert_eq!(as_written(b"secret\r\n"), Some(Bytes::from_static(b"secret")));
        assert_eq!(as_written(b"two lines\n\n"), Some(Bytes::from_static(b"two lines\n")));
    }

    #[test]
    fn a_lone_dash_or_nothing_is_unset() {
        for unset in ["-", "-\n", "", "\n"] {
            assert_eq!(as_written(unset.as_bytes()), None, "{unset:?}");
        }
        assert_eq!(as_written(b"--"), Some(Bytes::from_static(b"--")));
    }
}
