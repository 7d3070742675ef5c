//! How a request is framed: its body by a length or in chunks and in no other way; in HTTP/2, what its parser lets pass
//! and HTTP/1.1 has no words for.

use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::http::uri::Scheme;
use hyper::{HeaderMap, Request, Version};

/// Whether a request can be sent on in HTTP/1.1 and means the same there.
pub fn is_plain<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    match request.version() {
        Version::HTTP_2 => {
            let scheme = request.uri().scheme();
            // RFC 9113 sections 8.2.1 and 8.3.1.
            let is_web = scheme.is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
            is_web && names_are_tokens(headers) && has_one_length(headers)
        }
        // A second length does not get here: see screen.
        _ => is_chunked_at_most(headers),
    }
}

/// Whether the body is sent in chunks and nothing else, if it names a transfer coding at all. hyper refuses a coding
/// that does not end in chunks, but takes only the chunks off one that has more: the rest would go on to the upstream
/// with nothing said about it (RFC 9112 section 6.1).
fn is_chunked_at_most(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && codings.next().is_none()
}

fn has_one_length(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_LENGTH).iter().nth(1).is_none()
}

/// A quotation mark is the one byte that a name may hold as the library has it and not as HTTP has it (RFC 9110
/// section 5.1).
fn names_are_tokens(headers: &HeaderMap) -> bool {
    headers.keys().all(|name| !name.as_str().as_bytes().contains(&b'"'))
}

/// Whether an answer says once, or not at all, where its body ends. One that is read in chunks by us and by its length by
/// somebody else, or has a coding that is not passed on, is no answer (RFC 9112 section 6.3).
pub fn is_plain_answer(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return is_chunked_at_most(headers) };
    let once = lengths.next().is_none() && length.as_bytes().iter().all(u8::is_ascii_digit);
    once && !headers.contains_key(TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn is_plain_with(version: Version, uri: &str, fields: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().version(version).uri(uri).body(()).unwrap();
        for (name, value) in fields {
            // As HTTP/2 reads them.
            let name = HeaderName::from_lowercase(name.as_bytes()).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        is_plain(&request)
    }

    #[test]
    fn chunks_once_and_nothing_else() {
        let plain = |codings: &[&'static str]| {
            let fields: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            is_plain_with(Version::HTTP_11, "/", &fields)
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

    #[test]
    fn http2_says_nothing_that_http1_cannot() {
        let plain = |uri, fields| is_plain_with(Version::HTTP_2, uri, fields);
        assert!(plain("https://x/", &[("content-length", "5"), ("x-a!#$%&'*+.^_`|~0", "")]));
        assert!(plain("http://x/", &[]));
        assert!(!plain("/", &[]));
        assert!(!plain("ftp://x/", &[]));
        assert!(!plain("https://x/", &[("content-length", "5"), ("content-length", "5")]));
        assert!(!plain("https://x/", &[("\"x\"", "1")]));
    }

    #[test]
    fn an_answer_says_once_where_it_ends() {
        let plain = |fields: &[(&str, &str)]| {
            let field =
                |(name, value): &(&str, &str)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap());
            is_plain_answer(&fields.iter().map(field).collect())
        };
        let (length, coding) = ("content-length", "transfer-encoding");
        assert!(plain(&[]) && plain(&[(length, "5")]) && plain(&[(coding, "chunked")]));
        for fields in [
            &[(length, "5"), (length, "5")][..],
            &[(length, "5"), (length, "6")],
            &[(length, "5, 5")],
            &[(length, "+5")],
            &[(length, "5"), (coding, "chunked")],
            &[(coding, "gzip, chunked")],
            &[(coding, "gzip")],
        ] {
            assert!(!plain(fields), "{fields:?}");
        }
    }
}
