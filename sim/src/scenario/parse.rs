//! From a scenario file's text to a [`Scenario`], with errors that name file, line, column and field.

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::{BadInput, Scenario, validate::validate};
use crate::coverage::{self, rates::Rates};

/// Reads a scenario. `origin` is how errors call the file, `name` what the scenario is to be called.
pub(super) fn parse(origin: &str, name: &str, text: &str) -> Result<Scenario, BadInput> {
    let mut scenario: Scenario = from_toml(origin, text)?;
    name.clone_into(&mut scenario.name);
    validate(&scenario).map_err(|problem| {
        let path = match problem.item {
            Some(item) => format!("{}.{item}", problem.field),
            None => problem.field.clone(),
        };
        complain(origin, text, offset_of(text, &path), &problem.field, &problem.what)
    })?;
    Ok(scenario)
}

/// Reads what a TOML file says; what is wrong with it is told with its place.
pub(crate) fn from_toml<T: DeserializeOwned>(origin: &str, text: &str) -> Result<T, BadInput> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        complain(origin, text, offset, &field_at(text, offset), error.message())
    })
}

/// What is wrong with the field of this dotted path, in which an item of a list goes by its number.
pub(crate) fn wrong_at(origin: &str, text: &str, path: &str, what: &str) -> BadInput {
    complain(origin, text, offset_of(text, path), path, what)
}

/// Reads the rates of a scenario's coverage marks.
pub(super) fn parse_rates(origin: &str, text: &str) -> Result<Rates, BadInput> {
    let rates: Rates = from_toml(origin, text)?;
    let known = coverage::names();
    for (mark, &hits) in &rates.hits {
        let what = if !known.contains(&mark.as_str()) {
            format!("there is no such mark; there are {}", known.join(", "))
        } else if hits > rates.seeds {
            format!("{hits} is not allowed; at most seeds = {} is", rates.seeds)
        } else {
            continue;
        };
        return Err(wrong_at(origin, text, &format!("hits.{mark}"), &what));
    }
    Ok(rates)
}

/// A line that says where in a file what is wrong with which field.
fn complain(origin: &str, text: &str, offset: usize, field: &str, what: &str) -> BadInput {
    let (line, column) = place(text, offset);
    let what = what.lines().collect::<Vec<_>>().join("; ");
    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
    BadInput(format!("{origin}:{line}:{column}: {field}{what}"))
}

/// Line and column of a place in a text, each from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// The dotted path of the innermost field at a place in the text; empty where there is none, or the text is no TOML.
fn field_at(text: &str, offset: usize) -> String {
    let Ok(table) = DeTable::parse(text) else { return String::new() };
    let mut path = Vec::new();
    let mut table = table.into_inner();
    'deeper: loop {
        for (key, value) in std::mem::take(&mut table) {
            let span = key.span().start..value.span().end.max(key.span().end);
            let inside = value.into_inner();
            // A [table]'s span is its header's alone, so look inside every table.
            if let DeValue::Table(inner) = &inside
                && inner.iter().any(|(key, value)| (key.span().start..=value.span().end).contains(&offset))
            {
                path.push(key.into_inner().into_owned());
                if let DeValue::Table(inner) = inside {
                    table = inner;
                }
                continue 'deeper;
            }
            if (span.start..=span.end).contains(&offset) && !matches!(inside, DeValue::Table(_)) {
                path.push(key.into_inner().into_owned());
                return path.join(".");
            }
        }
        return path.join(".");
    }
}

/// Where the field of this dotted path (of a list: its item of that number), or the nearest around it, stands in the text; 0 if
/// nowhere.
fn offset_of(text: &str, field: &str) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 0 };
    let mut offset = 0;
    let mut table = table.into_inner();
    let mut parts = field.split('.');
    while let Some(part) = parts.next() {
        let found = std::mem::take(&mut table).into_iter().find(|(key, _)| key.get_ref() == part);
        let Some((key, value)) = found else { break };
        offset = key.span().start;
        let inside = match value.into_inner() {
            DeValue::Array(items) => {
                let number = parts.next().and_then(|number| number.parse().ok());
                let item = number.and_then(|number: usize| items.into_iter().nth(number));
                let Some(item) = item else { break };
                offset = item.span().start;
                item.into_inner()
            }
            inside => inside,
        };
        let DeValue::Table(inner) = inside else { break };
        table = inner;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::BUILT_IN;

    fn mutex() -> &'static str {
        BUILT_IN[0].1
    }

    fn error_of(text: &str) -> String {
        parse("x.toml", "x", text).expect_err("must be refused").0
    }

    fn line_of(text: &str, part: &str) -> usize {
        text.lines().position(|line| line.starts_with(part)).expect("is there") + 1
    }

    #[test]
    fn every_built_in_scenario_is_right() {
        for (name, text) in BUILT_IN {
            let scenario = parse(name, name, text).expect("a right scenario");
            assert_eq!(scenario.name, *name);
        }
    }

    #[test]
    fn the_scenario_to_begin_with_is_right() {
        parse("new.toml", "new", crate::scenario::NEW).expect("a right scenario");
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let text = mutex().replace("count = ", "number = ");
        let error = error_of(&text);
        let line = line_of(&text, "number");
        assert!(error.starts_with(&format!("x.toml:{line}:1: clients.number: ")), "{error}");
        assert!(error.contains("count"), "says what is allowed: {error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn two_members_are_refused_with_what_is_allowed() {
        let text = mutex().replace("members = 3", "members = 2");
        let line = line_of(&text, "members");
        assert_eq!(
            error_of(&text),
            format!("x.toml:{line}:1: cluster.members: 2 is not allowed; 1, 3 or 5 are")
        );
    }

    #[test]
    fn a_negative_fault_weight_is_refused() {
        let text = mutex().replace("client-pause = ", "client-pause = -");
        let line = line_of(&text, "client-pause");
        let error = error_of(&text);
        assert!(error.starts_with(&format!("x.toml:{line}:1: faults.weights.client-pause: ")), "{error}");
    }

    #[test]
    fn an_unknown_fault_is_refused_with_those_there_are() {
        let text = mutex().replace("client-pause = ", "earthquake = ");
        let error = error_of(&text);
        assert!(error.contains("faults.weights.earthquake") && error.contains("member-crash"), "{error}");
    }

    #[test]
    fn a_wrong_type_names_its_field() {
        let text = mutex().replace("members = 3", "members = \"three\"");
        let error = error_of(&text);
        assert!(error.contains("cluster.members: invalid type"), "{error}");
    }

    #[test]
    fn an_item_of_a_list_is_told_where_it_stands() {
        let text = mutex().replace("\"a learner was promoted\"", "\"a pig flew\"");
        let line = line_of(&text, "    \"a pig flew\"");
        let error = error_of(&text);
        assert!(
            error.starts_with(&format!("x.toml:{line}:5: coverage: there is no \"a pig flew\"")),
            "{error}"
        );
        let error = error_of(&mutex().replace("\"fencing\"", "\"luck\""));
        assert!(error.contains(": invariants: there is no \"luck\"; there are mutual-exclusion"), "{error}");
        assert!(!error.contains(":1: invariants"), "its column is not the list's: {error}");
    }

    #[test]
    fn an_etcd_that_is_not_known_and_weights_that_sum_to_zero_are_refused() {
        let text = mutex().replace("version = \"3.7.2\"", "version = \"2.3\"");
        let line = line_of(&text, "version");
        let error = error_of(&text);
        assert!(error.starts_with(&format!("x.toml:{line}:1: cluster.version: ")), "{error}");
        let (before, after) = mutex().split_once("[workload.endings]").expect("is there");
        let (endings, rest) = after.split_once("\n[").expect("another table follows");
        let zeros: Vec<_> = endings
            .lines()
            .map(|line| line.split_once(" = ").map_or(line.into(), |(name, _)| format!("{name} = 0")))
            .collect();
        let zeros = format!("{}\n[{rest}", zeros.join("\n"));
        let error = error_of(&format!("{before}[workload.endings]{zeros}"));
        assert!(error.contains("workload.endings: all weights are 0"), "{error}");
    }

    #[test]
    fn rates_of_unknown_marks_and_more_hits_than_seeds_are_refused() {
        let refused = |text: &str| parse_rates("x.toml", text).expect_err("must be refused").0;
        let text = "from_seed = 0\nseeds = 10\n[hits]\n\"a holder was paused past its TTL\" = 3\n";
        assert_eq!(parse_rates("x.toml", text).expect("right").seeds, 10);
        let unknown = refused(&text.replace("a holder", "an elephant"));
        assert!(unknown.starts_with("x.toml:4:1: hits.an elephant"), "{unknown}");
        let many = refused(&text.replace("= 3", "= 11"));
        assert!(many.contains("at most seeds = 10"), "{many}");
        let field = refused(&text.replace("from_seed", "from"));
        assert!(field.starts_with("x.toml:1:1: from: unknown field"), "{field}");
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line() {
        assert!(error_of("about = \"a\"\nb = = 3\n").starts_with("x.toml:2:"));
    }
}
