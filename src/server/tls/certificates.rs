//! The certificates that are shown to clients: which one, until when, and read again without anybody noticing.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::challenges::{ACME_TLS, Challenges};
use crate::config::{self, TlsFiles};
use crate::domain::time::Timestamp;
use crate::message::certificate_names::CertificateNames;
use crate::tls::{TlsError, certified_key};

/// All of them.
pub struct Certificates {
    files: Vec<TlsFiles>,
    /// Where the one by ACME is, once there is one; it comes after the others.
    issued: Option<TlsFiles>,
    challenges: Arc<Challenges>,
    /// The first is shown where none fits.
    shown: ArcSwap<Vec<Arc<Shown>>>,
}

/// Where a certificate is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Files that somebody puts there.
    Files,
    /// An authority that we ask ourselves.
    Acme,
}

/// One certificate with its key.
pub struct Shown {
    origin: Origin,
    key: Arc<CertifiedKey>,
    names: Arc<CertificateNames>,
    begins: Timestamp,
    expires: Timestamp,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.shown.load().iter()).finish()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown")
            .field("names", &self.names)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads all of them; what was issued is in `issued`, if it is there.
    pub(super) fn read(
        settings: &config::Tls,
        issued: &Path,
        challenges: Arc<Challenges>,
    ) -> Result<Self, TlsError> {
        let issued = || TlsFiles { certificate: issued.to_owned(), private_key: issued.to_owned() };
        let certificates = Self {
            files: settings.files.clone(),
            issued: settings.acme.is_some().then(issued),
            challenges,
            shown: ArcSwap::default(),
        };
        certificates.read_again()?;
        Ok(certificates)
    }

    /// The files they are read from.
    pub fn files(&self) -> impl Iterator<Item = &TlsFiles> {
        let issued = self.issued.iter().filter(|issued| issued.certificate.exists());
        self.files.iter().chain(issued)
    }

    /// Reads the files again; from now on all of them are shown as they are there, or none.
    pub fn read_again(&self) -> Result<(), TlsError> {
        let read = |(place, files): (usize, &TlsFiles)| {
            let origin = if place < self.files.len() { Origin::Files } else { Origin::Acme };
            Shown::new(files, origin).map(Arc::new)
        };
        let mut shown: Vec<_> = self.files().enumerate().map(read).collect::<Result<_, _>>()?;
        let old = self.shown.load();
        // What was issued is shown until there is another, also when its file is gone: it comes last.
        if shown.len() == self.files.len() && old.len() > shown.len() {
            shown.extend(old.last().cloned());
        }
        self.shown.store(Arc::new(shown));
        Ok(())
    }

    /// The one by ACME, once there is one.
    pub fn issued(&self) -> Option<Shown> {
        let issued = self.issued.as_ref().filter(|issued| issued.certificate.exists())?;
        Shown::new(issued, Origin::Acme).ok()
    }

    /// Each of them at this moment.
    pub fn all(&self) -> Arc<Vec<Arc<Shown>>> {
        self.shown.load_full()
    }

    /// The one that is shown to whoever asks for a host (RFC 6066 section 3): one that has its
    /// very name, one whose wildcard is for it, or else the first.
    pub fn for_host(&self, host: Option<&str>) -> Option<Arc<Shown>> {
        let shown = self.shown.load();
        let fits = host.and_then(|host| {
            let exact = shown.iter().find(|shown| shown.names.have(host));
            exact.or_else(|| shown.iter().find(|shown| shown.names.cover(host)))
        });
        fits.or_else(|| shown.first()).cloned()
    }

    /// Whether one of them is for a host.
    pub fn cover(&self, host: &str) -> bool {
        self.shown.load().iter().any(|shown| shown.names.cover(host))
    }

    /// Whether there are several, so that a connection may be for one host and a request on it for another.
    pub fn are_several(&self) -> bool {
        self.shown.load().len() > 1
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // An authority offers this and nothing else (RFC 8737 section 3).
        if hello.alpn().is_some_and(|offered| offered.eq([ACME_TLS])) {
            return self.challenges.certificate(hello.server_name()?);
        }
        self.for_host(hello.server_name()).map(|shown| shown.key.clone())
    }
}

impl Shown {
    fn new(files: &TlsFiles, origin: Origin) -> Result<Self, TlsError> {
        let key = certified_key(files)?;
        let leaf = key.end_entity_cert().ok().and_then(|leaf| X509Certificate::from_der(leaf).ok());
        let Some((_, leaf)) = leaf else {
            let name = files.certificate.display().to_string();
            let error = rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
            return Err(TlsError::Unusable(
                name,
                error,
                "your own certificate first, then the intermediate ones",
            ));
        };
        let (begins, expires) = (leaf.validity().not_before, leaf.validity().not_after);
        let (names, begins, expires) = (names(&leaf), begins.timestamp(), expires.timestamp());
        Ok(Self {
            origin,
            key,
            names: Arc::new(names),
            begins: Timestamp::from_unix(begins),
            expires: Timestamp::from_unix(expires),
        })
    }

    /// Where it is from.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Its names.
    pub const fn names(&self) -> &Arc<CertificateNames> {
        &self.names
    }

    /// What it is called: its first name.
    pub fn name(&self) -> &str {
        self.names.0.first().map_or("(without a name)", String::as_str)
    }

    /// Its leaf, DER.
    pub fn leaf(&self) -> &[u8] {
        self.key.end_entity_cert().map_or(&[], |leaf| leaf.as_ref())
    }

    /// Since when it is good.
    pub const fn begins(&self) -> Timestamp {
        self.begins
    }

    /// When it is over.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// Its subject alternative names; the common name is nobody's any more (RFC 9525 section 2).
pub fn names(leaf: &X509Certificate<'_>) -> CertificateNames {
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|names| &names.value.general_names);
    let name = |name: &GeneralName<'_>| {
        if let GeneralName::DNSName(name) = name {
            return Some(name.to_ascii_lowercase());
        }
        let GeneralName::IPAddress(bytes) = name else { return None };
        let v4 = <[u8; 4]>::try_from(*bytes).map(|octets| std::net::Ipv4Addr::from(octets).to_string());
        v4.or_else(|_| {
            <[u8; 16]>::try_from(*bytes).map(|octets| std::net::Ipv6Addr::from(octets).to_string())
        })
        .ok()
    };
    CertificateNames(names.filter_map(name).collect())
}
