//! The sample application over a real socket, as the gateway meets it.

use std::net::SocketAddr;

use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(super::serve(listener));
    address
}

fn client() -> Client {
    Client::builder().no_proxy().build().expect("a plain client needs nothing")
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = client().get(format!("http://{address}{path}")).header("X-Forwarded-User", "ada");
    let response = request.send().await.expect("it answers");
    (response.status().as_u16(), response.text().await.expect("the page is text"))
}

#[tokio::test]
async fn every_link_of_the_menu_leads_to_a_page() {
    let address = application().await;
    let (_, front) = get(address, "/").await;
    let links: Vec<_> = front.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(links.len() > 5, "{front}");
    for link in links {
        let (status, page) = get(address, link).await;
        assert_eq!(status, 200, "{link}");
        assert!(page.contains("You are <b>ada</b>."), "{link}");
    }
    assert_eq!(get(address, "/nothing").await.0, 404);
}

#[tokio::test]
async fn it_shows_the_fields_it_received() {
    let (_, page) = get(application().await, "/request?a=%3Cb%3E").await;
    assert!(page.contains("<tr><th>x-forwarded-user</th><td>ada</td></tr>"), "{page}");
    assert!(page.contains("GET /request?a=%3Cb%3E HTTP/1.1"), "{page}");
}

#[tokio::test]
async fn a_remark_comes_back_escaped() {
    let address = application().await;
    let request = client().post(format!("http://{address}/remarks")).form(&[("remark", "<b>hé</b>")]);
    let page = request.send().await.expect("it answers").text().await.expect("the page is text");
    assert!(page.contains("<td>&lt;b&gt;hé&lt;/b&gt;</td>"), "{page}");
    let elsewhere = client().post(format!("http://{address}/clock")).send().await.expect("it answers");
    assert_eq!(elsewhere.status(), 405);
}

#[tokio::test]
async fn events_tick() {
    let address = application().await;
    let mut response = client().get(format!("http://{address}/events")).send().await.expect("it answers");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    for count in 0..2 {
        let chunk = response.chunk().await.expect("the stream goes on").expect("it never ends");
        let event = String::from_utf8_lossy(&chunk).into_owned();
        assert!(event.starts_with(&format!("id: {count}\nevent: tick\ndata: 20")), "{event}");
    }
}

#[tokio::test]
async fn the_socket_repeats_what_it_hears() {
    let mut stream = TcpStream::connect(application().await).await.expect("it listens");
    let request = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the head is whole"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    // "Hi", masked with 1, 2, 3, 4; then a close.
    let frames = [0x81, 0x82, 1, 2, 3, 4, b'H' ^ 1, b'i' ^ 2, 0x88, 0x80, 0, 0, 0, 0];
    stream.write_all(&frames).await.expect("the frames are sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it closes after the close frame");
    assert_eq!(answer, [0x81, 2, b'H', b'i', 0x88, 0]);
}

#[tokio::test]
async fn the_socket_wants_an_upgrade() {
    assert_eq!(get(application().await, "/socket").await.0, 426);
}
