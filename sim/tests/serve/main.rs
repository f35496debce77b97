//! `tenure serve`: what clients of any language meet at its ports.
#![cfg(unix)]
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real sockets in real time, on tokio")]

mod clients;
mod faults;
mod flags;
mod members;
mod neighbours;
mod tls;
mod watches;

use std::time::Duration;

use etcd_client::Client;
use serde_json::Value;
use tenure_sim::serve::{ServeOptions, Serving};

const SOON: Duration = Duration::from_secs(20);

/// Serves with these flags, on free ports.
async fn serve(flags: &[&str]) -> Serving {
    let flags = ["--listen", "127.0.0.1:0"].iter().chain(flags).copied();
    Serving::start(&ServeOptions::of(flags).expect("right flags")).await.expect("it serves")
}

async fn client(serving: &Serving) -> Client {
    Client::connect(serving.endpoints(), None).await.expect("connected")
}

/// Asks the control service; a body is sent by POST.
async fn control(serving: &Serving, path: &str, body: Option<&str>) -> (u16, Value) {
    let url = format!("http://{}{path}", serving.control().expect("a control service"));
    let body = body.map(str::to_owned);
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let answer = match body {
            Some(body) => agent.post(url).send(body),
            None => agent.get(url).call(),
        };
        let mut answer = answer.expect("answered");
        let code = answer.status().as_u16();
        (code, answer.body_mut().read_json().expect("JSON"))
    });
    asked.await.expect("no panic")
}

/// Waits until something is so.
async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, waited).await.unwrap_or_else(|_| panic!("{what} comes to be"));
}
