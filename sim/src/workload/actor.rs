//! Who carries out what programs do: a client of a run, or a process of an explored space. They differ in how time passes, in
//! how what is waited for is given up, and in where the history is written.

use tenure::Error;

use super::program::Patience;
use crate::history::{Deed, DeedEnd, Failure, What};

/// One who does what a program says.
pub(crate) trait Actor: Sync {
    /// Records a step. A dead process records nothing.
    fn record(&self, what: What);

    /// The number of what is begun next, unlike any other of the run.
    fn next_deed(&self) -> u64;

    /// An item to put into a queue, or what else is told apart by it, unlike any other of the run.
    fn next_item(&self) -> String;

    /// Lets so much time pass.
    fn sleep_ms(&self, ms: u64) -> impl Future<Output = ()> + Send;

    /// Waits for something for as long as it is willing to; `None` if it gave up.
    fn patiently<T: Send>(
        &self,
        patience: Patience,
        waiting: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send;

    /// Does something that is recorded when it is begun and when it comes to an end; `end` says how.
    fn does<T: Send>(
        &self,
        what: Deed,
        work: impl Future<Output = Result<T, Error>> + Send,
        end: impl FnOnce(&T) -> DeedEnd + Send,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        async move {
            let deed = self.next_deed();
            self.record(What::Does { deed, what });
            let mut ending = Ending { actor: self, deed, end: DeedEnd::Failed(Failure::Cancelled) };
            let outcome = work.await;
            ending.end = match &outcome {
                Ok(done) => end(done),
                Err(error) => DeedEnd::Failed(error.clone().into()),
            };
            outcome
        }
    }
}

/// Records how a deed ended, also if that is by being dropped.
struct Ending<'a, A: Actor + ?Sized> {
    actor: &'a A,
    deed: u64,
    end: DeedEnd,
}

impl<A: Actor + ?Sized> Drop for Ending<'_, A> {
    fn drop(&mut self) {
        self.actor.record(What::Did { deed: self.deed, end: self.end.clone() });
    }
}
