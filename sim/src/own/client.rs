//! A test's own code as the program of client processes.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::context::{Common, Context};
use crate::cluster::{ClientEnv, World};
use crate::history::What;
use crate::run::words;

/// What a process of a role runs: its error in words, if it ends with one.
pub(super) type Code = Arc<dyn Fn(Context) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A process that ended with an error is started again after so long, as a supervisor does.
const RESTARTED_AFTER: Duration = Duration::from_secs(1);

/// What the code of a client may end with: nothing, or a result.
pub trait Ends {
    /// The error in words.
    ///
    /// # Errors
    /// If it ended with one.
    fn end(self) -> Result<(), String>;
}

impl Ends for () {
    fn end(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Display> Ends for Result<(), E> {
    fn end(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// A closure as code.
pub(super) fn code<F, W>(run: F) -> Code
where
    F: Fn(Context) -> W + Send + Sync + 'static,
    W: Future<Output: Ends> + Send + 'static,
{
    Arc::new(move |context| {
        let work = run(context);
        async move { work.await.end() }.boxed()
    })
}

/// One life of a process. It ends when its code ends well; if that ends with an error, the process dies and is started again.
pub(super) async fn live(env: ClientEnv, common: Arc<Common>, code: Option<Code>) {
    common.begins(env.index);
    let own = common.plan.clients.get(env.index as usize).and_then(|client| client.own.clone());
    let (Some(own), Some(code)) = (own, code) else { return };
    let name = own.name.clone();
    env.record(What::Note(format!("{name}, life {}", env.life)));
    let context = Context::new(env.clone(), Arc::clone(&common), own);
    match AssertUnwindSafe(async { code(context).await }).catch_unwind().await {
        Ok(Ok(())) => env.record(What::Note(format!("{name} has ended"))),
        Ok(Err(error)) => {
            env.record(What::Note(format!("{name} ended with an error: {error}")));
            restart(&env.world, env.index);
            // It is killed, with all that it left running.
            std::future::pending::<()>().await;
        }
        Err(panic) => {
            let message = words(&*panic);
            env.record(What::Note(format!("{PANICKED}{message}")));
            common.panicked(format!("{name}: {message}"));
        }
    }
}

/// What the note of a panic begins with.
pub(super) const PANICKED: &str = "panicked: ";

fn restart(world: &World, client: u32) {
    let (of_task, client) = (world.clone(), client as usize);
    world.spawn(async move {
        of_task.with(|core| core.crash_client(client));
        let after_ns = u64::try_from(RESTARTED_AFTER.as_nanos()).unwrap_or(u64::MAX);
        of_task.sleep_until_ns(of_task.now_ns() + after_ns).await;
        of_task.with(|core| core.restart_client(client));
    });
}
