//! The two services as tonic takes them: what its generator would write.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService};
use tonic_prost::ProstCodec;

use super::recipes::{Recipes, Result};

type HttpRequest = http::Request<Body>;
type HttpResponse = http::Response<Body>;

/// One of the two, before the recipes.
pub(in super::super) struct Server<M> {
    recipes: Recipes,
    methods: PhantomData<fn() -> M>,
}

/// `v3lockpb.Lock`
pub(in super::super) type LockServer = Server<Lock>;

/// `v3electionpb.Election`
pub(in super::super) type ElectionServer = Server<Election>;

/// The methods of `v3lockpb.Lock`.
pub(in super::super) enum Lock {}

/// The methods of `v3electionpb.Election`.
pub(in super::super) enum Election {}

/// A service's methods, by their paths.
pub(in super::super) trait Methods: 'static {
    const NAME: &'static str;

    fn answer(recipes: Recipes, request: HttpRequest) -> BoxFuture<'static, HttpResponse>;
}

impl Methods for Lock {
    const NAME: &'static str = "v3lockpb.Lock";

    fn answer(recipes: Recipes, request: HttpRequest) -> BoxFuture<'static, HttpResponse> {
        Box::pin(async move {
            let recipes = || recipes.clone();
            match request.uri().path() {
                "/v3lockpb.Lock/Lock" => unary(request, |message| recipes().lock(message)).await,
                "/v3lockpb.Lock/Unlock" => unary(request, |message| recipes().unlock(message)).await,
                _ => no_such_method(),
            }
        })
    }
}

impl Methods for Election {
    const NAME: &'static str = "v3electionpb.Election";

    fn answer(recipes: Recipes, request: HttpRequest) -> BoxFuture<'static, HttpResponse> {
        Box::pin(async move {
            let recipes = || recipes.clone();
            match request.uri().path() {
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
            }
        })
    }
}

impl<M> Server<M> {
    pub(in super::super) fn new(recipes: Recipes) -> Self {
        Self { recipes, methods: PhantomData }
    }
}

impl<M> Clone for Server<M> {
    fn clone(&self) -> Self {
        Self::new(self.recipes.clone())
    }
}

impl<M: Methods> NamedService for Server<M> {
    const NAME: &'static str = M::NAME;
}

impl<M: Methods> tower::Service<HttpRequest> for Server<M> {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, std::result::Result<HttpResponse, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        M::answer(self.recipes.clone(), request).map(Ok).boxed()
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
