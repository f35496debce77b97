//! Where what came of campaigns goes: standard output, JUnit, and what GitHub Actions asks for.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::unless_closed;
use crate::report::json::Document;
use crate::report::{command, github, junit, stands_on, summary};
use crate::run::{Campaign, Certificate, Hunted};
use crate::scenario::BadInput;

/// What is written, and where.
#[derive(clap::Args)]
pub(super) struct Output {
    /// Prints one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Also writes a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Writes what the green verdicts stand on, as JSON; a red campaign gives none, and takes an earlier one away
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Where `tenure mutants` left what came of the last hunt of planted bugs, for the certificate
    #[arg(long, value_name = "FILE", default_value = "target/tenure/mutants.json")]
    mutants: PathBuf,
}

impl Output {
    /// Whether what is to be written can be: before the first seed is run, not after the last.
    pub(super) fn writable(&self) -> Result<(), BadInput> {
        Hunted::read(&self.mutants)?;
        if let Some(file) = &self.certificate {
            has_folder("--certificate", file)?;
        }
        let Some(file) = &self.junit else { return Ok(()) };
        has_folder("--junit", file)?;
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .map(drop)
            .map_err(|error| BadInput(format!("--junit {}: cannot be written: {error}", file.display())))
    }

    /// Prints a campaign's summary, and what it stands on if it is green, unless a document comes in the end.
    pub(super) fn summary(&self, named: &str, campaign: &Campaign) -> Result<(), BadInput> {
        if self.json {
            return Ok(());
        }
        let hunted = Hunted::read(&self.mutants)?;
        let mut out = anstream::stdout().lock();
        unless_closed(summary::write(&mut out, campaign))?;
        match Certificate::of(campaign, hunted.as_ref(), command::redo(named, campaign)) {
            Some(certificate) => unless_closed(stands_on::write(&mut out, &certificate)),
            None => Ok(()),
        }
    }

    /// Writes the certificates, if all is green; else there is none.
    fn certify(
        &self,
        campaigns: &[(String, Campaign)],
        exit_code: u8,
        hunted: Option<&Hunted>,
    ) -> Result<(), BadInput> {
        let Some(file) = &self.certificate else { return Ok(()) };
        let failed = |error: std::io::Error| {
            BadInput(format!("--certificate {}: cannot be written: {error}", file.display()))
        };
        if exit_code != 0 {
            return match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let certificates = campaigns.iter().filter_map(|(named, campaign)| {
            Certificate::of(campaign, hunted, command::redo(named, campaign))
        });
        let text = serde_json::to_string_pretty(&certificates.collect::<Vec<_>>())
            .map_err(|error| failed(error.into()))?;
        std::fs::write(file, text + "\n").map_err(failed)
    }

    /// Writes what is told of all campaigns together. Gives the exit code.
    pub(super) fn finish(&self, campaigns: &[(String, Campaign)]) -> Result<u8, BadInput> {
        let codes = campaigns.iter().map(|(_, campaign)| campaign.exit_code());
        let exit_code = codes.max_by_key(|&code| weight(code)).unwrap_or(0);
        if let Some(file) = &self.junit {
            let failed = |error: &dyn std::fmt::Display| {
                BadInput(format!("--junit {}: cannot be written: {error}", file.display()))
            };
            let text = junit::report(campaigns).to_string().map_err(|error| failed(&error))?;
            std::fs::write(file, text).map_err(|error| failed(&error))?;
        }
        let hunted = Hunted::read(&self.mutants)?;
        self.certify(campaigns, exit_code, hunted.as_ref())?;
        tell_github(campaigns);
        let mut out = anstream::stdout().lock();
        if self.json {
            let text = serde_json::to_string_pretty(&Document::of(campaigns, exit_code, hunted.as_ref()))
                .map_err(|error| BadInput(format!("--json: {error}")))?;
            unless_closed(writeln!(out, "{text}"))?;
        } else if let Some(command) = reproduction(campaigns) {
            unless_closed(writeln!(out, "reproduce with:\n{command}"))?;
        }
        Ok(exit_code)
    }
}

fn has_folder(flag: &str, file: &Path) -> Result<(), BadInput> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    Err(BadInput(format!("{flag} {}: there is no folder {}", file.display(), folder.display())))
}

/// Which exit code is told of several: an end before the end makes every verdict a partial one, and histories that differ
/// make it doubtful, so 130 and 143 come before 4, and 4 before 1. What broke comes before what was missed (3).
fn weight(exit_code: u8) -> u8 {
    match exit_code {
        3 => 1,
        1 => 3,
        other => other,
    }
}

/// Annotations and a summary, where the environment says that GitHub Actions reads them. What cannot be written there is
/// told and changes nothing.
fn tell_github(campaigns: &[(String, Campaign)]) {
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        // The runner reads both streams; standard output may be a document.
        for line in github::annotations(campaigns) {
            anstream::eprintln!("{line}");
        }
    }
    let Some(file) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()) else { return };
    let page = github::step_summary(campaigns);
    let written = OpenOptions::new().append(true).create(true).open(&file);
    if let Err(error) = written.and_then(|mut file| file.write_all(page.as_bytes())) {
        anstream::eprintln!("tenure: no step summary in {}: {error}", Path::new(&file).display());
    }
}

/// The command for the first campaign that is red.
fn reproduction(campaigns: &[(String, Campaign)]) -> Option<String> {
    let (named, campaign) = campaigns
        .iter()
        .max_by_key(|(_, campaign)| weight(campaign.exit_code()))
        .and_then(|worst| campaigns.iter().find(|(_, one)| one.exit_code() == worst.1.exit_code()))?;
    if campaign.exit_code() == 0 {
        return None;
    }
    let flags = command::Flags::of(campaign);
    let seed = match campaign.differences.first() {
        Some(difference) => {
            let seeds = difference.seed..difference.seed + 1;
            return Some(command::run(named, &seeds, flags));
        }
        None => campaign.failures.first().map(|failure| failure.seed),
    };
    let mut small = campaign.failures.iter().filter_map(|failure| failure.shrunk.as_ref()?.as_ref().ok());
    if let Some(small) = small.next() {
        return Some(command::replay_capsule(&small.path));
    }
    Some(match seed {
        Some(seed) => command::replay(named, seed, flags),
        // It was to fail and did not, it was interrupted, or a mark was never hit: no one seed shows that.
        None => command::run(named, &campaign.seeds, flags),
    })
}
