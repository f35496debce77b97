//! What a promise is tried with: a backend, a name of its own, and raw etcd to look behind the library's back.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tenure::kv::{DeleteRange, KeyValue, Put, Range, Request, Response, SortOrder, SortTarget};
use tenure::{Backend, Etcd, Instant, Runtime, Session, within};

/// Long enough for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(15);
/// Long enough for something forbidden to show itself.
const GRACE: Duration = Duration::from_millis(300);

/// One promise's surroundings.
pub(crate) struct Cx {
    pub(crate) etcd: Etcd,
    /// A name that no other promise uses.
    pub(crate) name: String,
}

impl Cx {
    pub(crate) async fn session(&self) -> Session {
        self.session_of(Duration::from_secs(20)).await
    }

    pub(crate) async fn session_of(&self, ttl: Duration) -> Session {
        Session::builder(&self.etcd).ttl(ttl).open().await.expect("etcd is there")
    }

    /// A raw request.
    pub(crate) async fn raw(&self, request: Request) -> Response {
        self.etcd.call(request, self.deadline()).await.expect("etcd is there")
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> i64 {
        match self.raw(Request::Put(Put::new(key, value))).await {
            Response::Put(put) => put.header.revision,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn delete(&self, key: &[u8]) {
        self.raw(Request::Delete(DeleteRange::key(key))).await;
    }

    pub(crate) async fn revoke(&self, lease: i64) {
        self.raw(Request::LeaseRevoke { id: lease }).await;
    }

    pub(crate) async fn compact(&self) {
        let revision = self.revision().await;
        // Another promise on the same server may have compacted further meanwhile.
        let _ = self.etcd.call(Request::Compact { revision, physical: false }, self.deadline()).await;
    }

    pub(crate) async fn revision(&self) -> i64 {
        match self.raw(Request::Range(Range::key("none"))).await {
            Response::Range(range) => range.header.revision,
            other => panic!("{other:?}"),
        }
    }

    /// All below `prefix`, oldest first.
    pub(crate) async fn below(&self, prefix: &str) -> Vec<KeyValue> {
        let range = Range::prefix(prefix).sorted(SortTarget::Create, SortOrder::Ascend);
        match self.raw(Request::Range(range)).await {
            Response::Range(range) => range.kvs,
            other => panic!("{other:?}"),
        }
    }

    /// All of this promise's keys.
    pub(crate) async fn keys(&self) -> Vec<KeyValue> {
        self.below(&self.name).await
    }

    pub(crate) async fn pause(&self, span: Duration) {
        self.etcd.sleep_until(self.etcd.now() + span).await;
    }

    /// Waits until this promise has `count` keys.
    pub(crate) async fn until_keys(&self, count: usize) {
        self.until_below(&self.name, count).await;
    }

    /// Waits until `count` stand in line.
    pub(crate) async fn until_in_line(&self, count: usize) {
        self.until_below(&format!("{}/", self.name), count).await;
    }

    /// Whether nobody stands in line.
    pub(crate) async fn is_free(&self) -> bool {
        self.below(&format!("{}/", self.name)).await.is_empty()
    }

    /// Waits until there are `count` keys below `prefix`.
    pub(crate) async fn until_below(&self, prefix: &str, count: usize) {
        let give_up_at = self.deadline();
        loop {
            let keys = self.below(prefix).await;
            if keys.len() == count {
                return;
            }
            assert!(self.etcd.now() < give_up_at, "{count} keys expected, there are {keys:?}");
            self.pause(Duration::from_millis(5)).await;
        }
    }

    /// What must happen soon.
    pub(crate) async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        match within(&self.etcd, self.deadline(), future).await {
            Ok(value) => value,
            Err(_) => panic!("{what} did not happen"),
        }
    }

    /// What must not happen yet; the future goes on afterwards.
    pub(crate) async fn not_yet<T>(&self, what: &str, future: &mut (impl Future<Output = T> + Unpin)) {
        let mut future = pin!(future);
        assert!(
            within(&self.etcd, self.etcd.now() + GRACE, future.as_mut()).await.is_err(),
            "{what} happened too early"
        );
    }

    fn deadline(&self) -> Instant {
        self.etcd.now() + PATIENCE
    }
}

/// A session of another process by a lease that there is.
pub(crate) async fn heir<B: Backend + Clone>(backend: &B, lease: i64) -> Session {
    Session::builder(backend).lease(lease).open().await.expect("the lease lives")
}

/// Runs two futures at once and gives the first's value when both are done.
pub(crate) async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    futures_util::future::join(a.boxed_local(), b.boxed_local()).await
}
