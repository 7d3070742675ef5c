//! `[[provider]]`: who sends codes.

use std::time::Duration;

use secrecy::SecretString;

use super::reader::Section;
use super::secret::secret;
use super::sections::{duration, one_of};

/// Who sends codes.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Twilio Verify v2.
    Twilio(Twilio),
}

/// An account at Twilio.
#[derive(Clone, Debug)]
pub struct Twilio {
    /// Without `/v2` and without a slash at its end.
    pub base_url: String,
    /// The Verify Service, `VA…`.
    pub service_sid: String,
    /// How it knows us.
    pub credentials: Credentials,
    /// For one whole call of it.
    pub timeout: Duration,
}

/// An account and its token, or an API key and its secret: user and password of HTTP Basic.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AC…` or `SK…`.
    pub user: String,
    /// The token or the key's secret.
    pub secret: SecretString,
}

pub(super) fn provider(top: &Section<'_>) -> Option<Provider> {
    let providers = top.sections("provider");
    if providers.is_empty() {
        top.problem("provider", "nobody sends codes; add a [[provider]] section");
    }
    if providers.len() > 1 {
        top.problem("provider", "this version uses one provider; keep one [[provider]] section");
    }
    let read = providers.iter().map(|section| {
        let kind = one_of(section, "kind", &[("twilio", ())], None);
        let provider = kind.and_then(|()| twilio(section)).map(Provider::Twilio);
        section.finish();
        provider
    });
    read.collect::<Vec<_>>().into_iter().next().flatten()
}

fn twilio(section: &Section<'_>) -> Option<Twilio> {
    let base_url = base_url(section);
    let service_sid = sid(section, "service_sid", "VA");
    if !section.has("service_sid") {
        section.problem("service_sid", "missing; it is the VA… of the Verify Service in the Twilio console");
    }
    let credentials = credentials(section);
    let timeout = duration(section, "timeout", Duration::from_secs(10));
    Some(Twilio { base_url: base_url?, service_sid: service_sid?, credentials: credentials?, timeout })
}

fn credentials(section: &Section<'_>) -> Option<Credentials> {
    let account = sid(section, "account_sid", "AC");
    let token = secret(section, "auth_token");
    let key = sid(section, "api_key_sid", "SK");
    let key_secret = secret(section, "api_key_secret");
    let pair = match (key, key_secret, account, token) {
        (Some(key), Some(secret), _, None) => (key, secret),
        (None, None, Some(account), Some(token)) => (account, token),
        // What is wrong with one of them has been said.
        _ if section.has("account_sid")
            && section.has("auth_token")
            && !section.has("api_key_sid")
            && !section.has("api_key_secret") =>
        {
            return None;
        }
        _ => {
            let text =
                "no complete credentials; give account_sid and auth_token, or api_key_sid and api_key_secret";
            section.problem("account_sid", text);
            return None;
        }
    };
    Some(Credentials { user: pair.0, secret: pair.1 })
}

fn sid(section: &Section<'_>, key: &'static str, prefix: &str) -> Option<String> {
    section.value(key, |value| {
        let text = value.as_str().unwrap_or_default();
        let digits = text.strip_prefix(prefix).unwrap_or_default();
        let well_formed = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if well_formed {
            Ok(text.to_owned())
        } else {
            Err(format!("not a SID; it is {prefix} and 32 hexadecimal digits"))
        }
    })
}

fn base_url(section: &Section<'_>) -> Option<String> {
    let read = section.value("base_url", |value| {
        let text = value.as_str().unwrap_or_default();
        let url =
            url::Url::parse(text).map_err(|_| format!("not a URL; leave it out, or write \"{TWILIO}\""))?;
        let local = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            _ => {
                return Err(
                    "secrets would travel in clear; use https, or a simulator on this machine".to_owned()
                );
            }
        }
        let text = text.trim_end_matches('/');
        Ok(text.strip_suffix("/v2").unwrap_or(text).to_owned())
    });
    read.or_else(|| (!section.has("base_url")).then(|| TWILIO.to_owned()))
}

const TWILIO: &str = "https://verify.twilio.com";
