//! Connecting an [`Etcd`] to real endpoints by gRPC, on tokio.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Endpoint;

use super::grpc::GrpcWire;
use super::{Etcd, EtcdOptions, TokioRuntime};
use crate::backend::{CallError, Refusal, Runtime};
use crate::kv::Request;
use crate::wire::Wire;

/// Why no connection came about. Nothing is left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The list of endpoints is empty.
    #[error("no etcd endpoint was given")]
    NoEndpoints,
    /// An endpoint is not one.
    #[error("bad etcd endpoint {endpoint:?}: {reason}")]
    BadEndpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no tokio runtime to connect on.
    #[error("not called from within a tokio runtime")]
    NoRuntime,
    /// No endpoint answered in time.
    #[error("no etcd endpoint answered within {within:?}: {reason}")]
    Unreachable {
        /// The time that was allowed; see [`EtcdBuilder::connect_timeout`].
        within: Duration,
        /// How the last attempt failed, and on which endpoint.
        reason: String,
    },
    /// etcd answered and refused: the user or the password is wrong.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// How to connect an [`Etcd`]; from [`Etcd::builder`].
#[derive(Clone)]
#[must_use]
pub struct EtcdBuilder {
    endpoints: Vec<String>,
    options: EtcdOptions,
    user: Option<(String, String)>,
    connect_timeout: Duration,
    ping_interval: Duration,
    ping_timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<super::TlsOptions>,
}

// The password stays out of logs.
impl std::fmt::Debug for EtcdBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdBuilder")
            .field("endpoints", &self.endpoints)
            .field("options", &self.options)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .finish_non_exhaustive()
    }
}

impl EtcdBuilder {
    pub(super) fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            options: EtcdOptions::default(),
            user: None,
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(6),
            ping_timeout: Duration::from_secs(3),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// All that an [`Etcd`] has to know of how to try, at once.
    pub fn options(mut self, options: EtcdOptions) -> Self {
        self.options = options;
        self
    }

    /// See [`EtcdOptions::attempt_timeout`].
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.options.attempt_timeout = timeout;
        self
    }

    /// See [`EtcdOptions::progress_interval`].
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.options.progress_interval = interval;
        self
    }

    /// Every key lives below this prefix. See [`EtcdOptions::namespace`].
    pub fn namespace(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.options.namespace = prefix.into();
        self
    }

    /// The user to authenticate as. The token is renewed by itself. Where authentication is switched off, the user is
    /// not used.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// Certificates and names for `https` endpoints; an endpoint without a scheme is then `https`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: super::TlsOptions) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How long [`EtcdBuilder::connect`] may take until an endpoint has answered. 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// HTTP/2 pings, so that a connection whose other end is gone is given up and made anew, in use or not: one after
    /// `interval` without traffic (6 s), answered within `timeout` (3 s). etcd drops a connection that is pinged more often than each
    /// 5 s (`--grpc-keepalive-min-time`), or that is idle and pinged three times; it is made anew when needed.
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.ping_interval = interval;
        self.ping_timeout = timeout;
        self
    }

    /// Connects, on the present tokio runtime: returns when the first endpoint has answered (and taken the user). The
    /// other endpoints are connected to when they are needed, so with one that is dead nothing fails.
    ///
    /// Cancel safe: dropping the future closes what was opened.
    pub async fn connect(self) -> Result<Etcd, ConnectError> {
        if self.endpoints.is_empty() {
            return Err(ConnectError::NoEndpoints);
        }
        let runtime = TokioRuntime::current().map_err(|_| ConnectError::NoRuntime)?;
        let wires = self.endpoints.iter().map(|endpoint| self.wire(endpoint));
        let wires = wires.collect::<Result<Vec<_>, _>>()?;
        let deadline = runtime.now() + self.connect_timeout;
        let etcd = Etcd::over(wires, Arc::new(runtime), self.options);
        match etcd.call(Request::Status, deadline).await {
            Ok(_) => Ok(etcd),
            // Known, but no administrator.
            Err(CallError::Refused(Refusal::PermissionDenied(words)))
                if words.ends_with("permission denied") =>
            {
                Ok(etcd)
            }
            Err(CallError::Refused(refusal)) => Err(refusal.into()),
            Err(CallError::NotApplied(reason) | CallError::Maybe(reason)) => {
                Err(ConnectError::Unreachable { within: self.connect_timeout, reason })
            }
        }
    }

    fn wire(&self, given: &str) -> Result<Arc<dyn Wire>, ConnectError> {
        let bad = |reason: String| ConnectError::BadEndpoint { endpoint: given.to_owned(), reason };
        let url = match given.split_once("://") {
            Some(_) => given.to_owned(),
            None => format!("{}://{given}", self.default_scheme()),
        };
        let endpoint = Endpoint::from_shared(url).map_err(|error| bad(error_chain(&error)))?;
        let uri = endpoint.uri();
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad("it names no host".to_owned()));
        }
        let endpoint = match uri.scheme_str() {
            Some("http") => self.plain(endpoint),
            Some("https") => self.secure(endpoint),
            _ => Err("its scheme is neither http nor https".to_owned()),
        }
        .map_err(bad)?;
        // A connection that does not come about must be known of before its attempt runs out: then it is certain that
        // nothing was sent, and the next endpoint is tried at once.
        let connect_timeout = self.options.attempt_timeout * 3 / 4;
        let channel = endpoint
            .connect_timeout(connect_timeout)
            .http2_keep_alive_interval(self.ping_interval)
            .keep_alive_timeout(self.ping_timeout)
            .keep_alive_while_idle(true)
            .connect_lazy();
        let channel = etcd_client::Channel::Tonic(channel);
        Ok(Arc::new(GrpcWire::new(given.to_owned(), channel, self.user.clone())))
    }
}

#[cfg(feature = "tls")]
impl EtcdBuilder {
    fn default_scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn plain(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        match self.tls {
            Some(_) => Err("TLS options were given, but it is not https".to_owned()),
            None => Ok(endpoint),
        }
    }

    fn secure(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        let tls = self.tls.clone().unwrap_or_else(|| super::TlsOptions::new().with_enabled_roots());
        endpoint.tls_config(tls).map_err(|error| error_chain(&error))
    }
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with TLS")]
impl EtcdBuilder {
    fn default_scheme(&self) -> &'static str {
        "http"
    }

    fn plain(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        Ok(endpoint)
    }

    fn secure(&self, _: Endpoint) -> Result<Endpoint, String> {
        Err("https needs the feature \"tls\" of the crate tenure".to_owned())
    }
}

/// An error with all its causes: tonic says only "transport error" itself.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
