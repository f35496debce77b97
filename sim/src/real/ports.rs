//! Free ports on loopback, held against other processes of ours until their server has ended.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

use rustix::fs::{FlockOperation, flock};

use super::RealError;

/// A port that no other [`Port`] on this machine has, and that was free when it was taken. The lock on its file goes
/// with the process, however that ends.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) number: u16,
    _lock: File,
}

/// Below the ports that systems give to outgoing connections, so that none is taken while its server restarts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 8_000;

impl Port {
    /// Takes a free port.
    pub(super) fn take() -> Result<Self, RealError> {
        let folder = std::env::temp_dir().join("tenure-ports");
        std::fs::create_dir_all(&folder).map_err(RealError::io(format!("making {}", folder.display())))?;
        // Where to begin looking only spares time.
        let start = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).unwrap_or(0);
        for step in 0..COUNT {
            let number = FIRST + (start + step) % COUNT;
            let path = folder.join(number.to_string());
            let Ok(lock) = File::options().create(true).truncate(false).write(true).open(&path) else {
                continue;
            };
            let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err(RealError::NoPort)
    }

    /// `http://127.0.0.1:port`, or with another scheme.
    pub(super) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_until_it_is_let_go() {
        let first = Port::take().expect("a port");
        let second = Port::take().expect("a port");
        assert_ne!(first.number, second.number);
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, first.number)).is_ok());
    }
}
