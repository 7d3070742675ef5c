//! The corpus as it is written down, and its bytes for one host and path.

use serde::Deserialize;

/// One way to get past.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trick {
    pub(super) name: String,
    #[serde(default)]
    pub(super) who: Who,
    #[serde(default = "get")]
    pub(super) method: String,
    #[serde(default = "path")]
    target: String,
    #[serde(default = "version")]
    version: String,
    #[serde(default = "host")]
    host: String,
    #[serde(default)]
    fields: Vec<String>,
    raw: Option<String>,
}

/// Who tries it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Who {
    #[default]
    Stranger,
    Guest,
}

/// What stands for the words in braces; none where there is nothing of the kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) open: Option<String>,
    pub(super) cookie: &'static str,
    pub(super) tokens: Tokens,
}

/// Session tokens, good and bad.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    pub(super) good: Option<String>,
    pub(super) revoked: Option<String>,
    pub(super) unsigned: String,
    pub(super) guessed: String,
    pub(super) changed: Option<String>,
    pub(super) cut: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    trick: Vec<Trick>,
}

/// All that is known.
pub(super) fn all() -> Vec<Trick> {
    let corpus: Corpus = toml::from_str(include_str!("tricks.toml")).expect("a test reads the corpus");
    corpus.trick
}

impl Trick {
    /// What is sent, or the word that there is nothing for.
    pub(super) fn bytes(&self, words: &Words) -> Result<Vec<u8>, &'static str> {
        let text = self.raw.clone().unwrap_or_else(|| self.head(words));
        let tokens = &words.tokens;
        let long = "a".repeat(8_000);
        let known: [(&'static str, Option<&str>); 12] = [
            ("{host}", Some(&words.host)),
            ("{path}", Some(&words.path)),
            ("{encoded}", Some(&encoded(&words.path))),
            ("{open}", words.open.as_deref()),
            ("{cookie}", Some(words.cookie)),
            ("{token}", tokens.good.as_deref()),
            ("{revoked}", tokens.revoked.as_deref()),
            ("{unsigned}", Some(&tokens.unsigned)),
            ("{guessed}", Some(&tokens.guessed)),
            ("{changed}", tokens.changed.as_deref()),
            ("{cut}", tokens.cut.as_deref()),
            ("{long}", Some(&long)),
        ];
        let filled = known.into_iter().try_fold(text, |text, (word, value)| match value {
            Some(value) => Ok(text.replace(word, value)),
            None if text.contains(word) => Err(word),
            None => Ok(text),
        });
        filled.map(String::into_bytes)
    }

    fn head(&self, words: &Words) -> String {
        let Self { method, target, version, .. } = self;
        let mut head = format!("{method} {target} {version}\r\n");
        let mut field = |line: &str| head.extend([line, "\r\n"]);
        if !self.host.is_empty() {
            field(&format!("Host: {}", self.host));
        }
        self.fields.iter().for_each(|line| field(line));
        let has = |name: &str| self.fields.iter().any(|line| line.starts_with(name));
        if self.who == Who::Guest && words.tokens.good.is_some() && !has("Cookie:") {
            field("Cookie: {cookie}={token}");
        }
        if !has("Connection:") {
            field("Connection: close");
        }
        head + "\r\n"
    }
}

fn get() -> String {
    "GET".to_owned()
}

fn path() -> String {
    "{path}".to_owned()
}

fn version() -> String {
    "HTTP/1.1".to_owned()
}

fn host() -> String {
    "{host}".to_owned()
}

/// Every letter and digit of it as %XX.
fn encoded(path: &str) -> String {
    let one = |c: char| if c.is_ascii_alphanumeric() { format!("%{:02x}", c as u32) } else { c.to_string() };
    let all: String = path.chars().map(one).collect();
    if all == path { format!("{path}%2e") } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_reads_and_every_word_in_it_is_known() {
        let tokens = Tokens {
            good: Some("good".to_owned()),
            revoked: Some("revoked".to_owned()),
            changed: Some("changed".to_owned()),
            cut: Some("cut".to_owned()),
            ..Tokens::default()
        };
        let words = Words { path: "/a".to_owned(), open: Some("/o".to_owned()), tokens, ..Words::default() };
        let all = all();
        assert!(all.len() > 100, "{}", all.len());
        for trick in &all {
            let bytes = String::from_utf8(trick.bytes(&words).unwrap()).unwrap();
            assert!(!bytes.contains('{'), "{}: {bytes}", trick.name);
            let twice = all.iter().filter(|other| other.name == trick.name).count();
            assert_eq!(twice, 1, "{}", trick.name);
        }
    }

    #[test]
    fn a_word_without_a_value_is_told() {
        let trick: Trick = toml::from_str("name = \"x\"\ntarget = \"{open}/..\"").unwrap();
        assert_eq!(trick.bytes(&Words::default()), Err("{open}"));
    }
}
