//! The unit that starts the gateway, what the system grants it, and who keeps the clock.

use std::path::{Path, PathBuf};

use super::secrets::Secret;
use crate::cli::finding::Finding;
use crate::config::Settings;

/// The unit of this version, as it is installed.
const UNIT: &str = include_str!("../../../systemd/vestibule.service");
/// By hand and by the package; systemd takes the first that is there.
const INSTALLED: [&str; 2] =
    ["/etc/systemd/system/vestibule.service", "/usr/lib/systemd/system/vestibule.service"];
const DROP_INS: &str = "/etc/systemd/system/vestibule.service.d";

pub(super) fn look(settings: &Settings, secrets: &[Secret]) -> Vec<Finding> {
    let mut found = Vec::new();
    let installed = INSTALLED.iter().find_map(|path| Some((path, std::fs::read_to_string(path).ok()?)));
    if let Some((path, text)) = installed {
        found.extend(unit(path, &text));
        found.extend(credentials(&text, &drop_ins(), secrets));
    }
    let processes = processes();
    found.extend(limits(settings, &processes));
    found.extend(clock(&processes));
    found
}

fn unit(path: &str, text: &str) -> Option<Finding> {
    (text != UNIT).then(|| {
        let what = format!("{path} is not the one of this version");
        let remedy = "install systemd/vestibule.service again, and keep changes in a drop-in (systemctl edit vestibule)";
        Finding::warning("unit", what, remedy)
    })
}

fn drop_ins() -> String {
    let Ok(entries) = std::fs::read_dir(DROP_INS) else { return String::new() };
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter_map(|file| std::fs::read_to_string(file).ok()).map(|text| text + "\n").collect()
}

/// The service gets no credential that no line hands to it.
fn credentials(unit: &str, more: &str, secrets: &[Secret]) -> Vec<Finding> {
    let handed: Vec<&str> = unit
        .lines()
        .chain(more.lines())
        .filter_map(|line| line.trim().strip_prefix("LoadCredential"))
        .filter_map(|rest| rest.trim_start_matches("Encrypted").strip_prefix('=')?.split(':').next())
        .collect();
    let names = secrets.iter().filter_map(|secret| Some((secret, secret.credential.as_deref()?)));
    let missing = names.filter(|(_, name)| !handed.contains(name)).map(|(secret, name)| {
        let what = format!("the unit does not hand the credential {name} to the service");
        let line = format!("LoadCredential={name}:/etc/vestibule/credentials/{name}");
        Finding::problem(&secret.key, what, format!("systemctl edit vestibule, under [Service]: {line}"))
    });
    missing.collect()
}

/// Every process's directory in `/proc`, and its short name.
fn processes() -> Vec<(PathBuf, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let named = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        Some((path, name.trim().to_owned()))
    });
    named.collect()
}

/// Each connection of a client's may need one to an upstream.
fn limits(settings: &Settings, processes: &[(PathBuf, String)]) -> Vec<Finding> {
    let needed = settings.server.max_connections as u64 * 2 + 256;
    let gateways = processes.iter().filter(|(path, name)| name == "vestibule" && serves(path));
    let short = gateways.filter_map(|(path, _)| {
        let granted = open_files(&std::fs::read_to_string(path.join("limits")).ok()?)?;
        let id = path.file_name()?.to_string_lossy().into_owned();
        (granted < needed).then(|| {
            let what = format!("process {id} may open {granted} files, and max_connections needs {needed}");
            let remedy = format!("LimitNOFILE={needed} in the unit, or a lower server.max_connections");
            Finding::warning("limits", what, remedy)
        })
    });
    short.collect()
}

fn serves(process: &Path) -> bool {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"serve".as_slice())
}

/// The soft limit (proc(5), `/proc/PID/limits`).
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let word = line.split_ascii_whitespace().next()?;
    if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() }
}

/// Where the service manager runs the machine, something must keep its clock; a container's is its host's.
fn clock(processes: &[(PathBuf, String)]) -> Option<Finding> {
    let runs = |names: &[&str]| processes.iter().any(|(_, name)| names.contains(&name.as_str()));
    let is_machine = processes.iter().any(|(path, name)| path.ends_with("1") && name == "systemd");
    let kept = runs(&["systemd-timesyn", "chronyd", "ntpd", "ntpd-rs", "openntpd"]);
    (is_machine && !kept).then(|| {
        let what = "nothing keeps this machine's clock: sessions and tokens end when it says so";
        Finding::warning("clock", what, "apt-get install systemd-timesyncd")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_that_no_line_hands_over_is_found() {
        let secret = |name: &str| Secret {
            key: "provider.auth_token".to_owned(),
            credential: Some(name.to_owned()),
            file: None,
        };
        let secrets = [secret("twilio-auth-token"), secret("other"), secret("sealed")];
        let found = credentials(UNIT, "[Service]\nLoadCredentialEncrypted=sealed:/x\n", &secrets);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_unit_of_another_version_is_told_from_ours() {
        assert_eq!(unit("/x.service", UNIT), None);
        let found =
            format!("{:?}", unit("/x.service", &UNIT.replace("ProtectSystem=strict", "ProtectSystem=full")));
        assert!(found.contains("not the one of this version") && found.contains("systemctl edit"), "{found}");
    }

    #[test]
    fn somebody_must_keep_the_clock_of_a_machine() {
        let process = |id: &str, name: &str| (PathBuf::from("/proc").join(id), name.to_owned());
        let machine = vec![process("1", "systemd"), process("77", "sshd")];
        assert!(clock(&machine).is_some());
        for keeper in ["systemd-timesyn", "chronyd", "ntpd"] {
            assert_eq!(clock(&[machine.clone(), vec![process("99", keeper)]].concat()), None, "{keeper}");
        }
        // A container's is its host's.
        assert_eq!(clock(&[process("1", "vestibule")]), None);
    }

    #[test]
    fn the_soft_limit_is_read() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288  files\n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files  unlimited unlimited files\n"), Some(u64::MAX));
        assert_eq!(open_files(""), None);
    }
}
