//! `who`: the holders of a name, those who wait for it, since when, and what is left of their leases.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::{FutureExt, StreamExt, future::join_all, select_biased};
use serde::Serialize;
use tenure::kv::{KeyValue, Range, Request, Response, Shown, SortOrder, SortTarget, WatchRequest};
use tenure::{Backend, CallError, Etcd, Runtime, WatchMessage};

use crate::args;
use crate::connect::connect;
use crate::exit::{Ended, Failure, code};
use crate::hold::unix_ms;
use crate::info::{self, Who};
use crate::signals::Signals;

/// One name at one revision.
#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    revision: i64,
    holders: Vec<Contender>,
    /// In the order in which they are to be granted.
    waiting: Vec<Contender>,
}

/// A key in line.
#[derive(Debug, Serialize)]
struct Contender {
    key: String,
    /// The revision that created the key: the fencing token of who holds.
    token: i64,
    /// For a read-write lock, the side.
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
    /// For a semaphore, how many permits it has by this contender's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<usize>,
    /// What a candidate of an election says.
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
    lease: String,
    /// Seconds that are left of the lease if it is not renewed; null if there is no lease any more.
    ttl_left_s: Option<i64>,
    ttl_s: Option<i64>,
    /// What a tenurectl says of itself; null for others.
    who: Option<Who>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Read,
    Write,
}

pub async fn run(connection: &args::Connection, args: &args::Who) -> Result<Ended, Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(code::FAILED, format!("signals cannot be listened for: {error}")))?;
    let work = async {
        let etcd = connect(connection).await?;
        if args.watch {
            follow(&etcd, args, connection.connect_timeout).await
        } else {
            once(&etcd, args, connection.connect_timeout).await
        }
    };
    select_biased! {
        raw = signals.ending().fuse() => if args.watch { Ok(Ended::Code(0)) } else { Err(Failure::signalled(raw)) },
        done = Box::pin(work).fuse() => done.map(|()| Ended::Code(0)),
    }
}

async fn once(etcd: &Etcd, args: &args::Who, limit: Duration) -> Result<(), Failure> {
    let answer = ask(etcd, &args.name, limit).await?;
    print(&answer, args, false);
    Ok(())
}

/// Prints the line after each change, until nobody reads any more.
async fn follow(etcd: &Etcd, args: &args::Who, limit: Duration) -> Result<(), Failure> {
    loop {
        let mut line = etcd.watch(WatchRequest::prefix(format!("{}/", args.name)));
        let mut infos = etcd.watch(WatchRequest::prefix(info::prefix(&args.name)));
        loop {
            let told = select_biased! {
                told = line.next().fuse() => told,
                told = infos.next().fuse() => told,
            };
            match told {
                Some(Ok(WatchMessage::Compacted { .. })) | None => break,
                Some(Ok(_)) => {
                    if !print(&ask(etcd, &args.name, limit).await?, args, true) {
                        return Ok(());
                    }
                }
                Some(Err(refusal)) => {
                    return Err(Failure::new(code::FAILED, format!("etcd refuses: {refusal}")));
                }
            }
        }
    }
}

/// False if nobody reads.
fn print(answer: &Answer, args: &args::Who, again: bool) -> bool {
    let words = match (args.json, again) {
        (true, true) => serde_json::to_string(answer).map(|json| json + "\n"),
        (true, false) => serde_json::to_string_pretty(answer).map(|json| json + "\n"),
        (false, true) => Ok(table(answer) + "\n"),
        (false, false) => Ok(table(answer)),
    };
    let mut out = std::io::stdout();
    out.write_all(words.unwrap_or_default().as_bytes()).and_then(|()| out.flush()).is_ok()
}

async fn ask(etcd: &Etcd, name: &str, limit: Duration) -> Result<Answer, Failure> {
    let deadline = || etcd.now() + limit;
    let by_age = |range: Range| range.sorted(SortTarget::Create, SortOrder::Ascend);
    let (line, infos) = futures_util::future::join(
        etcd.range(by_age(Range::prefix(format!("{name}/"))), deadline()),
        etcd.range(Range::prefix(info::prefix(name)), deadline()),
    )
    .await;
    let line = line.map_err(failed)?;
    // Without permission for them, nothing is known of anybody.
    let infos = infos.map(|infos| infos.kvs).unwrap_or_default();
    let infos: BTreeMap<i64, Who> =
        infos.iter().filter_map(|kv| Some((kv.lease, serde_json::from_slice(&kv.value).ok()?))).collect();
    let leases = line.kvs.iter().map(|kv| kv.lease).collect::<std::collections::BTreeSet<_>>();
    let left = leases.into_iter().map(|id| {
        let call = etcd.call(Request::LeaseTimeToLive { id, keys: false }, deadline());
        async move { Ok::<_, CallError>((id, call.await?)) }
    });
    let left = join_all(left).await.into_iter().collect::<Result<BTreeMap<_, _>, _>>().map_err(failed)?;
    let prefix = format!("{name}/").len();
    let all = line.kvs.iter().map(|kv| contender(kv, prefix, &infos, &left));
    let (holders, waiting) = sort(all.collect());
    Ok(Answer { name: name.to_owned(), revision: line.header.revision, holders, waiting })
}

fn contender(
    kv: &KeyValue,
    prefix: usize,
    infos: &BTreeMap<i64, Who>,
    left: &BTreeMap<i64, Response>,
) -> Contender {
    let rest = kv.key.get(prefix..).unwrap_or_default();
    let side = if rest.starts_with(b"read/") {
        Some(Side::Read)
    } else if rest.starts_with(b"write/") {
        Some(Side::Write)
    } else {
        None
    };
    let (ttl_left_s, ttl_s) = match left.get(&kv.lease) {
        Some(&Response::LeaseTimeToLive { ttl_s: left, granted_ttl_s, .. }) if left >= 0 => {
            (Some(left), Some(granted_ttl_s))
        }
        _ => (None, None),
    };
    Contender {
        key: Shown(&kv.key).to_string(),
        token: kv.create_revision,
        side,
        permits: permits(rest),
        value: String::from_utf8_lossy(&kv.value).into_owned(),
        lease: format!("{:x}", kv.lease),
        ttl_left_s,
        ttl_s,
        who: infos.get(&kv.lease).cloned(),
    }
}

/// The permits in a semaphore's key, less the name: `sem/PERMITS/..`.
fn permits(rest: &[u8]) -> Option<usize> {
    std::str::from_utf8(rest).ok()?.strip_prefix("sem/")?.split_once('/')?.0.parse().ok()
}

/// Who holds and who waits, given all in order of age: the first does (of a semaphore, as many as it has permits), and a
/// reader with no older writer.
fn sort(all: Vec<Contender>) -> (Vec<Contender>, Vec<Contender>) {
    let mut older_writer = false;
    let mut older = 0;
    all.into_iter().partition(|contender| {
        let holds = match contender.side {
            Some(Side::Read) => !older_writer,
            Some(Side::Write) | None => older < contender.permits.unwrap_or(1),
        };
        older_writer |= contender.side == Some(Side::Write);
        older += 1;
        holds
    })
}

fn table(answer: &Answer) -> String {
    if answer.holders.is_empty() && answer.waiting.is_empty() {
        return format!("{}: free\n", answer.name);
    }
    let mut rows = vec![["", "TOKEN", "LEASE", "TTL LEFT", "SINCE", "WHO", "VALUE"].map(str::to_owned)];
    let numbers = (1..).map(|place| format!("waits {place}"));
    let holders = answer.holders.iter().map(|contender| ("holds".to_owned(), contender, true));
    let waiting = numbers.zip(&answer.waiting).map(|(place, contender)| (place, contender, false));
    rows.extend(holders.chain(waiting).map(|(place, contender, holds)| row(place, contender, holds)));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = format!("{} (revision {})\n", answer.name, answer.revision);
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
            let _ = write!(line, "{cell:<width$}  ", width = *width);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn row(place: String, contender: &Contender, holds: bool) -> [String; 7] {
    let side = match (contender.side, contender.permits) {
        (Some(Side::Read), _) => " (read)".to_owned(),
        (Some(Side::Write), _) => " (write)".to_owned(),
        (None, Some(permits)) => format!(" (of {permits})"),
        (None, None) => String::new(),
    };
    let left = match (contender.ttl_left_s, contender.ttl_s) {
        (Some(left), Some(ttl)) => format!("{left} s of {ttl} s"),
        _ => "ended".to_owned(),
    };
    let (since, who) = match &contender.who {
        Some(who) => {
            let since = if holds { who.held_since_unix_ms } else { Some(who.waiting_since_unix_ms) };
            (since.map(ago).unwrap_or_default(), format!("{} pid {}", who.host, who.pid))
        }
        None => ("unknown".to_owned(), "unknown".to_owned()),
    };
    let value: String = contender.value.escape_default().collect();
    [place + &side, contender.token.to_string(), contender.lease.clone(), left, since, who, value]
}

/// A point in time, and how long ago it was by this machine's clock.
fn ago(unix_ms_then: u64) -> String {
    let then = UNIX_EPOCH + Duration::from_millis(unix_ms_then);
    let ago_s = u64::try_from(unix_ms()).unwrap_or(0).saturating_sub(unix_ms_then) / 1000;
    let ago = humantime::format_duration(Duration::from_secs(ago_s));
    format!("{} ({ago} ago)", humantime::format_rfc3339_seconds(then))
}

fn failed(error: CallError) -> Failure {
    match error {
        CallError::Refused(refusal) => Failure::new(code::FAILED, format!("etcd refuses: {refusal}")),
        error => Failure::new(code::UNREACHABLE, format!("etcd did not answer: {error}")),
    }
}
