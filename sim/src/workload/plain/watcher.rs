//! A client that watches: one watch after another, the last of them until the run ends. All that a watch says is told to the
//! history as the client sees it, whatever raw watches it is made of.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, select_biased};
use tenure::kv::WatchRequest;
use tenure::{Backend, WatchMessage};

use super::program::{PlainWatch, WatchedSpan};
use super::{LEASED, REGISTERS};
use crate::history::{WatchSays, What};
use crate::workload::actor::Actor;
use crate::workload::client::Client;

/// How long a watcher waits after a watch that ended by itself.
const PAUSE_MS: u64 = 50;

pub(crate) async fn watch(client: &Client<'_>, plan: &[PlainWatch]) {
    let Some((last, all_but_last)) = plan.split_last() else { return };
    for one in all_but_last {
        if !client.is_draining() {
            listen(client, one, Some(one.for_ms)).await;
        }
    }
    // Until the run ends, so that it can be said what was told in the end.
    loop {
        listen(client, last, None).await;
        client.sleep_ms(PAUSE_MS).await;
    }
}

/// Listens to one watch until it ends, or for so long.
async fn listen(client: &Client<'_>, plan: &PlainWatch, for_ms: Option<u64>) {
    let request = request(client, plan);
    let stream = client.shared.next_ticket();
    client.record(What::StreamOpened { stream, request: Arc::new(request.clone()) });
    let mut watch = client.etcd.watch(request).fuse();
    let mut over = std::pin::pin!(client.sleep_or_stay(for_ms).fuse());
    loop {
        let said = select_biased! {
            said = watch.next() => said,
            () = over => break,
        };
        let Some(said) = said else { break };
        let says = match said {
            Ok(WatchMessage::Created { revision }) => WatchSays::Created { revision },
            Ok(WatchMessage::Events { events }) => {
                if let Some(last) = events.last() {
                    client.shared.saw_revision(last.kv.mod_revision);
                }
                WatchSays::Events(events)
            }
            Ok(WatchMessage::Compacted { compact_revision }) => WatchSays::Compacted { compact_revision },
            Err(refusal) => WatchSays::Refused(refusal.to_string()),
        };
        client.record(What::StreamSaid { stream, says });
    }
    client.record(What::StreamClosed { stream });
}

fn request(client: &Client<'_>, plan: &PlainWatch) -> WatchRequest {
    let over = match plan.over {
        WatchedSpan::Key(register) => WatchRequest::key(client.shared.registers.key(register)),
        WatchedSpan::Register(register) => WatchRequest::prefix(format!("{REGISTERS}{register}/")),
        WatchedSpan::Leased => WatchRequest::prefix(LEASED),
        WatchedSpan::Everything => WatchRequest { range_end: vec![0], ..WatchRequest::key([0]) },
    };
    WatchRequest {
        start_revision: plan.back.map_or(0, |back| client.shared.some_revisions_ago(back)),
        progress_notify: plan.progress_notify,
        prev_kv: plan.prev_kv,
        no_put: plan.no_put,
        no_delete: plan.no_delete,
        ..over
    }
}
