//! `tenure merge`: the shards of a campaign, added up.

use std::path::{Path, PathBuf};

use super::output::Output;
use crate::report::json::Document;
use crate::run::{Part, merge};
use crate::scenario::BadInput;

/// Adds up the shards of a campaign, each the JSON document of a `tenure run --shard I/N --json`.
///
/// Prints what one run of all seeds would have printed, and ends with its exit code. A shard that is missing or there twice
/// is an error. Coverage marks are judged here, over all seeds; a shard does not judge its own.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The shards' documents
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let mut parts = Vec::new();
    for file in &args.files {
        parts.extend(read(file)?);
    }
    let campaigns = merge(parts)?;
    args.output.writable()?;
    for (named, campaign) in &campaigns {
        args.output.summary(named, campaign)?;
    }
    args.output.finish(&campaigns)
}

fn read(file: &Path) -> Result<Vec<Part>, BadInput> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| BadInput(format!("{shown}: cannot be read: {error}")))?;
    let document: Document = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        BadInput(format!("{shown}:{line}:{column}: not what `tenure run --json` writes: {error}"))
    })?;
    let campaigns = document.campaigns().map_err(|BadInput(why)| BadInput(format!("{shown}: {why}")))?;
    Ok(campaigns.into_iter().map(|(named, campaign)| Part { file: shown.clone(), named, campaign }).collect())
}
