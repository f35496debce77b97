//! The command that does it again, as its reader would type it.

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

/// The command that replays a seed of a scenario, given by name or file.
pub fn replay(scenario: &str, seed: u64, planted: Option<&str>) -> String {
    let planted = planted.map_or_else(String::new, |name| format!(" --planted {name}"));
    format!("{} replay {} --seed {seed}{planted}", program(), quoted(scenario))
}

/// The command that runs some seeds of a scenario.
pub fn run(scenario: &str, seeds: &std::ops::Range<u64>, planted: Option<&str>) -> String {
    let planted = planted.map_or_else(String::new, |name| format!(" --planted {name}"));
    format!("{} run {} --seeds {}..{}{planted}", program(), quoted(scenario), seeds.start, seeds.end)
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
        assert!(replay("mutex", 17, None).ends_with(" replay mutex --seed 17"));
        assert!(
            replay("my file.toml", 17, Some("x")).ends_with(" replay 'my file.toml' --seed 17 --planted x")
        );
    }
}
