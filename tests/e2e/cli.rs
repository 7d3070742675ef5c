//! The commands: what they print, how they end, and that a mistake is named with its remedy.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::common::more::Demo;
use crate::common::{
    ALICE, BOB, Browser, Gateway, House, Scene, Simulator, Upstream, config, eventually, vestibule,
};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn ends(output: &Output, code: i32, said: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    assert!(out.contains(said) || err.contains(said), "wanted {said:?}:\n{out}\n{err}");
}

async fn house() -> House {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    House::new(&simulator, &config(&upstream, "", ""))
}

#[tokio::test]
async fn every_command_explains_itself_and_ends_as_agreed() {
    let commands = "serve|demo|check|user|user add|user list|user show|user import|user set-phone|user disable|user enable|\
                    user remove|session|session list|session revoke|key|key list|key rotate|audit|audit tail|check|init|doctor|selftest|simulate|\
                    simulate twilio|completions|man";
    for command in commands.split('|').chain([""]) {
        let output = vestibule(&[&command.split_whitespace().collect::<Vec<_>>()[..], &["--help"]].concat());
        ends(&output, 0, "Example");
        let help = text(&output.stdout);
        assert!(help.contains("  vestibule "), "{command}: {help}");
    }
    for wrong in [
        vec![],
        vec!["frobnicate"],
        vec!["serve", "--nonsense"],
        vec!["user", "add"],
        vec!["user", "add", "a b", "--phone", ALICE],
        vec!["session", "revoke"],
        vec!["session", "revoke", "--all", "--user", "x"],
        vec!["completions", "tcsh2"],
        vec!["simulate", "twilio", "--code-length", "3"],
        vec!["demo", "--listen", "nowhere"],
    ] {
        assert_eq!(vestibule(&wrong).status.code(), Some(64), "{wrong:?}");
    }
    ends(&vestibule(&["--version"]), 0, "vestibule 0");
    ends(&vestibule(&["completions", "bash"]), 0, "complete -F _vestibule");
    ends(&vestibule(&["man"]), 0, ".TH vestibule 1");
    let pages = tempfile::tempdir().unwrap();
    let directory = pages.path().join("man1");
    ends(&vestibule(&["man", "--out", directory.to_str().unwrap()]), 0, "");
    let page = std::fs::read_to_string(directory.join("vestibule-user-add.1")).unwrap();
    assert!(page.contains("vestibule user add alice"), "{page}");
    ends(
        &vestibule(&["man", "--out", "/proc/nowhere"]),
        1,
        "cannot write the manual pages to /proc/nowhere: ",
    );
    ends(&vestibule(&["user", "list", "--config", "/nonexistent"]), 78, "/nonexistent: cannot be read");

    let house = house().await;
    ends(&house.command(&["check"]), 0, "is valid: 1 route for 127.0.0.1");
    assert_eq!(house.json(&["check"]), json!({ "valid": true, "problems": [], "warnings": [] }));
    ends(&house.command(&["audit", "tail", "--reference", "nonsense"]), 64, "it looks like K7QX-2MHD");
    ends(&house.command(&["session", "revoke", "nonsense"]), 64, "is no session id");
    let revoke = vestibule(&["session", "revoke"]);
    ends(&revoke, 64, "--user <NAME>|--all>");
    for command in [
        &["session", "revoke", "--user", "nobody"][..],
        &["user", "show", "nobody"],
        &["user", "remove", "nobody"],
        &["user", "enable", "nobody"],
    ] {
        ends(&house.command(command), 1, "there is no user nobody");
    }
    // Whoever stopped reading has seen enough; nobody panics.
    for command in [
        vec!["user", "list", "--json"],
        vec!["check"],
        vec!["man"],
        vec!["--help"],
        vec!["completions", "zsh"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut closed = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        closed.args(&command).stdout(writer).stderr(Stdio::piped());
        if command.len() != 1 && command[0] != "completions" || command[0] == "check" {
            closed.arg("--config").arg(&house.config);
        }
        let output = closed.output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{command:?}: {output:?}");
        assert!(!text(&output.stderr).contains("panicked"), "{command:?}: {output:?}");
    }
}

const WRONG: &str = r#"[server]
listen = ["127.0.0.1"]
public_url = "wiki.example.com"
workerz = 2
trusted_proxies = ["0.0.0.0/0"]

[[route]]
upstream = ["https://127.0.0.1:8080/path"]

[challenge]
default_region = "Utopia"
identify_by = "shoe size"

[session]
idle_timeout = "a while"

[limits]
starts_per_number = "5 per hour"

[log]
level = "loud"

[[provider]]
kind = "twilio"
account_sid = "AC1"
auth_token = "written-right-here-in-the-file"
service_sid = "VA11111111111111111111111111111111"
"#;

#[tokio::test]
async fn check_names_every_mistake_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, WRONG).unwrap();
    let file = file.to_str().unwrap();
    let said = vestibule(&["check", "--config", file]);
    ends(&said, 78, "12 problems");
    let expected = [
        (2, "server.listen", "not an address; write one like \"0.0.0.0:443\""),
        (3, "server.public_url", "not the URL of a site; write scheme and host only"),
        (4, "server.workerz", "unknown key; did you mean \"workers\"?"),
        (5, "server.trusted_proxies", "everybody would be trusted"),
        (8, "route.upstream", "scheme, host and port only"),
        (11, "challenge.default_region", "not a country; write its two letters"),
        (12, "challenge.identify_by", "not known; write \"phone\" or \"name\""),
        (15, "session.idle_timeout", "not a duration; write a number and a unit"),
        (18, "limits.starts_per_number", "not a rate; write how often in how long"),
        (21, "log.level", "not known; write \"error\""),
        (25, "provider.account_sid", "not a SID; it is AC and 32 hexadecimal digits"),
        (26, "provider.auth_token", "a secret is named, never written here; write { credential = \"NAME\" }"),
    ];
    let lines: Vec<String> = text(&said.stderr).lines().skip(1).map(str::to_owned).collect();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for ((line, key, words), printed) in expected.iter().zip(&lines) {
        assert!(
            printed.starts_with(&format!("{file}:{line}: {key}: ")) && printed.contains(words),
            "{printed}"
        );
        assert!(printed.contains("; "), "a remedy: {printed}");
    }
    assert!(!text(&said.stderr).contains("written-right-here"), "a secret is not repeated");

    let said = vestibule(&["check", "--json", "--config", file]);
    assert_eq!(said.status.code(), Some(78));
    let document: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(
        (document["valid"].as_bool(), document["problems"].as_array().unwrap().len()),
        (Some(false), 12)
    );
    for (problem, (line, key, _)) in document["problems"].as_array().unwrap().iter().zip(expected) {
        assert_eq!((problem["line"].as_u64(), problem["key"].as_str()), (Some(line), Some(key)), "{problem}");
        assert_eq!(problem["file"].as_str(), Some(file));
        assert!(
            ["reason", "remedy"].iter().all(|part| !problem[part].as_str().unwrap().is_empty()),
            "{problem}"
        );
    }
    ends(&vestibule(&["serve", "--config", file]), 78, "server.workerz");

    std::fs::write(file, "[server\nlisten = \n").unwrap();
    ends(&vestibule(&["check", "--config", file]), 78, ":1: not TOML");
    std::fs::write(file, "").unwrap();
    for missing in ["server.listen", "server.public_url", "route", "provider"] {
        ends(&vestibule(&["check", "--config", file]), 78, missing);
    }
}

#[tokio::test]
async fn check_reads_what_a_configuration_points_to() {
    let house = house().await;
    std::fs::write(house.path("identify.html"), "{% if %}").unwrap();
    house.replace("[log]", "[challenge]\ntemplates = \"TEMPLATES\"\n\n[log]");
    ends(&house.command(&["check"]), 78, "challenge.templates: not a directory");
    house.replace("TEMPLATES", house.directory.path().to_str().unwrap());
    ends(&house.command(&["check"]), 78, "identify.html");
    std::fs::remove_file(house.path("identify.html")).unwrap();
    ends(&house.command(&["check"]), 0, "is valid");
    house.replace(
        "[[route]]",
        "[server.tls]\ncertificate = \"/nonexistent.pem\"\nprivate_key = \"/nonexistent.pem\"\n\n[[route]]",
    );
    house.replace("public_url = \"http:", "public_url = \"https:");
    ends(&house.command(&["check"]), 78, "/nonexistent.pem cannot be read");
}

#[tokio::test]
async fn a_broken_file_of_an_upstream_is_a_mistake_of_the_configuration() {
    let house = house().await;
    let broken = house.path("authorities.pem");
    std::fs::write(&broken, "nothing of the kind").unwrap();
    let route = |name: &str, more: &str| {
        format!("[[route]]\nhost = \"{name}.test\"\nupstream = [\"https://127.0.0.1:1\"]\n{more}\n")
    };
    let authorities = format!("upstream_ca = {broken:?}");
    let identity = format!("upstream_certificate = {broken:?}\nupstream_key = {:?}", house.config);
    let routes = [route("b", &authorities), route("c", ""), route("d", &identity), route("e", &authorities)];
    house.replace("[observe]", &format!("{}\n[observe]", routes.concat()));
    let said = "authorities.pem holds no certificate; give a PEM file";
    let checked = house.command(&["check"]);
    ends(&checked, 78, "3 problems");
    for key in ["route[2].upstream_ca", "route[4].upstream_certificate", "route[5].upstream_ca"] {
        ends(&checked, 78, &format!("{key}: {}", broken.display()));
    }
    let file = std::fs::read_to_string(&house.config).unwrap();
    let line = file.lines().position(|line| line == authorities).unwrap() + 1;
    ends(&checked, 78, &format!("{}:{line}: route[2].upstream_ca: ", house.config.display()));
    ends(&house.command(&["serve"]), 78, said);
}

#[tokio::test]
async fn users_from_the_first_to_the_last() {
    let house = house().await;
    ends(&house.command(&["user", "add", " Alice ", "--phone", "+1 (415) 555-0100"]), 0, "alice was added");
    ends(
        &house.command(&["user", "add", "ALICE", "--phone", "+14155550111"]),
        1,
        "there is a user alice already",
    );
    ends(
        &house.command(&["user", "add", "eve", "--phone", ALICE]),
        1,
        "the phone number of eve is that of alice already",
    );
    ends(&house.command(&["user", "add", "eve", "--phone", "12"]), 64, "needs its country");
    ends(&house.command(&["user", "add", "eve", "--phone", "+1"]), 64, "not a phone number");
    assert_eq!(
        house.json(&["user", "add", "bob", "--phone", "+14155550101"]),
        json!({"name": "bob", "done": "added with +14155550101"})
    );
    let list = house.json(&["user", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 2);
    let alice = &list[0];
    let mut keys: Vec<&str> = alice.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["created", "disabled", "name", "phone_number", "phone_verified_at", "two_factor_enabled"]
    );
    assert_eq!(
        (alice["phone_number"].as_str(), alice["two_factor_enabled"].as_bool()),
        (Some(ALICE), Some(true))
    );
    ends(&house.command(&["user", "list"]), 0, "+14155550101");
    ends(&house.command(&["user", "set-phone", "bob", ALICE]), 1, "that of alice already");
    ends(&house.command(&["user", "set-phone", "bob", "+14155550177"]), 0, "bob was given another phone");
    ends(&house.command(&["user", "disable", "bob"]), 0, "bob was disabled");
    assert_eq!(house.json(&["user", "show", "bob"])["disabled"], true);
    ends(&house.command(&["user", "enable", "bob"]), 0, "bob was enabled");
    let shown = house.json(&["user", "show", "bob"]);
    let expected = (json!(false), json!("+14155550177"), json!(0), json!(false), json!(null));
    let said = (
        &shown["disabled"],
        &shown["phone_number"],
        &shown["wrong_codes_in_a_row"],
        &shown["codes_closed"],
        &shown["phone_verified_at"],
    );
    assert_eq!((said.0.clone(), said.1.clone(), said.2.clone(), said.3.clone(), said.4.clone()), expected);
    house.sql("INSERT INTO failure SELECT 'user:' || id, 100, 0 FROM user WHERE name = 'bob'");
    ends(&house.command(&["user", "show", "bob"]), 0, "codes by phone are closed");
    ends(&house.command(&["user", "remove", "bob"]), 0, "bob was removed");
    assert_eq!(house.json(&["user", "list"]).as_array().unwrap().len(), 1);
    let trail = house.json(&["audit", "tail"]).to_string();
    assert!(trail.contains("user_changed") && !trail.contains("4155550"), "{trail}");

    let file = house.path("people.csv");
    let import = |text: &str| {
        std::fs::write(&file, text).unwrap();
        house.command(&["user", "import", file.to_str().unwrap()])
    };
    let wrong =
        import("name,phone_number\ncarol,+14155550102\na b,+14155550103\ndave,12\n\"broken,+14155550104\n");
    ends(&wrong, 1, "nobody was added");
    let said = text(&wrong.stderr);
    assert!(said.contains("people.csv:3: ") && said.contains("people.csv:4: "), "{said}");
    ends(&import("name,phone_number\ncarol,+14155550102\ndave\n"), 1, "people.csv:3: ");
    ends(&import("name,phone_number\ncarol,+14155550102\nCAROL,+14155550103\n"), 1, "carol");
    ends(&import("name,phone_number\ncarol,+14155550102\ndave,+1 415 555 0102\n"), 1, "dave");
    ends(
        &import("name,phone_number\ncarol,+14155550102\ndave,+14155550100\n"),
        1,
        "the phone number of dave is that of alice",
    );
    ends(&import("who,what\ncarol,+14155550102\n"), 1, "the first line must name the columns");
    ends(&import(""), 1, "the first line must name the columns");
    assert_eq!(house.json(&["user", "list"]).as_array().unwrap().len(), 1, "all or none");
    ends(&import("Phone,Name\n+1 415 555 0102, Carol \n+14155550103,dave\n"), 0, "2 users added");
    assert_eq!(house.json(&["user", "list"])[1]["name"], "carol");
}

#[tokio::test]
async fn the_demo_lets_one_in_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(temporary.path());
    let open = demo.wait_for("  open   ");
    let address =
        open.trim().trim_start_matches("open").trim().trim_start_matches("http://").trim_end_matches('/');
    let phone = demo.wait_for("  type   ").trim().trim_start_matches("type").trim().to_owned();
    assert_eq!(phone, ALICE);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
    let browser = Browser::new(address.parse().unwrap());
    assert!(browser.go("/").await.location().starts_with("/.vestibule/challenge"));
    assert_eq!(browser.start(&phone).await.status, 303);
    let line = demo.wait_for("code +");
    let code = line.strip_prefix(&format!("code {ALICE} ")).unwrap_or_else(|| panic!("{line}")).to_owned();
    assert_eq!(browser.verify(&code).await.status, 303);
    let page = browser.go("/").await;
    assert!(page.status == 200 && page.text.contains("alice"), "{page:#?}");
    demo.stop();
    eventually("the demo tidies up", async || std::fs::read_dir(temporary.path()).unwrap().count() == 0)
        .await;
}

/// The help desk hears a reference and has the whole story; a number is masked in it, and the provider's id is there.
#[tokio::test]
async fn a_reference_tells_its_story() {
    let scene = Scene::start("").await;
    let browser = scene.browser();
    scene.simulator.fault(json!({"on": "start", "fault": "503", "times": 1})).await;
    assert_eq!(browser.start(ALICE).await.status, 303);
    browser.mistype(&scene.simulator.wrong_code(ALICE).await).await;
    assert_eq!(browser.resend("call").await.status, 303);
    let reference = browser.challenge().await.reference().unwrap().to_owned();
    assert_eq!(browser.verify(&scene.simulator.code(ALICE).await).await.status, 303);

    let told = scene.house.run(&["audit", "show", &reference.to_lowercase()]);
    let story = scene.house.json(&["audit", "show", &reference]);
    let id = story["challenges"][0]["provider_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("VE"), "{story:#}");
    let lines = [
        format!("{reference}: alice, number ••• ••00, from 127.0.0.1"),
        "A code was asked for".to_owned(),
        format!("twilio sent a code by text message  [{id}]"),
        format!("A code was typed: wrong code, 4 tries left  [{id}]"),
        "Another code was asked for, by call".to_owned(),
        format!("twilio sent a code by call  [{id}]"),
        format!("Signed in: twilio approved the code  [{id}]"),
        "Now: accepted; 2 messages asked for; 2 of 5 codes typed; good until".to_owned(),
    ];
    let mut rest = told.as_str();
    for line in &lines {
        let at = rest
            .find(line.as_str())
            .unwrap_or_else(|| panic!("{line:?} is not where it should be in:\n{told}"));
        rest = &rest[at..];
    }
    assert!(!told.contains("4155550100") && !story.to_string().contains("4155550100"), "{told}");
    let results: Vec<_> =
        story["events"].as_array().unwrap().iter().filter_map(|e| e["call"]["result"].as_str()).collect();
    assert_eq!(results, ["sent", "wrong_code", "sent", "approved"]);
    assert_eq!((&story["user"], &story["number"]), (&"alice".into(), &"••• ••00".into()));

    for (words, code) in [("K7QX-2MHD", 1), ("nonsense", 64)] {
        let output = scene.house.command(&["audit", "show", words]);
        assert_eq!(output.status.code(), Some(code), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What is asked for after the time of a code is a challenge of its own, under the same reference.
#[tokio::test]
async fn a_story_of_two_challenges_says_which_is_now() {
    let scene = Scene::start("").await;
    let late = scene.browser();
    assert_eq!(late.start(BOB).await.status, 303);
    let reference = late.challenge().await.reference().unwrap().to_owned();
    scene.house.sql("UPDATE challenge SET expires_at = expires_at - 900, created_at = created_at - 900 WHERE state = 'open'");
    assert!(scene.house.run(&["audit", "show", &reference]).contains("Now: expired; 1 message asked for"));
    scene.simulator.fault(json!({"on": "start", "fault": "drop_after", "times": 1})).await;
    assert_eq!(late.resend("sms").await.status, 303);
    scene.simulator.fault(json!({"on": "check", "fault": "503", "times": 1})).await;
    late.verify("123456").await.expect(503, "could not be checked");
    let told = scene.house.run(&["audit", "show", &reference]);
    for line in [
        "twilio may have sent by text message: its answer was lost (ambiguous, error connection_broken)",
        "A code could not be judged by twilio: provider_down, HTTP status 503, error 20503",
        "\nBefore: expired; 1 message asked for; 0 of 5 codes typed",
        "\nNow: open; 1 message asked for; 1 of 5 codes typed",
    ] {
        assert!(told.contains(line), "{line:?} is not in:\n{told}");
    }
    let states = scene.house.json(&["audit", "show", &reference]);
    assert_eq!(
        (&states["challenges"][0]["state"], &states["challenges"][1]["state"]),
        (&"expired".into(), &"open".into())
    );
    // A day later the trail is all there is; of what never began there was no more.
    scene.house.sql("DELETE FROM challenge");
    assert!(scene.house.run(&["audit", "show", &reference]).contains("The challenge itself is gone"));
    let refused = scene.browser().start("12").await;
    let told = scene.house.run(&["audit", "show", refused.reference().unwrap()]);
    assert!(told.contains("What was typed could not be used") && !told.contains("is gone"), "{told}");

    let of_bob = scene.house.json(&["audit", "tail", "--user", "bob"]);
    assert!(of_bob.as_array().unwrap().iter().all(|event| event["user"] == "bob"), "{of_bob:#}");
    assert!(of_bob.as_array().unwrap().len() > 4, "{of_bob:#}");
    let both = ["audit", "tail", "--user", "alice", "--reference", &reference];
    assert_eq!(scene.house.json(&both), json!([]));
}

#[tokio::test]
async fn a_key_is_not_made_under_another_master_key() {
    let mut scene = Scene::start("").await;
    let before = scene.house.json(&["key", "list"]);
    let file = scene.house.path("state/master.key");
    let key = std::fs::read(&file).unwrap();
    std::fs::write(&file, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    ends(&scene.house.command(&["key", "rotate"]), 1, "do not open with");
    ends(&scene.house.command(&["key", "rotate"]), 1, "state/master.key; put the key that belongs");
    ends(&scene.house.command(&["store", "check"]), 1, "state/master.key; put the key that belongs");
    assert_eq!(scene.house.json(&["key", "list"]), before);
    // Nor anything else that a gateway could not use.
    for command in [
        &["user", "break-glass", "alice", "--reason", "x"][..],
        &["user", "disable", "alice"],
        &["session", "revoke", "--all"],
    ] {
        ends(&scene.house.command(command), 1, "do not open with");
    }
    scene.gateway.stop();
    ends(&scene.house.command(&["serve"]), 1, "state/master.key; put the key that belongs");

    // The same of one that the configuration names.
    let text = std::fs::read_to_string(&scene.house.config).unwrap();
    let named = format!("{text}\n[store]\nmaster_key = {{ file = \"{}\" }}\n", file.display());
    std::fs::write(&scene.house.config, named).unwrap();
    ends(&scene.house.command(&["key", "rotate"]), 1, "the key that store.master_key names; put");
    std::fs::write(&file, key).unwrap();
    ends(&scene.house.command(&["key", "rotate"]), 0, "signs from now on");
    scene.gateway = Gateway::start(&scene.house);
    assert!(scene.signed_in(ALICE).await.is_in().await);
}
