//! One request to the API, read to the end: method, path, form and who is asking.

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{Method, Request};

use super::wire;

/// Everything the rules need to know of a request.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) form: Form,
    authorization: Option<String>,
}

impl Call {
    /// `None` when the body is broken off or absurdly long.
    pub(super) async fn read(request: Request<Incoming>) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let body = wire::read(body).await?;
        let form = if is_form(&parts) { Form::parse(&body) } else { Form::default() };
        let authorization = field(&parts, AUTHORIZATION.as_str()).map(str::to_owned);
        Some(Self { method: parts.method, path: parts.uri.path().to_owned(), form, authorization })
    }

    /// User and secret, when they come as HTTP Basic.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        basic(self.authorization.as_deref()?)
    }
}

/// A decoded form. A field that occurs twice counts once, as its first occurrence.
#[derive(Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    /// The fields as they may be shown: codes and tokens are named, not repeated.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), if secret(name) { HIDDEN } else { value.as_str() }))
    }
}

fn secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["code", "token", "secret", "password"].iter().any(|word| name.ends_with(word))
}

/// Fields count only when they come as a form: a JSON body is read as one without any.
fn is_form(parts: &Parts) -> bool {
    let media_type = field(parts, CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next());
    media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

fn field<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

fn basic(authorization: &str) -> Option<(String, String)> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let (scheme, credentials) = authorization.split_once(' ')?;
    let decoded =
        STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (user, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), secret.to_owned()))
}

const HIDDEN: &str = "[hidden]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_must_be_encoded() {
        assert_eq!(Form::parse(b"To=%2B14155550100").get("To"), Some("+14155550100"));
        assert_eq!(Form::parse(b"To=+14155550100").get("To"), Some(" 14155550100"));
    }

    #[test]
    fn codes_and_tokens_are_not_shown() {
        let form = Form::parse(b"To=%2B14155550100&Code=123456&SnaClientToken=x&CustomCode=98765");
        let shown: Vec<_> = form.shown().collect();
        let expected =
            [("To", "+14155550100"), ("Code", HIDDEN), ("SnaClientToken", HIDDEN), ("CustomCode", HIDDEN)];
        assert_eq!(shown, expected);
    }

    #[test]
    fn basic_splits_at_the_first_colon() {
        let pair = |user: &str, secret: &str| Some((user.to_owned(), secret.to_owned()));
        assert_eq!(basic("Basic QUM6cGE6c3M="), pair("AC", "pa:ss"));
        assert_eq!(basic("bearer QUM6cGFzcw=="), None);
        assert_eq!(basic("Basic %%%"), None);
    }
}
