//! The services Maintenance and Cluster: what of them a client of a lock needs.

use std::pin::Pin;

use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbClusterService, PbDefragmentRequest, PbDefragmentResponse,
    PbDowngradeRequest, PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest,
    PbHashResponse, PbMaintenanceService, PbMember, PbMemberAddRequest, PbMemberAddResponse,
    PbMemberListRequest, PbMemberListResponse, PbMemberPromoteRequest, PbMemberPromoteResponse,
    PbMemberRemoveRequest, PbMemberRemoveResponse, PbMemberUpdateRequest, PbMemberUpdateResponse,
    PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest, PbSnapshotResponse, PbStatusRequest,
    PbStatusResponse,
};
use futures_util::Stream;
use tenure::kv::{Header, Request, Response};

use super::{Service, convert, unimplemented};

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

/// A member of the cluster, as the list of members has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

impl Service {
    async fn member_status(&self) -> Result<(Header, String, u64), tonic::Status> {
        let answer = self.ask(Request::Status, |response| match response {
            Response::Status { header, version, leader } => Some((header, version, leader)),
            _ => None,
        });
        answer.await
    }
}

#[tonic::async_trait]
impl PbMaintenanceService for Service {
    async fn status(&self, _: tonic::Request<PbStatusRequest>) -> Answer<PbStatusResponse> {
        let (header, version, leader) = self.member_status().await?;
        Ok(tonic::Response::new(PbStatusResponse {
            header: convert::header(header),
            version,
            leader,
            raft_term: header.raft_term,
            ..PbStatusResponse::default()
        }))
    }

    async fn alarm(&self, request: tonic::Request<PbAlarmRequest>) -> Answer<PbAlarmResponse> {
        const GET: i32 = 0;
        if request.into_inner().action != GET {
            return Err(unimplemented("raising and clearing alarms"));
        }
        let (header, ..) = self.member_status().await?;
        Ok(tonic::Response::new(PbAlarmResponse { header: convert::header(header), alarms: Vec::new() }))
    }

    async fn defragment(&self, _: tonic::Request<PbDefragmentRequest>) -> Answer<PbDefragmentResponse> {
        Err(unimplemented("Defragment"))
    }

    async fn hash(&self, _: tonic::Request<PbHashRequest>) -> Answer<PbHashResponse> {
        Err(unimplemented("Hash"))
    }

    async fn hash_kv(&self, _: tonic::Request<PbHashKvRequest>) -> Answer<PbHashKvResponse> {
        Err(unimplemented("HashKV"))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<PbSnapshotResponse, tonic::Status>> + Send>>;

    async fn snapshot(&self, _: tonic::Request<PbSnapshotRequest>) -> Answer<Self::SnapshotStream> {
        Err(unimplemented("Snapshot"))
    }

    async fn move_leader(&self, _: tonic::Request<PbMoveLeaderRequest>) -> Answer<PbMoveLeaderResponse> {
        Err(unimplemented("MoveLeader"))
    }

    async fn downgrade(&self, _: tonic::Request<PbDowngradeRequest>) -> Answer<PbDowngradeResponse> {
        Err(unimplemented("Downgrade"))
    }
}

#[tonic::async_trait]
impl PbClusterService for Service {
    async fn member_add(&self, _: tonic::Request<PbMemberAddRequest>) -> Answer<PbMemberAddResponse> {
        Err(unimplemented("MemberAdd"))
    }

    async fn member_remove(
        &self,
        _: tonic::Request<PbMemberRemoveRequest>,
    ) -> Answer<PbMemberRemoveResponse> {
        Err(unimplemented("MemberRemove"))
    }

    async fn member_update(
        &self,
        _: tonic::Request<PbMemberUpdateRequest>,
    ) -> Answer<PbMemberUpdateResponse> {
        Err(unimplemented("MemberUpdate"))
    }

    async fn member_list(&self, _: tonic::Request<PbMemberListRequest>) -> Answer<PbMemberListResponse> {
        let (header, ..) = self.member_status().await?;
        let member = |member: &Member| PbMember {
            id: member.id,
            name: member.name.clone(),
            client_ur_ls: member.client_urls.clone(),
            ..PbMember::default()
        };
        Ok(tonic::Response::new(PbMemberListResponse {
            header: convert::header(header),
            members: self.members.iter().map(member).collect(),
        }))
    }

    async fn member_promote(
        &self,
        _: tonic::Request<PbMemberPromoteRequest>,
    ) -> Answer<PbMemberPromoteResponse> {
        Err(unimplemented("MemberPromote"))
    }
}
