//! What a seed draws of a scenario itself, if its profile is `swarm`: how many there are of everything, which release of
//! etcd, timings, latencies and clocks. What is drawn is a scenario again, with one value in place of each range of
//! choice, and with as much more time as larger values need. Each thing has a random stream of its own.

use std::borrow::Cow;

use rand_chacha::ChaCha8Rng;

use super::draw::{chance, likely, skewed, small, within};
use crate::scenario::{Profile, Scenario};
use crate::store::EtcdVersion;
use crate::streams::Streams;

/// The releases that keep what the invariants ask: before them an old leader's revocations go through
/// (etcd 12528, 15247), and a watch from a compacted revision misses its deletions (etcd 18089).
const RELEASES: [[EtcdVersion; 2]; 4] = [
    [EtcdVersion::V3_4(34), EtcdVersion::V3_4(45)],
    [EtcdVersion::V3_5(16), EtcdVersion::V3_5(34)],
    [EtcdVersion::V3_6(0), EtcdVersion::V3_6(15)],
    [EtcdVersion::V3_7(0), EtcdVersion::V3_7(2)],
];

/// No more sessions than this contend in one run.
const MOST_LANES: u32 = 16;

/// The scenario of one seed.
pub(super) fn draw<'a>(scenario: &'a Scenario, streams: &Streams) -> Cow<'a, Scenario> {
    if scenario.profile == Profile::Fixed {
        return Cow::Borrowed(scenario);
    }
    let mut drawn = scenario.clone();
    cluster(&mut drawn, streams);
    let stream = |name: &str| streams.stream(&format!("swarm-{name}"));
    drawn.clients.count = clients(&mut stream("clients"));
    drawn.clients.sessions = lanes(&drawn, &mut stream("lanes"));
    drawn.clients.ttl_s = times_to_live(&mut stream("ttl"));
    clocks(&mut drawn, &mut stream("clocks"));
    let most_names = u64::from(scenario.workload.names) * 2;
    drawn.workload.names = small(within(&mut stream("names"), [1, most_names]));
    if likely(&mut stream("crowd"), scenario.workload.habit("crowd")) {
        crowd(&mut drawn, &mut stream("crowd-size"));
    }
    give_time(&mut drawn, scenario);
    Cow::Owned(drawn)
}

/// What a seed draws of the cluster.
pub(super) fn cluster(drawn: &mut Scenario, streams: &Streams) {
    let stream = |name: &str| streams.stream(&format!("swarm-{name}"));
    drawn.cluster.version = release(&mut stream("version"));
    drawn.cluster.members = members(&mut stream("members"));
    drawn.cluster.spares = small(within(&mut stream("spares"), [0, 2]));
    timings(drawn, &mut stream("timings"));
    latencies(drawn, &mut stream("latencies"));
    drawn.cluster.catch_up_entries = catch_up_entries(&mut stream("snapshots"));
}

fn release(rng: &mut ChaCha8Rng) -> String {
    let [first, last] = RELEASES[within(rng, [0, 3]) as usize];
    format!("{}.{}", first.line(), within(rng, [first.patch().into(), last.patch().into()]))
}

fn members(rng: &mut ChaCha8Rng) -> u32 {
    match within(rng, [0, 9]) {
        0..=1 => 1,
        2..=7 => 3,
        _ => 5,
    }
}

/// About four; now and then one alone, or many.
fn clients(rng: &mut ChaCha8Rng) -> u32 {
    let (kind, few, many) = (within(rng, [0, 15]), skewed(rng, [2, 9]), within(rng, [7, 12]));
    small(match kind {
        0 => 1,
        1 => many,
        _ => few,
    })
}

fn lanes(drawn: &Scenario, rng: &mut ChaCha8Rng) -> u32 {
    let more = match within(rng, [0, 9]) {
        0..=6 => 0,
        7..=8 => 1,
        _ => 2,
    };
    let most = (MOST_LANES / drawn.clients.count).max(1);
    (drawn.clients.sessions + more).min(most)
}

/// So many sessions for one name that most of its line cannot watch the whole of it.
fn crowd(drawn: &mut Scenario, rng: &mut ChaCha8Rng) {
    drawn.clients.count = small(within(rng, [6, 12]));
    drawn.clients.sessions = 2;
    drawn.workload.names = 1;
}

/// Half of the seeds have etcd's own 100 and 1000 ms. No fewer than five heartbeats go into an election timeout.
fn timings(drawn: &mut Scenario, rng: &mut ChaCha8Rng) {
    let (own, times) = (chance(rng, 1, 2), within(rng, [5, 15]));
    let heartbeat_ms = [20, 50, 100, 150, 300][within(rng, [0, 4]) as usize];
    if !own {
        drawn.cluster.heartbeat_ms = heartbeat_ms;
        drawn.cluster.election_timeout_ms = (heartbeat_ms * times).min(3_000);
    }
}

/// One rack, one region, or several; disks from fast to spinning. A round trip takes much less than a heartbeat interval.
fn latencies(drawn: &mut Scenario, rng: &mut ChaCha8Rng) {
    let (peers, clients, disk) = (within(rng, [0, 4]), within(rng, [0, 4]), within(rng, [0, 3]));
    let wan_us = drawn.cluster.heartbeat_ms * 1_000 / 8;
    let class = |drawn: u64| match drawn {
        0 => Some([20, 80]),
        1 => Some([400, 2_500]),
        2 => Some([wan_us / 2, wan_us]),
        _ => None,
    };
    let cluster = &mut drawn.cluster;
    cluster.peer_delay_us = class(peers).unwrap_or(cluster.peer_delay_us);
    cluster.client_delay_us = class(clients).unwrap_or(cluster.client_delay_us);
    cluster.disk_us = match disk {
        0 => [10, 50],
        1 => [1_000, 10_000],
        _ => cluster.disk_us,
    };
}

/// In half of the seeds so few that a member which was away for seconds comes back by a snapshot.
fn catch_up_entries(rng: &mut ChaCha8Rng) -> u64 {
    let few = skewed(rng, [1, 100]);
    if chance(rng, 1, 2) { few } else { 5_000 }
}

fn times_to_live(rng: &mut ChaCha8Rng) -> [u64; 2] {
    let (shortest, more) = (within(rng, [1, 5]), skewed(rng, [0, 5]));
    [shortest, shortest + more]
}

/// Every clock is off by at most half of what sessions allow for, so that two of them are off by the whole at most, and
/// now and then are ([`super::draw::drift`]).
fn clocks(drawn: &mut Scenario, rng: &mut ChaCha8Rng) {
    let bound_ppm = [200, 1_000, 1_000, 5_000, 20_000][within(rng, [0, 4]) as usize];
    drawn.clients.drift_bound_ppm = bound_ppm;
    drawn.clients.drift_ppm = bound_ppm / 2;
}

/// Longer leases and elections, and longer lines, take longer: the bounds are moved, and the run is that much longer. What
/// the file says is meant for its own values.
pub(super) fn give_time(drawn: &mut Scenario, file: &Scenario) {
    let over = |ours: u64, theirs: u64| ours.saturating_sub(theirs);
    let least_ttl_ms = drawn.cluster.election_timeout_ms * 3 / 2;
    let leases_s = over(drawn.clients.ttl_s[1].max(least_ttl_ms.div_ceil(1_000)), file.clients.ttl_s[1]);
    let elections_ms = over(drawn.cluster.election_timeout_ms, file.cluster.election_timeout_ms);
    let in_line = |of: &Scenario| {
        u64::from(of.clients.count * of.clients.sessions).div_ceil(u64::from(of.workload.names))
    };
    // Most of a line's time is not what a holder does but what it waits for.
    let turn_ms = drawn.workload.hold_ms[1] + drawn.workload.write_ms[1];
    let lines_ms = over(in_line(drawn), in_line(file)) * turn_ms;
    let round_trips_us = over(drawn.cluster.client_delay_us[1], file.cluster.client_delay_us[1])
        + over(drawn.cluster.peer_delay_us[1], file.cluster.peer_delay_us[1]);
    // To the leader by way of a follower are two round trips, and some messages take eight times as long as others.
    drawn.workload.patience_ms[0] += 32 * round_trips_us / 1_000;
    drawn.workload.patience_ms[1] += 32 * round_trips_us / 1_000;
    let drain_s = leases_s + (2 * elections_ms).div_ceil(1_000);
    let progress_s =
        2 * leases_s + (6 * elections_ms + lines_ms + 10 * round_trips_us / 1_000).div_ceil(1_000);
    drawn.drain_s += drain_s;
    drawn.progress_s += progress_s;
    drawn.calm_s += progress_s.max(drain_s);
    drawn.duration_s += progress_s.max(drain_s);
}
