//! What stands between the store's methods and a database: queues of commands, and threads that run each as one
//! transaction.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::StoreError;
use super::sql::Transaction;
use super::sqlite::file::Claim;
use super::times::Times;

/// A database at work. Its threads end when it is dropped.
pub(super) struct Engine {
    /// Where commands that only look wait.
    pub(super) readers: mpsc::Sender<Request>,
    /// Where those wait that look for what others changed: behind nothing else, so that a revocation is heard of in time.
    pub(super) news: mpsc::Sender<Request>,
    /// Where commands that change something wait.
    pub(super) writers: mpsc::Sender<Request>,
    /// Told when the database says that somebody changed something.
    pub(super) told: Arc<Notify>,
    /// Has the database tell, from now on.
    pub(super) listen: Box<dyn Fn() + Send + Sync>,
    /// How long changes go unseen where the database does not tell.
    pub(super) poll: Duration,
    /// Which of the two it is, for the little that they say differently.
    pub(super) dialect: Dialect,
    /// How long it takes.
    pub(super) times: Arc<Times>,
    /// Where one gateway works alone: its right to.
    pub(super) claim: Mutex<Option<Claim>>,
}

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Commands that may wait in a queue; beyond that callers wait to ask.
pub(super) const QUEUE: usize = 1_024;

/// What a command does to the store, and how much of it a crash may take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It looks.
    Read,
    /// It looks for what others changed.
    News,
    /// It writes, and is on the disk when it is answered: counts, codes, sessions, keys, the audit trail.
    Write,
    /// It writes what the last second of may be lost: the last use of a session, the removal of what is over.
    Casual,
}

/// A command on its way to a thread.
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) command: Box<dyn Command>,
}

/// The work of one transaction, and whoever waits for it.
pub(super) trait Command: Send {
    /// Whether nobody waits any more.
    fn is_abandoned(&self) -> bool;
    /// Does its work; once more when the transaction had to be given up.
    fn work(&mut self, t: &mut dyn Transaction) -> Result<(), StoreError>;
    /// Tells whoever asked, once it is settled whether the work stands.
    fn answer(self: Box<Self>, settled: Result<(), StoreError>);
}

struct Asked<T, F> {
    work: F,
    result: Option<T>,
    sender: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Command for Asked<T, F>
where
    T: Send,
    F: Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }

    fn work(&mut self, t: &mut dyn Transaction) -> Result<(), StoreError> {
        self.result = None;
        self.result = Some((self.work)(t)?);
        Ok(())
    }

    fn answer(self: Box<Self>, settled: Result<(), StoreError>) {
        let Self { result, sender, .. } = *self;
        // Nobody listening any more is no fault: the person has gone.
        let _ = sender.send(settled.and_then(|()| result.ok_or(StoreError::Unavailable)));
    }
}

impl Engine {
    /// Has one command run as one transaction, and waits for its answer at most `patience`. A command that was not begun
    /// by then is not run; of one that was, nobody knows.
    pub(super) async fn ask<T, F>(&self, kind: Kind, patience: Duration, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
    {
        let began = Instant::now();
        let (sender, receiver) = oneshot::channel();
        let request = Request { kind, command: Box::new(Asked { work, result: None, sender }) };
        let queue = match kind {
            Kind::Read => &self.readers,
            Kind::News => &self.news,
            Kind::Write | Kind::Casual => &self.writers,
        };
        let answer = async {
            queue.send(request).await.map_err(|_| StoreError::Unavailable)?;
            receiver.await.map_err(|_| StoreError::Unavailable)?
        };
        let answer = tokio::time::timeout(patience, answer).await.unwrap_or(Err(StoreError::Unavailable));
        self.times.note(kind, began.elapsed(), answer.is_ok());
        answer
    }
}
