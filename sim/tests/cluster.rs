//! What the simulated cluster promises: elections, leases, reads and faults behave as etcd's, and a seed gives one run.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tenure::kv::{Put, Range, Request, Response};
use tenure::wire::Status;
use tenure::{Instant, Runtime, within};
use tenure_sim::cluster::{ClientConfig, ClientEnv, ClusterConfig, Program, World};
use tenure_sim::fault::Fault;
use tenure_sim::history::{History, Recorder, What};
use tenure_sim::node::Node;

const MS: u64 = 1_000_000;

/// Runs a world on a thread and runtime of its own.
fn simulate<F, Fut, T>(seed: u64, config: ClusterConfig, script: F) -> (T, History)
where
    F: FnOnce(World) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    #[allow(clippy::disallowed_methods, reason = "madsim wants a fresh thread for each runtime")]
    let thread = std::thread::spawn(move || {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        let recorder = Recorder::default();
        let value = runtime.block_on(async {
            let world = World::new(seed, config, recorder.clone());
            let value = script(world.clone()).await;
            world.finish().await;
            value
        });
        (value, recorder.finish())
    });
    thread.join().expect("the run ended")
}

fn program<F, Fut>(run: F) -> Program
where
    F: Fn(ClientEnv) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |env| -> BoxFuture<'static, ()> { Box::pin(run(env)) })
}

/// One attempt at one member, for at most `wait`.
async fn ask(
    env: &ClientEnv,
    member: u32,
    request: Request,
    wait: Duration,
) -> Option<Result<Response, Status>> {
    let deadline = env.runtime.now() + wait;
    within(&*env.runtime, deadline, env.wires[member as usize].call(request)).await.ok()
}

#[test]
fn a_write_is_read_back_at_every_member() {
    let ((), history) = simulate(1, ClusterConfig::default(), |world| async move {
        let done = Arc::new(Mutex::new(false));
        let flag = Arc::clone(&done);
        world.add_client(
            ClientConfig::default(),
            program(move |env| {
                let flag = Arc::clone(&flag);
                async move {
                    for member in 0..3 {
                        let put = Request::Put(Put::new(format!("k{member}"), "v"));
                        ask(&env, member, put, Duration::from_secs(1)).await.unwrap().unwrap();
                        for other in 0..3 {
                            let get = Request::Range(Range::key(format!("k{member}")));
                            let got = ask(&env, other, get, Duration::from_secs(1)).await.unwrap().unwrap();
                            let Response::Range(range) = got else { panic!("{got:?}") };
                            assert_eq!(range.kvs.len(), 1);
                        }
                    }
                    *flag.lock().unwrap() = true;
                }
            }),
        );
        world.sleep_until_ns(5_000 * MS).await;
        assert!(*done.lock().unwrap());
        assert_eq!(world.store_now().revision(), 4);
    });
    assert!(history.steps.iter().any(|step| matches!(step.what, What::Committed { .. })));
}
