//! One live process: the library's own futures on an executor of one thread that does nothing by itself. Each input (an
//! answer, a message of a watch, a timer, ..) is given by the explorer, and what the process does with it until it waits again
//! is handed back as effects.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::Stream;
use tenure::kv::{LeaseGrant, Range, RangeResponse, Request, Response, Txn, TxnResponse, WatchRequest};
use tenure::{Backend, CallError, Instant, Refusal, Runtime, Session, WatchMessage, WatchStream};

use super::automaton::Bytes;
use super::program::{self, Start};
use crate::history::{Holding, What};
use crate::run::words;
use crate::workload::primitive::Belief;

/// A sleep of this length at most may end at any moment; a longer one only when time is let pass.
const SHORT_NS: u64 = 1_000_000_000;

/// What the explorer gives to a process.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// It begins.
    Start(Arc<Start>),
    /// One of its calls is answered.
    Answer { call: u32, result: Arc<Result<Response, CallError>> },
    /// One of its watches tells something.
    Told { watch: u32, message: Arc<Result<WatchMessage, Refusal>> },
    /// The first timer that may go off does.
    Timer,
    /// The first of the long timers goes off: time passes.
    LongTimer,
    /// It goes on from where it holds something.
    Go,
    /// It drops the future that it waits for.
    Cancel,
    /// Its clock is at this reading, if it was not beyond.
    Clock { at_ns: u64 },
}

/// What a process did.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// It sent a request.
    Call { call: u32, request: Arc<Request>, sent_ns: u64 },
    /// It no longer waits for the answer.
    CallDropped { call: u32 },
    /// It asked for a watch.
    Watch { watch: u32, request: Arc<WatchRequest> },
    /// It dropped the watch.
    WatchDropped { watch: u32 },
    /// A step of its program, for the history. Who else believes is not filled in.
    Record(Box<What>),
    /// It panicked.
    Panicked(String),
}

/// What can be seen of a process between inputs.
#[derive(Clone, Debug, Default)]
pub(super) struct Info {
    /// It has come to its end, with all its tasks.
    pub(super) done: bool,
    /// It stands where it goes on only when told to.
    pub(super) waits_to_go: bool,
    /// It waits with a future that it may drop.
    pub(super) may_cancel: bool,
    /// A timer may go off.
    pub(super) timer: bool,
    /// The watches that it waits for. What another tells it takes later, so it need not be told before.
    pub(super) asks: Vec<u32>,
    /// A timer's time has come by its clock.
    pub(super) timer_due: bool,
    /// It has done all that it was to do, and stands there.
    pub(super) idle: bool,
    /// The time of the first of its long timers.
    pub(super) long_timer_ns: Option<u64>,
    /// What it believes it holds, by its own clock.
    pub(super) believes: Vec<Holding>,
}

type Answer = Result<Response, CallError>;

#[derive(Default)]
struct Inner {
    clock_ns: u64,
    next: u32,
    calls: BTreeMap<u32, (Option<Answer>, Option<Waker>)>,
    watches: BTreeMap<u32, Told>,
    timers: BTreeMap<(u64, u32), Timer>,
    spawned: Vec<BoxFuture<'static, ()>>,
    live_tasks: usize,
    next_timer: u32,
    /// The state in which the process settled during the present input, and how much it had done before.
    settled: Option<(u128, usize)>,
    effects: Vec<Effect>,
    /// Which task is being polled, and the how many-th poll that is.
    polled: (usize, u64),
    /// By task, its last poll.
    last_polls: Vec<u64>,
    go: Gate,
    cancel: Gate,
    idle: bool,
    sessions: Vec<Session>,
    beliefs: Vec<(u32, Holding, Belief)>,
}

struct Timer {
    short: bool,
    fired: bool,
    waker: Waker,
    /// When it was last looked at: a task and its poll.
    asked: (usize, u64),
}

/// What a watch was told and its process has not taken yet.
#[derive(Default)]
struct Told {
    messages: VecDeque<Result<WatchMessage, Refusal>>,
    waker: Option<Waker>,
    /// When it was last looked at: a task and its poll.
    asked: (usize, u64),
}

/// Something that the process waits for and only the explorer gives.
#[derive(Default)]
struct Gate {
    waiting: Option<Waker>,
    open: bool,
}

/// What a process's futures share.
#[derive(Clone, Default)]
pub(super) struct Env {
    inner: Arc<Mutex<Inner>>,
}

impl Env {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a step of the program.
    pub(super) fn record(&self, what: What) {
        self.lock().effects.push(Effect::Record(Box::new(what)));
    }

    /// The process believes that it holds this, until the token is dropped.
    pub(super) fn believes(&self, holding: &Holding, belief: Belief, session: &Session) -> Believing {
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        inner.beliefs.push((id, holding.clone(), belief));
        if inner.sessions.is_empty() {
            inner.sessions.push(session.clone());
        }
        Believing { env: self.clone(), id }
    }

    /// Waits until the explorer lets the process go on.
    pub(super) fn go(&self) -> Passing {
        Passing { env: self.clone(), gate: |inner| &mut inner.go }
    }

    /// Waits until the explorer has the process drop what it waits for.
    pub(super) fn cancelled(&self) -> Passing {
        Passing { env: self.clone(), gate: |inner| &mut inner.cancel }
    }

    /// The process is at a place from which all that it does follows from `state`, unless more of it is under way than its
    /// program and the renewal of its session.
    pub(super) fn settles(&self, state: u128) {
        let mut inner = self.lock();
        let quiet = inner.calls.is_empty()
            && inner.watches.is_empty()
            && inner.spawned.is_empty()
            && inner.live_tasks <= 2;
        if !quiet {
            return;
        }
        let mut bytes = Bytes::default();
        state.hash(&mut bytes);
        inner.clock_ns.hash(&mut bytes);
        for ((deadline_ns, _), timer) in &inner.timers {
            (deadline_ns, timer.short, timer.fired).hash(&mut bytes);
        }
        inner.settled = Some((bytes.digest(), inner.effects.len()));
        // Numbers are used again, so that they, too, follow from the state.
        inner.next = 0;
    }

    /// The process has done all, and never goes on by itself. Dropping the future ends that.
    pub(super) async fn idles(&self) {
        let _idle = Idling::new(self);
        std::future::pending().await
    }

    fn call(&self, request: Request) -> Calling {
        Calling { env: self.clone(), request: Some(request), call: None }
    }
}

/// A belief; dropping it ends it.
pub(super) struct Believing {
    env: Env,
    id: u32,
}

impl Drop for Believing {
    fn drop(&mut self) {
        let mut inner = self.env.lock();
        let (gone, left) =
            std::mem::take(&mut inner.beliefs).into_iter().partition(|(id, ..)| *id == self.id);
        inner.beliefs = left;
        let sessions =
            if inner.beliefs.is_empty() { std::mem::take(&mut inner.sessions) } else { Vec::new() };
        drop(inner);
        let _: Vec<(u32, Holding, Belief)> = gone;
        drop(sessions);
    }
}

/// A process stands idle; dropping it ends that.
struct Idling {
    env: Env,
}

impl Idling {
    fn new(env: &Env) -> Self {
        env.lock().idle = true;
        Self { env: env.clone() }
    }
}

impl Drop for Idling {
    fn drop(&mut self) {
        self.env.lock().idle = false;
    }
}

/// Waits for a gate.
pub(super) struct Passing {
    env: Env,
    gate: fn(&mut Inner) -> &mut Gate,
}

impl Future for Passing {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.env.lock();
        let gate = (self.gate)(&mut inner);
        if std::mem::take(&mut gate.open) {
            gate.waiting = None;
            return Poll::Ready(());
        }
        gate.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let mut inner = self.env.lock();
        let gate = (self.gate)(&mut inner);
        gate.open = false;
        let waiting = gate.waiting.take();
        drop(inner);
        drop(waiting);
    }
}

/// A call: sent at the first poll, forgotten when dropped.
struct Calling {
    env: Env,
    request: Option<Request>,
    call: Option<u32>,
}

impl Future for Calling {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let this = &mut *self;
        let mut inner = this.env.lock();
        if let Some(request) = this.request.take() {
            inner.next += 1;
            let call = inner.next;
            this.call = Some(call);
            let sent_ns = inner.clock_ns;
            inner.effects.push(Effect::Call { call, request: Arc::new(request), sent_ns });
            inner.calls.insert(call, (None, Some(cx.waker().clone())));
            return Poll::Pending;
        }
        let Some(call) = this.call else { return Poll::Pending };
        let Some((answer, waker)) = inner.calls.get_mut(&call) else { return Poll::Pending };
        match answer.take() {
            Some(answer) => {
                inner.calls.remove(&call);
                this.call = None;
                Poll::Ready(answer)
            }
            None => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let Some(call) = self.call else { return };
        let mut inner = self.env.lock();
        let gone = inner.calls.remove(&call);
        if gone.as_ref().is_some_and(|(answer, _)| answer.is_none()) {
            inner.effects.push(Effect::CallDropped { call });
        }
        drop(inner);
        drop(gone);
    }
}

/// A watch: asked for at the first poll, closed when dropped.
struct Watching {
    env: Env,
    request: Option<WatchRequest>,
    watch: Option<u32>,
    over: bool,
}

impl Stream for Watching {
    type Item = Result<WatchMessage, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        let mut inner = this.env.lock();
        if let Some(request) = this.request.take() {
            inner.next += 1;
            let watch = inner.next;
            this.watch = Some(watch);
            inner.effects.push(Effect::Watch { watch, request: Arc::new(request) });
            let asked = inner.polled;
            let told = Told { waker: Some(cx.waker().clone()), asked, ..Told::default() };
            inner.watches.insert(watch, told);
            return Poll::Pending;
        }
        let asked = inner.polled;
        let Some(told) = this.watch.and_then(|watch| inner.watches.get_mut(&watch)) else {
            return Poll::Ready(None);
        };
        match told.messages.pop_front() {
            Some(message) => {
                this.over = matches!(message, Err(_) | Ok(WatchMessage::Compacted { .. }));
                Poll::Ready(Some(message))
            }
            None => {
                told.waker = Some(cx.waker().clone());
                told.asked = asked;
                Poll::Pending
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let Some(watch) = self.watch else { return };
        let mut inner = self.env.lock();
        let gone = inner.watches.remove(&watch);
        inner.effects.push(Effect::WatchDropped { watch });
        drop(inner);
        drop(gone);
    }
}

struct Sleeping {
    env: Env,
    deadline_ns: u64,
    key: Option<(u64, u32)>,
}

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut inner = this.env.lock();
        match this.key {
            None => {
                if this.deadline_ns <= inner.clock_ns {
                    return Poll::Ready(());
                }
                inner.next_timer += 1;
                let key = (this.deadline_ns, inner.next_timer);
                let short = this.deadline_ns - inner.clock_ns <= SHORT_NS;
                let asked = inner.polled;
                inner.timers.insert(key, Timer { short, fired: false, waker: cx.waker().clone(), asked });
                this.key = Some(key);
                Poll::Pending
            }
            Some(key) => match (inner.polled, inner.timers.get_mut(&key)) {
                (asked, Some(timer)) if !timer.fired => {
                    timer.asked = asked;
                    timer.waker = cx.waker().clone();
                    Poll::Pending
                }
                _ => {
                    inner.timers.remove(&key);
                    this.key = None;
                    this.deadline_ns = 0;
                    Poll::Ready(())
                }
            },
        }
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let gone = self.env.lock().timers.remove(&key);
        drop(gone);
    }
}

/// The library's backend in an explored process.
impl Runtime for Env {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.lock().clock_ns)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        if deadline == Instant::FAR_FUTURE {
            return Box::pin(std::future::pending());
        }
        Box::pin(Sleeping { env: self.clone(), deadline_ns: deadline.as_nanos(), key: None })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.lock().spawned.push(task);
    }
}

fn misfit<T>() -> Result<T, CallError> {
    Err(CallError::NotApplied("an answer of another kind".to_owned()))
}

impl Backend for Env {
    fn txn(&self, txn: Txn, _: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        let calling = self.call(Request::Txn(txn));
        Box::pin(async move {
            match calling.await? {
                Response::Txn(response) => Ok(response),
                _ => misfit(),
            }
        })
    }

    fn range(&self, range: Range, _: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        let calling = self.call(Request::Range(range));
        Box::pin(async move {
            match calling.await? {
                Response::Range(response) => Ok(response),
                _ => misfit(),
            }
        })
    }

    fn watch(&self, request: WatchRequest) -> WatchStream {
        Box::pin(Watching { env: self.clone(), request: Some(request), watch: None, over: false })
    }

    fn lease_grant(&self, ttl: Duration, _: Instant) -> BoxFuture<'static, Result<LeaseGrant, CallError>> {
        let ttl_s = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let calling = self.call(Request::LeaseGrant { id: 0, ttl_s });
        Box::pin(async move {
            match calling.await? {
                Response::LeaseGrant { grant, .. } => Ok(grant),
                _ => misfit(),
            }
        })
    }

    fn lease_keep_alive(&self, id: i64, _: Instant) -> BoxFuture<'static, Result<i64, CallError>> {
        let calling = self.call(Request::LeaseKeepAlive { id });
        Box::pin(async move {
            match calling.await? {
                Response::LeaseKeepAlive { ttl_s, .. } => Ok(ttl_s),
                _ => misfit(),
            }
        })
    }

    fn lease_revoke(&self, id: i64, _: Instant) -> BoxFuture<'static, Result<(), CallError>> {
        let calling = self.call(Request::LeaseRevoke { id });
        Box::pin(async move {
            match calling.await {
                Ok(_) | Err(CallError::Refused(Refusal::LeaseNotFound)) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }
}

type Ready = Arc<Mutex<VecDeque<usize>>>;

/// Puts its task in the queue of those that are to be polled.
struct TaskWaker {
    task: usize,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

/// A live process.
pub(super) struct Machine {
    env: Env,
    tasks: Vec<Option<(BoxFuture<'static, ()>, Waker)>>,
    ready: Ready,
    panicked: bool,
}

impl Machine {
    /// A process that has not begun.
    pub(super) fn new() -> Self {
        Self { env: Env::default(), tasks: Vec::new(), ready: Ready::default(), panicked: false }
    }

    /// Gives it an input and runs it until it waits again.
    pub(super) fn feed(&mut self, input: &Input) -> Vec<Effect> {
        if self.panicked {
            return Vec::new();
        }
        self.env.lock().settled = None;
        let fed = catch_unwind(AssertUnwindSafe(|| {
            self.take_in(input);
            self.run();
        }));
        let mut effects = std::mem::take(&mut self.env.lock().effects);
        if let Err(panic) = fed {
            self.panicked = true;
            effects.push(Effect::Panicked(words(&*panic).to_owned()));
        }
        effects
    }

    fn take_in(&self, input: &Input) {
        let mut inner = self.env.lock();
        let waker = match input {
            Input::Start(start) => {
                let program = program::run(self.env.clone(), Arc::clone(start));
                inner.spawned.push(Box::pin(program));
                None
            }
            Input::Answer { call, result } => inner.calls.get_mut(call).and_then(|(answer, waker)| {
                *answer = Some(Result::clone(result));
                waker.take()
            }),
            Input::Told { watch, message } => inner.watches.get_mut(watch).and_then(|told| {
                told.messages.push_back(Result::clone(message));
                told.waker.take()
            }),
            Input::Timer => inner.first_timer().and_then(|key| inner.fire(key)),
            Input::LongTimer => inner.first_long_timer().and_then(|key| inner.fire(key)),
            Input::Go => inner.go.let_through(),
            Input::Cancel => inner.cancel.let_through(),
            Input::Clock { at_ns } => {
                inner.clock_ns = inner.clock_ns.max(*at_ns);
                None
            }
        };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn run(&mut self) {
        loop {
            let spawned = {
                let mut inner = self.env.lock();
                inner.live_tasks += inner.spawned.len();
                std::mem::take(&mut inner.spawned)
            };
            for future in spawned {
                let task = self.tasks.len();
                let waker = Waker::from(Arc::new(TaskWaker { task, ready: Arc::clone(&self.ready) }));
                self.tasks.push(Some((future, waker)));
                self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(task);
            }
            let next = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(task) = next else {
                if self.env.lock().spawned.is_empty() {
                    return;
                }
                continue;
            };
            self.env.lock().begin_poll(task);
            if let Some((future, waker)) = &mut self.tasks[task]
                && future.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
            {
                // Its destructors may start tasks.
                self.tasks[task] = None;
                self.env.lock().live_tasks -= 1;
            }
        }
    }

    /// The state in which it settled during the last input, and how much it had done before.
    pub(super) fn settled(&self) -> Option<(u128, usize)> {
        self.env.lock().settled.take()
    }

    /// How it stands.
    pub(super) fn info(&self) -> Info {
        let inner = self.env.lock();
        let timer = inner.first_timer();
        let clock_ns = inner.clock_ns;
        // Asking a tenure past its deadline would end it, so the clock is asked instead.
        let lapsed = |session: &Session| session.deadline().is_none_or(|by| by.as_nanos() <= clock_ns);
        let lapsed = inner.sessions.first().is_some_and(lapsed);
        let beliefs: Vec<_> = if lapsed {
            Vec::new()
        } else {
            inner.beliefs.iter().map(|(_, held, belief)| (held.clone(), Arc::clone(belief))).collect()
        };
        let info = Info {
            done: !self.panicked && self.tasks.iter().all(Option::is_none) && !self.tasks.is_empty(),
            idle: inner.idle,
            waits_to_go: inner.go.waiting.is_some(),
            may_cancel: inner.cancel.waiting.is_some(),
            timer: timer.is_some(),
            timer_due: timer.is_some_and(|(deadline_ns, _)| deadline_ns <= clock_ns),
            asks: inner
                .watches
                .iter()
                .filter(|(_, told)| inner.is_last(told.asked))
                .map(|(id, _)| *id)
                .collect(),
            long_timer_ns: inner.first_long_timer().map(|(deadline_ns, _)| deadline_ns),
            believes: Vec::new(),
        };
        drop(inner);
        let believes =
            beliefs.into_iter().filter_map(|(held, believes)| believes().then_some(held)).collect();
        Info { believes, ..info }
    }
}

impl Inner {
    fn begin_poll(&mut self, task: usize) {
        if self.last_polls.len() <= task {
            self.last_polls.resize(task + 1, 0);
        }
        self.polled = (task, self.polled.1 + 1);
        self.last_polls[task] = self.polled.1;
    }

    /// Whether a task still waits for what it looked at then: it has not been polled since without looking at it.
    fn is_last(&self, (task, poll): (usize, u64)) -> bool {
        self.last_polls.get(task) == Some(&poll)
    }

    /// The first timer that may go off: a short one, or one whose time has come.
    fn first_timer(&self) -> Option<(u64, u32)> {
        let may = |(deadline_ns, _): &(u64, u32), timer: &Timer| {
            !timer.fired && (timer.short || *deadline_ns <= self.clock_ns) && self.is_last(timer.asked)
        };
        self.timers.iter().find(|(key, timer)| may(key, timer)).map(|(key, _)| *key)
    }

    fn first_long_timer(&self) -> Option<(u64, u32)> {
        let may = |(deadline_ns, _): &(u64, u32), timer: &Timer| {
            !timer.fired && !timer.short && *deadline_ns > self.clock_ns && self.is_last(timer.asked)
        };
        self.timers.iter().find(|(key, timer)| may(key, timer)).map(|(key, _)| *key)
    }

    fn fire(&mut self, key: (u64, u32)) -> Option<Waker> {
        self.clock_ns = self.clock_ns.max(key.0);
        let timer = self.timers.get_mut(&key)?;
        timer.fired = true;
        Some(timer.waker.clone())
    }
}

impl Gate {
    fn let_through(&mut self) -> Option<Waker> {
        let waker = self.waiting.take()?;
        self.open = true;
        Some(waker)
    }
}

impl Drop for Machine {
    /// What a process's futures share holds some of them, and their destructors start tasks: all of it goes.
    fn drop(&mut self) {
        self.tasks.clear();
        loop {
            let mut inner = self.env.lock();
            let gone = std::mem::take(&mut *inner);
            drop(inner);
            if gone.spawned.is_empty() && gone.beliefs.is_empty() && gone.calls.is_empty() {
                return;
            }
        }
    }
}
