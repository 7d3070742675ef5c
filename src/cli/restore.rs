//! `vestibule restore`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::backup::connection;
use super::{Common, Failure, output};
use crate::access::keys;
use crate::app::{StartError, master};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Place, Purpose, Settings};
use crate::crypto::MasterKeyError;
use crate::domain::time::Timestamp;
use crate::store::{Kept, Restored, Restoring, Store};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup
    file: PathBuf,
    /// Let sessions of the backup go on, except those known to have ended since
    #[arg(long)]
    keep_sessions: bool,
    /// Let users in again who were disabled, removed or given another phone since the backup
    #[arg(long)]
    let_back_in: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) const HELP: &str = "\
A backup knows nothing of what happened since. So that nobody is let in who was shut out meanwhile, all sessions end, codes \
that were sent are good for nothing, a new key signs, and users are disabled who may sign in by the backup and could not by \
the store that is there. What was counted and written to the audit trail since stays. All this is read from the store that \
is there, which is kept under another name; where it is lost or damaged, look through `vestibule user list` yourself.

Example:
  systemctl stop vestibule
  vestibule restore /var/backups/vestibule-2026-11-24.db
  systemctl start vestibule";

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = Settings::load(&args.common.config.config, Purpose::Administer)?;
    let store = match &settings.store.place {
        Place::Sqlite(store) => store.canonicalize().unwrap_or_else(|_| store.clone()),
        Place::Postgres(server) => {
            return Err(Failure::Runtime(format!(
                "the store is on PostgreSQL, whose own tool puts a backup back; stop the gateways and run: pg_restore \
                 --clean --if-exists --exit-on-error {} {}\n\
                 A backup lets in who was shut out since. Before a gateway starts, run `vestibule session revoke --all` and \
                 `vestibule key rotate`, and `vestibule user disable NAME` for whoever must not be let in any more",
                connection(server),
                args.file.display()
            )));
        }
    };
    let master = match master(&settings, false) {
        Err(StartError::MasterKey(MasterKeyError::Lost { path })) if !store.exists() => {
            return Err(Failure::Runtime(format!(
                "{} is missing; put the copy of master.key that was kept with the backup there first",
                path.display()
            )));
        }
        master => master?,
    };
    let now = SystemClock.now();
    let restored = Store::restore(&Restoring {
        backup: &args.file,
        store: &store,
        keep: kept_name(&store, now),
        opens: &|stored| keys::opens(&master, stored),
        chain: master.chain(),
        fresh: keys::fresh(&master, now),
        keep_sessions: args.keep_sessions,
        let_back_in: args.let_back_in,
        now,
    })?;
    tell(args, &store, &restored)
}

/// `vestibule.db.before-restore-20261124T093000Z`, which nothing has yet.
fn kept_name(store: &Path, now: Timestamp) -> PathBuf {
    let moment: String = output::moment(now).chars().filter(char::is_ascii_alphanumeric).collect();
    let named = |number: u32| {
        let mut name = store.as_os_str().to_owned();
        name.push(format!(".before-restore-{moment}"));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    (1..).map(named).find(|name| name.symlink_metadata().is_err()).expect("a directory has an end")
}

fn tell(args: &Args, store: &Path, restored: &Restored) -> Result<(), Failure> {
    let kept = match &restored.kept {
        Kept::Nothing => None,
        Kept::Copy(path) | Kept::Damaged(path, _) => Some(path),
    };
    if args.common.json {
        return output::json(&json!({
            "store": store, "kept": kept, "compared": restored.compared, "sessions_ended": restored.sessions_ended,
            "shut_out": restored.shut_out, "let_back_in": args.let_back_in,
        }));
    }
    output::line(&format!("{} is now {}", store.display(), args.file.display()))?;
    match &restored.kept {
        Kept::Nothing => {}
        Kept::Copy(path) => output::line(&format!("What it was before is kept as {}", path.display()))?,
        Kept::Damaged(path, why) => {
            output::line(&format!(
                "What it was before could not be read ({why}) and is kept as {}",
                path.display()
            ))?;
        }
    }
    output::line(&format!(
        "{} sessions ended; no code that was sent before is good any more",
        restored.sessions_ended
    ))?;
    if !restored.compared {
        return output::line(
            "What was spent, ended and changed since the backup is not known: look through `vestibule user list` for \
             people who must not be let in",
        );
    }
    if restored.shut_out.is_empty() {
        return Ok(());
    }
    let names = restored.shut_out.join(", ");
    output::line(&if args.let_back_in {
        format!("Shut out since the backup, and let in again: {names}")
    } else {
        format!(
            "Shut out since the backup, and disabled: {names} (`vestibule user enable NAME` lets one in again)"
        )
    })
}
