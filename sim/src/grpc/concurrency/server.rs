//! The two services as tonic takes them: what its generator would write.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService};
use tonic_prost::ProstCodec;

use super::recipes::{Recipes, Result};

type HttpRequest = http::Request<Body>;
type HttpResponse = http::Response<Body>;

/// `v3lockpb.Lock`
#[derive(Clone)]
pub(in super::super) struct LockServer {
    recipes: Recipes,
}

/// `v3electionpb.Election`
#[derive(Clone)]
pub(in super::super) struct ElectionServer {
    recipes: Recipes,
}

impl LockServer {
    pub(in super::super) fn new(recipes: Recipes) -> Self {
        Self { recipes }
    }
}

impl ElectionServer {
    pub(in super::super) fn new(recipes: Recipes) -> Self {
        Self { recipes }
    }
}

impl NamedService for LockServer {
    const NAME: &'static str = "v3lockpb.Lock";
}

impl NamedService for ElectionServer {
    const NAME: &'static str = "v3electionpb.Election";
}

impl tower::Service<HttpRequest> for LockServer {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, std::result::Result<HttpResponse, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let recipes = self.recipes.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/v3lockpb.Lock/Lock" => unary(request, |message| recipes.clone().lock(message)).await,
                "/v3lockpb.Lock/Unlock" => unary(request, |message| recipes.clone().unlock(message)).await,
                _ => no_such_method(),
            })
        })
    }
}

impl tower::Service<HttpRequest> for ElectionServer {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, std::result::Result<HttpResponse, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let recipes = self.recipes.clone();
        Box::pin(async move {
            let recipes = || recipes.clone();
            Ok(match request.uri().path() {
                "/v3electionpb.Election/Campaign" => {
                    unary(request, |message| recipes().campaign(message)).await
                }
                "/v3electionpb.Election/Proclaim" => {
                    unary(request, |message| recipes().proclaim(message)).await
                }
                "/v3electionpb.Election/Leader" => unary(request, |message| recipes().leader(message)).await,
                "/v3electionpb.Election/Resign" => unary(request, |message| recipes().resign(message)).await,
                "/v3electionpb.Election/Observe" => {
                    streaming(request, |message| recipes().observe(message)).await
                }
                _ => no_such_method(),
            })
        })
    }
}

/// Takes one message and gives one.
async fn unary<I, O, F>(request: HttpRequest, answer: impl Fn(I) -> F) -> HttpResponse
where
    I: Message + Default + 'static,
    O: Message + Default + 'static,
    F: Future<Output = Result<O>> + Send,
{
    let service = tower::service_fn(|request: tonic::Request<I>| {
        let answer = answer(request.into_inner());
        async { answer.await.map(tonic::Response::new) }
    });
    Grpc::new(ProstCodec::<O, I>::default()).unary(service, request).await
}

/// Takes one message and gives many.
async fn streaming<I, O, S>(request: HttpRequest, answer: impl Fn(I) -> S) -> HttpResponse
where
    I: Message + Default + 'static,
    O: Message + Default + 'static,
    S: Stream<Item = Result<O>> + Send + 'static,
{
    let service = tower::service_fn(|request: tonic::Request<I>| {
        let answers = answer(request.into_inner()).boxed();
        std::future::ready(Ok::<_, tonic::Status>(tonic::Response::new(answers)))
    });
    Grpc::new(ProstCodec::<O, I>::default()).server_streaming(service, request).await
}

fn no_such_method() -> HttpResponse {
    tonic::Status::unimplemented("").into_http()
}
