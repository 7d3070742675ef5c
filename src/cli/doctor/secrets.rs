//! Secrets that are none: placeholders, defaults, a simulator where a provider should be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cli::finding::Finding;
use crate::config::{Account, Settings, VonageCredentials, credentials_directory};

/// Where the configuration says a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Secret {
    /// `provider.auth_token`
    pub(super) key: String,
    /// The name of a credential of the service manager's.
    pub(super) credential: Option<String>,
    /// The file it is in; none where it is in the environment.
    pub(super) file: Option<PathBuf>,
}

/// Every secret that a configuration names. A credential is looked for where the service manager or the guide puts it.
pub(super) fn named(config: &Path, text: &str) -> Vec<Secret> {
    let usual = config.parent().unwrap_or_else(|| Path::new("/")).join("credentials");
    let directory = credentials_directory().unwrap_or(usual);
    let mut found = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        walk("", &toml::Value::Table(table), &directory, &mut found);
    }
    found
}

fn walk(key: &str, value: &toml::Value, directory: &Path, found: &mut Vec<Secret>) {
    if let Some(list) = value.as_array() {
        list.iter().for_each(|entry| walk(key, entry, directory, found));
    }
    let Some(table) = value.as_table() else { return };
    let word = |name: &str| table.get(name).and_then(toml::Value::as_str).filter(|_| table.len() == 1);
    let (credential, file, env) = (word("credential"), word("file"), word("env"));
    if credential.is_some() || file.is_some() || env.is_some() {
        let file = file.map(PathBuf::from).or_else(|| Some(directory.join(credential?)));
        found.push(Secret { key: key.to_owned(), credential: credential.map(str::to_owned), file });
        return;
    }
    for (name, entry) in table {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        walk(&key, entry, directory, found);
    }
}

pub(super) fn look(settings: &Settings, secrets: &[Secret]) -> Vec<Finding> {
    let mut found: Vec<_> = secrets.iter().filter_map(secret).collect();
    found.extend(settings.providers.iter().flat_map(|provider| account(&provider.account, settings)));
    found.extend(master(settings));
    found.extend(shared(secrets));
    found
}

/// What is in a file that can be read. What cannot be is for `files` to tell.
fn secret(secret: &Secret) -> Option<Finding> {
    let text = std::fs::read_to_string(secret.file.as_ref()?).ok()?;
    let is_key = secret.key.ends_with("master_key");
    let weak = if is_key { is_weak_key(&text) } else { is_placeholder(text.trim()) };
    weak.then(|| {
        let remedy = if is_key { NEW_KEY } else { "put the provider's own secret in its place" };
        Finding::problem(&secret.key, "is a placeholder, which anybody can guess", remedy)
    })
}

const NEW_KEY: &str = "before anybody signs in, make one with: openssl rand -base64 32";

fn is_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words =
        ["changeme", "change-me", "secret", "password", "token", "demo", "test", "example", "your_", "your-"];
    all_alike(lower.as_bytes()) || (lower.len() < 20 && words.iter().any(|word| lower.contains(word)))
}

fn all_alike(bytes: &[u8]) -> bool {
    bytes.windows(2).all(|pair| pair[0] == pair[1])
}

fn is_weak_key(text: &str) -> bool {
    STANDARD.decode(text.trim()).is_ok_and(|bytes| all_alike(&bytes))
}

/// The key file of the state directory.
fn master(settings: &Settings) -> Option<Finding> {
    let file = settings.server.state_directory.join("master.key");
    let text = std::fs::read_to_string(&file).ok()?;
    is_weak_key(&text).then(|| {
        let what = format!("{} is all the same byte, which anybody can guess", file.display());
        Finding::problem("master key", what, NEW_KEY)
    })
}

/// One secret for two purposes opens both when one is lost.
fn shared(secrets: &[Secret]) -> Vec<Finding> {
    let mut by_text: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for secret in secrets {
        let text = secret.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        if let Some(text) = text {
            by_text.entry(text.trim().to_owned()).or_default().push(&secret.key);
        }
    }
    let twice = |keys: &Vec<&str>| keys.iter().any(|key| key.starts_with("store.")) && keys.len() > 1;
    let lists = by_text.into_values().filter(twice);
    lists.map(|keys| Finding::problem(keys.join(", "), "are the same secret", "give each its own")).collect()
}

fn account(account: &Account, settings: &Settings) -> Vec<Finding> {
    let (base_url, ids): (&str, Vec<(&str, &str)>) = match account {
        Account::Twilio(twilio) => (
            &twilio.base_url,
            vec![
                ("provider.account_sid", &twilio.credentials.user),
                ("provider.service_sid", &twilio.service_sid),
            ],
        ),
        Account::Vonage(vonage) => (
            &vonage.base_url,
            match &vonage.credentials {
                VonageCredentials::Key(key) => vec![("provider.api_key", &key.user)],
                VonageCredentials::Application { id, .. } => vec![("provider.application_id", id)],
            },
        ),
        Account::VonageV1(vonage) => (&vonage.base_url, vec![("provider.api_key", &vonage.credentials.user)]),
    };
    let simulated = simulator(base_url, settings);
    // A rehearsal's ids are what the guide says.
    let ids = if simulated.is_some() { Vec::new() } else { ids };
    let placeholder =
        |id: &str| all_alike(id.trim_start_matches(|c: char| c.is_ascii_uppercase()).as_bytes());
    let made_up = ids.into_iter().filter(|(_, id)| placeholder(id));
    let made_up = made_up.map(|(key, id)| {
        Finding::problem(key, format!("{id} is a placeholder"), "copy yours from the provider's console")
    });
    made_up.chain(simulated).collect()
}

/// Whoever reaches a simulator reads the codes.
fn simulator(base_url: &str, settings: &Settings) -> Option<Finding> {
    let url = url::Url::parse(base_url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let is_here = |host: &str| {
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    if !is_here(host) {
        return None;
    }
    let what = format!("{base_url} is a simulator: whoever reaches it reads the codes");
    let remedy = "take base_url out before anybody relies on the gateway";
    if is_here(settings.server.public_url.host.trim_matches(['[', ']'])) {
        return Some(Finding::warning("provider.base_url", what, remedy));
    }
    Some(Finding::problem("provider.base_url", what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_known_and_secrets_are_not() {
        for text in ["changeme", "0000000000000000", "your_auth_token", "demo", "x", ""] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["9f2b7c1e5d8a4036b1c2d3e4f5a60718", "kR7-mQ2x"] {
            assert!(!is_placeholder(text), "{text}");
        }
        assert!(is_weak_key(&STANDARD.encode([0; 32])));
        assert!(!is_weak_key(&STANDARD.encode(b"an ordinary key of 32 bytes long")));
    }

    #[test]
    fn every_secret_is_found_wherever_it_is_named() {
        let text = "[store]\nmaster_key = { file = \"/k\" }\n[[provider]]\nauth_token = { credential = \"t\" }\n\
                    [[provider]]\napi_secret = { env = \"S\" }\n";
        let found = named(Path::new("/etc/v/config.toml"), text);
        let keys: Vec<_> = found.iter().map(|secret| secret.key.as_str()).collect();
        assert_eq!(keys.len(), 3, "{found:?}");
        assert!(keys.contains(&"store.master_key") && keys.contains(&"provider.api_secret"), "{found:?}");
        let token = found.iter().find(|secret| secret.key == "provider.auth_token").unwrap();
        assert_eq!(token.file.as_deref(), Some(Path::new("/etc/v/credentials/t")));
    }
}
