//! For tests: a clock that jumps from timer to timer, and wires that follow a script.

use std::collections::{BTreeMap, VecDeque};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Etcd, EtcdOptions};
use crate::backend::Runtime;
use crate::kv::{Request, Response, WatchRequest, WatchResponse};
use crate::wire::{Status, Wire, WireWatch};
use crate::{Code, Instant};

/// A clock that stands still until everything waits, and then jumps to the first timer.
#[derive(Default)]
pub(super) struct Clock {
    now_ns: Mutex<u64>,
    timers: Mutex<BTreeMap<u64, Vec<Waker>>>,
}

impl Clock {
    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        struct Flag(AtomicBool);
        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut future = pin!(future);
        loop {
            if flag.0.swap(false, Ordering::SeqCst) {
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return value;
                }
            } else {
                let first = self.timers.lock().expect("timers").pop_first();
                let (at_ns, wakers) = first.expect("everything waits and no timer is set");
                let mut now_ns = self.now_ns.lock().expect("now");
                *now_ns = at_ns.max(*now_ns);
                drop(now_ns);
                wakers.into_iter().for_each(Waker::wake);
            }
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        *self.now_ns.lock().expect("now") / 1_000_000
    }
}

struct Timer {
    clock: Arc<Clock>,
    deadline: Instant,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut timers = self.clock.timers.lock().expect("timers");
        timers.entry(self.deadline.as_nanos()).or_default().push(cx.waker().clone());
        Poll::Pending
    }
}

impl Runtime for Arc<Clock> {
    fn now(&self) -> Instant {
        self.as_ref().now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(Timer { clock: Arc::clone(self), deadline })
    }

    fn spawn(&self, _: BoxFuture<'static, ()>) {
        unreachable!("the backend starts no tasks");
    }
}

impl Clock {
    fn now(&self) -> Instant {
        Instant::from_nanos(*self.now_ns.lock().expect("now"))
    }
}

/// How a member answers a call.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Reply(Response),
    Fail(Status),
    /// Never.
    Hang,
}

/// What a raw watch does next.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Message(WatchResponse),
    /// Nothing for so many milliseconds.
    Wait(u64),
    /// It stands still: nothing more, whatever is asked.
    Silence,
    /// Nothing more happens; asked for its progress it says this revision.
    Idle {
        progress: i64,
    },
    /// The stream ends.
    End(Option<Status>),
}

/// One member: what it will answer, and what it was asked, when.
pub(super) struct Member {
    name: String,
    clock: Arc<Clock>,
    /// Answers in order; the last one stays.
    answers: Mutex<VecDeque<Answer>>,
    /// What each opened watch tells, in order; the last one stays.
    watches: Mutex<VecDeque<Vec<Told>>>,
    asked: Mutex<Vec<(u64, Request)>>,
    opened: Mutex<Vec<(u64, WatchRequest)>>,
}

impl Member {
    pub(super) fn new(clock: &Arc<Clock>, name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            clock: Arc::clone(clock),
            answers: Mutex::default(),
            watches: Mutex::default(),
            asked: Mutex::default(),
            opened: Mutex::default(),
        })
    }

    pub(super) fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.answers.lock().expect("answers") = answers.into_iter().collect();
    }

    pub(super) fn watches(&self, watches: impl IntoIterator<Item = Vec<Told>>) {
        *self.watches.lock().expect("watches") = watches.into_iter().collect();
    }

    /// When it was asked, in milliseconds.
    pub(super) fn asked_ms(&self) -> Vec<u64> {
        self.asked.lock().expect("asked").iter().map(|(at, _)| *at).collect()
    }

    /// The requests that it got.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.asked.lock().expect("asked").iter().map(|(_, request)| request.clone()).collect()
    }

    /// When a watch was opened on it, in milliseconds, and the start that was asked for.
    pub(super) fn opened(&self) -> Vec<(u64, i64)> {
        let opened = self.opened.lock().expect("opened");
        opened.iter().map(|(at, request)| (*at, request.start_revision)).collect()
    }

    /// The keys that were watched.
    pub(super) fn watched(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let opened = self.opened.lock().expect("opened");
        opened.iter().map(|(_, request)| (request.key.clone(), request.range_end.clone())).collect()
    }
}

fn next<T: Clone>(script: &Mutex<VecDeque<T>>) -> Option<T> {
    let mut script = script.lock().expect("script");
    if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
}

struct MemberWire(Arc<Member>);

impl Wire for MemberWire {
    fn endpoint(&self) -> String {
        self.0.name.clone()
    }

    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        self.0.asked.lock().expect("asked").push((self.0.clock.now_ms(), request));
        match next(&self.0.answers).unwrap_or(Answer::Hang) {
            Answer::Reply(response) => Box::pin(async { Ok(response) }),
            Answer::Fail(status) => Box::pin(async { Err(status) }),
            Answer::Hang => Box::pin(std::future::pending()),
        }
    }

    fn watch(&self, request: WatchRequest) -> Box<dyn WireWatch> {
        self.0.opened.lock().expect("opened").push((self.0.clock.now_ms(), request));
        let script = next(&self.0.watches).unwrap_or_default().into();
        Box::new(MemberWatch { clock: Arc::clone(&self.0.clock), script, waits: None, asked: false })
    }
}

struct MemberWatch {
    clock: Arc<Clock>,
    script: VecDeque<Told>,
    waits: Option<BoxFuture<'static, ()>>,
    asked: bool,
}

impl WireWatch for MemberWatch {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchResponse, Status>>> {
        loop {
            if let Some(waits) = &mut self.waits {
                std::task::ready!(waits.as_mut().poll(cx));
                self.waits = None;
            }
            match self.script.front() {
                Some(Told::Idle { progress }) => {
                    let progress = *progress;
                    return if std::mem::take(&mut self.asked) {
                        Poll::Ready(Some(Ok(at(progress))))
                    } else {
                        Poll::Pending
                    };
                }
                None | Some(Told::Silence) => return Poll::Pending,
                Some(_) => {}
            }
            match self.script.pop_front() {
                Some(Told::Message(message)) => return Poll::Ready(Some(Ok(message))),
                Some(Told::End(status)) => return Poll::Ready(status.map(Err)),
                Some(Told::Wait(ms)) => {
                    let deadline = self.clock.now() + Duration::from_millis(ms);
                    self.waits = Some(self.clock.sleep_until(deadline));
                }
                _ => {}
            }
        }
    }

    fn request_progress(&mut self) {
        self.asked = true;
    }
}

/// The backend over `members`.
pub(super) fn etcd(clock: &Arc<Clock>, members: &[Arc<Member>], options: EtcdOptions) -> Etcd {
    let wires = members.iter().map(|member| Arc::new(MemberWire(Arc::clone(member))) as Arc<dyn Wire>);
    Etcd::over(wires.collect(), Arc::new(Arc::clone(clock)), options)
}

/// A message that says only a revision.
pub(super) fn at(revision: i64) -> WatchResponse {
    let header = crate::kv::Header { revision, ..Default::default() };
    WatchResponse { header, ..Default::default() }
}

/// The connection was refused.
pub(super) fn refused() -> Answer {
    Answer::Fail(Status { code: Code::Unavailable, message: "connection refused".to_owned(), sent: false })
}

/// etcd's answer of an error.
pub(super) fn says(code: Code, message: &str) -> Status {
    Status { code, message: message.to_owned(), sent: true }
}
