//! The settings of the connection: flags, else environment, else the file of `--config`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Connection;
use crate::exit::{Failure, code};

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:2379";

/// How to reach etcd, from wherever it was said.
pub struct Settings {
    pub endpoints: Vec<String>,
    pub cacert: Option<PathBuf>,
    /// The certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The user and its password.
    pub user: Option<(String, String)>,
}

/// The file of `--config`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    endpoints: Option<Vec<String>>,
    cacert: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
}

impl Settings {
    pub fn gather(given: &Connection) -> Result<Self, Failure> {
        let file = given.config.as_deref().map(read_config).transpose()?.unwrap_or_default();
        let endpoints = given.endpoints.clone().or(file.endpoints);
        let endpoints = endpoints.unwrap_or_else(|| vec![DEFAULT_ENDPOINT.to_owned()]);
        let identity = match (given.cert.clone().or(file.cert), given.key.clone().or(file.key)) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(usage("a certificate and its key go together: give --cert and --key")),
        };
        let user = match given.user.clone().or(file.user) {
            Some(user) => {
                let password = password(given.password_file.as_deref(), file.password, file.password_file)?;
                Some(with_password(user, password)?)
            }
            None => None,
        };
        Ok(Self { endpoints, cacert: given.cacert.clone().or(file.cacert), identity, user })
    }
}

/// The user and its password, which is not part of the name: arguments are public on the machine.
fn with_password(user: String, password: Option<String>) -> Result<(String, String), Failure> {
    if user.contains(':') {
        return Err(usage(
            "--user takes a name only: a password in an argument can be read by everybody on this machine; \
             use TENURE_PASSWORD or --password-file",
        ));
    }
    match password {
        Some(password) => Ok((user, password)),
        None => {
            Err(usage(&format!("no password for user {user:?}: set TENURE_PASSWORD or give --password-file")))
        }
    }
}

fn password(
    flag: Option<&Path>,
    in_config: Option<String>,
    file_in_config: Option<PathBuf>,
) -> Result<Option<String>, Failure> {
    // A flag wins; clap does not tell it from the variable of the same name, which then wins over TENURE_PASSWORD, too.
    if let Some(path) = flag {
        return first_line(path).map(Some);
    }
    if let Some(password) = std::env::var_os("TENURE_PASSWORD").filter(|password| !password.is_empty()) {
        return password.into_string().map(Some).map_err(|_| usage("TENURE_PASSWORD is not UTF-8"));
    }
    match in_config {
        Some(password) => Ok(Some(password)),
        None => file_in_config.as_deref().map(first_line).transpose(),
    }
}

fn first_line(path: &Path) -> Result<String, Failure> {
    let text = read(path)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(usage(&format!(
            "{}: the first line, which is to be the password, is empty",
            path.display()
        )));
    }
    Ok(line.to_owned())
}

fn read_config(path: &Path) -> Result<File, Failure> {
    let text = read(path)?;
    toml::from_str(&text).map_err(|error| {
        // Its own words show the line, which may be the one with the password.
        let at = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        usage(&format!("{}: line {at}: {}", path.display(), error.message()))
    })
}

/// A file of settings.
pub fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| usage(&format!("{}: {error}", path.display())))
}

fn usage(words: &str) -> Failure {
    Failure::new(code::USAGE, words)
}
