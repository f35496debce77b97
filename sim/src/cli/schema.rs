//! `tenure schema`: what a scenario file may hold, for editors.

use std::io::Write;

use super::unless_closed;
use crate::scenario::{BadInput, schema};

/// Prints the JSON schema of scenario files, by which editors check TOML and complete it.
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<u8, BadInput> {
    unless_closed(writeln!(anstream::stdout(), "{:#}", schema()))?;
    Ok(0)
}
