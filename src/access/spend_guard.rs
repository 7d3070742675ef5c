//! The spend guard: what stands between a request for a code and a message that costs money.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::addresses::network;
use crate::config;
use crate::crypto::MasterKey;
use crate::domain::challenge::{Challenge, Subject};
use crate::domain::phone::PhoneNumber;
use crate::domain::spend::{Budget, Guard, Sequence, Stop, prefix};
use crate::domain::time::Timestamp;
use crate::store::{Reservation, Spend, Store, StoreError};

/// Stops messages.
#[derive(Debug)]
pub struct SpendGuard {
    store: Store,
    master: Arc<MasterKey>,
    settings: config::Spend,
    memory: Arc<Memory>,
}

/// What it has seen; another configuration does not make it forget.
#[derive(Debug, Default)]
struct Memory {
    /// What each client network typed last.
    sequences: Mutex<HashMap<IpAddr, (Sequence, Instant)>>,
    /// When each guard was last told aloud.
    alarms: Mutex<HashMap<Guard, Instant>>,
}

/// So many client networks are followed; beyond that newcomers are not, so that memory stays bounded.
const MOST_NETWORKS: usize = 100_000;
/// What was typed longer ago is no sequence any more.
const SEQUENCE_LASTS: Duration = Duration::from_secs(3_600);
/// A guard that stops message after message raises the alarm this often.
const ALARM_EVERY: Duration = Duration::from_secs(60);

impl SpendGuard {
    /// A guard under these settings.
    pub fn new(store: Store, master: Arc<MasterKey>, settings: config::Spend) -> Self {
        Self { store, master, settings, memory: Arc::default() }
    }

    /// The same guard under other settings.
    pub fn next(&self, settings: config::Spend) -> Self {
        let Self { store, master, memory, .. } = self;
        Self { store: store.clone(), master: master.clone(), settings, memory: memory.clone() }
    }

    /// Notes a number that was typed, whoever's it is, and stops who types one after the other.
    pub fn watch(&self, client: IpAddr, number: &PhoneNumber) -> Result<(), Stop> {
        let client = network(client);
        let mut sequences = self.memory.sequences.lock().expect("nobody panics while holding it");
        let known = sequences.get(&client).filter(|(_, at)| at.elapsed() < SEQUENCE_LASTS);
        let sequence = match known {
            // Who was stopped stays so until the hour is over, whatever they type.
            Some((sequence, at)) if sequence.is_too_long() => {
                return Err(Stop {
                    guard: Guard::Sequence,
                    wait: SEQUENCE_LASTS.saturating_sub(at.elapsed()),
                });
            }
            Some((sequence, _)) => sequence.next(number),
            None => Sequence::begin(number),
        };
        if sequences.len() < MOST_NETWORKS || sequences.contains_key(&client) {
            sequences.insert(client, (sequence, Instant::now()));
        }
        if sequence.is_too_long() {
            return Err(Stop { guard: Guard::Sequence, wait: SEQUENCE_LASTS });
        }
        Ok(())
    }

    /// Somebody there proved their phone: whoever tests new accounts one after the other is no thief of numbers.
    pub fn proved(&self, client: IpAddr) {
        self.memory.sequences.lock().expect("nobody panics while holding it").remove(&network(client));
    }

    /// Counts a message before it is sent. A stranger's (without a number to send to) is judged like everybody's.
    pub async fn reserve(
        &self,
        challenge: &Challenge,
        to: Option<&PhoneNumber>,
        now: Timestamp,
    ) -> Result<Result<Reservation, Stop>, StoreError> {
        let wanted = self.reservation(challenge, to, now);
        let reserved = self.store.reserve_message(wanted.clone(), now).await?;
        Ok(reserved.map(|()| wanted))
    }

    /// Takes a reservation back: nothing went out.
    pub async fn refund(&self, taken: Reservation) -> Result<(), StoreError> {
        self.store.refund_message(taken).await
    }

    fn reservation(&self, challenge: &Challenge, to: Option<&PhoneNumber>, now: Timestamp) -> Reservation {
        Reservation {
            real: to.is_some(),
            first: challenge.sends == 1,
            subject: challenge.subject.clone(),
            began_at: challenge.created_at,
            gateway: gateway_budgets(&self.settings, now).into(),
            user: user_budgets(&self.settings, &challenge.subject, now).into(),
            prefix: to.map(|to| Spend {
                key: format!("prefix:{}", self.master.hash("prefix", prefix(to))),
                rate: self.settings.messages_per_prefix,
            }),
            conversion: self.settings.conversion,
        }
    }

    /// Whether a guard that stops somebody now is to be told aloud, or was a moment ago.
    pub fn alarm(&self, guard: Guard) -> bool {
        let mut alarms = self.memory.alarms.lock().expect("nobody panics while holding it");
        if alarms.get(&guard).is_some_and(|at| at.elapsed() < ALARM_EVERY) {
            return false;
        }
        alarms.insert(guard, Instant::now());
        true
    }

    /// Forgets what was typed long ago.
    pub fn tidy(&self) {
        let mut sequences = self.memory.sequences.lock().expect("nobody panics while holding it");
        sequences.retain(|_, (_, at)| at.elapsed() < SEQUENCE_LASTS);
        sequences.shrink_to_fit();
    }
}

/// The budgets of the gateway at this moment: of the day, and of the month.
pub fn gateway_budgets(settings: &config::Spend, now: Timestamp) -> [Budget; 2] {
    [
        Budget::of_day(Guard::Day, "gateway", settings.messages_per_day, now),
        Budget::of_month(Guard::Month, "gateway", settings.messages_per_month, now),
    ]
}

fn user_budgets(settings: &config::Spend, subject: &Subject, now: Timestamp) -> [Budget; 2] {
    let whose = subject.as_str();
    [
        Budget::of_day(Guard::UserDay, whose, settings.messages_per_user_and_day, now),
        Budget::of_month(Guard::UserMonth, whose, settings.messages_per_user_and_month, now),
    ]
}
