//! Traces of requests, sent by OTLP where the program was built with the feature `otlp` and the configuration names a
//! collector. No path, query, cookie, user, address of a client or number is in them.
//!
//! The rooms know only what is here: without the feature it is all there and does nothing.

#[cfg(not(feature = "otlp"))]
mod absent;
#[cfg(feature = "otlp")]
mod otlp;

use std::time::Duration;

use hyper::header::HeaderName;

#[cfg(not(feature = "otlp"))]
pub use absent::{Trace, Traces};
#[cfg(feature = "otlp")]
pub use otlp::{Trace, Traces};

/// Which trace a request belongs to (W3C Trace Context section 3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What others know of that trace (section 3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What waits when the gateway stops is sent within this, or lost.
pub const LAST_FLUSH: Duration = Duration::from_secs(3);

/// What is told of a request once its answer begins.
#[derive(Clone, Copy, Debug)]
pub struct Told<'t> {
    /// The status of the answer.
    pub status: u16,
    /// Host and path of its route; empty where it has none.
    pub route: &'t str,
    /// What was decided, in the words of `vestibule explain`.
    pub decision: &'static str,
    /// `http` or `https`, as people type it.
    pub scheme: &'static str,
}

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// There is no client.
    #[error("traces.endpoint: {0}; install the system's CA certificates (package ca-certificates)")]
    Client(#[from] reqwest::Error),
    /// It cannot be sent to.
    #[error("traces.endpoint: {0}; write it like \"http://127.0.0.1:4318/v1/traces\"")]
    Endpoint(String),
}
