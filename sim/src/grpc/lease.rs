//! The Lease service.

use std::pin::Pin;

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseService,
    PbLeaseStatus, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use futures_util::{Stream, StreamExt};
use tenure::kv::{Request, Response};

use super::{Service, convert};

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

#[tonic::async_trait]
impl PbLeaseService for Service {
    async fn lease_grant(
        &self,
        request: tonic::Request<PbLeaseGrantRequest>,
    ) -> Answer<PbLeaseGrantResponse> {
        let PbLeaseGrantRequest { ttl, id } = request.into_inner();
        let answer = self.ask(Request::LeaseGrant { id, ttl_s: ttl }, |response| match response {
            Response::LeaseGrant { header, grant } => Some((header, grant)),
            _ => None,
        });
        let (header, grant) = answer.await?;
        Ok(tonic::Response::new(PbLeaseGrantResponse {
            header: convert::header(header),
            id: grant.id,
            ttl: grant.ttl_s,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: tonic::Request<PbLeaseRevokeRequest>,
    ) -> Answer<PbLeaseRevokeResponse> {
        let id = request.into_inner().id;
        let header = self.ask(Request::LeaseRevoke { id }, |response| match response {
            Response::LeaseRevoke { header } => Some(header),
            _ => None,
        });
        Ok(tonic::Response::new(PbLeaseRevokeResponse { header: convert::header(header.await?) }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<PbLeaseKeepAliveResponse, tonic::Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: tonic::Request<tonic::Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        let service = self.clone();
        let answers = request.into_inner().then(move |request| {
            let service = service.clone();
            async move {
                let id = request?.id;
                let answer = service.ask(Request::LeaseKeepAlive { id }, |response| match response {
                    Response::LeaseKeepAlive { header, ttl_s } => Some((header, ttl_s)),
                    _ => None,
                });
                let (header, ttl) = answer.await?;
                Ok(PbLeaseKeepAliveResponse { header: convert::header(header), id, ttl })
            }
        });
        Ok(tonic::Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: tonic::Request<PbLeaseTimeToLiveRequest>,
    ) -> Answer<PbLeaseTimeToLiveResponse> {
        let PbLeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let answer = self.ask(Request::LeaseTimeToLive { id, keys }, |response| match response {
            Response::LeaseTimeToLive { header, ttl_s, granted_ttl_s, keys } => {
                Some((header, ttl_s, granted_ttl_s, keys))
            }
            _ => None,
        });
        let (header, ttl, granted_ttl, keys) = answer.await?;
        let header = convert::header(header);
        Ok(tonic::Response::new(PbLeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }))
    }

    async fn lease_leases(&self, _: tonic::Request<PbLeaseLeasesRequest>) -> Answer<PbLeaseLeasesResponse> {
        let answer = self.ask(Request::LeaseLeases, |response| match response {
            Response::LeaseLeases { header, ids } => Some((header, ids)),
            _ => None,
        });
        let (header, ids) = answer.await?;
        Ok(tonic::Response::new(PbLeaseLeasesResponse {
            header: convert::header(header),
            leases: ids.into_iter().map(|id| PbLeaseStatus { id }).collect(),
        }))
    }
}
