//! The remote resource that locks protect: it is told over a network of its own, keeps the highest fencing token that it
//! has seen for each name, and refuses what carries an older one. What carries none it takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;

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
        let (sender, mut receiver) = mpsc::unbounded::<Message>();
        let world = world.clone();
        let highest: Arc<Mutex<BTreeMap<Arc<str>, i64>>> = Arc::default();
        let spawner = world.clone();
        spawner.spawn(async move {
            while let Some(message) = receiver.next().await {
                let (world, highest) = (world.clone(), Arc::clone(&highest));
                let spawner = world.clone();
                spawner.spawn(async move {
                    world.sleep_until_ns(message.arrives_at_ns).await;
                    arrive(&world, &highest, message);
                });
            }
        });
        Self { sender }
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

fn arrive(world: &World, highest: &Mutex<BTreeMap<Arc<str>, i64>>, message: Message) {
    let Message { holding, token, answer, .. } = message;
    let accepted = {
        let mut highest = highest.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = highest.entry(Arc::clone(&holding.name)).or_insert(0);
        match token {
            Some(token) if token < *highest => false,
            Some(token) => {
                *highest = token;
                true
            }
            None => true,
        }
    };
    world.record(Node::World, What::ResourceWrite { holding, token, accepted });
    // The sender may be gone; the write is not.
    let _ = answer.send(accepted);
}
