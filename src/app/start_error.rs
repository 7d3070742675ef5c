//! Why the gateway cannot start, and what to do about it.

use std::io;

use crate::access::keys::KeysError;
use crate::audit::webhook::WebhookError;
use crate::crypto::MasterKeyError;
use crate::server::passed::PassedError;
use crate::store::{OpenError, StoreError};
use crate::tls::TlsError;
use crate::traces::TracesError;

/// Why the gateway cannot start, in words that name the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("state directory {0}: {1}; create it and give it to the user the gateway runs as")]
    StateDirectory(String, io::Error),
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The store cannot be used.
    #[error("store {0}: {1}{remedy}", remedy = remedy(.1))]
    Store(String, OpenError),
    /// A secret of the store cannot be had.
    #[error("{0}")]
    Secret(String),
    /// The signing keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The signing keys were sealed by another master key than the one of this name.
    #[error(
        "the signing keys in the store do not open with {0}; put the key that belongs to this store in its place"
    )]
    Sealed(String),
    /// Nobody can be told of what happens.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The pages cannot be used.
    #[error("templates: {0}")]
    Pages(String),
    /// The certificate cannot be used.
    #[error("server.tls: {0}")]
    Tls(TlsError),
    /// No key for session tickets.
    #[error("no key for TLS session tickets: {0}")]
    Tickets(rustls::Error),
    /// TLS to an upstream cannot be spoken.
    #[error("route: {0}")]
    Upstream(#[from] TlsError),
    /// The provider's client cannot be made.
    #[error(
        "no HTTPS client for the provider: {0}; install the system's CA certificates (package ca-certificates)"
    )]
    Client(#[from] reqwest::Error),
    /// The key of the provider's application cannot be used.
    #[error("private_key of provider {0}: {NOT_A_KEY}")]
    PrivateKey(String),
    /// Somebody else listens there, or it is not allowed.
    #[error("cannot listen on {0}: {1}; stop what listens there, or choose another address")]
    Listen(String, io::Error),
    /// The access log cannot be written.
    #[error(
        "log.access_file {0}: {1}; the user the gateway runs as must be allowed to write it, and its directory \
         (LogsDirectory= of the unit makes one)"
    )]
    AccessLog(String, io::Error),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// What was made of the configuration does not work.
    #[error("{0}")]
    Probe(String),
    /// The service manager does not pass a socket that is listened on.
    #[error("{0}: {1}")]
    Passed(String, PassedError),
    /// No thread or runtime.
    #[error("the system gives no threads: {0}")]
    Threads(io::Error),
}

impl StartError {
    /// Whether another start would come to the same: what has to be changed is named in the configuration.
    pub const fn is_of_the_configuration(&self) -> bool {
        match self {
            Self::Pages(_)
            | Self::Tls(_)
            | Self::Upstream(_)
            | Self::PrivateKey(_)
            | Self::Passed(..)
            | Self::Webhook(_)
            | Self::Traces(_) => true,
            Self::StateDirectory(..)
            | Self::MasterKey(_)
            | Self::Store(..)
            | Self::Secret(_)
            | Self::Keys(_)
            | Self::Sealed(_)
            | Self::Tickets(_)
            | Self::Client(_)
            | Self::Listen(..)
            | Self::AccessLog(..)
            | Self::Probe(_)
            | Self::Threads(_) => false,
        }
    }
}

/// What is wrong with a key that cannot sign, and what to give instead.
pub const NOT_A_KEY: &str = "no RSA private key in PEM (unencrypted, 2048 bits or more); give the file that was made with \
                             the application";

/// What to do about an error of PostgreSQL or its driver, which says only what is wrong.
fn remedy(error: &OpenError) -> String {
    let OpenError::Store(error @ StoreError::Postgres(_)) = error else { return String::new() };
    let text = error.to_string();
    let known = REMEDIES.iter().find(|(said, _)| text.contains(said));
    known.map_or_else(String::new, |(_, remedy)| format!("; {remedy}"))
}

/// By what they say: the driver has no kinds for most of them.
const REMEDIES: [(&str, &str); 6] = [
    ("password missing", "name where our password is in store.password"),
    ("password authentication failed", "give the role's password in store.password"),
    ("UnknownIssuer", "name the authority of the server's certificate in store.ca"),
    (
        "does not support TLS",
        "set ssl = on at the server, or, where nobody can listen in, end store.url in ?sslmode=disable",
    ),
    ("permission denied for schema public", "the role must own the database: ALTER DATABASE … OWNER TO …"),
    ("Connection refused", "start the server, or correct host and port in store.url"),
];
