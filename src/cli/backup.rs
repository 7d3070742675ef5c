//! `vestibule backup`

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::{Common, Failure, output};
use crate::app::master_key;
use crate::config::{Place, Postgres, Purpose, Settings, host_name};
use crate::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write, which must not be there yet
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

pub(super) const HELP: &str = "\
The file is its owner's alone, whole, and checked. It does not hold the master key, without which nobody can use the \
signing keys in it: keep a copy of that in another place.

Example:
  vestibule backup /var/backups/vestibule-$(date +%F).db";

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = Settings::load(&args.common.config.config, Purpose::Administer)?;
    let store = match &settings.store.place {
        Place::Sqlite(store) => store,
        Place::Postgres(server) => return Err(not_ours(server, &args.file, &master_key(&settings))),
    };
    if !store
        .try_exists()
        .map_err(|error| Failure::Runtime(format!("{}: {error}; run it as root", store.display())))?
    {
        return Err(Failure::Runtime(format!("{}: there is no store yet; nothing to keep", store.display())));
    }
    let began = Instant::now();
    let bytes = Store::backup(store, &args.file)?;
    let seconds = began.elapsed().as_secs_f64();
    let key = master_key(&settings);
    if args.common.json {
        return output::json(&json!({
            "file": args.file, "bytes": bytes, "seconds": seconds, "master_key": key,
        }));
    }
    output::line(&format!("{}: {} in {seconds:.1} s, checked", args.file.display(), size(bytes)))?;
    output::line(&format!(
        "Its keys open with the master key only: keep a copy of {key} too, in another place"
    ))
}

/// The server's own tool knows it best.
fn not_ours(server: &Postgres, file: &Path, key: &str) -> Failure {
    Failure::Runtime(format!(
        "the store is on PostgreSQL, whose own tool copies it; run: pg_dump --format=custom --file={} {}\n\
         Its keys open with the master key only: keep a copy of {key} too, in another place",
        file.display(),
        connection(server)
    ))
}

/// How the tools of PostgreSQL are told where to connect; they ask for the password.
pub(super) fn connection(server: &Postgres) -> String {
    let server = &server.server;
    let host = server.get_hosts().first().map(host_name);
    let port = server.get_ports().first().map_or_else(String::new, |port| format!(" --port={port}"));
    format!(
        "--host={}{port} --username={} --dbname={}",
        host.unwrap_or_default(),
        server.get_user().unwrap_or_default(),
        server.get_dbname().unwrap_or_default()
    )
}

/// Bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
