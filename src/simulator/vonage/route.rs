//! Which operation a path and method mean.

use hyper::Method;

/// The operations of both versions of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Start,
    Check,
    Cancel,
    Next,
    /// Version 1: cancel or next, as a field says.
    Control,
    Search,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Check => "check",
            Self::Cancel => "cancel",
            Self::Next => "next",
            Self::Control => "control",
            Self::Search => "search",
        }
    }
}

/// The two APIs, which know nothing of each other's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// An operation and the request that its path names; empty otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route<'a> {
    pub(super) version: Version,
    pub(super) operation: Operation,
    pub(super) id: &'a str,
}

/// Why a path and method mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    NotFound,
    MethodNotAllowed,
}

impl<'a> Route<'a> {
    pub(super) fn find(method: &Method, path: &'a str) -> Result<Self, Lost> {
        let segments: Vec<&str> = path.split('/').collect();
        match segments[..] {
            ["", "v2", "verify"] | ["", "v2", "verify", ""] => two(method, "", &[("POST", Operation::Start)]),
            ["", "v2", "verify", id] => {
                two(method, id, &[("POST", Operation::Check), ("DELETE", Operation::Cancel)])
            }
            ["", "v2", "verify", id, "next_workflow"] => two(method, id, &[("POST", Operation::Next)]),
            ["", "verify", "json"] => one(method, Operation::Start),
            ["", "verify", "check", "json"] => one(method, Operation::Check),
            ["", "verify", "control", "json"] => one(method, Operation::Control),
            ["", "verify", "search", "json"] => one(method, Operation::Search),
            _ => Err(Lost::NotFound),
        }
    }
}

fn two<'a>(method: &Method, id: &'a str, known: &[(&str, Operation)]) -> Result<Route<'a>, Lost> {
    let found = known.iter().find(|(name, _)| *name == method.as_str());
    let (_, operation) = found.ok_or(Lost::MethodNotAllowed)?;
    Ok(Route { version: Version::Two, operation: *operation, id })
}

fn one(method: &Method, operation: Operation) -> Result<Route<'static>, Lost> {
    let fits = method == Method::POST || method == Method::GET;
    fits.then_some(Route { version: Version::One, operation, id: "" }).ok_or(Lost::MethodNotAllowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_path_and_method() {
        let rows = [
            ("POST", "/v2/verify", Version::Two, Operation::Start, ""),
            ("POST", "/v2/verify/", Version::Two, Operation::Start, ""),
            ("POST", "/v2/verify/a", Version::Two, Operation::Check, "a"),
            ("DELETE", "/v2/verify/a", Version::Two, Operation::Cancel, "a"),
            ("POST", "/v2/verify/a/next_workflow", Version::Two, Operation::Next, "a"),
            ("POST", "/verify/json", Version::One, Operation::Start, ""),
            ("GET", "/verify/json", Version::One, Operation::Start, ""),
            ("POST", "/verify/check/json", Version::One, Operation::Check, ""),
            ("POST", "/verify/control/json", Version::One, Operation::Control, ""),
            ("GET", "/verify/search/json", Version::One, Operation::Search, ""),
        ];
        for (method, path, version, operation, id) in rows {
            let method = method.parse().expect("it is a method");
            assert_eq!(Route::find(&method, path), Ok(Route { version, operation, id }), "{method} {path}");
        }
    }

    #[test]
    fn the_rest_is_not_found_or_not_allowed() {
        assert_eq!(Route::find(&Method::GET, "/v2/verify/a"), Err(Lost::MethodNotAllowed));
        assert_eq!(Route::find(&Method::PUT, "/verify/json"), Err(Lost::MethodNotAllowed));
        for path in ["/verify/xml", "/v2/verify/a/b", "/v1/verify", "/"] {
            assert_eq!(Route::find(&Method::POST, path), Err(Lost::NotFound), "{path}");
        }
    }
}
