//! What came of an import: what is in the books, and every line that was refused. However many
//! these are, only the first few are kept in memory: all of them go to the report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::UsageError;
use super::opening::Candidate;
use crate::cli::report_file::ReportFile;
use crate::cli::table;
use crate::http::time::Stamp;
use crate::ledger::{Credits, OpeningAddons, Time};

/// How many bad lines are printed.
const PRINTED: usize = 20;

/// A line that keeps its pool from being imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The file.
    pub file: String,
    /// The line's number in it.
    pub line: i64,
    /// The pool, as the line names it.
    pub pool: String,
    /// What is wrong.
    pub reason: String,
}

/// All bad lines.
pub struct BadLines {
    report: ReportFile,
    first: Vec<BadLine>,
    count: u64,
}

/// What came of it.
pub struct Findings {
    /// Pools that are imported now.
    pub imported: u64,
    /// Pools that an earlier run has imported.
    pub already_there: u64,
    /// Lines of the pools that are not imported.
    pub refused: u64,
    /// Lines of usage and payments for which no pool at all is booked: whose they are is not known.
    pub held_back: u64,
    /// Whether it ended before all pools were tried.
    pub is_cut_short: bool,
    /// What the pools that are in the books have.
    pub figures: Figures,
    /// What was wrong.
    pub bad: BadLines,
}

/// Sums over pools.
#[derive(Clone, Copy, Default)]
pub struct Figures {
    granted: Credits,
    remaining: Credits,
    addon_granted: Credits,
    addon_remaining: Credits,
    overdraft: Credits,
    usage_lines: u64,
    payments: u64,
}

/// How it was run.
pub struct Run {
    /// What the files describe.
    pub at: Time,
    /// Whether an earlier run of the same files said so.
    pub again: bool,
    /// Whether nothing was booked.
    pub dry_run: bool,
    /// How long it took.
    pub took: Duration,
    /// Where all bad lines are.
    pub report: Option<PathBuf>,
}

impl BadLines {
    /// Begins with none.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn new(report: Option<&Path>) -> anyhow::Result<Self> {
        let header = ["file", "line", "pool", "reason"];
        let report = ReportFile::create(report, header).map_err(|error| {
            let path = report.unwrap_or(Path::new("")).display();
            UsageError(format!("{path} cannot be written: {error}"))
        })?;
        Ok(Self {
            report,
            first: Vec::new(),
            count: 0,
        })
    }

    /// Adds one.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn add(&mut self, bad: BadLine) -> anyhow::Result<()> {
        self.count += 1;
        let line = bad.line.to_string();
        self.report
            .write([&bad.file, &line, &bad.pool, &bad.reason])?;
        if self.first.len() < PRINTED {
            self.first.push(bad);
        }
        Ok(())
    }

    /// Writes what is still to be written.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.report.finish()
    }

    /// How many there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Prints the first, and how many there are more.
    pub fn print(&self, report: Option<&Path>) {
        let where_all_are = report.map(|path| format!("{} has all", path.display()));
        if let Some(all) = where_all_are.filter(|_| self.count > 0) {
            println!("{} bad lines: {all}", self.count);
            return;
        }
        if self.first.is_empty() {
            return;
        }
        let mut table = table::new(["file", "line", "pool", "what is wrong"]);
        for bad in &self.first {
            table.add_row([&bad.file, &bad.line.to_string(), &bad.pool, &bad.reason]);
        }
        table::align_right(&mut table, 1..2);
        println!("{table}");
        let more = self.count - self.first.len() as u64;
        if more > 0 {
            println!("and {more} more: --report FILE writes them all");
        }
    }

    /// The first of them.
    pub fn to_json(&self) -> Value {
        let one = |bad: &BadLine| {
            json!({
                "file": bad.file,
                "line": bad.line,
                "pool": bad.pool,
                "reason": bad.reason,
            })
        };
        self.first.iter().map(one).collect()
    }
}

impl Figures {
    /// What one pool adds.
    pub fn of(candidate: &Candidate) -> Self {
        let opening = &candidate.opening;
        let addons = |of: fn(OpeningAddons) -> Credits| opening.addons.map(of).unwrap_or_default();
        Self {
            granted: opening.monthly_granted,
            remaining: opening.monthly_remaining,
            addon_granted: addons(|it| it.granted),
            addon_remaining: addons(|it| it.remaining),
            overdraft: opening.overdraft,
            usage_lines: opening.usage.len() as u64,
            payments: opening.payments.len() as u64,
        }
    }

    /// Adds a pool's.
    pub fn add(&mut self, other: Self) {
        self.granted = self.granted + other.granted;
        self.remaining = self.remaining + other.remaining;
        self.addon_granted = self.addon_granted + other.addon_granted;
        self.addon_remaining = self.addon_remaining + other.addon_remaining;
        self.overdraft = self.overdraft + other.overdraft;
        self.usage_lines += other.usage_lines;
        self.payments += other.payments;
    }
}

impl Findings {
    /// Nothing yet.
    pub fn new(bad: BadLines) -> Self {
        Self {
            imported: 0,
            already_there: 0,
            refused: 0,
            held_back: 0,
            is_cut_short: false,
            figures: Figures::default(),
            bad,
        }
    }

    /// Whether every line is in the books.
    pub const fn is_good(&self) -> bool {
        self.refused == 0 && self.bad.count() == 0 && !self.is_cut_short
    }

    /// For people.
    pub fn print(&self, run: &Run) {
        self.bad.print(run.report.as_deref());
        let booked = if run.dry_run {
            "would be"
        } else {
            "in the books"
        };
        let mut table = table::new(["", booked]);
        let figures = &self.figures;
        let rows = [
            ("pools imported", self.imported.to_string()),
            ("pools already there", self.already_there.to_string()),
            ("pools refused", self.refused.to_string()),
            ("monthly credits granted", figures.granted.to_string()),
            ("monthly credits remaining", figures.remaining.to_string()),
            ("add-on credits bought", figures.addon_granted.to_string()),
            (
                "add-on credits remaining",
                figures.addon_remaining.to_string(),
            ),
            ("overdraft", figures.overdraft.to_string()),
            ("lines of usage", figures.usage_lines.to_string()),
            ("payments known", figures.payments.to_string()),
        ];
        for (name, value) in rows {
            table.add_row([name.to_owned(), value]);
        }
        table::align_right(&mut table, 1..2);
        println!("{table}");
        let at = Stamp(run.at);
        let seconds = run.took.as_secs_f64();
        let again = if run.again {
            " (the instant that the first run of these files took)"
        } else {
            ""
        };
        println!("as of {at}{again}, in {seconds:.1} s");
        if self.held_back > 0 {
            let count = self.held_back;
            println!(
                "nothing is booked before {count} lines of usage and payments are corrected: they \
                 cannot be read, or say no pool of the file of the pools"
            );
        }
        if run.dry_run {
            println!("nothing was booked: this was a dry run");
        }
        if self.imported + self.already_there == 0 {
            println!("nothing is imported yet: --at may still be another instant");
        }
        if !self.is_good() {
            println!("to import what was refused, correct it and run again with --at {at}");
        }
    }

    /// For programs.
    pub fn to_json(&self, run: &Run) -> Value {
        let figures = &self.figures;
        json!({
            "ok": self.is_good(),
            "dry_run": run.dry_run,
            "at": Stamp(run.at),
            "resumed": run.again,
            "imported": self.imported,
            "already_there": self.already_there,
            "refused": self.refused,
            "held_back": self.held_back,
            "monthly_granted": figures.granted,
            "monthly_remaining": figures.remaining,
            "addon_granted": figures.addon_granted,
            "addon_remaining": figures.addon_remaining,
            "overdraft": figures.overdraft,
            "usage_lines": figures.usage_lines,
            "payments": figures.payments,
            "bad_lines": self.bad.count(),
            "first_bad_lines": self.bad.to_json(),
            "seconds": (run.took.as_secs_f64() * 1_000.0).round() / 1_000.0,
        })
    }
}
