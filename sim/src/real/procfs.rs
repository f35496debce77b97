//! What Linux's `/proc` says of a process: which loopback connections it holds, and whether it stands still.

use std::net::SocketAddr;

/// Whether process `pid` holds the end `from` of the TCP connection to `to`. Always false where there is no `/proc`.
pub(super) fn holds(pid: u32, from: SocketAddr, to: SocketAddr) -> bool {
    pid != 0 && inode(from, to).is_some_and(|inode| has_open(pid, &inode))
}

/// The socket's inode: `/proc/net/tcp` has a line for each, with addresses in hexadecimal.
fn inode(from: SocketAddr, to: SocketAddr) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let (from, to) = (hex(from)?, hex(to)?);
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&from.as_str()) && fields.get(2) == Some(&to.as_str()))
            .then(|| fields.get(9).map(|inode| (*inode).to_owned()))
            .flatten()
    })
}

fn hex(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let ip = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{ip:08X}:{:04X}", address.port()))
}

fn has_open(pid: u32, inode: &str) -> bool {
    let socket = format!("socket:[{inode}]");
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .any(|link| link.as_os_str() == &*socket)
}

/// Whether every thread of process `pid` is stopped; true where there is no such process, or no `/proc`.
pub(super) fn stands_still(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()).all(|stat| {
        // The name before the state is in parentheses, and may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_connection_is_known_by_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let to = listener.local_addr().expect("address");
        let stream = TcpStream::connect(to).expect("connect");
        let from = stream.local_addr().expect("address");
        assert!(holds(std::process::id(), from, to));
        assert!(!holds(1, from, to));
        drop(stream);
        assert!(!holds(std::process::id(), from, to));
    }
}
