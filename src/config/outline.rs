//! A configuration file as keys and values, to tell what one has that another has not. It holds no secret: those are
//! named in the file and never written there.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

/// What stands in a file, key by key, and which file it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    keys: BTreeMap<String, String>,
    hash: String,
}

/// A key that stands otherwise in another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key, `route[2].upstream`.
    pub key: String,
    /// What stood there; nothing where the default held.
    pub from: Option<String>,
    /// What stands there.
    pub to: Option<String>,
}

impl Outline {
    /// Of a text that is TOML.
    pub fn of(text: &str) -> Self {
        let mut outline = Self { hash: crate::crypto::short_digest(text.as_bytes()), ..Self::default() };
        // What cannot be read as TOML has been refused before.
        let table = text.parse::<Table>().unwrap_or_default();
        table.iter().for_each(|(key, value)| outline.add(key.clone(), value));
        outline
    }

    fn add(&mut self, key: String, value: &Value) {
        // A secret's name is one value.
        if let Some(table) = value.as_table().filter(|table| !is_secret(table)) {
            table.iter().for_each(|(name, value)| self.add(format!("{key}.{name}"), value));
        } else if let Some(items) = value.as_array().filter(|items| items.iter().any(Value::is_table)) {
            let numbered = items.iter().enumerate();
            numbered.for_each(|(place, value)| self.add(format!("{key}[{}]", place + 1), value));
        } else {
            self.keys.insert(key, value.to_string());
        }
    }

    /// Of all its bytes, the first 64 bits of SHA-256 in hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What stands otherwise in another.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut keys: Vec<_> = self.keys.keys().chain(other.keys.keys()).collect();
        keys.sort();
        keys.dedup();
        let difference = |key: &String| {
            let (from, to) = (self.keys.get(key).cloned(), other.keys.get(key).cloned());
            (from != to).then(|| Difference { key: key.clone(), from, to })
        };
        keys.into_iter().filter_map(difference).collect()
    }

    /// The same where these keys still stand as they did.
    pub fn without<'d>(mut self, differences: impl IntoIterator<Item = &'d Difference>) -> Self {
        for difference in differences {
            match &difference.from {
                Some(value) => drop(self.keys.insert(difference.key.clone(), value.clone())),
                None => drop(self.keys.remove(&difference.key)),
            }
        }
        self
    }
}

fn is_secret(table: &Table) -> bool {
    table.len() == 1 && ["credential", "file", "env"].iter().any(|kind| table.contains_key(*kind))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A receiver's address may hold what only the two know.
        let is_address = ["audit.webhook", "traces.endpoint"].contains(&self.key.as_str());
        let said = |value: &Option<String>| match value {
            Some(_) if is_address => "an address".to_owned(),
            Some(value) => value.clone(),
            None => "not there".to_owned(),
        };
        write!(f, "{}: {}, was {}", self.key, said(&self.to), said(&self.from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "[server]\nlisten = [\"127.0.0.1:1\"]\n[[route]]\nupstream = [\"http://127.0.0.1:2\"]\n\
                       [[provider]]\nauth_token = { credential = \"a\" }\n";

    #[test]
    fn what_stands_otherwise_is_told_by_its_key() {
        let new = OLD.replace(":2", ":3").replace("\"a\"", "\"b\"") + "[log]\nlevel = \"debug\"\n";
        let (old, new) = (Outline::of(OLD), Outline::of(&new));
        let told: Vec<_> = old.differences(&new).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "log.level: \"debug\", was not there",
                "provider[1].auth_token: { credential = \"b\" }, was { credential = \"a\" }",
                "route[1].upstream: [\"http://127.0.0.1:3\"], was [\"http://127.0.0.1:2\"]",
            ]
        );
        assert_ne!(old.hash(), new.hash());
        let receiver = Outline::of("[audit]\nwebhook = \"https://a.example/secret\"\n");
        let told: Vec<_> = old.differences(&receiver).iter().map(ToString::to_string).collect();
        assert!(told.contains(&"audit.webhook: an address, was not there".to_owned()), "{told:?}");
        assert_eq!(new.clone().without(&old.differences(&new)).keys, old.keys);
    }

    #[test]
    fn words_around_the_keys_are_no_difference() {
        let (old, new) = (Outline::of(OLD), Outline::of(&format!("# by hand\n{OLD}")));
        assert!(old.differences(&new).is_empty());
        assert_ne!(old.hash(), new.hash(), "but it is another file");
    }
}
