//! `vestibule check`

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Config, Failure, output};
use crate::app::{self, StartError};
use crate::clock::SystemClock;
use crate::config::{Problem, Purpose, Settings};
use crate::pages::Pages;
use crate::proxy::Applications;
use crate::server::tls;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: Config,
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
        problems => Err(problems),
    });
    match checked {
        Ok(_) if args.json => output::json(&json!({ "valid": true, "problems": [] })),
        Ok(settings) => {
            let host = &settings.server.public_url.host;
            output::line(&format!("{file} is valid: {} for {host}", count(settings.routes.len(), "route")))
        }
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

/// What is wrong with the certificates, the templates and a provider's key.
fn contents(settings: &Settings) -> Vec<Problem> {
    let tls = settings.server.tls.as_ref().map(tls::acceptor).transpose().err();
    let pages = Pages::new(settings.challenge.templates.as_deref(), &settings.challenge.brand).err();
    let providers = app::failover(settings, Arc::new(SystemClock)).err();
    let upstreams = Applications::new(&settings.routes).err();
    let problem = |key: &str, error: &dyn std::fmt::Display| Problem::of_key(key, &error.to_string());
    let tls = tls.map(|error| problem("server.tls", &error));
    let pages = pages.map(|error| problem("challenge.templates", &error));
    let upstreams = upstreams.map(|error| problem("route", &error));
    let providers = providers.map(|error| {
        if let StartError::PrivateKey(name) = &error {
            return Problem::of_key(&private_key_of(name, settings), app::NOT_A_KEY);
        }
        problem("provider", &error)
    });
    tls.into_iter().chain(upstreams).chain(pages).chain(providers).collect()
}

/// The key as the reader of the file would name it: with its place where there are several providers.
fn private_key_of(name: &str, settings: &Settings) -> String {
    let place = settings.providers.iter().position(|provider| provider.name == name);
    match place.filter(|_| settings.providers.len() > 1) {
        Some(place) => format!("provider[{}].private_key", place + 1),
        None => "provider.private_key".to_owned(),
    }
}

fn as_json(file: &str, problem: &Problem) -> Value {
    json!({
        "file": file, "line": problem.line, "key": problem.key, "reason": problem.reason, "remedy": problem.remedy,
    })
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
