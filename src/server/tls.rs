//! TLS with clients, by rustls: 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, and the certificate that fits the host asked for.

mod certificates;
mod challenges;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

pub use certificates::{Certificates, Origin, Shown, names};
pub use challenges::{ACME_TLS, Challenges};
pub use watch::watch;

use crate::config::{self, Acme, TlsFiles, TlsVersion};
use crate::tls::{TlsError, authorities};

/// TLS with clients, as one configuration has it.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    acme: Option<Acme>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.certificates).finish()
    }
}

/// What TLS keeps, whatever the configuration becomes.
#[derive(Clone)]
pub struct Kept {
    /// What tickets are sealed with, a key that changes by itself every few hours: clients resume, without memory on our
    /// side.
    ticketer: Arc<dyn ProducesTickets>,
    /// What authorities are shown.
    challenges: Arc<Challenges>,
    /// Where the certificate by ACME is, with its key.
    issued: PathBuf,
}

impl Kept {
    /// What was issued rests below the state directory.
    pub fn new(state_directory: &Path) -> Result<Self, rustls::Error> {
        let ticketer = ticketer()?;
        let issued = Self::issued_in(state_directory).certificate;
        Ok(Self { ticketer, challenges: Arc::default(), issued })
    }

    /// Where the certificate by ACME is in a state directory: one file has it and its key.
    pub fn issued_in(state_directory: &Path) -> TlsFiles {
        let file = state_directory.join("acme").join("certificate.pem");
        TlsFiles { certificate: file.clone(), private_key: file }
    }

    /// What authorities are shown.
    pub const fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// Where the certificate by ACME is.
    pub fn issued(&self) -> &Path {
        &self.issued
    }
}

fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new()
}

fn no_tickets(error: rustls::Error) -> TlsError {
    TlsError::Unusable("a key for session tickets".to_owned(), error, "the system more random numbers")
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("issued", &self.issued).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. What is wrong with any of them is found here.
    pub fn new(settings: &config::Tls, kept: &Kept) -> Result<Self, TlsError> {
        let certificates = Certificates::read(settings, &kept.issued, kept.challenges.clone())?;
        let certificates = Arc::new(certificates);
        let builder = ServerConfig::builder_with_protocol_versions(versions(settings.oldest));
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let verifier = WebPkiClientVerifier::builder(Arc::new(authorities(file)?)).build();
                let unusable = |error: rustls::server::VerifierBuilderError| {
                    let wanted = "the certificates of the authorities whose clients may come";
                    TlsError::Unusable(
                        file.display().to_string(),
                        rustls::Error::General(error.to_string()),
                        wanted,
                    )
                };
                builder.with_client_cert_verifier(verifier.map_err(unusable)?)
            }
        };
        let mut config = builder.with_cert_resolver(certificates.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if settings.acme.is_some() {
            config.alpn_protocols.push(ACME_TLS.to_vec());
        }
        config.ticketer = match &settings.client_ca {
            None => kept.ticketer.clone(),
            // A session that is resumed is not asked for its certificate again: it must not outlive what was trusted.
            Some(_) => ticketer().map_err(no_tickets)?,
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, certificates, acme: settings.acme.clone() })
    }

    /// Takes connections.
    pub const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Who issues a certificate to us.
    pub const fn acme(&self) -> Option<&Acme> {
        self.acme.as_ref()
    }

    /// What is shown to clients.
    pub const fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }
}

static ALL: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
static NEWEST: [&SupportedProtocolVersion; 1] = [&TLS13];

const fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        TlsVersion::Tls12 => &ALL,
        TlsVersion::Tls13 => &NEWEST,
    }
}
