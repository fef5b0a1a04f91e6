//! What the core decided and holds, in the model's words: the two sides are compared with `==`.

use std::sync::Arc;

use credit_ledger::ledger;
use credit_ledger::ledger::{Entry, EntryId, Pool, SignedCredits, Time};

use crate::model;
use crate::model::{Answer, Code};

/// The model's own words for what the API has one code for. Where there is no pool, it is the pool
/// that is not found.
pub fn model_code(code: Code, pool: Option<&Pool>) -> Code {
    match code {
        "unknown_plan" => "validation_failed",
        "not_found" if pool.is_none() => "pool_not_found",
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
        late: facts.late,
        hold: facts.hold.map(|hold| seq_of(entry, hold)),
    }
}

fn seq_of(entry: &Entry, id: EntryId) -> usize {
    let (seq, _) = id.locate(entry.pool).expect("an id of this pool");
    number(seq)
}

fn hold_of(entry: &Entry) -> ledger::HoldFacts {
    let details = entry.read_details().expect("details can be read");
    details.hold.expect("an entry about a hold names it")
}

pub fn held(entry: &Entry) -> Answer {
    let hold = hold_of(entry);
    Answer::Held {
        seq: number(entry.seq),
        credits: hold.credits().units(),
        requested: hold.requested.units(),
        monthly: hold.monthly.units(),
        addon: hold.addon.units(),
        expires_at: hold.expires_at,
    }
}

pub fn extended(entry: &Entry) -> Answer {
    Answer::Extended {
        seq: number(entry.seq),
        expires_at: hold_of(entry).expires_at,
    }
}

pub fn released(entry: &Entry) -> Answer {
    Answer::Released {
        seq: number(entry.seq),
    }
}

/// A refund, or all those of a run, of which `first` is the first.
pub fn refunded(first: &Entry, entries: &[Arc<Entry>]) -> Answer {
    let details = first.read_details().expect("details can be read");
    let Some(count) = details.run_refunds else {
        let one = run_refund(first);
        return Answer::Refunded {
            seq: one.seq,
            credits: one.credits,
            overdraft: one.overdraft,
            addon: one.addon,
            monthly: one.monthly,
            lapsed: one.lapsed,
        };
    };
    let of_run = first.seq..first.seq + count;
    let refunds = entries.iter().filter(|it| of_run.contains(&it.seq));
    let refunds: Vec<_> = refunds.map(|entry| run_refund(entry)).collect();
    let credits = refunds.iter().map(|refund| refund.credits).sum();
    Answer::RunRefunded { refunds, credits }
}

fn run_refund(entry: &Entry) -> model::RunRefund {
    let details = entry.read_details().expect("details can be read");
    let facts = details.refund.expect("a refund says what it undid");
    let went = |account| entry.moved(ledger::Account::Consumed, account).units();
    model::RunRefund {
        seq: number(entry.seq),
        debit: seq_of(entry, facts.debit),
        credits: facts.credits().units(),
        overdraft: went(ledger::Account::Overdraft),
        addon: went(ledger::Account::Addon),
        monthly: went(ledger::Account::Monthly),
        lapsed: went(ledger::Account::Lapsed),
    }
}

pub fn purchased(entry: &Entry) -> Answer {
    let details = entry.read_details().expect("details can be read");
    let credited = entry.moved(ledger::Account::IssuedAddon, ledger::Account::Addon);
    let bonus = details.bonus_credits.map_or(0, ledger::Credits::units);
    Answer::Purchased {
        seq: number(entry.seq),
        credits: credited.units() - bonus,
        bonus,
        paid_at: details.paid_at.expect("a purchase says when it was paid"),
        expires_at: entry
            .after
            .addon
            .expires_at
            .expect("what is bought expires"),
        first: true,
    }
}

pub fn settled(entry: Option<&Entry>, bought: &ledger::Bought) -> Answer {
    Answer::Settled {
        seq: entry.map(|entry| number(entry.seq)),
        clawed_back: bought.clawed_back.units(),
        uncollected: bought.uncollected.units(),
    }
}

pub fn credited(bought: &ledger::Bought) -> model::view::Credited {
    model::view::Credited {
        seq: number(bought.seq),
        credits: bought.credits.units(),
        valid_until: bought.valid_until,
        clawed_back: bought.clawed_back.units(),
        uncollected: bought.uncollected.units(),
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

/// `None` where there was nothing to move.
pub fn upgraded(entry: Option<&Entry>) -> Answer {
    Answer::Upgraded {
        seq: entry.map(|entry| number(entry.seq)),
    }
}

pub fn imported(pool: &Pool) -> Answer {
    Answer::Imported {
        version: number(pool.seq),
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
    in_order(&model::Entry {
        seq: number(entry.seq),
        kind: kind(entry.kind),
        at: entry.at,
        transfers: transfers.collect(),
    })
}

/// The same entry, its transfers in the order of their accounts and each pair of accounts once:
/// only what they come to is compared.
pub fn in_order(entry: &model::Entry) -> model::Entry {
    let accounts = model::Account::ALL;
    let pairs = accounts
        .into_iter()
        .flat_map(|from| accounts.map(|to| (from, to)));
    let legs = pairs.map(|(from, to)| from.to(to, entry.moved(from, to)));
    model::Entry {
        transfers: legs.filter(|leg| leg.amount > 0).collect(),
        ..entry.clone()
    }
}

fn account(account: ledger::Account) -> model::Account {
    let found = ACCOUNTS.into_iter().find(|(core, _)| *core == account);
    found.expect("both sides have the same accounts").1
}

/// The accounts of both sides.
pub const ACCOUNTS: [(ledger::Account, model::Account); 12] = [
    (ledger::Account::Monthly, model::Account::Monthly),
    (ledger::Account::Addon, model::Account::Addon),
    (ledger::Account::HeldMonthly, model::Account::HeldMonthly),
    (ledger::Account::HeldAddon, model::Account::HeldAddon),
    (ledger::Account::HeldEnded, model::Account::HeldEnded),
    (ledger::Account::Overdraft, model::Account::Overdraft),
    (ledger::Account::Consumed, model::Account::Consumed),
    (ledger::Account::Lapsed, model::Account::Lapsed),
    (
        ledger::Account::IssuedMonthly,
        model::Account::IssuedMonthly,
    ),
    (ledger::Account::IssuedAddon, model::Account::IssuedAddon),
    (ledger::Account::Adjusted, model::Account::Adjusted),
    (ledger::Account::ClawedBack, model::Account::ClawedBack),
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
        ledger::Kind::Refund => model::Kind::Refund,
        ledger::Kind::Hold => model::Kind::Hold,
        ledger::Kind::HoldExtend => model::Kind::HoldExtend,
        ledger::Kind::Release => model::Kind::Release,
        ledger::Kind::HoldExpiry => model::Kind::HoldExpiry,
        ledger::Kind::Clawback => model::Kind::Clawback,
        ledger::Kind::ClawbackReversal => model::Kind::ClawbackReversal,
        ledger::Kind::Purchase => model::Kind::Purchase,
        ledger::Kind::Reinstatement => model::Kind::Reinstatement,
        ledger::Kind::Adjustment => model::Kind::Adjustment,
        ledger::Kind::Close => model::Kind::Close,
        ledger::Kind::Import => model::Kind::Import,
        ledger::Kind::Upgrade => model::Kind::Upgrade,
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

pub fn view(book: &ledger::Book, catalogue: &ledger::Catalogue, now: Time) -> model::PoolView {
    let pool = book.pool();
    let next_grant = ledger::next_grant(book, catalogue).map(|next| model::NextGrant {
        at: next.at,
        credits: next.credits.units(),
        overdraft_repaid: next.overdraft_repaid.units(),
        net: next.net.units(),
    });
    let pending = pool.pending.as_ref();
    // What was given up is shown as none.
    let shown = pool.shown_license();
    let status = shown.map(|license| license.status(now));
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

pub fn terms(terms: &ledger::Terms) -> model::Terms {
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
        signed: license.signed.as_ref().map(|signed| model::Signed {
            fingerprint: signed.fingerprint.as_str().parse().expect("a number"),
            issued_at: signed.issued_at,
        }),
    }
}
