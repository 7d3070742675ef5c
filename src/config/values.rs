//! Kinds of values that several sections have.

use std::time::Duration;

use super::reader::Section;
use crate::domain::time::parse_duration;

/// A duration, or its default.
pub(super) fn duration(section: &Section<'_>, key: &'static str, default: Duration) -> Duration {
    let read = section.value(key, |value| {
        parse_duration(value.as_str().unwrap_or_default()).map_err(|error| error.to_string())
    });
    read.unwrap_or(default)
}

/// One of a few words. Without a default the key must be there.
pub(super) fn one_of<T: Copy>(
    section: &Section<'_>,
    key: &'static str,
    words: &[(&str, T)],
    default: Option<T>,
) -> Option<T> {
    let list = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
    let value = section.value(key, |value| {
        let text = value.as_str().unwrap_or_default();
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        found.ok_or_else(|| format!("not known; write {}", list()))
    });
    if default.is_none() && !section.has(key) {
        section.problem(key, &format!("missing; write {}", list()));
    }
    value.or(default)
}
