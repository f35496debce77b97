//! What the locker promises, whatever it locks.

use futures_util::FutureExt;
use tenure::{Error, Locker, Mutex, RwLock, Semaphore};

use crate::cx::Cx;

async fn lockers(cx: &Cx) -> Vec<(&'static str, Box<dyn Locker>, Box<dyn Locker>)> {
    let (one, other) = (cx.session().await, cx.session().await);
    let mutexes = [&one, &other].map(|s| Mutex::new(s, format!("{}.mutex", cx.name)).expect("a good name"));
    let rwlocks = [&one, &other].map(|s| RwLock::new(s, format!("{}.rwlock", cx.name)).expect("a good name"));
    let semaphores =
        [&one, &other].map(|s| Semaphore::new(s, format!("{}.semaphore", cx.name), 1).expect("a good name"));
    vec![
        ("mutex", Box::new(mutexes[0].locker()), Box::new(mutexes[1].locker())),
        ("semaphore", Box::new(semaphores[0].locker()), Box::new(semaphores[1].locker())),
        ("write against read", Box::new(rwlocks[0].write_locker()), Box::new(rwlocks[1].read_locker())),
        ("read against write", Box::new(rwlocks[0].read_locker()), Box::new(rwlocks[1].write_locker())),
    ]
}

pub(crate) async fn one_locker_excludes_the_other(cx: Cx) {
    for (what, one, other) in lockers(&cx).await {
        one.lock().await.expect("it is free");
        assert!(one.tenure().is_some_and(|tenure| tenure.is_held()), "{what}");
        let mut waiting = other.lock().boxed();
        cx.not_yet(what, &mut waiting).await;
        one.unlock().await.expect("it is held");
        cx.soon(what, waiting).await.expect("its turn has come");
        other.unlock().await.expect("it is held");
        assert!(cx.keys().await.is_empty(), "{what}");
    }
}

pub(crate) async fn unlocking_what_is_not_locked_is_an_error(cx: Cx) {
    for (what, one, _) in lockers(&cx).await {
        assert_eq!(one.unlock().await, Err(Error::NotLocked), "{what}: unlock before lock");
        one.lock().await.expect("it is free");
        assert!(matches!(one.lock().await, Err(Error::InUse { .. })), "{what}: lock while locked");
        one.unlock().await.expect("it is held");
        assert_eq!(one.unlock().await, Err(Error::NotLocked), "{what}: double unlock");
    }
}

pub(crate) async fn dropping_a_locker_releases(cx: Cx) {
    for (_, one, _) in lockers(&cx).await {
        one.lock().await.expect("it is free");
        drop(one);
        cx.until_keys(0).await;
    }
}
