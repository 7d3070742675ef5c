//! Figures: requests by route and outcome, sign-ins, the configuration; and that monitors' tools can read them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::journey::GENEROUS;
use crate::common::{ALICE, Scene, eventually, read};
use crate::tls::TlsScene;

/// The value of a figure with these labels, in any order.
fn figure(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
        rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

impl Scene {
    async fn metrics(&mut self) -> String {
        let (status, text) = self.gateway.told_monitors("/metrics").await;
        assert_eq!(status, 200);
        text
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_what_became_of_them() {
    let rule = "[[route]]\npath = \"/closed\"\nupstream = [\"http://127.0.0.1:9\"]\n[[route.rule]]\naccess = \"deny\"\n";
    let mut scene = Scene::start(&format!("{rule}{GENEROUS}")).await;
    let stranger = scene.browser();
    stranger.go("/page").await;
    stranger.go("/closed/door").await;
    stranger.go("/a%00b").await;
    let alice = scene.signed_in(ALICE).await;
    for _ in 0..3 {
        alice.go("/some/secret/path?token=abc").await;
    }
    scene.upstream.answers("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n");
    alice.go("/").await;
    let text = scene.metrics().await;
    let of = |route: &str, outcome: &str, status: &str| {
        let labels = [
            &*format!("route=\"{route}\""),
            &*format!("outcome=\"{outcome}\""),
            &*format!("status=\"{status}\""),
        ];
        figure(&text, "vestibule_requests_total", &labels)
    };
    assert_eq!(of("127.0.0.1/", "forwarded", "2xx"), Some(3.0), "{text}");
    assert_eq!(of("127.0.0.1/", "forwarded", "5xx"), Some(1.0));
    assert_eq!(of("127.0.0.1/", "challenged", "3xx"), Some(1.0));
    assert_eq!(of("127.0.0.1/closed", "denied", "4xx"), Some(1.0));
    assert!(of("", "own", "3xx").is_some_and(|count| count >= 2.0), "{text}");
    assert!(of("", "refused", "4xx").is_some_and(|count| count >= 1.0), "{text}");
    let route = ["route=\"127.0.0.1/\""];
    assert_eq!(figure(&text, "vestibule_request_seconds_count", &route), Some(4.0), "{text}");
    assert_eq!(
        figure(&text, "vestibule_request_seconds_bucket", &["127.0.0.1/\"", "le=\"+Inf\""]),
        Some(4.0),
        "{text}"
    );
    assert_eq!(figure(&text, "vestibule_sign_in_seconds_count", &["channel=\"sms\""]), Some(1.0));
    assert_eq!(figure(&text, "vestibule_sessions_in_use", &[]), Some(1.0));
    assert!(figure(&text, "vestibule_connections", &[]).is_some_and(|count| count >= 1.0));
    assert_eq!(figure(&text, "vestibule_store_up", &[]), Some(1.0));
    assert!(figure(&text, "vestibule_process_resident_memory_bytes", &[]).is_some_and(|bytes| bytes > 1e6));
    // Nothing of anybody.
    for secret in ["secret", "abc", "alice", "555"] {
        assert!(!text.contains(secret), "{secret}:\n{text}");
    }
}

#[tokio::test]
async fn a_reload_is_counted_the_figures_go_on_and_the_configuration_has_a_name() {
    let mut scene = Scene::start("").await;
    scene.browser().go("/page").await;
    let before = scene.metrics().await;
    let hash = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with("vestibule_configuration_loaded_timestamp_seconds{"))
            .unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let text = String::from_utf8(read(&scene.house.config)).unwrap();
    std::fs::write(&scene.house.config, format!("# other words\n{text}")).unwrap();
    scene.gateway.signal("HUP");
    scene.gateway.wait_for_log("the configuration was reloaded");
    std::fs::write(&scene.house.config, "nothing").unwrap();
    scene.gateway.signal("HUP");
    scene.gateway.wait_for_log("the configuration was not reloaded");
    scene.browser().go("/page").await;
    let after = scene.metrics().await;
    assert_ne!(hash(&before), hash(&after));
    assert_eq!(figure(&after, "vestibule_reloads_total", &["taken_over"]), Some(1.0));
    assert_eq!(figure(&after, "vestibule_reloads_total", &["refused"]), Some(1.0));
    assert_eq!(figure(&after, "vestibule_requests_total", &["challenged", "3xx"]), Some(2.0), "{after}");
}

#[tokio::test]
async fn figures_are_written_as_the_monitor_asks_and_promtool_finds_nothing_wrong() {
    let mut scene = Scene::start(GENEROUS).await;
    scene.signed_in(ALICE).await.go("/").await;
    let url = scene.gateway.observed("/metrics");
    let ask = async |accept: &'static str| {
        let answer = crate::common::http().get(&url).header("accept", accept).send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, answer.text().await.unwrap())
    };
    let (kind, open) = ask("application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.contains("# TYPE vestibule_build info\n") && open.ends_with("# EOF\n"), "{open}");
    let (kind, plain) = ask("*/*").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(plain.contains("# TYPE vestibule_build_info gauge\n") && !plain.contains("EOF"), "{plain}");
    assert!(plain.contains("# TYPE vestibule_requests_total counter\n"), "{plain}");
    let mut checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests/run installs the package prometheus");
    std::io::Write::write_all(&mut checked.stdin.take().unwrap(), plain.as_bytes()).unwrap();
    let checked = checked.wait_with_output().unwrap();
    let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    assert!(checked.status.success() && said.is_empty(), "{said}");
}

#[tokio::test]
async fn the_store_is_timed_and_the_process_tells_when_it_began() {
    let mut scene = Scene::start(GENEROUS).await;
    scene.signed_in(ALICE).await;
    let text = scene.metrics().await;
    for work in ["read", "write"] {
        let labels = ["engine=\"sqlite\"", &*format!("work=\"{work}\"")];
        assert!(
            figure(&text, "vestibule_store_seconds_count", &labels).is_some_and(|times| times > 0.0),
            "{text}"
        );
        assert_eq!(figure(&text, "vestibule_store_failures_total", &labels), Some(0.0));
    }
    let began = figure(&text, "process_start_time_seconds", &[]).unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(began <= now + 2.0 && now - began < 600.0, "{began} {now}");
    // What has not happened is 0: an increase is seen only of what was there.
    for event in ["break_glass_made", "wrong_code", "audit_purged"] {
        assert_eq!(figure(&text, "vestibule_events_total", &[event]), Some(0.0), "{event}");
    }
    assert_eq!(figure(&text, "vestibule_audit_lines_waiting", &[]), Some(0.0));
}

/// A gateway with everything that has figures but TLS, in use.
async fn full_scene() -> Scene {
    let webhook = "[audit]\nwebhook = \"http://127.0.0.1:9/\"\nwebhook_secret = { file = \"{dir}/token\" }\n";
    let mut scene = Scene::start(&format!("{GENEROUS}{webhook}")).await;
    scene.signed_in(ALICE).await.go("/").await;
    eventually("codes and the webhook are told", async || {
        let text = scene.metrics().await;
        let sent = figure(&text, "vestibule_codes_total", &["\"approved\""]);
        let since = figure(&text, "vestibule_webhook_failing_seconds", &[]);
        sent == Some(1.0) && since.is_some_and(|since| since > 0.0)
    })
    .await;
    scene
}

fn dashboard() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/grafana-dashboard.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Each query of the dashboard, as Grafana would ask it of one gateway.
fn queries(dashboard: &serde_json::Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let of_panels = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let of_notes = dashboard["annotations"]["list"].as_array().unwrap();
    let queries = of_panels.chain(of_notes).map(|asks| asks["expr"].as_str().unwrap());
    queries.map(|query| query.replace("$__rate_interval", "1m").replace("$instance", ".*")).collect()
}

/// What stands in `contrib` for monitors: each figure that it asks for is one of ours, and Prometheus takes its rules.
#[tokio::test]
async fn alerts_and_dashboard_ask_for_what_is_there() {
    let mut scene = full_scene().await;
    // Certificates are told where there is TLS.
    let mut encrypted = TlsScene::start("").await;
    let text = scene.metrics().await + &encrypted.gateway.figures().await;
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib");
    let known = |name: &str| {
        let family =
            ["_total", "_bucket", "_count", "_sum", "_info"].iter().find_map(|end| name.strip_suffix(end));
        [Some(name), family].into_iter().flatten().any(|name| text.contains(&format!("# TYPE {name} ")))
    };
    for file in ["prometheus-alerts.yml", "grafana-dashboard.json"] {
        let asked = std::fs::read_to_string(contrib.join(file)).unwrap();
        let words = asked.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let mut names: Vec<&str> = words.filter(|word| word.starts_with("vestibule_")).collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() > 5, "{file} asks for something");
        for name in names {
            assert!(known(name), "{file} asks for {name}, which is not told");
        }
    }
    let rules = std::fs::read_to_string(contrib.join("prometheus-alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(contrib.join("prometheus-alerts.test.yml")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    for alert in alerts {
        let silent = format!("{{ alertname: {alert}, eval_time: ");
        assert!(tests.contains(&silent), "no test sees {alert} silent");
        let firing = format!("- alertname: {alert}\n");
        assert!(tests.contains(&firing), "no test sees {alert} firing");
    }
    let dashboard = dashboard();
    assert!(dashboard["panels"].as_array().unwrap().iter().all(|panel| panel["gridPos"].is_object()));
    for arguments in [["check", "rules"], ["test", "rules"]] {
        let file =
            if arguments[0] == "test" { "prometheus-alerts.test.yml" } else { "prometheus-alerts.yml" };
        let output = Command::new("promtool").args(arguments).arg(file).current_dir(&contrib).output();
        let output = output.expect("tests/run installs the package prometheus");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_real_prometheus_reads_the_figures_runs_the_rules_and_answers_the_dashboard() {
    let mut scene = full_scene().await;
    let observed = scene.gateway.observed("");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/prometheus-alerts.yml");
    let settings = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\n\
         scrape_configs: [{{ job_name: vestibule, static_configs: [{{ targets: [\"{}\"] }}] }}]\n",
        rules.display(),
        observed.trim_start_matches("http://")
    );
    std::fs::write(scene.house.path("prometheus.yml"), settings).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", scene.house.path("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", scene.house.path("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = Running(prometheus.expect("tests/run installs the package prometheus"));
    let ask = async |path: &str| -> Option<serde_json::Value> {
        let answer =
            crate::common::http().get(format!("http://127.0.0.1:{port}/api/v1/{path}")).send().await.ok()?;
        answer.json().await.ok()
    };
    let is_read = async || {
        let answer = ask("query?query=vestibule_request_seconds_bucket").await;
        answer.is_some_and(|answer| {
            answer["data"]["result"].as_array().is_some_and(|series| !series.is_empty())
        })
    };
    eventually("Prometheus has the figures", is_read).await;
    let up = ask("query?query=up").await.unwrap();
    assert_eq!(up["data"]["result"][0]["value"][1], "1", "{up}");
    let have_run = async || {
        let answer = ask("rules").await.unwrap_or_default();
        let rules = answer["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")
    };
    eventually("its rules run", have_run).await;
    for query in queries(&dashboard()) {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let answer = crate::common::http().post(url).form(&[("query", &query)]).send().await.unwrap();
        let answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let is_told = answer["data"]["result"].as_array().is_some_and(|series| !series.is_empty());
        // There is no TLS, and nothing to count an increase of when Prometheus has looked once.
        let may_be_silent =
            ["rate(", "increase(", "changes(", "certificate"].iter().any(|part| query.contains(part));
        assert!(is_told || may_be_silent, "{query}: {answer}");
    }
}
