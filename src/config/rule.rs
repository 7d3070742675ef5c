//! `[[route.rule]]`: what is asked where.

use std::str::FromStr;
use std::time::Duration;

use hyper::Method;

use super::reader::Section;
use super::route::is_own_page;
use super::values::{Network, one_of};
use crate::domain::policy::{Access, Rule};
use crate::domain::time::parse_duration;

/// A method, spelled as requests spell it.
struct Spelled(Method);

impl FromStr for Spelled {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "not a method; write it in capital letters, like \"GET\"";
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(wrong);
        }
        text.parse().map(Self).map_err(|_| wrong)
    }
}

#[derive(Clone, Copy)]
enum Word {
    Allow,
    Challenge,
    Deny,
}

/// The rules of a route that starts at `path`.
pub(super) fn rules(route: &Section<'_>, path: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for section in &route.sections("rule") {
        let rule = rule(section);
        section.finish();
        if rules.iter().any(|above| above.is_about_everything(path)) {
            let text = "a rule above takes every request of this route; move this one above it, or remove one of them";
            section.problem("access", text);
        }
        if let Some(rule) = rule {
            meets(section, &rule, path);
            rules.push(rule);
        }
    }
    rules
}

/// Notes patterns that no request of the route can have.
fn meets(section: &Section<'_>, rule: &Rule, path: &str) {
    for pattern in &rule.paths {
        let text = pattern.to_string();
        if is_own_page(&text) {
            section.problem(
                "paths",
                "no rule is about the gateway's own pages; remove what begins with /.vestibule",
            );
        } else if !pattern.meets(path) {
            let below = path.trim_end_matches('/');
            section
                .problem("paths", &format!("nothing below {path} is like {text:?}; write \"{below}{text}\""));
        }
    }
}

fn rule(section: &Section<'_>) -> Option<Rule> {
    let words = [("allow", Word::Allow), ("challenge", Word::Challenge), ("deny", Word::Deny)];
    let word = one_of(section, "access", &words, None);
    let max_age = max_age(section, word);
    let rule = Rule {
        paths: section.list("paths"),
        methods: section.list("methods").into_iter().map(|Spelled(method)| method).collect(),
        networks: section.list("networks").into_iter().map(|Network(network)| network).collect(),
        access: match word? {
            Word::Allow => Access::Allow,
            Word::Challenge => Access::Challenge { max_age },
            Word::Deny => Access::Deny,
        },
    };
    for key in ["paths", "methods", "networks"] {
        if section.has(key) && section.lists_nothing(key) {
            section.problem(key, "names nothing, and would take everything; leave the key out to mean any");
        }
    }
    // One line that opens everything is more often a mistake than meant.
    let is_meant = rule.paths.iter().any(|pattern| pattern.to_string() == "/**");
    if rule.access == Access::Allow && rule.is_about_everything("/") && !is_meant {
        section.problem(
            "access",
            "this rule lets everybody see everything; name paths, methods or networks, or write paths = [\"/**\"]",
        );
    }
    Some(rule)
}

fn max_age(section: &Section<'_>, word: Option<Word>) -> Option<Duration> {
    let read = section.value("max_age", |value| {
        parse_duration(value.as_str().unwrap_or_default()).map_err(|error| error.to_string())
    });
    if read.is_some() && !matches!(word, Some(Word::Challenge) | None) {
        section.problem("max_age", "is about who is asked for proof; write access = \"challenge\" with it");
    }
    if read.is_some_and(|age| age < SHORTEST) {
        section.problem("max_age", "too short to go back to the page after the proof; write at least \"1m\"");
    }
    read
}

const SHORTEST: Duration = Duration::from_secs(60);
