//! `[server.tls]`: which certificates are shown, and what is asked of clients.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::reader::{Section, boolean};
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
    /// The certificates, at least one or those of `acme`; the first is shown to whoever names no host, or one that
    /// nobody has.
    pub files: Vec<TlsFiles>,
    /// Who issues one to us.
    pub acme: Option<Acme>,
    /// The authorities of clients' certificates, where clients must have one.
    pub client_ca: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub oldest: TlsVersion,
    /// How long browsers are told to come by https only (RFC 6797).
    pub hsts: Option<Duration>,
}

/// `[server.tls.acme]`: a certificate by ACME (RFC 8555).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The names in it, in the order of the configuration; at least one.
    pub domains: Vec<String>,
    /// Whom the authority writes to, `mailto:…`.
    pub contact: Vec<String>,
    /// Where the authority is.
    pub directory_url: String,
    /// How it sees that a name is ours.
    pub challenge: AcmeChallenge,
    /// The authority of the authority's own certificate, where it is none of the system's.
    pub ca: Option<PathBuf>,
}

/// How an authority sees that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// By a TLS handshake on port 443 (RFC 8737).
    TlsAlpn01,
    /// By a request on port 80 (RFC 8555 section 8.3).
    Http01,
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
    let acme_section = section.section("acme");
    let acme = acme(&acme_section);
    // With ACME it may be the only one.
    let has_first = !acme_section.is_present() || section.has("certificate") || section.has("private_key");
    let first = if has_first { Some(files(section)) } else { None };
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
        files: first.into_iter().chain(more).collect::<Option<_>>()?,
        acme,
    };
    section.finish();
    if tls.client_ca.is_some()
        && tls.acme.as_ref().is_some_and(|acme| acme.challenge == AcmeChallenge::TlsAlpn01)
    {
        let text =
            "the authority has no certificate to show; write challenge = \"http-01\", or remove client_ca";
        acme_section.problem("challenge", text);
    }
    Some(tls)
}

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

fn acme(section: &Section<'_>) -> Option<Acme> {
    if !section.is_present() {
        return None;
    }
    let domains: Vec<Domain> = section.list("domains");
    if section.lists_nothing("domains") {
        section.problem("domains", "no name to ask a certificate for; write [\"wiki.example.com\"]");
    }
    let contact: Vec<Contact> = section.list("contact");
    let directory: Option<Directory> = section.text("directory_url");
    let challenges = [("tls-alpn-01", AcmeChallenge::TlsAlpn01), ("http-01", AcmeChallenge::Http01)];
    let challenge = one_of(section, "challenge", &challenges, Some(AcmeChallenge::TlsAlpn01));
    if section.value("terms_agreed", boolean) != Some(true) {
        let text =
            "the authority issues nothing to who has not agreed to its terms; read them, then write true";
        section.problem("terms_agreed", text);
    }
    let acme = Acme {
        domains: domains.into_iter().map(|Domain(name)| name).collect(),
        contact: contact.into_iter().map(|Contact(address)| address).collect(),
        directory_url: directory.map_or_else(|| DIRECTORY.to_owned(), |Directory(url)| url),
        challenge: challenge?,
        ca: section.readable("ca"),
    };
    section.finish();
    Some(acme)
}

/// A name that is proved by a handshake or a request: a wildcard cannot be.
struct Domain(String);

impl FromStr for Domain {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong =
            "not a name that can be proved so; write one like \"wiki.example.com\", without port or wildcard";
        match url::Host::parse(text) {
            Ok(url::Host::Domain(name)) if !name.contains('*') => {
                Ok(Self(name.trim_end_matches('.').to_owned()))
            }
            _ => Err(wrong),
        }
    }
}

struct Contact(String);

impl FromStr for Contact {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        let is_address =
            address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
        let is_address =
            is_address && address.bytes().all(|b| b.is_ascii_graphic() && b != b',' && b != b'?');
        if is_address {
            Ok(Self(format!("mailto:{address}")))
        } else {
            Err("not a mail address; write one like \"ops@example.com\"")
        }
    }
}

struct Directory(String);

impl FromStr for Directory {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let url = url::Url::parse(text).ok().filter(|url| url.scheme() == "https" && url.has_host());
        url.map(|_| Self(text.to_owned()))
            .ok_or("not an https URL; write the one that your authority names for ACME")
    }
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
