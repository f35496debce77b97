//! `watch-guarantees`: what etcd promises of watches (`learning/api_guarantees` of its documentation), held against the order in
//! which writes were committed. Each change is told once (*unique*), in order of revision (*ordered*), none is left out
//! between two that are told (*reliable*), each revision comes whole (*atomic*); after a break the watch goes on
//! without loss or repetition, or says truly that history was compacted (*resumable*); and what a progress message
//! stands for has been told before it (*bookmarkable*).
//!
//! All this is asked of each raw watch of a member, and of each stream that the library's backend makes of many of them. Of a
//! stream also that, once calm, every change is told within the progress bound.

use std::collections::BTreeMap;

use tenure::kv::{Event, EventKind, Shown, WatchRequest};

use super::order::{Commit, covers};
use super::{Breach, Evidence, Moment, Order, Stream};
use crate::history::{WatchSays, What};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let order = evidence.order();
    let streams = evidence.plain.streams.values().filter_map(|stream| {
        let told = judge_stream(order, stream).err();
        told.or_else(|| late(evidence, order, stream)).map(|breach| Breach {
            detail: format!("stream {} of c{}: {}", stream.stream, stream.client, breach.detail),
            ..breach
        })
    });
    streams.chain(judge_raw(evidence, order)).min_by_key(|breach| breach.step)
}

/// Where a watch is in the order of writes.
struct Place<'a> {
    order: &'a Order<'a>,
    request: &'a WatchRequest,
    /// The first revision that it has not told the whole of; `None`: now, whenever that will be.
    from: Option<i64>,
}

type Verdict = Result<(), String>;

impl<'a> Place<'a> {
    fn new(order: &'a Order<'a>, request: &'a WatchRequest) -> Self {
        let from = (request.start_revision > 0).then_some(request.start_revision);
        Self { order, request, from }
    }

    /// It is open since `revision`, as it says at `step`.
    fn created(&mut self, revision: i64, step: usize) -> Result<(), String> {
        self.from.get_or_insert(revision + 1);
        let newest = self.order.newest_before(step);
        if revision > newest {
            return Err(format!("it is open since revision {revision}, and the newest is {newest}"));
        }
        Ok(())
    }

    /// What of a write the watch is to tell.
    fn wanted(&self, commit: &Commit<'a>) -> impl Iterator<Item = &'a Event> {
        let request = self.request;
        commit.events.iter().filter(move |event| {
            let filtered = match event.kind {
                EventKind::Put => request.no_put,
                EventKind::Delete => request.no_delete,
            };
            !filtered && covers(&request.key, &request.range_end, &event.kv.key)
        })
    }

    fn expected(&self, from: i64, to: i64) -> Vec<&'a Event> {
        self.order.between(from, to).iter().flat_map(|commit| self.wanted(commit)).collect()
    }

    /// A message with these events comes.
    fn told(&mut self, events: &[Event], step: usize) -> Verdict {
        let Some(from) = self.from else { return Err("it tells events before it is open".to_owned()) };
        let Some(to) = events.last().map(|event| event.kv.mod_revision) else { return Ok(()) };
        let expected = self.expected(from, to);
        for (place, event) in events.iter().enumerate() {
            let (key, revision) = (Shown(&event.kv.key), event.kv.mod_revision);
            let Some(wanted) = expected.get(place) else {
                return Err(format!("it tells revision {revision} ({key}) again, or out of order"));
            };
            if revision < from {
                return Err(format!(
                    "it tells revision {revision} ({key}) after it has told all before {from}"
                ));
            }
            if revision > wanted.kv.mod_revision {
                return Err(format!(
                    "it tells revision {revision} ({key}) without revision {} ({}) before it",
                    wanted.kv.mod_revision,
                    Shown(&wanted.kv.key)
                ));
            }
            if event.kind != wanted.kind || event.kv != wanted.kv {
                return Err(format!("it tells revision {revision} ({key}) otherwise than it was"));
            }
            self.former(event, wanted, step)?;
        }
        if let Some(missing) = expected.get(events.len()) {
            let (key, revision) = (Shown(&missing.kv.key), missing.kv.mod_revision);
            return Err(format!("a message ends within revision {revision}: {key} is not in it"));
        }
        self.from = Some(to + 1);
        Ok(())
    }

    /// What was there before is told if it was asked for and not compacted.
    fn former(&self, event: &Event, wanted: &Event, step: usize) -> Verdict {
        let revision = event.kv.mod_revision;
        let right = match &event.prev_kv {
            Some(_) => self.request.prev_kv && event.prev_kv == wanted.prev_kv,
            None => {
                !self.request.prev_kv
                    || wanted.prev_kv.is_none()
                    || self.order.compacted_before(step) > revision - 1
            }
        };
        if right { Ok(()) } else { Err(format!("it tells a wrong former value at revision {revision}")) }
    }

    /// A progress message comes: all up to this revision has been told.
    fn progressed(&mut self, revision: i64) -> Verdict {
        let Some(from) = self.from else { return Ok(()) };
        if let Some(missing) = self.expected(from, revision).first() {
            let (key, missed) = (Shown(&missing.kv.key), missing.kv.mod_revision);
            return Err(format!("it tells of progress to {revision}, but has not told {missed} ({key})"));
        }
        self.from = Some(from.max(revision + 1));
        Ok(())
    }

    /// It ends, since what comes next is compacted.
    fn compacted(&self, step: usize) -> Verdict {
        let compacted = self.order.compacted_before(step);
        match self.from {
            Some(from) if from < compacted => Ok(()),
            Some(from) => Err(format!(
                "it ends as compacted, but from {from} on nothing was: the oldest revision is {compacted}"
            )),
            None => Err("it ends as compacted, though it is to begin now".to_owned()),
        }
    }
}

fn judge_stream(order: &Order<'_>, stream: &Stream<'_>) -> Result<(), Breach> {
    let mut place = Place::new(order, stream.request);
    let (mut created, mut over) = (false, false);
    for (at, says) in &stream.said {
        let verdict = match says {
            _ if over => Err("it says something after its end".to_owned()),
            WatchSays::Created { .. } if created => Err("it says twice that it is open".to_owned()),
            WatchSays::Created { revision } => {
                created = true;
                place.created(*revision, at.step)
            }
            WatchSays::Events(_) if !created => Err("it tells events before it is open".to_owned()),
            WatchSays::Events(events) => place.told(events, at.step),
            WatchSays::Compacted { compact_revision } => {
                over = true;
                place.compacted(at.step).and_then(|()| {
                    let real = order.was_compacted_to(*compact_revision, at.step);
                    if real { Ok(()) } else { Err(format!("nothing was compacted to {compact_revision}")) }
                })
            }
            WatchSays::Refused(why) => Err(format!("it ends by itself: {why}")),
        };
        verdict.map_err(|detail| Breach { step: at.step, detail })?;
    }
    Ok(())
}

/// What was not told in time, once calm. The stream tells what it is to tell, and nothing else.
fn late(evidence: &Evidence<'_>, order: &Order<'_>, stream: &Stream<'_>) -> Option<Breach> {
    let calm_ns = evidence.calm?.at_ns;
    if evidence.outside.contains(&stream.client) {
        return None;
    }
    let ended = |says: &WatchSays| matches!(says, WatchSays::Compacted { .. } | WatchSays::Refused(_));
    let end = stream.said.iter().find(|(_, says)| ended(says)).map(|(at, _)| *at).or(stream.closed);
    let until_ns = end.map_or(evidence.end_ns, |end| end.at_ns);
    let due_ns = |since_ns: u64| since_ns.max(calm_ns).max(stream.opened.at_ns) + evidence.bounds.progress_ns;
    let late = |since_ns: u64, told: Option<Moment>| {
        let by_ns = due_ns(since_ns);
        by_ns < told.map_or(until_ns, |told| told.at_ns.min(until_ns))
    };
    let mut place = Place::new(order, stream.request);
    let mut told: BTreeMap<i64, Moment> = BTreeMap::new();
    let mut created = None;
    for (at, says) in &stream.said {
        match says {
            WatchSays::Created { revision } => {
                created = Some(*at);
                // Whether it can be true was judged before.
                let _ = place.created(*revision, at.step);
            }
            WatchSays::Events(events) => {
                told.extend(events.iter().map(|event| (event.kv.mod_revision, *at)));
            }
            WatchSays::Compacted { .. } | WatchSays::Refused(_) => {}
        }
    }
    if late(0, created) {
        let step = evidence.step_at(due_ns(0));
        return Some(Breach { step, detail: "it is not open yet, so long after the calm began".to_owned() });
    }
    let commits = order.between(place.from?, i64::MAX);
    let missing = commits.iter().find(|commit| {
        place.wanted(commit).next().is_some() && late(commit.at.at_ns, told.get(&commit.revision).copied())
    })?;
    let detail = format!("revision {} is not told, so long after it was committed", missing.revision);
    Some(Breach { step: evidence.step_at(due_ns(missing.at.at_ns)), detail })
}

/// The raw watches, as their clients' wires had them from the members.
fn judge_raw<'a>(evidence: &'a Evidence<'_>, order: &'a Order<'a>) -> Option<Breach> {
    let mut places: BTreeMap<u64, Place<'_>> = BTreeMap::new();
    for (step, at) in evidence.history.steps.iter().enumerate() {
        let (watch, verdict) = match &at.what {
            What::WatchSent { watch, request, .. } => {
                places.insert(*watch, Place::new(order, request));
                continue;
            }
            What::WatchTold { watch, kind, revision, events } => {
                let Some(place) = places.get_mut(watch) else { continue };
                let verdict = match *kind {
                    "created" => place.created(*revision, step),
                    "progress" => place.progressed(*revision),
                    "compacted" => place.compacted(step),
                    // Refused for want of a right, which says nothing of events.
                    "canceled" if events.is_empty() => Ok(()),
                    _ => place.told(events, step),
                };
                (watch, verdict)
            }
            _ => continue,
        };
        if let Err(detail) = verdict {
            return Some(Breach { step, detail: format!("watch {watch} of {}: {detail}", at.node) });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::check::Breach;
    use crate::check::script_plain::{PlainScript, SECOND};

    const KEY: &str = "registers/0/0";
    const OTHER: &str = "registers/1/0";

    /// A watch over all keys from now on, and three writes, the second of two keys.
    fn watched() -> PlainScript {
        let mut script = PlainScript::new();
        script.opens(0, "", 0);
        script.created(0);
        script.put(1, KEY, "1");
        script.put_both(1, KEY, OTHER, "2");
        script.put(1, KEY, "3");
        script
    }

    fn breach(script: &mut PlainScript) -> Option<Breach> {
        script.breach("watch-guarantees")
    }

    #[test]
    fn all_in_order_is_right_in_one_message_or_in_many() {
        let mut one = watched();
        one.tells(0, &[2, 3, 4]);
        assert_eq!(breach(&mut one), None);
        let mut many = watched();
        many.tells(0, &[2]);
        many.tells(0, &[3]);
        many.tells(0, &[4]);
        assert_eq!(breach(&mut many), None);
    }

    #[test]
    fn ordered_what_comes_backwards_is_found() {
        let mut script = watched();
        script.tells(0, &[2, 4, 3]);
        assert!(breach(&mut script).is_some());
        let mut two = watched();
        two.tells(0, &[2, 3, 4]);
        let step = two.tells(0, &[3]);
        assert_eq!(breach(&mut two).expect("backwards").step, step);
    }

    #[test]
    fn unique_what_comes_twice_is_found() {
        let mut script = watched();
        script.tells(0, &[2]);
        let step = script.tells(0, &[2, 3]);
        assert_eq!(breach(&mut script).expect("twice").step, step);
    }

    #[test]
    fn reliable_what_is_left_out_is_found() {
        let mut script = watched();
        script.tells(0, &[2]);
        let step = script.tells(0, &[4]);
        let breach = breach(&mut script).expect("left out");
        assert_eq!(breach.step, step);
        assert!(breach.detail.contains("without revision 3"), "{}", breach.detail);
    }

    #[test]
    fn atomic_a_revision_in_two_messages_is_found() {
        let mut script = watched();
        script.tells(0, &[2]);
        let step = script.tells_part(0, 3, 1);
        let breach = breach(&mut script).expect("in parts");
        assert_eq!(breach.step, step);
        assert!(breach.detail.contains("within revision 3"), "{}", breach.detail);
    }

    #[test]
    fn resumable_a_compaction_ends_only_a_watch_that_it_has_overtaken() {
        let ends = |told: &[i64], to: i64, says: i64| {
            let mut script = watched();
            if !told.is_empty() {
                script.tells(0, told);
            }
            script.compact(to);
            script.ends_compacted(0, says);
            breach(&mut script)
        };
        assert_eq!(ends(&[2], 4, 4), None);
        assert!(ends(&[2, 3], 4, 4).is_some(), "revision 4 is still there");
        assert!(ends(&[2], 4, 3).is_some(), "nothing was compacted to 3");
    }

    #[test]
    fn resumable_a_watch_that_ends_by_itself_or_goes_on_after_its_end_is_found() {
        let mut script = watched();
        script.ends_refused(0);
        assert!(breach(&mut script).is_some());
        let mut script = watched();
        script.compact(4);
        script.ends_compacted(0, 4);
        assert_eq!(breach(&mut script), None);
        script.tells(0, &[2]);
        assert!(breach(&mut script).is_some());
    }

    #[test]
    fn bookmarkable_progress_before_what_it_stands_for_is_found() {
        let mut script = watched();
        script.raw_opens(7, "", 2);
        script.raw_tells(7, &[2, 3]);
        script.raw_progress(7, 3);
        assert_eq!(breach(&mut script), None);
        let step = script.raw_progress(7, 4);
        assert_eq!(breach(&mut script).expect("too early").step, step);
    }

    #[test]
    fn a_raw_watch_that_skips_its_first_revision_is_found() {
        let mut script = watched();
        script.raw_opens(7, "", 2);
        let step = script.raw_tells(7, &[3]);
        assert_eq!(breach(&mut script).expect("skips").step, step);
    }

    #[test]
    fn a_watch_tells_what_it_is_asked_for_and_nothing_else() {
        let mut script = PlainScript::new();
        script.opens(0, OTHER, 2);
        script.created(0);
        script.put(1, KEY, "1");
        script.put(1, OTHER, "2");
        script.tells(0, &[3]);
        assert_eq!(breach(&mut script), None);
        let mut script = PlainScript::new();
        script.opens(0, OTHER, 2);
        script.created(0);
        script.put(1, KEY, "1");
        script.tells(0, &[2]);
        assert!(breach(&mut script).is_some());
    }

    #[test]
    fn once_calm_all_is_told_in_time() {
        let mut script = watched();
        script.tells(0, &[2, 3]);
        script.calm();
        script.wait(9 * SECOND);
        assert_eq!(breach(&mut script), None);
        script.wait(2 * SECOND);
        assert!(breach(&mut script).expect("late").detail.contains("revision 4"));
        script.tells(0, &[4]);
        assert!(breach(&mut script).is_some(), "it came too late");
    }

    #[test]
    fn once_calm_a_watch_opens_in_time_unless_its_client_closes_it() {
        let mut script = PlainScript::new();
        script.opens(0, "", 0);
        script.calm();
        script.wait(9 * SECOND);
        let mut closed = PlainScript::new();
        closed.opens(0, "", 0);
        closed.calm();
        closed.closes(0);
        for (script, late) in [(&mut script, true), (&mut closed, false)] {
            assert_eq!(breach(script), None);
            script.wait(2 * SECOND);
            assert_eq!(breach(script).is_some(), late);
        }
    }
}
