//! How the body of a request is framed: by a length or in chunks, and in no other way.

use hyper::HeaderMap;
use hyper::header::TRANSFER_ENCODING;

/// Whether the body is sent in chunks and nothing else, if it names a transfer coding at all. hyper refuses a coding
/// that does not end in chunks, but takes only the chunks off one that has more: the rest would go on to the upstream
/// with nothing said about it (RFC 9112 section 6.1).
pub fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn chunks_once_and_nothing_else() {
        let plain = |codings: &[&'static str]| {
            let fields = codings.iter().map(|coding| (TRANSFER_ENCODING, HeaderValue::from_static(coding)));
            is_plain(&fields.collect())
        };
        for codings in [&[][..], &["chunked"], &["Chunked"]] {
            assert!(plain(codings), "{codings:?}");
        }
        for codings in [
            &["gzip, chunked"][..],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["identity"],
            &[""],
            &["x", "chunked"],
        ] {
            assert!(!plain(codings), "{codings:?}");
        }
    }
}
