//! An installation that has outgrown its file moves to PostgreSQL, and back.

use std::process::{Command, Output, Stdio};

use crate::common::more::{expect_failure, expect_success};
use crate::common::postgres::{Cluster, Database};
use crate::common::{ALICE, BOB, Browser, Gateway, House, Scene, eventually};

impl House {
    /// The flags of a move; the password is in a file.
    fn to_postgres(&self, database: &Database) -> Vec<String> {
        std::fs::write(self.path("password"), database.password()).unwrap();
        let (password, ca) = (self.path("password"), database.ca_file());
        let flags =
            ["store", "migrate", "--password-file", password.to_str().unwrap(), "--ca", ca.to_str().unwrap()];
        let from = format!("sqlite:{}", self.path("state/vestibule.db").display());
        flags
            .map(str::to_owned)
            .into_iter()
            .chain(["--from".into(), from, "--to".into(), database.url()])
            .collect()
    }

    fn moves(&self, flags: &[String]) -> Output {
        self.command(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The configuration goes on with what a move told to write.
    fn takes(&self, database: &Database) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        let (password, ca, key) = (self.path("password"), database.ca_file(), self.path("state/master.key"));
        let section = format!(
            "{text}\n[store]\nurl = \"{}\"\npassword = {{ file = \"{}\" }}\nca = \"{}\"\nmaster_key = {{ file = \"{}\" }}\n",
            database.url(),
            password.display(),
            ca.display(),
            key.display()
        );
        std::fs::write(&self.config, section).unwrap();
    }
}

/// Kills a move once it has written more than so many rows; how many it had.
async fn cut_off(house: &House, flags: &[String], database: &Database, rows: i64) -> i64 {
    let mut moving = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(flags)
        .arg("--config")
        .arg(&house.config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = "SELECT to_regclass('moving') IS NOT NULL";
    eventually("a move has begun", async || database.sql(begun) == "t").await;
    let written = || database.sql("SELECT sum(moved) FROM moving").parse::<i64>().unwrap();
    eventually("a move has written", async || written() > rows).await;
    moving.kill().unwrap();
    assert!(!moving.wait().unwrap().success(), "it was done before it was killed");
    let written = written();
    println!("cut off after {written} rows");
    written
}

/// Rows enough that a move takes a while.
fn fill(house: &House) {
    house.sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40000) \
         INSERT INTO spend SELECT 'starts:ü' || i, 1, i FROM n; \
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) \
         INSERT INTO audit (at, what, client, detail, hash) SELECT CAST(strftime('%s') AS INTEGER), 'code_sent', '192.0.2.1', 'a' || char(0) || 'b', x'' FROM n; \
         INSERT INTO line VALUES ('a', 'mobile', 1, 1, 2), ('b', NULL, NULL, NULL, NULL), ('c', NULL, 5, 0, NULL); \
         INSERT INTO orphan VALUES ('vonage', 'h', 'K7QX-2MHD', 5); \
         INSERT INTO closure VALUES ('conversion', 5); \
         INSERT INTO failure VALUES ('stranger:x', 3, 5);",
    );
}

#[tokio::test]
async fn the_chain_of_the_audit_trail_moves_along() {
    let mut scene = Scene::start("").await;
    scene.signed_in(ALICE).await;
    scene.gateway.stop();
    let head = scene.house.json(&["audit", "verify"])["head"].as_str().unwrap().to_owned();
    let database = Database::fresh();
    let flags = scene.house.to_postgres(&database);
    expect_success(&scene.house.moves(&flags));
    scene.house.takes(&database);
    scene.house.run(&["audit", "verify", "--expect", &head]);
    // And the gateway goes on with it there.
    scene.gateway = Gateway::start(&scene.house);
    assert!(scene.signed_in(ALICE).await.is_in().await);
    scene.house.run(&["audit", "verify", "--expect", &head]);
    database.sql("UPDATE audit SET detail = 'x' WHERE what = 'store_moved'");
    let line = database.sql("SELECT number FROM audit WHERE what = 'store_moved'");
    expect_failure(&scene.house.command(&["audit", "verify"]), &format!("line {line} was changed"));
}

#[tokio::test]
async fn an_installation_moves_to_postgres_and_back_with_all_it_has() {
    let mut scene = Scene::start("").await;
    let database = Database::fresh();
    scene.house.add_user("carol", "+14155557300");
    scene.house.run(&["user", "remove", "carol"]);
    let alice = scene.signed_in(ALICE).await;
    let bob = scene.signed_in(BOB).await;
    scene.house.run(&["session", "revoke", "--user", "bob"]);
    let typing = scene.browser();
    assert_eq!(typing.start(BOB).await.status, 303);
    typing.mistype(&scene.simulator.wrong_code(BOB).await).await.expect(200, "tries left");
    let flags = scene.house.to_postgres(&database);
    expect_failure(&scene.house.moves(&flags), "has it open (process ");
    scene.gateway.stop();
    fill(&scene.house);
    let (audit, keys) =
        (scene.house.json(&["audit", "tail", "--lines", "100000"]), scene.house.json(&["key", "list"]));

    let mut written = 0;
    for _ in 0..3 {
        written = cut_off(&scene.house, &flags, &database, written).await;
    }
    scene.house.takes(&database);
    expect_failure(&scene.house.command(&["serve"]), "run the same `vestibule store migrate` again");
    // However the files are named here, the configuration has them from the root.
    let here = std::env::current_dir().unwrap();
    let up = "../".repeat(here.components().count() - 1);
    let relative: Vec<_> = flags
        .iter()
        .map(|flag| flag.strip_prefix('/').map_or_else(|| flag.clone(), |rest| format!("{up}{rest}")))
        .collect();
    let said = expect_success(&scene.house.moves(&relative));
    assert!(said.contains("password = { file = \"/") && said.contains("ca = \"/"), "{said}");
    assert!(said.contains("rows moved and compared") && said.contains(&database.url()), "{said}");
    expect_failure(
        &scene.house.command(&["backup", "x.db"]),
        "pg_dump --format=custom --file=x.db --host=127.0.0.1",
    );
    expect_failure(
        &scene.house.command(&["backup", "x.db"]),
        "keep a copy of the key that store.master_key names",
    );
    expect_failure(&scene.house.command(&["restore", "x.db"]), "pg_restore --clean --if-exists");
    expect_failure(&scene.house.command(&["restore", "x.db"]), "run `vestibule session revoke --all`");
    let said = scene.house.run(&["store", "check"]);
    assert!(said.contains("its keys open") && said.contains("pg_amcheck"), "{said}");
    database.sql("ALTER TABLE line RENAME COLUMN swapped TO exchanged");
    expect_failure(&scene.house.command(&["store", "check"]), "column \"swapped\" does not exist");
    database.sql("ALTER TABLE line RENAME COLUMN exchanged TO swapped");
    // Whoever runs it again learns what it would have to take.
    let again = scene.house.moves(&flags);
    expect_failure(
        &again,
        &format!("moved there from {} on 20", scene.house.path("state/vestibule.db").display()),
    );
    expect_failure(&again, "what was changed in the source since is not in it");
    expect_failure(&again, "empty the database (DROP DATABASE, CREATE DATABASE) first");
    assert_eq!(database.sql("SELECT sum(times) FROM spend WHERE key LIKE 'starts:ü%'"), "800020000");

    // Sessions, codes, tries and counts go on where they were.
    scene.gateway = Gateway::start(&scene.house);
    let address = scene.gateway.address;
    let alice = alice.moved_to(address);
    assert!(alice.is_in().await);
    let bob = bob.moved_to(address);
    assert!(!bob.is_in().await, "his session was revoked");
    assert_eq!(scene.house.json(&["user", "show", "bob"])["wrong_codes_in_a_row"], 1);
    let typing = typing.moved_to(address);
    assert_eq!(typing.verify(&scene.simulator.code(BOB).await).await.status, 303);
    assert_eq!(scene.house.json(&["key", "list"]), keys);
    let moved = scene.house.json(&["audit", "tail", "--lines", "100000"]);
    let text = |line: &serde_json::Value| line.to_string().replace("\\u0000", "\u{fffd}");
    let same = |a: &serde_json::Value, b: &serde_json::Value| text(a) == text(b);
    let both = moved.as_array().unwrap().iter().zip(audit.as_array().unwrap());
    assert!(both.clone().all(|(a, b)| same(a, b)) && both.count() == audit.as_array().unwrap().len());
    // The number of a user who is gone is nobody else's.
    scene.house.add_user("dave", "+14155557301");
    assert_eq!(database.sql("SELECT id FROM \"user\" WHERE name = 'dave'"), "4");

    // And back, into a file; the gateway of the database must stop first.
    let file = format!("sqlite:{}", scene.house.path("back.db").display());
    let back = ["store", "migrate", "--to", &file, "--json"];
    expect_failure(&scene.house.command(&back), "connections");
    scene.gateway.stop();
    eventually("the server has seen the gateway go", async || {
        database.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'vestibule'") == "0"
    })
    .await;
    let said: serde_json::Value = serde_json::from_str(&expect_success(&scene.house.command(&back))).unwrap();
    assert_eq!(said["tables"][0], serde_json::json!({"table": "user", "rows": 3}));
    scene.house.replace(&format!("url = \"{}\"", database.url()), &format!("url = \"{file}\""));
    scene.house.replace(&format!("ca = \"{}\"\n", database.ca_file().display()), "");
    scene
        .house
        .replace(&format!("password = {{ file = \"{}\" }}\n", scene.house.path("password").display()), "");
    scene.gateway = Gateway::start(&scene.house);
    assert!(alice.moved_to(scene.gateway.address).is_in().await);
    let fresh = Browser::new(scene.gateway.address);
    fresh.sign_in(&scene.simulator, "+14155557301").await;
    assert!(fresh.is_in().await);
}

#[tokio::test]
async fn nothing_is_moved_over_an_installation_or_from_one_that_went_on() {
    let mut scene = Scene::start("").await;
    let (database, occupied) = (Database::fresh(), Database::fresh());
    scene.gateway.stop();
    fill(&scene.house);
    let flags = scene.house.to_postgres(&database);
    cut_off(&scene.house, &flags, &database, 0).await;

    // It was used meanwhile: what is there already may be old.
    scene.house.run(&["user", "disable", "bob"]);
    expect_failure(&scene.house.moves(&flags), "move with --start-over");
    let over: Vec<_> = flags.iter().cloned().chain(["--start-over".to_owned()]).collect();
    expect_success(&scene.house.moves(&over));
    assert_eq!(database.sql("SELECT disabled FROM \"user\" WHERE name = 'bob'"), "t");

    // --start-over is for what a move has written, not for what others have.
    let to_occupied = scene.house.to_postgres(&occupied);
    expect_success(&scene.house.moves(&to_occupied));
    occupied.sql("DELETE FROM audit");
    let over: Vec<_> = to_occupied.iter().cloned().chain(["--start-over".to_owned()]).collect();
    expect_failure(&scene.house.moves(&over), "holds an installation already");
    assert_eq!(occupied.sql("SELECT count(*) FROM \"user\""), "2");

    // Who reads the keys must have the key of keys.
    std::fs::write(scene.house.path("state/master.key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
        .unwrap();
    expect_failure(&scene.house.moves(&scene.house.to_postgres(&Database::fresh())), "do not open with");
    let two = format!("sqlite:{}", scene.house.path("two.db").display());
    let usage = scene.house.command(&["store", "migrate", "--to", &two]);
    assert_eq!(usage.status.code(), Some(64));
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_with_the_remedy() {
    let mut scene = Scene::start("").await;
    scene.gateway.stop();
    let (database, house) = (Database::fresh(), &scene.house);
    let _ = house.to_postgres(&database);
    house.takes(&database);
    let says = |text: &str| expect_failure(&house.command(&["user", "list"]), text);
    let good = std::fs::read_to_string(&house.config).unwrap();
    let line = |key: &str| good.lines().rfind(|line| line.starts_with(key)).unwrap().to_owned() + "\n";
    let changed = |from: &str, to: &str| std::fs::write(&house.config, good.replace(from, to)).unwrap();

    changed(&line("password = "), "");
    says("name where our password is in store.password");
    says(&format!("store {}: ", database.url()));
    let with_system = good.replace(&database.url(), &format!("{}?sslmode=require", database.url()));
    std::fs::write(&house.config, with_system.replace(&line("ca = "), "")).unwrap();
    says("name the authority of the server's certificate in store.ca");
    let plain = Cluster::without_tls().database();
    changed(&database.url(), &plain.url());
    says("set ssl = on at the server");
    std::fs::write(&house.config, &good).unwrap();
    database.sql(&format!("ALTER DATABASE {} OWNER TO postgres", database.sql("SELECT current_database()")));
    says("the role must own the database");
}
