//! Files that others than the gateway may read or change.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::secrets::Secret;
use crate::cli::finding::Finding;
use crate::config::{Place, Settings};

pub(super) fn look(settings: &Settings, config: &Path, secrets: &[Secret]) -> Vec<Finding> {
    let mut found: Vec<_> = changeable(config, "the configuration").into_iter().collect();
    found.extend(settings.challenge.templates.iter().filter_map(|path| changeable(path, "templates")));
    found.extend(secrets.iter().filter_map(|secret| {
        let file = secret.file.as_ref()?;
        there(file, secret).or_else(|| readable(file, &secret.key))
    }));
    found.extend(keys(settings).iter().filter_map(|(what, file)| readable(file, what)));
    found.extend(state(settings));
    found
}

fn mode(path: &Path) -> Option<u32> {
    Some(std::fs::metadata(path).ok()?.permissions().mode() & 0o7777)
}

/// Whoever writes it, or swaps it in its directory, decides who gets in.
fn changeable(path: &Path, what: &str) -> Option<Finding> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty())?;
    let loose = [path, directory].into_iter().find(|path| {
        // In a sticky directory nobody swaps another's file.
        mode(path).is_some_and(|mode| mode & 0o002 != 0 && mode & 0o1000 == 0)
    })?;
    let text = format!("everybody on this machine may change {}", loose.display());
    Some(Finding::problem(what, text, format!("chmod o-w {}", loose.display())))
}

/// A secret that is not there, or not for us to read.
fn there(file: &Path, secret: &Secret) -> Option<Finding> {
    let error = std::fs::File::open(file).err()?;
    let text = format!("{} cannot be read: {error}", file.display());
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        return Some(Finding::warning(&secret.key, text, "run doctor as root"));
    }
    // The service manager may have it from somewhere else.
    if secret.credential.is_some() {
        let remedy = "see LoadCredential= in the unit: systemctl cat vestibule";
        return Some(Finding::warning(&secret.key, text, remedy));
    }
    Some(Finding::problem(&secret.key, text, "put the secret there"))
}

/// A key that everybody reads is everybody's.
fn readable(file: &Path, what: &str) -> Option<Finding> {
    let mode = mode(file)?;
    if mode & 0o027 == 0 {
        return None;
    }
    let whose = if mode & 0o004 != 0 { "everybody on this machine may read" } else { "others may change" };
    let remedy = format!("chmod g-w,o= {}", file.display());
    Some(Finding::problem(what, format!("{whose} {} (mode {mode:04o})", file.display()), remedy))
}

/// The private keys of TLS.
fn keys(settings: &Settings) -> Vec<(&'static str, PathBuf)> {
    let files = settings.server.tls.iter().flat_map(|tls| &tls.files);
    let ours = files.map(|files| ("server.tls.private_key", files.private_key.clone()));
    let routes = settings.routes.iter().filter_map(|route| route.upstreams.trust.identity.as_ref());
    ours.chain(routes.map(|identity| ("route.upstream_key", identity.private_key.clone()))).collect()
}

/// What the gateway keeps for itself.
fn state(settings: &Settings) -> Vec<Finding> {
    let directory = &settings.server.state_directory;
    let mut found = Vec::new();
    if let Some(mode) = mode(directory).filter(|mode| mode & 0o077 != 0) {
        let what = format!("others may look into {} (mode {mode:04o})", directory.display());
        found.push(Finding::problem("state directory", what, format!("chmod 0700 {}", directory.display())));
    }
    let mut files = vec![directory.join("master.key")];
    if let Place::Sqlite(store) = &settings.store.place {
        let beside = |end: &str| PathBuf::from(format!("{}{end}", store.display()));
        files.extend(["", "-wal", "-shm"].map(beside));
    }
    for file in files {
        if let Some(mode) = mode(&file).filter(|mode| mode & 0o077 != 0) {
            let what = format!("others may reach {} (mode {mode:04o})", file.display());
            found.push(Finding::problem("state", what, format!("chmod 0600 {}", file.display())));
        }
    }
    found
}
