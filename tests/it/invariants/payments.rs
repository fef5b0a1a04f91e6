//! Random purchases, and what becomes of their payments: refunds and disputes that grow, and that
//! are taken back.

use chrono::Duration;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop, prop_oneof};
use proptest::sample::select;

use super::steps::{Amount, Landmark, Lasting, What, When};
use super::steps::{adjustment, debit, held_or_refunded, nudge, when};
use crate::model::{self, CREDIT, Round};

/// The next state of a payment, in relation to the last that was told.
#[derive(Clone, Copy, Debug)]
pub struct PaymentShape {
    /// Names an entry that credited no purchase.
    pub of_no_purchase: bool,
    /// As before when it is left out.
    pub charged: Option<i64>,
    pub refunded: Cents,
    pub disputed: Cents,
    pub dispute_lost: Cents,
}

#[derive(Clone, Copy, Debug)]
pub enum Cents {
    AsBefore,
    These(i64),
    /// Than before.
    More(i64),
    /// What was charged, and so many cents more.
    Charged(i64),
}

pub fn purchase() -> BoxedStrategy<What> {
    let credits = prop_oneof![
        8 => (1..10_i64).prop_map(|steps| steps * 100 * CREDIT),
        1 => select(vec![0, -10_000, 5_000, 15_000, 10_001, model::LARGEST_AMOUNT + 10_000]),
        1 => Just(model::LARGEST_AMOUNT),
    ];
    let bonus = prop_oneof![
        3 => Just(0),
        2 => select(vec![50 * CREDIT, 100 * CREDIT, 7 * CREDIT, 150, 33]),
    ];
    let paid_at = prop_oneof![
        4 => (0..380_i64).prop_map(|days| When::After(Duration::days(-days))),
        4 => nudge().prop_map(|nudge| When::At(Landmark::PastExpiry, nudge)),
        2 => Just(When::At(Landmark::PastExpiry, -3_600_000)),
        2 => nudge().prop_map(|nudge| When::At(Landmark::MonthsFromNow(-12), nudge)),
        1 => Just(When::After(Duration::milliseconds(1))),
    ];
    (credits, bonus, prop::option::weighted(0.7, paid_at))
        .prop_map(|(credits, bonus, paid_at)| What::Purchase(credits, bonus, paid_at))
        .boxed()
}

pub fn settlement() -> BoxedStrategy<What> {
    let charged = prop::option::weighted(0.2, select(vec![1_000, 999, 300, 7, 1]));
    let refunded = prop_oneof![
        2 => Just(Cents::AsBefore),
        4 => cents(),
        3 => nudge().prop_map(Cents::Charged),
    ];
    let disputed =
        || prop_oneof![4 => Just(Cents::AsBefore), 1 => Just(Cents::These(0)), 2 => cents()];
    let of_no_purchase = prop::bool::weighted(0.02);
    let amounts = (charged, refunded, disputed(), disputed());
    (any::<usize>(), of_no_purchase, amounts)
        .prop_map(|(which, of_no_purchase, amounts)| {
            let (charged, refunded, disputed, dispute_lost) = amounts;
            let shape = PaymentShape {
                of_no_purchase,
                charged,
                refunded,
                disputed,
                dispute_lost,
            };
            What::Settle(which, shape)
        })
        .boxed()
}

pub fn when_payments_change() -> BoxedStrategy<When> {
    let soon = (1..1_800_i64).prop_map(|seconds| When::After(Duration::seconds(seconds)));
    let ends = select(vec![Landmark::HoldExpiry, Landmark::AddonExpiry]);
    let ends = (ends, nudge()).prop_map(|(landmark, nudge)| When::At(landmark, nudge));
    prop_oneof![12 => Just(When::Now), 6 => soon, 2 => ends, 1 => when()].boxed()
}

pub fn what_with_payments() -> BoxedStrategy<What> {
    prop_oneof![
        5 => purchase(),
        9 => settlement(),
        7 => held_or_refunded(),
        11 => drawn_from_addons(),
        3 => debit(),
        1 => adjustment(),
    ]
    .boxed()
}

/// What the add-on credits serve when no monthly ones are left, and what gives them back.
fn drawn_from_addons() -> impl Strategy<Value = What> {
    let debit = |amount, run| What::Debit {
        amount: Some(amount),
        operation: None,
        run,
        settle: false,
        round: Round::No,
    };
    let hold = |amount, seconds| What::Hold {
        amount: Some(amount),
        operation: None,
        run: None,
        partial: true,
        round: Round::No,
        lasts: Lasting::Seconds(seconds),
    };
    let capture = |which| What::Capture {
        which,
        amount: Amount::Named(-50 * CREDIT),
        settle: false,
        round: Round::No,
    };
    let amount = || (1..4_i64).prop_map(|hundreds| Amount::Units(hundreds * 100 * CREDIT));
    prop_oneof![
        2 => Just(debit(Amount::Monthly(0), None)),
        2 => (amount(), select(vec![60, 900, 86_400])).prop_map(move |(amount, seconds)| {
            hold(amount, seconds)
        }),
        2 => amount().prop_map(move |amount| debit(amount, Some("a"))),
        2 => any::<usize>().prop_map(capture),
        2 => any::<usize>().prop_map(What::Release),
        1 => any::<usize>().prop_map(|which| What::Refund(which, None)),
        1 => Just(What::RefundRun("a")),
    ]
}

fn cents() -> impl Strategy<Value = Cents> {
    prop_oneof![
        3 => select(vec![0, 1, 100, 250, 333, 500, 1_000]).prop_map(Cents::These),
        2 => select(vec![-500, -100, -1, 1, 100, 300]).prop_map(Cents::More),
        1 => nudge().prop_map(Cents::Charged),
    ]
}
