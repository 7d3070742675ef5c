//! `vestibule init`: what it writes is a configuration that works, and it never writes over another.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::{Simulator, Upstream, vestibule};

fn flags<'f>(directory: &'f str, upstream: &'f str) -> Vec<String> {
    let flags = [
        "--config",
        &format!("{directory}/etc/config.toml"),
        "--public-url",
        "https://wiki.example.com",
        "--upstream",
        upstream,
        "--tls",
        "proxy",
        "--provider",
        "twilio",
        "--account",
        "AC0123456789abcdef0123456789abcdef",
        "--service",
        "VA0123456789abcdef0123456789abcdef",
        "--secret-file",
        &format!("{directory}/token"),
        "--user",
        "alice",
        "--phone",
        "+1 415 555 0100",
        "--region",
        "US",
    ];
    flags.map(str::to_owned).to_vec()
}

fn init(flags: &[String], more: &[&str]) -> Output {
    let all: Vec<&str> =
        ["init"].into_iter().chain(flags.iter().map(String::as_str)).chain(more.iter().copied()).collect();
    vestibule(&all)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_make_a_configuration_that_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    std::fs::write(directory.path().join("token"), "9f2b7c1e5d8a4036b1c2d3e4f5a60718\n").unwrap();
    let flags = flags(place, "http://127.0.0.1:8080");
    let done = init(&flags, &["--offline"]);
    let said = text(&done);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("sudo systemctl enable --now vestibule"), "{said}");
    let user_add =
        format!("sudo vestibule user add alice --phone '+14155550100' --config {place}/etc/config.toml");
    assert!(said.contains(&user_add), "{said}");

    let config = directory.path().join("etc/config.toml");
    let written = std::fs::read_to_string(&config).unwrap();
    assert!(written.lines().count() <= 25 && !written.contains("9f2b7c1e"), "{written}");
    let secret = directory.path().join("etc/credentials/twilio-auth-token");
    assert_eq!((mode(&secret), mode(secret.parent().unwrap())), (0o600, 0o700));
    assert_eq!(mode(&config) & 0o022, 0);
    let mut check = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    check.args(["check", "--config"]).arg(&config).env("CREDENTIALS_DIRECTORY", secret.parent().unwrap());
    let checked = check.output().unwrap();
    assert!(text(&checked).contains("is valid: 1 route for wiki.example.com"), "{}", text(&checked));

    // Nothing is written over, and with --force all of it.
    let again = init(&flags, &["--offline"]);
    assert!(again.status.code() == Some(1) && text(&again).contains("--force"), "{}", text(&again));
    std::fs::write(directory.path().join("token"), "another-secret-of-the-provider").unwrap();
    assert!(init(&flags, &["--offline", "--force"]).status.success());
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "another-secret-of-the-provider\n");
    assert_eq!(std::fs::read_dir(directory.path().join("etc")).unwrap().count(), 2, "nothing is left aside");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_are_named_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    std::fs::write(directory.path().join("token"), "9f2b7c1e5d8a4036b1c2d3e4f5a60718\n").unwrap();
    let good = flags(place, "http://127.0.0.1:8080");
    let with = |flag: &str, value: &str| {
        let mut flags = good.clone();
        let at = flags.iter().position(|known| known == flag).unwrap();
        flags[at + 1] = value.to_owned();
        init(&flags, &["--offline"])
    };
    for (flag, value, said) in [
        ("--public-url", "wiki", "not the URL of a site"),
        ("--upstream", "127.0.0.1:8080/x", "--upstream"),
        ("--account", "AC1", "provider.account_sid"),
        ("--phone", "12", "--phone"),
        ("--tls", "files", "--certificate"),
        ("--region", "Utopia", "country"),
        ("--provider", "carrier-pigeon", "twilio"),
    ] {
        let wrong = with(flag, value);
        assert!(wrong.status.code() == Some(64) && text(&wrong).contains(said), "{flag}: {}", text(&wrong));
    }
    let missing = with("--secret-file", "/nonexistent");
    assert!(
        missing.status.code() == Some(1) && text(&missing).contains("/nonexistent"),
        "{}",
        text(&missing)
    );
    let nobody = vestibule(&[
        "init",
        "--config",
        &format!("{place}/etc/config.toml"),
        "--upstream",
        "http://127.0.0.1:1",
    ]);
    let said = text(&nobody);
    assert!(
        nobody.status.code() == Some(64) && said.contains("give --public-url, --tls, --provider"),
        "{said}"
    );
    assert!(!directory.path().join("etc").exists());
}

/// A terminal of its own, by `script` of Debian's bsdutils: what is typed there is answered there.
#[tokio::test(flavor = "multi_thread")]
async fn questions_are_asked_and_the_secret_is_not_shown() {
    use std::io::Write as _;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let command =
        format!("{} init --offline --config {place}/etc/config.toml", env!("CARGO_BIN_EXE_vestibule"));
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--echo", "never", "--command", &command, "/dev/null"]);
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let answers = "nonsense\nhttps://wiki.example.com\n\nproxy\n\nAC0123456789abcdef0123456789abcdef\n\
                   VA0123456789abcdef0123456789abcdef\nthe-secret-token-that-is-typed\n\nUS\n(415) 555-0100\n";
    terminal.stdin.as_mut().unwrap().write_all(answers.as_bytes()).unwrap();
    let done = terminal.wait_with_output().unwrap();
    let said = text(&done);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("not the URL of a site") && said.contains("Auth token (not shown)"), "{said}");
    assert!(said.contains("user add admin --phone '+14155550100'"), "{said}");
    let secret = std::fs::read_to_string(directory.path().join("etc/credentials/twilio-auth-token")).unwrap();
    assert_eq!(secret, "the-secret-token-that-is-typed\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_checks_what_it_wrote() {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "9f2b7c1e5d8a4036b1c2d3e4f5a60718\n").unwrap();
    let mut flags = flags(directory.path().to_str().unwrap(), &format!("http://{}", upstream.address));
    let url = flags.iter().position(|known| known == "https://wiki.example.com").unwrap();
    flags[url] = "http://127.0.0.1".to_owned();
    let provider = simulator.url.clone();
    let more = ["--listen", "127.0.0.1:0", "--base-url", &provider];
    let said = text(&init(&flags, &more));
    assert!(said.contains("ok       provider twilio") && said.contains("0 problems, 0 warnings"), "{said}");
    assert!(simulator.messages().await.is_empty());
    drop(simulator);
    let said = text(&init(&flags, &[&more[..], &["--force"]].concat()));
    assert!(said.contains("problem  provider twilio") && said.contains("Mend what it found"), "{said}");
}
