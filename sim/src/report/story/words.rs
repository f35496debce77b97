//! One step of a history in the words of a story, if the story is about it, and how much it matters (1 is most).

use tenure::kv::{Event, EventKind, Op, Request, Shown};

use super::cast::Cast;
use super::seconds;
use crate::check::Evidence;
use crate::history::{CallEnd, Deed, DeedEnd, Holding, SessionEnd, Step, Telling, WatchSays, What};
use crate::node::Node;
use crate::report::{recipes, show, timeline};

type Told = Option<(u8, String)>;

/// What goes wrong, what etcd does of itself, and who holds: never left out before the rest.
pub(super) const FAULT: u8 = 1;
const GRANT: u8 = 2;
const MATTERS: u8 = 3;
const BESIDES: u8 = 4;

pub(super) fn of_step(evidence: &Evidence<'_>, cast: &Cast, step: usize, last: usize) -> Told {
    let at = &evidence.history.steps[step];
    match at.node {
        // The last is the breach itself.
        _ if step == last && matches!(at.what, What::Own(_)) => None,
        Node::World | Node::Client(_) if matches!(at.what, What::Own(_)) => own_event(at),
        Node::World => world(evidence, &at.what, step, last),
        Node::Member(member) => of_member(evidence, cast, member, &at.what, step),
        Node::Client(client) => {
            let told = of_process(evidence, cast, client, &at.what, step);
            told.or_else(|| of_call(evidence, cast, client, &at.what))
                .or_else(|| of_tenure(evidence, cast, client, &at.what))
                .or_else(|| of_plain(cast, client, &at.what))
        }
    }
}

/// What a test's own clients tell.
fn own_event(at: &Step) -> Told {
    let What::Own(event) = &at.what else { return None };
    Some((MATTERS, format!("{}: {event}", at.node)))
}

fn world(evidence: &Evidence<'_>, what: &What, step: usize, last: usize) -> Told {
    match what {
        What::FaultBegins { index, fault } => {
            // The process that it happens to says so itself.
            let named = fault.name();
            if named.ends_with("-crash") || named.ends_with("-pause") {
                return None;
            }
            let ends = |what: &What| matches!(what, What::FaultEnds { index: ended } if ended == index);
            let until = evidence.history.steps[step..=last].iter().find(|later| ends(&later.what));
            let began_ns = evidence.history.steps[step].at_ns;
            let until =
                until.map_or(String::new(), |ended| format!(", for {}", seconds(ended.at_ns - began_ns)));
            let details = timeline::details(fault);
            let details = if details.is_empty() { details } else { format!(" ({details})") };
            Some((FAULT, format!("a fault began: {named}{until}{details}")))
        }
        What::Calm => {
            let began = |at: &Step| matches!(at.what, What::FaultBegins { .. });
            let any = evidence.history.steps[..step].iter().any(began);
            any.then(|| (MATTERS, "the last fault was over".to_owned()))
        }
        _ => commit(evidence, None, what),
    }
}

fn of_member(evidence: &Evidence<'_>, cast: &Cast, member: u32, what: &What, step: usize) -> Told {
    match what {
        What::Crashed => Some((FAULT, format!("m{member}{} crashed", leading(evidence, member, step)))),
        What::Paused => Some((FAULT, format!("m{member}{} stood still", leading(evidence, member, step)))),
        What::Resumed => Some((MATTERS, format!("m{member} went on"))),
        What::Started if step > 0 => Some((MATTERS, format!("m{member} was started again"))),
        What::Leads { term } if *term > 1 && step > 0 && evidence.history.steps[step].at_ns > 0 => {
            Some((GRANT, format!("m{member} became the leader (term {term})")))
        }
        What::LeaseExpired { lease } if cast.leases.contains(lease) => {
            let whose = whose_lease(evidence, *lease);
            Some((GRANT, format!("etcd found {whose} run out")))
        }
        _ => commit(evidence, Some(cast), what),
    }
}

fn leading(evidence: &Evidence<'_>, member: u32, step: usize) -> &'static str {
    let before = evidence.history.steps[..step].iter().rev();
    let last = before.filter_map(|at| match (at.node, &at.what) {
        (Node::Member(leader), What::Leads { .. }) => Some(leader),
        _ => None,
    });
    if last.take(1).any(|leader| leader == member) { ", the leader," } else { "" }
}

fn commit(evidence: &Evidence<'_>, cast: Option<&Cast>, what: &What) -> Told {
    let What::Committed { revision, call, request, events, .. } = what else { return None };
    if let Request::Compact { revision, .. } = &**request {
        return Some((MATTERS, format!("etcd's history was compacted to revision {revision}")));
    }
    let cast = cast?;
    let sender = call.and_then(|call| sender(evidence, call));
    if let Request::LeaseRevoke { id } = &**request
        && (cast.leases.contains(id) || events.iter().any(|event| cast.has_key(&event.kv.key, *id)))
    {
        let owner = evidence.sessions.get(id).map(|session| session.client);
        let own = sender.is_some() && sender == owner;
        let whose = if own { "its own lease".to_owned() } else { whose_lease(evidence, *id) };
        let by = sender.map_or_else(|| "etcd revoked".to_owned(), |client| format!("c{client} revoked"));
        let keys = if events.is_empty() { "" } else { ", and its key was gone" };
        let rank = if own { MATTERS } else { GRANT };
        return Some((rank, format!("{by} {whose}{keys} (revision {revision})")));
    }
    let late = call.and_then(|call| evidence.calls.get(&call)).is_some_and(|call| call.given_up);
    let late = if late { ", long after the client had given the request up" } else { "" };
    let told: Vec<_> = events.iter().filter_map(|event| changed(evidence, cast, sender, event)).collect();
    if told.is_empty() {
        return None;
    }
    let rank = if late.is_empty() { MATTERS } else { FAULT };
    Some((rank, format!("{} (revision {revision}){late}", told.join(", and "))))
}

fn changed(evidence: &Evidence<'_>, cast: &Cast, sender: Option<u32>, event: &Event) -> Option<String> {
    let life = evidence
        .keys
        .values()
        .flatten()
        .rev()
        .find(|life| life.key == event.kv.key && life.create_revision <= event.kv.mod_revision);
    let lease = if event.kv.lease == 0 { life.map_or(0, |life| life.lease) } else { event.kv.lease };
    if !cast.has_key(&event.kv.key, lease) {
        return None;
    }
    let by = sender.map_or_else(|| "etcd".to_owned(), |client| format!("c{client}"));
    let key = Shown(&event.kv.key);
    let owner = evidence.sessions.get(&lease).map(|session| session.client);
    Some(match event.kind {
        EventKind::Put if cast.uses_etcd_itself() => format!("{by} wrote {key}"),
        EventKind::Put if lease == 0 => format!("{by} wrote {key}"),
        EventKind::Put if event.kv.create_revision == event.kv.mod_revision => format!("{by} got in line"),
        EventKind::Put => format!("{by} wrote its key in line anew"),
        EventKind::Delete => match owner {
            Some(owner) if Some(owner) != sender => format!("{by} deleted the key of c{owner}"),
            Some(_) => format!("{by} deleted its key in line"),
            None => format!("{by} deleted {key}"),
        },
    })
}

fn sender(evidence: &Evidence<'_>, call: u64) -> Option<u32> {
    let sent = evidence.calls.get(&call)?.sent?;
    match evidence.history.steps[sent].node {
        Node::Client(client) => Some(client),
        _ => None,
    }
}

fn whose_lease(evidence: &Evidence<'_>, lease: i64) -> String {
    match evidence.sessions.get(&lease) {
        Some(session) => format!("the lease of c{}", session.client),
        None => format!("the lease {}", show::hex(lease)),
    }
}

/// Of the process itself.
fn of_process(evidence: &Evidence<'_>, cast: &Cast, client: u32, what: &What, step: usize) -> Told {
    if !cast.clients.contains(&client) {
        return None;
    }
    let steps = &evidence.history.steps;
    match what {
        What::Crashed => Some((FAULT, format!("c{client} crashed"))),
        What::Started => {
            let crashed = |at: &Step| at.node == Node::Client(client) && at.what == What::Crashed;
            let again = steps[..step].iter().any(crashed);
            again.then(|| (MATTERS, format!("c{client} was started again")))
        }
        What::Paused => {
            let from_ns = steps[step].at_ns;
            let pause = evidence.pauses.iter().find(|pause| pause.0 == client && pause.1 == from_ns);
            let for_ns = pause.map_or(0, |&(_, from_ns, to_ns)| to_ns - from_ns);
            let of = |lease: &i64| evidence.sessions.get(lease).filter(|session| session.client == client);
            let ttl_ns = cast.leases.iter().filter_map(of).map(|session| session.ttl_ns).min();
            let past = ttl_ns.filter(|&ttl_ns| ttl_ns < for_ns);
            let past = past.map_or(String::new(), |ttl| format!(", past its TTL of {}", seconds(ttl)));
            Some((FAULT, format!("c{client} was paused for {}{past}", seconds(for_ns))))
        }
        What::Resumed => Some((BESIDES, format!("c{client} went on"))),
        _ => None,
    }
}

/// What the network did to calls that matter: writes, and grants of leases.
fn of_call(evidence: &Evidence<'_>, cast: &Cast, client: u32, what: &What) -> Told {
    let (call, did) = match what {
        What::Network { call, did } => (*call, *did),
        What::GaveUp { call } => (*call, "given up"),
        _ => return None,
    };
    if !cast.clients.contains(&client) {
        return None;
    }
    let sent = evidence.calls.get(&call)?.sent?;
    let What::Sent { request, .. } = &evidence.history.steps[sent].what else { return None };
    let is_read = matches!(**request, Request::Range(_) | Request::Status | Request::LeaseLeases);
    let asked = purpose(cast, request);
    Some(match did {
        "given up" if is_read => return None,
        "given up" => (MATTERS, format!("c{client} gave up waiting for the answer to its {asked}")),
        did => {
            let rank = if is_read { BESIDES } else { FAULT };
            let words = match did {
                "request lost" => format!("the network lost c{client}'s {asked}"),
                "answer lost" => format!("the network lost the answer to c{client}'s {asked}"),
                "request doubled" => format!("the network doubled c{client}'s {asked}"),
                did => format!("of c{client}'s {asked}: {did}"),
            };
            (rank, words)
        }
    })
}

/// What a request is for.
fn purpose(cast: &Cast, request: &Request) -> String {
    let in_line = |key: &[u8]| cast.has_key(key, 0) && !cast.uses_etcd_itself();
    let of_ops = |ops: &[Op]| {
        ops.iter().find_map(|op| match op {
            Op::Put(put) if put.lease != 0 && in_line(&put.key) => Some("request to get in line"),
            Op::Put(put) if in_line(&put.key) => Some("write of its key in line"),
            Op::Delete(delete) if in_line(&delete.key) => Some("request to delete its key in line"),
            _ => None,
        })
    };
    let named = match request {
        Request::Txn(txn) => of_ops(&txn.success).or_else(|| {
            let guarded = txn.compares.iter().any(|compare| in_line(&compare.key));
            guarded.then_some("transaction guarded by its key in line")
        }),
        Request::Put(put) => of_ops(&[Op::Put(put.clone())]),
        Request::Delete(delete) => of_ops(&[Op::Delete(delete.clone())]),
        Request::LeaseGrant { .. } => Some("request for a lease"),
        Request::LeaseKeepAlive { .. } => Some("renewal of its lease"),
        Request::LeaseRevoke { .. } => Some("revocation of its lease"),
        _ => None,
    };
    named.map_or_else(|| format!("request ({})", show::request(request)), str::to_owned)
}

fn of_tenure(evidence: &Evidence<'_>, cast: &Cast, client: u32, what: &What) -> Told {
    let ours = |holding: &Holding| {
        cast.names.contains(&*holding.name)
            && (cast.leases.contains(&holding.lease) || cast.clients.contains(&holding.client))
    };
    match what {
        What::Asks { name, kind, how, lease, .. }
            if cast.names.contains(&**name) && cast.leases.contains(lease) =>
        {
            Some((BESIDES, format!("c{client} asked for the {kind} {name:?} ({how})")))
        }
        What::Granted { holding, believers, .. } if ours(holding) => {
            let mut text = format!(
                "c{client} was granted the {} {:?} with token {}",
                holding.kind, &*holding.name, holding.token
            );
            for other in believers.iter().filter(|other| other.name == holding.name) {
                text += &format!(
                    "; c{} still believed that it held it, with token {}",
                    other.client, other.token
                );
            }
            let told = if cast.tokens.contains(&holding.token) { GRANT } else { BESIDES };
            Some((told, text))
        }
        What::NotGranted { ticket, why } => {
            let ask = evidence.asks.iter().find(|ask| ask.ticket == *ticket)?;
            (cast.names.contains(&*ask.name) && cast.clients.contains(&client)).then(|| {
                (MATTERS, format!("c{client} was not granted the {} {:?}: {why}", ask.kind, &*ask.name))
            })
        }
        What::Releases { holding, .. } if ours(holding) => {
            Some((BESIDES, format!("c{client} gave {} back", it(holding))))
        }
        What::Released { holding, error } if ours(holding) => Some(match error {
            None => (MATTERS, format!("c{client}'s release of {} was confirmed", it(holding))),
            Some(error) => (MATTERS, format!("c{client}'s release of {} failed: {error}", it(holding))),
        }),
        What::ToldLost { holding, by } if ours(holding) => {
            let how = match by {
                Telling::Lost { .. } => "was told that it had lost",
                Telling::NotHeld => "looked, and no longer held",
            };
            Some((MATTERS, format!("c{client} {how} {}", it(holding))))
        }
        What::ResourceWrite { holding, token, accepted } if ours(holding) => {
            let sent = token.map_or("without a token".to_owned(), |token| format!("with token {token}"));
            let did = if *accepted { "took" } else { "refused" };
            Some((MATTERS, format!("the resource {did} a write that c{} had sent {sent}", holding.client)))
        }
        What::SessionOpened { lease, ttl_ms } if cast.leases.contains(lease) => Some((
            BESIDES,
            format!("c{client} opened a session with a TTL of {}", seconds(ttl_ms * 1_000_000)),
        )),
        What::SessionEnded { lease, how } if cast.leases.contains(lease) => Some(match how {
            SessionEnd::Closed => (MATTERS, format!("c{client} closed its session")),
            SessionEnd::Dropped => (MATTERS, format!("c{client} dropped its session")),
            SessionEnd::Lost => (MATTERS, format!("c{client} found its session lost")),
            SessionEnd::Orphaned => (MATTERS, format!("c{client} left its lease to another")),
        }),
        What::Does { what: Deed::Recipe { name, what, .. }, .. } if cast.names.contains(&**name) => {
            Some((BESIDES, format!("c{client} {}", recipes::begins(name, what))))
        }
        What::Did { deed, end: DeedEnd::Recipe(given) } => match evidence.deed(*deed)?.what {
            Deed::Recipe { name, .. } if cast.names.contains(&**name) => {
                Some((MATTERS, format!("c{client} {}", recipes::given(given))))
            }
            _ => None,
        },
        What::Did { deed, end } => of_deed(evidence, &ours, client, *deed, end),
        What::Observed { name, observer, leader } if cast.names.contains(&**name) => {
            let mine = cast.observers.is_empty() || cast.observers.contains(observer);
            let saw = leader.as_ref().map_or("that nobody leads".to_owned(), timeline::says);
            mine.then(|| (MATTERS, format!("observer {observer}, of c{client}, saw {saw}")))
        }
        _ => None,
    }
}

fn of_deed(
    evidence: &Evidence<'_>,
    ours: &impl Fn(&Holding) -> bool,
    client: u32,
    deed: u64,
    end: &DeedEnd,
) -> Told {
    let (what, holding) = match evidence.deed(deed)?.what {
        Deed::Txn { holding } => ("transaction guarded by", holding),
        Deed::Proclaim { holding, .. } => ("proclamation by", holding),
        Deed::Confirm { holding } => ("question to etcd about", holding),
        Deed::Resign { holding } => ("resignation of", holding),
        _ => return None,
    };
    if !ours(holding) {
        return None;
    }
    let ended = match end {
        DeedEnd::Committed { revision } => format!("was committed at revision {revision}"),
        DeedEnd::Done => "was done".to_owned(),
        DeedEnd::Confirmed(true) => "was answered: it is held".to_owned(),
        DeedEnd::Confirmed(false) => "was answered: it is not held".to_owned(),
        DeedEnd::Leads(_) | DeedEnd::Recipe(_) => return None,
        DeedEnd::Failed(error) => format!("failed: {error}"),
    };
    Some((BESIDES, format!("c{client}'s {what} {} {ended}", it(holding))))
}

fn it(holding: &Holding) -> String {
    format!("the {} {:?} (token {})", holding.kind, &*holding.name, holding.token)
}

/// What clients that use etcd itself asked and were told.
fn of_plain(cast: &Cast, client: u32, what: &What) -> Told {
    if !cast.uses_etcd_itself() {
        return None;
    }
    match what {
        What::Calls { op, request } => {
            let rank = if cast.operations.contains(op) { GRANT } else { BESIDES };
            Some((rank, format!("c{client} asked (operation {op}): {}", show::request(request))))
        }
        What::Returned { op, end } => {
            let rank = if cast.operations.contains(op) { GRANT } else { MATTERS };
            let said = match end {
                CallEnd::Answered(response) => format!("was answered: {}", show::response(response)),
                CallEnd::NotApplied(why) => format!("was told that it was not applied: {why}"),
                CallEnd::Maybe(why) => format!("was told that it may have been applied: {why}"),
                CallEnd::Refused(why) => format!("was refused: {why}"),
            };
            Some((rank, format!("c{client} (operation {op}) {said}")))
        }
        What::StreamOpened { stream, request } if cast.streams.contains(stream) => {
            Some((MATTERS, format!("c{client} opened stream {stream}: {}", show::watch(request))))
        }
        What::StreamSaid { stream, says } if cast.streams.contains(stream) => {
            let said = match says {
                WatchSays::Created { revision } => format!("was open, at revision {revision}"),
                WatchSays::Events(events) => format!("told: {}", show::events(events)),
                WatchSays::Compacted { compact_revision } => {
                    format!("ended: compacted to revision {compact_revision}")
                }
                WatchSays::Refused(why) => format!("ended: {why}"),
            };
            Some((MATTERS, format!("stream {stream} of c{client} {said}")))
        }
        _ => None,
    }
}
