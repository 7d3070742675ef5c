//! The challenge as people meet it: every sentence, every detour, and nothing that tells who is known.

use serde_json::json;

use crate::common::browser::Page;
use crate::common::journey::GENEROUS;
use crate::common::{ALICE, BOB, Browser, STRANGER, Scene, eventually};

const START: &str = "/.vestibule/challenge/start";
const VERIFY: &str = "/.vestibule/challenge/verify";

/// A failure shows a reference, by which the log and the audit trail have this event.
async fn is_on_record(scene: &mut Scene, page: &Page, event: &str) -> String {
    let reference = page.reference().unwrap_or_else(|| panic!("no reference: {page:#?}")).to_owned();
    scene.gateway.has_logged(&format!("\"reference\":\"{reference}\"")).await;
    let events = scene.house.events(&reference);
    assert!(events.iter().any(|known| known == event), "{event} is not among {events:?}");
    reference
}

#[tokio::test]
async fn what_cannot_be_a_person_has_its_own_sentence() {
    let more = format!("[challenge]\nallowed_regions = [\"US\"]\n{GENEROUS}");
    let mut scene = Scene::start(&more).await;
    let browser = scene.browser();
    let hint = "Begin with + and the country code, for example +1\u{a0}415\u{a0}555\u{a0}0100.";
    browser.challenge().await.expect(200, hint);
    for (phone, status, sentence) in [
        ("hello", 400, "does not look like a complete phone number"),
        ("+1415", 400, "does not look like a complete phone number"),
        ("4155550100", 400, "The country code is missing"),
        ("+49 151 23456789", 403, "Codes cannot be sent to numbers of this country"),
    ] {
        let page = browser.start(phone).await;
        page.expect(status, sentence);
        assert!(page.text.contains("aria-invalid=\"true\""), "{phone}");
        let event = if status == 403 { "guard_tripped" } else { "input_refused" };
        is_on_record(&mut scene, &page, event).await;
    }
    for (fields, sentence) in [
        (vec![("phone", "")], "The field was empty"),
        (vec![("phone", "  ")], "The field was empty"),
        (vec![("return_to", "/")], "The field was empty"),
        (vec![], "The field was empty"),
        (vec![("phone", ALICE), ("phone", STRANGER)], "a field filled in twice"),
        (vec![("phone", ALICE), ("phone", ALICE)], "a field filled in twice"),
    ] {
        browser.submit(START, &fields).await.expect(400, sentence);
    }
    for cookie in [None, Some("nonsense"), Some("AAAAAAAAAAAAAAAAAAAAAA"), Some("")] {
        let lost = scene.browser();
        for path in [VERIFY, "/.vestibule/challenge/resend"] {
            if let Some(cookie) = cookie {
                lost.set_cookie("vestibule-challenge", cookie);
            }
            let page = lost.submit(path, &[("code", "123456")]).await;
            page.expect(400, "There is no code waiting in this browser");
            assert!(page.header("set-cookie").contains("Max-Age=0"), "{page:#?}");
        }
    }
    assert!(scene.simulator.messages().await.is_empty());
    assert_eq!(scene.upstream.count(), 0);
}

#[tokio::test]
async fn what_goes_wrong_with_a_code_has_its_own_sentence_and_reference() {
    let mut scene = Scene::start(GENEROUS).await;
    let browser = scene.browser();
    assert_eq!(browser.start(ALICE).await.status, 303);
    let form = browser.challenge().await;
    form.expect(200, "6-digit code");
    for part in
        ["••• ••00", "autocomplete=\"one-time-code\"", "valid for another 10 minutes", "Call me instead"]
    {
        assert!(form.text.contains(part), "{part}: {}", form.text);
    }
    assert_eq!(form.text.matches("name=\"code\"").count(), 1);

    for code in ["12", "12345a", "12345678901"] {
        browser.verify(code).await.expect(400, "A code has 6 digits and nothing else");
    }
    browser.submit(VERIFY, &[("code", "")]).await.expect(400, "The field was empty");
    browser.submit(VERIFY, &[("code", "1234"), ("code", "1234")]).await.expect(400, "filled in twice");
    assert_eq!(scene.simulator.calls("VerificationCheck").await, 0, "no try was spent");

    let (right, wrong) = (scene.simulator.code(ALICE).await, scene.simulator.wrong_code(ALICE).await);
    for sentence in ["4 tries left", "3 tries left", "2 tries left", "one more try"] {
        browser.mistype(&wrong).await.expect(200, sentence);
    }
    let spent = browser.verify(&wrong).await;
    spent.expect(429, "Too many codes were tried");
    assert!(spent.retry_after() >= 1);
    assert!(!spent.text.contains("one-time-code"), "{}", spent.text);
    browser.verify(&right).await.expect(429, "Too many codes were tried");
    let reference = is_on_record(&mut scene, &spent, "wrong_code").await;
    let events = scene.house.events(&reference);
    assert_eq!(events[..2], ["challenge_started", "code_sent"], "{events:?}");
    let page = browser.challenge().await;
    page.expect(200, "The code sent before can no longer be checked");
    // What helps somebody who waits for a code is out of place where one is used up.
    for waiting in ["code of the newest", "Still nothing?"] {
        assert!(form.text.contains(waiting) && !page.text.contains(waiting), "{waiting}: {}", page.text);
    }

    // Another code for the same person, without typing the number again.
    assert_eq!(browser.resend("sms").await.status, 303);
    let fresh = scene.simulator.code(ALICE).await;
    let thief = browser.stolen();
    assert_eq!(browser.verify(&fresh).await.location(), "/");
    assert!(browser.is_in().await);

    let used = thief.verify(&fresh).await;
    assert_eq!((used.status.as_u16(), used.location()), (303, "/.vestibule/challenge?return_to=%2F"));
    thief.challenge().await.expect(200, "This code was used already");
    assert!(!thief.is_in().await);
    is_on_record(&mut scene, &spent, "check_failed").await;

    let late = scene.browser();
    late.start(BOB).await;
    let code = scene.simulator.code(BOB).await;
    scene.house.sql("UPDATE challenge SET expires_at = created_at WHERE user_id = 2");
    let expired = late.verify(&code).await;
    expired.expect(401, "This code has expired. Ask for another one.");
    is_on_record(&mut scene, &expired, "check_failed").await;
    late.challenge().await.expect(200, "This code has expired");
    assert!(!late.is_in().await);
}

#[tokio::test]
async fn a_provider_that_is_down_is_named_and_a_code_sent_before_stays_good() {
    let mut scene = Scene::start(GENEROUS).await;
    let browser = scene.browser();
    scene.simulator.fault(json!({"on": "any", "fault": "503", "times": 0})).await;
    let page = browser.start(ALICE).await;
    page.expect(503, "Codes cannot be sent at the moment");
    is_on_record(&mut scene, &page, "send_failed").await;
    scene.browser().start(STRANGER).await.expect(503, "Codes cannot be sent at the moment");
    scene.simulator.clear_faults().await;

    assert_eq!(browser.start(ALICE).await.status, 303, "the next start sends at once");
    let code = scene.simulator.code(ALICE).await;
    scene.simulator.fault(json!({"on": "any", "fault": "503", "times": 0})).await;
    let page = browser.resend("call").await;
    page.expect(503, "Codes cannot be sent at the moment");
    page.expect(503, "one-time-code");
    let page = browser.verify(&code).await;
    page.expect(503, "Your code could not be checked just now");
    is_on_record(&mut scene, &page, "check_failed").await;
    assert!(!browser.is_in().await);
    scene.simulator.clear_faults().await;
    assert_eq!(browser.verify(&code).await.status, 303);
    assert!(browser.is_in().await);
}

#[tokio::test]
async fn back_reload_resend_and_use_another_number() {
    let scene = Scene::start(GENEROUS).await;
    let browser = scene.browser();
    let form = [("phone", "+1 415 555 0100"), ("return_to", "/deep?x=1")];
    browser.submit(START, &form).await;
    let code = scene.simulator.code(ALICE).await;

    let soon = browser.resend("sms").await;
    soon.expect(429, "The last code may still be on its way. You can ask for another one in");
    assert!((1..=30).contains(&soon.retry_after()), "{soon:#?}");
    assert!(soon.text.contains("one-time-code"));
    browser.resend("whatsapp").await.expect(400, "");
    assert_eq!(scene.simulator.messages().await.len(), 1);

    // A call is free at once, says so, and brings the same code; what came before stays valid.
    assert_eq!(browser.resend("call").await.status, 303);
    browser.challenge().await.expect(200, "we are calling now");
    let messages = scene.simulator.messages().await;
    assert_eq!((messages[1]["channel"].as_str(), messages[1]["code"].as_str()), (Some("call"), Some(&*code)));

    // Reload and Back are GETs: nothing is sent, nothing is spent, the page is the same.
    let pages = [browser.challenge().await, browser.challenge().await, browser.challenge().await];
    assert!(pages.iter().all(|page| page.normal() == pages[0].normal()), "{pages:#?}");
    assert_eq!(scene.simulator.messages().await.len(), 2);
    let other_tab = browser.go("/.vestibule/challenge?return_to=%2Fx").await;
    other_tab.expect(200, "name=\"return_to\" value=\"&#x2f;x\"");

    let gone = browser.stolen();
    let cancelled = browser.submit("/.vestibule/challenge/cancel", &[]).await;
    assert_eq!(cancelled.location(), "/.vestibule/challenge?return_to=%2Fdeep%3Fx%3D1");
    assert_eq!(browser.cookie("vestibule-challenge"), None);
    let page = browser.go(cancelled.location()).await;
    page.expect(200, "name=\"phone\"");
    assert!(page.text.contains("deep?x=1"), "{}", page.text);
    gone.verify(&code).await.expect(401, "There is no code waiting in this browser");

    // The provider sends the same code again, so a wrong number typed first costs nobody their code.
    browser.submit(START, &form).await;
    assert_eq!(browser.verify(&code).await.location(), "/deep?x=1");
}

#[tokio::test]
async fn two_tabs_two_browsers_and_double_clicks() {
    let scene = Scene::start(GENEROUS).await;
    let (tab, other) = (scene.browser(), scene.browser());
    let (one, two) = tokio::join!(tab.start(ALICE), tab.start(ALICE));
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (303, 303));
    assert_eq!(scene.simulator.sent_to(ALICE).await, 1, "a double click sends one message");
    assert_eq!(other.start("+1 (415) 555-0100").await.status, 303);
    assert_eq!(scene.simulator.sent_to(ALICE).await, 1, "and a second browser joins");

    // One code, one count of tries: as many as the provider has, whoever types.
    let (right, wrong) = (scene.simulator.code(ALICE).await, scene.simulator.wrong_code(ALICE).await);
    let page = tab.mistype(&wrong).await;
    page.expect(200, "This code is not right. Check the newest message and try again: you have 4 tries left");
    other.mistype(&wrong).await.expect(200, "3 tries left");
    let second_tab = tab.stolen();
    assert_eq!(tab.verify(&right).await.status, 303);
    // The other browser may be somebody else's: it does not hear that the holder of the number has just signed in.
    assert_eq!(other.verify(&right).await.location(), "/.vestibule/challenge?wrong=1&return_to=%2F");
    assert!(tab.is_in().await && !other.is_in().await && !second_tab.is_in().await);
    // The second browser asks again and gets a code of its own at once: the used one is not waited for.
    assert_eq!(other.start(ALICE).await.status, 303);
    assert_eq!(other.verify(&scene.simulator.code(ALICE).await).await.status, 303);
    assert!(tab.is_in().await && other.is_in().await);

    // Two clicks, and the provider's answer to the first comes last: the second finds the code gone, the first is in.
    let (first, starts) = (scene.browser(), scene.simulator.calls("VerificationCheck").await);
    assert_eq!(first.start(ALICE).await.status, 303);
    let (second, code) = (first.stolen(), scene.simulator.code(ALICE).await);
    scene.simulator.fault(json!({"on": "check", "fault": "slow", "delay_ms": 700, "times": 1})).await;
    let (won, lost) = tokio::join!(first.verify(&code), async {
        let asked = async || scene.simulator.calls("VerificationCheck").await > starts;
        eventually("the first click reaches the provider", asked).await;
        second.verify(&code).await
    });
    assert!(won.status == 303 && first.is_in().await, "{won:#?}");
    assert!(second.cookie("vestibule").is_none(), "{lost:#?}");

    // The right code twenty times at once opens one session.
    let impatient = scene.browser();
    impatient.start(BOB).await;
    let code = scene.simulator.code(BOB).await;
    let copies: Vec<Browser> = (0..20).map(|_| impatient.stolen()).collect();
    let pages = futures_util::future::join_all(copies.iter().map(|copy| copy.verify(&code))).await;
    let inside = copies.iter().filter(|copy| copy.cookie("vestibule").is_some()).count();
    assert_eq!(inside, 1, "{pages:#?}");
    assert_eq!(scene.house.json(&["session", "list", "--user", "bob"]).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn by_name_in_the_operators_words_and_only_to_the_stored_number() {
    let more = format!(
        "[challenge]\nidentify_by = \"name\"\nbrand = \"Acme Wiki\"\ntemplates = \"{{dir}}\"\n{GENEROUS}"
    );
    let simulator = crate::common::Simulator::start(&[]);
    let upstream = crate::common::Upstream::start().await;
    let house = crate::common::House::new(&simulator, &crate::common::config(&upstream, &more, ""));
    house.add_user("alice", ALICE);
    let ours = "{% extends \"layout.html\" %}{% block title %}x{% endblock %}{% block content %}\
                <form method=\"post\" action=\"/.vestibule/challenge/start\">OURS <input name=\"name\"></form>{% endblock %}";
    std::fs::write(house.path("identify.html"), ours).unwrap();
    std::fs::create_dir(house.path("languages")).unwrap();
    std::fs::write(house.path("languages/en.toml"), "[code]\ntitle = \"Say the word\"\n").unwrap();
    let gateway = crate::common::Gateway::start(&house);
    let browser = Browser::new(gateway.address);

    let page = browser.challenge().await;
    page.expect(200, "OURS <input");
    assert!(page.text.contains("Acme Wiki"), "{}", page.text);
    browser.submit(START, &[("phone", ALICE)]).await.expect(400, "The field was empty");
    browser.submit(START, &[("name", "no name")]).await.expect(400, "does not look like a user name");

    // Lesson 29: the recipient is the stored number, whatever the form says.
    let evil = ("phone", STRANGER);
    assert_eq!(browser.submit(START, &[("name", " Alice "), evil, ("to", STRANGER)]).await.status, 303);
    browser.challenge().await.expect(200, "Say the word");
    browser.submit("/.vestibule/challenge/resend", &[("channel", "call"), evil]).await;
    let code = simulator.code(ALICE).await;
    let wrong = simulator.wrong_code(ALICE).await;
    browser.submit(VERIFY, &[("code", &wrong), evil]).await;
    browser.go("/.vestibule/challenge?wrong=1").await.expect(200, "4 tries left");
    let messages = simulator.messages().await;
    assert!(messages.len() == 2 && messages.iter().all(|message| message["to"] == ALICE), "{messages:#?}");
    let starts = simulator.requests().await;
    let brand = starts.iter().find(|request| request["form"]["To"] == ALICE).unwrap();
    assert_eq!(brand["form"]["CustomFriendlyName"], "Acme Wiki");

    let stranger = Browser::new(gateway.address);
    stranger.submit(START, &[("name", "mallory")]).await;
    let (theirs, known) = (stranger.challenge().await, browser.challenge().await);
    theirs.expect(200, "If this name is known here");
    let again = Browser::new(gateway.address);
    again.submit(START, &[("name", "MALLORY")]).await;
    let mask = |page: &Page| page.text.split("••• ••").nth(1).map(|rest| rest[..2].to_owned());
    assert_eq!(mask(&theirs), mask(&again.challenge().await), "a name has one number, always");
    assert!(mask(&known).is_some());
    let verified = browser.submit(VERIFY, &[("code", &code), evil]).await;
    assert_eq!(verified.status, 303);
    assert!(browser.is_in().await);
}

#[tokio::test]
async fn lessons_8_and_9_return_to_never_leaves_the_site() {
    let scene = Scene::start(GENEROUS).await;
    let browser = scene.signed_in(ALICE).await;
    let hostile = [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "http:evil.example",
        "https:/evil.example",
        "HTTPS://EVIL.EXAMPLE",
        "evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/\r/evil.example",
        "\t//evil.example",
        " //evil.example",
        "\u{a0}//evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/ /evil.example",
        "/\u{2215}evil.example",
        "/\u{ff0f}evil.example",
        "/a\r\nSet-Cookie: x=y",
        "/a\r\nLocation: https://evil.example",
        "/.vestibule/sign-out",
        "/.vestibule",
        "@evil.example",
        "/\0/evil.example",
        "?x",
        "#",
        "",
        "/a\\b",
        "//",
        "/\\",
        "https://127.0.0.1.evil.example/",
        "/%0d%0aSet-Cookie:x=y",
        "/..//evil.example",
        "/.//evil.example",
        "/%2f/evil.example",
        "/x/../..//evil.example",
    ];
    let site = url::Url::parse("https://site.example/.vestibule/challenge").unwrap();
    for text in hostile {
        let query: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let page = browser.go(&format!("/.vestibule/challenge?return_to={query}")).await;
        let target = site.join(page.location()).unwrap();
        assert_eq!((page.status.as_u16(), target.origin()), (303, site.origin()), "{text:?}");
        assert!(page.headers.get("set-cookie").is_none(), "{text:?}");
    }
    for text in ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"] {
        let browser = scene.browser();
        browser.submit(START, &[("phone", BOB), ("return_to", text)]).await;
        let there = browser.submit("/.vestibule/challenge/cancel", &[]).await;
        assert_eq!(there.location(), "/.vestibule/challenge?return_to=%2F", "{text:?}");
    }
    let bob = scene.browser();
    bob.submit(START, &[("phone", BOB), ("return_to", "//evil.example")]).await;
    assert_eq!(bob.verify(&scene.simulator.code(BOB).await).await.location(), "/");
}

/// What the numbering plan tells of the digits that were typed is the same for everybody, and may be told.
#[tokio::test]
async fn a_landline_is_called_and_a_premium_number_is_refused() {
    const KNOWN: &str = "+493012345678";
    let scene = Scene::start(&format!("[challenge]\ndefault_region = \"DE\"\n{GENEROUS}")).await;
    scene.house.add_user("carol", KNOWN);
    scene
        .browser()
        .challenge()
        .await
        .expect(200, "Use the number registered for you. If in doubt, begin with +");
    for phone in ["030 12345678", "030 12345999"] {
        let browser = scene.browser();
        assert_eq!(browser.start(phone).await.status, 303);
        let page = browser.challenge().await;
        page.expect(200, "If this number is known here, we called");
        assert!(!page.text.contains("Text me"), "{}", page.text);
        browser.resend("sms").await.expect(400, "");
    }
    let messages = scene.simulator.messages().await;
    assert!(messages.len() == 1 && messages[0]["channel"] == "call", "{messages:#?}");
    let browser = scene.browser();
    browser.start("030 12345678").await;
    assert_eq!(browser.verify(&scene.simulator.code(KNOWN).await).await.status, 303);
    assert!(browser.is_in().await);
    for phone in ["0900 1234567", "0800 1234567", "+1 900 234 5678"] {
        scene.browser().start(phone).await.expect(403, "Codes cannot be sent to numbers of this kind");
    }
    let page = scene.browser().api("request", &json!({"phoneNumber": "0900 1234567"})).await;
    assert_eq!((page.status.as_u16(), page.json()), (403, json!({"error": "number_not_supported"})));
}
