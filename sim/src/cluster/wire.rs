//! `Wire` over simulated links: what a client process sees of one member.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tenure::Code;
use tenure::kv::{Request, Response, WatchRequest, WatchResponse};
use tenure::wire::{Status, Wire, WireWatch};

use super::world::World;

/// What comes of one call.
pub(crate) type Outcome = Result<Arc<Response>, Status>;

/// The connection of one client process (one life of it) to one member.
pub(crate) struct SimWire {
    pub(crate) world: World,
    pub(crate) client: usize,
    pub(crate) life: u32,
    pub(crate) member: usize,
}

impl Wire for SimWire {
    fn endpoint(&self) -> String {
        format!("sim://m{}", self.member)
    }

    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        Box::pin(SimCall {
            world: self.world.clone(),
            client: self.client,
            life: self.life,
            member: self.member,
            state: CallState::Unsent(Some(request)),
        })
    }

    fn watch(&self, request: WatchRequest) -> Box<dyn WireWatch> {
        let watch = self.world.with(|core| core.open_watch(self.client, self.life, self.member, request));
        Box::new(SimWatch { world: self.world.clone(), watch, ended: false })
    }
}

/// One call; it is sent when it is first polled.
struct SimCall {
    world: World,
    client: usize,
    life: u32,
    member: usize,
    state: CallState,
}

enum CallState {
    Unsent(Option<Request>),
    Waiting(u64),
    /// Answered, or sent by a process that is dead: nothing will come.
    Over,
}

impl Future for SimCall {
    type Output = Result<Response, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let (client, life, member) = (this.client, this.life, this.member);
        if let CallState::Unsent(request) = &mut this.state {
            let sent = request
                .take()
                .and_then(|request| this.world.with(|core| core.send_request(client, life, member, request)));
            this.state = sent.map_or(CallState::Over, CallState::Waiting);
        }
        let CallState::Waiting(call) = this.state else { return Poll::Pending };
        match this.world.with(|core| core.poll_call(call, cx.waker())) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(outcome) => {
                this.state = CallState::Over;
                Poll::Ready(outcome.map(Arc::unwrap_or_clone))
            }
        }
    }
}

impl Drop for SimCall {
    fn drop(&mut self) {
        if let CallState::Waiting(call) = self.state {
            self.world.with(|core| core.give_up_call(call));
        }
    }
}

/// One raw watch. `watch` is `None` if a dead process opened it: nothing will come.
struct SimWatch {
    world: World,
    watch: Option<u64>,
    ended: bool,
}

impl WireWatch for SimWatch {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchResponse, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(watch) = self.watch else { return Poll::Pending };
        let polled = self.world.with(|core| core.poll_watch(watch, cx.waker()));
        if let Poll::Ready(Err(_)) = &polled {
            self.ended = true;
        }
        polled.map(Some)
    }

    fn request_progress(&mut self) {
        if let Some(watch) = self.watch {
            self.world.with(|core| core.ask_progress(watch));
        }
    }
}

impl Drop for SimWatch {
    fn drop(&mut self) {
        if let Some(watch) = self.watch {
            self.world.with(|core| core.close_watch(watch));
        }
    }
}

/// A status of the transport or of etcd's server, which a client may take as a reason to try elsewhere.
pub(crate) fn unavailable(message: &str, sent: bool) -> Status {
    Status { code: Code::Unavailable, message: message.to_owned(), sent }
}

/// `ErrGRPCNoLeader`
pub(crate) fn no_leader() -> Status {
    unavailable("etcdserver: no leader", true)
}

/// `ErrGRPCNotSupportedForLearner`
pub(crate) fn not_for_learners() -> Status {
    unavailable("etcdserver: rpc not supported for learner", true)
}

/// `ErrGRPCInvalidAuthToken`
pub(crate) fn invalid_token() -> Status {
    Status { code: Code::Unauthenticated, message: INVALID_TOKEN.to_owned(), sent: true }
}

/// The words of [`invalid_token`]; a watch is cancelled with them too (`isWatchPermitted` in `api/v3rpc/watch.go`).
pub(crate) const INVALID_TOKEN: &str = "etcdserver: invalid auth token";

/// raft's `ErrProposalDropped`, which etcd has no code of its own for.
pub(crate) fn proposal_dropped() -> Status {
    Status { code: Code::Unknown, message: "raft proposal dropped".to_owned(), sent: true }
}

/// `ErrGRPCLeaderChanged`
pub(crate) fn leader_changed() -> Status {
    unavailable("etcdserver: leader changed", true)
}

/// `ErrGRPCTimeout`
pub(crate) fn timed_out() -> Status {
    unavailable("etcdserver: request timed out", true)
}
