//! Forms as browsers send them: each field once, nothing guessed.

use hyper::header::CONTENT_TYPE;

use super::problem::Refusal;
use super::visit::Visit;

/// The fields of a form.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

/// Why a field has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldError {
    Missing,
    Duplicate,
}

impl Form {
    /// Reads the body of a visit.
    pub(super) fn read(visit: &Visit) -> Result<Self, Refusal> {
        let media_type =
            visit.headers.get(CONTENT_TYPE).and_then(|field| field.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refusal::WrongMediaType);
        }
        Ok(Self(form_urlencoded::parse(&visit.body).into_owned().collect()))
    }

    /// Reads a query.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The one value of a field that must be filled in.
    pub(super) fn required(&self, name: &str) -> Result<&str, FieldError> {
        let mut values = self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (Some(value), None) if !value.trim().is_empty() => Ok(value),
            (_, Some(_)) => Err(FieldError::Duplicate),
            _ => Err(FieldError::Missing),
        }
    }

    /// The value of a field that may be absent; twice is absent.
    pub(super) fn optional(&self, name: &str) -> Option<&str> {
        self.required(name).ok()
    }
}
