//! What differs: counted by field, the first few kept to be printed, all of it in the report.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::fields::Differs;
use crate::cli::import::{BadLines, UsageError};
use crate::cli::report_file::ReportFile;
use crate::cli::table;
use crate::http::time::Stamp;
use crate::ledger::{PoolName, Time};

/// How many differences are printed.
const PRINTED: usize = 20;

/// One difference: a field, or a whole pool.
#[derive(Clone, Debug)]
pub struct Difference {
    pool: String,
    what: What,
    field: &'static str,
    file: String,
    ledger: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Differs,
    OnlyInFile,
    OnlyInLedger,
}

impl What {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Differs => "differs",
            Self::OnlyInFile => "only_in_file",
            Self::OnlyInLedger => "only_in_ledger",
        }
    }
}

impl Difference {
    /// A pool that the ledger does not have.
    pub const fn only_in_file(pool: String) -> Self {
        Self::whole(pool, What::OnlyInFile)
    }

    /// A pool that the file does not have.
    pub const fn only_in_ledger(pool: String) -> Self {
        Self::whole(pool, What::OnlyInLedger)
    }

    const fn whole(pool: String, what: What) -> Self {
        Self {
            pool,
            what,
            field: "",
            file: String::new(),
            ledger: String::new(),
        }
    }

    fn cells(&self) -> [&str; 5] {
        let what = self.what.as_str();
        [&self.pool, what, self.field, &self.file, &self.ledger]
    }
}

/// All of it.
pub struct Findings {
    /// Lines that cannot be compared.
    pub unreadable: BadLines,
    same: u64,
    different: u64,
    only_in_file: u64,
    only_in_ledger: u64,
    fields: BTreeMap<&'static str, u64>,
    first: Vec<Difference>,
    report: ReportFile,
}

impl Findings {
    /// Begins with none.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn new(report: Option<&Path>) -> anyhow::Result<Self> {
        let header = ["pool", "what", "field", "in_file", "in_ledger"];
        let report = ReportFile::create(report, header).map_err(|error| {
            let path = report.unwrap_or(Path::new("")).display();
            UsageError(format!("{path} cannot be written: {error}"))
        })?;
        Ok(Self {
            unreadable: BadLines::new(None)?,
            same: 0,
            different: 0,
            only_in_file: 0,
            only_in_ledger: 0,
            fields: BTreeMap::new(),
            first: Vec::new(),
            report,
        })
    }

    /// Adds a pool that both have.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn compared(&mut self, pool: &PoolName, found: Vec<Differs>) -> anyhow::Result<()> {
        if found.is_empty() {
            self.same += 1;
            return Ok(());
        }
        self.different += 1;
        for differs in found {
            *self.fields.entry(differs.field).or_default() += 1;
            self.keep(Difference {
                pool: pool.to_string(),
                what: What::Differs,
                field: differs.field,
                file: differs.file,
                ledger: differs.ledger,
            })?;
        }
        Ok(())
    }

    /// Adds a pool that only one has.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn add(&mut self, difference: Difference) -> anyhow::Result<()> {
        match difference.what {
            What::OnlyInFile => self.only_in_file += 1,
            What::OnlyInLedger => self.only_in_ledger += 1,
            What::Differs => self.different += 1,
        }
        self.keep(difference)
    }

    fn keep(&mut self, difference: Difference) -> anyhow::Result<()> {
        self.report.write(difference.cells())?;
        if self.first.len() < PRINTED {
            self.first.push(difference);
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

    /// Whether both have the same.
    pub const fn is_good(&self) -> bool {
        let differing = self.different + self.only_in_file + self.only_in_ledger;
        differing + self.unreadable.count() == 0
    }

    /// How many differences there are, each field on its own.
    fn count(&self) -> u64 {
        self.fields.values().sum::<u64>() + self.only_in_file + self.only_in_ledger
    }

    /// For people.
    pub fn print(&self, at: Time, report: Option<&Path>) {
        self.unreadable.print(None);
        if !self.first.is_empty() {
            let mut table = table::new(["pool", "what", "field", "in the file", "in the ledger"]);
            for difference in &self.first {
                table.add_row(difference.cells());
            }
            println!("{table}");
        }
        let more = self.count() - self.first.len() as u64;
        match report {
            Some(path) if self.count() > 0 => println!("{} has all", path.display()),
            None if more > 0 => println!("and {more} more: --report FILE writes them all"),
            _ => {}
        }
        let mut table = table::new(["field", "pools"]);
        for (field, count) in &self.fields {
            table.add_row([(*field).to_owned(), count.to_string()]);
        }
        if !self.fields.is_empty() {
            table::align_right(&mut table, 1..2);
            println!("{table}");
        }
        println!(
            "as of {}: {} pools the same, {} different, {} only in the file, {} only in the \
             ledger, {} lines unreadable",
            Stamp(at),
            self.same,
            self.different,
            self.only_in_file,
            self.only_in_ledger,
            self.unreadable.count()
        );
    }

    /// For programs.
    pub fn to_json(&self, at: Time) -> Value {
        let one = |it: &Difference| {
            json!({
                "pool": it.pool,
                "what": it.what.as_str(),
                "field": (it.what == What::Differs).then_some(it.field),
                "in_file": (it.what == What::Differs).then_some(&it.file),
                "in_ledger": (it.what == What::Differs).then_some(&it.ledger),
            })
        };
        json!({
            "ok": self.is_good(),
            "at": Stamp(at),
            "same": self.same,
            "different": self.different,
            "only_in_file": self.only_in_file,
            "only_in_ledger": self.only_in_ledger,
            "fields": self.fields,
            "differences": self.count(),
            "first_differences": self.first.iter().map(one).collect::<Vec<_>>(),
            "bad_lines": self.unreadable.count(),
            "first_bad_lines": self.unreadable.to_json(),
        })
    }
}
