//! Asking the providers, at the start, whether they know us.

use std::time::Duration;

use crate::verifier::failover::Failover;
use crate::verifier::{Trouble, Verifier};

/// How long the start waits for the provider to say how long its codes are.
const PROBE: Duration = Duration::from_secs(5);

/// Asks the providers whether they know us, and how long their codes are. The gateway starts all the same: people with
/// a session must not be shut out because a provider is down.
pub(super) async fn greet_all(failover: &Failover) {
    let greetings = failover.providers().map(|provider| async {
        let greeted = tokio::time::timeout(PROBE, greet(&**provider)).await;
        if greeted.is_err() {
            let name = provider.name();
            tracing::warn!(provider = name, "the provider does not answer; codes may not go out");
        }
    });
    futures_util::future::join_all(greetings).await;
    let lengths: Vec<u8> = failover.providers().map(|provider| provider.terms().code_length).collect();
    if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        let remedy =
            "set code_length in [[provider]], or the length in the Verify Service, so that they agree";
        tracing::warn!(?lengths, remedy, "the providers' codes differ in length");
    }
}

async fn greet(verifier: &dyn Verifier) {
    let name = verifier.name();
    match verifier.probe().await {
        Ok(terms) => {
            tracing::info!(provider = name, code_length = terms.code_length, "the provider is there")
        }
        Err(error) if error.trouble == Trouble::Configuration => {
            let remedy = "check its credentials in [[provider]]; until then it sends no codes";
            tracing::error!(provider = name, %error, remedy, "the provider refuses us");
        }
        Err(error) => {
            tracing::warn!(provider = name, %error, "the provider cannot be reached; codes may not go out")
        }
    }
}
