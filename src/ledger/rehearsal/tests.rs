//! What is rehearsed of each kind of entry.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "the numbers of these tests are small"
)]

mod holds_imports_licences;
mod random;

use super::*;
use crate::ledger::samples::{
    adjust, buy, catalogue, change, correct, debit, enterprise, give_back, label, paid, pass, pool,
    put, settle, spend, time, until,
};
use crate::ledger::{
    Allowance, Attribution, Bucket, Change, Code, Command, Credits, Debit, Denomination, Patch,
    PlanVersion, PutPool, Seats, Upgrade,
};

const START: &str = "2026-01-31T10:00:00Z";
const END: &str = "2026-04-15T10:00:00Z";

fn code(text: &str) -> Code {
    text.parse().expect("a good code")
}

/// The default catalogue with another version of a plan, in force for long.
fn with_plan(plan: &str, version: impl Fn(&mut PlanVersion)) -> Catalogue {
    let mut other = catalogue();
    let plan = other.plans.get_mut(&code(plan)).expect("a default plan");
    plan.versions.iter_mut().for_each(version);
    other
}

fn pro_of(credits: u32) -> Catalogue {
    with_plan("pro", |version| {
        version.allowance = Allowance::PerBuilder(Credits::whole(credits));
    })
}

/// The default catalogue with a price of an operation.
fn with_price(operation: &str, fixed: Option<u32>) -> Catalogue {
    let mut other = catalogue();
    let operation = other.operations.get_mut(&code(operation));
    operation.expect("a default operation").fixed = fixed.map(Credits::whole);
    other
}

fn for_operation(operation: &str, debit: Debit) -> Debit {
    Debit {
        attribution: Attribution {
            operation: Some(label(operation)),
            ..Attribution::default()
        },
        ..debit
    }
}

/// Rehearses the whole life of a pool.
fn rehearse(book: &Book, other: &Catalogue) -> Rehearsed {
    from("2020-01-01", book, other, END).expect("a cycle began in the window")
}

/// Rehearses it from an instant on, as the store does.
fn from(from: &str, book: &Book, other: &Catalogue, end: &str) -> Option<Rehearsed> {
    from_catalogue(&catalogue(), from, book, other, end)
}

fn from_catalogue(
    sold: &Catalogue,
    from: &str,
    book: &Book,
    other: &Catalogue,
    end: &str,
) -> Option<Rehearsed> {
    let pool = book.pool();
    let names = (pool.id, pool.tenant, pool.name.clone());
    let mut rehearsal = Rehearsal::new(names, sold, other, time(from));
    let refunds = || {
        let refunds = book.entries().iter();
        let refunds = refunds.filter(|entry| entry.kind == Kind::Refund);
        refunds.map(|entry| {
            let details = entry.read_details().expect("details can be read");
            let facts = details.refund.expect("a refund says what it undid");
            let (debit, _) = facts.debit.locate(entry.pool).expect("of this pool");
            (debit, entry.seq, facts.credits())
        })
    };
    for (debit, refund, _) in refunds() {
        rehearsal.expect_refunds(debit, refund);
    }
    for entry in book.entries() {
        if let Some(debit) = rehearsal.wants_debit(entry) {
            let place = usize::try_from(debit - 1).expect("a place");
            let earlier = refunds().filter(|(of, seq, _)| *of == debit && *seq < entry.seq);
            let shown = RefundableDebit {
                entry: std::sync::Arc::clone(&book.entries()[place]),
                refunded: earlier.map(|(_, _, credits)| credits).sum(),
            };
            rehearsal.show_debit(shown, entry.seq);
        }
        rehearsal.add(entry).expect("what we write");
    }
    let rest = book.clone().emptied();
    rehearsal.finish(rest, time(end)).expect("what we write")
}

impl Book {
    /// The same pool as it is read later, with its open holds and purchases.
    fn emptied(self) -> Self {
        let along = crate::ledger::Along {
            holds: Some(self.open_holds().cloned().collect()),
            debits: Vec::new(),
            bought: self.all_bought().cloned().collect(),
        };
        Self::with(self.pool().clone(), along)
    }
}

fn whole(credits: crate::ledger::SignedCredits) -> i64 {
    assert_eq!(credits.units() % 100, 0);
    credits.units() / 100
}

/// Granted, lapsed, spent.
fn sums(tally: &Tally) -> (i64, i64, i64) {
    let figures = &tally.figures;
    (
        whole(figures.granted),
        whole(figures.lapsed),
        whole(figures.spent()),
    )
}

#[test]
fn the_same_catalogue_gives_the_past_again() {
    let mut book = pool(put("pro", 1), START);
    buy(&mut book, START, paid(100, START));
    let spent = spend(&mut book, "2026-02-01", settle(950));
    give_back(&mut book, "2026-02-02", &spent, Some(100));
    change(&mut book, "2026-03-05", put("pro", 2));
    let rehearsed = rehearse(&book, &catalogue());
    assert_eq!(rehearsed.now, rehearsed.then);
    assert_eq!(sums(&rehearsed.now), (800 + 800 + 1600 + 1600, 2400, 850));
    assert_eq!(whole(rehearsed.now.figures.bought), 100);
    assert_eq!(rehearsed.left_out, LeftOut::default());
}

#[test]
fn a_smaller_plan_refuses_strict_debits_and_lets_settled_ones_overdraw() {
    let mut book = pool(put("pro", 1), START);
    spend(&mut book, "2026-02-01", debit(300));
    spend(&mut book, "2026-02-02", debit(200));
    spend(&mut book, "2026-02-03", settle(150));
    spend(&mut book, "2026-02-04", debit(1));
    pass(&mut book, END);
    let Rehearsed { now, then, .. } = rehearse(&book, &pro_of(400));
    assert_eq!(sums(&now), (2400, 149 + 800, 651));
    assert_eq!((now.ran_out(), now.figures.refused), (false, 0));
    // 300 and 100 of the 150; 200 and 1 are refused, 50 are owed and repaid by the renewal.
    assert_eq!(sums(&then), (1200, 350, 450));
    assert_eq!(then.figures.refused, 2);
    assert_eq!(whole(then.figures.not_served), 201);
    assert_eq!(whole(then.figures.overdraft), 50);
    assert_eq!(whole(then.figures.short()), 251);
    let first = then.first_outage.expect("it ran out");
    assert_eq!(first.at, time("2026-02-02"));
    assert_eq!(first.cycle_start, time(START));
    assert_eq!(then.outages, 1, "nothing came before the renewal");
}

#[test]
fn a_bigger_plan_grants_and_lapses_more() {
    let mut book = pool(put("pro", 1), START);
    spend(&mut book, "2026-02-01", settle(900));
    pass(&mut book, END);
    let Rehearsed { now, then, .. } = rehearse(&book, &pro_of(1000));
    assert_eq!(sums(&now), (2400, 700, 900));
    assert_eq!((now.outages, whole(now.figures.overdraft)), (1, 100));
    assert_eq!(sums(&then), (3000, 100 + 1000, 900));
    assert_eq!((then.ran_out(), whole(then.figures.overdraft)), (false, 0));
}

#[test]
fn another_price_is_charged_where_one_was_or_becomes_fixed() {
    let mut book = pool(put("pro", 1), START);
    let fixed = with_price("sql_generation", Some(5));
    let at_price = Debit {
        credits: None,
        ..for_operation("sql_generation", debit(5))
    };
    let command = Command::Debit(Box::new(at_price));
    let actor = crate::ledger::Actor::default();
    command
        .decide(&mut book, &fixed, actor, time(START))
        .expect("it is booked");
    spend(&mut book, START, for_operation("app_generation", debit(70)));
    spend(&mut book, START, debit(1));
    let spent = |other: &Catalogue| {
        let rehearsed = from_catalogue(&fixed, "2020-01-01", &book, other, END);
        whole(rehearsed.expect("it began").then.figures.monthly)
    };
    assert_eq!(spent(&fixed), 76);
    assert_eq!(spent(&with_price("sql_generation", Some(9))), 80);
    assert_eq!(spent(&with_price("sql_generation", None)), 76, "as it was");
    let becomes_fixed = with_price("app_generation", Some(20));
    assert_eq!(spent(&becomes_fixed), 26);
}

#[test]
fn credits_finer_than_the_new_steps_are_rounded_up() {
    let tenths = with_plan("pro", |version| version.denomination = Denomination::Tenth);
    let mut book = PutPool::create(
        put("pro", 1),
        crate::ledger::samples::names("workspace:6f1c"),
        &tenths,
        crate::ledger::Actor::default(),
        time(START),
    )
    .expect("a good request");
    let fine = Debit {
        credits: Credits::from_units(730),
        ..debit(1)
    };
    spend(&mut book, START, fine);
    let rehearsed = from_catalogue(&tenths, "2020-01-01", &book, &catalogue(), END);
    let Rehearsed { now, then, .. } = rehearsed.expect("it began");
    assert_eq!(now.figures.monthly.units(), 730);
    assert_eq!(then.figures.monthly.units(), 800);
}

#[test]
fn a_refund_gives_the_same_share_back_and_nothing_of_what_was_refused() {
    let mut book = pool(put("pro", 1), START);
    let half = spend(&mut book, START, for_operation("app_generation", debit(70)));
    let all = spend(&mut book, START, debit(500));
    give_back(&mut book, "2026-02-01", &half, Some(35));
    give_back(&mut book, "2026-02-01", &all, None);
    let dear = with_price("app_generation", Some(200));
    let Rehearsed { then, left_out, .. } = rehearse(&book, &dear);
    assert_eq!(whole(then.figures.monthly), 100);
    assert_eq!(left_out, LeftOut::default());

    let Rehearsed { then, left_out, .. } = rehearse(&book, &pro_of(400));
    assert_eq!((then.figures.refused, left_out.refunds), (1, 1));
    assert_eq!(whole(then.figures.monthly), 35);
}

#[test]
fn a_refund_of_a_debit_from_before_the_window_is_what_it_was() {
    let mut book = pool(put("pro", 1), START);
    buy(&mut book, START, paid(500, START));
    let spent = spend(&mut book, START, settle(1000));
    give_back(&mut book, "2026-02-01", &spent, Some(50));
    give_back(&mut book, "2026-03-01", &spent, Some(250));
    let rehearsed = from("2026-02-15", &book, &catalogue(), END).expect("it began");
    assert_eq!(rehearsed.now, rehearsed.then);
    assert_eq!(whole(rehearsed.then.figures.addon), -150);
    assert_eq!(whole(rehearsed.then.figures.monthly), -100);
}

#[test]
fn payments_are_credited_unless_only_the_other_plan_sells_no_addons() {
    let mut book = pool(put("pro", 1), START);
    buy(&mut book, START, paid(300, START));
    spend(&mut book, START, settle(1000));
    let no_addons = with_plan("pro", |version| version.addons = false);
    let Rehearsed {
        now,
        then,
        left_out,
        ..
    } = rehearse(&book, &no_addons);
    assert_eq!(
        (whole(now.figures.bought), whole(now.figures.addon)),
        (300, 200)
    );
    assert_eq!(
        (whole(then.figures.bought), whole(then.figures.overdraft)),
        (0, 200)
    );
    assert_eq!(left_out.purchases, 1);
    let Rehearsed { then, .. } = rehearse(&book, &pro_of(500));
    assert_eq!(
        (whole(then.figures.addon), whole(then.figures.overdraft)),
        (300, 200)
    );
}

#[test]
fn a_clawback_takes_what_it_took_as_far_as_it_is_there() {
    let mut book = pool(put("pro", 1), START);
    let bought = buy(&mut book, START, paid(300, START));
    spend(&mut book, START, debit(700));
    let lost = crate::ledger::PaymentState {
        version: 1,
        charged: 300,
        refunded: 200,
        ..crate::ledger::PaymentState::default()
    };
    let settlement = crate::ledger::Settlement {
        purchase: bought.purchase.expect("a purchase"),
        payment: lost,
    };
    crate::ledger::samples::booked(
        &mut book,
        "2026-02-01",
        Command::Settle(Box::new(settlement)),
    );
    let Rehearsed { now, then, .. } = rehearse(&book, &catalogue());
    assert_eq!(now, then);
    // 500 monthly and 200 of the add-on credits are spent, so that only 100 can be taken.
    spend(&mut book, "2026-02-02", settle(1));
    let Rehearsed { then, .. } = rehearse(&book, &pro_of(500));
    assert_eq!(
        (whole(then.figures.addon), whole(then.figures.overdraft)),
        (200, 1)
    );
}

#[test]
fn adjustments_are_repeated_and_take_no_more_than_is_there() {
    let mut book = pool(put("pro", 1), START);
    correct(&mut book, START, adjust(Bucket::Monthly, -700));
    correct(&mut book, START, adjust(Bucket::Addon, 50));
    spend(&mut book, START, debit(150));
    assert_eq!(
        rehearse(&book, &catalogue()).then,
        rehearse(&book, &catalogue()).now
    );
    let Rehearsed { then, .. } = rehearse(&book, &pro_of(500));
    assert_eq!((then.figures.refused, whole(then.figures.monthly)), (1, 0));
}

#[test]
fn changes_of_terms_are_increases_or_decreases_by_the_other_catalogue() {
    let mut book = pool(put("pro", 1), START);
    assert_eq!(
        change(&mut book, "2026-02-10", put("team", 1)),
        Change::Increase
    );
    pass(&mut book, "2026-03-01");
    // In the other catalogue the team's plan is the smaller one: it waits for the renewal.
    let other = with_plan("team", |version| {
        version.allowance = Allowance::PerBuilder(Credits::whole(300));
    });
    let end = "2026-03-09";
    let rehearsed = from("2020-01-01", &book, &other, end).expect("it began");
    assert_eq!(sums(&rehearsed.now), (2800, 800, 0));
    assert_eq!(sums(&rehearsed.then), (1100, 800, 0));
    assert_eq!(rehearsed.plan, code("team"));
}

#[test]
fn an_increase_that_begins_the_window_is_measured_by_the_other_catalogue() {
    let mut book = pool(put("pro", 1), START);
    spend(&mut book, "2026-02-01", debit(700));
    change(&mut book, "2026-02-10", put("pro", 2));
    spend(&mut book, "2026-02-11", debit(900));
    let other = pro_of(400);
    let rehearsed = from("2026-02-10", &book, &other, "2026-02-20").expect("it began");
    assert_eq!(sums(&rehearsed.now), (1600, 100, 900));
    assert_eq!(sums(&rehearsed.then), (800, 100, 0));
    assert_eq!(whole(rehearsed.then.figures.not_served), 900);
}

#[test]
fn a_licence_ends_and_a_pool_closes_when_it_did() {
    let mut book = pool(until("2026-02-20T00:00:00Z", put("pro", 1)), START);
    pass(&mut book, "2026-03-01");
    spend(&mut book, "2026-03-02", debit(60));
    crate::ledger::samples::decide(&mut book, &catalogue(), "2026-03-05", Command::Close)
        .expect("it closes");
    let other = with_plan("free", |version| {
        version.allowance = Allowance::PerPool(Credits::whole(50));
    });
    let rehearsed = rehearse(&book, &other);
    assert_eq!(sums(&rehearsed.now), (900, 800, 60));
    assert_eq!(sums(&rehearsed.then), (850, 800, 0));
    assert_eq!(rehearsed.then.figures.refused, 1);
}

#[test]
fn an_upgrade_moves_the_pool_to_the_other_plan() {
    let mut book = pool(put("legacy_pro", 1), START);
    spend(&mut book, START, debit(50));
    let at = "2026-02-10T00:00:00Z";
    let upgrade = Upgrade {
        at: time(at),
        plans: Upgrade::default_plans(),
    };
    let upgrade = Command::Upgrade(Box::new(upgrade));
    crate::ledger::samples::decide(&mut book, &catalogue(), at, upgrade).expect("it moves");
    pass(&mut book, END);
    let same = rehearse(&book, &catalogue());
    assert_eq!(same.now, same.then);
    assert_eq!(sums(&same.now), (200 + 3 * 800, 150 + 1600, 50));
    let rehearsed = rehearse(&book, &pro_of(500));
    assert_eq!(sums(&rehearsed.then), (200 + 3 * 500, 150 + 1000, 50));
}

#[test]
fn terms_that_the_other_catalogue_cannot_have_stay_as_they_were_and_are_counted() {
    let mut book = pool(put("free", 1), START);
    change(&mut book, "2026-02-10", put("pro", 1));
    pass(&mut book, END);
    let custom = with_plan("pro", |version| version.allowance = Allowance::Custom);
    let rehearsed = rehearse(&book, &custom);
    assert_eq!(rehearsed.left_out.changes, 1);
    assert_eq!(sums(&rehearsed.then), (300, 200, 0));

    let book = pool(put("pro", 1), START);
    let rehearsed = rehearse(&book, &custom);
    assert_eq!(rehearsed.left_out.changes, 1);
    assert_eq!(sums(&rehearsed.then), (1600, 1600, 0), "as it was");

    let book = pool(enterprise(3000), START);
    let other = with_plan("enterprise", |version| {
        version.allowance = Allowance::PerPool(Credits::whole(2000));
    });
    assert_eq!(sums(&rehearse(&book, &other).then), (6000, 4000, 0));
    let unlimited = PutPool {
        builders: Patch::Set(Seats::Unlimited),
        monthly_allowance: Patch::Set(Credits::whole(70)),
        ..put("pro", 1)
    };
    let rehearsed = rehearse(&pool(unlimited, START), &pro_of(5));
    assert_eq!(sums(&rehearsed.then), (210, 140, 0), "its own allowance");
}

#[test]
fn only_what_happened_in_whole_cycles_of_the_window_counts() {
    let mut book = pool(put("pro", 1), START);
    spend(&mut book, "2026-02-01", settle(900));
    spend(&mut book, "2026-03-01", debit(10));
    let rehearsed = from("2026-02-01", &book, &pro_of(1000), END).expect("it began");
    assert_eq!(
        sums(&rehearsed.now),
        (1600, 690, 10),
        "100 repaid what was owed"
    );
    assert_eq!(sums(&rehearsed.then), (2000, 890, 10));
    assert_eq!(from("2026-04-14", &book, &catalogue(), END), None);
    let due = from("2026-03-02", &book, &pro_of(1000), END).expect("a renewal is due");
    assert_eq!(sums(&due.now), (800, 690, 0));
    assert_eq!(sums(&due.then), (1000, 690, 0));
}
