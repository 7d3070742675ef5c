//! A store of an earlier version is opened by this one and goes on working: who is in stays in, and who has a code
//! types it.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![allow(missing_debug_implementations, reason = "nobody prints a test's tools")]

#[path = "e2e/common/mod.rs"]
mod common;

use std::path::Path;

use rusqlite::Connection;

use common::{ALICE, BOB, Browser, Gateway, House, STRANGER, Simulator, Upstream, config};

const CAROL: &str = "+14155557300";
/// Names of challenges, as they stand in cookies.
const BOBS: &str = "AAAAAAAAAAAAAAAAAAAAAA";
const CAROLS: &str = "BAAAAAAAAAAAAAAAAAAAAA";
const STRANGERS: &str = "CAAAAAAAAAAAAAAAAAAAAA";

/// Turns the store of a house into one that the first version wrote, with the same rows as far as it had them.
fn back_to_the_first(file: &Path) {
    let old = file.with_extension("old");
    let store = Connection::open(&old).unwrap();
    store.execute_batch(include_str!("../migrations/sqlite/0001.sql")).unwrap();
    store.pragma_update(None, "user_version", 1).unwrap();
    store.execute("ATTACH ? AS newer", [file.to_str().unwrap()]).unwrap();
    for table in tables(&store) {
        let columns: String =
            names(&store, &format!("SELECT name FROM main.pragma_table_info('{table}')")).join(", ");
        let copy = format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}");
        store.execute(&copy, []).unwrap();
    }
    store.execute_batch("DETACH newer").unwrap();
    drop(store);
    for more in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{more}", file.display()));
    }
    std::fs::rename(old, file).unwrap();
}

fn names(store: &Connection, question: &str) -> Vec<String> {
    let mut statement = store.prepare(question).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The tables of the first version.
fn tables(store: &Connection) -> Vec<String> {
    names(store, "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
}

/// Has the provider send a code, as the earlier version did; its name for it.
async fn send(simulator: &Simulator, to: &str) -> String {
    let url = format!("{}/v2/Services/VA{}/Verifications", simulator.url, "1".repeat(32));
    let request = common::http().post(url).basic_auth(format!("AC{}", "0".repeat(32)), Some("secret"));
    let answer = request.form(&[("To", to), ("Channel", "sms")]).send().await.unwrap();
    answer.json::<serde_json::Value>().await.unwrap()["sid"].as_str().unwrap().to_owned()
}

/// A challenge as the first version wrote it, begun a minute ago.
fn challenge(id: &str, user: Option<i64>, delivery: &str, handle: Option<&str>) -> String {
    let user_id = user.map_or_else(|| "NULL".to_owned(), |user| user.to_string());
    let name = user.map_or("NULL", |user| if user == 2 { "'bob'" } else { "'carol'" });
    let subject = user.map_or_else(|| "stranger:abcdef".to_owned(), |user| format!("user:{user}"));
    let handle = handle.map_or_else(|| "NULL".to_owned(), |handle| format!("'{handle}'"));
    format!(
        "INSERT INTO challenge SELECT '{id}', 'K7QX-2MHD', {user_id}, {name}, '{subject}', '••• ••01', '/deep', 'sms', \
         now - 60, now + 540, now - 60, 1, 1, 5, 6, 'open', '{delivery}', {handle} \
         FROM (SELECT CAST(strftime('%s') AS INTEGER) AS now);"
    )
}

fn with_challenge(gateway: &Gateway, id: &str) -> Browser {
    let browser = Browser::new(gateway.address);
    browser.set_cookie("vestibule-challenge", id);
    browser
}

#[tokio::test]
async fn a_store_of_the_first_schema_goes_on_working() {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    house.add_users(&[("alice", ALICE), ("bob", BOB), ("carol", CAROL)]);
    let mut gateway = Gateway::start(&house);
    let (inside, signed_out) = (Browser::new(gateway.address), Browser::new(gateway.address));
    inside.sign_in(&simulator, ALICE).await;
    signed_out.sign_in(&simulator, BOB).await;
    house.run(&["session", "revoke", "--user", "bob"]);
    house.run(&["key", "rotate"]);
    gateway.stop();
    let recorded = house.json(&["audit", "tail", "--lines", "1000"]).as_array().unwrap().len();

    let file = house.path("state/vestibule.db");
    back_to_the_first(&file);
    let (bobs, _lost) = (send(&simulator, BOB).await, send(&simulator, CAROL).await);
    house.sql(&challenge(BOBS, Some(2), "sent", Some(&bobs)));
    // The answer to Carol's start was lost: she has a code, and the gateway no name for it.
    house.sql(&challenge(CAROLS, Some(3), "unconfirmed", None));
    house.sql(&challenge(STRANGERS, None, "sent", None));
    house.sql("INSERT INTO failure VALUES ('user:2', 7, 0), ('stranger:abcdef', 1, 0)");
    let store = Connection::open(&file).unwrap();
    for table in tables(&store) {
        assert!(house.finds(&format!("SELECT 1 FROM {table}")), "{table} has no row to look after");
    }
    drop(store);

    gateway = Gateway::start(&house);
    assert!(house.finds("SELECT 1 FROM pragma_user_version WHERE user_version = 3"));
    // Who is in stays in, who was signed out stays out.
    assert!(inside.moved_to(gateway.address).is_in().await);
    assert!(!signed_out.moved_to(gateway.address).is_in().await);
    assert_eq!(house.json(&["user", "show", "bob"])["wrong_codes_in_a_row"], 7);
    let audit = house.json(&["audit", "tail", "--lines", "1000"]);
    assert!(audit.as_array().unwrap().len() >= recorded, "{audit}");

    // What was written before has no seal, and what comes has.
    let verified = house.run(&["audit", "verify"]);
    assert!(
        verified.contains("from before the chain") && verified.contains("as they were written"),
        "{verified}"
    );

    // The codes under way are good, and the tries that were spent stay spent.
    let bob = with_challenge(&gateway, BOBS);
    bob.challenge().await.expect(200, "••• ••01");
    bob.mistype(&simulator.wrong_code(BOB).await).await.expect(200, "3 tries left");
    assert_eq!(bob.verify(&simulator.code(BOB).await).await.location(), "/deep");
    assert!(bob.is_in().await);
    let carol = with_challenge(&gateway, CAROLS);
    carol.challenge().await.expect(200, "We could not confirm that the message went out");
    assert_eq!(carol.verify(&simulator.code(CAROL).await).await.location(), "/deep");
    assert!(carol.is_in().await);
    let stranger = with_challenge(&gateway, STRANGERS);
    stranger.mistype("123456").await.expect(200, "3 tries left");
    assert_eq!(simulator.calls("/VerificationCheck").await, 5, "two before, and three now");

    // And new ones begin.
    let fresh = Browser::new(gateway.address);
    fresh.sign_in(&simulator, BOB).await;
    assert!(fresh.is_in().await);
    assert_eq!(Browser::new(gateway.address).start(STRANGER).await.status, 303);
    assert!(house.finds("SELECT 1 FROM challenge WHERE provider = 'twilio' AND subject = 'user:2'"));
    let log = gateway.stop();
    assert!(!log.contains("panicked") && !log.contains("\"ERROR\""), "{log}");
}
