//! A backup beside a running gateway, what putting it back lets nobody do, and files that are no store.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use crate::common::journey::GENEROUS;
use crate::common::more::{expect_failure, expect_success, number};
use crate::common::{ALICE, BOB, Browser, Gateway, House, Scene, eventually};

impl House {
    fn backup(&self, name: &str) {
        self.run(&["backup", self.path(name).to_str().unwrap()]);
    }

    fn restore(&self, name: &str, flags: &[&str]) -> Output {
        let file = self.path(name);
        self.command(&[&["restore", file.to_str().unwrap()], flags].concat())
    }

    fn is_there(&self, what: &str) -> Vec<String> {
        let list = std::fs::read_dir(self.path("state")).unwrap();
        let names = list.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(what)).collect()
    }
}

/// People who sign in one after the other until it is enough.
async fn keep_signing_in(scene: &Scene, from: usize, enough: &AtomicBool, inside: &AtomicUsize) {
    for person in from..from + 50 {
        if enough.load(Ordering::Relaxed) {
            return;
        }
        scene.signed_in(&number(person)).await;
        inside.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_whole_and_comes_back() {
    const SPEND: &str = "[spend]\nmessages_per_prefix = \"100000/1h\"\n";
    let mut scene = Scene::start(&format!("{GENEROUS}{SPEND}")).await;
    scene.house.add_many(150);
    let alice = scene.signed_in(ALICE).await;
    let (enough, inside) = (AtomicBool::new(false), AtomicUsize::new(0));
    let house = Arc::new(&scene.house);
    let copies = async {
        let config = house.config.clone();
        let directory = house.directory.path().to_owned();
        let made = tokio::task::spawn_blocking(move || {
            for n in 0..5 {
                let file = directory.join(format!("backup-{n}.db"));
                let said = crate::common::vestibule(&[
                    "backup",
                    file.to_str().unwrap(),
                    "--json",
                    "--config",
                    config.to_str().unwrap(),
                ]);
                let said: serde_json::Value = serde_json::from_str(&expect_success(&said)).unwrap();
                assert_eq!(said["bytes"].as_u64().unwrap(), file.metadata().unwrap().len());
                assert!(said["master_key"].as_str().unwrap().ends_with("state/master.key"));
                assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            }
        });
        made.await.unwrap();
        enough.store(true, Ordering::Relaxed);
    };
    tokio::join!(
        copies,
        keep_signing_in(&scene, 0, &enough, &inside),
        keep_signing_in(&scene, 50, &enough, &inside),
        keep_signing_in(&scene, 100, &enough, &inside),
    );
    let signed_in = inside.load(Ordering::Relaxed);
    assert!(signed_in > 0);
    for n in 0..5 {
        let copy = Connection::open(scene.house.path(&format!("backup-{n}.db"))).unwrap();
        let whole: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        let ours: i32 = copy.query_row("PRAGMA application_id", [], |row| row.get(0)).unwrap();
        let sessions: u32 = copy.query_row("SELECT count(*) FROM session", [], |row| row.get(0)).unwrap();
        assert_eq!((whole.as_str(), ours), ("ok", 0x7665_7374));
        println!("backup {n}: {sessions} sessions of {}", signed_in + 1);
        assert!((1..=signed_in + 1).contains(&(sessions as usize)));
    }
    let leftovers: Vec<_> = std::fs::read_dir(scene.house.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".part"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    let again = scene.house.command(&["backup", scene.house.path("backup-0.db").to_str().unwrap()]);
    expect_failure(&again, "is there already");

    // Nothing is put under a running gateway.
    expect_failure(&scene.house.restore("backup-4.db", &[]), "has it open (process ");
    let log = scene.gateway.stop();
    let recorded = scene.house.json(&["audit", "tail", "--lines", "100000"]).as_array().unwrap().len();
    let said = expect_success(&scene.house.restore("backup-4.db", &[]));
    assert!(said.contains("sessions ended"), "{said}");
    assert_eq!(scene.house.is_there("before-restore").len(), 1, "what was there is kept");
    assert!(scene.house.is_there("restoring").is_empty() && scene.house.is_there("keeping").is_empty());

    scene.gateway = Gateway::start(&scene.house);
    let address = scene.gateway.address;
    assert!(!alice.moved_to(address).is_in().await, "a session of before");
    let lines = || scene.house.json(&["audit", "tail", "--lines", "100000"]).as_array().unwrap().len();
    // The restore and the start.
    eventually("no line of the audit trail goes, and two come", async || lines() == recorded + 2).await;
    assert!(scene.signed_in(ALICE).await.is_in().await);
    let log = log + &scene.gateway.stop();
    assert!(!log.contains("panicked") && !log.contains("\"ERROR\""), "{log}");
}

#[tokio::test]
async fn a_restore_lets_nobody_in_who_was_shut_out_since() {
    let mut scene = Scene::start("").await;
    scene.house.add_users(&[("carol", "+14155557300"), ("dave", "+14155557301")]);
    let (alice, bob) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    let typing = scene.browser();
    assert_eq!(typing.start("+14155557301").await.status, 303);
    let keys = scene.house.json(&["key", "list"]);
    scene.house.backup("backup.db");

    scene.house.run(&["session", "revoke", "--user", "alice"]);
    scene.house.run(&["user", "disable", "bob"]);
    scene.house.run(&["user", "remove", "carol"]);
    let wrong = scene.simulator.wrong_code("+14155557301").await;
    typing.mistype(&wrong).await.expect(200, "tries left");
    typing.mistype(&wrong).await.expect(200, "tries left");
    let spent =
        scene.house.told("SELECT group_concat(key || at || times) FROM spend WHERE key LIKE 'start%'");
    scene.gateway.stop();
    let said = expect_success(&scene.house.restore("backup.db", &["--keep-sessions"]));
    assert!(said.contains("disabled: bob, carol ("), "{said}");

    scene.gateway = Gateway::start(&scene.house);
    let address = scene.gateway.address;
    assert!(!alice.moved_to(address).is_in().await, "revoked since the backup");
    assert!(!bob.moved_to(address).is_in().await, "disabled since the backup");
    let typing = typing.moved_to(address);
    let right = scene.simulator.code("+14155557301").await;
    assert_ne!(typing.verify(&right).await.status, 303, "a code of before is good for nothing");
    assert_eq!(scene.house.json(&["user", "show", "dave"])["wrong_codes_in_a_row"], 2);
    assert_eq!(
        scene.house.told("SELECT group_concat(key || at || times) FROM spend WHERE key LIKE 'start%'"),
        spent
    );
    assert_eq!(scene.house.json(&["user", "show", "carol"])["disabled"], true);
    let newer = scene.house.json(&["key", "list"]);
    assert_eq!(
        newer.as_array().unwrap().len(),
        keys.as_array().unwrap().len() + 1,
        "a new key signs: {newer}"
    );
}

#[tokio::test]
async fn whoever_was_in_goes_on_when_sessions_are_kept() {
    let mut scene = Scene::start("").await;
    let (alice, bob) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    scene.house.backup("backup.db");
    scene.house.run(&["user", "disable", "bob"]);
    scene.gateway.stop();
    let said = expect_success(&scene.house.restore("backup.db", &["--keep-sessions", "--let-back-in"]));
    assert!(said.contains("let in again: bob"), "{said}");
    scene.gateway = Gateway::start(&scene.house);
    assert!(alice.moved_to(scene.gateway.address).is_in().await);
    assert!(!bob.moved_to(scene.gateway.address).is_in().await, "his session ended with him");
    assert!(scene.signed_in(BOB).await.is_in().await);
}

#[tokio::test]
async fn a_backup_of_another_installation_or_key_is_refused() {
    let (mut scene, other) = (Scene::start("").await, Scene::start("").await);
    scene.house.backup("backup.db");
    other.house.backup("backup.db");
    scene.gateway.stop();
    std::fs::copy(other.house.path("backup.db"), scene.house.path("other.db")).unwrap();
    expect_failure(&scene.house.restore("other.db", &[]), "do not open with this master key");
    expect_failure(&scene.house.restore("config.toml", &[]), "it is no SQLite database");
    expect_failure(&scene.house.restore("nothing.db", &[]), "unable to open");
    std::fs::copy(scene.house.path("backup.db"), scene.house.path("tricky.db")).unwrap();
    let trigger = "CREATE TRIGGER t AFTER UPDATE OF disabled ON user BEGIN UPDATE user SET disabled = 0; END";
    Connection::open(scene.house.path("tricky.db")).unwrap().execute_batch(trigger).unwrap();
    expect_failure(&scene.house.restore("tricky.db", &[]), "it has triggers or views");
    Connection::open(scene.house.path("backup.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    expect_failure(&scene.house.restore("backup.db", &[]), "run the newer version");
    assert!(scene.house.is_there("restor").is_empty());
    scene.restart();
    assert!(scene.signed_in(ALICE).await.is_in().await, "the store is as it was");
}

#[tokio::test]
async fn a_second_gateway_on_a_file_does_not_start() {
    let scene = Scene::start("").await;
    let mut second = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    second.arg("serve").arg("--config").arg(&scene.house.config).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut second = second.spawn().unwrap();
    eventually("it has ended", async || second.try_wait().unwrap().is_some()).await;
    let second = second.wait_with_output().unwrap();
    expect_failure(&second, "has it open (process ");
    expect_failure(&second, &scene.gateway.process_id().to_string());
    // One that was killed holds nothing.
    scene.gateway.kill();
    drop(Gateway::start(&scene.house));
}

#[tokio::test]
async fn a_damaged_store_is_not_served_from_and_its_backup_is() {
    let mut scene = Scene::start("").await;
    scene.house.add_many(300);
    scene.house.backup("backup.db");
    scene.gateway.stop();
    let file = scene.house.path("state/vestibule.db");
    // A page in the middle, then the first.
    for (offset, reason) in [(4096 * 4, "it is damaged"), (0, "it does not begin as a database does")] {
        scene.house.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[offset..offset + 4096].fill(0xa5);
        std::fs::write(&file, bytes).unwrap();
        let refused = scene.house.command(&["serve"]);
        expect_failure(&refused, reason);
        expect_failure(&refused, "vestibule restore BACKUP");
        expect_failure(&scene.house.command(&["store", "check"]), reason);
        expect_failure(
            &scene.house.command(&["backup", scene.house.path("useless.db").to_str().unwrap()]),
            reason,
        );
        assert!(!scene.house.path("useless.db").exists());
        let said = expect_success(&scene.house.restore("backup.db", &[]));
        assert!(said.contains("could not be read"), "{said}");
        assert!(scene.house.run(&["store", "check"]).contains("is whole"));
    }
    scene.gateway = Gateway::start(&scene.house);
    assert!(scene.signed_in(ALICE).await.is_in().await);
}

#[tokio::test]
async fn a_gateway_whose_store_is_gone_says_that_it_made_another() {
    let mut scene = Scene::start("").await;
    assert!(!scene.gateway.log().contains("new, empty store"));
    scene.gateway.stop();
    for more in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(scene.house.path(&format!("state/vestibule.db{more}")));
    }
    scene.gateway = Gateway::start(&scene.house);
    assert!(scene.gateway.stop().contains("made a new, empty store at "));
}

#[tokio::test]
async fn a_restore_on_a_new_machine_wants_the_master_key_first() {
    let mut scene = Scene::start("").await;
    scene.house.backup("backup.db");
    scene.gateway.stop();
    let (key, state) = (scene.house.path("master.key"), scene.house.path("state"));
    std::fs::rename(state.join("master.key"), &key).unwrap();
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    expect_failure(&scene.house.restore("backup.db", &[]), "put the copy of master.key");
    std::fs::rename(&key, state.join("master.key")).unwrap();
    expect_success(&scene.house.restore("backup.db", &[]));
    scene.gateway = Gateway::start(&scene.house);
    assert!(scene.signed_in(ALICE).await.is_in().await);
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let mut scene = Scene::start("").await;
    scene.house.backup("backup.db");
    scene.gateway.stop();
    let file = scene.house.path("state/vestibule.db");
    std::fs::remove_file(&file).unwrap();
    let other = Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE user (id); PRAGMA user_version = 2").unwrap();
    drop(other);
    let before = std::fs::read(&file).unwrap();
    expect_failure(&scene.house.command(&["serve"]), "the database of another program");
    expect_failure(&scene.house.command(&["user", "list"]), "the database of another program");
    expect_failure(&scene.house.restore("backup.db", &[]), "the database of another program");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

/// What is left of another file is not played into the one that takes its name.
#[tokio::test]
async fn a_restore_does_not_take_over_the_changes_of_a_file_that_is_gone() {
    let mut scene = Scene::start("").await;
    scene.house.backup("backup.db");
    scene.house.add_many(50);
    scene.gateway.kill();
    let file = |more: &str| scene.house.path(&format!("state/vestibule.db{more}"));
    assert!(file("-wal").metadata().unwrap().len() > 0, "the newest changes are in it");
    std::fs::remove_file(file("")).unwrap();
    let said = expect_success(&scene.house.restore("backup.db", &[]));
    assert!(said.contains("only its newest changes were there"), "{said}");
    assert!(!file("-wal").exists() && !file("-shm").exists());
    assert_eq!(scene.house.is_there("before-restore").len(), 2);
    assert!(scene.house.run(&["store", "check"]).contains("is whole"));
    assert_eq!(scene.house.json(&["user", "list"]).as_array().unwrap().len(), 2);
    scene.gateway = Gateway::start(&scene.house);
    assert!(scene.signed_in(ALICE).await.is_in().await);
}

/// Killed at any moment, a restore leaves the store as it was or as it is to be.
#[tokio::test]
async fn a_restore_that_is_killed_leaves_one_or_the_other() {
    let mut scene = Scene::start("").await;
    scene.house.add_many(100);
    scene.house.backup("backup.db");
    scene.house.run(&["user", "remove", "u7"]);
    scene.gateway.stop();
    let mut killed = 0;
    for round in 0..20 {
        let mut restore = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .args(["restore", scene.house.path("backup.db").to_str().unwrap(), "--config"])
            .arg(&scene.house.config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(30 * round)).await;
        let _ = restore.kill();
        killed += usize::from(!restore.wait().unwrap().success());
        assert!(scene.house.run(&["store", "check"]).contains("is whole"));
        let disabled = "SELECT 1 FROM user WHERE name = 'u7' AND disabled";
        let restored = scene.house.finds("SELECT 1 FROM audit WHERE what = 'store_restored'");
        assert_eq!(scene.house.finds(disabled), restored, "round {round}");
        if restored {
            // Back to how it was for the next round.
            scene.house.run(&["user", "remove", "u7"]);
            scene.house.sql("DELETE FROM audit WHERE what = 'store_restored'");
        }
    }
    println!("{killed} of 20 restores were killed");
    expect_success(&scene.house.restore("backup.db", &[]));
    let left = [scene.house.is_there("restoring"), scene.house.is_there("keeping")].concat();
    assert!(left.is_empty(), "{left:?}");
    assert!(killed > 0);
    scene.gateway = Gateway::start(&scene.house);
    assert!(Browser::new(scene.gateway.address).start(ALICE).await.status == 303);
}
