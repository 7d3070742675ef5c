//! Who may pass where. The only place that makes a [`Permit`].

/// Which route a request takes: its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub usize);

/// What a route matches.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// The host, lower case, without port.
    pub host: String,
    /// The path it starts at, by whole segments: `/wiki` is `/wiki` and `/wiki/…`, not `/wikis`.
    pub path: String,
}

/// Why a person must prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// They carry no session, or what they carry is not one of ours.
    NoSession,
    /// Their session is over.
    SessionEnded(super::session::SessionEnd),
}

/// Why a request goes nowhere, whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No route has this path.
    NoRoute,
}

/// The right to be forwarded along one route with one session. Nothing else is forwarded.
#[derive(Debug)]
pub struct Permit<S> {
    route: RouteId,
    session: S,
}

impl<S> Permit<S> {
    /// The route that was decided on.
    pub const fn route(&self) -> RouteId {
        self.route
    }

    /// The session that was decided on.
    pub const fn session(&self) -> &S {
        &self.session
    }

    /// Gives the session up.
    pub fn into_session(self) -> S {
        self.session
    }
}

/// What to do with a request.
#[derive(Debug)]
pub enum Decision<S> {
    /// Send it on.
    Forward(Permit<S>),
    /// Ask for proof first.
    Challenge(Cause),
    /// Refuse it.
    Deny(Reason),
}

/// The routes, and what they require.
#[derive(Debug)]
pub struct Policy {
    /// Longest path first within a host.
    routes: Vec<(RouteMatch, RouteId)>,
}

impl Policy {
    /// A policy over routes in the order of the configuration.
    pub fn new(routes: impl IntoIterator<Item = RouteMatch>) -> Self {
        let mut routes: Vec<_> =
            routes.into_iter().enumerate().map(|(place, r)| (r, RouteId(place))).collect();
        routes.sort_by_key(|(r, _)| std::cmp::Reverse(r.path.len()));
        Self { routes }
    }

    /// Whether any route has this host.
    pub fn knows_host(&self, host: &str) -> bool {
        self.routes.iter().any(|(route, _)| route.host == host)
    }

    /// Whether more than one route divides this host by path, so that a path read two ways would matter.
    pub fn divides(&self, host: &str) -> bool {
        self.routes.iter().filter(|(route, _)| route.host == host).count() > 1
    }

    /// Decides on a request for `host` and `path` by whoever `session` proves to be.
    pub fn decide<S>(&self, host: &str, path: &str, session: Result<S, Cause>) -> Decision<S> {
        let session = match session {
            Ok(session) => session,
            Err(cause) => return Decision::Challenge(cause),
        };
        match self.route(host, path) {
            Some(route) => Decision::Forward(Permit { route, session }),
            None => Decision::Deny(Reason::NoRoute),
        }
    }

    fn route(&self, host: &str, path: &str) -> Option<RouteId> {
        self.routes
            .iter()
            .find(|(route, _)| route.host == host && starts_at(path, &route.path))
            .map(|(_, id)| *id)
    }
}

fn starts_at(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let route = |host: &str, path: &str| RouteMatch { host: host.to_owned(), path: path.to_owned() };
        Policy::new([route("a", "/"), route("a", "/wiki"), route("a", "/wiki/static/"), route("b", "/only")])
    }

    fn taken(host: &str, path: &str) -> Option<usize> {
        match policy().decide(host, path, Ok(())) {
            Decision::Forward(permit) => Some(permit.route().0),
            Decision::Challenge(_) | Decision::Deny(_) => None,
        }
    }

    #[test]
    fn the_longest_path_wins_by_whole_segments() {
        assert_eq!(taken("a", "/"), Some(0));
        assert_eq!(taken("a", "/wiki"), Some(1));
        assert_eq!(taken("a", "/wiki/x"), Some(1));
        assert_eq!(taken("a", "/wiki/static/x"), Some(2));
        assert_eq!(taken("b", "/only"), Some(3));
        assert_eq!(taken("b", "/"), None);
    }

    #[test]
    fn lesson_18_a_prefix_ends_at_a_segment() {
        assert_eq!(taken("a", "/wikis"), Some(0));
        assert_eq!(taken("b", "/only-this"), None);
    }

    #[test]
    fn lesson_17_hosts_are_compared_alike_however_many_there_are() {
        let route = |n: usize| RouteMatch { host: format!("h{n}.example.com"), path: "/".to_owned() };
        let policy = Policy::new((0..200).map(route));
        assert!((0..200).all(|n| policy.knows_host(&format!("h{n}.example.com"))));
        assert!(!policy.knows_host("h200.example.com"));
    }

    #[test]
    fn without_a_session_there_is_no_permit() {
        for path in ["/", "/wiki", "/nowhere"] {
            let decision = policy().decide::<()>("a", path, Err(Cause::NoSession));
            assert!(matches!(decision, Decision::Challenge(Cause::NoSession)));
        }
    }
}
