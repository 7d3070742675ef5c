//! What the service manager sees and gives: notices, the watchdog, sockets passed by name, credentials. It is played by
//! the test, with the environment and the sockets that systemd uses.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};

use crate::common::{ALICE, Browser, Gateway, House, PATIENCE, Simulator, Upstream, config};

/// Where the gateway's notices arrive.
struct Notices(UnixDatagram);

impl Notices {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4_096];
        let length = self.0.recv(&mut buffer).expect("a notice comes");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Reads on until one holds this.
    fn until(&self, text: &str) -> String {
        let mut seen = Vec::new();
        for _ in 0..1_000 {
            let notice = self.next();
            if notice.contains(text) {
                return notice;
            }
            seen.push(notice);
        }
        panic!("no {text:?} in {seen:#?}");
    }
}

async fn house(more: &str, in_server: &str) -> (Simulator, Upstream, House) {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let house = House::new(&simulator, &config(&upstream, more, in_server));
    house.add_users(&[("alice", ALICE)]);
    (simulator, upstream, house)
}

#[tokio::test]
async fn it_tells_when_it_is_ready_reloads_and_stops_and_how_it_is() {
    let (simulator, _upstream, house) = house("", "").await;
    let notices = Notices::at(&house.path("notify"));
    let socket = house.path("notify");
    let mut gateway = Gateway::start_with(&house, &[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    let ready = notices.until("READY=1");
    assert!(ready.contains("STATUS=serving"), "{ready}");
    // It is ready when a request is answered, not before.
    let browser = Browser::new(gateway.address);
    browser.sign_in(&simulator, ALICE).await;
    assert!(browser.is_in().await);
    let status = notices.until("sessions in use");
    assert!(status.contains("STATUS=serving: "), "{status}");

    gateway.signal("HUP");
    let reloading = notices.until("RELOADING=1");
    let moment = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let moment: u128 = moment.unwrap_or_else(|| panic!("{reloading}")).parse().unwrap();
    assert!(moment > 0);
    notices.until("READY=1");
    // What cannot be reloaded is over, too.
    std::fs::write(&house.config, "nothing").unwrap();
    gateway.signal("HUP");
    notices.until("RELOADING=1");
    notices.until("READY=1");
    gateway.stop();
    notices.until("STOPPING=1");
}

#[tokio::test]
async fn the_watchdog_hears_of_it_as_long_as_requests_are_answered() {
    for in_server in ["", "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1/32\"]\n"] {
        let (_simulator, _upstream, house) = house("", in_server).await;
        let notices = Notices::at(&house.path("notify"));
        let socket = house.path("notify");
        let environment = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "2000000")];
        let mut gateway = Gateway::start_with(&house, &environment);
        for _ in 0..3 {
            notices.until("WATCHDOG=1");
        }
        // What it asks itself is among its own requests.
        let text = gateway.figures().await;
        assert!(
            text.contains("vestibule_requests_total{route=\"\",outcome=\"own\",status=\"2xx\"}"),
            "{text}"
        );
        // Its threads stand still, as in a deadlock: nobody is told that it lives.
        gateway.signal("STOP");
        notices.0.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let mut buffer = [0; 4_096];
        while notices.0.recv(&mut buffer).is_ok() {}
        gateway.signal("CONT");
        notices.0.set_read_timeout(Some(PATIENCE)).unwrap();
        notices.until("WATCHDOG=1");
        gateway.stop();
    }
}

#[tokio::test]
async fn the_watchdog_asks_over_tls_whatever_the_certificate_is_and_whoever_may_come() {
    let own = "certificate = \"{dir}/certificate.pem\"\nprivate_key = \"{dir}/key.pem\"\n";
    let of_clients = format!("{own}client_ca = \"{{dir}}/certificate.pem\"\n");
    // There is no certificate yet, and the authority is away.
    let to_come = "[server.tls.acme]\ndomains = [\"gate.example\"]\ncontact = [\"ops@gate.example\"]\n\
                   terms_agreed = true\ndirectory_url = \"https://127.0.0.1:9/directory\"\n";
    for tls in [own, &of_clients, to_come] {
        let (_simulator, _upstream, house) = house("", "").await;
        let key = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
        std::fs::write(house.path("certificate.pem"), key.cert.pem()).unwrap();
        std::fs::write(house.path("key.pem"), key.signing_key.serialize_pem()).unwrap();
        let tls = tls.replace("{dir}", &house.directory.path().display().to_string());
        let text = String::from_utf8(crate::common::read(&house.config)).unwrap();
        let text = text
            .replace("http://127.0.0.1\"\nstate", "https://gate.example\"\nstate")
            .replace("[[route]]", &format!("[server.tls]\n{tls}[[route]]"));
        std::fs::write(&house.config, text).unwrap();
        let notices = Notices::at(&house.path("notify"));
        let socket = house.path("notify");
        let environment = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "2000000")];
        let _gateway = Gateway::start_with(&house, &environment);
        notices.until("WATCHDOG=1");
    }
}

#[tokio::test]
async fn abstract_names_are_told_and_asked_at() {
    let (_simulator, _upstream, house) = house("", "").await;
    let text = String::from_utf8(crate::common::read(&house.config)).unwrap();
    std::fs::write(&house.config, text.replace("\"127.0.0.1:0\"]\npublic", "\"fd:web\"]\npublic")).unwrap();
    let name = |what: &str| format!("vestibule-test-{what}-{}", std::process::id());
    let at = |what: &str| SocketAddr::from_abstract_name(name(what)).unwrap();
    let notices = Notices(UnixDatagram::bind_addr(&at("notify")).unwrap());
    notices.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let web = UnixListener::bind_addr(&at("web")).unwrap();
    let mut gateway = with_sockets(&house, vec![("web", web.into())])
        .env("NOTIFY_SOCKET", format!("@{}", name("notify")))
        .env("WATCHDOG_USEC", "2000000")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    notices.until("READY=1");
    notices.until("WATCHDOG=1");
    let _ = gateway.kill();
    let _ = gateway.wait();
}

/// Runs the gateway with sockets under these names, as systemd would: from descriptor 3 on.
fn with_sockets(house: &House, sockets: Vec<(&str, OwnedFd)>) -> Command {
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command
        .args(["serve", "--config", house.config.to_str().unwrap()])
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env_remove("LISTEN_PID")
        .stdin(Stdio::null());
    let mappings = (3..).zip(sockets).map(|(child_fd, (_, parent_fd))| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.collect()).unwrap();
    command
}

#[tokio::test]
async fn sockets_that_are_passed_by_name_are_served() {
    let (simulator, _upstream, house) = house("", "").await;
    let text = String::from_utf8(crate::common::read(&house.config)).unwrap();
    let text = text.replace("\"127.0.0.1:0\"]\npublic", "\"fd:web\", \"fd:local\"]\npublic");
    std::fs::write(&house.config, text).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let path = house.path("socket");
    let unix = UnixListener::bind(&path).unwrap();
    // Who comes before the gateway is there waits in the kernel, and is served.
    let early = Browser::new(address);
    let asked = tokio::spawn(async move { early.go("/.vestibule/challenge").await.status.as_u16() });
    let sockets = vec![("local", unix.into()), ("web", tcp.try_clone().unwrap().into())];
    let mut gateway = with_sockets(&house, sockets).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(asked.await.unwrap(), 200);
    let browser = Browser::new(address);
    browser.sign_in(&simulator, ALICE).await;
    assert!(browser.is_in().await);
    use std::io::{Read as _, Write as _};
    let mut local = std::os::unix::net::UnixStream::connect(&path).unwrap();
    local
        .write_all(b"GET /.vestibule/challenge HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    local.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // It goes, the socket stays: whoever comes meanwhile waits for the next one.
    let _ = Command::new("kill").arg(gateway.id().to_string()).status();
    gateway.wait().unwrap();
    let between = tokio::spawn(async move { browser.is_in().await });
    let mut next = with_sockets(
        &house,
        vec![("local", UnixListener::bind(house.path("other")).unwrap().into()), ("web", tcp.into())],
    )
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    assert!(between.await.unwrap(), "the session goes on, and nobody was refused");
    let _ = next.kill();
    let _ = next.wait();
}

#[tokio::test]
async fn sockets_that_do_not_fit_are_told_with_the_remedy() {
    let (_simulator, _upstream, house) = house("", "").await;
    let text = String::from_utf8(crate::common::read(&house.config)).unwrap();
    std::fs::write(&house.config, text.replace("\"127.0.0.1:0\"]\npublic", "\"fd:web\"]\npublic")).unwrap();
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let datagrams = UnixDatagram::bind(house.path("datagrams")).unwrap();
    let file = std::fs::File::open(&house.config).unwrap();
    for (sockets, said) in [
        (vec![], "passes no sockets; start the gateway by vestibule.socket"),
        (vec![("other", tcp())], "only other; write FileDescriptorName="),
        (vec![("web", datagrams.into())], "no listening stream socket"),
        (vec![("web", file.into())], "no listening stream socket"),
    ] {
        let output = with_sockets(&house, sockets).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(78) && text.contains(said), "{text}");
    }
    let text = String::from_utf8(crate::common::read(&house.config)).unwrap();
    std::fs::write(&house.config, text.replace("fd:web", "fd:vestibule")).unwrap();
    let output = with_sockets(&house, vec![("vestibule", tcp())]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && said.contains("the gateway's own; write another"), "{said}");
    std::fs::write(&house.config, text).unwrap();
    let listened = vec![("web", tcp()), ("left-over", tcp())];
    let mut gateway = with_sockets(&house, listened).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = std::io::BufReader::new(gateway.stderr.take().unwrap());
    let told = std::io::BufRead::lines(stderr).map_while(Result::ok).any(|line| line.contains("left-over"));
    let _ = gateway.kill();
    let _ = gateway.wait();
    assert!(told);
}

#[tokio::test]
async fn secrets_come_from_the_credentials_directory() {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    let provider = crate::common::provider("twilio", &simulator.url)
        .replace("{ file = \"{dir}/token\" }", "{ credential = \"twilio-auth-token\" }");
    let house = House::with_providers(&provider, &config(&upstream, "", ""));
    let credentials = house.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("twilio-auth-token"), "a-secret-token-of-32-characters!").unwrap();
    house.add_users(&[("alice", ALICE)]);
    let environment = [("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())];
    let gateway = Gateway::start_with(&house, &environment);
    Browser::new(gateway.address).sign_in(&simulator, ALICE).await;
    drop(gateway);
    // Without it, and without the right to read it: what is wrong and what to do.
    let output = house.command(&["serve"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && text.contains("LoadCredential=twilio-auth-token"), "{text}");
    std::fs::remove_file(credentials.join("twilio-auth-token")).unwrap();
    std::fs::create_dir(credentials.join("twilio-auth-token")).unwrap();
    let output = house.command_with(&["serve"], &environment);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && text.contains("check the path and its owner"), "{text}");
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new("systemd-analyze").args(arguments).output().expect("tests/run installs systemd");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_units_are_sound_and_expose_little() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let directory = tempfile::tempdir().unwrap();
    // The program must be there to be verified; ours is.
    for name in ["vestibule.service", "vestibule.socket"] {
        let text = std::fs::read_to_string(units.join(name)).unwrap();
        let text = text.replace("/usr/bin/vestibule", env!("CARGO_BIN_EXE_vestibule"));
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let drop_in = directory.path().join("passed.service");
    let service = std::fs::read_to_string(directory.path().join("vestibule.service")).unwrap();
    let passed = std::fs::read_to_string(units.join("sockets-passed.conf")).unwrap();
    std::fs::write(&drop_in, format!("{service}\n{passed}")).unwrap();
    for (unit, threshold) in [("vestibule.service", "14"), ("passed.service", "11")] {
        let unit = directory.path().join(unit).display().to_string();
        let (sound, text) = analyze(&["verify", "--recursive-errors=no", "--man=no", &unit]);
        assert!(sound && !text.contains("vestibule"), "{text}");
        let (closed, text) =
            analyze(&["security", "--offline=true", &format!("--threshold={threshold}"), &unit]);
        assert!(closed, "{text}");
        println!("{}", text.lines().last().unwrap_or_default());
    }
}

#[tokio::test]
async fn a_call_that_comes_while_it_starts_is_heard_once_it_runs() {
    let (_simulator, _upstream, house) = house("", "").await;
    let token = house.path("token");
    let secret = std::fs::read(&token).unwrap();
    std::fs::remove_file(&token).unwrap();
    assert!(Command::new("mkfifo").arg(&token).status().unwrap().success());
    // Whoever opens it waits until it is read, and who reads it until it is written.
    let mut gateway = Gateway::start_and(&house, |process| {
        let mut written = std::fs::File::options().write(true).open(&token).unwrap();
        let told = Command::new("kill").args(["-s", "HUP", &process.to_string()]).status().unwrap();
        assert!(told.success());
        written.write_all(&secret).unwrap();
    });
    std::fs::write(&token, &secret).unwrap();
    gateway.wait_for_log("the configuration was reloaded");
}
