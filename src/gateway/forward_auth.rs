//! Forward-auth: another proxy asks whether a request may pass, and sends it on itself.
//!
//! The request is put together again from the fields of that one proxy and nothing else, and is then decided on by the
//! steps of any other request. Whatever is missing, doubled or cannot be read denies.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use hyper::body::Incoming;
use hyper::header::{COOKIE, HOST, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use ipnet::IpNet;

use super::peer::{Peer, PeerKind};
use super::{Front, reply, target};
use crate::config::{Dialect, Route, Settings};
use crate::domain::policy::{Decision, RouteId};
use crate::message::client_address::{self, X_FORWARDED_FOR};
use crate::message::kind::kind;
use crate::message::{authority, identity, method_override};
use crate::pages::problem::Refusal;
use crate::pages::reply::{Reply, plain};
use crate::proxy::Proved;

/// Where proxies ask.
const ADDRESS: &str = "/.vestibule/auth";

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Who may ask, and how.
#[derive(Debug)]
pub(super) struct ForwardAuth {
    peers: Vec<IpNet>,
    unix: bool,
    dialect: Dialect,
    /// Whether any rule tells methods apart.
    judges_methods: bool,
    /// Whether somebody else has asked: the log says it once, whoever goes on.
    told: AtomicBool,
    /// The fields with the user's name, by route.
    identity: Vec<Vec<HeaderName>>,
}

/// Why a proxy's question is not answered.
#[derive(Debug, thiserror::Error)]
enum Unclear {
    #[error("{0} must be there once")]
    NotOnce(HeaderName),
    #[error("{0} cannot be read")]
    Unreadable(HeaderName),
    #[error("the path asked about must follow {ADDRESS}")]
    NoPath,
    #[error("the client sent {0}, and the proxy would pass it on")]
    Claimed(&'static str),
}

/// The proxies whose word about the client's address is taken. Whoever may ask is one: an answer depends on it.
pub(super) fn trusted_proxies(settings: &Settings) -> Vec<IpNet> {
    let peers = settings.forward_auth.iter().flat_map(|forward_auth| &forward_auth.peers);
    settings.server.trusted_proxies.iter().chain(peers).copied().collect()
}

impl ForwardAuth {
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let section = settings.forward_auth.as_ref()?;
        Some(Self {
            peers: section.peers.clone(),
            unix: section.unix,
            dialect: section.dialect,
            told: AtomicBool::new(false),
            judges_methods: settings.routes.iter().any(Route::judges_methods),
            identity: settings.routes.iter().map(|route| route.identity_headers.clone()).collect(),
        })
    }

    /// Whether this is the question of a proxy that may ask. For everybody else there is nothing at this address.
    pub(super) fn is_asked<B>(&self, request: &Request<B>, peer: &Peer) -> bool {
        if !self.is_here(request) {
            return false;
        }
        let may_ask = if peer.kind == PeerKind::Unix {
            self.unix
        } else {
            client_address::is_trusted(peer.address, &self.peers)
        };
        if !may_ask && !self.told.swap(true, Relaxed) {
            let peer = peer.address;
            tracing::warn!(%peer, "somebody who is not in forward_auth.peers asks; add a proxy of yours (told once)");
        }
        may_ask
    }

    /// Whether it is at the address where such questions are asked.
    pub(super) fn is_here<B>(&self, request: &Request<B>) -> bool {
        let Some(rest) = request.uri().path().strip_prefix(ADDRESS) else { return false };
        match self.dialect {
            Dialect::Nginx | Dialect::Caddy | Dialect::Traefik => rest.is_empty(),
            Dialect::Envoy => rest.is_empty() || rest.starts_with('/'),
        }
    }

    /// The request that is asked about. Each part of it has one source.
    fn original(&self, head: Parts) -> Result<Request<()>, Unclear> {
        let mut headers = head.headers;
        if headers.keys().any(identity::is_disguised) {
            return Err(Unclear::Claimed("a field like X-Forwarded-… in another spelling"));
        }
        if self.judges_methods && method_override::is_there(&headers) {
            return Err(Unclear::Claimed("a field that asks for another method"));
        }
        let (method, host, target) = match self.dialect {
            Dialect::Nginx | Dialect::Caddy | Dialect::Traefik => described(&headers)?,
            Dialect::Envoy => {
                let host =
                    authority::authority(&head.uri, &headers).map_err(|_| Unclear::Unreadable(HOST))?;
                let host = HeaderValue::from_str(host.text).map_err(|_| Unclear::Unreadable(HOST))?;
                (head.method, host, behind_ours(&head.uri).ok_or(Unclear::NoPath)?)
            }
        };
        headers.insert(HOST, host);
        let mut original = Request::new(());
        *original.method_mut() = method;
        *original.uri_mut() = Uri::from(target);
        *original.headers_mut() = headers;
        Ok(original)
    }

    /// What this proxy can use of an answer. A yes is 200: Envoy takes no other.
    fn shape(&self, mut reply: Reply) -> Reply {
        let status = match (self.dialect, reply.status()) {
            (Dialect::Nginx, StatusCode::SEE_OTHER) => StatusCode::UNAUTHORIZED,
            // Anything else becomes a 500 there (ngx_http_auth_request_module).
            (Dialect::Nginx, status) if status.is_client_error() && status != StatusCode::UNAUTHORIZED => {
                StatusCode::FORBIDDEN
            }
            (Dialect::Nginx | Dialect::Caddy | Dialect::Traefik | Dialect::Envoy, status) => status,
        };
        *reply.status_mut() = status;
        if status == StatusCode::UNAUTHORIZED {
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Vestibule"));
        }
        reply
    }
}

impl Front {
    /// Answers a proxy that asks.
    pub(super) async fn vouch(&self, asks: &ForwardAuth, request: Request<Incoming>) -> Reply {
        let kind = kind(request.method(), request.headers());
        let answer = self.judge(asks, request).await;
        asks.shape(answer.unwrap_or_else(|refusal| reply::refused(&self.site.pages, &refusal, kind)))
    }

    async fn judge(&self, asks: &ForwardAuth, request: Request<Incoming>) -> Result<Reply, Refusal> {
        let (head, _body) = request.into_parts();
        let original = asks.original(head)?;
        let client = self.client_of(original.headers())?;
        let target = target::read(&self.site.policy, &original)?;
        if target.is_ours {
            tracing::info!("a proxy asks about a page of the gateway's own; it must send that here unasked");
            return Err(Refusal::NotFound);
        }
        let ruling = target.ruling(&original, client)?;
        let decision = self.decide(&original, &target, ruling).await;
        match decision.map_err(|refusal| self.noted(refusal, &original, client))? {
            Decision::Forward(permit) => {
                self.yes(&asks.identity, permit.route(), permit.session(), original.headers())
            }
            Decision::Pass(route, session) => {
                self.yes(&asks.identity, route, session.as_ref(), original.headers())
            }
            Decision::Challenge(cause) => {
                let site = self.site_of(&target);
                let path = target::path_and_query(&original);
                let kind = kind(original.method(), original.headers());
                Ok(whole_location(self.site.pages.challenge_first(cause, kind, &site, path), &site))
            }
            Decision::Deny(reason) => Err(self.noted(reason.into(), &original, client)),
        }
    }

    fn client_of(&self, headers: &HeaderMap) -> Result<IpAddr, Unclear> {
        once(headers, &X_FORWARDED_FOR)?;
        client_address::client(headers, &self.site.trusted_proxies)
            .ok_or(Unclear::Unreadable(X_FORWARDED_FOR))
    }

    /// It may pass. Every field is there, and empty for nobody: some proxies take absent for the client's own.
    fn yes(
        &self,
        identity: &[Vec<HeaderName>],
        route: RouteId,
        session: Option<&Proved>,
        headers: &HeaderMap,
    ) -> Result<Reply, Refusal> {
        let names = &identity[route.0];
        // What goes on to the application is not in our hands.
        if identity::is_claimed(headers, names) {
            return Err(Unclear::Claimed("a field that carries the user's name").into());
        }
        let mut reply = plain(StatusCode::OK, "");
        let user = session.map_or(HeaderValue::from_static(""), |proved| proved.user().clone());
        for name in names {
            reply.headers_mut().insert(name, user.clone());
        }
        reply.headers_mut().insert(identity::X_FORWARDED_USER, user);
        reply.headers_mut().insert(COOKIE, self.others_cookies(headers));
        Ok(reply)
    }

    /// The client's cookies without ours, for a proxy that can send these on in place of all.
    fn others_cookies(&self, headers: &HeaderMap) -> HeaderValue {
        let mut cookies: HeaderMap =
            headers.get_all(COOKIE).iter().map(|field| (COOKIE, field.clone())).collect();
        self.site.cookies.strip(&mut cookies);
        cookies.remove(COOKIE).unwrap_or(HeaderValue::from_static(""))
    }
}

impl From<Unclear> for Refusal {
    fn from(unclear: Unclear) -> Self {
        tracing::info!(%unclear, "a proxy's question is not answered; see docs/forward-auth.md");
        Self::Malformed
    }
}

/// Method, host and target as fields describe them.
fn described(headers: &HeaderMap) -> Result<(Method, HeaderValue, PathAndQuery), Unclear> {
    let method = Method::from_bytes(once(headers, &X_FORWARDED_METHOD)?.as_bytes());
    let host = once(headers, &X_FORWARDED_HOST)?;
    let target = origin_form(once(headers, &X_FORWARDED_URI)?.as_bytes());
    Ok((
        method.map_err(|_| Unclear::Unreadable(X_FORWARDED_METHOD))?,
        host.clone(),
        target.ok_or(Unclear::Unreadable(X_FORWARDED_URI))?,
    ))
}

/// The target that follows our address.
fn behind_ours(uri: &Uri) -> Option<PathAndQuery> {
    origin_form(uri.path_and_query()?.as_str().strip_prefix(ADDRESS)?.as_bytes())
}

/// The value of a field that must be there once.
fn once<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, Unclear> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None | Some(_), _) => Err(Unclear::NotOnce(name.clone())),
    }
}

/// A path and query as a request has them (RFC 9112 section 3.2.1), to the letter.
fn origin_form(target: &[u8]) -> Option<PathAndQuery> {
    let read = PathAndQuery::try_from(target).ok()?;
    (target.starts_with(b"/") && read.as_str().as_bytes() == target).then_some(read)
}

/// Traefik would resolve a path alone against our own address.
fn whole_location(mut reply: Reply, site: &str) -> Reply {
    let location = reply.headers().get(LOCATION).and_then(|path| path.to_str().ok());
    let whole = location.and_then(|path| HeaderValue::try_from(format!("{site}{path}")).ok());
    if let Some(whole) = whole {
        reply.headers_mut().insert(LOCATION, whole);
    }
    reply
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lesson_2_only_what_a_request_could_ask_for_is_read() {
        for target in ["/", "/a%2Fb?c=/d?e", "//a", "/.vestibule/x"] {
            assert_eq!(origin_form(target.as_bytes()).unwrap().as_str(), target);
        }
        for target in ["", "*", "a", "?a", "#a", "/a#b", "/a?b#c", "/a b", "http://h/a", "/a\r\nb", "/a\0"] {
            assert!(origin_form(target.as_bytes()).is_none(), "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn no_target_panics_and_each_is_read_to_the_letter(target in proptest::collection::vec(any::<u8>(), 0..40)) {
            let target = [b"/", &target[..]].concat();
            if let Some(read) = origin_form(&target) {
                prop_assert_eq!(read.as_str().as_bytes(), &target[..]);
            }
        }

        #[test]
        fn no_fields_panic(names in proptest::collection::vec(0usize..5, 0..6), value in "[ -~]{0,12}") {
            let known = [X_FORWARDED_METHOD, X_FORWARDED_HOST, X_FORWARDED_URI, X_FORWARDED_FOR, HOST];
            let value = HeaderValue::try_from(value).unwrap();
            let fields = names.iter().map(|name| (known[*name].clone(), value.clone()));
            let headers: HeaderMap = fields.collect();
            let doubled = known[..3].iter().any(|name| headers.get_all(name).iter().count() != 1);
            prop_assert!(!doubled || described(&headers).is_err());
        }
    }
}
