//! What stops people and connections, as words for monitors.

/// A limit that stopped somebody. What the spend guard stops is counted by its guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `limits.starts_per_address`.
    StartsPerAddress,
    /// `limits.starts_per_number` or `limits.starts_per_user`.
    Starts,
    /// Another code: the pause before it, or the two above.
    Resend,
    /// `limits.checks_per_address`.
    ChecksPerAddress,
    /// `limits.checks_per_challenge`.
    ChecksPerChallenge,
    /// The tries that one code has are used up.
    Tries,
    /// The wait after wrong codes in a row.
    Failures,
    /// So many of them that codes by phone are closed.
    Closed,
    /// Emergency codes typed for one user.
    EmergencyTries,
}

impl Limit {
    pub(super) const ALL: [Self; 9] = [
        Self::StartsPerAddress,
        Self::Starts,
        Self::Resend,
        Self::ChecksPerAddress,
        Self::ChecksPerChallenge,
        Self::Tries,
        Self::Failures,
        Self::Closed,
        Self::EmergencyTries,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::StartsPerAddress => "starts_per_address",
            Self::Starts => "starts",
            Self::Resend => "resend",
            Self::ChecksPerAddress => "checks_per_address",
            Self::ChecksPerChallenge => "checks_per_challenge",
            Self::Tries => "tries",
            Self::Failures => "failures",
            Self::Closed => "closed",
            Self::EmergencyTries => "emergency_tries",
        }
    }
}

/// Why a connection of a client ended without an answer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// What came is no HTTP/1.1: it was answered 400 or 431 before anybody read it as a request.
    Malformed,
    /// It broke HTTP/2, or a bound that nobody comes near by chance.
    Http2,
    /// `server.max_connections_per_address`.
    PerAddress,
    /// Its client's connections had to be ended before, and it would have had to wait for too long.
    Offender,
    /// TLS did not come about.
    Handshake,
    /// A trusted proxy did not name its client, as `server.proxy_protocol` wants it.
    ProxyProtocol,
}

impl Turned {
    pub(super) const ALL: [Self; 6] = [
        Self::Malformed,
        Self::Http2,
        Self::PerAddress,
        Self::Offender,
        Self::Handshake,
        Self::ProxyProtocol,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Http2 => "http2",
            Self::PerAddress => "per_address",
            Self::Offender => "offender",
            Self::Handshake => "handshake",
            Self::ProxyProtocol => "proxy_protocol",
        }
    }
}
