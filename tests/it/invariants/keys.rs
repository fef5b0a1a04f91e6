//! Random licence keys and moves to the new plans, among everything else that an instance does.

use chrono::Duration;
use credit_ledger::ledger::{Pool, Time};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop, prop_oneof};
use proptest::sample::select;

use super::payments::purchase;
use super::puts::{fitting_terms, license, put, put_on_a_legacy_plan};
use super::script::{instant, license_of};
use super::steps::{Landmark, LicenseShape, What, When};
use super::steps::{adjustment, debit, held_or_refunded, nudge, plan, when};
use crate::model::{Builders, Field, Key, Signed, Terms};

#[derive(Clone, Debug)]
pub struct KeyShape {
    pub for_this_customer: bool,
    pub terms: Terms,
    pub license: LicenseShape,
    pub issued_at: When,
    pub starts_at: Option<When>,
}

/// The key of a shape; each has a number of its own.
pub fn key(pool: Option<&Pool>, now: Time, shape: &KeyShape, number: usize) -> Key {
    Key {
        for_this_customer: shape.for_this_customer,
        terms: shape.terms.clone(),
        license: license_of(pool, now, &shape.license),
        signed: Signed {
            fingerprint: number,
            issued_at: instant(pool, now, shape.issued_at),
        },
        starts_at: shape.starts_at.map(|when| instant(pool, now, when)),
    }
}

/// Mostly one that ends later, so that it is taken.
pub fn lasting_license() -> impl Strategy<Value = LicenseShape> {
    let ends = prop_oneof![
        3 => Just(None),
        4 => (1..60_i64).prop_map(|days| Some(When::After(Duration::days(days)))),
        2 => nudge().prop_map(|nudge| Some(When::At(Landmark::CycleEnd, nudge))),
        1 => when().prop_map(Some),
    ];
    (license(), ends).prop_map(|(license, expires_at)| LicenseShape {
        expires_at,
        grace_until: None,
        ..license
    })
}

pub fn any_key() -> BoxedStrategy<KeyShape> {
    let license = prop_oneof![1 => license(), 5 => lasting_license()];
    let issued_at = prop_oneof![
        3 => Just(When::Now),
        4 => (0..70_i64).prop_map(|days| When::After(Duration::days(-days))),
    ];
    let starts_at = prop_oneof![
        12 => Just(None),
        2 => Just(Some(When::Now)),
        1 => Just(Some(When::After(Duration::milliseconds(1)))),
    ];
    let for_this_customer = prop::bool::weighted(0.97);
    (
        for_this_customer,
        key_terms(),
        license,
        issued_at,
        starts_at,
    )
        .prop_map(
            |(for_this_customer, terms, license, issued_at, starts_at)| KeyShape {
                for_this_customer,
                terms,
                license,
                issued_at,
                starts_at,
            },
        )
        .boxed()
}

/// A key says all three of its terms, though they may not fit.
pub fn key_terms() -> impl Strategy<Value = Terms> {
    fitting_terms().prop_map(|(plan, builders, monthly_allowance)| Terms {
        plan: match plan {
            Field::Value(plan) => plan,
            Field::LeftOut | Field::Null => "pro",
        }
        .to_owned(),
        builders: match builders {
            Field::Value(builders) => builders,
            Field::LeftOut | Field::Null => Builders::Count(1),
        },
        monthly_allowance: match monthly_allowance {
            Field::Value(credits) => Some(credits),
            Field::LeftOut | Field::Null => None,
        },
    })
}

pub fn when_licences_end() -> BoxedStrategy<When> {
    let ends = select(vec![
        Landmark::LicenseEnd,
        Landmark::CycleEnd,
        Landmark::MonthsFromNow(1),
    ]);
    let ends = (ends, nudge()).prop_map(|(landmark, nudge)| When::At(landmark, nudge));
    let days = (1..32_i64).prop_map(|days| When::After(Duration::days(days)));
    prop_oneof![6 => Just(When::Now), 3 => days, 4 => ends, 3 => when()].boxed()
}

pub fn what_with_keys() -> BoxedStrategy<What> {
    prop_oneof![
        8 => any_key().prop_map(What::License),
        7 => any::<usize>().prop_map(What::LicenseAgain),
        7 => Just(What::Withdraw),
        4 => put().prop_map(What::Put),
        2 => any::<usize>().prop_map(What::PutAgain),
        4 => debit(),
        4 => held_or_refunded(),
        3 => purchase(),
        1 => adjustment(),
        1 => plan(),
        1 => prop::bool::weighted(0.1).prop_map(|really| {
            if really { What::Close } else { What::Advance }
        }),
    ]
    .boxed()
}

pub fn what_with_upgrades() -> BoxedStrategy<What> {
    prop_oneof![
        6 => upgrade(),
        4 => put_on_a_legacy_plan().prop_map(What::Put),
        3 => put().prop_map(What::Put),
        2 => any::<usize>().prop_map(What::PutAgain),
        2 => any_key().prop_map(What::License),
        1 => any::<usize>().prop_map(What::LicenseAgain),
        1 => Just(What::Withdraw),
        7 => debit(),
        5 => held_or_refunded(),
        3 => purchase(),
        1 => adjustment(),
        1 => plan(),
        1 => prop::bool::weighted(0.1).prop_map(|really| {
            if really { What::Close } else { What::Advance }
        }),
    ]
    .boxed()
}

/// Before, at or after its now: never before the last entry, and never after now all the same.
fn upgrade() -> impl Strategy<Value = What> {
    let earlier = (1..100_i64).prop_map(|days| When::After(Duration::days(-days)));
    prop_oneof![4 => Just(When::Now), 4 => earlier, 2 => when()].prop_map(What::Upgrade)
}
