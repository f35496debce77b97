//! The recipes for plain threads: the same calls, which block the calling thread.

use std::time::Duration;

use crate::kv::Op;
use crate::{Departure, Error, sync};

pub use super::stm::blocking::{Stm, Transaction};

/// Defines the blocking face of a type: each call blocks on the one of the same name.
macro_rules! face {
    (
        $(#[$docs:meta])* $face:ident of $inner:ident
        again { $($name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)* }
        $(try { $($try:ident() -> $try_out:ty;)* })?
        once { $($once:ident($($once_arg:ident: $once_kind:ty),*) -> $once_out:ty;)* }
    ) => {
        $(#[$docs])*
        ///
        /// The backend's runtime must run on other threads: never call it from a task, nor with a current-thread tokio runtime that
        /// nobody drives.
        #[derive(Debug)]
        pub struct $face {
            inner: crate::$inner,
        }

        impl $face {
            /// Makes it blocking.
            pub fn new(inner: crate::$inner) -> Self {
                Self { inner }
            }

            $(
                #[doc = concat!("Blocks as long as `", stringify!($name), "` of what it is made of waits.")]
                ///
                /// # Errors
                /// As that.
                pub fn $name(&self, $($arg: $kind),*) -> Result<$out, Error> {
                    sync::block_on(self.inner.$name($($arg),*)).map(Into::into)
                }
            )*

            $($(
                #[doc = concat!("Blocks until `", stringify!($try), "` of what it is made of has its answer.")]
                ///
                /// # Errors
                /// As that.
                pub fn $try(&self) -> Result<Option<$try_out>, Error> {
                    Ok(sync::block_on(self.inner.$try())?.map(Into::into))
                }
            )*)?

            $(
                #[doc = concat!("Blocks as long as `", stringify!($once), "` of what it is made of waits.")]
                ///
                /// # Errors
                /// As that.
                pub fn $once(self, $($once_arg: $once_kind),*) -> Result<$once_out, Error> {
                    sync::block_on(self.inner.$once($($once_arg),*))
                }
            )*
        }

        impl From<crate::$inner> for $face {
            fn from(inner: crate::$inner) -> Self {
                Self::new(inner)
            }
        }

        impl std::ops::Deref for $face {
            type Target = crate::$inner;

            fn deref(&self) -> &crate::$inner {
                &self.inner
            }
        }
    };
}

face! {
    /// A [`Barrier`](crate::Barrier) whose calls block the calling thread.
    Barrier of Barrier
    again {
        hold() -> BarrierHold;
        hold_for_good() -> i64;
        release() -> ();
        is_held() -> bool;
        wait() -> ();
        wait_timeout(limit: Duration) -> ();
    }
    once {}
}

face! {
    /// A [`BarrierHold`](crate::BarrierHold) whose calls block the calling thread.
    #[must_use = "dropping the hold releases the barrier"]
    BarrierHold of BarrierHold
    again {}
    once {
        release() -> ();
    }
}

face! {
    /// A [`DoubleBarrier`](crate::DoubleBarrier) whose calls block the calling thread.
    DoubleBarrier of DoubleBarrier
    again {
        enter() -> Entered;
        enter_timeout(limit: Duration) -> Entered;
    }
    once {}
}

face! {
    /// An [`Entered`](crate::Entered) whose calls block the calling thread.
    #[must_use = "dropping it is to be gone without having left"]
    Entered of Entered
    again {}
    once {
        leave() -> Departure;
        leave_timeout(limit: Duration) -> Departure;
    }
}

face! {
    /// A [`Queue`](crate::Queue) whose calls block the calling thread.
    Queue of Queue
    again {
        enqueue(item: Vec<u8>) -> ();
        enqueue_all(items: Vec<Vec<u8>>) -> ();
        dequeue() -> Vec<u8>;
        dequeue_timeout(limit: Duration) -> Vec<u8>;
        dequeue_batch(max: usize) -> Vec<Vec<u8>>;
        claim() -> Claim;
        claim_timeout(limit: Duration) -> Claim;
        count() -> u64;
    }
    try {
        try_dequeue() -> Vec<u8>;
        try_claim() -> Claim;
    }
    once {}
}

face! {
    /// A [`PriorityQueue`](crate::PriorityQueue) whose calls block the calling thread.
    PriorityQueue of PriorityQueue
    again {
        enqueue(priority: u16, item: Vec<u8>) -> ();
        enqueue_all(priority: u16, items: Vec<Vec<u8>>) -> ();
        dequeue() -> Vec<u8>;
        dequeue_timeout(limit: Duration) -> Vec<u8>;
        dequeue_batch(max: usize) -> Vec<Vec<u8>>;
        claim() -> Claim;
        claim_timeout(limit: Duration) -> Claim;
        count() -> u64;
    }
    try {
        try_dequeue() -> Vec<u8>;
        try_claim() -> Claim;
    }
    once {}
}

face! {
    /// A [`Claim`](crate::Claim) whose calls block the calling thread.
    #[must_use = "dropping a claim gives the item back"]
    Claim of Claim
    again {}
    once {
        ack() -> ();
        ack_with(ops: Vec<Op>) -> ();
        give_back() -> ();
    }
}

face! {
    /// A [`Semaphore`](crate::Semaphore) whose calls block the calling thread.
    Semaphore of Semaphore
    again {
        acquire() -> Permit;
        acquire_timeout(limit: Duration) -> Permit;
    }
    try {
        try_acquire() -> Permit;
    }
    once {}
}

face! {
    /// A [`Permit`](crate::Permit) whose calls block the calling thread.
    #[must_use = "dropping a permit gives it back"]
    Permit of Permit
    again {}
    once {
        release() -> ();
    }
}

face! {
    /// A [`Counter`](crate::Counter) whose calls block the calling thread.
    Counter of Counter
    again {
        increment() -> i64;
        add(by: i64) -> i64;
        get() -> i64;
    }
    once {}
}
