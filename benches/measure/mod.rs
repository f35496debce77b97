//! Samples, percentiles and the report of a bench.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

const PERCENTILES: [f64; 3] = [50.0, 90.0, 99.0];

/// Durations, in microseconds.
pub(crate) struct Samples(Histogram<u64>);

impl Default for Samples {
    fn default() -> Self {
        // Up to a minute: what is above would be clamped.
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).expect("good bounds"))
    }
}

impl Samples {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.saturating_record(took.as_micros() as u64);
    }

    pub(crate) fn extend(&mut self, took: impl IntoIterator<Item = Duration>) {
        took.into_iter().for_each(|took| self.add(took));
    }

    fn percentiles(&self) -> [u64; 3] {
        PERCENTILES.map(|percentile| self.0.value_at_percentile(percentile))
    }
}

/// What was measured.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    figures: Vec<Value>,
}

impl Report {
    /// A figure of ours beside what the server alone takes.
    pub(crate) fn compare(&mut self, what: &str, ours: &Samples, raw: &str, server: &Samples) {
        let (mine, theirs) = (ours.percentiles(), server.percentiles());
        let ratio = mine[0] as f64 / theirs[0] as f64;
        self.lines.push(format!(
            "{what:<30} {:>7} {:>7} {:>7}   {raw:<22} {:>7} {:>7} {:>7}   {ratio:>5.2}",
            mine[0], mine[1], mine[2], theirs[0], theirs[1], theirs[2]
        ));
        self.figures.push(json!({
            "what": what, "p50_us": mine[0], "p90_us": mine[1], "p99_us": mine[2], "samples": ours.0.len(),
            "raw": raw, "raw_p50_us": theirs[0], "raw_p90_us": theirs[1], "raw_p99_us": theirs[2],
            "raw_samples": server.0.len(), "ratio_p50": ratio,
        }));
    }

    /// How many a second.
    pub(crate) fn rate(&mut self, what: &str, count: usize, took: Duration) {
        let rate = count as f64 / took.as_secs_f64();
        self.lines.push(format!("{what:<30} {rate:>7.0}"));
        self.figures.push(json!({ "what": what, "per_second": rate, "count": count }));
    }

    /// A figure of ours and Go's.
    pub(crate) fn beside(&mut self, what: &str, ours: f64, go: f64) {
        let ratio = ours / go;
        self.lines.push(format!("{what:<34} ours {ours:>9.1}   Go's {go:>9.1}   ours/Go's {ratio:>8.2}"));
        self.figures.push(json!({ "what": what, "ours": ours, "go": go, "ratio": ratio }));
    }

    /// Why something is not among the figures.
    pub(crate) fn note(&mut self, what: &str) {
        self.lines.push(what.to_owned());
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<30} {:>7} {:>7} {:>7}   {:<22} {:>7} {:>7} {:>7}   {:>5}",
            "microseconds", "p50", "p90", "p99", "raw", "p50", "p90", "p99", "ratio"
        );
        self.lines.iter().for_each(|line| println!("{line}"));
    }

    pub(crate) fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.figures).expect("plain JSON");
        text.push('\n');
        text
    }
}
