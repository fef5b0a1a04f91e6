//! Random steps, biased to the instants and amounts at which rules meet.
//!
//! A step is said in relation to the pool ("a millisecond before the cycle ends", "exactly what is
//! available"), so that it stays interesting while a failing case is made smaller. It becomes a
//! command in [`super::script`].

use chrono::Duration;
use credit_ledger::ledger::Time;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop, prop_oneof};
use proptest::sample::select;

use super::keys::{self, KeyShape};
use super::lane::Setting;
use super::openings::{self, OpeningShape, import};
use super::payments::{PaymentShape, purchase, settlement};
use super::payments::{what_with_payments, when_payments_change};
use super::puts::{put, put_for_a_new_pool, put_on_a_legacy_plan, put_on_a_paid_plan};
use crate::model::{self, Bucket, Builders, CREDIT, Field, LicenseType, PoolKind, Round};

/// A whole case: the setting, the request that makes the pool, and what happens then.
#[derive(Clone, Debug)]
pub struct Case {
    pub setting: Setting,
    pub made_by: What,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub when: When,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub enum When {
    Now,
    After(Duration),
    /// A landmark, moved by so many milliseconds.
    At(Landmark, i64),
}

/// An instant that matters to the pool.
#[derive(Clone, Copy, Debug)]
pub enum Landmark {
    CycleEnd,
    LaterCycleEnd(i32),
    LicenseEnd,
    AddonExpiry,
    /// When the first of the open holds expires.
    HoldExpiry,
    /// The last expiry that a late payment can still undo.
    PastExpiry,
    MonthEnd,
    LeapDay,
    /// So many months from now, as validities are counted.
    MonthsFromNow(i32),
}

#[derive(Clone, Debug)]
pub enum What {
    Put(PutShape),
    /// One of the PUTs so far, once more.
    PutAgain(usize),
    License(KeyShape),
    /// One of the keys so far, once more.
    LicenseAgain(usize),
    Withdraw,
    /// To the plans after the legacy ones, at an instant of its own.
    Upgrade(When),
    Import(Box<OpeningShape>),
    Debit {
        amount: Option<Amount>,
        operation: Option<&'static str>,
        run: Option<&'static str>,
        settle: bool,
        round: Round,
    },
    Authorize(Option<Amount>, Option<&'static str>),
    /// Credits, a bonus, and when it was paid.
    Purchase(i64, i64, Option<When>),
    /// One of the payments so far, perhaps with other credits.
    PurchaseAgain(usize, bool),
    /// What became of one of the payments so far.
    Settle(usize, PaymentShape),
    Hold {
        amount: Option<Amount>,
        operation: Option<&'static str>,
        run: Option<&'static str>,
        partial: bool,
        round: Round,
        lasts: Lasting,
    },
    /// One of the holds so far, whatever became of it.
    Extend(usize, Lasting),
    Capture {
        which: usize,
        amount: Amount,
        settle: bool,
        round: Round,
    },
    Release(usize),
    /// One of the debits so far: so much, or all that is left.
    Refund(usize, Option<Amount>),
    RefundRun(&'static str),
    Adjust(Bucket, Amount, Sign),
    Close,
    PutPlan(PlanShape, When),
    PutOperation(model::Operation),
    Advance,
}

#[derive(Clone, Copy, Debug)]
pub enum Sign {
    Give,
    Take,
}

/// How many credits, and so many hundredths more.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    Units(i64),
    Available(i64),
    Monthly(i64),
    Addon(i64),
    /// What the hold that is named reserved, or what is left of the debit that is named.
    Named(i64),
}

/// How long a hold lasts.
#[derive(Clone, Copy, Debug)]
pub enum Lasting {
    Seconds(i64),
    /// To the end of the cycle, and so many seconds more.
    ToCycleEnd(i64),
    /// To the end of the add-on pool, and so many seconds more.
    ToAddonExpiry(i64),
}

#[derive(Clone, Debug)]
pub struct PutShape {
    pub plan: Field<&'static str>,
    pub builders: Field<Builders>,
    pub monthly_allowance: Field<i64>,
    pub anchor: AnchorShape,
    pub license: Field<LicenseShape>,
    pub metadata: Field<u8>,
}

#[derive(Clone, Copy, Debug)]
pub enum AnchorShape {
    LeftOut,
    /// What the pool has, or `When` for a new one.
    Same(When),
    Other(When),
}

#[derive(Clone, Copy, Debug)]
pub struct LicenseShape {
    pub license_type: LicenseType,
    pub expires_at: Option<When>,
    pub grace_until: Option<When>,
}

#[derive(Clone, Copy, Debug)]
pub struct PlanShape {
    pub code: &'static str,
    pub allowance: model::Allowance,
    pub addons: bool,
    pub denomination: i64,
    pub legacy_prices: bool,
}

/// What the steps of a case are mostly about.
#[derive(Clone, Copy, Debug)]
pub enum Mix {
    Everything,
    /// Purchases, and the expiries of what was bought.
    Addons,
    /// Requests of terms and licences, repeated in any order.
    Puts,
    /// Holds and refunds across the ends of what they came from.
    Holds,
    /// Payments that are refunded and disputed while their credits are held and spent.
    Payments,
    /// Licence keys, applied and given up, and what an instance does meanwhile.
    Licenses,
    /// Legacy plans, and the move to the ones after them.
    Upgrades,
    /// Pools that begin with another system's figures.
    Imports,
}

impl Case {
    /// The PUT that makes the pool, and the steps after it.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let creation = Step {
            when: When::Now,
            what: self.made_by.clone(),
        };
        std::iter::once(creation).chain(self.steps.iter().cloned())
    }
}

/// A case of at most so many steps.
pub fn case(mix: Mix, most: usize) -> impl Strategy<Value = Case> {
    let made_by = match mix {
        Mix::Everything | Mix::Puts => put_for_a_new_pool().prop_map(What::Put).boxed(),
        Mix::Addons | Mix::Holds | Mix::Payments => {
            put_on_a_paid_plan().prop_map(What::Put).boxed()
        }
        Mix::Licenses => put_for_a_new_pool().prop_map(What::Put).boxed(),
        Mix::Upgrades => put_on_a_legacy_plan().prop_map(What::Put).boxed(),
        Mix::Imports => import(),
    };
    let steps = prop::collection::vec(step(mix), 1..=most);
    (setting(), made_by, steps, 0..10_u8).prop_map(move |(setting, made_by, steps, tenths)| {
        // Only instances take licence keys.
        let kind = match mix {
            Mix::Licenses if tenths > 0 => PoolKind::Instance,
            _ => setting.kind,
        };
        // A pool that is taken over lives on no test clock.
        let on_clock = match mix {
            Mix::Imports => false,
            _ => setting.on_clock,
        };
        let setting = Setting {
            kind,
            on_clock,
            ..setting
        };
        Case {
            setting,
            made_by,
            steps,
        }
    })
}

pub fn setting() -> BoxedStrategy<Setting> {
    let kind = prop_oneof![Just(PoolKind::Workspace), Just(PoolKind::Instance)];
    let max_debit = prop_oneof![4 => Just(model::LARGEST_AMOUNT), 1 => Just(5_000 * CREDIT)];
    let on_clock = prop::bool::weighted(0.15);
    (kind, on_clock, any::<bool>(), max_debit, start())
        .prop_map(|(kind, on_clock, by_alias, max_debit, start)| Setting {
            kind,
            on_clock,
            by_alias,
            max_debit,
            start,
        })
        .boxed()
}

pub fn start() -> impl Strategy<Value = Time> {
    let known = select(vec![
        "2026-01-31T10:00:00Z",
        "2024-01-31T10:00:00Z",
        "2024-02-29T00:00:00Z",
        "2023-12-31T23:59:59.999Z",
        "2025-03-30T00:00:00Z",
        "2027-08-31T12:30:00.001Z",
    ]);
    let known = known.prop_map(|text| text.parse::<Time>().expect("a time"));
    let random = (0..6 * 365_i64, 0..86_400_000_i64).prop_map(|(day, millisecond)| {
        let first = "2023-01-01T00:00:00Z".parse::<Time>().expect("a time");
        first + Duration::days(day) + Duration::milliseconds(millisecond)
    });
    prop_oneof![known, random]
}

fn step(mix: Mix) -> impl Strategy<Value = Step> {
    let (when, what) = match mix {
        Mix::Everything => (when().boxed(), what().boxed()),
        Mix::Addons => (when_addons_end().boxed(), what_with_addons().boxed()),
        Mix::Puts => (when().boxed(), what_with_puts().boxed()),
        Mix::Holds => (when_holds_end().boxed(), what_with_holds().boxed()),
        Mix::Payments => (when_payments_change(), what_with_payments()),
        Mix::Licenses => (keys::when_licences_end(), keys::what_with_keys()),
        Mix::Upgrades => (keys::when_licences_end(), keys::what_with_upgrades()),
        Mix::Imports => (when().boxed(), openings::what_after_an_import()),
    };
    (when, what).prop_map(|(when, what)| Step { when, what })
}

pub fn when() -> BoxedStrategy<When> {
    prop_oneof![
        5 => Just(When::Now),
        1 => (1..1_000_i64).prop_map(|short| When::After(Duration::milliseconds(short))),
        5 => (1..48_i64).prop_map(|hours| When::After(Duration::hours(hours))),
        4 => (1..40_i64).prop_map(|days| When::After(Duration::days(days))),
        1 => (1..14_i64).prop_map(|months| When::After(Duration::days(months * 30))),
        8 => landmark(),
    ]
    .boxed()
}

/// At an instant that matters, or as near to it as time gets.
fn landmark() -> impl Strategy<Value = When> {
    let landmark = prop_oneof![
        8 => Just(Landmark::CycleEnd),
        2 => (1..4_i32).prop_map(Landmark::LaterCycleEnd),
        4 => Just(Landmark::LicenseEnd),
        2 => Just(Landmark::AddonExpiry),
        2 => Just(Landmark::HoldExpiry),
        2 => Just(Landmark::MonthEnd),
        1 => Just(Landmark::LeapDay),
        1 => (1..13_i32).prop_map(Landmark::MonthsFromNow),
    ];
    (landmark, nudge()).prop_map(|(landmark, nudge)| When::At(landmark, nudge))
}

fn when_addons_end() -> impl Strategy<Value = When> {
    let expiry = nudge().prop_map(|nudge| When::At(Landmark::AddonExpiry, nudge));
    let months = (1..13_i32).prop_map(|months| When::At(Landmark::MonthsFromNow(months), 0));
    prop_oneof![8 => when(), 3 => expiry, 1 => months]
}

fn when_holds_end() -> impl Strategy<Value = When> {
    let ends = select(vec![
        Landmark::HoldExpiry,
        Landmark::CycleEnd,
        Landmark::AddonExpiry,
    ]);
    let before = (ends, select(vec![0, -1, 1, -1_000, -60_000]))
        .prop_map(|(landmark, nudge)| When::At(landmark, nudge));
    let soon = (1..1_800_i64).prop_map(|seconds| When::After(Duration::seconds(seconds)));
    prop_oneof![6 => Just(When::Now), 4 => soon, 4 => before, 2 => when()]
}

pub fn nudge() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 2 => Just(-1), 1 => Just(1)]
}

fn what() -> BoxedStrategy<What> {
    prop_oneof![
        9 => put().prop_map(What::Put),
        4 => any::<usize>().prop_map(What::PutAgain),
        10 => debit(),
        2 => (prop::option::of(amount()), operation()).prop_map(|(amount, operation)| {
            What::Authorize(amount, operation)
        }),
        6 => purchase(),
        3 => settlement(),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(one, other_credits)| {
            What::PurchaseAgain(one, other_credits)
        }),
        3 => adjustment(),
        5 => held_or_refunded(),
        2 => plan(),
        1 => rate_card_line().prop_map(What::PutOperation),
        2 => Just(What::Advance),
        1 => prop::bool::weighted(0.2).prop_map(|really| {
            if really { What::Close } else { What::Advance }
        }),
    ]
    .boxed()
}

fn what_with_holds() -> BoxedStrategy<What> {
    prop_oneof![
        14 => held_or_refunded(),
        4 => debit(),
        4 => purchase(),
        5 => settlement(),
        1 => adjustment(),
        1 => put().prop_map(What::Put),
        1 => plan(),
        1 => rate_card_line().prop_map(What::PutOperation),
        1 => prop::bool::weighted(0.1).prop_map(|really| {
            if really { What::Close } else { What::Advance }
        }),
    ]
    .boxed()
}

fn what_with_addons() -> BoxedStrategy<What> {
    let again = (any::<usize>(), any::<bool>())
        .prop_map(|(which, other_credits)| What::PurchaseAgain(which, other_credits));
    prop_oneof![
        8 => purchase(),
        7 => settlement(),
        2 => held_or_refunded(),
        1 => again,
        6 => debit(),
        4 => adjustment(),
        1 => put().prop_map(What::Put),
        1 => Just(What::Advance),
    ]
    .boxed()
}

fn what_with_puts() -> BoxedStrategy<What> {
    prop_oneof![
        6 => put().prop_map(What::Put),
        9 => any::<usize>().prop_map(What::PutAgain),
        1 => debit(),
        2 => plan(),
    ]
    .boxed()
}

pub fn debit() -> BoxedStrategy<What> {
    let round = prop_oneof![4 => Just(Round::No), 1 => Just(Round::Up), 1 => Just(Round::Nearest)];
    let amount = prop::option::weighted(0.9, amount());
    (amount, operation(), run(), any::<bool>(), round)
        .prop_map(|(amount, operation, run, settle, round)| What::Debit {
            amount,
            operation,
            run,
            settle,
            round,
        })
        .boxed()
}

fn run() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::weighted(0.3, select(vec!["a", "b"]))
}

pub fn held_or_refunded() -> BoxedStrategy<What> {
    let named = || {
        let more = select(vec![0, 0, -CREDIT, CREDIT, 1, -500 * CREDIT, 100 * CREDIT]);
        prop_oneof![3 => more.prop_map(Amount::Named), 2 => amount()]
    };
    let round =
        || prop_oneof![6 => Just(Round::No), 1 => Just(Round::Up), 1 => Just(Round::Nearest)];
    let hold = (
        (prop::option::weighted(0.95, amount()), operation(), run()),
        (any::<bool>(), round(), lasting()),
    )
        .prop_map(
            |((amount, operation, run), (partial, round, lasts))| What::Hold {
                amount,
                operation,
                run,
                partial,
                round,
                lasts,
            },
        );
    let capture = (any::<usize>(), named(), any::<bool>(), round()).prop_map(
        |(which, amount, settle, round)| What::Capture {
            which,
            amount,
            settle,
            round,
        },
    );
    let refund = (any::<usize>(), prop::option::of(named()))
        .prop_map(|(which, amount)| What::Refund(which, amount));
    prop_oneof![
        6 => hold,
        1 => (any::<usize>(), lasting()).prop_map(|(which, lasts)| What::Extend(which, lasts)),
        5 => capture,
        2 => any::<usize>().prop_map(What::Release),
        5 => refund,
        1 => select(vec!["a", "b"]).prop_map(What::RefundRun),
    ]
    .boxed()
}

fn lasting() -> impl Strategy<Value = Lasting> {
    prop_oneof![
        4 => select(vec![1, 60, 900, 3_600, 86_400]).prop_map(Lasting::Seconds),
        2 => select(vec![-1, 0, 1, 3_600]).prop_map(Lasting::ToCycleEnd),
        1 => select(vec![-1, 0, 1, 3_600]).prop_map(Lasting::ToAddonExpiry),
    ]
}

fn operation() -> impl Strategy<Value = Option<&'static str>> {
    let known = vec![
        "app_generation",
        "add_feature",
        "custom_code",
        "add_feature",
        "nothing",
    ];
    prop::option::weighted(0.2, select(known))
}

fn amount() -> BoxedStrategy<Amount> {
    let more = || prop_oneof![3 => Just(0), 1 => Just(CREDIT), 1 => Just(-CREDIT), 1 => Just(1)];
    prop_oneof![
        6 => (1..1_200_i64).prop_map(|whole| Amount::Units(whole * CREDIT)),
        1 => (1..2_000_i64).prop_map(|tenths| Amount::Units(tenths * CREDIT / 10)),
        1 => (1..20_000_i64).prop_map(Amount::Units),
        1 => Just(Amount::Units(model::LARGEST_AMOUNT)),
        2 => more().prop_map(Amount::Available),
        2 => more().prop_map(Amount::Monthly),
        1 => more().prop_map(Amount::Addon),
    ]
    .boxed()
}

pub fn adjustment() -> BoxedStrategy<What> {
    let bucket = prop_oneof![Just(Bucket::Monthly), Just(Bucket::Addon)];
    let sign = prop_oneof![Just(Sign::Give), Just(Sign::Take)];
    (bucket, amount(), sign)
        .prop_map(|(bucket, amount, sign)| What::Adjust(bucket, amount, sign))
        .boxed()
}

/// An edit never makes a plan custom: its pools would have no allowance, and the core then keeps
/// what was granted last. Large counts of builders meet large plans only, where they are refused.
pub fn plan() -> BoxedStrategy<What> {
    let per_pool = (1..1_000_i64).prop_map(|credits| model::Allowance::PerPool(credits * CREDIT));
    let per_builder =
        (300..3_000_i64).prop_map(|credits| model::Allowance::PerBuilder(credits * CREDIT));
    let builder_plans = (select(vec!["pro", "team"]), per_builder);
    let other_plans = (
        select(vec![
            "free",
            "basic",
            "trial",
            "enterprise",
            "legacy_free",
            "gold",
        ]),
        per_pool,
    );
    let own_plan = (Just("platinum"), Just(model::Allowance::Custom));
    let sold = prop_oneof![4 => builder_plans, 4 => other_plans, 1 => own_plan];
    let rules = (any::<bool>(), select(vec![100, 100, 10, 1]), any::<bool>());
    let from = prop_oneof![12 => when(), 1 => Just(When::After(Duration::milliseconds(-1)))];
    (sold, rules, from)
        .prop_map(|(sold, rules, from)| {
            let ((code, allowance), (addons, denomination, legacy_prices)) = (sold, rules);
            let shape = PlanShape {
                code,
                allowance,
                addons,
                denomination,
                legacy_prices,
            };
            What::PutPlan(shape, from)
        })
        .boxed()
}

fn rate_card_line() -> impl Strategy<Value = model::Operation> {
    let price = || prop::option::of((1..2_000_i64).prop_map(|tenths| tenths * 10));
    let code = select(vec!["app_generation", "add_feature", "custom_code"]);
    (code, price(), price()).prop_map(|(code, fixed, legacy_fixed)| model::Operation {
        code: code.to_owned(),
        estimate: 7 * CREDIT,
        fixed,
        legacy_fixed,
    })
}
