//! Random PUTs: plans, seats and custom allowances that fit together, and some that do not.

use chrono::Duration;
use proptest::prelude::{BoxedStrategy, Just, Strategy, prop_oneof};
use proptest::sample::select;

use super::steps::{AnchorShape, Landmark, LicenseShape, PutShape, When, when};
use crate::model::{Builders, CREDIT, Field, LARGEST_AMOUNT, LicenseType};

pub type TermsShape = (Field<&'static str>, Field<Builders>, Field<i64>);

/// A PUT that names a plan: any other cannot make a pool.
pub fn put_for_a_new_pool() -> BoxedStrategy<PutShape> {
    (fitting_terms(), licenses(), anchors())
        .prop_map(|(terms, license, anchor)| {
            let (plan, builders, monthly_allowance) = terms;
            PutShape {
                plan,
                builders,
                monthly_allowance,
                anchor,
                license,
                metadata: Field::LeftOut,
            }
        })
        .boxed()
}

/// A pool that may buy add-on credits for as long as nobody changes that.
pub fn put_on_a_paid_plan() -> BoxedStrategy<PutShape> {
    let plan = select(vec!["pro", "team"]).prop_map(Field::Value);
    (plan, few_builders(), anchors())
        .prop_map(|(plan, builders, anchor)| PutShape {
            plan,
            builders,
            monthly_allowance: Field::LeftOut,
            anchor,
            license: Field::LeftOut,
            metadata: Field::LeftOut,
        })
        .boxed()
}

/// On a plan of the time before September 2025.
pub fn put_on_a_legacy_plan() -> BoxedStrategy<PutShape> {
    let plan = select(vec!["legacy_free", "legacy_pro", "legacy_team"]).prop_map(Field::Value);
    (plan, few_builders(), licenses(), anchors())
        .prop_map(|(plan, builders, license, anchor)| PutShape {
            plan,
            builders,
            monthly_allowance: Field::LeftOut,
            anchor,
            license,
            metadata: Field::LeftOut,
        })
        .boxed()
}

pub fn put() -> BoxedStrategy<PutShape> {
    let terms = prop_oneof![6 => fitting_terms(), 3 => some_terms(), 2 => no_terms()];
    let anchor = prop_oneof![12 => Just(AnchorShape::LeftOut), 1 => anchors()];
    let metadata = prop_oneof![
        6 => Just(Field::LeftOut),
        1 => Just(Field::Null),
        2 => (0..3_u8).prop_map(Field::Value),
    ];
    (terms, licenses(), anchor, metadata)
        .prop_map(|(terms, license, anchor, metadata)| {
            let (plan, builders, monthly_allowance) = terms;
            PutShape {
                plan,
                builders,
                monthly_allowance,
                anchor,
                license,
                metadata,
            }
        })
        .boxed()
}

fn no_terms() -> impl Strategy<Value = TermsShape> {
    Just((Field::LeftOut, Field::LeftOut, Field::LeftOut))
}

/// Terms that are possible on the default plans.
pub fn fitting_terms() -> BoxedStrategy<TermsShape> {
    let free = select(vec!["free", "basic", "trial", "legacy_free", "legacy_pro"]);
    let paid = select(vec!["pro", "pro", "team", "legacy_team"]);
    let own = select(vec!["enterprise", "platinum"]);
    let left_out = || Just(Field::LeftOut);
    prop_oneof![
        3 => (free.prop_map(Field::Value), few_builders(), left_out()),
        6 => (paid.prop_map(Field::Value), few_builders(), left_out()),
        3 => (own.prop_map(Field::Value), few_builders(), allowance()),
        1 => (any_plan(), Just(Field::Value(Builders::Unlimited)), allowance()),
    ]
    .boxed()
}

/// Parts of terms, which may or may not fit what is there.
fn some_terms() -> BoxedStrategy<TermsShape> {
    let plan = || prop_oneof![1 => Just(Field::LeftOut), 1 => any_plan()];
    let builders = prop_oneof![
        1 => Just(Field::LeftOut),
        1 => Just(Field::Null),
        4 => few_builders(),
        1 => Just(Field::Value(Builders::Unlimited)),
    ];
    let own = prop_oneof![2 => Just(Field::LeftOut), 1 => Just(Field::Null), 1 => allowance()];
    let too_many = select(vec!["pro", "team"]).prop_map(|plan| {
        let builders = Builders::Count(u32::MAX.into());
        (Field::Value(plan), Field::Value(builders), Field::LeftOut)
    });
    prop_oneof![12 => (plan(), builders, own), 1 => too_many].boxed()
}

fn any_plan() -> impl Strategy<Value = Field<&'static str>> {
    let known = vec![
        "free",
        "basic",
        "trial",
        "pro",
        "team",
        "enterprise",
        "legacy_free",
    ];
    let new = vec!["gold", "platinum", "silver"];
    select([known, new].concat()).prop_map(Field::Value)
}

fn few_builders() -> impl Strategy<Value = Field<Builders>> {
    prop_oneof![
        2 => Just(Field::LeftOut),
        5 => (1..6_i64).prop_map(|count| Field::Value(Builders::Count(count))),
    ]
}

/// Few values, and those of the plans among them, so that equal allowances are met.
fn allowance() -> impl Strategy<Value = Field<i64>> {
    let credits = vec![30, 100, 500, 800, 1_600, 2_000, 10_000];
    let credits = select(credits).prop_map(|credits| Field::Value(credits * CREDIT));
    prop_oneof![12 => credits, 1 => Just(Field::Value(LARGEST_AMOUNT)), 1 => Just(Field::Value(1))]
}

fn anchors() -> impl Strategy<Value = AnchorShape> {
    prop_oneof![
        3 => Just(AnchorShape::LeftOut),
        3 => (-800..800_i64).prop_map(|days| {
            AnchorShape::Same(When::After(Duration::days(days)))
        }),
        1 => (-13..13_i32).prop_map(|months| {
            AnchorShape::Same(When::At(Landmark::MonthsFromNow(months), 0))
        }),
        1 => Just(AnchorShape::Other(When::After(Duration::milliseconds(1)))),
    ]
}

fn licenses() -> impl Strategy<Value = Field<LicenseShape>> {
    prop_oneof![
        6 => Just(Field::LeftOut),
        1 => Just(Field::Null),
        7 => license().prop_map(Field::Value),
    ]
}

pub fn license() -> BoxedStrategy<LicenseShape> {
    let license_type = prop_oneof![
        4 => Just(LicenseType::Trial),
        5 => Just(LicenseType::Paid),
        1 => Just(LicenseType::Basic),
        1 => Just(LicenseType::Business),
        1 => Just(LicenseType::Enterprise),
    ];
    let expires_at = prop_oneof![
        3 => Just(None),
        4 => when().prop_map(Some),
        1 => (-30..1_i64).prop_map(|days| Some(When::After(Duration::days(days)))),
    ];
    let grace_until = prop_oneof![
        5 => Just(None),
        2 => when().prop_map(Some),
        1 => (-3..9_i64).prop_map(|days| Some(When::After(Duration::days(days)))),
    ];
    (license_type, expires_at, grace_until)
        .prop_map(|(license_type, expires_at, grace_until)| LicenseShape {
            license_type,
            expires_at,
            grace_until,
        })
        .boxed()
}
