//! `vestibule selftest`: a gateway holds, a plain server does not, and the difference is told.

use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;

use crate::common::{House, Scene, Simulator, Upstream, config};

fn told(output: &Output) -> Value {
    let text = || String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text()))
}

fn names<'t>(told: &'t Value, result: &str) -> Vec<&'t str> {
    let tricks = told["tricks"].as_array().unwrap().iter();
    tricks.filter(|trick| trick["result"] == result).map(|trick| trick["trick"].as_str().unwrap()).collect()
}

const RULES: &str = "[[route.rule]]\npaths = [\"/static/**\"]\naccess = \"allow\"\n\n\
                     [[route.rule]]\nnetworks = [\"10.0.0.0/8\"]\naccess = \"allow\"\n\n[observe]";

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_its_own_holds_and_leaves_nothing_behind() {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    house.replace("[observe]", RULES);
    // Whom the gateway tells is not told of what is played, and its log does not have it.
    let told_to = TcpListener::bind("127.0.0.1:0").unwrap();
    let log = house.path("access.log");
    let tells = format!(
        "[audit]\nwebhook = \"http://{}/\"\nwebhook_secret = {{ env = \"HOME\" }}\n\n[log]\naccess = \"json\"\naccess_file = \"{}\"",
        told_to.local_addr().unwrap(),
        log.display()
    );
    house.replace("[log]", &tells);
    // No secret is needed, and nothing of the house is touched.
    std::fs::remove_file(house.path("token")).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let environment = [("TMPDIR", temporary.path().to_str().unwrap())];
    let output = house.command_with(&["selftest", "--json"], &environment);
    let told = told(&output);
    assert_eq!(names(&told, "fail"), Vec::<&str>::new(), "{told:#}");
    assert_eq!(names(&told, "skip"), Vec::<&str>::new(), "{told:#}");
    assert!(output.status.success() && told["passed"].as_u64().unwrap() > 100, "{told:#}");
    assert!(!house.path("state").exists() && !log.exists());
    told_to.set_nonblocking(true).unwrap();
    assert!(told_to.accept().is_err(), "nobody came to the webhook's receiver");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    assert_eq!((upstream.count(), simulator.requests().await.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_open_is_told_and_does_not_pass_for_tested() {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    house.replace("[observe]", "[[route.rule]]\npaths = [\"/**\"]\naccess = \"allow\"\n\n[observe]");
    let output = house.command(&["selftest"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("no path here asks for a session"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_holds_and_a_plain_server_does_not() {
    let scene = Scene::start("").await;
    let url = format!("http://{}/", scene.gateway.address);
    let output = scene.house.command(&["selftest", "--json", "--url", &url]);
    let held = told(&output);
    assert_eq!(names(&held, "fail"), Vec::<&str>::new(), "{held:#}");
    assert!(output.status.success() && held["passed"].as_u64().unwrap() > 60, "{held:#}");
    assert_eq!(scene.upstream.count(), 0);

    // The same name, but whoever answers is the application itself.
    scene.upstream.answers("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello!close");
    let application = scene.upstream.address.to_string();
    let output = scene.house.command(&["selftest", "--json", "--url", &url, "--connect", &application]);
    let past = told(&output);
    assert_eq!(output.status.code(), Some(1), "{past:#}");
    for trick in ["nothing special", "two dots from nowhere", "cookie: not signed (alg none)", "WebSocket"] {
        assert!(names(&past, "fail").contains(&trick), "{trick}: {past:#}");
    }
    // Also one that refuses by itself: its answers are not the gateway's.
    scene.upstream.answers("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n!close");
    let output = scene.house.command(&["selftest", "--json", "--url", &url, "--connect", &application]);
    assert!(names(&told(&output), "fail").contains(&"nothing special"));
    let output = scene.house.command(&["selftest", "--url", "http://elsewhere.test/"]);
    assert_eq!(output.status.code(), Some(64));
}
