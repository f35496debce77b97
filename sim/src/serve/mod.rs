//! `tenure serve`: the simulated store of one member as a server on a port, for whoever wants an etcd without an etcd.

mod single_wire;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use tenure::TokioRuntime;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use single_wire::SingleWire;

use crate::grpc::{Member, routes};
use crate::store::{EtcdVersion, SingleConfig, StoreConfig};

/// What `tenure serve` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2379")]
    pub listen: SocketAddr,
    /// Behave as this release of etcd.
    #[arg(long, value_name = "V", default_value_t = EtcdVersion::default())]
    pub etcd_version: EtcdVersion,
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        reason: std::io::Error,
    },
    /// There is no tokio runtime, or none could be made.
    #[error("cannot start a runtime: {0}")]
    Runtime(String),
    /// The server failed.
    #[error("the server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// A server that is listening; dropping it ends it, with all that it holds.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    tasks: Vec<JoinHandle<Result<(), ServeError>>>,
}

impl Serving {
    /// Begins to listen, with an empty store, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(options: &ServeOptions) -> Result<Self, ServeError> {
        let refused = |reason| ServeError::Listen { address: options.listen, reason };
        let runtime = TokioRuntime::current().map_err(|error| ServeError::Runtime(error.to_string()))?;
        let handle = tokio::runtime::Handle::current();
        let listener = TcpListener::bind(options.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let config = SingleConfig {
            store: StoreConfig { version: options.etcd_version, ..StoreConfig::default() },
            cluster_id: 0x7e_0001,
            member_id: 0x7e_0002,
        };
        let member = Member {
            id: config.member_id,
            name: "simulated".to_owned(),
            client_urls: vec![format!("http://{address}")],
        };
        let wire = SingleWire::new(config, Arc::new(runtime));
        let services = routes(Arc::new(wire.clone()), vec![member]);
        let ticking = handle.spawn(async move {
            wire.run().await;
            Ok(())
        });
        let connections = try_unfold(listener, |listener| async move {
            let (connection, _) = listener.accept().await?;
            connection.set_nodelay(true)?;
            Ok::<_, std::io::Error>(Some((connection, listener)))
        });
        let serving = handle.spawn(async move {
            let server = tonic::transport::Server::builder().add_routes(services);
            Ok(server.serve_with_incoming(connections.boxed()).await?)
        });
        Ok(Self { address, tasks: vec![serving, ticking] })
    }

    /// The endpoint, `http://127.0.0.1:port`.
    ///
    /// `etcdctl endpoint status` takes it without `http://` only: with it, that command sends the whole of it as the
    /// HTTP/2 authority, which a Go server lets pass and this one's HTTP/2 does not.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until it fails.
    ///
    /// # Errors
    /// What it failed by.
    pub async fn wait(mut self) -> Result<(), ServeError> {
        let serving = &mut self.tasks[0];
        serving.await.unwrap_or_else(|error| Err(ServeError::Runtime(error.to_string())))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Serves on a tokio runtime of its own until the process is ended. `ready` is told the endpoint once it listens.
///
/// # Errors
/// If it cannot listen, or fails.
pub fn run(options: &ServeOptions, ready: impl FnOnce(&str)) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| ServeError::Runtime(error.to_string()))?.block_on(async {
        let serving = Serving::start(options).await?;
        ready(&serving.endpoint());
        serving.wait().await
    })
}
