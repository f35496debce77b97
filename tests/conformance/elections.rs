//! What the election promises.

use std::time::Duration;

use futures_util::FutureExt;
use tenure::{Election, Error, Leader, Observation, Observer, Session};

use crate::cx::{Cx, heir};
use crate::lossy::{Fate, Lossy};

fn election(cx: &Cx, session: &Session) -> Election {
    Election::new(session, &cx.name).expect("a good name")
}

async fn leader_value(cx: &Cx, session: &Session) -> Option<Vec<u8>> {
    election(cx, session).leader().await.expect("etcd").map(|leader| leader.value)
}

async fn observed(cx: &Cx, observer: &mut Observer) -> Option<Leader> {
    match cx.soon("an observation", observer.next()).await.expect("etcd") {
        Observation::Leader(leader) => Some(leader),
        Observation::NoLeader => None,
    }
}

pub(crate) async fn the_leader_is_who_stood_first(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    assert_eq!(leader_value(&cx, &one).await, None);
    let leadership = election(&cx, &one).campaign("one").await.expect("nobody stands");
    let second = election(&cx, &other);
    let mut campaign = second.campaign("other").boxed();
    cx.not_yet("a second leader", &mut campaign).await;
    let leader = second.leader().await.expect("etcd").expect("somebody leads");
    assert_eq!(leader.value, b"one");
    assert_eq!(leader.rev, leadership.rev());
    assert_eq!(leader.key, leadership.key());
    assert_eq!(leader.lease, one.lease());
    leadership.resign().await.expect("it is held");
    let next = cx.soon("the next leader", campaign).await.expect("its turn has come");
    assert!(next.rev() > leadership.rev());
    assert_eq!(leader_value(&cx, &one).await.as_deref(), Some(&b"other"[..]));
}

pub(crate) async fn followers_observe_each_leader(cx: Cx) {
    let session = cx.session().await;
    let mut followers = [election(&cx, &session).observe(), election(&cx, &session).observe()];
    for follower in &mut followers {
        assert_eq!(observed(&cx, follower).await, None);
    }
    for value in ["one", "two", "three"] {
        let candidate = cx.session().await;
        let leadership = election(&cx, &candidate).campaign(value).await.expect("nobody stands");
        for follower in &mut followers {
            let leader = observed(&cx, follower).await.expect("somebody leads");
            assert_eq!((leader.value.as_slice(), leader.rev), (value.as_bytes(), leadership.rev()));
        }
        leadership.resign().await.expect("it is held");
        for follower in &mut followers {
            assert_eq!(observed(&cx, follower).await, None);
        }
    }
}

pub(crate) async fn closing_the_leaders_session_elects_the_next(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let leadership = election(&cx, &one).campaign("one").await.expect("nobody stands");
    let mut observer = Election::observer(&cx.etcd, &cx.name).expect("a good name");
    assert_eq!(observed(&cx, &mut observer).await.map(|leader| leader.rev), Some(leadership.rev()));
    let second = election(&cx, &other);
    let mut campaign = second.campaign("other").boxed();
    cx.not_yet("a second leader", &mut campaign).await;
    one.close().await.expect("it is closed");
    let next = cx.soon("the next leader", campaign).await.expect("its turn has come");
    assert!(!leadership.is_held());
    assert_eq!(observed(&cx, &mut observer).await.map(|leader| leader.rev), Some(next.rev()));
}

pub(crate) async fn campaigning_again_proclaims(cx: Cx) {
    let session = cx.session().await;
    let candidate = election(&cx, &session);
    let first = candidate.campaign("one").await.expect("nobody stands");
    let again = cx.soon("the same leadership", candidate.campaign("two")).await.expect("it leads");
    assert_eq!(again.rev(), first.rev());
    assert_eq!(leader_value(&cx, &session).await.as_deref(), Some(&b"two"[..]));
    drop(first);
    assert!(again.is_held(), "a leadership lasts until its last handle is dropped");
    again.resign().await.expect("it is held");
    assert_eq!(leader_value(&cx, &session).await, None);
}

pub(crate) async fn proclaimed_values_are_seen_fresh_and_in_order(cx: Cx) {
    let session = cx.session().await;
    let leadership = election(&cx, &session).campaign("v0").await.expect("nobody stands");
    let mut observer = election(&cx, &session).observe();
    assert_eq!(observed(&cx, &mut observer).await.expect("a leader").value, b"v0");
    for value in ["v1", "v2", "v3", "v4"] {
        leadership.proclaim(value).await.expect("it leads");
        assert_eq!(leader_value(&cx, &session).await.as_deref(), Some(value.as_bytes()));
    }
    let mut newcomer = election(&cx, &session).observe();
    assert_eq!(observed(&cx, &mut newcomer).await.expect("a leader").value, b"v4", "the newest first");
    for value in ["v1", "v2", "v3", "v4"] {
        let leader = observed(&cx, &mut observer).await.expect("a leader");
        assert_eq!((leader.value.as_slice(), leader.rev), (value.as_bytes(), leadership.rev()));
    }
}

pub(crate) async fn an_observer_goes_on_across_a_compaction(cx: Cx) {
    let session = cx.session().await;
    let leadership = election(&cx, &session).campaign("one").await.expect("nobody stands");
    let mut observer = election(&cx, &session).observe();
    assert_eq!(observed(&cx, &mut observer).await.expect("a leader").value, b"one");
    for _ in 0..20 {
        cx.put(&format!("{}.noise", cx.name), "x").await;
    }
    cx.compact().await;
    leadership.proclaim("two").await.expect("it leads");
    cx.compact().await;
    assert_eq!(observed(&cx, &mut observer).await.expect("a leader").value, b"two");
    let mut newcomer = election(&cx, &session).observe();
    assert_eq!(observed(&cx, &mut newcomer).await.expect("a leader").value, b"two");
}

pub(crate) async fn a_name_that_begins_like_another_is_another(cx: Cx) {
    let session = cx.session().await;
    cx.put(&format!("{}a", cx.name), "not a candidate").await;
    let campaign = election(&cx, &session);
    let _held = cx.soon("the election", campaign.campaign("one")).await.expect("nobody stands");
}

pub(crate) async fn a_restarted_process_keeps_its_leadership(cx: Cx) {
    let first = cx.session().await;
    let leadership = election(&cx, &first).campaign("one").await.expect("nobody stands");
    let (lease, key, rev) = (first.lease(), leadership.key().to_vec(), leadership.rev());
    first.orphan();
    assert!(!leadership.is_held());
    let second = heir(&cx.etcd, lease).await;
    let resumed = election(&cx, &second).resume(&key, rev).await.expect("it leads still");
    assert_eq!(resumed.rev(), rev);
    resumed.proclaim("two").await.expect("it leads");
    assert_eq!(leader_value(&cx, &second).await.as_deref(), Some(&b"two"[..]));
    resumed.resign().await.expect("it is held");
    assert_eq!(leader_value(&cx, &second).await, None);
    let gone = election(&cx, &second).resume(&key, rev).await;
    assert_eq!(gone.err(), Some(Error::NotHeld));
}

pub(crate) async fn a_lease_that_changes_hands_again_and_again_leaves_no_key(cx: Cx) {
    let first = cx.session().await;
    let lease = first.lease();
    let mut leadership = election(&cx, &first).campaign("one").await.expect("nobody stands");
    let mut owner = first;
    for _ in 0..3 {
        let (key, rev) = (leadership.key().to_vec(), leadership.rev());
        owner.orphan();
        owner = heir(&cx.etcd, lease).await;
        let resumed = election(&cx, &owner).resume(&key, rev).await.expect("it leads still");
        resumed.resign().await.expect("it is held");
        assert_eq!(leader_value(&cx, &owner).await, None, "the key is gone");
        leadership = election(&cx, &owner).campaign("again").await.expect("nobody stands");
    }
    leadership.resign().await.expect("it is held");
}

pub(crate) async fn a_late_resignation_of_an_earlier_process_deposes_nobody(cx: Cx) {
    let late = Lossy::new(&cx.etcd);
    let first = late.session().await;
    let leadership = election(&cx, &first).campaign("one").await.expect("nobody stands");
    // Its tries in the background, too.
    late.next([Fate::Stuck; 100]);
    let (lease, key, rev) = (first.lease(), leadership.key().to_vec(), leadership.rev());
    assert!(leadership.resign().now_or_never().is_none(), "the resignation is under way");
    first.orphan();
    let second = heir(&cx.etcd, lease).await;
    let resumed = election(&cx, &second).resume(&key, rev).await.expect("it leads still");
    late.arrives(&cx).await;
    assert!(resumed.confirm().await.expect("etcd is there"), "it was deposed");
    resumed.resign().await.expect("it is held");
    assert_eq!(leader_value(&cx, &second).await, None);
}

pub(crate) async fn who_does_not_lead_any_more_proclaims_nothing(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let leadership = election(&cx, &one).campaign("one").await.expect("nobody stands");
    cx.delete(leadership.key()).await;
    let next = election(&cx, &other).campaign("other").await.expect("nobody stands");
    assert_eq!(leadership.proclaim("stale").await, Err(Error::NotHeld));
    assert!(!leadership.is_held());
    assert_eq!(leader_value(&cx, &one).await.as_deref(), Some(&b"other"[..]));
    next.resign().await.expect("it is held");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn a_proclamation_elects_nobody_who_waits(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let leadership = election(&cx, &one).campaign("one").await.expect("nobody stands");
    let second = election(&cx, &other);
    let mut campaign = second.campaign("other").boxed();
    cx.not_yet("a second leader", &mut campaign).await;
    leadership.proclaim("one, still").await.expect("it leads");
    cx.not_yet("a second leader", &mut campaign).await;
    leadership.resign().await.expect("it is held");
    let _held = cx.soon("the next leader", campaign).await.expect("its turn has come");
}

pub(crate) async fn resigning_twice_is_resigning_once(cx: Cx) {
    let session = cx.session().await;
    let candidate = election(&cx, &session);
    let leadership = candidate.campaign("one").await.expect("nobody stands");
    leadership.resign().await.expect("it is held");
    leadership.resign().await.expect("it is resigned already");
    let next =
        cx.soon("a new campaign beside the old handle", candidate.campaign("two")).await.expect("free");
    leadership.resign().await.expect("it is resigned already");
    assert!(next.confirm().await.expect("etcd"), "the old handle took nothing from the new leadership");
}

pub(crate) async fn a_deposed_leader_can_campaign_again(cx: Cx) {
    let session = cx.session().await;
    let candidate = election(&cx, &session);
    let deposed = candidate.campaign("one").await.expect("nobody stands");
    cx.delete(deposed.key()).await;
    let again = cx.soon("a new term", candidate.campaign("two")).await.expect("nobody stands");
    assert!(again.rev() > deposed.rev());
    assert!(!deposed.is_held());
    drop(deposed);
    assert!(again.confirm().await.expect("etcd"), "the deposed one's handle took the new term along");
}

pub(crate) async fn trying_and_timing_out_leave_no_key(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let leadership =
        election(&cx, &one).try_campaign("one").await.expect("etcd").expect("nobody stands, so it wins");
    let second = election(&cx, &other);
    assert!(second.try_campaign("other").await.expect("etcd").is_none());
    let outcome = second.campaign_timeout("other", Duration::from_millis(100)).await;
    assert_eq!(outcome.err(), Some(Error::Timeout));
    cx.until_keys(1).await;
    drop(leadership);
    cx.until_keys(0).await;
}

pub(crate) async fn a_candidate_without_a_lease_is_never_elected(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let leadership = election(&cx, &one).campaign("one").await.expect("nobody stands");
    let second = election(&cx, &other);
    let mut campaign = second.campaign("other").boxed();
    cx.not_yet("a second leader", &mut campaign).await;
    cx.revoke(other.lease()).await;
    leadership.resign().await.expect("it is held");
    let outcome = cx.soon("the candidate is told", campaign).await;
    assert!(matches!(outcome, Err(Error::NotHeld | Error::SessionLost)), "{outcome:?}");
    assert_eq!(leader_value(&cx, &one).await, None);
}

pub(crate) async fn a_foreign_key_is_reported(cx: Cx) {
    cx.put(&format!("{}/not/a/candidate", cx.name), "").await;
    let session = cx.session().await;
    let candidate = election(&cx, &session);
    assert!(matches!(candidate.leader().await, Err(Error::ForeignKey { .. })));
    let outcome = cx.soon("an answer", candidate.campaign("one")).await;
    assert!(matches!(outcome, Err(Error::ForeignKey { .. })), "{outcome:?}");
    let seen = cx.soon("an observation", candidate.observe().next()).await;
    assert!(matches!(seen, Err(Error::ForeignKey { .. })), "{seen:?}");
    cx.until_keys(1).await;
}

pub(crate) async fn an_election_and_its_leadership_tell_their_name_and_lease(cx: Cx) {
    let session = cx.session().await;
    let election = Election::new(&session, &cx.name).expect("a good name");
    assert_eq!(election.name(), cx.name);
    let leadership = election.campaign("first").await.expect("nobody leads");
    assert_eq!((leadership.name(), leadership.lease()), (&*cx.name, session.lease()));
    assert_eq!(leadership.rev(), leadership.fencing_token());
}

pub(crate) async fn a_key_of_the_same_lease_is_adopted_with_a_new_value(cx: Cx) {
    let session = cx.session().await;
    let election = Election::new(&session, &cx.name).expect("a good name");
    let before = election.campaign("before").await.expect("nobody leads");
    let rev = before.rev();
    // Another process of the same lease: it finds the key, and says its own value.
    let again = heir(&cx.etcd, session.lease()).await;
    let successor = Election::new(&again, &cx.name).expect("a good name");
    let leadership = successor.campaign("after").await.expect("the key is its own");
    assert_eq!(leadership.rev(), rev, "the key was not adopted");
    let leader = election.leader().await.expect("etcd is there").expect("somebody leads");
    assert_eq!(leader.value, b"after");
    // With the value that it has, nothing is written.
    let third = heir(&cx.etcd, session.lease()).await;
    let same = Election::new(&third, &cx.name).expect("a good name");
    let same = same.campaign("after").await.expect("the key is its own");
    let now = election.leader().await.expect("etcd is there").expect("somebody leads");
    assert_eq!((same.rev(), now.mod_revision), (rev, leader.mod_revision));
    // What it says next replaces what it found.
    same.proclaim("last").await.expect("it leads");
    let last = election.leader().await.expect("etcd is there").expect("somebody leads");
    assert_eq!(last.value, b"last");
}

pub(crate) async fn an_observer_misses_no_reign_however_much_it_is_told_at_once(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    lossy.tell_at_once(4);
    let mut observer = Election::observer(&lossy, &cx.name).expect("a good name");
    assert_eq!(observed(&cx, &mut observer).await, None);
    let session = cx.session().await;
    for value in ["one", "two"] {
        let leadership = election(&cx, &session).campaign(value).await.expect("nobody stands");
        leadership.resign().await.expect("it is held");
    }
    for value in ["one", "two"] {
        let leader = observed(&cx, &mut observer).await.expect("somebody led");
        assert_eq!(leader.value, value.as_bytes());
        assert_eq!(observed(&cx, &mut observer).await, None);
    }
}
