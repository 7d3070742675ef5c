//! Asking the providers, at the start, whether they know us.

use std::sync::Arc;
use std::time::Duration;

use crate::verifier::failover::Failover;
use crate::verifier::{Terms, Trouble, Verifier};

/// How long the start waits for the provider to say how long its codes are.
const PROBE: Duration = Duration::from_secs(5);

/// Who did not answer is asked again this often, until it has: else nobody knows how long its codes are.
const AGAIN: Duration = Duration::from_secs(10);

/// Asks the providers whether they know us, and how long their codes are; who did not say is to be asked again. The
/// gateway starts all the same: people with a session must not be shut out because a provider is down.
pub(super) async fn greet_all(failover: &Failover) -> Vec<Arc<dyn Verifier>> {
    let greetings = failover.providers().map(async |provider| {
        let answers = tokio::time::timeout(PROBE, greet(&**provider)).await.unwrap_or_else(|_| {
            let name = provider.name();
            tracing::warn!(provider = name, "the provider does not answer; codes may not go out");
            false
        });
        (!answers).then(|| provider.clone())
    });
    let silent = futures_util::future::join_all(greetings).await.into_iter().flatten().collect();
    tell_lengths(failover);
    silent
}

/// Asks those that were silent until each has answered.
pub(super) async fn greet_again(failover: Arc<Failover>, silent: Vec<Arc<dyn Verifier>>) {
    if silent.is_empty() {
        return;
    }
    let greetings = silent.iter().map(async |provider| {
        loop {
            tokio::time::sleep(AGAIN).await;
            if let Ok(terms) = provider.probe().await {
                break there(&**provider, terms);
            }
        }
    });
    futures_util::future::join_all(greetings).await;
    tell_lengths(&failover);
}

async fn greet(provider: &dyn Verifier) -> bool {
    let name = provider.name();
    match provider.probe().await {
        Ok(terms) => {
            there(provider, terms);
            return true;
        }
        Err(error) if error.trouble == Trouble::Configuration => {
            let remedy = "check its credentials in [[provider]]; until then it sends no codes";
            tracing::error!(provider = name, %error, remedy, "the provider refuses us");
        }
        Err(error) => {
            tracing::warn!(provider = name, %error, "the provider cannot be reached; codes may not go out")
        }
    }
    false
}

fn there(provider: &dyn Verifier, terms: Terms) {
    tracing::info!(provider = provider.name(), code_length = terms.code_length, "the provider is there");
}

fn tell_lengths(failover: &Failover) {
    let lengths: Vec<u8> = failover.providers().map(|provider| provider.terms().code_length).collect();
    if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        let remedy =
            "set code_length in [[provider]], or the length in the Verify Service, so that they agree";
        tracing::warn!(?lengths, remedy, "the providers' codes differ in length");
    }
}
