//! The certificate that browsers are shown: its names, its chain and its time.

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::cli::finding::Finding;
use crate::config::{Settings, TlsFiles};
use crate::domain::time::Timestamp;

/// Renewing takes place a month before the end; who has less than this left is not renewing.
const SOON: i64 = 21 * DAY;
const DAY: i64 = 86_400;

/// The files that the gateway shows certificates from.
fn files(settings: &Settings) -> impl Iterator<Item = &TlsFiles> {
    settings.server.tls.iter().flat_map(|tls| &tls.files)
}

/// Looks at every certificate. That its key belongs to it has been seen when the configuration was checked.
pub(super) fn look(settings: &Settings, hosts: &[String], now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for files in files(settings) {
        let about = format!("certificate {}", files.certificate.display());
        findings.extend(file(&about, files, hosts, now));
    }
    let by_acme = settings.server.tls.as_ref().is_some_and(|tls| tls.acme.is_some());
    if by_acme && findings.is_empty() {
        let said = "issued by ACME: the running gateway's log and /metrics tell of it";
        findings.push(Finding::ok("certificate", said));
    } else if findings.is_empty() && settings.server.public_url.secure {
        findings.push(Finding::ok("certificate", "none here: a proxy in front does TLS, look there"));
    }
    findings
}

fn file(about: &str, files: &TlsFiles, hosts: &[String], now: Timestamp) -> Vec<Finding> {
    let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'_>> = match chain {
        Ok(chain) => chain,
        Err(error) => return vec![Finding::problem(about, error.to_string(), "give a PEM file")],
    };
    let parsed: Result<Vec<_>, _> =
        chain.iter().map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate)).collect();
    let Ok(parsed) = parsed else {
        return vec![Finding::problem(
            about,
            "holds something that is no certificate",
            "give the chain as PEM",
        )];
    };
    let mut findings: Vec<_> =
        [time(about, &parsed, now), order(about, &parsed)].into_iter().flatten().collect();
    findings.extend(hosts.iter().filter_map(|host| name(about, &chain, host)));
    if findings.is_empty() {
        let days = parsed.iter().map(|one| one.validity().not_after.timestamp() - now.unix()).min();
        let days = days.unwrap_or_default() / DAY;
        findings.push(Finding::ok(about, format!("for {}, good for another {days} days", hosts.join(", "))));
    }
    findings
}

fn time(about: &str, chain: &[X509Certificate<'_>], now: Timestamp) -> Option<Finding> {
    let renew = "renew it, and put the new files in their place";
    let ends = chain.iter().map(|one| one.validity().not_after.timestamp()).min()?;
    let begins = chain.iter().map(|one| one.validity().not_before.timestamp()).max()?;
    let left = ends - now.unix();
    if left <= 0 {
        return Some(Finding::problem(about, format!("expired {} days ago", -left / DAY), renew));
    }
    if begins > now.unix() {
        let remedy = "set this machine's clock, or wait";
        return Some(Finding::problem(about, "is not valid yet", remedy));
    }
    (left < SOON).then(|| Finding::warning(about, format!("expires in {} days", left / DAY), renew))
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

fn name(about: &str, chain: &[CertificateDer<'_>], host: &str) -> Option<Finding> {
    let wrong = || {
        let remedy = format!("get one with the name {host}");
        Finding::problem(about, format!("is not for {host}"), remedy)
    };
    let certificate = ParsedCertificate::try_from(chain.first()?).ok();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok();
    match (certificate, name) {
        (Some(certificate), Some(name)) => verify_server_name(&certificate, &name).is_err().then(wrong),
        (_, None) | (None, _) => Some(wrong()),
    }
}
