//! Requests, counted by route and by what became of them. Each thread counts for itself and writes alone, so that nobody
//! waits for anybody; who asks for the figures adds them up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::domain::buckets::{BUCKETS, bounded, bucket, microseconds};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The application answered it.
    Forwarded,
    /// Another proxy was told whether it may pass.
    Judged,
    /// Proof was asked for first.
    Challenged,
    /// A rule or route refused it.
    Denied,
    /// It could not be taken as it was, or not at the moment.
    Refused,
    /// One of our own pages answered it.
    Own,
}

const OUTCOMES: [Outcome; 6] = [
    Outcome::Forwarded,
    Outcome::Judged,
    Outcome::Challenged,
    Outcome::Denied,
    Outcome::Refused,
    Outcome::Own,
];

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Judged => "judged",
            Self::Challenged => "challenged",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Own => "own",
        }
    }
}

/// Classes of status codes, 1xx to 5xx.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What one thread counted of one route.
#[derive(Debug, Default)]
pub struct Counted {
    answers: [[AtomicU64; CLASSES.len()]; OUTCOMES.len()],
    /// How many took so long.
    took: [AtomicU64; BUCKETS],
    microseconds: AtomicU64,
}

impl Counted {
    /// One more; `took` is the time until its head was there, of what an application answered.
    pub fn count(&self, outcome: Outcome, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        add(&self.answers[outcome as usize][class], 1);
        if outcome == Outcome::Forwarded {
            let took = microseconds(took);
            add(&self.took[bucket(took)], 1);
            add(&self.microseconds, took);
        }
    }
}

/// Only the thread that counts writes.
fn add(figure: &AtomicU64, more: u64) {
    figure.store(figure.load(Relaxed).wrapping_add(more), Relaxed);
}

/// What all threads counted, by route.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<BTreeMap<String, Vec<Arc<Counted>>>>>);

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

impl Requests {
    /// Where a thread counts the requests of a route.
    pub(super) fn of(&self, route: &str) -> Arc<Counted> {
        let counted = Arc::<Counted>::default();
        self.lock().entry(route.to_owned()).or_default().push(counted.clone());
        counted
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<Arc<Counted>>>> {
        // Nothing that can panic is done under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, EncodeLabelSet)]
struct AnswerLabels {
    route: String,
    outcome: &'static str,
    status: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let routes = self.lock();
        let help = "Requests by route, what became of them and the class of their status";
        let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (route, counted) in routes.iter() {
            for outcome in OUTCOMES {
                for (class, status) in CLASSES.iter().enumerate() {
                    let sum = sum(counted, |counted| &counted.answers[outcome as usize][class]);
                    if sum > 0 {
                        let labels = AnswerLabels { route: route.clone(), outcome: outcome.as_str(), status };
                        ConstCounter::new(sum).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        let help = "Seconds from a request's head to its answer's, of what applications answered";
        let mut family = encoder.encode_descriptor("request_seconds", help, None, MetricType::Histogram)?;
        for (route, counted) in routes.iter() {
            let labels = RouteLabels { route: route.clone() };
            let took: Vec<u64> = (0..BUCKETS).map(|place| sum(counted, |c| &c.took[place])).collect();
            let buckets = bounded(took.iter().copied());
            let seconds = sum(counted, |counted| &counted.microseconds) as f64 / 1e6;
            let mut family = family.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(seconds, took.iter().sum(), &buckets, None)?;
        }
        Ok(())
    }
}

fn sum<'c>(counted: &'c [Arc<Counted>], figure: impl Fn(&'c Counted) -> &'c AtomicU64) -> u64 {
    counted.iter().map(|counted| figure(counted).load(Relaxed)).sum()
}
