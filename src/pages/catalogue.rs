//! Every sentence people read, by key. English is built in; an operator's file stands before it, key by key.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use minijinja::Value;

use super::overrides::{TemplateError, replacement};

/// The sentences of one language.
#[derive(Debug)]
pub struct Catalogue {
    entries: HashMap<String, String>,
}

const ENGLISH: &str = include_str!("../../templates/languages/en.toml");
const FILE: &str = "languages/en.toml";

impl Catalogue {
    /// The built-in sentences, and the operator's before them.
    pub fn open(overrides: Option<&Path>) -> Result<Self, TemplateError> {
        let mut entries = HashMap::new();
        let built_in: toml::Table = ENGLISH.parse().expect("the built-in catalogue is TOML");
        flatten("", &built_in, &mut entries);
        if let Some(text) = replacement(overrides, FILE)? {
            let table: toml::Table =
                text.parse().map_err(|error| TemplateError::Catalogue(FILE.to_owned(), Box::new(error)))?;
            let mut theirs = HashMap::new();
            flatten("", &table, &mut theirs);
            if let Some(unknown) = theirs.keys().find(|key| !entries.contains_key(*key)) {
                return Err(TemplateError::UnknownSentence(unknown.clone()));
            }
            entries.extend(theirs);
        }
        Ok(Self { entries })
    }

    /// The language tag of the pages (BCP 47).
    pub const fn language(&self) -> &'static str {
        "en"
    }

    /// Which way it is written.
    pub const fn direction(&self) -> &'static str {
        "ltr"
    }

    /// A sentence without values.
    pub fn text(&self, key: &str) -> String {
        self.fill(key, &[])
    }

    /// A sentence with values for its placeholders; `count` also chooses the plural. A key that nobody wrote is
    /// shown as it is: better an odd word than no page.
    pub fn fill(&self, key: &str, values: &[(&str, String)]) -> String {
        let count = values.iter().find(|(name, _)| *name == "count").map(|(_, count)| count.as_str());
        let plural = if count == Some("1") { "one" } else { "other" };
        let entry = self.entries.get(key).or_else(|| self.entries.get(&format!("{key}.{plural}")));
        let Some(mut rest) = entry.map(String::as_str) else { return key.to_owned() };
        let mut filled = String::new();
        // One pass: what a value holds is never taken for a placeholder.
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((name, tail)) = after.split_once('}') else { break };
            match values.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => filled.push_str(value),
                None => filled.push_str(&format!("{{{name}}}")),
            }
            rest = tail;
        }
        filled + rest
    }

    /// A duration in words, coarse enough to be read at a glance.
    pub fn duration(&self, duration: Duration) -> String {
        let seconds = duration.as_secs();
        let (unit, count) = match seconds {
            0..=90 => ("seconds", seconds),
            91..=5_400 => ("minutes", (seconds + 30) / 60),
            _ => ("hours", (seconds + 1_800) / 3_600),
        };
        self.fill(&format!("duration.{unit}"), &[("count", count.to_string())])
    }

    /// A sentence with a template's values.
    pub(super) fn fill_from(&self, key: &str, values: &[(String, Value)]) -> String {
        let values: Vec<(&str, String)> =
            values.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
        self.fill(key, &values)
    }
}

fn flatten(prefix: &str, table: &toml::Table, into: &mut HashMap<String, String>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, into),
            toml::Value::String(text) => drop(into.insert(key, text.clone())),
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn english() -> Catalogue {
        Catalogue::open(None).unwrap()
    }

    #[test]
    fn sentences_are_filled_in_one_pass() {
        let text = english().fill("message.resend_too_soon", &[("duration", "{duration} {x}".to_owned())]);
        assert!(text.contains("{duration} {x}"), "{text}");
        assert_eq!(english().text("no.such.key"), "no.such.key");
    }

    #[test]
    fn plurals_follow_the_count() {
        let tries = |count: u32| english().fill("message.wrong_code", &[("count", count.to_string())]);
        assert!(tries(1).contains("one more try"));
        assert!(tries(3).contains("3 tries"));
    }

    #[test]
    fn durations_are_words() {
        for (seconds, words) in
            [(1, "1 second"), (90, "90 seconds"), (600, "10 minutes"), (43_200, "12 hours")]
        {
            assert_eq!(english().duration(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn an_operator_replaces_single_sentences() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("languages")).unwrap();
        fs::write(directory.path().join(FILE), "[identify]\ntitle = \"Hello\"").unwrap();
        let catalogue = Catalogue::open(Some(directory.path())).unwrap();
        assert_eq!(catalogue.text("identify.title"), "Hello");
        assert_eq!(catalogue.text("code.title"), english().text("code.title"));
        fs::write(directory.path().join(FILE), "[identify]\ntitel = \"Hello\"").unwrap();
        assert!(matches!(Catalogue::open(Some(directory.path())), Err(TemplateError::UnknownSentence(_))));
        fs::write(directory.path().join(FILE), "[identify").unwrap();
        assert!(Catalogue::open(Some(directory.path())).is_err());
    }
}
