//! What the core decided and holds, in the model's words: the two sides are compared with `==`.

use credit_ledger::ledger;
use credit_ledger::ledger::{Entry, Pool, SignedCredits, Time};

use crate::model;
use crate::model::{Answer, Code};

/// The model's own words for what the API has one code for.
pub fn model_code(code: Code) -> Code {
    match code {
        "unknown_plan" => "validation_failed",
        "not_found" => "pool_not_found",
        other => other,
    }
}

fn number(seq: i64) -> usize {
    usize::try_from(seq).expect("entries are counted from 1")
}

pub fn put(change: ledger::Change, pool: &Pool) -> Answer {
    Answer::Put {
        change: match change {
            ledger::Change::Created => model::Change::Created,
            ledger::Change::None => model::Change::None,
            ledger::Change::Increase => model::Change::Increase,
            ledger::Change::Decrease => model::Change::Decrease,
            ledger::Change::Equal => model::Change::Equal,
        },
        version: number(pool.seq),
    }
}

pub fn debited(entry: &Entry) -> Answer {
    let facts = ledger::DebitFacts::of(entry).expect("a debit's details can be read");
    Answer::Debited {
        seq: number(entry.seq),
        credits: facts.credits.units(),
        requested: facts.requested.map(ledger::Credits::units),
        monthly: facts.monthly.units(),
        addon: facts.addon.units(),
        overdraft: facts.overdraft.units(),
        late: false,
        hold: None,
    }
}

pub fn purchased(entry: &Entry) -> Answer {
    let details = entry.read_details().expect("details can be read");
    let bought = entry.moved(ledger::Account::IssuedAddon, ledger::Account::Addon);
    Answer::Purchased {
        seq: number(entry.seq),
        credits: bought.units(),
        paid_at: details.paid_at.expect("a purchase says when it was paid"),
        expires_at: entry
            .after
            .addon
            .expires_at
            .expect("what is bought expires"),
        first: true,
    }
}

pub fn adjusted(entry: &Entry) -> Answer {
    Answer::Adjusted {
        seq: number(entry.seq),
    }
}

pub fn closed(pool: &Pool) -> Answer {
    Answer::Closed {
        seq: number(pool.seq),
    }
}

pub fn advanced(pool: &Pool) -> Answer {
    Answer::Advanced {
        version: number(pool.seq),
    }
}

pub fn authorized(answer: &ledger::Authorization, pool: &Pool) -> model::Authorization {
    model::Authorization {
        allowed: answer.refused.is_none(),
        code: answer.refused,
        available: answer.available.units(),
        required: answer.required.map(ledger::Credits::units),
        estimate: answer.estimate.map(ledger::Credits::units),
        renews_at: pool.cycle.end,
        version: number(pool.seq),
    }
}

pub fn entry(entry: &Entry) -> model::Entry {
    let transfers = entry.transfers.iter().map(|leg| model::Transfer {
        from: account(leg.from),
        to: account(leg.to),
        amount: leg.amount.units(),
    });
    model::Entry {
        seq: number(entry.seq),
        kind: kind(entry.kind),
        at: entry.at,
        transfers: transfers.collect(),
    }
}

fn account(account: ledger::Account) -> model::Account {
    let found = ACCOUNTS.into_iter().find(|(core, _)| *core == account);
    found
        .expect("no command of these tests holds or claws back")
        .1
}

/// The accounts that both sides have.
pub const ACCOUNTS: [(ledger::Account, model::Account); 8] = [
    (ledger::Account::Monthly, model::Account::Monthly),
    (ledger::Account::Addon, model::Account::Addon),
    (ledger::Account::Overdraft, model::Account::Overdraft),
    (ledger::Account::Consumed, model::Account::Consumed),
    (ledger::Account::Lapsed, model::Account::Lapsed),
    (
        ledger::Account::IssuedMonthly,
        model::Account::IssuedMonthly,
    ),
    (ledger::Account::IssuedAddon, model::Account::IssuedAddon),
    (ledger::Account::Adjusted, model::Account::Adjusted),
];

fn kind(kind: ledger::Kind) -> model::Kind {
    match kind {
        ledger::Kind::Open => model::Kind::Open,
        ledger::Kind::Renewal => model::Kind::Renewal,
        ledger::Kind::Restart => model::Kind::Restart,
        ledger::Kind::LicenseEnd => model::Kind::LicenseEnd,
        ledger::Kind::TermsChange => model::Kind::TermsChange,
        ledger::Kind::AddonExpiry => model::Kind::AddonExpiry,
        ledger::Kind::Debit => model::Kind::Debit,
        ledger::Kind::Refund
        | ledger::Kind::Hold
        | ledger::Kind::HoldExtend
        | ledger::Kind::Release
        | ledger::Kind::HoldExpiry => unreachable!("comes with holds"),
        ledger::Kind::Purchase => model::Kind::Purchase,
        ledger::Kind::Reinstatement => model::Kind::Reinstatement,
        ledger::Kind::Adjustment => model::Kind::Adjustment,
        ledger::Kind::Close => model::Kind::Close,
    }
}

pub fn balance(balance: &ledger::Balance) -> model::Balance {
    let ledger::Balance { monthly, addon, .. } = balance;
    model::Balance {
        as_of: balance.as_of,
        version: number(balance.version),
        available: balance.available().units(),
        held: balance.held().units(),
        overdraft: balance.overdraft.units(),
        monthly: model::view::MonthlyBalance {
            granted: monthly.granted.units(),
            settled: monthly.settled.units(),
            held: monthly.held.units(),
            available: balance.monthly_available().units(),
            used: monthly.used.units(),
            cycle_start: monthly.cycle_start,
            renews_at: monthly.renews_at,
            expires_at: monthly.expires_at,
        },
        addon: model::view::AddonBalance {
            granted: addon.granted.units(),
            settled: addon.settled.units(),
            held: addon.held.units(),
            available: SignedCredits::units(balance.addon_available()),
            expires_at: addon.expires_at,
        },
    }
}

pub fn view(pool: &Pool, catalogue: &ledger::Catalogue, now: Time) -> model::PoolView {
    let next_grant = ledger::next_grant(&ledger::Book::new(pool.clone()), catalogue).map(|next| {
        model::NextGrant {
            at: next.at,
            credits: next.credits.units(),
            overdraft_repaid: next.overdraft_repaid.units(),
            net: next.net.units(),
        }
    });
    let pending = pool.pending.as_ref();
    let status = pool.license.as_ref().map(|license| license.status(now));
    model::PoolView {
        in_force: terms(&pool.terms),
        denomination: pool.denomination.units(),
        requested: requested(&pool.requested),
        billing_anchor: pool.billing_anchor,
        pending: pending.map(|waiting| (terms(waiting), pool.cycle.end)),
        cycle: model::view::Cycle {
            number: pool.cycle.number.into(),
            start: pool.cycle.start,
            end: pool.cycle.end,
            anchor: pool.cycle.anchor,
        },
        next_grant,
        license: match status.unwrap_or(ledger::LicenseStatus::None) {
            ledger::LicenseStatus::None => model::LicenseStatus::None,
            ledger::LicenseStatus::Active => model::LicenseStatus::Active,
            ledger::LicenseStatus::Grace => model::LicenseStatus::Grace,
            ledger::LicenseStatus::Expired => model::LicenseStatus::Expired,
        },
        closed: pool.is_closed(),
        balance: balance(&pool.balance(now)),
    }
}

fn terms(terms: &ledger::Terms) -> model::Terms {
    model::Terms {
        plan: terms.plan.as_str().to_owned(),
        builders: match terms.builders {
            ledger::Seats::Count(count) => model::Builders::Count(count.into()),
            ledger::Seats::Unlimited => model::Builders::Unlimited,
        },
        monthly_allowance: terms.monthly_allowance.map(ledger::Credits::units),
    }
}

fn requested(requested: &ledger::Requested) -> model::Requested {
    let tag = requested.metadata.as_ref().map(|metadata| {
        let tag = (0..=u8::MAX).find(|tag| super::requests::metadata(*tag) == *metadata);
        tag.expect("metadata of these tests is a tag")
    });
    let term = tag.map_or(ledger::Term::Monthly, super::requests::term);
    assert_eq!(
        requested.term, term,
        "term and metadata come and go together"
    );
    model::Requested {
        terms: terms(&requested.terms),
        license: requested.license.as_ref().map(license),
        metadata: tag,
    }
}

fn license(license: &ledger::License) -> model::License {
    model::License {
        license_type: match license.kind {
            ledger::LicenseType::Basic => model::LicenseType::Basic,
            ledger::LicenseType::Trial => model::LicenseType::Trial,
            ledger::LicenseType::Paid => model::LicenseType::Paid,
            ledger::LicenseType::Business => model::LicenseType::Business,
            ledger::LicenseType::Enterprise => model::LicenseType::Enterprise,
        },
        expires_at: license.expires_at,
        grace_until: license.grace_until,
    }
}
