//! `vestibule audit export`

use serde_json::Value;

use crate::audit::json;
use crate::cli::state::Work;
use crate::cli::{Common, Failure, output};
use crate::store::Sealed;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only lines after this one, so that the next export goes on where the last one ended
    #[arg(long, value_name = "NUMBER")]
    after: Option<i64>,
    #[command(flatten)]
    common: Common,
}

pub(super) const HELP: &str = "\
Each line is an object with number, at, event, reference, user, client, detail, call and seal. It is JSON with and without \
--json.

Examples:
  vestibule audit export > audit.jsonl
  vestibule audit export --after 18230 >> audit.jsonl";

/// Lines that are read at once.
const PAGE: usize = 1_000;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let work = Work::look(&args.common.config.config)?;
    let mut after = args.after.unwrap_or(i64::MIN);
    loop {
        let page = work.wait(work.store().audit_after(after, PAGE))?;
        let Some(last) = page.lines.last() else { return Ok(()) };
        after = last.line.number;
        for sealed in &page.lines {
            output::line(&as_json(sealed).to_string())?;
        }
    }
}

fn as_json(sealed: &Sealed) -> Value {
    let mut value = json::line(&sealed.recorded);
    value["seal"] = sealed.hash.as_deref().map(output::hexadecimal).into();
    value
}
