//! Watch streams between members and clients. They are TCP connections: what is told arrives in order or not at all;
//! a lost packet is sent again, or the stream hangs until it is found broken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};

use rand::RngExt;
use tenure::kv::{Header, WatchRequest, WatchResponse};
use tenure::wire::Status;

use super::config::Planted;
use super::core::{Core, Held, MS};
use super::event::{Event, Local};
use super::links::Passage;
use super::wire::{INVALID_TOKEN, no_leader, not_for_learners, unavailable};
use crate::history::What;
use crate::node::Node;
use crate::store::WatchId;

/// One stream with one watch.
pub(crate) struct Watch {
    pub(crate) client: usize,
    member: usize,
    request: Arc<WatchRequest>,
    /// Its place at the member, in that start of it.
    at_member: Option<(u32, WatchId)>,
    /// Sent, and on its way: one `WatchTold` each.
    under_way: VecDeque<Told>,
    /// Told while nothing passes; sent again when the link heals, if the connection survives.
    backlog: Vec<Told>,
    flow: Flow,
    /// When the last message that is on its way arrives: none overtakes another.
    last_arrival_ns: u64,
    arrived: VecDeque<Told>,
    waker: Option<Waker>,
}

type Told = Result<WatchResponse, Status>;

/// How messages pass from the member to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Flows,
    /// The link is cut: they wait for it to heal.
    Waits,
    /// A packet is lost for good: nothing more arrives until the client finds the connection broken.
    Hangs,
    /// The member ended it, or its process is gone: the client will be told.
    Ended,
}

/// A lost packet is sent again within this time.
const RETRANSMIT_MS: std::ops::RangeInclusive<u64> = 200..=800;
/// A connection on which nothing passes is found broken, by keep-alive pings, within this time.
const FOUND_BROKEN_MS: std::ops::RangeInclusive<u64> = 1_000..=10_000;
/// How often a write overtakes a watch that is being opened: as on a real server under a steady load of writes.
const OVERTAKEN: f64 = 0.05;
/// etcd's loop for watches that lag.
const SYNC_NS: u64 = 100 * MS;

impl Core {
    /// A client opens a watch. `None` if the process is dead.
    pub(crate) fn open_watch(
        &mut self,
        client: usize,
        life: u32,
        member: usize,
        request: WatchRequest,
    ) -> Option<u64> {
        if !self.is_alive(client, life) {
            return None;
        }
        let id = self.fresh_id();
        let request = Arc::new(request);
        let sent = What::WatchSent { watch: id, member: member as u32, request: Arc::clone(&request) };
        self.record(Node::Client(client as u32), sent);
        let watch = Watch {
            client,
            member,
            request,
            at_member: None,
            under_way: VecDeque::new(),
            backlog: Vec::new(),
            flow: Flow::Flows,
            last_arrival_ns: 0,
            arrived: VecDeque::new(),
            waker: None,
        };
        self.watches.insert(id, watch);
        self.send_to_member(id, |watch, member| Event::WatchOpens { watch, member });
        Some(id)
    }

    /// A client asks for a watch's progress.
    pub(crate) fn ask_progress(&mut self, id: u64) {
        self.send_to_member(id, |watch, member| Event::WatchProgress { watch, member });
    }

    fn send_to_member(&mut self, id: u64, event: impl Fn(u64, usize) -> Event) {
        let Some(watch) = self.watches.get(&id) else { return };
        let (from, to) = (self.client_node(watch.client), watch.member);
        let event = event(id, to);
        match self.links.pass(from, to, self.config.client_delay_us, self.draws.link(self.now_ns, from, to)) {
            Passage::Arrives(delay_ns) => self.schedule(delay_ns, event),
            Passage::Lost => {
                let again_ns = self.draws.link(self.now_ns, from, to).random_range(RETRANSMIT_MS) * MS;
                self.schedule(again_ns, event);
            }
            Passage::Cut => self.held.push(Held { from, to, event }),
        }
    }

    /// The request to open a watch is at the member.
    pub(crate) fn create_watch(&mut self, id: u64) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        let (me, client) = (watch.member, self.members.len() + watch.client);
        let member = &mut self.members[me];
        if member.leader.is_none() {
            return self.end_stream(id, no_leader());
        }
        if member.is_learner() {
            return self.end_stream(id, not_for_learners());
        }
        if self.clients[watch.client].tokens_expired > 0 {
            let refused = WatchResponse {
                header: member.header(),
                created: true,
                canceled: true,
                cancel_reason: INVALID_TOKEN.to_owned(),
                ..WatchResponse::default()
            };
            return self.send_to_client(id, Ok(refused));
        }
        let mut request = WatchRequest::clone(&watch.request);
        if request.start_revision > 0 && self.config.planted == Some(Planted::WatchSkipsAtResume) {
            request.start_revision += 1;
        }
        let (at_member, told) = if !self.config.client_delay_us.is_even()
            && self.draws.link(self.now_ns, client, me).random_bool(OVERTAKEN)
        {
            member.hub.create_overtaken(request, &member.store)
        } else {
            member.hub.create(request, &member.store)
        };
        watch.at_member = Some((member.boot, at_member));
        member.watches.insert(at_member, id);
        self.tell_watches(me, told.into_iter().map(|message| (at_member, message)).collect());
        self.arm_watch_sync(me);
    }

    pub(crate) fn arm_watch_sync(&mut self, me: usize) {
        let member = &mut self.members[me];
        if member.hub.has_unsynced() && !std::mem::replace(&mut member.watch_sync_armed, true) {
            let gone_ns = (self.now_ns + member.scan_phase_ns) % SYNC_NS;
            self.schedule_local(SYNC_NS - gone_ns, me, Local::WatchSync);
        }
    }

    pub(crate) fn sync_watches(&mut self, me: usize) {
        let member = &mut self.members[me];
        member.watch_sync_armed = false;
        let told = member.hub.sync_unsynced(&member.store);
        self.tell_watches(me, told);
        self.arm_watch_sync(me);
    }

    pub(crate) fn tell_progress(&mut self, id: u64) {
        let Some(watch) = self.watches.get(&id) else { return };
        let Some((boot, at_member)) = watch.at_member else { return };
        let (me, member) = (watch.member, &self.members[watch.member]);
        if boot != member.boot {
            return self.reset_watch(id);
        }
        if let Some(message) = member.hub.progress(at_member, &member.store) {
            self.tell_watches(me, vec![(at_member, message)]);
        }
    }

    /// A member tells its watches something.
    pub(crate) fn tell_watches(&mut self, me: usize, told: Vec<(WatchId, WatchResponse)>) {
        for (at_member, mut message) in told {
            let Some(&id) = self.members[me].watches.get(&at_member) else { continue };
            let mine = self.members[me].header();
            message.header = Header { revision: message.header.revision, ..mine };
            if message.canceled {
                self.members[me].watches.remove(&at_member);
            }
            self.send_to_client(id, Ok(message));
        }
    }

    fn send_to_client(&mut self, id: u64, told: Told) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        let (from, to) = (watch.member, self.members.len() + watch.client);
        if watch.flow != Flow::Flows {
            return watch.backlog.push(told);
        }
        let tells = told.as_ref().is_ok_and(|message| !message.events.is_empty());
        let most_ns = self.members[from].watch_lag_ns;
        let lag_ns = if tells && most_ns > 0 {
            self.draws.member(self.now_ns, from).random_range(0..=most_ns)
        } else {
            0
        };
        let delay_ns = match self.links.pass(
            from,
            to,
            self.config.client_delay_us,
            self.draws.link(self.now_ns, from, to),
        ) {
            Passage::Arrives(delay_ns) => delay_ns + lag_ns,
            Passage::Lost if self.draws.link(self.now_ns, from, to).random_bool(0.5) => {
                self.draws.link(self.now_ns, from, to).random_range(RETRANSMIT_MS) * MS
            }
            Passage::Lost => {
                watch.flow = Flow::Hangs;
                watch.backlog.push(told);
                return self.break_within(id);
            }
            Passage::Cut => {
                watch.flow = Flow::Waits;
                return watch.backlog.push(told);
            }
        };
        self.put_under_way(id, told, delay_ns);
    }

    fn put_under_way(&mut self, id: u64, told: Told, delay_ns: u64) {
        if let Some(watch) = self.watches.get_mut(&id) {
            let at_ns = (self.now_ns + delay_ns).max(watch.last_arrival_ns + 1);
            watch.last_arrival_ns = at_ns;
            watch.under_way.push_back(told);
            self.schedule_at(at_ns, Event::WatchTold { watch: id });
        }
    }

    fn break_within(&mut self, id: u64) {
        let Some(watch) = self.watches.get(&id) else { return };
        let (from, to) = (watch.member, self.members.len() + watch.client);
        let wait_ns = self.draws.link(self.now_ns, from, to).random_range(FOUND_BROKEN_MS) * MS;
        self.schedule(wait_ns, Event::WatchBreaks { watch: id });
    }

    /// A message reaches the client's process, which may be standing still.
    pub(crate) fn deliver_watch(&mut self, id: u64) {
        if let Some(watch) = self.watches.get_mut(&id)
            && let Some(told) = watch.under_way.pop_front()
        {
            watch.arrived.push_back(told);
            if let Some(waker) = watch.waker.take() {
                self.wake(waker);
            }
        }
    }

    /// The client's keep-alive finds the connection broken. What was told and has not arrived never will.
    pub(crate) fn deliver_break(&mut self, id: u64) {
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.flow = Flow::Ended;
            watch.backlog.clear();
            watch.under_way.clear();
            watch.under_way.push_back(Err(unavailable("keep-alive ping failed: connection broken", true)));
            self.deliver_watch(id);
            self.leave_member(id);
        }
    }

    /// A member ends a stream, or its host does.
    fn end_stream(&mut self, id: u64, status: Status) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        match watch.flow {
            Flow::Flows | Flow::Waits => {
                self.send_to_client(id, Err(status));
                if let Some(watch) = self.watches.get_mut(&id).filter(|watch| watch.flow == Flow::Flows) {
                    watch.flow = Flow::Ended;
                }
            }
            Flow::Hangs | Flow::Ended => {}
        }
    }

    /// A watch is at a member that has crashed, or that was started anew.
    pub(crate) fn reset_watch(&mut self, id: u64) {
        self.end_stream(id, unavailable("connection reset by peer", true));
    }

    /// A member crashed: its streams break.
    pub(crate) fn reset_watches(&mut self, me: usize) {
        for id in std::mem::take(&mut self.members[me].watches).into_values() {
            self.reset_watch(id);
        }
    }

    /// A member has been without a leader for too long for streams that ask for one.
    pub(crate) fn cancel_watches(&mut self, me: usize) {
        for (at_member, id) in std::mem::take(&mut self.members[me].watches) {
            self.members[me].hub.cancel(at_member);
            self.end_stream(id, no_leader());
        }
    }

    /// Links healed: each stream that waited goes on, or turns out to be broken.
    pub(crate) fn release_streams(&mut self) {
        let members = self.members.len();
        let healed: Vec<u64> = self
            .watches
            .iter()
            .filter(|(_, watch)| {
                watch.flow == Flow::Waits && self.links.is_open(watch.member, members + watch.client)
            })
            .map(|(&id, _)| id)
            .collect();
        for id in healed {
            let Some(watch) = self.watches.get_mut(&id) else { continue };
            let (from, to) = (watch.member, members + watch.client);
            let survives = self.draws.link(self.now_ns, from, to).random_bool(0.5);
            let backlog = std::mem::take(&mut watch.backlog);
            if !survives {
                watch.flow = Flow::Hangs;
                self.break_within(id);
                continue;
            }
            watch.flow = Flow::Flows;
            let delay_ns = self.draws.link(self.now_ns, from, to).random_range(RETRANSMIT_MS) * MS;
            for told in backlog {
                if told.is_err()
                    && let Some(watch) = self.watches.get_mut(&id)
                {
                    watch.flow = Flow::Ended;
                }
                self.put_under_way(id, told, delay_ns);
            }
        }
    }

    /// The client looks for the next message.
    pub(crate) fn poll_watch(&mut self, id: u64, waker: &Waker) -> Poll<Told> {
        let Some(watch) = self.watches.get_mut(&id) else { return Poll::Pending };
        let Some(told) = watch.arrived.pop_front() else {
            match &mut watch.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            return Poll::Pending;
        };
        let node = Node::Client(watch.client as u32);
        let what = match &told {
            Ok(message) => What::WatchTold {
                watch: id,
                kind: kind_of(message),
                revision: message.header.revision,
                events: message.events.clone(),
            },
            Err(status) => What::WatchBroke { watch: id, status: status.clone() },
        };
        self.record(node, what);
        Poll::Ready(told)
    }

    /// The client closes a watch.
    pub(crate) fn close_watch(&mut self, id: u64) {
        self.forget_watch(id);
    }

    /// Nobody listens to a watch any more.
    pub(crate) fn forget_watch(&mut self, id: u64) {
        self.leave_member(id);
        self.watches.remove(&id);
    }

    fn leave_member(&mut self, id: u64) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        if let Some((boot, at_member)) = watch.at_member.take() {
            let member = &mut self.members[watch.member];
            if member.boot == boot {
                member.hub.cancel(at_member);
                member.watches.remove(&at_member);
            }
        }
    }
}

fn kind_of(message: &WatchResponse) -> &'static str {
    if message.compact_revision != 0 {
        "compacted"
    } else if message.canceled {
        "canceled"
    } else if message.created {
        "created"
    } else if message.events.is_empty() {
        "progress"
    } else {
        "events"
    }
}
