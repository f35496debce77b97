//! Where the etcd binaries are: in crates that carry them, fetched when they are first asked for.

use std::path::PathBuf;
use std::process::Command;

use super::RealError;

/// The vendored versions: the newest of each line that etcd's users run.
pub const VERSIONS: [&str; 4] = ["3.4.45", "3.5.34", "3.6.15", "3.7.2"];

/// The version that tests use unless they need another.
pub const DEFAULT_VERSION: &str = "3.7.2";

/// The path of an etcd of `version`, fetched by `cargo fetch` if it has not been yet. The environment's `ETCD_BIN` wins
/// over the default version.
pub fn binary(version: &str) -> Result<PathBuf, RealError> {
    if version == DEFAULT_VERSION
        && let Some(named) = std::env::var_os("ETCD_BIN").filter(|named| !named.is_empty())
    {
        let path = PathBuf::from(named);
        return if path.is_file() { Ok(path) } else { Err(RealError::BadEtcdBin(path)) };
    }
    if !VERSIONS.contains(&version) {
        return Err(RealError::UnknownVersion(version.to_owned()));
    }
    let platform = platform(version).ok_or(RealError::NoBinaryForPlatform)?;
    if let Some(found) = find(platform, version) {
        return Ok(found);
    }
    fetch(platform, version)?;
    find(platform, version).ok_or_else(|| RealError::Fetch {
        version: version.to_owned(),
        reason: "the crate was fetched but its etcd was not found".to_owned(),
    })
}

/// The names that the crates and rustc have for this machine.
#[derive(Clone, Copy)]
struct Platform {
    suffix: &'static str,
    target: &'static str,
}

fn platform(version: &str) -> Option<Platform> {
    let (suffix, target) = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => ("linux-amd64", "x86_64-unknown-linux-gnu"),
        ("linux", "aarch64") => ("linux-arm64", "aarch64-unknown-linux-gnu"),
        ("macos", "x86_64") => ("darwin-amd64", "x86_64-apple-darwin"),
        // 3.4 was never built for it; the other one runs.
        ("macos", "aarch64") if version == "3.4.45" => ("darwin-amd64", "aarch64-apple-darwin"),
        ("macos", "aarch64") => ("darwin-arm64", "aarch64-apple-darwin"),
        _ => return None,
    };
    Some(Platform { suffix, target })
}

/// The binary in cargo's registry of unpacked crates.
fn find(platform: Platform, version: &str) -> Option<PathBuf> {
    let package = format!("etcd-bin-vendored-{}-{version}", platform.suffix);
    let mut registries: Vec<PathBuf> = std::fs::read_dir(cargo_home()?.join("registry/src"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    registries.sort();
    registries
        .into_iter()
        .map(|registry| registry.join(&package).join("bin/etcd"))
        .find(|path| path.is_file())
}

fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

/// Lets cargo fetch the crate into its registry, by a manifest that asks for nothing else: two versions cannot stand in one
/// lock file, and none is compiled.
fn fetch(platform: Platform, version: &str) -> Result<(), RealError> {
    let folder = tempfile::tempdir().map_err(RealError::io("making a folder to fetch etcd from"))?;
    let manifest = folder.path().join("Cargo.toml");
    let package = format!("etcd-bin-vendored-{}", platform.suffix);
    let text = format!(
        "[package]\nname = \"vendored-etcd\"\nedition = \"2024\"\n[lib]\npath = \"nothing.rs\"\n\
         [dependencies]\n{package} = \"={version}\"\n[workspace]\n"
    );
    std::fs::write(&manifest, text).map_err(RealError::io("writing what etcd is fetched by"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["fetch", "--quiet", "--target", platform.target, "--manifest-path"])
        .arg(&manifest)
        .output()
        .map_err(RealError::io("running cargo fetch"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(RealError::Fetch {
        version: version.to_owned(),
        reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_vendored_is_an_error_that_lists_those_that_are() {
        let error = binary("2.3.8").expect_err("no such version");
        assert!(error.to_string().contains("3.4.45, 3.5.34, 3.6.15, 3.7.2"), "{error}");
    }

    #[test]
    fn every_vendored_version_says_that_it_is_that_version() {
        for version in VERSIONS {
            let platform = platform(version).expect("a platform that etcd is built for");
            if find(platform, version).is_none() {
                fetch(platform, version).expect("fetched");
            }
            let output = Command::new(find(platform, version).expect("found")).arg("--version").output();
            let words = String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned();
            assert!(words.contains(&format!("etcd Version: {version}")), "{words}");
        }
    }
}
