//! What an application may take a path for. Rules are matched on decoded paths; where two servers could decode one
//! path differently, all of the readings are looked at, and a request is only decided on when they agree.

use memchr::memmem;

/// The path means one thing to us and may mean another to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path can be read in two ways")]
pub struct Ambiguous;

/// What `%2F` in a path is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// A slash or a character, nobody knows: refused where a rule tells them apart.
    #[default]
    Unknown,
    /// A character within a segment: the application promises to read it so.
    Data,
}

/// One reading of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The path, decoded. An encoded slash that is taken for data is a NUL here, which no path has otherwise.
    pub(super) path: Vec<u8>,
    /// Whether encoded slashes are taken for slashes.
    pub(super) splits_segments: bool,
}

const DATA_SLASH: u8 = 0;

/// One way in which another server might read on.
type Change = fn(&[u8]) -> Result<Vec<u8>, Ambiguous>;

/// All readings of a path, the plain one first: decoded once or again and again, with slashes that were encoded,
/// with runs of slashes as one, without path parameters (RFC 3986 section 3.3), and cut at what others take for the
/// beginning of a query or fragment.
pub(super) fn readings(path: &str) -> Result<Vec<Reading>, Ambiguous> {
    let mut all = vec![Reading { path: decoded(path.as_bytes(), true)?, splits_segments: false }];
    // Some cut parameters off before they decode slashes, some after.
    let changes: [(Change, bool); 6] = [
        (decoded_to_the_end, false),
        (without_parameters, false),
        (with_slashes, true),
        (without_parameters, false),
        (with_single_slashes, false),
        (cut, false),
    ];
    for (change, splits) in changes {
        for from in 0..all.len() {
            let read = change(&all[from].path)?;
            let splits_segments = all[from].splits_segments || splits;
            let is_known = |known: &Reading| known.path == read && known.splits_segments <= splits_segments;
            if !all.iter().any(is_known) {
                all.push(Reading { path: read, splits_segments });
            }
        }
    }
    if all.iter().any(|reading| is_odd(&reading.path)) { Err(Ambiguous) } else { Ok(all) }
}

/// Whether nothing in a path could be read otherwise, as it stands: so it is with most.
pub(super) fn is_plain_text(path: &str) -> bool {
    let bytes = path.as_bytes();
    memchr::memchr3(b'%', b';', b'#', bytes).is_none()
        && memmem::find(bytes, b"//").is_none()
        && memmem::find(bytes, b"/.").is_none()
        && memchr::memchr(b'\\', bytes).is_none()
}

/// Dot segments, also with blanks behind them, backslashes, control characters, and letters written longer than they
/// are (RFC 3629 section 3), which some take for them.
fn is_odd(path: &[u8]) -> bool {
    let is_dots = |segment: &[u8]| matches!(segment.trim_ascii_end(), b"." | b"..");
    path.split(|byte| *byte == b'/').any(is_dots)
        || narrow(path).is_some_and(|narrow| narrow.split(|byte| *byte == b'/').any(is_dots))
        || path.iter().any(|byte| matches!(byte, b'\\' | 0x01..=0x1F | 0x7F | 0xC0 | 0xC1))
        || path.windows(2).any(|pair| matches!(pair, [0xE0, 0x80..=0x9F] | [0xF0, 0x80..=0x8F]))
}

/// The path as a server reads it that takes letters for those they look like (Unicode NFKC, or a code page's best fit):
/// dots and slashes of another width. `None` where it has none of them.
fn narrow(path: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(path).ok().filter(|text| text.contains(WIDE))?;
    let alike = |letter: char| match letter {
        '\u{ff0e}' | '\u{2024}' => ".",
        '\u{2025}' => "..",
        _ => "/",
    };
    let mut buffer = [0; 4];
    let letters = text.chars().flat_map(|letter| {
        let same = letter.encode_utf8(&mut buffer).as_bytes().to_vec();
        if WIDE.contains(&letter) { alike(letter).as_bytes().to_vec() } else { same }
    });
    Some(letters.collect())
}

/// Full stop and leaders of one and two dots; solidus, reverse solidus, division slash and fraction slash.
const WIDE: [char; 7] = ['\u{ff0e}', '\u{2024}', '\u{2025}', '\u{ff0f}', '\u{ff3c}', '\u{2215}', '\u{2044}'];

/// Decodes percent signs; in a `strict` reading each must be followed by two digits (RFC 3986 section 2.1).
fn decoded(path: &[u8], strict: bool) -> Result<Vec<u8>, Ambiguous> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%').then(|| hex(after)).flatten();
        match code {
            Some(0) => return Err(Ambiguous),
            Some(b'/') => out.push(DATA_SLASH),
            Some(byte) => out.push(byte),
            None if *first == b'%' && strict => return Err(Ambiguous),
            None => out.push(*first),
        }
        rest = if code.is_some() { &after[2..] } else { after };
    }
    Ok(out)
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits = digits.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Codes within codes within codes: nobody who means well goes deeper, and each round costs the whole path.
const DEEPEST: usize = 4;

fn decoded_to_the_end(path: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    let mut read = path.to_vec();
    for _ in 0..DEEPEST {
        let again = decoded(&read, false)?;
        if again == read {
            return Ok(read);
        }
        read = again;
    }
    Err(Ambiguous)
}

fn with_slashes(path: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    Ok(path.iter().map(|byte| if *byte == DATA_SLASH { b'/' } else { *byte }).collect())
}

fn without_parameters(path: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    let mut within = false;
    let keep = |byte: &&u8| {
        within = **byte == b';' || within && **byte != b'/';
        !within
    };
    Ok(path.iter().filter(keep).copied().collect())
}

fn with_single_slashes(path: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    let mut read = path.to_vec();
    read.dedup_by(|a, b| *a == b'/' && *b == b'/');
    Ok(read)
}

fn cut(path: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    let end = memchr::memchr2(b'?', b'#', path).unwrap_or(path.len());
    Ok(path[..end].to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(path: &str) -> Vec<String> {
        let readings = readings(path).unwrap();
        readings.iter().map(|reading| String::from_utf8_lossy(&reading.path).replace('\0', "%2F")).collect()
    }

    #[test]
    fn a_plain_path_has_one_reading() {
        for path in ["/", "/a/b", "/.well-known/x", "/a.b/.c/...", "/a:b@c,d=e", "/a\u{ff0e}b\u{ff0f}c"] {
            assert_eq!(read(path), [path]);
        }
        assert_eq!(read("/caf%C3%A9/%61"), ["/café/a"]);
    }

    #[test]
    fn lesson_14_whatever_somebody_could_take_it_for_is_looked_at() {
        assert_eq!(read("/a%2fb"), ["/a%2Fb", "/a/b"]);
        assert_eq!(read("/a;x=/b"), ["/a;x=/b", "/a/b"]);
        assert_eq!(read("//a///b"), ["//a///b", "/a/b"]);
        assert_eq!(read("/a%2561"), ["/a%61", "/aa"]);
        assert_eq!(read("/a%252561"), ["/a%2561", "/aa"]);
        assert_eq!(read("/a%252fb"), ["/a%2fb", "/a%2Fb", "/a/b"]);
        assert_eq!(read("/a%23/b"), ["/a#/b", "/a"]);
        assert_eq!(read("/a%3F/b"), ["/a?/b", "/a"]);
        assert!(read("/x%2f;y%2f/z").contains(&"/x/z".to_owned()));
    }

    #[test]
    fn lesson_14_what_could_be_dots_is_refused() {
        for path in [
            "/a/%252e%252e/b",
            "/a/..%2fb",
            "/a/.;x/b",
            "/a/%2e%2e%2fb",
            "/a/..%23",
            "/a%255cb",
            "/a/%c0%ae%c0%ae/b",
            "/a%c0%afb",
            "/a%zz",
            "/a%",
            "/a%2",
            "/%u002e",
            "/a/%ef%bc%8e%ef%bc%8e/b",
            "/a/..%ef%bc%8fb",
            "/a/%e2%80%a5%ef%bc%bcb",
            "/a%2500",
            "/a/..%20/b",
            "/a/..%09/b",
            "/a%0a",
            "/a%7f",
            "/x/%e0%80%ae%e0%80%ae/b",
            "/%f0%80%80%afb",
        ] {
            assert_eq!(readings(path), Err(Ambiguous), "{path}");
        }
    }

    #[test]
    fn codes_within_codes_end_soon() {
        assert_eq!(read("/%25252561"), ["/%252561", "/a"]);
        assert_eq!(readings(&format!("/%{}61", "25".repeat(8_000))), Err(Ambiguous));
    }

    proptest! {
        #[test]
        fn no_path_panics_and_readings_are_bounded(path in "/[ -~]{0,60}") {
            if let Ok(readings) = readings(&path) {
                prop_assert!(!readings.is_empty() && readings.len() <= 64);
            }
        }

        #[test]
        fn what_looks_plain_has_one_reading(path in "/[ -~]{0,30}") {
            if is_plain_text(&path) && !path.contains('?') {
                prop_assert_eq!(read(&path), [path]);
            }
        }

        #[test]
        fn encoding_a_letter_changes_nothing(path in "/[a-z/]{0,20}", at in 1usize..20) {
            prop_assume!(at < path.len() && path.as_bytes()[at] != b'/');
            let encoded = format!("{}%{:02X}{}", &path[..at], path.as_bytes()[at], &path[at + 1..]);
            let (plain, encoded) = (readings(&path).unwrap(), readings(&encoded).unwrap());
            prop_assert_eq!(&plain[0], &encoded[0]);
        }
    }
}
