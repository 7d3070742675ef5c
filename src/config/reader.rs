//! A TOML document read key by key: each problem is noted with its line and reading goes on, and what no one
//! asked for is a problem too.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Purpose;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The line it stands on, from 1; 0 when it is the file as a whole.
    pub line: usize,
    /// The key, `limits.starts_per_number`; empty when it is the file as a whole.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub remedy: String,
}

impl Problem {
    fn new(line: usize, key: &str, text: &str) -> Self {
        let (reason, remedy) = text.split_once("; ").unwrap_or((text, ""));
        Self { line, key: key.to_owned(), reason: reason.to_owned(), remedy: remedy.to_owned() }
    }

    /// A problem of what a key points at. `text` is `reason; remedy`.
    pub fn of_key(key: &str, text: &str) -> Self {
        Self::new(0, key, text)
    }

    /// The same with the line of its key, or of the section it belongs to, in the text of the file.
    pub fn on_its_line(self, text: &str) -> Self {
        let document = Document::parse(text, Purpose::Administer).ok();
        let line = document.and_then(|document| document.line_of(&self.key)).unwrap_or(self.line);
        Self { line, ..self }
    }

    /// A problem of the file, not of a line in it.
    pub(super) fn of_file(text: &str) -> Self {
        Self::new(0, "", text)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        f.write_str(" ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// A parsed text and the problems found in it so far.
pub(super) struct Document<'t> {
    text: &'t str,
    purpose: Purpose,
    root: Spanned<DeTable<'t>>,
    problems: RefCell<Vec<Problem>>,
    /// Keys that were asked for and are not there, so that a test sees whether the example names them all.
    #[cfg(test)]
    absent: RefCell<Vec<String>>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(text: &'t str, purpose: Purpose) -> Result<Self, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self {
            text,
            purpose,
            root,
            problems: RefCell::default(),
            #[cfg(test)]
            absent: RefCell::default(),
        };
        for error in &errors {
            let line = document.line(&error.span().unwrap_or_default());
            document.note(Problem::new(line, "", &format!("not TOML: {}", error.message().trim())));
        }
        if errors.is_empty() { Ok(document) } else { Err(document.problems.into_inner()) }
    }

    pub(super) fn top(&self) -> Section<'_> {
        Section::new(self, String::new(), Some(self.root.get_ref()), 0..0)
    }

    /// The value, when there is one and nothing was wrong on the way to it.
    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, Vec<Problem>> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ if problems.is_empty() => {
                Err(vec![Problem::of_file("not complete; compare it with config.toml.example")])
            }
            _ => Err(problems),
        }
    }

    #[cfg(test)]
    pub(super) fn absent(&self) -> Vec<String> {
        self.absent.borrow().clone()
    }

    fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Where a key stands, `route[2].upstream_ca`; as far as there is a way to it.
    fn line_of(&self, key: &str) -> Option<usize> {
        let mut table = Some(self.root.get_ref());
        let mut span = None;
        for step in key.split('.') {
            let (name, place) = step.trim_end_matches(']').split_once('[').unwrap_or((step, "1"));
            let Some(value) = table.and_then(|table| table.get(name)) else { break };
            let place = place.parse::<usize>().ok()?.checked_sub(1)?;
            let item = value.get_ref().as_array().and_then(|items| items.get(place));
            let value = item.filter(|item| item.get_ref().is_table()).unwrap_or(value);
            (table, span) = (value.get_ref().as_table(), Some(value.span()));
        }
        span.map(|span| self.line(&span))
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count() + 1
    }
}

/// One table of the document, absent or present.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    path: String,
    table: Option<&'d DeTable<'d>>,
    span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'d> Section<'d> {
    fn new(
        document: &'d Document<'d>,
        path: String,
        table: Option<&'d DeTable<'d>>,
        span: Range<usize>,
    ) -> Self {
        Self { document, path, table, span, asked: RefCell::default() }
    }

    pub(super) const fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// What the configuration is read for.
    pub(super) const fn purpose(&self) -> Purpose {
        self.document.purpose
    }

    /// Whether the key is there, well written or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether a list that must name something is absent or empty.
    pub(super) fn lists_nothing(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        value.is_none_or(|value| value.get_ref().as_array().is_some_and(|items| items.is_empty()))
    }

    fn get(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.borrow_mut().push(key);
        let value = self.table.and_then(|table| table.get(key));
        #[cfg(test)]
        if value.is_none() {
            self.document.absent.borrow_mut().push(self.key(key));
        }
        value
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a problem with a key, on the key's own line where it is present. `text` is `reason; remedy`.
    pub(super) fn problem(&self, key: &'static str, text: &str) {
        let span =
            self.table.and_then(|table| table.get(key)).map_or_else(|| self.span.clone(), Spanned::span);
        self.document.note(Problem::new(self.document.line(&span), &self.key(key), text));
    }

    /// The value of a key, or `None` when it is absent. A value that cannot be read is noted, and is `None`.
    pub(super) fn value<T>(
        &self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.get(key)?.get_ref()) {
            Ok(value) => Some(value),
            Err(text) => {
                self.problem(key, &text);
                None
            }
        }
    }

    /// The text of a key, read by its type.
    pub(super) fn text<T: FromStr<Err: fmt::Display>>(&self, key: &'static str) -> Option<T> {
        self.value(key, parsed)
    }

    /// The path of a file, which must be there to serve.
    pub(super) fn readable(&self, key: &'static str) -> Option<PathBuf> {
        let path: PathBuf = self.text(key)?;
        if self.purpose() == Purpose::Serve
            && let Err(error) = std::fs::File::open(&path)
        {
            let text = format!("{} cannot be read: {error}; check the path and its owner", path.display());
            self.problem(key, &text);
        }
        Some(path)
    }

    /// A list of texts; absent is empty.
    pub(super) fn list<T: FromStr<Err: fmt::Display>>(&self, key: &'static str) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.problem(key, "not a list; write [\"…\"]");
            return Vec::new();
        };
        let mut read = Vec::new();
        for item in items {
            match parsed(item.get_ref()) {
                Ok(value) => read.push(value),
                Err(text) => {
                    let line = self.document.line(&item.span());
                    self.document.note(Problem::new(line, &self.key(key), &text));
                }
            }
        }
        read
    }

    /// The table under a key.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let value = self.get(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if value.is_some() && table.is_none() {
            self.problem(key, &format!("not a section; write [{}] on a line of its own", self.key(key)));
        }
        let span = value.map_or_else(|| self.span.clone(), Spanned::span);
        Self::new(self.document, self.key(key), table, span)
    }

    /// The tables of a repeated section, `[[route]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let tables = value.get_ref().as_array().map(|items| items.iter().collect::<Vec<_>>());
        let Some(items) = tables.filter(|items| items.iter().all(|item| item.get_ref().is_table())) else {
            self.problem(key, &format!("a repeated section; write [[{}]]", self.key(key)));
            return Vec::new();
        };
        let several = items.len() > 1;
        let name = self.key(key);
        let path = |place: usize| if several { format!("{name}[{place}]") } else { name.clone() };
        let section = |(place, item): (usize, &'d Spanned<DeValue<'d>>)| {
            Self::new(self.document, path(place + 1), item.get_ref().as_table(), item.span())
        };
        items.into_iter().enumerate().map(section).collect()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) {
                let known = match (self.path.as_str(), name) {
                    ("", "rule") => "write [[route.rule]], below its [[route]]".to_owned(),
                    ("", "tls") => "write [server.tls]".to_owned(),
                    _ => nearest(name, &asked),
                };
                let text = format!("unknown key; {known}");
                self.document.note(Problem::new(self.document.line(&key.span()), &self.key(name), &text));
            }
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "not a choice; write true or false".to_owned())
}

fn parsed<T: FromStr<Err: fmt::Display>>(value: &DeValue<'_>) -> Result<T, String> {
    let text = value.as_str().ok_or_else(|| "not a text; write it in quotes".to_owned())?;
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A whole number of at most `most`.
pub(super) fn integer(most: u64) -> impl Fn(&DeValue<'_>) -> Result<u64, String> {
    move |value| {
        let number =
            value.as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        number
            .filter(|n| *n <= most)
            .ok_or_else(|| format!("not a number; write a whole number from 0 to {most}"))
    }
}

/// A part of a name, or a slip of the hand: whoever writes `ca` does not mean `path`, though it is only three letters away.
fn nearest(name: &str, known: &[&'static str]) -> String {
    let far = |key: &&&'static str| distance(name, key);
    let is_part = |key: &&&str| name.len() > 1 && (key.starts_with(name) || key.ends_with(name));
    let is_slip = |key: &&&'static str| far(key) <= name.len() / 3;
    let part = known.iter().filter(is_part).min_by_key(far);
    let close = part.or_else(|| known.iter().filter(is_slip).min_by_key(far));
    close
        .map_or_else(|| format!("known here: {}", known.join(", ")), |key| format!("did you mean \"{key}\"?"))
}

/// Levenshtein's distance, for keys of a few letters.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
