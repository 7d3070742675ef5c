//! Identity fields: whatever a client sent under such a name, in any spelling, is gone before ours is set.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// Who the request is by.
pub const X_FORWARDED_USER: HeaderName = HeaderName::from_static("x-forwarded-user");

/// Removes, then sets, the user under `X-Forwarded-User` and `more` names; nobody's request has no such field.
/// Everything `X-Forwarded-*`, `Forwarded` and `X-Real-IP` goes too: what of it is true is set anew by
/// [`super::forwarded`]. So do `X-Original-URL` and `X-Rewrite-URL`: some applications take them for the path, which no
/// rule has seen. And so does `X-Request-Id`, which is set anew where the request has a name that we know it by.
pub fn replace(headers: &mut HeaderMap, more: &[HeaderName], user: Option<&HeaderValue>) {
    remove(headers, more);
    let Some(user) = user else { return };
    for name in more {
        headers.insert(name, user.clone());
    }
    headers.insert(X_FORWARDED_USER, user.clone());
}

fn remove(headers: &mut HeaderMap, more: &[HeaderName]) {
    // Nearly always nothing is to be removed; then nothing is allocated.
    let spoofed: Vec<HeaderName> =
        headers.keys().filter(|name| is_ours(name.as_str(), more)).cloned().collect();
    for name in &spoofed {
        headers.remove(name);
    }
}

/// Whether somebody sent a field under `X-Forwarded-User` or one of `more` names, in any spelling: what [`replace`]
/// would take out.
pub fn is_claimed(headers: &HeaderMap, more: &[HeaderName]) -> bool {
    let is_ours = |name: &str| {
        same(name, X_FORWARDED_USER.as_str()) || more.iter().any(|ours| same(name, ours.as_str()))
    };
    headers.keys().any(|name| is_ours(name.as_str()))
}

/// Whether a field would be taken for one of `X-Forwarded-*` by some and not by others.
pub fn is_disguised(name: &HeaderName) -> bool {
    let name = name.as_str();
    starts_with(name, "x-forwarded-") && !name.starts_with("x-forwarded-")
}

/// Whether a field tells, in some spelling, of the client's way to the application, or is `X-Forwarded-User` or
/// `X-Request-Id`: more names for the user are other ones. `X-Forwarded-Email` and its like are free.
pub fn is_taken(name: &HeaderName) -> bool {
    TAKEN.iter().any(|taken| same(name.as_str(), taken))
}

const TAKEN: [&str; 11] = [
    "forwarded",
    "x-forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-user",
    "x-real-ip",
    "x-request-id",
];

/// Whether a name is, in some spelling, that of a field which we set ourselves or do not pass on.
pub(super) fn is_ours(name: &str, more: &[HeaderName]) -> bool {
    // Most fields begin with other letters.
    let forwarded = name.starts_with(['x', 'X', 'f', 'F'])
        && (starts_with(name, "x-forwarded-")
            || same(name, "x-forwarded")
            || same(name, "forwarded")
            || same(name, "x-real-ip")
            || same(name, "x-original-url")
            || same(name, "x-request-id")
            || same(name, "x-rewrite-url"));
    forwarded || more.iter().any(|ours| same(name, ours.as_str()))
}

/// Servers that hand fields to programs as variables fold `-` and `_` into one (RFC 3875 section 4.1.18), and some of
/// them whatever is neither letter nor digit.
pub(super) fn same(name: &str, ours: &str) -> bool {
    name.len() == ours.len() && starts_with(name, ours)
}

fn starts_with(name: &str, ours: &str) -> bool {
    let fold = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    name.len() >= ours.len() && name.bytes().zip(ours.bytes()).all(|(a, b)| fold(a) == fold(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replaced(sent: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(sent.parse::<HeaderName>().unwrap(), HeaderValue::from_static("evil"));
        replace(&mut headers, &["X-Remote-User".parse().unwrap()], Some(&HeaderValue::from_static("alice")));
        headers
    }

    #[test]
    fn lesson_19_deleted_first_then_set() {
        let headers = replaced("X-Remote-User");
        assert_eq!(headers["x-remote-user"], "alice");
        assert_eq!(headers["x-forwarded-user"], "alice");
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn lesson_13_nothing_forwarded_is_believed() {
        for name in [
            "Forwarded",
            "X-Forwarded-Prefix",
            "X-Forwarded-Email",
            "X-Forwarded",
            "X-Real-IP",
            "X-Original-URL",
            "X_Rewrite~Url",
            "X-Request-Id",
            "x.request_id",
            "X-Forwarded-For",
        ] {
            assert!(!replaced(name).values().any(|value| value == "evil"), "{name}");
        }
    }

    #[test]
    fn lesson_12_a_field_in_disguise_is_seen() {
        let is_disguised = |name: &str| is_disguised(&name.parse().unwrap());
        for name in ["X_Forwarded_User", "X-Forwarded_Uri", "x.forwarded.host", "X_FORWARDED-FOR"] {
            assert!(is_disguised(name), "{name}");
        }
        for name in ["X-Forwarded-User", "X-Forwarded-Uri", "X-Forwarded", "X_Requested_With", "Forwarded"] {
            assert!(!is_disguised(name), "{name}");
        }
    }

    #[test]
    fn lesson_19_a_name_that_a_client_brings_is_seen() {
        let is_claimed = |name: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(""));
            is_claimed(&headers, &["Remote-User".parse().unwrap()])
        };
        for name in ["X-Forwarded-User", "x_forwarded.user", "Remote-User", "REMOTE_USER"] {
            assert!(is_claimed(name), "{name}");
        }
        assert!(!is_claimed("X-Forwarded-For") && !is_claimed("Remote-Users"));
    }

    #[test]
    fn other_fields_are_kept() {
        assert_eq!(replaced("X-Requested-With")["x-requested-with"], "evil");
        assert_eq!(replaced("Forwarded-Like")["forwarded-like"], "evil");
    }

    proptest! {
        #[test]
        fn lesson_7_and_12_no_spelling_of_an_identity_field_passes(
            seps in proptest::collection::vec("[-_.~!+'|*#$%&^`]", 2), caps in any::<u32>(), remote in any::<bool>()
        ) {
            let word = if remote { "remote" } else { "forwarded" };
            let name = format!("x{}{word}{}user", seps[0], seps[1]);
            let spelled: String = name
                .chars()
                .enumerate()
                .map(|(place, c)| if caps >> (place % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c })
                .collect();
            let headers = replaced(&spelled);
            prop_assert!(!headers.values().any(|value| value == "evil"));
        }
    }
}
