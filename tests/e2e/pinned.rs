//! Upstream connections that are one client's: NTLM, which authenticates a connection, and the PROXY protocol, as real
//! servers read it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::eventually;
use crate::common::more::Visit;
use crate::common::wire::{End, Manual, Wire, field, nobody, status};
use crate::common::{ALICE, House, Scene, Simulator, Upstream};

/// An application that authenticates connections: three steps, and then everything on that connection is somebody's.
async fn ntlm(upstream: Manual) {
    loop {
        let mut wire = upstream.accept().await;
        tokio::spawn(async move {
            let mut user = None;
            loop {
                let Some(head) = next_head(&mut wire).await else { return };
                let step = field(&head, "authorization").unwrap_or_default();
                let answer = match (step, &user) {
                    ("NTLM one", _) => "401 Unauthorized\r\nwww-authenticate: NTLM two".to_owned(),
                    (step, _) if step.starts_with("NTLM three:") => {
                        user = Some(step["NTLM three:".len()..].to_owned());
                        "200 OK".to_owned()
                    }
                    (_, Some(_)) => "200 OK".to_owned(),
                    (_, None) => "401 Unauthorized\r\nwww-authenticate: NTLM".to_owned(),
                };
                let end = if head.contains("/leave") { "connection: close\r\n" } else { "" };
                let who = user.clone().unwrap_or_default();
                wire.send(format!("HTTP/1.1 {answer}\r\n{end}content-length: {}\r\n\r\n{who}", who.len()))
                    .await;
                if !end.is_empty() {
                    return;
                }
            }
        });
    }
}

/// The next head, unless the connection ends.
async fn next_head(wire: &mut Wire) -> Option<String> {
    let mut byte = [0; 1];
    if wire.stream.peek(&mut byte).await.unwrap_or(0) == 0 {
        return None;
    }
    Some(wire.head().await)
}

async fn ask(visit: &Visit, client: &mut Wire, path: &str, authorization: &str) -> (u16, String) {
    let more =
        if authorization.is_empty() { String::new() } else { format!("authorization: {authorization}\r\n") };
    client.send(visit.request(&format!("GET {path}"), &more)).await;
    let (head, body) = client.answer().await;
    (status(&head), body)
}

/// The three steps.
async fn sign_in(visit: &Visit, client: &mut Wire, name: &str) {
    assert_eq!(ask(visit, client, "/ntlm", "").await.0, 401);
    assert_eq!(ask(visit, client, "/ntlm", "NTLM one").await.0, 401);
    let answer = ask(visit, client, "/ntlm", &format!("NTLM three:{name}")).await;
    assert_eq!(answer, (200, name.to_owned()));
}

#[tokio::test]
async fn an_authenticated_connection_is_one_clients() {
    let upstream = Manual::start().await;
    let second = Manual::start().await;
    let addresses = (upstream.address, second.address);
    tokio::spawn(ntlm(upstream));
    tokio::spawn(ntlm(second));
    let routes = format!(
        "[[route]]\npath = \"/ntlm\"\nupstream = [\"http://{}\", \"http://{}\"]\npin_connections = true\n",
        addresses.0, addresses.1
    );
    let visit = Visit::new(&routes, &[]).await;
    // Two clients side by side, each on its own connection, whatever upstream they got.
    let (mut alice, mut bob) = (visit.connect().await, visit.connect().await);
    sign_in(&visit, &mut alice, "alice").await;
    sign_in(&visit, &mut bob, "bob").await;
    for _ in 0..5 {
        assert_eq!(ask(&visit, &mut alice, "/ntlm", "").await, (200, "alice".to_owned()));
        assert_eq!(ask(&visit, &mut bob, "/ntlm", "").await, (200, "bob".to_owned()));
    }
    for _ in 0..5 {
        let mut stranger = visit.connect().await;
        assert_eq!(ask(&visit, &mut stranger, "/ntlm", "").await, (401, String::new()), "nobody else's");
    }

    // Where the application ends its connection, the client's ends with it: it must not believe to be still signed in.
    assert_eq!(ask(&visit, &mut bob, "/ntlm/leave", "").await, (200, "bob".to_owned()));
    assert_eq!(bob.end().await, End::Closed(Vec::new()));
    assert_eq!(ask(&visit, &mut alice, "/ntlm", "").await, (200, "alice".to_owned()));
}

#[tokio::test]
async fn a_pinned_connection_ends_with_its_client_and_serves_one_session() {
    let upstream = Manual::start().await;
    let routes = format!(
        "[[route]]\npath = \"/pin\"\nupstream = [\"http://{}\"]\npin_connections = true\n\
         [[route.rule]]\npaths = [\"/pin/open\"]\naccess = \"allow\"\n",
        upstream.address
    );
    let visit = Visit::new(&routes, &[]).await;
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let mut client = visit.connect().await;
    client.send(visit.request("GET /pin/x", "")).await;
    let (mut first, _) = upstream.request().await;
    first.send(ok).await;
    client.answer().await;
    client.send(visit.request("GET /pin/y", "")).await;
    assert!(first.head().await.starts_with("GET /pin/y "), "the same connection");
    first.send(ok).await;
    client.answer().await;
    // Somebody without that session on the same connection of a proxy in front, say.
    client.send("GET /pin/open HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    let (mut second, head) = upstream.request().await;
    assert!(head.starts_with("GET /pin/open "), "another connection");
    second.send(ok).await;
    client.answer().await;
    drop(client);
    assert_eq!(first.end().await, End::Closed(Vec::new()));
    assert_eq!(second.end().await, End::Closed(Vec::new()));
}

#[tokio::test]
async fn behind_a_shared_proxy_whoever_comes_last_signs_in() {
    let upstream = Manual::start().await;
    let address = upstream.address;
    tokio::spawn(ntlm(upstream));
    let routes =
        format!("[[route]]\npath = \"/ntlm\"\nupstream = [\"http://{address}\"]\npin_connections = true\n");
    let visit = behind_a_proxy(&routes).await;
    let mut proxy = Wire::from("127.0.0.2", visit.scene.gateway.address).await;
    for n in 0..20 {
        let client = format!("192.0.2.{n}");
        let mut answer = (0, String::new());
        for step in ["one", "two", "three:x"] {
            let more = format!("x-forwarded-for: {client}\r\nauthorization: NTLM {step}\r\n");
            proxy.send(visit.request("GET /ntlm", &more)).await;
            let (head, body) = proxy.answer().await;
            answer = (status(&head), body);
        }
        assert_eq!(answer, (200, "x".to_owned()));
        proxy.send(visit.request("GET /ntlm", &format!("x-forwarded-for: {client}\r\n"))).await;
        assert_eq!(proxy.answer().await.1, "x", "client {n} is still signed in");
    }
}

/// All strangers of one office look alike behind a proxy, and come on one connection of its: they share nothing.
#[tokio::test]
async fn strangers_behind_a_proxy_share_no_pinned_connection() {
    let upstream = Manual::start().await;
    let routes = format!(
        "[[route]]\npath = \"/pin\"\nupstream = [\"http://{}\"]\npin_connections = true\n\
         [[route.rule]]\npaths = [\"/pin/open\"]\naccess = \"allow\"\n",
        upstream.address
    );
    let visit = behind_a_proxy(&routes).await;
    let mut proxy = Wire::from("127.0.0.2", visit.scene.gateway.address).await;
    for _ in 0..2 {
        let request = "GET /pin/open HTTP/1.1\r\nhost: 127.0.0.1\r\nx-forwarded-for: 203.0.113.5\r\n\r\n";
        proxy.send(request).await;
        let (mut own, _) = upstream.request().await;
        own.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(proxy.answer().await.1, "ok");
        assert_eq!(own.end().await, End::Closed(Vec::new()));
    }
}

/// Somebody who is signed in, at a gateway that trusts 127.0.0.2.
async fn behind_a_proxy(routes: &str) -> Visit {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    let text = crate::common::config(&upstream, routes, "trusted_proxies = [\"127.0.0.2/32\"]");
    let house = House::new(&simulator, &text);
    house.add_user("alice", ALICE);
    let gateway = crate::common::Gateway::start(&house);
    let scene = Scene { simulator, upstream, house, gateway };
    let cookie = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
    Visit { scene, cookie }
}

/// A server that ends with the test.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap())
    }

    async fn listens(self, address: SocketAddr) -> Self {
        eventually("the server listens", async || tokio::net::TcpStream::connect(address).await.is_ok())
            .await;
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx that says whom it was told of.
async fn nginx(directory: &Path, address: SocketAddr) -> Server {
    let config = format!(
        "daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
         uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; server {{ listen {1} proxy_protocol;\n\
         location / {{ return 200 \"nginx saw $proxy_protocol_addr\"; }} }} }}",
        directory.display(),
        address
    );
    std::fs::write(directory.join("nginx.conf"), config).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    Server::start(command.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf")))
        .listens(address)
        .await
}

/// HAProxy that says whom it was told of.
async fn haproxy(directory: &Path, address: SocketAddr) -> Server {
    let config = format!(
        "defaults\n mode http\n timeout client 20s\n timeout server 20s\n timeout connect 5s\n\
         frontend f\n bind {address} accept-proxy\n http-request return status 200 content-type text/plain \
         lf-string \"haproxy saw %[src]\"\n"
    );
    std::fs::write(directory.join("haproxy.cfg"), config).unwrap();
    Server::start(Command::new("/usr/sbin/haproxy").arg("-db").arg("-f").arg(directory.join("haproxy.cfg")))
        .listens(address)
        .await
}

#[tokio::test]
async fn real_servers_read_our_proxy_protocol() {
    let directory = tempfile::tempdir().unwrap();
    let (nginx_address, haproxy_address) = (nobody().await, nobody().await);
    let _nginx = nginx(directory.path(), nginx_address).await;
    let _haproxy = haproxy(directory.path(), haproxy_address).await;
    let mut routes = String::new();
    for version in ["v1", "v2"] {
        for (name, address) in [("nginx", nginx_address), ("haproxy", haproxy_address)] {
            routes += &format!(
                "[[route]]\npath = \"/{name}/{version}\"\nupstream = [\"http://{address}\"]\n\
                 proxy_protocol = \"{version}\"\n"
            );
        }
    }
    let visit = behind_a_proxy(&routes).await;

    for (name, version) in [("nginx", "v1"), ("nginx", "v2"), ("haproxy", "v1"), ("haproxy", "v2")] {
        let line = format!("GET /{name}/{version}/x");
        let (head, body) = visit.send(&line, "").await;
        assert_eq!((status(&head), body), (200, format!("{name} saw 127.0.0.1")), "{head}");
        // Clients of a trusted proxy, on one connection of its: each is told by its own name.
        let mut proxy = Wire::from("127.0.0.2", visit.scene.gateway.address).await;
        for client in ["192.0.2.7", "192.0.2.8", "192.0.2.7", "2001:db8::1"] {
            proxy.send(visit.request(&line, &format!("x-forwarded-for: {client}\r\n"))).await;
            let (head, body) = proxy.answer().await;
            assert_eq!((status(&head), body), (200, format!("{name} saw {client}")), "{head}");
        }
    }
}
