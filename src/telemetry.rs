//! What the process tells its operator: log lines, and the figures of `/metrics`.
//!
//! Every metric is named and described here, once; the code that counts uses the constants.
//! No label ever holds a pool, a tenant or a key: labels are few, and none is personal.
//! Request spans live with the routes; what an event means lives where it happens.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::LogFormat;

/// Counter; labels `method`, `route`, `status`.
pub const HTTP_REQUESTS: &str = "credit_ledger_http_requests_total";
/// Histogram, seconds; label `route`.
pub const HTTP_REQUEST_SECONDS: &str = "credit_ledger_http_request_seconds";
/// Counter; label `code`.
pub const REFUSALS: &str = "credit_ledger_refusals_total";
/// Gauge; label `lane`.
pub const LANE_QUEUE_LENGTH: &str = "credit_ledger_lane_queue_length";
/// Histogram, commands.
pub const BATCH_COMMANDS: &str = "credit_ledger_batch_commands";
/// Histogram, seconds.
pub const COMMIT_SECONDS: &str = "credit_ledger_commit_seconds";
/// Counter.
pub const LANE_FAILURES: &str = "credit_ledger_lane_failures_total";
/// Counter.
pub const LANE_CONFLICTS: &str = "credit_ledger_lane_conflicts_total";
/// Counter: pools whose write met an earlier idempotency key, and was decided again with it.
pub const LANE_REPLAYS: &str = "credit_ledger_lane_replays_total";
/// Counter: pools whose debits were decided again, as what was remembered was not enough.
pub const LANE_GUESSES: &str = "credit_ledger_lane_guesses_total";
/// Counter.
pub const SWEPT: &str = "credit_ledger_swept_total";
/// Counter: payments that are not for credits.
pub const PAYMENTS_IGNORED: &str = "credit_ledger_payments_ignored_total";
/// Counter; label `reason`.
pub const PAYMENT_EXCEPTIONS: &str = "credit_ledger_payment_exceptions_total";

/// From a balance read out of memory to the 2 s in which an absent database must be reported.
const SECONDS_BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

/// Up to the highest `BATCH_LIMIT`.
const COMMANDS_BUCKETS: [f64; 12] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1000.0, 10_000.0,
];

/// A histogram keeps every sample until it is sorted into its bucket; this bounds how many.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` is not a list of filters.
    #[error("RUST_LOG must be filters such as `info` or `info,sqlx=warn`, not {filter:?}")]
    Filter {
        /// The value of the variable.
        filter: String,
        /// What the parser says.
        source: ParseError,
    },
}

/// Sends log lines to standard error; standard output belongs to the answers of commands.
/// A second call in one process changes nothing.
///
/// # Errors
///
/// When `filter` is not a valid `RUST_LOG`.
pub fn init_logs(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| TelemetryError::Filter {
            filter: filter.to_owned(),
            source,
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // `try_init` fails when a subscriber is there already, as in the second test of a process.
    let _already_set = match format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text if std::io::stderr().is_terminal() => lines.try_init(),
        LogFormat::Text => lines.with_ansi(false).try_init(),
    };
    Ok(())
}

/// The figures of this process, installed at the first call: `render()` is the text of `/metrics`.
///
/// # Panics
///
/// When another recorder was installed before.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(install_recorder).clone()
}

fn install_recorder() -> PrometheusHandle {
    let handle = recorder()
        .install_recorder()
        .expect("nothing else installs a recorder");
    describe();
    let upkeep = handle.clone();
    std::thread::Builder::new()
        .name("metrics-upkeep".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP_INTERVAL);
                upkeep.run_upkeep();
            }
        })
        .expect("a starting process may have one more thread");
    handle
}

fn recorder() -> PrometheusBuilder {
    let buckets = [
        (HTTP_REQUEST_SECONDS, SECONDS_BUCKETS.as_slice()),
        (COMMIT_SECONDS, SECONDS_BUCKETS.as_slice()),
        (BATCH_COMMANDS, COMMANDS_BUCKETS.as_slice()),
    ];
    buckets
        .into_iter()
        .fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
            builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
                .expect("the buckets are constants, and not empty")
        })
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_counter!(
        HTTP_REQUESTS,
        "Requests answered, by method, route and status."
    );
    describe_histogram!(
        HTTP_REQUEST_SECONDS,
        Unit::Seconds,
        "Time to answer, by route."
    );
    describe_counter!(
        REFUSALS,
        "Requests refused by a rule, by the code of the problem."
    );
    describe_gauge!(LANE_QUEUE_LENGTH, "Commands that wait for a lane, by lane.");
    describe_histogram!(
        BATCH_COMMANDS,
        Unit::Count,
        "Commands booked in one commit."
    );
    describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "Time to book a batch, commit included."
    );
    describe_counter!(
        LANE_FAILURES,
        "Batches that failed; their callers were told 503."
    );
    describe_counter!(
        LANE_CONFLICTS,
        "Pools decided again: another replica booked first."
    );
    describe_counter!(
        LANE_REPLAYS,
        "Pools decided again: an idempotency key had been used before."
    );
    describe_counter!(
        LANE_GUESSES,
        "Pools decided again: what was remembered of them was not enough to say no."
    );
    describe_counter!(SWEPT, "Pools whose due events the sweeper had booked.");
    describe_counter!(PAYMENTS_IGNORED, "Payments that are not for credits.");
    describe_counter!(
        PAYMENT_EXCEPTIONS,
        "Payments for credits that could not be credited."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_log_filter_is_refused_by_the_variables_name() {
        let refused = init_logs(LogFormat::Text, "info,=what=").expect_err("not a filter");

        assert!(refused.to_string().starts_with("RUST_LOG"));
    }

    #[test]
    fn durations_are_counted_in_buckets() {
        let recorder = recorder().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!(COMMIT_SECONDS).record(0.003);
            metrics::counter!(REFUSALS, "code" => "pool_empty").increment(1);
        });

        let text = recorder.handle().render();

        assert!(
            text.contains(r#"credit_ledger_commit_seconds_bucket{le="0.002"} 0"#),
            "{text}"
        );
        assert!(
            text.contains(r#"credit_ledger_commit_seconds_bucket{le="0.005"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"credit_ledger_refusals_total{code="pool_empty"} 1"#),
            "{text}"
        );
    }
}
