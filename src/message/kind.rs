//! What kind of request it is, so that each gets the answer it can use.

use hyper::header::{ACCEPT, HeaderName};
use hyper::{HeaderMap, Method};

use super::list;

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A person whose browser goes to a page.
    Navigation,
    /// A person whose browser sends a form.
    FormNavigation,
    /// A program: fetch, XHR, an API client, a WebSocket.
    Program,
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// Reads it from the method and fields. A browser that says how it fetches (Fetch Metadata) is believed: the
/// answer only differs in shape.
pub fn kind(method: &Method, headers: &HeaderMap) -> Kind {
    let navigates = match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => accepts_html(headers) && !headers.contains_key(X_REQUESTED_WITH),
    };
    match *method {
        _ if !navigates => Kind::Program,
        Method::GET | Method::HEAD => Kind::Navigation,
        _ => Kind::FormNavigation,
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    list::items(headers, &ACCEPT).any(|range| {
        let media = range.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case("text/html") || media.eq_ignore_ascii_case("application/xhtml+xml")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(method: Method, fields: &[(&'static str, &str)]) -> Kind {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        kind(&method, &headers)
    }

    #[test]
    fn wish_14_each_gets_the_answer_it_can_use() {
        let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        assert_eq!(kind_of(Method::GET, &[html]), Kind::Navigation);
        assert_eq!(kind_of(Method::HEAD, &[html]), Kind::Navigation);
        assert_eq!(kind_of(Method::POST, &[html]), Kind::FormNavigation);
        assert_eq!(kind_of(Method::GET, &[("accept", "*/*")]), Kind::Program);
        assert_eq!(kind_of(Method::GET, &[]), Kind::Program);
        assert_eq!(kind_of(Method::GET, &[html, ("x-requested-with", "XMLHttpRequest")]), Kind::Program);
        assert_eq!(kind_of(Method::GET, &[html, ("sec-fetch-mode", "cors")]), Kind::Program);
        assert_eq!(kind_of(Method::GET, &[("sec-fetch-mode", "navigate")]), Kind::Navigation);
        assert_eq!(kind_of(Method::GET, &[("sec-fetch-mode", "websocket")]), Kind::Program);
    }
}
