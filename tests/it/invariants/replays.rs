//! Exactly what a replay needs: two requests have the same fingerprint if and only if they ask for
//! the same, whatever key they come with.

use std::fmt::Debug;

use credit_ledger::ledger::{Adjustment, Attribution, Bucket, Credits, Debit, Fingerprint, Label};
use credit_ledger::ledger::{Metadata, Mode, Purchase, Round, SignedCredits, Time};
use proptest::prelude::{Strategy, any, prop};
use proptest::sample::select;
use uuid::Uuid;

use super::{Broken, holds};

#[test]
fn debits_are_the_same_request_when_every_field_is_the_same() {
    holds(4_000, pair(debit()), |(one, other)| {
        alike(&one, &other, [one.fingerprint(), other.fingerprint()])
    });
}

#[test]
fn purchases_are_the_same_request_when_every_field_is_the_same() {
    holds(4_000, pair(purchase()), |(one, other)| {
        // The id is the answer's, not the request's.
        let named = Purchase {
            id: one.id,
            ..other.clone()
        };
        alike(&one, &named, [one.fingerprint(), other.fingerprint()])
    });
}

#[test]
fn adjustments_are_the_same_request_when_every_field_is_the_same() {
    holds(1_000, pair(adjustment()), |(one, other)| {
        alike(&one, &other, [one.fingerprint(), other.fingerprint()])
    });
}

#[test]
fn requests_of_different_kinds_are_never_the_same() {
    holds(
        500,
        (debit(), purchase(), adjustment()),
        |(debit, purchase, adjustment)| {
            let all = [
                debit.fingerprint(),
                purchase.fingerprint(),
                adjustment.fingerprint(),
            ];
            let alike = all[0] == all[1] || all[1] == all[2] || all[0] == all[2];
            let same = || Err(format!("{debit:?} {purchase:?} {adjustment:?}"));
            if alike { same() } else { Ok(()) }
        },
    );
}

fn alike<T: PartialEq + Debug>(one: &T, other: &T, prints: [Fingerprint; 2]) -> Result<(), Broken> {
    if (one == other) == (prints[0] == prints[1]) {
        return Ok(());
    }
    Err(format!(
        "{one:#?} and {other:#?} have the fingerprints {prints:?}"
    ))
}

/// Few values a field, so that pairs agree in most of them, and sometimes in all.
fn pair<T: Clone + Debug>(
    request: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = (T, T)> {
    (request.clone(), request, any::<bool>()).prop_map(|(one, other, same)| {
        if same {
            (one.clone(), one)
        } else {
            (one, other)
        }
    })
}

fn label() -> impl Strategy<Value = Option<Label>> + Clone {
    let label = select(vec!["a", "b"]).prop_map(|text| text.parse().expect("a good label"));
    prop::option::weighted(0.15, label)
}

fn metadata() -> impl Strategy<Value = Option<Metadata>> + Clone {
    let text = select(vec!["{}", "{\"a\":1}"]);
    prop::option::weighted(
        0.15,
        text.prop_map(|text| Metadata::stored(text.to_owned())),
    )
}

fn debit() -> impl Strategy<Value = Debit> + Clone {
    let credits = prop::option::weighted(0.9, select(vec![Credits::whole(1), Credits::whole(2)]));
    let round = prop::option::weighted(0.15, select(vec![Round::Up, Round::Nearest]));
    let mode = select(vec![Mode::Strict, Mode::Strict, Mode::Settle]);
    let labels = (label(), label(), label(), label(), label());
    (credits, round, mode, labels, metadata()).prop_map(
        |(credits, round, mode, labels, metadata)| {
            let (operation, user_id, workspace_id, run_id, model) = labels;
            let attribution = Attribution {
                operation,
                user_id,
                workspace_id,
                run_id,
                model,
            };
            Debit {
                credits,
                round,
                mode,
                attribution,
                metadata,
            }
        },
    )
}

fn purchase() -> impl Strategy<Value = Purchase> + Clone {
    let credits = select(vec![0, 100]).prop_map(SignedCredits::from_units);
    let reference = select(vec!["a", "b"]).prop_map(|text| text.parse().expect("a good label"));
    let paid_at = select(vec!["2026-01-31T10:00:00Z", "2026-01-31T10:00:00.001Z"]);
    let paid_at = paid_at.prop_map(|text| text.parse::<Time>().expect("a time"));
    let amount_cents = prop::option::weighted(0.15, select(vec![0, 1_i64]));
    let currency = prop::option::weighted(0.15, select(vec!["usd", "eur"]));
    let paid = (
        prop::option::weighted(0.15, paid_at),
        amount_cents,
        currency,
        label(),
    );
    (any::<u128>(), credits, reference, paid).prop_map(|(id, credits, reference, paid)| {
        let (paid_at, amount_cents, currency, user_id) = paid;
        Purchase {
            id: Uuid::from_u128(id).into(),
            credits: Ok(credits),
            bonus: Credits::ZERO,
            as_sold: false,
            reference,
            paid_at,
            amount_cents,
            currency: currency.map(str::to_owned),
            user_id,
        }
    })
}

fn adjustment() -> impl Strategy<Value = Adjustment> + Clone {
    let bucket = select(vec![Bucket::Monthly, Bucket::Addon]);
    let credits = select(vec![-100, 100]).prop_map(SignedCredits::from_units);
    let reason = select(vec!["a", "b"]).prop_map(|text| text.parse().expect("a good reason"));
    (bucket, credits, reason).prop_map(|(bucket, credits, reason)| Adjustment {
        bucket,
        credits,
        reason,
    })
}
