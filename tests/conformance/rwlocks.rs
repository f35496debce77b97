//! What the read-write lock promises.

use std::time::Duration;

use futures_util::FutureExt;
use tenure::{Error, Policy, RwLock, Session};

use crate::cx::Cx;

fn rwlock(cx: &Cx, session: &Session) -> RwLock {
    RwLock::new(session, &cx.name).expect("a good name")
}

fn fifo(cx: &Cx, session: &Session) -> RwLock {
    RwLock::with_policy(session, &cx.name, Policy::Fifo).expect("a good name")
}

pub(crate) async fn readers_hold_together(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let _one = rwlock(&cx, &one).read().await.expect("no writer");
    let _other = cx.soon("a second reader", rwlock(&cx, &other).read()).await.expect("no writer");
}

pub(crate) async fn two_readers_of_one_session_are_two(cx: Cx) {
    let (session, writer) = (cx.session().await, cx.session().await);
    let lock = rwlock(&cx, &session);
    let one = lock.read().await.expect("no writer");
    let other = lock.read().await.expect("no writer");
    one.release().await.expect("it is held");
    let writing = rwlock(&cx, &writer);
    assert!(writing.try_write().await.expect("etcd").is_none(), "a writer beside a reader");
    other.release().await.expect("it is held");
    assert!(writing.try_write().await.expect("etcd").is_some());
}

pub(crate) async fn a_writer_holds_alone(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let writer = rwlock(&cx, &one).write().await.expect("it is free");
    let lock = rwlock(&cx, &other);
    assert!(lock.try_read().await.expect("etcd").is_none());
    assert!(lock.try_write().await.expect("etcd").is_none());
    let mut read = lock.read().boxed();
    cx.not_yet("a reader beside the writer", &mut read).await;
    assert_eq!(cx.keys().await.len(), 1, "a waiting reader leaves no key");
    writer.release().await.expect("it is held");
    let _held = cx.soon("the reader's grant", read).await.expect("no writer is left");
}

pub(crate) async fn no_reader_overtakes_a_waiting_writer(cx: Cx) {
    let sessions = [cx.session().await, cx.session().await, cx.session().await];
    let [holder, writer, late] = sessions.each_ref().map(|session| rwlock(&cx, session));
    let reader = holder.read().await.expect("no writer");
    let mut write = writer.write().boxed();
    cx.not_yet("a writer beside a reader", &mut write).await;
    assert!(late.try_read().await.expect("etcd").is_none(), "a reader overtook the writer");
    let mut read = late.read().boxed();
    cx.not_yet("a reader before the waiting writer", &mut read).await;
    reader.release().await.expect("it is held");
    let write = cx.soon("the writer's grant", write).await.expect("its turn has come");
    cx.not_yet("a reader beside the writer", &mut read).await;
    write.release().await.expect("it is held");
    let _held = cx.soon("the reader's grant", read).await.expect("no writer is left");
}

pub(crate) async fn a_writer_that_gives_up_lets_the_readers_in(cx: Cx) {
    let sessions = [cx.session().await, cx.session().await, cx.session().await];
    let [holder, writer, late] = sessions.each_ref().map(|session| rwlock(&cx, session));
    let _reader = holder.read().await.expect("no writer");
    let outcome = {
        let mut read = late.read().boxed();
        let outcome = writer.write_timeout(Duration::from_millis(200)).await;
        let _held = cx.soon("the reader's grant", &mut read).await.expect("no writer is left");
        outcome
    };
    assert_eq!(outcome.err(), Some(Error::Timeout));
}

pub(crate) async fn writers_follow_each_other_in_order(cx: Cx) {
    let sessions = [cx.session().await, cx.session().await, cx.session().await];
    let [first, second, third] = sessions.each_ref().map(|session| rwlock(&cx, session));
    let held = first.write().await.expect("it is free");
    let mut next = second.write().boxed();
    cx.not_yet("the second's grant", &mut next).await;
    let mut last = third.write().boxed();
    cx.not_yet("the third's grant", &mut last).await;
    held.release().await.expect("it is held");
    let held = cx.soon("the second's grant", next).await.expect("its turn has come");
    cx.not_yet("the third's grant", &mut last).await;
    held.release().await.expect("it is held");
    let _held = cx.soon("the third's grant", last).await.expect("its turn has come");
}

pub(crate) async fn two_writes_of_one_session_are_refused(cx: Cx) {
    let session = cx.session().await;
    let lock = rwlock(&cx, &session);
    let _held = lock.write().await.expect("it is free");
    assert_eq!(lock.write().await.err(), Some(Error::InUse { name: cx.name.clone() }));
}

pub(crate) async fn a_crashed_readers_lock_is_freed_for_the_writer(cx: Cx) {
    let (reader, writer) = (cx.session().await, cx.session().await);
    let guard = rwlock(&cx, &reader).read().await.expect("no writer");
    let lock = rwlock(&cx, &writer);
    let mut write = lock.write().boxed();
    cx.not_yet("a writer beside a reader", &mut write).await;
    cx.revoke(reader.lease()).await;
    let _held = cx.soon("the writer's grant", write).await.expect("the reader is gone");
    drop(guard);
}

pub(crate) async fn in_fifo_order_a_reader_waits_for_older_writers_only(cx: Cx) {
    let sessions = [cx.session().await, cx.session().await, cx.session().await, cx.session().await];
    let [first, writer, late, last] = sessions.each_ref().map(|session| fifo(&cx, session));
    let reader = first.read().await.expect("no writer");
    let mut write = writer.write().boxed();
    cx.not_yet("a writer beside a reader", &mut write).await;
    let mut read = late.read().boxed();
    cx.not_yet("a reader before an older writer", &mut read).await;
    let mut last_write = last.write().boxed();
    cx.not_yet("a writer before an older reader", &mut last_write).await;
    reader.release().await.expect("it is held");
    let write = cx.soon("the writer's grant", write).await.expect("its turn has come");
    write.release().await.expect("it is held");
    let read =
        cx.soon("the reader's grant, before the younger writer", read).await.expect("its turn has come");
    cx.not_yet("a writer beside a reader", &mut last_write).await;
    read.release().await.expect("it is held");
    let _held = cx.soon("the last writer's grant", last_write).await.expect("its turn has come");
}

pub(crate) async fn a_queued_reader_of_gos_recipe_does_not_block_an_older_writer(cx: Cx) {
    let (reader, writer) = (cx.session().await, cx.session().await);
    let held = rwlock(&cx, &reader).read().await.expect("no writer");
    let lock = rwlock(&cx, &writer);
    let mut write = lock.write().boxed();
    cx.not_yet("a writer beside a reader", &mut write).await;
    // Go's reader puts its key at once, and waits for the writer that is older.
    cx.put(&format!("{}/read/1700000000000000000", cx.name), "").await;
    held.release().await.expect("it is held");
    let _held = cx.soon("the writer's grant", write).await.expect("nobody older is left");
}

pub(crate) async fn a_writer_waits_for_a_reader_of_gos_recipe(cx: Cx) {
    let key = format!("{}/read/1700000000000000000", cx.name);
    cx.put(&key, "").await;
    let session = cx.session().await;
    let lock = rwlock(&cx, &session);
    let mut write = lock.write().boxed();
    cx.not_yet("a writer beside a reader", &mut write).await;
    cx.delete(key.as_bytes()).await;
    let _held = cx.soon("the writer's grant", write).await.expect("the reader is gone");
}

pub(crate) async fn a_foreign_key_is_reported(cx: Cx) {
    cx.put(&format!("{}/other", cx.name), "").await;
    let session = cx.session().await;
    let outcome = cx.soon("an answer", rwlock(&cx, &session).write()).await;
    assert!(matches!(outcome, Err(Error::ForeignKey { .. })), "{outcome:?}");
}

pub(crate) async fn a_foreign_key_among_readers_and_writers_is_reported(cx: Cx) {
    let session = cx.session().await;
    for kind in ["read", "write"] {
        let key = format!("{}/{kind}/other", cx.name);
        cx.put(&key, "").await;
        let outcome = cx.soon("a writer's answer", rwlock(&cx, &session).write()).await;
        assert!(matches!(outcome, Err(Error::ForeignKey { .. })), "{kind}: {outcome:?}");
        if kind == "write" {
            for lock in [rwlock(&cx, &session), fifo(&cx, &session)] {
                let outcome = cx.soon("a reader's answer", lock.read()).await;
                assert!(matches!(outcome, Err(Error::ForeignKey { .. })), "{outcome:?}");
                let tried = cx.soon("a reader's answer", lock.try_read()).await;
                assert!(matches!(tried, Err(Error::ForeignKey { .. })), "{tried:?}");
            }
        }
        cx.delete(key.as_bytes()).await;
    }
}

pub(crate) async fn a_lock_and_its_guards_tell_their_name_and_lease(cx: Cx) {
    let session = cx.session().await;
    let lock = RwLock::new(&session, &cx.name).expect("a good name");
    assert_eq!(lock.name(), cx.name);
    let reading = lock.read().await.expect("it is free");
    assert_eq!((reading.name(), reading.lease()), (&*cx.name, session.lease()));
    reading.release().await.expect("it is held");
    let writing = lock.write().await.expect("it is free");
    assert_eq!((writing.name(), writing.lease()), (&*cx.name, session.lease()));
}
