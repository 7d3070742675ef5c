//! `vestibule explain`: the gateway's own decision on a request that nobody sends.

mod replay;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HOST;
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::{HeaderMap, Method, Request, Uri, Version};
use serde_json::{Value, json};

use super::state::Work;
use super::{Common, Failure, output};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Place, Purpose, Route, Settings};
use crate::domain::policy::{Access, Cause, Decision, Policy, Proof, Reason, Rule};
use crate::domain::session::SessionEnd;
use crate::domain::time::{Short, Timestamp, parse_duration};
use crate::domain::user::UserName;
use crate::gateway::target;
use crate::message::{forwarded, identity};
use crate::pages::problem::Refusal;
use crate::store::UserKey;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is asked for, as people type it; a path alone is one of public_url
    #[arg(value_name = "URL", value_parser = url, required_unless_present = "replay")]
    url: Option<Uri>,
    /// Read an access log ("-" is standard input) and tell whose verdict this configuration changes; exit code 1 if any
    #[arg(long, value_name = "LOG", conflicts_with_all = ["url", "method", "from", "user", "proved"])]
    replay: Option<PathBuf>,
    /// Compare with this configuration instead of what the log says was decided
    #[arg(long, value_name = "OLD", requires = "replay")]
    against: Option<PathBuf>,
    /// The host of lines that name none, in the combined format
    #[arg(long, value_name = "HOST", requires = "replay")]
    host: Option<String>,
    /// The method of the request
    #[arg(long, value_name = "METHOD", default_value = "GET", value_parser = method)]
    method: Method,
    /// The client's address
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    from: IpAddr,
    /// Somebody who is signed in; nobody is unless given
    #[arg(long, value_name = "NAME")]
    user: Option<UserName>,
    /// How long ago they proved themselves [default: just now]
    #[arg(long, value_name = "AGE", value_parser = parse_duration, requires = "user")]
    proved: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// Somebody who is signed in, as far as this question goes.
#[derive(Clone, Debug)]
struct Somebody {
    name: UserName,
    proved_at: Timestamp,
}

impl Proof for Somebody {
    fn proved_at(&self) -> Timestamp {
        self.proved_at
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = Settings::load(&args.common.config.config, Purpose::Administer)?;
    if let Some(log) = &args.replay {
        let old = args.against.as_ref().map(|old| Settings::load(old, Purpose::Administer)).transpose()?;
        return replay::run(log, &settings, old.as_ref(), args.host.as_deref(), args.common.json);
    }
    let policy = target::policy(&settings);
    let request = request(args, &settings)?;
    let session = session(args, &settings)?;
    let client = args.from.to_canonical();
    let answer = Answer::find(&policy, &settings, &request, client, session);
    let answer = answer.with_fields(&settings, &request, client);
    if args.common.json { output::json(&answer.json()) } else { answer.print() }
}

/// A URL to the letter: what a request would say.
fn url(text: &str) -> Result<Uri, String> {
    let wrong = "not a URL; write it like https://wiki.example.com/a, or a path alone";
    let uri: Uri = text.parse().map_err(|_| wrong.to_owned())?;
    let is_whole = uri.authority().is_some() && uri.scheme().is_some();
    if is_whole || text.starts_with('/') { Ok(uri) } else { Err(wrong.to_owned()) }
}

/// Methods are told apart to the letter, and rules have capital ones.
fn method(text: &str) -> Result<Method, String> {
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err("write it in capital letters, like POST".to_owned());
    }
    text.parse().map_err(|_| "not a method; write it like GET or POST".to_owned())
}

/// The request as it would arrive.
fn request(args: &Args, settings: &Settings) -> Result<Request<()>, Failure> {
    let ours = settings.server.public_url.authority();
    // clap asks for one where there is no log.
    let url = args.url.clone().unwrap_or_default();
    let host = url.authority().map_or(ours.as_str(), Authority::as_str);
    let path = url.path_and_query().map_or("/", PathAndQuery::as_str);
    let request = Request::builder().method(args.method.clone()).uri(path).header(HOST, host).body(());
    request.map_err(|error| {
        Failure::Usage(format!("{url}: {error}; write a URL like https://wiki.example.com/a"))
    })
}

/// The session of the person that was named. Who may not sign in has none.
fn session(args: &Args, settings: &Settings) -> Result<Result<Somebody, Cause>, Failure> {
    let Some(name) = args.user.clone() else { return Ok(Err(Cause::NoSession)) };
    // Opening would make one; a question changes nothing.
    if let Place::Sqlite(file) = &settings.store.place
        && matches!(file.try_exists(), Ok(false))
    {
        let text =
            format!("there is no store yet at {}; add people with: vestibule user add", file.display());
        return Err(Failure::Runtime(text));
    }
    let work = Work::look(&args.common.config.config)?;
    let user = work.wait(work.store().user(UserKey::Name(name.clone())))?;
    let user =
        user.ok_or_else(|| Failure::Runtime(format!("no user is called {name}; see vestibule user list")))?;
    if !user.may_sign_in() {
        return Ok(Err(Cause::SessionEnded(SessionEnd::Revoked)));
    }
    let ago = args.proved.unwrap_or_default().as_secs().cast_signed();
    let proved_at = Timestamp::from_unix(SystemClock.now().unix().saturating_sub(ago));
    Ok(Ok(Somebody { name, proved_at }))
}

/// What became of the question.
struct Answer<'s> {
    route: Option<(usize, &'s Route)>,
    rule: Option<(usize, &'s Rule)>,
    outcome: Outcome,
    fields: HeaderMap,
}

enum Outcome {
    /// One of our own pages.
    Ours,
    Forward(Option<UserName>),
    /// Another proxy sends it on.
    Pass(Option<UserName>),
    Challenge(Cause),
    Deny(Reason),
    /// Before anything is decided; what is wrong with the request.
    Refuse(String),
}

impl<'s> Answer<'s> {
    /// The same steps as for a request that comes in: target, route and rule, decision.
    fn find(
        policy: &Policy,
        settings: &'s Settings,
        request: &Request<()>,
        client: IpAddr,
        session: Result<Somebody, Cause>,
    ) -> Self {
        let alone = |outcome| Self { route: None, rule: None, outcome, fields: HeaderMap::new() };
        let refuse = |refusal: Refusal| alone(Outcome::Refuse(said_of_refusal(&refusal, settings)));
        let target = match target::read(policy, request) {
            Ok(target) if target.is_ours => return alone(Outcome::Ours),
            Ok(target) => target,
            Err(refusal) => return refuse(refusal),
        };
        let ruling = match target.ruling(request, client) {
            Ok(ruling) => ruling,
            Err(refusal) => return refuse(refusal),
        };
        let route = ruling.route().map(|route| (route.0 + 1, &settings.routes[route.0]));
        let rule = route.zip(ruling.rule()).map(|((_, route), rule)| (rule + 1, &route.rules[rule]));
        let outcome = match ruling.decide(session, SystemClock.now()) {
            Decision::Forward(permit) => {
                Outcome::Forward(permit.session().map(|somebody| somebody.name.clone()))
            }
            Decision::Pass(_, session) => Outcome::Pass(session.map(|somebody| somebody.name)),
            Decision::Challenge(cause) => Outcome::Challenge(cause),
            Decision::Deny(reason) => Outcome::Deny(reason),
        };
        Self { route, rule, outcome, fields: HeaderMap::new() }
    }

    /// What the application would be told beside the client's own fields.
    fn with_fields(mut self, settings: &Settings, request: &Request<()>, client: IpAddr) -> Self {
        let (Outcome::Forward(user), Some((_, route))) = (&self.outcome, self.route) else { return self };
        let user = user.as_ref().map(|name| name.as_str().parse().expect("a user name is a field value"));
        identity::replace(&mut self.fields, &route.identity_headers, user.as_ref());
        let authority = request.headers()[HOST].clone();
        let chain = forwarded::chain_field(&[client]);
        let scheme = settings.server.public_url.scheme();
        if route.forwarded {
            forwarded::set_forwarded(&mut self.fields, &chain, scheme, &authority);
        }
        forwarded::set(&mut self.fields, chain, scheme, authority, Version::HTTP_11);
        self
    }
}

impl Answer<'_> {
    fn print(&self) -> Result<(), Failure> {
        let route =
            self.route.map_or_else(|| "none".to_owned(), |(number, route)| said_of_route(number, route));
        let rule = match (self.rule, self.route) {
            (Some((number, rule)), _) => said_of_rule(number, rule),
            (None, Some(_)) => "none matches, so that a session is asked for".to_owned(),
            (None, None) => "none".to_owned(),
        };
        output::line(&format!("route     {route}"))?;
        output::line(&format!("rule      {rule}"))?;
        output::line(&format!("decision  {}: {}", self.outcome.word(), self.outcome.why()))?;
        let fields =
            self.fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
        fields.enumerate().try_for_each(|(place, (name, value))| {
            let heading = if place == 0 { "fields" } else { "" };
            output::line(&format!("{heading:<10}{name}: {value}"))
        })
    }

    fn json(&self) -> Value {
        let route = self.route.map(|(number, route)| {
            json!({ "number": number, "host": route.host, "path": route.path, "upstream": texts(&route.upstreams.list) })
        });
        let rule = self.rule.map(|(number, rule)| {
            let mut said = json!({ "number": number, "access": said_of_access(rule.access) });
            parts(rule).into_iter().for_each(|(what, items)| said[what] = items.into());
            said
        });
        let fields: serde_json::Map<_, _> = (self.fields.iter())
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into()))
            .collect();
        json!({
            "route": route,
            "rule": rule,
            "decision": self.outcome.word(),
            "why": self.outcome.why(),
            "fields": fields,
        })
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn said_of_route(number: usize, route: &Route) -> String {
    let upstreams = match &route.upstreams.list[..] {
        [] => "none".to_owned(),
        upstreams => texts(upstreams).join(", "),
    };
    format!("{number}: host {}, path {}, upstream {upstreams}", route.host, route.path)
}

fn said_of_rule(number: usize, rule: &Rule) -> String {
    let lists = parts(rule).into_iter().filter(|(_, items)| !items.is_empty());
    let lists = lists.map(|(what, items)| format!("; {what} {}", items.join(", ")));
    format!("{number}: {}{}", said_of_access(rule.access), lists.collect::<String>())
}

/// What a rule is about, list by list.
fn parts(rule: &Rule) -> [(&'static str, Vec<String>); 3] {
    [("paths", texts(&rule.paths)), ("methods", texts(&rule.methods)), ("networks", texts(&rule.networks))]
}

fn said_of_refusal(refusal: &Refusal, settings: &Settings) -> String {
    let status = refusal.status().as_u16();
    if matches!(refusal, Refusal::AmbiguousPath) {
        return format!("this path can be read in two ways ({status}); see docs/rules.md");
    }
    if matches!(refusal, Refusal::UnknownHost) {
        let hosts: BTreeSet<_> = settings.routes.iter().map(|route| route.host.as_str()).collect();
        let hosts = hosts.into_iter().collect::<Vec<_>>().join(", ");
        return format!("no route has this host ({status}); there are routes for {hosts}");
    }
    format!("{} ({status})", refusal.name())
}

fn said_of_access(access: Access) -> String {
    match access {
        Access::Allow => "allow".to_owned(),
        Access::Challenge { max_age: None } => "challenge".to_owned(),
        Access::Challenge { max_age: Some(age) } => {
            format!("challenge with a proof of the last {}", Short(age))
        }
        Access::Deny => "deny".to_owned(),
    }
}

impl Outcome {
    const fn word(&self) -> &'static str {
        match self {
            Self::Ours => "own page",
            Self::Forward(_) => "forward",
            Self::Pass(_) => "pass",
            Self::Challenge(_) => "challenge",
            Self::Deny(_) => "deny",
            Self::Refuse(_) => "refuse",
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Ours => "the gateway answers itself".to_owned(),
            Self::Forward(None) => "everybody may pass".to_owned(),
            Self::Forward(Some(user)) => format!("{user} may pass"),
            Self::Pass(None) => "everybody may pass, and the proxy that asks sends it on".to_owned(),
            Self::Pass(Some(user)) => format!("{user} may pass, and the proxy that asks sends it on"),
            Self::Challenge(Cause::NoSession) => "nobody is signed in".to_owned(),
            Self::Challenge(Cause::SessionEnded(_)) => "the user may not sign in".to_owned(),
            Self::Challenge(Cause::ProofTooOld) => "the proof is too old for this rule".to_owned(),
            Self::Deny(Reason::NoRoute) => "no route has this path (404)".to_owned(),
            Self::Deny(Reason::Rule) => "the rule lets nobody pass (403)".to_owned(),
            Self::Refuse(why) => why.clone(),
        }
    }
}
