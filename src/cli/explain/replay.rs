//! `vestibule explain --replay`: what another configuration would have said to the requests of an access log.
//!
//! The log is read line by line, and of what changes only so many kinds are kept: a log of any size can be read.

mod line;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use hyper::Request;
use hyper::header::HOST;
use serde_json::{Value, json};

use self::line::Line;
use super::{Answer, Outcome, Somebody};
use crate::cli::finding::counted;
use crate::cli::{Failure, output};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Settings;
use crate::domain::policy::{Cause, Policy};
use crate::domain::time::Timestamp;
use crate::gateway::target;

/// A longer line is no line of an access log.
const LONGEST: u64 = 256 * 1_024;
/// Kinds of changes that are told apart; of the rest only their number is known.
const MOST: usize = 10_000;
/// Lines that cannot be read are named up to so many.
const NAMED: usize = 10;

/// Requests that are alike, and what changes for them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    method: String,
    host: String,
    /// The path, with `*` for each number and name of a thing.
    path: String,
    user: bool,
    old: &'static str,
    new: &'static str,
    /// What decides now.
    by: String,
}

/// What became of all lines.
#[derive(Default)]
struct Tally {
    read: u64,
    changed: u64,
    kinds: HashMap<Kind, u64>,
    /// Of kinds beyond those that are kept.
    others: u64,
    /// Refused for what a log does not show.
    untold: u64,
    bad: u64,
    named: Vec<(u64, String)>,
}

/// A configuration to ask.
struct Judge<'s> {
    settings: &'s Settings,
    policy: Policy,
}

impl<'s> Judge<'s> {
    fn new(settings: &'s Settings) -> Self {
        Self { settings, policy: target::policy(settings) }
    }

    /// What it says, and by what.
    fn judge(&self, line: &Line, now: Timestamp) -> Result<(&'static str, String), String> {
        let request =
            Request::builder().method(&*line.method).uri(&*line.path).header(HOST, &*line.host).body(());
        let request = request.map_err(|error| error.to_string())?;
        // Challenged with a session: the proof was too old, and nobody knows how old.
        let was_too_old = line.decision == Some("challenge");
        let proved_at = if was_too_old { Timestamp::from_unix(0) } else { now };
        let session = line.user.clone().map(|name| Somebody { name, proved_at }).ok_or(Cause::NoSession);
        let answer = Answer::find(&self.policy, self.settings, &request, line.client.to_canonical(), session);
        Ok((word(&answer.outcome), by(&answer)))
    }
}

/// As the access log has it.
const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ours => "ours",
        Outcome::Forward(_) => "forward",
        Outcome::Pass(_) => "pass",
        Outcome::Challenge(_) => "challenge",
        Outcome::Deny(_) => "deny",
        Outcome::Refuse(_) => "refuse",
    }
}

fn by(answer: &Answer<'_>) -> String {
    match (answer.route, answer.rule) {
        (Some((route, _)), Some((rule, _))) => format!("route {route}, rule {rule}"),
        (Some((route, _)), None) => format!("route {route}, no rule"),
        (None, _) => answer.outcome.why(),
    }
}

pub(super) fn run(
    log: &Path,
    new: &Settings,
    old: Option<&Settings>,
    host: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Runtime(format!("{}: {error}", log.display()));
    let reader: Box<dyn io::Read> = match log.to_str() {
        Some("-") => Box::new(io::stdin()),
        Some(_) | None => Box::new(File::open(log).map_err(failed)?),
    };
    let (new, old) = (Judge::new(new), old.map(Judge::new));
    let now = SystemClock.now();
    let mut tally = Tally::default();
    each_line(BufReader::new(reader), |number, text| match text.and_then(|text| Line::read(text, host)) {
        Ok(None) => {}
        Ok(Some(line)) => {
            if let Err(why) = tally.take(&line, &new, old.as_ref(), now) {
                tally.skip(number, why);
            }
        }
        Err(why) => tally.skip(number, why),
    })
    .map_err(failed)?;
    tally.tell(json)
}

/// Hands every line over with its number from 1, in bounded memory.
fn each_line(mut log: impl BufRead, mut take: impl FnMut(u64, Result<&str, String>)) -> io::Result<()> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if log.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if bytes.len() as u64 == LONGEST && bytes.last() != Some(&b'\n') {
            take(number, Err("is longer than any line of an access log".to_owned()));
            while log.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)? > 0
                && bytes.last() != Some(&b'\n')
            {
                bytes.clear();
            }
            continue;
        }
        take(number, std::str::from_utf8(&bytes).map(str::trim_end).map_err(|_| "is not UTF-8".to_owned()));
    }
    Ok(())
}

impl Tally {
    fn take(
        &mut self,
        line: &Line,
        new: &Judge<'_>,
        old: Option<&Judge<'_>>,
        now: Timestamp,
    ) -> Result<(), String> {
        let (word, by) = new.judge(line, now)?;
        let before = match (old, line.decision) {
            (Some(old), _) => old.judge(line, now)?.0,
            (None, Some(decision)) => decision,
            (None, None) => return Err(NO_DECISION.to_owned()),
        };
        self.read += 1;
        if before == word {
            return Ok(());
        }
        // A broken head, say: the line does not show it, and it would be refused again.
        if old.is_none() && before == "refuse" {
            self.untold += 1;
            return Ok(());
        }
        self.changed += 1;
        let kind = Kind {
            method: line.method.clone(),
            host: line.host.clone(),
            path: pattern(&line.path),
            user: line.user.is_some(),
            old: before,
            new: word,
            by,
        };
        if let Some(count) = self.kinds.get_mut(&kind) {
            *count += 1;
        } else if self.kinds.len() < MOST {
            self.kinds.insert(kind, 1);
        } else {
            self.others += 1;
        }
        Ok(())
    }

    fn skip(&mut self, number: u64, why: String) {
        self.bad += 1;
        if self.named.len() < NAMED {
            self.named.push((number, why));
        }
    }

    fn tell(self, json: bool) -> Result<(), Failure> {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| (&a.host, &a.path).cmp(&(&b.host, &b.path))));
        if json {
            let changes: Vec<Value> = kinds.iter().map(|(kind, count)| kind.json(**count)).collect();
            let named = self.named.iter().map(|(line, why)| json!({ "line": line, "reason": why }));
            output::json(&json!({
                "requests": self.read, "changed": self.changed, "changes": changes, "changed_otherwise": self.others,
                "not_judged": self.untold, "skipped": self.bad, "skipped_lines": named.collect::<Vec<_>>(),
            }))?;
        } else {
            self.print(&kinds)?;
        }
        let of = counted(usize::try_from(self.read).unwrap_or(usize::MAX), "request");
        if self.changed > 0 {
            return Err(Failure::Runtime(format!("{} of {of} would be judged otherwise", self.changed)));
        }
        if self.read == 0 && self.bad > 0 {
            return Err(Failure::Runtime("no line could be read".to_owned()));
        }
        if json { Ok(()) } else { output::line(&format!("{of} would be judged as before")) }
    }

    fn print(&self, kinds: &[(&Kind, &u64)]) -> Result<(), Failure> {
        let row = |(kind, count): &(&Kind, &u64)| {
            let Kind { method, host, path, user, old, new, by } = kind;
            let who = if *user { "signed in" } else { "nobody" };
            [
                count.to_string(),
                format!("{method} {host}{path}"),
                who.to_owned(),
                format!("{old} → {new}"),
                by.clone(),
            ]
        };
        if !kinds.is_empty() {
            let rows: Vec<_> = kinds.iter().map(row).collect();
            output::table(["COUNT", "REQUESTS", "WHO", "VERDICT", "BY"], &rows)?;
        }
        if self.others > 0 {
            output::line(&format!("{} more of other kinds", self.others))?;
        }
        if self.untold > 0 {
            output::line(&format!(
                "{} were refused for what a log does not show, and are not judged",
                self.untold
            ))?;
        }
        for (number, why) in &self.named {
            output::line(&format!("line {number} is skipped: {why}"))?;
        }
        let more = self.bad.saturating_sub(self.named.len() as u64);
        if more > 0 { output::line(&format!("{more} more lines are skipped")) } else { Ok(()) }
    }
}

const NO_DECISION: &str = "does not say what was decided; name the old configuration with --against";

impl Kind {
    fn json(&self, count: u64) -> Value {
        let Self { method, host, path, user, old, new, by } = self;
        json!({
            "count": count, "method": method, "host": host, "path": path, "signed_in": user, "old": old, "new": new,
            "by": by,
        })
    }
}

/// Paths that differ in the number or name of a thing are alike.
fn pattern(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let is_thing = |segment: &str| {
        let digits = segment.bytes().filter(u8::is_ascii_digit).count();
        digits > 0 && (digits == segment.len() || segment.len() >= 16)
    };
    let segments = path.split('/').map(|segment| if is_thing(segment) { "*" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_length_are_read_or_skipped() {
        let long = "x".repeat(3 * usize::try_from(LONGEST).unwrap());
        let mut seen = Vec::new();
        let log = format!("one\n{long}\nthree\n\nfive");
        each_line(log.as_bytes(), |number, text| seen.push((number, text.map(str::to_owned).ok()))).unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(seen, [(1, text("one")), (2, None), (3, text("three")), (4, text("")), (5, text("five"))]);
    }

    #[test]
    fn things_of_one_kind_are_alike() {
        assert_eq!(pattern("/ticket/4711/edit?x=1"), "/ticket/*/edit");
        assert_eq!(pattern("/v2/0b7e2c9a-9d1f-4f0e-8a51-8f1f6b0c2d3e"), "/v2/*");
        assert_eq!(pattern("/static/app.js"), "/static/app.js");
    }
}
