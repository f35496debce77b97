//! The writes of a round as etcd itself orders them: one watch on every key, from the first revision on, through the
//! library's backend, which resumes it; that no revision is missing is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use futures_util::StreamExt;
use tenure::kv::{Range, WatchRequest};
use tenure::{Backend, Etcd, Runtime, WatchMessage};

use super::clock::Epoch;
use super::merge::Revision;
use crate::real::{RealError, thread};

/// A watch that writes down.
pub(super) struct Commits {
    tokio: tokio::runtime::Runtime,
    etcd: Etcd,
    newest: Arc<AtomicI64>,
    told: Receiver<Result<Revision, String>>,
}

impl Commits {
    pub(super) fn watch(endpoints: Vec<String>, epoch: Epoch) -> Result<Self, RealError> {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(RealError::io("starting tokio"))?;
        let etcd = tokio
            .block_on(Etcd::connect(endpoints))
            .map_err(|error| RealError::io("connecting to the cluster")(std::io::Error::other(error)))?;
        let (sender, told) = channel();
        let newest = Arc::new(AtomicI64::new(1));
        tokio.spawn(listen(etcd.clone(), epoch, Arc::clone(&newest), sender));
        Ok(Self { tokio, etcd, newest, told })
    }

    /// Waits until everything is told that was written by now, and gives it.
    ///
    /// # Errors
    /// If that takes longer than `within`, or a revision is missing.
    pub(super) fn end(self, within: Duration) -> Result<Vec<Revision>, RealError> {
        let failed = |why: String| RealError::io("watching every key")(std::io::Error::other(why));
        let Self { tokio, etcd, newest, told } = self;
        let caught_up = async {
            let deadline = etcd.now() + within;
            let head = etcd.range(Range::key("x"), deadline).await.map_err(|error| error.to_string())?;
            while newest.load(Ordering::Acquire) < head.header.revision {
                if etcd.now() >= deadline {
                    return Err(format!("it is behind revision {}", head.header.revision));
                }
                etcd.sleep_until(etcd.now() + Duration::from_millis(10)).await;
            }
            Ok(())
        };
        let outcome = tokio.block_on(caught_up);
        // Ends the task, and with it the sender.
        thread(move || drop(tokio));
        outcome.map_err(failed)?;
        let revisions: Vec<Revision> = told.iter().collect::<Result<_, _>>().map_err(failed)?;
        match (2..).zip(&revisions).find(|(expected, told)| told.revision != *expected) {
            Some((expected, told)) => {
                Err(failed(format!("revision {expected} is missing before {}", told.revision)))
            }
            None => Ok(revisions),
        }
    }
}

async fn listen(etcd: Etcd, epoch: Epoch, newest: Arc<AtomicI64>, sender: Sender<Result<Revision, String>>) {
    // Every key: from "\0" to the end.
    let everything =
        WatchRequest { key: vec![0], range_end: vec![0], start_revision: 1, ..WatchRequest::default() };
    let mut watch = etcd.watch(everything);
    loop {
        let events = match watch.next().await {
            Some(Ok(WatchMessage::Events { events })) => events,
            Some(Ok(WatchMessage::Created { .. })) => continue,
            Some(Ok(WatchMessage::Compacted { compact_revision })) => {
                let _ = sender.send(Err(format!("revisions before {compact_revision} were compacted first")));
                return;
            }
            Some(Err(refusal)) => {
                let _ = sender.send(Err(refusal.to_string()));
                return;
            }
            None => return,
        };
        let told_ns = epoch.elapsed_ns();
        for of_one in events.chunk_by(|one, other| one.kv.mod_revision == other.kv.mod_revision) {
            let revision = of_one[0].kv.mod_revision;
            if sender.send(Ok(Revision { revision, told_ns, events: of_one.to_vec() })).is_err() {
                return;
            }
            newest.store(revision, Ordering::Release);
        }
    }
}
