//! `[[provider]]`: who sends codes.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use toml::de::DeValue;

use super::reader::{Section, integer};
use super::secret::secret;
use super::values::{one_of, timeout};
use crate::domain::channel::Channel;

/// Who sends codes.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// What it is called in store, log and audit trail.
    pub name: String,
    /// Our account there.
    pub account: Account,
}

impl Provider {
    /// Whether codes can go this way through it.
    pub fn offers(&self, channel: Channel) -> bool {
        match (&self.account, channel) {
            (Account::Twilio(_), _) | (_, Channel::Sms | Channel::Call) => true,
            (Account::Vonage(vonage), Channel::Whatsapp) => vonage.whatsapp_from.is_some(),
            (Account::VonageV1(_), Channel::Whatsapp) => false,
        }
    }
}

/// An account at a provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Account {
    /// Twilio Verify v2.
    Twilio(Twilio),
    /// Vonage Verify v2.
    Vonage(Vonage),
    /// Vonage Verify v1, for accounts that still have it.
    VonageV1(VonageV1),
}

/// An account at Twilio.
#[derive(Clone, Debug, PartialEq)]
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

/// An account at Vonage, for Verify v2.
#[derive(Clone, Debug, PartialEq)]
pub struct Vonage {
    /// Without a slash at its end.
    pub base_url: String,
    /// How it knows us.
    pub credentials: VonageCredentials,
    /// Digits of a code, 4 to 10.
    pub code_length: u8,
    /// Our WhatsApp sender, in digits; without one no code goes that way.
    pub whatsapp_from: Option<String>,
    /// For one whole call of it.
    pub timeout: Duration,
}

/// How Vonage knows us.
#[derive(Clone, Debug)]
pub enum VonageCredentials {
    /// Key and secret of the account, by HTTP Basic.
    Key(Credentials),
    /// An application and the private key that signs its tokens.
    Application {
        /// Its id, a UUID.
        id: String,
        /// PEM.
        private_key: SecretString,
    },
}

/// An account at Vonage, for Verify v1.
#[derive(Clone, Debug, PartialEq)]
pub struct VonageV1 {
    /// Without a slash at its end.
    pub base_url: String,
    /// Its key and secret.
    pub credentials: Credentials,
    /// Digits of a code, 4 or 6.
    pub code_length: u8,
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

/// Nobody can try secrets here: both are ours.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user && self.secret.expose_secret() == other.secret.expose_secret()
    }
}

impl PartialEq for VonageCredentials {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(one), Self::Key(other)) => one == other,
            (
                Self::Application { id, private_key },
                Self::Application { id: other_id, private_key: other_key },
            ) => id == other_id && private_key.expose_secret() == other_key.expose_secret(),
            (Self::Key(_), Self::Application { .. }) | (Self::Application { .. }, Self::Key(_)) => false,
        }
    }
}

pub(super) fn providers(top: &Section<'_>) -> Option<Vec<Provider>> {
    let sections = top.sections("provider");
    if sections.is_empty() {
        top.problem("provider", "nobody sends codes; add a [[provider]] section");
    }
    let mut read = Vec::new();
    for section in &sections {
        let Some(provider) = provider(section) else { continue };
        let taken = read.iter().any(|other: &Provider| other.name == provider.name);
        if taken {
            section.problem("name", "another [[provider]] is called so; give this one a name of its own");
        }
        read.push(provider);
    }
    // What is wrong with those that are missing has been said.
    (read.len() == sections.len() && !read.is_empty()).then_some(read)
}

#[derive(Clone, Copy)]
enum Kind {
    Twilio,
    Vonage,
    VonageV1,
}

fn provider(section: &Section<'_>) -> Option<Provider> {
    let kinds = [("twilio", Kind::Twilio), ("vonage", Kind::Vonage), ("vonage-v1", Kind::VonageV1)];
    let kind = one_of(section, "kind", &kinds, None);
    let name = section.value("name", name);
    // Which keys there may be, only its kind tells.
    let kind = kind?;
    let default = kinds.iter().find(|(_, known)| *known as u8 == kind as u8).map_or("", |(word, _)| *word);
    let account = match kind {
        Kind::Twilio => twilio(section).map(Account::Twilio),
        Kind::Vonage => vonage(section).map(Account::Vonage),
        Kind::VonageV1 => vonage_v1(section).map(Account::VonageV1),
    };
    section.finish();
    Some(Provider { name: name.unwrap_or_else(|| default.to_owned()), account: account? })
}

/// A name that stands in log lines and metrics as it is.
fn name(value: &DeValue<'_>) -> Result<String, String> {
    let text = value.as_str().unwrap_or_default();
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("not a name; use 1 to 32 of the letters a to z, digits, - and _".to_owned())
    }
}

fn vonage(section: &Section<'_>) -> Option<Vonage> {
    let base_url = base_url(section, VONAGE);
    let credentials = vonage_credentials(section);
    let code_length = code_length(section, &[4, 5, 6, 7, 8, 9, 10]);
    let whatsapp_from = section.value("whatsapp_from", |value| {
        let text = value.as_str().unwrap_or_default();
        let digits = (7..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let wrong = "not a sender; write its number in digits without +, like \"447700900000\"";
        if digits { Ok(text.to_owned()) } else { Err(wrong.to_owned()) }
    });
    let timeout = timeout(section, TIMEOUT);
    Some(Vonage { base_url: base_url?, credentials: credentials?, code_length, whatsapp_from, timeout })
}

fn vonage_v1(section: &Section<'_>) -> Option<VonageV1> {
    let base_url = base_url(section, VONAGE);
    let credentials = vonage_key(section);
    if credentials.is_none() && !(section.has("api_key") && section.has("api_secret")) {
        section.problem("api_key", "no credentials; give api_key and api_secret");
    }
    let code_length = code_length(section, &[4, 6]);
    let timeout = timeout(section, TIMEOUT);
    Some(VonageV1 { base_url: base_url?, credentials: credentials?, code_length, timeout })
}

fn vonage_credentials(section: &Section<'_>) -> Option<VonageCredentials> {
    let id = section.value("application_id", |value| {
        let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
        let parts: Vec<&str> = text.split('-').collect();
        let lengths = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]);
        let hexadecimal = parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
        let wrong = "not an application id; copy the UUID from the Vonage dashboard";
        if lengths && hexadecimal { Ok(text.clone()) } else { Err(wrong.to_owned()) }
    });
    let private_key = secret(section, "private_key");
    let key = vonage_key(section);
    let given = |names: [&'static str; 2]| names.iter().filter(|name| section.has(name)).count();
    match (given(["application_id", "private_key"]), given(["api_key", "api_secret"])) {
        (2, 0) => Some(VonageCredentials::Application { id: id?, private_key: private_key? }),
        (0, 2) => Some(VonageCredentials::Key(key?)),
        (0, _) | (_, 0) => {
            let text =
                "no complete credentials; give application_id and private_key, or api_key and api_secret";
            section.problem("application_id", text);
            None
        }
        _ => {
            let text = "two sets of credentials; keep one: application_id and private_key, or api_key and api_secret";
            section.problem("application_id", text);
            None
        }
    }
}

fn vonage_key(section: &Section<'_>) -> Option<Credentials> {
    let user = section.value("api_key", |value| {
        let text = value.as_str().unwrap_or_default();
        let fits = (4..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        let wrong = "not an API key; it is 4 to 32 letters and digits";
        if fits { Ok(text.to_owned()) } else { Err(wrong.to_owned()) }
    });
    let secret = secret(section, "api_secret");
    Some(Credentials { user: user?, secret: secret? })
}

/// Six unless given: as long as a Twilio Service's, so that a failover does not show.
fn code_length(section: &Section<'_>, allowed: &[u64]) -> u8 {
    let read = section.value("code_length", |value| {
        let list = || allowed.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let length = integer(10)(value).ok().filter(|length| allowed.contains(length));
        length.ok_or_else(|| format!("not a length it can send; write one of {}", list()))
    });
    read.and_then(|length| u8::try_from(length).ok()).unwrap_or(6)
}

fn twilio(section: &Section<'_>) -> Option<Twilio> {
    let base_url = base_url(section, TWILIO);
    let service_sid = sid(section, "service_sid", "VA");
    if !section.has("service_sid") {
        section.problem("service_sid", "missing; it is the VA… of the Verify Service in the Twilio console");
    }
    let credentials = credentials(section);
    let timeout = timeout(section, TIMEOUT);
    Some(Twilio { base_url: base_url?, service_sid: service_sid?, credentials: credentials?, timeout })
}

pub(super) fn credentials(section: &Section<'_>) -> Option<Credentials> {
    let account = sid(section, "account_sid", "AC");
    let token = secret(section, "auth_token");
    let key = sid(section, "api_key_sid", "SK");
    let key_secret = secret(section, "api_key_secret");
    let key_parts = ["api_key_sid", "api_key_secret"].iter().filter(|part| section.has(part)).count();
    // What is wrong with one of them has been said. The account may be named beside a key.
    match (section.has("account_sid"), section.has("auth_token"), key_parts) {
        (true, true, 0) => Some(Credentials { user: account?, secret: token? }),
        (_, false, 2) => Some(Credentials { user: key?, secret: key_secret? }),
        (_, true, 1..) => {
            let text = "two sets of credentials; keep one: account_sid and auth_token, or api_key_sid and api_key_secret";
            section.problem("auth_token", text);
            None
        }
        (_, _, _) => {
            let text =
                "no complete credentials; give account_sid and auth_token, or api_key_sid and api_key_secret";
            section.problem("account_sid", text);
            None
        }
    }
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

pub(super) fn base_url(section: &Section<'_>, default: &str) -> Option<String> {
    let read = section.value("base_url", |value| {
        let text = value.as_str().unwrap_or_default();
        let url =
            url::Url::parse(text).map_err(|_| format!("not a URL; leave it out, or write \"{default}\""))?;
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
        let bare = url.username().is_empty() && url.password().is_none();
        if !bare || url.query().is_some() || url.fragment().is_some() {
            return Err(
                "a user, a query or a fragment, which it cannot have; write scheme, host and port only"
                    .to_owned(),
            );
        }
        let text = text.trim_end_matches('/');
        Ok(text.strip_suffix("/v2").unwrap_or(text).to_owned())
    });
    read.or_else(|| (!section.has("base_url")).then(|| default.to_owned()))
}

const TWILIO: &str = "https://verify.twilio.com";
const VONAGE: &str = "https://api.nexmo.com";
const TIMEOUT: Duration = Duration::from_secs(10);
