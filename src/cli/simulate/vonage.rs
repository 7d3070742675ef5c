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
/// code is an output line `code +14155550100 1234` and an entry of GET /simulator/messages; GET
/// /simulator/requests lists the API calls; POST, GET and DELETE /simulator/faults switch faults.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  vestibule simulate vonage --listen 127.0.0.1:4020 --fault on=start,fault=429_retry_after,times=2")]
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
