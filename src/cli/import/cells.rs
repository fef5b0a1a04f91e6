//! One line as cells of its table's columns, and cells read into the ledger's types. What is wrong
//! is collected, so that a line is told all that is wrong with it at once.

use std::str::FromStr;

use chrono::NaiveDate;

use crate::http::time::{DayEnd, Stamp, StampError};
use crate::ledger::{Credits, CreditsError, Label, SignedCredits, Time};

/// The columns of one kind of file.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// What a line of it is about, for messages.
    pub what: &'static str,
    /// All of them.
    pub columns: &'static [&'static str],
    /// Those without which nothing can be said.
    pub required: &'static [&'static str],
}

/// The pools.
pub const POOLS: Table = Table {
    what: "pools",
    columns: &[
        "pool",
        "plan",
        "builders",
        "monthly_allowance",
        "anchor",
        "cycle_start",
        "monthly_granted",
        "monthly_remaining",
        "overdraft",
        "addon_granted",
        "addon_remaining",
        "addon_expires_at",
        "license_type",
        "license_end",
        "grace_until",
    ],
    required: &[
        "pool",
        "plan",
        "anchor",
        "cycle_start",
        "monthly_granted",
        "monthly_remaining",
    ],
};

/// The pools, to be compared: what is not there is not compared.
pub const COMPARED_POOLS: Table = Table {
    required: &["pool"],
    ..POOLS
};

/// Who spent what.
pub const USAGE: Table = Table {
    what: "usage",
    columns: &[
        "pool",
        "user_id",
        "workspace_id",
        "operation",
        "model",
        "monthly",
        "addon",
        "overdraft",
        "count",
        "credits",
    ],
    required: &["pool"],
};

/// What was paid for.
pub const PAYMENTS: Table = Table {
    what: "payments",
    columns: &[
        "pool",
        "payment_reference",
        "credits",
        "paid_at",
        "amount_cents",
        "currency",
    ],
    required: &["pool", "payment_reference", "credits", "paid_at"],
};

impl Table {
    /// The place of a column.
    pub fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|it| *it == column)
    }
}

/// The cells of a line, in the order of the table's columns: absent where the file does not have
/// the column, empty where the line says nothing.
pub type Texts = Vec<Option<String>>;

/// Reads the cells of a line.
pub struct Cells<'a> {
    table: &'a Table,
    texts: &'a Texts,
    wrong: Vec<String>,
}

impl<'a> Cells<'a> {
    /// Begins to read.
    pub const fn new(table: &'a Table, texts: &'a Texts) -> Self {
        Self {
            table,
            texts,
            wrong: Vec::new(),
        }
    }

    /// What was read, or all that was wrong.
    pub fn finish<T>(self, read: Option<T>) -> Result<T, Vec<String>> {
        match read {
            Some(read) if self.wrong.is_empty() => Ok(read),
            _ => Err(self.wrong),
        }
    }

    /// Whether the file has the column.
    pub fn has(&self, column: &str) -> bool {
        let place = self.table.place(column);
        place.is_some_and(|place| self.texts.get(place).is_some_and(Option::is_some))
    }

    /// What the cell says; nothing where it is empty.
    pub fn text(&self, column: &str) -> Option<&'a str> {
        let text = self.texts.get(self.table.place(column)?)?.as_deref()?;
        (!text.trim().is_empty()).then_some(text)
    }

    /// Says what is wrong with a column.
    pub fn refuse(&mut self, column: &str, message: &str) {
        self.wrong.push(format!("{column} {message}"));
    }

    /// A value that has to be there.
    pub fn needed<T>(
        &mut self,
        column: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        if self.text(column).is_none() {
            self.refuse(column, "is needed");
            return None;
        }
        read(self, column)
    }

    /// A value of a type that reads itself.
    pub fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self, column: &str) -> Option<T> {
        let text = self.text(column)?;
        match text.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(column, &error.to_string());
                None
            }
        }
    }

    /// A client's own reference, taken as it is.
    pub fn label(&mut self, column: &str) -> Option<Label> {
        let text = self.text(column)?;
        match text.parse() {
            Ok(label) => Some(label),
            Err(error) => {
                let error: crate::ledger::TextError = error;
                self.refuse(column, &error.to_string());
                None
            }
        }
    }

    /// An amount, exact.
    pub fn credits(&mut self, column: &str) -> Option<Credits> {
        let text = self.text(column)?.trim();
        let read = SignedCredits::parse(text).map_err(|error| match error {
            CreditsError::TooLarge => format!("must be at most {}", Credits::MAX_ACCOUNT),
            error => error.to_string(),
        });
        let amount = read.and_then(|amount| {
            let positive = Credits::from_units(amount.units());
            positive.ok_or_else(|| "must not be negative".to_owned())
        });
        amount.map_err(|message| self.refuse(column, &message)).ok()
    }

    /// An amount that is nothing when nothing is said.
    pub fn credits_or_zero(&mut self, column: &str) -> Option<Credits> {
        match self.text(column) {
            None => Some(Credits::ZERO),
            Some(_) => self.credits(column),
        }
    }

    /// An instant; a date means the start of that UTC day.
    pub fn start(&mut self, column: &str) -> Option<Time> {
        let text = self.text(column)?.trim();
        self.instant(column, day_start(text))
    }

    /// An instant; a date means the end of that UTC day.
    pub fn end(&mut self, column: &str) -> Option<Time> {
        let text = self.text(column)?.trim();
        self.instant(column, text.parse().map(|DayEnd(at)| at))
    }

    fn instant(&mut self, column: &str, read: Result<Time, StampError>) -> Option<Time> {
        let message = |error| match error {
            StampError::Format => "must be an RFC 3339 time or a date".to_owned(),
            StampError::Year => error.to_string(),
        };
        read.map_err(|error| self.refuse(column, &message(error)))
            .ok()
    }
}

/// An instant, or the start of a UTC day.
pub fn day_start(text: &str) -> Result<Time, StampError> {
    match text.parse::<NaiveDate>() {
        Ok(day) => format!("{day}T00:00:00Z").parse().map(|Stamp(at)| at),
        Err(_) => text.parse().map(|Stamp(at)| at),
    }
}
