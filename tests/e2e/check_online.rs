//! `vestibule check --online`: what is not there is named before people miss it, and nobody's phone rings.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::Value;

use crate::common::journey::{VONAGE, VONAGE_V1};
use crate::common::{Gateway, House, Scene, Simulator, Upstream, config, provider, vestibule};

/// What it found about something: level and words. The exit code tells whether there is a problem.
#[track_caller]
fn found(house: &House, about: &str) -> (String, String) {
    let output = house.command(&["check", "--online", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = told["problems"].as_u64().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(problems > 0)), "{told:#}");
    let findings = told["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["about"].as_str().unwrap().starts_with(about));
    let finding = finding.unwrap_or_else(|| panic!("nothing about {about}: {told:#}"));
    let word = |key: &str| finding[key].as_str().unwrap().to_owned();
    assert_eq!(
        word("level") == "ok",
        word("remedy").is_empty(),
        "a remedy where something is wrong: {told:#}"
    );
    (word("level"), word("what"))
}

#[track_caller]
fn finds(house: &House, about: &str, level: &str, what: &str) {
    let (is, said) = found(house, about);
    assert!(is == level && said.contains(what), "wanted {level} {what:?} about {about}: {is}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_there_and_nothing_was_sent() {
    let mut scene = Scene::start("").await;
    let log = scene.gateway.log();
    let line = log.lines().find(|line| line.contains("health and metrics are told")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let observe = format!("[observe]\nlisten = {}", line["address"]);
    scene.house.replace("[observe]\nlisten = \"127.0.0.1:0\"", &observe);
    let said = scene.house.run(&["check", "--online"]);
    for expected in [
        "ok       provider twilio  ",
        "takes our credentials; its codes have 6 digits",
        "agrees with the provider's",
        "takes connections of route 127.0.0.1/",
        "vestibule.db can be written",
        "runs, and is ready",
        "\n0 problems, 0 warnings\n",
    ] {
        assert!(said.contains(expected), "no {expected:?}:\n{said}");
    }
    assert!(scene.simulator.messages().await.is_empty());
    let calls = scene.simulator.requests().await;
    assert!(
        calls.iter().all(|call| ["GET", "HEAD"].contains(&call["method"].as_str().unwrap())),
        "{calls:#?}"
    );
    assert_eq!(scene.upstream.count(), 0, "a connection is enough where no health check is set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_us_or_is_away() {
    let upstream = Upstream::start().await;
    let simulator = Simulator::start(&["--auth-token", "another-token"]);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    finds(&house, "provider twilio", "problem", "refuses us: configuration, HTTP status 401");
    drop(simulator);
    finds(&house, "provider twilio", "problem", "connection_refused");
    finds(&house, "clock", "warning", "no provider told the time");

    let simulator = Simulator::start(&["--service-sid", &format!("VA{}", "2".repeat(32))]);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    let output = house.command(&["check", "--online"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("HTTP status 404") && said.contains("correct service_sid"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong() {
    let (upstream, there) = (Upstream::start().await, Upstream::start().await);
    let house = House::with_providers(
        &provider("twilio", &format!("http://{}", there.address)),
        &config(&upstream, "", ""),
    );
    let says = |date: &str| {
        let date = date.to_owned();
        there.answers_by(move |head| {
            let body = if head.starts_with("HEAD") { "" } else { "{\"code_length\":6}" };
            format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: 17\r\n\r\n{body}!close").into_bytes()
        });
    };
    says("Mon, 01 Jan 2024 00:00:00 GMT");
    finds(&house, "clock", "problem", "s ahead of the provider's");
    says("Fri, 31 Dec 2100 00:00:00 GMT");
    finds(&house, "clock", "problem", "s behind the provider's");
    says("yesterday");
    finds(&house, "clock", "warning", "no provider told the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_names_listeners_and_the_store() {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    finds(&house, "store", "ok", "there is none yet");
    assert!(!house.path("state").exists(), "nothing was made");
    house.replace("[observe]", "health_path = \"/up\"\n\n[observe]");
    finds(&house, "upstream", "ok", "takes connections");
    assert!(upstream.last().starts_with("GET /up "), "{}", upstream.last());
    upstream.answers("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n");
    finds(&house, "upstream", "problem", "it answered 500");

    std::fs::create_dir(house.path("state")).unwrap();
    std::fs::write(house.path("state/vestibule.db"), "no database at all, but long enough to be looked at")
        .unwrap();
    finds(&house, "store", "problem", "vestibule.db");

    // Somebody else's port.
    house.replace(
        "listen = [\"127.0.0.1:0\"]",
        &format!("listen = [\"{}\"]", simulator.url.trim_start_matches("http://")),
    );
    finds(&house, "gateway", "problem", "something else listens on");
    house.replace("public_url = \"http://127.0.0.1\"", "public_url = \"http://nowhere.invalid\"");
    finds(&house, "name nowhere.invalid", "problem", "is not found");
}

/// A chain for a host, by an authority, that ends in this year; and the key.
fn chain(host: &str, year: i32) -> (String, String, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "An authority");
    authority.not_after = date_time_ymd(2100, 1, 1);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new([host.to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, host);
    leaf.not_before = date_time_ymd(2020, 1, 1);
    leaf.not_after = date_time_ymd(year, 1, 1);
    (leaf.signed_by(&key, &issuer).unwrap().pem(), authority_pem, key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_in_every_state() {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let tls = "[server.tls]\ncertificate = \"{dir}/chain.pem\"\nprivate_key = \"{dir}/key.pem\"\n";
    let text = config(&upstream, tls, "").replace("http://127.0.0.1\"", "https://localhost\"");
    let house = House::new(&simulator, &text);
    let (leaf, authority, key) = chain("localhost", 2100);
    let place = |chain: &str, key: &str| {
        std::fs::write(house.path("chain.pem"), chain).unwrap();
        std::fs::write(house.path("key.pem"), key).unwrap();
    };
    place(&format!("{leaf}{authority}"), &key);
    finds(&house, "certificate", "ok", "for localhost, good for another");
    place(&leaf, &key);
    finds(&house, "certificate", "warning", "is alone in its file");
    let (_, other, _) = chain("localhost", 2100);
    let mut other_name = CertificateParams::default();
    other_name.distinguished_name.push(DnType::CommonName, "Somebody else");
    let stray = other_name.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    place(&format!("{leaf}{stray}{other}"), &key);
    finds(&house, "certificate", "problem", "do not follow one another");
    let (leaf, authority, key) = chain("localhost", 2021);
    place(&format!("{leaf}{authority}"), &key);
    finds(&house, "certificate", "problem", "expired");
    // Without a look at anything else, too, though the gateway would serve.
    let said = house.run(&["check"]);
    assert!(
        said.contains("is valid") && said.contains("warning: certificate ") && said.contains("expired"),
        "{said}"
    );
    let (leaf, authority, key) = chain("another.test", 2100);
    place(&format!("{leaf}{authority}"), &key);
    finds(&house, "certificate for localhost", "problem", "none is for this name");

    // A key of another certificate is a wrong configuration, as ever.
    let (_, _, other_key) = chain("localhost", 2100);
    place(&format!("{leaf}{authority}"), &other_key);
    assert_eq!(house.command(&["check", "--online"]).status.code(), Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named_with_what_to_do() {
    let scene = Scene::start("").await;
    let house = &scene.house;
    let says = |file: &str, text: &str| {
        let output = vestibule(&["check", "--config", file]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(78) && said.contains(text), "wanted {text:?}: {said}");
    };
    let directory = house.directory.path().to_str().unwrap();
    says(directory, &format!("name the file in it: --config {directory}/config.toml"));
    says("/nonexistent", "write one with: vestibule init");
    // A second gateway on the same state.
    let second = house.command(&["serve"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(1) && said.contains("stop that first"), "{said}");
    std::fs::remove_file(house.path("token")).unwrap();
    says(house.config.to_str().unwrap(), "check the path and its owner");
    drop(scene);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_looked_at_beside_a_running_gateway() {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    let house = House::new(&simulator, &config(&upstream, "", ""));
    let _gateway = Gateway::start(&house);
    finds(&house, "store", "ok", "can be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn vonage_is_asked_in_both_of_its_ways() {
    for kind in [VONAGE, VONAGE_V1] {
        let mut flags = vec!["--api-secret", "a-secret-token-of-32-characters!"];
        flags.extend(kind.flags);
        let scene = Scene::of(kind, &flags, "").await;
        finds(&scene.house, &format!("provider {}", kind.word), "ok", "takes our credentials");
        assert!(scene.simulator.messages().await.is_empty(), "{}", kind.word);
        std::fs::write(scene.house.path("token"), "another-secret-of-32-characters!").unwrap();
        finds(&scene.house, &format!("provider {}", kind.word), "problem", "refuses us");
    }
}
