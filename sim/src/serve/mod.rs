//! `tenure serve`: the simulated cluster on real ports, in real or faster time, with faults that a seed decides: an etcd for tests in any
//! language.
//!
//! Clients are real, so when their requests come is not the seed's to decide; which faults come, and at which simulated times, is.

mod control;
mod door;
mod faults;
mod http;
mod log;
mod network;
mod options;
mod place;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tenure::TokioRuntime;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use options::{ChaosFlags, EtcdFlags, ServeOptions};

use crate::cluster::{ClusterConfig, LiveClock, World};
use crate::grpc::Timed;
use crate::history::Recorder;
use crate::scenario::BadInput;
use crate::store::EtcdVersion;
use crate::streams::Streams;
use control::Control;
use door::Entrance;
use faults::FaultSource;
use log::Log;
use place::{Addresses, Place};

/// etcd's default where the quota's flag is 0.
const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;
/// gRPC takes this much more than the largest request (`grpcOverheadBytes` in etcd's `embed/serve.go`).
const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

/// A server that is listening; dropping it ends it, with all that it holds.
pub struct Serving {
    world: World,
    endpoints: Vec<String>,
    control: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Begins to listen, with an empty store, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// One line if an option is wrong, or an address cannot be listened on.
    pub async fn start(options: &ServeOptions) -> Result<Self, BadInput> {
        options.check()?;
        let mut source = FaultSource::of(options)?;
        let tls = tls::acceptor(&options.etcd)?;
        let log = Arc::new(Log::to(options.chaos.log.as_deref())?);
        let runtime = TokioRuntime::current().map_err(|error| BadInput(format!("no runtime: {error}")))?;
        let (listeners, addresses) = listen(&options.addresses()?).await?;
        let clients = source.clients() as usize;

        let clock = LiveClock::new(Arc::new(runtime.clone()), options.chaos.speed);
        let hearing = Arc::clone(&log);
        let recorder = Recorder::telling(Arc::new(move |step| hearing.hear(step)));
        let world = World::live(options.chaos.seed, config(options), clients, recorder, clock.clone())
            .map_err(|error| BadInput(format!("no thread could be started: {error}")))?;
        if !source.is_none() {
            world.play_rounds(Box::new(move || source.next()));
        }

        let scheme = if tls.is_some() { "https" } else { "http" };
        let urls = |place: &Vec<SocketAddr>| place.iter().map(|one| format!("{scheme}://{one}")).collect();
        let client_urls: Vec<Vec<String>> = addresses.iter().map(urls).collect();
        let peer_urls = (0..addresses.len()).map(|place| vec![format!("http://m{place}.simulated:2380")]);
        let addressed = Arc::new(Addresses {
            client_urls: client_urls.clone(),
            peer_urls: Mutex::new(peer_urls.collect()),
        });
        let timed = Timed {
            runtime: world.live_runtime(),
            progress_notify_ms: u64::try_from(options.etcd.watch_progress_notify_interval.as_millis())
                .unwrap_or(u64::MAX),
            lock_checks_own_key: options.etcd_version >= EtcdVersion::V3_5(0),
        };
        let handle = tokio::runtime::Handle::current();
        let mut serving = Self {
            world,
            endpoints: client_urls.into_iter().flatten().collect(),
            control: None,
            tasks: Vec::new(),
        };
        for (member, (listeners, addresses)) in listeners.into_iter().zip(addresses).enumerate() {
            let place = Place {
                world: serving.world.clone(),
                clock: clock.clone(),
                member,
                version: options.etcd_version,
                log: Arc::clone(&log),
                addresses: Arc::clone(&addressed),
            };
            let doors = serving.world.doors().ok_or_else(|| BadInput("the world has no doors".to_owned()))?;
            let entrance = Entrance {
                place,
                addresses,
                tls: tls.clone(),
                fragment_bytes: options.etcd.max_request_bytes.saturating_add(GRPC_OVERHEAD_BYTES),
                timed: timed.clone(),
                runtime: runtime.clone(),
                streams: Streams::new(options.chaos.seed),
                clients,
                doors,
            };
            // Nobody listens at a place that is no member yet.
            let listeners = if member < options.members as usize { listeners } else { Vec::new() };
            serving.tasks.push(handle.spawn(entrance.serve(listeners)));
        }
        if let Some(address) = options.control {
            let refused = |error| BadInput(format!("--control: cannot listen on {address}: {error}"));
            let listener = TcpListener::bind(address).await.map_err(refused)?;
            serving.control = Some(listener.local_addr().map_err(refused)?);
            let control = Control::new(serving.world.clone(), options, addressed);
            serving.tasks.push(handle.spawn(control.serve(listener)));
        }
        Ok(serving)
    }

    /// Where the control service listens, if there is one.
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// The first endpoint, `http://127.0.0.1:port`.
    ///
    /// `etcdctl endpoint status` takes it without `http://` only: with it, that command sends the whole of it as the
    /// HTTP/2 authority, which a Go server lets pass and this one's HTTP/2 does not.
    pub fn endpoint(&self) -> String {
        self.endpoints.first().cloned().unwrap_or_default()
    }

    /// The endpoints of all members, and of spares behind them.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.world.end_live();
    }
}

fn config(options: &ServeOptions) -> ClusterConfig {
    let quota_bytes = match options.etcd.quota_backend_bytes {
        0 => DEFAULT_QUOTA_BYTES,
        bytes => bytes,
    };
    ClusterConfig {
        members: options.members,
        spares: options.spares,
        version: options.etcd_version,
        heartbeat_ms: options.etcd.heartbeat_interval,
        election_timeout_ms: options.etcd.election_timeout,
        max_txn_ops: options.etcd.max_txn_ops,
        max_request_bytes: options.etcd.max_request_bytes,
        quota_bytes,
        clients_outside: true,
        ..ClusterConfig::default()
    }
}

type Listening = (Vec<Vec<TcpListener>>, Vec<Vec<SocketAddr>>);

/// Listens at every place, so that free ports are known and taken ones found at once.
async fn listen(wanted: &[Vec<SocketAddr>]) -> Result<Listening, BadInput> {
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for place in wanted {
        let (mut here, mut at) = (Vec::new(), Vec::new());
        for address in place {
            let refused = |error| BadInput(format!("cannot listen on {address}: {error}"));
            let listener = TcpListener::bind(address).await.map_err(refused)?;
            at.push(listener.local_addr().map_err(refused)?);
            here.push(listener);
        }
        listeners.push(here);
        addresses.push(at);
    }
    Ok((listeners, addresses))
}

/// The faults that would be played, as lines of JSON.
///
/// # Errors
/// One line if the profile is wrong.
pub fn planned(options: &ServeOptions, rounds: u32) -> Result<Vec<String>, BadInput> {
    Ok(FaultSource::of(options)?.printed(rounds))
}

/// Serves on a tokio runtime of its own until the process is ended. `ready` is told what listens once it does.
///
/// # Errors
/// If an option is wrong, or it cannot listen.
pub fn run(options: &ServeOptions, ready: impl FnOnce(&Serving)) -> Result<(), BadInput> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
    let runtime = runtime.map_err(|error| BadInput(format!("cannot start a runtime: {error}")))?;
    runtime.block_on(async {
        let serving = Serving::start(options).await?;
        ready(&serving);
        std::future::pending().await
    })
}
