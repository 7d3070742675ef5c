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

/// Its text says all of it.
impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PathPattern {}

impl PathPattern {
    /// Whether a whole path is one of its.
    pub(super) fn is_match(&self, path: &[u8]) -> bool {
        match &self.kind {
            Kind::Below(begin) => super::starts_at(path, begin),
            Kind::Expression(expression) => expression.is_match(path),
        }
    }
}

impl PathPattern {
    /// Whether some path at `prefix` or below may be one of its. An expression is given the benefit of the doubt.
    pub fn meets(&self, prefix: &str) -> bool {
        if let Kind::Below(begin) = &self.kind {
            return super::starts_at(begin.as_bytes(), prefix) || super::starts_at(prefix.as_bytes(), begin);
        }
        self.text.starts_with("re:") || glob_meets(segments(&self.text), segments(prefix))
    }

    /// Whether every path at `prefix` and below is one of its, as far as paths of all kinds tell.
    pub fn takes_all(&self, prefix: &str) -> bool {
        let prefix = prefix.trim_end_matches('/');
        PROBES.iter().all(|rest| {
            let path = format!("{prefix}{rest}");
            self.is_match(path.as_bytes())
        })
    }
}

/// Paths that have nothing in common but what every path has.
const PROBES: [&str; 4] = ["/", "/a", "/Z-0.é_~/q", "/7/,/x/'y.js"];

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Segment by segment, until one of them says that anything may follow.
fn glob_meets<'a>(mut glob: impl Iterator<Item = &'a str>, prefix: impl Iterator<Item = &'a str>) -> bool {
    for segment in prefix {
        match glob.next() {
            Some("**") => return true,
            Some(pattern) if segment_is_match(pattern, segment) => {}
            _ => return false,
        }
    }
    true
}

fn segment_is_match(pattern: &str, segment: &str) -> bool {
    let expression = of_segment(pattern).and_then(|expression| compiled(&format!(r"\A{expression}\z")));
    matches!(expression, Ok(Kind::Expression(expression)) if expression.is_match(format!("/{segment}").as_bytes()))
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
    let expression = segments(rest).map(of_segment).collect::<Result<String, _>>()?;
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
    fn a_pattern_and_the_path_of_a_route_meet_or_do_not() {
        for (pattern, prefix, is) in [
            ("/admin", "/", true),
            ("/", "/wiki", true),
            ("/wiki/admin", "/wiki/", true),
            ("/wiki", "/wiki/static", true),
            ("/admin", "/wiki", false),
            ("/wikis", "/wiki", false),
            ("/*", "/wiki", true),
            ("/*/edit", "/wiki", true),
            ("/*/edit", "/wiki/static", false),
            ("/w*i/x", "/wiki", true),
            ("/*.png", "/wiki", false),
            ("/*", "/wiki/static", false),
            ("/**/x", "/wiki/static", true),
            ("/admin/**", "/wiki", false),
            ("/wiki/**", "/wiki/static", true),
            ("re:^/admin$", "/wiki", true),
        ] {
            assert_eq!(pattern.parse::<PathPattern>().unwrap().meets(prefix), is, "{pattern} {prefix}");
        }
    }

    #[test]
    fn what_takes_all_paths_is_known_whatever_it_is_called() {
        for (pattern, prefix, is) in [
            ("/", "/", true),
            ("/**", "/", true),
            ("re:^.*$", "/", true),
            ("re:^/.*$", "/", true),
            ("re:^(?s).+$", "/", true),
            ("/wiki", "/wiki", true),
            ("/wiki/**", "/wiki/", true),
            ("/wiki", "/", false),
            ("/*", "/", false),
            ("/**/*", "/", false),
            ("/*/**", "/", false),
            ("re:^/[a-z]*$", "/", false),
        ] {
            assert_eq!(pattern.parse::<PathPattern>().unwrap().takes_all(prefix), is, "{pattern} {prefix}");
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
