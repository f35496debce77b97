//! What is timed, and between which bounds it must lie: computed from a cluster's settings by etcd's rules, never from
//! what some run happened to take.

use std::fmt;
use std::time::Duration;

/// The settings that all times of a cluster follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Settings {
    /// etcd's `--heartbeat-interval`, which is also its tick, in milliseconds.
    pub(crate) heartbeat_ms: u64,
    /// etcd's `--election-timeout`, in milliseconds.
    pub(crate) election_ms: u64,
    /// etcd's `--pre-vote`: off by default before 3.5.
    pub(crate) pre_vote: bool,
}

impl Settings {
    /// Those of tests.
    pub(crate) const QUICK: Self = Self { heartbeat_ms: 20, election_ms: 200, pre_vote: true };
    /// etcd's own.
    pub(crate) const DEFAULT: Self = Self { heartbeat_ms: 100, election_ms: 1_000, pre_vote: true };

    pub(crate) const fn election(self) -> Duration {
        Duration::from_millis(self.election_ms)
    }

    /// How often a script looks at what is about to change.
    pub(crate) const fn look_every(self) -> Duration {
        Duration::from_millis(self.heartbeat_ms / 10)
    }

    /// The shortest lease that etcd grants: `minTTL` in `server/etcdserver/server.go`, in whole seconds.
    pub(crate) const fn min_ttl_s(self) -> u64 {
        (3 * self.election_ms).div_ceil(2).div_ceil(1_000)
    }

    /// The lease that a leader's death is to prolong, and how long after its grant that death is, both in seconds.
    pub(crate) const fn orphaned_lease_s(self) -> (u64, u64) {
        let ttl_s = 3 * self.min_ttl_s() - 1;
        (ttl_s, ttl_s.div_ceil(2))
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ms", self.heartbeat_ms, self.election_ms)
    }
}

/// What is timed. Faults are counted from just before a write that the leader acknowledged, and every follower was seen to
/// have, right before the fault: so every member has heard from every other since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Behaviour {
    LeaderAfterKill,
    LeaderAfterPause,
    LeaderAfterPartition,
    CutLeaderStepsDown,
    LeaderAfterDeaf,
    DeafLeaderStepsDown,
    LeaderAfterMute,
    MuteLeaderStepsDown,
    FollowerNotices,
    StreamEnds,
    WatchCatchesUp,
    RequestTimesOut,
    /// The lease was granted for so many seconds.
    LeaseLives(u64),
    LeaseOrphaned,
    LeaseUnderNewLeader,
}

/// Bounds in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    pub(crate) least_ms: u64,
    pub(crate) most_ms: u64,
    /// At least half of all rounds are over by then.
    pub(crate) usual_ms: u64,
}

/// The lessor's loop goes round this often (`lease/lessor.go`).
const SCAN_MS: u64 = 500;

impl Behaviour {
    /// The rule of etcd's that it follows.
    pub(crate) fn band(self, settings: Settings) -> Band {
        let (tick, timeout) = (settings.heartbeat_ms, settings.election_ms);
        // A member stands after 1 to 2 election timeouts of silence, counted in ticks, the first of which may come at once;
        // one more tick may have piled up. A vote that was split costs one more such wait.
        let election = Band { least_ms: timeout - 2 * tick, most_ms: 4 * timeout, usual_ms: 2 * timeout };
        // The check of the quorum comes once an election timeout, and looks back on one that began before the silence.
        let quorum = Band::between(timeout - tick, 2 * timeout + tick);
        match self {
            Self::LeaderAfterKill
            | Self::LeaderAfterPause
            | Self::LeaderAfterPartition
            | Self::LeaderAfterMute => election,
            Self::CutLeaderStepsDown | Self::DeafLeaderStepsDown => quorum,
            // By the check, or by the word of its successor.
            Self::MuteLeaderStepsDown => Band { least_ms: election.least_ms, ..quorum },
            // Its followers hear it until it steps down. Without pre-vote it then stands in ever newer terms, of which each
            // sends them back to the beginning; three are allowed for, usually one.
            Self::LeaderAfterDeaf => {
                let disturbance_ms = if settings.pre_vote { 0 } else { 2 * timeout };
                Band {
                    least_ms: quorum.least_ms + election.least_ms,
                    most_ms: quorum.most_ms + election.most_ms + 3 * disturbance_ms,
                    usual_ms: quorum.most_ms + election.usual_ms + disturbance_ms,
                }
            }
            Self::FollowerNotices => Band::between(election.least_ms, 2 * timeout),
            // `monitorLeader` in `api/v3rpc/interceptor.go` looks once an election timeout, and must find none three times.
            Self::StreamEnds => Band::between(election.least_ms + 2 * timeout, 5 * timeout),
            // Without pre-vote the follower may have stood in a newer term, which the leader's next heartbeat tells it.
            Self::WatchCatchesUp if !settings.pre_vote => {
                Band { least_ms: 0, most_ms: election.most_ms + tick, usual_ms: election.usual_ms + tick }
            }
            // The next heartbeat shows the leader what the follower lacks.
            Self::WatchCatchesUp => Band::between(0, 2 * tick),
            // `ReqTimeout` in `config/config.go`.
            Self::RequestTimesOut => Band::between(5_000 + 2 * timeout, 5_000 + 2 * timeout),
            Self::LeaseLives(ttl_s) => Band::between(1_000 * ttl_s, 1_000 * ttl_s + SCAN_MS),
            // A new leader gives every lease an election timeout and its full time again.
            Self::LeaseOrphaned => {
                let anew_ms = timeout + 1_000 * settings.orphaned_lease_s().0;
                Band {
                    least_ms: election.least_ms + anew_ms,
                    most_ms: election.most_ms + anew_ms + SCAN_MS,
                    usual_ms: election.usual_ms + anew_ms + SCAN_MS,
                }
            }
            // The new leader may have led for a moment, less than an election timeout, before it was seen to.
            Self::LeaseUnderNewLeader => {
                let ttl_ms = 1_000 * settings.orphaned_lease_s().0;
                Band::between(ttl_ms, timeout + ttl_ms + SCAN_MS)
            }
        }
    }
}

impl Band {
    const fn between(least_ms: u64, most_ms: u64) -> Self {
        Self { least_ms, most_ms, usual_ms: most_ms }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::LeaderAfterKill => "leader killed: a new one leads",
            Self::LeaderAfterPause => "leader stopped: a new one leads",
            Self::LeaderAfterPartition => "leader cut off: a new one leads",
            Self::CutLeaderStepsDown => "leader cut off: it steps down",
            Self::LeaderAfterDeaf => "leader hears nobody: a new one leads",
            Self::DeafLeaderStepsDown => "leader hears nobody: it steps down",
            Self::LeaderAfterMute => "leader reaches nobody: a new one leads",
            Self::MuteLeaderStepsDown => "leader reaches nobody: it steps down",
            Self::FollowerNotices => "follower cut off: it has no leader",
            Self::StreamEnds => "follower cut off: its watches end",
            Self::WatchCatchesUp => "short cut healed: a watch catches up",
            Self::RequestTimesOut => "member cut off: a request times out",
            Self::LeaseLives(ttl_s) => return f.pad(&format!("lease of {ttl_s} s, not renewed: gone")),
            Self::LeaseOrphaned => "lease, leader killed: gone after that",
            Self::LeaseUnderNewLeader => "the same, after the new leader was seen",
        };
        f.pad(words)
    }
}
