//! A PostgreSQL in trouble: locks that are not let go, a server that is mute, a database that cannot hold all text.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::Duration;

use vestibule::config::{Postgres, Trust};
use vestibule::domain::time::Timestamp;
use vestibule::store::{OpenError, Store, StoreError, StoredKey, Use};

use crate::engine::{chain, reach};
use crate::given::NOW;
use crate::postgres::{Database, psql};

async fn open(server: Postgres) -> Result<Store, OpenError> {
    tokio::task::spawn_blocking(move || Store::postgres(&server, Use::Beside, Some(chain()))).await.unwrap()
}

fn key(kid: &str, created_at: Timestamp) -> StoredKey {
    StoredKey { kid: kid.to_owned(), sealed: vec![1], created_at, retired_at: None }
}

const HELD: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
const LEFT_OPEN: &str = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' \
                         AND datname = current_database()";

/// Somebody else who has the lock of the keys, until it is killed.
fn holder(database: &Database) -> Child {
    let lock = "SELECT pg_advisory_lock(('x' || left(encode(sha256('vestibule keys'), 'hex'), 16))::bit(64)::bigint)";
    let mut holder = psql();
    holder.args([&format!("{}?sslmode=require", database.url()), "-c", lock, "-c", "SELECT pg_sleep(600)"]);
    let holder = holder.env("PGPASSWORD", database.password()).stdout(Stdio::null()).spawn().unwrap();
    while database.sql(HELD) != "1" {}
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_not_let_go_in_time_costs_one_command() {
    let database = Database::fresh();
    let store = open(Postgres { connections: 1, ..reach(&database) }).await.unwrap();
    let mut holder = holder(&database);
    for _ in 0..2 {
        let refused = store.add_signing_key(key("a", NOW), false).await.unwrap_err();
        assert!(matches!(refused, StoreError::Postgres(_)), "{refused}");
        assert!(refused.to_string().contains("lock timeout"), "{refused}");
    }
    assert_eq!(database.sql(LEFT_OPEN), "0");
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(database.kill_connections(), 2, "the gateway's, and the one that slept");
    store.add_signing_key(key("b", NOW), false).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_mute_is_given_up() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://v@127.0.0.1:{}/v", mute.local_addr().unwrap().port());
    let server = Postgres {
        server: url.parse().unwrap(),
        encrypted: false,
        trust: Trust::default(),
        password: Ok(None),
        connections: 1,
    };
    let opened = tokio::time::timeout(Duration::from_secs(30), open(server)).await.expect("it is given up");
    assert!(matches!(opened, Err(OpenError::Store(StoreError::Mute))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_hold_all_text_is_refused() {
    let database = Database::fresh();
    database.sql("CREATE DATABASE narrow OWNER vestibule ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let mut server = reach(&database);
    server.server.dbname("narrow");
    let refused = open(server).await.unwrap_err().to_string();
    assert!(refused.contains("encoding is LATIN1") && refused.contains("ENCODING 'UTF8'"), "{refused}");
    database.sql("DROP DATABASE narrow");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_changes_is_listened_for() {
    let database = Database::fresh();
    let store = open(reach(&database)).await.unwrap();
    let listening =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let first = loop {
        store.changed().await;
        let pid = database.sql(listening);
        if !pid.is_empty() {
            break pid;
        }
    };
    for _ in 0..3 {
        store.changed().await;
    }
    assert_eq!(database.sql(listening), first, "the same connection, still there");
}
