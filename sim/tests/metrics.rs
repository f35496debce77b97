//! The library's metrics: every one of its list is told in runs under faults, with its labels and no other; the table in the book is
//! that list; and telling changes no history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tenure::metrics::{ALL, Kind};
use tenure_sim::plan::Plan;
use tenure_sim::run::execute;
use tenure_sim::scenario;

/// What was told: by name and labels, how often (a counter: the sum).
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<Key, Arc<Series>>>>);

#[derive(Default)]
struct Series(Arc<AtomicU64>);

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        assert!(value >= 0.0, "no time is negative");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Told {
    fn series(&self, key: &Key) -> Arc<Series> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(told.entry(key.clone()).or_default())
    }

    /// The labels' values of a metric that was told at all, and how often.
    fn of(&self, name: &str) -> BTreeMap<Vec<(String, String)>, u64> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = told.iter().filter(|(key, _)| key.name() == name);
        of.map(|(key, series)| {
            let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
            (labels.collect(), series.0.load(Ordering::Relaxed))
        })
        .collect()
    }
}

impl Recorder for Told {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(&self.series(key).0))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::clone(&self.series(key).0))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

fn hashes() -> Vec<u64> {
    let mut hashes = Vec::new();
    for name in ["mutex", "rwlock", "election"] {
        let scenario = scenario::find(name).expect("built in");
        for seed in 0..4 {
            let plan = Arc::new(Plan::draw(&scenario, seed));
            hashes.push(execute(&plan, None).expect("runs").history.hash());
        }
    }
    hashes
}

#[test]
fn every_metric_is_told_with_its_labels_and_no_history_is_another_for_it() {
    let untold = hashes();
    let told = Told::default();
    metrics::set_global_recorder(told.clone()).expect("the first recorder");
    tenure::metrics::describe();
    assert_eq!(hashes(), untold);

    let names: BTreeSet<String> = told
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .keys()
        .map(|key| key.name().to_owned())
        .collect();
    let listed: BTreeSet<String> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(names, listed);
    for metric in ALL {
        for (labels, count) in told.of(metric.name) {
            let keys: Vec<&str> = labels.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(keys, metric.labels, "{}", metric.name);
            assert!(metric.kind == Kind::Gauge || count > 0, "{} {labels:?}", metric.name);
        }
    }
    let values = |name: &str, label: &str| -> BTreeSet<String> {
        let labels = told.of(name).into_keys().flatten();
        labels.filter(|(key, _)| key == label).map(|(_, value)| value).collect()
    };
    assert_eq!(
        values("tenure_acquisitions_total", "primitive"),
        ["election", "mutex", "rwlock_read", "rwlock_write"].map(str::to_owned).into()
    );
    assert_eq!(
        values("tenure_acquisitions_total", "outcome"),
        ["busy", "failed", "given_up", "granted"].map(str::to_owned).into()
    );
    assert_eq!(values("tenure_renewals_total", "outcome"), ["failed", "ok"].map(str::to_owned).into());
    let granted: u64 = told
        .of("tenure_acquisitions_total")
        .iter()
        .filter(|(labels, _)| labels.iter().any(|(_, value)| value == "granted"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(granted, told.of("tenure_acquire_duration_seconds").values().sum::<u64>());
}

#[test]
fn the_table_in_the_book_is_the_list() {
    let book = include_str!("../../docs/operating.md");
    let rows: Vec<&str> = book.lines().filter(|line| line.starts_with("| `tenure_")).collect();
    let list: Vec<String> = ALL
        .iter()
        .map(|metric| {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = format!("{:?}", metric.kind).to_lowercase();
            format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help)
        })
        .collect();
    assert_eq!(rows, list);
}
