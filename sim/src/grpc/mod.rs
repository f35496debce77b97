//! etcd's gRPC services in front of any [`Wire`]: what speaks [`tenure::kv`] in this process becomes an etcd that other
//! programs, or `etcd-client` inside the simulator, can talk to.

mod channel;
mod concurrency;
mod convert;
mod kv;
mod lease;
mod members;
mod operations;
mod watch;

use std::sync::Arc;

use etcd_client::proto::{PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer};
use tenure::Runtime;
use tenure::kv::{Request, Response};
use tenure::wire::Wire;
use tonic::service::Routes;

pub use channel::channel;
pub use operations::{Doing, KvHash, Member, Operations, Standing};

use concurrency::{ElectionServer, LockServer};

/// Larger requests than etcd takes have to reach the store, which refuses them in etcd's words.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What a member's services are set up with.
#[derive(Clone)]
pub struct Front {
    /// Where requests go.
    pub wire: Arc<dyn Wire>,
    /// Who answers for the member otherwise.
    pub operations: Arc<dyn Operations>,
    /// A watch response from this size on goes in fragments to whom asks for that: etcd's `--max-request-bytes` and what gRPC
    /// adds.
    pub fragment_bytes: usize,
    /// What only a server in real time has; without it there is none of it.
    pub timed: Option<Timed>,
}

/// What needs timers or tasks of the server's own.
#[derive(Clone)]
pub struct Timed {
    /// The clock that they go by.
    pub runtime: Arc<dyn Runtime>,
    /// A quiet watch that asks for it is told of its progress this often: etcd's `--watch-progress-notify-interval`.
    pub progress_notify_ms: u64,
    /// Whether the Lock service looks, after its wait, whether the caller's key is still there, as etcd does since 3.5.
    pub lock_checks_own_key: bool,
}

/// The services KV, Watch, Lease, Maintenance and Cluster of one member, whose requests go to `wire`. `members` are those
/// that it lists.
///
/// Of Maintenance there are Status and an empty list of alarms, of Cluster the list of members; the rest is
/// unimplemented, as is KV's RangeStream.
pub fn routes(wire: Arc<dyn Wire>, members: Vec<Member>) -> Routes {
    let fragment_bytes = usize::MAX;
    routes_of(Front { wire, operations: Arc::new(members), fragment_bytes, timed: None })
}

/// The services of one member. Unimplemented are KV's RangeStream, Maintenance's Snapshot and Downgrade, Auth; and Lock and
/// Election where nothing is timed.
pub fn routes_of(front: Front) -> Routes {
    let service = Service {
        wire: front.wire,
        operations: front.operations,
        fragment_bytes: front.fragment_bytes,
        timed: front.timed,
    };
    let routes = Routes::new(PbKvServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(PbWatchServer::new(service.clone()))
        .add_service(PbLeaseServer::new(service.clone()))
        .add_service(PbMaintenanceServer::new(service.clone()))
        .add_service(PbClusterServer::new(service.clone()));
    match &service.timed {
        None => routes,
        Some(timed) => {
            let recipes = concurrency::Recipes::new(Arc::clone(&service.wire), timed.clone());
            routes.add_service(LockServer::new(recipes.clone())).add_service(ElectionServer::new(recipes))
        }
    }
}

/// All services of one member.
#[derive(Clone)]
struct Service {
    wire: Arc<dyn Wire>,
    operations: Arc<dyn Operations>,
    fragment_bytes: usize,
    timed: Option<Timed>,
}

impl Service {
    /// Sends a request and takes the kind of answer that it must have.
    async fn ask<T>(&self, request: Request, take: fn(Response) -> Option<T>) -> Result<T, tonic::Status> {
        let response = self.wire.call(request).await.map_err(convert::status)?;
        take(response).ok_or_else(|| tonic::Status::internal("an answer to another request"))
    }
}

fn unimplemented(what: &str) -> tonic::Status {
    tonic::Status::unimplemented(format!("{what} is not simulated"))
}
