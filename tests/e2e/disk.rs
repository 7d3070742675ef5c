//! A disk that is full: nobody gets in, who is in stays in, and room is all that is needed to go on.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::common::{ALICE, BOB, Gateway, House, STRANGER, Scene, Simulator, Upstream, config, eventually};

/// A small disk, for as long as the test runs.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        as_root(&["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", at.to_str().unwrap()]);
        Self(at)
    }

    fn make_read_only(&self) {
        as_root(&["mount", "-o", "remount,ro", self.0.to_str().unwrap()]);
    }

    /// Not a byte is left.
    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        as_root(&["umount", "--lazy", self.0.to_str().unwrap()]);
    }
}

/// As the machine of the tests allows: it is root's, or has sudo.
fn as_root(command: &[&str]) {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|me| {
        use std::os::unix::fs::MetadataExt as _;
        me.uid() == 0
    });
    let sudo: &[&str] = if is_root { &[] } else { &["sudo", "-n"] };
    let all = [sudo, command].concat();
    let output = Command::new(all[0]).args(&all[1..]).output().unwrap();
    assert!(output.status.success(), "{all:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What was written is in the database itself, so that the next line needs room.
fn settle(file: &Path) {
    let store = rusqlite::Connection::open(file).unwrap();
    store.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).unwrap();
}

#[tokio::test]
async fn on_a_full_disk_challenges_are_refused_and_sessions_go_on() {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    let disk = Disk::mount(house.path("state"));
    house.add_users(&[("alice", ALICE), ("bob", BOB), ("carol", "+14155550142")]);
    let gateway = Gateway::start(&house);
    let mut scene = Scene { simulator, upstream, house, gateway };
    let (alice, bob) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    assert!(alice.is_in().await);
    let waiting = scene.browser();
    assert_eq!(waiting.start("+14155550142").await.status, 303);
    let (code, sent) = (scene.simulator.code("+14155550142").await, scene.simulator.messages().await.len());
    let log_of_good_days = scene.gateway.log();

    settle(&scene.house.path("state/vestibule.db"));
    let filler = disk.fill();
    const SAYS: &str = "lets nobody in for now";
    waiting.verify(&code).await.expect(503, SAYS);
    assert_eq!(waiting.cookie("vestibule"), None);
    for phone in [ALICE, STRANGER] {
        scene.browser().start(phone).await.expect(503, SAYS);
        let answer = scene.browser().api("request", &json!({"phoneNumber": phone})).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (503, json!({"error": "store_unavailable"})));
    }
    assert_eq!(scene.simulator.messages().await.len(), sent, "nothing is sent that was not counted");
    for _ in 0..10 {
        assert!(alice.is_in().await && bob.is_in().await, "in memory or in the store: it can be read");
    }
    let thief = bob.stolen();
    bob.submit("/.vestibule/sign-out", &[]).await.expect(202, "That could not be written down yet");
    assert!(!thief.is_in().await);
    let (ready, said) = scene.gateway.told_monitors("/health/ready").await;
    assert!(ready == 503 && said.contains("does not take"), "{said}");
    assert_eq!(scene.gateway.told_monitors("/health/live").await.0, 200);

    std::fs::remove_file(filler).unwrap();
    assert_eq!(waiting.verify(&code).await.status, 303, "the try that could not be counted was none");
    assert!(waiting.is_in().await && alice.is_in().await);
    assert!(!thief.is_in().await);
    let gateway = &mut scene.gateway;
    eventually("it is ready", async || gateway.told_monitors("/health/ready").await.0 == 200).await;
    eventually("the end is written down", async || scene.house.sessions().len() == 2).await;
    assert!(scene.house.details("session_ended").iter().any(|detail| detail == "signed_out"));
    let fresh = scene.browser();
    scene.house.passes(3_600);
    fresh.sign_in(&scene.simulator, BOB).await;
    assert!(fresh.is_in().await && !thief.is_in().await);
    let log = scene.gateway.stop();
    let log = log.strip_prefix(&log_of_good_days).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    for loops in ["cannot be purged", "nobody typed cannot", "cannot be written down in the store"] {
        assert!(log.matches(&format!("\"message\":\"{loops}")).count() <= 1, "{loops}:\n{log}");
    }
    drop(scene);
    drop(disk);
}

#[tokio::test]
async fn a_copy_that_has_no_room_says_where() {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    let (disk, other) = (Disk::mount(house.path("state")), Disk::mount(house.path("copies")));
    house.add_users(&[("alice", ALICE)]);
    let good = house.path("good.db").display().to_string();
    let copy = house.path("copies/copy.db").display().to_string();
    let says = |command: &[&str], text: &str| {
        let output = house.command(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(text), "wanted {text:?}: {said}");
    };
    house.run(&["backup", &good]);
    // So that there is a lock to be had.
    house.run(&["restore", &good]);
    other.fill();
    says(&["backup", &copy], "copies/copy.db: the disk is full; make room there");
    assert!(!house.path("copies/copy.db").exists());
    settle(&house.path("state/vestibule.db"));
    disk.fill();
    says(&["restore", &good], "state/vestibule.db: the disk is full; make room there");
    says(&["user", "list"], "state/vestibule.db: the disk is full");
    drop(house);
    drop((disk, other));
}

#[tokio::test]
async fn on_a_disk_that_is_read_only_the_gateway_says_so_and_does_not_start() {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    let disk = Disk::mount(house.path("state"));
    house.add_users(&[("alice", ALICE)]);
    disk.make_read_only();
    let output = house.command(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("store ") && said.contains("state/vestibule.db"), "{said}");
    drop(house);
    drop(disk);
}
