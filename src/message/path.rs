//! Paths that could be read two ways are not read at all.

/// Path and query are no longer than this, in bytes.
pub const LONGEST_TARGET: usize = 16 * 1_024;

/// The path means one thing here and may mean another to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path can be read in two ways")]
pub struct Ambiguous;

/// Refuses dot segments in any spelling, backslashes and NUL, wherever they lead. What passes goes to the upstream as it
/// is: the decision was made on the same bytes. What else could be read in two ways is refused where a rule or route
/// tells the two apart (see [`crate::domain::policy`]).
pub fn check(path: &str) -> Result<(), Ambiguous> {
    let bytes = path.as_bytes();
    // Most paths have neither a percent sign nor a dot after a slash.
    if memchr::memchr2(b'%', b'\\', bytes).is_none() && !path.contains("/.") {
        return Ok(());
    }
    let encoded = |code: &[u8; 3]| bytes.windows(3).any(|at| at.eq_ignore_ascii_case(code));
    let refused =
        bytes.contains(&b'\\') || encoded(b"%00") || encoded(b"%5c") || path.split('/').any(is_dots);
    if refused { Err(Ambiguous) } else { Ok(()) }
}

/// `.`, `..` and every spelling of them, with path parameters too: some servers cut `;…` off first.
fn is_dots(segment: &str) -> bool {
    let segment = segment.split(';').next().unwrap_or_default();
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() {
        let shorter =
            rest.strip_prefix('.').or_else(|| rest.strip_prefix("%2e")).or_else(|| rest.strip_prefix("%2E"));
        let Some(shorter) = shorter else { return false };
        rest = shorter;
        dots += 1;
    }
    dots == 1 || dots == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/",
            "/a/b",
            "/a.b/.hidden",
            "/...",
            "/%C3%A4",
            "/a%20b",
            "/a;x=1",
            "/.well-known/x",
            "/a//b",
            "/x/...",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        assert_eq!(check("/api/projects/a%2Fb"), Ok(()));
    }

    #[test]
    fn lesson_14_ambiguous_paths_are_refused() {
        for path in [
            "/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/x",
            "/%2E./x",
            "/.%2e",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a\\b",
            "/a%5Cb",
            "/a%5c..%5cb",
            "/a%00b",
        ] {
            assert_eq!(check(path), Err(Ambiguous), "{path}");
        }
    }
}
