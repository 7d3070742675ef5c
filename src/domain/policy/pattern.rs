//! Patterns of paths: a path and everything below it, a glob, or a regular expression, each about the whole path.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use regex::bytes::Regex;

/// A pattern, compiled.
#[derive(Clone, Debug)]
pub struct PathPattern {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A path without its last slash, and everything below it.
    Below(String),
    Expression(Regex),
}

impl PathPattern {
    /// Whether a whole path is one of its.
    pub(super) fn is_match(&self, path: &[u8]) -> bool {
        match &self.kind {
            Kind::Below(begin) => super::starts_at(path, begin),
            Kind::Expression(expression) => expression.is_match(path),
        }
    }
}

/// The text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPattern {
    /// It does not begin where paths do.
    #[error("not a path; write it like \"/public\", \"/static/**\" or \"re:^/v[0-9]+/ping$\"")]
    Start,
    /// It has characters that no path has when it is compared.
    #[error(
        "paths are compared decoded and without query; write it without %, ?, #, \\, // and dot segments"
    )]
    Characters,
    /// `**` beside other characters.
    #[error("\"**\" stands for whole segments; write it between slashes, like \"/static/**\"")]
    DoubleStar,
    /// An expression that could match in the middle of a path.
    #[error("an expression must say where it begins and ends; write it like \"re:^/v[0-9]+/ping$\"")]
    Anchors,
    /// An expression that does not compile.
    #[error("not a regular expression: {0}; write it like \"re:^/v[0-9]+/ping$\"")]
    Expression(String),
}

impl FromStr for PathPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let kind = match text.strip_prefix("re:") {
            Some(expression) => compiled(&anchored(expression)?)?,
            None => of_path(text)?,
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn compiled(expression: &str) -> Result<Kind, NotAPattern> {
    let regex = Regex::new(expression);
    regex.map(Kind::Expression).map_err(|error| NotAPattern::Expression(last_line(&error.to_string())))
}

/// The library draws the place on several lines; the last one says what is wrong.
fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or(error).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// `re:/status` would match below `/private` as well: an expression is about the whole path, and says so.
fn anchored(expression: &str) -> Result<String, NotAPattern> {
    let ends = expression.ends_with('$') && !expression.ends_with("\\$");
    if !expression.starts_with('^') || !ends {
        return Err(NotAPattern::Anchors);
    }
    // Alone first: parentheses that do not belong together must not close ours.
    compiled(expression)?;
    Ok(format!(r"\A(?:{expression})\z"))
}

fn of_path(text: &str) -> Result<Kind, NotAPattern> {
    let rest = text.strip_prefix('/').ok_or(NotAPattern::Start)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if text.contains(['%', '?', '#', '\\']) || text.contains("//") || text.chars().any(char::is_control) {
        return Err(NotAPattern::Characters);
    }
    let segments = rest.split('/').filter(|segment| !segment.is_empty());
    let expression = segments.map(of_segment).collect::<Result<String, _>>()?;
    if rest.contains('*') {
        compiled(&format!(r"\A{expression}/?\z"))
    } else {
        Ok(Kind::Below(format!("/{rest}")))
    }
}

/// One segment with the slash before it.
fn of_segment(segment: &str) -> Result<String, NotAPattern> {
    match segment {
        "." | ".." => Err(NotAPattern::Characters),
        "**" => Ok("(?s-u:/.*)?".to_owned()),
        "*" => Ok("/(?-u:[^/])+".to_owned()),
        _ if segment.contains("**") => Err(NotAPattern::DoubleStar),
        _ => Ok(segment.split('*').enumerate().fold(String::from("/"), |mut all, (place, literal)| {
            let between = if place > 0 { "(?-u:[^/])*" } else { "" };
            write!(all, "{between}{}", regex::escape(literal)).expect("writing to a String cannot fail");
            all
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        pattern.parse::<PathPattern>().unwrap().is_match(path.as_bytes())
    }

    #[test]
    fn lesson_18_a_path_is_itself_and_what_is_below_by_whole_segments() {
        for path in ["/public", "/public/", "/public/a/b", "/public/a\nb"] {
            assert!(matches("/public", path), "{path}");
            assert!(matches("/public/", path), "{path}");
        }
        for path in ["/", "/publics", "/public-2", "/Public", "/x/public", "public"] {
            assert!(!matches("/public", path), "{path}");
        }
        assert!(matches("/", "/") && matches("/", "/anything/at/all"));
        assert!(matches("/a.b", "/a.b") && !matches("/a.b", "/aXb"));
    }

    #[test]
    fn one_star_is_one_segment_and_two_are_any() {
        for (pattern, path, is) in [
            ("/users/*", "/users/7", true),
            ("/users/*", "/users/7/", true),
            ("/users/*", "/users/", false),
            ("/users/*", "/users/7/x", false),
            ("/users/*/avatar", "/users/7/avatar", true),
            ("/users/*/avatar", "/users/7/8/avatar", false),
            ("/img/*.png", "/img/a.png", true),
            ("/img/*.png", "/img/a/b.png", false),
            ("/img/*.png", "/img/a.png.exe", false),
            ("/static/**", "/static", true),
            ("/static/**", "/static/", true),
            ("/static/**", "/static/a/b", true),
            ("/static/**", "/statics", false),
            ("/a/**/z", "/a/z", true),
            ("/a/**/z", "/a/b/c/z", true),
            ("/a/**/z", "/a/b/c/zz", false),
            ("/**", "/", true),
            ("/**", "/x/y", true),
        ] {
            assert_eq!(matches(pattern, path), is, "{pattern} {path}");
        }
    }

    #[test]
    fn lesson_1_an_expression_is_about_the_whole_path() {
        assert!(matches("re:^/v[0-9]+/ping$", "/v12/ping"));
        assert!(!matches("re:^/v[0-9]+/ping$", "/v12/ping/x"));
        assert!(!matches("re:^/a|/status$", "/private/status"), "each alternative is about the whole path");
        assert!(!matches("re:^(?m)^/x$", "/y\n/x"));
        for text in ["re:/status", "re:^/status", "re:/status$", "re:^/a\\$", "re:"] {
            assert_eq!(text.parse::<PathPattern>().map(drop), Err(NotAPattern::Anchors), "{text}");
        }
        for text in ["re:^/(a$", "re:^/a)|(?:.*$"] {
            assert!(matches!(text.parse::<PathPattern>(), Err(NotAPattern::Expression(_))), "{text}");
        }
    }

    #[test]
    fn what_no_path_can_be_is_no_pattern() {
        for text in ["", "public", "*", "**"] {
            assert_eq!(text.parse::<PathPattern>().map(drop), Err(NotAPattern::Start), "{text}");
        }
        for text in ["/a?b", "/a%20b", "/a#b", "/a\\b", "//a", "/a//b", "/a/../b", "/.", "/a\nb"] {
            assert_eq!(text.parse::<PathPattern>().map(drop), Err(NotAPattern::Characters), "{text}");
        }
        assert_eq!("/a**".parse::<PathPattern>().map(drop), Err(NotAPattern::DoubleStar));
    }
}
