//! Looks after the certificates: files that changed are read again, and one that ends soon is told in time.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::{Certificates, Origin, Shown, Tls};
use crate::clock::Clock;
use crate::domain::time::{Short, Timestamp};
use crate::server::front::Serving;

/// Files are looked at this often.
const EVERY: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(86_400);
/// The end is told when so many days are left, and when none are.
const DAYS: [u32; 5] = [0, 1, 3, 7, 14];

/// What tells one state of a file from the next. A file that is not there has none.
type Mark = Option<(u64, u64, i64, i64, u64)>;

/// Watches the certificates of whatever configuration there is, until dropped.
pub async fn watch(serving: watch::Receiver<Arc<Serving>>, clock: Arc<dyn Clock>) {
    let mut files = Files::default();
    let mut ends = Ends::default();
    let mut uncovered = Uncovered::default();
    loop {
        let serving = serving.borrow().clone();
        if let Some(tls) = &serving.tls {
            let certificates = tls.certificates();
            files.look(certificates);
            uncovered.look(tls, serving.generation.site.policy.hosts());
            for shown in certificates.all().iter() {
                ends.look(shown, clock.now());
            }
        }
        sleep(EVERY).await;
    }
}

/// The files as they were read last, and as they looked a moment ago.
#[derive(Default)]
struct Files {
    read: Vec<Mark>,
    seen: Vec<Mark>,
    /// Whose they are.
    of: Option<Arc<Certificates>>,
}

impl Files {
    fn look(&mut self, certificates: &Arc<Certificates>) {
        let marks: Vec<Mark> = certificates
            .files()
            .flat_map(|files| [mark(&files.certificate), mark(&files.private_key)])
            .collect();
        let is_known = self.of.as_ref().is_some_and(|known| Arc::ptr_eq(known, certificates));
        if !is_known {
            // They were read a moment ago.
            (self.read, self.of) = (marks.clone(), Some(certificates.clone()));
        }
        // Whoever replaces a certificate writes two files; they are read once neither changes any more.
        let is_still = self.seen == marks;
        self.seen.clone_from(&marks);
        if self.read == marks || !is_still {
            return;
        }
        self.read = marks;
        match certificates.read_again() {
            Ok(()) => {
                for shown in certificates.all().iter() {
                    let until = shown.expires().to_jiff();
                    tracing::info!(name = shown.name(), %until, "a certificate was read again");
                }
            }
            Err(error) => tracing::error!(%error, "the certificates were not read again; the old ones stay"),
        }
    }
}

fn mark(file: &Path) -> Mark {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// Whose end was told, and with how many days left.
#[derive(Default)]
struct Ends(HashMap<(String, i64), u32>);

impl Ends {
    fn look(&mut self, shown: &Shown, now: Timestamp) {
        let Some(days) = days_left(shown.expires(), now) else { return };
        let told = self.0.insert((shown.name().to_owned(), shown.expires().unix()), days);
        if told.is_some_and(|told| told <= days) {
            return;
        }
        let remedy = match shown.origin() {
            Origin::Files => "renew it and put it in the place of the old one; it is read again by itself",
            Origin::Acme => "see why it was not renewed, in the lines about ACME: vestibule check --online",
        };
        let name = shown.name();
        if days == 0 {
            tracing::error!(name, remedy, "a certificate has expired: browsers refuse to come");
        } else {
            let left = Short(DAY * days);
            tracing::warn!(name, within = %left, remedy, "a certificate expires soon");
        }
    }
}

/// The least of the days that are told about in which it ends; 0 when it has.
fn days_left(expires: Timestamp, now: Timestamp) -> Option<u32> {
    DAYS.into_iter().find(|days| expires <= now + DAY * *days)
}

/// The hosts that were told to have no certificate.
#[derive(Default)]
struct Uncovered(BTreeSet<String>);

impl Uncovered {
    fn look<'h>(&mut self, tls: &Tls, hosts: impl Iterator<Item = &'h str>) {
        // Of a certificate that is to be issued others tell.
        let is_ordered =
            |host: &str| tls.acme().is_some_and(|acme| acme.domains.iter().any(|domain| domain == host));
        let uncovered = hosts.filter(|host| !tls.certificates().cover(host) && !is_ordered(host));
        let uncovered = uncovered.map(str::to_owned).collect();
        let told = std::mem::replace(&mut self.0, uncovered);
        for host in self.0.difference(&told) {
            let remedy =
                "get a certificate with this name, and add it to server.tls; or end TLS before the gateway";
            tracing::warn!(host, remedy, "no certificate is for this host: browsers refuse to come");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_in_time() {
        let now = Timestamp::from_unix(1_800_000_000);
        for (left, told) in
            [(0, Some(0)), (1, Some(1)), (86_401, Some(3)), (14 * 86_400, Some(14)), (14 * 86_400 + 1, None)]
        {
            assert_eq!(days_left(now + Duration::from_secs(left), now), told, "{left}");
        }
    }
}
