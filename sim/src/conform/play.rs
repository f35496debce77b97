//! Plays a script on the simulated store and on a real server, step by step, and compares all that they say.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, select_biased};
use tenure::kv::{DeleteRange, Op, Put, Request, Response, Txn, WatchResponse};
use tenure::wire::{Status, Wire, WireWatch};
use tenure::{Code, Runtime};

use super::ConformError;
use super::accept::Normal;
use super::script::{SHORT_LEASE, Scope, Step};
use super::show::{Show, side_by_side};
use crate::store::{Single, SingleConfig, Store, WatchId};

/// How long a real server may take for one answer, and for one message of a watch.
const PATIENCE: Duration = Duration::from_secs(10);
/// A watch that lags gives no answer to a request for progress, which is then asked again.
const ASK_AGAIN: Duration = Duration::from_millis(15);
/// How long the short lease may live on a server: its second, a scan of expired leases, and what a busy machine adds.
const SHORT_LIFE: Duration = Duration::from_secs(6);
/// The same on the simulated clock.
const SHORT_LIFE_NS: u64 = 3_000_000_000;

/// A key that every script begins after the deletion of.
const MARKER_KEY: &str = "start";

/// One step and what both sides said to it.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    step: String,
    ours: Vec<String>,
    theirs: Vec<String>,
}

/// What differed, and all that was played before it.
#[derive(Clone, Debug)]
pub struct Difference {
    exchanges: Vec<Exchange>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, exchange) in self.exchanges.iter().enumerate() {
            writeln!(f, "{:2}. {}", index + 1, exchange.step)?;
            f.write_str(&side_by_side(&exchange.ours, &exchange.theirs))?;
        }
        Ok(())
    }
}

/// One real server, and what a simulated one is set up with to be compared to it.
pub(super) struct Bench {
    wire: Arc<dyn Wire>,
    runtime: Arc<dyn Runtime>,
    config: SingleConfig,
    ours: Normal,
    theirs: Normal,
}

/// A watch on both sides.
struct Watch {
    step: String,
    ours: WatchId,
    theirs: Box<dyn WireWatch>,
    /// Below this revision it has nothing to tell, and answers no request for progress.
    from_revision: i64,
    told_ours: Vec<WatchResponse>,
    told_theirs: Vec<WatchResponse>,
    /// The real one has said its last word.
    ended: bool,
    /// What went wrong on the real side.
    failure: Option<String>,
}

/// A script under way.
struct Play<'a> {
    bench: &'a mut Bench,
    single: Single,
    now_ns: u64,
    start: i64,
    watches: Vec<Watch>,
    exchanges: Vec<Exchange>,
}

impl Bench {
    pub(super) fn new(wire: Arc<dyn Wire>, runtime: Arc<dyn Runtime>, config: SingleConfig) -> Self {
        Self { wire, runtime, config, ours: Normal::default(), theirs: Normal::default() }
    }

    /// How both sides' replies were brought into one form.
    pub(super) fn normals(&self) -> [&Normal; 2] {
        [&self.ours, &self.theirs]
    }

    /// Plays a script from an empty store, all of whose past is compacted.
    pub(super) async fn play(&mut self, script: &[Step]) -> Result<Option<Difference>, ConformError> {
        let start = self.reset().await?;
        let single = Single::with_store(started_store(&self.config, start), self.config.clone(), 0);
        self.ours.next_script();
        self.theirs.next_script();
        let mut play =
            Play { bench: self, single, now_ns: 0, start, watches: Vec::new(), exchanges: Vec::new() };
        for step in script {
            if !play.step(step).await {
                return Ok(Some(Difference { exchanges: play.exchanges }));
            }
        }
        let agreed = play.compare_watches().await;
        Ok((!agreed).then_some(Difference { exchanges: play.exchanges }))
    }

    /// Sends a request that must succeed.
    async fn must(&self, request: Request) -> Result<Response, ConformError> {
        let shown = format!("{request:?}");
        let answer = self.ask(request).await;
        answer.map_err(|status| ConformError::Server { request: shown, status })
    }

    async fn ask(&self, request: Request) -> Result<Response, Status> {
        let mut timer = self.runtime.sleep_until(self.runtime.now() + PATIENCE).fuse();
        select_biased! {
            answer = self.wire.call(request).fuse() => answer,
            () = timer => Err(Status {
                code: Code::DeadlineExceeded,
                message: format!("no answer within {PATIENCE:?}"),
                sent: true,
            }),
        }
    }

    /// Empties the server, and gives the revision at which it stands then. See [`started_store`] for what is there.
    async fn reset(&self) -> Result<i64, ConformError> {
        if let Response::LeaseLeases { ids, .. } = self.must(Request::LeaseLeases).await? {
            for id in ids {
                match self.ask(Request::LeaseRevoke { id }).await {
                    // One that expires meanwhile is gone as well.
                    Ok(_) | Err(Status { code: Code::NotFound, .. }) => {}
                    Err(status) => {
                        return Err(ConformError::Server { request: format!("revoke {id:#x}"), status });
                    }
                }
            }
        }
        let all = DeleteRange { key: vec![0], range_end: vec![0], prev_kv: false };
        self.must(Request::Txn(Txn::new().and_then([Op::Delete(all), Op::Put(Put::new(MARKER_KEY, ""))])))
            .await?;
        let deleted = self.must(Request::Delete(DeleteRange::key(MARKER_KEY))).await?;
        let Response::Delete(deleted) = deleted else {
            return Err(ConformError::Unexpected(format!("{deleted:?}")));
        };
        let revision = deleted.header.revision;
        self.must(Request::Compact { revision, physical: false }).await?;
        Ok(revision)
    }
}

/// The simulated store as [`Bench::reset`] leaves a real one: the marker key was deleted at `start`, and all before that is
/// compacted.
fn started_store(config: &SingleConfig, start: i64) -> Store {
    let mut store = Store::new_at(config.store.clone(), start - 2);
    store.apply(&Request::Put(Put::new(MARKER_KEY, "")));
    store.apply(&Request::Delete(DeleteRange::key(MARKER_KEY)));
    store.apply(&Request::Compact { revision: start, physical: false });
    store
}

impl Play<'_> {
    fn show(&self) -> Show {
        Show { start: self.start }
    }

    fn scope(&self, picked: Option<i64>) -> Scope {
        let store = self.single.store();
        Scope { start: self.start, head: store.revision(), compacted: store.compact_revision(), picked }
    }

    /// Plays one step, and says whether both sides agree on it.
    async fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Call(request) => self.call(request).await,
            Step::Watch(request) => {
                let request = self.scope(None).watch(request);
                let watch = Watch {
                    step: self.show().watch(&request),
                    from_revision: request.start_revision,
                    ours: self.single.watch(request.clone(), self.now_ns),
                    theirs: self.bench.wire.watch(request),
                    told_ours: Vec::new(),
                    told_theirs: Vec::new(),
                    ended: false,
                    failure: None,
                };
                self.single.sync_watches();
                self.watches.push(watch);
                // Before anything else happens the real watch has to catch up, or what it tells is a matter of luck.
                self.catch_up().await;
                true
            }
            Step::Expire { key } => self.expire(key).await,
        }
    }

    async fn call(&mut self, request: &Request) -> bool {
        if matches!(request, Request::Compact { .. }) {
            // A server looks former values up as it sends: compaction must not overtake that.
            self.catch_up().await;
        }
        let for_ours = self.scope(self.bench.ours.picked()).request(request);
        let for_theirs = self.scope(self.bench.theirs.picked()).request(request);
        let picks = matches!(request, Request::LeaseGrant { id: 0, .. });
        let mut theirs = self.bench.ask(for_theirs).await;
        let mut ours = self.single.handle(&for_ours, self.now_ns);
        self.collect_ours();
        if let Ok(response) = &mut ours {
            self.bench.ours.response(response, picks);
        }
        if let Ok(response) = &mut theirs {
            self.bench.theirs.response(response, picks);
        }
        if let (Ok(ours), Ok(theirs)) = (&ours, &mut theirs) {
            self.bench.theirs.time_left(ours, theirs);
        }
        let agreed = same_reply(&ours, &theirs);
        let show = self.show();
        self.exchanges.push(Exchange {
            step: show.request(&for_ours),
            ours: show.reply(&ours),
            theirs: show.reply(&theirs),
        });
        agreed
    }

    /// Lets the short lease die with its key, on both sides.
    async fn expire(&mut self, key: &[u8]) -> bool {
        let grant = Request::LeaseGrant { id: SHORT_LEASE, ttl_s: 1 };
        let put = Request::Put(Put::new(key, "short").lease(SHORT_LEASE));
        if !self.call(&grant).await || !self.call(&put).await {
            return false;
        }
        self.now_ns += SHORT_LIFE_NS;
        self.single.tick(self.now_ns);
        self.collect_ours();
        let runtime = Arc::clone(&self.bench.runtime);
        let deadline = runtime.now() + SHORT_LIFE;
        let look = Request::LeaseTimeToLive { id: SHORT_LEASE, keys: false };
        while runtime.now() < deadline {
            let answer = self.bench.ask(look.clone()).await;
            if matches!(answer, Ok(Response::LeaseTimeToLive { ttl_s: -1, .. })) {
                break;
            }
            runtime.sleep_until(runtime.now() + Duration::from_millis(50)).await;
        }
        // Whether it is gone on both sides, and at which revision, is compared as any other answer.
        self.call(&look).await
    }

    fn collect_ours(&mut self) {
        for (id, mut message) in self.single.take_messages() {
            self.bench.ours.message(&mut message);
            if let Some(watch) = self.watches.iter_mut().find(|watch| watch.ours == id) {
                watch.told_ours.push(message);
            }
        }
    }

    /// Takes in what the real watches have told up to the present revision.
    async fn catch_up(&mut self) {
        self.collect_ours();
        let head = self.single.store().revision();
        for watch in self.watches.iter_mut().filter(|watch| !watch.ended) {
            watch.catch_up(&*self.bench.runtime, &mut self.bench.theirs, head).await;
        }
    }

    /// Compares all that watches told, each message by itself and in order.
    async fn compare_watches(&mut self) -> bool {
        self.catch_up().await;
        let show = self.show();
        let mut agreed = true;
        for watch in std::mem::take(&mut self.watches) {
            let lines =
                |told: &[WatchResponse]| told.iter().flat_map(|one| show.message(one)).collect::<Vec<_>>();
            let mut theirs = lines(&watch.told_theirs);
            theirs.extend(watch.failure.clone());
            let same = watch.told_ours == watch.told_theirs && watch.failure.is_none();
            self.exchanges.push(Exchange {
                step: format!("({})", watch.step),
                ours: lines(&watch.told_ours),
                theirs,
            });
            agreed &= same;
        }
        agreed
    }
}

/// Whether two replies are the same; of a refusal its code and words count.
fn same_reply(ours: &Result<Response, Status>, theirs: &Result<Response, Status>) -> bool {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        (Err(ours), Err(theirs)) => ours.code == theirs.code && ours.message == theirs.message,
        _ => false,
    }
}

impl Watch {
    /// Reads until the watch has answered a request for progress at `head`, or has ended. One that begins in the future
    /// only has to be there.
    async fn catch_up(&mut self, runtime: &dyn Runtime, normal: &mut Normal, head: i64) {
        let deadline = runtime.now() + PATIENCE;
        let mut created = !self.told_theirs.is_empty();
        let idle = head < self.from_revision;
        if created && idle {
            return;
        }
        if created {
            self.theirs.request_progress();
        }
        while runtime.now() < deadline {
            let mut timer = runtime.sleep_until(runtime.now() + ASK_AGAIN).fuse();
            let theirs = &mut self.theirs;
            let next = select_biased! {
                next = std::future::poll_fn(|cx| theirs.poll_next(cx)).fuse() => next,
                () = timer => {
                    if created {
                        self.theirs.request_progress();
                    }
                    continue;
                }
            };
            match next {
                Some(Ok(mut message)) => {
                    let progress = message.events.is_empty() && !message.created && !message.canceled;
                    if progress && message.header.revision >= head {
                        return;
                    }
                    if progress {
                        continue;
                    }
                    self.ended = message.canceled;
                    normal.message(&mut message);
                    self.told_theirs.push(message);
                    if self.ended || idle {
                        return;
                    }
                    if !created {
                        created = true;
                        self.theirs.request_progress();
                    }
                }
                Some(Err(status)) => return self.fail(format!("(the stream failed: {status})")),
                None => return self.fail("(the stream ended)".to_owned()),
            }
        }
        self.fail(format!("(did not catch up within {PATIENCE:?})"));
    }

    fn fail(&mut self, failure: String) {
        self.ended = true;
        self.failure = Some(failure);
    }
}
