//! Who may pass where. The only place that makes a [`Permit`].

mod pattern;
mod reading;
mod rule;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use hyper::Method;

pub use pattern::{NotAPattern, PathPattern};
pub use reading::{Ambiguous, EncodedSlashes};
pub use rule::{Access, Rule};

use super::time::Timestamp;
use reading::{is_plain_text, readings};

/// Which route a request takes: its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub usize);

/// What a route matches, and what it asks of whom.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// The host, lower case, without port.
    pub host: String,
    /// The path it starts at, by whole segments: `/wiki` is `/wiki` and `/wiki/…`, not `/wikis`.
    pub path: String,
    /// Its rules; the first that matches decides, and where none does a session is asked for.
    pub rules: Vec<Rule>,
    /// What `%2F` in a path is.
    pub encoded_slashes: EncodedSlashes,
    /// How long sessions are believed here while the store is away, where that is shorter than elsewhere.
    pub outage_grace: Option<Duration>,
    /// Whether we send its requests on; else another proxy does, and asks us.
    pub forwards: bool,
}

/// What is known of a request before anybody asks who sends it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// The path as it is sent on.
    pub path: &'r str,
    /// The method.
    pub method: &'r Method,
    /// The client's address.
    pub client: IpAddr,
}

/// Why a person must prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// They carry no session, or what they carry is not one of ours.
    NoSession,
    /// Their session is over.
    SessionEnded(super::session::SessionEnd),
    /// Their session is good, and their proof older than the rule's `max_age`.
    ProofTooOld,
}

/// Why a request goes nowhere, whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No route has this path.
    NoRoute,
    /// A rule refuses it.
    Rule,
}

/// The right to be forwarded along one route, with the session that was decided on if there is one. Nothing else is
/// forwarded.
#[derive(Debug)]
pub struct Permit<S> {
    route: RouteId,
    outage_grace: Option<Duration>,
    session: Option<S>,
}

impl<S> Permit<S> {
    /// How long its session is believed while the store is away, where that is shorter than elsewhere.
    pub const fn outage_grace(&self) -> Option<Duration> {
        self.outage_grace
    }

    /// The route that was decided on.
    pub const fn route(&self) -> RouteId {
        self.route
    }

    /// The session that was decided on; where everybody may pass there may be none.
    pub const fn session(&self) -> Option<&S> {
        self.session.as_ref()
    }
}

/// What to do with a request.
#[derive(Debug)]
pub enum Decision<S> {
    /// Send it on.
    Forward(Permit<S>),
    /// It may pass by this route, with the session that was decided on if there is one; but only another proxy knows
    /// where to.
    Pass(RouteId, Option<S>),
    /// Ask for proof first.
    Challenge(Cause),
    /// Refuse it.
    Deny(Reason),
}

impl<S> Decision<S> {
    /// The session that lets it pass, where one does.
    pub const fn session(&self) -> Option<&S> {
        match self {
            Self::Forward(permit) => permit.session(),
            Self::Pass(_, session) => session.as_ref(),
            Self::Challenge(_) | Self::Deny(_) => None,
        }
    }
}

/// A proof that was given: what a rule may ask of a session.
pub trait Proof {
    /// When it was given.
    fn proved_at(&self) -> Timestamp;
}

/// The route and rule that a request falls under, whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    route: Option<RouteId>,
    rule: Option<usize>,
    access: Access,
    outage_grace: Option<Duration>,
    forwards: bool,
}

impl Ruling {
    /// How long sessions are believed here while the store is away, where that is shorter than elsewhere.
    pub const fn outage_grace(&self) -> Option<Duration> {
        self.outage_grace
    }

    /// The route.
    pub const fn route(&self) -> Option<RouteId> {
        self.route
    }

    /// The place of the rule among those of its route; `None` where no rule matched.
    pub const fn rule(&self) -> Option<usize> {
        self.rule
    }

    /// What is asked.
    pub const fn access(&self) -> Access {
        self.access
    }

    /// Decides on a request by whoever `session` proves to be, at `now`.
    pub fn decide<S: Proof>(&self, session: Result<S, Cause>, now: Timestamp) -> Decision<S> {
        let session = match (self.access, session) {
            (Access::Deny, _) => return Decision::Deny(Reason::Rule),
            (Access::Allow, session) => session.ok(),
            (Access::Challenge { .. }, Err(cause)) => return Decision::Challenge(cause),
            (Access::Challenge { max_age }, Ok(session)) => {
                if max_age.is_some_and(|most| is_older(&session, most, now)) {
                    return Decision::Challenge(Cause::ProofTooOld);
                }
                Some(session)
            }
        };
        match self.route {
            Some(route) if self.forwards => {
                Decision::Forward(Permit { route, outage_grace: self.outage_grace, session })
            }
            Some(route) => Decision::Pass(route, session),
            None => Decision::Deny(Reason::NoRoute),
        }
    }
}

fn is_older(session: &impl Proof, most: Duration, now: Timestamp) -> bool {
    now >= session.proved_at() + most
}

/// The routes, and what they require.
#[derive(Debug)]
pub struct Policy {
    hosts: HashMap<String, HostPolicy, ahash::RandomState>,
}

impl Policy {
    /// A policy over routes in the order of the configuration.
    pub fn new(routes: impl IntoIterator<Item = RouteMatch>) -> Self {
        let mut hosts: HashMap<String, HostPolicy, ahash::RandomState> = HashMap::default();
        for (place, route) in routes.into_iter().enumerate() {
            hosts.entry(route.host.clone()).or_default().routes.push((route, RouteId(place)));
        }
        hosts.values_mut().for_each(HostPolicy::sort);
        Self { hosts }
    }

    /// The hosts that have a route.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(|host| &**host)
    }

    /// What is asked on this host; `None` when no route has it.
    pub fn host(&self, host: &str) -> Option<&HostPolicy> {
        self.hosts.get(host)
    }
}

/// The routes of one host.
#[derive(Debug, Default)]
pub struct HostPolicy {
    /// Longest path first.
    routes: Vec<(RouteMatch, RouteId)>,
    /// Whether anything here depends on the path.
    divided: bool,
}

impl HostPolicy {
    fn sort(&mut self) {
        self.routes.sort_by_key(|(route, _)| std::cmp::Reverse(route.path.len()));
        let whole = |(route, _): &(RouteMatch, RouteId)| route.rules.is_empty() && route.path == "/";
        self.divided = !self.routes.iter().all(whole);
    }

    /// The route and rule of a request. A path that the application could read in two ways falls under the same ones
    /// both ways, or under none.
    pub fn ruling(&self, asked: &Asked<'_>) -> Result<Ruling, Ambiguous> {
        if !self.divided || is_plain_text(asked.path) {
            return Ok(self.read(asked, asked.path.as_bytes()));
        }
        let mut readings = readings(asked.path)?.into_iter();
        let first = readings.next().ok_or(Ambiguous)?;
        let ruling = self.read(asked, &first.path);
        let slash_is_data = self.slash_is_data(&ruling);
        let others = readings.filter(|reading| !(slash_is_data && reading.splits_segments));
        for reading in others {
            if self.read(asked, &reading.path) != ruling {
                return Err(Ambiguous);
            }
        }
        Ok(ruling)
    }

    fn slash_is_data(&self, ruling: &Ruling) -> bool {
        let route = self.routes.iter().find(|(_, id)| Some(*id) == ruling.route);
        route.is_some_and(|(route, _)| route.encoded_slashes == EncodedSlashes::Data)
    }

    fn read(&self, asked: &Asked<'_>, path: &[u8]) -> Ruling {
        let Some((route, id)) = self.routes.iter().find(|(route, _)| starts_at(path, &route.path)) else {
            return Ruling {
                route: None,
                rule: None,
                access: Access::default(),
                outage_grace: None,
                forwards: false,
            };
        };
        let rule = route.rules.iter().position(|rule| rule.matches(asked, path));
        let access = rule.map_or_else(Access::default, |place| route.rules[place].access);
        Ruling { route: Some(*id), rule, access, outage_grace: route.outage_grace, forwards: route.forwards }
    }
}

fn starts_at(path: &[u8], prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/').as_bytes();
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests;
