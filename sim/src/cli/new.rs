//! `tenure new`: a scenario to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use super::unless_closed;
use crate::scenario::{BadInput, NEW};

/// Writes a scenario to begin with, every field with what it is for.
///
/// A file that is there is left as it is.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The scenario's name, or its file; `.toml` is added
    #[arg(value_name = "NAME")]
    name: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let file = if args.name.extension().is_some_and(|extension| extension == "toml") {
        args.name.clone()
    } else {
        let mut name = args.name.clone().into_os_string();
        name.push(".toml");
        PathBuf::from(name)
    };
    let shown = file.display();
    let mut opened = OpenOptions::new().write(true).create_new(true).open(&file).map_err(|error| {
        BadInput(match error.kind() {
            ErrorKind::AlreadyExists => format!("{shown}: it is there already, and was left as it is"),
            _ => format!("{shown}: cannot be written: {error}"),
        })
    })?;
    if let Err(error) = opened.write_all(NEW.as_bytes()).and_then(|()| opened.sync_all()) {
        // Half of it is of no use.
        let _ = std::fs::remove_file(&file);
        return Err(BadInput(format!("{shown}: cannot be written: {error}")));
    }
    unless_closed(writeln!(
        anstream::stdout(),
        "{shown} is written; run it: tenure run {shown} --seeds 200"
    ))?;
    Ok(0)
}
