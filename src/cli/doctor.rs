//! `vestibule doctor`: ways around the gateway, on the machine it runs on. Only looks, and changes nothing.

mod files;
mod host;
mod network;
mod secrets;

use super::finding::{self, Finding};
use super::{Common, Failure};
use crate::config::{Purpose, Settings};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let file = &args.common.config.config;
    let settings = Settings::load(file, Purpose::Administer)?;
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let secrets = secrets::named(file, &text);
    let parts: [(&str, Vec<Finding>); 4] = [
        ("network", network::look(&settings)),
        ("secrets", secrets::look(&settings, &secrets)),
        ("files", files::look(&settings, file, &secrets)),
        ("host", host::look(&settings, &secrets)),
    ];
    let told = parts.into_iter().flat_map(|(part, found)| {
        if found.is_empty() { vec![Finding::ok(part, "nothing to mend")] } else { found }
    });
    finding::tell(&told.collect::<Vec<_>>(), args.common.json)
}
