//! A client's process: it plays one client of a plan with the library on a real cluster, and tells each step as it happens,
//! a line each, so that nothing is lost when it is killed.

use std::io::{Read, Write as _};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::Channel;
use tenure::wire::Wire;
use tenure::{TokioRuntime, grpc_wire};
use tonic::transport::Endpoint;

use super::clock::{Epoch, OwnClock};
use super::errand::{Errand, Told, numbered_from};
use super::resource::RemoteResource;
use super::watched::{Newest, Watched};
use crate::history::What;
use crate::planted;
use crate::scenario::BadInput;
use crate::workload::{Process, Shared, Stage, live};

/// How often it is asked what it believes.
const BELIEFS_EVERY: Duration = Duration::from_millis(10);

/// Reads an errand from standard input and does it.
///
/// # Errors
/// If that is no errand.
pub fn serve_errand() -> Result<u8, BadInput> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| BadInput(format!("standard input cannot be read: {error}")))?;
    let errand: Errand = serde_json::from_str(&text)
        .map_err(|error| BadInput(format!("standard input holds no errand: {error}")))?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| BadInput(format!("tokio cannot be started: {error}")))?;
    tokio.block_on(run(errand))
}

async fn run(errand: Errand) -> Result<u8, BadInput> {
    let Errand { plan, client, life, done, endpoints, resource, began_ns, planted, .. } = errand;
    let index = client as usize;
    let own = plan.clients.get(index).ok_or_else(|| BadInput(format!("the plan has no client {client}")))?;
    let planted = match planted {
        Some(name) => {
            Some(planted::find(&name).ok_or_else(|| BadInput(format!("no bug is called {name:?}")))?)
        }
        None => None,
    };
    let epoch = Epoch { began_ns };
    let tokio = TokioRuntime::current().map_err(|error| BadInput(error.to_string()))?;
    let runtime = OwnClock::new(tokio, epoch, own.clock_offset_ms, own.drift_ppm);
    let newest = Newest::default();
    let wires = endpoints.iter().map(|endpoint| wire(endpoint, &newest)).collect::<Result<_, _>>()?;
    let teller = Arc::new(Teller { epoch, newest, out: Mutex::new(()) });
    let resource = Box::new(RemoteResource { epoch, address: resource });
    let shared =
        Shared::new(Arc::new(plan), planted, resource).resumed(index, &done, numbered_from(client, life));
    let shared = Arc::new(shared);
    ask_beliefs(&shared, &teller);
    let stage: Arc<dyn Stage> = Arc::clone(&teller) as _;
    live(Process { index: client, wires, runtime, stage }, Arc::clone(&shared)).await;
    if let Some(panic) = shared.take_panic() {
        teller.tell(|_| Told::Panicked(panic));
    }
    Ok(0)
}

/// A connection to one member, with pings, so that a member that stands still is noticed.
fn wire(endpoint: &str, newest: &Newest) -> Result<Arc<dyn Wire>, BadInput> {
    let channel = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|error| BadInput(format!("{endpoint}: {error}")))?
        .connect_timeout(Duration::from_millis(750))
        .http2_keep_alive_interval(Duration::from_secs(6))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true)
        .connect_lazy();
    let inner = grpc_wire(endpoint, Channel::Tonic(channel));
    Ok(Arc::new(Watched { inner, newest: Arc::clone(newest) }))
}

/// Asks again and again what this process believes, on a thread that nothing else holds up.
#[allow(clippy::disallowed_methods, reason = "a real process is asked in real time")]
fn ask_beliefs(shared: &Arc<Shared>, teller: &Arc<Teller>) {
    let (shared, teller) = (Arc::downgrade(shared), Arc::clone(teller));
    std::thread::spawn(move || {
        while let Some(shared) = shared.upgrade() {
            // Before the question: what is believed then was believed at this time, too.
            let at_ns = teller.epoch.elapsed_ns();
            for holding in shared.believed() {
                teller.tell(|_| Told::Believes { at_ns, holding });
            }
            drop(shared);
            std::thread::sleep(BELIEFS_EVERY);
        }
    });
}

/// Tells lines on standard output.
struct Teller {
    epoch: Epoch,
    newest: Newest,
    out: Mutex<()>,
}

impl Teller {
    /// Says one thing; its time, which is handed over, grows from line to line.
    fn tell(&self, what: impl FnOnce(u64) -> Told) {
        let _one_at_a_time = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let told = what(self.epoch.elapsed_ns());
        if let Ok(mut line) = serde_json::to_vec(&told) {
            line.push(b'\n');
            // Nobody listens any more: the round is over.
            let _ = std::io::stdout().lock().write_all(&line);
        }
    }
}

impl Stage for Teller {
    fn now_ns(&self) -> u64 {
        self.epoch.elapsed_ns()
    }

    fn record(&self, what: What) {
        self.tell(|at_ns| Told::Step { at_ns, seen: self.newest.load(Ordering::Acquire), what });
    }
}
