//! `Referer` as it may be written down: whence a request came, without what only its sender should know.

use std::borrow::Cow;

/// Scheme, host, port and path of where a request says it comes from (RFC 9110 section 10.1.3). User information, query
/// and fragment are left out; nothing is told of what could be read in two ways, of what is not absolute, and of a path
/// that may hold user information of another address.
pub fn told(text: &str) -> Option<Cow<'_, str>> {
    let (text, hidden) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let (scheme, rest) = text.split_once("://")?;
    let (written, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, authority) =
        written.rsplit_once('@').map_or((None, written), |(user, rest)| (Some(user), rest));
    // Some parsers take a backslash for a slash, and drop blanks (URL Standard, "special scheme").
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if !is_scheme(scheme)
        || !is_authority(authority)
        || !is_plain
        || may_name_somebody(user, &[authority, path], hidden)
    {
        return None;
    }
    Some(match user {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(format!("{scheme}://{authority}{path}")),
    })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
}

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    is_host && port.is_none_or(is_port)
}

/// Whether what is left may still hold a name or password: one with a slash or a question mark in it, or that of an
/// address in the path.
fn may_name_somebody(user: Option<&str>, kept: &[&str], hidden: &str) -> bool {
    let kept = kept.concat().to_ascii_lowercase();
    let all = format!("{kept}{}", hidden.to_ascii_lowercase());
    // What is encoded twice is not looked through.
    let is_encoded_twice = kept.contains("%25");
    let at = all.rfind('@').max(all.rfind("%40"));
    let colon = kept.find(':').into_iter().chain(kept.find("%3a")).min();
    is_encoded_twice || at.is_some_and(|at| user.is_some() || colon.is_some_and(|colon| colon < at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whence_a_request_came_is_told_without_who_query_and_fragment() {
        for (sent, expected) in [
            ("https://x.example/y", "https://x.example/y"),
            ("https://x.example/y?z=1#f", "https://x.example/y"),
            ("https://x.example/y?z=u:p@h", "https://x.example/y"),
            ("http://u:pw@h/p", "http://h/p"),
            ("http://u@h:81", "http://h:81"),
            ("http://u@v:w@h/p", "http://h/p"),
            ("HTTP://u%3Apw@H/p", "HTTP://H/p"),
            ("http://u:pw@[::1]:81/p", "http://[::1]:81/p"),
            ("http://[::1]/p", "http://[::1]/p"),
            ("https://x.example/@scope/a:b", "https://x.example/@scope/a:b"),
            ("https://x.example/%E2%82%AC", "https://x.example/%E2%82%AC"),
            ("android-app://org.example.app/", "android-app://org.example.app/"),
        ] {
            assert_eq!(told(sent).as_deref(), Some(expected), "{sent}");
        }
    }

    #[test]
    fn nothing_is_told_of_what_can_be_read_in_two_ways() {
        for sent in [
            "",
            "/p",
            "p",
            "about:blank",
            "//u:pw@h/p",
            "http:u:pw@h/p",
            "http:/u:pw@h/p",
            "http:///u:pw@h/p",
            "http:\\\\u:pw@h/p",
            "http:/\\u:pw@h/p",
            "http://u:pw\\@h/p",
            "http://h\\u:pw@h/p",
            "http://h/p\\q",
            "http://u:pw%40h/p",
            "http://u:p/w@h/p",
            "http://u:1/w@h/p",
            "http://u:/w@h/p",
            "http://u:p@x/w@h/p",
            "http://u:p@x/w%40h/p",
            "http://u:p@x?w@h/p",
            "http://u:1?w@h/p",
            "http://h/http://u:pw@h/p",
            "http://h/http://u:p#w@h/p",
            "http://h/http%3A%2F%2Fu%3apw%40h/p",
            "http://h/http%253A%252F%252Fu%253apw%2540h/p",
            "ht\ttp://u:pw@h/p",
            "http://u:pw@h\t/p",
            "http://h/a b",
            "://u:pw@h",
            "http://u:pw@",
        ] {
            assert_eq!(told(sent), None, "{sent}");
        }
    }

    proptest! {
        #[test]
        fn no_name_and_no_password_is_told(
            before in "(http|https|HTTP|ftp|)(://|//|:|:/|:///|:\\\\|://h/http://|://h/)",
            parts in prop::array::uniform4("[ -~]{0,8}"),
            at in "(@|%40)",
        ) {
            let [a, b, c, d] = parts;
            for text in [
                format!("{before}{a}:{b}SeCrEt{c}{at}{d}"),
                format!("http://{}SeCrEt{}@{d}", a.replace('/', ""), c.replace(['/', '?', '#'], "")),
            ] {
                if let Some(told) = told(&text) {
                    prop_assert!(!told.contains("SeCrEt"), "{text} gave {told}");
                    prop_assert!(!told.contains(['?', '#']), "{text} gave {told}");
                }
            }
        }
    }
}
