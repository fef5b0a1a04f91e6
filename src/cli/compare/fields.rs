//! The fields of a pool as both systems have them, each as the text that a file would say.

use crate::cli::import::{COMPARED_POOLS, Cells, Texts, builders, license};
use crate::http::time::Stamp;
use crate::ledger::{Balance, Catalogue, Code, Credits, License, Pool, Time};

/// A pool as the ledger has it.
pub struct Ours {
    /// Its terms and licence.
    pub pool: Pool,
    /// Its figures.
    pub balance: Balance,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs {
    /// Its column.
    pub field: &'static str,
    /// What the file says; empty for nothing.
    pub file: String,
    /// What the ledger has; empty for nothing.
    pub ledger: String,
}

/// What differs, of the columns that the file has.
///
/// # Errors
/// All that is wrong with the line.
pub fn differences(
    texts: &Texts,
    ours: &Ours,
    catalogue: &Catalogue,
) -> Result<Vec<Differs>, Vec<String>> {
    let mut cells = Cells::new(&COMPARED_POOLS, texts);
    let theirs = theirs(&mut cells, catalogue);
    let compared = theirs.into_iter().zip(self::ours(ours));
    let differing = compared.filter(|((field, file), ledger)| cells.has(field) && file != ledger);
    let mut found: Vec<Differs> = differing
        .map(|((field, file), ledger)| Differs {
            field,
            file,
            ledger,
        })
        .collect();
    if ours.pool.is_closed() {
        found.push(Differs {
            field: "status",
            file: "active".to_owned(),
            ledger: "closed".to_owned(),
        });
    }
    cells.finish(Some(found))
}

fn theirs(cells: &mut Cells<'_>, catalogue: &Catalogue) -> [(&'static str, String); 13] {
    let plan = cells.parsed::<Code>("plan");
    let plan = plan.map(|it| {
        catalogue
            .plan(&it)
            .map_or(it.clone(), |(own, _)| own.clone())
    });
    let license = license(cells);
    let end = |of: fn(&License) -> Option<Time>| time(license.as_ref().and_then(of));
    let mut known = |column| (column, amount(cells.credits(column)));
    let [allowance, granted, remaining] =
        ["monthly_allowance", "monthly_granted", "monthly_remaining"].map(&mut known);
    let mut or_zero = |column| (column, amount(cells.credits_or_zero(column)));
    let [overdraft, addon_granted, addon_remaining] =
        ["overdraft", "addon_granted", "addon_remaining"].map(&mut or_zero);
    [
        ("plan", plan.map(|it| it.to_string()).unwrap_or_default()),
        ("builders", builders(cells).to_string()),
        allowance,
        ("cycle_start", time(cells.start("cycle_start"))),
        granted,
        remaining,
        overdraft,
        addon_granted,
        addon_remaining,
        ("addon_expires_at", time(cells.start("addon_expires_at"))),
        ("license_type", kind(license.as_ref())),
        ("license_end", end(|it| it.expires_at)),
        ("grace_until", end(|it| it.grace_until)),
    ]
}

/// In the same order.
fn ours(Ours { pool, balance }: &Ours) -> [String; 13] {
    let license = pool.shown_license();
    let (monthly, addon) = (&balance.monthly, &balance.addon);
    [
        pool.terms.plan.to_string(),
        pool.terms.builders.to_string(),
        amount(pool.terms.monthly_allowance),
        time(Some(monthly.cycle_start)),
        amount(Some(monthly.granted)),
        amount(Some(monthly.settled)),
        amount(Some(balance.overdraft)),
        amount(Some(addon.granted)),
        amount(Some(addon.settled)),
        time(addon.expires_at),
        kind(license),
        time(license.and_then(|it| it.expires_at)),
        time(license.and_then(|it| it.grace_until)),
    ]
}

fn amount(credits: Option<Credits>) -> String {
    credits.map(|it| it.to_string()).unwrap_or_default()
}

fn time(at: Option<Time>) -> String {
    at.map(|at| Stamp(at).to_string()).unwrap_or_default()
}

fn kind(license: Option<&License>) -> String {
    license
        .map(|it| it.kind.as_str().to_owned())
        .unwrap_or_default()
}
