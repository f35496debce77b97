//! `tenure conform`: the simulated store and a real etcd play the same scripts, and every reply, refusal, event and
//! revision is compared.
//!
//! `generate` makes a script of each case from the seed, `play` plays it on both sides, `accept` holds the one list of
//! what is not compared to the letter, and `shrink` makes a script that shows a difference as small as it gets.

mod accept;
mod generate;
mod play;
#[cfg(unix)]
mod run;
mod script;
mod show;
mod shrink;
mod single_wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tenure::kv::{Request, Response};
use tenure::wire::{Status, Wire};
use tenure::{Runtime, TokioRuntime};

pub use accept::Accepted;
pub use play::Difference;
#[cfg(unix)]
pub use run::{ConformOptions, run};
pub use script::Step;
pub use single_wire::SingleWire;

use crate::store::{EtcdVersion, Planted, SingleConfig, StoreConfig, UnknownVersion};
use play::Bench;

/// A script is played at most this often while it is shrunk.
const SHRINK_PLAYS: usize = 600;
/// One case in so many lets a lease die of itself, which takes a server over a second.
const EXPIRY_EVERY: u64 = 199;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Cases {
    /// How many scripts.
    pub count: u64,
    /// What they are made from.
    pub seed: u64,
    /// A difference that the simulated store is given on purpose.
    pub planted: Option<Planted>,
}

/// What came out.
#[derive(Debug, Default)]
pub struct ConformOutcome {
    /// How many scripts were played to the end.
    pub cases: u64,
    /// The time that it took, in milliseconds.
    pub elapsed_ms: u64,
    /// The first difference that was found, if one was.
    pub found: Option<Found>,
    /// How often each accepted difference was made use of, on either side.
    pub accepted: BTreeMap<Accepted, u64>,
}

/// A difference, made as small as it gets.
#[derive(Debug)]
pub struct Found {
    /// The case that showed it.
    pub case: u64,
    /// The smallest script that still does.
    pub script: Vec<Step>,
    /// What both sides said to that.
    pub difference: Difference,
    /// Whether it showed again when the case was played once more. If not it depends on time, and was not shrunk.
    pub steady: bool,
}

/// Why no comparison came about.
#[derive(Debug, thiserror::Error)]
pub enum ConformError {
    /// The real server refused what it must take.
    #[error("the server refused {request}: {status}")]
    Server {
        /// What was asked of it.
        request: String,
        /// Its words.
        status: Status,
    },
    /// The same, after a case was begun; the case before it may have done the harm.
    #[error("case {case}: {error}\n{script}")]
    During {
        /// The case.
        case: u64,
        /// Its script, one step a line.
        script: String,
        /// What went wrong.
        error: Box<ConformError>,
    },
    /// The real server gave an answer of another kind.
    #[error("the server gave an unexpected answer: {0}")]
    Unexpected(String),
    /// The server holds keys, which a comparison would delete.
    #[error(
        "{endpoint} holds {keys} keys: a comparison deletes all that a server holds, so give it an empty one"
    )]
    NotEmpty {
        /// The server.
        endpoint: String,
        /// How many keys it holds.
        keys: i64,
    },
    /// A real server could not be started.
    #[cfg(unix)]
    #[error(transparent)]
    Start(crate::real::RealError),
    /// This is no endpoint.
    #[error("bad endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime to talk to servers on could not be made.
    #[error("cannot start a runtime: {0}")]
    Runtime(std::io::Error),
    /// There is no tokio runtime to talk to servers on.
    #[error("not called from within a tokio runtime")]
    NoRuntime,
    /// The server is of a release that the simulated store does not know.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
}

impl ConformError {
    fn during(self, case: u64, script: &[Step]) -> Self {
        let script = show::steps(script);
        Self::During { case, script, error: Box::new(self) }
    }
}

impl ConformOutcome {
    /// Whether both sides agreed on every script.
    pub fn agreed(&self) -> bool {
        self.found.is_none()
    }
}

impl fmt::Display for ConformOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::from_millis(self.elapsed_ms).as_secs_f64();
        let rate = self.cases as f64 / seconds.max(0.001);
        writeln!(f, "{} cases in {seconds:.1} s ({rate:.0} cases/s)", self.cases)?;
        for (accepted, times) in &self.accepted {
            writeln!(f, "  not compared to the letter {times} times: {}", accepted.reason())?;
        }
        match &self.found {
            None => writeln!(f, "no difference"),
            Some(found) => write!(f, "{found}"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steady {
            writeln!(f, "case {} differs; the smallest script has {} steps:", self.case, self.script.len())?;
        } else {
            writeln!(f, "case {} differed once and not again; as it was first played:", self.case)?;
        }
        write!(f, "{}", self.difference)
    }
}

/// Learns from a server which release it is and what its settings do to leases, and makes sure that it is empty.
async fn meet(wire: &dyn Wire, planted: Option<Planted>) -> Result<SingleConfig, ConformError> {
    let ask = async |request: Request| {
        let shown = format!("{request:?}");
        wire.call(request).await.map_err(|status| ConformError::Server { request: shown, status })
    };
    let status = wire.call(Request::Status).await.map_err(|status| ConformError::Endpoint {
        endpoint: wire.endpoint(),
        reason: format!("it cannot be reached: {status}"),
    })?;
    let Response::Status { version, .. } = status else {
        return Err(ConformError::Unexpected("to a status request".to_owned()));
    };
    let all = tenure::kv::Range { range_end: vec![0], count_only: true, ..tenure::kv::Range::key([0]) };
    match ask(Request::Range(all)).await? {
        Response::Range(range) if range.count == 0 => {}
        Response::Range(range) => {
            return Err(ConformError::NotEmpty { endpoint: wire.endpoint(), keys: range.count });
        }
        other => return Err(ConformError::Unexpected(format!("{other:?}"))),
    }
    let Response::LeaseGrant { grant, .. } = ask(Request::LeaseGrant { id: 0, ttl_s: 0 }).await? else {
        return Err(ConformError::Unexpected("to a lease grant".to_owned()));
    };
    ask(Request::LeaseRevoke { id: grant.id }).await?;
    let store = StoreConfig {
        version: version.parse::<EtcdVersion>()?,
        min_lease_ttl_s: grant.ttl_s,
        planted,
        ..StoreConfig::default()
    };
    Ok(SingleConfig { store, cluster_id: 0xc, member_id: 0xa })
}

/// Compares the simulated store with these servers, which must be empty and all of one release. They share the cases;
/// the first difference ends the comparison. What the servers hold is deleted.
///
/// Needs a tokio runtime. Dropping the future leaves keys on the servers.
///
/// # Errors
/// If a server cannot be talked to, is not empty, or is of an unknown release.
pub async fn compare(wires: Vec<Arc<dyn Wire>>, cases: &Cases) -> Result<ConformOutcome, ConformError> {
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().map_err(|_| ConformError::NoRuntime)?);
    let began = runtime.now();
    let stride = wires.len() as u64;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let workers = (0u64..).zip(wires).map(|(first, wire)| {
        let (runtime, stop) = (Arc::clone(&runtime), &stop);
        async move {
            let config = meet(&*wire, cases.planted).await?;
            let mut bench = Bench::new(wire, runtime, config);
            let mut outcome = ConformOutcome::default();
            let mut case = first;
            while case < cases.count && !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let with_expiry = case % EXPIRY_EVERY == EXPIRY_EVERY - 1;
                let (script, changed) = generate::script(cases.seed, case, with_expiry);
                if changed > 0 {
                    *outcome.accepted.entry(Accepted::FatalTxn).or_default() += changed;
                }
                let played = bench.play(&script).await;
                if let Some(difference) = played.map_err(|error| error.during(case, &script))? {
                    stop.store(true, std::sync::atomic::Ordering::Relaxed);
                    outcome.found = Some(shrunk(&mut bench, case, script, difference).await);
                    break;
                }
                outcome.cases += 1;
                case += stride;
            }
            for (accepted, times) in bench.normals().into_iter().flat_map(|normal| normal.used()) {
                *outcome.accepted.entry(*accepted).or_default() += times;
            }
            Ok::<_, ConformError>(outcome)
        }
    });
    let mut whole = ConformOutcome::default();
    for outcome in join_all(workers).await {
        let outcome = outcome?;
        whole.cases += outcome.cases;
        whole.found = whole.found.or(outcome.found);
        for (accepted, times) in outcome.accepted {
            *whole.accepted.entry(accepted).or_default() += times;
        }
    }
    let elapsed = runtime.now().saturating_since(began);
    whole.elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    Ok(whole)
}

/// Makes a script that shows a difference smaller until nothing smaller does, or the server is gone.
async fn shrunk(bench: &mut Bench, case: u64, script: Vec<Step>, difference: Difference) -> Found {
    let Ok(Some(again)) = bench.play(&script).await else {
        return Found { case, script, difference, steady: false };
    };
    let mut found = Found { case, script, difference: again, steady: true };
    let mut plays = 0;
    'smaller: loop {
        for candidate in shrink::smaller(&found.script) {
            if plays == SHRINK_PLAYS {
                break 'smaller;
            }
            plays += 1;
            match bench.play(&candidate).await {
                Ok(Some(difference)) => {
                    (found.script, found.difference) = (candidate, difference);
                    continue 'smaller;
                }
                Ok(None) => {}
                Err(_) => break 'smaller,
            }
        }
        break;
    }
    found
}
