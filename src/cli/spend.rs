//! `vestibule spend …`

use clap::Subcommand;
use serde_json::json;

use super::output::{self, moment};
use super::state::Work;
use super::{Common, Failure};
use crate::access::spend_guard::gateway_budgets;
use crate::domain::event::What;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show messages counted, codes that came back, and what is closed
    #[command(after_help = "Example:\n  vestibule spend show")]
    Show(Common),
    /// Open sending again after the spend guard closed it for too few codes typed
    #[command(after_help = "Example:\n  vestibule spend reopen")]
    Reopen(Common),
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Show(common) => show(&common),
        Command::Reopen(common) => reopen(&common),
    }
}

fn show(common: &Common) -> Result<(), Failure> {
    let work = Work::open(&common.config.config)?;
    let (spend, now) = (work.settings.spend, work.now());
    let budgets = gateway_budgets(&spend, now);
    let status = work.wait(work.store().spend_status(budgets.to_vec(), spend.conversion, now))?;
    let used: Vec<_> = budgets.iter().zip(&status.used).collect();
    if common.json {
        let budgets = used.iter().map(|(budget, used)| {
            json!({ "budget": budget.guard.as_str(), "used": used, "allowed": budget.most, "ends": moment(budget.ends_at) })
        });
        let closed =
            status.closures.iter().map(|(guard, until)| json!({ "guard": guard, "until": moment(*until) }));
        return output::json(&json!({
            "budgets": budgets.collect::<Vec<_>>(),
            "conversion": { "sent": status.sent, "entered": status.entered },
            "closed": closed.collect::<Vec<_>>(),
        }));
    }
    for (budget, used) in used {
        let (name, most, ends) = (budget.guard.as_str(), budget.most, moment(budget.ends_at));
        output::line(&format!("{name}: {used} of {most}, until {ends}"))?;
    }
    output::line(&format!("codes that came back lately: {} of {}", status.entered, status.sent))?;
    for (guard, until) in &status.closures {
        output::line(&format!(
            "CLOSED by {guard} until {}; open it with: vestibule spend reopen",
            moment(*until)
        ))?;
    }
    if status.closures.is_empty() { output::line("nothing is closed") } else { Ok(()) }
}

fn reopen(common: &Common) -> Result<(), Failure> {
    let work = Work::open(&common.config.config)?;
    let was_closed = work.wait(work.store().reopen_sending())?;
    work.record(What::SendingReopened, None, if was_closed { "was closed" } else { "was open" }.to_owned())?;
    if common.json {
        return output::json(&json!({ "was_closed": was_closed }));
    }
    output::line(if was_closed {
        "sending is open again; codes that were not typed before are not counted any more"
    } else {
        "nothing was closed; the budgets of day and month are raised in the configuration"
    })
}
