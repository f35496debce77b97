//! An operator who interferes by hand, with etcd's own requests, from the machine of a client that holds something: what no
//! lock can prevent, and what its holder must be told the truth about.

use std::time::Duration;

use tenure::Runtime;
use tenure::kv::{DeleteRange, KeyValue, Range, Request, Response, SortOrder, SortTarget};

use super::client::Client;
use super::primitive::Held;
use super::program::OperatorAct;
use crate::history::{Deed, DeedEnd, Holding};

/// How long an operator waits for etcd.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn interfere(client: &Client<'_>, holding: &Holding, held: &dyn Held, act: OperatorAct) {
    let (revokes, request) = match act {
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
    let etcd = &client.etcd;
    let asked = async {
        // What came of it is in the history.
        let _ = etcd.call(request, etcd.now() + PATIENCE).await;
        Ok(())
    };
    let deed = Deed::Operator { holding: holding.clone(), act, revokes };
    let _ = client.does(deed, asked, |()| DeedEnd::Done).await;
}

/// The oldest contender after the holder that is another session's.
async fn next_in_line(client: &Client<'_>, holding: &Holding) -> Option<KeyValue> {
    let prefix = format!("{}/", holding.name);
    let line = Range::prefix(prefix).sorted(SortTarget::Create, SortOrder::Ascend);
    let etcd = &client.etcd;
    let Response::Range(read) = etcd.call(Request::Range(line), etcd.now() + PATIENCE).await.ok()? else {
        return None;
    };
    read.kvs.into_iter().find(|kv| kv.create_revision > holding.token && kv.lease != holding.lease)
}
