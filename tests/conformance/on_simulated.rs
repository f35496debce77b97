//! Promises over the simulated etcd: three members, a seed, virtual time.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tenure::Etcd;
use tenure_sim::cluster::{ClientConfig, ClientEnv, ClusterConfig, World};
use tenure_sim::history::Recorder;
use tokio::sync::oneshot;

use crate::cx::Cx;

/// Runs a promise in a simulation of its own.
pub(crate) fn run(name: &'static str, promise: fn(Cx) -> LocalBoxFuture<'static, ()>) {
    // One fresh thread a run: madsim seeds a thread's hash maps once.
    let run = std::thread::spawn(move || {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(1, madsim::Config::default());
        runtime.block_on(async move {
            let world = World::new(1, ClusterConfig::default(), Recorder::default());
            let etcd = client(&world).await;
            promise(Cx { etcd, name: format!("conformance/{name}") }).await;
            world.finish().await;
        });
    });
    if let Err(panic) = run.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A client process that does nothing but lend its way to etcd, its clock and its tasks.
async fn client(world: &World) -> Etcd {
    let (lend, lent) = oneshot::channel();
    let lend = Mutex::new(Some(lend));
    let program = move |env: ClientEnv| {
        if let Some(lend) = lend.lock().expect("no panic").take() {
            let _ = lend.send(env.etcd);
        }
        std::future::pending().boxed()
    };
    world.add_client(ClientConfig::default(), Arc::new(program));
    lent.await.expect("the client starts")
}
