//! `[[route.rule]]`: what is asked where.

use std::str::FromStr;
use std::time::Duration;

use hyper::Method;

use super::reader::Section;
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

pub(super) fn rules(route: &Section<'_>) -> Vec<Rule> {
    let rule = |section: &Section<'_>| {
        let rule = rule(section);
        section.finish();
        rule
    };
    route.sections("rule").iter().filter_map(rule).collect()
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
    if rule.access == Access::Allow && rule.is_about_everything() {
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
