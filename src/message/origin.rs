//! Whether a request that changes something was sent by a page of this site.

use hyper::HeaderMap;
use hyper::header::{HeaderName, ORIGIN};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// True when the browser says that the request comes from this very site, or the sender is no browser: every browser
/// that can be made to send a form from another site names itself in `Origin` (Fetch standard, "origin header").
pub fn is_same(headers: &HeaderMap, scheme: &str, authority: &str) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (Some(origin), None) => is_site(origin.as_bytes(), scheme, authority),
        (None, _) => true,
        (Some(_), Some(_)) => false,
    };
    let fetch_site = headers.get(SEC_FETCH_SITE).is_none_or(|site| site == "same-origin" || site == "none");
    origin && fetch_site
}

fn is_site(origin: &[u8], scheme: &str, authority: &str) -> bool {
    let Some((origin_scheme, host)) =
        std::str::from_utf8(origin).ok().and_then(|text| text.split_once("://"))
    else {
        return false;
    };
    let default = if scheme == "https" { ":443" } else { ":80" };
    let bare = |text: &str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
    origin_scheme.eq_ignore_ascii_case(scheme) && bare(host) == bare(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(fields: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        is_same(&headers, "https", "wiki.example.com")
    }

    #[test]
    fn only_this_site_changes_anything() {
        assert!(same(&[]));
        assert!(same(&[("origin", "https://wiki.example.com")]));
        assert!(same(&[("origin", "https://wiki.example.com:443"), ("sec-fetch-site", "same-origin")]));
        for origin in [
            "http://wiki.example.com",
            "https://evil.example",
            "https://wiki.example.com.evil.example",
            "null",
            "",
            "https://wiki.example.com:8443",
            "https://evil.example/https://wiki.example.com",
        ] {
            assert!(!same(&[("origin", origin)]), "{origin}");
        }
        assert!(!same(&[("sec-fetch-site", "cross-site")]));
        assert!(!same(&[("origin", "https://wiki.example.com"), ("sec-fetch-site", "same-site")]));
        assert!(!same(&[("origin", "https://wiki.example.com"), ("origin", "https://evil.example")]));
    }
}
