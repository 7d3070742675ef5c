//! The providers' clients, and whoever is asked about lines.

use std::sync::Arc;

use super::{StartError, State};
use crate::access::lines::Lines;
use crate::clock::Clock;
use crate::config::{Account, Provider, Settings};
use crate::verifier::Verifier;
use crate::verifier::failover::Failover;
use crate::verifier::lookup::Lookup;
use crate::verifier::twilio::Twilio;
use crate::verifier::vonage::v1::VonageV1;
use crate::verifier::vonage::v2::{self, Vonage};

/// The providers' clients, in the order of the configuration.
pub fn failover(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Failover, StartError> {
    let verifiers = settings.providers.iter().map(|provider| verifier(provider, settings, clock.clone()));
    Ok(Failover::new(verifiers.collect::<Result<_, _>>()?))
}

fn verifier(
    provider: &Provider,
    settings: &Settings,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Verifier>, StartError> {
    let name = provider.name.as_str();
    let (brand, channels) = (settings.challenge.brand.as_str(), settings.challenge.channels.as_slice());
    Ok(match &provider.account {
        Account::Twilio(account) => Arc::new(Twilio::new(name, account, brand)?),
        Account::Vonage(account) => {
            let client = Vonage::new(name, account, brand, channels, clock);
            Arc::new(client.map_err(|error| match error {
                v2::SetUpError::Client(error) => StartError::Client(error),
                v2::SetUpError::PrivateKey => StartError::PrivateKey(name.to_owned()),
            })?)
        }
        Account::VonageV1(account) => Arc::new(VonageV1::new(name, account, brand, channels)?),
    })
}

/// Who is asked about lines, and from what is known.
pub fn lines(settings: &Settings, state: &State) -> Result<Lines, StartError> {
    let lookup = settings.lookup.as_ref().map(|lookup| Ok((Lookup::new(lookup)?, lookup.clone())));
    let lookup = lookup.transpose().map_err(StartError::Client)?;
    Ok(Lines::new(state.store.clone(), state.master.clone(), lookup))
}
