//! `[server.tls]`: which certificates are shown, and what is asked of clients.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use super::values::{duration_or_none, one_of};

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub private_key: PathBuf,
}

/// TLS with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificates, at least one; the first is shown to whoever names no host, or one that nobody has.
    pub files: Vec<TlsFiles>,
    /// The authorities of clients' certificates, where clients must have one.
    pub client_ca: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub oldest: TlsVersion,
    /// How long browsers are told to come by https only (RFC 6797).
    pub hsts: Option<Duration>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246, with ephemeral keys and authenticated ciphers only.
    Tls12,
    /// RFC 8446.
    Tls13,
}

pub(super) fn tls(section: &Section<'_>) -> Option<Tls> {
    if !section.is_present() {
        return None;
    }
    let first = files(section);
    let more: Vec<_> = section
        .sections("more")
        .iter()
        .map(|more| {
            let files = files(more);
            more.finish();
            files
        })
        .collect();
    let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
    let hsts = duration_or_none(section, "hsts", Duration::ZERO);
    let tls = Tls {
        client_ca: section.readable("client_ca"),
        oldest: one_of(section, "min_version", &versions, Some(TlsVersion::Tls12))?,
        hsts: (!hsts.is_zero()).then_some(hsts),
        files: std::iter::once(first).chain(more).collect::<Option<_>>()?,
    };
    section.finish();
    Some(tls)
}

fn files(section: &Section<'_>) -> Option<TlsFiles> {
    let file = |key: &'static str| {
        let path = section.readable(key);
        if path.is_none() {
            section.problem(key, "missing; write the path of a PEM file");
        }
        path
    };
    let (certificate, private_key) = (file("certificate"), file("private_key"));
    Some(TlsFiles { certificate: certificate?, private_key: private_key? })
}
