//! `vestibule store …`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::progress::Bar;
use super::{Common, Failure, output};
use crate::access::keys::{self, KeysError};
use crate::app::{self, master_key};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Place, Purpose, Reach, Settings};
use crate::store::{Moved, Step, Store, StoreError, StoredKey, Use, transfer};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look all of the store through for damage, also while the gateway runs
    #[command(after_help = "Example:\n  vestibule store check")]
    Check {
        #[command(flatten)]
        common: Common,
    },
    /// Move all of a store into an empty database of the other kind, while no gateway runs on either
    #[command(after_help = MIGRATE)]
    Migrate(Migrate),
}

const MIGRATE: &str = "\
A move that was cut off goes on where it stopped when the same command is run again. The store that is moved is not \
changed. The master key stays the same.

Example:
  systemctl stop vestibule
  vestibule store migrate --from sqlite:/var/lib/vestibule/vestibule.db \\
    --to postgres://vestibule@db.example.com/vestibule --password-file /etc/vestibule/postgres-password";

#[derive(Debug, clap::Args)]
struct Migrate {
    /// What is moved: sqlite:FILE or postgres://USER@HOST/DATABASE; the store of the configuration unless given
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Where it goes
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file with the password at PostgreSQL, where the configuration does not name it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// PEM with the authorities that PostgreSQL's certificate is of, where the configuration does not name it
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Throw away what a move that was cut off has written, and move all of it again
    #[arg(long)]
    start_over: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Check { common } => check(&common),
        Command::Migrate(args) => migrate(&args),
    }
}

fn check(common: &Common) -> Result<(), Failure> {
    let settings = Settings::load(&common.config.config, Purpose::Administer)?;
    let place = &settings.store.place;
    let name = app::name(place);
    let keys = match place {
        Place::Sqlite(file) if !file.exists() => {
            return Err(Failure::Runtime(format!("{name}: there is no store yet")));
        }
        Place::Sqlite(file) => Store::check(file)?,
        Place::Postgres(_) => sample(place)?,
    };
    if !keys::opens(&*app::master(&settings, false)?, &keys) {
        return Err(app::of_the_keys(&settings, KeysError::Sealed).into());
    }
    if common.json {
        return output::json(&json!({ "store": name, "whole": true }));
    }
    output::line(&match place {
        Place::Sqlite(_) => format!("{name} is whole, and its keys open"),
        Place::Postgres(_) => format!(
            "{name}: its tables are as they should be, and its keys open; damage of its files is the server's to find \
             (pg_amcheck)"
        ),
    })
}

/// What of a database is ours to see, its schema; its keys.
fn sample(place: &Place) -> Result<Vec<StoredKey>, Failure> {
    let store = app::open(place, Use::Beside, None)?;
    let runtime = runtime()?;
    runtime
        .block_on(store.sample())
        .map_err(|error| Failure::Runtime(format!("{}: {error}", app::name(place))))?;
    Ok(runtime.block_on(store.signing_keys())?)
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| Failure::Runtime(error.to_string()))
}

/// What a large installation may need for one statement.
const PATIENCE: Duration = Duration::from_secs(600);

fn migrate(args: &Migrate) -> Result<(), Failure> {
    let settings = Settings::load(&args.common.config.config, Purpose::Administer)?;
    let (from, to) = ends(args, &settings)?;
    let master = app::master(&settings, false)?;
    let began = Instant::now();
    let source = app::open(&from, Use::Move, Some(master.chain()))?.with_patience(PATIENCE);
    let target = app::open(&to, Use::Move, Some(master.chain()))?.with_patience(PATIENCE);
    let runtime = runtime()?;
    if !keys::opens(&master, &runtime.block_on(source.signing_keys())?) {
        return Err(Failure::Runtime(format!(
            "the signing keys in {} do not open with {}; name the configuration that belongs to it with --config",
            app::name(&from),
            master_key(&settings)
        )));
    }
    let names = (app::name(&from), app::name(&to));
    let mut bar = Bar::new();
    let mut tell = |step: Step| {
        let label = if step.comparing { format!("comparing {}", step.table) } else { step.table.to_owned() };
        bar.show(&label, step.done, step.of);
    };
    let now = SystemClock.now();
    let moved = runtime.block_on(transfer((&source, &names.0), &target, args.start_over, now, &mut tell));
    drop(bar);
    let moved = moved.map_err(|error| of_the_move(&names, &error))?;
    if args.common.json {
        let tables: Vec<Value> =
            moved.iter().map(|(table, rows)| json!({ "table": table, "rows": rows })).collect();
        return output::json(&json!({
            "from": names.0, "to": names.1, "tables": tables, "seconds": began.elapsed().as_secs_f64(),
        }));
    }
    summary(&moved, began.elapsed())?;
    what_next(args, &settings, &to)
}

fn of_the_move((from, to): &(String, String), error: &StoreError) -> Failure {
    Failure::Runtime(format!("{from} to {to}: {error}"))
}

/// From where, and to where.
fn ends(args: &Migrate, settings: &Settings) -> Result<(Place, Place), Failure> {
    let password = args.password_file.as_ref().map(|file| {
        let read = std::fs::read_to_string(file).map(|text| text.trim().into());
        read.map_err(|error| Failure::Runtime(format!("{}: {error}", file.display())))
    });
    let reach = Reach { password: password.transpose()?, authorities: args.ca.clone() };
    let named = |flag: &str, url: &str| {
        settings.store.named(url, &reach).map_err(|problem| Failure::Usage(format!("{flag}: {problem}")))
    };
    let from = args.from.as_deref().map(|url| named("--from", url));
    let from = from.unwrap_or_else(|| Ok(settings.store.place.clone()))?;
    let to = named("--to", &args.to)?;
    match (&from, &to) {
        (Place::Sqlite(file), Place::Postgres(_)) if !file.exists() => {
            Err(Failure::Runtime(format!("{}: there is no such file", file.display())))
        }
        (Place::Sqlite(_), Place::Postgres(_)) | (Place::Postgres(_), Place::Sqlite(_)) => Ok((from, to)),
        (Place::Sqlite(_), Place::Sqlite(_)) => Err(Failure::Usage(
            "both are SQLite; a file is moved by `vestibule backup` and `vestibule restore`".to_owned(),
        )),
        (Place::Postgres(_), Place::Postgres(_)) => Err(Failure::Usage(
            "both are PostgreSQL; a database is moved by its own tools, pg_dump and pg_restore".to_owned(),
        )),
    }
}

fn summary(moved: &[Moved], took: Duration) -> Result<(), Failure> {
    let rows: Vec<_> = moved.iter().map(|(table, rows)| [(*table).to_owned(), rows.to_string()]).collect();
    output::table(["TABLE", "ROWS"], &rows)?;
    let all: u64 = moved.iter().map(|(_, rows)| rows).sum();
    output::line(&format!("\n{all} rows moved and compared in {:.1} s", took.as_secs_f64()))
}

/// A file as whoever reads the configuration finds it, wherever they are.
fn absolute(file: &Path) -> String {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string()
}

/// What the configuration says from now on.
fn what_next(args: &Migrate, settings: &Settings, to: &Place) -> Result<(), Failure> {
    output::line("\nWrite this into the configuration, and start the gateway:\n\n[store]")?;
    match to {
        Place::Sqlite(file) => output::line(&format!("url = \"sqlite:{}\"", absolute(file)))?,
        Place::Postgres(_) => output::line(&format!("url = \"{}\"", args.to))?,
    }
    let own_key = matches!(settings.store.master_key, Ok(None));
    match to {
        Place::Postgres(_) => {
            if let Some(file) = &args.password_file {
                output::line(&format!("password = {{ file = \"{}\" }}", absolute(file)))?;
            }
            if let Some(file) = &args.ca {
                output::line(&format!("ca = \"{}\"", absolute(file)))?;
            }
            if own_key {
                let key = absolute(Path::new(&master_key(settings)));
                output::line(&format!("master_key = {{ file = \"{key}\" }}"))?;
                output::line(&format!("\nEach gateway on this database needs the key in {key}"))?;
            }
        }
        Place::Sqlite(_) => output::line("# master_key stays as it is")?,
    }
    output::line("The store that was moved is as it was: remove it once the new one has proved itself")
}
