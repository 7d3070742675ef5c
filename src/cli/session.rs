//! `vestibule session …`

use clap::Subcommand;
use serde_json::{Value, json};

use super::output::{self, moment};
use super::state::Work;
use super::user::unknown;
use super::{Common, Failure};
use crate::domain::event::What;
use crate::domain::id::SessionId;
use crate::domain::session::{Session, SessionEnd};
use crate::domain::user::UserName;
use crate::store::{UserKey, Which};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List live sessions
    #[command(after_help = "Example:\n  vestibule session list --user alice")]
    List {
        /// Only this user's
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,
        #[command(flatten)]
        common: Common,
    },
    /// End sessions; a running gateway refuses them within a second
    #[command(
        after_help = "Examples:\n  vestibule session revoke --user alice\n  vestibule session revoke --all\n  vestibule session revoke RhKq2Zx1TqO9mWlHq4YpLw",
        group(clap::ArgGroup::new("which").args(["id", "user", "all"]).required(true))
    )]
    Revoke {
        /// One session, by the id that `session list` shows
        #[arg(allow_hyphen_values = true)]
        id: Option<String>,
        /// All sessions of a user
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,
        /// All sessions
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List { user, common } => list(user.as_ref(), &common),
        Command::Revoke { id, user, common, .. } => revoke(id.as_deref(), user, &common),
    }
}

fn list(user: Option<&UserName>, common: &Common) -> Result<(), Failure> {
    let work = Work::look(&common.config.config)?;
    let now = work.now();
    let mut sessions = work.wait(work.store().sessions(now))?;
    let idle = work.settings.session.idle_timeout;
    sessions
        .retain(|session| session.judge(idle, now).is_ok() && user.is_none_or(|user| session.user == *user));
    if common.json {
        return output::json(&sessions.iter().map(as_json).collect());
    }
    let row = |session: &Session| {
        let (began, seen) = (moment(session.auth_time), moment(session.last_seen_at));
        [
            session.id.to_string(),
            session.user.to_string(),
            session.method.clone(),
            began,
            seen,
            session.client.clone(),
        ]
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    output::table(["ID", "USER", "BY", "SINCE", "LAST SEEN", "FROM"], &rows)
}

fn revoke(id: Option<&str>, user: Option<UserName>, common: &Common) -> Result<(), Failure> {
    let which = match (id, &user) {
        (Some(id), _) => {
            let wrong =
                |_| Failure::Usage(format!("{id:?} is no session id; `vestibule session list` shows them"));
            Which::One(id.parse::<SessionId>().map_err(wrong)?)
        }
        (None, Some(name)) => Which::Of(name.clone()),
        (None, None) => Which::All,
    };
    let one = id.is_some();
    let work = Work::open(&common.config.config)?;
    if let Some(name) = &user {
        work.wait(work.store().user(UserKey::Name(name.clone())))?.ok_or_else(|| unknown(name))?;
    }
    let ended = work.wait(work.store().end_sessions(which, SessionEnd::Revoked, work.now()))?;
    if one && ended == 0 {
        return Err(Failure::Runtime(
            "there is no such live session; `vestibule session list` shows all".to_owned(),
        ));
    }
    let names = user.map(|name| name.to_string());
    if ended > 0 {
        work.record(What::SessionEnded, names, format!("{ended} revoked"))?;
    }
    if common.json {
        return output::json(&json!({ "revoked": ended }));
    }
    output::line(&format!("{ended} revoked"))
}

fn as_json(session: &Session) -> Value {
    json!({
        "id": session.id.to_string(),
        "user": session.user.as_str(),
        "method": session.method,
        "auth_time": moment(session.auth_time),
        "expires_at": moment(session.expires_at),
        "last_seen_at": moment(session.last_seen_at),
        "client": session.client,
    })
}
