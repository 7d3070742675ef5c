//! `vestibule selftest`: every trick we know, against a gateway with this configuration, and whether it got past.
//!
//! Against an instance of its own a canary tells what reached the application. Against a running one only the answers
//! can be seen: what the gateway did not answer itself came from the application.

mod forge;
mod stage;
mod trick;
mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hyper::Method;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::runtime::Runtime;

use self::stage::{Canary, Stage};
use self::trick::{Trick, Who, Words};
use self::wire::Door;
use super::finding::counted;
use super::{Common, Failure, output};
use crate::config::{Purpose, Route, Settings, Trust};
use crate::domain::policy::{Access, Asked, Policy};
use crate::gateway::target;
use crate::message::session_cookie::Names;
use crate::tls;

pub(super) const HELP: &str = "Without --url an instance of its own is tested: this configuration on a free port of this \
                               machine, with a canary for the application, a simulated provider and a store of its own. \
                               With --url the running one is asked; its log tells of it, and it slows this machine's \
                               connections down for half a minute.\n\nExample:\n  vestibule selftest\n  vestibule selftest \
                               --url https://wiki.example.com";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Test the gateway that runs there, by its answers alone
    #[arg(long, value_name = "URL")]
    url: Option<url::Url>,
    /// Connect there, whatever the URL's host is
    #[arg(long, value_name = "ADDR", requires = "url")]
    connect: Option<SocketAddr>,
}

/// What became of a trick.
enum Outcome {
    /// It got nowhere; what the answer was.
    Held(String),
    /// It got past.
    Past(String),
    /// It was not tried.
    Left(String),
}

struct Told {
    place: String,
    name: String,
    outcome: Outcome,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = Settings::load(&args.common.config.config, Purpose::Administer)?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = Runtime::new().map_err(|error| Failure::Runtime(error.to_string()))?;
    let told = match &args.url {
        Some(url) => runtime.block_on(at(url, args.connect, &settings))?,
        None => {
            let stage = Stage::start(&settings, &runtime)?;
            let told = runtime.block_on(on(&stage));
            stage.stop();
            told?
        }
    };
    runtime.shutdown_background();
    tell(&told, args.common.json)
}

/// Against an instance of our own: every route.
async fn on(stage: &Stage) -> Result<Vec<Told>, Failure> {
    let policy = target::policy(&stage.settings);
    let cookie = Names::new(stage.settings.server.public_url.secure).session;
    let tokens = stage.tokens(cookie).await?;
    let (door, mut told) = (Door::plain(stage.address), Vec::new());
    for route in &stage.settings.routes {
        let place = format!("{}{}", route.host, route.path);
        let Some(path) = closed(&policy, route) else {
            told.push(open_to_all(place));
            continue;
        };
        let words = Words {
            host: route.host.clone(),
            path,
            open: open(&policy, route),
            cookie,
            tokens: tokens.clone(),
        };
        if !reaches(&door, &words, &stage.canary).await {
            let text =
                format!("{place}: somebody who signed in did not reach the canary; nothing could be told");
            return Err(Failure::Runtime(text));
        }
        for trick in trick::all() {
            let outcome = attempt(&trick, &words, &policy, &door, Some(&stage.canary)).await;
            told.push(Told { place: place.clone(), name: trick.name, outcome });
        }
        if !reaches(&door, &words, &stage.canary).await {
            let outcome = Outcome::Past("the gateway does not serve any more".to_owned());
            told.push(Told { place, name: "after all of it".to_owned(), outcome });
        }
    }
    Ok(told)
}

/// Against a running one: the route of the URL.
async fn at(url: &url::Url, connect: Option<SocketAddr>, settings: &Settings) -> Result<Vec<Told>, Failure> {
    let policy = target::policy(settings);
    let host = url.host_str().unwrap_or_default().to_owned();
    let routes = settings.routes.iter().filter(|route| route.host == host);
    let route =
        routes.max_by_key(|route| if url.path().starts_with(&route.path) { route.path.len() + 1 } else { 0 });
    let route = route.ok_or_else(|| {
        let hosts: Vec<_> = settings.routes.iter().map(|route| route.host.as_str()).collect();
        Failure::Usage(format!("no route has the host {host}; there are routes for {}", hosts.join(", ")))
    })?;
    let door = door(url, connect).await?;
    let place = format!("{}{}", route.host, route.path);
    let Some(path) = closed(&policy, route) else { return Ok(vec![open_to_all(place)]) };
    let written = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    let words = Words {
        host: written,
        path,
        open: open(&policy, route),
        cookie: Names::new(url.scheme() == "https").session,
        tokens: forge::tokens(None),
    };
    let hello = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", words.path, words.host);
    let answered = door.send(hello.as_bytes()).await;
    if !answered.as_ref().is_ok_and(|answer| !answer.is_empty()) {
        let why = answered.map_or_else(|error| error.to_string(), |_| "no answer".to_owned());
        return Err(Failure::Runtime(format!("nobody serves {url} at {}: {why}", door.address)));
    }
    let mut told = Vec::new();
    for trick in trick::all() {
        let outcome = attempt(&trick, &words, &policy, &door, None).await;
        told.push(Told { place: place.clone(), name: trick.name, outcome });
    }
    Ok(told)
}

async fn door(url: &url::Url, connect: Option<SocketAddr>) -> Result<Door, Failure> {
    let wrong =
        || Failure::Usage(format!("{url}: not the URL of a site; write it like https://wiki.example.com"));
    let (host, port) = (url.host_str().ok_or_else(wrong)?, url.port_or_known_default().ok_or_else(wrong)?);
    let address = match connect {
        Some(address) => address,
        None => {
            let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
            let not_found =
                || Failure::Runtime(format!("{host} is not found; name its address with --connect"));
            found.ok().and_then(|mut found| found.next()).ok_or_else(not_found)?
        }
    };
    match url.scheme() {
        "http" => Ok(Door::plain(address)),
        "https" => {
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| wrong())?;
            let client =
                tls::client(&Trust::default()).map_err(|error| Failure::Runtime(error.to_string()))?;
            Ok(Door::secure(address, name, client))
        }
        _ => Err(wrong()),
    }
}

/// The address that the tricks come from.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn access(policy: &Policy, host: &str, path: &str, method: &Method) -> Option<Access> {
    let ruling = policy.host(host)?.ruling(&Asked { path, method, client: HERE }).ok()?;
    ruling.route().map(|_| ruling.access())
}

/// A path of a route that asks for a session, by its own rules.
fn closed(policy: &Policy, route: &Route) -> Option<String> {
    let below = route.path.trim_end_matches('/');
    let asks = |path: &String| {
        matches!(access(policy, &route.host, path, &Method::GET), Some(Access::Challenge { .. }))
    };
    let tries =
        ["/vestibule-selftest", "/admin", "/vestibule-selftest/page", ""].map(|path| match (below, path) {
            ("", "") => "/".to_owned(),
            _ => format!("{below}{path}"),
        });
    tries.into_iter().chain(examples(route)).find(asks)
}

/// A path of a route that its rules open to everybody, without a slash at its end.
fn open(policy: &Policy, route: &Route) -> Option<String> {
    let opens = |path: &String| access(policy, &route.host, path, &Method::GET) == Some(Access::Allow);
    examples(route)
        .map(|path| path.trim_end_matches('/').to_owned())
        .filter(|path| !path.is_empty())
        .find(opens)
}

/// A path like each pattern of a route's rules.
fn examples(route: &Route) -> impl Iterator<Item = String> {
    let patterns = route.rules.iter().flat_map(|rule| &rule.paths).map(ToString::to_string);
    patterns.filter(|text| text.starts_with('/')).map(|text| text.replace("**", "x").replace('*', "x"))
}

fn open_to_all(place: String) -> Told {
    let outcome = Outcome::Left("no path here asks for a session: its rules open all of it".to_owned());
    Told { place, name: "all tricks".to_owned(), outcome }
}

/// Whether the one who signed in reaches the canary: else nothing that does not reach it would tell anything.
async fn reaches(door: &Door, words: &Words, canary: &Canary) -> bool {
    let Words { host, path, cookie, tokens, .. } = words;
    let token = tokens.good.as_deref().unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}={token}\r\nConnection: close\r\n\r\n"
    );
    let answered = door.send(request.as_bytes()).await.is_ok();
    answered && !canary.take().is_empty()
}

async fn attempt(
    trick: &Trick,
    words: &Words,
    policy: &Policy,
    door: &Door,
    canary: Option<&Canary>,
) -> Outcome {
    if trick.who == Who::Guest && canary.is_none() {
        return Outcome::Left("needs a session, which only an instance of its own gives".to_owned());
    }
    let bytes = match trick.bytes(words) {
        Ok(bytes) => bytes,
        Err("{open}") => return Outcome::Left("no path here is open to everybody".to_owned()),
        Err(_) => {
            return Outcome::Left("needs a session, which only an instance of its own gives".to_owned());
        }
    };
    let host = words.host.rsplit_once(':').map_or(words.host.as_str(), |(host, _)| host);
    let method = trick.method.parse().unwrap_or_default();
    if trick.who == Who::Stranger && access(policy, host, &words.path, &method) == Some(Access::Allow) {
        return Outcome::Left(format!("the rules let everybody {method} here"));
    }
    let answer = match door.send(&bytes).await {
        Ok(answer) => answer,
        Err(error) => return Outcome::Held(format!("no connection: {error}")),
    };
    let heads = wire::heads(&answer);
    let reached = canary.map(Canary::take).unwrap_or_default();
    let past = match trick.who {
        Who::Guest => reached.iter().find_map(|request| forged(request, words)),
        Who::Stranger => reached
            .first()
            .map(|request| format!("reached the application: {}", first_line(request)))
            .or_else(|| heads.iter().find_map(|head| foreign(head, canary.is_some())))
            .or_else(|| {
                (heads.is_empty() && !answer.is_empty()).then(|| "was answered in no HTTP".to_owned())
            }),
    };
    past.map_or_else(|| Outcome::Held(said(&heads)), Outcome::Past)
}

/// What must not be in a request that was sent on for somebody who is signed in.
fn forged(request: &str, words: &Words) -> Option<String> {
    let small = request.to_ascii_lowercase();
    let count = |name: &str| small.lines().filter(|line| line.starts_with(name)).count();
    let token = words.tokens.good.as_deref().unwrap_or_default();
    let wrong = [
        (small.contains("mallory-forged"), "an identity that the client made up"),
        (small.contains("203.0.113.66"), "a client address that the client made up"),
        (!token.is_empty() && request.contains(token), "the session token"),
        (first_line(request).contains("vestibule-selftest-smuggled"), "a second request"),
        (count("content-length") + count("transfer-encoding") > 1, "two framings"),
    ];
    let found = wrong.into_iter().find(|(is_so, _)| *is_so);
    found.map(|(_, what)| format!("{what} reached the application: {}", first_line(request)))
}

/// Why an answer to a stranger is none of the gateway's. The canary knows better than any mark.
fn foreign(head: &str, is_watched: bool) -> Option<String> {
    let status = wire::status(head);
    let success = status < 300 || status == 304;
    let marked = head.contains("\r\ncontent-security-policy: default-src 'none'; style-src 'self'");
    // Answered before there was a request that anybody could send on.
    let unread = matches!(status, 400 | 405 | 408 | 413 | 414 | 417 | 431 | 501 | 505);
    (success || !(is_watched || marked || unread))
        .then(|| format!("was answered {status}, and not by the gateway"))
}

fn first_line(request: &str) -> &str {
    request.lines().next().unwrap_or_default()
}

fn said(heads: &[String]) -> String {
    if heads.is_empty() {
        return "closed without a word".to_owned();
    }
    let all: Vec<_> = heads.iter().map(|head| wire::status(head).to_string()).collect();
    all.join(", ")
}

impl Outcome {
    const fn word(&self) -> &'static str {
        match self {
            Self::Held(_) => "pass",
            Self::Past(_) => "FAIL",
            Self::Left(_) => "skip",
        }
    }

    fn why(&self) -> &str {
        match self {
            Self::Held(why) | Self::Past(why) | Self::Left(why) => why,
        }
    }
}

fn tell(told: &[Told], json: bool) -> Result<(), Failure> {
    let count = |word: &str| told.iter().filter(|one| one.outcome.word() == word).count();
    let (held, past, left) = (count("pass"), count("FAIL"), count("skip"));
    if json {
        let list: Vec<_> = told
            .iter()
            .map(|Told { place, name, outcome }| {
                let result = outcome.word().to_ascii_lowercase();
                json!({ "route": place, "trick": name, "result": result, "why": outcome.why() })
            })
            .collect();
        output::json(&json!({ "passed": held, "failed": past, "skipped": left, "tricks": list }))?;
    } else {
        let row = |one: &Told| {
            [one.outcome.word().to_owned(), one.place.clone(), one.name.clone(), one.outcome.why().to_owned()]
        };
        output::table(["RESULT", "ROUTE", "TRICK", "ANSWER"], &told.iter().map(row).collect::<Vec<_>>())?;
    }
    let summary = format!("{held} passed, {past} failed, {left} skipped");
    if past > 0 {
        let worked = counted(past, "trick");
        return Err(Failure::Runtime(format!("{summary}; {worked} got past: report it as SECURITY.md says")));
    }
    if held == 0 {
        return Err(Failure::Runtime(format!("{summary}; nothing could be told")));
    }
    if json { Ok(()) } else { output::line(&format!("\n{summary}")) }
}
