//! What software transactional memory promises.

use std::cell::Cell;

use futures_util::future::join_all;
use tenure::{Committed, Error, Isolation, Session, Stm, StmError, Transaction};

use crate::cx::Cx;
use crate::lossy::{Fate, Lossy};

/// A transaction that is not to fail.
type Sure<T> = Result<T, StmError<&'static str>>;

const LEVELS: [Isolation; 4] = [
    Isolation::SerializableSnapshot,
    Isolation::Serializable,
    Isolation::RepeatableReads,
    Isolation::ReadCommitted,
];

fn stm(cx: &Cx, session: &Session, isolation: Isolation) -> Stm {
    Stm::new(session, format!("{}.stm", cx.name)).expect("a good name").isolation(isolation)
}

/// A key of this promise.
fn key(cx: &Cx, key: &str) -> String {
    format!("{}/{key}", cx.name)
}

async fn value(cx: &Cx, name: &str) -> Option<String> {
    let keys = cx.keys().await;
    let found = keys.iter().find(|kv| kv.key == key(cx, name).as_bytes());
    found.map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
}

async fn number(tx: &Transaction, key: &str) -> Result<i64, Error> {
    let value = tx.get(key).await?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&value).parse().unwrap_or(0))
}

fn writes(tx: &Transaction, key: &str, value: &str) -> Result<(), Error> {
    tx.put(key, value);
    Ok(())
}

/// Runs a transaction whose first attempt is disturbed by `meanwhile` after it has read `a` and before it goes on.
async fn disturbed<T>(
    cx: &Cx,
    stm: &Stm,
    meanwhile: impl AsyncFn(),
    goes_on: impl AsyncFn(&Transaction) -> Result<T, Error>,
) -> Committed<T> {
    let is_first = Cell::new(true);
    let (is_first, meanwhile, goes_on) = (&is_first, &meanwhile, &goes_on);
    let run = stm.run(|tx| async move {
        tx.get(key(cx, "a")).await?;
        if is_first.replace(false) {
            meanwhile().await;
        }
        Ok::<_, StmError<&str>>(goes_on(&tx).await?)
    });
    cx.soon("it commits", run).await.expect("etcd is there")
}

pub(crate) async fn transfers_keep_the_sum(cx: Cx) {
    for isolation in LEVELS.into_iter().take(3) {
        for account in 0..3 {
            cx.put(&key(&cx, &account.to_string()), "100").await;
        }
        let clients = (0..4).map(|client| {
            let cx = &cx;
            async move {
                let session = cx.session().await;
                let stm = stm(cx, &session, isolation);
                for turn in 0..5 {
                    let (from, to) =
                        (key(cx, &(client % 3).to_string()), key(cx, &((client + turn) % 3).to_string()));
                    let (from, to) = (&from, &to);
                    let transfer = stm.run(|tx| async move {
                        if from != to {
                            let (left, right) = (number(&tx, from).await?, number(&tx, to).await?);
                            tx.put(&**from, (left - 7).to_string());
                            tx.put(&**to, (right + 7).to_string());
                        }
                        Sure::Ok(())
                    });
                    transfer.await.expect("etcd is there");
                }
            }
        });
        cx.soon("all are through", join_all(clients.collect::<Vec<_>>())).await;
        let mut sum = 0;
        for account in 0..3 {
            let value = value(&cx, &account.to_string()).await.expect("an account");
            sum += value.parse::<i64>().expect("a number");
        }
        assert_eq!(sum, 300, "{isolation:?}");
    }
}

pub(crate) async fn concurrent_increments_all_count(cx: Cx) {
    let clients = (0..5).map(|_| async {
        let session = cx.session().await;
        let stm = stm(&cx, &session, Isolation::Serializable);
        let key = &key(&cx, "n");
        for _ in 0..4 {
            let run = stm.run(|tx| async move {
                let number = number(&tx, key).await?;
                tx.put(&**key, (number + 1).to_string());
                Sure::Ok(number)
            });
            run.await.expect("etcd is there");
        }
    });
    cx.soon("all are through", join_all(clients.collect::<Vec<_>>())).await;
    assert_eq!(value(&cx, "n").await.as_deref(), Some("20"));
}

pub(crate) async fn what_it_read_and_others_wrote_is_a_conflict(cx: Cx) {
    let session = cx.session().await;
    for (isolation, attempts) in LEVELS.into_iter().zip([2, 2, 2, 1]) {
        cx.put(&key(&cx, "a"), "old").await;
        let write = async |tx: &Transaction| {
            let seen = tx.get(key(&cx, "a")).await?;
            tx.put(key(&cx, "b"), "written");
            Ok(seen)
        };
        let meanwhile = async || {
            cx.put(&key(&cx, "a"), "new").await;
        };
        let ran = disturbed(&cx, &stm(&cx, &session, isolation), meanwhile, write).await;
        assert_eq!(ran.attempts, attempts, "{isolation:?}");
        let seen = if attempts == 1 { "old" } else { "new" };
        assert_eq!(ran.value.as_deref(), Some(seen.as_bytes()), "{isolation:?}");
    }
}

pub(crate) async fn a_key_that_is_deleted_and_made_again_is_a_conflict(cx: Cx) {
    let session = cx.session().await;
    for isolation in LEVELS.into_iter().take(3) {
        cx.put(&key(&cx, "a"), "same").await;
        let again = async || {
            cx.delete(key(&cx, "a").as_bytes()).await;
            cx.put(&key(&cx, "a"), "same").await;
        };
        let write = async |tx: &Transaction| writes(tx, &key(&cx, "b"), "written");
        let ran = disturbed(&cx, &stm(&cx, &session, isolation), again, write).await;
        assert_eq!(ran.attempts, 2, "{isolation:?}");
    }
}

pub(crate) async fn a_key_that_was_absent_and_is_made_is_a_conflict(cx: Cx) {
    let session = cx.session().await;
    for isolation in LEVELS.into_iter().take(3) {
        cx.delete(key(&cx, "a").as_bytes()).await;
        let made = async || {
            cx.put(&key(&cx, "a"), "made").await;
        };
        let write = async |tx: &Transaction| writes(tx, &key(&cx, "b"), "written");
        let ran = disturbed(&cx, &stm(&cx, &session, isolation), made, write).await;
        assert_eq!(ran.attempts, 2, "{isolation:?}");
    }
}

pub(crate) async fn a_blind_write_over_a_newer_one_conflicts_in_a_snapshot_only(cx: Cx) {
    let session = cx.session().await;
    cx.put(&key(&cx, "a"), "").await;
    for (isolation, attempts) in LEVELS.into_iter().zip([2, 1, 1, 1]) {
        let write = async |tx: &Transaction| writes(tx, &key(&cx, "b"), "ours");
        let meanwhile = async || {
            cx.put(&key(&cx, "b"), "theirs").await;
        };
        let ran = disturbed(&cx, &stm(&cx, &session, isolation), meanwhile, write).await;
        assert_eq!(ran.attempts, attempts, "{isolation:?}");
        assert_eq!(value(&cx, "b").await.as_deref(), Some("ours"));
    }
}

pub(crate) async fn serializable_reads_are_of_one_revision(cx: Cx) {
    let session = cx.session().await;
    for (isolation, seen) in LEVELS.into_iter().zip(["old", "old", "new", "new"]) {
        for name in ["a", "b"] {
            cx.put(&key(&cx, name), "old").await;
        }
        let read = async |tx: &Transaction| tx.get(key(&cx, "b")).await;
        let meanwhile = async || {
            cx.put(&key(&cx, "b"), "new").await;
        };
        let ran = disturbed(&cx, &stm(&cx, &session, isolation), meanwhile, read).await;
        assert_eq!(ran.value.as_deref(), Some(seen.as_bytes()), "{isolation:?}");
        assert_eq!(ran.attempts, 1, "{isolation:?}: what only reads was true when it read");
    }
}

pub(crate) async fn reads_of_several_revisions_are_checked_together(cx: Cx) {
    let session = cx.session().await;
    let stm = stm(&cx, &session, Isolation::RepeatableReads);
    let read = async |tx: &Transaction| Ok((tx.get(key(&cx, "a")).await?, tx.get(key(&cx, "b")).await?));
    let meanwhile = async || {
        for name in ["a", "b"] {
            cx.put(&key(&cx, name), "new").await;
        }
    };
    let ran = disturbed(&cx, &stm, meanwhile, read).await;
    assert_eq!(ran.attempts, 2, "it had seen the one before and the other after");
    assert_eq!(ran.value, (Some(b"new".to_vec()), Some(b"new".to_vec())));
}

pub(crate) async fn what_only_read_tells_a_revision_at_which_all_of_it_was_so_or_none(cx: Cx) {
    let session = cx.session().await;
    let stm = stm(&cx, &session, Isolation::ReadCommitted);
    cx.put(&key(&cx, "a"), "old").await;
    let b_written_at = cx.put(&key(&cx, "b"), "old").await;
    let read_b = async |tx: &Transaction| tx.get(key(&cx, "b")).await;
    let only_a = async || {
        cx.put(&key(&cx, "a"), "newer").await;
    };
    let ran = disturbed(&cx, &stm, only_a, read_b).await;
    assert_eq!(ran.revision, b_written_at, "when the first was read, both were as they were read");
    let both = async || {
        for name in ["a", "b"] {
            cx.put(&key(&cx, name), "newest").await;
        }
    };
    let ran = disturbed(&cx, &stm, both, read_b).await;
    assert_eq!((ran.attempts, ran.revision), (1, 0), "the one was so before, the other after");
}

pub(crate) async fn its_own_writes_are_read_and_nobody_elses_before_it_commits(cx: Cx) {
    let session = cx.session().await;
    let put_at = cx.put(&key(&cx, "a"), "there").await;
    let stm = stm(&cx, &session, Isolation::default());
    let run = stm.run(|tx| {
        let cx = &cx;
        async move {
            assert_eq!(tx.rev(key(cx, "a")).await?, put_at);
            assert_eq!(tx.rev(key(cx, "b")).await?, 0);
            tx.put(key(cx, "b"), "ours");
            tx.delete(key(cx, "a"));
            assert_eq!(tx.get(key(cx, "b")).await?.as_deref(), Some(&b"ours"[..]));
            assert_eq!(tx.get(key(cx, "a")).await?, None);
            assert_eq!(value(cx, "a").await.as_deref(), Some("there"));
            assert_eq!(value(cx, "b").await, None);
            Sure::Ok(())
        }
    });
    let committed = run.await.expect("etcd is there");
    assert_eq!(value(&cx, "a").await, None);
    let written = cx.below(&key(&cx, "b")).await;
    assert_eq!((&*written[0].value, written[0].mod_revision), (&b"ours"[..], committed.revision));
}

pub(crate) async fn the_closures_own_error_aborts(cx: Cx) {
    let session = cx.session().await;
    let stm = stm(&cx, &session, Isolation::default());
    let run = stm.run(|tx| {
        tx.put(key(&cx, "a"), "written");
        std::future::ready(Err::<(), _>(StmError::Aborted("no")))
    });
    assert_eq!(run.await, Err(StmError::Aborted("no")));
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn conflicts_in_every_attempt_are_told(cx: Cx) {
    let session = cx.session().await;
    let runs = &Cell::new(0);
    let run = stm(&cx, &session, Isolation::default()).attempts(3);
    let run = run.run(|tx| {
        let cx = &cx;
        async move {
            runs.set(runs.get() + 1);
            tx.get(key(cx, "a")).await?;
            cx.put(&key(cx, "a"), "theirs").await;
            tx.put(key(cx, "a"), "ours");
            Sure::Ok(())
        }
    });
    assert_eq!(run.await, Err(StmError::Conflict { attempts: 3 }));
    assert_eq!(runs.get(), 3);
    assert_eq!(value(&cx, "a").await.as_deref(), Some("theirs"));
}

pub(crate) async fn more_than_etcd_takes_at_once_is_told(cx: Cx) {
    let session = cx.session().await;
    let stm = stm(&cx, &session, Isolation::default());
    let run = async |count: i32| {
        let run = stm.run(|tx| {
            (0..count).for_each(|n| tx.put(key(&cx, &n.to_string()), ""));
            std::future::ready(Sure::Ok(()))
        });
        run.await.map(drop)
    };
    assert_eq!(run(128).await, Err(StmError::TooManyOps), "the receipt counts");
    assert!(cx.below(&key(&cx, "")).await.is_empty());
    assert_eq!(run(127).await, Ok(()));
}

pub(crate) async fn what_is_prefetched_counts_only_if_it_is_read(cx: Cx) {
    let session = cx.session().await;
    cx.put(&key(&cx, "a"), "old").await;
    let ahead = stm(&cx, &session, Isolation::default()).prefetch([key(&cx, "a"), key(&cx, "c")]);
    let meanwhile = async || {
        cx.put(&key(&cx, "c"), "new").await;
    };
    let write = async |tx: &Transaction| writes(tx, &key(&cx, "b"), "written");
    assert_eq!(disturbed(&cx, &ahead, meanwhile, write).await.attempts, 1);
    let read = async |tx: &Transaction| {
        let seen = tx.get(key(&cx, "c")).await?;
        tx.put(key(&cx, "b"), "written");
        Ok(seen)
    };
    let meanwhile = async || {
        cx.put(&key(&cx, "c"), "newer").await;
    };
    let ran = disturbed(&cx, &ahead, meanwhile, read).await;
    assert_eq!((ran.value.as_deref(), ran.attempts), (Some(&b"newer"[..]), 2));
}

pub(crate) async fn what_is_lost_on_the_way_commits_once(cx: Cx) {
    for (fates, number) in
        [(vec![Fate::AnswerLost], 1), (vec![Fate::Late], 2), (vec![Fate::Late, Fate::AnswerLost], 3)]
    {
        let lossy = Lossy::new(&cx.etcd);
        lossy.next(fates.clone());
        let session = lossy.session().await;
        let stm = stm(&cx, &session, Isolation::default());
        let run = stm.run(|tx| {
            let cx = &cx;
            async move {
                let next = self::number(&tx, &key(cx, "n")).await? + 1;
                tx.put(key(cx, "n"), next.to_string());
                Sure::Ok(next)
            }
        });
        let ran = run.await.expect("etcd is there");
        assert_eq!((ran.value, ran.attempts), (number, 1), "{fates:?}");
        let written = cx.below(&key(&cx, "n")).await;
        assert_eq!(
            (&*written[0].value, written[0].mod_revision),
            (number.to_string().as_bytes(), ran.revision)
        );
    }
}

pub(crate) async fn what_was_overtaken_by_a_conflict_is_not_applied_later(cx: Cx) {
    let late = Lossy::new(&cx.etcd);
    late.next([Fate::Late]);
    let session = late.session().await;
    // It read that `a` is absent, and that is on its way while `a` is made, and gone again.
    let write = async |tx: &Transaction| writes(tx, &key(&cx, "b"), "written");
    let made = async || {
        cx.put(&key(&cx, "a"), "made").await;
    };
    let ran = disturbed(&cx, &stm(&cx, &session, Isolation::default()), made, write).await;
    assert_eq!(ran.attempts, 2);
    cx.delete(key(&cx, "a").as_bytes()).await;
    cx.put(&key(&cx, "b"), "newer").await;
    late.arrives(&cx).await;
    assert_eq!(value(&cx, "b").await.as_deref(), Some("newer"));
}

pub(crate) async fn a_compaction_meanwhile_is_a_conflict_and_no_error(cx: Cx) {
    let session = cx.session().await;
    let read = async |tx: &Transaction| tx.get(key(&cx, "b")).await;
    let meanwhile = async || {
        cx.put(&key(&cx, "b"), "new").await;
        cx.compact().await;
    };
    let ran = disturbed(&cx, &stm(&cx, &session, Isolation::default()), meanwhile, read).await;
    assert_eq!((ran.value.as_deref(), ran.attempts), (Some(&b"new"[..]), 2));
}

pub(crate) async fn what_only_reads_leaves_no_key_and_what_writes_none_after_the_session(cx: Cx) {
    let session = cx.session().await;
    let stm = stm(&cx, &session, Isolation::default());
    let read = stm.run(|tx| {
        let cx = &cx;
        async move { Sure::Ok(tx.get(key(cx, "a")).await?) }
    });
    assert_eq!(read.await.expect("etcd is there").value, None);
    assert!(cx.keys().await.is_empty());
    let write = || {
        stm.run(|tx| {
            tx.put(key(&cx, "a"), "written");
            std::future::ready(Sure::Ok(()))
        })
    };
    write().await.expect("etcd is there");
    session.close().await.expect("etcd is there");
    assert_eq!(cx.keys().await.len(), 1);
    assert!(cx.below(&format!("__{}", cx.name)).await.is_empty());
    assert_eq!(write().await, Err(StmError::Failed(Error::SessionLost)));
}

pub(crate) async fn who_loses_its_session_meanwhile_writes_nothing(cx: Cx) {
    let session = cx.session().await;
    let lease = session.lease();
    let stm = stm(&cx, &session, Isolation::default());
    let run = stm.run(|tx| {
        let cx = &cx;
        async move {
            tx.get(key(cx, "a")).await?;
            cx.revoke(lease).await;
            tx.put(key(cx, "a"), "written");
            Sure::Ok(())
        }
    });
    assert_eq!(cx.soon("an answer", run).await, Err(StmError::Failed(Error::SessionLost)));
    assert_eq!(value(&cx, "a").await, None);
}
