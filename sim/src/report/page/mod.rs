//! A run as a picture: one HTML page that needs nothing else, neither network nor server. Lanes of members and clients
//! over time, what passed between them, who owned and who believed, what went wrong, and every step as text.

mod model;

use minijinja::{Environment, context};
use serde::Serialize;

use self::model::Model;
use crate::check::{Evidence, Violation};
use crate::run::Verdict;

/// What is said above the picture.
#[derive(Clone, Debug)]
pub struct Heading<'a> {
    /// Which run it is.
    pub title: String,
    /// Its scenario, plan and so on, in a few words each.
    pub facts: Vec<String>,
    /// How it ended.
    pub verdict: &'a Verdict,
    /// What happened, sentence by sentence.
    pub story: Vec<Sentence>,
    /// The command that shows it again.
    pub replay: Option<String>,
}

/// A sentence of the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// What it says.
    pub text: String,
    /// The steps that it speaks of.
    pub steps: Vec<usize>,
}

/// Makes the page.
///
/// # Errors
/// If the template cannot be filled, which no history brings about.
pub fn page(heading: &Heading<'_>, evidence: &Evidence<'_>) -> Result<String, minijinja::Error> {
    let violations: &[Violation] = heading.verdict.violations();
    let (outcome, verdict) = match heading.verdict {
        Verdict::Green => ("green", "green".to_owned()),
        Verdict::Broken { .. } => ("broken", "invariant broken".to_owned()),
        Verdict::Panic { message } => ("panic", format!("panic: {message}")),
        Verdict::RanAway { message } => ("panic", message.clone()),
    };
    let model = serde_json::to_string(&Model::of(evidence, violations)).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, "the model").with_source(error)
    })?;
    let mut environment = Environment::new();
    environment.add_template("page.html", include_str!("page.html"))?;
    environment.get_template("page.html")?.render(context! {
        title => heading.title,
        facts => heading.facts,
        outcome,
        verdict,
        story => heading.story,
        violations,
        replay => heading.replay,
        css => include_str!("page.css"),
        js => concat!(include_str!("picture.js"), "\n", include_str!("page.js")),
        // Nothing in a history may end the element that holds it.
        model => model.replace('<', "\\u003c"),
        made_by => concat!("tenure ", env!("CARGO_PKG_VERSION")),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::Plan;
    use crate::run::{evidence, execute};
    use crate::scenario;

    #[test]
    fn a_page_needs_nothing_from_elsewhere_and_no_text_escapes_its_place() {
        let plan = Arc::new(Plan::draw(&scenario::find("mutex").expect("built in"), 3));
        let run = execute(&plan, None).expect("runs");
        let heading = Heading {
            title: "mutex, seed 3 </script><b>".into(),
            facts: vec!["3 members".into()],
            verdict: &Verdict::Green,
            story: vec![Sentence { text: "c1 was <b>paused".into(), steps: vec![1] }],
            replay: None,
        };
        let text = page(&heading, &evidence(&plan, &run)).expect("renders");
        assert!(!text.contains("http://") && !text.contains("https://"), "it refers to the network");
        assert_eq!(text.matches("</script>").count(), 2, "the model's and the code's, and no other");
        assert!(!text.contains("<b>"));
    }
}
