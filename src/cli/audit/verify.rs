//! `vestibule audit verify`

use serde_json::{Value, json};

use crate::audit::verify::{Report, Wanted, verify};
use crate::cli::output::{self, moment};
use crate::cli::progress::Bar;
use crate::cli::state::Work;
use crate::cli::{Common, Failure};
use crate::domain::chain::{Fault, Hash};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A line and its seal that must be part of the trail: what an earlier verify printed
    #[arg(long, value_name = "NUMBER:SEAL", value_parser = expected)]
    expect: Option<Expected>,
    /// Begin with this line and believe that what it follows is right
    #[arg(long, value_name = "NUMBER")]
    from: Option<i64>,
    #[command(flatten)]
    common: Common,
}

/// A line and its seal.
#[derive(Clone, Copy, Debug)]
struct Expected(i64, Hash);

pub(super) const HELP: &str = "\
Each line is sealed together with the seal of the line before it, with a key that is not in the store. What is printed at \
the end is best noted on another machine: given to --expect later, it shows that nobody put an older store in the place of \
this one. Exit code 1 means that something does not fit; docs/audit.md says what to do then.

Examples:
  vestibule audit verify
  vestibule audit verify --expect 18230:5f3c…";

/// `NUMBER:SEAL`, as it is printed.
fn expected(text: &str) -> Result<Expected, String> {
    let read = || {
        let (number, seal) = text.split_once(':')?;
        let seal = output::from_hexadecimal(seal)?.try_into().ok()?;
        Some(Expected(number.parse().ok()?, seal))
    };
    read().ok_or_else(|| "it is NUMBER:SEAL, as `vestibule audit verify` prints it".to_owned())
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let work = Work::look(&args.common.config.config)?;
    let expected = args.expect.map(|Expected(number, seal)| (number, seal));
    let wanted = Wanted { from: args.from, expected };
    let chain = work.state.master.chain();
    let mut bar = Bar::new();
    let mut tell = |done, of| bar.show("verifying", done, of);
    let verified = work.wait(verify(work.store(), &chain, wanted, &mut tell))?;
    drop(bar);
    match verified {
        Ok(report) if args.common.json => output::json(&as_json(&report)),
        Ok(report) => told(&report),
        Err(fault) => Err(failed(&fault, args.common.json)?),
    }
}

fn head(report: &Report) -> String {
    let (number, hash) = &report.head;
    format!("{number}:{}", output::hexadecimal(hash))
}

fn told(report: &Report) -> Result<(), Failure> {
    if let Some(purged) = report.purged {
        output::line(&format!("lines up to {purged} went for their age"))?;
    }
    if report.unchained > 0 {
        let lines = report.unchained;
        output::line(&format!("{lines} lines from before the chain, of which nothing can be said"))?;
    }
    let Some(since) = report.since else { return output::line("no line is sealed yet") };
    output::line(&format!("{} lines as they were written, since {}", report.chained, moment(since)))?;
    output::line(&format!("last line and its seal: {}", head(report)))
}

fn as_json(report: &Report) -> Value {
    json!({
        "whole": true, "lines": report.chained, "since": report.since.map(moment), "unchained": report.unchained,
        "purged": report.purged, "head": report.since.map(|_| head(report)),
    })
}

fn failed(fault: &Fault, json: bool) -> Result<Failure, Failure> {
    // Nothing is wrong with the trail.
    if let Fault::Beyond(..) = fault {
        return Ok(Failure::Usage(format!("--from: {fault}")));
    }
    if json {
        output::json(&json!({ "whole": false, "line": fault.line(), "fault": fault.to_string() }))?;
    }
    Ok(Failure::Runtime(format!("the audit trail is not what was written: {fault}")))
}
