//! `vestibule doctor`: each way around the gateway is found, and a sound house has none.

use std::fs::{Permissions, set_permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::common::{House, provider};

/// A house as it should be: TLS by a proxy on this machine, and an application that only this machine reaches.
fn sound(upstream: &TcpListener) -> House {
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:8443\"]\npublic_url = \"https://wiki.example.com\"\nstate_directory = \"{{dir}}/state\"\n\
         trusted_proxies = [\"127.0.0.1\"]\n\n[[route]]\nupstream = [\"http://127.0.0.1:{}\"]\n\n[observe]\nlisten = \"127.0.0.1:9464\"\n",
        upstream.local_addr().unwrap().port()
    );
    let account = provider("twilio", "https://verify.twilio.com")
        .replace(&"0".repeat(32), "0123456789abcdef0123456789abcdef")
        .replace(&"1".repeat(32), "123456789abcdef0123456789abcdef0");
    let house = House::with_providers(&account, &text);
    mode(&house, "token", 0o600);
    std::fs::write(house.path("token"), "9f2b7c1e5d8a4036b1c2d3e4f5a60718").unwrap();
    house
}

fn near() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn mode(house: &House, file: &str, mode: u32) {
    set_permissions(house.path(file), Permissions::from_mode(mode)).unwrap();
}

/// What it found that is not well, but for what depends on the machine that the test runs on.
fn troubles(house: &House) -> Vec<String> {
    let output = house.command(&["doctor", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = told["problems"].as_u64().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(problems > 0)), "{told:#}");
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let of_the_host = ["unit", "limits", "clock"];
    let findings = told["findings"].as_array().unwrap().iter().filter(|finding| {
        word(finding, "level") != "ok" && !of_the_host.contains(&finding["about"].as_str().unwrap())
    });
    findings
        .map(|finding| {
            assert!(!word(finding, "remedy").is_empty(), "{finding}");
            format!("{} {}: {}", word(finding, "level"), word(finding, "about"), word(finding, "what"))
        })
        .collect()
}

#[track_caller]
fn finds(house: &House, text: &str) {
    let found = troubles(house);
    assert!(found.iter().any(|one| one.contains(text)), "wanted {text:?}: {found:#?}");
}

#[test]
fn a_sound_house_has_nothing_to_mend() {
    let upstream = near();
    assert_eq!(troubles(&sound(&upstream)), Vec::<String>::new());
}

#[test]
fn an_application_that_others_reach() {
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let house = sound(&open);
    finds(
        &house,
        &format!(
            "problem upstream http://127.0.0.1:{}: listens on 0.0.0.0:",
            open.local_addr().unwrap().port()
        ),
    );
    house.replace("http://127.0.0.1:", "http://192.0.2.1:");
    finds(&house, "runs on another machine");
}

#[test]
fn listening_and_trusting_more_than_meant() {
    let upstream = near();
    let scenes = [
        (
            "127.0.0.1:8443",
            "0.0.0.0:8443",
            "problem server.listen: listens on 0.0.0.0:8443 without TLS, though its proxy",
        ),
        ("https://wiki", "http://wiki", ""),
        ("127.0.0.1:9464", "0.0.0.0:9464", "warning observe.listen"),
    ];
    for (from, to, text) in scenes {
        let house = sound(&upstream);
        house.replace(from, to);
        finds_or_not(&house, text);
    }
    let house = sound(&upstream);
    house.replace("127.0.0.1:8443", "0.0.0.0:80");
    house.replace("https://wiki", "http://wiki");
    finds(&house, "problem server.public_url: public_url is http");
    house.replace("http://wiki.example.com", "http://localhost");
    finds(&house, "warning server.listen: listens on 0.0.0.0:80, but public_url is only for this machine");

    let house = sound(&upstream);
    house.replace("127.0.0.1:8443", "0.0.0.0:8443");
    house.replace("[\"127.0.0.1\"]", "[\"10.0.0.0/8\", \"13.0.0.0/9\"]");
    finds(&house, "server.trusted_proxies: has 10.0.0.0/8, a whole private range");
    finds(&house, "server.trusted_proxies: has 13.0.0.0/9, a wide range of public addresses");
}

#[track_caller]
fn finds_or_not(house: &House, text: &str) {
    if text.is_empty() { assert_eq!(troubles(house), Vec::<String>::new()) } else { finds(house, text) }
}

#[test]
fn secrets_that_are_none() {
    let upstream = near();
    let house = sound(&upstream);
    std::fs::write(house.path("token"), "changeme\n").unwrap();
    finds(&house, "problem provider.auth_token: is a placeholder");
    let house = sound(&upstream);
    house.replace("AC0123456789abcdef0123456789abcdef", &format!("AC{}", "0".repeat(32)));
    finds(&house, "problem provider.account_sid");
    let house = sound(&upstream);
    house.replace("https://verify.twilio.com", "http://127.0.0.1:4010");
    finds(&house, "problem provider.base_url: http://127.0.0.1:4010 is a simulator");
    let house = sound(&upstream);
    std::fs::create_dir(house.path("state")).unwrap();
    std::fs::write(house.path("state/master.key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    mode(&house, "state", 0o700);
    mode(&house, "state/master.key", 0o600);
    finds(&house, "problem master key");
    std::fs::write(
        house.path("config.toml"),
        std::fs::read_to_string(&house.config).unwrap()
            + "\n[store]\nmaster_key = { file = \"/nonexistent\" }\n",
    )
    .unwrap();
    finds(&house, "problem store.master_key: /nonexistent cannot be read");
}

#[test]
fn files_that_others_read_or_change() {
    let upstream = near();
    let house = sound(&upstream);
    mode(&house, "token", 0o644);
    finds(&house, "problem provider.auth_token: everybody on this machine may read");
    mode(&house, "token", 0o640);
    assert_eq!(troubles(&house), Vec::<String>::new(), "a group of its own may read it");
    mode(&house, "token", 0o660);
    finds(&house, "problem provider.auth_token: others may change");
    mode(&house, "token", 0o600);
    mode(&house, "config.toml", 0o666);
    finds(&house, "problem the configuration: everybody on this machine may change");
    mode(&house, "config.toml", 0o644);
    mode(&house, "", 0o777);
    finds(&house, "problem the configuration");
    mode(&house, "", 0o700);
    std::fs::create_dir(house.path("state")).unwrap();
    mode(&house, "state", 0o755);
    for file in ["master.key", "vestibule.db"] {
        let file = format!("state/{file}");
        std::fs::write(house.path(&file), "x y").unwrap();
        mode(&house, &file, 0o644);
        finds(&house, &format!("problem state: others may reach {}", house.path(&file).display()));
    }
    finds(&house, "problem state directory");
}
