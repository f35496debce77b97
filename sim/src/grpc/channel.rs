//! gRPC without a network: a channel that hands each call to the services in this process, as `etcd-client` takes it.

use std::sync::Arc;

use etcd_client::Channel;
use tenure::wire::Wire;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use super::convert::NEVER_SENT;
use super::{Member, routes};

/// A channel to the services of [`routes`]. All that a network does to calls and streams, `wire` does.
///
/// A call that never reached the member (`sent` is false in its status) fails as one whose connection was refused.
/// Nothing is spawned and no clock is read, so that it works inside a simulation.
pub fn channel(wire: Arc<dyn Wire>, members: Vec<Member>) -> Channel {
    let mut routes = routes(wire, members);
    let service = tower::service_fn(move |request: tonic::codegen::http::Request<tonic::body::Body>| {
        let answer = routes.call(request);
        async move {
            let response = answer.await?;
            if response.headers().contains_key(NEVER_SENT) {
                let refused: BoxError = "the connection was refused".into();
                return Err(Box::new(tonic::ConnectError(refused)).into());
            }
            Ok::<_, BoxError>(response)
        }
    });
    Channel::Custom(BoxCloneSyncService::new(service.map_err(|error: BoxError| error)))
}
