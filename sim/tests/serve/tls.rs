//! TLS by etcd's flags: the server's certificate, and those of clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tenure_sim::serve::{ServeOptions, Serving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::serve;

/// An authority and what it signed.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("signed");
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("written");
        let issuer = Issuer::from_params(&params, &key);
        for (name, usage) in
            [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
        {
            let key = KeyPair::generate().expect("a key");
            let mut params =
                CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("params");
            params.extended_key_usages = vec![usage];
            let certificate = params.signed_by(&key, &issuer).expect("signed");
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).expect("written");
            std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).expect("written");
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).to_str().expect("a path").to_owned()
    }
}

fn read(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).expect("PEM").collect::<Result<_, _>>().expect("certificates")
}

/// Asks for /health over TLS, with a certificate of its own or none.
async fn health(serving: &Serving, certificates: &Certificates, own: bool) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(read(&certificates.file("ca.pem")).remove(0)).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = if own {
        let key = PrivateKeyDer::from_pem_file(certificates.file("client.key")).expect("a key");
        config.with_client_auth_cert(read(&certificates.file("client.pem")), key).expect("a certificate")
    } else {
        config.with_no_client_auth()
    };
    let address = serving.endpoint();
    let stream = TcpStream::connect(address.trim_start_matches("https://")).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_certificate_and_a_key_it_speaks_tls() {
    let certificates = Certificates::new();
    let (cert, key) = (certificates.text("server.pem"), certificates.text("server.key"));
    let serving = serve(&["--cert-file", &cert, "--key-file", &key]).await;
    assert!(serving.endpoint().starts_with("https://"));
    let said = health(&serving, &certificates, false).await.expect("answered");
    assert!(said.contains(r#"{"health":"true""#), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_a_certificate_are_refused_where_that_is_asked() {
    let certificates = Certificates::new();
    let (cert, key) = (certificates.text("server.pem"), certificates.text("server.key"));
    let authority = certificates.text("ca.pem");
    let flags =
        ["--cert-file", &cert, "--key-file", &key, "--trusted-ca-file", &authority, "--client-cert-auth"];
    let serving = serve(&flags).await;
    let said = health(&serving, &certificates, true).await.expect("answered");
    assert!(said.contains(r#"{"health":"true""#), "{said}");
    health(&serving, &certificates, false).await.expect_err("it has no certificate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_certificate_is_told_with_its_flag() {
    let certificates = Certificates::new();
    let (cert, key) = (certificates.text("server.key"), certificates.text("server.key"));
    let flags = ["--listen", "127.0.0.1:0", "--cert-file", &cert, "--key-file", &key];
    let refused = Serving::start(&ServeOptions::of(flags).expect("right flags")).await;
    let refused = refused.err().expect("it is a key").to_string();
    assert!(refused.starts_with("--cert-file: ") && !refused.contains('\n'), "{refused}");
}
