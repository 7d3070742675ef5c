//! `vestibule audit …`

use clap::Subcommand;
use serde_json::json;

use super::output::{self, moment};
use super::state::Work;
use super::{Config, Failure};
use crate::domain::id::Reference;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the newest lines, oldest first
    #[command(after_help = "Examples:\n  vestibule audit tail\n  vestibule audit tail --reference K7QX-2MHD")]
    Tail {
        /// Only what belongs to this reference, as a page shows it
        #[arg(long, value_name = "REFERENCE")]
        reference: Option<String>,
        /// How many lines at most
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
        lines: usize,
        #[command(flatten)]
        config: Config,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let Command::Tail { reference, lines, config, json } = &args.command;
    let reference = reference.as_deref().map(|text| {
        let wrong = |_| Failure::Usage(format!("{text:?} is no reference; it looks like K7QX-2MHD"));
        text.parse::<Reference>().map(|reference| reference.to_string()).map_err(wrong)
    });
    let work = Work::open(&config.config)?;
    let recorded = work.wait(work.store().audit(reference.transpose()?, *lines))?;
    if *json {
        let value = recorded.iter().map(|event| {
            json!({
                "number": event.number, "at": moment(event.at), "event": event.what, "reference": event.reference,
                "user": event.user, "client": event.client, "detail": event.detail,
            })
        });
        return output::json(&value.collect());
    }
    let rows: Vec<_> = recorded
        .into_iter()
        .map(|event| {
            let (reference, user) = (event.reference.unwrap_or_default(), event.user.unwrap_or_default());
            [moment(event.at), event.what, reference, user, event.client, event.detail]
        })
        .collect();
    output::table(["AT", "EVENT", "REFERENCE", "USER", "FROM", "DETAIL"], &rows)
}
