//! Fields that end at each hop (RFC 9110 section 7.6.1) are taken out before ours are put in.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};

use super::list;

/// Takes them out of a request, with everything `Connection` names.
pub fn remove_from_request(headers: &mut HeaderMap) {
    remove(headers, |name| ends_here(name) || is_for_proxies(name));
}

/// Takes them out of an answer, with everything `Connection` names.
pub fn remove_from_answer(headers: &mut HeaderMap) {
    remove(headers, ends_here);
}

fn ends_here(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    )
}

/// Also not for the upstream: credentials for us as a proxy, and what CGI programs take for a proxy's address.
fn is_for_proxies(name: &str) -> bool {
    matches!(name, "proxy-authorization" | "proxy" | "http2-settings")
}

fn remove(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    // A message has few fields, and seldom one of these: looking at each costs less than asking for every name.
    while let Some(name) = headers.keys().find(|name| goes(name.as_str())).cloned() {
        if name == header::CONNECTION {
            for name in nominated(headers) {
                headers.remove(name);
            }
        }
        headers.remove(name);
    }
}

/// What `Connection` names, less what carries the message itself: nobody may talk us out of a host or a length.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let fields = headers.get_all(header::CONNECTION).iter();
    // Every other upstream says `keep-alive`, and the field of that name goes anyway.
    let fields = fields.filter(|field| *field != "keep-alive");
    list::items_of(fields)
        .filter_map(|name| name.parse().ok())
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH && *name != header::COOKIE)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn what_ends_here_goes_no_further() {
        let mut headers = fields(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "x"),
            ("proxy", "http://evil.example"),
            ("proxy-connection", "x"),
            ("accept", "*/*"),
        ]);
        remove_from_request(&mut headers);
        assert_eq!(headers, fields(&[("accept", "*/*")]));
    }

    #[test]
    fn lesson_11_connection_cannot_remove_what_carries_the_message() {
        let mut headers = fields(&[
            ("connection", "host, content-length, cookie"),
            ("host", "a"),
            ("content-length", "3"),
            ("cookie", "a=b"),
        ]);
        remove_from_request(&mut headers);
        assert_eq!(headers, fields(&[("host", "a"), ("content-length", "3"), ("cookie", "a=b")]));
    }

    proptest! {
        #[test]
        fn removing_twice_is_removing_once(value in "[ -~]{0,40}", other in "[a-z-]{1,12}") {
            let mut once = fields(&[("connection", &value), (&other, "x"), ("te", "x")]);
            remove_from_request(&mut once);
            let mut twice = once.clone();
            remove_from_request(&mut twice);
            prop_assert_eq!(once, twice);
        }
    }
}
