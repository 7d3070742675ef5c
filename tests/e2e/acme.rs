//! A certificate by ACME, from the real Pebble (Debian's package), which looks at the names by real handshakes and
//! requests.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::wire::{Wire, status};
use crate::common::{Gateway, House, Simulator, Upstream, config, eventually};

const NAME: &str = "wiki.vestibule.test";

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority: Pebble, and a name server that knows every name as this machine.
struct Authority {
    directory: tempfile::TempDir,
    acme: u16,
    management: u16,
    names: u16,
    /// Where it looks: by TLS, and by HTTP.
    tls: u16,
    http: u16,
    lasts: u32,
    _name_server: Running,
    pebble: Option<Running>,
}

impl Authority {
    /// Its certificates last for so many seconds.
    fn new(lasts: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &root).unwrap();
        for (name, text) in [("ca.pem", root.pem()), ("own.pem", own.pem()), ("own.key", key.serialize_pem())]
        {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let names = port();
        let name_server = Command::new("pebble-challtestsrv")
            .args([
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ])
            .args(["-dns01", &format!("127.0.0.1:{names}"), "-management", &format!("127.0.0.1:{}", port())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tests/run installs the package pebble");
        Self {
            directory,
            acme: port(),
            management: port(),
            names,
            tls: port(),
            http: port(),
            lasts,
            _name_server: Running(name_server),
            pebble: None,
        }
    }

    async fn start(&mut self) {
        let path = |name: &str| self.directory.path().join(name);
        let settings = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.acme),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": path("own.pem"), "privateKey": path("own.key"),
            "httpPort": self.http, "tlsPort": self.tls,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
            "certificateValidityPeriod": self.lasts,
        }});
        std::fs::write(path("pebble.json"), settings.to_string()).unwrap();
        let pebble = Command::new("pebble")
            .args([
                "-config",
                path("pebble.json").to_str().unwrap(),
                "-dnsserver",
                &format!("127.0.0.1:{}", self.names),
            ])
            // It would wait some seconds before it looks, and refuse some good requests, to see what clients do then.
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.pebble = Some(Running(pebble));
        let address = SocketAddr::from(([127, 0, 0, 1], self.acme));
        eventually("Pebble listens", async || TcpStream::connect(address).await.is_ok()).await;
    }

    fn stop(&mut self) {
        self.pebble = None;
    }

    /// The root that its certificates end at; another one each time it starts.
    async fn root(&self) -> CertificateDer<'static> {
        let own =
            reqwest::Certificate::from_pem(&std::fs::read(self.directory.path().join("ca.pem")).unwrap())
                .unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([own]).build().unwrap();
        let url = format!("https://localhost:{}/roots/0", self.management);
        let pem = client.get(url).send().await.unwrap().bytes().await.unwrap();
        CertificateDer::from_pem_slice(&pem).unwrap()
    }

    fn section(&self, more: &str) -> String {
        format!(
            "[server.tls.acme]\ndomains = [\"{NAME}\"]\ncontact = [\"ops@vestibule.test\"]\nterms_agreed = true\n\
             directory_url = \"https://localhost:{}/dir\"\nca = \"{}\"\n{more}\n",
            self.acme,
            self.directory.path().join("ca.pem").display()
        )
    }
}

struct Scene {
    authority: Authority,
    _simulator: Simulator,
    _upstream: Upstream,
    house: House,
    address: SocketAddr,
}

impl Scene {
    async fn new(authority: Authority, more: &str) -> Self {
        let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
        let address = SocketAddr::from(([127, 0, 0, 1], authority.tls));
        let text = config(
            &upstream,
            &authority.section(more),
            &format!("redirect_listen = [\"127.0.0.1:{}\"]\n", authority.http),
        )
        .replace("\"http://127.0.0.1\"", &format!("\"https://{NAME}\""))
        .replace("\"127.0.0.1:0\"]\npublic", &format!("\"{address}\"]\npublic"));
        let house = House::new(&simulator, &text);
        Self { authority, _simulator: simulator, _upstream: upstream, house, address }
    }

    /// A connection whose certificate is verified against what the authority issues.
    async fn connect(&self) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
        self.connect_with(&[]).await
    }

    async fn connect_with(&self, protocols: &[&[u8]]) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.root().await).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(client)).connect(name, stream).await.map(Wire::new)
    }
}

fn leaf(wire: &Wire<TlsStream<TcpStream>>) -> Vec<u8> {
    wire.stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn is_issued_by(challenge: &str) {
    let mut authority = Authority::new(86_400);
    authority.start().await;
    let scene = Scene::new(authority, &format!("challenge = \"{challenge}\"")).await;
    let mut gateway = Gateway::start(&scene.house);
    gateway.told("a certificate was issued").await;
    let mut wire = scene.connect().await.unwrap();
    wire.send(format!("GET /.vestibule/challenge HTTP/1.1\r\nhost: {NAME}\r\n\r\n")).await;
    assert_eq!(status(&wire.head().await), 200);
    let first = leaf(&wire);
    // What is on the disk is its owner's, and enough for the next start: nobody is asked again.
    for entry in std::fs::read_dir(scene.house.path("state/acme")).unwrap() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&entry.unwrap().metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let log = gateway.stop();
    assert!(!log.contains("BEGIN"), "no key in the log");
    let mut gateway = Gateway::start(&scene.house);
    assert_eq!(leaf(&scene.connect().await.unwrap()), first);
    // Whoever offers the protocol of authorities beside others is none, and is served like everybody.
    let both = scene.connect_with(&[b"http/1.1", b"acme-tls/1"]).await.unwrap();
    assert_eq!(
        (leaf(&both), both.stream.get_ref().1.alpn_protocol()),
        (first.clone(), Some(&b"http/1.1"[..]))
    );
    assert!(scene.connect_with(&[b"acme-tls/1"]).await.is_err(), "nothing is being proved");
    let checked = scene.house.command(&["check", "--online"]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.contains("acme/certificate.pem") && checked.contains(&format!("for {NAME}, good")),
        "{checked}"
    );
    // The process that takes over has it from the disk, too.
    gateway.signal("USR2");
    gateway.wait_for_log("another process has taken over");
    let lock = scene.house.path("state/vestibule.db-lock");
    let next = String::from_utf8(crate::common::read(&lock)).unwrap();
    let _next = Next(next.trim().to_owned());
    assert_eq!(leaf(&scene.connect().await.unwrap()), first);
    assert!(gateway.wait().success());
    assert!(!gateway.log().contains("was issued"));
}

/// A process that took over and is nobody's child, ended with the test.
struct Next(String);

impl Drop for Next {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", &self.0]).status();
    }
}

#[tokio::test]
async fn a_certificate_is_issued_by_a_handshake() {
    is_issued_by("tls-alpn-01").await;
}

#[tokio::test]
async fn a_certificate_is_issued_by_a_request() {
    is_issued_by("http-01").await;
}

#[tokio::test]
async fn a_certificate_is_renewed_and_an_authority_that_is_away_takes_nothing_down() {
    let mut authority = Authority::new(12);
    authority.start().await;
    let mut scene = Scene::new(authority, "").await;
    let mut gateway = Gateway::start(&scene.house);
    gateway.wait_for_log("a certificate was issued");
    let first = leaf(&scene.connect().await.unwrap());
    let open = scene.connect().await.unwrap();
    gateway.wait_for_log("a certificate was issued");
    assert_ne!(leaf(&scene.connect().await.unwrap()), first);
    drop(open);
    let root = scene.authority.root().await;
    scene.authority.stop();
    let line = gateway.wait_for_log("the certificate was not renewed");
    assert!(line.contains("directory_url"), "{line}");
    // What there is goes on being shown.
    let stream = TcpStream::connect(scene.address).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = builder.with_root_certificates(roots).with_no_client_auth();
    let shown =
        TlsConnector::from(Arc::new(client)).connect(ServerName::try_from(NAME).unwrap(), stream).await;
    // It may have ended by now: twelve seconds are short.
    if let Err(error) = shown {
        assert!(error.to_string().contains("xpired"), "{error}");
    }
    assert!(!gateway.stop().contains("panicked"));
}

#[tokio::test]
async fn without_a_certificate_it_waits_says_so_and_stops_at_once() {
    // Nobody is there.
    let authority = Authority::new(86_400);
    let scene = Scene::new(authority, "").await;
    let mut gateway = Gateway::start(&scene.house);
    let line = gateway.told("no certificate was issued").await;
    assert!(line.contains("directory_url"), "{line}");
    let log = gateway.log();
    let told = log.lines().find(|line| line.contains("health and metrics are told")).unwrap();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    let url = format!("http://{}/health/ready", told["address"].as_str().unwrap());
    let ready = crate::common::http().get(url).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("there is no certificate yet"));
    gateway.stop();
    assert!(!scene.house.path("state/acme/certificate.pem").exists());
}

#[tokio::test]
async fn an_authority_that_cannot_see_us_says_why_and_a_stop_meanwhile_leaves_nothing_behind() {
    let mut authority = Authority::new(86_400);
    authority.start().await;
    // It looks where nobody listens.
    let elsewhere = authority.tls;
    authority.tls = port();
    let scene = Scene::new(authority, "").await;
    assert_ne!(elsewhere, scene.authority.tls);
    let mut gateway = Gateway::start(&scene.house);
    let line = gateway.told("no certificate was issued").await;
    assert!(line.contains("could not see that the names are ours") && line.contains("port 443"), "{line}");
    gateway.signal("HUP");
    gateway.wait_for_log("the configuration was reloaded");
    gateway.stop();
    let left: Vec<_> =
        std::fs::read_dir(scene.house.path("state/acme")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.len() == 1 && left[0].to_str().unwrap().starts_with("account-"), "{left:?}");
}
