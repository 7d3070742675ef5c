//! One line of an access log: ours in JSON, or the combined format of nginx and Apache, with or without a host first.

use std::net::IpAddr;
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use crate::domain::user::UserName;

/// A request as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) client: IpAddr,
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) user: Option<UserName>,
    /// What was decided, where the log says so.
    pub(super) decision: Option<&'static str>,
}

#[derive(Deserialize)]
struct Ours {
    client: IpAddr,
    method: String,
    host: String,
    path: String,
    user: Option<String>,
    decision: Option<String>,
}

const DECISIONS: [&str; 6] = ["forward", "pass", "challenge", "deny", "refuse", "ours"];

static COMBINED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"^(?:(?<host>\S+) )?(?<client>[0-9A-Fa-f.:]+) \S+ (?<user>.+?) \[[^\]]*\] "(?<method>\S+) (?<path>\S+) HTTP/[0-9.]+" [0-9]{3}\b"#;
    Regex::new(pattern).expect("a pattern")
});

impl Line {
    /// Reads a line; an empty one is none.
    pub(super) fn read(text: &str, host: Option<&str>) -> Result<Option<Self>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.starts_with('{') { Self::ours(text) } else { Self::combined(text, host) }.map(Some)
    }

    fn ours(text: &str) -> Result<Self, String> {
        let ours: Ours =
            serde_json::from_str(text).map_err(|error| format!("is no line of ours: {error}"))?;
        let decision = ours.decision.map(|word| {
            let known = DECISIONS.into_iter().find(|known| *known == word);
            known.ok_or_else(|| format!("says {word:?} was decided, which is not known here"))
        });
        Ok(Self {
            client: ours.client,
            method: ours.method,
            host: ours.host,
            path: ours.path,
            user: ours.user.map(|name| user(&name)).transpose()?,
            decision: decision.transpose()?,
        })
    }

    fn combined(text: &str, host: Option<&str>) -> Result<Self, String> {
        let found = COMBINED.captures(text).ok_or("is neither JSON nor in the combined format")?;
        let part = |name: &str| found.name(name).map(|found| found.as_str().to_owned());
        let client = part("client").and_then(|text| text.parse().ok()).ok_or("has no client address")?;
        let host = part("host").or_else(|| host.map(str::to_owned));
        let name = part("user").filter(|name| name != "-");
        Ok(Self {
            client,
            method: part("method").unwrap_or_default(),
            host: host.ok_or("names no host; say which with --host")?,
            path: part("path").unwrap_or_default(),
            user: name.map(|name| user(&name)).transpose()?,
            decision: None,
        })
    }
}

fn user(name: &str) -> Result<UserName, String> {
    name.parse().map_err(|_| "has a user whose name is none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let ours = r#"{"time":"2026-11-30T10:00:00Z","client":"192.0.2.7","method":"GET","scheme":"https","host":"w.test","path":"/a?b","user":"alice","status":200,"outcome":"ok","decision":"forward"}"#;
        let line = Line::read(ours, None).unwrap().unwrap();
        assert_eq!((line.path.as_str(), line.decision), ("/a?b", Some("forward")));
        let combined = r#"192.0.2.7 - - [30/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl""#;
        assert_eq!(Line::read(combined, None).unwrap_err(), "names no host; say which with --host");
        let line = Line::read(combined, Some("w.test")).unwrap().unwrap();
        assert_eq!((line.host.as_str(), line.user, line.decision), ("w.test", None, None));
        let line =
            Line::read(&format!("w.test {}", combined.replace("- -", "- alice")), None).unwrap().unwrap();
        assert_eq!((line.host.as_str(), line.user.unwrap().as_str()), ("w.test", "alice"));
        for bad in ["nonsense", "{", "{}", r#"{"client":"x"}"#, "192.0.2.7 - - [x] \"GET\" 200"] {
            assert!(Line::read(bad, Some("w.test")).is_err(), "{bad}");
        }
        assert_eq!(Line::read("", None), Ok(None));
    }
}
