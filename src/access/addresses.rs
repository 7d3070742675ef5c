//! Limits by client address, in memory: the first thing that happens to anybody who asks for something.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::Ipv6Net;

use crate::domain::limits::Rate;

/// Counts by address, IPv6 by /64: whoever has one address there has them all.
#[derive(Debug)]
pub struct Addresses {
    rate: Rate,
    limiter: DefaultKeyedRateLimiter<IpAddr>,
}

/// So many addresses are told apart; beyond that newcomers share one count until old ones are forgotten, so that
/// memory stays bounded whoever comes.
const MOST: usize = 100_000;
const SHARED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

impl Addresses {
    /// `rate` by address; it refills evenly over its period.
    pub fn new(rate: Rate) -> Self {
        let burst = NonZeroU32::new(rate.count()).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::with_period(rate.period() / burst.get()).unwrap_or_else(|| Quota::per_second(burst));
        Self { rate, limiter: RateLimiter::keyed(quota.allow_burst(burst)) }
    }

    /// The same by another rate. What was counted stays as long as the rate does.
    pub fn next(self: &Arc<Self>, rate: Rate) -> Arc<Self> {
        if rate == self.rate { self.clone() } else { Arc::new(Self::new(rate)) }
    }

    /// Spends one; `Err` is how long to wait.
    pub fn spend(&self, address: IpAddr) -> Result<(), Duration> {
        let key = if self.limiter.len() >= MOST { SHARED } else { network(address) };
        let refused = self.limiter.check_key(&key).err();
        refused.map_or(Ok(()), |until| {
            Err(until.wait_time_from(DefaultClock::default().now()).max(Duration::from_secs(1)))
        })
    }

    /// Forgets addresses that have waited long enough.
    pub fn tidy(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Who an address stands for: itself, in IPv6 its /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Net::new_assert(v6, 64).network()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_count_and_a_network_of_ipv6_shares_one() {
        let addresses = Addresses::new("2/1h".parse().unwrap());
        let spend = |text: &str| addresses.spend(text.parse().unwrap()).is_ok();
        assert!(spend("192.0.2.1") && spend("192.0.2.1") && !spend("192.0.2.1"));
        assert!(spend("192.0.2.2"));
        assert!(spend("2001:db8::1") && spend("2001:db8::2") && !spend("2001:db8::3"));
        assert!(spend("2001:db8:0:1::1"));
    }

    #[test]
    fn a_refusal_says_how_long() {
        let addresses = Addresses::new("1/1h".parse().unwrap());
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(addresses.spend(address), Ok(()));
        let wait = addresses.spend(address).unwrap_err();
        assert!(wait > Duration::from_secs(3_590) && wait <= Duration::from_secs(3_600), "{wait:?}");
    }
}
