//! Carries plans of a test's own clients out and judges them.

use std::sync::Arc;

use futures_util::FutureExt;

use super::client::{Code, PANICKED, live};
use super::context::Common;
use super::{Invariant, RunView};
use crate::check::{Violation, check};
use crate::cluster::World;
use crate::history::What;
use crate::plan::Plan;
use crate::run::{Clients, Run, Started, Verdict, evidence, execute_with};
use crate::scenario::BadInput;
use crate::shrink;

/// The library's own invariants that judge what clients tell that they hold.
const OF_HOLDS: &[&str] = &["mutual-exclusion", "single-leader"];

/// A coverage mark of a test's own: something that some seed must bring about.
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) hit: Box<dyn Fn(&RunView<'_>) -> bool + Send + Sync>,
}

/// What is run and what must hold.
pub(super) struct Trial {
    /// The code of each role.
    pub(super) roles: Vec<(String, Code)>,
    pub(super) invariants: Vec<Box<dyn Invariant>>,
    pub(super) marks: Vec<Mark>,
}

impl Trial {
    /// The code of a role, if there is such a role.
    pub(super) fn code(&self, role: &str) -> Option<&Code> {
        self.roles.iter().find(|(name, _)| name == role).map(|(_, code)| code)
    }

    /// Judges a run.
    pub(super) fn judge(&self, plan: &Plan, run: &Run) -> Verdict {
        if let Some(message) = &run.panic {
            return Verdict::Panic { message: with_advice(message) };
        }
        match self.violations(plan, run, None) {
            violations if violations.is_empty() => Verdict::Green,
            violations => Verdict::Broken { violations },
        }
    }

    /// The first breach of each invariant, or of this one alone; the first of all first.
    fn violations(&self, plan: &Plan, run: &Run, only: Option<&str>) -> Vec<Violation> {
        let evidence = evidence(plan, run);
        let view = RunView::new(plan, &evidence);
        let is_wanted = |name: &str| only.is_none_or(|only| only == name);
        let own = self.invariants.iter().filter(|invariant| is_wanted(invariant.name()));
        let broken = own.filter_map(|invariant| {
            let breach = invariant.check(&view).err()?;
            let last = run.history.steps.len().saturating_sub(1);
            let (invariant, step) = (invariant.name().to_owned(), breach.step.min(last));
            Some(Violation { invariant, step, detail: breach.detail })
        });
        let mut violations: Vec<_> = broken.collect();
        let of_holds: Vec<String> =
            OF_HOLDS.iter().filter(|name| is_wanted(name)).map(|&name| name.to_owned()).collect();
        violations.extend(check(&evidence, &of_holds));
        violations.sort_by_key(|violation| violation.step);
        violations
    }

    /// Which marks a run hits.
    pub(super) fn hits(&self, plan: &Plan, run: &Run) -> Vec<bool> {
        let evidence = evidence(plan, run);
        let view = RunView::new(plan, &evidence);
        self.marks.iter().map(|mark| (mark.hit)(&view)).collect()
    }
}

impl Clients for Trial {
    fn start(&self, plan: &Arc<Plan>, _: &World) -> Started {
        let common = Arc::new(Common::new(Arc::clone(plan)));
        let of_role = |role: &str| self.code(role).cloned();
        let codes: Vec<_> = plan
            .clients
            .iter()
            .map(|client| client.own.as_ref().and_then(|own| of_role(&own.role)))
            .collect();
        let of_program = Arc::clone(&common);
        Started {
            program: Arc::new(move |env| {
                let code = codes.get(env.index as usize).cloned().flatten();
                live(env, Arc::clone(&of_program), code).boxed()
            }),
            panic: Box::new(move || common.take_panic()),
        }
    }
}

impl shrink::Trial for Trial {
    fn execute(&self, plan: &Arc<Plan>) -> Result<Run, BadInput> {
        execute_with(plan, self, |run| run)
    }

    fn first_violation(&self, plan: &Plan, run: &Run, invariant: Option<&str>) -> Option<(Verdict, u64)> {
        let steps = &run.history.steps;
        if run.panic.is_some() {
            let panicked =
                steps.iter().find(|at| matches!(&at.what, What::Note(text) if text.starts_with(PANICKED)));
            let at_ns = panicked.or(steps.last()).map_or(0, |step| step.at_ns);
            return Some((self.judge(plan, run), at_ns));
        }
        let violations = self.violations(plan, run, Some(invariant?));
        let at_ns = steps.get(violations.first()?.step)?.at_ns;
        Some((Verdict::Broken { violations }, at_ns))
    }
}

/// A panic's words, with what to do about it where that is known.
fn with_advice(message: &str) -> String {
    let of_tokio = message.contains("there is no reactor running") || message.contains("no timer running");
    if of_tokio {
        format!(
            "{message}; a client used tokio's own timers, tasks or sockets, which no seed decides: use \
             Context::sleep and Context::spawn, or those of tenure::Runtime"
        )
    } else {
        message.to_owned()
    }
}
