//! What the upstream is told of the way a request came: `X-Forwarded-For`, `-Proto`, `-Host` and `Via`.

use std::fmt::Write as _;
use std::net::IpAddr;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Version};

use super::client_address::X_FORWARDED_FOR;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The chain as a field value, the client first.
pub fn chain_field(chain: &[IpAddr]) -> HeaderValue {
    let mut text = String::new();
    for address in chain {
        let separator = if text.is_empty() { "" } else { ", " };
        write!(text, "{separator}{address}").expect("writing to a String cannot fail");
    }
    HeaderValue::try_from(text).expect("addresses are made of visible characters")
}

/// Sets them. The fields a client sent under these names are gone before (see [`super::identity`]).
pub fn set(
    headers: &mut HeaderMap,
    chain: HeaderValue,
    scheme: &'static str,
    authority: HeaderValue,
    from: Version,
) {
    headers.insert(X_FORWARDED_FOR, chain);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.insert(X_FORWARDED_HOST, authority);
    headers.append(header::VIA, via(from));
}

/// The same in one field (RFC 7239): the client's part says what people typed. The field a client sent is gone before.
pub fn set_forwarded(headers: &mut HeaderMap, chain: &HeaderValue, scheme: &str, authority: &HeaderValue) {
    let (chain, authority) = (chain.to_str().unwrap_or_default(), authority.to_str().unwrap_or_default());
    let mut text = String::new();
    for address in chain.split(", ") {
        // An IPv6 address stands in brackets and is quoted (RFC 7239 section 6).
        let node = if address.contains(':') { format!("\"[{address}]\"") } else { address.to_owned() };
        if text.is_empty() {
            write!(text, "for={node};host=\"{authority}\";proto={scheme}")
        } else {
            write!(text, ", for={node}")
        }
        .expect("writing to a String cannot fail");
    }
    // Hosts and addresses are visible characters without quotes.
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(header::FORWARDED, value);
    }
}

/// By which version the request came to us, and our name (RFC 9110 section 7.6.3).
fn via(from: Version) -> HeaderValue {
    const BY_1_0: HeaderValue = HeaderValue::from_static("1.0 vestibule");
    const BY_1_1: HeaderValue = HeaderValue::from_static("1.1 vestibule");
    const BY_2: HeaderValue = HeaderValue::from_static("2.0 vestibule");
    match from {
        Version::HTTP_2 => BY_2,
        Version::HTTP_10 => BY_1_0,
        _ => BY_1_1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_says_the_same_in_one_field() {
        let mut headers = HeaderMap::new();
        let chain = chain_field(&["2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap()]);
        set_forwarded(&mut headers, &chain, "https", &HeaderValue::from_static("wiki.example.com:8443"));
        assert_eq!(
            headers[header::FORWARDED],
            "for=\"[2001:db8::1]\";host=\"wiki.example.com:8443\";proto=https, for=192.0.2.1"
        );
    }

    #[test]
    fn the_upstream_is_told_how_the_request_came() {
        let mut headers = HeaderMap::new();
        headers.insert(header::VIA, HeaderValue::from_static("1.1 outer"));
        let chain = chain_field(&["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        set(&mut headers, chain, "https", HeaderValue::from_static("wiki.example.com"), Version::HTTP_2);
        assert_eq!(headers[&X_FORWARDED_FOR], "192.0.2.1, 2001:db8::1");
        assert_eq!(headers[&X_FORWARDED_PROTO], "https");
        assert_eq!(headers[&X_FORWARDED_HOST], "wiki.example.com");
        assert_eq!(headers.get_all(header::VIA).iter().collect::<Vec<_>>(), ["1.1 outer", "2.0 vestibule"]);
    }
}
