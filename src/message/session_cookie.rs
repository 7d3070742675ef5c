//! Our two cookies: found by scanning bytes, set with every attribute that protects them, and never shown to the
//! upstream nor set by it.

use std::time::Duration;

use cookie::{Cookie, SameSite};
use hyper::HeaderMap;
use hyper::header::{COOKIE, Entry, HeaderValue, SET_COOKIE};

/// The names of our cookies on one gateway.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Carries the session token.
    pub session: &'static str,
    /// Carries the id of a challenge under way.
    pub challenge: &'static str,
    secure: bool,
}

impl Names {
    /// With `__Host-` (RFC 6265bis section 4.1.3.2) wherever people come by https.
    pub const fn new(secure: bool) -> Self {
        if secure {
            Self { session: "__Host-vestibule", challenge: "__Host-vestibule-challenge", secure }
        } else {
            Self { session: "vestibule", challenge: "vestibule-challenge", secure }
        }
    }

    /// Whether people come by https.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The value of one of them. Two of the same name are none: one of them was planted.
    pub fn find<'h>(&self, name: &str, headers: &'h HeaderMap) -> Option<&'h [u8]> {
        let mut values =
            pairs(headers).filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// Takes ours out of what goes to the upstream and leaves the others as they are, byte for byte.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let Entry::Occupied(entry) = headers.entry(COOKIE) else { return };
        let several = entry.iter().nth(1).is_some();
        let (mut ours, mut others) = (0, 0);
        for pair in entry.iter().flat_map(|field| split(field.as_bytes())) {
            if self.is_ours(pair) { ours += 1 } else { others += 1 }
        }
        if others == 0 {
            entry.remove_entry_mult();
            return;
        }
        if ours == 0 && !several {
            return;
        }
        let mut kept: Vec<u8> = Vec::new();
        for field in entry.iter() {
            for pair in split(field.as_bytes()).filter(|pair| !self.is_ours(pair)) {
                // HTTP/2 may split the field; HTTP/1.1 has it whole (RFC 9113 section 8.2.3).
                if !kept.is_empty() {
                    kept.extend_from_slice(if pair.starts_with(b" ") { b";" } else { b"; " });
                }
                kept.extend_from_slice(if kept.is_empty() { pair.trim_ascii_start() } else { pair });
            }
        }
        entry.remove_entry_mult();
        if let Some(rest) = HeaderValue::from_bytes(&kept).ok().filter(|rest| !rest.is_empty()) {
            headers.insert(COOKIE, rest);
        }
    }

    fn is_ours(&self, pair: &[u8]) -> bool {
        // Browsers send a cookie without a name, `=a=b`, back as `a=b`.
        let pair = pair.trim_ascii_start();
        let pair = pair.strip_prefix(b"=").unwrap_or(pair);
        let name = pair[..memchr::memchr(b'=', pair).unwrap_or(pair.len())].trim_ascii();
        name == self.session.as_bytes()
            || name.eq_ignore_ascii_case(self.session.as_bytes())
            || name.eq_ignore_ascii_case(self.challenge.as_bytes())
    }

    /// Drops what an upstream tried to set under our names.
    pub fn guard_answer(&self, headers: &mut HeaderMap) {
        if !headers.get_all(SET_COOKIE).iter().any(|field| self.is_ours(field.as_bytes())) {
            return;
        }
        let kept: Vec<_> =
            headers.get_all(SET_COOKIE).iter().filter(|f| !self.is_ours(f.as_bytes())).cloned().collect();
        headers.remove(SET_COOKIE);
        for field in kept {
            headers.append(SET_COOKIE, field);
        }
    }

    /// Sets one of them for so long.
    pub fn set(&self, name: &'static str, value: String, lives: Duration) -> HeaderValue {
        let seconds = i64::try_from(lives.as_secs()).unwrap_or(i64::MAX);
        self.field(Cookie::build((name, value)).max_age(cookie::time::Duration::seconds(seconds)))
    }

    /// Takes one of them away.
    pub fn clear(&self, name: &'static str) -> HeaderValue {
        self.field(Cookie::build((name, "")).max_age(cookie::time::Duration::ZERO))
    }

    fn field(&self, cookie: cookie::CookieBuilder<'_>) -> HeaderValue {
        let cookie = cookie.path("/").http_only(true).same_site(SameSite::Lax).secure(self.secure).build();
        HeaderValue::try_from(cookie.to_string()).expect("names and base64url values are visible characters")
    }
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(COOKIE).iter();
    fields.flat_map(|field| split(field.as_bytes())).map(<[u8]>::trim_ascii)
}

/// What stands between the semicolons, blanks and all. A token is some hundred bytes long: they are not looked at one
/// by one.
fn split(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr::memchr_iter(b';', field).chain(std::iter::once(field.len()));
    ends.scan(0, |start, end| {
        let pair = &field[*start..end];
        *start = end + 1;
        Some(pair)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: Names = Names::new(true);

    fn with(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        headers
    }

    fn stripped(fields: &[&str]) -> Option<String> {
        let mut headers = with(fields);
        NAMES.strip(&mut headers);
        assert!(headers.get_all(COOKIE).iter().count() <= 1);
        headers.get(COOKIE).map(|field| String::from_utf8(field.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn the_token_is_found_among_others() {
        let find = |fields: &[&str]| NAMES.find(NAMES.session, &with(fields)).map(<[u8]>::to_vec);
        assert_eq!(find(&["a=b; __Host-vestibule=x.y.z; c=d"]).as_deref(), Some(b"x.y.z".as_slice()));
        assert_eq!(find(&["a=b", "__Host-vestibule=x"]).as_deref(), Some(b"x".as_slice()));
        for fields in [
            ["a=b"],
            ["__host-vestibule=x"],
            ["x__Host-vestibule=x"],
            ["vestibule=x"],
            ["__Host-vestibule"],
            [""],
        ] {
            assert_eq!(find(&fields), None, "{fields:?}");
        }
    }

    #[test]
    fn two_session_cookies_are_none() {
        assert_eq!(NAMES.find(NAMES.session, &with(&["__Host-vestibule=a; __Host-vestibule=b"])), None);
        assert_eq!(NAMES.find(NAMES.session, &with(&["__Host-vestibule=a", "__Host-vestibule=a"])), None);
    }

    #[test]
    fn wish_15_ours_goes_no_further_and_the_others_are_kept() {
        assert_eq!(stripped(&["a=b; __Host-vestibule=x; c=\"d e\"=f"]).as_deref(), Some("a=b; c=\"d e\"=f"));
        assert_eq!(stripped(&["__Host-vestibule=x; a=b"]).as_deref(), Some("a=b"));
        assert_eq!(stripped(&["__Host-vestibule=x"]), None);
        assert_eq!(stripped(&["__host-VESTIBULE =x;__Host-vestibule-challenge=y"]), None);
        assert_eq!(stripped(&["a=b;c=d;  e=f"]).as_deref(), Some("a=b;c=d;  e=f"));
        assert_eq!(stripped(&["a=b", "c=d", "__Host-vestibule=x"]).as_deref(), Some("a=b; c=d"));
    }

    #[test]
    fn an_upstream_may_not_set_ours() {
        let mut headers = HeaderMap::new();
        for field in [
            "a=b",
            "__Host-vestibule=evil; Path=/",
            "=__Host-vestibule=evil",
            "__HOST-vestibule-challenge=evil",
            "c=d",
        ] {
            headers.append(SET_COOKIE, HeaderValue::from_static(field));
        }
        NAMES.guard_answer(&mut headers);
        assert_eq!(headers.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["a=b", "c=d"]);
    }

    #[test]
    fn set_with_every_protection() {
        let field = NAMES.set(NAMES.session, "x".to_owned(), Duration::from_secs(60));
        assert_eq!(field, "__Host-vestibule=x; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        let plain = Names::new(false);
        assert_eq!(plain.clear(plain.session), "vestibule=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_ours_never_passes(field in proptest::collection::vec(32u8..=255, 0..80)) {
            let mut headers = HeaderMap::new();
            let Ok(value) = HeaderValue::from_bytes(&[&field[..], b"; __Host-vestibule=secret"].concat()) else { return Ok(()) };
            headers.insert(COOKIE, value);
            NAMES.strip(&mut headers);
            let rest = headers.get(COOKIE).map(|f| f.as_bytes().to_vec()).unwrap_or_default();
            prop_assert!(!rest.windows(6).any(|at| at == b"secret"));
        }
    }
}
