//! The files: the secret first, then the configuration, each written aside and moved into its place.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::Kind;
use super::answers::{Answers, Encrypted};
use crate::cli::Failure;
use crate::config::{Purpose, Settings};
use crate::crypto;

/// Everybody may read the configuration, which has no secret in it; its directory's owner writes it.
const CONFIG_MODE: u32 = 0o644;
const SECRET_MODE: u32 = 0o600;

pub(super) fn all(file: &Path, credentials: &Path, answers: &Answers, force: bool) -> Result<(), Failure> {
    let text = text(answers);
    Settings::parse(&text, Purpose::Administer).map_err(|problems| {
        let list: Vec<_> = problems.iter().map(|problem| problem.to_string().trim().to_owned()).collect();
        Failure::Usage(format!("this is no configuration, and nothing was written:\n{}", list.join("\n")))
    })?;
    let secret = credentials.join(answers.kind.credential());
    if secret.exists() && !force {
        let text =
            format!("{} is there already; take it away, or write over it with --force", secret.display());
        return Err(Failure::Runtime(text));
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        make(directory, 0o755)?;
    }
    make(credentials, 0o700)?;
    write(&secret, SECRET_MODE, &format!("{}\n", answers.secret.expose_secret()))?;
    write(file, CONFIG_MODE, &text)
}

fn make(directory: &Path, mode: u32) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(directory);
    made.map_err(|error| failed(directory, &error))
}

fn write(file: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    write_aside(file, mode, text).map_err(|error| failed(file, &error))
}

/// Nobody ever sees half of it, and a file that is there keeps its owner.
fn write_aside(file: &Path, mode: u32, text: &str) -> io::Result<()> {
    let aside = file.with_extension(format!("new-{:016x}", u64::from_ne_bytes(crypto::random())));
    let mut made = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
    made.write_all(text.as_bytes())?;
    made.sync_all()?;
    if let Ok(old) = fs::metadata(file) {
        let _ = chown(&aside, Some(old.uid()), Some(old.gid()));
    }
    fs::rename(&aside, file).inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let remedy = if denied { "; run it as root, or write somewhere else with --config" } else { "" };
    Failure::Runtime(format!("{}: {error}{remedy}", path.display()))
}

/// The configuration. Everything else has its default; config.toml.example tells which.
fn text(answers: &Answers) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let url = format!("{}://{}", answers.public_url.scheme(), answers.public_url.authority());
    let mut text = format!(
        "# Every other key and its default: config.toml.example. Check a change with: vestibule check --online\n\n\
         [server]\nlisten = [\"{}\"]\npublic_url = {} # what people type\n",
        answers.listen,
        quoted(&url)
    );
    text += &match &answers.tls {
        Encrypted::Files { certificate, private_key } => format!(
            "\n[server.tls]\ncertificate = {}\nprivate_key = {}\n",
            quoted(&certificate.to_string_lossy()),
            quoted(&private_key.to_string_lossy())
        ),
        Encrypted::Acme { contact } => format!(
            "\n[server.tls.acme]\ndomains = [{}]\ncontact = [{}]\nterms_agreed = true # of Let's Encrypt\n",
            quoted(&answers.public_url.host),
            quoted(contact)
        ),
        // A proxy on this machine says who its clients are, and that they came by https.
        Encrypted::Proxy if answers.public_url.secure => {
            "trusted_proxies = [\"127.0.0.1\", \"::1\"] # the proxy that does TLS\n".to_owned()
        }
        Encrypted::Proxy => String::new(),
    };
    text += &format!("\n[[route]]\nupstream = [{}]\n", quoted(&answers.upstream));
    text += &provider(answers, quoted);
    if let Some(region) = answers.region {
        text +=
            &format!("\n[challenge]\ndefault_region = \"{region:?}\" # of numbers typed without a country\n");
    }
    text
}

fn provider(answers: &Answers, quoted: impl Fn(&str) -> String) -> String {
    let secret = format!("{{ credential = \"{}\" }}", answers.kind.credential());
    let account = quoted(&answers.account);
    let base_url = answers.base_url.as_deref().map(|url| format!("base_url = {}\n", quoted(url)));
    let text = match answers.kind {
        Kind::Twilio => format!(
            "\n[[provider]]\nkind = \"twilio\"\naccount_sid = {account}\nauth_token = {secret}\nservice_sid = {}\n",
            quoted(answers.service.as_deref().unwrap_or_default())
        ),
        Kind::Vonage => {
            format!("\n[[provider]]\nkind = \"vonage\"\napi_key = {account}\napi_secret = {secret}\n")
        }
    };
    text + &base_url.unwrap_or_default()
}
