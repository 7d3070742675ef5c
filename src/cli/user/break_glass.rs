//! `vestibule user break-glass`: a way in for somebody for whom no other is left.

use std::fs::File;
use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;

use super::unknown;
use crate::access::sign_in::emergency_hash;
use crate::cli::output::{self, moment};
use crate::cli::state::Work;
use crate::cli::{Common, Failure};
use crate::config::{Place, Purpose, Settings};
use crate::crypto;
use crate::domain::emergency::{EmergencyCode, LONGEST_VALID};
use crate::domain::event::{Event, What};
use crate::domain::id::Reference;
use crate::domain::time::{Short, parse_duration};
use crate::domain::user::UserName;
use crate::store::{NewEmergencyCode, NoEmergencyCode};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whom it lets in
    name: UserName,
    /// Why, for the audit trail; needed unless --withdraw is there
    #[arg(long, value_name = "TEXT", required_unless_present = "withdraw")]
    reason: Option<String>,
    /// Take a code back that was not used yet
    #[arg(long, conflicts_with_all = ["reason", "valid", "session"])]
    withdraw: bool,
    /// How long the code can be used, at most 24h
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    valid: Duration,
    /// How long the session lasts, used or not; never longer than session.absolute_timeout
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    session: Duration,
    #[command(flatten)]
    common: Common,
}

pub(super) const HELP: &str = "\
The code lets this user in once, without their phone and while no provider answers. It is typed at the sign-in page, behind \
\"I have an emergency code\". A newer one takes the place of an older one. Making and using one are alarms in the log and lines \
of the audit trail. Only who may read the master key can make one: root, and the service itself.

Example:
  vestibule user break-glass alice --reason 'phone lost, ticket 4711'
  vestibule user break-glass alice --withdraw";

/// What a reason may have.
const LONGEST_REASON: usize = 300;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.withdraw { withdraw(args) } else { make(args) }
}

fn withdraw(args: &Args) -> Result<(), Failure> {
    let work = Work::open(&args.common.config.config)?;
    let withdrawn = work.wait(work.store().withdraw_emergency_code(args.name.clone()))?;
    let was_there = withdrawn.ok_or_else(|| unknown(&args.name))?;
    if was_there {
        let name = Some(args.name.to_string());
        work.record(What::UserChanged, name, "emergency code withdrawn".to_owned())?;
    }
    if args.common.json {
        return output::json(&json!({ "name": args.name.as_str(), "withdrawn": was_there }));
    }
    let said = if was_there { "can come in by it no more" } else { "had no emergency code" };
    output::line(&format!("{} {said}", args.name))
}

fn make(args: &Args) -> Result<(), Failure> {
    let reason = args.reason.as_deref().unwrap_or_default().trim();
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON || reason.chars().any(char::is_control) {
        return Err(Failure::Usage(format!(
            "--reason: write why, in one line of at most {LONGEST_REASON} characters"
        )));
    }
    if args.valid > LONGEST_VALID {
        return Err(Failure::Usage("--valid: a code is good for at most 24h".to_owned()));
    }
    refuse_strangers(args)?;
    let work = Work::open(&args.common.config.config)?;
    let session = args.session.min(work.settings.session.absolute_timeout);
    let now = work.now();
    let code = EmergencyCode::from_random(crypto::random());
    let reference = Reference::from_random(crypto::random());
    let expires_at = now + args.valid;
    let event = Event {
        at: now,
        what: What::BreakGlassMade,
        reference: Some(reference),
        user: Some(args.name.to_string()),
        client: "command line".to_owned(),
        detail: format!("good until {}, for a session of {}: {reason}", moment(expires_at), Short(session)),
        message: None,
    };
    let new = NewEmergencyCode {
        user: args.name.clone(),
        hash: emergency_hash(&work.state.master, args.name.as_str(), &code),
        reference,
        expires_at,
        lifetime: session,
        event,
    };
    match work.wait(work.store().add_emergency_code(new, now))? {
        Ok(()) => told(args, &code, reference, &moment(expires_at)),
        Err(NoEmergencyCode::Unknown) => Err(unknown(&args.name)),
        Err(NoEmergencyCode::ShutOut) => Err(Failure::Runtime(format!(
            "{0} is disabled and may not sign in by any code; `vestibule user enable {0}` changes that",
            args.name
        ))),
    }
}

fn told(args: &Args, code: &EmergencyCode, reference: Reference, until: &str) -> Result<(), Failure> {
    if args.common.json {
        return output::json(&json!({
            "name": args.name.as_str(), "code": code.to_string(), "reference": reference.to_string(), "expires": until,
        }));
    }
    output::line(&format!("{code}"))?;
    output::line(&format!("lets {} in once, until {until}; reference {reference}", args.name))?;
    output::line("They type it at the sign-in page, behind \"I have an emergency code\"")
}

/// Whoever may not read the master key is told so, and not that a file is missing or cannot be made.
fn refuse_strangers(args: &Args) -> Result<(), Failure> {
    let settings = Settings::load(&args.common.config.config, Purpose::Administer)?;
    if let Place::Sqlite(_) = settings.store.place
        && matches!(settings.store.master_key, Ok(None))
    {
        let path = settings.server.state_directory.join("master.key");
        return match File::open(&path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Failure::Runtime(format!(
                "only root and the owner of {} can make an emergency code: you may not read {}",
                settings.server.state_directory.display(),
                path.display()
            ))),
            Err(error) => Err(Failure::Runtime(format!("{}: {error}", path.display()))),
        };
    }
    Ok(())
}
