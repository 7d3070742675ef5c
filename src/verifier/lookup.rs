//! Twilio Lookup v2: what kind of line a number is, and whether its SIM was swapped lately.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::VerifierError;
use super::wire::{self, Raw, Wire};
use crate::config;
use crate::domain::line::LineKind;
use crate::domain::phone::PhoneNumber;

/// A client of the Lookup API.
#[derive(Debug)]
pub struct Lookup {
    wire: Wire,
    numbers: String,
    user: String,
    secret: SecretString,
}

/// What it said. `None`: it was not asked, or does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// What kind of line it is.
    pub kind: Option<LineKind>,
    /// Whether its SIM was swapped within the period that the vendor looks at.
    pub swapped: Option<bool>,
}

#[derive(Deserialize)]
struct Answer {
    line_type_intelligence: Option<LineType>,
    sim_swap: Option<SimSwap>,
}

/// A package that failed says so inside itself, with HTTP 200.
#[derive(Deserialize)]
struct LineType {
    r#type: Option<String>,
    error_code: Option<u32>,
}

#[derive(Deserialize)]
struct SimSwap {
    last_sim_swap: Option<LastSwap>,
    error_code: Option<u32>,
}

#[derive(Deserialize)]
struct LastSwap {
    swapped_in_period: Option<bool>,
}

impl Lookup {
    /// A client for a configured account. Opens no connection.
    pub fn new(settings: &config::Lookup) -> Result<Self, reqwest::Error> {
        Ok(Self {
            wire: Wire::new(settings.timeout)?,
            numbers: format!("{}/v2/PhoneNumbers/", settings.base_url),
            user: settings.credentials.user.clone(),
            secret: settings.credentials.secret.clone(),
        })
    }

    /// Asks about a number; each package costs money.
    pub async fn ask(
        &self,
        number: &PhoneNumber,
        line_type: bool,
        sim_swap: bool,
    ) -> Result<Learned, VerifierError> {
        let packages = [(line_type, "line_type_intelligence"), (sim_swap, "sim_swap")];
        let fields: Vec<&str> =
            packages.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| *name).collect();
        let url = format!("{}{}?Fields={}", self.numbers, number.as_e164(), fields.join(","));
        let until = self.wire.deadline();
        let call = || async {
            let request =
                self.wire.http().get(&url).basic_auth(&self.user, Some(self.secret.expose_secret()));
            let answer = self.wire.send(request, until).await?;
            if answer.status.is_success() { Ok(answer.body) } else { Err(failed(&answer)) }
        };
        // Reading changes nothing: what failed may be asked once more, as long as the time allows.
        let body = wire::patiently(until, wire::pause_of_start, call).await?;
        let answer: Answer = wire::read(&body)?;
        answer.tell_failures();
        Ok(Learned {
            kind: answer.line_type_intelligence.and_then(|line| line_kind(line.r#type?.as_str())),
            swapped: answer.sim_swap.and_then(|swap| swap.last_sim_swap?.swapped_in_period),
        })
    }
}

impl Answer {
    /// A package that is not booked, or not for this country, is the administrator's to know of.
    fn tell_failures(&self) {
        let line_type = self.line_type_intelligence.as_ref().and_then(|line| line.error_code);
        let sim_swap = self.sim_swap.as_ref().and_then(|swap| swap.error_code);
        for (package, code) in [("line_type_intelligence", line_type), ("sim_swap", sim_swap)] {
            if let Some(code) = code {
                tracing::warn!(package, code, "the number look-up could not say");
            }
        }
    }
}

fn failed(answer: &Raw) -> VerifierError {
    let status = answer.status.as_u16();
    let trouble = wire::by_status(status);
    VerifierError { trouble, code: None, status: Some(status), retry_after: answer.retry_after }
}

fn line_kind(word: &str) -> Option<LineKind> {
    Some(match word {
        "mobile" => LineKind::Mobile,
        "landline" => LineKind::Landline,
        "fixedVoip" => LineKind::FixedVoip,
        "nonFixedVoip" => LineKind::NonFixedVoip,
        "premium" | "tollFree" | "sharedCost" | "uan" | "pager" | "voicemail" | "personal" => {
            LineKind::Special
        }
        // `unknown`, and words to come.
        _ => return None,
    })
}
