//! Certificates: the one that fits, read again when the files change, and what is told of them. Plain http is sent on.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::wire::{Wire, field, status};
use crate::common::{Gateway, House, Simulator, Upstream, config};

const TLS: &str = "[server.tls]\ncertificate = \"{dir}/a.pem\"\nprivate_key = \"{dir}/a.key\"\n";
const MORE: &str = "[[server.tls.more]]\ncertificate = \"{dir}/b.pem\"\nprivate_key = \"{dir}/b.key\"\n";
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A certificate authority, a gateway that has certificates of it, and who trusts it.
struct Scene {
    authority: CertifiedIssuer<'static, KeyPair>,
    _simulator: Simulator,
    upstream: Upstream,
    house: House,
}

impl Scene {
    async fn new(tls: &str, in_server: &str) -> Self {
        let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
        let routes = format!(
            "[[route]]\nhost = \"b.example\"\nupstream = [\"http://{0}\"]\n[[route]]\nhost = \"c.b.example\"\nupstream = [\"http://{0}\"]\n",
            upstream.address
        );
        let text = config(&upstream, &format!("{routes}{tls}"), in_server)
            .replace("\"http://127.0.0.1\"", "\"https://a.example\"");
        let house = House::new(&simulator, &text);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let scene = Self { authority, _simulator: simulator, upstream, house };
        scene.write("a", &["a.example"], 90);
        scene.write("b", &["b.example", "*.b.example"], 90);
        scene
    }

    /// A certificate for these names that lasts for so many days, and its key, as PEM.
    fn issue(&self, names: &[&str], days: i64) -> (String, String) {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        let end = end.to_zoned(jiff::tz::TimeZone::UTC).date();
        let (month, day) = (end.month().unsigned_abs(), end.day().unsigned_abs());
        params.not_after = rcgen::date_time_ymd(end.year().into(), month, day);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, name: &str, names: &[&str], days: i64) {
        let (certificate, key) = self.issue(names, days);
        // As a careful administrator does: each file whole, in one step.
        for (kind, text) in [("key", key), ("pem", certificate)] {
            let new = self.house.path(&format!("{name}.{kind}.new"));
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, self.house.path(&format!("{name}.{kind}"))).unwrap();
        }
    }

    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<(String, String)>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }

    /// A connection by TLS for a host; its certificate is verified.
    async fn connect(&self, address: SocketAddr, host: &str) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
        self.connect_with(address, host, self.client(&BOTH, None)).await
    }

    async fn connect_with(
        &self,
        address: SocketAddr,
        host: &str,
        client: ClientConfig,
    ) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        TlsConnector::from(Arc::new(client)).connect(name, stream).await.map(Wire::new)
    }
}

fn leaf(wire: &Wire<TlsStream<TcpStream>>) -> Vec<u8> {
    wire.stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn asked(wire: &mut Wire<TlsStream<TcpStream>>, host: &str) -> String {
    wire.send(format!("GET /.vestibule/challenge HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
    let (head, _) = wire.answer().await;
    head
}

#[tokio::test]
async fn each_host_has_its_certificate_and_a_request_for_another_goes_nowhere() {
    let scene = Scene::new(&format!("{TLS}{MORE}"), "").await;
    let gateway = Gateway::start(&scene.house);
    for host in ["a.example", "b.example", "c.b.example"] {
        let mut wire = scene.connect(gateway.address, host).await.unwrap();
        assert_eq!(status(&asked(&mut wire, host).await), 200, "{host}");
    }
    // Nobody's name gets the first one, which is not for it.
    assert!(scene.connect(gateway.address, "other.example").await.is_err());
    // Browsers send requests for all names of a certificate on one connection (RFC 9113 section 9.1.1) ...
    let mut wire = scene.connect(gateway.address, "b.example").await.unwrap();
    assert_eq!(status(&asked(&mut wire, "c.b.example").await), 200);
    // ... and for no others.
    assert_eq!(status(&asked(&mut wire, "a.example").await), 421);
    // Over HTTP/2, too, and the connection goes on.
    let mut client = scene.client(&BOTH, None);
    client.alpn_protocols = vec![b"h2".to_vec()];
    let wire = scene.connect_with(gateway.address, "b.example", client).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(wire.stream).await.unwrap();
    tokio::spawn(connection);
    for (host, expected) in [("a.example", 421), ("b.example", 200)] {
        let request = hyper::Request::get(format!("https://{host}/.vestibule/challenge")).body(()).unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), expected, "{host}");
    }
    assert_eq!(scene.upstream.count(), 0);
}

#[tokio::test]
async fn a_host_without_a_certificate_is_told_once_and_again_when_it_is_back() {
    let scene = Scene::new(TLS, "").await;
    let mut gateway = Gateway::start(&scene.house);
    let line = gateway.told("no certificate is for this host").await;
    assert!(line.contains("b.example") && line.contains("server.tls"), "{line}");
    scene.write("a", &["a.example", "b.example", "*.b.example"], 90);
    gateway.wait_for_log("read again");
    scene.write("a", &["b.example", "*.b.example"], 90);
    let line = gateway.wait_for_log("no certificate is for this host");
    assert!(line.contains("\"host\":\"a.example\""), "{line}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_anybody_noticing_and_a_wrong_one_never() {
    let scene = Scene::new(&format!("{TLS}{MORE}"), "").await;
    let mut gateway = Gateway::start(&scene.house);
    let mut open = scene.connect(gateway.address, "a.example").await.unwrap();
    let old = leaf(&open);
    scene.write("a", &["a.example"], 60);
    gateway.wait_for_log("a certificate was read again");
    let new = leaf(&scene.connect(gateway.address, "a.example").await.unwrap());
    assert_ne!(old, new);
    assert_eq!(status(&asked(&mut open, "a.example").await), 200, "an open connection goes on");

    // A key that belongs to another certificate; then nothing at all.
    let (_, other) = scene.issue(&["a.example"], 90);
    std::fs::write(scene.house.path("a.key"), other).unwrap();
    let line = gateway.wait_for_log("were not read again");
    assert!(line.contains("give the key that belongs to the certificate"), "{line}");
    std::fs::write(scene.house.path("b.pem"), "nothing").unwrap();
    gateway.wait_for_log("were not read again");
    assert_eq!(leaf(&scene.connect(gateway.address, "a.example").await.unwrap()), new);
    scene.connect(gateway.address, "b.example").await.unwrap();
    // A reload says so, too, and stays with what it has.
    gateway.signal("HUP");
    gateway.wait_for_log("the configuration was not reloaded");
    scene.write("a", &["a.example"], 30);
    scene.write("b", &["b.example", "*.b.example"], 30);
    gateway.wait_for_log("a certificate was read again");
    assert_ne!(leaf(&scene.connect(gateway.address, "a.example").await.unwrap()), new);
    gateway.signal("HUP");
    gateway.wait_for_log("the configuration was reloaded");
}

#[tokio::test]
async fn a_certificate_that_ends_is_told_and_one_that_is_over_stops_nobody() {
    let scene = Scene::new(&format!("{TLS}{MORE}"), "").await;
    scene.write("a", &["a.example"], 5);
    scene.write("b", &["b.example"], -1);
    let mut gateway = Gateway::start(&scene.house);
    let lines = gateway.told("expires soon").await + &gateway.told("has expired").await;
    assert!(lines.contains("expires soon") && lines.contains("\"within\":\"7d\""), "{lines}");
    assert!(lines.contains("b.example") && lines.contains("has expired"), "{lines}");
    scene.connect(gateway.address, "a.example").await.unwrap();
    assert!(scene.connect(gateway.address, "b.example").await.is_err(), "browsers refuse it");
}

#[tokio::test]
async fn clients_without_a_certificate_stay_outside_where_one_is_wanted() {
    let scene =
        Scene::new(&format!("{TLS}client_ca = \"{{dir}}/clients.pem\"\nmin_version = \"1.3\"\n"), "").await;
    std::fs::write(scene.house.path("clients.pem"), scene.authority.pem()).unwrap();
    let gateway = Gateway::start(&scene.house);
    let mut known = scene
        .connect_with(gateway.address, "a.example", scene.client(&BOTH, Some(scene.issue(&["somebody"], 9))))
        .await
        .unwrap();
    assert_eq!(status(&asked(&mut known, "a.example").await), 200);
    // TLS 1.3 tells a client after its own handshake is over.
    let mut unknown = scene.connect(gateway.address, "a.example").await.unwrap();
    unknown.send("GET /.vestibule/challenge HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    unknown.end().await;
    let old = scene.client(&[&TLS12], Some(scene.issue(&["somebody"], 9)));
    assert!(scene.connect_with(gateway.address, "a.example", old).await.is_err(), "TLS 1.2 is too old here");
}

#[tokio::test]
async fn http_is_sent_on_to_https_for_our_hosts_only_and_browsers_are_told_to_stay_there() {
    let scene =
        Scene::new(&format!("{TLS}hsts = \"365d\"\n{MORE}"), "redirect_listen = [\"127.0.0.1:0\"]\n").await;
    let mut gateway = Gateway::start(&scene.house);
    let line = gateway.log();
    let line = line.lines().find(|line| line.contains("http is sent on to https")).unwrap().to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let plain: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    for (host, location) in [
        ("a.example", Some("https://a.example/page?a=%2F")),
        ("B.example:80", Some("https://b.example/page?a=%2F")),
        ("evil.example", None),
        ("a.example\\@evil.example", None),
        ("a.example/evil", None),
    ] {
        let mut wire = Wire::connect(plain).await;
        wire.send(format!("POST /page?a=%2F HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n")).await;
        let (head, _) = wire.answer().await;
        assert_eq!(status(&head), if location.is_some() { 308 } else { 421 }, "{host}: {head}");
        assert_eq!(field(&head, "location"), location, "{head}");
    }
    // One client has so many connections, and others come beside it.
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Wire::connect(plain).await);
    }
    Wire::connect(plain).await.end().await;
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.9:0".parse().unwrap()).unwrap();
    let mut other = Wire::new(other.connect(plain).await.unwrap());
    other.send("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    assert_eq!(status(&other.head().await), 308);
    drop(open);
    let mut wire = scene.connect(gateway.address, "a.example").await.unwrap();
    let head = asked(&mut wire, "a.example").await;
    assert_eq!(field(&head, "strict-transport-security"), Some("max-age=31536000"), "{head}");
}

#[tokio::test]
async fn who_came_before_certificates_were_wanted_does_not_come_back_by_a_ticket() {
    let scene = Scene::new(TLS, "").await;
    let mut gateway = Gateway::start(&scene.house);
    // The same client, which keeps its tickets.
    let client = scene.client(&BOTH, None);
    for _ in 0..2 {
        let mut wire = scene.connect_with(gateway.address, "a.example", client.clone()).await.unwrap();
        assert_eq!(status(&asked(&mut wire, "a.example").await), 200);
    }
    let text = String::from_utf8(crate::common::read(&scene.house.config)).unwrap();
    let authorities = scene.house.path("clients.pem");
    std::fs::write(&authorities, scene.authority.pem()).unwrap();
    let wanted = format!("[server.tls]\nclient_ca = \"{}\"", authorities.display());
    std::fs::write(&scene.house.config, text.replace("[server.tls]", &wanted)).unwrap();
    gateway.signal("HUP");
    gateway.wait_for_log("the configuration was reloaded");
    let mut wire = scene.connect_with(gateway.address, "a.example", client.clone()).await.unwrap();
    wire.send("GET /.vestibule/challenge HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    let all = wire.end().await;
    assert!(!format!("{all:?}").contains("HTTP"), "{all:?}");
    // Who was known to authorities that are trusted no more, neither.
    let known = scene.client(&BOTH, Some(scene.issue(&["somebody"], 9)));
    for _ in 0..2 {
        let mut wire = scene.connect_with(gateway.address, "a.example", known.clone()).await.unwrap();
        assert_eq!(status(&asked(&mut wire, "a.example").await), 200);
    }
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
    std::fs::write(&authorities, other.cert.pem()).unwrap();
    gateway.signal("HUP");
    gateway.wait_for_log("the configuration was reloaded");
    let mut wire = scene.connect_with(gateway.address, "a.example", known.clone()).await.unwrap();
    wire.send("GET /.vestibule/challenge HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    let all = wire.end().await;
    assert!(!format!("{all:?}").contains("HTTP"), "{all:?}");
}

#[tokio::test]
async fn an_application_that_speaks_of_https_itself_keeps_its_word() {
    let scene = Scene::new(&format!("{TLS}hsts = \"365d\"\n"), "").await;
    scene.house.replace("[observe]", "[[route.rule]]\npaths = [\"/**\"]\naccess = \"allow\"\n\n[observe]");
    let gateway = Gateway::start(&scene.house);
    let mut wire = scene.connect(gateway.address, "a.example").await.unwrap();
    for (said, passed) in
        [("", "max-age=31536000"), ("Strict-Transport-Security: max-age=5\r\n", "max-age=5")]
    {
        scene.upstream.answers(&format!("HTTP/1.1 200 OK\r\n{said}content-length: 2\r\n\r\nok"));
        wire.send("GET /open HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
        let (head, _) = wire.answer().await;
        assert_eq!(status(&head), 200, "{head}");
        assert_eq!(head.to_lowercase().matches("strict-transport-security").count(), 1, "{head}");
        assert_eq!(field(&head, "strict-transport-security"), Some(passed), "{head}");
    }
}

/// The tricks, over TLS, against a gateway that runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_selftest_goes_over_tls_and_trusts_nobody_it_does_not_know() {
    let scene = Scene::new(TLS, "").await;
    let gateway = Gateway::start(&scene.house);
    let authority = scene.house.path("authority.pem");
    std::fs::write(&authority, scene.authority.pem()).unwrap();
    let connect = gateway.address.to_string();
    let command = ["selftest", "--json", "--url", "https://a.example/", "--connect", &connect];
    let known = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    let output = scene.house.command_with(&command, &known);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && told["passed"].as_u64().unwrap() > 60, "{told:#}");
    assert_eq!((&told["failed"], scene.upstream.count()), (&0.into(), 0));
    let output = scene.house.command(&command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("ertificate"), "{said}");
}
