//! What GitHub Actions shows of campaigns: an annotation for each kind of failure, and a page of Markdown.
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>

use std::fmt::Write;

use super::command::{self, Flags};
use super::kinds::{Kind, kinds};
use crate::run::Campaign;

/// GitHub shows no more annotations of one step.
const MOST_ANNOTATIONS: usize = 10;

/// Workflow commands, one a line.
pub fn annotations(campaigns: &[(String, Campaign)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (named, campaign) in campaigns.iter().filter(|(_, campaign)| campaign.exit_code() != 0) {
        for kind in kinds(campaign) {
            lines.extend(first(named, campaign, &kind).map(|(detail, replay)| {
                let title = format!("{}: {} in {}", campaign.scenario.name, kind.what, seeds(kind.count));
                error(&title, &format!("{detail}\n{replay}"))
            }));
        }
        for difference in &campaign.differences {
            let title = format!("{}: not deterministic", campaign.scenario.name);
            let message =
                format!("seed {}: its runs differ first at step {}", difference.seed, difference.step);
            lines.push(error(&title, &message));
        }
        for (said, mark) in lacking(campaign) {
            lines.push(error(&format!("{}: {said}", campaign.scenario.name), &mark));
        }
    }
    lines.truncate(MOST_ANNOTATIONS);
    lines
}

/// A summary in Markdown, for `$GITHUB_STEP_SUMMARY`.
pub fn step_summary(campaigns: &[(String, Campaign)]) -> String {
    let mut page = String::from("| scenario | seeds | failed | exit code | hash |\n|---|---|---|---|---|\n");
    for (_, campaign) in campaigns {
        // Writing into a String cannot fail.
        let _ = writeln!(
            page,
            "| {}{} | {}{} | {} | {} | `{:016x}` |",
            campaign.scenario.name,
            campaign.planted.map_or_else(String::new, |planted| format!(" with {} planted", planted.name)),
            campaign.count(),
            campaign.stopped.map_or_else(String::new, |why| format!(" of {} ({why})", campaign.asked())),
            campaign.failures.len(),
            campaign.exit_code(),
            campaign.hash(),
        );
    }
    for (named, campaign) in campaigns {
        for kind in kinds(campaign) {
            if let Some((detail, replay)) = first(named, campaign, &kind) {
                let (scenario, what, count) = (&campaign.scenario.name, kind.what, seeds(kind.count));
                let _ = writeln!(page, "\n**{scenario}: {what} in {count}**\n\n```\n{detail}\n{replay}\n```");
            }
        }
        for (said, mark) in lacking(campaign) {
            let _ = writeln!(page, "\n**{}: {said}**: {mark}", campaign.scenario.name);
        }
    }
    page
}

/// The marks that a campaign should have hit, or more often.
fn lacking(campaign: &Campaign) -> impl Iterator<Item = (&'static str, String)> {
    let judged = campaign.judged_marks().into_iter().filter(|one| one.judgement.is_failure());
    judged.map(|one| (if one.seeds == 0 { "never seen" } else { "hardly seen any more" }, one.mark))
}

/// The first failure of a kind, and the command that shows it again.
fn first(named: &str, campaign: &Campaign, kind: &Kind<'_>) -> Option<(String, String)> {
    let example = kind.examples.first()?;
    let seed = example.failure.seed;
    Some((format!("seed {seed}: {}", example.detail), command::replay(named, seed, Flags::of(campaign))))
}

fn seeds(count: usize) -> String {
    format!("{count} {}", if count == 1 { "seed" } else { "seeds" })
}

fn error(title: &str, message: &str) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::error title={title}::{}", data(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_one_line_whatever_it_says() {
        let line = error("mutex: fifo in 2 seeds", "50 % of\nall");
        assert_eq!(line, "::error title=mutex%3A fifo in 2 seeds::50 %25 of%0Aall");
    }
}
