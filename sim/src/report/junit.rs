//! Campaigns as JUnit XML, for CI: one suite for each scenario, one case for each of its invariants, and one each for
//! panics, runs that never end, determinism and coverage.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::command;
use crate::run::{Campaign, Failure, Verdict};
use crate::scenario::Expect;

/// The report of campaigns, each with what its user called its scenario.
pub fn report(campaigns: &[(String, Campaign)]) -> Report {
    let mut report = Report::new("tenure");
    for (named, campaign) in campaigns {
        report.add_test_suite(suite(named, campaign));
    }
    report
}

fn suite(named: &str, campaign: &Campaign) -> TestSuite {
    let planted = campaign.planted.map(|planted| planted.name);
    let mut suite =
        TestSuite::new(planted.map_or_else(|| named.to_owned(), |name| format!("{named} with {name}")));
    suite.set_time(campaign.wall);
    if campaign.scenario.expect == Expect::Fail {
        let failed = campaign.failed_as_expected();
        let trouble = if failed { Vec::new() } else { vec!["it did not fail".to_owned()] };
        suite.add_test_case(case("fails as expected", &trouble));
    } else {
        for invariant in &campaign.scenario.invariants {
            let trouble = failures(named, campaign, |failure| breach(failure, invariant));
            suite.add_test_case(case(invariant, &trouble));
        }
    }
    for (name, end) in [("no panic", "panic"), ("no run away", "ran away")] {
        let of_this_end = |failure: &Failure| {
            let (what, message) = failure.verdict.wrong_end()?;
            (what == end).then(|| message.to_owned())
        };
        suite.add_test_case(case(name, &failures(named, campaign, of_this_end)));
    }
    let differences = campaign.differences.iter().map(|difference| {
        format!("seed {}: its runs differ first at step {}", difference.seed, difference.step)
    });
    suite.add_test_case(case("deterministic", &differences.collect::<Vec<_>>()));
    let lacks = campaign.judged_marks().into_iter().filter(|one| one.judgement.is_failure());
    let lacks = lacks.map(|one| format!("seen in {} of {} seeds: {}", one.seeds, campaign.count(), one.mark));
    suite.add_test_case(case("coverage", &lacks.collect::<Vec<_>>()));
    suite
}

fn breach(failure: &Failure, invariant: &str) -> Option<String> {
    let Verdict::Broken { violations } = &failure.verdict else { return None };
    let violation = violations.iter().find(|violation| violation.invariant == *invariant)?;
    Some(violation.detail.clone())
}

fn failures(named: &str, campaign: &Campaign, of: impl Fn(&Failure) -> Option<String>) -> Vec<String> {
    campaign
        .failures
        .iter()
        .filter_map(|failure| {
            let detail = of(failure)?;
            Some(format!(
                "seed {}: {detail}\n  {}",
                failure.seed,
                command::replay(named, failure.seed, command::Flags::of(campaign))
            ))
        })
        .collect()
}

fn case(name: &str, trouble: &[String]) -> TestCase {
    let status = match trouble.first() {
        None => TestCaseStatus::success(),
        Some(first) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(first.lines().next().unwrap_or_default());
            status.set_description(trouble.join("\n"));
            status
        }
    };
    TestCase::new(name, status)
}
