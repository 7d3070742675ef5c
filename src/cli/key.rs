//! `vestibule key …`

use clap::Subcommand;
use serde_json::json;

use super::output::{self, moment};
use super::state::Work;
use super::{Common, Failure};
use crate::access::keys;
use crate::app::of_the_keys;
use crate::domain::event::What;
use crate::store::StoredKey;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the keys
    #[command(after_help = "Example:\n  vestibule key list")]
    List(Common),
    /// Make a new key; sessions signed by older ones go on
    #[command(after_help = "Example:\n  vestibule key rotate")]
    Rotate(Common),
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List(common) => list(&common),
        Command::Rotate(common) => rotate(&common),
    }
}

fn list(common: &Common) -> Result<(), Failure> {
    let work = Work::look(&common.config.config)?;
    let keys = work.wait(work.store().signing_keys())?;
    let state = |key: &StoredKey| if key.retired_at.is_some() { "verifies" } else { "signs" };
    if common.json {
        let value = |key: &StoredKey| json!({ "kid": key.kid, "state": state(key), "created": moment(key.created_at), "retired": key.retired_at.map(moment) });
        return output::json(&keys.iter().map(value).collect());
    }
    let row = |key: &StoredKey| {
        let retired = key.retired_at.map_or_else(String::new, moment);
        [key.kid.clone(), state(key).to_owned(), moment(key.created_at), retired]
    };
    output::table(["KID", "STATE", "CREATED", "RETIRED"], &keys.iter().map(row).collect::<Vec<_>>())
}

fn rotate(common: &Common) -> Result<(), Failure> {
    let work = Work::open(&common.config.config)?;
    let kid = work.wait(async {
        let rotated = keys::rotate(work.store(), &work.state.master, work.now()).await;
        rotated.map_err(|error| of_the_keys(&work.settings, error))
    })?;
    work.record(What::KeyRotated, None, kid.clone())?;
    if common.json {
        return output::json(&json!({ "kid": kid }));
    }
    output::line(&format!("{kid} signs from now on; older keys open what they signed until it expires"))
}
