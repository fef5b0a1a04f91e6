//! A line of each file, read into the ledger's types.

use super::cells::{Cells, PAYMENTS, Table, Texts, USAGE};
use crate::ledger::{
    Attribution, Code, Credits, Label, License, LicenseType, OpeningAddons, PlanCode, Seats, Time,
};

/// The largest count, and the largest price in the smallest unit: sums of them stay exact.
const MAX_WHOLE: i64 = 1_000_000_000_000;

/// What a line of the pools says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLine {
    /// The plan, by its code or an alias.
    pub plan: PlanCode,
    /// One when nothing is said.
    pub builders: Seats,
    /// Custom allowance.
    pub monthly_allowance: Option<Credits>,
    /// What cycles are counted from.
    pub anchor: Time,
    /// When the running cycle began.
    pub cycle_start: Time,
    /// What it was granted.
    pub monthly_granted: Credits,
    /// What is left of it.
    pub monthly_remaining: Credits,
    /// What is owed.
    pub overdraft: Credits,
    /// The add-on pool.
    pub addons: Option<OpeningAddons>,
    /// The licence.
    pub license: Option<License>,
}

/// What a line of usage says was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Out of each bucket, and beyond.
    Parts {
        /// Out of the monthly credits.
        monthly: Credits,
        /// Out of the add-on credits.
        addon: Credits,
        /// Beyond both.
        overdraft: Credits,
    },
    /// Only how much: the monthly credits are spent first.
    Credits(Credits),
}

/// A line of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLine {
    /// Who, where, on what.
    pub attribution: Attribution,
    /// How much.
    pub spent: Spent,
    /// In how many debits.
    pub count: i64,
}

/// A line of the payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentLine {
    /// The payment's own name.
    pub reference: Label,
    /// What was credited for it.
    pub credits: Credits,
    /// When it was paid.
    pub paid_at: Time,
    /// What was paid, in the currency's smallest unit.
    pub amount_cents: Option<i64>,
    /// Three lower-case letters.
    pub currency: Option<String>,
}

impl PoolLine {
    /// Reads it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(table: &Table, texts: &Texts) -> Result<Self, Vec<String>> {
        let mut cells = Cells::new(table, texts);
        let plan = cells.needed("plan", |cells, it| cells.parsed::<Code>(it));
        let builders = builders(&mut cells);
        let monthly_allowance = cells.credits("monthly_allowance");
        let anchor = cells.needed("anchor", Cells::start);
        let cycle_start = cells.needed("cycle_start", Cells::start);
        let granted = cells.needed("monthly_granted", Cells::credits);
        let remaining = cells.needed("monthly_remaining", Cells::credits);
        let overdraft = cells.credits_or_zero("overdraft");
        let addons = addons(&mut cells);
        let license = license(&mut cells);
        let read = || {
            Some(Self {
                plan: plan?,
                builders,
                monthly_allowance,
                anchor: anchor?,
                cycle_start: cycle_start?,
                monthly_granted: granted?,
                monthly_remaining: remaining?,
                overdraft: overdraft?,
                addons,
                license,
            })
        };
        cells.finish(read())
    }
}

/// How many build: one when nothing is said.
pub fn builders(cells: &mut Cells<'_>) -> Seats {
    let Some(text) = cells.text("builders").map(str::trim) else {
        return Seats::ONE;
    };
    if text.eq_ignore_ascii_case("unlimited") {
        return Seats::Unlimited;
    }
    match text.parse() {
        Ok(count) if count > 0 => Seats::Count(count),
        _ => {
            cells.refuse("builders", "must be a whole number from 1 on, or unlimited");
            Seats::ONE
        }
    }
}

fn addons(cells: &mut Cells<'_>) -> Option<OpeningAddons> {
    let granted = cells.credits_or_zero("addon_granted")?;
    let remaining = cells.credits_or_zero("addon_remaining")?;
    let has_some = !granted.is_zero() || !remaining.is_zero();
    if has_some && cells.text("addon_expires_at").is_none() {
        cells.refuse(
            "addon_expires_at",
            "is needed where there are add-on credits",
        );
    }
    let expires_at = cells.start("addon_expires_at")?;
    Some(OpeningAddons {
        granted,
        remaining,
        expires_at,
    })
}

/// The licence, if the line has one.
pub fn license(cells: &mut Cells<'_>) -> Option<License> {
    let (expires_at, grace_until) = (cells.end("license_end"), cells.end("grace_until"));
    let Some(kind) = cells.text("license_type").map(str::trim) else {
        for column in ["license_end", "grace_until"] {
            if cells.text(column).is_some() {
                cells.refuse(column, "needs a license_type");
            }
        }
        return None;
    };
    match LicenseType::try_from(kind.to_ascii_lowercase()) {
        Ok(LicenseType::Trial) if cells.text("license_end").is_none() => {
            cells.refuse("license_end", "is needed for a trial");
            None
        }
        Ok(kind) => Some(License {
            expires_at,
            grace_until,
            ..License::of(kind)
        }),
        Err(error) => {
            cells.refuse("license_type", &error.to_string());
            None
        }
    }
}

impl UsageLine {
    /// Reads it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(texts: &Texts) -> Result<Self, Vec<String>> {
        let mut cells = Cells::new(&USAGE, texts);
        let attribution = Attribution {
            operation: cells.label("operation"),
            user_id: cells.label("user_id"),
            workspace_id: cells.label("workspace_id"),
            run_id: None,
            model: cells.label("model"),
        };
        let parts = ["monthly", "addon", "overdraft"];
        let spent = match cells.text("credits") {
            Some(_) => {
                if parts.iter().any(|part| cells.text(part).is_some()) {
                    let message = "stands alone: leave monthly, addon and overdraft empty";
                    cells.refuse("credits", message);
                }
                cells.credits("credits").map(Spent::Credits)
            }
            None => {
                let [monthly, addon, overdraft] = parts.map(|part| cells.credits_or_zero(part));
                let parts = || {
                    Some(Spent::Parts {
                        monthly: monthly?,
                        addon: addon?,
                        overdraft: overdraft?,
                    })
                };
                parts()
            }
        };
        let count = whole(&mut cells, "count");
        let read = spent.map(|spent| Self {
            attribution,
            spent,
            count: count.unwrap_or(1),
        });
        cells.finish(read)
    }
}

/// A whole number, zero or more.
fn whole(cells: &mut Cells<'_>, column: &str) -> Option<i64> {
    let text = cells.text(column)?.trim();
    let number = text.parse().ok().filter(|it| (0..=MAX_WHOLE).contains(it));
    if number.is_none() {
        let message = format!("must be a whole number from 0 to {MAX_WHOLE}");
        cells.refuse(column, &message);
    }
    number
}

impl PaymentLine {
    /// Reads it. Nobody can have paid after the instant that the files describe.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(texts: &Texts, at: Time) -> Result<Self, Vec<String>> {
        let mut cells = Cells::new(&PAYMENTS, texts);
        let reference = cells.needed("payment_reference", Cells::label);
        let credits = cells.needed("credits", Cells::credits);
        let paid_at = cells.needed("paid_at", Cells::start);
        let amount_cents = whole(&mut cells, "amount_cents");
        let currency = cells
            .text("currency")
            .map(|it| it.trim().to_ascii_lowercase());
        if credits.is_some_and(|it| it.is_zero() || it > Credits::MAX_REQUEST) {
            let message = format!("must be above 0 and at most {}", Credits::MAX_REQUEST);
            cells.refuse("credits", &message);
        }
        if paid_at.is_some_and(|paid_at| paid_at > at) {
            cells.refuse("paid_at", "is after the instant that the files describe");
        }
        let letters = |it: &String| it.len() == 3 && it.bytes().all(|it| it.is_ascii_lowercase());
        if currency.as_ref().is_some_and(|it| !letters(it)) {
            cells.refuse("currency", "must be three letters");
        }
        let read = || {
            Some(Self {
                reference: reference?,
                credits: credits?,
                paid_at: paid_at?,
                amount_cents,
                currency,
            })
        };
        cells.finish(read())
    }
}

#[cfg(test)]
mod tests;
