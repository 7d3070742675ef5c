//! The audit trail by its commands: whether it is what was written, and all of it for others.

use crate::common::more::{expect_failure, expect_success};
use crate::common::{ALICE, House, Scene};

impl House {
    /// Whether the trail fits, and the head it printed.
    fn verified(&self) -> String {
        self.json(&["audit", "verify"])["head"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_trail_that_was_touched_is_told_from_one_that_was_not() {
    let mut scene = Scene::start("").await;
    assert!(scene.signed_in(ALICE).await.is_in().await);
    // While the gateway runs.
    let head = scene.house.verified();
    let said = scene.house.run(&["audit", "verify"]);
    assert!(said.contains("lines as they were written, since 20") && said.contains(&head), "{said}");
    scene.house.run(&["session", "revoke", "--user", "alice"]);
    assert_ne!(scene.house.verified(), head);
    scene.house.run(&["audit", "verify", "--expect", &head]);
    // What the log has of a start and a stop is part of it, too.
    let log = scene.gateway.stop();
    let ends: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("the audit trail ends here"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(ends.len(), 2, "{log}");
    for end in ends {
        scene.house.run(&["audit", "verify", "--expect", end["end"].as_str().unwrap()]);
    }

    let (number, seal) = head.split_once(':').unwrap();
    let another = format!("{number}:{}", seal.chars().rev().collect::<String>());
    let said = scene.house.command(&["audit", "verify", "--expect", &another]);
    expect_failure(&said, "has not the seal that was expected");
    let usage = scene.house.command(&["audit", "verify", "--expect", "nonsense"]);
    assert_eq!(usage.status.code(), Some(64));
    let beyond = scene.house.command(&["audit", "verify", "--from", "999"]);
    assert_eq!(beyond.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&beyond.stderr).contains("--from: there is no line 999"));

    scene.house.sql("UPDATE audit SET user_name = 'bob' WHERE what = 'session_opened'");
    let line = scene.house.told("SELECT '' || number FROM audit WHERE what = 'session_opened'");
    let said = scene.house.command(&["audit", "verify"]);
    assert_eq!(said.status.code(), Some(1));
    expect_failure(&said, &format!("the audit trail is not what was written: line {line} was changed"));
    let said = scene.house.command(&["audit", "verify", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((said.status.code(), told["whole"].as_bool()), (Some(1), Some(false)));
    assert_eq!(told["line"].to_string(), line);
}

#[tokio::test]
async fn an_export_has_every_line_once_and_goes_on_where_it_ended() {
    let mut scene = Scene::start("").await;
    scene.signed_in(ALICE).await;
    scene.gateway.stop();
    let lines = |flags: &[&str]| -> Vec<serde_json::Value> {
        let said = scene.house.run(&[&["audit", "export"], flags].concat());
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&[]);
    let tail = scene.house.json(&["audit", "tail", "--lines", "1000"]);
    assert_eq!(all.len(), tail.as_array().unwrap().len());
    assert_eq!(all, lines(&["--json"]));
    for (exported, shown) in all.iter().zip(tail.as_array().unwrap()) {
        for key in ["number", "at", "event", "reference", "user", "client", "detail", "call"] {
            assert_eq!(exported[key], shown[key], "{key}");
        }
        assert_eq!(exported["seal"].as_str().unwrap().len(), 64);
    }
    let text = scene.house.run(&["audit", "export"]);
    assert!(!text.contains(ALICE) && !text.contains("4155550100"), "a whole number: {text}");
    let third = all[2]["number"].to_string();
    assert_eq!(lines(&["--after", &third]), all[3..]);
    // The last line's seal is what verify prints.
    let last = all.last().unwrap();
    assert_eq!(format!("{}:{}", last["number"], last["seal"].as_str().unwrap()), scene.house.verified());
}

#[tokio::test]
async fn a_restore_goes_on_with_the_chain() {
    let mut scene = Scene::start("").await;
    scene.signed_in(ALICE).await;
    let backup = scene.house.path("backup.db");
    scene.house.run(&["backup", backup.to_str().unwrap()]);
    let then = scene.house.verified();
    scene.house.run(&["user", "disable", "bob"]);
    let newest = scene.house.verified();
    scene.gateway.stop();
    expect_success(&scene.house.command(&["restore", backup.to_str().unwrap()]));
    // What was written since the backup is in it, and that it was restored.
    scene.house.run(&["audit", "verify", "--expect", &then]);
    scene.house.run(&["audit", "verify", "--expect", &newest]);
    assert_eq!(scene.house.details("store_restored").len(), 1);
    // With nothing to compare with, what was written since is missed by whoever noted it.
    for name in ["vestibule.db", "vestibule.db-wal", "vestibule.db-shm"] {
        let _ = std::fs::remove_file(scene.house.path("state").join(name));
    }
    expect_success(&scene.house.command(&["restore", backup.to_str().unwrap()]));
    scene.house.run(&["audit", "verify", "--expect", &then]);
    let said = scene.house.command(&["audit", "verify", "--expect", &newest]);
    assert_eq!(said.status.code(), Some(1));
}

#[tokio::test]
async fn another_master_key_is_told() {
    let mut scene = Scene::start("").await;
    scene.signed_in(ALICE).await;
    scene.gateway.stop();
    let key = scene.house.path("state/master.key");
    std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    let said = scene.house.command(&["audit", "verify"]);
    expect_failure(&said, "the head of the chain was changed, or was written with another master key");
}
