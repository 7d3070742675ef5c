//! Which refusals are lines of the audit trail: some of each client, and some of all. Each line is sealed under a lock
//! that all gateways share, so that strangers must not be able to ask for many.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

use crate::access::addresses::Addresses;
use crate::domain::event::What;
use crate::domain::limits::Rate;

/// Of what an address may not do one line a minute is written down.
const EACH: Rate = Rate::new(1, Duration::from_secs(60));
/// And so many of all together at this gateway.
const ALL: NonZeroU32 = NonZeroU32::new(60).expect("it is more than none");
/// How many were left out is told this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A request.
    Request,
    /// A proxy that is not listed.
    Peer,
}

impl Refused {
    pub(super) const fn what(self) -> What {
        match self {
            Self::Request => What::RequestDenied,
            Self::Peer => What::PeerRefused,
        }
    }
}

/// How often something was written down.
#[derive(Debug)]
pub(super) struct Refusals {
    /// One hides nothing of the other.
    requests: Addresses,
    peers: Addresses,
    all: DefaultDirectRateLimiter,
    left_out: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self {
            requests: Addresses::new(EACH),
            peers: Addresses::new(EACH),
            all: RateLimiter::direct(Quota::per_minute(ALL)),
            left_out: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// Whether one more is a line.
    pub(super) fn admit(&self, refused: Refused, client: IpAddr) -> bool {
        let each = match refused {
            Refused::Request => &self.requests,
            Refused::Peer => &self.peers,
        };
        if each.spend(client).is_err() {
            return false;
        }
        let is_line = self.all.check().is_ok();
        if !is_line {
            self.leave_out();
        }
        is_line
    }

    /// A client that had no line yet gets none.
    pub(super) fn leave_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Of how many clients that is to be told now.
    pub(super) fn to_tell(&self) -> Option<u64> {
        let mut told = self.told.lock().expect("nobody panics while holding it");
        let is_early = told.is_some_and(|told| told.elapsed() < TELL_EVERY);
        if is_early || self.left_out.load(Ordering::Relaxed) == 0 {
            return None;
        }
        *told = Some(Instant::now());
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }

    /// Forgets addresses of which something may be written down again.
    pub(super) fn tidy(&self) {
        self.requests.tidy();
        self.peers.tidy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn one_kind_hides_nothing_of_the_other() {
        let refusals = Refusals::new();
        assert!(refusals.admit(Refused::Request, client(1)));
        assert!(!refusals.admit(Refused::Request, client(1)));
        assert!(refusals.admit(Refused::Peer, client(1)));
        assert_eq!(refusals.to_tell(), None, "each had its line");
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_get_so_many_lines_and_how_many_were_left_out_is_told_once_a_minute() {
        let refusals = Refusals::new();
        let count = |clients: std::ops::Range<u32>| {
            clients.filter(|n| refusals.admit(Refused::Request, client(*n))).count()
        };
        let lines = count(0..1_000);
        assert!((60..100).contains(&lines), "{lines}");
        assert_eq!(refusals.to_tell(), Some(1_000 - lines as u64));
        assert_eq!(refusals.to_tell(), None);
        refusals.leave_out();
        assert_eq!(refusals.to_tell(), None);
        tokio::time::advance(TELL_EVERY).await;
        assert_eq!(refusals.to_tell(), Some(1));
    }
}
