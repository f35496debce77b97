//! The command that does it again, as its reader would type it.

use std::fmt;

use crate::cluster::Transport;
use crate::run::Campaign;

/// How the reader runs this program: by `cargo run` if that is how it was run.
fn program() -> &'static str {
    // Cargo sets this for what it runs.
    if std::env::var_os("CARGO_MANIFEST_DIR").is_none() {
        "tenure"
    } else if cfg!(debug_assertions) {
        "cargo run --"
    } else {
        "cargo run --release --"
    }
}

/// The flags that a campaign was run with and that change what happens in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags<'a> {
    /// The planted bug.
    pub planted: Option<&'a str>,
    /// How clients talk to members.
    pub transport: Transport,
}

impl Flags<'static> {
    /// Those of a campaign.
    pub fn of(campaign: &Campaign) -> Self {
        let planted = campaign.planted.map(|planted| planted.name);
        Self { planted, transport: campaign.scenario.cluster.transport }
    }
}

impl fmt::Display for Flags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.planted {
            write!(f, " --planted {name}")?;
        }
        match self.transport {
            Transport::Direct => Ok(()),
            Transport::Grpc => f.write_str(" --transport grpc"),
        }
    }
}

/// The command that replays a seed of a scenario, given by name or file.
pub fn replay(scenario: &str, seed: u64, flags: Flags<'_>) -> String {
    format!("{} replay {} --seed {seed}{flags}", program(), quoted(scenario))
}

/// The command that replays a capsule.
pub fn replay_capsule(capsule: &std::path::Path) -> String {
    format!("{} replay {}", program(), quoted(&capsule.display().to_string()))
}

/// The command that runs some seeds of a scenario.
pub fn run(scenario: &str, seeds: &std::ops::Range<u64>, flags: Flags<'_>) -> String {
    format!("{} run {} --seeds {}..{}{flags}", program(), quoted(scenario), seeds.start, seeds.end)
}

/// The command that runs a campaign again.
pub fn redo(scenario: &str, campaign: &Campaign) -> String {
    run(scenario, &campaign.seeds, Flags::of(campaign))
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        assert!(replay("mutex", 17, Flags::default()).ends_with(" replay mutex --seed 17"));
        let flags = Flags { planted: Some("x"), transport: Transport::Grpc };
        let command = replay("my file.toml", 17, flags);
        assert!(command.ends_with(" replay 'my file.toml' --seed 17 --planted x --transport grpc"));
    }
}
