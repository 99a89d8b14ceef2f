//! Which processes have a device open, or listen at a port?
//!
//! By the links below `/proc/*/fd` (proc_pid_fd(5)). Only root sees those of everybody's processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::doctor::camera::Holder;

/// The processes that have this file open, by number; ourselves left out.
pub(super) fn of_file(path: &Path) -> Vec<Holder> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    holding(&|link| link == path)
}

/// Those that have a socket open which listens at this port: at TCP, or for datagrams.
pub(super) fn of_port(port: u16, kind: Sockets) -> Vec<Holder> {
    let inodes: BTreeSet<u64> = kind
        .tables()
        .iter()
        .flat_map(fs::read_to_string)
        .flat_map(|text| inodes(&text, port, kind))
        .collect();
    let is_one = |link: &Path| {
        let link = link.to_string_lossy();
        let number = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        number.and_then(|number| number.parse().ok()).is_some_and(|inode| inodes.contains(&inode))
    };
    if inodes.is_empty() { Vec::new() } else { holding(&is_one) }
}

/// Kinds of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sockets {
    Tcp,
    Udp,
}

impl Sockets {
    fn tables(self) -> [&'static str; 2] {
        match self {
            Sockets::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
            Sockets::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        }
    }

    /// LISTEN; and a datagram socket without a peer is CLOSE to the kernel (include/net/tcp_states.h).
    fn state(self) -> &'static str {
        match self {
            Sockets::Tcp => "0A",
            Sockets::Udp => "07",
        }
    }
}

/// The inodes of the sockets at a port (proc_pid_net(5)): `sl local_address rem_address st ... inode`.
fn inodes(table: &str, port: u16, kind: Sockets) -> Vec<u64> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let is_at = u16::from_str_radix(local_port, 16) == Ok(port) && *fields.get(3)? == kind.state();
        is_at.then(|| fields.get(9)?.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn holding(is_meant: &dyn Fn(&Path) -> bool) -> Vec<Holder> {
    let own = std::process::id();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut holders: Vec<Holder> = pids
        .filter(|pid| *pid != own && has_open(*pid, is_meant))
        .map(|pid| Holder { pid, name: name(pid) })
        .collect();
    holders.sort_by_key(|holder| holder.pid);
    holders
}

fn has_open(pid: u32, is_meant: &dyn Fn(&Path) -> bool) -> bool {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).any(|target: PathBuf| is_meant(&target))
}

/// As the kernel has it; without control characters, since any program may call itself anything.
fn name(pid: u32) -> String {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.trim_end_matches('\n').chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_has_a_file_open_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("held");
        let file = fs::File::create(&path).expect("the directory is ours");
        let mut child = Command::new("sleep").arg("60").stdin(file).spawn().expect("sleep can be run");
        let holders = of_file(&path);
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        assert!(holders.iter().any(|holder| holder.pid == child.id()), "{holders:?}");
        assert!(of_file(&path).is_empty(), "ourselves are left out, and the child is gone");
    }

    #[test]
    fn sockets_are_found_in_the_kernel_s_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 20814 1 0000000000000000 100 0 0 10 0\n   \
            1: 0100007F:075B 0100007F:CB36 01 00000000:00000000 00:00000000 00000000   105        0 31337 1 0000000000000000 20 4 30 10 -1\n";
        assert_eq!(inodes(table, 1883, Sockets::Tcp), [20814]);
        assert!(inodes(table, 1884, Sockets::Tcp).is_empty());
    }
}
