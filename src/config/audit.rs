//! `[audit]`: who is told of each line of the audit trail.

use std::path::PathBuf;

use secrecy::SecretString;
use url::{Host, Url};

use super::reader::Section;
use super::secret;
use super::values::receiver;
use crate::domain::event::What;

/// `[audit]`
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Who is told of each line.
    pub webhook: Option<Webhook>,
}

/// Who is told, and how they know that it is us.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where lines go.
    pub url: Url,
    /// What they are signed with.
    pub secret: SecretString,
    /// Which lines go, by their words; empty means all.
    pub events: Vec<String>,
    /// PEM with the authorities to trust instead of the system's.
    pub authorities: Option<PathBuf>,
}

/// The word of an event.
struct Word(String);

impl std::str::FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = What::WORDS.contains(&text);
        let wrong = || format!("no event; write some of {}", What::WORDS.join(", "));
        if known { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }
}

pub(super) fn audit(section: &Section<'_>) -> Audit {
    let url = section.value("webhook", |value| webhook_receiver(value.as_str().unwrap_or_default()));
    let secret = secret::secret(section, "webhook_secret");
    let events = section.list("webhook_events").into_iter().map(|Word(word)| word).collect();
    let authorities = section.text("webhook_ca");
    if section.has("webhook") {
        if !section.has("webhook_secret") {
            section.problem("webhook_secret", "lines are signed; name a secret that the receiver has, too");
        }
        if url.as_ref().is_some_and(|url: &Url| url.scheme() == "http") && section.has("webhook_ca") {
            section.problem(
                "webhook_ca",
                "http has no TLS; write https:// in audit.webhook, or remove this key",
            );
        }
    } else {
        for key in ["webhook_secret", "webhook_events", "webhook_ca"] {
            if section.has(key) {
                section.problem(key, "nobody is told; write webhook = \"https://…\", or remove this key");
            }
        }
    }
    section.finish();
    let webhook = url.zip(secret).map(|(url, secret)| Webhook { url, secret, events, authorities });
    Audit { webhook }
}

/// Whoever hears it on the way learns who signs in: what is not encrypted stays on this machine.
fn webhook_receiver(text: &str) -> Result<Url, String> {
    let url = receiver(text)?;
    if url.scheme() == "http" && !is_here(&url) {
        let remedy = "write https://, with webhook_ca for an authority of your own";
        return Err(format!(
            "tells everybody on the way; {remedy} (http:// is for a receiver on this machine)"
        ));
    }
    Ok(url)
}

/// Whether it does not leave this machine.
fn is_here(url: &Url) -> bool {
    url.host().is_some_and(|host| match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    })
}
