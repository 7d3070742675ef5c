//! What the audit trail has beside signing in: gateways that begin and end, configurations, and who was refused.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use reqwest::Method;

use crate::common::{ALICE, House, PATIENCE, Scene, eventually};

impl House {
    async fn has_noted(&self, event: &str, detail: &str) {
        eventually(event, async || self.details(event).iter().any(|noted| noted.contains(detail))).await;
    }
}

#[tokio::test]
async fn a_gateway_tells_when_it_begins_and_ends_and_what_configuration_it_takes() {
    let mut scene = Scene::start("").await;
    scene.house.has_noted("gateway_started", "version ").await;
    let text = std::fs::read_to_string(&scene.house.config).unwrap();
    std::fs::write(&scene.house.config, format!("{text}\n[limits]\nstarts_per_user = \"7/1h\"\n")).unwrap();
    scene.gateway.signal("HUP");
    scene.house.has_noted("configuration_reloaded", "1 keys changed").await;
    std::fs::write(&scene.house.config, format!("{text}\nnonsense = 1\n")).unwrap();
    scene.gateway.signal("HUP");
    scene.gateway.wait_for_log("\"configuration_refused\"");
    std::fs::write(&scene.house.config, text).unwrap();
    scene.house.has_noted("configuration_refused", "nonsense").await;
    scene.gateway.stop();
    scene.house.has_noted("gateway_stopped", "as it was told to").await;
    scene.house.run(&["audit", "verify"]);
}

/// The last use of a session is not lost for the note that the gateway stops.
#[tokio::test]
async fn sessions_are_written_down_before_the_end_is_noted() {
    let mut scene = Scene::start("").await;
    let alice = scene.signed_in(ALICE).await;
    scene.house.sql(
        "CREATE TABLE witness (seen INTEGER); \
         CREATE TRIGGER witness AFTER INSERT ON audit WHEN NEW.what = 'gateway_stopped' \
         BEGIN INSERT INTO witness SELECT last_seen_at FROM session; END",
    );
    let seen = scene.house.told("SELECT '' || last_seen_at FROM session");
    eventually("a later second", async || scene.house.told("SELECT '' || unixepoch()") > seen).await;
    assert!(alice.is_in().await);
    scene.gateway.stop();
    assert!(scene.house.told("SELECT '' || seen FROM witness") > seen);
}

#[tokio::test]
async fn who_was_refused_is_noted_once_a_minute() {
    let simulator = crate::common::Simulator::start(&[]);
    let upstream = crate::common::Upstream::start().await;
    let rule = "[[route.rule]]\npaths = [\"/secret\"]\naccess = \"deny\"\n[forward_auth]\npeers = [\"192.0.2.1\"]\ndialect = \"nginx\"\n";
    let text =
        crate::common::config(&upstream, "", "").replace("\n[observe]", &format!("\n{rule}\n[observe]"));
    let house = House::new(&simulator, &text);
    house.add_users(&[("alice", ALICE)]);
    let gateway = crate::common::Gateway::start(&house);
    let scene = Scene { simulator, upstream, house, gateway };
    let browser = scene.browser();
    for _ in 0..5 {
        assert_eq!(browser.go("/secret/plan?token=x").await.status, 403);
    }
    scene.house.has_noted("request_denied", "a rule denies this: GET /secret/plan").await;
    let noted = scene.house.details("request_denied");
    assert_eq!(noted, ["a rule denies this: GET /secret/plan"], "once, and without its query");
    let unasked = browser.request(Method::GET, "/.vestibule/auth").send().await.unwrap();
    assert_eq!(unasked.status(), 404);
    // Which is another thing of that address.
    scene.house.has_noted("peer_refused", "not in forward_auth.peers").await;
}

/// Whoever has many addresses gets so many lines, and no more; how many are missing is told.
#[tokio::test]
async fn many_addresses_write_no_more_than_so_many_lines() {
    let simulator = crate::common::Simulator::start(&[]);
    let upstream = crate::common::Upstream::start().await;
    let rule = "\n[[route.rule]]\npaths = [\"/secret\"]\naccess = \"deny\"\n[observe]";
    let text = crate::common::config(&upstream, "", "trusted_proxies = [\"127.0.0.1\"]");
    let house = House::new(&simulator, &text.replace("\n[observe]", rule));
    let gateway = crate::common::Gateway::start(&house);
    let mut scene = Scene { simulator, upstream, house, gateway };
    let browser = scene.browser();
    for n in 0..150 {
        let request =
            browser.request(Method::GET, "/secret").header("x-forwarded-for", format!("192.0.2.{n}"));
        assert_eq!(request.send().await.unwrap().status(), 403);
    }
    // The threads tell what was left out with their next tidying.
    scene.house.has_noted("request_denied", "more are not written down").await;
    let figures = scene.gateway.figures().await;
    let figure = "vestibule_events_left_out_total{event=\"request_denied\"} ";
    let left_out = figures.lines().find_map(|line| line.strip_prefix(figure)).unwrap();
    let (mut told, mut lines) = (0, 0);
    eventually("all are told or written", async || {
        let noted = scene.house.details("request_denied");
        let counts = noted.iter().filter_map(|detail| detail.strip_prefix("too many at once: "));
        told = counts.map(|rest| rest.split_once(' ').unwrap().0.parse::<usize>().unwrap()).sum();
        lines = noted.iter().filter(|detail| !detail.starts_with("too many")).count();
        lines + left_out.parse::<usize>().unwrap() == 150
    })
    .await;
    assert!(told > 0 && told <= 150 - lines && lines >= 60, "{told} of {lines}");
}

#[tokio::test]
async fn a_proxy_that_is_not_listed_and_a_form_of_another_site_are_noted() {
    let scene = Scene::start("[forward_auth]\npeers = [\"192.0.2.1\"]\ndialect = \"nginx\"\n").await;
    assert_eq!(scene.browser().go("/.vestibule/auth").await.status, 404);
    scene.house.has_noted("peer_refused", "not in forward_auth.peers").await;
    let scene = Scene::start("").await;
    let form = scene
        .browser()
        .request(Method::POST, "/.vestibule/sign-out")
        .header("origin", "https://evil.example");
    assert_eq!(form.form(&[("a", "b")]).send().await.unwrap().status(), 403);
    scene.house.has_noted("request_denied", "from a page of another site: POST /.vestibule/sign-out").await;
}

/// The journal's socket has a fixed place: it is put there in a mount namespace of the gateway's own.
#[tokio::test]
async fn the_journal_gets_each_value_as_a_field() {
    let mut scene = Scene::start("").await;
    scene.gateway.stop();
    scene.house.replace("format = \"json\"", "format = \"journald\"");
    let directory = scene.house.path("journal");
    std::fs::create_dir(&directory).unwrap();
    let journal = UnixDatagram::bind(directory.join("socket")).unwrap();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    let place = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind \"$1\" /run/systemd/journal";
    let may = Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs none /run"])
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        println!("no mount namespace: the journal cannot be tried");
        return;
    }
    let mut gateway = Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("{place} && exec \"$2\" serve --config \"$3\""), "sh"])
        .arg(&directory)
        .arg(env!("CARGO_BIN_EXE_vestibule"))
        .arg(&scene.house.config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut datagram = vec![0; 65_536];
    let found = std::iter::from_fn(|| {
        let length = journal.recv(&mut datagram).ok()?;
        Some(String::from_utf8_lossy(&datagram[..length]).into_owned())
    })
    .find(|text| text.contains("VESTIBULE_EVENT"));
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    let text = found.unwrap();
    for field in
        ["VESTIBULE_EVENT\n", "gateway_started", "VESTIBULE_DETAIL\n", "SYSLOG_IDENTIFIER", "PRIORITY"]
    {
        assert!(text.contains(field), "{field}: {text}");
    }
    // Without a journal it says so.
    let said = Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs none /run && exec \"$1\" serve --config \"$2\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_vestibule"))
        .arg(&scene.house.config)
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("the journal takes no lines"));
}
