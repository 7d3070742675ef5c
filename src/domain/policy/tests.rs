use super::*;

impl Proof for i64 {
    fn proved_at(&self) -> Timestamp {
        Timestamp::from_unix(*self)
    }
}

const NOW: Timestamp = Timestamp::from_unix(1_000);

fn route(host: &str, path: &str, rules: Vec<Rule>) -> RouteMatch {
    let encoded_slashes = EncodedSlashes::Unknown;
    RouteMatch {
        host: host.to_owned(),
        path: path.to_owned(),
        rules,
        encoded_slashes,
        outage_grace: None,
        forwards: true,
    }
}

fn rule(paths: &[&str], access: Access) -> Rule {
    let paths = paths.iter().map(|path| path.parse().unwrap()).collect();
    Rule { paths, methods: Vec::new(), networks: Vec::new(), access }
}

fn asked(path: &str) -> Asked<'_> {
    Asked { path, method: &Method::GET, client: "192.0.2.1".parse().unwrap() }
}

fn ruling(policy: &Policy, asked: &Asked<'_>) -> Result<Ruling, Ambiguous> {
    policy.host("a").unwrap().ruling(asked)
}

/// The decision on a stranger's request, in a word.
fn stranger(policy: &Policy, asked: &Asked<'_>) -> &'static str {
    match ruling(policy, asked).map(|ruling| ruling.decide::<i64>(Err(Cause::NoSession), NOW)) {
        Ok(Decision::Forward(permit)) => {
            assert!(permit.session().is_none());
            "forward"
        }
        Ok(Decision::Pass(_, session)) => {
            assert!(session.is_none());
            "pass"
        }
        Ok(Decision::Challenge(_)) => "challenge",
        Ok(Decision::Deny(_)) => "deny",
        Err(Ambiguous) => "ambiguous",
    }
}

fn taken(policy: &Policy, path: &str) -> Option<usize> {
    match ruling(policy, &asked(path)).unwrap().decide(Ok(0), NOW) {
        Decision::Forward(permit) => Some(permit.route().0),
        Decision::Pass(..) | Decision::Challenge(_) | Decision::Deny(_) => None,
    }
}

#[test]
fn the_longest_path_wins_by_whole_segments() {
    let paths = ["/", "/wiki", "/wiki/static/"];
    let policy = Policy::new(paths.map(|path| route("a", path, Vec::new())));
    for (path, expected) in [("/", 0), ("/wiki", 1), ("/wiki/x", 1), ("/wiki/static/x", 2), ("/wikis", 0)] {
        assert_eq!(taken(&policy, path), Some(expected), "{path}");
    }
    let only = Policy::new([route("a", "/only", Vec::new())]);
    assert_eq!(taken(&only, "/only"), Some(0));
    for path in ["/", "/only-this", "/Only"] {
        assert_eq!(taken(&only, path), None, "lesson 18: a prefix ends at a segment: {path}");
    }
}

#[test]
fn a_route_whose_requests_another_proxy_sends_on_gives_no_permit() {
    let open = rule(&["/open"], Access::Allow);
    let denied = rule(&["/denied"], Access::Deny);
    let elsewhere = RouteMatch { forwards: false, ..route("a", "/", vec![open, denied]) };
    let policy = Policy::new([elsewhere, route("a", "/here", Vec::new())]);
    assert_eq!(stranger(&policy, &asked("/open")), "pass");
    assert_eq!(stranger(&policy, &asked("/denied")), "deny");
    assert_eq!(stranger(&policy, &asked("/x")), "challenge");
    assert_eq!((taken(&policy, "/x"), taken(&policy, "/here")), (None, Some(1)));
    let decision = ruling(&policy, &asked("/x")).unwrap().decide(Ok(7), NOW);
    assert!(matches!(decision, Decision::Pass(RouteId(0), Some(7))), "{decision:?}");
}

#[test]
fn lesson_17_hosts_are_compared_alike_however_many_there_are() {
    let policy = Policy::new((0..200).map(|n| route(&format!("h{n}.example.com"), "/", Vec::new())));
    assert!((0..200).all(|n| policy.host(&format!("h{n}.example.com")).is_some()));
    assert!(policy.host("h200.example.com").is_none());
}

#[test]
fn without_a_session_there_is_no_permit() {
    let policy = Policy::new([route("a", "/", Vec::new()), route("a", "/wiki", Vec::new())]);
    for path in ["/", "/wiki", "/nowhere"] {
        assert_eq!(stranger(&policy, &asked(path)), "challenge");
    }
}

#[test]
fn lesson_16_the_first_rule_that_matches_decides_and_without_one_a_session_is_asked_for() {
    let rules = vec![
        rule(&["/public/secret"], Access::Deny),
        rule(&["/public", "/static/**", "re:^/v[0-9]+/ping$"], Access::Allow),
        rule(&["/public"], Access::Deny),
    ];
    let policy = Policy::new([route("a", "/", rules)]);
    for (path, expected) in [
        ("/public", "forward"),
        ("/public/x", "forward"),
        ("/static/a/b", "forward"),
        ("/v3/ping", "forward"),
        ("/public/secret", "deny"),
        ("/public/secret/x", "deny"),
        ("/publicity", "challenge"),
        ("/", "challenge"),
        ("/v3/ping/x", "challenge"),
        ("/x?y=/public", "challenge"),
    ] {
        assert_eq!(stranger(&policy, &asked(path)), expected, "{path}");
    }
    let denied = ruling(&policy, &asked("/public/secret")).unwrap();
    assert!(
        matches!(denied.decide(Ok(0), NOW), Decision::Deny(Reason::Rule)),
        "a session opens nothing here"
    );
    assert_eq!((denied.route(), denied.rule()), (Some(RouteId(0)), Some(0)));
}

#[test]
fn lesson_14_a_path_that_falls_under_a_rule_one_way_only_is_refused() {
    let policy = Policy::new([route(
        "a",
        "/",
        vec![rule(&["/public"], Access::Allow), rule(&["/admin"], Access::Deny)],
    )]);
    for (path, expected) in [
        ("/public/%61", "forward"),
        ("/%70ublic/x", "forward"),
        ("/public/a;v=1/b", "forward"),
        ("/public//a", "forward"),
        ("/api/group%2Fproject", "challenge"),
        ("/api;v=1/x", "challenge"),
        ("/%61dmin", "deny"),
        ("/public%2fx", "ambiguous"),
        ("/public;x", "ambiguous"),
        ("/public;/x", "ambiguous"),
        ("//public/x", "ambiguous"),
        ("/admin;x", "ambiguous"),
        ("//admin", "ambiguous"),
        ("/%2561dmin", "ambiguous"),
        ("/public%23/x", "ambiguous"),
        ("/public%3f/x", "ambiguous"),
        ("/public/..%2fsecret", "ambiguous"),
        ("/public/%252e%252e/secret", "ambiguous"),
        ("/public/..;/secret", "ambiguous"),
        ("/public%2f;c%2fx/y", "ambiguous"),
        ("/x%2f;c%2f..;/public", "ambiguous"),
    ] {
        assert_eq!(stranger(&policy, &asked(path)), expected, "{path}");
    }
}

#[test]
fn an_application_that_promises_to_read_encoded_slashes_as_data_gets_them() {
    let rules = vec![rule(&["/api/*"], Access::Allow)];
    let policy =
        |encoded_slashes| Policy::new([RouteMatch { encoded_slashes, ..route("a", "/", rules.clone()) }]);
    let path = asked("/api/group%2Fproject");
    assert_eq!(stranger(&policy(EncodedSlashes::Unknown), &path), "ambiguous");
    assert_eq!(stranger(&policy(EncodedSlashes::Data), &path), "forward");
    assert_eq!(stranger(&policy(EncodedSlashes::Data), &asked("/api/..%2Fproject")), "ambiguous");
}

#[test]
fn a_rule_may_name_methods_and_networks() {
    let rules = vec![Rule {
        paths: Vec::new(),
        methods: vec![Method::GET],
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        access: Access::Allow,
    }];
    let policy = Policy::new([route("a", "/", rules)]);
    let from = |method, client: &str| Asked { path: "/", method, client: client.parse().unwrap() };
    assert_eq!(stranger(&policy, &from(&Method::GET, "192.0.2.7")), "forward");
    assert_eq!(stranger(&policy, &from(&Method::HEAD, "192.0.2.7")), "forward");
    assert_eq!(stranger(&policy, &from(&Method::POST, "192.0.2.7")), "challenge");
    assert_eq!(stranger(&policy, &from(&Method::GET, "192.0.3.7")), "challenge");
    assert_eq!(stranger(&policy, &from(&Method::GET, "2001:db8::1")), "challenge");
}

#[test]
fn wish_11_a_proof_grows_too_old() {
    let access = Access::Challenge { max_age: Some(Duration::from_secs(60)) };
    let policy = Policy::new([route("a", "/", vec![rule(&["/admin"], access)])]);
    let admin = ruling(&policy, &asked("/admin")).unwrap();
    assert!(matches!(admin.decide(Ok(941), NOW), Decision::Forward(_)));
    assert!(matches!(admin.decide(Ok(940), NOW), Decision::Challenge(Cause::ProofTooOld)));
    assert!(matches!(admin.decide::<i64>(Err(Cause::NoSession), NOW), Decision::Challenge(Cause::NoSession)));
    let elsewhere = ruling(&policy, &asked("/")).unwrap();
    assert!(matches!(elsewhere.decide(Ok(0), NOW), Decision::Forward(_)));
}

#[test]
fn where_everybody_may_pass_a_session_is_taken_along() {
    let policy = Policy::new([route("a", "/", vec![rule(&["/"], Access::Allow)])]);
    let open = ruling(&policy, &asked("/")).unwrap();
    let Decision::Forward(permit) = open.decide(Ok(7), NOW) else { panic!("not forwarded") };
    assert_eq!(permit.session(), Some(&7));
}

/// One server cuts path parameters off before it decodes slashes, another after.
#[test]
fn lesson_14_parameters_hide_nothing_between_encoded_slashes() {
    let rules = vec![rule(&["/api/v1/admin"], Access::Deny), rule(&["/**"], Access::Allow)];
    let policy = Policy::new([route("a", "/", rules)]);
    for path in ["/api/v1%2f;c%2fx/admin", "/api/v1;%2fx/admin", "/api%2fv1%2f;a/admin", "/api/v1/;%2f/admin"]
    {
        assert_eq!(stranger(&policy, &asked(path)), "ambiguous", "{path}");
    }
    assert_eq!(stranger(&policy, &asked("/api/v1/other;a%2fb")), "forward");
}
