//! Each rule of a debit, each refusal, each boundary: 0, exactly enough, one too many.

use super::*;
use crate::ledger::samples::{
    adjust, buy, catalogue, correct, debit, enterprise, label, paid, pool, put, refusal, settle,
    spend, time,
};
use crate::ledger::{Accounts, Bucket, Command, Denomination, Plan, PlanVersion, advance};

const NOW: &str = "2026-01-31T10:00:00Z";

fn units(credits: i64) -> Credits {
    Credits::from_units(credits).expect("not negative")
}

/// 800 monthly credits and 100 bought ones.
fn pro() -> Book {
    let mut book = pool(put("pro", 1), NOW);
    buy(&mut book, NOW, paid(100, NOW));
    book
}

fn drawn(entry: &Entry) -> [i64; 3] {
    let facts = DebitFacts::of(entry).expect("facts can be read");
    [facts.monthly, facts.addon, facts.overdraft].map(Credits::units)
}

fn for_operation(operation: &str, credits: Option<u32>) -> Debit {
    Debit {
        credits: credits.map(Credits::whole),
        attribution: Attribution {
            operation: Some(label(operation)),
            ..Attribution::default()
        },
        ..debit(1)
    }
}

/// What a debit comes to with a catalogue: credits in hundredths, or the refusal.
fn try_with(book: &mut Book, catalogue: &Catalogue, debit: Debit) -> Result<i64, Refusal> {
    let entry = debit.book(book, catalogue, Actor::default(), time(NOW))?;
    Ok(entry
        .transfers
        .iter()
        .map(|leg| leg.amount)
        .sum::<Credits>()
        .units())
}

#[test]
fn monthly_credits_are_drawn_before_addon_credits() {
    let rows = [
        (1, [100, 0, 0]),
        (799, [79_900, 0, 0]),
        (800, [80_000, 0, 0]),
        (801, [80_000, 100, 0]),
        (900, [80_000, 10_000, 0]),
    ];
    for (credits, expected) in rows {
        for debit in [debit(credits), settle(credits)] {
            let entry = spend(&mut pro(), NOW, debit);
            assert_eq!(drawn(&entry), expected, "{credits}");
            assert_eq!(
                entry.after.available().units(),
                90_000 - i64::from(credits) * 100
            );
        }
    }
}

#[test]
fn a_strict_debit_of_one_too_many_is_refused_with_what_is_missing() {
    let book = pro();
    let refused = check_available(book.pool(), Credits::whole(901));
    let expected = Refusal::Short {
        empty: false,
        required: Credits::whole(901),
        available: SignedCredits::from_units(90_000),
        shortfall: Credits::whole(1),
        renews_at: time("2026-02-28T10:00:00Z"),
        plan_allows_addons: true,
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn a_strict_debit_of_an_empty_or_overdrawn_pool_is_refused_as_such() {
    let mut book = pool(put("free", 1), NOW);
    spend(&mut book, NOW, debit(100));
    let one = || Command::Debit(Box::new(debit(1)));
    assert_eq!(refusal(&mut book, NOW, one()), "pool_empty");
    spend(&mut book, NOW, settle(30));
    let Err(Refusal::Short {
        available,
        shortfall,
        plan_allows_addons,
        ..
    }) = check_available(book.pool(), Credits::whole(1))
    else {
        panic!("an overdrawn pool has nothing to give");
    };
    assert_eq!((available.units(), shortfall.units()), (-3_000, 3_100));
    assert!(!plan_allows_addons);
}

#[test]
fn a_settled_debit_is_always_booked_and_its_rest_is_owed() {
    let rows = [
        (900, [80_000, 10_000, 0]),
        (901, [80_000, 10_000, 100]),
        (2_000, [80_000, 10_000, 110_000]),
    ];
    for (credits, expected) in rows {
        assert_eq!(
            drawn(&spend(&mut pro(), NOW, settle(credits))),
            expected,
            "{credits}"
        );
    }
    let mut book = pro();
    spend(&mut book, NOW, settle(900));
    assert_eq!(drawn(&spend(&mut book, NOW, settle(7))), [0, 0, 700]);
    let after = book.pool().balance(time(NOW));
    assert_eq!(
        after.monthly.used,
        Credits::whole(800),
        "overdraft is no use of the grant"
    );
    assert_eq!(after.monthly_available().units(), -700);
}

#[test]
fn an_overdraft_counts_against_both_buckets() {
    let mut book = pro();
    spend(&mut book, NOW, settle(950));
    correct(&mut book, NOW, adjust(Bucket::Addon, 80));
    assert_eq!(book.pool().available().units(), 3_000);
    let too_many = Command::Debit(Box::new(debit(31)));
    assert_eq!(refusal(&mut book, NOW, too_many), "insufficient_credits");
    assert_eq!(drawn(&spend(&mut book, NOW, debit(30))), [0, 3_000, 0]);
    assert_eq!(book.pool().overdraft(), Credits::whole(50));
}

#[test]
fn the_price_is_what_is_fixed_or_what_is_named() {
    let mut catalogue = catalogue();
    let fixed = Operation {
        name: "Fixed".to_owned(),
        estimate: Credits::whole(7),
        fixed: Some(Credits::whole(4)),
        legacy_fixed: Some(Credits::whole(3)),
    };
    catalogue
        .operations
        .insert("fixed".parse().expect("a good code"), fixed);
    let rows = [
        ("pro", for_operation("custom_code", Some(9)), Ok(900)),
        (
            "pro",
            for_operation("custom_code", None),
            Err("validation_failed"),
        ),
        ("pro", for_operation("fixed", None), Ok(400)),
        ("pro", for_operation("fixed", Some(4)), Ok(400)),
        (
            "pro",
            for_operation("fixed", Some(3)),
            Err("price_is_fixed"),
        ),
        (
            "pro",
            for_operation("nothing", Some(1)),
            Err("unknown_operation"),
        ),
        (
            "pro",
            for_operation("No code!", Some(1)),
            Err("unknown_operation"),
        ),
        ("legacy_pro", for_operation("fixed", None), Ok(300)),
        ("legacy_pro", for_operation("custom_code", None), Ok(300)),
        (
            "legacy_pro",
            for_operation("custom_code", Some(2)),
            Err("price_is_fixed"),
        ),
        (
            "legacy_pro",
            for_operation("app_generation", Some(10)),
            Ok(1_000),
        ),
        ("legacy_pro", debit(7), Ok(700)),
    ];
    for (plan, debit, expected) in rows {
        let asked = format!("{plan} {debit:?}");
        let booked = try_with(&mut pool(put(plan, 1), NOW), &catalogue, debit);
        assert_eq!(
            booked.map_err(|refusal| refusal.code()),
            expected,
            "{asked}"
        );
    }
    let nothing_said = Debit {
        credits: None,
        ..debit(1)
    };
    let refused = try_with(&mut pro(), &catalogue, nothing_said);
    assert_eq!(
        refused.map_err(|refusal| refusal.code()),
        Err("validation_failed")
    );
}

#[test]
fn credits_are_a_multiple_of_the_denomination_or_rounded_to_one() {
    let (up, nearest) = (Some(Round::Up), Some(Round::Nearest));
    let rows = [
        ("pro", 100, None, Ok(100)),
        ("pro", 101, None, Err("not_a_multiple")),
        ("pro", 101, up, Ok(200)),
        ("pro", 149, nearest, Ok(100)),
        ("pro", 150, nearest, Ok(200)),
        ("pro", 49, nearest, Err("validation_failed")),
        ("pro", 50, nearest, Ok(100)),
        ("legacy_pro", 10, None, Ok(10)),
        ("legacy_pro", 11, None, Err("not_a_multiple")),
        ("legacy_pro", 4, nearest, Err("validation_failed")),
        ("legacy_pro", 4, up, Ok(10)),
    ];
    for (plan, credits, round, expected) in rows {
        let asked = Debit {
            credits: Some(units(credits)),
            round,
            ..debit(1)
        };
        let booked = try_with(&mut pool(put(plan, 1), NOW), &catalogue(), asked);
        let booked = booked.map_err(|refusal| refusal.code());
        assert_eq!(booked, expected, "{plan} {credits} {round:?}");
    }
}

#[test]
fn the_entry_of_a_debit_tells_its_mode_and_what_was_named_before_rounding() {
    let rounded = Debit {
        credits: Some(units(101)),
        round: Some(Round::Up),
        ..settle(1)
    };
    let facts = DebitFacts::of(&spend(&mut pro(), NOW, rounded)).expect("facts can be read");
    assert_eq!(
        (facts.credits.units(), facts.requested),
        (200, Some(units(101)))
    );
    assert_eq!(facts.mode, Mode::Settle);

    let plain = spend(&mut pro(), NOW, debit(1));
    let facts = DebitFacts::of(&plain).expect("facts can be read");
    assert_eq!((facts.requested, facts.mode), (None, Mode::Strict));
    assert_eq!(plain.details, None, "a plain debit has nothing to add");
}

#[test]
fn no_debit_is_larger_than_the_tenant_allows() {
    let mut catalogue = catalogue();
    catalogue.settings.max_debit = Credits::whole(50);
    let mut book = pro();
    assert_eq!(try_with(&mut book, &catalogue, debit(50)), Ok(5_000));
    let maximum = Credits::whole(50);
    let refused = Err(Refusal::DebitTooLarge { maximum });
    assert_eq!(try_with(&mut book, &catalogue, settle(51)), refused);
    let rounded = Debit {
        credits: Some(units(5_001)),
        round: Some(Round::Up),
        ..debit(1)
    };
    assert_eq!(
        try_with(&mut book, &catalogue, rounded),
        refused,
        "after rounding"
    );
}

#[test]
fn no_overdraft_passes_the_limit_of_an_account() {
    let mut rich = pool(put("free", 1), NOW);
    spend(&mut rich, NOW, debit(100));
    let owed = Credits::MAX_ACCOUNT.saturating_sub(Credits::whole(10));
    let mut accounts = Accounts::default();
    accounts.apply(Transfer {
        from: Account::Overdraft,
        to: Account::Consumed,
        amount: owed,
    });
    rich.pool.accounts = accounts;

    let one_too_many = Command::Debit(Box::new(settle(11)));
    assert_eq!(
        refusal(&mut rich.clone(), NOW, one_too_many),
        "balance_limit"
    );
    spend(&mut rich, NOW, settle(10));
    assert_eq!(rich.pool().overdraft(), Credits::MAX_ACCOUNT);
}

#[test]
fn an_answer_to_authorize_is_what_a_strict_debit_would_meet() {
    let mut empty = pool(put("free", 1), NOW);
    spend(&mut empty, NOW, debit(100));
    let mut overdrawn = empty.clone();
    spend(&mut overdrawn, NOW, settle(1));
    let rows = [
        (pro(), Some(900), None, Some(900), None),
        (
            pro(),
            Some(901),
            None,
            Some(901),
            Some("insufficient_credits"),
        ),
        (pro(), None, None, None, None),
        (empty.clone(), None, None, None, Some("pool_empty")),
        (empty, Some(1), None, Some(1), Some("pool_empty")),
        (
            overdrawn,
            None,
            Some("custom_code"),
            None,
            Some("pool_empty"),
        ),
        // The average is 100, and never refuses.
        (
            pool(enterprise(1), NOW),
            None,
            Some("add_feature"),
            None,
            None,
        ),
        (
            pool(put("legacy_pro", 1), NOW),
            None,
            Some("add_feature"),
            Some(3),
            None,
        ),
        // Named credits win over a fixed price.
        (
            pool(put("legacy_pro", 1), NOW),
            Some(5),
            Some("add_feature"),
            Some(5),
            None,
        ),
    ];
    for (book, credits, operation, required, refused) in rows {
        let (credits, operation) = (credits.map(Credits::whole), operation.map(label));
        let answer = authorize(book.pool(), &catalogue(), operation.as_ref(), credits);
        let answer = answer.expect("a fair question");
        let expected = (required.map(Credits::whole), refused);
        assert_eq!(
            (answer.required, answer.refused),
            expected,
            "{credits:?} {operation:?}"
        );
        assert_eq!(answer.available, book.pool().available());
    }
}

#[test]
fn authorize_refuses_what_no_debit_may_ask_for() {
    let mut catalogue = catalogue();
    catalogue.settings.max_debit = Credits::whole(50);
    let ask = |book: &Book, credits: Option<i64>, operation: Option<&str>| {
        let operation = operation.map(label);
        authorize(
            book.pool(),
            &catalogue,
            operation.as_ref(),
            credits.map(units),
        )
        .map_err(|refusal| refusal.code())
        .map(|answer| answer.estimate)
    };
    let estimate = Ok(Some(Credits::whole(100)));
    assert_eq!(ask(&pro(), None, Some("add_feature")), estimate);
    assert_eq!(ask(&pro(), Some(5_000), None), Ok(None));
    assert_eq!(ask(&pro(), Some(5_100), None), Err("debit_too_large"));
    assert_eq!(ask(&pro(), Some(150), None), Err("not_a_multiple"));
    assert_eq!(
        ask(&pro(), Some(100), Some("nothing")),
        Err("unknown_operation")
    );
    let mut closed = pro();
    closed.pool.closed_at = Some(time(NOW));
    assert_eq!(ask(&closed, Some(100), None), Err("pool_closed"));
}

#[test]
fn the_denomination_and_prices_are_those_of_the_cycle() {
    let mut catalogue = catalogue();
    let mut book = pool(put("pro", 1), NOW);
    let plan = "pro".parse().expect("a good code");
    if let Some(Plan { versions, .. }) = catalogue.plans.get_mut(&plan) {
        let finer = PlanVersion {
            version: 2,
            effective_at: time(NOW),
            denomination: Denomination::Tenth,
            legacy_prices: true,
            ..versions[0].clone()
        };
        versions.push(finer);
    }
    let tenth = || Debit {
        credits: Some(units(10)),
        ..debit(1)
    };
    let priced = || for_operation("add_feature", None);
    let refused = try_with(&mut book, &catalogue, tenth()).map_err(|refusal| refusal.code());
    assert_eq!(refused, Err("not_a_multiple"));
    assert!(try_with(&mut book, &catalogue, priced()).is_err());

    let renewal = book.pool().cycle.end;
    advance(&mut book, &catalogue, renewal);
    assert_eq!(book.pool().denomination, Denomination::Tenth);
    let now = book.pool().last_at;
    assert!(
        tenth()
            .book(&mut book, &catalogue, Actor::default(), now)
            .is_ok()
    );
    assert!(
        priced()
            .book(&mut book, &catalogue, Actor::default(), now)
            .is_ok()
    );
}

#[test]
fn a_debit_that_differs_in_any_field_is_another_request() {
    let changes: [fn(&mut Debit); 10] = [
        |debit| debit.credits = None,
        |debit| debit.credits = Some(Credits::whole(2)),
        |debit| debit.round = Some(Round::Up),
        |debit| debit.round = Some(Round::Nearest),
        |debit| debit.mode = Mode::Settle,
        |debit| debit.attribution.operation = Some(label("a")),
        |debit| debit.attribution.user_id = Some(label("a")),
        |debit| debit.attribution.workspace_id = Some(label("a")),
        |debit| debit.attribution.run_id = Some(label("a")),
        |debit| debit.attribution.model = Some(label("a")),
    ];
    let mut seen = vec![debit(1).fingerprint()];
    for (which, change) in changes.into_iter().enumerate() {
        let mut other = debit(1);
        change(&mut other);
        assert_eq!(other.fingerprint(), other.clone().fingerprint());
        assert!(!seen.contains(&other.fingerprint()), "{which}");
        seen.push(other.fingerprint());
        other.metadata = Some(Metadata::stored("{}".to_owned()));
        assert!(
            !seen.contains(&other.fingerprint()),
            "{which} with metadata"
        );
        seen.push(other.fingerprint());
    }
}
