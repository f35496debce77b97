//! The backend for real use: etcd's calls over one [`Wire`] for each endpoint, with failover, deadlines, retry and
//! resuming watches written once, whatever the wires are made of.
//!
//! Nothing here names gRPC, tokio or a clock other than the [`Runtime`] it was given, so the very same code runs inside
//! a simulator. [`Etcd::connect`] puts it on gRPC and tokio (the files `grpc`, `connect` and `tokio_runtime`).

mod call;
mod connect;
mod convert;
mod grpc;
mod namespace;
mod status;
mod tokio_runtime;
mod watch;

#[cfg(test)]
mod call_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod watch_tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

#[cfg(feature = "tls")]
pub use etcd_client::{Certificate, Identity, TlsOptions};

pub use connect::{ConnectError, EtcdBuilder};
pub use tokio_runtime::TokioRuntime;

use crate::backend::{Backend, CallError, Refusal, Runtime, WatchStream};
use crate::kv::{LeaseGrant, Range, RangeResponse, Request, Response, Txn, TxnResponse, WatchRequest};
use crate::wire::Wire;
use crate::{Code, Instant};

/// How an [`Etcd`] tries. The defaults suit a cluster in one region with etcd's own default timings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdOptions {
    /// How long one attempt on one endpoint may take before the next endpoint is tried (a watch: to open, or to show a
    /// sign of life). 1 s. Each attempt that runs out doubles it for those after, up to four times as long, until one is
    /// answered: so a slow cluster is still served, and a hung member of a quick one costs one second.
    ///
    /// While other endpoints are left to try, an attempt never takes more than half of what is left of its
    /// call's deadline.
    pub attempt_timeout: Duration,
    /// How long a watch may be silent before its member is asked for a sign of life. 2 s.
    pub progress_interval: Duration,
    /// The pause when every endpoint has failed once in a row; it doubles up to [`EtcdOptions::backoff_max`]. 20 ms.
    pub backoff_min: Duration,
    /// The longest such pause. 500 ms.
    pub backoff_max: Duration,
    /// The endpoint to begin with, by its place in the list (modulo its length). Failures move on from it; the one that
    /// answered last is kept to.
    pub first_endpoint: usize,
    /// Every key is looked for and put below this prefix, and told without it. Empty for none.
    pub namespace: Vec<u8>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(1),
            progress_interval: Duration::from_secs(2),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(500),
            first_endpoint: 0,
            namespace: Vec::new(),
        }
    }
}

/// An etcd cluster, as a client sees it: the [`Backend`] for real use. Cloning it is cheap and shares the connections.
///
/// One endpoint is preferred and serves every call and watch until it fails; then the next takes its place. What is
/// retried, and what is reported as [`CallError::Maybe`] instead, stands at [`Etcd::call`].
#[derive(Clone)]
pub struct Etcd {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoints: Vec<_> = self.shared.wires.iter().map(|wire| wire.endpoint()).collect();
        f.debug_struct("Etcd").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}

/// What the clones of one [`Etcd`], its calls and its watches have in common.
struct Shared {
    wires: Vec<Arc<dyn Wire>>,
    runtime: Arc<dyn Runtime>,
    options: EtcdOptions,
    /// The index of the preferred endpoint.
    preferred: AtomicUsize,
    /// How many attempts have run out of time since the last that was answered.
    timeouts: AtomicU32,
    /// The newest revision that any answer has told.
    newest_revision: AtomicI64,
}

/// The wire over one gRPC connection, which `channel` makes: for who asks one member and wants its exact answers, or
/// stands in for the network (`Channel::Custom`). `endpoint` is its name in messages.
pub fn grpc_wire(endpoint: impl Into<String>, channel: etcd_client::Channel) -> Arc<dyn Wire> {
    Arc::new(grpc::GrpcWire::new(endpoint.into(), channel, None))
}

impl Etcd {
    /// Connects to the cluster with these endpoints (`http://host:port`, `https://..` with feature `tls`, or `host:port`),
    /// with default options, on the present tokio runtime. See [`EtcdBuilder::connect`] for errors and cancel safety.
    pub async fn connect<E: Into<String>>(
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<Self, ConnectError> {
        Self::builder(endpoints).connect().await
    }

    /// Begins a connection with options of one's own.
    pub fn builder<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> EtcdBuilder {
        EtcdBuilder::new(endpoints.into_iter().map(Into::into).collect())
    }

    /// The backend over any wires and runtime. Each wire is one endpoint; without a wire every call fails.
    pub fn over(wires: Vec<Arc<dyn Wire>>, runtime: Arc<dyn Runtime>, options: EtcdOptions) -> Self {
        let preferred = AtomicUsize::new(options.first_endpoint % wires.len().max(1));
        Self {
            shared: Arc::new(Shared {
                wires,
                runtime,
                options,
                preferred,
                timeouts: AtomicU32::new(0),
                newest_revision: AtomicI64::new(0),
            }),
        }
    }

    /// Sends any request, until `deadline`.
    ///
    /// A request that certainly did not reach a member, or that etcd refused before proposing it, is tried on the next
    /// endpoint, always. Reads, renewals and revocations are also tried again when their answer was lost. A write
    /// (`Put`, `Delete`, a `Txn` that can write, `LeaseGrant`, `Compact`) whose answer was lost is not: then the call ends at
    /// once with [`CallError::Maybe`], and the next call begins on another endpoint. The deadline gives
    /// [`CallError::NotApplied`] when nothing can have been applied (for a read always), else [`CallError::Maybe`].
    ///
    /// The answer to a revocation that was tried again may be [`Refusal::LeaseNotFound`];
    /// [`Backend::lease_revoke`] takes that for success.
    ///
    /// Dropping the future cancels the call; the request may still be applied.
    pub fn call(
        &self,
        request: Request,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Response, CallError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.call(request, deadline).await })
    }
}

impl Shared {
    fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// The endpoint failed: later calls begin with the next one, unless they already do.
    fn move_on_from(&self, endpoint: usize) {
        let next = (endpoint + 1) % self.wires.len();
        let _ = self.preferred.compare_exchange(endpoint, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// An answer told the store's revision.
    fn saw_revision(&self, revision: i64) {
        self.newest_revision.fetch_max(revision, Ordering::Relaxed);
    }

    fn newest_revision(&self) -> i64 {
        self.newest_revision.load(Ordering::Relaxed)
    }

    /// A member answered in time.
    fn answered(&self) {
        self.timeouts.store(0, Ordering::Relaxed);
    }

    /// A member did not answer in time.
    fn timed_out(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    /// How long the next attempt may take.
    fn attempt_timeout(&self) -> Duration {
        const LONGEST: u32 = 2;
        let doublings = self.timeouts.load(Ordering::Relaxed).min(LONGEST);
        self.options.attempt_timeout * (1 << doublings)
    }

    /// The pause before the next attempt after `failures` in a row: none until every endpoint has failed.
    fn backoff(&self, failures: u32) -> Duration {
        const MOST_DOUBLINGS: usize = 16;
        let (failures, endpoints) = (failures as usize, self.wires.len().max(1));
        if failures == 0 || !failures.is_multiple_of(endpoints) {
            return Duration::ZERO;
        }
        let doublings = (failures / endpoints - 1).min(MOST_DOUBLINGS);
        (self.options.backoff_min * (1 << doublings)).min(self.options.backoff_max)
    }
}

impl Runtime for Etcd {
    fn now(&self) -> Instant {
        self.shared.runtime.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.shared.runtime.sleep_until(deadline)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.shared.runtime.spawn(task);
    }
}

impl Backend for Etcd {
    fn txn(&self, txn: Txn, deadline: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            match shared.call(Request::Txn(txn), deadline).await? {
                Response::Txn(response) => Ok(response),
                other => Err(unexpected(&other, CallError::Maybe)),
            }
        })
    }

    fn range(&self, range: Range, deadline: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            match shared.call(Request::Range(range), deadline).await? {
                Response::Range(response) => Ok(response),
                other => Err(unexpected(&other, CallError::NotApplied)),
            }
        })
    }

    fn watch(&self, request: WatchRequest) -> WatchStream {
        watch::resuming(Arc::clone(&self.shared), request)
    }

    fn lease_grant(
        &self,
        ttl: Duration,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<LeaseGrant, CallError>> {
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl_s = i64::try_from(whole).unwrap_or(i64::MAX);
        let call = self.call(Request::LeaseGrant { id: 0, ttl_s }, deadline);
        Box::pin(async move {
            match call.await? {
                Response::LeaseGrant { grant, .. } => Ok(grant),
                other => Err(unexpected(&other, CallError::Maybe)),
            }
        })
    }

    fn lease_keep_alive(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<i64, CallError>> {
        let call = self.call(Request::LeaseKeepAlive { id }, deadline);
        Box::pin(async move {
            match call.await {
                Ok(Response::LeaseKeepAlive { ttl_s, .. }) => Ok(ttl_s.max(0)),
                Ok(other) => Err(unexpected(&other, CallError::Maybe)),
                Err(CallError::Refused(Refusal::LeaseNotFound)) => Ok(0),
                Err(error) => Err(error),
            }
        })
    }

    fn lease_revoke(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<(), CallError>> {
        let call = self.call(Request::LeaseRevoke { id }, deadline);
        Box::pin(async move {
            match call.await {
                Ok(_) | Err(CallError::Refused(Refusal::LeaseNotFound)) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }
}

/// A wire answered with another kind of response than was asked for.
fn unexpected(response: &Response, error: impl Fn(String) -> CallError) -> CallError {
    error(format!("the member answered something else than it was asked: {response:?}"))
}

/// The refusal that a wire's or a member's words of a broken protocol become.
fn invalid(message: &str) -> Refusal {
    Refusal::Other { code: Code::InvalidArgument, message: message.to_owned() }
}
