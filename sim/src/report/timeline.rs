//! A history as a timeline: every step in a line with its time, its node and what happened, and each violation right below
//! the step in which an invariant broke.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::Style;

use super::style::{BAD, FAINT, GOOD, NAME, NOTICE};
use super::{recipes, show};
use crate::check::Violation;
use crate::history::{CallEnd, Deed, DeedEnd, History, Holding, SeenLeader, Step, Telling, WatchSays, What};
use crate::node::Node;
use crate::workload::program::OperatorAct;

/// Which steps are shown.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Not before this time.
    pub from_ns: Option<u64>,
    /// Not after it.
    pub to_ns: Option<u64>,
    /// Only of these nodes; empty for all. The world's steps are always shown.
    pub nodes: Vec<Node>,
    /// Leave out calls, watches, the network and what changes nothing: only what clients do and what goes wrong.
    pub brief: bool,
}

impl Selection {
    fn shows(&self, step: &Step) -> bool {
        self.from_ns.is_none_or(|from_ns| step.at_ns >= from_ns)
            && self.to_ns.is_none_or(|to_ns| step.at_ns <= to_ns)
            && (self.nodes.is_empty() || step.node == Node::World || self.nodes.contains(&step.node))
            && !(self.brief && is_detail(&step.what))
    }
}

fn is_detail(what: &What) -> bool {
    matches!(
        what,
        What::Sent { .. }
            | What::Answered { .. }
            | What::GaveUp { .. }
            | What::Network { .. }
            | What::WatchSent { .. }
            | What::WatchTold { .. }
            | What::WatchBroke { .. }
            | What::Does { what: Deed::OpenSession { .. } | Deed::CloseSession { .. }, .. }
            | What::Did { end: DeedEnd::Done, .. }
            | What::Started
    ) || matches!(what, What::Committed { events, .. } if events.is_empty())
}

/// Writes a timeline. Violations are shown whatever the selection.
///
/// # Errors
/// If `out` cannot be written to.
pub fn write(
    out: &mut impl Write,
    history: &History,
    violations: &[Violation],
    selection: &Selection,
) -> io::Result<()> {
    for (index, step) in history.steps.iter().enumerate() {
        let broken: Vec<_> = violations.iter().filter(|violation| violation.step == index).collect();
        if broken.is_empty() && !selection.shows(step) {
            continue;
        }
        writeln!(out, "{}", line(index, step))?;
        for violation in broken {
            writeln!(out, "{BAD}>>>>>> VIOLATION of {}: {}{BAD:#}", violation.invariant, violation.detail)?;
        }
    }
    Ok(())
}

/// One step in one line.
pub fn line(index: usize, step: &Step) -> String {
    let (style, text) = describe(&step.what);
    let mut line = String::new();
    // Whole microseconds: links are faster than milliseconds.
    let micros = step.at_ns / 1_000;
    let _ = write!(line, "{FAINT}{index:>6}{FAINT:#} {:>4}.{:06} ", micros / 1_000_000, micros % 1_000_000);
    let _ = write!(line, "{NAME}{:<5}{NAME:#} {style}{text}{style:#}", step.node);
    line
}

/// What happened in a step, in words.
pub fn text(what: &What) -> String {
    describe(what).1
}

const PLAIN: Style = Style::new();

fn describe(what: &What) -> (Style, String) {
    match what {
        What::FaultBegins { index, fault } => {
            (NOTICE, format!("fault {index} begins: {} {}", fault.name(), details(fault)))
        }
        What::FaultEnds { index } => (NOTICE, format!("fault {index} ends")),
        What::Calm => (
            NOTICE,
            "calm: no fault is active any more but on nodes that stay broken, and none will come".into(),
        ),
        What::LostTail { entries } => {
            (NOTICE, format!("loses the last {entries} entries of its log, which were not durable"))
        }
        What::Restored { revision } => {
            (NOTICE, format!("takes over a snapshot of the leader, at revision {revision}"))
        }
        What::Joined { learner: true } => (NOTICE, "joins the cluster as a learner".into()),
        What::Joined { learner: false } => (NOTICE, "joins the cluster".into()),
        What::Promoted => (NOTICE, "is promoted: it votes".into()),
        What::Left => (NOTICE, "is removed from the cluster, and ends".into()),
        What::StaysBroken => (NOTICE, "stays broken to the end".into()),
        What::Started => (NOTICE, "started".into()),
        What::Crashed => (NOTICE, "crashed".into()),
        What::Paused => (NOTICE, "paused".into()),
        What::Resumed => (NOTICE, "goes on".into()),
        What::Leads { term } => (NOTICE, format!("leads in term {term}")),
        What::SteppedDown { term } => (NOTICE, format!("no longer leads (term {term})")),
        What::LeaseExpired { lease } => {
            (NOTICE, format!("lease {} has run out; proposes to revoke it", show::hex(*lease)))
        }
        What::Committed { revision, call, request, events } => {
            let of = call.map_or_else(String::new, |call| format!(" (call {call})"));
            let did = if events.is_empty() { show::request(request) } else { show::events(events) };
            (PLAIN, format!("commits revision {revision}{of}: {did}"))
        }
        What::Sent { .. }
        | What::Network { .. }
        | What::Answered { .. }
        | What::GaveUp { .. }
        | What::WatchSent { .. }
        | What::WatchTold { .. }
        | What::WatchBroke { .. } => (FAINT, describe_call(what)),
        _ => describe_workload(what),
    }
}

fn describe_call(what: &What) -> String {
    match what {
        What::Sent { call, member, request } => {
            format!("call {call} to m{member}: {}", show::request(request))
        }
        What::Network { call, did } => format!("call {call}: {did}"),
        What::Answered { call, outcome: Ok(response) } => {
            format!("call {call} answered: {}", show::response(response))
        }
        What::Answered { call, outcome: Err(status) } => format!("call {call} failed: {status}"),
        What::GaveUp { call } => format!("call {call} given up"),
        What::WatchSent { watch, member, request } => {
            format!("watch {watch} to m{member}: {}", show::watch(request))
        }
        What::WatchTold { watch, kind, revision, events } if events.is_empty() => {
            format!("watch {watch} told: {kind} (revision {revision})")
        }
        What::WatchTold { watch, events, .. } => format!("watch {watch} told: {}", show::events(events)),
        What::WatchBroke { watch, status } => format!("watch {watch} broke: {status}"),
        other => format!("{other:?}"),
    }
}

fn describe_workload(what: &What) -> (Style, String) {
    match what {
        What::SessionOpened { lease, ttl_ms } => {
            (PLAIN, format!("opened a session: lease {}, TTL {ttl_ms} ms", show::hex(*lease)))
        }
        What::SessionEnded { lease, how } => (PLAIN, format!("session {how}: lease {}", show::hex(*lease))),
        What::Asks { ticket, name, kind, lease, how, .. } => (
            PLAIN,
            format!("asks for the {kind} {name:?} ({how}, ticket {ticket}, lease {})", show::hex(*lease)),
        ),
        What::PassesOver { name, lane } => {
            (PLAIN, format!("program {lane} leaves an operation out: its session stands in {name:?} already"))
        }
        What::Granted { ticket, holding, believers, .. } => {
            let mut text = format!("GRANTED {} (ticket {ticket})", held(holding));
            if believers.is_empty() {
                return (GOOD, text);
            }
            let others = believers.iter().map(|other| format!("c{} ({})", other.client, held(other)));
            let _ = write!(text, "; still believes: {}", others.collect::<Vec<_>>().join(", "));
            (BAD, text)
        }
        What::NotGranted { ticket, why } => (PLAIN, format!("not granted (ticket {ticket}): {why}")),
        What::Releases { holding, .. } => (PLAIN, format!("gives back {}", held(holding))),
        What::Released { holding, error: None } => (PLAIN, format!("has given back {}", held(holding))),
        What::Released { holding, error: Some(error) } => {
            (PLAIN, format!("has not given back {}: {error}", held(holding)))
        }
        What::ToldLost { holding, by: Telling::Lost { is_held } } => {
            let but = if *is_held { ", but is_held() is true" } else { "" };
            (NOTICE, format!("is told that it lost {}{but}", held(holding)))
        }
        What::ToldLost { holding, by: Telling::NotHeld } => {
            (NOTICE, format!("looks, and does not hold {} any more", held(holding)))
        }
        What::ResourceWrite { holding, token, accepted } => {
            let with = token.map_or("without a token".to_owned(), |token| format!("with token {token}"));
            let (style, did) = if *accepted { (PLAIN, "takes") } else { (NOTICE, "REFUSES") };
            let (client, own) = (holding.client, held(holding));
            (style, format!("resource {did} a write of c{client}, holder of {own}, sent {with}"))
        }
        What::Does { deed, what } => (PLAIN, format!("deed {deed}: {}", begins(what))),
        What::Did { deed, end } => did(*deed, end),
        What::Observes { name, observer } => (PLAIN, format!("observer {observer} of {name:?} begins")),
        What::Observed { name, observer, leader: Some(leader) } => {
            (PLAIN, format!("observer {observer} sees the leader of {name:?}: {}", says(leader)))
        }
        What::Observed { name, observer, leader: None } => {
            (PLAIN, format!("observer {observer} sees no leader of {name:?}"))
        }
        What::ObserverFailed { observer, error } => (NOTICE, format!("observer {observer} is told: {error}")),
        What::Calls { op, request } => (PLAIN, format!("operation {op}: {}", show::request(request))),
        What::Returned { op, end } => returned(*op, end),
        What::StreamOpened { stream, request } => {
            (PLAIN, format!("stream {stream}: {}", show::watch(request)))
        }
        What::StreamSaid { stream, says } => stream_said(*stream, says),
        What::StreamClosed { stream } => (PLAIN, format!("stream {stream} is over")),
        What::Own(event) => (PLAIN, event.to_string()),
        What::Note(text) => (FAINT, text.clone()),
        other => (PLAIN, format!("{other:?}")),
    }
}

fn held(holding: &Holding) -> String {
    format!("the {} {:?} with token {}", holding.kind, &*holding.name, holding.token)
}

pub(super) fn says(leader: &SeenLeader) -> String {
    let SeenLeader { value, rev, mod_revision, .. } = leader;
    format!("{:?} (created {rev}, modified {mod_revision})", String::from_utf8_lossy(value))
}

fn begins(deed: &Deed) -> String {
    match deed {
        Deed::Txn { holding } => format!("a transaction guarded by {}", held(holding)),
        Deed::Proclaim { holding, value, stands_again } => {
            let how = if *stands_again { "stands again" } else { "proclaims" };
            format!("{how} {:?} by {}", String::from_utf8_lossy(value), held(holding))
        }
        Deed::Confirm { holding } => format!("asks etcd whether it holds {}", held(holding)),
        Deed::Resign { holding } => format!("resigns {}, but will not wait for that", held(holding)),
        Deed::Leader { name, lease } => format!("asks who leads {name:?} (lease {})", show::hex(*lease)),
        Deed::OpenSession { on: None, ttl_ms } => format!("opens a session of {ttl_ms} ms"),
        Deed::OpenSession { on: Some(lease), .. } => {
            format!("opens a session on lease {}", show::hex(*lease))
        }
        Deed::CloseSession { lease } => format!("closes the session of lease {}", show::hex(*lease)),
        Deed::Operator { holding, act, .. } => match act {
            OperatorAct::DeleteHolder => format!("an operator deletes the key of {}", held(holding)),
            OperatorAct::RevokeHolder => format!("an operator revokes the lease of {}", held(holding)),
            OperatorAct::DeleteNext => {
                format!("an operator deletes the key of who waits for {}", held(holding))
            }
            OperatorAct::RevokeNext => {
                format!("an operator revokes the lease of who waits for {}", held(holding))
            }
            OperatorAct::PutForeign => {
                format!("an operator puts a key of no contender into the line of {}", held(holding))
            }
        },
        Deed::Recipe { name, what, .. } => recipes::begins(name, what),
    }
}

fn did(deed: u64, end: &DeedEnd) -> (Style, String) {
    match end {
        DeedEnd::Committed { revision } => (PLAIN, format!("deed {deed}: committed at revision {revision}")),
        DeedEnd::Done => (PLAIN, format!("deed {deed}: done")),
        DeedEnd::Confirmed(true) => (PLAIN, format!("deed {deed}: it is held")),
        DeedEnd::Confirmed(false) => (NOTICE, format!("deed {deed}: it is not held")),
        DeedEnd::Leads(Some(leader)) => (PLAIN, format!("deed {deed}: {} leads", says(leader))),
        DeedEnd::Leads(None) => (PLAIN, format!("deed {deed}: nobody leads")),
        DeedEnd::Failed(error) => (NOTICE, format!("deed {deed} failed: {error}")),
        DeedEnd::Recipe(given) => (PLAIN, format!("deed {deed}: {}", recipes::given(given))),
    }
}

fn returned(op: u64, end: &CallEnd) -> (Style, String) {
    match end {
        CallEnd::Answered(response) => (PLAIN, format!("operation {op} done: {}", show::response(response))),
        CallEnd::NotApplied(why) => (NOTICE, format!("operation {op} not applied: {why}")),
        CallEnd::Maybe(why) => (NOTICE, format!("operation {op} maybe applied: {why}")),
        CallEnd::Refused(why) => (NOTICE, format!("operation {op} refused: {why}")),
    }
}

fn stream_said(stream: u64, says: &WatchSays) -> (Style, String) {
    match says {
        WatchSays::Created { revision } => (PLAIN, format!("stream {stream} is open (revision {revision})")),
        WatchSays::Events(events) => (PLAIN, format!("stream {stream} tells: {}", show::events(events))),
        WatchSays::Compacted { compact_revision } => {
            (NOTICE, format!("stream {stream} ends: compacted to revision {compact_revision}"))
        }
        WatchSays::Refused(why) => (NOTICE, format!("stream {stream} ends: {why}")),
    }
}

/// What a fault's name does not say.
pub(super) fn details(fault: &crate::fault::Fault) -> String {
    use crate::fault::{Fault, Outage};
    let links = |links: &[(Node, Node)]| {
        let shown = links.iter().map(|(from, to)| format!("{from}->{to}"));
        shown.collect::<Vec<_>>().join(" ")
    };
    match fault {
        Fault::Crash { node } | Fault::Pause { node } => node.to_string(),
        Fault::Cut { links: cut } => links(cut),
        Fault::Flap { links: cut, period_ms } => format!("every {period_ms} ms {}", links(cut)),
        Fault::Loss { links: on, per_mille } => format!("of {per_mille} in 1000 on {}", links(on)),
        Fault::Delay { links: on, max_ms } => format!("of up to {max_ms} ms on {}", links(on)),
        Fault::Duplicate { links: on, per_mille, max_ms, writes: _ } => {
            format!("of {per_mille} in 1000 after up to {max_ms} ms on {}", links(on))
        }
        Fault::AnswerLost { client, per_mille } => format!("of {per_mille} in 1000 to {client}"),
        Fault::ClockDrift { node, ppm } => format!("of {ppm} millionths at {node}"),
        Fault::ClockJump { node, ahead_ms } => format!("of {ahead_ms} ms at {node}"),
        Fault::SlowCommit { node, max_ms } => format!("of up to {max_ms} ms at {node}"),
        Fault::PowerLoss { node } => format!("of {node} at its next append"),
        Fault::MajorityLoss { members, outage } => {
            let shown: Vec<_> = members.iter().map(Node::to_string).collect();
            let how = match outage {
                Outage::Crash => "crash",
                Outage::Pause => "stand still",
            };
            format!("of {}, which {how}", shown.join(" "))
        }
        Fault::MemberAdd { node, learner } | Fault::MemberRemove { node, learner } => {
            format!("{node}{}", if *learner { ", a learner first" } else { "" })
        }
        Fault::WatchLag { node, max_ms } => format!("of up to {max_ms} ms at {node}"),
        Fault::Compact { keep } => format!("keeping {keep} revisions"),
        Fault::TokenExpiry { client } => format!("of {client}"),
        Fault::LeaderChange | Fault::NoSpace => String::new(),
    }
}
