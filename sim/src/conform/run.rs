//! The command's side of the comparison: its options, the real servers that it starts or is given, and the run.

use std::sync::Arc;

use tenure::wire::Wire;
use tenure::{TokioRuntime, grpc_wire};

use super::{Cases, ConformError, ConformOutcome, compare};
use crate::real::{Server, ServerOptions};
use crate::store::{EtcdVersion, Planted};

/// What `tenure conform` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ConformOptions {
    /// How many scripts to play.
    #[arg(long, value_name = "N", default_value_t = 20_000, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub cases: u64,
    /// What the scripts are made from; the same seed makes the same scripts.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Start real servers of this release: 3.4.45, 3.5.34, 3.6.15 or 3.7.2.
    #[arg(long, value_name = "V", conflicts_with = "endpoints", default_value_t = EtcdVersion::default())]
    pub etcd_version: EtcdVersion,
    /// Compare with these servers instead. Each must be a cluster of its own, and empty: all that they hold is deleted.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub endpoints: Vec<String>,
    /// How many servers to start. They share the scripts; more of them use the time in which one waits.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub servers: u64,
    /// Give the simulated store this difference, to see it found.
    #[arg(long, value_name = "NAME")]
    pub planted: Option<Planted>,
}

/// Runs the comparison on a tokio runtime of its own, and ends the servers that it started.
///
/// # Errors
/// If a server cannot be started or reached, or as [`compare`] says.
pub fn run(options: &ConformOptions) -> Result<ConformOutcome, ConformError> {
    let servers = if options.endpoints.is_empty() { start(options)? } else { Vec::new() };
    let endpoints = if servers.is_empty() {
        options.endpoints.clone()
    } else {
        servers.iter().map(Server::endpoint).collect()
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ConformError::Runtime)?;
    let cases = Cases { count: options.cases, seed: options.seed, planted: options.planted };
    runtime.block_on(async {
        let wires = endpoints.iter().map(|endpoint| connect(endpoint)).collect::<Result<_, _>>()?;
        compare(wires, &cases).await
    })
}

fn start(options: &ConformOptions) -> Result<Vec<Server>, ConformError> {
    let settings = ServerOptions::version(&options.etcd_version.to_string());
    (0..options.servers.min(options.cases.max(1)))
        .map(|_| Server::start(&settings).map_err(ConformError::Start))
        .collect()
}

/// A lazily made connection to one endpoint; needs to be called within a tokio runtime.
fn connect(endpoint: &str) -> Result<Arc<dyn Wire>, ConformError> {
    let bad = |reason: String| ConformError::Endpoint { endpoint: endpoint.to_owned(), reason };
    TokioRuntime::current().map_err(|_| ConformError::NoRuntime)?;
    let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let target = tonic::transport::Endpoint::from_shared(url).map_err(|error| bad(error.to_string()))?;
    let channel = target.tcp_nodelay(true).connect_lazy();
    Ok(grpc_wire(endpoint, etcd_client::Channel::Tonic(channel)))
}
