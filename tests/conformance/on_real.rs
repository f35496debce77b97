//! Promises over real servers: one of each line, started with the first promise that needs it and shared by all.

use std::sync::OnceLock;

use futures_util::future::LocalBoxFuture;
use tenure::Etcd;
use tenure_sim::real::{Server, ServerOptions};

use crate::cx::Cx;

type Promise = fn(Cx) -> LocalBoxFuture<'static, ()>;

macro_rules! lines {
    ($($run:ident, $version:literal;)*) => {
        $(pub(crate) fn $run(name: &'static str, promise: Promise) {
            static SERVER: OnceLock<Server> = OnceLock::new();
            let server = SERVER.get_or_init(|| {
                Server::start(&ServerOptions::version($version)).expect(concat!("etcd ", $version, " starts"))
            });
            run(server, name, promise);
        })*
    };
}

lines! {
    run_3_4, "3.4.45";
    run_3_5, "3.5.34";
    run_3_6, "3.6.15";
    run_3_7, "3.7.2";
}

fn run(server: &Server, name: &str, promise: Promise) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio starts");
    tokio.block_on(async {
        let etcd = Etcd::connect([server.endpoint()]).await.expect("the server is there");
        promise(Cx { etcd, name: format!("conformance/{name}") }).await;
    });
}
