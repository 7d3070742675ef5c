//! What TLS is made of: whom we trust, and who we are. A certificate that cannot be verified is never passed over, and
//! nothing can switch that off.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::config::{TlsFiles, Trust};

/// Why there is no TLS to somebody.
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
    /// A file has no certificate.
    #[error("{0} holds no certificate; give a PEM file with {1}")]
    NoCertificate(String, &'static str),
    /// What is in a file is not usable.
    #[error("{0} cannot be used: {1}; give {2}")]
    Unusable(String, rustls::Error, &'static str),
    /// The system's authorities cannot be had.
    #[error(
        "the system's certificates cannot be used: {0}; install them (package ca-certificates), or name the authorities \
         in a file of your own (upstream_ca, store.ca)"
    )]
    NoSystemTrust(rustls::Error),
}

/// A client's side of TLS 1.2 and 1.3; what is spoken on it is for the caller to set.
pub fn client(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has what TLS 1.2 and 1.3 need");
    let builder = match &trust.authorities {
        Some(file) => builder.with_root_certificates(authorities(file)?),
        None => builder.with_platform_verifier().map_err(TlsError::NoSystemTrust)?,
    };
    let Some(TlsFiles { certificate, private_key }) = &trust.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate, "the certificate that others know us by")?;
    let key = PrivateKeyDer::from_pem_file(private_key).map_err(pem_error(private_key, "a private key"))?;
    let unusable = |error| {
        TlsError::Unusable(
            certificate.display().to_string(),
            error,
            "the key that belongs to the certificate",
        )
    };
    builder.with_client_auth_cert(chain, key).map_err(unusable)
}

/// The authorities of a file, and nobody else. An empty file must not mean that everybody is trusted, or that the
/// system is asked instead.
pub fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let wanted = "the certificates of the authorities to trust";
    let mut store = RootCertStore::empty();
    for certificate in certificates(file, wanted)? {
        let unusable = |error| TlsError::Unusable(file.display().to_string(), error, wanted);
        store.add(certificate).map_err(unusable)?;
    }
    Ok(store)
}

fn certificates(file: &Path, wanted: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(file).map_err(pem_error(file, wanted))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(pem_error(file, wanted))?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate(file.display().to_string(), wanted));
    }
    Ok(found)
}

fn pem_error(file: &Path, wanted: &'static str) -> impl Fn(pem::Error) -> TlsError {
    let file = file.display().to_string();
    move |source| TlsError::Pem { file: file.clone(), wanted, source }
}

/// What we show to clients.
pub fn certified_key(files: &TlsFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(&files.certificate, "your own certificate first, then the intermediate ones")?;
    let key = PrivateKeyDer::from_pem_file(&files.private_key);
    let key = key.map_err(pem_error(&files.private_key, "a private key"))?;
    let name = files.certificate.display().to_string();
    let unusable = |error| TlsError::Unusable(name, error, "the key that belongs to the certificate");
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map(Arc::new)
        .map_err(unusable)
}
