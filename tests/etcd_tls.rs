//! The backend [`Etcd`] over TLS, to a real server (with `--features tls`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(all(unix, feature = "tls"))]

use std::time::Duration;

use tenure::kv::{Put, Range, Request};
use tenure::{Backend, Certificate, ConnectError, Etcd, Runtime, TlsOptions};
use tenure_sim::real::{Server, ServerOptions};

#[tokio::test]
async fn a_server_whose_certificate_is_trusted_is_served_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut args = Vec::new();
    for (flag, name, pem) in [
        ("--cert-file", "cert.pem", made.cert.pem()),
        ("--key-file", "key.pem", made.signing_key.serialize_pem()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        args.extend([flag.to_owned(), path.display().to_string()]);
    }
    let options = ServerOptions { scheme: "https".to_owned(), args, ..ServerOptions::default() };
    let server = Server::start(&options).unwrap();
    let trusting = TlsOptions::new().ca_certificate(Certificate::from_pem(made.cert.pem()));

    let without_scheme = server.endpoint().replace("https://", "");
    for endpoint in [server.endpoint(), without_scheme] {
        let etcd = Etcd::builder([endpoint]).tls(trusting.clone()).connect().await.unwrap();
        let deadline = etcd.now() + Duration::from_secs(5);
        etcd.call(Request::Put(Put::new("k", "v")), deadline).await.unwrap();
        assert_eq!(etcd.range(Range::key("k"), deadline).await.unwrap().kvs.len(), 1);
    }

    let short = Duration::from_millis(500);
    let stranger = Etcd::builder([server.endpoint()]).tls(TlsOptions::new()).connect_timeout(short);
    let error = stranger.connect().await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");

    let plain = server.endpoint().replace("https://", "http://");
    let error = Etcd::builder([plain.clone()]).tls(trusting).connect().await.err().unwrap();
    assert!(matches!(error, ConnectError::BadEndpoint { .. }), "{error:?}");
    let error = Etcd::builder([plain]).connect_timeout(short).connect().await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}
