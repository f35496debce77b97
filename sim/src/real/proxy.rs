//! The TCP proxy before one member of a cluster: every other member dials it there, so that each directed link between two
//! members can be cut and healed.
//!
//! A cut link holds back what is sent on it, on connections of either side's making, as lost packets do on a real
//! network until they are sent again; connections stay open, new ones are accepted and stay silent. What a connection
//! held back flows on when the link heals, if its ends have not given it up by then.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::ports::Port;
use super::{RealError, procfs, thread};

/// The links between the members of a cluster, and which are cut.
#[derive(Debug)]
pub(super) struct Links {
    state: Mutex<State>,
    changed: Condvar,
    /// The present process of each member.
    pids: Vec<Arc<AtomicU32>>,
}

#[derive(Debug, Default)]
struct State {
    /// Directed pairs.
    cut: Vec<(usize, usize)>,
    ended: bool,
}

impl Links {
    pub(super) fn new(pids: Vec<Arc<AtomicU32>>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), pids })
    }

    pub(super) fn set_cut(&self, from: usize, to: usize, cut: bool) {
        let mut state = self.state();
        state.cut.retain(|&link| link != (from, to));
        if cut {
            state.cut.push((from, to));
        }
        self.changed.notify_all();
    }

    pub(super) fn heal_all(&self) {
        self.state().cut.clear();
        self.changed.notify_all();
    }

    /// Ends all that waits.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the link is cut. False when all is to end.
    fn pass(&self, link: (usize, usize)) -> bool {
        let mut state = self.state();
        while !state.ended && state.cut.contains(&link) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.ended
    }

    fn ended(&self) -> bool {
        self.state().ended
    }

    /// The member that made a connection.
    fn dialer(&self, from: SocketAddr, to: SocketAddr) -> Option<usize> {
        self.pids.iter().position(|pid| procfs::holds(pid.load(Ordering::Acquire), from, to))
    }
}

/// The proxy before one member; it ends with [`Links::end`] and its being dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    _port: Port,
}

impl Proxy {
    /// Listens on `port` for connections to `member`, which itself listens on `target`. All are `dialer`'s; if that is not
    /// given, each is of the member whose process holds its other end.
    pub(super) fn start(
        links: &Arc<Links>,
        dialer: Option<usize>,
        member: usize,
        port: Port,
        target: u16,
    ) -> Result<Self, RealError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number))
            .map_err(RealError::io(format!("listening on port {}", port.number)))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let links = Arc::clone(links);
        thread(move || {
            while let Ok((dialed, from)) = listener.accept() {
                if links.ended() {
                    return;
                }
                let links = Arc::clone(&links);
                thread(move || {
                    // One that has hung up already, or is none of ours, is dropped.
                    if let Some(dialer) = dialer.or_else(|| links.dialer(from, address)) {
                        connect(&links, dialer, member, dialed, target);
                    }
                });
            }
        });
        Ok(Self { address, _port: port })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Wakes the listener, which then sees that all has ended.
        let _ = TcpStream::connect(self.address);
    }
}

fn connect(links: &Arc<Links>, dialer: usize, member: usize, dialed: TcpStream, target: u16) {
    // A member that is down refuses; so does this, by closing.
    if !links.pass((dialer, member)) {
        return;
    }
    let Ok(reached) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { return };
    let _ = dialed.set_nodelay(true);
    let _ = reached.set_nodelay(true);
    let (Ok(dialed_too), Ok(reached_too)) = (dialed.try_clone(), reached.try_clone()) else { return };
    let back = Arc::clone(links);
    thread(move || copy(&back, (member, dialer), reached_too, dialed_too));
    copy(links, (dialer, member), dialed, reached);
}

/// Carries bytes one way until an end hangs up.
fn copy(links: &Links, link: (usize, usize), mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer);
        if !links.pass(link) {
            break;
        }
        match read {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
