//! What strangers and monitors do leaves nothing behind.

use crate::common::wire::Wire;
use crate::common::{ALICE, STRANGER, Scene};

/// What is in the database: rows of all tables, and the bytes in its files.
fn content(scene: &Scene) -> (i64, Vec<u64>) {
    let store = rusqlite::Connection::open(scene.house.path("state/vestibule.db")).unwrap();
    let mut names = store.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let count = |name: &String| -> i64 {
        store.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0)).unwrap()
    };
    let rows = names.iter().map(count).sum();
    let size = |name: &str| std::fs::metadata(scene.house.path(name)).unwrap().len();
    (rows, vec![size("state/vestibule.db"), size("state/vestibule.db-wal")])
}

#[tokio::test]
async fn lesson_25_ten_thousand_requests_of_strangers_and_monitors_write_nothing() {
    let mut scene = Scene::start("[[route.rule]]\npaths = [\"/public\"]\naccess = \"allow\"\n").await;
    let real = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
    let watching = rusqlite::Connection::open(scene.house.path("state/vestibule.db")).unwrap();
    let version = || watching.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = (version(), content(&scene));

    let forged = format!("{}AAAA", &real[..real.len() - 4]);
    let cookies = [
        String::new(),
        "cookie: vestibule=garbage\r\n".to_owned(),
        format!("cookie: vestibule={forged}\r\n"),
        format!("cookie: vestibule={}\r\n", "x".repeat(4_000)),
        "cookie: vestibule-challenge=AAAAAAAAAAAAAAAAAAAAAA\r\n".to_owned(),
        "cookie: vestibule=a; vestibule=b\r\n".to_owned(),
    ];
    let paths = [
        "/",
        "/page?q=1",
        "/public",
        "/.vestibule/challenge",
        "/.vestibule/assets/vestibule.css",
        "/.vestibule/none",
    ];
    let mut sent = 0;
    let mut client = Wire::connect(scene.gateway.address).await;
    while sent < 10_000 {
        for (path, cookie) in paths.iter().flat_map(|path| cookies.iter().map(move |cookie| (path, cookie))) {
            let accept = if sent % 2 == 0 { "accept: text/html\r\n" } else { "" };
            client.send(format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{accept}{cookie}\r\n")).await;
            let (head, _) = client.answer().await;
            assert!(!head.contains(" 500 ") && !head.contains(" 503 "), "{head}");
            sent += 1;
        }
        for path in ["/health/live", "/health/ready"] {
            assert_eq!(scene.gateway.told_monitors(path).await.0, 200);
        }
    }
    assert_eq!((version(), content(&scene)), before, "after {sent} requests");

    // The measure measures: somebody who asks for a code does leave something.
    assert_eq!(scene.browser().start(STRANGER).await.status, 303);
    assert_ne!(version(), before.0);
    assert_ne!(content(&scene), before.1);
}
