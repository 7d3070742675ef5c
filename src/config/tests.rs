use super::*;

const EXAMPLE: &str = include_str!("../../config.toml.example");

const GOOD: &str = r#"
[server]
listen = ["127.0.0.1:8080", "unix:/run/vestibule.sock"]
public_url = "https://Wiki.Example.com"

[[route]]
upstream = ["http://127.0.0.1:9000"]

[[provider]]
kind = "twilio"
account_sid = "AC0123456789abcdef0123456789abcdef"
auth_token = { credential = "twilio-auth-token" }
service_sid = "VA0123456789abcdef0123456789abcdef"
"#;

const VONAGE_V1: &str = "kind = \"vonage-v1\"\napi_key = \"abc12345\"\napi_secret = { env = \"A\" }\n";

const VONAGE_APPLICATION: &str =
    "application_id = \"00000000-0000-0000-0000-000000000000\"\nprivate_key = { env = \"A\" }\n";

fn problems(text: &str) -> Vec<String> {
    let list = Settings::parse(text, Purpose::Administer).err().unwrap_or_default();
    list.iter().map(ToString::to_string).collect()
}

/// What is said about the good file with one piece replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    problems(&GOOD.replacen(from, to, 1)).join("\n")
}

/// What is said about the good file with a section more.
fn with(more: &str) -> String {
    problems(&format!("{GOOD}{more}")).join("\n")
}

#[test]
fn a_short_file_is_complete() {
    let settings = Settings::parse(GOOD, Purpose::Administer).unwrap();
    let host = "wiki.example.com".to_owned();
    assert_eq!(settings.server.public_url, PublicUrl { secure: true, host, port: None });
    assert_eq!(settings.routes[0].host, "wiki.example.com");
    assert_eq!(settings.routes[0].path, "/");
    assert_eq!(settings.limits.starts_per_number.to_string(), "5/1h");
    assert_eq!(settings.limits.checks_per_challenge.to_string(), "10/5m");
    assert_eq!(settings.session.idle_timeout.as_secs(), 3_600);
    assert_eq!(settings.session.absolute_timeout.as_secs(), 12 * 3_600);
    assert_eq!(settings.session.outage_grace.as_secs(), 900);
}

#[test]
fn what_browsers_call_us_has_its_port_where_they_write_it() {
    for (url, authority) in [
        ("https://A.example:443", "a.example"),
        ("http://a.example:443", "a.example:443"),
        ("http://a.example:80", "a.example"),
        ("https://[2001:db8::1]:8443", "[2001:db8::1]:8443"),
    ] {
        assert_eq!(url.parse::<PublicUrl>().unwrap().authority(), authority, "{url}");
    }
}

#[test]
fn all_problems_come_at_once_with_their_lines() {
    let said = problems(
        "[server]\nlisten = [\"nowhere\"]\npublic_url = \"wiki\"\n\n[limits]\nstarts_per_number = \"often\"\nstart_per_user = \"1/1h\"\n",
    );
    let said = said.join("\n");
    for expected in [
        "2: server.listen: not an address",
        "3: server.public_url: not the URL of a site",
        "6: limits.starts_per_number: not a rate; write how often in how long, like \"5/1h\"",
        "7: limits.start_per_user: unknown key; did you mean \"starts_per_user\"?",
        "route: nothing to protect",
        "provider: nobody sends codes",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
}

#[test]
fn each_mistake_has_its_reason_and_remedy() {
    for (said, expected) in [
        (
            changed("kind = \"twilio\"", "kind = \"carrier-pigeon\""),
            "provider.kind: not known; write \"twilio\" or \"vonage\" or \"vonage-v1\"",
        ),
        (
            changed("kind = \"twilio\"", "kind = \"vonage-v2\""),
            "not known; did you mean \"vonage\"? write \"twilio\"",
        ),
        (changed("kind = \"twilio\"\n", ""), "provider.kind: missing"),
        (changed("[\"http://127.0.0.1:9000\"]", "[]"), "route.upstream: missing"),
        (
            changed("[\"127.0.0.1:8080\", \"unix:/run/vestibule.sock\"]", "[]"),
            "server.listen: nowhere to listen",
        ),
        (
            changed("{ credential = \"twilio-auth-token\" }", "\"s3cret\""),
            "a secret is named, never written here",
        ),
        (
            changed("{ credential = \"twilio-auth-token\" }", "{ env = \"A\", file = \"B\" }"),
            "a secret is named",
        ),
        (changed("AC0123", "XX0123"), "provider.account_sid: not a SID; it is AC and 32 hexadecimal digits"),
        (changed("service_sid", "service"), "provider.service_sid: missing"),
        (
            with("[[provider]]\nkind = \"vonage\"\n"),
            "no complete credentials; give application_id and private_key, or",
        ),
        (
            with("[[provider]]\nkind = \"vonage\"\napplication_id = \"x\"\nprivate_key = { env = \"A\" }\n"),
            "provider[2].application_id: not an application id; copy the UUID",
        ),
        (
            with(&format!("[[provider]]\n{VONAGE_V1}code_length = 5\n")),
            "not a length it can send; write one of 4, 6",
        ),
        (
            with("[[provider]]\nkind = \"vonage\"\ncode_length = 12\n"),
            "provider[2].code_length: not a length it can send; write one of 4, 5, 6, 7, 8, 9, 10",
        ),
        (
            with(&format!("[[provider]]\n{}", VONAGE_V1.replace("abc12345", "abc"))),
            "provider[2].api_key: not an API key; it is 4 to 32 letters and digits",
        ),
        (
            with(&format!("[[provider]]\n{}{VONAGE_APPLICATION}", VONAGE_V1.replace("-v1", ""))),
            "provider[2].application_id: two sets of credentials; keep one",
        ),
        (
            with("[[provider]]\nkind = \"vonage\"\napi_key = \"abc12345\"\nprivate_key = { env = \"A\" }\n"),
            "provider[2].application_id: two sets of credentials; keep one",
        ),
        (
            changed("service_sid", "api_key_sid = \"SK0123456789abcdef0123456789abcdef\"\nservice_sid"),
            "provider.auth_token: two sets of credentials; keep one",
        ),
        (changed("auth_token", "api_key_secret"), "provider.account_sid: no complete credentials; give"),
        (
            changed("service_sid", "timeout = \"61s\"\nservice_sid"),
            "too long for a person who waits; write at most",
        ),
        (with("[lookup]\ntimeout = \"2m\"\n"), "lookup.timeout: too long for a person who waits"),
        (
            changed("service_sid", "base_url = \"https://u:p@a.example\"\nservice_sid"),
            "write scheme, host and port only",
        ),
        (
            changed("service_sid", "base_url = \"https://a.example/?q\"\nservice_sid"),
            "write scheme, host and port only",
        ),
        (
            changed("service_sid", "base_url = \"https://a.example#f\"\nservice_sid"),
            "write scheme, host and port only",
        ),
        (
            with(&format!("[[provider]]\n{VONAGE_V1}[[provider]]\n{VONAGE_V1}")),
            "another [[provider]] is called so",
        ),
        (with(&format!("[[provider]]\n{VONAGE_V1}name = \"A b\"\n")), "provider[2].name: not a name"),
        (with("[[provider]]\nkind = \"vonage-v1\"\napi_key = \"abc12345\"\n"), "give api_key and api_secret"),
        (with("[spend]\nconversion_window = \"5m\"\n"), "spend.conversion_window: too short to tell"),
        (with("[spend]\nmessages_per_day = -1\n"), "spend.messages_per_day: not a number"),
        (with("[lookup]\nkind = \"twilio\"\n"), "lookup.on_failure: missing; write \"allow\" or \"refuse\""),
        (with("[lookup]\nline_type = false\n"), "lookup.line_type: nothing is asked"),
        (with("[lookup]\nline_type = \"yes\"\n"), "lookup.line_type: not a choice; write true or false"),
        (
            changed("http://127.0.0.1:9000", "ftp://a"),
            "route.upstream: not an upstream; write its address like",
        ),
        (changed("http://127.0.0.1:9000", "h2c://a"), "route.upstream: no port; write it like"),
        (
            changed("http://127.0.0.1:9000", "unix:run/app.sock"),
            "route.upstream: not a socket; write its whole",
        ),
        (
            changed("upstream =", "upstream_ca = \"a.pem\"\nupstream ="),
            "route.upstream_ca: no upstream of this route",
        ),
        (
            changed("http://127.0.0.1:9000\"]", "https://a\"]\nupstream_certificate = \"a.pem\""),
            "route.upstream_key: missing; write the path",
        ),
        (
            changed("http://127.0.0.1:9000\"]", "https://a\"]\nupstream_name = \"a b\""),
            "route.upstream_name: not a name; write the one in the certificate",
        ),
        (
            changed("[\"http://127.0.0.1:9000\"]", "[\"http://a/b\"]"),
            "route.upstream: an upstream is scheme, host and port only",
        ),
        (changed("[\"http://127.0.0.1:9000\"]", "\"http://127.0.0.1:9000\""), "route.upstream: not a list"),
        (changed("upstream =", "path = \"wiki\"\nupstream ="), "route.path: not a path"),
        (changed("upstream =", "path = \"/a/../b\"\nupstream ="), "route.path: not a path"),
        (changed("upstream =", "path = \"/.vestibule/x\"\nupstream ="), "the gateway's own pages live there"),
        (changed("upstream =", "identity_headers = [\"Host\"]\nupstream ="), "host has a meaning of its own"),
        (
            changed("public_url", "trusted_proxies = [\"0.0.0.0/0\"]\npublic_url"),
            "server.trusted_proxies: with 0.0.0.0/0 everybody would be trusted to say what only proxies may; list",
        ),
        (
            changed("public_url", "trusted_proxies = [\"10.0.0.0/8\", \"128.0.0.0/1\"]\npublic_url"),
            "server.trusted_proxies: with 128.0.0.0/1 everybody would be trusted",
        ),
        (
            changed("public_url", "trusted_proxies = [\"2000::/3\"]\npublic_url"),
            "server.trusted_proxies: with 2000::/3 everybody would be trusted",
        ),
        (with("[forward_auth]\ndialect = \"caddy\"\n"), "forward_auth.peers: missing; write the addresses"),
        (with("[forward_auth]\npeers = []\ndialect = \"caddy\"\n"), "forward_auth.peers: missing"),
        (
            with("[forward_auth]\npeers = [\"127.0.0.1\"]\n"),
            "forward_auth.dialect: missing; write \"nginx\" or \"caddy\" or \"traefik\" or \"envoy\"",
        ),
        (
            with("[forward_auth]\npeers = [\"everybody\"]\ndialect = \"caddy\"\n"),
            "forward_auth.peers: not a proxy",
        ),
        (
            with("[forward_auth]\npeers = [\"unix\", \"::/0\"]\ndialect = \"caddy\"\n"),
            "forward_auth.peers: with ::/0 everybody would be trusted",
        ),
        (
            with("[forward_auth]\npeers = [\"10.0.0.0/7\"]\ndialect = \"caddy\"\n"),
            "forward_auth.peers: with 10.0.0.0/7 everybody would be trusted",
        ),
        (
            changed("upstream = [\"http://127.0.0.1:9000\"]", ""),
            "route.upstream: missing; write where the application runs",
        ),
        (
            with("[session]\nidle_timeout = \"2h\"\nabsolute_timeout = \"1h\"\n"),
            "session.idle_timeout: longer than absolute_timeout",
        ),
        (with("[session]\nidle_timeout = 60\n"), "session.idle_timeout: not a duration"),
        (
            with("[session]\noutage_grace = \"none\"\n"),
            "session.outage_grace: not a duration; write a number and a unit",
        ),
        (
            with("[session]\noutage_grace = \"13h\"\n"),
            "session.outage_grace: who was shut out would stay in for too long",
        ),
        (with("[store]\nurl = \"mysql://x\"\n"), "store.url: no store; write"),
        (with("[challenge]\ndefault_region = \"Germany\"\n"), "challenge.default_region: not a country"),
        (with("[challenge]\nbrand = \"12345\"\n"), "challenge.brand: does not fit"),
        (
            with("[challenge]\nfirst_factor = \"password\"\n"),
            "challenge.first_factor: not known; write \"none\"",
        ),
        (with("[challenge]\nchannels = [\"voice\"]\n"), "challenge.channels: not a channel"),
        (with("[log]\nlevel = \"loud\"\n"), "log.level: not known; write \"error\" or \"warn\" or"),
        (with("[surprise]\nx = 1\n"), "surprise: unknown key"),
        (with("x = [\n"), "not TOML"),
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
}

#[test]
fn a_user_is_told_under_no_name_that_means_something_else() {
    let taken = "Trailer TE Upgrade Keep-Alive Proxy-Connection Proxy-Authorization Expect Via Host Cookie Authorization \
                 Content-Length Transfer-Encoding Connection Content-Type X-HTTP-Method-Override Forwarded X-Real-IP \
                 X-Forwarded X-Forwarded-For X_Forwarded_Proto X-Forwarded-Host X-Forwarded-User X.Real.IP Range";
    let names: Vec<_> = taken.split_whitespace().collect();
    let said = changed("upstream =", &format!("identity_headers = {names:?}\nupstream ="));
    for name in &names {
        let expected =
            format!(" route.identity_headers: {} has a meaning of its own", name.to_ascii_lowercase());
        assert!(said.contains(&expected), "{name}: {said}");
    }
    let free = "identity_headers = [\"X-Remote-User\", \"X-Forwarded-Email\", \"Remote_User\", \"From\"]\nupstream =";
    assert_eq!(changed("upstream =", free), "");
}

#[test]
fn what_is_wrong_is_said_once() {
    for (text, key) in [
        (GOOD.replace("\"twilio\"", "\"twillio\""), "provider.kind"),
        (GOOD.replace("kind = \"twilio\"\n", ""), "provider.kind"),
        (GOOD.replace("AC0123", "XX0123"), "provider.account_sid"),
        (
            format!("{GOOD}[[provider]]\n{VONAGE_V1}{VONAGE_APPLICATION}").replace("-v1", ""),
            "provider[2].application_id",
        ),
        (format!("{GOOD}[[provider]]\n{VONAGE_V1}code_length = 12\n"), "provider[2].code_length"),
    ] {
        let said = problems(&text);
        assert!(said.len() == 1 && said[0].contains(&format!(" {key}: ")), "{said:#?}");
    }
    let key = "api_key_sid = \"SK0123456789abcdef0123456789abcdef\"\napi_key_secret = { env = \"A\" }";
    let beside = GOOD.replace("auth_token = { credential = \"twilio-auth-token\" }", key);
    assert_eq!(problems(&beside), Vec::<String>::new(), "an account may be named beside a key");
}

#[test]
fn a_channel_needs_a_provider_that_sends_so() {
    let (before, _) = GOOD.split_once("[[provider]]").unwrap();
    let text = format!("{before}[[provider]]\n{VONAGE_V1}[challenge]\nchannels = [\"sms\", \"whatsapp\"]\n");
    let said = problems(&text).join("\n");
    assert!(said.contains("challenge.channels: no [[provider]] sends by WhatsApp; give one"), "{said}");
}

#[test]
fn tls_and_an_http_url_contradict_each_other() {
    let text = GOOD.replace("https://Wiki", "http://wiki")
        + "[server.tls]\ncertificate = \"/dev/null\"\nprivate_key = \"/dev/null\"\n";
    // A table may be continued further down, and its problems stand where they are.
    assert!(problems(&text).join("\n").contains("public_url: http, but [server.tls] is set"));
}

#[test]
fn an_upstream_is_not_the_gateway_itself() {
    let said = |listen: &str, upstream: &str| {
        let text = GOOD.replace("127.0.0.1:8080", listen).replace("http://127.0.0.1:9000", upstream);
        problems(&text).join("\n")
    };
    for (listen, upstream) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080", "http://localhost:8080"),
        ("127.0.0.1:8080", "http://0.0.0.0:8080"),
        ("0.0.0.0:80", "http://127.0.0.1"),
        ("0.0.0.0:443", "https://localhost"),
        ("[::]:8080", "h2c://127.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        ("[::ffff:127.0.0.1]:8080", "http://127.0.0.1:8080"),
        ("192.0.2.1:8080", "http://192.0.2.1:8080"),
        ("127.0.0.1:8080", "unix:/run/vestibule.sock"),
    ] {
        let expected =
            "route.upstream: this is where the gateway itself listens; write the application's address";
        assert!(said(listen, upstream).contains(expected), "{listen} {upstream}: {}", said(listen, upstream));
    }
    for (listen, upstream) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8081"),
        ("127.0.0.1:8080", "http://127.0.0.2:8080"),
        ("127.0.0.2:8080", "http://localhost:8080"),
        ("192.0.2.1:8080", "http://127.0.0.1:8080"),
        ("0.0.0.0:8080", "http://192.0.2.1:8080"),
        ("0.0.0.0:8080", "http://app:8080"),
        ("127.0.0.1:8080", "unix:/run/application.sock"),
    ] {
        assert_eq!(said(listen, upstream), "", "{listen} {upstream}");
    }
}

#[test]
fn a_key_that_is_meant_is_named() {
    for (key, meant) in [
        ("ca", "did you mean \"upstream_ca\"?"),
        ("upstream_cert", "did you mean \"upstream_certificate\"?"),
        ("upstreams", "did you mean \"upstream\"?"),
        ("identity_header", "did you mean \"identity_headers\"?"),
        ("balanec", "did you mean \"balance\"?"),
        ("name", "did you mean \"upstream_name\"?"),
        ("port", "known here: host, path, upstream"),
        ("x", "known here: host, path, upstream"),
    ] {
        let said = changed("upstream =", &format!("{key} = 1\nupstream ="));
        assert!(said.contains(&format!("route.{key}: unknown key; {meant}")), "{said}");
    }
    let said = with("[[rule]]\naccess = \"deny\"\n");
    assert!(said.contains("rule: unknown key; write [[route.rule]], below its [[route]]"), "{said}");
    assert!(with("[tls]\n").contains("tls: unknown key; write [server.tls]"));
}

#[test]
fn what_would_have_no_effect_is_a_problem() {
    let one = "http://127.0.0.1:9000\"";
    for (said, expected) in [
        (
            changed("upstream =", "host = \"*.example.com\"\nupstream ="),
            "route.host: not one host; write a [[route]] for each",
        ),
        (
            changed(one, &format!("{one}, \"http://a:1\", \"{one}")),
            "route.upstream: http://127.0.0.1:9000 is there twice; remove one of them",
        ),
        (
            changed(&format!("{one}]"), "h2c://127.0.0.1:9000\"]\nupstream_http = \"1.0\""),
            "route.upstream_http: h2c is HTTP/2; write http://…",
        ),
        (
            changed(
                "upstream =",
                "health_path = \"/\"\nhealth_interval = \"2s\"\nhealth_timeout = \"3s\"\nupstream =",
            ),
            "route.health_timeout: longer than health_interval",
        ),
        (
            changed("upstream =", "connect_timeout = \"0s\"\nupstream ="),
            "route.connect_timeout: must be longer than nothing",
        ),
    ] {
        assert!(said.contains(expected) && said.lines().count() == 1, "{expected:?} is not in\n{said}");
    }
    assert!(changed("upstream =", "connect_timeout = \"0\"\nupstream =").contains("longer than nothing"));
    assert!(changed("upstream =", "connect_timeout = \"0.5s\"\nupstream =").contains("not a duration"));
}

#[test]
fn a_route_without_upstream_has_no_keys_about_one() {
    let asked = "[forward_auth]\npeers = [\"10.0.0.0/8\"]\ndialect = \"traefik\"\n";
    let keys = "max_body = \"1MiB\"\nhealth_path = \"/\"\nconnect_timeout = \"1s\"\nforwarded = true\nidentity_headers = [\"X-A\"]";
    let text = format!("{}{asked}", GOOD.replace("upstream = [\"http://127.0.0.1:9000\"]", keys));
    let said = problems(&text);
    assert_eq!(said.len(), 4, "{said:#?}");
    for (said, key) in said.iter().zip(["max_body", "health_path", "connect_timeout", "forwarded"]) {
        assert!(
            said.contains(&format!("route.{key}: this route sends nothing on; write its upstream")),
            "{said}"
        );
    }
}

/// [`upstream::KEYS`] are those that are read.
#[test]
fn no_key_about_upstreams_is_forgotten() {
    let document = Document::parse("", Purpose::Administer).unwrap();
    drop(upstream::upstreams(&document.top(), false, &[]));
    let mut asked = document.absent();
    asked.retain(|key| key != "upstream");
    asked.sort();
    let mut known = upstream::KEYS.to_vec();
    known.sort_unstable();
    assert_eq!(asked, known);
}

#[test]
fn a_key_is_found_on_its_line() {
    let text = "[server]\nx = 1\n[server.tls]\n[[route]]\nupstream = [\"a\"]\n[[route]]\npath = \"/a\"\nupstream_ca = \"x\"\n";
    for (key, line) in [
        ("server.x", 2),
        ("server.tls", 3),
        ("route[1].upstream", 5),
        ("route[2].upstream_ca", 8),
        ("route[2].upstream", 6),
        ("challenge.templates", 0),
        ("", 0),
    ] {
        assert_eq!(Problem::of_key(key, "wrong").on_its_line(text).line, line, "{key}");
    }
    assert_eq!(Problem::of_key("route[0].x", "wrong").on_its_line("[[route]]").line, 0);
}

#[test]
fn traces_go_nowhere_where_they_are_not_built_in() {
    let endpoint = "[traces]\nendpoint = \"http://127.0.0.1:4318/v1/traces\"\n";
    let text = format!("{GOOD}{endpoint}")
        .replace("auth_token = { credential = \"twilio-auth-token\" }", "auth_token = { env = \"PATH\" }");
    let said: Vec<_> = Settings::parse(&text, Purpose::Serve).err().unwrap_or_default();
    let said: Vec<_> = said.iter().map(ToString::to_string).collect();
    let is_refused =
        said.iter().any(|problem| problem.contains("traces.endpoint") && problem.contains("--features otlp"));
    assert_eq!(is_refused, cfg!(not(feature = "otlp")), "{said:?}");
    assert!(with("[traces]\nsample = 1.5\n").contains("traces.sample: not a part"));
    assert!(with("[traces]\nsample = 1\n").contains("nobody is told"));
    assert!(with("[traces]\nauthorization = { env = \"A\" }\n").contains("nobody is told"));
    assert!(with("[traces]\nendpoint = \"http://u:p@a.example/\"\n").contains("secret in plain"));
}

#[test]
fn two_routes_may_not_be_one() {
    let said = with("[[route]]\nhost = \"WIKI.example.com\"\nupstream = [\"http://127.0.0.1:1\"]\n");
    assert!(said.contains("another route has this host and path"), "{said}");
}

#[test]
fn networks_of_ones_own_are_a_list() {
    let own =
        "[\"10.0.0.0/8\", \"172.16.0.0/12\", \"127.0.0.1\", \"fc00::/7\", \"fd00::/8\", \"2001:db8::/32\"]";
    assert_eq!(changed("public_url", &format!("trusted_proxies = {own}\npublic_url")), "");
    for everybody in ["fc00::/6", "8000::/1", "10.0.0.0/7", "0.0.0.0/4"] {
        let said = changed("public_url", &format!("trusted_proxies = [\"{everybody}\"]\npublic_url"));
        assert!(said.contains("everybody would be trusted"), "{everybody}: {said}");
    }
}

#[test]
fn the_documentation_of_forward_auth_is_a_configuration() {
    let documentation = include_str!("../../docs/forward-auth.md");
    let (_, block) = documentation.split_once("\n```toml\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    let (_, provider) = GOOD.split_once("[[provider]]").unwrap();
    assert_eq!(problems(&format!("{block}\n[[provider]]{provider}")), Vec::<String>::new());
}

#[test]
fn a_route_needs_no_upstream_when_another_proxy_asks() {
    let without = GOOD.replace("upstream = [\"http://127.0.0.1:9000\"]", "");
    let asked = "[forward_auth]\npeers = [\"10.0.0.0/8\", \"192.0.2.1\", \"unix\"]\ndialect = \"traefik\"\n";
    let settings = Settings::parse(&format!("{without}{asked}"), Purpose::Administer).unwrap();
    assert!(settings.routes[0].upstreams.list.is_empty());
    let forward_auth = settings.forward_auth.unwrap();
    assert_eq!((forward_auth.peers.len(), forward_auth.unix), (2, true));
    assert_eq!(forward_auth.dialect, Dialect::Traefik);
    let said = problems(&format!("{}{asked}", GOOD.replace("[\"http://127.0.0.1:9000\"]", "[]"))).join("\n");
    assert!(said.contains("route.upstream: missing"), "an empty list is a mistake: {said}");
}

#[test]
fn a_secret_is_looked_for_only_to_serve() {
    let text = GOOD.replace("{ credential = \"twilio-auth-token\" }", "{ file = \"/nonexistent/token\" }");
    assert!(Settings::parse(&text, Purpose::Administer).is_ok());
    let said = Settings::parse(&text, Purpose::Serve).unwrap_err();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].to_string().contains("provider.auth_token: /nonexistent/token cannot be read"),
        "{said:?}"
    );
}

/// Every key of the code is in the example, commented out with its default or live.
#[test]
fn the_example_names_every_key_with_its_default() {
    let as_it_stands = Settings::parse(EXAMPLE, Purpose::Administer);
    let as_it_stands = as_it_stands.unwrap_or_else(|problems| panic!("{problems:#?}"));
    let uncommented = uncommented(EXAMPLE);
    let document =
        Document::parse(&uncommented, Purpose::Administer).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let settings = read(&document);
    // Either way of giving credentials is in it; which one is live does not matter here.
    let alternatives = ["api_key_sid", "api_key_secret", "api_key", "api_secret"];
    let other = |key: &String| alternatives.contains(&key.rsplit('.').next().unwrap_or_default());
    let absent: Vec<_> = document.absent().into_iter().filter(|key| !other(key)).collect();
    assert_eq!(absent, Vec::<String>::new(), "not in config.toml.example");
    assert!(alternatives.iter().all(|key| EXAMPLE.contains(&format!("## {key} = "))));
    let settings = document.into_result(settings).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(settings.limits, as_it_stands.limits);
    assert_eq!(settings.session, as_it_stands.session);
    assert_eq!(settings.spend, as_it_stands.spend);
    let names: Vec<_> = settings.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, ["twilio", "vonage", "vonage-v1"]);
    let lookup = settings.lookup.unwrap();
    assert_eq!((lookup.line_type, lookup.sim_swap, lookup.timeout.as_secs()), (true, false, 2));
    assert_eq!(settings.server.drain_timeout, as_it_stands.server.drain_timeout);
    assert_eq!(settings.server.idle_timeout, as_it_stands.server.idle_timeout);
    assert_eq!(settings.server.max_connections, as_it_stands.server.max_connections);
    let (ours, standing) = (&settings.server, &as_it_stands.server);
    assert_eq!(ours.max_connections_per_address, standing.max_connections_per_address);
    assert_eq!(ours.proxy_protocol, standing.proxy_protocol);
    assert_eq!(settings.challenge.channels, as_it_stands.challenge.channels);
    assert_eq!(settings.challenge.identify_by, as_it_stands.challenge.identify_by);
    assert_eq!(settings.observe.listen, as_it_stands.observe.listen);
    assert!(matches!(&as_it_stands.store.place, Place::Sqlite(file) if file.ends_with("vestibule.db")));
    assert!(matches!(&settings.store.place, Place::Postgres(server) if server.connections == 8));
    assert_eq!(settings.log.level, as_it_stands.log.level);
    assert_eq!(settings.traces.map(|traces| traces.sample), Some(0.01));
    assert!(as_it_stands.traces.is_none());
}

/// The example with its `# key = value` lines switched on; the alternatives of a key and paths that are not there
/// stay off.
fn uncommented(text: &str) -> String {
    let switch = |line: &str| {
        if let Some(line) = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#'])) {
            return line.to_owned();
        }
        let bare = line.strip_prefix("# ").or_else(|| line.strip_prefix("## ")).filter(|rest| {
            let key = rest.split(" = ").next().unwrap_or_default();
            rest.contains(" = ")
                && !key.is_empty()
                && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        });
        let off = |rest: &&str| !["api_", "templates = "].iter().any(|key| rest.starts_with(key));
        bare.filter(off).map_or_else(|| line.to_owned(), str::to_owned)
    };
    // The reader wants an existing directory for templates; any will do.
    let text: String = text.lines().map(|line| switch(line) + "\n").collect();
    let text = text.replace("[challenge]\n", "[challenge]\ntemplates = \"/\"\n");
    // With certificates of clients an authority has to look by http.
    let text = text.replace("challenge = \"tls-alpn-01\"", "challenge = \"http-01\"");
    // Some keys are for PostgreSQL only, some for TLS.
    let text =
        text.replace("\"sqlite:/var/lib/vestibule/vestibule.db\"", "\"postgres://vestibule@db/vestibule\"");
    text.replace("[\"http://127.0.0.1:8080\"]", "[\"https://127.0.0.1:8443\"]")
}

#[test]
fn a_rule_that_says_too_little_or_too_much_is_a_problem() {
    for (rule, expected) in [
        ("", "route.rule.access: missing; write \"allow\""),
        ("access = \"alow\"", "did you mean \"allow\""),
        ("access = \"allow\"", "lets everybody see everything"),
        ("access = \"allow\"\npaths = []", "names nothing"),
        ("access = \"deny\"\npaths = [\"public\"]", "not a path"),
        ("access = \"deny\"\npaths = [\"re:/status\"]", "must say where it begins and ends"),
        ("access = \"deny\"\nmethods = [\"get\"]", "in capital letters"),
        ("access = \"deny\"\nnetworks = [\"office\"]", "not a network"),
        ("access = \"deny\"\nmax_age = \"15m\"", "write access = \"challenge\""),
        ("access = \"challenge\"\nmax_age = \"5s\"", "too short"),
        ("access = \"challenge\"\nfactor = \"sms\"", "unknown key"),
    ] {
        let said = with(&format!("[[route.rule]]\n{rule}\n"));
        assert!(said.contains(expected), "{rule}: {said}");
    }
}

#[test]
fn a_rule_that_never_matches_is_a_problem() {
    let route = |path: &str, rules: &[&str]| {
        let rules: String = rules.iter().map(|rule| format!("[[route.rule]]\n{rule}\n")).collect();
        with(&format!("[[route]]\npath = \"{path}\"\nupstream = [\"http://127.0.0.1:1\"]\n{rules}"))
    };
    let deny = |paths: &str| format!("access = \"deny\"\npaths = [{paths}]");
    let said = route("/wiki", &[&deny("\"/wiki/x\", \"/admin\", \"/a/*\"")]);
    assert_eq!(said.lines().count(), 2, "{said}");
    for expected in [
        "route[2].rule.paths: nothing below /wiki is like \"/admin\"; write \"/wiki/admin\"",
        "route[2].rule.paths: nothing below /wiki is like \"/a/*\"; write \"/wiki/a/*\"",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    for own in ["/.vestibule", "/.vestibule/account", "/.vestibule/**"] {
        let said = route("/wiki", &[&deny(&format!("\"{own}\""))]);
        assert!(
            said.contains("route[2].rule.paths: no rule is about the gateway's own pages"),
            "{own}: {said}"
        );
    }
    let all = "a rule above takes every request of this route; move this one above it";
    for takes_all in [
        "access = \"challenge\"",
        &deny("\"/\""),
        &deny("\"/x\", \"/wiki/**\""),
        &deny("\"re:^.*$\""),
        "access = \"deny\"\nnetworks = [\"::/0\", \"0.0.0.0/0\"]",
        "access = \"allow\"\npaths = [\"/**\"]",
    ] {
        let said = route("/wiki", &[takes_all, &deny("\"/wiki/x\"")]);
        assert!(said.contains(&format!("route[2].rule[2].access: {all}")), "{takes_all}: {said}");
    }
    for takes_some in [
        "access = \"deny\"\nnetworks = [\"::/0\"]",
        &deny("\"/wiki/*\""),
        "access = \"deny\"\nmethods = [\"GET\"]",
    ] {
        assert_eq!(route("/wiki", &[takes_some, &deny("\"/wiki/x\"")]), "", "{takes_some}");
    }
}

#[test]
fn a_rule_that_opens_everything_says_so_in_one_way_only() {
    for everything in [
        "paths = [\"/\"]",
        "paths = [\"/x\", \"re:^.*$\"]",
        "paths = [\"re:^/.*$\"]",
        "networks = [\"0.0.0.0/0\", \"::/0\"]",
        "paths = [\"/\"]\nnetworks = [\"0.0.0.0/0\", \"::/0\"]",
    ] {
        let said = with(&format!("[[route.rule]]\naccess = \"allow\"\n{everything}\n"));
        assert!(
            said.contains("route.rule.access: this rule lets everybody see everything"),
            "{everything}: {said}"
        );
    }
    for meant in [
        "paths = [\"/**\"]",
        "paths = [\"/\"]\nmethods = [\"GET\"]",
        "networks = [\"0.0.0.0/0\"]",
        "paths = [\"/x\"]",
    ] {
        assert_eq!(with(&format!("[[route.rule]]\naccess = \"allow\"\n{meant}\n")), "", "{meant}");
    }
}

#[test]
fn a_store_that_would_not_work_is_a_problem() {
    for (store, expected) in [
        ("url = \"mysql://db/vestibule\"", "no store; write \"sqlite:"),
        ("url = \"sqlite:\"", "no store; write \"sqlite:"),
        ("url = \"postgres://vestibule:secret@db/vestibule\"", "a password is named, never written here"),
        ("url = \"postgres://db/vestibule\"", "says not all of user, host and database"),
        ("url = \"postgres://v@db/vestibule?sslmod=disable\"", "not a URL of PostgreSQL"),
        ("url = \"postgres://v@db/vestibule\"", "store.master_key: missing; gateways that share a store"),
        ("password = { env = \"HOME\" }", "for PostgreSQL only"),
        ("connections = 3", "for PostgreSQL only"),
        ("master_key = { env = \"HOME\" }", "no 32 bytes in base64; make a key with: openssl"),
        ("url = \"postgres://v@db/v\"\nconnections = 0", "none is too few"),
        ("certificate = \"/nonexistent.pem\"", "store.private_key: missing"),
    ] {
        let said = with(&format!("[store]\n{store}\n"));
        assert!(said.contains(expected), "{store}: {said}");
        assert!(!said.contains("secret@"), "{said}");
    }
}

#[test]
fn nothing_of_the_store_leaves_this_machine_in_the_clear_unasked() {
    for (url, encrypted) in [
        ("postgres://v@db.example.com/v", true),
        ("postgres://v@192.0.2.1/v", true),
        ("postgres://v@127.0.0.1/v", false),
        ("postgres://v@localhost/v", false),
        ("postgres://v@%2Frun%2Fpostgresql/v", false),
        ("postgres://v@localhost/v?sslmode=require", true),
        ("postgres://v@db.example.com/v?sslmode=disable", false),
        ("postgres://v@localhost,db.example.com/v", true),
        ("postgres://v@localhost/v?hostaddr=192.0.2.1", true),
        ("postgres://v@db.example.com/v?hostaddr=127.0.0.1", true),
    ] {
        let text = format!("{GOOD}\n[store]\nurl = \"{url}\"\nmaster_key = {{ env = \"X\" }}\n");
        let settings = Settings::parse(&text, Purpose::Administer).unwrap();
        let Place::Postgres(server) = &settings.store.place else { panic!("{url}") };
        assert_eq!(server.encrypted, encrypted, "{url}");
        assert!(settings.store.master_key.is_err(), "there is no such variable");
    }
}
