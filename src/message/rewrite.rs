//! For applications that write their own address into what they answer: it becomes the address people typed. Fields
//! only; bodies are never looked at.

use std::str::FromStr;

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

/// The address people typed.
#[derive(Clone, Copy, Debug)]
pub struct Typed<'r> {
    /// `http` or `https`.
    pub scheme: &'r str,
    /// Host and port.
    pub authority: &'r str,
}

/// An address an application has for itself: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    /// Lower case, with its port.
    authority: String,
}

/// The text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an address of an application; write scheme, host and port only, like \"http://wiki.internal:8080\""
)]
pub struct NotAnOrigin;

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let (scheme, rest) = text.split_once("://").ok_or(NotAnOrigin)?;
        let (authority, path) = split(rest);
        let host = super::authority::host(authority).map_err(|_| NotAnOrigin)?;
        let is_http = matches!(scheme, "http" | "https");
        if !is_http || host.is_empty() || !matches!(path, "" | "/") {
            return Err(NotAnOrigin);
        }
        Ok(Self { scheme: scheme.to_owned(), authority: with_port(authority, scheme) })
    }
}

impl Origin {
    fn is(&self, scheme: Option<&str>, authority: &str) -> bool {
        let same_scheme = scheme.is_none_or(|scheme| scheme.eq_ignore_ascii_case(&self.scheme));
        same_scheme && with_port(authority, &self.scheme) == self.authority
    }
}

/// What comes before the path, and the rest. Browsers read a backslash as a slash (URL Standard, "special scheme").
fn split(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()))
}

fn with_port(authority: &str, scheme: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    match scheme {
        _ if has_port => authority,
        "https" => format!("{authority}:443"),
        _ => format!("{authority}:80"),
    }
}

const REFRESH: HeaderName = HeaderName::from_static("refresh");

/// In `Location`, `Content-Location` and `Refresh` an address that is exactly one of `own` becomes the one people
/// typed; what follows it stays to the letter.
pub fn locations(headers: &mut HeaderMap, own: &[Origin], typed: Typed<'_>) {
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        change(headers, &name, |text| location(text, own, typed));
    }
    change(headers, &REFRESH, |text| {
        let at = text.to_ascii_lowercase().find("url=")? + 4;
        let quotes = text[at..].len() - text[at..].trim_start_matches(['"', '\'', ' ']).len();
        let (before, rest) = text.split_at(at + quotes);
        let (url, after) = rest.split_at(rest.find(['"', '\'']).unwrap_or(rest.len()));
        Some(format!("{before}{}{after}", location(url, own, typed)?))
    });
}

fn location(text: &str, own: &[Origin], typed: Typed<'_>) -> Option<String> {
    let (scheme, rest) = match text.strip_prefix("//") {
        Some(rest) => (None, rest),
        None => text.split_once("://").map(|(scheme, rest)| (Some(scheme), rest))?,
    };
    let (authority, path) = split(rest);
    own.iter().any(|own| own.is(scheme, authority)).then(|| {
        let scheme = scheme.map_or_else(String::new, |_| format!("{}:", typed.scheme));
        format!("{scheme}//{}{path}", typed.authority)
    })
}

fn change(headers: &mut HeaderMap, name: &HeaderName, changed: impl Fn(&str) -> Option<String>) {
    let header::Entry::Occupied(mut entry) = headers.entry(name) else { return };
    for value in entry.iter_mut() {
        let new = value.to_str().ok().and_then(&changed).and_then(|text| HeaderValue::try_from(text).ok());
        if let Some(new) = new {
            *value = new;
        }
    }
}

/// Each cookie belongs to the host people typed and no other: `Domain` is taken off, and `Secure` put on where they come
/// by https.
pub fn cookies(headers: &mut HeaderMap, secure: bool) {
    change(headers, &header::SET_COOKIE, |text| {
        let mut parts = text.split(';');
        let mut kept = vec![parts.next()?];
        kept.extend(parts.filter(|part| !is_attribute(part, "domain")));
        let has_secure = kept.iter().skip(1).any(|part| is_attribute(part, "secure"));
        if secure && !has_secure {
            kept.push(" Secure");
        }
        Some(kept.join(";"))
    });
}

fn is_attribute(part: &str, name: &str) -> bool {
    part.split('=').next().unwrap_or_default().trim().eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPED: Typed<'_> = Typed { scheme: "https", authority: "wiki.example.com" };

    fn own() -> Vec<Origin> {
        ["http://wiki.internal:8080", "http://127.0.0.1"].map(|text| text.parse().unwrap()).to_vec()
    }

    fn field(name: HeaderName, text: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(&name, text.parse().unwrap());
        locations(&mut headers, &own(), TYPED);
        headers[&name].to_str().unwrap().to_owned()
    }

    #[test]
    fn an_address_of_the_application_becomes_the_one_people_typed() {
        for (sent, expected) in [
            ("http://wiki.internal:8080/a%2Fb?c=d#e", "https://wiki.example.com/a%2Fb?c=d#e"),
            ("HTTP://Wiki.Internal:8080", "https://wiki.example.com"),
            ("http://wiki.internal:8080?x", "https://wiki.example.com?x"),
            ("http://127.0.0.1/x", "https://wiki.example.com/x"),
            ("http://127.0.0.1:80/x", "https://wiki.example.com/x"),
            ("//wiki.internal:8080/x", "//wiki.example.com/x"),
        ] {
            assert_eq!(field(header::LOCATION, sent), expected);
            assert_eq!(field(header::CONTENT_LOCATION, sent), expected);
            assert_eq!(field(REFRESH, &format!("5; url={sent}")), format!("5; url={expected}"));
            assert_eq!(field(REFRESH, &format!("0;URL='{sent}'")), format!("0;URL='{expected}'"));
        }
    }

    #[test]
    fn lesson_9_every_other_address_stays_what_it_is() {
        for text in [
            "/x",
            "x",
            "",
            "?http://127.0.0.1/",
            "https://wiki.internal:8080/x",
            "http://wiki.internal/x",
            "http://wiki.internal:8080.evil.test/x",
            "http://wiki.internal:8080@evil.test/x",
            "http://evil.test/http://127.0.0.1/",
            "http://127.0.0.1.evil.test/",
            "http://user@127.0.0.1/x",
            "http://127.0.0.1'evil.test",
            "http://127.0.0.1 evil.test",
        ] {
            assert_eq!(field(header::LOCATION, text), text);
        }
        assert_eq!(field(REFRESH, "5"), "5");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for text in
            ["", "wiki", "ftp://wiki", "http://", "http://a/b", "http://a?b", "http://u@a", "http://a:x"]
        {
            assert_eq!(text.parse::<Origin>(), Err(NotAnOrigin), "{text}");
        }
        assert_eq!("http://A/".parse::<Origin>(), "http://a:80".parse());
        assert_eq!("https://[::1]".parse::<Origin>(), "https://[::1]:443".parse());
    }

    #[test]
    fn cookies_belong_to_the_host_people_typed() {
        let changed = |text: &str, secure| {
            let mut headers = HeaderMap::new();
            headers.append(header::SET_COOKIE, HeaderValue::from_static("first=1"));
            headers.append(header::SET_COOKIE, text.parse().unwrap());
            cookies(&mut headers, secure);
            let mut all = headers.get_all(header::SET_COOKIE).iter();
            all.next_back().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(changed("a=b; Domain=wiki.internal; Path=/x", true), "a=b; Path=/x; Secure");
        assert_eq!(changed("domain=secure;DOMAIN = x;secure", true), "domain=secure;secure");
        assert_eq!(changed("a=\"Domain=x\"; HttpOnly", false), "a=\"Domain=x\"; HttpOnly");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_the_rest_is_kept(text in "\\PC{0,40}", path in "[/?#][ -~]{0,30}") {
            let _ = location(&text, &own(), TYPED);
            let moved = location(&format!("http://127.0.0.1{path}"), &own(), TYPED);
            prop_assert_eq!(moved, Some(format!("https://wiki.example.com{path}")));
        }
    }
}
