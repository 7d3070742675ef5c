//! A session used at one gateway is not idle at another.

use std::time::{Duration, Instant};

use crate::common::postgres::Database;
use crate::common::wire::{Manual, Wire, status};
use crate::common::{ALICE, BOB, Browser, Gateway, Scene, eventually};

const HANDSHAKE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[tokio::test]
async fn what_is_used_at_one_gateway_is_not_idle_at_another() {
    let live = Manual::start().await;
    let routes = format!("[[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\n", live.address);
    let database = Database::fresh();
    let session = "[session]\nidle_timeout = \"4s\"\n";
    let scene = Scene::start(&format!("{routes}{session}{}", database.settings())).await;
    let here = scene.signed_in(ALICE).await;
    let other = Gateway::start(&scene.house);
    let there = Browser::new(other.address);
    let token = here.cookie("vestibule").unwrap();
    there.set_cookie("vestibule", &token);
    assert!(here.is_in().await && there.is_in().await);
    let bob_here = scene.signed_in(BOB).await;
    let bob_there = Browser::new(other.address);
    bob_there.set_cookie("vestibule", &bob_here.cookie("vestibule").unwrap());
    assert!(bob_here.is_in().await && bob_there.is_in().await);
    // Quiet, at the other gateway.
    let mut tunnel = Wire::connect(other.address).await;
    let head =
        format!("GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={token}\r\n{HANDSHAKE}\r\n");
    tunnel.send(head).await;
    let (mut upstream, _) = live.request().await;
    upstream.send(SWITCHED).await;
    assert_eq!(status(&tunnel.head().await), 101);

    // Bob looks in as soon as his last use there is old.
    let mut looked = Instant::now();
    for _ in 0..4 {
        while looked.elapsed() < Duration::from_millis(4_050) {
            assert!(here.is_in().await && bob_here.is_in().await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(bob_there.is_in().await, "idle there, used here");
        looked = Instant::now();
    }
    assert!(tunnel.hears_nothing_for(Duration::from_millis(50)).await, "nor does its tunnel end");
    upstream.send("down").await;
    tunnel.until("down").await;
    // What is idle everywhere is over everywhere.
    tunnel.end().await;
    upstream.end().await;
    for browser in [&here, &there] {
        eventually("it is idle", async || browser.go("/page").await.location().ends_with("ended=idle")).await;
    }
}
