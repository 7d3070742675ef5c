//! `vestibule check`

use serde_json::json;

use super::{Config, Failure, output};
use crate::config::{Purpose, Settings};
use crate::pages::Pages;
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
    let settings = match Settings::load(&args.config.config, Purpose::Serve) {
        Ok(settings) => settings,
        Err(problems) if args.json => {
            let list = problems.list.iter().map(|problem| {
                json!({ "file": file, "line": problem.line, "key": problem.key, "reason": problem.reason, "remedy": problem.remedy })
            });
            output::json(&json!({ "valid": false, "problems": list.collect::<Vec<_>>() }))?;
            return Err(Failure::BadConfig(format!("{file} has {}", count(problems.list.len()))));
        }
        Err(problems) => {
            return Err(Failure::BadConfig(format!("{}\n{problems}", count(problems.list.len()))));
        }
    };
    // What the files it names hold is part of a configuration too.
    if let Some(files) = &settings.server.tls {
        tls::acceptor(files).map_err(|error| Failure::BadConfig(format!("{file}: server.tls: {error}")))?;
    }
    Pages::new(settings.challenge.templates.as_deref(), &settings.challenge.brand)
        .map_err(|error| Failure::BadConfig(format!("{file}: challenge.templates: {error}")))?;
    if args.json {
        return output::json(&json!({ "valid": true, "problems": [] }));
    }
    output::line(&format!(
        "{file} is valid: {} for {}",
        routes(settings.routes.len()),
        settings.server.public_url.host
    ))
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 problem".to_owned() } else { format!("{problems} problems") }
}

fn routes(routes: usize) -> String {
    if routes == 1 { "1 route".to_owned() } else { format!("{routes} routes") }
}
