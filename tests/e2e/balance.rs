//! Several upstreams: who is asked, who is left alone, and what is told of it.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::common::more::Visit;
use crate::common::upstream::Upstream;
use crate::common::wire::{Manual, Wire, field, nobody, status};

fn route(path: &str, upstreams: &[SocketAddr], more: &str) -> String {
    let list: Vec<_> = upstreams.iter().map(|address| format!("\"http://{address}\"")).collect();
    format!("[[route]]\npath = \"{path}\"\nupstream = [{}]\n{more}\n", list.join(", "))
}

/// Somebody listens there from now on.
fn listen_again(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(100).unwrap()
}

#[tokio::test]
async fn one_that_fails_again_and_again_is_left_alone() {
    let (dead, live) = (nobody().await, Upstream::start().await);
    let other = nobody().await;
    let routes =
        [route("/half", &[dead, live.address], ""), route("/all", &[nobody().await, other], "")].concat();
    let mut visit = Visit::new(&routes, &[]).await;
    let mut client = visit.connect().await;
    for _ in 0..20 {
        client.send(visit.request("GET /half", "")).await;
        assert_eq!(client.answer().await.1, "hello", "nobody notices");
    }
    visit.scene.gateway.has_logged("an upstream is left alone for a while").await;
    let log = visit.scene.gateway.log();
    let said = log.matches("an upstream is left alone for a while").count();
    assert_eq!(said, 1, "once: {log}");
    assert_eq!(log.matches("trying the next upstream").count(), 3, "and not asked any more: {log}");
    assert!(
        log.contains(&format!("\"upstream\":\"http://{dead}\"")) && log.contains("127.0.0.1/half"),
        "{log}"
    );
    let up = |upstream: SocketAddr, path: &str, up: u8| {
        format!("vestibule_upstream_up{{route=\"127.0.0.1{path}\",upstream=\"http://{upstream}\"}} {up}")
    };
    visit.scene.gateway.has_figure(&up(dead, "/half", 0)).await;
    visit.scene.gateway.has_figure(&up(live.address, "/half", 1)).await;

    // Where all rest, the last one standing is tried all the same, and is there at once when it is back.
    for _ in 0..8 {
        client.send(visit.request("GET /all", "")).await;
        assert_eq!(status(&client.answer().await.0), 502);
    }
    visit.scene.gateway.has_figure(&up(other, "/all", 0)).await;
    let listener = listen_again(other);
    let serving = tokio::spawn(async move {
        let mut upstream = Wire::new(listener.accept().await.unwrap().0);
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback").await;
        upstream
    });
    loop {
        client.send(visit.request("GET /all", "")).await;
        if client.answer().await.1 == "back" {
            break;
        }
    }
    drop(serving);
    visit.scene.gateway.has_figure(&up(other, "/all", 1)).await;
    visit.scene.gateway.has_logged("an upstream is asked again").await;
}

#[tokio::test]
async fn the_one_with_the_fewest_requests_is_asked() {
    let (slow, quick) = (Manual::start().await, Upstream::start().await);
    let routes = route("/x", &[slow.address, quick.address], "balance = \"least-outstanding\"");
    let visit = Visit::new(&routes, &[]).await;
    let mut busy = visit.connect().await;
    let mut held = loop {
        busy.send(visit.request("GET /x", "")).await;
        tokio::select! {
            (held, _) = slow.request() => break held,
            (_, body) = busy.answer() => assert_eq!(body, "hello"),
        }
    };
    for _ in 0..10 {
        assert_eq!(visit.send("GET /x", "").await.1, "hello", "the one that is busy is not asked");
    }
    // Its body counts too.
    held.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha").await;
    for _ in 0..6 {
        assert_eq!(visit.send("GET /x", "").await.1, "hello");
    }
    held.send("lf").await;
    // Free again: it gets the next one or the one after, on its kept connection or another.
    let mut clients = Vec::new();
    let head = loop {
        let mut client = visit.connect().await;
        client.send(visit.request("GET /x", "")).await;
        tokio::select! {
            (_, head) = slow.request() => break head,
            head = held.head() => break head,
            (_, body) = client.answer() => assert_eq!(body, "hello"),
        }
        clients.push(client);
    };
    assert!(head.starts_with("GET /x "), "{head}");
}

#[tokio::test]
async fn checks_find_out_before_people_do() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let checked = "health_path = \"/health?deep\"\nhealth_interval = \"1s\"\nhealth_timeout = \"1s\"\nhost_header = \"app.internal\"";
    let mut visit = Visit::new(&route("/x", &[one.address, two.address], checked), &[]).await;
    let up = |upstream: &Upstream, up: u8| {
        format!(
            "vestibule_upstream_up{{route=\"127.0.0.1/x\",upstream=\"http://{}\"}} {up}",
            upstream.address
        )
    };
    let answer = |health: &'static str| {
        move |head: &str| {
            let status = if head.starts_with("GET /health?deep ") { health } else { "200 OK" };
            format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhello").into_bytes()
        }
    };
    one.answers_by(answer("500 Broken"));
    two.answers_by(answer("302 Elsewhere"));
    visit.scene.gateway.has_figure(&up(&one, 0)).await;
    visit.scene.gateway.has_figure(&up(&two, 1)).await;
    visit.scene.gateway.has_logged("left alone until its check succeeds").await;
    let asked =
        |upstream: &Upstream| upstream.requests().iter().filter(|head| head.starts_with("GET /x ")).count();
    for _ in 0..6 {
        assert_eq!(visit.send("GET /x", "").await.1, "hello");
    }
    assert_eq!((asked(&one), asked(&two)), (0, 6));
    let check =
        two.requests().into_iter().find(|head| head.starts_with("GET /health?deep HTTP/1.1\r\n")).unwrap();
    assert_eq!(field(&check, "host"), Some("app.internal"));
    assert_eq!(field(&check, "x-forwarded-user"), None, "nobody's request");

    // Nothing works: nobody is asked, and people are told when to come back.
    two.answers_by(answer("503 Broken"));
    visit.scene.gateway.has_figure(&up(&two, 0)).await;
    let (head, page) = visit.send("GET /x", "accept: text/html\r\n").await;
    assert_eq!((status(&head), field(&head, "retry-after")), (503, Some("1")), "{head}");
    assert!(page.contains("out of order") && !page.contains(&two.address.port().to_string()), "{page}");
    let (_, document) = visit.send("GET /x", "").await;
    assert!(document.contains("\"error\":\"upstreams_left_alone\""), "{document}");
    assert_eq!((asked(&one), asked(&two)), (0, 6));

    one.answers_by(answer("204 No Content"));
    visit.scene.gateway.has_figure(&up(&one, 1)).await;
    assert_eq!(visit.send("GET /x", "").await.1, "hello");
    assert_eq!(asked(&one), 1);
}
