//! What is done about a seed that failed: made smaller, kept, drawn as a page, and told in words.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::campaign::Report;
use super::failed::RedSeed;
use super::regressions::OwnCapsule;
use super::trial::Trial;
use super::view::name_of;
use crate::node::Node;
use crate::plan::Plan;
use crate::report::page::{Heading, Sentence, page};
use crate::report::story;
use crate::run::{Run, Verdict, evidence, execute_with};
use crate::scenario::BadInput;
use crate::shrink::{Fingerprint, Options, Size, smallest};

/// The test whose seed it is.
pub(super) struct Of<'a> {
    pub(super) test: &'a str,
    pub(super) trial: &'a Trial,
    /// Where failures are kept, if they are.
    pub(super) folder: Option<&'a Path>,
}

impl Of<'_> {
    /// A seed that failed so.
    pub(super) fn found(
        &self,
        plan: &Plan,
        verdict: &Verdict,
        options: Options,
        so_far: Report,
    ) -> Result<RedSeed, BadInput> {
        let small = match Fingerprint::all(verdict).into_iter().next() {
            Some(target) => smallest(plan, self.trial, target, options, |_| ())?.plan,
            None => plan.clone(),
        };
        let (small, before) = (Arc::new(small), Size::of(plan));
        execute_with(&small, self.trial, |run| {
            let verdict = self.trial.judge(&small, &run);
            let capsule = self.folder.map(|folder| {
                let capsule = OwnCapsule::new(self.test, &verdict, run.history.hash(), &small);
                capsule.write(folder).map_err(|error| format!("{}: {error}", folder.display()))
            });
            let mut red = self.told(&small, &run, verdict, so_far);
            red.before = before;
            red.page = page_beside(capsule.as_ref(), |file| self.draw(file, &small, &run, &red));
            red.capsule = capsule;
            red
        })
    }

    /// A failure that was kept in this file, if it still fails.
    pub(super) fn again(&self, file: &Path, capsule: OwnCapsule) -> Result<Option<RedSeed>, BadInput> {
        let plan = Arc::new(capsule.plan);
        execute_with(&plan, self.trial, |run| match self.trial.judge(&plan, &run) {
            Verdict::Green => None,
            verdict => {
                let mut red = self.told(&plan, &run, verdict, Report::default());
                red.known = true;
                red.capsule = Some(Ok(file.to_owned()));
                red.page = page_beside(red.capsule.as_ref(), |file| self.draw(file, &plan, &run, &red));
                Some(red)
            }
        })
    }

    fn told(&self, plan: &Plan, run: &Run, verdict: Verdict, so_far: Report) -> RedSeed {
        let sentences = story::of_verdict(&evidence(plan, run), &verdict, None);
        let clients = (0..).zip(&plan.clients).map(|(client, _)| Node::Client(client));
        RedSeed {
            test: self.test.to_owned(),
            seed: plan.seed,
            story: sentences.iter().map(ToString::to_string).collect(),
            cast: clients.map(|node| format!("{node} is {}", name_of(plan, node))).collect(),
            verdict,
            before: Size::of(plan),
            after: Size::of(plan),
            capsule: None,
            page: None,
            known: false,
            so_far,
        }
    }

    fn draw(&self, file: &Path, plan: &Plan, run: &Run, red: &RedSeed) -> Result<(), String> {
        let evidence = evidence(plan, run);
        let sentences = story::of_verdict(&evidence, &red.verdict, None);
        let mut facts = vec![
            format!("etcd {}, {} members", plan.cluster.version, plan.cluster.members),
            format!("{} faults planned", plan.faults.len()),
            format!("{} steps", run.history.steps.len()),
        ];
        facts.extend(red.cast.iter().cloned());
        let heading = Heading {
            title: format!("{}, seed {}", red.test, red.seed),
            facts,
            verdict: &red.verdict,
            story: sentences
                .into_iter()
                .map(|one| Sentence { text: one.to_string(), steps: one.steps })
                .collect(),
            replay: Some(format!("cargo test {}", red.test)),
        };
        let text = page(&heading, &evidence).map_err(|error| error.to_string())?;
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
    }
}

/// Draws a page beside a capsule that was written.
fn page_beside(
    capsule: Option<&Result<PathBuf, String>>,
    draw: impl FnOnce(&Path) -> Result<(), String>,
) -> Option<Result<PathBuf, String>> {
    let file = capsule?.as_ref().ok()?.with_extension("html");
    Some(draw(&file).map(|()| file))
}
