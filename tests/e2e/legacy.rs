//! What an old application may need: its own address taken out of answers, and one field with the whole way.

use crate::common::wire::{Wire, field, fields, status};
use crate::common::{ALICE, Scene, Upstream};

#[tokio::test]
async fn an_application_that_knows_itself_by_another_address_is_reached_by_the_one_people_type() {
    let old = Upstream::start().await;
    let route = format!(
        "[[route]]\npath = \"/old\"\nupstream = [\"http://{}\"]\nforwarded = true\nrewrite_cookies = true\n\
         own_addresses = [\"http://{}\", \"http://old.internal\"]\nhost_header = \"old.internal:81\"\n",
        old.address, old.address
    );
    let scene = Scene::with(&route, "trusted_proxies = [\"127.0.0.2/32\"]", &[]).await;
    let cookie = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
    let address = old.address;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{address}/old/a%2Fb?c#d\r\nContent-Location: http://old.internal/x\r\n\
         Refresh: 5; url=http://old.internal/x\r\nSet-Cookie: a=b; Domain=old.internal; Path=/old\r\n\
         Set-Cookie: vestibule=evil; Domain=old.internal\r\nContent-Length: 0\r\n\r\n"
    );
    old.answers(&answer);
    scene.upstream.answers(&answer);

    let head = ask(&scene, &cookie, "GET /old/x", "wiki.test:8443").await;
    assert_eq!(status(&head), 421, "another host is none of ours: {head}");
    let head = ask(&scene, &cookie, "GET /old/x", "127.0.0.1:8443").await;
    assert_eq!(field(&head, "location"), Some("http://127.0.0.1:8443/old/a%2Fb?c#d"));
    assert_eq!(field(&head, "content-location"), Some("http://127.0.0.1:8443/x"));
    assert_eq!(field(&head, "refresh"), Some("5; url=http://127.0.0.1:8443/x"));
    assert_eq!(fields(&head, "set-cookie"), ["a=b; Path=/old"], "ours was dropped before");
    assert_eq!(
        fields(&old.last(), "forwarded"),
        ["for=192.0.2.7;host=\"127.0.0.1:8443\";proto=http, for=127.0.0.2"]
    );
    assert_eq!(fields(&old.last(), "x-forwarded-for"), ["192.0.2.7, 127.0.0.2"]);
    assert_eq!(fields(&old.last(), "host"), ["old.internal:81"]);
    assert_eq!(fields(&old.last(), "x-forwarded-host"), ["127.0.0.1:8443"]);

    let head = ask(&scene, &cookie, "GET /x", "127.0.0.1:8443").await;
    assert_eq!(field(&head, "location"), Some(format!("http://{address}/old/a%2Fb?c#d").as_str()));
    assert_eq!(fields(&head, "set-cookie"), ["a=b; Domain=old.internal; Path=/old"]);
    assert_eq!(field(&scene.upstream.last(), "forwarded"), None, "asked for by the other route only");
}

async fn ask(scene: &Scene, cookie: &str, line: &str, host: &str) -> String {
    let mut wire = Wire::from("127.0.0.2", scene.gateway.address).await;
    let more = "x-forwarded-for: 192.0.2.7\r\nforwarded: for=6.6.6.6";
    wire.send(format!("{line} HTTP/1.1\r\nhost: {host}\r\ncookie: vestibule={cookie}\r\n{more}\r\n\r\n"))
        .await;
    wire.head().await
}
