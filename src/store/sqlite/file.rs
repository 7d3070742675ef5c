//! The file itself: who works on it, whose it is, whether it is whole, and in plain words why it cannot be used.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::{Connection, ErrorCode};

use crate::store::StoreError;

/// What our files have in their heads (`PRAGMA application_id`): "vest" in ASCII.
pub(super) const APPLICATION: i32 = i32::from_be_bytes(*b"vest");

/// The right to be the only gateway on a file, or to work on the whole of it. The system takes it back when the process
/// ends, however it ends.
#[derive(Debug)]
pub(in crate::store) struct Claim {
    path: PathBuf,
    locked: Option<File>,
}

impl Claim {
    /// Gives it up.
    pub(in crate::store) fn let_go(&mut self) {
        self.locked = None;
    }

    /// Takes it again, unless somebody else has it by now.
    pub(in crate::store) fn take_again(&mut self) -> Result<(), StoreError> {
        if self.locked.is_none() {
            *self = claim(&self.path)?;
        }
        Ok(())
    }
}

/// Takes the right, or says who has it. The lock is a file of its own: closing the database's own, as every copy of it
/// must, would let go of SQLite's locks on it.
pub(in crate::store) fn claim(path: &Path) -> Result<Claim, StoreError> {
    let lock = beside(&path.canonicalize().unwrap_or_else(|_| path.to_owned()), "-lock");
    let failed = |error: io::Error| {
        StoreError::Unusable(format!("{} cannot be locked: {error}{}", lock.display(), remark(path)))
    };
    let mut options = OpenOptions::new();
    // The directory is the service's: what a link there leads to is not ours to write to.
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&lock).map_err(failed)?;
    crate::crypto::open_itself(&lock).map_err(failed)?;
    crate::crypto::give_to_owner_of_directory(&lock);
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who it is helps, and is not needed.
            let _ = file.take(20).read_to_string(&mut holder);
            return Err(StoreError::InUse(format!("process {}", holder.trim())));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(failed)?;
    Ok(Claim { path: path.to_owned(), locked: Some(file) })
}

/// A file that belongs to another: its name with something after it.
pub(super) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

/// Whether this database is ours, or has nothing in it. Nothing is written before this is known.
pub(super) fn identify(connection: &Connection) -> Result<(), StoreError> {
    let number = |question: &str| connection.query_row(question, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id")?;
    if application == i64::from(APPLICATION) {
        return Ok(());
    }
    // The first versions wrote no number.
    let is_early = application == 0 && number("PRAGMA user_version")? > 0;
    let ours = "SELECT count(*) FROM sqlite_schema WHERE name IN ('user', 'session', 'signing_key')";
    let is_empty = application == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0;
    if is_empty || is_early && number(ours)? == 3 {
        return Ok(());
    }
    Err(StoreError::Foreign)
}

/// How much of a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Whether its pages hang together.
    Quick,
    /// Whether its indexes agree with its tables, too.
    Whole,
}

/// A check that took its time is interrupted this often, until it ends.
const AGAIN: Duration = Duration::from_millis(10);

/// Looks for damage; whether all of it was looked at within the time.
pub(super) fn check(connection: &Connection, depth: Depth, within: Duration) -> Result<bool, StoreError> {
    let question = match depth {
        Depth::Quick => "PRAGMA quick_check(3)",
        Depth::Whole => "PRAGMA integrity_check(3)",
    };
    let (done, wait) = mpsc::channel::<()>();
    let interrupt = connection.get_interrupt_handle();
    let watch = thread::spawn(move || {
        let mut patience = within;
        while wait.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
            // What has not begun yet is not interrupted.
            patience = AGAIN;
        }
    });
    let found = connection.prepare(question).and_then(|mut asked| {
        asked.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
    });
    drop(done);
    let _ = watch.join();
    match found {
        Ok(lines) if lines == ["ok"] => Ok(true),
        Ok(lines) => {
            let lines = lines.iter().flat_map(|line| line.lines()).filter(|line| !line.starts_with("*** "));
            Err(damaged(&lines.collect::<Vec<_>>().join("; ")))
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Unusable(format!(
        "it is damaged ({what}); stop the gateway, keep a copy of the file, and run: vestibule restore BACKUP"
    ))
}

/// The error of a file that cannot be opened, with what to do about it.
pub(super) fn explained(path: &Path, error: StoreError) -> StoreError {
    let StoreError::Sqlite(sqlite) = &error else { return error };
    let is = |codes: &[ErrorCode]| sqlite.sqlite_error_code().is_some_and(|code| codes.contains(&code));
    if is(&[ErrorCode::NotADatabase]) {
        return damaged("it does not begin as a database does");
    }
    if is(&[ErrorCode::DatabaseCorrupt]) {
        return damaged(&sqlite.to_string());
    }
    let remark = remark(path);
    if is(&[ErrorCode::ReadOnly, ErrorCode::CannotOpen, ErrorCode::PermissionDenied]) {
        return StoreError::Unusable(format!(
            "it cannot be written ({sqlite}); the file, its directory and what lies beside it (-wal, -shm) must belong to \
             the user the gateway runs as, on a disk that can be written{remark}"
        ));
    }
    // The first thing that needs room is the index of the changes, -shm.
    let no_index = sqlite.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_SHMSIZE);
    if is(&[ErrorCode::DiskFull]) || no_index {
        return StoreError::Unusable("the disk is full; make room, and start again".to_owned());
    }
    if remark.is_empty() { error } else { StoreError::Unusable(format!("{sqlite}{remark}")) }
}

/// Says so where the file does not lie on a disk of this machine.
fn remark(path: &Path) -> String {
    network(path).map_or_else(String::new, |kind| {
        format!("; it lies on a network file system ({kind}), which SQLite cannot rely on: move it to a local disk")
    })
}

/// File systems of other machines.
const NETWORK: [&str; 13] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "fuse.sshfs",
    "fuse.glusterfs",
    "lustre",
    "gpfs",
    "ocfs2",
];

/// The kind of the network file system that a file lies on; none on a disk of this machine, or where nobody can tell.
pub(super) fn network(path: &Path) -> Option<String> {
    let directory = path.parent()?.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    file_system(&mounts, &directory).filter(|kind| NETWORK.contains(kind)).map(str::to_owned)
}

/// The kind of the file system that a directory lies on, by proc_pid_mountinfo(5): of several mounts the longest, and of
/// two in one place the later.
fn file_system<'m>(mounts: &'m str, directory: &Path) -> Option<&'m str> {
    let mount = |line: &'m str| {
        let (place, kind) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?.replace("\\040", " ");
        directory.starts_with(&point).then_some((point.len(), kind.split(' ').next()?))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_a_file_alone_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vestibule.db");
        let first = claim(&path).unwrap();
        let refused = claim(&path).unwrap_err();
        assert!(
            matches!(&refused, StoreError::InUse(holder) if *holder == format!("process {}", std::process::id())),
            "{refused}"
        );
        drop(first);
        claim(&path).unwrap();
    }

    #[test]
    fn a_network_file_system_is_known_by_the_longest_mount() {
        let mounts = "22 1 0:1 / / rw - ext4 /dev/sda rw\n23 22 0:2 / /var/lib rw,relatime shared:2 - nfs4 host:/x rw\n\
                      24 23 0:3 / /var/lib/with\\040space rw - xfs /dev/sdb rw\n";
        let kind = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(kind("/var"), Some("ext4"));
        assert_eq!(kind("/var/library"), Some("ext4"));
        assert_eq!(kind("/var/lib/vestibule"), Some("nfs4"));
        assert_eq!(kind("/var/lib/with space/x"), Some("xfs"));
    }

    #[test]
    fn a_check_that_takes_too_long_is_given_up() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (x); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) \
                                  INSERT INTO t SELECT randomblob(200) FROM n;").unwrap();
        assert!(!check(&connection, Depth::Whole, Duration::ZERO).unwrap());
        assert!(check(&connection, Depth::Whole, Duration::from_secs(60)).unwrap());
    }
}
