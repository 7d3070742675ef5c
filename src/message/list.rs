//! Fields that are lists: `a, b` in one field, or each in a field of its own (RFC 9110 section 5.6.1).

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// The items of all fields of a name, without the white space around them. A field that is no text has none.
pub fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    items_of(headers.get_all(name).iter())
}

/// The items of these fields.
pub fn items_of<'h>(fields: impl Iterator<Item = &'h HeaderValue>) -> impl Iterator<Item = &'h str> {
    fields.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(',')).map(str::trim)
}

/// Whether one of the items is this word, in any case.
pub fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use hyper::header::{CONNECTION, HeaderValue};

    use super::*;

    #[test]
    fn one_field_or_several_are_one_list() {
        let mut headers = HeaderMap::new();
        for field in [&b"close , X-Hop,"[..], b"\xff", b"te"] {
            headers.append(CONNECTION, HeaderValue::from_bytes(field).unwrap());
        }
        assert_eq!(items(&headers, &CONNECTION).collect::<Vec<_>>(), ["close", "X-Hop", "", "te"]);
        assert!(has(&headers, &CONNECTION, "CLOSE") && !has(&headers, &CONNECTION, "x"));
    }
}
