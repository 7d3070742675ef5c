//! Our addresses, and the methods each takes.

use hyper::Method;

use super::BASE;
use super::problem::Refusal;
use super::visit::Visit;

/// One address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'v> {
    Challenge,
    Start,
    Verify,
    Resend,
    Cancel,
    Emergency,
    Account,
    SignOut,
    Asset(&'v str),
}

impl<'v> Endpoint<'v> {
    /// The address a visit is to, when it exists and takes the method.
    pub(super) fn of(visit: &'v Visit) -> Result<Self, Refusal> {
        let endpoint = match visit.path.strip_prefix(BASE).unwrap_or_default() {
            "/challenge" => Self::Challenge,
            "/challenge/start" => Self::Start,
            "/challenge/verify" => Self::Verify,
            "/challenge/resend" => Self::Resend,
            "/challenge/cancel" => Self::Cancel,
            "/challenge/emergency" => Self::Emergency,
            "/account" => Self::Account,
            "/sign-out" => Self::SignOut,
            path => Self::Asset(path.strip_prefix("/assets/").ok_or(Refusal::NotFound)?),
        };
        let allowed = if endpoint.changes_something() { "POST" } else { "GET, HEAD" };
        let fits = match visit.method {
            Method::POST => endpoint.changes_something(),
            Method::GET | Method::HEAD => !endpoint.changes_something(),
            _ => false,
        };
        if fits { Ok(endpoint) } else { Err(Refusal::MethodNotAllowed(allowed)) }
    }

    /// Whether a visit changes something, so that it must come from our own page, by POST.
    pub(super) const fn changes_something(self) -> bool {
        !matches!(self, Self::Challenge | Self::Account | Self::Asset(_))
    }
}
