//! The list of mutants that may survive, each with the reason why.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    accepted: Vec<Accepted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    mutant: String,
    reason: String,
}

/// Reads the list: reasons by mutant.
pub(crate) fn read(file: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    parse(&text).with_context(|| format!("{}", file.display()))
}

fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let list: List = toml::from_str(text)?;
    let mut reasons = BTreeMap::new();
    for Accepted { mutant, reason } in list.accepted {
        ensure!(!reason.trim().is_empty(), "\"{mutant}\" has no reason");
        ensure!(reasons.insert(mutant.clone(), reason).is_none(), "\"{mutant}\" stands there twice");
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_mutant_on_the_list_stands_there_once_and_with_a_reason() {
        let good = "[[accepted]]\nmutant = \"a\"\nreason = \"same\"\n";
        assert_eq!(parse(good).expect("a list").len(), 1);
        assert!(parse(&good.repeat(2)).is_err());
        assert!(parse("[[accepted]]\nmutant = \"a\"\nreason = \" \"\n").is_err());
        assert!(parse("[[accepted]]\nmutant = \"a\"\n").is_err());
    }
}
