//! A watch that is being opened, perhaps beside something else, and the doubt about one that is young and silent.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Fuse};
use futures_util::{FutureExt, StreamExt, select_biased};

use super::Line;
use crate::kv::{Event, WatchRequest};
use crate::{Backend, Error, Instant, Session, WatchMessage, WatchStream};

/// A watch, and the revision since which it is open, once it is.
pub(crate) struct Watching {
    pub(crate) stream: WatchStream,
    opening: Opening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Begun,
    Open { since: i64 },
    Ended,
}

impl Watching {
    pub(crate) fn new(stream: WatchStream) -> Self {
        Self { stream, opening: Opening::Begun }
    }

    /// A watch on who leaves the line.
    pub(crate) fn line(session: &Session, line: &Line) -> Self {
        let request = WatchRequest { no_put: true, ..WatchRequest::prefix(&*line.scope) };
        Self::new(session.backend().watch(request))
    }

    /// Waits until the watch is open, and gives the revision since which it is; `None` if it ended instead.
    ///
    /// Cancel safe.
    pub(crate) async fn opened(&mut self) -> Result<Option<i64>, Error> {
        if self.opening == Opening::Begun {
            self.opening = match Pin::as_mut(&mut self.stream).next().await {
                Some(Ok(WatchMessage::Created { revision })) => Opening::Open { since: revision },
                Some(Ok(WatchMessage::Events { .. } | WatchMessage::Compacted { .. })) | None => {
                    Opening::Ended
                }
                Some(Err(refusal)) => {
                    self.opening = Opening::Ended;
                    return Err(refusal.into());
                }
            };
        }
        Ok(self.since())
    }

    /// Waits until the watch tells of something, ends, or is to be doubted.
    ///
    /// # Errors
    /// [`Error::Refused`]
    ///
    /// Cancel safe.
    pub(crate) async fn hear(&mut self, doubt: &mut Doubt) -> Result<News, Error> {
        loop {
            let told = select_biased! {
                told = self.stream.next().fuse() => told,
                () = doubt.due().fuse() => return Ok(News::Doubted),
            };
            match told {
                Some(Ok(WatchMessage::Events { events })) => return Ok(News::Events(events)),
                Some(Ok(WatchMessage::Created { .. })) => {}
                Some(Ok(WatchMessage::Compacted { .. })) | None => return Ok(News::Over),
                Some(Err(refusal)) => return Err(refusal.into()),
            }
        }
    }

    fn since(&self) -> Option<i64> {
        match self.opening {
            Opening::Open { since } => Some(since),
            Opening::Begun | Opening::Ended => None,
        }
    }
}

/// What comes next of a watch.
pub(crate) enum News {
    /// It told of these.
    Events(Vec<Event>),
    /// It has been silent for so long that what it should have told is to be read.
    Doubted,
    /// It has ended: another must be opened.
    Over,
}

/// Waits for `call`; meanwhile the watch, if there is one, gets on with opening.
pub(super) async fn while_opening<T>(watching: &mut Option<Watching>, call: impl Future<Output = T>) -> T {
    let mut opening = std::pin::pin!(
        async {
            if let Some(watching) = watching
                && let Err(error) = watching.opened().await
            {
                // Who waits opens another, and is told.
                tracing::debug!(%error, "a watch could not be opened");
            }
        }
        .fuse()
    );
    let mut call = std::pin::pin!(call.fuse());
    loop {
        select_biased! {
            // First, so that its list is seldom older than the watch.
            () = opening => {}
            value = call => return value,
        }
    }
}

/// When a watch that is silent is to be doubted, and what it should have told read.
///
/// etcd notes the store's revision when it is asked for a watch, and takes the watch in a moment later. If a write comes
/// between, the watch counts as one that starts in the past, and is served only by the loop that runs every 100 ms
/// (`server/etcdserver/api/v3rpc/watch.go`, `recvLoop`; `server/storage/mvcc/watchable_store.go`, `watch`). Where writes come fast
/// that happens to some watches in a hundred, so the first tenth of a second of each is doubtful.
pub(crate) struct Doubt {
    backend: Arc<dyn Backend>,
    opened_at: Instant,
    /// How old the watch is when it is doubted next.
    next: Option<Duration>,
    timer: Fuse<BoxFuture<'static, ()>>,
}

impl Doubt {
    /// Long enough that most waits in a busy line end before, short enough to beat etcd's loop.
    const FIRST: Duration = Duration::from_millis(40);
    /// By then etcd's loop has been round.
    const LAST: Duration = Duration::from_millis(160);

    /// The doubt about a watch that has just been opened, when a read told of `seen`: none if nothing was written
    /// meanwhile.
    pub(crate) fn of(backend: &Arc<dyn Backend>, watching: &Watching, seen: i64) -> Self {
        let is_young = watching.since().is_some_and(|since| since < seen);
        let mut doubt = Self {
            backend: Arc::clone(backend),
            opened_at: backend.now(),
            next: is_young.then_some(Self::FIRST),
            timer: Fuse::terminated(),
        };
        doubt.set_timer();
        doubt
    }

    /// Resolves whenever the watch has been silent for too long; never once the doubt is dispelled.
    ///
    /// Cancel safe.
    pub(crate) async fn due(&mut self) {
        if self.next.is_none() {
            return std::future::pending().await;
        }
        (&mut self.timer).await;
        self.next = self.next.map(|age| age * 2).filter(|age| *age <= Self::LAST);
        self.set_timer();
    }

    /// The watch has told something: it is served at once from now on.
    pub(crate) fn dispel(&mut self) {
        self.next = None;
        self.timer = Fuse::terminated();
    }

    fn set_timer(&mut self) {
        self.timer = match self.next {
            Some(age) => self.backend.sleep_until(self.opened_at + age).fuse(),
            None => Fuse::terminated(),
        };
    }
}
