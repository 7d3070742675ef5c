//! Secrets: named in the configuration, never written in it.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::reader::Section;

/// Reads `{ credential = "NAME" }`, `{ file = "PATH" }` or `{ env = "NAME" }`.
pub(super) fn secret(section: &Section<'_>, key: &'static str) -> Option<SecretString> {
    let place = section.value(key, |value| {
        let Some(table) = value.as_table() else { return Err(INLINE.to_owned()) };
        let mut entries =
            table.iter().map(|(name, value)| (name.get_ref().as_ref(), value.get_ref().as_str()));
        match (entries.next(), entries.next()) {
            (Some(("credential", Some(name))), None) => credential(name),
            (Some(("file", Some(path))), None) => read(Path::new(path)),
            (Some(("env", Some(name))), None) => environment(name)
                .ok_or_else(|| format!("the environment has no {name}; set it, or use {{ credential = … }}")),
            _ => Err(INLINE.to_owned()),
        }
    })?;
    let trimmed = place.trim().to_owned();
    if trimmed.is_empty() {
        section.problem(key, "the secret is empty; put it where the configuration points");
        return None;
    }
    Some(trimmed.into())
}

const INLINE: &str = "a secret is named, never written here; write { credential = \"NAME\" }, { file = \"PATH\" } or { env = \"NAME\" }";

/// A systemd credential (systemd.exec(5), `LoadCredential=`).
fn credential(name: &str) -> Result<String, String> {
    let Some(directory) = environment("CREDENTIALS_DIRECTORY") else {
        return Err(format!(
            "no credentials here: {name} comes from the service manager; run inside the unit (LoadCredential={name}:…), \
             or set CREDENTIALS_DIRECTORY to a directory that holds it"
        ));
    };
    if name.contains('/') || name.starts_with('.') {
        return Err("not the name of a credential; a name has no slash".to_owned());
    }
    read(&PathBuf::from(directory).join(name))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}; check the path and its owner", path.display()))
}

#[allow(clippy::disallowed_methods, reason = "this is where the configuration reads the environment")]
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
