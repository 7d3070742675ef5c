//! TLS: what is offered, what is refused, and that the cookie is bound to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::header::{COOKIE, SET_COOKIE};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::frames::Frames;
use crate::common::wire::{End, Wire, fields, status};
use crate::common::{ALICE, Gateway, House, Simulator, Upstream, config, vestibule};

/// A gateway that speaks TLS itself, and a client that trusts it.
pub struct TlsScene {
    pub simulator: Simulator,
    pub upstream: Upstream,
    pub house: House,
    pub gateway: Gateway,
    certificate: String,
}

/// A certificate and its key, as PEM.
fn certificate() -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

fn tls_config(upstream: &Upstream, more: &str) -> String {
    let tls = "[server.tls]\ncertificate = \"{dir}/chain.pem\"\nprivate_key = \"{dir}/key.pem\"\n";
    config(upstream, &format!("{tls}\n{more}"), "").replace("\"http://127.0.0.1\"", "\"https://127.0.0.1\"")
}

impl TlsScene {
    pub async fn start(more: &str) -> Self {
        let simulator = Simulator::start(&[]);
        let upstream = Upstream::start().await;
        let house = House::new(&simulator, &tls_config(&upstream, more));
        let (certificate, key) = certificate();
        std::fs::write(house.path("chain.pem"), &certificate).unwrap();
        std::fs::write(house.path("key.pem"), key).unwrap();
        house.add_user("alice", ALICE);
        let gateway = Gateway::start(&house);
        Self { simulator, upstream, house, gateway, certificate }
    }

    pub fn address(&self) -> SocketAddr {
        self.gateway.address
    }

    /// A TLS connection that offers these versions and protocols.
    pub async fn connect(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_on(TcpStream::connect(self.address()).await?, versions, protocols).await
    }

    /// The same on a connection that was begun.
    pub async fn connect_on(
        &self,
        stream: TcpStream,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let config = self.client_config(versions, protocols);
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The client's side of a TLS connection, without the connection.
    pub fn session(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> ClientConnection {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        ClientConnection::new(Arc::new(self.client_config(versions, protocols)), name).unwrap()
    }

    fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let pem = rustls::pki_types::pem::PemObject::from_pem_slice(self.certificate.as_bytes()).unwrap();
        roots.add(pem).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// An HTTP/2 connection, frame by frame, with these settings.
    pub async fn frames(&self, settings: &[u8]) -> Frames {
        Frames::begin(self.connect(&[&TLS13], &["h2"]).await.unwrap(), settings).await
    }

    pub fn client(&self) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(self.certificate.as_bytes()).unwrap();
        reqwest::Client::builder()
            .tls_certs_only([root])
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap()
    }

    /// Signs alice in; the whole `Set-Cookie` of her session.
    pub async fn sign_in(&self) -> String {
        let client = self.client();
        let post =
            |path: &str| client.post(format!("https://{}/.vestibule/challenge/{path}", self.address()));
        let started = post("start").form(&[("phone", ALICE)]).send().await.unwrap();
        assert_eq!(started.status(), 303);
        let challenge = started.headers()[SET_COOKIE].to_str().unwrap().to_owned();
        assert!(challenge.starts_with("__Host-vestibule-challenge="), "{challenge}");
        let pair = challenge.split(';').next().unwrap().to_owned();
        let code = self.simulator.code(ALICE).await;
        let verified = post("verify").header(COOKIE, pair).form(&[("code", code)]).send().await.unwrap();
        assert_eq!(verified.status(), 303);
        let cookies = verified.headers().get_all(SET_COOKIE);
        let session = cookies.iter().map(|cookie| cookie.to_str().unwrap());
        session.into_iter().find(|cookie| cookie.starts_with("__Host-vestibule=")).unwrap().to_owned()
    }
}

#[tokio::test]
async fn tls_is_spoken_as_it_should_be() {
    let mut scene = TlsScene::start("").await;
    let others = async {
        what_is_no_tls_of_ours_is_turned_away(&scene).await;
        every_protocol_is_agreed_on(&scene).await;
        the_cookie_is_bound_to_tls(&scene).await;
    };
    tokio::join!(others, silent_handshakes_are_ended(&scene));
    assert_eq!(scene.upstream.count(), 5);
    let log = scene.gateway.stop();
    assert!(!log.contains("panicked"), "{log}");
}

async fn every_protocol_is_agreed_on(scene: &TlsScene) {
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["h2"], Some("h2")),
        (&[], None),
    ] {
        for version in [&TLS12, &TLS13] {
            let stream = scene.connect(&[version], offered).await.unwrap();
            let protocol =
                stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
            assert_eq!(protocol.as_deref(), agreed, "{offered:?}");
            if agreed != Some("h2") {
                let mut wire = Wire::new(stream);
                wire.send("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
                assert_eq!(status(&wire.head().await), 401);
            }
        }
    }
    assert!(scene.connect(&[&TLS13], &["spdy/3"]).await.is_err(), "nothing is spoken that was not agreed on");
}

async fn the_cookie_is_bound_to_tls(scene: &TlsScene) {
    let cookie = scene.sign_in().await;
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let token = cookie.split(';').next().unwrap().strip_prefix("__Host-vestibule=").unwrap();
    assert!(token.len() < 400, "{} bytes", token.len());
    let mut wire = Wire::new(scene.connect(&[&TLS13], &["http/1.1"]).await.unwrap());
    let request = |cookie: &str| format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: {cookie}\r\n\r\n");
    // The names of a gateway without TLS are nobody's here: any neighbour could have set them.
    for name in ["vestibule", "__Secure-vestibule", "__host-vestibule", "__Host-vestibule-challenge"] {
        wire.send(request(&format!("{name}={token}"))).await;
        assert_eq!(status(&wire.answer().await.0), 401, "{name}");
    }
    assert_eq!(scene.upstream.count(), 0);
    for cookies in ["", "vestibule=x; ", "a=b; ", "__Host-vestibule-challenge=x; ", "c=d; "] {
        wire.send(request(&format!("{cookies}__Host-vestibule={token}"))).await;
        assert_eq!(status(&wire.answer().await.0), 200);
    }
    let sent = scene.upstream.last();
    assert_eq!(fields(&sent, "x-forwarded-proto"), ["https"]);
    assert_eq!(fields(&sent, "cookie"), ["c=d"]);
}

/// Plain HTTP, old TLS and garbage: an alert at most, and the end.
async fn what_is_no_tls_of_ours_is_turned_away(scene: &TlsScene) {
    for bytes in
        [b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".to_vec(), old_hello(), vec![0; 100], vec![0x16; 100]]
    {
        let mut wire = Wire::connect(scene.address()).await;
        wire.send(&bytes).await;
        if let End::Closed(said) = wire.end().await {
            // Record type 21 is an alert (RFC 8446 section 5.1).
            assert!(said.is_empty() || said[0] == 21, "{said:?}");
        }
    }
}

/// A `ClientHello` of TLS 1.1 without extensions (RFC 4346 section 7.4.1.2).
fn old_hello() -> Vec<u8> {
    let version = [3, 2];
    let body = [&version[..], &[7; 32], &[0], &[0, 2, 0xc0, 0x13], &[1, 0]].concat();
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let message = [&[1, 0][..], &length(&body), &body].concat();
    [&[22][..], &version, &length(&message), &message].concat()
}

async fn silent_handshakes_are_ended(scene: &TlsScene) {
    let mut silent = Wire::connect(scene.address()).await;
    let mut half = Wire::connect(scene.address()).await;
    half.send(&old_hello()[..20]).await;
    assert!(silent.hears_nothing_for(Duration::from_secs(1)).await, "patience with slow networks");
    silent.end().await;
    half.end().await;
}

#[tokio::test]
async fn lesson_20_a_certificate_that_cannot_be_used_stops_the_start() {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    let house = House::new(&simulator, &tls_config(&upstream, ""));
    let ((chain, key), (_, foreign)) = (certificate(), certificate());
    for (chain, key, expected) in [
        (None, Some(&key), "chain.pem"),
        (Some(&chain), None, "key.pem"),
        (Some(&String::new()), Some(&key), "chain.pem"),
        (Some(&"garbage".to_owned()), Some(&key), "chain.pem"),
        (Some(&key), Some(&key), "chain.pem"),
        (Some(&chain.replace("MII", "AII")), Some(&key), "chain.pem"),
        (Some(&chain), Some(&chain), "key.pem"),
        (Some(&chain), Some(&String::new()), "key.pem"),
        (Some(&chain), Some(&foreign), "chain.pem"),
    ] {
        for (name, text) in [("chain.pem", chain), ("key.pem", key)] {
            let _ = std::fs::remove_file(house.path(name));
            if let Some(text) = text {
                std::fs::write(house.path(name), text).unwrap();
            }
        }
        let output = vestibule(&["serve", "--config", house.config.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code();
        assert!(matches!(code, Some(1 | 78)), "{code:?}: {said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("panicked") && !said.contains("PRIVATE KEY-----"), "{said}");
    }
}
