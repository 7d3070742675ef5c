//! TLS towards upstreams, with and without HTTP/2.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::TlsConnector;

use crate::config::Trust;
use crate::tls::{self, TlsError};

/// How TLS connections to the upstreams of a route are made.
#[derive(Clone)]
pub(super) struct Tls {
    /// Lets the upstream choose HTTP/2.
    pub(super) any: TlsConnector,
    /// HTTP/1.1 only.
    pub(super) http1: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    pub(super) fn new(trust: &Trust) -> Result<Self, TlsError> {
        let mut http1 = tls::client(trust)?;
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut any = http1.clone();
        any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { any: Arc::new(any).into(), http1: Arc::new(http1).into() })
    }
}
