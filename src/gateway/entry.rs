//! What the access log tells of a request, kept while the request is on its way.

use std::net::IpAddr;

use hyper::body::{Body as _, Incoming};
use hyper::header::{HOST, HeaderValue, REFERER, USER_AGENT};
use hyper::http::request::Request;
use hyper::{Method, Response, Version};

use super::tally::Fate;
use super::target::path_and_query;
use crate::access_log::{AccessLog, Line};
use crate::message::referer;
use crate::metrics::Outcome;
use crate::proxy::ReplyBody;

/// One request's entry.
#[derive(Debug)]
pub(super) struct Entry {
    time: jiff::Timestamp,
    peer: IpAddr,
    method: Method,
    host: Option<HeaderValue>,
    path: String,
    version: Version,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

impl Entry {
    /// Begins it.
    pub(super) fn begin(
        log: &AccessLog,
        request: &Request<Incoming>,
        peer: IpAddr,
        now: jiff::Timestamp,
    ) -> Self {
        let path = if log.has_query() { path_and_query(request) } else { request.uri().path() };
        let authority = || HeaderValue::from_str(request.uri().authority()?.as_str()).ok();
        Self {
            time: now,
            peer,
            method: request.method().clone(),
            host: request.headers().get(HOST).map(cut).or_else(|| authority().as_ref().map(cut)),
            path: shorter(path, LONGEST_PATH).to_owned(),
            version: request.version(),
            user_agent: request.headers().get(USER_AGENT).map(cut),
            referer: request.headers().get(REFERER).map(cut),
        }
    }

    /// Writes it.
    pub(super) fn end(
        self,
        log: &AccessLog,
        fate: &Fate,
        scheme: &str,
        route: &str,
        answer: &Response<ReplyBody>,
    ) {
        let text = |value: &Option<HeaderValue>| {
            value.as_ref().and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (host, agent, referer) = (text(&self.host), text(&self.user_agent), text(&self.referer));
        let (request_id, user) = (text(fate.request_id()), fate.user());
        let upstream = fate.upstream().map(|upstream| upstream.to_string());
        log.write(&Line {
            time: self.time,
            request_id: request_id.as_deref().unwrap_or_default(),
            client: fate.client().unwrap_or(self.peer),
            method: self.method.as_str(),
            scheme,
            host: host.as_deref().unwrap_or_default(),
            path: &self.path,
            protocol: protocol(self.version),
            status: answer.status().as_u16(),
            bytes: answer.body().size_hint().exact(),
            took: fate.took(),
            route,
            rule: fate.rule().map(|rule| rule + 1),
            decision: decision(fate.outcome()),
            upstream: upstream.as_deref(),
            user: user.as_ref().and_then(|user| user.to_str().ok()),
            user_agent: agent.as_deref(),
            referer: referer.as_deref().and_then(referer::told).as_deref(),
        });
    }
}

/// Bytes of a path that are told, and of a field: what clients write waits in memory, and is written by the gateway.
const LONGEST_PATH: usize = 2_048;
const LONGEST_FIELD: usize = 512;

fn shorter(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn cut(value: &HeaderValue) -> HeaderValue {
    let bytes = value.as_bytes();
    let most = bytes.len().min(LONGEST_FIELD);
    if most == bytes.len() {
        return value.clone();
    }
    HeaderValue::from_bytes(&bytes[..most]).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// In the words of `vestibule explain`.
pub(super) const fn decision(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Forwarded => "forward",
        Outcome::Judged => "pass",
        Outcome::Challenged => "challenge",
        Outcome::Denied => "deny",
        Outcome::Refused => "refuse",
        Outcome::Own => "ours",
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_writes_is_cut_to_what_may_wait_in_memory() {
        let long = HeaderValue::from_bytes(&[b'a'; 60_000]).unwrap();
        assert_eq!(cut(&long).len(), LONGEST_FIELD);
        assert_eq!(cut(&HeaderValue::from_static("short")), "short");
        assert_eq!(shorter(&"é".repeat(2_000), LONGEST_PATH).len(), LONGEST_PATH);
        assert_eq!(shorter(&format!("a{}", "é".repeat(2_000)), LONGEST_PATH).len(), LONGEST_PATH - 1);
    }
}
