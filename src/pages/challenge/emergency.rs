//! The form for an emergency code.

use hyper::StatusCode;
use minijinja::context;

use super::ask::word;
use crate::domain::id::Reference;
use crate::domain::return_to::ReturnTo;
use crate::pages::form::{FieldError, Form};
use crate::pages::problem::Refusal;
use crate::pages::reply::{Reply, with_retry_after};
use crate::pages::sentence::status;
use crate::pages::visit::Visit;
use crate::pages::{Desk, Message};

impl Desk {
    pub(in crate::pages) fn ask_emergency_code(
        &self,
        visit: &Visit,
        code: StatusCode,
        message: Option<&Message>,
        reference: Option<Reference>,
        typed: &str,
        return_to: Option<&ReturnTo>,
    ) -> Reply {
        let page = context! {
            identify_by => word(self.sign_in.identify_by()),
            needs_country => self.sign_in.needs_country(),
            proves_again => visit.session.is_ok(),
            value => typed.chars().take(128).collect::<String>(),
            return_to => return_to.map_or("/", ReturnTo::as_str),
        };
        self.pages.render("emergency.html", code, message, reference, page)
    }

    pub(in crate::pages) async fn emergency(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let form = Form::read(visit)?;
        let return_to: Option<ReturnTo> = form.optional("return_to").and_then(|text| text.parse().ok());
        let (name, identity) = self.who();
        let fields = form.required(name).and_then(|who| Ok((who, form.required("code")?)));
        let (who, code) = match fields {
            Ok(fields) => fields,
            Err(error) => {
                return Ok(self.emergency_fields(visit, error, form.optional(name), return_to.as_ref()));
            }
        };
        let goal = return_to.clone().unwrap_or_else(ReturnTo::home);
        let answer = self
            .sign_in
            .break_glass(identity(who.to_owned()), code, goal, visit.client, visit.carried())
            .await;
        match answer {
            Ok(signed_in) => Ok(self.let_in(signed_in, None)),
            Err(failure) => {
                let message = self.pages.sentence(&failure.cause);
                let code = status(&failure.cause);
                let (reference, goal) = (failure.reference, return_to.as_ref());
                let page = self.ask_emergency_code(visit, code, Some(&message), reference, who, goal);
                Ok(with_retry_after(page, failure.cause.wait()))
            }
        }
    }

    fn emergency_fields(
        &self,
        visit: &Visit,
        error: FieldError,
        typed: Option<&str>,
        return_to: Option<&ReturnTo>,
    ) -> Reply {
        let message = self.pages.field_sentence(error);
        self.ask_emergency_code(
            visit,
            StatusCode::BAD_REQUEST,
            Some(&message),
            None,
            typed.unwrap_or_default(),
            return_to,
        )
    }
}
