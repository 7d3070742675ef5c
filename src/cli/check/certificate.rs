//! The certificate that browsers are shown: its names, its chain and its time.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::cli::finding::Finding;
use crate::config::{Place, Settings, TlsFiles};
use crate::domain::time::Timestamp;
use crate::message::certificate_names::CertificateNames;
use crate::server::tls::{self, Kept};

/// Renewing takes place a month before the end; who has less than this left is not renewing.
const SOON: i64 = 21 * DAY;
const DAY: i64 = 86_400;

/// Looks at every certificate that the gateway shows. That its key belongs to it has been seen when the configuration was
/// checked.
pub(super) fn look(settings: &Settings, now: Timestamp) -> Vec<Finding> {
    let hosts = super::hosts(settings);
    let Some(tls) = &settings.server.tls else { return in_front(settings) };
    let mut findings: Vec<_> = tls.files.iter().flat_map(|files| file(files, now)).collect();
    let mut all = tls.files.clone();
    if tls.acme.is_some() {
        let issued = Kept::issued_in(&settings.server.state_directory);
        findings.extend(by_acme(settings, &issued, now));
        all.push(issued);
    }
    let ordered = tls.acme.iter().map(|acme| CertificateNames(acme.domains.clone()));
    let names: Vec<_> = all.iter().filter_map(names).chain(ordered).collect();
    let uncovered = hosts.iter().filter(|host| !names.iter().any(|names| names.cover(host)));
    findings.extend(uncovered.map(|host| {
        let remedy = format!("get one with the name {host}");
        Finding::problem(format!("certificate for {host}"), "is not there: none is for this name", remedy)
    }));
    findings
}

fn in_front(settings: &Settings) -> Vec<Finding> {
    let said = "none here: a proxy in front does TLS, look there";
    let is_needed = settings.server.public_url.secure;
    is_needed.then(|| Finding::ok("certificate", said)).into_iter().collect()
}

fn by_acme(settings: &Settings, issued: &TlsFiles, now: Timestamp) -> Vec<Finding> {
    let about = "certificate by ACME";
    if !matches!(settings.store.place, Place::Sqlite(_)) {
        let what =
            "is each gateway's own, and the authority looks at whichever the load balancer sends it to";
        let remedy = "fine for one gateway; for several have one certificate issued elsewhere, and give it to all as files";
        return vec![Finding::warning(about, what, remedy)];
    }
    if issued.certificate.exists() {
        file(issued, now)
    } else {
        vec![Finding::ok(about, "none yet: the gateway asks for one when it starts")]
    }
}

/// The names of the certificate in a file.
fn names(files: &TlsFiles) -> Option<CertificateNames> {
    let leaf = CertificateDer::pem_file_iter(&files.certificate).ok()?.next()?.ok()?;
    X509Certificate::from_der(&leaf).ok().map(|(_, leaf)| tls::names(&leaf))
}

fn file(files: &TlsFiles, now: Timestamp) -> Vec<Finding> {
    let about = &format!("certificate {}", files.certificate.display());
    let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'_>> = match chain {
        Ok(chain) => chain,
        Err(error) => return vec![Finding::problem(about, error.to_string(), "give a PEM file")],
    };
    let parsed: Result<Vec<_>, _> =
        chain.iter().map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate)).collect();
    let Some(parsed) = parsed.ok().filter(|parsed| !parsed.is_empty()) else {
        return vec![Finding::problem(
            about,
            "holds something that is no certificate",
            "give the chain as PEM",
        )];
    };
    let mut findings: Vec<_> =
        [time(about, &parsed, now), order(about, &parsed)].into_iter().flatten().collect();
    if findings.is_empty() {
        let days = parsed.iter().map(|one| one.validity().not_after.timestamp() - now.unix()).min();
        let days = days.unwrap_or_default() / DAY;
        findings.push(Finding::ok(
            about,
            format!("for {}, good for another {days} days", tls::names(&parsed[0]).0.join(", ")),
        ));
    }
    findings
}

fn time(about: &str, chain: &[X509Certificate<'_>], now: Timestamp) -> Option<Finding> {
    let renew = "renew it, and put the new files in their place";
    let ends = chain.iter().map(|one| one.validity().not_after.timestamp()).min()?;
    let begins = chain.iter().map(|one| one.validity().not_before.timestamp()).max()?;
    let left = ends - now.unix();
    // Those that last for days are renewed in their last days.
    let soon = SOON.min((ends - begins) / 6);
    if left <= 0 {
        return Some(Finding::problem(about, format!("expired {} days ago", -left / DAY), renew));
    }
    if begins > now.unix() {
        let remedy = "set this machine's clock, or wait";
        return Some(Finding::problem(about, "is not valid yet", remedy));
    }
    (left < soon).then(|| Finding::warning(about, format!("expires in {} days", left / DAY), renew))
}

/// Each certificate is by the next one (RFC 8446 section 4.4.2); the authority at the end may be left out.
fn order(about: &str, chain: &[X509Certificate<'_>]) -> Option<Finding> {
    let full = "give the whole chain, your own certificate first (most authorities call it fullchain.pem)";
    if chain.windows(2).any(|pair| pair[0].issuer().as_raw() != pair[1].subject().as_raw()) {
        return Some(Finding::problem(about, "its certificates do not follow one another", full));
    }
    let [only] = chain else { return None };
    if only.issuer().as_raw() == only.subject().as_raw() {
        let remedy = "fine for a rehearsal; else get one from an authority";
        return Some(Finding::warning(about, "is signed by itself, which no browser trusts", remedy));
    }
    Some(Finding::warning(about, "is alone in its file: some browsers find no way to its authority", full))
}
