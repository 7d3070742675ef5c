//! Where a person goes after signing in: a path of the same site, never a URL.

use std::fmt;
use std::str::FromStr;

/// A path and query on the host the person is on. It starts with one slash and cannot be read as another
/// site by any browser, so following it never leaves the site.
#[derive(Clone, PartialEq, Eq)]
pub struct ReturnTo(String);

/// Longer paths are not remembered; they would not fit beside the other fields of a request.
const LONGEST: usize = 2_048;

impl ReturnTo {
    /// The front page.
    pub fn home() -> Self {
        Self("/".to_owned())
    }

    /// The text as it goes into `Location`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReturnTo {
    type Err = NotAPath;

    fn from_str(text: &str) -> Result<Self, NotAPath> {
        let mut bytes = text.bytes();
        // "//host" and "/\host" name another site; browsers drop tabs and line ends before they look.
        let starts_well = bytes.next() == Some(b'/') && !matches!(bytes.next(), Some(b'/' | b'\\'));
        let plain = text.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'\\' && b != b'#');
        // Ours are no destinations: returning to the sign-out page or a form's address would surprise.
        let ours =
            text == "/.vestibule" || text.starts_with("/.vestibule/") || text.starts_with("/.vestibule?");
        if starts_well && plain && !ours && text.len() <= LONGEST {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAPath)
        }
    }
}

impl fmt::Debug for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReturnTo(…)")
    }
}

/// The text is not a path of this site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a path of this site")]
pub struct NotAPath;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_this_site_are_kept_to_the_letter() {
        for text in ["/", "/lab?x=1", "/a//b", "/wiki/%C3%84?next=https://example.com/", "/a:b@c"] {
            assert_eq!(text.parse::<ReturnTo>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn lesson_8_and_9_open_redirects_are_refused() {
        let hostile = [
            "",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example",
            "evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "javascript:alert(1)",
            "/ /evil.example",
            "http:/evil.example",
            "/a\r\nSet-Cookie: x=y",
            "/\u{2215}evil.example",
            "/a\\b",
            "/.vestibule/sign-out",
            "/.vestibule",
            "///evil.example",
            "/a#b",
            "?x",
            "#",
        ];
        for text in hostile {
            assert_eq!(text.parse::<ReturnTo>(), Err(NotAPath), "{text:?}");
        }
        assert_eq!(format!("/{}", "a".repeat(LONGEST)).parse::<ReturnTo>(), Err(NotAPath));
    }

    proptest! {
        /// A browser resolves it against our page as the URL standard says, and stays on the site.
        #[test]
        fn no_text_leads_to_another_site(text in "[/\\\\a-z:@.?#%\\t\\n ]{0,30}") {
            if let Ok(path) = text.parse::<ReturnTo>() {
                let page = url::Url::parse("https://wiki.example.com/.vestibule/challenge").unwrap();
                let target = page.join(path.as_str()).unwrap();
                prop_assert_eq!(target.origin(), page.origin());
            }
        }
    }
}
