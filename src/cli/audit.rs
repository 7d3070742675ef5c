//! `vestibule audit …`

mod export;
mod story;
mod verify;

use clap::Subcommand;

use super::output::{self, moment};
use super::state::Work;
use super::{Common, Config, Failure};
use crate::domain::id::Reference;
use crate::domain::user::UserName;
use crate::store::About;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the newest lines, oldest first
    #[command(
        after_help = "Examples:\n  vestibule audit tail\n  vestibule audit tail --reference K7QX-2MHD\n  vestibule audit tail --user alice -n 200"
    )]
    Tail {
        /// Only what belongs to this reference, as a page shows it
        #[arg(long, value_name = "REFERENCE")]
        reference: Option<String>,
        /// Only what belongs to this user
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,
        /// How many lines at most
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
        lines: usize,
        #[command(flatten)]
        config: Config,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell the whole story of one challenge, by the reference a person reads out
    #[command(after_help = "Example:\n  vestibule audit show K7QX-2MHD")]
    Show {
        /// The reference, as a page shows it
        #[arg(value_name = "REFERENCE")]
        reference: String,
        #[command(flatten)]
        common: Common,
    },
    /// Look whether the trail is what was written: nothing changed, removed or put elsewhere
    #[command(after_help = verify::HELP)]
    Verify(verify::Args),
    /// Print all lines as JSON, one on a line, oldest first
    #[command(after_help = export::HELP)]
    Export(export::Args),
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Tail { reference, user, lines, config, json } => {
            let reference = reference.as_deref().map(read).transpose()?;
            tail(About { reference, user: user.clone() }, *lines, config, *json)
        }
        Command::Show { reference, common } => story::run(read(reference)?, common),
        Command::Verify(args) => verify::run(args),
        Command::Export(args) => export::run(args),
    }
}

fn read(text: &str) -> Result<Reference, Failure> {
    let wrong = |_| Failure::Usage(format!("{text:?} is no reference; it looks like K7QX-2MHD"));
    text.parse().map_err(wrong)
}

fn tail(about: About, lines: usize, config: &Config, json: bool) -> Result<(), Failure> {
    let work = Work::look(&config.config)?;
    let recorded = work.wait(work.store().audit(about, lines))?;
    if json {
        return output::json(&recorded.iter().map(crate::audit::json::line).collect());
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
