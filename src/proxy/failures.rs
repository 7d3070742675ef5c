//! What goes wrong with an upstream, counted by kind over all threads. Only failures count, so that nobody waits.

use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::body::BodyError;
use super::{Late, UpstreamError};

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody listens there.
    Refused,
    /// There is no way there: host, network or socket are missing.
    Unreachable,
    /// Its name cannot be looked up.
    Dns,
    /// No connection, or no TLS on it, within `connect_timeout`.
    ConnectTimeout,
    /// TLS failed: most often its certificate.
    Tls,
    /// No answer within `response_timeout`.
    ResponseTimeout,
    /// A body stood still for `idle_timeout`, at the upstream.
    IdleTimeout,
    /// It closed or reset the connection before its answer was whole.
    Reset,
    /// What came is no answer, or one that ends in two places.
    Protocol,
    /// A health check failed, whatever it was.
    Check,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Refused,
        Self::Unreachable,
        Self::Dns,
        Self::ConnectTimeout,
        Self::Tls,
        Self::ResponseTimeout,
        Self::IdleTimeout,
        Self::Reset,
        Self::Protocol,
        Self::Check,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Dns => "dns",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::ResponseTimeout => "response_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Check => "check",
        }
    }

    /// The kind of what an upstream did; none where it is not to blame.
    fn of(error: &UpstreamError) -> Option<Self> {
        match error {
            UpstreamError::Unreachable(_, error) => Some(Self::of_connecting(error)),
            UpstreamError::Unresolved(..) => Some(Self::Dns),
            UpstreamError::Timeout(_, Late::Connection) => Some(Self::ConnectTimeout),
            UpstreamError::Timeout(_, Late::Answer) => Some(Self::ResponseTimeout),
            UpstreamError::Timeout(_, Late::Upload) => Some(Self::IdleTimeout),
            UpstreamError::Tls(..) => Some(Self::Tls),
            UpstreamError::Failed(_, error) => Some(Self::of_talking(error)),
            UpstreamError::Misframed(_) | UpstreamError::Unsolicited(_) => Some(Self::Protocol),
            UpstreamError::Crowded
            | UpstreamError::Client
            | UpstreamError::Resting(_)
            | UpstreamError::SessionEnded
            | UpstreamError::ClientStalled
            | UpstreamError::TooLarge
            | UpstreamError::NoLength => None,
        }
    }

    fn of_body(error: &BodyError) -> Option<Self> {
        match error {
            BodyError::Broken(error) => Some(Self::of_talking(error)),
            BodyError::Stalled => Some(Self::IdleTimeout),
            BodyError::SessionEnded | BodyError::TooLarge => None,
        }
    }

    fn of_connecting(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            Self::Refused
        } else if error.kind() == io::ErrorKind::TimedOut {
            Self::ConnectTimeout
        } else if is_cut(error) {
            Self::Reset
        } else {
            Self::Unreachable
        }
    }

    fn of_talking(error: &hyper::Error) -> Self {
        let source = error.source();
        let cut = source.and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(is_cut);
        let http2 = source.and_then(|source| source.downcast_ref::<h2::Error>());
        // What it reset or ended itself, or the network.
        let reset = http2.is_some_and(|error| error.is_remote() || error.is_io());
        if cut || reset || error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            Self::Reset
        } else {
            Self::Protocol
        }
    }
}

fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}

/// How often what went wrong with one upstream.
#[derive(Debug, Default)]
pub(super) struct Failures([AtomicU64; Kind::ALL.len()]);

impl Failures {
    pub(super) fn note(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Relaxed);
    }

    /// Notes why no answer came, where that is the upstream's doing.
    pub(super) fn note_error(&self, error: &UpstreamError) {
        if let Some(kind) = Kind::of(error) {
            self.note(kind);
        }
    }

    /// Notes why an answer broke off, likewise.
    pub(super) fn note_broken(&self, error: &BodyError) {
        if let Some(kind) = Kind::of_body(error) {
            self.note(kind);
        }
    }

    /// How often each.
    pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
        Kind::ALL.iter().map(|kind| (kind.as_str(), self.0[*kind as usize].load(Relaxed))).collect()
    }
}
