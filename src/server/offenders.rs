//! Clients whose connections had to be ended: floods of resets, heads without an end, requests that could be read in
//! two ways. Each new connection costs us a TLS handshake, and them next to nothing; for a while theirs come one after
//! the other, at a pace. They are slowed down and not shut out, since many may stand behind one address.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Client;

/// Between two connections of an offender.
const PAUSE: Duration = Duration::from_millis(100);
/// A connection whose turn comes later is closed, so that no more than fifty of each offender wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// An offender is one for so long after the last offence.
const MEMORY: Duration = Duration::from_secs(30);
/// Beyond so many, newcomers are not remembered until others are forgotten, which is looked at so often.
const MOST: usize = 10_000;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The log tells of them at most so often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// All that are remembered, over all threads. Looked at when a connection begins or was ended, by no request.
#[derive(Debug, Default)]
pub struct Offenders(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    offenders: HashMap<Client, Offender>,
    swept: Option<Instant>,
    told: Option<Instant>,
    delayed: u64,
    closed: u64,
}

#[derive(Debug)]
struct Offender {
    /// When the next connection may begin.
    next: Instant,
    /// When it is forgotten.
    until: Instant,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Now,
    At(Instant),
    Never,
}

impl Offenders {
    /// This client's connection had to be ended.
    pub(super) fn offended(&self, client: Client, now: Instant) {
        let mut known = self.known(now);
        let has_room = known.offenders.len() < MOST;
        match known.offenders.get_mut(&client) {
            Some(offender) => offender.until = now + MEMORY,
            None if has_room => {
                known.offenders.insert(client, Offender { next: now + PAUSE, until: now + MEMORY });
            }
            None => {}
        }
    }

    /// When this client's next connection may begin.
    pub(super) fn admit(&self, client: Client, now: Instant) -> Admission {
        let mut known = self.known(now);
        let offender = known.offenders.get_mut(&client).filter(|offender| now < offender.until);
        let admission = offender.map_or(Admission::Now, |offender| offender.admit(now));
        let told = known.count(admission, now);
        drop(known);
        if let Some((delayed, closed)) = told {
            tracing::warn!(
                %client,
                delayed,
                closed,
                "connections of clients whose others had to be ended are slowed down"
            );
        }
        admission
    }

    fn known(&self, now: Instant) -> MutexGuard<'_, Known> {
        // Nothing that can panic is done under it.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep(now);
        known
    }
}

impl Offender {
    fn admit(&mut self, now: Instant) -> Admission {
        let turn = self.next.max(now);
        if turn > now + PATIENCE {
            return Admission::Never;
        }
        self.next = turn + PAUSE;
        if turn > now { Admission::At(turn) } else { Admission::Now }
    }
}

impl Known {
    fn sweep(&mut self, now: Instant) {
        if self.offenders.is_empty() || self.swept.is_some_and(|swept| now < swept + SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        self.offenders.retain(|_, offender| now < offender.until);
    }

    /// Connections that were delayed and closed since the log told of it last, if it is to be told now.
    fn count(&mut self, admission: Admission, now: Instant) -> Option<(u64, u64)> {
        match admission {
            Admission::Now => return None,
            Admission::At(_) => self.delayed += 1,
            Admission::Never => self.closed += 1,
        }
        if self.told.is_some_and(|told| now < told + TELL_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some((std::mem::take(&mut self.delayed), std::mem::take(&mut self.closed)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    fn address(text: &str) -> Client {
        Client::of(text.parse().unwrap())
    }

    #[test]
    fn an_offender_comes_at_a_pace_and_is_forgotten() {
        let (offenders, begin) = (Offenders::default(), Instant::now());
        let mallory = address("192.0.2.1");
        assert_eq!(offenders.admit(mallory, begin), Admission::Now);
        offenders.offended(mallory, begin);
        // Many come at once: each waits for those before it, and what would wait too long is closed.
        let waiting: Vec<_> = (0..200).map(|_| offenders.admit(mallory, begin)).collect();
        for (n, admission) in (1..).zip(&waiting[..50]) {
            assert_eq!(*admission, Admission::At(begin + PAUSE * n));
        }
        assert!(waiting[50..].iter().all(|admission| *admission == Admission::Never));
        assert_eq!(offenders.admit(address("192.0.2.2"), begin), Admission::Now, "somebody else");
        // Those that were closed are not waited for.
        let later = begin + PATIENCE + PAUSE;
        assert_eq!(offenders.admit(mallory, later), Admission::Now);
        assert_eq!(offenders.admit(mallory, later), Admission::At(later + PAUSE));
        offenders.offended(mallory, later);
        let almost = later + MEMORY - PAUSE;
        assert_eq!(offenders.admit(mallory, almost), Admission::Now);
        assert_eq!(offenders.admit(mallory, almost), Admission::At(almost + PAUSE));
        assert_eq!(offenders.admit(mallory, later + MEMORY), Admission::Now);
        assert_eq!(offenders.admit(mallory, later + MEMORY), Admission::Now);
        assert_eq!(offenders.admit(mallory, later + MEMORY + SWEEP_EVERY), Admission::Now);
        assert!(offenders.0.lock().unwrap().offenders.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_offender_and_an_address_has_one_spelling() {
        let (offenders, now) = (Offenders::default(), Instant::now());
        offenders.offended(address("2001:db8::1"), now);
        assert_ne!(offenders.admit(address("2001:db8::2"), now), Admission::Now);
        assert_eq!(offenders.admit(address("2001:db8:0:1::1"), now), Admission::Now);
        offenders.offended(address("::ffff:192.0.2.1"), now);
        assert_ne!(offenders.admit(address("192.0.2.1"), now), Admission::Now);
    }

    #[test]
    fn the_table_is_bounded_whoever_comes() {
        let (offenders, begin) = (Offenders::default(), Instant::now());
        let host =
            |n: u64| Client::of(IpAddr::V6(Ipv6Addr::from((0x2001_0db8_0000_0000 + u128::from(n)) << 64)));
        let size = || offenders.0.lock().unwrap().offenders.len();
        (0..MOST as u64 + 1_000).for_each(|n| offenders.offended(host(n), begin));
        assert_eq!(size(), MOST);
        assert_eq!(offenders.admit(host(MOST as u64 + 500), begin), Admission::Now);
        assert_ne!(offenders.admit(host(5), begin), Admission::Now);
        // Those who are known already go on being so, and the others make room.
        offenders.offended(host(5), begin + MEMORY / 2);
        let later = begin + MEMORY;
        offenders.offended(Client::of(IpAddr::V4(Ipv4Addr::LOCALHOST)), later);
        assert_eq!(size(), 2);
    }

    #[test]
    fn the_log_is_told_once_in_a_while() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert_eq!(known.count(Admission::Now, now), None);
        assert_eq!(known.count(Admission::Never, now), Some((0, 1)));
        for _ in 0..10 {
            assert_eq!(known.count(Admission::At(now), now), None);
        }
        assert_eq!(known.count(Admission::Never, now + TELL_EVERY), Some((10, 1)));
    }
}
