//! The process itself, as the kernel counts it (proc(5)). What cannot be read is not told.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = [
            ("process_resident_memory_bytes", "Memory in use", resident()),
            ("process_open_files", "Open files, connections among them", open_files()),
            ("process_most_open_files", "How many there may be", most_open_files()),
        ];
        for (name, help, figure) in figures {
            if let Some(figure) = figure {
                let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(figure).encode(encoder)?;
            }
        }
        Ok(())
    }
}

/// A line of a file of the kernel's, `Name:   number …`.
fn number(file: &str, name: &str) -> Option<i64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

fn resident() -> Option<i64> {
    number("/proc/self/status", "VmRSS").map(|kilobytes| kilobytes * 1_024)
}

fn open_files() -> Option<i64> {
    i64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

fn most_open_files() -> Option<i64> {
    number("/proc/self/limits", "Max open files")
}
