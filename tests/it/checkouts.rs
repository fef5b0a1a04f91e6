//! Checkouts over HTTP, with a stand-in for Stripe.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::promo_codes::{order, put_code, redeemed};
use crate::support::process::Service;
use crate::support::stripe::Mood;
use crate::support::{Reply, SECRETS_KEY, STRIPE_KEY, Stripe, TestApp};

const POOL: &str = "workspace:w";
const PATH: &str = "/v1/pools/workspace:w/checkouts";

async fn shop() -> (TestApp, Stripe) {
    let (app, stripe) = TestApp::with_stripe().await;
    app.put_pool(POOL, json!({"plan": "pro"})).await.expect(201);
    (app, stripe)
}

fn wish(more: Value) -> Value {
    let mut body = json!({
        "credits": 500, "success_url": "https://app.example/ok",
        "cancel_url": "https://app.example/no",
    });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

async fn buy(app: &TestApp, more: Value) -> Reply {
    app.post(PATH).json(&wish(more)).send().await
}

async fn read(app: &TestApp, checkout: &Value) -> Value {
    let id = checkout["id"].as_str().expect("an id");
    let path = format!("{PATH}/{id}");
    app.get(&path).send().await.expect(200).body
}

async fn rows(app: &TestApp) -> i64 {
    let mut database = app.database.connect().await;
    sqlx::query_scalar("SELECT count(*) FROM checkouts")
        .fetch_one(&mut database)
        .await
        .expect("the table is there")
}

#[tokio::test]
async fn a_checkout_says_where_the_customer_pays() {
    let (app, stripe) = shop().await;
    for (pool, plan) in [(POOL, "pro"), ("instance:i", "team")] {
        app.put_pool(pool, json!({"plan": plan})).await;
        let path = format!("/v1/pools/{pool}/checkouts");
        let body = wish(json!({"customer_email": "a@b.example", "user_id": "u-1"}));
        let made = app.post(&path).json(&body).send().await.expect(201).body;
        let id = made["id"].as_str().expect("an id").to_owned();
        let expected = json!({
            "id": id, "pool": pool, "status": "pending", "credits": 500, "bonus_credits": 0,
            "subtotal_cents": 500, "discount_cents": 0, "total_cents": 500, "currency": "usd",
            "checkout_url": made["checkout_url"], "created_at": "2026-01-31T10:00:00.000Z",
            "expires_at": "2026-02-01T10:00:00.000Z",
        });
        assert_eq!(made, expected);
        let url = made["checkout_url"].as_str().expect("an address");
        assert!(url.starts_with("https://checkout.stripe.com/c/pay/cs_test_"));
        let read = app.get(&format!("{path}/{id}")).send().await.expect(200);
        assert_eq!(read.body, made);

        let asked = stripe.asked().pop().expect("Stripe was asked");
        assert_eq!(asked.path, "/v1/checkout/sessions");
        assert_eq!(asked.bearer, format!("Bearer {STRIPE_KEY}"));
        assert_eq!(
            asked.idempotency_key,
            format!("credit-ledger-checkout-{id}")
        );
        let said = |name: &str| asked.form.get(name).map(String::as_str);
        for (name, value) in [
            ("mode", "payment"),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", "usd"),
            ("line_items[0][price_data][unit_amount]", "500"),
            (
                "line_items[0][price_data][product_data][name]",
                "500 AI credits",
            ),
            ("success_url", "https://app.example/ok"),
            ("cancel_url", "https://app.example/no"),
            ("customer_email", "a@b.example"),
            ("client_reference_id", id.as_str()),
            ("metadata[pool]", pool),
            ("metadata[credits]", "500"),
            ("metadata[checkout_id]", id.as_str()),
            ("payment_intent_data[metadata][pool]", pool),
            ("payment_intent_data[metadata][credits]", "500"),
            ("payment_intent_data[metadata][checkout_id]", id.as_str()),
        ] {
            assert_eq!(said(name), Some(value), "{name}");
        }
    }
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 0);
}

#[tokio::test]
async fn the_same_request_gives_the_first_answer_whatever_became_of_it() {
    let (app, stripe) = shop().await;
    let first = order(&app, POOL, "k", None).await.expect(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    let path = "/v1/addon-terms";
    let dearer = json!({"price_cents_per_step": 900});
    app.put(path).json(&dearer).send().await.expect(200);
    let id = first.body["id"].as_str().expect("an id");
    let tenant = app.tenant.parse::<uuid::Uuid>().expect("an id").into();
    let checkout = id.parse().expect("an id");
    for _ in 0..2 {
        app.payments
            .checkout_paid(tenant, checkout)
            .await
            .expect("it is told");
    }
    assert_eq!(read(&app, &first.body).await["status"], "completed");
    app.delete(&format!("/v1/pools/{POOL}"))
        .send()
        .await
        .expect(200);
    let again = order(&app, POOL, "k", None).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text, first.text);
    assert_eq!(stripe.session_count(), 1);

    let other = order(&app, POOL, "k", Some("promo")).await;
    other.refused(422, "idempotency_key_reused");
    let missing = app.call(reqwest::Method::POST, PATH).json(&wish(json!({})));
    missing.send().await.refused(400, "idempotency_key_missing");
}

#[tokio::test]
async fn a_key_of_another_write_is_refused() {
    let (app, stripe) = shop().await;
    let debit = app.post(&format!("/v1/pools/{POOL}/debits")).key("k");
    debit.json(&json!({"credits": 1})).send().await.expect(201);
    let refused = order(&app, POOL, "k", None).await;
    refused.refused(422, "idempotency_key_reused");
    assert_eq!((rows(&app).await, stripe.session_count()), (0, 0));
    // Another pool's keys are its own.
    app.put_pool("workspace:v", json!({"plan": "pro"}))
        .await
        .expect(201);
    order(&app, "workspace:v", "k", None).await.expect(201);
}

#[tokio::test]
async fn many_requests_with_one_key_make_one_checkout() {
    let (app, stripe) = shop().await;
    stripe.be(Mood::Slow(Duration::from_millis(300)));
    let replies = join_all((0..20).map(|_| order(&app, POOL, "k", None))).await;
    let fresh = |reply: &&Reply| reply.header("idempotency-replayed").is_none();
    assert_eq!(replies.iter().filter(fresh).count(), 1);
    for reply in &replies {
        assert_eq!((reply.status, &reply.body), (201, &replies[0].body));
    }
    assert_eq!((stripe.asked().len(), rows(&app).await), (1, 1));
}

#[tokio::test]
async fn rules_come_in_their_order() {
    let (app, stripe) = shop().await;
    let unknown = order(&app, "workspace:x", "k", None).await;
    unknown.refused(404, "pool_not_found");
    app.put_pool("workspace:free", json!({"plan": "free"}))
        .await
        .expect(201);
    let path = "/v1/pools/workspace:free/checkouts";
    for credits in [json!(500), json!(0), json!(150)] {
        let body = wish(json!({"credits": credits, "promo_code": "nothing"}));
        let refused = app.post(path).json(&body).send().await;
        refused.refused(403, "addons_not_allowed");
    }
    for credits in [
        json!(0),
        json!(50),
        json!(150),
        json!(-100),
        json!(100.5),
        json!(1e12),
    ] {
        let more = json!({"credits": credits, "promo_code": "nothing"});
        buy(&app, more).await.refused(422, "invalid_quantity");
    }
    let quote = json!({"credits": 150});
    let quote = app.post(&format!("{PATH}/quote")).json(&quote).send().await;
    quote.refused(422, "invalid_quantity");
    buy(&app, json!({"promo_code": "nothing"}))
        .await
        .refused(422, "promo_code_invalid");
    let cheap = json!({"price_cents_per_step": 49});
    app.put("/v1/addon-terms")
        .json(&cheap)
        .send()
        .await
        .expect(200);
    let refused = buy(&app, json!({"credits": 100}))
        .await
        .refused(422, "amount_too_small");
    assert_eq!(
        (&refused.body["total_cents"], &refused.body["minimum_cents"]),
        (&json!(49), &json!(50))
    );
    let dear = json!({"price_cents_per_step": 1_000_000_000});
    app.put("/v1/addon-terms")
        .json(&dear)
        .send()
        .await
        .expect(200);
    let refused = buy(&app, json!({"credits": 1_000_000_000})).await;
    let refused = refused.refused(422, "validation_failed");
    assert_eq!(refused.body["errors"][0]["field"], "credits");
    app.delete(&format!("/v1/pools/{POOL}"))
        .send()
        .await
        .expect(200);
    buy(&app, json!({})).await.refused(409, "pool_closed");
    assert_eq!((rows(&app).await, stripe.asked().len()), (0, 0));
}

#[tokio::test]
async fn a_pool_that_would_be_made_counts_as_its_plan() {
    let (app, _stripe) = shop().await;
    let path = format!("/v1/tenants/{}", app.tenant);
    let settings =
        json!({"settings": {"auto_provision": {"workspace": "pro", "instance": "basic"}}});
    let patch = app.operator.call(reqwest::Method::PATCH, &path);
    patch.json(&settings).send().await.expect(200);
    let made = order(&app, "workspace:new", "k", None).await.expect(201);
    assert_eq!(made.body["status"], "pending");
    order(&app, "instance:new", "k", None)
        .await
        .refused(403, "addons_not_allowed");
    let unwritten = app.get("/v1/pools/workspace:new").send().await;
    unwritten.refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_quote_prices_and_leaves_no_trace() {
    let (app, stripe) = shop().await;
    let codes = [
        ("third", json!({"percent_off": 33.33})),
        ("cash", json!({"amount_off_cents": 120})),
        ("more", json!({"bonus_credits": 50})),
        ("gift", json!({"percent_off": 100})),
    ];
    for (code, body) in &codes {
        put_code(&app, code, body).await.expect(201);
    }
    for (code, bonus, discount, total) in [
        (json!(null), 0, 0, 500),
        (json!("third"), 0, 166, 334),
        (json!("cash"), 0, 120, 380),
        (json!("more"), 50, 0, 500),
        (json!("gift"), 0, 500, 0),
    ] {
        let body = json!({"credits": 500, "promo_code": code});
        let reader = app.with_scopes(&["balances:read"]).await;
        let path = format!("{PATH}/quote");
        let quote = reader
            .call(reqwest::Method::POST, &path)
            .json(&body)
            .send()
            .await;
        let expected = json!({
            "pool": POOL, "credits": 500, "bonus_credits": bonus, "subtotal_cents": 500,
            "discount_cents": discount, "total_cents": total, "currency": "usd",
        });
        assert_eq!(quote.expect(200).body, expected);
    }
    assert_eq!(redeemed(&app, "third").await, (json!(0), 0));
    assert_eq!((rows(&app).await, stripe.asked().len()), (0, 0));
    let full = wish(json!({"promo_code": "cash"}));
    let quote = app.post(&format!("{PATH}/quote")).json(&full).send().await;
    assert_eq!(quote.expect(200).body["total_cents"], 380);
}

#[tokio::test]
async fn where_nothing_is_to_be_paid_the_credits_are_there_at_once() {
    let app = TestApp::start().await;
    app.put_pool(POOL, json!({"plan": "pro"})).await.expect(201);
    put_code(&app, "gift", &json!({"percent_off": 100}))
        .await
        .expect(201);
    let made = order(&app, POOL, "k", Some("gift")).await.expect(201);
    let expected = json!({
        "id": made.body["id"], "pool": POOL, "status": "completed", "credits": 500,
        "bonus_credits": 0, "subtotal_cents": 500, "discount_cents": 500, "total_cents": 0,
        "currency": "usd", "checkout_url": null, "created_at": "2026-01-31T10:00:00.000Z",
        "expires_at": null,
    });
    assert_eq!(made.body, expected);
    assert_eq!(read(&app, &made.body).await, expected);
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 500);
    let again = order(&app, POOL, "k", Some("gift")).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text, made.text);
    let bought = app
        .get(&format!("/v1/pools/{POOL}/purchases"))
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(bought["data"].as_array().map(Vec::len), Some(1));
    let id = made.body["id"].as_str().expect("an id");
    assert_eq!(
        bought["data"][0]["payment_reference"],
        format!("checkout:{id}")
    );
    assert_eq!(bought["data"][0]["amount_cents"], 0);
    // The key is the pool's, whatever the operation.
    let debit = app.post(&format!("/v1/pools/{POOL}/debits")).key("k");
    let debit = debit.json(&json!({"credits": 1})).send().await;
    debit.refused(422, "idempotency_key_reused");
    // Paying needs an account, getting a gift did not.
    buy(&app, json!({}))
        .await
        .refused(501, "payments_not_configured");
    assert_eq!(redeemed(&app, "gift").await, (json!(1), 1));
    app.verify().await;
}

#[tokio::test]
async fn a_stripe_that_fails_leaves_nothing_half_made() {
    let (app, stripe) = shop().await;
    put_code(
        &app,
        "one",
        &json!({"percent_off": 50, "max_redemptions": 1}),
    )
    .await
    .expect(201);
    for (mood, status, code) in [
        (Mood::Answers(500), 502, "payment_provider_error"),
        (Mood::Answers(400), 502, "payment_provider_error"),
        (Mood::Answers(401), 502, "payment_provider_error"),
        (Mood::Answers(302), 502, "payment_provider_error"),
        (Mood::Rubbish, 502, "payment_provider_error"),
        (Mood::Answers(429), 503, "payment_provider_unavailable"),
        (Mood::HangsUp, 503, "payment_provider_unavailable"),
        (
            Mood::Slow(Duration::from_secs(60)),
            503,
            "payment_provider_unavailable",
        ),
    ] {
        stripe.be(mood.clone());
        let started = Instant::now();
        let failed = order(&app, POOL, "k", Some("one")).await;
        assert!(started.elapsed() < Duration::from_secs(6), "{mood:?}");
        let failed = failed.refused(status, code);
        assert_eq!(
            failed.header("retry-after").is_some(),
            status == 503,
            "{mood:?}"
        );
        assert!(!failed.text.contains("as Stripe says it"));
        assert_eq!(rows(&app).await, 0, "{mood:?}");
        assert_eq!(redeemed(&app, "one").await, (json!(0), 0), "{mood:?}");
    }
    stripe.be(Mood::Good);
    let made = order(&app, POOL, "k", Some("one")).await.expect(201);
    assert_eq!(made.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn without_a_stripe_the_answer_says_to_try_again() {
    let app = TestApp::start().await;
    app.put_pool(POOL, json!({"plan": "pro"})).await.expect(201);
    buy(&app, json!({}))
        .await
        .refused(501, "payments_not_configured");
    let settings = json!({"webhook_secrets": ["whsec_1"]});
    app.put("/v1/payments/stripe")
        .json(&settings)
        .send()
        .await
        .expect(200);
    buy(&app, json!({}))
        .await
        .refused(501, "payments_not_configured");
    let settings = json!({"api_key": STRIPE_KEY, "webhook_secrets": ["whsec_1"]});
    app.put("/v1/payments/stripe")
        .json(&settings)
        .send()
        .await
        .expect(200);
    // Nobody listens there.
    let away = buy(&app, json!({})).await;
    away.refused(503, "payment_provider_unavailable");
    assert_eq!(rows(&app).await, 0);
}

/// Asks a process for a checkout and kills it while it waits for Stripe.
async fn killed_in_the_middle(app: &TestApp, stripe: &Stripe) {
    put_code(
        app,
        "one",
        &json!({"percent_off": 50, "max_redemptions": 1}),
    )
    .await
    .expect(201);
    let settings = [
        ("SECRETS_KEY", SECRETS_KEY),
        ("STRIPE_API_BASE", stripe.base.as_str()),
    ];
    let service = Service::start_with(&app.database.url, &settings).await;
    stripe.be(Mood::Slow(Duration::from_secs(2)));
    let client = service.client.with_key(&app.bearer);
    let body = wish(json!({"promo_code": "one"}));
    let asking = tokio::spawn(async move {
        client
            .post(PATH)
            .key("k")
            .json(&body)
            .try_send()
            .await
            .is_ok()
    });
    let started = Instant::now();
    while stripe.asked().is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "Stripe is asked"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    service.kill().await;
    assert!(!asking.await.expect("it was asked"), "nobody was answered");
    stripe.be(Mood::Good);
    assert_eq!(rows(app).await, 1);
    assert_eq!(redeemed(app, "one").await, (json!(1), 1));
    // By the clock of this process: whoever made it may not be at work any more.
    app.at("2027-01-01T00:00:00Z");
}

#[tokio::test]
async fn a_checkout_whose_maker_was_killed_is_driven_to_its_end_by_its_key() {
    let (app, stripe) = shop().await;
    killed_in_the_middle(&app, &stripe).await;
    let made = order(&app, POOL, "k", Some("one")).await.expect(201);
    assert_eq!(made.body["total_cents"], 250);
    let keys: Vec<String> = stripe
        .asked()
        .into_iter()
        .map(|it| it.idempotency_key)
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1], "Stripe knows it is the same");
    assert_eq!(
        (rows(&app).await, redeemed(&app, "one").await),
        (1, (json!(1), 1))
    );
    let again = order(&app, POOL, "k", Some("one")).await.expect(201);
    assert_eq!(again.text, made.text);
}

#[tokio::test]
async fn a_checkout_whose_maker_was_killed_is_given_back_when_nobody_comes() {
    let (app, stripe) = shop().await;
    killed_in_the_middle(&app, &stripe).await;
    assert_eq!(app.payments.look_at_checkouts().await.expect("it looks"), 1);
    assert_eq!(
        (rows(&app).await, redeemed(&app, "one").await),
        (0, (json!(0), 0))
    );
    let made = order(&app, POOL, "k", Some("one")).await.expect(201);
    assert_eq!(made.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn a_checkout_that_nobody_pays_expires_and_gives_its_code_back() {
    let (app, stripe) = shop().await;
    let few = json!({"percent_off": 50, "max_redemptions": 3, "once_per_pool": false});
    put_code(&app, "few", &few).await.expect(201);
    let mut made = Vec::new();
    for key in ["gone", "open", "paid"] {
        made.push(order(&app, POOL, key, Some("few")).await.expect(201).body);
    }
    let id = |place: usize| made[place]["id"].as_str().expect("an id");
    stripe.expire(id(0));
    stripe.pay(id(2));
    assert_eq!(
        app.payments.look_at_checkouts().await.expect("it looks"),
        0,
        "not yet"
    );
    app.pass(TimeDelta::hours(25));
    stripe.be(Mood::Answers(500));
    app.payments.look_at_checkouts().await.expect("it looks");
    assert_eq!(
        redeemed(&app, "few").await,
        (json!(3), 3),
        "Stripe did not say"
    );
    stripe.be(Mood::Good);
    app.pass(TimeDelta::minutes(10));
    app.payments.look_at_checkouts().await.expect("it looks");
    let mut states = Vec::new();
    for checkout in &made {
        let now = read(&app, checkout).await;
        assert_eq!(now["checkout_url"].is_null(), now["status"] != "pending");
        states.push(now["status"].clone());
    }
    assert_eq!(states, ["expired", "pending", "pending"]);
    assert_eq!(redeemed(&app, "few").await, (json!(2), 2));
    // Told twice, it is given back once; a replay still says what was said first.
    let tenant = app.tenant.parse::<uuid::Uuid>().expect("an id").into();
    for _ in 0..2 {
        let told = app
            .payments
            .checkout_expired(tenant, id(0).parse().expect("an id"));
        told.await.expect("it is told");
    }
    assert_eq!(redeemed(&app, "few").await, (json!(2), 2));
    let again = order(&app, POOL, "gone", Some("few")).await.expect(201);
    assert_eq!(again.body, made[0]);
    order(&app, POOL, "next", Some("few")).await.expect(201);
}

#[tokio::test]
async fn what_was_sold_is_known_by_pool_and_credits() {
    let (app, _stripe) = shop().await;
    put_code(&app, "more", &json!({"bonus_credits": 50}))
        .await
        .expect(201);
    let made = buy(&app, json!({"promo_code": "more", "user_id": "u-1"}))
        .await
        .expect(201)
        .body;
    let tenant = app.tenant.parse::<uuid::Uuid>().expect("an id").into();
    let id = made["id"].as_str().expect("an id").parse().expect("an id");
    let sold = async |pool: &str, credits: u32| {
        let pool = pool.parse().expect("a name");
        let credits = credit_ledger::ledger::Credits::whole(credits);
        app.payments
            .sold(tenant, id, &pool, credits)
            .await
            .expect("it is there")
    };
    let found = sold(POOL, 500).await.expect("it was sold");
    assert_eq!(found.bonus, credit_ledger::ledger::Credits::whole(50));
    assert_eq!(found.user_id.map(String::from).as_deref(), Some("u-1"));
    assert!(sold(POOL, 600).await.is_none());
    assert!(sold("workspace:v", 500).await.is_none());
}

#[tokio::test]
async fn a_checkout_is_its_own_pools() {
    let (app, _stripe) = shop().await;
    app.put_pool("workspace:v", json!({"plan": "pro"}))
        .await
        .expect(201);
    let made = order(&app, POOL, "k", None).await.expect(201).body;
    let id = made["id"].as_str().expect("an id");
    let elsewhere = format!("/v1/pools/workspace:v/checkouts/{id}");
    app.get(&elsewhere).send().await.refused(404, "not_found");
    let stranger = app.stranger().await;
    stranger
        .put_pool(POOL, json!({"plan": "pro"}))
        .await
        .expect(201);
    let path = format!("{PATH}/{id}");
    stranger.get(&path).send().await.refused(404, "not_found");
    app.get(&format!("{PATH}/nonsense"))
        .send()
        .await
        .refused(404, "not_found");
}
