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

/// When the process began.
#[derive(Debug)]
pub(super) struct Start;

impl Collector for Start {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(start) = start() else { return Ok(()) };
        let (name, help) = ("process_start_time_seconds", "When the process began, in seconds since 1970");
        let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(start).encode(encoder)
    }
}

/// What the kernel counts time in: Linux shows hundredths of a second whatever it counts in itself (proc_pid_stat(5)).
const TICKS: f64 = 100.0;

/// Seconds since 1970: the machine's start, and the process' after it, the twenty-second number of its line.
fn start() -> Option<f64> {
    let line = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Its name comes second, in brackets, and may have anything in it.
    let ticks: f64 = line.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let machine = number("/proc/stat", "btime")?;
    Some(machine as f64 + ticks / TICKS)
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
