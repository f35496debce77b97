//! An operator who interferes by hand, with etcd's own requests, from the machine of a client that holds something: what no
//! lock can prevent, and what its holder must be told the truth about.

use std::time::Duration;

use tenure::Runtime;
use tenure::kv::{DeleteRange, KeyValue, Put, Range, Request, Response, SortOrder, SortTarget};

use super::actor::Actor;
use super::client::Client;
use super::primitive::Held;
use super::program::OperatorAct;
use crate::history::{Deed, DeedEnd, Holding, Kind};

/// How long an operator waits for etcd.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a key ends that an operator puts into a line: no contender's ends so.
pub(crate) const FOREIGN: &[u8] = b"/by-hand";
/// How long it stays there, unless its deletion is lost: then its lease ends it.
const FOREIGN_FOR_MS: u64 = 200;
const FOREIGN_TTL_S: i64 = 2;

pub(super) async fn interfere(client: &Client<'_>, holding: &Holding, held: &dyn Held, act: OperatorAct) {
    let (revokes, request) = match act {
        OperatorAct::PutForeign => return put_foreign(client, holding).await,
        OperatorAct::DeleteHolder => {
            let Some(key) = held.says().key else { return };
            (None, Request::Delete(DeleteRange::key(key)))
        }
        OperatorAct::RevokeHolder => (Some(holding.lease), Request::LeaseRevoke { id: holding.lease }),
        OperatorAct::DeleteNext | OperatorAct::RevokeNext => {
            let Some(next) = next_in_line(client, holding).await else { return };
            if act == OperatorAct::DeleteNext {
                (None, Request::Delete(DeleteRange::key(next.key)))
            } else {
                (Some(next.lease), Request::LeaseRevoke { id: next.lease })
            }
        }
    };
    by_hand(client, holding, act, revokes, async {
        // What came of it is in the history.
        let _ = ask(client, request).await;
    })
    .await;
}

/// By a lease that nobody renews: a put that is applied late finds it gone, and nothing is left.
async fn put_foreign(client: &Client<'_>, holding: &Holding) {
    let side: &[u8] = match holding.kind {
        Kind::Read => b"/write",
        Kind::Write => b"/read",
        Kind::Mutex | Kind::Leader | Kind::Permit => b"",
    };
    let key = [holding.name.as_bytes(), side, FOREIGN].concat();
    by_hand(client, holding, OperatorAct::PutForeign, None, async {
        let wanted = Request::LeaseGrant { id: 0, ttl_s: FOREIGN_TTL_S };
        let Some(Response::LeaseGrant { grant, .. }) = ask(client, wanted).await else { return };
        ask(client, Request::Put(Put::new(&*key, "").lease(grant.id))).await;
        client.sleep_ms(FOREIGN_FOR_MS).await;
        ask(client, Request::Delete(DeleteRange::key(key))).await;
    })
    .await;
}

async fn by_hand(
    client: &Client<'_>,
    holding: &Holding,
    act: OperatorAct,
    revokes: Option<i64>,
    work: impl Future<Output = ()> + Send,
) {
    let deed = Deed::Operator { holding: holding.clone(), act, revokes };
    let done = async {
        work.await;
        Ok(())
    };
    let _ = client.does(deed, done, |()| DeedEnd::Done).await;
}

async fn ask(client: &Client<'_>, request: Request) -> Option<Response> {
    let etcd = &client.etcd;
    etcd.call(request, etcd.now() + PATIENCE).await.ok()
}

/// The oldest contender after the holder that is another session's.
async fn next_in_line(client: &Client<'_>, holding: &Holding) -> Option<KeyValue> {
    let prefix = format!("{}/", holding.name);
    let line = Range::prefix(prefix).sorted(SortTarget::Create, SortOrder::Ascend);
    let Some(Response::Range(read)) = ask(client, Request::Range(line)).await else { return None };
    read.kvs.into_iter().find(|kv| kv.create_revision > holding.token && kv.lease != holding.lease)
}
