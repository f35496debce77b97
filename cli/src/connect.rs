//! Connecting to etcd, and what a failure to do so means to the caller.

use tenure::{Certificate, ConnectError, Error, Etcd, Identity, TlsOptions};

use crate::args::Connection;
use crate::config::{Settings, read};
use crate::exit::{Failure, code};

/// Connects as the flags, the environment and the file say.
pub async fn connect(given: &Connection) -> Result<Etcd, Failure> {
    let settings = Settings::gather(given)?;
    let mut builder = Etcd::builder(settings.endpoints.clone()).connect_timeout(given.connect_timeout);
    let secure = settings.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    if secure || settings.cacert.is_some() || settings.identity.is_some() {
        let mut tls = TlsOptions::new();
        tls = match &settings.cacert {
            Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
            None => tls.with_enabled_roots(),
        };
        if let Some((cert, key)) = &settings.identity {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        builder = builder.tls(tls);
    }
    if let Some((user, password)) = settings.user {
        builder = builder.user(user, password);
    }
    builder.connect().await.map_err(|error| match error {
        ConnectError::NoEndpoints | ConnectError::BadEndpoint { .. } => {
            Failure::new(code::USAGE, error.to_string())
        }
        ConnectError::Unreachable { .. } => Failure::new(code::UNREACHABLE, error.to_string()),
        error => Failure::new(code::FAILED, format!("etcd refuses: {error}")),
    })
}

/// What an error of a primitive means before anything is held.
pub fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::InvalidName { .. } | Error::InvalidArgument { .. } => code::USAGE,
        Error::NotOpened(_) | Error::Unavailable(_) | Error::Maybe(_) => code::UNREACHABLE,
        _ => code::FAILED,
    };
    Failure::new(code, error.to_string())
}
