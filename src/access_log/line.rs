//! One line: what is told of a request. No cookie, code, token or number is ever in it.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// What is known of a request once its answer begins.
#[derive(Clone, Copy, Debug)]
pub struct Line<'l> {
    /// When it came.
    pub time: Timestamp,
    /// Its name.
    pub request_id: &'l str,
    /// The client's address.
    pub client: IpAddr,
    /// Its method.
    pub method: &'l str,
    /// `http` or `https`, as people type it.
    pub scheme: &'l str,
    /// Host and port as they were written.
    pub host: &'l str,
    /// Its path, and what follows it where that is wanted.
    pub path: &'l str,
    /// `HTTP/1.1`.
    pub protocol: &'l str,
    /// The status of the answer.
    pub status: u16,
    /// The length that the answer's head tells.
    pub bytes: Option<u64>,
    /// From its head to the answer's.
    pub took: Duration,
    /// Host and path of its route.
    pub route: &'l str,
    /// The place of its rule in it, from 1.
    pub rule: Option<usize>,
    /// What was decided: `forward`, `challenge`, `deny`, `refuse`, `ours`, `pass`.
    pub decision: &'l str,
    /// Which upstream answered; none where the answer is ours.
    pub upstream: Option<&'l str>,
    /// Who sent it, as far as their session tells.
    pub user: Option<&'l str>,
    /// What the client says it is.
    pub user_agent: Option<&'l str>,
    /// Where it says it comes from, without user information, query and fragment.
    pub referer: Option<&'l str>,
}

#[derive(Serialize)]
struct Json<'l> {
    time: String,
    request_id: &'l str,
    client: IpAddr,
    user: Option<&'l str>,
    method: &'l str,
    scheme: &'l str,
    host: &'l str,
    path: &'l str,
    protocol: &'l str,
    status: u16,
    bytes: Option<u64>,
    duration_ms: f64,
    route: &'l str,
    rule: Option<usize>,
    decision: &'l str,
    upstream: Option<&'l str>,
    user_agent: Option<&'l str>,
    referer: Option<&'l str>,
}

impl Line<'_> {
    pub(super) fn json(&self) -> String {
        let json = Json {
            time: self.time.to_string(),
            request_id: self.request_id,
            client: self.client,
            user: self.user,
            method: self.method,
            scheme: self.scheme,
            host: self.host,
            path: self.path,
            protocol: self.protocol,
            status: self.status,
            bytes: self.bytes,
            duration_ms: (self.took.as_micros() as f64) / 1e3,
            route: self.route,
            rule: self.rule,
            decision: self.decision,
            upstream: self.upstream,
            user_agent: self.user_agent,
            referer: self.referer,
        };
        // Texts and numbers are always JSON.
        serde_json::to_string(&json).unwrap_or_default() + "\n"
    }

    /// As nginx and Apache have it (their format `combined`).
    pub(super) fn combined(&self) -> String {
        let time = self.time.to_zoned(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
        let bytes = self.bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let user = self.user.map_or_else(|| "-".to_owned(), plain);
        let (method, path, protocol) = (plain(self.method), plain(self.path), self.protocol);
        let (referer, agent) = (
            self.referer.map_or_else(|| "-".to_owned(), plain),
            self.user_agent.map_or_else(|| "-".to_owned(), plain),
        );
        let (client, status) = (self.client, self.status);
        format!(
            "{client} - {user} [{time}] \"{method} {path} {protocol}\" {status} {bytes} \"{referer}\" \"{agent}\"\n"
        )
    }
}

/// Nothing that ends a field or a line, or speaks to a terminal.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '"' | '\\') {
            // Writing into a string cannot fail.
            let _ = write!(plain, "\\x{:02x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "a\" 200 1\n\u{1b}[2J\\";

    fn line(text: &str) -> Line<'_> {
        Line {
            time: Timestamp::from_second(1_800_000_000).unwrap(),
            request_id: "0f",
            client: "192.0.2.1".parse().unwrap(),
            method: "GET",
            scheme: "https",
            host: "wiki.example.com",
            path: text,
            protocol: "HTTP/1.1",
            status: 200,
            bytes: Some(5),
            took: Duration::from_micros(1_500),
            route: "wiki.example.com/",
            rule: None,
            decision: "forward",
            upstream: Some("http://127.0.0.1:8080"),
            user: Some("alice"),
            user_agent: Some(text),
            referer: None,
        }
    }

    #[test]
    fn lesson_what_a_client_writes_stays_in_its_field() {
        let combined = line(EVIL).combined();
        assert_eq!(
            combined,
            "192.0.2.1 - alice [15/Jan/2027:08:00:00 +0000] \"GET a\\x22 200 1\\x0a\\x1b[2J\\x5c HTTP/1.1\" 200 5 \"-\" \
             \"a\\x22 200 1\\x0a\\x1b[2J\\x5c\"\n"
        );
        let json = line(EVIL).json();
        assert_eq!(json.matches('\n').count(), 1);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((json["path"].as_str(), json["duration_ms"].as_f64()), (Some(EVIL), Some(1.5)));
        assert_eq!(json["time"], "2027-01-15T08:00:00Z");
    }
}
