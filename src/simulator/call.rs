//! One request to an API, read to the end: method, path, fields and who is asking.

use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{Method, Request};
use serde_json::Value;

use super::form::{self, Form};
use super::wire;

/// Everything the rules need to know of a request.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Form,
    pub(super) form: Form,
    pub(super) json: Option<Value>,
    authorization: Option<String>,
}

impl Call {
    /// `None` when the body is broken off or absurdly long.
    pub(super) async fn read(request: Request<Incoming>) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let body = wire::read(body).await?;
        Some(Self::new(&parts, &body))
    }

    /// Fields count only when they come as what they are: JSON is read as a form without any, and a form as no JSON.
    fn new(parts: &Parts, body: &Bytes) -> Self {
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: Form::parse(parts.uri.query().unwrap_or_default().as_bytes()),
            form: if is(parts, "application/x-www-form-urlencoded") {
                Form::parse(body)
            } else {
                Form::default()
            },
            json: is(parts, "application/json").then(|| serde_json::from_slice(body).ok()).flatten(),
            authorization: field(parts, AUTHORIZATION.as_str()).map(str::to_owned),
        }
    }

    /// User and secret, when they come as HTTP Basic.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        basic(self.authorization.as_deref()?)
    }

    /// A bearer token.
    pub(super) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.authorization.as_deref()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// The fields as they may be shown, and what they came as.
    pub(super) fn shown(&self) -> (&'static str, Value) {
        if let Some(json) = &self.json {
            return ("json", form::shown(json));
        }
        let fields = self.query.shown().chain(self.form.shown());
        ("form", fields.map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
    }
}

#[cfg(test)]
impl Call {
    /// A call with these fields, for the rules' own tests.
    pub(super) fn of_form(form: &str) -> Self {
        let (method, path) = (Method::POST, "/".to_owned());
        let form = Form::parse(form.as_bytes());
        Self { method, path, query: Form::default(), form, json: None, authorization: None }
    }
}

fn is(parts: &Parts, media_type: &str) -> bool {
    let named = field(parts, CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next());
    named.is_some_and(|value| value.trim().eq_ignore_ascii_case(media_type))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(content_type: &str, body: &str) -> Call {
        let request =
            Request::post("/v2?a=1").header(CONTENT_TYPE, content_type).body(()).expect("it is sound");
        Call::new(&request.into_parts().0, &Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn basic_splits_at_the_first_colon() {
        let pair = |user: &str, secret: &str| Some((user.to_owned(), secret.to_owned()));
        assert_eq!(basic("Basic QUM6cGE6c3M="), pair("AC", "pa:ss"));
        assert_eq!(basic("bearer QUM6cGFzcw=="), None);
        assert_eq!(basic("Basic %%%"), None);
    }

    #[test]
    fn a_body_is_what_it_says() {
        let form = call("application/x-www-form-urlencoded; charset=UTF-8", "b=2");
        assert_eq!((form.form.get("b"), form.json.is_none()), (Some("2"), true));
        assert_eq!(form.shown(), ("form", json!({"a": "1", "b": "2"})));
        let json = call("application/json", r#"{"b":2}"#);
        assert_eq!((json.form.get("b"), json.shown()), (None, ("json", json!({"b": 2}))));
        assert!(call("application/json", "b=2").json.is_none());
    }
}
