//! The remote resource of a round: it listens on loopback, lets each write be under way for as long as its plan says, and
//! refuses what carries an older token than it has seen.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use super::clock::Epoch;
use super::errand::Write;
use super::merge::Item;
use crate::history::{Holding, What};
use crate::node::Node;
use crate::real::{RealError, thread};
use crate::workload::{Highest, Resource};

/// The resource; it ends when it is dropped.
pub(super) struct RealResource {
    pub(super) address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl RealResource {
    /// Listens. What it accepts and refuses goes to `steps`.
    pub(super) fn start(epoch: Epoch, steps: &Sender<Item>) -> Result<Self, RealError> {
        let failed = || RealError::io("listening for writes to the resource");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let over = Arc::new(AtomicBool::new(false));
        let (ended, steps) = (Arc::clone(&over), steps.clone());
        let highest = Arc::new(Mutex::new(Highest::default()));
        thread(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let (highest, steps) = (Arc::clone(&highest), steps.clone());
                thread(move || take(epoch, stream, &highest, &steps));
            }
        });
        Ok(Self { address, over })
    }
}

impl Drop for RealResource {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// One write. Whoever sent it may be gone by the time that it arrives.
fn take(epoch: Epoch, stream: TcpStream, highest: &Mutex<Highest>, steps: &Sender<Item>) {
    let mut line = String::new();
    if BufReader::new(&stream).read_line(&mut line).is_err() {
        return;
    }
    let Ok(Write { holding, token, arrives_at_ns }) = serde_json::from_str::<Write>(&line) else { return };
    epoch.wait_until_ns(arrives_at_ns);
    let accepted = {
        let mut highest = highest.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = highest.accepts(&holding.name, token);
        // Told while no other write can be decided: the history has them in the order of decision.
        let what = What::ResourceWrite { holding, token, accepted };
        let _ = steps.send(Item::of_round(epoch.elapsed_ns(), Node::World, what));
        accepted
    };
    let _ = (&stream).write_all(if accepted { b"accepted\n" } else { b"refused\n" });
}

/// A process's way to the resource.
pub(super) struct RemoteResource {
    pub(super) epoch: Epoch,
    pub(super) address: SocketAddr,
}

impl Resource for RemoteResource {
    fn write(
        &self,
        holding: &Holding,
        token: Option<i64>,
        under_way_ns: u64,
    ) -> BoxFuture<'static, Option<bool>> {
        let arrives_at_ns = self.epoch.elapsed_ns() + under_way_ns;
        let (address, holding) = (self.address, holding.clone());
        // What was sent goes on, whatever becomes of its sender's patience.
        #[allow(clippy::disallowed_methods, reason = "a task of a real process")]
        let sent = tokio::spawn(async move {
            let mut line = serde_json::to_vec(&Write { holding, token, arrives_at_ns }).ok()?;
            line.push(b'\n');
            let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
            stream.write_all(&line).await.ok()?;
            let mut answer = String::new();
            tokio::io::BufReader::new(stream).read_line(&mut answer).await.ok()?;
            match answer.trim_end() {
                "accepted" => Some(true),
                "refused" => Some(false),
                _ => None,
            }
        });
        async move { sent.await.ok().flatten() }.boxed()
    }
}
