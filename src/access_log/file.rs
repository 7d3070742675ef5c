//! A log file that somebody may move away (logrotate(8)): it is then made anew.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// It is looked for this often, while lines are written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Reopened {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl Reopened {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: append(path)?, looked: Instant::now() })
    }

    fn look(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let same = |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        let is_there = match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => same(&there, &ours),
            (Err(_), _) | (_, Err(_)) => false,
        };
        // When it cannot be made, the old one takes the lines.
        if !is_there && let Ok(file) = append(&self.path) {
            self.file = file;
        }
    }
}

/// Who signs in from where is not everybody's business.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl Write for Reopened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.look();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
