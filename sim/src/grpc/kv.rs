//! The KV service.

use std::pin::Pin;

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService, PbPutRequest,
    PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse, PbTxnRequest, PbTxnResponse,
};
use futures_util::Stream;
use tenure::kv::{Request, Response};

use super::{Service, convert, unimplemented};

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

#[tonic::async_trait]
impl PbKvService for Service {
    async fn range(&self, request: tonic::Request<PbRangeRequest>) -> Answer<PbRangeResponse> {
        let range = convert::range(request.into_inner())?;
        let response = self.ask(Request::Range(range), |response| match response {
            Response::Range(range) => Some(range),
            _ => None,
        });
        Ok(tonic::Response::new(convert::range_response(response.await?)))
    }

    type RangeStreamStream = Pin<Box<dyn Stream<Item = Result<PbRangeStreamResponse, tonic::Status>> + Send>>;

    async fn range_stream(&self, _: tonic::Request<PbRangeRequest>) -> Answer<Self::RangeStreamStream> {
        Err(unimplemented("RangeStream"))
    }

    async fn put(&self, request: tonic::Request<PbPutRequest>) -> Answer<PbPutResponse> {
        let put = convert::put(request.into_inner());
        let response = self.ask(Request::Put(put), |response| match response {
            Response::Put(put) => Some(put),
            _ => None,
        });
        Ok(tonic::Response::new(convert::put_response(response.await?)))
    }

    async fn delete_range(&self, request: tonic::Request<PbDeleteRequest>) -> Answer<PbDeleteResponse> {
        let delete = convert::delete(request.into_inner());
        let response = self.ask(Request::Delete(delete), |response| match response {
            Response::Delete(delete) => Some(delete),
            _ => None,
        });
        Ok(tonic::Response::new(convert::delete_response(response.await?)))
    }

    async fn txn(&self, request: tonic::Request<PbTxnRequest>) -> Answer<PbTxnResponse> {
        let txn = convert::txn(request.into_inner())?;
        let response = self.ask(Request::Txn(txn), |response| match response {
            Response::Txn(txn) => Some(txn),
            _ => None,
        });
        Ok(tonic::Response::new(convert::txn_response(response.await?)))
    }

    async fn compact(&self, request: tonic::Request<PbCompactionRequest>) -> Answer<PbCompactionResponse> {
        let PbCompactionRequest { revision, physical } = request.into_inner();
        let header = self.ask(Request::Compact { revision, physical }, |response| match response {
            Response::Compact { header } => Some(header),
            _ => None,
        });
        Ok(tonic::Response::new(PbCompactionResponse { header: convert::header(header.await?) }))
    }
}
