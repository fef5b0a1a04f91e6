//! The lines about one pool, put together: what is to be opened, or all that is wrong with them.

use super::Files;
use super::cells::{POOLS, Texts};
use super::findings::BadLine;
use super::lines::{PaymentLine, PoolLine, Spent, UsageLine};
use crate::ledger::{
    Allowance, Catalogue, Credits, Opening, OpeningPayment, OpeningUsage, PoolName, PurchaseId,
    Seats, TenantId, Terms, Time,
};
use crate::store::{Source, StagedLine, StagedPool};

/// The most lines of usage about one pool: it is booked in one commit, and that within the lanes'
/// time limit.
const MAX_USAGE: i64 = 20_000;
/// The same of payments, each of which is a purchase, too.
const MAX_PAYMENTS: i64 = 2_000;

/// A pool that may be imported.
pub struct Candidate {
    /// Its name.
    pub name: PoolName,
    /// Its line in the file of the pools.
    pub line: i64,
    /// What is to be opened.
    pub opening: Opening,
}

/// What all pools of an import share.
pub struct Ground<'a> {
    /// Whose they are.
    pub tenant: TenantId,
    /// What the files describe.
    pub at: Time,
    /// What the tenant sells.
    pub catalogue: &'a Catalogue,
    /// What the files are called.
    pub files: &'a Files,
}

/// What is wrong with the lines of one pool.
struct Wrong<'a> {
    files: &'a Files,
    pool: String,
    bad: Vec<BadLine>,
}

impl Wrong<'_> {
    fn add(&mut self, line: &StagedLine, reasons: &[String]) {
        if !reasons.is_empty() {
            self.bad.push(BadLine {
                file: self.files.name(line.source),
                line: line.line,
                pool: self.pool.clone(),
                reason: reasons.join("; "),
            });
        }
    }
}

/// What the other files say too much of about a pool.
pub fn too_many(staged: &StagedPool) -> Option<String> {
    let (usage, payments) = (staged.usage, staged.payments);
    if payments > MAX_PAYMENTS {
        return Some(format!(
            "has {payments} payments, more than {MAX_PAYMENTS}: they cannot be booked in one commit"
        ));
    }
    (usage > MAX_USAGE)
        .then(|| format!("has {usage} lines of usage, more than {MAX_USAGE}: add some up"))
}

impl Candidate {
    /// How many entries it will have, about.
    pub const fn weight(&self) -> usize {
        2 + self.opening.usage.len() + self.opening.payments.len()
    }
}

/// The cells of a line that was kept.
pub fn texts(line: &StagedLine) -> Texts {
    serde_json::from_str(&line.cells).unwrap_or_default()
}

/// The pool that a line is about, as the line says it.
pub fn pool_of(texts: &Texts) -> String {
    texts.first().cloned().flatten().unwrap_or_default()
}

/// Puts the lines about a pool together.
///
/// # Errors
/// Every line that is wrong.
pub fn assemble(
    ground: &Ground<'_>,
    staged: &StagedPool,
    others: &[StagedLine],
) -> Result<Candidate, Vec<BadLine>> {
    let cells = texts(&staged.line);
    let pool = pool_of(&cells);
    let mut wrong = Wrong {
        files: ground.files,
        pool: pool.clone(),
        bad: Vec::new(),
    };
    let read = read_pool(ground, staged, &cells);
    let read = read
        .map_err(|reasons| wrong.add(&staged.line, &reasons))
        .ok();
    let (mut usage, mut payments) = (Vec::new(), Vec::new());
    for line in others {
        let added = match line.source {
            Source::Usage => read_usage(line).map(|it| usage.push(it)),
            Source::Payments => read_payment(ground, line).map(|it| payments.push(it)),
            Source::Pools => Ok(()),
        };
        added.unwrap_or_else(|reasons| wrong.add(line, &reasons));
    }
    match (read, pool.parse()) {
        (Some(read), Ok(name)) if wrong.bad.is_empty() => Ok(Candidate {
            name,
            line: staged.line.line,
            opening: opening(ground.at, read, &usage, payments),
        }),
        _ => Err(wrong.bad),
    }
}

fn read_pool(
    ground: &Ground<'_>,
    staged: &StagedPool,
    cells: &Texts,
) -> Result<PoolLine, Vec<String>> {
    let line = &staged.line;
    let mut reasons: Vec<String> = line.problem.iter().cloned().collect();
    if let Some(twin) = line.twin {
        reasons.push(format!("pool is in line {twin}, too"));
    }
    reasons.extend(too_many(staged));
    if line.problem.is_some() {
        return Err(reasons);
    }
    let read = match PoolLine::read(&POOLS, cells) {
        Ok(read) => read,
        Err(wrong) => return Err([reasons, wrong].concat()),
    };
    reasons.extend(needless_allowance(ground, &read));
    if reasons.is_empty() {
        Ok(read)
    } else {
        Err(reasons)
    }
}

/// An allowance of the pool's own is said only where the plan leaves it open, as in a PUT.
fn needless_allowance(ground: &Ground<'_>, read: &PoolLine) -> Option<String> {
    let (_, plan) = ground.catalogue.plan(&read.plan)?;
    let version = plan.version(Some(ground.at));
    let custom = version.allowance == Allowance::Custom || read.builders == Seats::Unlimited;
    (read.monthly_allowance.is_some() && !custom).then(|| {
        let plan = &read.plan;
        format!("monthly_allowance must be empty: {plan} has its own, unless builders is unlimited")
    })
}

fn read_usage(line: &StagedLine) -> Result<UsageLine, Vec<String>> {
    match &line.problem {
        Some(problem) => Err(vec![problem.clone()]),
        None => UsageLine::read(&texts(line)),
    }
}

fn read_payment(ground: &Ground<'_>, line: &StagedLine) -> Result<OpeningPayment, Vec<String>> {
    let mut reasons: Vec<String> = line.problem.iter().cloned().collect();
    if let Some(twin) = line.twin {
        reasons.push(format!("payment_reference is in line {twin}, too"));
    }
    if line.problem.is_some() {
        return Err(reasons);
    }
    match PaymentLine::read(&texts(line), ground.at) {
        Ok(read) if reasons.is_empty() => Ok(OpeningPayment {
            id: PurchaseId::of_imported(ground.tenant, &read.reference),
            reference: read.reference,
            credits: read.credits,
            paid_at: read.paid_at,
            amount_cents: read.amount_cents,
            currency: read.currency,
        }),
        Ok(_) => Err(reasons),
        Err(wrong) => Err([reasons, wrong].concat()),
    }
}

fn opening(
    at: Time,
    read: PoolLine,
    usage: &[UsageLine],
    payments: Vec<OpeningPayment>,
) -> Opening {
    let usage = split(&read, usage);
    Opening {
        at,
        terms: Terms {
            plan: read.plan,
            builders: read.builders,
            monthly_allowance: read.monthly_allowance,
        },
        billing_anchor: read.anchor,
        cycle_start: read.cycle_start,
        monthly_granted: read.monthly_granted,
        monthly_remaining: read.monthly_remaining,
        overdraft: read.overdraft,
        addons: read.addons,
        license: read.license,
        usage,
        payments,
    }
}

/// Lines that say only how much was spent take, in their order, what the pool has spent of its
/// monthly credits beyond what other lines say of them, then of its add-on credits; the rest was
/// beyond both.
fn split(read: &PoolLine, lines: &[UsageLine]) -> Vec<OpeningUsage> {
    let sum = |of: fn(&Spent) -> Credits| lines.iter().map(|it| of(&it.spent)).sum::<Credits>();
    let monthly = read.monthly_granted.saturating_sub(read.monthly_remaining);
    let addon = read
        .addons
        .map_or(Credits::ZERO, |it| it.granted.saturating_sub(it.remaining));
    let mut monthly = monthly.saturating_sub(sum(|it| it.parts().0));
    let mut addon = addon.saturating_sub(sum(|it| it.parts().1));
    let mut of_line = |line: &UsageLine| {
        let (drawn, bought, beyond) = match line.spent {
            Spent::Parts { .. } => line.spent.parts(),
            Spent::Credits(credits) => {
                let drawn = credits.min(monthly);
                let bought = (credits - drawn).min(addon);
                (monthly, addon) = (monthly - drawn, addon - bought);
                (drawn, bought, credits - drawn - bought)
            }
        };
        OpeningUsage {
            attribution: line.attribution.clone(),
            monthly: drawn,
            addon: bought,
            overdraft: beyond,
            count: line.count,
        }
    };
    lines.iter().map(&mut of_line).collect()
}

impl Spent {
    /// What is said of each bucket, and beyond.
    const fn parts(self) -> (Credits, Credits, Credits) {
        match self {
            Self::Parts {
                monthly,
                addon,
                overdraft,
            } => (monthly, addon, overdraft),
            Self::Credits(_) => (Credits::ZERO, Credits::ZERO, Credits::ZERO),
        }
    }
}

#[cfg(test)]
mod tests;
