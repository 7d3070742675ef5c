//! Who is at the other end, when trusted proxies stand between.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::HeaderName;
use ipnet::IpNet;

/// What trusted proxies append the address of their peer to.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether an address is one of the trusted proxies'.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The chain of addresses from the client to our peer: the right-most untrusted hop first. Only called when the peer
/// itself is trusted; what stands left of that hop anybody could have written, and is dropped. An entry that is no
/// address ends the chain.
pub fn chain(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Vec<IpAddr> {
    let mut chain = vec![peer];
    let fields: Vec<&str> =
        headers.get_all(X_FORWARDED_FOR).iter().map(|field| field.to_str().unwrap_or("?")).collect();
    for entry in fields.iter().rev().flat_map(|field| field.rsplit(',')) {
        let Some(address) = parse(entry.trim()) else { break };
        chain.push(address);
        if !is_trusted(address, trusted) {
            break;
        }
    }
    chain.reverse();
    chain
}

/// The client, when its address decides on access: the field must be there once, and be addresses as far as it is
/// believed. The peer itself is a trusted proxy.
pub fn client(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut fields = headers.get_all(X_FORWARDED_FOR).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let mut client = None;
    for entry in field.to_str().ok()?.rsplit(',') {
        let address = parse(entry.trim())?;
        client = Some(address);
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client
}

/// An address, alone, with a port, or in brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    bare().or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(fields: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(X_FORWARDED_FOR, field.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        chain(&headers, "10.0.0.1".parse().unwrap(), &trusted)[0].to_string()
    }

    #[test]
    fn lesson_28_the_right_most_untrusted_hop_is_the_client() {
        assert_eq!(client(&["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client(&["6.6.6.6, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(client(&["6.6.6.6, 192.0.2.1, 10.0.0.2"]), "192.0.2.1");
        assert_eq!(client(&["6.6.6.6", "192.0.2.1,10.0.0.2"]), "192.0.2.1");
        assert_eq!(client(&["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client(&["::ffff:192.0.2.1"]), "192.0.2.1");
    }

    #[test]
    fn lesson_27_what_is_no_address_is_nobody() {
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(client(&["a"]), "10.0.0.1");
        assert_eq!(client(&["192.0.2.1, a"]), "10.0.0.1");
        assert_eq!(client(&["192.0.2.1, , 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn lesson_27_and_28_where_an_address_decides_it_must_be_read_whole() {
        let client = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(X_FORWARDED_FOR, field.parse().unwrap());
            }
            super::client(&headers, &["10.0.0.0/8".parse().unwrap()]).map(|address| address.to_string())
        };
        assert_eq!(client(&["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["6.6.6.6, 192.0.2.1, 10.0.0.2"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["anything, 192.0.2.1"]).as_deref(), Some("192.0.2.1"), "what anybody may write");
        assert_eq!(client(&["10.0.0.2"]).as_deref(), Some("10.0.0.2"));
        for fields in [
            &[][..],
            &[""],
            &["a"],
            &["192.0.2.1, a"],
            &["a, 10.0.0.2"],
            &["192.0.2.1, "],
            &["192.0.2.1", "192.0.2.1"],
        ] {
            assert_eq!(client(fields), None, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn no_field_panics_and_the_peer_is_last(text in "[ -~]{0,60}") {
            let mut headers = HeaderMap::new();
            headers.append(X_FORWARDED_FOR, text.parse().unwrap());
            let peer = "10.0.0.1".parse().unwrap();
            let chain = chain(&headers, peer, &["10.0.0.0/8".parse().unwrap()]);
            prop_assert_eq!(chain.last(), Some(&peer));
        }
    }
}
