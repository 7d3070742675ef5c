//! What keeps a store under test: the only file that knows the engines apart.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::Barrier;
use vestibule::config::{Postgres, Trust};
use vestibule::crypto::{ChainKey, MasterKey};
pub use vestibule::store::Store;
use vestibule::store::{OpenError, Use};

use crate::postgres::Database;

/// Where a store keeps what it is told.
pub enum Place {
    Sqlite(TempDir),
    Postgres(Database),
}

impl Place {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub fn postgres() -> Self {
        Self::Postgres(Database::fresh())
    }

    /// An empty one of the same engine.
    pub fn another(&self) -> Self {
        match self {
            Self::Sqlite(_) => Self::sqlite(),
            Self::Postgres(database) => Self::Postgres(database.another()),
        }
    }

    /// Opens it as a gateway that starts does.
    pub async fn open(&self) -> Result<Store, OpenError> {
        self.open_for(Use::Beside, Some(chain())).await
    }

    /// The same for one who may not write to the audit trail.
    pub async fn open_without_key(&self) -> Result<Store, OpenError> {
        self.open_for(Use::Beside, None).await
    }

    /// The same for another use.
    pub async fn open_for(&self, use_: Use, chain: Option<ChainKey>) -> Result<Store, OpenError> {
        match self {
            Self::Sqlite(directory) => {
                Ok(Store::sqlite(&directory.path().join("vestibule.db"), use_, chain)?)
            }
            Self::Postgres(database) => {
                let server = reach(database);
                tokio::task::spawn_blocking(move || Store::postgres(&server, use_, chain)).await.unwrap()
            }
        }
    }

    /// Does something to it behind the gateways' back.
    pub fn sql(&self, text: &str) {
        match self {
            Self::Sqlite(directory) => {
                let file = rusqlite::Connection::open(directory.path().join("vestibule.db")).unwrap();
                file.execute_batch(text).unwrap();
            }
            Self::Postgres(database) => drop(database.sql(text)),
        }
    }

    /// Whether the database itself does not let that happen.
    pub fn is_refused(&self, text: &str) -> bool {
        match self {
            Self::Sqlite(directory) => {
                let file = rusqlite::Connection::open(directory.path().join("vestibule.db")).unwrap();
                file.execute_batch(text).is_err()
            }
            Self::Postgres(database) => database.refuses(text),
        }
    }

    /// Bytes, given in hexadecimal digits, as a statement has them.
    pub fn bytes(&self, digits: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("x'{digits}'"),
            Self::Postgres(_) => format!("decode('{digits}', 'hex')"),
        }
    }

    /// Lets it be of a version to come.
    pub fn make_newer(&self) {
        match self {
            Self::Sqlite(directory) => {
                let file = rusqlite::Connection::open(directory.path().join("vestibule.db")).unwrap();
                file.pragma_update(None, "user_version", 99).unwrap();
            }
            Self::Postgres(database) => drop(database.sql("UPDATE schema_version SET version = 99")),
        }
    }
}

/// What every gateway on one store has.
pub fn chain() -> ChainKey {
    MasterKey::new(&[7; 32]).chain()
}

/// How a gateway is told of it.
pub fn reach(database: &Database) -> Postgres {
    Postgres {
        server: database.url().parse().unwrap(),
        encrypted: true,
        trust: Trust { authorities: Some(database.ca_file()), identity: None },
        password: Ok(Some(database.password().into())),
        connections: 4,
    }
}

/// An open store and what it lies in.
pub struct Fixture {
    store: Store,
    pub place: Place,
}

impl Fixture {
    pub async fn new(place: Place) -> Self {
        Self { store: place.open().await.unwrap(), place }
    }

    /// So many gateways on this store; the first is the one the fixture has.
    pub async fn gateways(&self, count: usize) -> Vec<Store> {
        let more = join_all((1..count).map(|_| self.place.open())).await;
        std::iter::once(self.store.clone()).chain(more.into_iter().map(Result::unwrap)).collect()
    }

    /// Has so many tasks, spread over four gateways, do something at the same moment; what each came to.
    pub async fn race<T, F>(&self, tasks: usize, each: impl Fn(usize, Store) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let gateways = self.gateways(4).await;
        at_once(tasks, |n| each(n, gateways[n % gateways.len()].clone())).await
    }
}

impl Deref for Fixture {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// Has so many tasks begin at the same moment; what each came to.
pub async fn at_once<T, F>(tasks: usize, each: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let line = Arc::new(Barrier::new(tasks));
    let started = (0..tasks).map(|n| {
        let (line, task) = (line.clone(), each(n));
        tokio::spawn(async move {
            line.wait().await;
            task.await
        })
    });
    let started: Vec<_> = started.collect();
    join_all(started).await.into_iter().map(Result::unwrap).collect()
}

/// Makes a test on each engine of every function named: `async fn(store: Fixture)`.
macro_rules! on_every_engine {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case($crate::engine::Fixture::new($crate::engine::Place::sqlite()).await).await;
            })*
        }
                mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case($crate::engine::Fixture::new($crate::engine::Place::postgres()).await).await;
            })*
        }
    };
}

pub(crate) use on_every_engine;
