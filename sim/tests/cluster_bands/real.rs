//! A real cluster under the scripts: three etcd processes on loopback.

use std::sync::Arc;

use tenure::wire::Wire;
use tenure::{TokioRuntime, grpc_wire};
use tenure_sim::real::{Cluster, ClusterOptions, Server, ServerOptions};
use tenure_sim::store::EtcdVersion;
use tonic::transport::Endpoint;

use crate::band::Settings;
use crate::cluster::{Client, TestCluster};
use crate::log::{Late, Log};
use crate::script::{Rounds, play};

/// How late a loaded machine, one whose cores others use too, may do or see what a band speaks of. The quickest round has
/// to do with a quarter of it.
pub(crate) const LATE: Late = Late { ever_ms: 2_000, best_ms: 500 };

/// One real cluster.
struct Real {
    cluster: Cluster,
    client: Client,
}

impl TestCluster for Real {
    fn client(&self) -> &Client {
        &self.client
    }

    fn kill(&mut self, member: usize) {
        self.cluster.member_mut(member).kill();
    }

    fn restart(&mut self, member: usize) {
        self.cluster.member_mut(member).restart_unhealthy().expect("etcd starts again");
    }

    fn pause(&mut self, member: usize) {
        self.cluster.member(member).pause();
    }

    fn resume(&mut self, member: usize) {
        self.cluster.member(member).resume();
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.cluster.cut(from, to);
    }

    fn heal(&mut self) {
        self.cluster.heal_all();
    }
}

fn server(settings: Settings, version: EtcdVersion) -> ServerOptions {
    let fast = settings.election_ms == Settings::QUICK.election_ms;
    assert!(fast || settings.election_ms == Settings::DEFAULT.election_ms, "no server has other settings");
    ServerOptions { fast, ..ServerOptions::version(&version.to_string()) }
}

fn wire(endpoint: String) -> Arc<dyn Wire> {
    let dialed = Endpoint::from_shared(endpoint.clone()).expect("an endpoint").connect_lazy();
    grpc_wire(endpoint, etcd_client::Channel::Tonic(dialed))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    tokio.expect("tokio starts").block_on(future)
}

/// Starts a cluster, plays the scripts on it, and ends it.
pub(crate) fn run(settings: Settings, version: EtcdVersion, rounds: Rounds) -> Log {
    let cluster =
        Cluster::start(&ClusterOptions { server: server(settings, version), ..ClusterOptions::default() });
    let cluster = cluster.expect("the cluster starts");
    block_on(async {
        let wires = cluster.endpoints().into_iter().map(wire).collect();
        let runtime = Arc::new(TokioRuntime::current().expect("within tokio"));
        let client = Client::new(wires, runtime, settings);
        let mut log = Log::default();
        play(&mut Real { cluster, client }, rounds, &mut log).await;
        log
    })
}

/// The time to live that a lone server of these settings grants whoever asks for a second.
pub(crate) fn granted_ttl_s(settings: Settings) -> i64 {
    use tenure::kv::{Request, Response};

    let server = Server::start(&server(settings, EtcdVersion::default())).expect("etcd starts");
    block_on(async {
        match wire(server.endpoint()).call(Request::LeaseGrant { id: 0, ttl_s: 1 }).await {
            Ok(Response::LeaseGrant { grant, .. }) => grant.ttl_s,
            other => panic!("a grant was answered with {other:?}"),
        }
    })
}
