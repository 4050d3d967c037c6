//! Counters under the names that dashboards of Cluster API know.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Upper bounds, in seconds, of the buckets of durations.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

#[derive(Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    total: u64,
    sum: f64,
}

#[derive(Default)]
struct State {
    reconciles: BTreeMap<(String, &'static str), u64>,
    durations: BTreeMap<String, Histogram>,
    adds: BTreeMap<String, u64>,
    requests: BTreeMap<(u16, &'static str, String), u64>,
}

/// Counters of one manager.
#[derive(Default)]
pub struct Metrics(Mutex<State>);

impl Metrics {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reconciled(&self, controller: &str, result: &'static str, took: Duration) {
        let mut state = self.state();
        *state
            .reconciles
            .entry((controller.to_owned(), result))
            .or_default() += 1;
        let histogram = state.durations.entry(controller.to_owned()).or_default();
        let seconds = took.as_secs_f64();
        for (count, bound) in histogram.counts.iter_mut().zip(BUCKETS) {
            if seconds <= bound {
                *count += 1;
            }
        }
        histogram.total += 1;
        histogram.sum += seconds;
    }

    pub(crate) fn added(&self, controller: &str) {
        *self.state().adds.entry(controller.to_owned()).or_default() += 1;
    }

    pub(crate) fn requested(&self, method: &'static str, plural: &str, code: u16) {
        *self
            .state()
            .requests
            .entry((code, method, plural.to_owned()))
            .or_default() += 1;
    }

    /// Successful writes so far, Events and Leases apart, by method and plural.
    #[must_use]
    pub fn writes(&self) -> BTreeMap<(String, String), u64> {
        let mut writes = BTreeMap::new();
        for ((code, method, plural), count) in &self.state().requests {
            let write = *method != "GET" && (200..300).contains(code);
            if write && plural != "events" && plural != "leases" {
                *writes
                    .entry(((*method).to_owned(), plural.clone()))
                    .or_default() += count;
            }
        }
        writes
    }

    /// Reconciles so far.
    #[must_use]
    pub fn reconciles(&self) -> u64 {
        self.state().reconciles.values().sum()
    }

    /// All counters in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let state = self.state();
        let mut out = String::new();
        let mut line = |text: std::fmt::Arguments<'_>| {
            // Writing to a String does not fail.
            let _ = writeln!(out, "{text}");
        };
        line(format_args!(
            "# TYPE controller_runtime_reconcile_total counter"
        ));
        for ((controller, result), count) in &state.reconciles {
            line(format_args!(
                "controller_runtime_reconcile_total{{controller=\"{controller}\",result=\"{result}\"}} {count}"
            ));
        }
        line(format_args!(
            "# TYPE controller_runtime_reconcile_time_seconds histogram"
        ));
        for (controller, histogram) in &state.durations {
            for (count, bound) in histogram.counts.iter().zip(BUCKETS) {
                line(format_args!(
                    "controller_runtime_reconcile_time_seconds_bucket{{controller=\"{controller}\",le=\"{bound}\"}} {count}"
                ));
            }
            line(format_args!(
                "controller_runtime_reconcile_time_seconds_bucket{{controller=\"{controller}\",le=\"+Inf\"}} {}",
                histogram.total
            ));
            line(format_args!(
                "controller_runtime_reconcile_time_seconds_sum{{controller=\"{controller}\"}} {}",
                histogram.sum
            ));
            line(format_args!(
                "controller_runtime_reconcile_time_seconds_count{{controller=\"{controller}\"}} {}",
                histogram.total
            ));
        }
        line(format_args!("# TYPE workqueue_adds_total counter"));
        for (controller, count) in &state.adds {
            line(format_args!(
                "workqueue_adds_total{{name=\"{controller}\"}} {count}"
            ));
        }
        line(format_args!("# TYPE rest_client_requests_total counter"));
        for ((code, method, plural), count) in &state.requests {
            line(format_args!(
                "rest_client_requests_total{{code=\"{code}\",method=\"{method}\",resource=\"{plural}\"}} {count}"
            ));
        }
        out
    }
}
