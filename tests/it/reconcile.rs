//! `credit-ledger reconcile`, with a stand-in for Stripe.

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::promo_codes::{order, put_code};
use crate::support::stripe::Mood;
use crate::support::webhook::Payment;
use crate::support::{SECRETS_KEY, Stripe, TestApp, process};

const POOL: &str = "workspace:w";

/// A shop and its Stripe in the present: the command lives in it.
async fn shop() -> (TestApp, Stripe) {
    let (app, stripe) = TestApp::with_stripe().await;
    app.clock.set(Utc::now());
    let an_hour_ago = Utc::now() - TimeDelta::hours(1);
    stripe.at(&an_hour_ago.to_rfc3339_opts(SecondsFormat::Secs, true));
    for pool in [POOL, "instance:i"] {
        app.put_pool(pool, json!({"plan": "pro"})).await.expect(201);
    }
    (app, stripe)
}

/// Runs it over the last two days: exit code, and what it printed as JSON.
async fn reconcile(app: &TestApp, stripe: &Stripe, more: &[&str]) -> (Option<i32>, Value) {
    let (code, printed) = run(app, stripe, &[&["--json"], more].concat()).await;
    let printed = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}"));
    (code, printed)
}

async fn run(app: &TestApp, stripe: &Stripe, more: &[&str]) -> (Option<i32>, String) {
    let day = |days| {
        (Utc::now() + TimeDelta::days(days))
            .date_naive()
            .to_string()
    };
    let (from, to) = (day(-2), day(1));
    let arguments = ["reconcile", "--from", &from, "--to", &to];
    let arguments: Vec<&str> = arguments.iter().chain(more).copied().collect();
    let settings = [
        ("SECRETS_KEY", SECRETS_KEY),
        ("STRIPE_API_BASE", stripe.base.as_str()),
    ];
    process::run_with(&arguments, &app.database.url, &settings).await
}

fn kinds(printed: &Value) -> Vec<(&str, &str)> {
    let mut kinds: Vec<(&str, &str)> = printed["differences"]
        .as_array()
        .expect("differences")
        .iter()
        .map(|it| {
            let text = |name: &str| it[name].as_str().expect("a text");
            (text("kind"), text("payment_reference"))
        })
        .collect();
    kinds.sort_unstable();
    kinds
}

fn id(checkout: &Value) -> String {
    checkout["id"].as_str().expect("an id").to_owned()
}

fn difference<'a>(printed: &'a Value, reference: &str) -> &'a Value {
    let all = printed["differences"].as_array().expect("differences");
    let found = all.iter().find(|it| it["payment_reference"] == reference);
    found.unwrap_or_else(|| panic!("{reference} is no difference: {printed}"))
}

/// A paid session that somebody else made.
fn session(id: &str, mode: &str, metadata: Value) -> Value {
    json!({
        "id": id, "object": "checkout.session", "mode": mode, "status": "complete",
        "payment_status": "paid", "amount_total": 500, "currency": "usd",
        "created": (Utc::now() - TimeDelta::hours(1)).timestamp(), "metadata": metadata,
        "payment_intent": null, "expires_at": 0, "url": null,
    })
}

async fn record(app: &TestApp, reference: &str, credits: i64) {
    let body = json!({"credits": credits, "payment_reference": reference});
    let path = format!("/v1/pools/{POOL}/purchases");
    app.post(&path).json(&body).send().await.expect(201);
}

#[tokio::test]
async fn what_was_paid_and_never_credited_is_found_and_booked() {
    let (app, stripe) = shop().await;
    stripe.pages_of(2);
    put_code(&app, "more", &json!({"bonus_credits": 50}))
        .await
        .expect(201);
    let mut made = Vec::new();
    for (key, pool, code) in [
        ("a", POOL, Some("more")),
        ("b", "instance:i", None),
        ("c", POOL, None),
        ("d", POOL, None),
        ("e", POOL, None),
    ] {
        made.push(order(&app, pool, key, code).await.expect(201).body);
    }
    let lost = stripe.pay(&id(&made[0]));
    let hosted = stripe.pay(&id(&made[1]));
    let known = stripe.pay(&id(&made[2]));
    record(&app, &known, 500).await;
    // A plan that no longer sells add-ons, or dearer credits, take nothing from what was sold.
    let terms = json!({"step": 1000, "minimum": 1000});
    app.put("/v1/addon-terms")
        .json(&terms)
        .send()
        .await
        .expect(200);

    let (code, printed) = reconcile(&app, &stripe, &[]).await;
    assert_eq!(code, Some(1));
    assert_eq!(
        (&printed["ok"], &printed["payments"]),
        (&json!(false), &json!(3))
    );
    let mut expected = [
        ("paid_without_credit", lost.as_str()),
        ("paid_without_credit", hosted.as_str()),
    ];
    expected.sort_unstable();
    assert_eq!(kinds(&printed), expected);

    let (code, printed) = reconcile(&app, &stripe, &["--repair"]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(printed["differences"].as_array().map(Vec::len), Some(2));
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 1_050);
    assert_eq!(app.balance("instance:i").await["addon"]["granted"], 500);
    let path = format!("/v1/pools/{POOL}/checkouts/{}", id(&made[0]));
    assert_eq!(
        app.get(&path).send().await.expect(200).body["status"],
        "completed"
    );

    let (code, printed) = reconcile(&app, &stripe, &["--repair"]).await;
    assert_eq!((code, &printed["differences"]), (Some(0), &json!([])));
    app.verify().await;
}

#[tokio::test]
async fn credits_without_money_are_found_and_refunds_without_clawback_repaired() {
    let (app, stripe) = shop().await;
    let made = order(&app, POOL, "a", None).await.expect(201).body;
    let paid = stripe.pay(&id(&made));
    record(&app, &paid, 500).await;
    stripe.refund(&id(&made), 250);
    record(&app, "pi_invented", 100).await;
    record(&app, "invoice-55", 100).await;
    let (code, _) = reconcile(&app, &stripe, &[]).await;
    assert_eq!(code, Some(1));
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 700);
    let (code, printed) = reconcile(&app, &stripe, &["--repair"]).await;
    assert_eq!(
        code,
        Some(1),
        "what was credited without money is for people"
    );
    let expected = [
        ("credited_without_payment", "pi_invented"),
        ("refunded_without_clawback", paid.as_str()),
    ];
    assert_eq!(kinds(&printed), expected);
    assert_eq!(printed["purchases"], 3);
    let refund = difference(&printed, &paid);
    assert_eq!(refund["credits"], json!(250));
    assert_eq!(refund["repaired"], json!(true), "{refund}");
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 450);
    let (_, printed) = reconcile(&app, &stripe, &["--repair"]).await;
    assert_eq!(
        kinds(&printed),
        [("credited_without_payment", "pi_invented")]
    );
    app.verify().await;
}

#[tokio::test]
async fn a_dispute_does_not_hide_a_refund() {
    let (app, stripe) = shop().await;
    let made = order(&app, POOL, "a", None).await.expect(201).body;
    let payment = app.payment(&stripe.pay(&id(&made)));
    let disputed = payment.disputed("created", "needs_response", 500);
    for event in [payment.completed(), disputed] {
        app.deliver(&event).await.expect(200);
    }
    let (code, _) = reconcile(&app, &stripe, &[]).await;
    assert_eq!(code, Some(0));
    stripe.refund(&id(&made), 250);
    let (code, printed) = reconcile(&app, &stripe, &["--repair"]).await;
    assert_eq!(code, Some(0), "{printed}");
    let refunded = ("refunded_without_clawback", payment.reference.as_str());
    assert_eq!(kinds(&printed), [refunded]);
    // The dispute is won: what was refunded stays with the provider.
    let won = payment.disputed("closed", "won", 500);
    app.deliver(&won).await.expect(200);
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 250);
    app.verify().await;
}

#[tokio::test]
async fn what_was_refunded_is_not_credited() {
    let (app, stripe) = shop().await;
    let all = order(&app, POOL, "a", None).await.expect(201).body;
    let part = order(&app, POOL, "b", None).await.expect(201).body;
    let (_, partly) = (stripe.pay(&id(&all)), stripe.pay(&id(&part)));
    stripe.refund(&id(&all), 500);
    stripe.refund(&id(&part), 200);
    let (code, printed) = reconcile(&app, &stripe, &["--repair"]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(kinds(&printed), [("paid_without_credit", partly.as_str())]);
    assert_eq!(difference(&printed, &partly)["repaired"], json!(true));
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 300);

    // The events that were lost arrive at last, and find it all done.
    let payment = Payment {
        metadata: json!({"pool": POOL, "credits": "500", "checkout_id": id(&part)}),
        ..app.payment(&partly)
    };
    for event in [payment.completed(), payment.refunded(200)] {
        app.deliver(&event).await.expect(200);
    }
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 300);
    let (code, printed) = reconcile(&app, &stripe, &["--repair"]).await;
    assert_eq!((code, &printed["differences"]), (Some(0), &json!([])));
    app.verify().await;
}

#[tokio::test]
async fn what_a_person_has_dismissed_is_left_alone() {
    let (app, stripe) = shop().await;
    let made = order(&app, POOL, "a", None).await.expect(201).body;
    let mut payment = app.payment(&stripe.pay(&id(&made)));
    payment.metadata["pool"] = json!("workspace:nowhere");
    app.deliver(&payment.completed()).await.expect(200);
    let (_, printed) = reconcile(&app, &stripe, &[]).await;
    let open = ("paid_without_credit", payment.reference.as_str());
    assert_eq!(kinds(&printed), [open]);
    let exception = id(&app.exceptions().await[0]);
    let path = format!("/v1/payments/exceptions/{exception}/dismiss");
    let body = json!({"reason": "paid back by hand"});
    app.post(&path).json(&body).send().await.expect(200);
    let (code, printed) = reconcile(&app, &stripe, &["--repair"]).await;
    assert_eq!((code, &printed["differences"]), (Some(0), &json!([])));
    assert!(app.purchases().await.is_empty());
}

#[tokio::test]
async fn what_was_repaired_before_a_failure_is_told() {
    let (app, stripe) = shop().await;
    stripe.pages_of(1);
    // The oldest session comes last, and has a payment without a name.
    let mut nameless = session("cs_nameless", "payment", json!({"pool": POOL}));
    nameless["payment_intent"] = json!("pi_\u{7}");
    stripe.add(nameless);
    let made = order(&app, POOL, "a", None).await.expect(201).body;
    let lost = stripe.pay(&id(&made));
    let (code, printed) = reconcile(&app, &stripe, &["--repair"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(printed["failed"][0]["tenant"], json!(app.tenant));
    assert_eq!(difference(&printed, &lost)["repaired"], json!(true));
    assert_eq!(printed["payments"], 1);
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 500);
}

#[tokio::test]
async fn what_cannot_be_booked_says_why_and_what_is_not_ours_is_left_alone() {
    let (app, stripe) = shop().await;
    let seats = json!({"pool": POOL, "credits": "500"});
    stripe.add(session("cs_seats", "subscription", seats));
    stripe.add(session("cs_other", "payment", json!({})));
    let nowhere = json!({"pool": "workspace:nowhere", "credits": "500"});
    stripe.add(session("cs_nowhere", "payment", nowhere));
    stripe.add(session("cs_half", "payment", json!({"pool": POOL})));
    stripe.add(session(
        "cs_theirs",
        "payment",
        json!({"pool": POOL, "credits": "200"}),
    ));
    let (code, printed) = run(&app, &stripe, &["--repair"]).await;
    assert_eq!(code, Some(1), "{printed}");
    for reason in ["pool_not_found", "credits_missing"] {
        assert!(printed.contains(reason), "{printed}");
    }
    assert!(
        printed.contains("3 differences, 1 repaired, 2 left"),
        "{printed}"
    );
    assert!(!printed.contains("cs_seats") && !printed.contains("cs_other"));
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 200);
}

#[tokio::test]
async fn a_stripe_that_fails_and_bad_arguments_are_said_plainly() {
    let (app, stripe) = shop().await;
    let stranger = app.operator.new_tenant("live").await.0;
    stripe.be(Mood::Answers(500));
    let (code, printed) = reconcile(&app, &stripe, &[]).await;
    assert_eq!((code, &printed["ok"]), (Some(1), &json!(false)));
    assert_eq!(printed["failed"][0]["tenant"], json!(app.tenant));
    stripe.be(Mood::Good);
    let (code, printed) = run(&app, &stripe, &["--tenant", &stranger]).await;
    assert_eq!(code, Some(1));
    assert!(printed.contains("no api_key"), "{printed}");
    let (code, _) = reconcile(&app, &stripe, &["--tenant", &app.tenant]).await;
    assert_eq!(code, Some(0));
    let backwards = ["reconcile", "--from", "2026-02-01", "--to", "2026-01-01"];
    let (code, printed) = process::run(&backwards, &app.database.url).await;
    assert_eq!(code, Some(1));
    assert!(printed.contains("--from must be before --to"), "{printed}");
}
