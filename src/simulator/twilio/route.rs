//! Which operation a path and method mean.

use hyper::Method;

use super::error::ApiError;

/// The operations of the API that the simulator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Start,
    Check,
    Update,
    Fetch,
    Service,
    Lookup,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Check => "check",
            Self::Update => "update",
            Self::Fetch => "fetch",
            Self::Service => "service",
            Self::Lookup => "lookup",
        }
    }
}

/// An operation and the identifiers its path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route<'a> {
    pub(super) operation: Operation,
    pub(super) service: &'a str,
    /// The verification that an update or fetch names; empty otherwise.
    pub(super) verification: &'a str,
    /// The number that a look-up names; empty otherwise.
    pub(super) number: &'a str,
}

impl<'a> Route<'a> {
    pub(super) fn find(method: &Method, path: &'a str) -> Result<Self, ApiError> {
        let wrong_method = ApiError::method_not_allowed;
        let segments: Vec<&str> = path.split('/').collect();
        let (service, verification, operation) = match segments[..] {
            ["", "v2", "Services", service] => {
                (service, "", get(method, Operation::Service).ok_or_else(wrong_method)?)
            }
            ["", "v2", "Services", service, "Verifications"] => {
                (service, "", post(method, Operation::Start).ok_or_else(wrong_method)?)
            }
            ["", "v2", "Services", service, "VerificationCheck"] => {
                (service, "", post(method, Operation::Check).ok_or_else(wrong_method)?)
            }
            ["", "v2", "Services", service, "Verifications", sid] => {
                let operation = get(method, Operation::Fetch).or_else(|| post(method, Operation::Update));
                (service, sid, operation.ok_or_else(wrong_method)?)
            }
            ["", "v2", "PhoneNumbers", number] => {
                let operation = get(method, Operation::Lookup).ok_or_else(wrong_method)?;
                return Ok(Self { operation, service: "", verification: "", number });
            }
            _ => return Err(ApiError::not_found(path)),
        };
        Ok(Self { operation, service, verification, number: "" })
    }
}

fn get(method: &Method, operation: Operation) -> Option<Operation> {
    (method == Method::GET).then_some(operation)
}

fn post(method: &Method, operation: Operation) -> Option<Operation> {
    (method == Method::POST).then_some(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(method: Method, path: &str) -> Result<Operation, ApiError> {
        Route::find(&method, path).map(|route| route.operation)
    }

    #[test]
    fn every_operation_has_its_path_and_method() {
        assert_eq!(operation(Method::GET, "/v2/Services/VA1"), Ok(Operation::Service));
        assert_eq!(operation(Method::POST, "/v2/Services/VA1/Verifications"), Ok(Operation::Start));
        assert_eq!(operation(Method::POST, "/v2/Services/VA1/VerificationCheck"), Ok(Operation::Check));
        assert_eq!(operation(Method::POST, "/v2/Services/VA1/Verifications/VE1"), Ok(Operation::Update));
        assert_eq!(operation(Method::GET, "/v2/Services/VA1/Verifications/VE1"), Ok(Operation::Fetch));
        assert_eq!(operation(Method::GET, "/v2/PhoneNumbers/+14155550100"), Ok(Operation::Lookup));
    }

    #[test]
    fn the_rest_is_not_found_or_not_allowed() {
        let path = "/v2/Services/VA1/Verifications/";
        assert_eq!(operation(Method::GET, "/v1/Services/VA1"), Err(ApiError::not_found("/v1/Services/VA1")));
        assert_eq!(operation(Method::DELETE, path), Err(ApiError::method_not_allowed()));
        let list = operation(Method::GET, "/v2/Services/VA1/Verifications");
        assert_eq!(list, Err(ApiError::method_not_allowed()));
    }
}
