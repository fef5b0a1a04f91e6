//! The model's commands and catalogue in the core's types, as the edge would parse them.

use credit_ledger::ledger;
use credit_ledger::ledger::{
    Credits, EntryId, Label, Patch, PoolKind, PurchaseId, SignedCredits, Time,
};
use uuid::Uuid;

use crate::model;
use crate::model::Field;

/// The pool's own name: the customer that its licence keys are issued for.
pub const POOL: &str = "6f1c";

pub fn kind(kind: model::PoolKind) -> PoolKind {
    match kind {
        model::PoolKind::Workspace => PoolKind::Workspace,
        model::PoolKind::Instance => PoolKind::Instance,
    }
}

pub fn credits(units: i64) -> Credits {
    Credits::from_units(units).expect("the steps name no negative amount here")
}

pub fn code(code: &str) -> ledger::Code {
    code.parse().expect("the steps name good codes")
}

fn label(text: &str) -> Label {
    text.parse().expect("the steps name good labels")
}

/// The other name of a plan, where it has one: it means the same plan.
fn alias(plan: &str) -> &str {
    match plan {
        "pro" => "flexible",
        "team" => "business",
        other => other,
    }
}

pub fn put(
    body: &model::PutPool,
    by_alias: bool,
    clock: Option<ledger::ClockId>,
) -> ledger::PutPool {
    let plan = match &body.plan {
        Field::Value(plan) => Some(if by_alias { alias(plan) } else { plan }),
        Field::LeftOut | Field::Null => None,
    };
    let billing_anchor = match body.billing_anchor {
        Field::Value(anchor) => Some(anchor),
        Field::LeftOut | Field::Null => None,
    };
    ledger::PutPool {
        plan: plan.map(code),
        builders: patch(&body.builders, |builders| seats(*builders)),
        monthly_allowance: patch(&body.monthly_allowance, |units| credits(*units)),
        billing_anchor,
        // Both stand for what is stored and shown but moves no credits.
        term: patch(&body.metadata, |tag| term(*tag)),
        metadata: patch(&body.metadata, |tag| metadata(*tag)),
        license: patch(&body.license, license),
        test_clock: clock.map_or(Patch::Keep, Patch::Set),
    }
}

fn patch<T, U>(field: &Field<T>, translate: impl Fn(&T) -> U) -> Patch<U> {
    match field {
        Field::LeftOut => Patch::Keep,
        Field::Null => Patch::Clear,
        Field::Value(value) => Patch::Set(translate(value)),
    }
}

fn seats(builders: model::Builders) -> ledger::Seats {
    match builders {
        model::Builders::Unlimited => ledger::Seats::Unlimited,
        model::Builders::Count(count) => {
            ledger::Seats::Count(u32::try_from(count).expect("the steps name real counts"))
        }
    }
}

pub fn term(tag: u8) -> ledger::Term {
    if tag.is_multiple_of(2) {
        ledger::Term::Annual
    } else {
        ledger::Term::Monthly
    }
}

pub fn metadata(tag: u8) -> ledger::Metadata {
    ledger::Metadata::stored(format!("{{\"tag\":{tag}}}"))
}

fn license(given: &model::License) -> ledger::License {
    let kind = match given.license_type {
        model::LicenseType::Basic => ledger::LicenseType::Basic,
        model::LicenseType::Trial => ledger::LicenseType::Trial,
        model::LicenseType::Paid => ledger::LicenseType::Paid,
        model::LicenseType::Business => ledger::LicenseType::Business,
        model::LicenseType::Enterprise => ledger::LicenseType::Enterprise,
    };
    ledger::License {
        expires_at: given.expires_at,
        grace_until: given.grace_until,
        signed: given.signed.as_ref().map(|it| Box::new(signed(it))),
        ..ledger::License::of(kind)
    }
}

fn signed(given: &model::Signed) -> ledger::Signed {
    ledger::Signed {
        fingerprint: label(&given.fingerprint.to_string()),
        issued_at: given.issued_at,
        features: Vec::new(),
    }
}

pub fn key(given: &model::Key) -> ledger::SignedLicense {
    let customer = if given.for_this_customer {
        POOL
    } else {
        "another"
    };
    ledger::SignedLicense {
        customer: label(customer),
        terms: terms(&given.terms),
        license: license(&given.license),
        signed: signed(&given.signed),
        starts_at: given.starts_at,
    }
}

fn terms(given: &model::Terms) -> ledger::Terms {
    ledger::Terms {
        plan: code(&given.plan),
        builders: seats(given.builders),
        monthly_allowance: given.monthly_allowance.map(credits),
    }
}

pub fn upgrade(at: Time) -> ledger::Upgrade {
    ledger::Upgrade {
        at,
        plans: ledger::Upgrade::default_plans(),
    }
}

pub fn opening(given: &model::Opening) -> ledger::Opening {
    let payments = given.payments.iter().zip(1_u128..);
    ledger::Opening {
        at: given.at,
        terms: terms(&given.terms),
        billing_anchor: given.billing_anchor,
        cycle_start: given.cycle_start,
        monthly_granted: credits(given.monthly_granted),
        monthly_remaining: credits(given.monthly_remaining),
        overdraft: credits(given.overdraft),
        addons: given.addons.map(|addons| ledger::OpeningAddons {
            granted: credits(addons.granted),
            remaining: credits(addons.remaining),
            expires_at: addons.expires_at,
        }),
        license: given.license.as_ref().map(license),
        usage: given.usage.iter().map(usage).collect(),
        payments: payments
            .map(|(payment, number)| ledger::OpeningPayment {
                id: Uuid::from_u128(1_000_000 + number).into(),
                reference: label(&payment.reference),
                credits: credits(payment.credits),
                paid_at: payment.paid_at,
                amount_cents: None,
                currency: None,
            })
            .collect(),
    }
}

fn usage(line: &model::OpeningUsage) -> ledger::OpeningUsage {
    ledger::OpeningUsage {
        attribution: attribution(&Some("add_feature".to_owned()), &None),
        monthly: credits(line.monthly),
        addon: credits(line.addon),
        overdraft: credits(line.overdraft),
        count: 3,
    }
}

pub fn debit(asked: &model::Debit) -> ledger::Debit {
    ledger::Debit {
        credits: asked.credits.map(credits),
        round: round(asked.round),
        mode: mode(asked.settle),
        attribution: attribution(&asked.operation, &asked.run),
        metadata: None,
    }
}

pub fn hold(asked: &model::Hold) -> ledger::NewHold {
    ledger::NewHold {
        credits: asked.credits.map(credits),
        round: round(asked.round),
        partial: asked.partial,
        expires_in_seconds: seconds(asked.expires_in_seconds),
        attribution: attribution(&asked.operation, &asked.run),
        metadata: None,
    }
}

pub fn extension(hold: EntryId, expires_in_seconds: i64) -> ledger::Extension {
    ledger::Extension {
        hold,
        expires_in_seconds: seconds(expires_in_seconds),
    }
}

/// Credits, how to round them, and whether the work is done.
pub fn capture(hold: EntryId, cost: (i64, model::Round, bool)) -> ledger::Capture {
    ledger::Capture {
        hold,
        credits: credits(cost.0),
        round: round(cost.1),
        mode: mode(cost.2),
    }
}

pub fn refund(debit: EntryId, amount: Option<i64>) -> ledger::Refund {
    ledger::Refund {
        debit,
        credits: amount.map(credits),
        reason: None,
    }
}

pub fn run_refund(run: &str) -> ledger::RunRefund {
    ledger::RunRefund {
        run_id: label(run),
        reason: None,
    }
}

fn round(round: model::Round) -> Option<ledger::Round> {
    match round {
        model::Round::No => None,
        model::Round::Up => Some(ledger::Round::Up),
        model::Round::Nearest => Some(ledger::Round::Nearest),
    }
}

fn mode(settle: bool) -> ledger::Mode {
    if settle {
        ledger::Mode::Settle
    } else {
        ledger::Mode::Strict
    }
}

fn attribution(operation: &Option<String>, run: &Option<String>) -> ledger::Attribution {
    ledger::Attribution {
        operation: operation.as_deref().map(label),
        run_id: run.as_deref().map(label),
        ..ledger::Attribution::default()
    }
}

fn seconds(seconds: i64) -> u32 {
    u32::try_from(seconds).expect("the steps name good lengths")
}

pub fn purchase(asked: &model::Purchase, number: usize) -> ledger::Purchase {
    let number = u128::try_from(number).expect("a case is short");
    ledger::Purchase {
        id: Uuid::from_u128(number).into(),
        credits: Ok(SignedCredits::from_units(asked.credits)),
        bonus: credits(asked.bonus),
        as_sold: false,
        reference: label(&asked.reference),
        paid_at: asked.paid_at,
        amount_cents: None,
        currency: None,
        user_id: None,
    }
}

pub fn settlement(purchase: PurchaseId, version: i64, known: &model::Settle) -> ledger::Settlement {
    ledger::Settlement {
        purchase,
        payment: ledger::PaymentState {
            version,
            charged: known.charged,
            refunded: known.refunded,
            disputed: known.disputed,
            dispute_lost: known.dispute_lost,
        },
    }
}

pub fn adjustment(asked: &model::Adjustment) -> ledger::Adjustment {
    ledger::Adjustment {
        bucket: match asked.bucket {
            model::Bucket::Monthly => ledger::Bucket::Monthly,
            model::Bucket::Addon => ledger::Bucket::Addon,
        },
        credits: SignedCredits::from_units(asked.credits),
        reason: "by hand".parse().expect("a good reason"),
    }
}

pub fn plan_version(put: &model::PlanVersion, version: usize) -> ledger::PlanVersion {
    ledger::PlanVersion {
        version: i32::try_from(version).expect("a case is short"),
        effective_at: put.effective_at,
        name: put.code.clone(),
        allowance: match put.allowance {
            model::Allowance::PerBuilder(units) => ledger::Allowance::PerBuilder(credits(units)),
            model::Allowance::PerPool(units) => ledger::Allowance::PerPool(credits(units)),
            model::Allowance::Custom => ledger::Allowance::Custom,
        },
        addons: put.addons,
        denomination: ledger::Denomination::from_units(put.denomination)
            .expect("the steps name real denominations"),
        legacy_prices: put.legacy_prices,
    }
}

pub fn operation(put: &model::Operation) -> ledger::Operation {
    ledger::Operation {
        name: put.code.clone(),
        estimate: credits(put.estimate),
        fixed: put.fixed.map(credits),
        legacy_fixed: put.legacy_fixed.map(credits),
    }
}

pub fn authorize(
    pool: &ledger::Pool,
    catalogue: &ledger::Catalogue,
    (amount, operation): (Option<i64>, Option<&str>),
) -> Result<ledger::Authorization, ledger::Refusal> {
    let operation = operation.map(label);
    ledger::authorize(pool, catalogue, operation.as_ref(), amount.map(credits))
}

/// The catalogue that both sides start with: the core's own, with the case's limit.
pub fn catalogue(from: Time, max_debit: i64) -> ledger::Catalogue {
    let mut catalogue = ledger::Catalogue::initial(from);
    catalogue.settings.max_debit = credits(max_debit);
    catalogue
}
