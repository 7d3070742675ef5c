//! How long the store takes, as it counts it itself.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::store::Times;

#[derive(Debug)]
pub(super) struct StoreTimes(pub(super) Arc<Times>);

#[derive(Debug, EncodeLabelSet)]
struct Labels {
    engine: &'static str,
    work: &'static str,
}

impl Collector for StoreTimes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let engine = self.0.engine();
        let help = "Seconds that the store took, by what it was asked for";
        let mut family = encoder.encode_descriptor("store_seconds", help, None, MetricType::Histogram)?;
        for (work, took) in self.0.by_work() {
            let (buckets, seconds) = took.buckets();
            let count = buckets.iter().map(|(_, times)| times).sum();
            let labels = Labels { engine, work };
            let mut family = family.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        let help = "How often the store gave no answer, or could not do its work";
        let mut family = encoder.encode_descriptor("store_failures", help, None, MetricType::Counter)?;
        for (work, took) in self.0.by_work() {
            let labels = Labels { engine, work };
            ConstCounter::new(took.failed()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
