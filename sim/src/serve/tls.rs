//! TLS as etcd's flags have it: the server's certificate, and whose certificates of clients are taken.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::options::EtcdFlags;
use crate::scenario::BadInput;

/// What takes TLS connections, if they are to be TLS.
pub(super) fn acceptor(flags: &EtcdFlags) -> Result<Option<TlsAcceptor>, BadInput> {
    let (Some(cert_file), Some(key_file)) = (&flags.cert_file, &flags.key_file) else { return Ok(None) };
    let chain = certificates("--cert-file", cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(wrong("--key-file", key_file))?;
    let provider = Arc::new(ring::default_provider());
    let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| BadInput(format!("TLS: {error}")))?;
    let clients = match &flags.trusted_ca_file {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("--trusted-ca-file", file)? {
                roots.add(certificate).map_err(wrong("--trusted-ca-file", file))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if flags.client_cert_auth { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(wrong("--trusted-ca-file", file))?;
            versions.with_client_cert_verifier(verifier)
        }
        None => versions.with_no_client_auth(),
    };
    let mut config = clients.with_single_cert(chain, key).map_err(wrong("--cert-file", cert_file))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn certificates(flag: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, BadInput> {
    let read = CertificateDer::pem_file_iter(file).map_err(wrong(flag, file))?;
    let found = read.collect::<Result<Vec<_>, _>>().map_err(wrong(flag, file))?;
    if found.is_empty() {
        return Err(BadInput(format!("{flag}: {}: there is no certificate in it", file.display())));
    }
    Ok(found)
}

fn wrong<E: std::fmt::Display>(flag: &'static str, file: &Path) -> impl Fn(E) -> BadInput {
    move |error| BadInput(format!("{flag}: {}: {error}", file.display()))
}
