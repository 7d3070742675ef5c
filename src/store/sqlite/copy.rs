//! Copies of the whole file: a backup beside a running gateway, and putting one back.
//!
//! A copy is made under another name, looked through, and named last: half of one never has the name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::file::{self, Depth, beside, explained};
use super::{MIGRATIONS, Savepoint, connect, migrate};
use crate::crypto::{give_to_owner_of_directory, random};
use crate::domain::event::{Event, What};
use crate::domain::time::Timestamp;
use crate::store::chain::Chain;
use crate::store::{Kept, Restored, Restoring, StoreError, StoredKey, audit};

/// A copy is looked through to its end, however long that takes.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(86_400);

/// Copies a store that may be in use to a file that is not there yet; how many bytes it has.
pub(in crate::store) fn backup(from: &Path, to: &Path) -> Result<u64, StoreError> {
    if to.symlink_metadata().is_ok() {
        return Err(is_there(to));
    }
    let aside = Aside::new(to, "part")?;
    let copy = || vacuum_into(&open(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?, &aside.0);
    copy()
        .map_err(|error| if is_full(&error) { no_room(to) } else { about(from, &explained(from, error)) })?;
    inspect(&open(&aside.0, OpenFlags::SQLITE_OPEN_READ_ONLY)?)?;
    aside.settle(to)
}

/// An error that says which file it is of.
fn about(path: &Path, error: &StoreError) -> StoreError {
    StoreError::Unusable(format!("{}: {error}", path.display()))
}

/// A file under a name of its own, which goes unless it is given the one it is for.
struct Aside(PathBuf);

impl Aside {
    /// Its owner's alone before the first byte.
    fn new(beside_this: &Path, what: &str) -> Result<Self, StoreError> {
        let path = beside(beside_this, &format!(".{what}-{:08x}", u32::from_ne_bytes(random())));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|error| no_copy(&path, &error))?;
        Ok(Self(path))
    }

    /// Names it once all of it is on the disk, and never takes another's name; how many bytes it has.
    fn settle(self, name: &Path) -> Result<u64, StoreError> {
        let settled = File::open(&self.0).and_then(|file| {
            file.sync_all()?;
            // Of two links the name is new or refused; of a rename it is whoever's was last.
            fs::hard_link(&self.0, name)?;
            sync_directory(name)?;
            Ok(file.metadata()?.len())
        });
        settled.map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists { is_there(name) } else { no_copy(name, &error) }
        })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        for more in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(beside(&self.0, more));
        }
    }
}

fn sync_directory(of: &Path) -> io::Result<()> {
    let directory = of.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn is_there(path: &Path) -> StoreError {
    StoreError::Unusable(format!("{} is there already; name a file that is not", path.display()))
}

fn no_copy(path: &Path, error: &io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::StorageFull {
        return no_room(path);
    }
    StoreError::Unusable(format!(
        "{}: {error}; you must be allowed to write in its directory",
        path.display()
    ))
}

/// Whether what was written had no room; nothing that is only read ends so.
fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
}

fn no_room(path: &Path) -> StoreError {
    StoreError::Unusable(format!(
        "{}: the disk is full; make room there, and run the command again",
        path.display()
    ))
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    file::identify(&connection)?;
    Ok(connection)
}

/// All of it as it is at this moment; whoever writes meanwhile does not wait.
fn vacuum_into(source: &Connection, to: &Path) -> Result<(), StoreError> {
    let name = to.to_str().ok_or_else(|| StoreError::Unusable("a file's name must be UTF-8".to_owned()))?;
    source.execute("VACUUM INTO ?", [name])?;
    Ok(())
}

/// Whether it is whole and of a version that we know; its schema.
fn inspect(copy: &Connection) -> Result<i64, StoreError> {
    let found = copy.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if found == 0 {
        return Err(StoreError::Unusable("there is nothing in it".to_owned()));
    }
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    // We make none; one that somebody put into a backup would go on working in the store.
    let code = "SELECT count(*) FROM sqlite_schema WHERE type NOT IN ('table', 'index')";
    if copy.query_row(code, [], |row| row.get::<_, i64>(0))? > 0 {
        return Err(StoreError::Unusable("it has triggers or views, which Vestibule never makes".to_owned()));
    }
    file::check(copy, Depth::Whole, AS_LONG_AS_IT_TAKES)?;
    Ok(found)
}

/// Looks a store that may be in use through for damage; its keys.
pub(in crate::store) fn look_through(path: &Path) -> Result<Vec<StoredKey>, StoreError> {
    let look = || {
        let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        inspect(&connection)?;
        keys(&connection)
    };
    look().map_err(|error| about(path, &explained(path, error)))
}

/// Puts a backup in the place of a store on which no gateway runs.
///
/// What must be true when the next gateway starts is made true in a copy, which takes the store's place in one
/// transaction: killed at any moment, this leaves the store as it was or as it is to be.
pub(in crate::store) fn restore(how: &Restoring<'_>) -> Result<Restored, StoreError> {
    let _claim = file::claim(how.store).map_err(|error| about(how.store, &error))?;
    forget_earlier(how.store);
    // All that is written is written beside the store.
    replace_store(how).map_err(|error| if is_full(&error) { no_room(how.store) } else { error })
}

fn replace_store(how: &Restoring<'_>) -> Result<Restored, StoreError> {
    let aside = Aside::new(how.store, "restoring")?;
    give_to_owner_of_directory(&aside.0);
    let bring = || {
        let backup = open(how.backup, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        inspect(&backup)?;
        vacuum_into(&backup, &aside.0)
    };
    bring().map_err(|error| {
        if is_full(&error) {
            return error;
        }
        StoreError::Unusable(format!("{}: {}", how.backup.display(), spoken(&error)))
    })?;
    let mut copy = open(&aside.0, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    migrate(&mut copy, Some(&how.chain))?;
    if !(how.opens)(&keys(&copy)?) {
        return Err(StoreError::Unusable(format!(
            "the signing keys in {} do not open with this master key; put the one that was kept with the backup in its \
             place first",
            how.backup.display()
        )));
    }
    let present = if how.store.exists() { Some(present(how)) } else { None };
    if let Some(Err(StoreError::Foreign)) = present {
        return Err(about(how.store, &StoreError::Foreign));
    }
    let mut restored = prepare(&mut copy, how, matches!(present, Some(Ok(_))))?;
    match present {
        Some(Ok(mut live)) => {
            let kept = Aside::new(how.store, "keeping")?;
            give_to_owner_of_directory(&kept.0);
            vacuum_into(&live, &kept.0)?;
            kept.settle(&how.keep)?;
            restored.kept = Kept::Copy(how.keep.clone());
            replace(&copy, &mut live)?;
        }
        Some(Err(error)) => {
            set_aside(how.store, &how.keep).map_err(|error| no_copy(&how.keep, &error))?;
            restored.kept = Kept::Damaged(how.keep.clone(), spoken(&error));
            drop(copy);
            aside.settle(how.store)?;
        }
        None => {
            // SQLite would play the changes of another file into this one.
            let orphaned = beside(how.store, "-wal").exists();
            set_aside(how.store, &how.keep).map_err(|error| no_copy(&how.keep, &error))?;
            if orphaned {
                restored.kept =
                    Kept::Damaged(beside(&how.keep, "-wal"), "only its newest changes were there".to_owned());
            }
            drop(copy);
            aside.settle(how.store)?;
        }
    }
    Ok(restored)
}

/// What a restore that was killed has left; whoever has the claim is the only one.
fn forget_earlier(store: &Path) {
    let (Some(directory), Some(name)) = (store.parent(), store.file_name()) else { return };
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let rest = found.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        if rest.is_some_and(|rest| rest.starts_with(b".restoring-") || rest.starts_with(b".keeping-")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What is wrong with a file, without the remedy for a store.
fn spoken(error: &StoreError) -> String {
    if let StoreError::Sqlite(error) = error
        && error.sqlite_error_code() == Some(ErrorCode::NotADatabase)
    {
        return "it is no SQLite database".to_owned();
    }
    let StoreError::Unusable(text) = error else { return error.to_string() };
    text.split_once("; ").map_or(text.as_str(), |(what, _)| what).to_owned()
}

/// The store that is there, when it can be read to its end.
fn present(how: &Restoring<'_>) -> Result<Connection, StoreError> {
    let mut live = connect(how.store)?;
    migrate(&mut live, Some(&how.chain))?;
    file::check(&live, Depth::Quick, AS_LONG_AS_IT_TAKES)?;
    Ok(live)
}

fn keys(of: &Connection) -> Result<Vec<StoredKey>, StoreError> {
    let mut statement = of.prepare("SELECT kid, sealed, created_at, retired_at FROM signing_key")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(StoredKey {
            kid: row.get(0)?,
            sealed: row.get(1)?,
            created_at: Timestamp::from_unix(row.get(2)?),
            retired_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_unix),
        })
    };
    Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
}

/// Makes an old state safe to go on from: nobody comes in by what was ended, spent or replaced since.
fn prepare(copy: &mut Connection, how: &Restoring<'_>, compare: bool) -> Result<Restored, StoreError> {
    if compare {
        let store = how.store.to_str().unwrap_or_default();
        copy.execute("ATTACH ? AS present", [store])?;
    }
    let mut restored = Restored { compared: compare && is_the_same(copy)?, ..Restored::default() };
    let t = copy.transaction()?;
    let now = how.now.unix();
    // Without the store that was there nobody knows which were ended since.
    let over = if how.keep_sessions { if restored.compared { ENDED_SINCE } else { "FALSE" } } else { "TRUE" };
    let ended =
        format!("UPDATE session SET ended = 'revoked' WHERE ended IS NULL AND expires_at > ? AND {over}");
    restored.sessions_ended = t.execute(&ended, [now])?;
    if restored.compared {
        audit::carry_on(&mut Savepoint(&t), &Chain::new(how.chain.clone()))?;
        t.execute_batch(SPENT_SINCE)?;
        restored.shut_out = names(&t, SHUT_OUT_SINCE)?;
        if !how.let_back_in {
            for name in &restored.shut_out {
                t.execute("UPDATE user SET disabled = TRUE WHERE name = ?", [name])?;
                t.execute(
                    "UPDATE session SET ended = 'revoked' WHERE ended IS NULL AND user_name = ?",
                    [name],
                )?;
            }
        }
    }
    // A code that was sent before may have had its tries since.
    t.execute("UPDATE challenge SET state = 'exhausted' WHERE state IN ('open', 'cancelled')", [])?;
    // One that was used since must not be good again.
    t.execute("DELETE FROM emergency_code", [])?;
    // A key that was replaced since because others had it must not sign again.
    t.execute("UPDATE signing_key SET retired_at = ? WHERE retired_at IS NULL", [now])?;
    let key = "INSERT INTO signing_key (kid, sealed, created_at) VALUES (?, ?, ?)";
    t.execute(key, params![how.fresh.kid, how.fresh.sealed, now])?;
    let detail = format!(
        "{} sessions ended, {} users were shut out since",
        restored.sessions_ended,
        restored.shut_out.len()
    );
    let event = Event {
        at: how.now,
        what: What::StoreRestored,
        reference: None,
        user: None,
        client: "command line".to_owned(),
        detail,
        message: None,
    };
    audit::append(&mut Savepoint(&t), &Chain::new(how.chain.clone()), &[event])?;
    t.commit()?;
    if compare {
        copy.execute("DETACH present", [])?;
    }
    Ok(restored)
}

/// Whether the store that is there is a later state of the same installation.
fn is_the_same(copy: &Connection) -> Result<bool, StoreError> {
    let question = "SELECT EXISTS (SELECT 1 FROM main.signing_key JOIN present.signing_key USING (kid)) \
                    OR EXISTS (SELECT 1 FROM (SELECT number, at, what, detail FROM main.audit \
                    ORDER BY number DESC LIMIT 1) JOIN present.audit USING (number, at, what, detail))";
    Ok(copy.query_row(question, [], |row| row.get(0))?)
}

/// What was counted and written down since the backup stays so.
const SPENT_SINCE: &str = "
    INSERT INTO main.failure SELECT * FROM present.failure WHERE TRUE
        ON CONFLICT (subject) DO UPDATE
        SET count = max(count, excluded.count), last_at = max(last_at, excluded.last_at);
    INSERT INTO main.spend SELECT * FROM present.spend WHERE TRUE
        ON CONFLICT (key, at) DO UPDATE SET times = max(times, excluded.times);
    INSERT INTO main.budget SELECT * FROM present.budget WHERE TRUE
        ON CONFLICT (key) DO UPDATE SET count = max(count, excluded.count);
    INSERT INTO main.closure SELECT * FROM present.closure WHERE TRUE
        ON CONFLICT (guard) DO UPDATE SET until = max(until, excluded.until);
    INSERT INTO main.webhook SELECT * FROM present.webhook WHERE TRUE
        ON CONFLICT (name) DO UPDATE SET delivered = max(delivered, excluded.delivered);
    INSERT INTO main.orphan SELECT * FROM present.orphan WHERE TRUE ON CONFLICT DO NOTHING;
    UPDATE last_change SET number = max(number, (SELECT number FROM present.last_change));
    UPDATE main.sqlite_sequence SET seq = max(seq, coalesce((SELECT seq FROM present.sqlite_sequence p
        WHERE p.name = main.sqlite_sequence.name), 0));";

/// Sessions of the backup that do not go on in the store that was there.
const ENDED_SINCE: &str =
    "NOT EXISTS (SELECT 1 FROM present.session p WHERE p.id = session.id AND p.ended IS NULL)";

/// Who may sign in by the backup, and could not since: disabled, removed, or with another phone.
const SHUT_OUT_SINCE: &str = "SELECT name FROM main.user u WHERE NOT disabled AND two_factor_enabled AND NOT EXISTS \
                              (SELECT 1 FROM present.user p WHERE p.id = u.id AND p.name = u.name \
                              AND p.phone_number = u.phone_number AND NOT p.disabled AND p.two_factor_enabled) \
                              ORDER BY name";

fn names(of: &Connection, question: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = of.prepare(question)?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Writes all pages of one over those of the other, in one transaction of SQLite's: commands that have it open see one or
/// the other.
fn replace(copy: &Connection, live: &mut Connection) -> Result<(), StoreError> {
    let all = Backup::new(copy, live)?;
    if all.step(-1)? == StepResult::Done { Ok(()) } else { Err(StoreError::InUse("a command".to_owned())) }
}

/// Gives a store that cannot be used, or what is left of it, another name.
fn set_aside(store: &Path, keep: &Path) -> io::Result<()> {
    for more in ["-wal", "-shm", "-journal", ""] {
        match fs::rename(beside(store, more), beside(keep, more)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory(store)
}
