//! etcd's gRPC services in front of any [`Wire`]: what speaks [`tenure::kv`] in this process becomes an etcd that other
//! programs, or `etcd-client` inside the simulator, can talk to.

mod channel;
mod convert;
mod kv;
mod lease;
mod members;
mod watch;

use std::sync::Arc;

use etcd_client::proto::{PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer};
use tenure::kv::{Request, Response};
use tenure::wire::Wire;
use tonic::service::Routes;

pub use channel::channel;
pub use members::Member;

/// Larger requests than etcd takes have to reach the store, which refuses them in etcd's words.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The services KV, Watch, Lease, Maintenance and Cluster of one member, whose requests go to `wire`. `members` are those
/// that it lists.
///
/// Of Maintenance there are Status and an empty list of alarms, of Cluster the list of members; the rest is
/// unimplemented, as is KV's RangeStream.
pub fn routes(wire: Arc<dyn Wire>, members: Vec<Member>) -> Routes {
    let service = Service { wire, members: members.into() };
    Routes::new(PbKvServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(PbWatchServer::new(service.clone()))
        .add_service(PbLeaseServer::new(service.clone()))
        .add_service(PbMaintenanceServer::new(service.clone()))
        .add_service(PbClusterServer::new(service))
}

/// All services of one member.
#[derive(Clone)]
struct Service {
    wire: Arc<dyn Wire>,
    members: Arc<[Member]>,
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
