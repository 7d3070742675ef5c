//! TLS by rustls: 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is no PEM.
    #[error("{file}: {source}; give a PEM file with {wanted}")]
    Pem {
        /// The file.
        file: String,
        /// What should be in it.
        wanted: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// The chain file has no certificate.
    #[error("{0} holds no certificate; give the chain as PEM, your own certificate first")]
    NoCertificate(String),
    /// Certificate and key do not go together.
    #[error(
        "the certificate {0} and its key cannot be used: {1}; give the key that belongs to the certificate"
    )]
    Unusable(String, rustls::Error),
}

/// Reads the files.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let name = files.certificate.display().to_string();
    let chain = chain(&files.certificate)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(name));
    }
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(pem_error(&files.private_key, "a private key"))?;
    let builder = ServerConfig::builder().with_no_client_auth();
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| TlsError::Unusable(name.clone(), error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Resumption without memory on our side.
    config.ticketer =
        rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| TlsError::Unusable(name, error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wanted = "a certificate";
    let certificates = CertificateDer::pem_file_iter(file).map_err(pem_error(file, wanted))?;
    certificates.collect::<Result<_, _>>().map_err(pem_error(file, wanted))
}

fn pem_error(file: &Path, wanted: &'static str) -> impl Fn(pem::Error) -> TlsError {
    let file = file.display().to_string();
    move |source| TlsError::Pem { file: file.clone(), wanted, source }
}
