//! Fields after a body. What a recipient may merge into the head says nothing there about framing, routing, identity or
//! rights (RFC 9110 section 6.5.1): it would come in behind everything that was cleaned before.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

use super::{identity, list, method_override};

/// Takes out of trailers what may not be there. `identity` are fields that carry a user's name, beside ours.
pub fn clean(trailers: &mut HeaderMap, identity: &[HeaderName]) {
    let refused: Vec<HeaderName> =
        trailers.keys().filter(|name| !is_allowed(name, identity)).cloned().collect();
    for name in &refused {
        trailers.remove(name);
    }
}

/// The trailers that a message announces, less those that may not be there (RFC 9110 section 6.6.2).
pub fn announced(headers: &HeaderMap, identity: &[HeaderName]) -> Option<HeaderValue> {
    let names = list::items(headers, &header::TRAILER).filter_map(|name| name.parse::<HeaderName>().ok());
    let names: Vec<_> = names.filter(|name| is_allowed(name, identity)).collect();
    let list = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    (!list.is_empty()).then(|| HeaderValue::try_from(list).expect("names are visible characters"))
}

/// Whether the sender of a request takes trailers in the answer (RFC 9110 section 10.1.4).
pub fn are_taken(headers: &HeaderMap) -> bool {
    list::has(headers, &header::TE, "trailers")
}

/// Asks an HTTP/1.1 upstream for trailers; the client's own field for it ended at this hop.
pub fn ask(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.append(header::CONNECTION, HeaderValue::from_static("te"));
}

fn is_allowed(name: &HeaderName, identity: &[HeaderName]) -> bool {
    !steers(name) && !identity::is_ours(name.as_str(), identity)
}

/// Whether a field frames, routes or describes a message, or carries credentials or another method: it is never one
/// that merely tells something.
pub fn steers(name: &HeaderName) -> bool {
    let known = matches!(
        name.as_str(),
        // framing and what ends at this hop
        "connection" | "content-length" | "http2-settings" | "keep-alive" | "proxy" | "proxy-connection" | "te" | "trailer"
            | "transfer-encoding" | "upgrade"
            // routing and control
            | "cache-control" | "expect" | "expires" | "host" | "location" | "max-forwards" | "origin" | "pragma" | "range"
            | "referer" | "retry-after" | "vary" | "via" | "age" | "date"
            // what the body is
            | "content-encoding" | "content-range" | "content-type" | "content-location" | "content-disposition"
            // identity and rights
            | "authorization" | "proxy-authenticate" | "proxy-authorization" | "www-authenticate" | "cookie" | "set-cookie"
            | "clear-site-data" | "content-security-policy" | "strict-transport-security"
    );
    known || method_override::is_one(name)
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

    const MINE: [HeaderName; 1] = [HeaderName::from_static("x-remote-user")];

    #[test]
    fn what_tells_of_the_body_passes_and_what_steers_does_not() {
        let mut trailers = fields(&[
            ("grpc-status", "0"),
            ("x-checksum", "abc"),
            ("server-timing", "x"),
            ("x-forwarded-user", "evil"),
            ("X_Remote_User", "evil"),
            ("x.forwarded.for", "evil"),
            ("x_http_method-override", "DELETE"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("host", "evil"),
            ("cookie", "a=b"),
            ("set-cookie", "vestibule=evil"),
            ("authorization", "evil"),
            ("connection", "close"),
        ]);
        clean(&mut trailers, &MINE);
        assert_eq!(trailers, fields(&[("grpc-status", "0"), ("x-checksum", "abc"), ("server-timing", "x")]));
    }

    #[test]
    fn announcements_are_cleaned_too() {
        let announced = |list: &str| announced(&fields(&[("trailer", list)]), &MINE);
        assert_eq!(announced("X-Sum, grpc-status").unwrap(), "x-sum, grpc-status");
        assert_eq!(announced("X-Sum, cookie, x_remote_user").unwrap(), "x-sum");
        assert_eq!(announced("content-length,,"), None);
    }

    #[test]
    fn te_is_a_list() {
        assert!(are_taken(&fields(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(are_taken(&fields(&[("te", "gzip"), ("te", "trailers")])));
        assert!(!are_taken(&fields(&[("te", "gzip, trailersx")])));
        assert!(!are_taken(&fields(&[])));
    }

    proptest! {
        #[test]
        fn lesson_7_and_12_no_spelling_of_an_identity_field_passes_in_a_trailer(
            seps in proptest::collection::vec("[-_.]", 2), remote in any::<bool>()
        ) {
            let word = if remote { "remote" } else { "forwarded" };
            let name = format!("x{}{word}{}user", seps[0], seps[1]);
            let mut trailers = fields(&[(&name, "evil")]);
            clean(&mut trailers, &MINE);
            prop_assert!(trailers.is_empty());
        }
    }
}
