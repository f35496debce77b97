//! One member as its clients' services and operators see it: what it says of itself, and what is asked of it beyond reads and
//! writes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenure::Code;
use tenure::wire::Status;

use super::log::Log;
use crate::cluster::{LiveClock, Refusal, Want, World};
use crate::grpc::{Doing, KvHash, Member, Operations, Standing};
use crate::store::EtcdVersion;

/// One member of the world that is served. Clones are the same.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) world: World,
    pub(super) clock: LiveClock,
    pub(super) member: usize,
    pub(super) version: EtcdVersion,
    pub(super) log: Arc<Log>,
    pub(super) addresses: Arc<Addresses>,
}

/// Where all places are reached.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// By place, for clients.
    pub(super) client_urls: Vec<Vec<String>>,
    /// By place, as operators name them; members have names of their own for each other.
    pub(super) peer_urls: Mutex<Vec<Vec<String>>>,
}

/// How often what an operator asked for is looked for, in simulated time.
const LOOK_MS: u64 = 20;

impl Place {
    fn list(&self) -> Vec<Member> {
        let listed = self.world.with(|core| core.member_list(self.member));
        let peer_urls = self.addresses.peer_urls.lock().unwrap_or_else(PoisonError::into_inner);
        let member = |info: crate::cluster::MemberInfo| Member {
            id: info.id,
            name: if info.started { format!("m{}", info.place) } else { String::new() },
            peer_urls: peer_urls[info.place].clone(),
            client_urls: if info.started {
                self.addresses.client_urls[info.place].clone()
            } else {
                Vec::new()
            },
            is_learner: info.learner,
        };
        listed.into_iter().map(member).collect()
    }

    /// The place of a member by its id.
    fn place_of(&self, id: u64) -> Option<(usize, bool)> {
        let listed = self.world.with(|core| core.member_list(self.member));
        listed.iter().find(|info| info.id == id).map(|info| (info.place, info.learner))
    }

    /// Waits until something is so, for as long as etcd lets a request wait.
    async fn until<T>(self, is_so: impl Fn(&Self) -> Option<T>) -> Result<T, Status> {
        let runtime = self.world.live_runtime();
        let until = runtime.now() + Duration::from_nanos(self.world.with(|core| core.request_timeout_ns()));
        loop {
            if let Some(found) = is_so(&self) {
                return Ok(found);
            }
            if runtime.now() >= until {
                return Err(status(Code::Unavailable, "etcdserver: request timed out"));
            }
            runtime.sleep_until(runtime.now() + Duration::from_millis(LOOK_MS)).await;
        }
    }

    fn change(&self, want: Want) -> Result<(), Status> {
        self.world.with(|core| core.ask_once(want)).map_err(refused)
    }
}

pub(super) fn status(code: Code, message: &str) -> Status {
    Status { code, message: message.to_owned(), sent: true }
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NoLeader => status(Code::Unavailable, "etcdserver: no leader"),
        Refusal::Unhealthy | Refusal::Pending => status(Code::Unavailable, "etcdserver: unhealthy cluster"),
        Refusal::NotReady => status(
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        Refusal::LastLeader => status(
            Code::FailedPrecondition,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
    }
}

fn not_found() -> Status {
    status(Code::NotFound, "etcdserver: member not found")
}

fn now<T: Send + 'static>(outcome: Result<T, Status>) -> Doing<T> {
    Box::pin(std::future::ready(outcome))
}

impl Operations for Place {
    fn members(&self) -> Vec<Member> {
        self.list()
    }

    fn standing(&self) -> Standing {
        self.world.with(|core| {
            let member = &core.members[self.member];
            Standing {
                db_size: core.space.file_bytes,
                db_size_in_use: core.space.in_use_bytes,
                raft_index: member.commit as u64,
                raft_applied_index: member.applied as u64,
                is_learner: member.is_learner(),
                no_space: member.store.no_space(),
            }
        })
    }

    fn add_member(&self, peer_urls: Vec<String>, is_learner: bool) -> Doing<Member> {
        let known = self.list().into_iter().flat_map(|member| member.peer_urls);
        if known.into_iter().any(|url| peer_urls.contains(&url)) {
            return now(Err(status(Code::FailedPrecondition, "etcdserver: Peer URLs already exists")));
        }
        if is_learner && self.list().iter().any(|member| member.is_learner) {
            let message = "etcdserver: too many learner members in cluster";
            return now(Err(status(Code::FailedPrecondition, message)));
        }
        let Some(place) = self.world.with(|core| core.free_place(self.member)) else {
            let message = "no server is left that could be added: start `tenure serve` with more --spares";
            return now(Err(status(Code::FailedPrecondition, message)));
        };
        if let Err(status) = self.change(if is_learner { Want::AddLearner(place) } else { Want::Add(place) })
        {
            return now(Err(status));
        }
        self.addresses.peer_urls.lock().unwrap_or_else(PoisonError::into_inner)[place] = peer_urls;
        let listed = move |this: &Self| {
            let info = this.world.with(|core| core.member_list(this.member));
            let id = info.into_iter().find(|info| info.place == place)?.id;
            this.list().into_iter().find(|member| member.id == id)
        };
        Box::pin(self.clone().until(listed))
    }

    fn remove_member(&self, id: u64) -> Doing<()> {
        let Some((place, _)) = self.place_of(id) else { return now(Err(not_found())) };
        if let Err(status) = self.change(Want::Remove(place)) {
            return now(Err(status));
        }
        Box::pin(self.clone().until(move |this| this.place_of(id).is_none().then_some(())))
    }

    fn update_member(&self, id: u64, peer_urls: Vec<String>) -> Doing<()> {
        let Some((place, _)) = self.place_of(id) else { return now(Err(not_found())) };
        self.addresses.peer_urls.lock().unwrap_or_else(PoisonError::into_inner)[place] = peer_urls;
        now(Ok(()))
    }

    fn promote_member(&self, id: u64) -> Doing<()> {
        match self.place_of(id) {
            None => now(Err(not_found())),
            Some((_, false)) => {
                now(Err(status(Code::FailedPrecondition, "etcdserver: can only promote a learner member")))
            }
            Some((place, true)) => match self.change(Want::Promote(place)) {
                Err(status) => now(Err(status)),
                Ok(()) => {
                    let votes =
                        move |this: &Self| matches!(this.place_of(id), Some((_, false))).then_some(());
                    Box::pin(self.clone().until(votes))
                }
            },
        }
    }

    fn move_leader(&self, id: u64) -> Doing<()> {
        let me = self.member;
        if !self.world.with(|core| core.members[me].leads()) {
            return now(Err(status(Code::FailedPrecondition, "etcdserver: not leader")));
        }
        let Some((place, false)) = self.place_of(id) else {
            return now(Err(status(Code::FailedPrecondition, "etcdserver: bad leader transferee")));
        };
        if place == me {
            return now(Ok(()));
        }
        self.world.with(|core| core.hand_over(me, place));
        let leads = move |this: &Self| {
            this.world
                .with(|core| core.newest_leader() == Some(place) && !core.members[me].leads())
                .then_some(())
        };
        Box::pin(self.clone().until(leads))
    }

    fn set_space_alarm(&self, on: bool) -> Doing<()> {
        self.world.with(|core| core.set_space_alarm(on));
        let raised = move |this: &Self| {
            // A fault that is in force keeps it up.
            let wanted = on || this.world.with(|core| core.faults.no_space());
            (this.standing().no_space == wanted).then_some(())
        };
        Box::pin(self.clone().until(raised))
    }

    fn defragment(&self) -> Doing<()> {
        self.world.with(|core| core.space.file_bytes = core.space.in_use_bytes);
        now(Ok(()))
    }

    fn hash_kv(&self, revision: i64) -> Doing<KvHash> {
        now(self.world.with(|core| {
            let store = &core.members[self.member].store;
            if revision > store.revision() {
                let message = "etcdserver: mvcc: required revision is a future revision";
                return Err(status(Code::OutOfRange, message));
            }
            if revision > 0 && revision < store.compact_revision() {
                let message = "etcdserver: mvcc: required revision has been compacted";
                return Err(status(Code::OutOfRange, message));
            }
            let revision = if revision == 0 { store.revision() } else { revision };
            let compact_revision = core.members[self.member].store.compact_revision();
            Ok(KvHash { hash: store.hash_at(revision), revision, compact_revision: compact_revision.max(-1) })
        }))
    }
}
