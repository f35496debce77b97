//! What the Maintenance and Cluster services ask of a member beyond [`Request`](tenure::kv::Request): the list of members
//! and its changes, leadership, alarms, hashes.

use futures_util::future::BoxFuture;
use tenure::Code;
use tenure::wire::Status;

/// A member of the cluster, as the list of members has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty until its server has been started.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// It does not vote yet.
    pub is_learner: bool,
}

/// What a member says of itself beside its version and its leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Bytes of its backend's file.
    pub db_size: u64,
    /// Of them in use.
    pub db_size_in_use: u64,
    /// The index of the last entry that is committed.
    pub raft_index: u64,
    /// The index of the last entry that it has applied.
    pub raft_applied_index: u64,
    /// It does not vote yet.
    pub is_learner: bool,
    /// Whether the NOSPACE alarm is on.
    pub no_space: bool,
}

/// The hash of what a member holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvHash {
    /// Equal on two members if what they hold is.
    pub hash: u32,
    /// Up to which revision.
    pub revision: i64,
    /// From which on.
    pub compact_revision: i64,
}

/// What comes of something that goes through the log.
pub type Doing<T> = BoxFuture<'static, Result<T, Status>>;

/// One member's answers. What an implementation does not do is unimplemented.
pub trait Operations: Send + Sync + 'static {
    /// The members, as this one knows them.
    fn members(&self) -> Vec<Member>;

    /// What it says of itself.
    fn standing(&self) -> Standing {
        Standing::default()
    }

    /// Adds a member, which votes at once unless it is a learner. Gives it.
    fn add_member(&self, peer_urls: Vec<String>, is_learner: bool) -> Doing<Member> {
        let _ = (peer_urls, is_learner);
        not_simulated("MemberAdd")
    }

    /// Removes a member.
    fn remove_member(&self, id: u64) -> Doing<()> {
        let _ = id;
        not_simulated("MemberRemove")
    }

    /// Changes where the others reach a member.
    fn update_member(&self, id: u64, peer_urls: Vec<String>) -> Doing<()> {
        let _ = (id, peer_urls);
        not_simulated("MemberUpdate")
    }

    /// Lets a learner vote.
    fn promote_member(&self, id: u64) -> Doing<()> {
        let _ = id;
        not_simulated("MemberPromote")
    }

    /// Hands leadership to a member.
    fn move_leader(&self, id: u64) -> Doing<()> {
        let _ = id;
        not_simulated("MoveLeader")
    }

    /// Raises the NOSPACE alarm, or clears it.
    fn set_space_alarm(&self, on: bool) -> Doing<()> {
        let _ = on;
        not_simulated("raising and clearing alarms")
    }

    /// Gives back what compactions freed.
    fn defragment(&self) -> Doing<()> {
        not_simulated("Defragment")
    }

    /// The hash of what is held up to `revision`, 0 for all.
    fn hash_kv(&self, revision: i64) -> Doing<KvHash> {
        let _ = revision;
        not_simulated("HashKV")
    }
}

/// A list of members that never changes, and nothing else.
impl Operations for Vec<Member> {
    fn members(&self) -> Vec<Member> {
        self.clone()
    }
}

fn not_simulated<T: Send + 'static>(what: &str) -> Doing<T> {
    let message = format!("{what} is not simulated");
    Box::pin(std::future::ready(Err(Status { code: Code::Unimplemented, message, sent: true })))
}
