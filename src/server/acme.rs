//! A certificate by ACME (RFC 8555), kept good: asked for when there is none, and again long before it ends. What fails
//! is tried again at growing pauses, told, and never takes the old certificate down.

mod files;
mod order;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::front::Serving;
use super::tls::{Kept, Shown, Tls};
use crate::clock::Clock;
use crate::config::Acme;
use crate::crypto;
use crate::domain::time::{Short, Timestamp};

/// Whatever is waited for, it is looked at this often: a clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// All of an order.
const ORDER: Duration = Duration::from_secs(600);
/// The pause after a failure; twice as long after each further one, and never longer than that.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3_600);
/// A certificate that ends within so long although it should have been renewed is nobody's small matter.
const LATE: Duration = Duration::from_secs(14 * 86_400);

/// What it takes.
#[derive(Debug)]
pub struct Renewal {
    /// Which configuration there is.
    pub serving: watch::Receiver<Arc<Serving>>,
    /// Where what was issued is, and what authorities are shown.
    pub kept: Kept,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// When the next certificate is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    At(Timestamp),
}

/// Keeps it good until dropped.
pub async fn keep(mut renewal: Renewal) {
    let mut plan = Plan::default();
    loop {
        let tls = renewal.serving.borrow_and_update().tls.clone();
        let acme = tls.as_ref().and_then(|tls| tls.acme().cloned());
        let wait = match (tls, acme) {
            (Some(tls), Some(acme)) => renewal.look(&tls, &acme, &mut plan).await,
            (None, _) | (_, None) => LOOK_EVERY,
        };
        tokio::select! {
            () = sleep(wait) => {}
            changed = renewal.serving.changed() => {
                if changed.is_err() {
                    return;
                }
                // Whoever corrects a mistake does not want to wait.
                plan.failures = 0;
            }
        }
    }
}

/// What is known from one look to the next.
#[derive(Debug, Default)]
struct Plan {
    failures: u32,
    /// Of which certificate, and when its authority wants it renewed (RFC 9773).
    suggested: Option<(Vec<u8>, Timestamp)>,
    /// When the authority is asked about that again.
    ask_again: Option<Timestamp>,
    /// Not before that, whatever else is so.
    not_before: Option<Timestamp>,
}

impl Renewal {
    /// Does what is due; how long to wait then.
    async fn look(&self, tls: &Tls, acme: &Acme, plan: &mut Plan) -> Duration {
        let issued = tls.certificates().issued().filter(|shown| is_for(shown, acme));
        let now = self.clock.now();
        if let Some(shown) = &issued {
            self.ask(acme, shown, plan).await;
        }
        match due(issued.as_ref(), plan, now) {
            Due::At(moment) => until(now, moment),
            Due::Now => self.renew(tls, acme, issued, plan).await,
        }
    }

    /// Asks the authority when it wants a certificate renewed, as often as it wants to be asked.
    async fn ask(&self, acme: &Acme, shown: &Shown, plan: &mut Plan) {
        let now = self.clock.now();
        if plan.suggested.as_ref().is_some_and(|(leaf, _)| leaf != shown.leaf()) {
            (plan.suggested, plan.ask_again) = (None, None);
        }
        if plan.ask_again.is_some_and(|moment| now < moment) {
            return;
        }
        match timeout(ORDER, order::suggested(acme, &self.kept, shown)).await {
            Ok(Ok(Some(window))) => {
                let moment = window.moment(u64::from_ne_bytes(crypto::random()));
                // The moment was drawn once; it moves only with the window.
                let holds = plan.suggested.as_ref().is_some_and(|(_, known)| window.has(*known));
                if !holds {
                    plan.suggested = Some((shown.leaf().to_vec(), moment));
                }
                plan.ask_again = Some(now + window.ask_again);
            }
            Ok(Ok(None)) | Ok(Err(_)) | Err(_) => plan.ask_again = Some(now + LONGEST_PAUSE),
        }
    }

    async fn renew(&self, tls: &Tls, acme: &Acme, old: Option<Shown>, plan: &mut Plan) -> Duration {
        let obtained = timeout(ORDER, order::obtain(acme, &self.kept, old.as_ref())).await;
        self.kept.challenges().clear();
        let written = match obtained {
            Ok(Ok(pem)) => files::write(self.kept.issued(), &pem).map_err(order::AcmeError::Directory),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(order::AcmeError::Late),
        };
        let read =
            written.and_then(|()| tls.certificates().read_again().map_err(order::AcmeError::Certificate));
        match read {
            Ok(()) => {
                let new = tls.certificates().issued();
                let (now, lasts) = (self.clock.now(), new.as_ref().map_or(LOOK_EVERY, lifetime));
                *plan = Plan { not_before: Some(now + (lasts / 2).min(LOOK_EVERY)), ..Plan::default() };
                let until = new.map(|new| new.expires().to_jiff());
                tracing::info!(domains = ?acme.domains, ?until, "a certificate was issued");
                Duration::ZERO
            }
            Err(error) => self.failed(&error, acme, old.as_ref(), plan),
        }
    }

    fn failed(
        &self,
        error: &order::AcmeError,
        acme: &Acme,
        old: Option<&Shown>,
        plan: &mut Plan,
    ) -> Duration {
        let pause = pause(plan.failures);
        plan.failures += 1;
        let (domains, next) = (&acme.domains, Short(pause));
        let now = self.clock.now();
        match old {
            Some(old) if old.expires() > now + LATE.min(lifetime(old) / 6) => {
                tracing::warn!(%error, ?domains, %next, "the certificate was not renewed; the old one is good for now");
            }
            Some(_) => {
                tracing::error!(%error, ?domains, %next, "the certificate was not renewed, and the old one ends soon");
            }
            None => {
                tracing::error!(%error, ?domains, %next, "no certificate was issued; nobody can come by https")
            }
        }
        pause
    }
}

fn is_for(shown: &Shown, acme: &Acme) -> bool {
    acme.domains.iter().all(|domain| shown.names().cover(domain))
}

fn lifetime(shown: &Shown) -> Duration {
    let seconds = shown.expires().unix() - shown.begins().unix();
    Duration::from_secs(seconds.max(0).unsigned_abs())
}

fn due(issued: Option<&Shown>, plan: &Plan, now: Timestamp) -> Due {
    let Some(shown) = issued else { return Due::Now };
    // A third of its life is left, unless the authority has a better idea.
    let usual = shown.expires() - lifetime(shown) / 3 - lot(shown.leaf(), lifetime(shown) / 24);
    // There must be time to try again, whatever it suggests.
    let latest = shown.expires() - lifetime(shown) / 6;
    let moment = plan.suggested.as_ref().map_or(usual, |(_, moment)| (*moment).min(latest));
    let moment = plan.not_before.map_or(moment, |not_before| moment.max(not_before));
    if now >= moment { Due::Now } else { Due::At(moment) }
}

/// Up to `most`, by lot, so that not all who were issued one in the same hour come again in the same hour. A
/// certificate has drawn once for all: a start changes nothing.
fn lot(leaf: &[u8], most: Duration) -> Duration {
    let drawn = u64::from_str_radix(&crypto::short_digest(leaf), 16).unwrap_or_default();
    Duration::from_secs(drawn % (most.as_secs() + 1))
}

fn until(now: Timestamp, moment: Timestamp) -> Duration {
    let seconds = (moment.unix() - now.unix()).max(1).unsigned_abs();
    Duration::from_secs(seconds).min(LOOK_EVERY)
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(12)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let seconds: Vec<_> = [0, 1, 2, 8, 9, 40].map(|failures| pause(failures).as_secs()).to_vec();
        assert_eq!(seconds, [60, 120, 240, 15_360, 21_600, 21_600]);
    }

    #[test]
    fn not_all_certificates_are_renewed_at_once_and_each_at_one_moment() {
        let most = Duration::from_secs(90 * 86_400 / 24);
        let lots: Vec<_> = (0..200u8).map(|leaf| lot(&[leaf], most).as_secs()).collect();
        let quarters: std::collections::HashSet<_> =
            lots.iter().map(|lot| lot * 4 / most.as_secs()).collect();
        assert!(lots.iter().all(|lot| *lot <= most.as_secs()) && quarters.len() >= 4, "{lots:?}");
        assert_eq!(lot(b"leaf", most), lot(b"leaf", most));
        assert_eq!(lot(b"leaf", Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn nobody_is_looked_at_less_than_each_hour() {
        let at = Timestamp::from_unix;
        assert_eq!(until(at(100), at(160)), Duration::from_secs(60));
        assert_eq!(until(at(100), at(100)), Duration::from_secs(1));
        assert_eq!(until(at(100), at(1_000_000)), LOOK_EVERY);
    }
}
