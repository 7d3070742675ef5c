//! `vestibule simulate twilio`: its flags.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use secrecy::SecretString;

use super::{code, secret};
use crate::cli::Failure;
use crate::simulator::Fault;
use crate::simulator::twilio::{Line, Options, fault, is_number, is_sid, line};

/// Play Twilio Verify v2 and Lookup v2.
///
/// Takes any well-formed account and Service and any secret unless they are pinned. Each sent code is an
/// output line `code +14155550100 123456` and an entry of GET /simulator/messages; GET /simulator/requests
/// lists the API calls. Faults and lines are switched by flags or, while it runs, over HTTP.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Twilio {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4010")]
    pub(super) listen: SocketAddr,
    /// Take only this account (AC…) or API key (SK…)
    #[arg(long, value_name = "SID", value_parser = account)]
    account_sid: Option<String>,
    /// Take only this secret
    #[arg(long, value_name = "SECRET", value_parser = secret)]
    auth_token: Option<SecretString>,
    /// Know only this Service (VA…)
    #[arg(long, value_name = "SID", value_parser = service)]
    service_sid: Option<String>,
    /// Digits in a code, 4 to 10 [default: 6]
    #[arg(long, value_name = "DIGITS", value_parser = clap::value_parser!(u8).range(4..=10))]
    code_length: Option<u8>,
    /// Seconds from the first send until a verification expires
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = seconds())]
    lifetime: u64,
    /// Send this code instead of random ones
    #[arg(long, value_name = "DIGITS", value_parser = code)]
    fixed_code: Option<String>,
    /// Switch a fault on, e.g. on=start,fault=503,times=2 (repeatable; times=0: until cleared)
    #[arg(long = "fault", value_name = "FAULT", value_parser = fault)]
    faults: Vec<Fault>,
    /// What a number is when it is looked up, e.g. +14155550100=landline (repeatable) [default: mobile]
    #[arg(long = "line", value_name = "NUMBER=TYPE", value_parser = line)]
    lines: Vec<(String, String)>,
    /// A number whose SIM was changed within the last day (repeatable)
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    swapped: Vec<String>,
}

const HELP: &str = "Example:
  vestibule simulate twilio --listen 127.0.0.1:4010 --fault on=start,fault=503,times=2
and in the gateway's configuration, in its [[provider]] and, for number look-ups, in [lookup]:
  base_url = \"http://127.0.0.1:4010\"

A fault disturbs the next calls; GET /simulator/faults lists what waits, DELETE clears it:
  curl -d '{\"on\":\"start\",\"fault\":\"503\",\"times\":2}' http://127.0.0.1:4010/simulator/faults
  curl -X DELETE http://127.0.0.1:4010/simulator/faults
  on           start, check, update, fetch, service, lookup or any (the default)
  fault        500 503 html slow empty malformed_json drop_before drop_after 20429_retry_after
               or an error code of Twilio's: 20003 20005 20006 20008 20403 20404 20429 21211
               21608 25109 60001 60006 60200 60201 60202 60203 60204 60205 60206 60207 60212
               60214 60217 60220 60221 60223 60224 60226 60228 60229 60238 60410 60413 60550
               60602 60605 70051
  times        how often, 1 by default; 0 is until it is cleared
  to           only this number
  delay_ms     how much later the answer comes; of slow 5000 by default
  retry_after  what the answer says in Retry-After

What a number is when it is looked up:
  curl -d '{\"to\":\"+14155550100\",\"type\":\"landline\"}' http://127.0.0.1:4010/simulator/lines
  type         mobile (the default), landline, tollFree, fixedVoip, nonFixedVoip, personal,
               premium, voicemail, sharedCost, uan, pager or unknown
  swapped      true: its SIM was changed within the last day
  error_code   what the look-up says instead of an answer, such as 60606";

impl Twilio {
    pub(super) fn into_options(self) -> Result<Options, Failure> {
        let defaults = Options::default();
        let fixed_length = self.fixed_code.as_ref().map(String::len);
        if let (Some(asked), Some(fixed)) = (self.code_length, fixed_length)
            && usize::from(asked) != fixed
        {
            return Err(Failure::Usage(format!(
                "--fixed-code has {fixed} digits, --code-length says {asked}"
            )));
        }
        Ok(Options {
            account_sid: self.account_sid,
            auth_token: self.auth_token,
            service_sid: self.service_sid,
            code_length: self.code_length.unwrap_or(defaults.code_length),
            lifetime: Duration::from_secs(self.lifetime),
            fixed_code: self.fixed_code,
            faults: self.faults,
            lines: lines(self.lines, self.swapped),
        })
    }
}

fn lines(kinds: Vec<(String, String)>, swapped: Vec<String>) -> HashMap<String, Line> {
    let named = |(to, kind)| (to, Line { kind, ..Line::default() });
    let mut lines: HashMap<String, Line> = kinds.into_iter().map(named).collect();
    for to in swapped {
        lines.entry(to).or_default().swapped = true;
    }
    lines
}

fn number(text: &str) -> Result<String, &'static str> {
    is_number(text).then(|| text.to_owned()).ok_or("a number is in E.164, like +14155550100")
}

fn account(text: &str) -> Result<String, &'static str> {
    let fits = is_sid(text, &["AC", "SK"]);
    fits.then(|| text.to_owned()).ok_or("an account or key SID is AC or SK and 32 hexadecimal digits")
}

fn service(text: &str) -> Result<String, &'static str> {
    let fits = is_sid(text, &["VA"]);
    fits.then(|| text.to_owned()).ok_or("a Service SID is VA and 32 hexadecimal digits")
}

/// Up to a day, the longest that the vendor sets for anyone.
fn seconds() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_faults_and_lines_that_there_are() {
        for name in super::super::fault_names(HELP) {
            assert!(fault(&format!("fault={name}")).is_ok(), "{name}");
        }
        let (_, kinds) = HELP.split_once("  type ").unwrap();
        let (kinds, _) = kinds.split_once("  swapped ").unwrap();
        let words = kinds.replace("(the default)", "").replace(" or ", ", ");
        for kind in words.split(',').map(str::trim) {
            assert!(line(&format!("+14155550100={kind}")).is_ok(), "{kind}");
        }
    }
}
