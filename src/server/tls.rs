//! TLS with clients, by rustls: 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, and the certificate that fits the host asked for.

mod certificates;
mod watch;

use std::fmt;
use std::sync::Arc;

use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

pub use certificates::{Certificates, Shown};
pub use watch::watch;

use crate::config::{self, TlsVersion};
use crate::tls::{TlsError, authorities};

/// TLS with clients, as one configuration has it.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.certificates).finish()
    }
}

/// What tickets are sealed with: resumption without memory on our side. It outlives a reload, so that clients resume.
pub type Ticketer = Arc<dyn ProducesTickets>;

/// A key for tickets, which changes by itself every few hours.
pub fn ticketer() -> Result<Ticketer, rustls::Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new()
}

impl Tls {
    /// Reads the files. What is wrong with any of them is found here.
    pub fn new(settings: &config::Tls, ticketer: Ticketer) -> Result<Self, TlsError> {
        let certificates = Arc::new(Certificates::read(settings)?);
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
        config.ticketer = ticketer;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificates })
    }

    /// Takes connections.
    pub const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
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
