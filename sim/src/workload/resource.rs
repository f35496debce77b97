//! The remote resource that locks protect: it is told over a network of its own, keeps the highest fencing token that it
//! has seen for each name, and refuses what carries an older one. What carries none it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_util::{FutureExt, StreamExt, select_biased};

use crate::cluster::World;
use crate::history::{Holding, What};
use crate::node::Node;

/// A client's way to the resource.
#[derive(Clone)]
pub(super) struct Resource {
    sender: mpsc::UnboundedSender<Message>,
}

struct Message {
    arrives_at_ns: u64,
    holding: Holding,
    token: Option<i64>,
    answer: oneshot::Sender<bool>,
}

impl Resource {
    /// Starts the resource; must be called outside of all client processes, so that it outlives them.
    pub(super) fn start(world: &World) -> Self {
        let (sender, receiver) = mpsc::unbounded();
        madsim::task::spawn(serve(world.clone(), receiver));
        Self { sender }
    }

    /// Ends it. A task that waits for ever keeps the whole world in memory.
    pub(super) fn close(&self) {
        self.sender.close_channel();
    }

    /// Sends a write, which takes `under_way_ns` to arrive, whatever becomes of its sender. Resolves with whether it was
    /// accepted.
    pub(super) fn write(
        &self,
        world: &World,
        holding: &Holding,
        token: Option<i64>,
        under_way_ns: u64,
    ) -> impl Future<Output = Option<bool>> + use<> {
        let (answer, answered) = oneshot::channel();
        let message =
            Message { arrives_at_ns: world.now_ns() + under_way_ns, holding: holding.clone(), token, answer };
        let sent = self.sender.unbounded_send(message);
        async move {
            sent.ok()?;
            answered.await.ok()
        }
    }
}

async fn serve(world: World, mut receiver: mpsc::UnboundedReceiver<Message>) {
    let mut highest = BTreeMap::new();
    // By time of arrival, then in the order of sending.
    let mut under_way = BTreeMap::new();
    for sent in 0_u64.. {
        let arrival = async {
            match under_way.first_key_value() {
                Some(((arrives_at_ns, _), _)) => world.sleep_until_ns(*arrives_at_ns).await,
                None => std::future::pending().await,
            }
        };
        let mut arrival = std::pin::pin!(arrival.fuse());
        let message = select_biased! {
            message = receiver.next() => Some(message),
            () = arrival => None,
        };
        match message {
            Some(Some(message)) => {
                under_way.insert((message.arrives_at_ns, sent), message);
            }
            Some(None) => return,
            None => {
                if let Some((_, message)) = under_way.pop_first() {
                    arrive(&world, &mut highest, message);
                }
            }
        }
    }
}

fn arrive(world: &World, highest: &mut BTreeMap<Arc<str>, i64>, message: Message) {
    let Message { holding, token, answer, .. } = message;
    let highest = highest.entry(Arc::clone(&holding.name)).or_insert(0);
    let accepted = token.is_none_or(|token| token >= *highest);
    if accepted {
        *highest = token.unwrap_or(*highest);
    }
    world.record(Node::World, What::ResourceWrite { holding, token, accepted });
    // The sender may be gone; the write is not.
    let _ = answer.send(accepted);
}
