//! Fields by which a client asks an application for another method than the request has. Where rules are about methods
//! they are taken out: the application would act on a method that no rule has seen.

use hyper::HeaderMap;
use hyper::header::HeaderName;

use super::identity::same;

const NAMES: [&str; 3] = ["x-http-method-override", "x-method-override", "x-http-method"];

/// Whether a field is one of them, in any spelling.
pub(super) fn is_one(name: &HeaderName) -> bool {
    NAMES.iter().any(|known| same(name.as_str(), known))
}

/// Whether there is one.
pub fn is_there(headers: &HeaderMap) -> bool {
    headers.keys().any(is_one)
}

/// Takes them out.
pub fn remove(headers: &mut HeaderMap) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_one(name)).cloned().collect();
    for name in &found {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lesson_7_no_spelling_of_another_method_passes() {
        let mut headers = HeaderMap::new();
        for name in ["X-HTTP-Method-Override", "x_http_method_override", "X.Method-Override", "x-http-method"]
        {
            headers.append(name.parse::<HeaderName>().unwrap(), "DELETE".parse().unwrap());
        }
        headers.append("x-http-methods", "GET".parse().unwrap());
        assert!(is_there(&headers));
        remove(&mut headers);
        assert_eq!(headers.len(), 1);
        assert!(!is_there(&headers));
    }
}
