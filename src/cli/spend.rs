//! `vestibule spend …`

use clap::Subcommand;
use serde_json::json;

use super::output::{self, moment};
use super::state::Work;
use super::{Common, Failure};
use crate::access::spend_guard::gateway_budgets;
use crate::domain::event::What;
use crate::domain::spend::{Budget, Conversion};
use crate::domain::time::{Short, Timestamp};
use crate::store::SpendStatus;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show messages counted, codes typed, and what is closed
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
    let work = Work::look(&common.config.config)?;
    let (spend, now) = (work.settings.spend, work.now());
    let budgets = gateway_budgets(&spend, now);
    let status = work.wait(work.store().spend_status(budgets.to_vec(), spend.conversion, now))?;
    let closed = closed(&budgets, &status, now);
    let used = budgets.iter().zip(&status.used);
    if common.json {
        let budgets = used.map(|(budget, used)| {
            json!({ "budget": budget.guard.as_str(), "used": used, "allowed": budget.most, "ends": moment(budget.ends_at) })
        });
        let closed = closed.iter().map(|one| json!({ "guard": one.guard, "until": moment(one.until) }));
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
    let (window, newest) = (Short(spend.conversion.window), Conversion::SETTLE.as_secs() / 60);
    let (entered, sent) = (status.entered, status.sent);
    output::line(&format!(
        "users who typed their code in the last {window} (without the newest {newest} minutes): {entered} of {sent}"
    ))?;
    if closed.is_empty() {
        return output::line("nothing is closed");
    }
    closed.iter().try_for_each(|one| {
        output::line(&format!("CLOSED by {} until {}; {}", one.guard, moment(one.until), one.remedy))
    })
}

/// What closes sending for everybody.
struct Closed<'a> {
    guard: &'a str,
    until: Timestamp,
    remedy: &'static str,
}

/// A used-up budget closes sending like a guard that tripped.
fn closed<'a>(budgets: &[Budget], status: &'a SpendStatus, now: Timestamp) -> Vec<Closed<'a>> {
    let used_up =
        budgets.iter().zip(&status.used).filter(|(budget, used)| budget.judge(**used, now).is_err());
    let used_up = used_up.map(|(budget, _)| Closed {
        guard: budget.guard.as_str(),
        until: budget.ends_at,
        remedy: "raise it in [spend] and restart the gateway",
    });
    let tripped = status.closures.iter().map(|(guard, until)| Closed {
        guard,
        until: *until,
        remedy: "open it with: vestibule spend reopen",
    });
    used_up.chain(tripped).collect()
}

fn reopen(common: &Common) -> Result<(), Failure> {
    let work = Work::open(&common.config.config)?;
    let was_closed = work.wait(work.store().reopen_sending(work.now()))?;
    if was_closed {
        work.record(What::SendingReopened, None, "was closed".to_owned())?;
    }
    if common.json {
        return output::json(&json!({ "was_closed": was_closed }));
    }
    output::line(if was_closed {
        "sending is open again; codes that were not typed before are not counted any more"
    } else {
        "nothing was closed that could be opened, and nothing was changed; see: vestibule spend show"
    })
}
