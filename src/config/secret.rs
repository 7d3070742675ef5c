//! Secrets: named in the configuration, never written in it.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::de::DeValue;

use super::Purpose;
use super::reader::Section;

/// Reads `{ credential = "NAME" }`, `{ file = "PATH" }` or `{ env = "NAME" }`.
pub(super) fn secret(section: &Section<'_>, key: &'static str) -> Option<SecretString> {
    let place = section.value(key, |value| place(value).ok_or_else(|| INLINE.to_owned()))?;
    if section.purpose() == Purpose::Administer {
        return Some(SecretString::default());
    }
    match place.read() {
        Ok(secret) if !secret.trim().is_empty() => Some(secret.trim().into()),
        Ok(_) => {
            section.problem(key, "the secret is empty; put it where the configuration points");
            None
        }
        Err(text) => {
            section.problem(key, &text);
            None
        }
    }
}

/// A secret that only some commands need: what is wrong with it, in words, is told to whoever needs it.
pub type Later<T> = Result<T, String>;

/// Reads a secret of the store, which commands need too. To run the gateway it must be there; beside one, only for those
/// commands that open the store.
pub(super) fn later(section: &Section<'_>, key: &'static str) -> Later<Option<SecretString>> {
    let place = section.value(key, |value| place(value).ok_or_else(|| INLINE.to_owned()));
    let Some(place) = place else { return Ok(None) };
    let read = place.read().and_then(|secret| match secret.trim() {
        "" => Err("the secret is empty; put it where the configuration points".to_owned()),
        secret => Ok(secret.into()),
    });
    if let Err(text) = &read
        && section.purpose() == Purpose::Serve
    {
        section.problem(key, text);
    }
    read.map(Some).map_err(|text| format!("store.{key}: {text}"))
}

/// Where a secret is kept.
enum Place {
    Credential(String),
    File(PathBuf),
    Environment(String),
}

fn place(value: &DeValue<'_>) -> Option<Place> {
    let mut entries = value.as_table()?.iter();
    let (kind, name) = entries.next()?;
    let name = name_of(name.get_ref())?;
    let place = match kind.get_ref().as_ref() {
        "credential" => Place::Credential(name),
        "file" => Place::File(PathBuf::from(name)),
        "env" => Place::Environment(name),
        _ => return None,
    };
    entries.next().is_none().then_some(place)
}

fn name_of(value: &DeValue<'_>) -> Option<String> {
    value.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

impl Place {
    fn read(&self) -> Result<String, String> {
        match self {
            Self::Credential(name) => credential(name),
            Self::File(path) => read(path),
            Self::Environment(name) => environment(name)
                .ok_or_else(|| format!("the environment has no {name}; set it, or use {{ credential = … }}")),
        }
    }
}

const INLINE: &str = "a secret is named, never written here; write { credential = \"NAME\" }, { file = \"PATH\" } or { env = \"NAME\" }";

/// Where the service manager, or whoever stands in for it, has put the credentials.
pub fn credentials_directory() -> Option<PathBuf> {
    environment("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// A systemd credential (systemd.exec(5), `LoadCredential=`).
fn credential(name: &str) -> Result<String, String> {
    let Some(directory) = credentials_directory() else {
        return Err(format!(
            "no credentials here: {name} comes from the service manager; run inside the unit (LoadCredential={name}:…), \
             or set CREDENTIALS_DIRECTORY to a directory that holds it"
        ));
    };
    if name.contains('/') || name.starts_with('.') {
        return Err("not the name of a credential; a name has no slash".to_owned());
    }
    read(&directory.join(name))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}; check the path and its owner", path.display()))
}

/// The names of the sockets that the service manager passed, in their order (`LISTEN_FDNAMES`).
pub fn passed_names() -> Vec<String> {
    let names = environment("LISTEN_FDNAMES").unwrap_or_default();
    names.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The abstract name at which the service manager listens, if that is how (`NOTIFY_SOCKET` with an `@`).
pub fn abstract_notify_socket() -> Option<String> {
    environment("NOTIFY_SOCKET")?.strip_prefix('@').map(str::to_owned)
}

#[allow(clippy::disallowed_methods, reason = "this is where the configuration reads the environment")]
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
