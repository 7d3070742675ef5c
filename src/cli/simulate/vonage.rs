//! `vestibule simulate vonage`: its flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::{code, secret};
use crate::cli::Failure;
use crate::simulator::Fault;
use crate::simulator::vonage::{Options, PublicKey, fault, is_api_key, is_uuid};

/// Play Vonage Verify, versions 2 (/v2/verify) and 1 (/verify).
///
/// Takes any well-formed API key with any secret, and any well-formed token, unless they are pinned. Each sent
/// code is an output line `code +14155550100 123456` and an entry of GET /simulator/messages; GET
/// /simulator/requests lists the API calls. How long a code is each start says: it is `code_length` of the gateway's
/// provider section. Faults are switched by a flag or, while it runs, over HTTP.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Vonage {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4020")]
    pub(super) listen: SocketAddr,
    /// Take only this API key
    #[arg(long, value_name = "KEY", value_parser = api_key)]
    api_key: Option<String>,
    /// Take only this API secret
    #[arg(long, value_name = "SECRET", value_parser = secret)]
    api_secret: Option<SecretString>,
    /// Take only this application's tokens
    #[arg(long, value_name = "UUID", value_parser = application)]
    application_id: Option<String>,
    /// Verify tokens with this public key (PEM); without it, their signature is not looked at
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Seconds from a start until it can be cancelled
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    cancel_after: u32,
    /// Send this code instead of random ones
    #[arg(long, value_name = "DIGITS", value_parser = code)]
    fixed_code: Option<String>,
    /// Switch a fault on, e.g. on=start,fault=503,times=2 (repeatable; times=0: until cleared)
    #[arg(long = "fault", value_name = "FAULT", value_parser = fault)]
    faults: Vec<Fault>,
}

const HELP: &str = "Example:
  vestibule simulate vonage --listen 127.0.0.1:4020 --fault on=start,fault=503,times=2
and in the gateway's configuration, in its [[provider]] of kind vonage or vonage-v1:
  base_url = \"http://127.0.0.1:4020\"

A fault disturbs the next calls; GET /simulator/faults lists what waits, DELETE clears it:
  curl -d '{\"on\":\"start\",\"fault\":\"503\",\"times\":2}' http://127.0.0.1:4020/simulator/faults
  curl -X DELETE http://127.0.0.1:4020/simulator/faults
  on           start, check, cancel, next, control, search or any (the default)
  fault        500 503 html slow empty malformed_json drop_before drop_after 429_retry_after
               or an HTTP status of version 2: 400 401 402 404 409 410 412 422 429
               or a status of version 1: v1_1 v1_2 v1_3 v1_4 v1_5 v1_6 v1_7 v1_8 v1_9 v1_10
               v1_15 v1_16 v1_17 v1_19 v1_20 v1_29 v1_101
  times        how often, 1 by default; 0 is until it is cleared
  to           only this number
  delay_ms     how much later the answer comes; of slow 5000 by default
  retry_after  what the answer says in Retry-After";

impl Vonage {
    pub(super) fn into_options(self) -> Result<Options, Failure> {
        Ok(Options {
            api_key: self.api_key,
            api_secret: self.api_secret,
            application_id: self.application_id,
            public_key: self.public_key.map(public_key).transpose()?,
            cancel_after: Duration::from_secs(u64::from(self.cancel_after)),
            fixed_code: self.fixed_code,
            faults: self.faults,
        })
    }
}

fn public_key(path: PathBuf) -> Result<PublicKey, Failure> {
    let usage = |reason: String| Failure::Usage(format!("--public-key {}: {reason}", path.display()));
    let pem = std::fs::read(&path).map_err(|error| usage(error.to_string()))?;
    PublicKey::from_pem(&pem).map_err(|error| usage(error.to_string()))
}

fn api_key(text: &str) -> Result<String, &'static str> {
    is_api_key(text).then(|| text.to_owned()).ok_or("an API key is letters and digits")
}

fn application(text: &str) -> Result<String, &'static str> {
    is_uuid(text).then(|| text.to_owned()).ok_or("an application ID is a UUID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_faults_that_there_are() {
        for name in super::super::fault_names(HELP) {
            assert!(fault(&format!("fault={name}")).is_ok(), "{name}");
        }
    }
}
