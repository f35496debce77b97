//! The remote resource that locks protect: it is told over a network of its own, keeps the highest fencing token that it
//! has seen for each name, and refuses what carries an older one. What carries none it takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::{mpsc, oneshot};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};

use super::stage::Resource;
use crate::cluster::World;
use crate::history::{Holding, What};
use crate::node::Node;

/// Clients' way to the resource of a simulated world.
pub struct SimulatedResource {
    world: World,
    sender: mpsc::UnboundedSender<Message>,
}

struct Message {
    arrives_at_ns: u64,
    holding: Holding,
    token: Option<i64>,
    answer: oneshot::Sender<bool>,
}

impl SimulatedResource {
    /// Starts it; must be called outside of all client processes, so that it outlives them.
    pub fn start(world: &World) -> Self {
        let (sender, mut receiver) = mpsc::unbounded::<Message>();
        let (own, world) = (world.clone(), world.clone());
        let highest: Arc<Mutex<Highest>> = Arc::default();
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
        Self { world: own, sender }
    }
}

impl Resource for SimulatedResource {
    fn write(
        &self,
        holding: &Holding,
        token: Option<i64>,
        under_way_ns: u64,
    ) -> BoxFuture<'static, Option<bool>> {
        let (answer, answered) = oneshot::channel();
        let arrives_at_ns = self.world.now_ns() + under_way_ns;
        let sent =
            self.sender.unbounded_send(Message { arrives_at_ns, holding: holding.clone(), token, answer });
        async move {
            sent.ok()?;
            answered.await.ok()
        }
        .boxed()
    }
}

fn arrive(world: &World, highest: &Mutex<Highest>, message: Message) {
    let Message { holding, token, answer, .. } = message;
    let accepted = highest.lock().unwrap_or_else(PoisonError::into_inner).accepts(&holding.name, token);
    world.record(Node::World, What::ResourceWrite { holding, token, accepted });
    // The sender may be gone; the write is not.
    let _ = answer.send(accepted);
}

/// The resource's own state: the highest token that it has seen for each name.
#[derive(Debug, Default)]
pub(crate) struct Highest(BTreeMap<Arc<str>, i64>);

impl Highest {
    /// Whether a write is accepted.
    pub(crate) fn accepts(&mut self, name: &Arc<str>, token: Option<i64>) -> bool {
        let highest = self.0.entry(Arc::clone(name)).or_insert(0);
        match token {
            Some(token) if token < *highest => false,
            Some(token) => {
                *highest = token;
                true
            }
            None => true,
        }
    }
}
