//! Random pools of another system, as they stood there, and what happens to them here.

use chrono::Duration;
use credit_ledger::ledger::{Time, cycle_containing};
use proptest::prelude::{BoxedStrategy, Just, Strategy, prop, prop_oneof};
use proptest::sample::select;

use super::keys::{key_terms, lasting_license, what_with_upgrades};
use super::payments::{purchase, settlement, what_with_payments};
use super::puts::{license, put};
use super::script::license_of;
use super::steps::{LicenseShape, What, debit, held_or_refunded};
use crate::model::{CREDIT, Opening, OpeningAddons, OpeningPayment, OpeningUsage, Terms};

#[derive(Clone, Debug)]
pub struct OpeningShape {
    /// How long before now the figures were true: an hour of the future is too late.
    pub hours_ago: i64,
    pub terms: Terms,
    pub anchor_days_ago: i64,
    /// In thousandths of the way from the cycle's start; one below it is too early.
    pub began: i64,
    pub granted: i64,
    pub remaining: i64,
    pub overdraft: i64,
    pub addons: Option<AddonsShape>,
    pub license: Option<LicenseShape>,
    /// In thousandths of what was spent monthly, of what was spent of add-ons, and of what is owed.
    pub usage: Vec<[i64; 3]>,
    /// Thousandths of what was bought, and how many days ago they were paid.
    pub payments: Vec<(i64, i64)>,
}

#[derive(Clone, Copy, Debug)]
pub struct AddonsShape {
    pub granted: i64,
    pub remaining: i64,
    pub days: i64,
}

pub fn opening(now: Time, shape: &OpeningShape) -> Opening {
    let at = now - Duration::hours(shape.hours_ago);
    let billing_anchor = at - Duration::days(shape.anchor_days_ago);
    let cycle = cycle_containing(billing_anchor, at);
    let began = (at - cycle.start) * i32::try_from(shape.began).expect("thousandths") / 1_000;
    let bought = shape.addons.map_or(1_000 * CREDIT, |addons| addons.granted);
    let payments = shape.payments.iter().zip(1..);
    let license = shape.license.as_ref();
    Opening {
        at,
        terms: shape.terms.clone(),
        billing_anchor,
        cycle_start: cycle.start + began,
        monthly_granted: shape.granted,
        monthly_remaining: shape.remaining,
        overdraft: shape.overdraft,
        addons: shape.addons.map(|addons| OpeningAddons {
            granted: addons.granted,
            remaining: addons.remaining,
            expires_at: at + Duration::days(addons.days),
        }),
        license: license.map(|license| license_of(None, at, license)),
        usage: shape.usage.iter().map(|line| usage(shape, *line)).collect(),
        payments: payments
            .map(|((thousandths, days), number)| OpeningPayment {
                reference: format!("old_{number}"),
                credits: (bought / 1_000 * thousandths).max(1),
                paid_at: at - Duration::days(*days),
            })
            .collect(),
    }
}

fn usage(shape: &OpeningShape, [monthly, addon, overdraft]: [i64; 3]) -> OpeningUsage {
    let addons = shape.addons.map_or(0, |it| it.granted - it.remaining);
    OpeningUsage {
        monthly: (shape.granted - shape.remaining).max(0) * monthly / 1_000,
        addon: addons.max(0) * addon / 1_000,
        overdraft: shape.overdraft * overdraft / 1_000,
    }
}

/// Mostly with figures that agree with each other.
pub fn import() -> BoxedStrategy<What> {
    let when = (
        prop_oneof![6 => 0..2_000_i64, 1 => Just(-1)],
        0..900_i64,
        prop_oneof![3 => Just(0), 6 => 0..1_000_i64, 1 => select(vec![-1, 1_000])],
    );
    let spent = prop_oneof![20 => 0..333_i64, 8 => Just(0), 1 => Just(1_000)];
    let usage = prop::collection::vec([spent.clone(), spent.clone(), spent], 0..4);
    let payments = prop::collection::vec((0..333_i64, 0..500_i64), 0..4);
    let licences = prop_oneof![1 => license(), 6 => lasting_license()];
    let licences = prop::option::weighted(0.4, licences);
    let owed = prop_oneof![3 => Just(0), 2 => amount()];
    (
        when,
        key_terms(),
        (amount(), amount(), owed),
        prop::option::weighted(0.7, addons()),
        (licences, usage, payments),
    )
        .prop_map(
            |(when, terms, figures, addons, (license, usage, payments))| {
                let (hours_ago, anchor_days_ago, began) = when;
                let (granted, remaining, overdraft) = figures;
                What::Import(Box::new(OpeningShape {
                    hours_ago,
                    terms,
                    anchor_days_ago,
                    began,
                    granted,
                    remaining,
                    overdraft,
                    addons,
                    license,
                    usage,
                    payments,
                }))
            },
        )
        .boxed()
}

/// More may be left than was granted: somebody adjusted it there.
fn addons() -> impl Strategy<Value = AddonsShape> {
    let days = prop_oneof![12 => 1..366_i64, 1 => Just(0)];
    (amount(), amount(), days).prop_map(|(granted, remaining, days)| AddonsShape {
        granted,
        remaining,
        days,
    })
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (0..50_i64).prop_map(|hundreds| hundreds * 100 * CREDIT),
        2 => (0..20_000_i64).prop_map(|tenths| tenths * CREDIT / 10),
        1 => 0..500_000_i64,
    ]
}

pub fn what_after_an_import() -> BoxedStrategy<What> {
    prop_oneof![
        4 => settlement(),
        3 => purchase(),
        5 => debit(),
        5 => held_or_refunded(),
        3 => put().prop_map(What::Put),
        6 => what_with_payments(),
        3 => what_with_upgrades(),
        1 => import(),
    ]
    .boxed()
}
