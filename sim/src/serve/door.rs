//! A member's address: it listens while the member's process is there, refuses while it is not, and takes connections that nobody
//! reads while it stands still.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, join, select, select_all};
use futures_util::{FutureExt, pin_mut};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tenure::kv::{Request, Response, WatchRequest};
use tenure::wire::{Status, Wire, WireWatch};
use tenure::{Runtime, TokioRuntime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::http;
use super::network::Lane;
use super::place::Place;
use crate::cluster::{ANSWER_LOST, Door, Doors};
use crate::grpc::{Front, Timed, routes_of};
use crate::streams::Streams;

/// What serves one member's clients.
pub(super) struct Entrance {
    pub(super) place: Place,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) fragment_bytes: usize,
    pub(super) timed: Timed,
    pub(super) runtime: TokioRuntime,
    pub(super) streams: Streams,
    pub(super) clients: usize,
    pub(super) doors: watch::Receiver<Doors>,
}

/// What a connection's bytes wait in between the link and the server.
const BUFFER_BYTES: usize = 64 * 1024;

impl Entrance {
    /// Serves until the world ends. `listeners` listen already, if the member is up at the beginning.
    pub(super) async fn serve(mut self, mut listeners: Vec<TcpListener>) {
        let mut taken = 0_usize;
        loop {
            let member = self.place.member;
            let opens = self.doors.wait_for(|doors| doors.members[member].0 != Door::Refuses).await;
            let Ok(boot) = opens.map(|doors| doors.members[member].1) else { return };
            if listeners.is_empty() {
                listeners = self.listen().await;
            }
            self.serve_start(&listeners, boot, &mut taken).await;
            listeners.clear();
        }
    }

    /// Listens again where the member listened before.
    async fn listen(&self) -> Vec<TcpListener> {
        let mut listeners = Vec::new();
        for address in &self.addresses {
            loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => break listeners.push(listener),
                    // Another process has the port: perhaps not for long.
                    Err(_) => self.runtime.sleep_until(self.runtime.now() + Duration::from_millis(20)).await,
                }
            }
        }
        listeners
    }

    /// Serves one start of the member's process: its connections end with it.
    async fn serve_start(&mut self, listeners: &[TcpListener], boot: u32, taken: &mut usize) {
        let member = self.place.member;
        let mut connections = JoinSet::new();
        let mut doors = self.doors.clone();
        loop {
            let (door, now) = doors.borrow_and_update().members[member];
            if door == Door::Refuses || now != boot {
                return;
            }
            let accepted: BoxFuture<'_, _> = if door == Door::Open {
                let each = listeners.iter().map(|listener| listener.accept().boxed());
                select_all(each).map(|(accepted, ..)| accepted).boxed()
            } else {
                std::future::pending().boxed()
            };
            let changed = doors.changed();
            pin_mut!(changed);
            match select(changed, accepted).await {
                Either::Left((Ok(()), _)) => {}
                Either::Left((Err(_), _)) => return,
                Either::Right((Ok((stream, _)), _)) => {
                    connections.spawn(self.connection(stream, *taken));
                    *taken += 1;
                }
                // A client that was gone before it was taken.
                Either::Right((Err(_), _)) => {}
            }
            while connections.try_join_next().is_some() {}
        }
    }

    /// One connection, from the client's socket to the member's services.
    fn connection(&self, stream: TcpStream, number: usize) -> impl Future<Output = ()> + Send + use<> {
        let client = number % self.clients.max(1);
        let lane = |inward: bool| Lane {
            doors: self.doors.clone(),
            member: self.place.member,
            client,
            inward,
            clock: self.place.clock.clone(),
            runtime: Arc::new(self.runtime.clone()),
            rng: self.streams.stream(&format!("socket-{}-{number}-{inward}", self.place.member)),
        };
        let (inward, outward) = (lane(true), lane(false));
        let broken = Arc::new(Notify::new());
        let inner = self.place.world.outside_wire(client, self.place.member);
        let wire = Arc::new(SocketWire { inner, broken: Arc::clone(&broken) });
        let front = Front {
            wire,
            operations: Arc::new(self.place.clone()),
            fragment_bytes: self.fragment_bytes,
            timed: Some(self.timed.clone()),
        };
        let router = routes_of(front).into_axum_router().merge(http::routes(self.place.clone()));
        let tls = self.tls.clone();
        async move {
            // Without it, small answers wait for the next; that it fails does not matter.
            let _ = stream.set_nodelay(true);
            let (near, far) = tokio::io::duplex(BUFFER_BYTES);
            let (read, write) = stream.into_split();
            let (from_server, to_server) = tokio::io::split(near);
            let lanes = join(inward.carry(read, to_server), outward.carry(from_server, write));
            let serving = async {
                match tls {
                    None => serve_http(far, router).await,
                    Some(tls) => {
                        // A client without a certificate that is taken ends here.
                        if let Ok(stream) = tls.accept(far).await {
                            serve_http(stream, router).await;
                        }
                    }
                }
            };
            let whole = join(lanes, serving);
            let broken = broken.notified();
            pin_mut!(whole, broken);
            select(whole, broken).await;
        }
    }
}

/// HTTP/2 with etcd's gRPC, or HTTP/1 with what etcd serves beside it.
pub(super) async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: axum::Router,
) {
    let mut server = Builder::new(TokioExecutor::new());
    // etcd sets no limit; what flows is limited by the windows, which are gRPC's for large messages.
    server.http2().max_concurrent_streams(u32::MAX).adaptive_window(true);
    // How a connection ends is its client's business.
    let _ = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
}

/// A client's connection to a member: where the member's answer is lost, the connection breaks.
struct SocketWire {
    inner: Arc<dyn Wire>,
    broken: Arc<Notify>,
}

impl Wire for SocketWire {
    fn endpoint(&self) -> String {
        self.inner.endpoint()
    }

    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        let (call, broken) = (self.inner.call(request), Arc::clone(&self.broken));
        Box::pin(async move {
            let outcome = call.await;
            if outcome.as_ref().is_err_and(|status| status.message == ANSWER_LOST) {
                broken.notify_one();
                std::future::pending::<()>().await;
            }
            outcome
        })
    }

    fn watch(&self, request: WatchRequest) -> Box<dyn WireWatch> {
        self.inner.watch(request)
    }
}
