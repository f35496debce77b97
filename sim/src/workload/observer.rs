//! A client that observes an election, again and again from the beginning, until the run ends.

use std::sync::Arc;

use futures_util::{FutureExt, select_biased};
use tenure::{Election, Observation};

use super::actor::Actor;
use super::client::Client;
use super::decorate::{Decorated, Plain};
use crate::history::What;
use crate::plan::ObservingPlan;

pub(super) async fn observe(client: &Client<'_>, plan: &ObservingPlan) {
    let name: Arc<str> = plan.name.as_str().into();
    let backend = Decorated::<Plain>::over(Arc::clone(&client.backend));
    // The last of them goes on to the end, so that it can be said what it saw last.
    for for_ms in plan.for_ms.iter().copied().map(Some).chain([None]) {
        if for_ms.is_some() && client.is_draining() {
            continue;
        }
        let Ok(mut watching) = Election::observer(&backend, &*name) else { return };
        let observer = client.shared.next_observer();
        client.record(What::Observes { name: Arc::clone(&name), observer });
        let mut over = std::pin::pin!(client.sleep_or_stay(for_ms).fuse());
        loop {
            let seen = select_biased! {
                seen = watching.next().fuse() => seen,
                () = over => break,
            };
            match seen {
                Ok(observation) => {
                    let leader = match observation {
                        Observation::Leader(leader) => Some(leader.into()),
                        Observation::NoLeader => None,
                    };
                    client.record(What::Observed { name: Arc::clone(&name), observer, leader });
                }
                Err(error) => {
                    client.record(What::ObserverFailed { observer, error: error.into() });
                    client.sleep_ms(100).await;
                }
            }
        }
    }
}
