//! `vestibule check`

mod certificate;
mod online;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::finding::{self, Level, counted as count};
use super::{Config, Failure, output};
use crate::app::{self, StartError};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Problem, Purpose, Route, Settings};
use crate::pages::Pages;
use crate::proxy::Applications;
use crate::server::tls::{Kept, Tls};
use crate::tls::{TlsError, authorities};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: Config,
    /// Also ask whether providers, DNS, certificate, upstreams, store, webhook are there; nothing is sent to any phone
    #[arg(long)]
    online: bool,
    /// Print problems as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let file = args.config.config.display().to_string();
    let checked = Settings::load(&args.config.config, Purpose::Serve).map_err(|problems| problems.list);
    // What the files it names hold is part of a configuration too.
    let checked = checked.and_then(|settings| match contents(&settings) {
        problems if problems.is_empty() => Ok(settings),
        problems => Err(on_their_lines(&args.config.config, problems)),
    });
    match checked {
        Ok(settings) if args.online => finding::tell(&online::look(&settings)?, args.json),
        Ok(settings) => valid(&file, &settings, args.json),
        Err(problems) => {
            let counted = count(problems.len(), "problem");
            if args.json {
                output::json(
                    &json!({ "valid": false, "problems": problems.iter().map(|p| as_json(&file, p)).collect::<Vec<_>>() }),
                )?;
                return Err(Failure::BadConfig(format!("{file} has {counted}")));
            }
            let list: Vec<_> = problems.iter().map(|problem| format!("{file}:{problem}")).collect();
            Err(Failure::BadConfig(format!("{counted}\n{}", list.join("\n"))))
        }
    }
}

/// A configuration that can be served with, and what browsers will not like about it.
fn valid(file: &str, settings: &Settings, json: bool) -> Result<(), Failure> {
    let certificates = certificate::look(settings, SystemClock.now());
    let refused: Vec<_> = certificates.iter().filter(|finding| finding.level() == Level::Problem).collect();
    if json {
        let warnings: Vec<_> = refused.iter().map(ToString::to_string).collect();
        return output::json(&json!({ "valid": true, "problems": [], "warnings": warnings }));
    }
    let host = &settings.server.public_url.host;
    output::line(&format!("{file} is valid: {} for {host}", count(settings.routes.len(), "route")))?;
    refused.iter().try_for_each(|finding| output::line(&format!("warning: {finding}")))
}

/// The hosts that people type.
fn hosts(settings: &Settings) -> Vec<String> {
    let routes = settings.routes.iter().map(|route| route.host.clone());
    let all: BTreeSet<_> = routes.chain([settings.server.public_url.host.clone()]).collect();
    all.into_iter().collect()
}

/// What is wrong with the certificates, the templates, a provider's key and whom we trust.
fn contents(settings: &Settings) -> Vec<Problem> {
    let kept = Kept::new(&settings.server.state_directory).ok();
    let tls = settings.server.tls.as_ref().zip(kept).and_then(|(tls, kept)| Tls::new(tls, &kept).err());
    let pages = Pages::new(settings.challenge.templates.as_deref(), &settings.challenge.brand).err();
    let providers = app::failover(settings, Arc::new(SystemClock)).err();
    let upstreams = settings.routes.iter().enumerate().filter_map(|(place, route)| {
        let error = Applications::new(std::slice::from_ref(route), settings.server.max_connections).err()?;
        let key = placed("route", place, settings.routes.len(), file_key(&error, route));
        Some(Problem::of_key(&key, &error.to_string()))
    });
    let problem = |key: &str, error: &dyn std::fmt::Display| Problem::of_key(key, &error.to_string());
    let webhook = settings.audit.webhook.as_ref().and_then(|webhook| webhook.authorities.as_deref());
    let webhook = webhook.and_then(|file| authorities(file).err());
    let webhook = webhook.map(|error| problem("audit.webhook_ca", &error));
    let tls = tls.map(|error| problem("server.tls", &error));
    let pages = pages.map(|error| problem("challenge.templates", &error));
    let providers = providers.map(|error| {
        if let StartError::PrivateKey(name) = &error {
            return Problem::of_key(&private_key_of(name, settings), app::NOT_A_KEY);
        }
        problem("provider", &error)
    });
    tls.into_iter().chain(upstreams).chain(pages).chain(providers).chain(webhook).collect()
}

/// They were found after the file was read, and it has not told them its lines.
fn on_their_lines(file: &Path, problems: Vec<Problem>) -> Vec<Problem> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    problems.into_iter().map(|problem| problem.on_its_line(&text)).collect()
}

/// The key as the reader of the file would name it: with its place where there are several providers.
fn private_key_of(name: &str, settings: &Settings) -> String {
    let place = settings.providers.iter().position(|provider| provider.name == name);
    placed("provider", place.unwrap_or_default(), settings.providers.len(), "private_key")
}

/// The key of a route that named the file.
fn file_key(error: &TlsError, route: &Route) -> &'static str {
    let (TlsError::Pem { file, .. } | TlsError::NoCertificate(file, _) | TlsError::Unusable(file, ..)) =
        error
    else {
        return "upstream";
    };
    let (trust, file) = (&route.upstreams.trust, Path::new(file));
    match &trust.identity {
        _ if trust.authorities.as_deref() == Some(file) => "upstream_ca",
        Some(identity) if identity.private_key == file => "upstream_key",
        _ => "upstream_certificate",
    }
}

/// A key of a section that may be repeated, with its place from 0.
fn placed(section: &str, place: usize, of: usize, key: &str) -> String {
    if of > 1 { format!("{section}[{}].{key}", place + 1) } else { format!("{section}.{key}") }
}

fn as_json(file: &str, problem: &Problem) -> Value {
    json!({
        "file": file, "line": problem.line, "key": problem.key, "reason": problem.reason, "remedy": problem.remedy,
    })
}
