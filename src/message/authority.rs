//! The host a request is for, read once, in one spelling.

use std::borrow::Cow;

use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri};

/// The request names no host, or more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request does not name one host")]
pub struct NoHost;

/// The authority of a request, as the client wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Written<'r> {
    /// For [`host`] to read.
    pub text: &'r str,
    /// `Host`, where it is there.
    field: Option<&'r HeaderValue>,
}

impl Written<'_> {
    /// The same as a field: `Host` itself where there is one, since cloning it copies nothing.
    pub fn field(&self) -> Result<HeaderValue, NoHost> {
        match self.field {
            Some(field) => Ok(field.clone()),
            None => HeaderValue::from_str(self.text).map_err(|_| NoHost),
        }
    }
}

/// The authority as the client wrote it: from the target where it has one, and then `Host`, if there, must agree
/// (RFC 9112 section 3.2.2, RFC 9113 section 8.3.1).
pub fn authority<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Result<Written<'r>, NoHost> {
    let mut hosts = headers.get_all(HOST).iter();
    let field = hosts.next();
    if hosts.next().is_some() {
        return Err(NoHost);
    }
    let of_field = field.map(|host| host.to_str().map_err(|_| NoHost)).transpose()?;
    let target = uri.authority().map(Authority::as_str);
    match (target, of_field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => Err(NoHost),
        (Some(text), _) | (None, Some(text)) => Ok(Written { text, field }),
        (None, None) => Err(NoHost),
    }
}

/// The host of an authority: lower case, without port and trailing dot.
pub fn host(authority: &str) -> Result<Cow<'_, str>, NoHost> {
    let host = split(authority)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

fn split(authority: &str) -> Result<&str, NoHost> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let of_an_address = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
            let end = rest.bytes().position(|b| !of_an_address(b)).ok_or(NoHost)?;
            if rest.as_bytes()[end] != b']' {
                return Err(NoHost);
            }
            authority.split_at(end + 2)
        }
        None => {
            let end = authority.bytes().position(|b| !OF_A_NAME[usize::from(b)]);
            authority.split_at_checked(end.unwrap_or(authority.len())).ok_or(NoHost)?
        }
    };
    let port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    if !host.is_empty() && port { Ok(host) } else { Err(NoHost) }
}

fn is_port(text: &str) -> bool {
    // The library takes a sign, too.
    text.starts_with(|c: char| c.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Which bytes a name is made of.
const OF_A_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use hyper::Request;
    use proptest::prelude::*;

    use super::*;

    fn read(target: &str, hosts: &[&str]) -> Result<String, NoHost> {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        authority(&head.uri, &head.headers).and_then(|written| host(written.text)).map(Cow::into_owned)
    }

    #[test]
    fn lesson_17_one_host_in_one_spelling() {
        for written in [
            "wiki.example.com",
            "WIKI.Example.com",
            "wiki.example.com:8443",
            "wiki.example.com.",
            "wiki.example.com.:443",
        ] {
            assert_eq!(read("/", &[written]).as_deref(), Ok("wiki.example.com"), "{written}");
        }
        assert_eq!(read("/", &["[::1]:8080"]).as_deref(), Ok("[::1]"));
        assert_eq!(
            read("http://wiki.example.com/x", &["wiki.example.com"]).as_deref(),
            Ok("wiki.example.com")
        );
        assert_eq!(read("http://wiki.example.com/x", &[]).as_deref(), Ok("wiki.example.com"));
    }

    #[test]
    fn no_host_two_hosts_and_strange_hosts_are_refused() {
        let cases: [&[&str]; 13] = [
            &[],
            &[""],
            &["a", "b"],
            &["a", "a"],
            &["u@h"],
            &["h/x"],
            &["h:x"],
            &["h:"],
            &["a b"],
            &["[::1"],
            &["h:99999"],
            &["h:+80"],
            &["a,b"],
        ];
        for hosts in cases {
            assert_eq!(read("/", hosts), Err(NoHost), "{hosts:?}");
        }
        assert_eq!(read("http://one.example/", &["two.example"]), Err(NoHost));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            if let Ok(host) = host(&text) {
                prop_assert!(!host.contains(['/', '@', ' ']));
            }
        }
    }
}
