//! Which GPIO chips are there?

use std::io;
use std::path::Path;

use gpiocdev::chip::Chip as OpenChip;

use crate::io::capture::survey::Unreadable;

/// A GPIO character device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    /// Its node.
    pub path: std::path::PathBuf,
    /// What it is, such as `pinctrl-bcm2711`.
    pub label: String,
    /// How many lines it has.
    pub lines: u32,
    /// The lines that have a name, with their numbers.
    pub named: Vec<(u32, String)>,
    /// How many lines somebody uses, the kernel included.
    pub used: usize,
}

/// All chips, by number.
pub(super) fn list() -> Vec<Result<Chip, Unreadable>> {
    // An error says that /dev cannot be read, so there is nothing to tell.
    let paths = gpiocdev::chip::chips().unwrap_or_default();
    paths.iter().map(|path| look_into(path).map_err(|cause| unreadable(path, &cause))).collect()
}

fn look_into(path: &Path) -> gpiocdev::Result<Chip> {
    let chip = OpenChip::from_path(path)?;
    let info = chip.info()?;
    let lines: Vec<_> = chip.line_info_iter()?.flatten().collect();
    let named = lines.iter().filter(|line| !line.name.is_empty() && line.name != "-");
    Ok(Chip {
        path: path.to_owned(),
        label: info.label,
        lines: info.num_lines,
        named: named.map(|line| (line.offset, line.name.clone())).collect(),
        used: lines.iter().filter(|line| line.used).count(),
    })
}

fn unreadable(path: &Path, cause: &gpiocdev::Error) -> Unreadable {
    let is_forbidden = match cause {
        gpiocdev::Error::Os(errno) => {
            io::Error::from_raw_os_error(errno.0).kind() == io::ErrorKind::PermissionDenied
        }
        _ => false,
    };
    let advice = if is_forbidden { "; give the user the group `gpio`" } else { "" };
    Unreadable { path: path.to_owned(), reason: format!("{cause}{advice}") }
}
