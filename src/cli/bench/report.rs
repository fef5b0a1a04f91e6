//! What was measured, as a table for people and as JSON for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::load::Tally;
use super::scenario::Scenario;
use crate::cli::table;

/// One line of the report.
pub struct Row {
    /// What was measured.
    pub scenario: Scenario,
    /// What came of it.
    pub tally: Tally,
    /// Processor cores that were busy, on average.
    pub cores: Cores,
    /// The most memory that a service had resident so far, in MiB.
    pub peak_resident_mib: Option<f64>,
}

/// Who used how much of the processors: seconds so far, or cores on average.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cores {
    /// This process, which makes the load.
    pub load: Option<f64>,
    /// The services.
    pub service: Option<f64>,
    /// Postgres, all its processes.
    pub database: Option<f64>,
    /// All of the machine, these three included.
    pub machine: Option<f64>,
}

impl Cores {
    /// The average between two moments.
    #[must_use]
    pub fn between(before: Self, after: Self, length: Duration) -> Self {
        let average = |before: Option<f64>, after: Option<f64>| {
            Some((after? - before?) / length.as_secs_f64())
        };
        Self {
            load: average(before.load, after.load),
            service: average(before.service, after.service),
            database: average(before.database, after.database),
            machine: average(before.machine, after.machine),
        }
    }

    /// What is none of the three; where the service is not ours, that includes it.
    fn rest(self) -> Option<f64> {
        let known = [self.load, self.service, self.database];
        let known: f64 = known.into_iter().flatten().sum();
        self.machine.map(|machine| (machine - known).max(0.0))
    }
}

impl Row {
    /// Good results a second: debits, or reads.
    fn rate(&self) -> f64 {
        self.tally.results as f64 / self.tally.elapsed.as_secs_f64()
    }

    /// Whether other programs took a part of the machine. Of a service that is not ours we cannot
    /// tell: it is one of them.
    fn is_disturbed(&self) -> bool {
        let ours = self.cores.service.is_some();
        ours && self.cores.rest().is_some_and(|rest| rest > BUSY_CORES)
    }

    fn milliseconds(&self, quantile: f64) -> f64 {
        let micros = self.tally.times.value_at_quantile(quantile) as f64;
        micros / 1000.0
    }

    fn json(&self) -> Value {
        let (scenario, tally, cores) = (&self.scenario, &self.tally, &self.cores);
        json!({
            "scenario": scenario.kind.name(),
            "callers": scenario.callers,
            "pools": if scenario.kind.is_spread() { scenario.pools } else { 1 },
            "results_per_request": scenario.results(),
            "seconds": rounded(tally.elapsed.as_secs_f64(), 3),
            "results": tally.results,
            "results_per_second": rounded(self.rate(), 1),
            "requests": tally.times.len(),
            "p50_ms": rounded(self.milliseconds(0.5), 3),
            "p99_ms": rounded(self.milliseconds(0.99), 3),
            "p999_ms": rounded(self.milliseconds(0.999), 3),
            "max_ms": rounded(self.milliseconds(1.0), 3),
            "errors": tally.errors,
            "first_error": tally.first_error,
            "cores": {
                "load": cores.load.map(|cores| rounded(cores, 3)),
                "service": cores.service.map(|cores| rounded(cores, 3)),
                "database": cores.database.map(|cores| rounded(cores, 3)),
                "rest": cores.rest().map(|cores| rounded(cores, 3)),
            },
            "service_peak_resident_mib": self.peak_resident_mib.map(|mib| rounded(mib, 1)),
        })
    }

    fn cells(&self) -> [String; 9] {
        let figure = |figure: Option<f64>, digits| match figure {
            Some(figure) => format!("{figure:.digits$}"),
            None => "–".to_owned(),
        };
        let cores = self.cores;
        let cores = [cores.load, cores.service, cores.database, cores.rest()];
        [
            self.scenario.kind.name().to_owned(),
            self.scenario.callers.to_string(),
            grouped(self.rate()),
            format!("{:.2}", self.milliseconds(0.5)),
            format!("{:.2}", self.milliseconds(0.99)),
            format!("{:.2}", self.milliseconds(0.999)),
            self.tally.errors.to_string(),
            cores.map(|cores| figure(cores, 2)).join(" / "),
            figure(self.peak_resident_mib, 0),
        ]
    }
}

/// How many cores others may use before the figures say little.
const BUSY_CORES: f64 = 0.3;

/// Prints the table, what the figures mean, and what the first errors said.
pub fn print_text(rows: &[Row], about: &str) {
    let mut table = table::new([
        "scenario",
        "callers",
        "per second",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "errors",
        "cores: load / service / database / rest",
        "peak MiB",
    ]);
    rows.iter().for_each(|row| {
        table.add_row(row.cells());
    });
    table::align_right(&mut table, 1..9);
    println!("{table}\n{about}");
    if rows.iter().any(Row::is_disturbed) {
        println!("other programs kept the machine busy: measure again when it is quiet");
    }
    for row in rows {
        if let Some(error) = &row.tally.first_error {
            println!("the first error of {}: {error}", row.scenario.kind.name());
        }
    }
}

/// Prints one JSON object.
pub fn print_json(rows: &[Row], settings: &Value) {
    let cores = std::thread::available_parallelism().map(std::num::NonZero::get);
    let document = json!({
        "settings": settings,
        "machine_cores": cores.ok(),
        "scenarios": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    println!("{document}");
}

fn rounded(figure: f64, digits: i32) -> f64 {
    let shift = 10_f64.powi(digits);
    (figure * shift).round() / shift
}

/// A whole number with a comma between thousands.
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(String::from_utf8_lossy);
    let head = (!head.is_empty()).then(|| head.into());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let cases = [
            (0.0, "0"),
            (12.4, "12"),
            (999.6, "1,000"),
            (12_345.0, "12,345"),
        ];
        for (figure, text) in cases.into_iter().chain([(1_234_567.0, "1,234,567")]) {
            assert_eq!(grouped(figure), text);
        }
    }

    #[test]
    fn cores_are_seconds_of_processor_by_seconds_of_the_clock() {
        let at = |load| Cores {
            load: Some(load),
            ..Cores::default()
        };

        let cores = Cores::between(at(1.0), at(4.0), Duration::from_secs(2));

        assert_eq!(cores.load, Some(1.5));
        assert_eq!(cores.service, None);
    }

    #[test]
    fn the_rest_is_what_others_did() {
        let cores = Cores {
            load: Some(0.25),
            service: Some(0.5),
            database: None,
            machine: Some(1.75),
        };

        assert_eq!(cores.rest(), Some(1.0));
    }
}
