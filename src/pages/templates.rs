//! The templates: built in, and each replaceable by a file of the same name in the operator's directory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minijinja::value::Kwargs;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::catalogue::Catalogue;
use super::overrides::{TemplateError, replacement};

/// All templates, compiled.
#[derive(Debug)]
pub(super) struct Templates {
    environment: Environment<'static>,
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("../../templates/", $name)))),*] };
}

const BUILT_IN: [(&str, &str); 8] = built_in!(
    "layout.html",
    "identify.html",
    "code.html",
    "emergency.html",
    "account.html",
    "signed_out.html",
    "session_ended.html",
    "problem.html",
);

/// Steps a template may take; ours take a few hundred. A loop without end in an operator's template ends here.
const FUEL: u64 = 100_000;

impl Templates {
    pub(super) fn open(overrides: Option<&Path>, catalogue: Arc<Catalogue>) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let words = catalogue.clone();
        environment
            .add_function("duration", move |seconds: u64| words.duration(Duration::from_secs(seconds)));
        environment.add_function(
            "t",
            move |key: String, values: Kwargs| -> Result<String, minijinja::Error> {
                let values: Result<Vec<_>, _> = values
                    .args()
                    .map(|name| values.get::<Value>(name).map(|value| (name.to_owned(), value)))
                    .collect();
                Ok(catalogue.fill_from(&key, &values?))
            },
        );
        for (name, built_in) in BUILT_IN {
            let source = replacement(overrides, name)?.unwrap_or_else(|| built_in.to_owned());
            environment
                .add_template_owned(name, source)
                .map_err(|error| TemplateError::Template(name.to_owned(), error))?;
        }
        Ok(Self { environment })
    }

    pub(super) fn render(&self, name: &str, page: Value) -> Result<String, minijinja::Error> {
        self.environment.get_template(name)?.render(page)
    }
}

/// Every page with values such as it may get.
pub(super) fn rehearsals() -> Vec<(&'static str, Value)> {
    let code = |can_check: bool| {
        context! {
            identify_by => "phone", recipient => "••• ••00", channel => "sms", code_length => 6, expires_in => 600,
            sent_at => "10:42 UTC", sent_at_utc => "2026-01-31T10:42:00Z", resend_in => 30, other_in => 30,
            other_channels => ["call"], unconfirmed => !can_check, can_check, return_to => "/",
        }
    };
    let who = |identify_by: &str, needs_country: bool, value: &str, proves_again: bool| {
        context! { identify_by, needs_country, proves_again, value, return_to => "/" }
    };
    let ended = |proves_again: bool| context! { challenge_url => "/.vestibule/challenge", proves_again };
    let problem = |try_again: bool| {
        context! { status => 502, title => "Title", explanation => "Text", link_to => "/", try_again }
    };
    vec![
        ("identify.html", who("phone", true, "", false)),
        ("identify.html", who("phone", false, "", true)),
        ("identify.html", who("name", true, "alice", false)),
        ("identify.html", who("name", true, "alice", true)),
        ("code.html", code(true)),
        ("code.html", code(false)),
        ("emergency.html", who("phone", true, "", false)),
        ("emergency.html", who("name", false, "alice", true)),
        (
            "account.html",
            context! {
                user => "alice", recipient => "••• ••00", signed_in_ago => 5, ends_in => 3_600, continue_to => "/",
            },
        ),
        ("signed_out.html", context! {}),
        ("session_ended.html", ended(false)),
        ("session_ended.html", ended(true)),
        ("problem.html", problem(true)),
        ("problem.html", problem(false)),
    ]
}
