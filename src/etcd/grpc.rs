//! The [`Wire`] over gRPC: one lazily made HTTP/2 connection to one endpoint, by [`etcd_client`].
//!
//! That crate is given one endpoint at a time, since over several it neither fails over nor says which one answered.
//! A user's token is got with the first request, and anew when etcd no longer takes it.

use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Poll};

use etcd_client::{Channel, Client, ConnectOptions};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt;
use tokio::sync::Mutex;

use super::convert;
use crate::backend::Code;
use crate::kv::{Header, LeaseGrant, Request, Response, WatchRequest, WatchResponse};
use crate::wire::{Status, Wire, WireWatch};

/// The connection to one endpoint.
pub(super) struct GrpcWire {
    link: Arc<Link>,
}

struct Link {
    endpoint: String,
    channel: Channel,
    user: Option<(String, String)>,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    /// Counts the tokens, so that of many calls that find one stale only the first has it thrown away.
    generation: u64,
    /// The services with their token, while it is good.
    services: Option<Arc<Services>>,
}

/// etcd's services on one connection with one token. Each is cloned for a call, and only the one that the call needs: a
/// clone costs microseconds.
struct Services {
    generation: u64,
    kv: etcd_client::KvClient,
    lease: etcd_client::LeaseClient,
    watch: etcd_client::WatchClient,
    maintenance: etcd_client::MaintenanceClient,
}

impl GrpcWire {
    /// The wire over `channel`, which connects by itself; `endpoint` is its name in messages.
    pub(super) fn new(endpoint: String, channel: Channel, user: Option<(String, String)>) -> Self {
        Self { link: Arc::new(Link { endpoint, channel, user, slot: Mutex::default() }) }
    }
}

impl Wire for GrpcWire {
    fn endpoint(&self) -> String {
        self.link.endpoint.clone()
    }

    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            let services = link.services().await?;
            if link.user.is_none() {
                return send(&services, request).await;
            }
            match send(&services, request.clone()).await {
                Err(status) if is_stale_token(&status) => {
                    link.forget(services.generation).await;
                    send(&*link.services().await?, request).await
                }
                answer => answer,
            }
        })
    }

    fn watch(&self, request: WatchRequest) -> Box<dyn WireWatch> {
        let opening = open(Arc::clone(&self.link), request.clone());
        let again = self.link.user.is_some().then(|| (Arc::clone(&self.link), request));
        Box::new(GrpcWatch { state: State::Opening(opening), again, progress_wanted: false })
    }
}

impl Link {
    /// The services; with a user set, those of the user, which may take a request of its own.
    async fn services(&self) -> Result<Arc<Services>, Status> {
        let mut slot = self.slot.lock().await;
        if let Some(services) = &slot.services {
            return Ok(Arc::clone(services));
        }
        let client = self.make().await?;
        slot.generation += 1;
        let services = Arc::new(Services {
            generation: slot.generation,
            // etcd bounds what is written; a read, or a watch, may tell of much at once.
            kv: client.kv_client().max_decoding_message_size(usize::MAX),
            lease: client.lease_client(),
            watch: client.watch_client().max_decoding_message_size(usize::MAX),
            maintenance: client.maintenance_client(),
        });
        Ok(Arc::clone(slot.services.insert(services)))
    }

    async fn make(&self) -> Result<Client, Status> {
        let channel = || self.channel.clone();
        let options = ConnectOptions::new().with_require_leader(true);
        let with_user = match &self.user {
            Some((name, password)) => options.clone().with_user(name, password),
            None => options.clone(),
        };
        match Client::from_channel(channel(), Some(with_user)).await {
            // As etcd's own client does: the user counts once authentication is switched on.
            Err(error) if error.to_string().contains("authentication is not enabled") => {
                Client::from_channel(channel(), Some(options)).await.map_err(not_authenticated)
            }
            made => made.map_err(not_authenticated),
        }
    }

    /// The token of this generation is no longer taken.
    async fn forget(&self, generation: u64) {
        let mut slot = self.slot.lock().await;
        if slot.generation == generation {
            slot.services = None;
        }
    }
}

/// An error before the request itself was sent. It is certain that it was not, but a refused user is no failed
/// connection, so that one passes for sent.
fn not_authenticated(error: etcd_client::Error) -> Status {
    let status = status(error);
    let refused =
        matches!(status.code, Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated);
    Status { sent: refused, ..status }
}

fn is_stale_token(status: &Status) -> bool {
    status.code == Code::Unauthenticated || says_stale_token(&status.message)
}

/// etcd's words for a token that has expired, was made before a change of users and roles, or is missing.
fn says_stale_token(message: &str) -> bool {
    ["invalid auth token", "revision of auth store is old", "user name is empty"]
        .iter()
        .any(|words| message.contains(words))
}

async fn send(services: &Services, request: Request) -> Result<Response, Status> {
    let Services { kv, lease, maintenance, .. } = services;
    let answer = match request {
        Request::Range(range) => {
            let (key, options) = convert::get_options(range);
            kv.clone()
                .get(key, Some(options))
                .await
                .map(|answer| Response::Range(convert::range_response(answer.0)))
        }
        Request::Put(put) => {
            let (key, value, options) = convert::put_options(put);
            let answer = kv.clone().put(key, value, Some(options)).await;
            answer.map(|answer| Response::Put(convert::put_response(answer.0)))
        }
        Request::Delete(delete) => {
            let (key, options) = convert::delete_options(delete);
            let answer = kv.clone().delete(key, Some(options)).await;
            answer.map(|answer| Response::Delete(convert::delete_response(answer.0)))
        }
        Request::Txn(txn) => {
            let answer = kv.clone().txn(convert::txn(txn)).await;
            answer.map(|answer| Response::Txn(convert::txn_response(answer.0)))
        }
        Request::Compact { revision, physical } => {
            let options = etcd_client::CompactionOptions::new();
            let options = if physical { options.with_physical() } else { options };
            let answer = kv.clone().compact(revision, Some(options)).await;
            answer.map(|answer| Response::Compact { header: convert::header(answer.0.header) })
        }
        Request::LeaseGrant { id, ttl_s } => {
            let options = etcd_client::LeaseGrantOptions::new().with_id(id);
            lease.clone().grant(ttl_s, Some(options)).await.map(|answer| Response::LeaseGrant {
                grant: LeaseGrant { id: answer.0.id, ttl_s: answer.0.ttl },
                header: convert::header(answer.0.header),
            })
        }
        Request::LeaseRevoke { id } => {
            let answer = lease.clone().revoke(id).await;
            answer.map(|answer| Response::LeaseRevoke { header: convert::header(answer.0.header) })
        }
        Request::LeaseKeepAlive { id } => return keep_alive(lease.clone(), id).await,
        Request::LeaseTimeToLive { id, keys } => {
            let options = etcd_client::LeaseTimeToLiveOptions::new();
            let options = if keys { options.with_keys() } else { options };
            lease.clone().time_to_live(id, Some(options)).await.map(|answer| Response::LeaseTimeToLive {
                header: convert::header(answer.0.header),
                ttl_s: answer.0.ttl,
                granted_ttl_s: answer.0.granted_ttl,
                keys: answer.0.keys,
            })
        }
        Request::LeaseLeases => lease.clone().leases().await.map(|answer| Response::LeaseLeases {
            header: convert::header(answer.0.header),
            ids: answer.0.leases.into_iter().map(|lease| lease.id).collect(),
        }),
        Request::Status => maintenance.clone().status().await.map(|answer| Response::Status {
            header: convert::header(answer.0.header),
            version: answer.0.version,
            leader: answer.0.leader,
        }),
    };
    answer.map_err(status)
}

/// One renewal, on a stream of its own. `etcd_client` sends a first one as it opens the stream and keeps that answer's time
/// to live to itself, so the renewal that is told is the second; a round trip more, three times in a lease's life.
async fn keep_alive(mut lease: etcd_client::LeaseClient, id: i64) -> Result<Response, Status> {
    let gone = || Response::LeaseKeepAlive { header: Header::default(), ttl_s: 0 };
    let (mut keeper, mut answers) = match lease.keep_alive(id).await {
        Ok(stream) => stream,
        // Its words for an answer with time to live 0.
        Err(etcd_client::Error::LeaseKeepAliveError(words)) if words == "lease not found" => {
            return Ok(gone());
        }
        Err(error) => return Err(status(error)),
    };
    keeper.keep_alive().await.map_err(status)?;
    match answers.message().await.map_err(status)? {
        Some(answer) => Ok(Response::LeaseKeepAlive {
            header: convert::header(answer.0.header),
            ttl_s: answer.0.ttl.max(0),
        }),
        None => Err(Status {
            code: Code::Unavailable,
            message: "the keep-alive stream ended".to_owned(),
            sent: true,
        }),
    }
}

type Opened = (u64, etcd_client::WatchStream);

fn open(link: Arc<Link>, request: WatchRequest) -> BoxFuture<'static, Result<Opened, Status>> {
    Box::pin(async move {
        let services = link.services().await?;
        let (key, options) = convert::watch_options(request);
        let stream = services.watch.clone().watch(key, Some(options)).await.map_err(status)?;
        Ok((services.generation, stream))
    })
}

struct GrpcWatch {
    state: State,
    /// What to open it again with, if the user's token turns out stale; until the first message has come.
    again: Option<(Arc<Link>, WatchRequest)>,
    progress_wanted: bool,
}

enum State {
    Opening(BoxFuture<'static, Result<Opened, Status>>),
    Open { generation: u64, stream: Box<etcd_client::WatchStream> },
    Ended,
}

impl GrpcWatch {
    /// Opens the watch once more with a new token, if that may help.
    fn reopen(&mut self, generation: u64) -> bool {
        let Some((link, request)) = self.again.take() else { return false };
        self.state = State::Opening(Box::pin(async move {
            link.forget(generation).await;
            open(link, request).await
        }));
        true
    }

    fn ask(&mut self) {
        if let State::Open { stream, .. } = &mut self.state {
            // The queue to the connection has room for a hundred; one that is full is of a dead connection.
            let sent = stream.request_progress().now_or_never();
            self.progress_wanted = false;
            if !matches!(sent, Some(Ok(()))) {
                self.state = State::Ended;
            }
        }
    }
}

impl WireWatch for GrpcWatch {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchResponse, Status>>> {
        loop {
            match &mut self.state {
                State::Opening(opening) => match opening.poll_unpin(cx) {
                    Poll::Ready(Ok((generation, stream))) => {
                        self.state = State::Open { generation, stream: Box::new(stream) };
                        if self.progress_wanted {
                            self.ask();
                        }
                    }
                    Poll::Ready(Err(status)) => {
                        self.state = State::Ended;
                        return Poll::Ready(Some(Err(status)));
                    }
                    Poll::Pending => return Poll::Pending,
                },
                State::Open { generation, stream } => {
                    let generation = *generation;
                    let Poll::Ready(message) = stream.poll_next_unpin(cx) else { return Poll::Pending };
                    let message = message.map(|m| m.map(|m| convert::watch_response(m.0)).map_err(status));
                    let denied = match &message {
                        Some(Ok(message)) => {
                            message.canceled
                                && (says_stale_token(&message.cancel_reason)
                                    // All that etcd 3.4 says of a stale token.
                                    || message.cancel_reason.contains("permission denied"))
                        }
                        Some(Err(status)) => is_stale_token(status),
                        None => false,
                    };
                    if denied && self.reopen(generation) {
                        continue;
                    }
                    self.again = None;
                    if !matches!(message, Some(Ok(_))) {
                        self.state = State::Ended;
                    }
                    return Poll::Ready(message);
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    fn request_progress(&mut self) {
        self.progress_wanted = true;
        self.ask();
    }
}

fn status(error: etcd_client::Error) -> Status {
    match error {
        etcd_client::Error::GRpcStatus(status) => Status {
            code: code(status.code()),
            message: status.message().to_owned(),
            sent: !never_sent(&status),
        },
        etcd_client::Error::InvalidArgs(message) => {
            Status { code: Code::InvalidArgument, message, sent: true }
        }
        error => Status { code: Code::Unknown, message: error.to_string(), sent: true },
    }
}

/// Whether the connection could not be made, so that nothing was sent on it.
fn never_sent(status: &tonic::Status) -> bool {
    if status.message().starts_with("Service was not ready") {
        return true;
    }
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn code(code: tonic::Code) -> Code {
    match code {
        tonic::Code::Ok => Code::Ok,
        tonic::Code::Cancelled => Code::Cancelled,
        tonic::Code::Unknown => Code::Unknown,
        tonic::Code::InvalidArgument => Code::InvalidArgument,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::AlreadyExists => Code::AlreadyExists,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::ResourceExhausted => Code::ResourceExhausted,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::Aborted => Code::Aborted,
        tonic::Code::OutOfRange => Code::OutOfRange,
        tonic::Code::Unimplemented => Code::Unimplemented,
        tonic::Code::Internal => Code::Internal,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::DataLoss => Code::DataLoss,
        tonic::Code::Unauthenticated => Code::Unauthenticated,
    }
}
