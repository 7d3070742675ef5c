//! The machine's clock is set by hours while the gateway runs (libfaketime, from Debian).

use std::path::Path;

use crate::common::journey::GENEROUS;
use crate::common::{ALICE, Browser, Gateway, House, Simulator, Upstream, config};

fn library() -> String {
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    found.expect("tests/run installs the package faketime")
}

#[tokio::test]
async fn a_clock_that_jumps_by_hours_is_told_and_people_sign_in_all_the_same() {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    let house = House::new(&simulator, &config(&upstream, GENEROUS, ""));
    house.add_users(&[("alice", ALICE)]);
    let (offset, library) = (house.path("offset"), library());
    std::fs::write(&offset, "+0").unwrap();
    let mut gateway = Gateway::start_with(
        &house,
        &[
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ],
    );
    let sign_in = async || {
        let browser = Browser::new(gateway.address);
        browser.sign_in(&simulator, ALICE).await;
        browser
    };
    let before = sign_in().await;
    std::fs::write(&offset, "+5h").unwrap();
    // Nobody was there for five hours, as far as anybody can tell.
    assert_eq!(before.go("/").await.status, 303);
    let later = sign_in().await;
    let line = gateway.wait_for_log("the clock jumped forward");
    assert!(line.contains("\"5h\"") || line.contains("\"4h 59m") || line.contains("\"5h "), "{line}");

    std::fs::write(&offset, "+0").unwrap();
    let line = gateway.wait_for_log("the clock jumped back");
    assert!(line.contains("timedatectl"), "{line}");
    let browser = Browser::new(gateway.address);
    browser.sign_in(&simulator, ALICE).await;
    assert!(browser.is_in().await && later.is_in().await);
    assert!(!gateway.stop().contains("panicked"));
}
