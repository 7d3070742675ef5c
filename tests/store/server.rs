//! The PostgreSQL of the tests is what they take it for.

use std::process::Stdio;

use crate::postgres::{Cluster, Database, psql};

/// Asks over TCP as the gateway does, with this much TLS.
fn ask(database: &Database, tls: &str, password: &str, text: &str) -> Result<String, String> {
    let url = format!("{}?sslmode={tls}&sslrootcert={}", database.url(), database.ca_file().display());
    let output = psql().args([&url, "-c", text]).env("PGPASSWORD", password).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

#[test]
fn it_speaks_tls_and_asks_for_the_password() {
    let database = Database::fresh();
    let mine = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(ask(&database, "verify-full", database.password(), mine).unwrap(), "t");
    let refused = ask(&database, "verify-full", "another", "SELECT 1").unwrap_err();
    assert!(refused.contains("authentication failed"), "{refused}");
    ask(&database, "require", database.password(), "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (7)")
        .unwrap();
    assert_eq!(database.sql("SELECT n FROM t"), "7");
    assert_eq!(database.connections(), (0, 0));
    let plain = Cluster::without_tls().database();
    assert!(ask(&plain, "require", plain.password(), "SELECT 1").is_err());
    assert_eq!(ask(&plain, "disable", plain.password(), "SELECT 1").unwrap(), "1");
}

#[test]
fn databases_are_apart_and_a_commit_is_safe() {
    let (one, other) = (Database::fresh(), Database::fresh());
    one.sql("CREATE TABLE t ()");
    assert_eq!(other.sql("SELECT count(*) FROM pg_tables WHERE tablename = 't'"), "0");
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(one.sql(&format!("SHOW {setting}")), "on", "{setting}");
    }
    // Text is not ordered by its bytes here.
    assert_eq!(one.sql("SELECT 'a_b' < 'aa' AND 'b' > 'A'"), "t");
}

#[test]
fn it_stops_starts_and_keeps_what_it_had() {
    let cluster = Cluster::own();
    let database = cluster.database();
    database.sql("CREATE TABLE t AS SELECT 7 AS n");
    cluster.stop();
    assert!(ask(&database, "require", database.password(), "SELECT 1").is_err());
    cluster.start();
    cluster.crash();
    cluster.start();
    assert_eq!(database.sql("SELECT n FROM t"), "7", "{}", cluster.log());
}

#[test]
fn connections_are_broken_on_demand() {
    let database = Database::fresh();
    let url = format!("{}?sslmode=require", database.url());
    let mut sleeper = psql();
    sleeper.args([&url, "-c", "SELECT pg_sleep(600)"]).env("PGPASSWORD", database.password());
    let mut sleeper = sleeper.stderr(Stdio::null()).spawn().unwrap();
    while database.connections() != (1, 0) {
        assert!(sleeper.try_wait().unwrap().is_none(), "it is let in");
    }
    assert_eq!(database.kill_connections(), 1);
    assert!(!sleeper.wait().unwrap().success());
}
