//! `X-Request-Id`: one name for a request, in our log, the application's and a proxy's.

use std::cell::Cell;
use std::fmt::Write as _;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// The field.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 128;

/// Makes names: where from is drawn by lot once, and each is followed by the next. They are no secrets.
#[derive(Debug)]
pub struct RequestIds {
    origin: u64,
    next: Cell<u64>,
}

impl RequestIds {
    /// Names that nobody else makes.
    pub const fn new(origin: u64) -> Self {
        Self { origin, next: Cell::new(0) }
    }

    /// The next one: 32 hexadecimal digits.
    pub fn next(&self) -> HeaderValue {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let mut text = String::with_capacity(32);
        // Writing into a string cannot fail.
        let _ = write!(text, "{:016x}{number:016x}", self.origin);
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// What a proxy before us has named the request, if it is a name.
pub fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(X_REQUEST_ID).iter();
    let name = given.next().filter(|name| is_name(name.as_bytes()))?;
    given.next().is_none().then(|| name.clone())
}

fn is_name(bytes: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=LONGEST).contains(&bytes.len()) && bytes.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_another() {
        let ids = RequestIds::new(0xab);
        assert_eq!(ids.next(), "00000000000000ab0000000000000000");
        assert_eq!(ids.next(), "00000000000000ab0000000000000001");
    }

    #[test]
    fn only_a_plain_name_that_is_given_once_is_taken() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_REQUEST_ID, HeaderValue::from_str(value).unwrap());
            }
            headers
        };
        assert_eq!(given(&headers(&["4f-2.a_B"])).unwrap(), "4f-2.a_B");
        let long = "a".repeat(LONGEST + 1);
        for wrong in [&[][..], &[""], &["a b"], &["a\"b"], &["a", "a"], &[&long]] {
            assert_eq!(given(&headers(wrong)), None, "{wrong:?}");
        }
    }
}
