//! `vestibule user …`

mod break_glass;

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::output::{self, moment};
use super::progress::Bar;
use super::state::Work;
use super::{Common, Failure};
use crate::domain::challenge::Subject;
use crate::domain::event::What;
use crate::domain::phone::{PhoneNumber, Region};
use crate::domain::user::{User, UserName};
use crate::store::{NewUser, UserChange, UserKey};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a user
    #[command(after_help = "Example:\n  vestibule user add alice --phone '+1 415 555 0100'")]
    Add {
        /// Their name, which the application gets
        name: UserName,
        /// Their phone number, with its country
        #[arg(long, value_name = "NUMBER")]
        phone: String,
        #[command(flatten)]
        common: Common,
    },
    /// List all users
    #[command(after_help = "Example:\n  vestibule user list")]
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Show one user
    #[command(after_help = "Example:\n  vestibule user show alice")]
    Show {
        /// Their name
        name: UserName,
        #[command(flatten)]
        common: Common,
    },
    /// Send a user's codes to another phone; ends their sessions
    #[command(after_help = "Example:\n  vestibule user set-phone alice '+1 415 555 0101'")]
    SetPhone {
        /// Their name
        name: UserName,
        #[command(flatten)]
        phone: NewPhone,
        #[command(flatten)]
        common: Common,
    },
    /// Shut a user out; ends their sessions
    #[command(after_help = "Example:\n  vestibule user disable alice")]
    Disable {
        /// Their name
        name: UserName,
        #[command(flatten)]
        common: Common,
    },
    /// Let a user in again, and forget their wrong codes
    #[command(after_help = "Example:\n  vestibule user enable alice")]
    Enable {
        /// Their name
        name: UserName,
        #[command(flatten)]
        common: Common,
    },
    /// Forget a user; ends their sessions
    #[command(after_help = "Example:\n  vestibule user remove alice")]
    Remove {
        /// Their name
        name: UserName,
        #[command(flatten)]
        common: Common,
    },
    /// Add all users of a CSV file, or none when one is wrong
    #[command(
        after_help = "The first line names the columns: name,phone_number\n\nExample:\n  vestibule user import people.csv"
    )]
    Import {
        /// The file, with a line of column names
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Make a code that lets a user in once, without their phone
    #[command(after_help = break_glass::HELP)]
    BreakGlass(break_glass::Args),
}

/// A number alone or after `--phone`, as `add` takes it.
#[derive(Debug, clap::Args)]
struct NewPhone {
    /// Their new number, with its country
    #[arg(value_name = "NUMBER", required_unless_present = "phone")]
    number: Option<String>,
    /// The same, as `user add` takes it
    #[arg(long, value_name = "NUMBER", conflicts_with = "number")]
    phone: Option<String>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Add { name, phone, common } => add(name, &phone, &common),
        Command::List { common } => list(&common),
        Command::Show { name, common } => show(name, &common),
        Command::SetPhone { name, phone, common } => {
            set_phone(name, phone.number.or(phone.phone).as_deref().unwrap_or_default(), &common)
        }
        Command::Disable { name, common } => change(name, UserChange::Disable, "disabled", &common),
        Command::Enable { name, common } => change(name, UserChange::Enable, "enabled", &common),
        Command::Remove { name, common } => change(name, UserChange::Remove, "removed", &common),
        Command::Import { file, common } => import(&file, &common),
        Command::BreakGlass(args) => break_glass::run(&args),
    }
}

fn add(name: UserName, phone: &str, common: &Common) -> Result<(), Failure> {
    let work = Work::open(&common.config.config)?;
    let phone_number = number(phone, work.settings.challenge.default_region).map_err(Failure::Usage)?;
    let stored = phone_number.as_e164().to_owned();
    let new = NewUser { name: name.clone(), phone_number };
    let added = work.wait(work.store().add_users(vec![new], work.now()))?;
    added.map_err(|conflict| Failure::Runtime(conflict.to_string()))?;
    work.record(What::UserChanged, Some(name.to_string()), "added".to_owned())?;
    done(common, &name, &format!("added with {stored}"))
}

fn list(common: &Common) -> Result<(), Failure> {
    let work = Work::look(&common.config.config)?;
    let users = work.wait(work.store().users())?;
    if common.json {
        return output::json(&users.iter().map(as_json).collect());
    }
    let rows: Vec<_> = users
        .iter()
        .map(|user| {
            let verified = user.phone_verified_at.map_or_else(|| "no".to_owned(), moment);
            [user.name.to_string(), user.phone_number.as_e164().to_owned(), verified, state(user).to_owned()]
        })
        .collect();
    output::table(["NAME", "PHONE", "VERIFIED", "STATE"], &rows)
}

fn show(name: UserName, common: &Common) -> Result<(), Failure> {
    let work = Work::look(&common.config.config)?;
    let user = work.wait(work.store().user(UserKey::Name(name.clone())))?.ok_or_else(|| unknown(&name))?;
    let failures = work.wait(work.store().failures(Subject::user(user.id)))?;
    if common.json {
        let mut value = as_json(&user);
        value["wrong_codes_in_a_row"] = failures.count.into();
        value["codes_closed"] = failures.is_closed().into();
        return output::json(&value);
    }
    let closed = if failures.is_closed() {
        ": codes by phone are closed, open them with `vestibule user enable`"
    } else {
        ""
    };
    let verified = user
        .phone_verified_at
        .map_or_else(|| "not yet verified".to_owned(), |at| format!("verified {}", moment(at)));
    output::line(&format!("name         {}", user.name))?;
    output::line(&format!("phone        {} ({verified})", user.phone_number.as_e164()))?;
    output::line(&format!("state        {}", state(&user)))?;
    output::line(&format!("added        {}", moment(user.created_at)))?;
    output::line(&format!("wrong codes  {} in a row{closed}", failures.count))
}

fn set_phone(name: UserName, phone: &str, common: &Common) -> Result<(), Failure> {
    let region = Work::open(&common.config.config)?.settings.challenge.default_region;
    let number = number(phone, region).map_err(Failure::Usage)?;
    change(name, UserChange::SetPhone(number), "given another phone", common)
}

fn change(name: UserName, change: UserChange, what: &str, common: &Common) -> Result<(), Failure> {
    let work = Work::open(&common.config.config)?;
    let changed = work.wait(work.store().change_user(name.clone(), change, work.now()))?;
    if !changed.map_err(|conflict| Failure::Runtime(conflict.to_string()))? {
        return Err(unknown(&name));
    }
    work.record(What::UserChanged, Some(name.to_string()), what.to_owned())?;
    done(common, &name, what)
}

/// A million people in one transaction take a while.
const PATIENCE: Duration = Duration::from_secs(600);

fn import(file: &PathBuf, common: &Common) -> Result<(), Failure> {
    let work = Work::open(&common.config.config)?;
    let users = read_csv(file, work.settings.challenge.default_region)?;
    let count = users.len();
    let store = work.store().clone().with_patience(PATIENCE);
    let added = work.wait(store.add_users(users, work.now()))?;
    added
        .map_err(|conflict| Failure::Runtime(format!("{}: {conflict}; nobody was added", file.display())))?;
    work.record(What::UserChanged, None, format!("{count} users imported"))?;
    if common.json {
        return output::json(&json!({ "added": count }));
    }
    output::line(&format!("{count} users added"))
}

/// Reads all lines, or names every line that is wrong.
fn read_csv(file: &PathBuf, region: Option<Region>) -> Result<Vec<NewUser>, Failure> {
    let name = file.display();
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(file)
        .map_err(|error| Failure::Runtime(format!("{name}: {error}")))?;
    let headings = reader.headers().map_err(|error| Failure::Runtime(format!("{name}: {error}")))?.clone();
    let column = |wanted: &[&str]| {
        headings.iter().position(|heading| wanted.iter().any(|w| heading.eq_ignore_ascii_case(w)))
    };
    let (Some(names), Some(phones)) = (column(&["name"]), column(&["phone_number", "phone"])) else {
        return Err(Failure::Runtime(format!(
            "{name}: the first line must name the columns, separated by commas; write name,phone_number"
        )));
    };
    let (mut users, mut problems) = (Vec::new(), Vec::new());
    let (mut bar, bytes) = (Bar::new(), file.metadata().map_or(0, |known| known.len()));
    for (place, record) in reader.records().enumerate() {
        // The first line names the columns.
        let line = place + 2;
        let read = record.as_ref().ok().and_then(csv::StringRecord::position).map(csv::Position::byte);
        bar.show("bytes read", read.unwrap_or_default(), bytes);
        let user = record
            .map_err(|error| error.to_string())
            .and_then(|record| user_of(&record, names, phones, region));
        match user {
            Ok(user) => users.push(user),
            Err(text) => problems.push(format!("{name}:{line}: {text}")),
        }
    }
    if problems.is_empty() {
        return Ok(users);
    }
    Err(Failure::Runtime(format!("nobody was added\n{}", problems.join("\n"))))
}

fn user_of(
    record: &csv::StringRecord,
    names: usize,
    phones: usize,
    region: Option<Region>,
) -> Result<NewUser, String> {
    let name = record.get(names).unwrap_or_default();
    let name = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
    let phone_number = number(record.get(phones).unwrap_or_default(), region)?;
    Ok(NewUser { name, phone_number })
}

fn number(text: &str, region: Option<Region>) -> Result<PhoneNumber, String> {
    PhoneNumber::parse(text, region).map_err(|error| format!("{text:?}: {error}"))
}

const fn state(user: &User) -> &'static str {
    if user.disabled {
        "disabled"
    } else if user.two_factor_enabled {
        "enabled"
    } else {
        "two-factor off: cannot sign in"
    }
}

fn as_json(user: &User) -> Value {
    json!({
        "name": user.name.as_str(),
        "phone_number": user.phone_number.as_e164(),
        "phone_verified_at": user.phone_verified_at.map(moment),
        "two_factor_enabled": user.two_factor_enabled,
        "disabled": user.disabled,
        "created": moment(user.created_at),
    })
}

pub(super) fn unknown(name: &UserName) -> Failure {
    Failure::Runtime(format!("there is no user {name}; `vestibule user list` shows all"))
}

fn done(common: &Common, name: &UserName, what: &str) -> Result<(), Failure> {
    if common.json {
        return output::json(&json!({ "name": name.as_str(), "done": what }));
    }
    output::line(&format!("{name} was {what}"))
}
