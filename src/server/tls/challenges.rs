//! What an authority that issues a certificate is shown while it looks whether a name is ours.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::sign::CertifiedKey;

/// The protocol of the handshake that proves a name (RFC 8737 section 6.2). Nothing is spoken after it.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// What is being proved at the moment. Nobody looks here but authorities.
#[derive(Default)]
pub struct Challenges {
    /// By name.
    handshakes: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    /// Answers by token.
    requests: Mutex<HashMap<String, String>>,
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").finish_non_exhaustive()
    }
}

impl Challenges {
    /// From now on a handshake for a name is answered with this.
    pub fn offer_handshake(&self, name: &str, certificate: Arc<CertifiedKey>) {
        lock(&self.handshakes).insert(name.to_owned(), certificate);
    }

    /// From now on a request for a token is answered with this.
    pub fn offer_request(&self, token: &str, answer: &str) {
        lock(&self.requests).insert(token.to_owned(), answer.to_owned());
    }

    /// All has been proved, or not.
    pub fn clear(&self) {
        lock(&self.handshakes).clear();
        lock(&self.requests).clear();
    }

    pub(super) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        lock(&self.handshakes).get(name).cloned()
    }

    /// The answer to a request for this path, if it is one (RFC 8555 section 8.3).
    pub fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix("/.well-known/acme-challenge/")?;
        lock(&self.requests).get(token).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic is done under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
