//! The main job, end to end, in one test: whoever breaks it sees it here first.

use crate::common::{ALICE, Scene};

#[tokio::test]
async fn a_person_proves_their_phone_and_reaches_the_application() {
    let scene = Scene::start("").await;
    let browser = scene.browser();

    let turned_away = browser.go("/page?x=1").await;
    assert_eq!(turned_away.status, 303);
    assert_eq!(turned_away.location(), "/.vestibule/challenge?return_to=%2Fpage%3Fx%3D1");
    assert!(browser.go(turned_away.location()).await.text.contains("name=\"phone\""));

    let form = [("phone", "+1 (415) 555-0100"), ("return_to", "/page?x=1")];
    let started = browser.submit("/.vestibule/challenge/start", &form).await;
    assert_eq!((started.status.as_u16(), started.location()), (303, "/.vestibule/challenge"));
    assert!(browser.go(started.location()).await.text.contains("one-time-code"));
    assert_eq!(scene.upstream.count(), 0, "not a byte before the proof");

    let verified = browser.verify(&scene.simulator.code(ALICE).await).await;
    assert_eq!((verified.status.as_u16(), verified.location()), (303, "/page?x=1"));

    let page = browser.go("/page?x=1").await;
    assert_eq!((page.status.as_u16(), page.text.as_str()), (200, "hello"));
    let request = scene.upstream.last();
    assert!(request.starts_with("GET /page?x=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-forwarded-user: alice\r\n"), "{request}");
    assert!(!request.contains("vestibule="), "{request}");
}
