//! What a client's process reaches of its run beside etcd: true time, the history, and the resource that locks protect. A
//! simulated world gives it, and so does a round on a real cluster.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tenure::Runtime;
use tenure::wire::Wire;

use crate::cluster::ClientEnv;
use crate::history::{Holding, What};

/// The run as one process of it sees it.
pub trait Stage: Send + Sync {
    /// Nanoseconds of true time since the run's start.
    fn now_ns(&self) -> u64;

    /// Records a step of this process; nothing once it has crashed.
    fn record(&self, what: What);
}

/// The remote resource that locks protect.
pub trait Resource: Send + Sync {
    /// Sends a write, which takes `under_way_ns` to arrive, whatever becomes of its sender. Resolves with whether it was
    /// accepted; with `None` if that cannot be known.
    fn write(
        &self,
        holding: &Holding,
        token: Option<i64>,
        under_way_ns: u64,
    ) -> BoxFuture<'static, Option<bool>>;
}

/// A client process: what its program runs with.
#[derive(Clone)]
pub struct Process {
    /// Which client.
    pub index: u32,
    /// One connection to each member, in order.
    pub wires: Vec<Arc<dyn Wire>>,
    /// The process's own clock, timers and tasks.
    pub runtime: Arc<dyn Runtime>,
    /// The run that it takes part in.
    pub stage: Arc<dyn Stage>,
}

impl Process {
    /// Records a step of this process.
    pub fn record(&self, what: What) {
        self.stage.record(what);
    }
}

impl Stage for ClientEnv {
    fn now_ns(&self) -> u64 {
        self.world.now_ns()
    }

    fn record(&self, what: What) {
        Self::record(self, what);
    }
}

impl From<ClientEnv> for Process {
    fn from(env: ClientEnv) -> Self {
        let (index, wires, runtime) = (env.index, env.wires.clone(), Arc::clone(&env.runtime));
        Self { index, wires, runtime, stage: Arc::new(env) }
    }
}
