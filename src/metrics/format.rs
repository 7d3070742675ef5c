//! The two ways in which figures are written: OpenMetrics 1.0 and the text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

/// A way to write figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Version 0.0.4 of Prometheus' own, which everything reads.
    Prometheus,
}

const OPEN: &str = "application/openmetrics-text";

impl Format {
    /// What a monitor's `Accept` fields ask for (RFC 9110 section 12.5.1): OpenMetrics only where it is named, and not as
    /// the lesser choice.
    pub fn wanted<'f>(accept: impl Iterator<Item = &'f str>) -> Self {
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accept.flat_map(|field| field.split(',')) {
            let (kind, weight) = weighed(range);
            if kind.eq_ignore_ascii_case(OPEN) {
                open = weight.max(open);
            } else if kind.eq_ignore_ascii_case("text/plain") {
                plain = weight.max(plain);
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Figures in this format that were written in OpenMetrics.
    pub(super) fn of(self, open: String) -> String {
        match self {
            Self::OpenMetrics => open,
            Self::Prometheus => plain(&open),
        }
    }
}

/// A media range without its parameters, and how much it is wanted.
fn weighed(range: &str) -> (&str, f32) {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (kind, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

/// Prometheus' own format has no type for what never changes, and calls a counter as its samples are called.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = "";
    for line in open.lines() {
        if let Some(of_it) = line.strip_prefix("# HELP ") {
            help = of_it;
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|of_it| of_it.rsplit_once(' '))
        {
            let (end, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            let help = help.strip_prefix(name).unwrap_or_default();
            // Writing into a string cannot fail.
            let _ = writeln!(text, "# HELP {name}{end}{help}\n# TYPE {name}{end} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_gets_what_it_asks_for() {
        for (accept, wanted) in [
            (&[][..], Format::Prometheus),
            (&["*/*"], Format::Prometheus),
            (&["text/html", "text/plain"], Format::Prometheus),
            (&["application/openmetrics-text"], Format::OpenMetrics),
            (&["text/plain;q=0.5", "Application/OpenMetrics-Text; version=1.0.0"], Format::OpenMetrics),
            // Prometheus 2, and Prometheus 3 told to prefer text.
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                  text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                Format::OpenMetrics,
            ),
            (
                &[
                    "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
                ],
                Format::Prometheus,
            ),
            (&["application/openmetrics-text;q=0"], Format::Prometheus),
            (&["application/openmetrics-text;q=lots"], Format::Prometheus),
        ] {
            assert_eq!(Format::wanted(accept.iter().copied()), wanted, "{accept:?}");
        }
    }

    #[test]
    fn what_one_format_does_not_know_is_said_otherwise() {
        let open = "# HELP a_events What happened.\n# TYPE a_events counter\na_events_total{event=\"# TYPE x\"} 1\n\
                    # HELP a_build Which.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_here How many.\n# TYPE a_here gauge\n# UNIT a_here seconds\na_here 2\n# EOF\n";
        let text = "# HELP a_events_total What happened.\n# TYPE a_events_total counter\na_events_total{event=\"# TYPE x\"} 1\n\
                    # HELP a_build_info Which.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                    # HELP a_here How many.\n# TYPE a_here gauge\na_here 2\n";
        assert_eq!(plain(open), text);
    }
}
