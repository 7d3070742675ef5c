//! What a look at something found: how bad it is, what it is, and what to do.

use std::fmt;

use serde_json::{Value, json};

use super::{Failure, output};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Ok,
    Warning,
    Problem,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at, in a word or three.
    about: String,
    level: Level,
    what: String,
    /// What to do; empty where all is well.
    remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.about, self.what, self.remedy)
    }
}

impl Finding {
    pub(super) fn ok(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { about: about.into(), level: Level::Ok, what: what.into(), remedy: String::new() }
    }

    pub(super) fn warning(
        about: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { about: about.into(), level: Level::Warning, what: what.into(), remedy: remedy.into() }
    }

    pub(super) fn problem(
        about: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { about: about.into(), level: Level::Problem, what: what.into(), remedy: remedy.into() }
    }

    pub(super) const fn level(&self) -> Level {
        self.level
    }

    fn json(&self) -> Value {
        json!({ "about": self.about, "level": self.level.word(), "what": self.what, "remedy": self.remedy })
    }
}

/// Prints them, a line each and a line for what to do, and ends as they say: only a problem is a failure.
pub(super) fn tell(findings: &[Finding], json: bool) -> Result<(), Failure> {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    if json {
        let list: Vec<_> = findings.iter().map(Finding::json).collect();
        output::json(&json!({ "problems": problems, "warnings": warnings, "findings": list }))?;
    } else {
        print(findings)?;
    }
    let said = format!("{}, {}", counted(problems, "problem"), counted(warnings, "warning"));
    if problems > 0 {
        return Err(Failure::Runtime(said));
    }
    if json { Ok(()) } else { output::line(&format!("\n{said}")) }
}

/// So many of something.
pub(super) fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn print(findings: &[Finding]) -> Result<(), Failure> {
    let width = findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
    for finding in findings {
        let Finding { about, what, remedy, .. } = finding;
        output::line(&format!("{:<7}  {about:<width$}  {what}", finding.level.word()))?;
        if !remedy.is_empty() {
            output::line(&format!("{:<7}  {:<width$}  → {remedy}", "", ""))?;
        }
    }
    Ok(())
}
